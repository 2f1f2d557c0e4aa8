/* Fine-tuning of imported models: tiny instances of published ones, through limn convert and train dalle --init, learn
 * as the same networks do in PyTorch (tools/make_golden_training.py): the losses of 20 steps, and the first gradient.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_tensors.h"
#include "golden_training.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"
#include "train/train.h"

enum { STEPS = 20, ITEMS = 2 };

static device *dev;
static json_t *training, *gpts, *codecs;
static file_map pictures_file;
static safetensors *pictures;
static char folder[512], model_path[512], tuned[512];

/* ---- the model and the data ---- */

static const char *tokenizer_of(const char *name)
{
    return !strncmp(name, "mindalle", 8) ? TEST_DATA "/gpt/char_bpe"
           : !strncmp(name, "ruda", 4)   ? TEST_DATA "/gpt/yttm"
           : !strncmp(name, "dalle_", 6) ? TEST_DATA "/dallepy/tokenizer.json"
                                         : NULL;
}

/* The training case where it has an instance of its own, as DALLE-pytorch's have, else that of the other tests. */
static const json_t *instance_of(const char *name)
{
    const json_t *own = golden_case(training, name);
    return json_object_get(own, "tensors") ? own : golden_case(gpts, name);
}

/* The angles of rotary positions, which are no numbers made of a name. */
static void write_angles(const char *path, const json_t *angles)
{
    json_t *list = json_array_get(angles, 1);
    size_t n = json_array_size(list), bytes = n * sizeof(float);
    float *values = calloc(n, sizeof *values);
    assert_non_null(values);
    for (size_t i = 0; i < n; i++)
        values[i] = (float)json_number_value(json_array_get(list, i));
    json_t *header = json_pack("{s: {s: s, s: O, s: [i, I]}}", "transformer.pos_emb", "dtype", "F32", "shape",
                               json_array_get(angles, 0), "data_offsets", 0, (json_int_t)bytes);
    assert_non_null(header);
    golden_write_safetensors(path, header, values, bytes);
    json_decref(header);
    free(values);
}

/* model.gguf: the case's transformer, its codec and its tokenizer. */
static void convert(const char *name, bool typed, dtype type)
{
    err e = {0};
    const json_t *c = instance_of(name), *set = json_object_get(c, "set"), *angles = json_object_get(c, "angles");
    char weights[512], other[512];
    const char *inputs[2] = {weights, other}, *settings[8];
    snprintf(weights, sizeof weights, "%s", support_path("weights.safetensors"));
    snprintf(other, sizeof other, "%s", support_path("other.safetensors"));
    golden_write_tensors(weights, json_object_get(c, "tensors"), NULL, NULL);
    bool own = c == golden_case(training, name);
    if (!own) {
        const json_t *k = golden_case(codecs, json_string_value(json_object_get(c, "codec")));
        golden_write_tensors(other, json_object_get(k, "tensors"), NULL, NULL);
    } else if (angles) {
        write_angles(other, angles);
    }
    import_request r = {.inputs = inputs,
                        .n_inputs = own && !angles ? 1 : 2,
                        .output = model_path,
                        .tokenizer = tokenizer_of(name),
                        .typed = typed,
                        .type = type,
                        .settings = settings};
    for (size_t i = 0; i < json_array_size(set); i++)
        settings[r.n_settings++] = json_string_value(json_array_get(set, i));
    unlink(model_path);
    good(import_convert(&r, &e), &e);
}

/* The pictures whose codes the codec's test knows, with these captions. */
static void write_data(const char *name, const char *const captions[ITEMS])
{
    err e = {0};
    char key[96];
    snprintf(key, sizeof key, "%s/image", json_string_value(json_object_get(instance_of(name), "codec")));
    const file_tensor *t = safetensors_find(pictures, key);
    assert_non_null(t);
    good(file_make_directory(folder, &e), &e);
    for (int i = 0; i < ITEMS; i++) {
        char path[600];
        image im = {0};
        good(image_new(&im, (int)t->shape[2], (int)t->shape[1], &e), &e);
        memcpy(im.pixels, (const uint8_t *)t->data + i * t->shape[1] * t->shape[2] * 3,
               (size_t)(t->shape[1] * t->shape[2] * 3));
        snprintf(path, sizeof path, "%s/%d.png", folder, i);
        good(image_write_png(&im, path, NULL, 0, &e), &e);
        image_release(&im);
        snprintf(path, sizeof path, "%s/%d.txt", folder, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "%s\n", captions[i]);
        fclose(f);
    }
}

static const char *remove_tuned(void)
{
    static const char *const ends[] = {"", ".checkpoint", ".csv", ".codes"};
    char path[600];
    for (size_t i = 0; i < COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", tuned, ends[i]);
        unlink(path);
    }
    return tuned;
}

/* As in tools/make_golden_training.py: a step is of both pictures. */
static train_dalle_options options(int64_t steps)
{
    static const char *sources[1];
    train_dalle_options o = train_dalle_defaults();
    sources[0] = folder;
    o.run.output = remove_tuned();
    o.run.init = model_path;
    o.run.sources = sources;
    o.run.n_sources = 1;
    o.run.batch = ITEMS;
    o.run.save_every = o.run.sample_every = 0;
    o.run.settings = golden_training_settings(steps);
    return o;
}

static void train(const train_dalle_options *o)
{
    err e = {0};
    good(train_dalle(dev, o, &e), &e);
}

static void refused(const train_dalle_options *o, const char *part)
{
    err e = {0};
    assert_false(train_dalle(dev, o, &e));
    has(e.text, part);
}

/* ---- against PyTorch ---- */

static void captions_of(const json_t *c, const char *out[ITEMS])
{
    for (size_t i = 0; i < ITEMS; i++)
        out[i] = json_string_value(json_array_get(json_object_get(c, "captions"), i));
}

static void every_model_learns_as_its_twin_does(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(training, i, c)
    {
        err e = {0};
        const char *name = json_string_value(json_object_get(c, "name")), *captions[ITEMS];
        captions_of(c, captions);
        convert(name, false, DTYPE_F32);
        write_data(name, captions);
        train_dalle_options o = options(1);
        o.run.settings.clip = 0;
        train(&o);
        if (json_object_get(c, "gradients"))
            golden_training_gradients(tuned, name, json_object_get(c, "gradients"));
        o = options(STEPS);
        train(&o);
        golden_training_losses(tuned, name, json_object_get(c, "losses"));
        model *before = limn_model_open(dev, model_path, &e), *m = limn_model_open(dev, tuned, &e);
        good(before && m, &e);
        assert_true(m->info.has_codec && m->info.has_transformer);
        assert_int_equal(m->info.has_tokenizer, before->info.has_tokenizer);
        assert_string_equal(m->transformer->kind->name, before->transformer->kind->name);
        assert_int_equal(m->info.default_top_k, before->info.default_top_k);
        limn_model_free(&m);
        limn_model_free(&before);
    }
}

/* ---- other runs ---- */

static void weights_of_any_type_are_learned_from(void **state)
{
    (void)state;
    static const struct {
        dtype type;
        double bound;
    } types[] = {{DTYPE_F16, 2e-3}, {DTYPE_Q8_0, 2e-2}, {DTYPE_Q4_0, 0.3}};
    const json_t *c = golden_case(training, "mindalle");
    const json_t *first = json_array_get(json_object_get(c, "losses"), 0);
    double want = json_number_value(json_object_get(first, "loss"));
    const char *captions[ITEMS];
    captions_of(c, captions);
    write_data("mindalle", captions);
    for (size_t i = 0; i < COUNT(types); i++) {
        convert("mindalle", true, types[i].type);
        train_dalle_options o = options(1);
        train(&o);
        if (!(fabs(golden_training_loss(tuned, 1) - want) <= types[i].bound * want))
            fail_msg("%s: the loss begins with %g, and that of F32 with %g", dtype_table[types[i].type].name,
                     golden_training_loss(tuned, 1), want);
    }
}

static bool pause_after_two(void *context, const train_progress *p)
{
    (void)context;
    return p->step < 2;
}

static uint8_t *bytes_of(const char *end, size_t *n)
{
    err e = {0};
    file_map m = {0};
    char path[600];
    snprintf(path, sizeof path, "%s%s", tuned, end);
    good(file_map_open(&m, path, &e), &e);
    uint8_t *copy = malloc(m.size);
    assert_non_null(copy);
    memcpy(copy, m.data, *n = m.size);
    file_map_release(&m);
    return copy;
}

/* With averages, dropped captions and blocks that are made again: whole, and in two parts. */
static void a_fine_tuning_resumes_in_the_same_bytes(void **state)
{
    (void)state;
    const char *captions[ITEMS];
    size_t n[4];
    uint8_t *files[4];
    captions_of(golden_case(training, "rudalle_v2"), captions);
    write_data("rudalle_v2", captions);
    convert("rudalle_v2", false, DTYPE_F32);
    for (int parts = 0; parts < 2; parts++) {
        train_dalle_options o = options(4);
        o.run.settings.ema = 0.9f;
        o.condition_dropout = 0.5f;
        o.model.base.recompute = parts;
        if (parts) {
            o.run.progress = pause_after_two;
            train(&o);
            o.run.progress = NULL;
            o.run.resume = true;
        }
        train(&o);
        files[2 * parts] = bytes_of("", &n[2 * parts]);
        files[2 * parts + 1] = bytes_of(".checkpoint", &n[2 * parts + 1]);
    }
    for (int i = 0; i < 2; i++) {
        assert_int_equal(n[i], n[i + 2]);
        assert_memory_equal(files[i], files[i + 2], n[i]);
    }
    for (int i = 0; i < 4; i++)
        free(files[i]);
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    static const char *const words[] = {"7", "a cat"}, *const numbers[] = {"7", "2"};
    convert("taming", false, DTYPE_F32);
    write_data("taming", words);
    train_dalle_options o = options(1);
    refused(&o, "caption \"a cat\": this model reads no words but a class, 0 to 49");
    write_data("taming", numbers);
    o.condition_dropout = 0.1f;
    refused(&o, "this model knows no picture without a class");
    o = options(1);
    o.model.base.layers = 2;
    refused(&o, "`layers` 2: the transformer of ");
    o = options(1);
    char other[512];
    snprintf(other, sizeof other, "%s", support_path("codec.gguf"));
    assert_int_equal(rename(model_path, other), 0);
    convert("llamagen", false, DTYPE_F32);
    o.codec = other;
    refused(&o, "its codec has 4 x 4 cells of 50 codes, and the transformer of ");
    o = options(1);
    convert("mindalle", false, DTYPE_F32);
    o.bpe_dropout = 0.1f;
    refused(&o, "a tokenizer of the kind \"char-bpe\", which can't leave merges out");
    o = options(1);
    convert("dalle_pytorch", false, DTYPE_F32);
    o.model.base.recompute = true;
    refused(&o, "a transformer of the kind \"dalle_pytorch\" can't be done again by blocks");
    o = options(1);
    o.model.mlp = 32;
    refused(&o, "`mlp` 32: the transformer of ");
}

/* The ids of <pad> and [IMG], which this tokenizer doesn't have, come after its own. */
static void a_new_transformer_reads_any_tokenizer(void **state)
{
    (void)state;
    err e = {0};
    const char *captions[ITEMS];
    captions_of(golden_case(training, "rudalle_v2"), captions);
    write_data("rudalle_v2", captions);
    convert("rudalle_v2", false, DTYPE_F32);
    train_dalle_options o = options(2);
    o.run.init = NULL;
    o.codec = o.tokenizer = model_path;
    o.model.base.dim = 16;
    o.model.base.heads = 2;
    o.model.base.layers = 1;
    o.model.base.text_length = 8;
    train(&o);
    limn_model *m = limn_model_open(dev, tuned, &e);
    good(m, &e);
    assert_string_equal(m->transformer->kind->name, "dalle");
    assert_string_equal(tokenizer_kind_name(m->tokenizer), "yttm");
    assert_int_equal(m->info.text_vocabulary, tokenizer_size(m->tokenizer) + 2);
    int32_t codes[16];
    limn_generate_options g = limn_generate_defaults(m);
    g.prompt = captions[0];
    good(limn_generate(m, &g, codes, &e), &e);
    limn_model_free(&m);
}

int main(void)
{
    err e = {0};
    json_error_t why;
    dev = support_device();
    snprintf(folder, sizeof folder, "%s", support_path("data"));
    snprintf(model_path, sizeof model_path, "%s", support_path("model.gguf"));
    snprintf(tuned, sizeof tuned, "%s", support_path("tuned.gguf"));
    training = json_load_file(TEST_DATA "/training.json", 0, &why);
    gpts = training ? json_load_file(TEST_DATA "/gpts.json", 0, &why) : NULL;
    codecs = gpts ? json_load_file(TEST_DATA "/codecs.json", 0, &why) : NULL;
    if (!codecs || !file_map_open(&pictures_file, TEST_DATA "/codecs.safetensors", &e) ||
        !(pictures = safetensors_open(pictures_file.data, pictures_file.size, "codecs.safetensors", &e))) {
        fprintf(stderr, "%s\n", codecs ? e.text : why.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        TEST(every_model_learns_as_its_twin_does),     TEST(weights_of_any_type_are_learned_from),
        TEST(a_fine_tuning_resumes_in_the_same_bytes), TEST(what_does_not_go_together_is_refused),
        TEST(a_new_transformer_reads_any_tokenizer),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    safetensors_free(pictures);
    file_map_release(&pictures_file);
    json_decref(training);
    json_decref(gpts);
    json_decref(codecs);
    device_free(dev);
    return failed;
}
