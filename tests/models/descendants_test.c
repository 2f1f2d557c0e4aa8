/* Golden instances of DALL-E's descendants, tiny models with random weights in their published folders
 * (data/golden/README.md), through limn convert: tokens, logits, greedy codes and pictures as their authors' code has
 * them, with the device's own kernels and with those for GPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "convert/convert.h"
#include "golden_npz.h"
#include "ops/ops.h"
#include "support.h"

#define GOLDEN TEST_DATA "/golden/"
#define LOGITS 1e-5 /* of their range */
#define PIXELS 2e-5

enum { PROMPTS = 2 };

/* A folder below GOLDEN, and the names of its arrays. */
typedef struct instance {
    const char *folder, *setting; /* --set, or NULL */
    const char *before, *after;   /* what is around the user's words in tokenizer_cases.json */
    float guidance;               /* the model's own */
    const char *logits, *greedy, *pixels;
    const char *plain;    /* greedy codes without guidance; or NULL */
    const char *negative; /* greedy codes with an empty negative prompt; or NULL */
    bool encodes;
} instance;

#define JANUS                                                                                                          \
    .before = ": ", .after = "\n\n", .guidance = 5, .logits = "forced_logits", .greedy = "greedy_cfg5",                \
    .pixels = "greedy_pixels"

static const instance instances[] = {
    {"janus_pro", JANUS, .plain = "greedy_cfg1", .encodes = true},
    {"janus_1_3b", JANUS, .plain = "greedy_cfg1", .encodes = true},
    {"janus_hf", JANUS},
    {"simplear", "image_size=48", "image of ", "<|soi|>", 6, "forced_logits_cond", "greedy_only_codes",
     "only_codes_pixels", .negative = "greedy_only_codes_neg_empty", .encodes = true},
};
enum { INSTANCES = sizeof instances / sizeof *instances };

static device *dev;

/* The array "p0_NAME" of prompt p; without one (p < 0) "NAME". */
static npy read_array(golden_npz *f, int p, const char *name, dtype type)
{
    char whole[64];
    snprintf(whole, sizeof whole, p < 0 ? "%.0d%s" : "p%d_%s", p < 0 ? 0 : p, name);
    return golden_npz_read(f, whole, type);
}

static void same_codes(const int32_t *have, const npy *want, const char *what)
{
    for (int i = 0; i < want->count; i++)
        if (have[i] != ((const int32_t *)want->data)[i])
            fail_msg("%s: code %d is %d, not %d", what, i, have[i], ((const int32_t *)want->data)[i]);
}

/* The user's words of case p. */
static char *prompt_of(const instance *t, int p)
{
    char path[300];
    snprintf(path, sizeof path, GOLDEN "%s/tokenizer_cases.json", t->folder);
    json_t *root = json_load_file(path, 0, NULL);
    const char *text = json_string_value(json_object_get(json_array_get(root, (size_t)p), "text"));
    const char *from = text ? strstr(text, t->before) : NULL, *to = from ? strstr(from, t->after) : NULL;
    assert_non_null(to);
    from += strlen(t->before);
    char *prompt = strndup(from, (size_t)(to - from));
    assert_non_null(prompt);
    json_decref(root);
    return prompt;
}

static void check_tokens(model *m, const char *prompt, const npy *want)
{
    err e = {0};
    int32_t *ids = NULL;
    size_t n = 0;
    char spaced[300];
    snprintf(spaced, sizeof spaced, " \n%s\t ", prompt); /* white space at its ends doesn't count */
    good(limn_tokenize(m, spaced, &ids, &n, &e), &e);
    assert_int_equal(n, want->count);
    same_codes(ids, want, "ids");
    free(ids);
}

/* want[cells, rows, codes], of which row 0 is with the prompt, or [cells, some ids and the codes]. */
static void check_logits(model *m, const npy *ids, const npy *codes, const npy *want)
{
    err e = {0};
    limn_score s;
    int k = m->info.codes, stride = (int)(want->count / want->shape[0]);
    float *have = calloc((size_t)(want->shape[0] * k), sizeof *have);
    const float *w = want->nd == 2 ? (const float *)want->data + stride - k : want->data;
    double most = 0, low = INFINITY, high = -INFINITY;
    assert_true(want->nd == 2 || want->shape[2] == k);
    good(limn_score_codes(m, ids->data, (size_t)ids->count, codes->data, have, &s, &e), &e);
    for (int i = 0; i < want->shape[0] * k; i++) {
        double reference = w[i / k * stride + i % k];
        most = fmax(most, fabs(have[i] - reference));
        low = fmin(low, reference);
        high = fmax(high, reference);
    }
    free(have);
    if (!(most <= LOGITS * (high - low)))
        fail_msg("logits differ by %g of their range", most / (high - low));
}

static void check_greedy(model *m, const instance *t, const char *prompt, float guidance, const char *negative,
                         const npy *want, const char *what)
{
    err e = {0};
    int32_t *codes = calloc((size_t)want->count, sizeof *codes);
    limn_generate_options o = limn_generate_defaults(m);
    assert_true(o.guidance == t->guidance && o.temperature == 1 && o.top_k == 0);
    o.prompt = prompt;
    o.negative = negative;
    o.temperature = 0;
    o.guidance = guidance;
    assert_int_equal(m->info.grid_width * m->info.grid_height, want->count);
    good(limn_generate(m, &o, codes, &e), &e);
    same_codes(codes, want, what);
    free(codes);
}

/* Drafts change no code of pictures that are drawn together. */
static void check_drafts(model *m, const char *prompt)
{
    err e = {0};
    int cells = m->info.grid_width * m->info.grid_height;
    int32_t *codes = calloc((size_t)(4 * cells), sizeof *codes);
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = prompt;
    o.seed = 8;
    o.count = 2;
    good(limn_generate(m, &o, codes, &e), &e);
    o.draft = 6;
    good(limn_generate(m, &o, codes + 2 * cells, &e), &e);
    assert_memory_equal(codes, codes + 2 * cells, (size_t)(2 * cells) * sizeof *codes);
    free(codes);
}

/* want[1,h,w,3] from -1 to 1, as the decoder leaves them. */
static void check_pixels(model *m, const npy *codes, const npy *want)
{
    err e = {0};
    float *have = calloc((size_t)want->count, sizeof *have), low = INFINITY, high = -INFINITY;
    assert_int_equal(m->info.height, want->shape[1]);
    assert_int_equal(m->info.width, want->shape[2]);
    good(limn_decode_pixels(m, codes->data, 1, LIMN_F32, have, NULL, &e), &e);
    for (int i = 0; i < want->count; i++) {
        float reference = fminf(fmaxf(((const float *)want->data)[i] / 2 + 0.5f, 0), 1);
        low = fminf(low, reference);
        high = fmaxf(high, reference);
        if (!(fabsf(have[i] - reference) <= (float)PIXELS))
            fail_msg("pixel %d is %g, not %g", i, (double)have[i], (double)reference);
    }
    assert_true(high - low > 0.1f);
    free(have);
}

static void check_encoder(model *m, golden_npz *f)
{
    err e = {0};
    npy image = read_array(f, -1, "enc_input", DTYPE_F32), want = read_array(f, -1, "enc_codes", DTYPE_I32);
    int32_t *codes = calloc((size_t)want.count, sizeof *codes);
    run *r = run_new(dev, &e); /* limn_encode_pixels rounds to bytes */
    good(model_load(m, USE_ENCODER, &e), &e);
    assert_true(m->codec.input.scale == 2 && m->codec.input.shift == -1);
    tensor x = run_upload(r, DTYPE_F32, 4, image.shape, image.data);
    run_read(r, op_argmax(r, m->codec.kind->encode(r, &m->codec, x)), codes);
    good(run_finish(r, &e), &e);
    same_codes(codes, &want, "encoded");
    memset(codes, 0xFF, (size_t)want.count * sizeof *codes);
    run_reset(r);
    x = run_upload(r, DTYPE_F32, 4, image.shape, image.data);
    run_read(r, m->codec.kind->choose(r, &m->codec, x), codes);
    good(run_finish(r, &e), &e);
    same_codes(codes, &want, "chosen");
    run_free(r);
    free(codes);
    npy_release(&image);
    npy_release(&want);
}

/* Texts of different lengths at work together, and a third that comes while they are. */
static void check_together(model *m, const instance *t, golden_npz *f, int draft)
{
    err e = {0};
    char *prompts[PROMPTS];
    uint64_t ids[PROMPTS + 1], id;
    limn_generation *g = limn_generation_open(m, &(limn_generation_options){.rows = 6, .draft = draft}, &e);
    int32_t *codes = calloc((size_t)(m->info.grid_width * m->info.grid_height), sizeof *codes);
    int left = 1, taken = 0, steps = 0;
    good(g != NULL, &e);
    for (int p = 0; p < PROMPTS; p++)
        prompts[p] = prompt_of(t, p);
    for (int p = 0; p < PROMPTS; p++)
        good(limn_generation_add(g, &(limn_request){.prompt = prompts[p], .greedy = true}, &ids[p], &e), &e);
    while (left > 0) {
        good(limn_generation_step(g, &left, &e), &e);
        if (!steps++)
            good(limn_generation_add(g, &(limn_request){.prompt = prompts[1], .greedy = true}, &ids[2], &e), &e);
        left += steps == 1;
        for (; limn_generation_take(g, &id, NULL, codes); taken++) {
            npy want = read_array(f, id == ids[0] ? 0 : 1, t->greedy, DTYPE_I32);
            same_codes(codes, &want, "together");
            npy_release(&want);
        }
    }
    assert_int_equal(taken, PROMPTS + 1);
    limn_generation_free(&g);
    free(codes);
    for (int p = 0; p < PROMPTS; p++)
        free(prompts[p]);
}

static void check_prompt(model *m, const instance *t, golden_npz *f, int p)
{
    char *prompt = prompt_of(t, p);
    npy ids = read_array(f, p, "ids", DTYPE_I32), greedy = read_array(f, p, t->greedy, DTYPE_I32);
    npy forced = read_array(f, p, "forced", DTYPE_I32), logits = read_array(f, p, t->logits, DTYPE_F32);
    npy pixels = read_array(f, p, t->pixels, DTYPE_F32);
    check_tokens(m, prompt, &ids);
    check_logits(m, &ids, &forced, &logits);
    check_greedy(m, t, prompt, t->guidance, NULL, &greedy, "greedy");
    check_pixels(m, &greedy, &pixels);
    check_drafts(m, prompt);
    if (t->plain) {
        npy plain = read_array(f, p, t->plain, DTYPE_I32);
        check_greedy(m, t, prompt, 1, NULL, &plain, "greedy without guidance");
        npy_release(&plain);
    }
    if (t->negative) {
        npy other = read_array(f, p, t->negative, DTYPE_I32);
        check_greedy(m, t, prompt, t->guidance, "", &other, "greedy with an empty negative prompt");
        npy_release(&other);
    }
    npy_release(&ids);
    npy_release(&greedy);
    npy_release(&forced);
    npy_release(&logits);
    npy_release(&pixels);
    free(prompt);
}

/* ---- several sizes of one model ---- */

/* Greedy codes of the first picture size pixels wide, by a model that was converted for pictures `own` pixels wide. */
static int32_t *draw_size(const char *input, const char *own, int size)
{
    err e = {0};
    const import_request q = {
        .inputs = &input, .n_inputs = 1, .output = support_path("sized.gguf"), .settings = &own, .n_settings = 1};
    good(import_convert(&q, &e), &e);
    const limn_model_options o = {.size = sizeof o, .width = size, .height = size};
    model *m = limn_model_open_with(dev, support_path("sized.gguf"), &o, &e);
    good(m != NULL, &e);
    assert_int_equal(m->info.width, size);
    assert_int_equal(m->info.grid_width, size / 16);
    int cells = m->info.grid_width * m->info.grid_height;
    int32_t *codes = calloc((size_t)cells, sizeof *codes);
    limn_generate_options g = limn_generate_defaults(m);
    g.prompt = "a red apple";
    g.temperature = 0;
    g.guidance = 1;
    good(limn_generate(m, &g, codes, &e), &e);
    limn_model_free(&m);
    return codes;
}

static void one_model_draws_several_sizes(void **state)
{
    (void)state;
    const char *folder = GOLDEN "simplear";
    err e = {0};
    int32_t *native = draw_size(folder, "image_size=256", 256), *chosen = draw_size(folder, "image_size=48", 256);
    assert_memory_equal(native, chosen, 256 * sizeof *native);
    free(native);
    free(chosen);
    model *m =
        limn_model_open_with(dev, support_path("sized.gguf"), &(limn_model_options){.width = 48, .height = 48}, &e);
    good(m != NULL, &e);
    assert_int_equal(m->info.n_sizes, 5);
    limn_model_free(&m);
    m = limn_model_open_with(dev, support_path("sized.gguf"), &(limn_model_options){.width = 64, .height = 64}, &e);
    assert_true(!m && e.code == ERR_USAGE);
    assert_non_null(strstr(e.text, "64 x 64"));
    assert_non_null(strstr(e.text, "48 x 48, 256 x 256, 512 x 512"));
    e = (err){0};
    m = limn_model_open_with(dev, NULL, &(limn_model_options){.width = 128, .height = 128},
                             &e); /* the built-in model */
    assert_true(!m && strstr(e.text, "trained for 64 x 64 alone"));
}

/* Codes are chosen some cells at a time where there are many. */
static void large_pictures_are_encoded(void **state)
{
    (void)state;
    err e = {0};
    if (getenv("LIMN_TEST_BRIEF"))
        return;
    const char *folder = GOLDEN "simplear";
    const import_request q = {.inputs = &folder, .n_inputs = 1, .output = support_path("large.gguf")};
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, support_path("large.gguf"), &e);
    good(m && model_load(m, USE_ENCODER, &e), &e);
    const int64_t shape[] = {1, 1024, 1024, 3}, count = 1024 * 1024 * 3, cells = 64 * 64;
    float *pixels = malloc((size_t)count * sizeof *pixels);
    int32_t *codes = calloc((size_t)(2 * cells), sizeof *codes);
    for (int64_t i = 0; i < count; i++)
        pixels[i] = (float)(i * i % 1009) / 504.5f - 1;
    run *r = run_new(dev, &e);
    run_read(r, op_argmax(r, m->codec.kind->encode(r, &m->codec, run_upload(r, DTYPE_F32, 4, shape, pixels))), codes);
    run_reset(r);
    run_read(r, m->codec.kind->choose(r, &m->codec, run_upload(r, DTYPE_F32, 4, shape, pixels)), codes + cells);
    good(run_finish(r, &e), &e);
    run_free(r);
    assert_memory_equal(codes, codes + cells, (size_t)cells * sizeof *codes);
    free(pixels);
    free(codes);
    limn_model_free(&m);
}

static void test_instance(void **state)
{
    const instance *t = *state;
    err e = {0};
    char folder[300], path[300];
    golden_npz f;
    snprintf(folder, sizeof folder, GOLDEN "%s", t->folder);
    snprintf(path, sizeof path, GOLDEN "%s/io.npz", t->folder);
    const char *input = folder;
    const import_request q = {.inputs = &input,
                              .n_inputs = 1,
                              .output = support_path("model.gguf"),
                              .settings = &t->setting,
                              .n_settings = t->setting != NULL};
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, support_path("model.gguf"), &e);
    good(m != NULL, &e);
    golden_npz_open(&f, path);
    for (int p = 0; p < PROMPTS; p++)
        check_prompt(m, t, &f, p);
    if (t->encodes)
        check_encoder(m, &f);
    check_together(m, t, &f, 0);
    check_together(m, t, &f, 4);
    golden_npz_release(&f);
    limn_model_free(&m);
}

int main(int argc, char **argv)
{
    struct CMUnitTest tests[] = {[INSTANCES] = cmocka_unit_test(one_model_draws_several_sizes),
                                 cmocka_unit_test(large_pictures_are_encoded)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    for (size_t i = 0; i < INSTANCES; i++)
        tests[i] = (struct CMUnitTest){
            .name = instances[i].folder, .test_func = test_instance, .initial_state = (void *)(uintptr_t)&instances[i]};
    int failed = 0;
    const char *style;
    for (size_t i = 0; (style = support_styled(&dev, i)); i++) {
        char name[40];
        snprintf(name, sizeof name, "descendants, %s kernels", style);
        size_t n = sizeof tests / sizeof *tests - (i > 0); /* the last one is no matter of the kernels */
        failed += _cmocka_run_group_tests(name, tests, n, NULL, NULL);
    }
    device_free(dev);
    return failed;
}
