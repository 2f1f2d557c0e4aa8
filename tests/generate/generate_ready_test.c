/* What limn_generate hands over while it works, and negative prompts, on tiny models of the kinds of transformers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_checks.h"
#include "tiny_state.h"

enum { SMALL = 16, MANY = 70 }; /* cells of the tiny model; pictures, in batches of 32 or 16 */

static bool other_style; /* of kernels */

static bool equal(const int32_t *a, const int32_t *b, size_t n)
{
    return !memcmp(a, b, n * sizeof *a);
}

/* ---- pictures as they are ready -------------------------------------------------------------------------------- */

typedef struct taker {
    int done, calls, most, stop_at; /* pictures; stop_at 0: never */
    int32_t codes[MANY * SMALL];
    float pixels[MANY * 3 * 64];
} taker;

/* Takes the codes, and decodes them meanwhile. */
static bool take(void *context, int first, int n, const int32_t *codes)
{
    taker *t = context;
    err e = {0};
    assert_int_equal(first, t->done);
    assert_true(n > 0 && first + n <= MANY);
    memcpy(t->codes + first * SMALL, codes, (size_t)n * SMALL * sizeof *codes);
    good(limn_decode(tiny, codes, n, t->pixels + first * 3 * 64, &e), &e);
    t->done += n;
    t->calls++;
    t->most = n > t->most ? n : t->most;
    return !t->stop_at || t->done < t->stop_at;
}

static bool goes_on(void *context, int done, int total, const int32_t *codes)
{
    (void)context;
    (void)codes;
    return done <= total;
}

static void check_ready(float guidance, int batch)
{
    static int32_t all[MANY * SMALL], codes[MANY * SMALL];
    static float pixels[MANY * 3 * 64];
    static taker t;
    err e = {0};
    limn_generate_options o = {.prompt = "p", .count = MANY, .seed = 3, .temperature = 1, .guidance = guidance};
    good(limn_generate(tiny, &o, all, &e) && limn_decode(tiny, all, MANY, pixels, &e), &e);
    o.ready = take;
    o.context = &t;
    t = (taker){0};
    good(limn_generate(tiny, &o, NULL, &e), &e);
    assert_int_equal(t.done, MANY);
    assert_int_equal(t.most, batch);
    assert_int_equal(t.calls, (MANY + batch - 1) / batch);
    assert_true(equal(t.codes, all, MANY * SMALL));
    assert_memory_equal(t.pixels, pixels, sizeof pixels);
    t = (taker){0}; /* the caller's own place too, and previews */
    o.preview = true;
    o.progress = goes_on;
    good(limn_generate(tiny, &o, codes, &e), &e);
    assert_int_equal(t.done, MANY);
    assert_true(equal(codes, all, MANY * SMALL));
    t = (taker){.stop_at = 40};
    assert_false(limn_generate(tiny, &o, codes, &e));
    assert_string_equal(e.text, "generate: interrupted");
    assert_int_equal(t.done, (40 + batch - 1) / batch * batch);
    assert_true(equal(t.codes, all, (size_t)t.done * SMALL));
}

static void pictures_are_handed_over_batch_by_batch(void **state)
{
    (void)state;
    check_ready(0, 32);
    check_ready(2, 16);
}

/* Where weights, caches and the decoder don't fit together, they take turns, and the batches stay as large. */
static void pictures_are_handed_over_within_a_limit(void **state)
{
    (void)state;
    static int32_t all[MANY * SMALL];
    static taker t;
    err e = {0};
    limn_generate_options o = {.prompt = "p", .count = MANY, .seed = 3, .temperature = 1};
    good(limn_generate(tiny, &o, all, &e), &e);
    uint64_t limit = dev->memory_limit, most = tiny->planned;
    good(limn_model_rest(tiny, &e) && limn_decode(tiny, all, 8, t.pixels, &e), &e);
    most = tiny->planned > most ? tiny->planned : most;
    t = (taker){0};
    o.ready = take;
    o.context = &t;
    dev->memory_limit = most; /* what the larger of the two takes */
    good(limn_model_rest(tiny, &e), &e);
    bool ok = limn_generate(tiny, &o, NULL, &e);
    dev->memory_limit = limit;
    good(ok, &e);
    assert_int_equal(t.most, 32);
    assert_true(equal(t.codes, all, MANY * SMALL));
    assert_true(tiny->planned <= most);
}

static void without_a_place_for_codes_it_is_refused(void **state)
{
    (void)state;
    err e = {0};
    limn_generate_options o = {.prompt = "p"};
    assert_false(limn_generate(tiny, &o, NULL, &e));
    assert_int_equal(e.code, ERR_USAGE);
    o.ready = take;
    o.preview = true;
    assert_false(limn_generate(tiny, &o, NULL, &e));
}

/* A picture alone has the same pixels and codes as in a batch: small layers must not be computed otherwise for more. */
static void pictures_do_not_depend_on_the_batch(void **state)
{
    (void)state;
    enum { N = 8, CELLS = 64, SIDE = 64, PIXELS = 3 * SIDE * SIDE };
    static float all[N * PIXELS], one[PIXELS];
    static uint8_t rgb[N * PIXELS];
    int32_t codes[N * CELLS], encoded[N * CELLS], alone[CELLS];
    err e = {0};
    model *m = limn_model_open(dev, NULL, &e);
    good(m != NULL, &e);
    for (int i = 0; i < N * CELLS; i++)
        codes[i] = (int32_t)(rng_uniform(3, 0, 0, (uint32_t)i) * 1024);
    good(limn_decode(m, codes, N, all, &e), &e);
    for (int i = 0; i < N * PIXELS; i++)
        rgb[i] = (uint8_t)lrintf(all[i] * 255);
    good(limn_encode(m, rgb, N, encoded, NULL, &e), &e);
    for (int i = 0; i < N; i += N - 1) {
        good(limn_decode(m, codes + i * CELLS, 1, one, &e), &e);
        assert_memory_equal(one, all + i * PIXELS, sizeof one);
        good(limn_encode(m, rgb + i * PIXELS, 1, alone, NULL, &e), &e);
        assert_true(equal(alone, encoded + i * CELLS, CELLS));
    }
    limn_model_free(&m);
}

/* ---- negative prompts ------------------------------------------------------------------------------------------ */

/* Published kinds with a tokenizer. */
static const struct {
    const char *files[4], *settings[2], *tokenizer;
} kinds[] = {
    {{"min_dalle/encoder.pt", "min_dalle/decoder.pt", "min_dalle/detoker.pt"}, {"heads=6"}, NULL},
    {{"minDALL-E/stage1_last.ckpt", "minDALL-E/stage2_last.ckpt"}, {"heads=2"}, GOLDEN "minDALL-E/tokenizer"},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static model *converted(size_t kind)
{
    err e = {0};
    char paths[4][300];
    const char *inputs[4];
    import_request q = {.inputs = inputs,
                        .output = support_path("kind.gguf"),
                        .settings = (const char **)kinds[kind].settings,
                        .n_settings = kinds[kind].settings[0] != NULL,
                        .tokenizer = kinds[kind].tokenizer};
    for (; q.n_inputs < 4 && kinds[kind].files[q.n_inputs]; q.n_inputs++) {
        snprintf(paths[q.n_inputs], sizeof *paths, GOLDEN "%s", kinds[kind].files[q.n_inputs]);
        inputs[q.n_inputs] = paths[q.n_inputs];
    }
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, q.output, &e);
    good(m != NULL, &e);
    return m;
}

/* The logits [cells, codes] that predict the codes after a text. */
static float *scored(model *m, const char *text, const int32_t *codes)
{
    err e = {0};
    limn_score s;
    int32_t *ids = NULL;
    size_t n;
    float *logits =
        calloc((size_t)m->info.grid_width * (size_t)m->info.grid_height * (size_t)m->info.codes, sizeof *logits);
    assert_non_null(logits);
    good(limn_tokenize(m, text, &ids, &n, &e) && limn_score_codes(m, ids, n, codes, logits, &s, &e), &e);
    free(ids);
    return logits;
}

/* Greedy codes are the most likely of u + g (c - u), computed from the scores of both texts. */
static void check_negative(model *m, const char *prompt, const char *negative)
{
    err e = {0};
    int cells = m->info.grid_width * m->info.grid_height, k = m->info.codes;
    int32_t *codes = calloc((size_t)cells, sizeof *codes), *plain = calloc((size_t)cells, sizeof *plain);
    limn_generate_options o = {.prompt = prompt, .guidance = 3};
    good(limn_generate(m, &o, plain, &e), &e);
    o.negative = negative;
    good(limn_generate(m, &o, codes, &e), &e);
    assert_false(equal(codes, plain, (size_t)cells)); /* it matters */
    float *c = scored(m, prompt, codes), *u = scored(m, negative, codes);
    for (int i = 0; i < cells; i++) {
        const float *ci = c + i * k, *ui = u + i * k;
        double chosen = ui[codes[i]] + 3.0 * (ci[codes[i]] - ui[codes[i]]), most = -INFINITY, size = 0;
        for (int j = 0; j < k; j++) {
            double v = ui[j] + 3.0 * (ci[j] - ui[j]);
            most = fmax(most, v);
            size = fmax(size, fabs(v));
        }
        if (chosen < most - 1e-4 * size)
            fail_msg("cell %d: code %d has %g, and the most likely one %g", i, codes[i], chosen, most);
    }
    free(c);
    free(u);
    o.negative = ""; /* a text of no words is the row without condition */
    good(limn_generate(m, &o, codes, &e), &e);
    assert_true(equal(codes, plain, (size_t)cells));
    o.guidance = 1; /* nothing to lead away from */
    o.negative = NULL;
    good(limn_generate(m, &o, plain, &e), &e);
    o.negative = negative;
    good(limn_generate(m, &o, codes, &e), &e);
    assert_true(equal(codes, plain, (size_t)cells));
    free(codes);
    free(plain);
}

static void guidance_leads_away_from_the_negative_prompt(void **state)
{
    (void)state;
    check_negative(tiny, "apple", "pear");
    for (size_t i = 0; i < KINDS && !other_style; i++) {
        model *m = converted(i);
        check_negative(m, "a red apple", "the cat"); /* words that the small vocabularies have */
        limn_model_free(&m);
    }
}

static void wrong_negative_prompts_are_refused(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL];
    limn_generate_options o = {.prompt = "a", .guidance = 2, .negative = "\xff"};
    assert_false(limn_generate(tiny, &o, codes, &e));
    assert_non_null(strstr(e.text, "UTF-8"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_handed_over_batch_by_batch),
        cmocka_unit_test(pictures_are_handed_over_within_a_limit),
        cmocka_unit_test(pictures_do_not_depend_on_the_batch),
        cmocka_unit_test(without_a_place_for_codes_it_is_refused),
        cmocka_unit_test(guidance_leads_away_from_the_negative_prompt),
        cmocka_unit_test(wrong_negative_prompts_are_refused),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    int failed = 0;
    const char *style;
    for (size_t i = 0; (style = support_styled(&dev, i)); i++) {
        other_style = i > 0;
        failed += cmocka_run_group_tests_name(style, tests, open_tiny, close_tiny);
    }
    device_free(dev);
    return failed != 0;
}
