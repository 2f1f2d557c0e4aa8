/* Diffusion models learn: golden instances of Stable Diffusion, through limn convert and train lora or train unet, as
 * tools/make_golden_unet_training.py derives it; what is written, pauses, and what can't be trained.
 * usage: unet_training_test [PATTERN]     the tests whose names match */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_training.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"
#include "train/train.h"

#define FOLDER TEST_DATA "/golden/diffusion/"

enum { ITEMS = 2 };
enum { SD15, SD21 }; /* the instances */

static device *dev;
static json_t *training;
static char data[512], origin[512], tuned[512], adapter[512];

static int number_of(const json_t *t, const char *key)
{
    return (int)json_integer_value(json_object_get(t, key));
}

/* ---- models and data -------------------------------------------------------------------------------------------- */

static void convert(const char *name, dtype type)
{
    err e = {0};
    char folder[600];
    const char *input = folder;
    snprintf(folder, sizeof folder, FOLDER "%s", name);
    unlink(origin);
    good(import_convert(
             &(import_request){.inputs = &input, .n_inputs = 1, .output = origin, .typed = true, .type = type}, &e),
         &e);
}

/* Pictures of the instance's size, with its captions. */
static void write_data(const json_t *t)
{
    const int width = number_of(t, "width"), height = number_of(t, "height");
    err e = {0};
    good(file_make_directory(data, &e), &e);
    for (int i = 0; i < ITEMS; i++) {
        char path[600];
        image im = {0};
        snprintf(path, sizeof path, "%s/%d.png", data, i);
        good(image_new(&im, width, height, &e), &e);
        for (int k = 0; k < width * height * 3; k++)
            im.pixels[k] = (uint8_t)(k * (7 + 4 * i) + 60 * i);
        good(image_write_png(&im, path, NULL, 0, &e), &e);
        image_release(&im);
        snprintf(path, sizeof path, "%s/%d.txt", data, i);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "%s\n", json_string_value(json_array_get(json_object_get(t, "captions"), (size_t)i)));
        fclose(f);
    }
}

/* The instance's model and data. */
static const json_t *open_instance(size_t k, dtype type)
{
    const json_t *t = json_array_get(training, k);
    convert(json_string_value(json_object_get(t, "name")), type);
    write_data(t);
    return t;
}

/* Of a run of so many steps, each with both pictures; what was there is removed.  lora: of adapters. */
static train_unet_options options(const json_t *t, int64_t steps, bool lora)
{
    static const char *sources[1], *const ends[] = {"", ".checkpoint", ".csv", ".codes"};
    train_unet_options o = train_unet_defaults();
    char path[600];
    o.run.output = lora ? adapter : tuned;
    for (size_t i = 0; i < COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", o.run.output, ends[i]);
        unlink(path);
    }
    sources[0] = data;
    o.run.init = origin;
    o.run.sources = sources;
    o.run.n_sources = 1;
    o.run.batch = ITEMS;
    o.run.save_every = o.run.sample_every = 0;
    o.run.settings = golden_training_settings(steps);
    o.lora = lora ? number_of(t, "rank") : 0;
    o.width = number_of(t, "width");
    o.height = number_of(t, "height");
    return o;
}

static void train(const train_unet_options *o)
{
    err e = {0};
    good(train_unet(dev, o, &e), &e);
}

static uint8_t *bytes_of(const char *path, size_t *n)
{
    err e = {0};
    file_map m = {0};
    good(file_map_open(&m, path, &e), &e);
    uint8_t *copy = malloc(m.size);
    assert_non_null(copy);
    memcpy(copy, m.data, *n = m.size);
    file_map_release(&m);
    return copy;
}

static void same_file(const char *path, const uint8_t *want, size_t n)
{
    size_t have_n;
    uint8_t *have = bytes_of(path, &have_n);
    assert_int_equal(have_n, n);
    assert_memory_equal(have, want, n);
    free(have);
}

/* ---- learning --------------------------------------------------------------------------------------------------- */

static void learns_as_its_twin(size_t k, bool lora)
{
    const json_t *t = open_instance(k, DTYPE_F32), *want = json_object_get(t, lora ? "adapters" : "whole");
    const char *name = json_string_value(json_object_get(t, "name"));
    const json_t *losses = json_object_get(want, "losses");
    train_unet_options o = options(t, 1, lora);
    o.run.settings.clip = 0;
    train(&o);
    golden_training_gradients(o.run.output, name, json_object_get(want, "gradients"));
    o = options(t, (int64_t)json_array_size(losses), lora);
    train(&o);
    golden_training_losses(o.run.output, name, losses);
}

/* Heads of each width are programs of their own, which some compilers take long for. */
static size_t first_twin(void)
{
    return getenv("LIMN_TEST_BRIEF") ? SD21 : SD15;
}

static void whole_networks_learn_as_their_twins_do(void **state)
{
    (void)state;
    for (size_t k = first_twin(); k < json_array_size(training); k++)
        learns_as_its_twin(k, false);
}

static void adapters_learn_as_their_twins_do(void **state)
{
    (void)state;
    for (size_t k = first_twin(); k < json_array_size(training); k++)
        learns_as_its_twin(k, true);
}

/* Blocks that are done again give the same bits, and a batch in parts, or beside frozen weights that are rounded, the
 * same to rounding. */
static void blocks_may_be_done_again(void **state)
{
    (void)state;
    const json_t *t = open_instance(SD21, DTYPE_F32);
    size_t n;
    train_unet_options o = options(t, 2, true);
    train(&o);
    uint8_t *want = bytes_of(adapter, &n);
    const double first = golden_training_loss(adapter, 1), second = golden_training_loss(adapter, 2);
    o = options(t, 2, true);
    o.recompute = true;
    train(&o);
    same_file(adapter, want, n);
    free(want);
    o = options(t, 2, true);
    o.run.batch = 1;
    o.run.accumulate = ITEMS;
    train(&o);
    assert_true(fabs(golden_training_loss(adapter, 1) - first) < 1e-5 * first);
    assert_true(fabs(golden_training_loss(adapter, 2) - second) < 1e-5 * second);
    open_instance(SD21, DTYPE_F16);
    o = options(t, 1, true);
    train(&o);
    assert_true(fabs(golden_training_loss(adapter, 1) - first) < 1e-3 * first);
}

/* The mean loss of the last steps beside that of a run that doesn't learn: the same times and noise. */
static double left_of_loss(const json_t *t, bool adapters, float lr)
{
    enum { STEPS = 80, LAST = 40 };
    double sums[2] = {0, 0};
    for (int learns = 0; learns < 2; learns++) {
        train_unet_options o = options(t, STEPS, adapters);
        o.lora *= 4;
        o.mlp = true;
        o.run.settings.lr = o.run.settings.lr_end = learns ? lr : 0;
        train(&o);
        for (int i = STEPS - LAST; i < STEPS; i++)
            sums[learns] += golden_training_loss(o.run.output, i + 1);
    }
    print_message("loss of %s: %.4f before, %.4f after\n", adapters ? "adapters" : "the network", sums[0] / LAST,
                  sums[1] / LAST);
    return sums[1] / sums[0];
}

static void pictures_are_learned(void **state)
{
    (void)state;
    const json_t *t = open_instance(SD21, DTYPE_F32);
    assert_true(left_of_loss(t, true, 8e-3f) < 0.95);
    assert_true(left_of_loss(t, false, 5e-3f) < 0.8);
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static bool pause_after_two(void *context, const train_progress *p)
{
    (void)context;
    return p->step < 2;
}

static void a_run_resumes_in_the_same_bytes(void **state)
{
    (void)state;
    const json_t *t = open_instance(SD21, DTYPE_F32);
    for (int lora = 0; lora < 2; lora++) {
        size_t n;
        train_unet_options o = options(t, 4, lora);
        o.condition_dropout = 0.5f;
        train(&o);
        uint8_t *want = bytes_of(o.run.output, &n);
        o = options(t, 4, lora);
        o.condition_dropout = 0.5f;
        o.run.progress = pause_after_two;
        train(&o);
        o.run.progress = NULL;
        o.run.resume = true;
        train(&o);
        same_file(o.run.output, want, n);
        free(want);
        err e = {0};
        o.width = o.height = 16;
        assert_false(train_unet(dev, &o, &e));
        has(e.text, "it was begun with other data");
    }
}

/* The names and shapes that diffusers has. */
static void adapters_are_in_diffusers_layout(void **state)
{
    static const struct {
        const char *name;
        int64_t a, b; /* the numbers that it reads and makes */
    } some[] = {{"unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", 16, 16},
                {"unet.up_blocks.2.attentions.1.transformer_blocks.0.attn2.to_v", 40, 16},
                {"unet.mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0", 32, 32},
                {"unet.up_blocks.1.attentions.0.transformer_blocks.0.ff.net.0.proj", 16, 128}};
    (void)state;
    const json_t *t = open_instance(SD21, DTYPE_F32);
    for (int mlp = 0; mlp < 2; mlp++) {
        err e = {0};
        file_map m = {0};
        char name[200];
        train_unet_options o = options(t, 1, true);
        o.mlp = mlp;
        train(&o);
        good(file_map_open(&m, adapter, &e), &e);
        safetensors *s = safetensors_open(m.data, m.size, adapter, &e);
        good(s, &e);
        /* 4 on the way down, 1 in the middle, 6 on the way up */
        assert_int_equal(safetensors_count(s), 11 * (mlp ? 10 : 8) * 2);
        for (size_t i = 0; i < COUNT(some) - !mlp; i++) {
            snprintf(name, sizeof name, "%s.lora_A.weight", some[i].name);
            const file_tensor *a = safetensors_find(s, name);
            snprintf(name, sizeof name, "%s.lora_B.weight", some[i].name);
            const file_tensor *b = safetensors_find(s, name);
            if (!a || !b)
                fail_msg("%s is missing", name);
            assert_true(a->shape[0] == 2 && a->shape[1] == some[i].a);
            assert_true(b->shape[0] == some[i].b && b->shape[1] == 2);
        }
        safetensors_free(s);
        file_map_release(&m);
    }
}

/* A whole model draws, and has what it had besides its U-Net. */
static void a_trained_model_draws(void **state)
{
    (void)state;
    err e = {0};
    const json_t *t = open_instance(SD21, DTYPE_F16);
    train_unet_options o = options(t, 1, false);
    o.run.settings.ema = 0.9f;
    train(&o);
    limn_model *before = limn_model_open(dev, origin, &e);
    good(before, &e);
    limn_model *m = limn_model_open(dev, tuned, &e);
    good(m, &e);
    assert_int_equal(m->info.width, number_of(t, "width"));
    assert_int_equal(gguf_tensor_count(m->gguf), gguf_tensor_count(before->gguf));
    limn_generate_options g = limn_generate_defaults(m);
    int32_t *codes = calloc((size_t)m->info.grid_width * (size_t)m->info.grid_height, sizeof *codes);
    g.prompt = "a bowl of soup";
    g.steps = 2;
    good(limn_generate(m, &g, codes, &e), &e);
    free(codes);
    limn_model_free(&m);
    limn_model_free(&before);
}

/* Through the API: the folder, sample pictures of the model with its adapter, and a picture. */
static void an_adapter_draws(void **state)
{
    (void)state;
    err e = {0};
    char path[700];
    const json_t *t = json_array_get(training, SD21);
    const char *style = support_path("style"), *sources = data;
    const int width = number_of(t, "width"), height = number_of(t, "height");
    write_data(t);
    convert("sd_turbo", DTYPE_Q8_0);
    limn_train_options q = {.size = sizeof q,
                            .data = &sources,
                            .n_data = 1,
                            .output = style,
                            .init = origin,
                            .existing = LIMN_TRAIN_OVERWRITE,
                            .steps = 2,
                            .batch = ITEMS,
                            .lr = 1,
                            .sample_every = 2};
    limn_train_unet_options o = {.size = sizeof o, .lora = 3, .width = width, .height = height};
    good(limn_train_unet(dev, &q, &o, &e), &e);
    snprintf(path, sizeof path, "%s/pytorch_lora_weights.safetensors.png", style);
    image im = {0};
    good(image_read(&im, path, &e), &e);
    assert_true(im.width >= 2 * width && im.height >= height);
    image_release(&im);
    const limn_adapter a = {style, 1};
    float *drawn[2];
    for (int i = 0; i < 2; i++) {
        limn_model *m = limn_model_open_with(dev, origin,
                                             &(limn_model_options){.size = sizeof(limn_model_options),
                                                                   .adapters = &a,
                                                                   .n_adapters = (size_t)i,
                                                                   .width = width,
                                                                   .height = height},
                                             &e);
        good(m, &e);
        limn_generate_options g = limn_generate_defaults(m);
        drawn[i] = calloc((size_t)m->info.grid_width * (size_t)m->info.grid_height, sizeof *drawn[i]);
        g.prompt = "a bowl of soup";
        good(limn_generate(m, &g, (int32_t *)drawn[i], &e), &e);
        limn_model_free(&m);
    }
    assert_true(isfinite(drawn[1][0]) && fabsf(drawn[1][0] - drawn[0][0]) > 1e-4f);
    free(drawn[0]);
    free(drawn[1]);
}

/* ---- what can't be ---------------------------------------------------------------------------------------------- */

static void refused(const train_unet_options *o, const char *part)
{
    err e = {0};
    assert_false(train_unet(dev, o, &e));
    has(e.text, part);
}

/* A model of that U-Net, what it lacks being sd15's. */
static void convert_unet(const char *name)
{
    static const char *const parts[] = {"scheduler", "vae", "text_encoder", "tokenizer"};
    err e = {0};
    char from[600], to[700];
    const char *folder = support_path(name);
    good(file_make_directory(folder, &e), &e);
    for (size_t i = 0; i <= COUNT(parts); i++) {
        const char *part = i < COUNT(parts) ? parts[i] : "unet";
        snprintf(from, sizeof from, FOLDER "%s/%s", i < COUNT(parts) ? "sd15" : name, part);
        snprintf(to, sizeof to, "%s/%s", folder, part);
        assert_int_equal(symlink(from, to), 0);
    }
    unlink(origin);
    good(import_convert(&(import_request){.inputs = &folder, .n_inputs = 1, .output = origin}, &e), &e);
}

static void what_cannot_be_trained_is_refused(void **state)
{
    (void)state;
    char path[600];
    const json_t *t = open_instance(SD21, DTYPE_F32);
    train_unet_options o = options(t, 1, true);
    o.width = 57;
    refused(&o, "57 x 32: the sides of its pictures are multiples of 4");
    o = options(t, 1, true);
    o.lora = 17;
    refused(&o, "has no adapter of that rank");
    o = options(t, 1, true);
    o.run.init = NULL;
    refused(&o, "no model to begin from");
    o = options(t, 1, true);
    for (int i = 0; i < ITEMS; i++) {
        snprintf(path, sizeof path, "%s/%d.txt", data, i);
        unlink(path);
    }
    refused(&o, "caption");
    write_data(t);
    uint64_t limit = dev->memory_limit;
    dev->memory_limit = 1 << 20;
    o = options(t, 1, true);
    refused(&o, "train lora");
    dev->memory_limit = limit;
    convert_unet("sd15_inpaint");
    refused(&o, "a model for painting parts of pictures");
    convert_unet("lcm");
    refused(&o, "a latent consistency model");
    train_dalle_options d = train_dalle_defaults();
    err e = {0};
    d.run = o.run;
    assert_false(train_dalle(dev, &d, &e));
    has(e.text, "limn train lora");
}

int main(int argc, char **argv)
{
    json_error_t why;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    if (!(training = json_load_file(TEST_DATA "/unet_training.json", 0, &why))) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    snprintf(data, sizeof data, "%s", support_path("data"));
    snprintf(origin, sizeof origin, "%s", support_path("model.gguf"));
    snprintf(tuned, sizeof tuned, "%s", support_path("tuned.gguf"));
    snprintf(adapter, sizeof adapter, "%s", support_path("adapter.safetensors"));
    const struct CMUnitTest tests[] = {
        TEST(whole_networks_learn_as_their_twins_do),
        TEST(adapters_learn_as_their_twins_do),
        TEST(blocks_may_be_done_again),
        TEST(pictures_are_learned),
        TEST(a_run_resumes_in_the_same_bytes),
        TEST(adapters_are_in_diffusers_layout),
        TEST(a_trained_model_draws),
        TEST(an_adapter_draws),
        TEST(what_cannot_be_trained_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(training);
    device_free(dev);
    return failed;
}
