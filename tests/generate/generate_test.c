/* Generation, scoring and the codec in batches: what limn.h promises, on the built-in model and on tiny ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "checks.h"
#include "convert/convert.h"
#include "models/model.h"
#include "support.h"

enum { CELLS = 64, CODES = 1024, SMALL = 16, MANY = 40 }; /* cells and codes of the built-in model, cells of the tiny */

static device *dev;
static model *builtin, *tiny;

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static bool equal(const int32_t *a, const int32_t *b, size_t n)
{
    return !memcmp(a, b, n * sizeof *a);
}

static void generate(model *m, const limn_generate_options *o, int32_t *codes)
{
    err e = {0};
    memset(codes, 0x55, (size_t)(o->count ? o->count : 1) * (size_t)(m == tiny ? SMALL : CELLS) * sizeof *codes);
    good(limn_generate(m, o, codes, &e), &e);
}

/* The request is refused as wrong usage, with `part` in the message. */
static void refuse(const limn_generate_options *o, const char *part)
{
    err e = {0};
    int32_t codes[4 * SMALL];
    if (limn_generate(tiny, o, codes, &e))
        fail_msg("generated where \"%s\" was expected", part);
    assert_int_equal(e.code, ERR_USAGE);
    has(e.text, part);
}

static int open_models(void **state)
{
    (void)state;
    err e = {0};
    const char *path = support_path("tiny.gguf");
    if (tiny_model_write(path, &(tiny_config){0}, &e))
        tiny = limn_model_open(dev, path, &e);
    builtin = limn_model_open(dev, NULL, &e);
    if (!tiny || !builtin)
        print_error("%s\n", e.text);
    return tiny && builtin ? 0 : -1;
}

static int close_models(void **state)
{
    (void)state;
    limn_model_free(&tiny);
    limn_model_free(&builtin);
    return dev->memory_used == 0 ? 0 : -1;
}

/* ---- pictures of a batch --------------------------------------------------------------------------------------- */

static void first_of_nine_pictures_is_the_one_of_one(void **state)
{
    (void)state;
    int32_t one[CELLS], nine[9 * CELLS];
    limn_generate_options o = limn_generate_defaults(builtin);
    o.prompt = "a cat to the left of a dog"; /* the model is less sure of it than of one thing */
    o.temperature = 1;
    o.seed = 1;
    generate(builtin, &o, one);
    o.count = 9;
    generate(builtin, &o, nine);
    assert_true(equal(one, nine, CELLS));
    o.count = 1;
    o.first = 4; /* the fifth alone */
    generate(builtin, &o, one);
    assert_true(equal(one, nine + 4 * CELLS, CELLS));
    for (int i = 1; i < 9; i++)
        assert_false(equal(nine, nine + i * CELLS, CELLS));
}

/* Picture i of every smaller count is that of `MANY`, over several batches. */
static void check_counts(float guidance, bool half)
{
    static const int counts[] = {1, 3, 4, 17, 33}; /* kernels for up to 3 rows and for 4 of them, batches of 32 or 16 */
    static int32_t many[MANY * SMALL], some[MANY * SMALL];
    limn_generate_options o = {.prompt = "ab",
                               .count = MANY,
                               .seed = 1,
                               .temperature = 1,
                               .top_k = 6,
                               .top_p = 0.95f,
                               .guidance = guidance,
                               .kv_cache_f16 = half};
    generate(tiny, &o, many);
    for (size_t i = 0; i < (half ? 2 : COUNT(counts)); i++) {
        o.count = counts[i];
        generate(tiny, &o, some);
        for (int k = 0; k < counts[i]; k++)
            if (!equal(some + k * SMALL, many + k * SMALL, SMALL))
                fail_msg("guidance %g: picture %d of %d is another than of %d", guidance, k, counts[i], MANY);
    }
    int distinct = 0;
    for (int i = 1; i < MANY; i++)
        distinct += !equal(many, many + i * SMALL, SMALL);
    assert_true(distinct > MANY / 2);
}

static void pictures_do_not_depend_on_the_count(void **state)
{
    (void)state;
    check_counts(1, false);
}

static void guided_pictures_do_not_depend_on_the_count(void **state)
{
    (void)state;
    check_counts(2.5f, false);
}

static void pictures_of_f16_caches_do_not_depend_on_the_count(void **state)
{
    (void)state;
    check_counts(2.5f, true);
}

/* Of a prompt that the model is sure of: it has no two codes that are nearly as likely. */
static void f16_caches_draw_the_same_picture(void **state)
{
    (void)state;
    int32_t f32[CELLS], f16[CELLS];
    if (getenv("LIMN_TEST_BRIEF"))
        skip();
    limn_generate_options o = limn_generate_defaults(builtin);
    o.prompt = "a panda";
    o.temperature = 0;
    generate(builtin, &o, f32);
    o.kv_cache_f16 = true;
    generate(builtin, &o, f16);
    assert_true(equal(f32, f16, CELLS));
}

static void a_seed_gives_the_same_codes_each_time(void **state)
{
    (void)state;
    int32_t a[3 * SMALL], b[3 * SMALL];
    limn_generate_options o = {.prompt = "q", .count = 3, .seed = 77, .temperature = 1};
    generate(tiny, &o, a);
    generate(tiny, &o, b);
    assert_true(equal(a, b, 3 * SMALL));
    o.seed = 78;
    generate(tiny, &o, b);
    assert_false(equal(a, b, SMALL));
    o.seed = 77 + (UINT64_C(1) << 32); /* all 64 bits count */
    generate(tiny, &o, b);
    assert_false(equal(a, b, SMALL));
}

/* ---- how codes are chosen -------------------------------------------------------------------------------------- */

static void greedy_ignores_the_seed_and_equals_top_k_of_one(void **state)
{
    (void)state;
    int32_t a[2 * SMALL], b[2 * SMALL];
    limn_generate_options o = {.prompt = "xyz", .count = 2, .seed = 1, .top_k = 3, .top_p = 0.5f};
    generate(tiny, &o, a);
    assert_true(equal(a, a + SMALL, SMALL));
    o.seed = 2;
    generate(tiny, &o, b);
    assert_true(equal(a, b, 2 * SMALL));
    o.top_k = 0;
    o.top_p = 0;
    generate(tiny, &o, b);
    assert_true(equal(a, b, 2 * SMALL));
    o.temperature = 1;
    o.top_k = 1;
    generate(tiny, &o, b);
    assert_true(equal(a, b, 2 * SMALL));
    o.top_k = 0;
    o.top_p = 1e-6f; /* the nucleus of one */
    generate(tiny, &o, b);
    assert_true(equal(a, b, 2 * SMALL));
}

static void guidance_of_one_is_none_and_of_three_is_not(void **state)
{
    (void)state;
    int32_t none[SMALL], one[SMALL], three[SMALL], again[SMALL];
    limn_generate_options o = {.prompt = "apple", .seed = 4, .temperature = 1};
    generate(tiny, &o, none);
    o.guidance = 1;
    generate(tiny, &o, one);
    assert_true(equal(none, one, SMALL));
    o.guidance = 3;
    generate(tiny, &o, three);
    assert_false(equal(none, three, SMALL));
    generate(tiny, &o, again);
    assert_true(equal(three, again, SMALL));
}

/* With no text, the rows with and without condition are the same, so guidance changes nothing. */
static void guidance_without_text_changes_nothing(void **state)
{
    (void)state;
    int32_t none[2 * SMALL], guided[2 * SMALL], ids[] = {TINY_PAD, TINY_IMAGE};
    limn_generate_options o = {.prompt = "", .count = 2, .seed = 4};
    generate(tiny, &o, none);
    o.guidance = 3;
    generate(tiny, &o, guided);
    assert_true(equal(none, guided, 2 * SMALL));
    o = (limn_generate_options){.text_ids = ids, .n_text_ids = 2, .count = 2};
    generate(tiny, &o, guided);
    assert_true(equal(none, guided, 2 * SMALL));
}

static void ids_and_their_text_give_the_same(void **state)
{
    (void)state;
    err e = {0};
    int32_t by_text[SMALL], by_ids[SMALL], *ids;
    size_t n;
    limn_generate_options o = {.prompt = "hey", .seed = 4, .temperature = 1};
    generate(tiny, &o, by_text);
    good(limn_tokenize(tiny, "hey", &ids, &n, &e), &e);
    assert_int_equal(n, 3);
    o.prompt = NULL;
    o.text_ids = ids;
    o.n_text_ids = n;
    generate(tiny, &o, by_ids);
    assert_true(equal(by_text, by_ids, SMALL));
    free(ids);
    o.prompt = "other";
    o.text_ids = NULL;
    o.n_text_ids = 0;
    generate(tiny, &o, by_ids);
    assert_false(equal(by_text, by_ids, SMALL));
}

/* ---- image prompts --------------------------------------------------------------------------------------------- */

static void kept_codes_are_kept_exactly(void **state)
{
    (void)state;
    enum { MASKS = 6, N = 17 };
    static const uint16_t masks[MASKS] = {0x00FF, 0x3333, 0x0660, 0xFFFF, 0x0000, 0x8001}; /* bit i: cell i */
    static int32_t codes[N * SMALL], free_codes[N * SMALL];
    int32_t kept[SMALL];
    uint8_t keep[SMALL];
    for (int i = 0; i < SMALL; i++)
        kept[i] = (int32_t)(rng_uniform(9, 0, 0, (uint32_t)i) * TINY_CODES);
    limn_generate_options o = {.prompt = "k", .count = N, .seed = 5, .temperature = 1, .guidance = 1};
    generate(tiny, &o, free_codes);
    o.keep = keep;
    o.kept_codes = kept;
    for (int m = 0; m < MASKS + 2; m++) {
        o.guidance = m < MASKS ? 1 : 2;
        for (int i = 0; i < SMALL; i++)
            keep[i] = (uint8_t)(masks[m % MASKS] >> i & 1);
        generate(tiny, &o, codes);
        for (int i = 0; i < N * SMALL; i++) {
            if (keep[i % SMALL])
                assert_int_equal(codes[i], kept[i % SMALL]);
            assert_in_range(codes[i], 0, TINY_CODES - 1);
        }
        for (int i = 0; i < SMALL; i++) { /* the rest is sampled: not one code in all of them */
            bool varies = false;
            for (int k = 1; k < N; k++)
                varies |= codes[k * SMALL + i] != codes[i];
            assert_true(varies || keep[i]);
        }
        if (masks[m % MASKS] == 0 && m < MASKS)
            assert_true(equal(codes, free_codes, N * SMALL));
    }
}

static void cells_that_are_not_kept_need_no_valid_code(void **state)
{
    (void)state;
    int32_t kept[SMALL], codes[SMALL];
    uint8_t keep[SMALL] = {[3] = 1};
    for (int i = 0; i < SMALL; i++)
        kept[i] = i == 3 ? 7 : -100;
    generate(tiny, &(limn_generate_options){.prompt = "k", .keep = keep, .kept_codes = kept}, codes);
    assert_int_equal(codes[3], 7);
}

/* ---- requests that cannot be meant ----------------------------------------------------------------------------- */

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    int32_t kept[SMALL] = {0}, ids[TINY_TEXT] = {5, 5, 5, 5, 5, 5, 5, 5};
    uint8_t keep[SMALL] = {[SMALL - 1] = 1};
    const limn_generate_options o = {.prompt = "a", .temperature = 1};
    limn_generate_options w = o;
#define WITH(field, value, part) w = o, w.field = (value), refuse(&w, part)
    WITH(temperature, -0.1f, "temperature");
    WITH(temperature, NAN, "temperature");
    WITH(temperature, INFINITY, "temperature");
    WITH(guidance, -1, "guidance");
    WITH(guidance, INFINITY, "guidance");
    WITH(top_k, -1, "top-k");
    WITH(top_p, -0.5f, "top-p");
    WITH(top_p, 1.5f, "top-p");
    WITH(top_p, NAN, "top-p");
    WITH(count, -1, "count");
    WITH(count, 1 << 30, "count");
    WITH(first, -1, "first");
    WITH(first, INT_MAX, "first");
    WITH(keep, keep, "keep and kept_codes go together");
    WITH(kept_codes, kept, "kept_codes go together with keep");
    w.prompt = NULL;
    w.n_text_ids = 3;
    refuse(&w, "neither a prompt nor text ids");
    w = o;
    w.prompt = NULL;
    w.text_ids = ids;
    w.n_text_ids = 3;
    ids[1] = TINY_TOKENS;
    refuse(&w, "258 at place 1");
    ids[1] = -1;
    refuse(&w, "-1 at place 1");
    w = o;
    w.keep = keep;
    w.kept_codes = kept;
    kept[SMALL - 1] = TINY_CODES;
    refuse(&w, "kept code 8 of cell 15");
    kept[SMALL - 1] = -1;
    refuse(&w, "kept code -1 of cell 15");
#undef WITH
    err e = {0};
    w = o;
    w.prompt = "\xff";
    assert_false(limn_generate(tiny, &w, (int32_t[SMALL]){0}, &e));
    has(e.text, "UTF-8");
    e = (err){0};
    int32_t codes[2 * SMALL] = {[SMALL + 4] = TINY_CODES};
    float pixels[2 * 3 * 64];
    limn_score s;
    assert_false(limn_decode(tiny, codes, 2, pixels, &e));
    assert_int_equal(e.code, ERR_USAGE);
    has(e.text, "8 in row 1");
    e = (err){0};
    assert_false(limn_score_codes(tiny, NULL, 0, codes + SMALL, NULL, &s, &e));
    assert_int_equal(e.code, ERR_USAGE);
    has(e.text, "code 8 of cell 4");
    e = (err){0};
    assert_false(limn_score_codes(tiny, ids, 3, codes, NULL, &s, &e));
    has(e.text, "-1 at place 1");
    e = (err){0};
    assert_false(limn_score_codes(tiny, NULL, 3, codes, NULL, &s, &e));
    assert_int_equal(e.code, ERR_USAGE);
}

/* ---- progress -------------------------------------------------------------------------------------------------- */

typedef struct watch {
    int calls, done, total, stop_at;
    int last_done; /* cells of each picture of the batch at the last call */
    bool preview;
    int32_t seen[MANY * SMALL];
} watch;

static bool on_progress(void *context, int done, int total, const int32_t *codes)
{
    watch *w = context;
    w->calls++;
    assert_true(done > w->done && done <= total);
    assert_true(w->total == 0 || w->total == total);
    assert_int_equal(codes != NULL, w->preview);
    w->done = done;
    w->total = total;
    if (codes)
        memcpy(w->seen, codes, (size_t)total * sizeof *codes);
    return w->stop_at == 0 || done < w->stop_at;
}

static void progress_counts_to_the_total(void **state)
{
    (void)state;
    static int32_t codes[MANY * SMALL];
    watch w = {0};
    generate(tiny,
             &(limn_generate_options){
                 .prompt = "p", .count = MANY, .temperature = 1, .progress = on_progress, .context = &w},
             codes);
    assert_int_equal(w.done, MANY * SMALL);
    assert_int_equal(w.total, MANY * SMALL);
    assert_true(w.calls >= 4);
}

static void previews_hold_the_codes_so_far(void **state)
{
    (void)state;
    static int32_t all[MANY * SMALL], codes[MANY * SMALL];
    uint8_t keep[SMALL] = {[13] = 1};
    int32_t kept[SMALL] = {[13] = 6};
    limn_generate_options o = {.prompt = "p", .count = MANY, .temperature = 1, .keep = keep, .kept_codes = kept};
    generate(tiny, &o, all);
    for (int stop = 4; stop <= MANY * SMALL; stop *= 2) {
        watch w = {.preview = true, .stop_at = stop};
        err e = {0};
        o.progress = on_progress;
        o.context = &w;
        o.preview = true;
        assert_false(limn_generate(tiny, &o, codes, &e));
        assert_int_equal(e.code, ERR_FAILED);
        has(e.text, "interrupted");
        int first = w.done >= 32 * SMALL ? 32 : 0; /* the batch at work */
        int images = first ? MANY - 32 : 32, cells = (w.done - first * SMALL) / images;
        for (int i = 0; i < first * SMALL; i++)
            assert_int_equal(w.seen[i], all[i]);
        for (int i = first * SMALL; i < MANY * SMALL; i++) {
            bool done = i / SMALL < first + images && i % SMALL < cells;
            assert_int_equal(w.seen[i], done ? all[i] : i % SMALL == 13 ? 6 : -1);
        }
    }
    o.progress = NULL;
    generate(tiny, &o, codes); /* as if nothing had happened */
    assert_true(equal(codes, all, MANY * SMALL));
}

/* ---- scoring --------------------------------------------------------------------------------------------------- */

static double log_softmax(const float *logits, int n, int target)
{
    double sum = 0, most = logits[0];
    for (int i = 1; i < n; i++)
        most = fmax(most, logits[i]);
    for (int i = 0; i < n; i++)
        sum += exp(logits[i] - most);
    return logits[target] - most - log(sum);
}

static void score_is_the_sum_of_the_logits(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL], *ids;
    size_t n;
    float logits[SMALL * TINY_CODES];
    limn_score s, again;
    generate(tiny, &(limn_generate_options){.prompt = "pizza"}, codes);
    good(limn_tokenize(tiny, "pizza", &ids, &n, &e), &e);
    good(limn_score_codes(tiny, ids, n, codes, logits, &s, &e), &e);
    double sum = 0;
    for (int i = 0; i < SMALL; i++)
        sum += log_softmax(logits + i * TINY_CODES, TINY_CODES, codes[i]);
    assert_true(fabs(sum - s.image_log_likelihood) < 1e-6);
    assert_int_equal(s.image_tokens, SMALL);
    assert_int_equal(s.text_tokens, n - 1);
    good(limn_score_codes(tiny, ids, n, codes, NULL, &again, &e), &e);
    assert_memory_equal(&s, &again, sizeof s);
    codes[SMALL - 1] = (codes[SMALL - 1] + 1) % TINY_CODES; /* less likely than the greedy one */
    good(limn_score_codes(tiny, ids, n, codes, NULL, &again, &e), &e);
    assert_true(again.image_log_likelihood < s.image_log_likelihood);
    assert_true(again.text_log_likelihood == s.text_log_likelihood);
    good(limn_score_codes(tiny, NULL, 0, codes, NULL, &again, &e), &e);
    assert_int_equal(again.text_tokens, 0);
    assert_true(again.text_log_likelihood == 0);
    free(ids);
}

/* ---- weight types ---------------------------------------------------------------------------------------------- */

static model *converted(const char *from, dtype type)
{
    err e = {0};
    const char *to = support_path("converted.gguf");
    import_request q = {.inputs = &from, .n_inputs = 1, .output = to, .typed = true, .type = type};
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, to, &e);
    good(m, &e);
    return m;
}

/* The mean and the largest difference of n logits. */
static void differences(const float *a, const float *b, size_t n, double *mean, double *worst)
{
    *mean = *worst = 0;
    for (size_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        *mean += d / (double)n;
        *worst = d <= *worst ? *worst : d; /* NaN too */
    }
}

/* The logits of other types against those of the file, which is F16, for "a panda" and some picture; bounds: twice what
 * was measured. */
static void other_weight_types_stay_near(void **state)
{
    (void)state;
    static const struct {
        dtype type;
        double mean, worst;
    } types[] = {{DTYPE_F32, 1e-5, 1e-4}, {DTYPE_Q8_0, 0.1, 0.65}, {DTYPE_Q4_0, 1.55, 10.6}};
    err e = {0};
    const char *f32 = support_path("builtin.gguf");
    file_out out;
    size_t size = (size_t)(limn_builtin_model_end - limn_builtin_model), n;
    good(file_out_open(&out, f32, &e) && file_out_write(&out, limn_builtin_model, size, &e) &&
             file_out_commit(&out, &e),
         &e);
    float *exact = calloc(CELLS * CODES, sizeof *exact), *logits = calloc(CELLS * CODES, sizeof *logits);
    int32_t codes[CELLS], *ids;
    limn_score s;
    for (int i = 0; i < CELLS; i++)
        codes[i] = (int32_t)(rng_uniform(1, 0, 0, (uint32_t)i) * CODES);
    good(limn_tokenize(builtin, "a panda", &ids, &n, &e), &e);
    good(limn_score_codes(builtin, ids, n, codes, exact, &s, &e), &e);
    for (size_t i = 0; i < COUNT(types); i++) {
        double mean, worst;
        model *m = converted(f32, types[i].type);
        good(limn_score_codes(m, ids, n, codes, logits, &s, &e), &e);
        limn_model_free(&m);
        differences(logits, exact, CELLS * CODES, &mean, &worst);
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("%s: mean %.4f, worst %.4f\n", dtype_table[types[i].type].name, mean, worst);
        if (!(mean <= types[i].mean && worst <= types[i].worst))
            fail_msg("%s: mean error %g (bound %g), worst %g (bound %g)", dtype_table[types[i].type].name, mean,
                     types[i].mean, worst, types[i].worst);
    }
    free(ids);
    free(exact);
    free(logits);
}

/* The steps and the full pass read the same weights: the greedy codes are the most likely of the scored logits. */
static void other_weight_types_generate_what_they_score(void **state)
{
    (void)state;
    static const dtype types[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
    err e = {0};
    int32_t codes[SMALL], ids[] = {50, 60, 70};
    float logits[SMALL * TINY_CODES];
    limn_score s;
    for (size_t i = 0; i < COUNT(types); i++) {
        model *m = converted(support_path("tiny.gguf"), types[i]);
        limn_generate_options o = {.text_ids = ids, .n_text_ids = 3};
        good(limn_generate(m, &o, codes, &e) && limn_score_codes(m, ids, 3, codes, logits, &s, &e), &e);
        limn_model_free(&m);
        for (int c = 0; c < SMALL; c++)
            for (int k = 0; k < TINY_CODES; k++)
                assert_true(logits[c * TINY_CODES + k] <= logits[c * TINY_CODES + codes[c]] + 1e-5f);
    }
}

/* ---- the codec in batches -------------------------------------------------------------------------------------- */

static void pictures_in_batches_equal_one_by_one(void **state)
{
    (void)state;
    enum { N = 20, PIXELS = 3 * 64 };
    static int32_t codes[N * SMALL], encoded[N * SMALL], one_encoded[SMALL];
    static float pixels[N * PIXELS], one[PIXELS], logits[N * SMALL * TINY_CODES], one_logits[SMALL * TINY_CODES];
    static uint8_t rgb[N * PIXELS];
    err e = {0};
    for (int i = 0; i < N * SMALL; i++)
        codes[i] = (int32_t)(rng_uniform(3, 0, 0, (uint32_t)i) * TINY_CODES);
    good(limn_decode(tiny, codes, N, pixels, &e), &e);
    for (int i = 0; i < N * PIXELS; i++) {
        assert_true(pixels[i] >= 0 && pixels[i] <= 1);
        rgb[i] = (uint8_t)lrintf(pixels[i] * 255);
    }
    good(limn_encode(tiny, rgb, N, encoded, logits, &e), &e);
    static const int ones[] = {0, 1, 7, 8, 15, 16, 19}; /* batches are of 8 */
    for (size_t n = 0; n < COUNT(ones); n++) {
        int i = ones[n];
        good(limn_decode(tiny, codes + i * SMALL, 1, one, &e), &e);
        assert_memory_equal(one, pixels + i * PIXELS, sizeof one);
        good(limn_encode(tiny, rgb + i * PIXELS, 1, one_encoded, one_logits, &e), &e);
        assert_true(equal(one_encoded, encoded + i * SMALL, SMALL));
        assert_memory_equal(one_logits, logits + i * SMALL * TINY_CODES, sizeof one_logits);
        for (int c = 0; c < SMALL; c++) { /* the code is the largest of [K, cells] */
            int best = 0;
            for (int k = 1; k < TINY_CODES; k++)
                best = one_logits[k * SMALL + c] > one_logits[best * SMALL + c] ? k : best;
            assert_int_equal(best, one_encoded[c]);
        }
    }
    good(limn_encode(tiny, rgb, N, encoded, NULL, &e) && limn_decode(tiny, codes, 0, pixels, &e), &e);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const struct CMUnitTest once[] = {
        TEST(first_of_nine_pictures_is_the_one_of_one),
        TEST(f16_caches_draw_the_same_picture),
        TEST(other_weight_types_stay_near),
    };
    static const struct CMUnitTest tests[] = {
        TEST(pictures_do_not_depend_on_the_count),
        TEST(guided_pictures_do_not_depend_on_the_count),
        TEST(pictures_of_f16_caches_do_not_depend_on_the_count),
        TEST(a_seed_gives_the_same_codes_each_time),
        TEST(greedy_ignores_the_seed_and_equals_top_k_of_one),
        TEST(guidance_of_one_is_none_and_of_three_is_not),
        TEST(guidance_without_text_changes_nothing),
        TEST(ids_and_their_text_give_the_same),
        TEST(kept_codes_are_kept_exactly),
        TEST(cells_that_are_not_kept_need_no_valid_code),
        TEST(wrong_requests_are_refused),
        TEST(progress_counts_to_the_total),
        TEST(previews_hold_the_codes_so_far),
        TEST(score_is_the_sum_of_the_logits),
        TEST(other_weight_types_generate_what_they_score),
        TEST(pictures_in_batches_equal_one_by_one),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    print_message("device: %s (%s)\n", dev->info.name, dev->reason);
    int failed = 0;
    const char *style;
    for (size_t i = 0; (style = support_styled(&dev, i)); i++) {
        char name[32];
        snprintf(name, sizeof name, "generate, %s kernels", style);
        failed += _cmocka_run_group_tests(name, tests, COUNT(tests), open_models, close_models);
        if (i == 0)
            failed += cmocka_run_group_tests_name("generate, the built-in model", once, open_models, close_models);
    }
    device_free(dev);
    return failed != 0;
}
