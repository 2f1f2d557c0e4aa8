/* DALLE-pytorch's transformers: tiny instances (tools/make_golden_dalle_pytorch.py) through the importer, then logits
 * of whole sequences and of single steps, greedy codes with and without guidance, scores and pictures, against what
 * their authors' code makes of them. usage: dallepy_import_test [DIR NAME...]: other instances, DIR/NAME.pt with
 * DIR/NAME.safetensors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "convert/convert.h"
#include "golden_npz.h"
#include "io/safetensors.h"
#include "models/session.h"
#include "support.h"

static device *dev;
static const char *directory = TEST_DATA "/dallepy";
static bool words = true; /* the instances' vocabularies hold check_words' tokens */

typedef struct instance {
    file_map golden_file;
    safetensors *golden;
    model *m;
    const transformer *d;
    session s;
    int cells, ids, all; /* ids, and ids with codes, that logits are of */
} instance;

/* A whole array of the reference; the caller frees it. */
static float *golden_of(const instance *m, const char *name)
{
    const file_tensor *t = safetensors_find(m->golden, name);
    if (!t)
        fail_msg("no %s in the reference", name);
    float *out = malloc((size_t)file_tensor_count(t) * sizeof *out);
    file_tensor_read(t, 0, file_tensor_count(t), out);
    return out;
}

static void open_instance(instance *m, const char *name)
{
    err e = {0};
    char from[300], golden[300];
    const char *to = support_path("instance.gguf");
    snprintf(from, sizeof from, "%s/%s.pt", directory, name);
    snprintf(golden, sizeof golden, "%s/%s.safetensors", directory, name);
    /* one of them has its codec beside it, in OpenAI's files */
    const char *inputs[] = {TEST_DATA "/codecs_decoder.pkl", from, TEST_DATA "/codecs_encoder.pkl"};
    bool beside = !strcmp(name, "openai");
    import_request q = {.inputs = inputs + !beside,
                        .n_inputs = beside ? 3 : 1,
                        .output = to,
                        .tokenizer = words ? support_path("bpe_simple_vocab.txt") : NULL};
    FILE *f = words ? fopen(q.tokenizer, "w") : NULL;
    assert_true(!words || (f && fputs("#version: 0.2\na t</w>\nc at</w>\n", f) >= 0 && fclose(f) == 0));
    good(import_convert(&q, &e), &e);
    good(file_map_open(&m->golden_file, golden, &e), &e);
    good((m->golden = safetensors_open(m->golden_file.data, m->golden_file.size, golden, &e)) != NULL, &e);
    good((m->m = limn_model_open(dev, to, &e)) != NULL, &e);
    good(model_load(m->m, ~0u, &e), &e);
    m->d = m->m->transformer;
    if (!m->d)
        return;
    m->cells = m->d->grid_width * m->d->grid_height;
    m->ids = (int)m->d->text_head->w.shape[0];
    m->all = m->ids + m->d->codes;
    good(session_open(&m->s, m->d, m->m->run, 1, m->d->text_length, DTYPE_F32, &e), &e);
}

static void close_instance(instance *m)
{
    session_release(&m->s);
    limn_model_free(&m->m);
    safetensors_free(m->golden);
    file_map_release(&m->golden_file);
}

/* The logits of t positions from `first` on: of text before the last of text, else of codes; out[t, all], the others
 * untouched. */
static void step(instance *m, int first, int t, const int32_t *codes, float *out)
{
    const transformer *d = m->d;
    run *r = m->s.r;
    err e = {0};
    float *text = malloc((size_t)(t * m->ids) * sizeof *text), *image = malloc((size_t)(t * d->codes) * sizeof *image);
    run_write(r, m->s.codes, codes);
    run_write(r, m->s.position, &first);
    tensor x = d->kind->forward(r, d, m->s.ids, m->s.codes, &m->s.memory, m->s.position, t);
    run_read(r, op_linear(r, x, d->text_head, ACT_NONE), text);
    run_read(r, op_linear(r, x, d->image_head, ACT_NONE), image);
    good(run_finish(r, &e), &e);
    for (int i = 0; i < t; i++) {
        if (first + i < d->text_length - 1)
            memcpy(out + i * m->all, text + i * m->ids, (size_t)m->ids * sizeof *out);
        else
            memcpy(out + i * m->all + m->ids, image + i * d->codes, (size_t)d->codes * sizeof *out);
    }
    free(text);
    free(image);
}

static void compare(const float *have, const float *want, int n, const char *what)
{
    float least = INFINITY, most = -INFINITY, worst = 0;
    for (int i = 0; i < n; i++)
        if (want[i] > -1e29f) { /* the others are masked */
            least = fminf(least, want[i]);
            most = fmaxf(most, want[i]);
            worst = isfinite(have[i]) ? fmaxf(worst, fabsf(have[i] - want[i])) : INFINITY;
        }
    print_message("%s: %g of the range\n", what, (double)(worst / (most - least)));
    if (!(worst <= 1e-4f * (most - least)))
        fail_msg("%s: off by %g of a range of %g", what, (double)worst, (double)(most - least));
}

/* Whole numbers of the reference's row of n. */
static int32_t *golden_row(const instance *m, const char *name, int row, int n)
{
    float *all = golden_of(m, name);
    int32_t *out = malloc((size_t)n * sizeof *out);
    for (int i = 0; i < n; i++)
        out[i] = (int32_t)all[row * n + i];
    free(all);
    return out;
}

/* Logits of the row's text and codes, all at once and step by step; without its text where there is no condition. */
static void check_logits(instance *m, int row, bool condition)
{
    const transformer *d = m->d;
    int n = d->text_length - 1, positions = d->prefix + m->cells - 1;
    err e = {0};
    int32_t *ids = golden_row(m, "text", row, n), *codes = golden_row(m, "codes", row, m->cells);
    int32_t *line = calloc((size_t)n + 1, sizeof *line);
    float *want = golden_of(m, condition ? "logits" : "logits_null"), *here = want + row * positions * m->all;
    float *out = calloc((size_t)(positions * m->all), sizeof *out);
    size_t used;
    good(d->kind->text_row(d, ids, condition ? (size_t)n : 0, line, &used, &e), &e);
    run_write(m->s.r, m->s.ids, line);
    step(m, 0, positions, codes, out);
    compare(out, here, positions * m->all, condition ? "whole" : "without condition");
    memset(out, 0, (size_t)(positions * m->all) * sizeof *out);
    step(m, 0, d->prefix, codes, out);
    for (int p = d->prefix; p < positions; p++)
        step(m, p, 1, codes, out + p * m->all);
    compare(out, here, positions * m->all, "by steps");
    free(ids);
    free(codes);
    free(line);
    free(want);
    free(out);
}

static void check_score(instance *m, int row)
{
    int n = m->d->text_length - 1, positions = m->d->prefix + m->cells - 1, used = n;
    int32_t *ids = golden_row(m, "text", row, n), *codes = golden_row(m, "codes", row, m->cells);
    float *all = golden_of(m, "logits"), *logits = all + row * positions * m->all;
    double text = 0, image = 0;
    limn_score s;
    err e = {0};
    while (used && !ids[used - 1])
        used--;
    for (int i = 0; i < used; i++)
        text += log_probability(logits + i * m->all, m->ids, ids[i]);
    for (int i = 0; i < m->cells; i++)
        image += log_probability(logits + (n + i) * m->all + m->ids, m->d->codes, codes[i]);
    good(limn_score_codes(m->m, ids, (size_t)n, codes, NULL, &s, &e), &e);
    assert_int_equal(s.text_tokens, used);
    assert_int_equal(s.image_tokens, m->cells);
    if (!(fabs(s.text_log_likelihood - text) <= 1e-4 * fabs(text)) ||
        !(fabs(s.image_log_likelihood - image) <= 1e-4 * fabs(image)))
        fail_msg("score: %g and %g, and the reference says %g and %g", s.text_log_likelihood, s.image_log_likelihood,
                 text, image);
    free(ids);
    free(codes);
    free(all);
}

/* Greedy codes from recorded steps, three pictures at once. */
static void check_greedy(instance *m, int row, const char *name, float guidance)
{
    enum { COUNT = 3 };
    int n = m->d->text_length - 1;
    int32_t *ids = golden_row(m, "text", row, n), *want = golden_row(m, name, row, m->cells);
    int32_t *have = calloc(COUNT * (size_t)m->cells, sizeof *have);
    err e = {0};
    limn_generate_options o = {.text_ids = ids, .n_text_ids = (size_t)n, .count = COUNT, .guidance = guidance};
    good(limn_generate(m->m, &o, have, &e), &e);
    for (int i = 0; i < COUNT * m->cells; i++)
        if (have[i] != want[i % m->cells])
            fail_msg("%s: picture %d, cell %d: %d where %d is expected", name, i / m->cells, i % m->cells, have[i],
                     want[i % m->cells]);
    free(ids);
    free(want);
    free(have);
}

/* The picture of the first row's greedy codes. */
static void check_picture(instance *m)
{
    int count = 3 * m->m->info.width * m->m->info.height;
    int32_t *codes = golden_row(m, "greedy", 0, m->cells);
    float *want = golden_of(m, "picture"), *have = calloc((size_t)count, sizeof *have);
    err e = {0};
    good(limn_decode(m->m, codes, 1, have, &e), &e);
    for (int i = 0; i < count; i++)
        if (!(fabsf(have[i] - want[i]) <= 0.2f / 255))
            fail_msg("picture: %g where %g is expected, at place %d", (double)have[i], (double)want[i], i);
    free(codes);
    free(want);
    free(have);
}

/* CLIP's: lower case, and merges within pieces. */
static void check_words(instance *m)
{
    static const int32_t want[] = {320, 513, 275};
    int32_t *ids = NULL;
    size_t n;
    err e = {0};
    if (!words)
        return;
    good(limn_tokenize(m->m, " A CAT 4", &ids, &n, &e), &e);
    assert_int_equal(n, 3);
    assert_memory_equal(ids, want, sizeof want);
    free(ids);
}

static void test_instance(void **state)
{
    instance m = {0};
    open_instance(&m, *state);
    check_words(&m);
    for (int row = 0; row < 2; row++) {
        check_logits(&m, row, true);
        check_score(&m, row);
        check_greedy(&m, row, "greedy", 1);
    }
    check_logits(&m, 0, false);
    check_greedy(&m, 0, "greedy_guided", 3);
    check_picture(&m);
    close_instance(&m);
}

/* Scores of a CLIP: the cosine of a picture's and a text's vectors, times what training learned. */
static void test_clip(void **state)
{
    instance m = {0};
    open_instance(&m, *state);
    check_words(&m);
    const clip *c = m.m->clip;
    int pixels = 3 * c->image_size * c->image_size, n = (int)safetensors_find(m.golden, "scores")->shape[0];
    float *want = golden_of(&m, "scores");
    uint8_t *rgb = malloc((size_t)pixels);
    for (int i = 0; i < n; i++) {
        int32_t *ids = golden_row(&m, "text", i, c->text_length), *picture = golden_row(&m, "pixels", i, pixels);
        for (int k = 0; k < pixels; k++)
            rgb[k] = (uint8_t)picture[k];
        double score = golden_clip_score(m.m, ids, (size_t)c->text_length, rgb);
        if (!(fabs(score - (double)want[i]) <= 1e-4)) /* scales went into weights that are F16 again */
            fail_msg("picture %d: %g, and the reference says %g", i, score, (double)want[i]);
        free(ids);
        free(picture);
    }
    free(want);
    free(rgb);
    close_instance(&m);
}

/* train_dalle.py --hug */
static void test_json_tokenizer(void **state)
{
    (void)state;
    static const int32_t want[] = {258, 287, 288};
    err e = {0};
    const char *input = TEST_DATA "/dallepy/absolute.pt";
    import_request q = {.inputs = &input,
                        .n_inputs = 1,
                        .output = support_path("instance.gguf"),
                        .tokenizer = TEST_DATA "/dallepy/tokenizer.json"};
    good(import_convert(&q, &e), &e);
    limn_model *m = limn_model_open(dev, q.output, &e);
    good(m != NULL, &e);
    int32_t *ids;
    size_t n;
    good(limn_tokenize(m, "A RED BEAR", &ids, &n, &e), &e);
    assert_int_equal(n, 3);
    assert_memory_equal(ids, want, sizeof want);
    free(ids);
    limn_model_free(&m);
}

static void refuse(const char *name, const char *setting, const char *what)
{
    err e = {0};
    char from[300];
    snprintf(from, sizeof from, "%s/%s.pt", directory, name);
    const char *inputs[] = {from};
    import_request q = {.inputs = inputs,
                        .n_inputs = 1,
                        .output = support_path("instance.gguf"),
                        .settings = &setting,
                        .n_settings = setting ? 1 : 0};
    bool done = import_convert(&q, &e);
    refused_with(done, &e, what, name, NULL);
}

static void test_refused(void **state)
{
    (void)state;
    refuse("openai", NULL, "no image codec inside (give its files too");
    refuse("mix", "heads=2", "`settings` heads: the files tell it themselves");
}

int main(int argc, char **argv)
{
    static char *const own[] = {"mix", "absolute", "shared", "openai", "vqgan", "clip"};
    char *const *names = argc > 2 ? argv + 2 : own;
    size_t n = argc > 2 ? (size_t)argc - 2 : sizeof own / sizeof *own;
    struct CMUnitTest tests[18];
    if (argc > 2) {
        directory = argv[1];
        words = false;
    }
    n = n < 16 ? n : 16;
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){.name = names[i],
                                       .test_func = strcmp(names[i], "clip") ? test_instance : test_clip,
                                       .initial_state = names[i]};
    if (argc <= 2) {
        tests[n++] = (struct CMUnitTest){.name = "json_tokenizer", .test_func = test_json_tokenizer};
        tests[n++] = (struct CMUnitTest){.name = "refused", .test_func = test_refused};
    }
    dev = support_device();
    int failed = _cmocka_run_group_tests("dallepy_import", tests, n, NULL, NULL);
    device_free(dev);
    return failed;
}
