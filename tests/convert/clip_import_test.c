/* Published CLIPs: tiny instances (tools/make_golden_clip_import.py) through the importer, then the cosines of texts
 * and pictures against PyTorch's, the filters that pictures are resized by against Pillow's, and files that don't fit.
 * usage: clip_import_test [DIR]: other instances. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "convert/convert.h"
#include "io/image.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"

static device *dev;
static const char *directory = TEST_DATA "/clip";

typedef struct instance {
    const char *name, *file;
    const char *tokenizer; /* NULL: beside the file */
    const char *texts[3];
    int filter, start_id, end_id;
    activation act;
} instance;

/* Scored in the order of the reference; the second text is longer than what each model reads but the first's. */
static const instance instances[] = {
    {"openai",
     "openai.pt",
     TEST_DATA "/clip/huggingface",
     {"a cat", "  A CAT on\ta mat, 42", "cats &amp; on"},
     IMAGE_BICUBIC,
     516,
     517,
     ACT_QUICK_GELU},
    {"huggingface",
     "huggingface/model.safetensors",
     NULL,
     {"a cat", "  A CAT on\ta mat, 42", "cats &amp; on"},
     IMAGE_BICUBIC,
     516,
     517,
     ACT_GELU_ERF},
    {"ru",
     "ru/pytorch_model.bin",
     TEST_DATA "/gpt/yttm/bpe.model",
     {"кот", "Красивая тян из аниме"},
     IMAGE_BILINEAR,
     2,
     3,
     ACT_QUICK_GELU},
};

typedef struct golden {
    file_map file;
    safetensors *tensors;
} golden;

static golden golden_open(const char *name)
{
    golden g = {0};
    err e = {0};
    char path[300];
    snprintf(path, sizeof path, "%s/%s.safetensors", directory, name);
    good(file_map_open(&g.file, path, &e), &e);
    good((g.tensors = safetensors_open(g.file.data, g.file.size, name, &e)) != NULL, &e);
    return g;
}

static void golden_close(golden *g)
{
    safetensors_free(g->tensors);
    file_map_release(&g->file);
}

static const file_tensor *of(const golden *g, const char *name)
{
    const file_tensor *t = safetensors_find(g->tensors, name);
    if (!t)
        fail_msg("no %s in the reference", name);
    return t;
}

static bool convert(const char *file, const char *words, err *e)
{
    char from[300];
    snprintf(from, sizeof from, "%s/%s", directory, file);
    const char *inputs[] = {from};
    return import_convert(
        &(import_request){.inputs = inputs, .n_inputs = 1, .output = support_path("clip.gguf"), .tokenizer = words}, e);
}

static void check_scale(model *m, const golden *g)
{
    err e = {0};
    float have = 0, want = 0;
    file_tensor_read(of(g, "log_scale"), 0, 1, &want);
    run_reset(m->run);
    run_read(m->run, m->clip->log_scale, &have);
    good(run_finish(m->run, &e), &e);
    assert_true(have == want);
}

static void cosines_are_those_of_pytorch(void **state)
{
    const instance *in = *state;
    golden g = golden_open(in->name);
    err e = {0};
    good(convert(in->file, in->tokenizer, &e), &e);
    model *m = limn_model_open(dev, support_path("clip.gguf"), &e);
    good(m && model_load(m, USE_CLIP, &e), &e);
    const clip *c = m->clip;
    assert_int_equal(c->filter, in->filter);
    assert_int_equal(c->start_id, in->start_id);
    assert_int_equal(c->end_id, in->end_id);
    assert_int_equal(c->act, in->act);
    check_scale(m, &g);
    const file_tensor *pixels = of(&g, "pixels"), *scores = of(&g, "scores");
    assert_int_equal(pixels->shape[1], c->image_size);
    for (int i = 0; i < (int)scores->shape[0]; i++) {
        float want[3], have[3] = {0};
        file_tensor_read(scores, 3 * i, 3, want);
        good(limn_rank(m, in->texts[i], pixels->data, 3, c->image_size, c->image_size, have, &e), &e);
        for (int k = 0; k < 3; k++)
            if (!(fabsf(have[k] - want[k]) <= 1e-4f))
                fail_msg("text %d, picture %d: %g, and PyTorch says %g", i, k, (double)have[k], (double)want[k]);
    }
    limn_model_free(&m);
    golden_close(&g);
}

/* The centre of a picture, larger and smaller; Pillow's weights are rounded. */
static void filters_are_those_of_pillow(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        image_filter filter;
        int side;
    } cases[] = {{"bicubic16", IMAGE_BICUBIC, 16},
                 {"bicubic37", IMAGE_BICUBIC, 37},
                 {"bilinear16", IMAGE_BILINEAR, 16},
                 {"bilinear37", IMAGE_BILINEAR, 37}};
    golden g = golden_open("huggingface");
    err e = {0};
    const file_tensor *picture = of(&g, "picture");
    const image from = {(int)picture->shape[1], (int)picture->shape[0], (uint8_t *)(uintptr_t)picture->data};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        image to = {0};
        const uint8_t *want = of(&g, cases[i].name)->data;
        good(image_fit_by(&to, &from, cases[i].side, cases[i].side, cases[i].filter, &e), &e);
        for (int k = 0; k < cases[i].side * cases[i].side * 3; k++)
            if (abs(to.pixels[k] - want[k]) > 1)
                fail_msg("%s: %d where Pillow has %d, at place %d", cases[i].name, to.pixels[k], want[k], k);
        image_release(&to);
    }
    golden_close(&g);
}

static void refuse(const char *file, const char *words, const char *what)
{
    err e = {0};
    bool done = convert(file, words, &e);
    refused_with(done, &e, what, file, NULL);
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    char lonely[300];
    snprintf(lonely, sizeof lonely, "%s", support_path("lonely.safetensors"));
    refuse("openai.pt", TEST_DATA "/gpt/yttm/nothing", "nothing");
    refuse("ru/pytorch_model.bin", TEST_DATA "/clip/huggingface", "518 tokens, and the CLIP's vocabulary has 70");
    /* the same without config.json: heads of 16 numbers are no published ones */
    FILE *from = fopen(TEST_DATA "/clip/huggingface/model.safetensors", "rb"), *to = fopen(lonely, "wb");
    assert_true(from && to);
    for (int c; (c = fgetc(from)) != EOF;)
        fputc(c, to);
    fclose(from);
    assert_int_equal(fclose(to), 0);
    const char *inputs[] = {lonely};
    err e = {0};
    assert_false(
        import_convert(&(import_request){.inputs = inputs, .n_inputs = 1, .output = support_path("clip.gguf")}, &e));
    assert_non_null(strstr(e.text, "width 24 is no heads of 64 (config.json beside the file tells)"));
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[5];
    size_t n = 0;
    for (; n < sizeof instances / sizeof *instances; n++)
        tests[n] = (struct CMUnitTest){.name = instances[n].name,
                                       .test_func = cosines_are_those_of_pytorch,
                                       .initial_state = (void *)(uintptr_t)&instances[n]};
    tests[n++] = (struct CMUnitTest){.name = "filters", .test_func = filters_are_those_of_pillow};
    if (argc > 1)
        directory = argv[1];
    else
        tests[n++] = (struct CMUnitTest){.name = "refused", .test_func = what_does_not_fit_is_refused};
    dev = support_device();
    int failed = _cmocka_run_group_tests("clip_import", tests, n, NULL, NULL);
    device_free(dev);
    return failed;
}
