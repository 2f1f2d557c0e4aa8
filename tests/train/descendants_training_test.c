/* Fine-tuning of DALL-E's descendants, whose texts have any length: golden instances, through limn convert and train
 * dalle --init, learn as tools/make_golden_descendants_training.py derives it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "convert/convert.h"
#include "golden_descendants.h"
#include "golden_training.h"
#include "io/image.h"
#include "io/npy.h"
#include "models/model.h"
#include "support.h"

static device *dev;
static json_t *training;

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

/* Whether the model has the twin's parameters: keys that several queries share aren't repeated, nor tied tables. */
static bool has_twins_parameters(const descendant *t)
{
    static const char table[] = "transformer.image_embedding.weight";
    err e = {0};
    limn_model *m = limn_model_open(dev, descendant_model, &e);
    good(m, &e);
    const file_tensor *qkv = gguf_find(m->gguf, "transformer.block.0.qkv.weight");
    bool own = gguf_find(m->gguf, table), wanted = json_object_get(json_object_get(t->json, "gradients"), table);
    bool same = own == wanted && qkv && qkv->shape[0] == json_integer_value(json_object_get(t->json, "qkv"));
    limn_model_free(&m);
    return same;
}

static void each_learns_as_its_twin_does(void **state)
{
    (void)state;
    for (size_t k = 0; k < json_array_size(training); k++) {
        err e = {0};
        descendant t;
        descendant_open(&t, training, k, DTYPE_F32);
        train_dalle_options o = descendant_options(1);
        o.run.settings.clip = 0;
        train(&o);
        json_t *losses = json_object_get(t.json, "losses");
        double first = json_number_value(json_object_get(json_array_get(losses, 0), "loss"));
        assert_true(fabs(golden_training_loss(descendant_tuned, 1) - first) < 1e-5 * first);
        bool same = has_twins_parameters(&t);
        if (same)
            golden_training_gradients(descendant_tuned, t.name, json_object_get(t.json, "gradients"));
        o = descendant_options((int64_t)json_array_size(losses));
        train(&o);
        if (same)
            golden_training_losses(descendant_tuned, t.name, losses);
        limn_model *m = limn_model_open(dev, descendant_tuned, &e);
        good(m, &e);
        int32_t codes[CELLS];
        limn_generate_options g = limn_generate_defaults(m);
        assert_true((m->form.before || k == LLAMAGEN) && g.guidance > 1);
        g.prompt = t.captions[0];
        good(limn_generate(m, &g, codes, &e), &e);
        limn_model_free(&m);
    }
}

/* What one picture's codes cost by limn_score. */
static double score(limn_model *m, const int32_t *ids, size_t n, const int32_t *codes, int cells)
{
    err e = {0};
    limn_score s;
    good(limn_score_codes(m, ids, n, codes, NULL, &s, &e), &e);
    return -s.image_log_likelihood / cells;
}

/* Rows of unlike lengths in one batch, and each by itself; whole blocks kept, and made again. */
static void rows_do_not_depend_on_others(void **state)
{
    (void)state;
    for (size_t k = 0; k < json_array_size(training); k++) {
        err e = {0};
        descendant t;
        double sum = 0;
        descendant_open(&t, training, k, DTYPE_F32);
        limn_model *m = limn_model_open(dev, descendant_model, &e);
        good(m, &e);
        for (int i = 0; i < ITEMS; i++) {
            int32_t *ids = NULL;
            size_t n = 0;
            good(limn_tokenize(m, t.captions[i], &ids, &n, &e), &e);
            sum += score(m, ids, n, t.codes + i * t.cells, t.cells);
            free(ids);
        }
        limn_model_free(&m);
        train_dalle_options o = descendant_options(1);
        train(&o);
        double both = golden_training_loss(descendant_tuned, 1);
        assert_true(fabs(both - sum / ITEMS) < 1e-5 * both);
        o = descendant_options(1);
        o.run.batch = 1;
        o.run.accumulate = ITEMS;
        o.model.base.recompute = true;
        train(&o);
        assert_true(fabs(golden_training_loss(descendant_tuned, 1) - both) < 1e-6 * both);
    }
}

/* What the pictures cost without their captions: after Janus's row of padding as long as the prompt, SimpleAR's form of
 * no words, LlamaGen's own vectors (by its authors' logits). */
static double score_without(const descendant *t, size_t k)
{
    err e = {0};
    double sum = 0;
    if (k == LLAMAGEN)
        return json_number_value(json_object_get(t->json, "without"));
    limn_model *m = limn_model_open(dev, descendant_model, &e);
    good(m, &e);
    for (int i = 0; i < ITEMS; i++) {
        int32_t *ids = NULL, row[256];
        size_t n = 0, used = 0;
        good(k == SIMPLEAR ? model_tokenize_negative(m, "", &ids, &n, &e)
                           : limn_tokenize(m, t->captions[i], &ids, &n, &e),
             &e);
        assert_int_equal(k == SIMPLEAR, n == 2);
        if (k == SIMPLEAR)
            memcpy(row, ids, n * sizeof *ids);
        else
            good(m->transformer->kind->null_row(m->transformer, ids, n, row, &used, &e), &e);
        sum += score(m, row, n, t->codes + i * t->cells, t->cells);
        free(ids);
    }
    limn_model_free(&m);
    return sum / ITEMS;
}

static void captions_are_left_out_as_guidance_has_it(void **state)
{
    (void)state;
    for (size_t k = 0; k < json_array_size(training); k++) {
        descendant t;
        descendant_open(&t, training, k, DTYPE_F32);
        double wanted = score_without(&t, k);
        train_dalle_options o = descendant_options(1);
        o.condition_dropout = 1;
        train(&o);
        assert_true(fabs(golden_training_loss(descendant_tuned, 1) - wanted) < 1e-5 * wanted);
    }
}

/* The codes of picture i by the model's own encoder. */
static void encode(limn_model *m, int i, int32_t codes[CELLS])
{
    err e = {0};
    image im = {0}, small = {0};
    good(image_read(&im, descendant_picture(i), &e) &&
             image_fit(&small, &im, m->info.encode_width, m->info.encode_height, &e) &&
             limn_encode(m, small.pixels, 1, codes, NULL, &e),
         &e);
    image_release(&im);
    image_release(&small);
}

static void check_encoding(size_t k)
{
    err e = {0};
    descendant t;
    double sum = 0;
    descendant_open(&t, training, k, DTYPE_F32);
    limn_model *m = limn_model_open(dev, descendant_model, &e);
    good(m, &e);
    for (int i = 0; i < ITEMS; i++) {
        int32_t codes[CELLS], *ids = NULL;
        size_t n = 0;
        encode(m, i, codes);
        good(limn_tokenize(m, t.captions[i], &ids, &n, &e), &e);
        sum += score(m, ids, n, codes, t.cells);
        free(ids);
    }
    limn_model_free(&m);
    train_dalle_options o = descendant_options(1);
    o.made_codes = NULL;
    train(&o);
    assert_true(fabs(golden_training_loss(descendant_tuned, 1) - sum / ITEMS) < 1e-5);
}

static void pictures_are_encoded(void **state)
{
    (void)state;
    check_encoding(JANUS);    /* LlamaGen's tokenizer of pictures */
    check_encoding(SIMPLEAR); /* NVIDIA's */
}

/* From pictures and captions to the same pictures by their captions. */
static void pictures_are_learned(void **state)
{
    (void)state;
    for (size_t k = 0; k < json_array_size(training); k++) {
        err e = {0};
        descendant t;
        int32_t wanted[ITEMS][CELLS], codes[CELLS];
        descendant_open(&t, training, k, DTYPE_F32);
        limn_model *m = limn_model_open(dev, descendant_model, &e);
        good(m, &e);
        for (int i = 0; i < ITEMS; i++)
            encode(m, i, wanted[i]);
        limn_model_free(&m);
        train_dalle_options o = descendant_options(60);
        o.made_codes = NULL;
        train(&o);
        assert_true(golden_training_loss(descendant_tuned, 60) < 0.1);
        m = limn_model_open(dev, descendant_tuned, &e);
        good(m, &e);
        limn_generate_options g = limn_generate_defaults(m);
        g.temperature = 0;
        g.guidance = 1;
        for (int i = 0; i < ITEMS; i++) {
            g.prompt = t.captions[i];
            good(limn_generate(m, &g, codes, &e), &e);
            assert_memory_equal(codes, wanted[i], (size_t)t.cells * sizeof *codes);
        }
        limn_model_free(&m);
    }
}

static void what_does_not_go_together_is_refused(void **state)
{
    (void)state;
    err e = {0};
    descendant t;
    const char *files[] = {TEST_DATA "/golden/simplear/model.safetensors", TEST_DATA "/golden/simplear/decoder.jit"};
    const char *size = "image_size=48";
    descendant_open(&t, training, SIMPLEAR, DTYPE_F32);
    good(import_convert(&(import_request){.inputs = files,
                                          .n_inputs = COUNT(files),
                                          .output = descendant_model,
                                          .settings = &size,
                                          .n_settings = 1},
                        &e),
         &e);
    train_dalle_options o = descendant_options(1);
    o.made_codes = NULL;
    refused(&o, "its codec has a decoder alone, and can't encode pictures (make their codes elsewhere");
    o = descendant_options(1);
    good(npy_write(descendant_codes, DTYPE_I32, 2, (int64_t[]){1, t.cells}, t.codes, &e), &e);
    refused(&o, "its shape isn't that of the codes of 2 pictures, [2, 9]");
    t.codes[3] = 1728;
    good(npy_write(descendant_codes, DTYPE_I32, 2, (int64_t[]){ITEMS, t.cells}, t.codes, &e), &e);
    refused(&o, "code 1728 of row 0: the transformer knows codes 0 to 1727");
    o.model.base.text_length = 64;
    refused(&o, "`text_length` 64: the transformer of ");
}

int main(void)
{
    dev = support_device();
    if (!(training = descendants_load()))
        return 1;
    const struct CMUnitTest tests[] = {
        TEST(each_learns_as_its_twin_does),
        TEST(rows_do_not_depend_on_others),
        TEST(captions_are_left_out_as_guidance_has_it),
        TEST(pictures_are_encoded),
        TEST(pictures_are_learned),
        TEST(what_does_not_go_together_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(training);
    device_free(dev);
    return failed;
}
