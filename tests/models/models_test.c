/* Models: the built-in one against PyTorch's outputs, tiny ones for patterns and padding, and devices that are too
 * small.  All on the device that LIMN_DEVICE names, with its own kernels and those for GPUs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "checks.h"
#include "io/safetensors.h"
#include "models/session.h"
#include "models/transformers/gpt.h"
#include "support.h"

static device *dev;
static bool thorough; /* all prompts, not the first alone: GPU kernels are slow on CPUs */

/* ---- checks ---------------------------------------------------------------------------------------------------- */

static void near(const float *a, const float *b, size_t n, float bound, const char *what)
{
    float worst = 0;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        worst = d <= worst ? worst : d; /* NaN too */
    }
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%s: error %.3g, bound %.3g\n", what, (double)worst, (double)bound);
    if (!(worst <= bound))
        fail_msg("%s: error %g, bound %g", what, (double)worst, (double)bound);
}

static void same(const int32_t *a, const int32_t *b, size_t n, const char *what)
{
    for (size_t i = 0; i < n; i++)
        if (a[i] != b[i])
            fail_msg("%s: %d where %d is expected, at place %zu of %zu", what, a[i], b[i], i, n);
}

static void *array(size_t n)
{
    void *p = calloc(n, 4);
    assert_non_null(p);
    return p;
}

static model *open_model(const char *path)
{
    err e = {0};
    model *m = limn_model_open(dev, path, &e);
    if (!m)
        fail_msg("%s", e.text);
    return m;
}

static model *open_tiny(const tiny_config *c)
{
    err e = {0};
    const char *path = support_path("tiny.gguf");
    good(tiny_model_write(path, c, &e), &e);
    return open_model(path);
}

/* ---- the reference --------------------------------------------------------------------------------------------- */

enum { PROMPTS = 4, TEXT = 20, CELLS = 64, CODES = 1024, TOKENS = 2048, PIXELS = 3 * 64 * 64 };

static file_map reference_file;
static safetensors *reference;
static json_t *prompts;

static int open_reference(void **state)
{
    (void)state;
    err e = {0};
    json_error_t why;
    const char *path = TEST_DATA "/emoji_reference.safetensors";
    if (file_map_open(&reference_file, path, &e))
        reference = safetensors_open(reference_file.data, reference_file.size, path, &e);
    prompts = json_load_file(TEST_DATA "/emoji_prompts.json", 0, &why);
    if (!reference || !prompts)
        print_error("%s%s\n", e.text, prompts ? "" : why.text);
    return reference && prompts ? 0 : -1;
}

static int close_reference(void **state)
{
    (void)state;
    safetensors_free(reference);
    file_map_release(&reference_file);
    json_decref(prompts);
    return 0;
}

/* A copy of a reference output: `count` floats or ints. */
static void *expected(const char *name, size_t count)
{
    const file_tensor *t = safetensors_find(reference, name);
    if (!t || (size_t)file_tensor_count(t) != count)
        fail_msg("emoji_reference.safetensors: %s: missing, or of another size", name);
    void *copy = array(count);
    if (t->type == DTYPE_U8)
        memcpy(copy, t->data, count);
    else if (t->type == DTYPE_F32 || t->type == DTYPE_I32)
        memcpy(copy, t->data, 4 * count);
    else
        for (size_t i = 0; i < count; i++) {
            int64_t v;
            assert_int_equal(t->type, DTYPE_I64);
            memcpy(&v, (const char *)t->data + 8 * i, sizeof v);
            ((int32_t *)copy)[i] = (int32_t)v;
        }
    return copy;
}

static const char *prompt(int i)
{
    return json_string_value(json_array_get(prompts, (size_t)i));
}

static bool text_row(const model *m, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    return m->transformer->kind->text_row(m->transformer, ids, n, row, used, e);
}

static void meet_text_ids(model *m)
{
    int32_t *want = expected("text_ids", PROMPTS * TEXT), row[TEXT], *ids;
    assert_int_equal(m->info.text_length, TEXT);
    for (int i = 0; i < PROMPTS; i++) {
        err e = {0};
        size_t n, used = 0;
        good(limn_tokenize(m, prompt(i), &ids, &n, &e) && text_row(m, ids, n, row, &used, &e), &e);
        assert_int_equal(used, n);
        same(row, want + i * TEXT, TEXT, "text_ids");
        free(ids);
    }
    free(want);
}

static void meet_greedy_codes(model *m)
{
    int32_t *want = expected("greedy_codes", PROMPTS * CELLS), codes[CELLS];
    for (int i = 0; i < (thorough ? PROMPTS : 1); i++) {
        err e = {0};
        limn_generate_options o = {.prompt = prompt(i)};
        good(limn_generate(m, &o, codes, &e), &e);
        same(codes, want + i * CELLS, CELLS, "greedy_codes");
    }
    free(want);
}

/* The logits of the text, which the public API doesn't give. */
static void text_logits(model *m, const int32_t *ids, const int32_t *codes, float *logits)
{
    err e = {0};
    const transformer *d = m->transformer;
    session s = {0};
    int32_t zero = 0;
    run *r = m->run;
    run_reset(r);
    good(session_open(&s, m->transformer, r, 1, m->transformer->text_length, DTYPE_F32, &e), &e);
    run_write(r, s.ids, ids);
    run_write(r, s.codes, codes);
    run_write(r, s.position, &zero);
    tensor x = d->kind->forward(r, d, s.ids, s.codes, &s.memory, s.position, TEXT + CELLS - 1);
    run_read(r, op_linear(r, op_slice(r, x, 0, TEXT - 1), d->text_head, ACT_NONE), logits);
    bool ok = run_finish(r, &e);
    session_release(&s);
    good(ok, &e);
}

static void meet_logits_of(model *m, int n)
{
    int32_t *ids = expected("text_ids", PROMPTS * TEXT), *codes = expected("greedy_codes", PROMPTS * CELLS);
    float *image = expected("image_logits", PROMPTS * CELLS * CODES), *got = array(CELLS * CODES);
    float *text = expected("text_logits", PROMPTS * (TEXT - 1) * TOKENS), *got_text = array((TEXT - 1) * TOKENS);
    for (int i = 0; i < n; i++) {
        err e = {0};
        limn_score s;
        good(limn_score_codes(m, ids + i * TEXT, TEXT, codes + i * CELLS, got, &s, &e), &e);
        near(got, image + i * CELLS * CODES, CELLS * CODES, 1e-3f, "image_logits");
        assert_int_equal(s.image_tokens, CELLS);
        text_logits(m, ids + i * TEXT, codes + i * CELLS, got_text);
        near(got_text, text + i * (TEXT - 1) * TOKENS, (TEXT - 1) * TOKENS, 1e-3f, "text_logits");
    }
    free(ids);
    free(codes);
    free(image);
    free(got);
    free(text);
    free(got_text);
}

static void meet_logits(model *m)
{
    meet_logits_of(m, thorough ? PROMPTS : 1);
}

static void meet_decoded(model *m)
{
    err e = {0};
    int32_t *codes = expected("greedy_codes", PROMPTS * CELLS);
    float *want = expected("decoded", PROMPTS * PIXELS), *got = array(PROMPTS * PIXELS);
    good(limn_decode(m, codes, PROMPTS, got, &e), &e);
    near(got, want, PROMPTS * PIXELS, 1.0f / 255, "decoded");
    free(codes);
    free(want);
    free(got);
}

static void meet_encoded(model *m)
{
    err e = {0};
    uint8_t *pictures = expected("encode_image_u8", PROMPTS * PIXELS);
    int32_t *want = expected("encode_codes", PROMPTS * CELLS), got[PROMPTS * CELLS];
    float *want_logits = expected("encode_logits", PROMPTS * CODES * CELLS), *logits = array(PROMPTS * CODES * CELLS);
    good(limn_encode(m, pictures, PROMPTS, got, logits, &e), &e);
    near(logits, want_logits, PROMPTS * CODES * CELLS, 1e-3f, "encode_logits");
    same(got, want, PROMPTS * CELLS, "encode_codes");
    free(pictures);
    free(want);
    free(want_logits);
    free(logits);
}

/* Each test opens the model for itself, so that none depends on another. */
static void with_builtin(void (*check)(model *))
{
    model *m = open_model(NULL);
    check(m);
    limn_model_free(&m);
    assert_null(m);
    assert_int_equal(dev->memory_used, 0);
}

static void builtin_says_what_it_is(void **state)
{
    (void)state;
    model *m = open_model(NULL);
    const limn_model_info *i = limn_model_get_info(m);
    assert_string_equal(i->name, "emoji scenes");
    assert_true(i->has_codec && i->has_transformer && i->has_tokenizer);
    assert_int_equal(i->width, 64);
    assert_int_equal(i->height, 64);
    assert_int_equal(i->grid_width * i->grid_height, CELLS);
    assert_int_equal(i->codes, CODES);
    assert_int_equal(i->text_vocabulary, TOKENS);
    assert_int_equal(i->default_top_k, 32);
    assert_string_equal(limn_token(m, 0), "<pad>");
    assert_null(limn_token(m, -1));
    assert_null(limn_token(m, TOKENS));
    limn_model_free(&m);
    limn_model_free(&m);
}

static void builtin_meets_text_ids(void **state)
{
    (void)state;
    with_builtin(meet_text_ids);
}

static void builtin_meets_greedy_codes(void **state)
{
    (void)state;
    with_builtin(meet_greedy_codes);
}

static void builtin_meets_logits(void **state)
{
    (void)state;
    with_builtin(meet_logits);
}

static void builtin_meets_decoded_pictures(void **state)
{
    (void)state;
    with_builtin(meet_decoded);
}

static void builtin_meets_encoded_pictures(void **state)
{
    (void)state;
    with_builtin(meet_encoded);
}

/* ---- devices that are too small -------------------------------------------------------------------------------- */

/* Logits of a sequence, [16, TINY_CODES]. */
static void tiny_logits(model *m, float *logits)
{
    err e = {0};
    limn_score s;
    int32_t codes[16];
    for (int i = 0; i < 16; i++)
        codes[i] = i * 7 % TINY_CODES;
    good(limn_score_codes(m, (int32_t[]){60, 3, 200}, 3, codes, logits, &s, &e), &e);
}

static void weights_larger_than_an_allocation_are_split(void **state)
{
    (void)state;
    uint64_t before = dev->info.max_allocation;
    float whole[16 * TINY_CODES], split[16 * TINY_CODES];
    model *m = open_tiny(&(tiny_config){0});
    tiny_logits(m, whole);
    limn_model_free(&m);
    dev->info.max_allocation = 20000; /* of the text embedding's 33,024 bytes; convolutions fit */
    m = open_tiny(&(tiny_config){0});
    assert_non_null(((gpt *)m->transformer)->embedding.text.buf->next);
    assert_non_null(m->transformer->text_head->w.buf->next);
    tiny_logits(m, split);
    limn_model_free(&m);
    dev->info.max_allocation = before;
    assert_memory_equal(split, whole, sizeof whole);
}

static void convolution_larger_than_an_allocation_is_an_error(void **state)
{
    (void)state;
    err e = {0};
    uint64_t before = dev->info.max_allocation;
    dev->info.max_allocation = 100000;
    assert_null(limn_model_open(dev, NULL, &e));
    dev->info.max_allocation = before;
    assert_int_equal(e.code, ERR_FAILED);
    has(e.text, "codec.");
    has(e.text, "MiB in one piece");
    assert_int_equal(dev->memory_used, 0);
}

/* Loads and generates under a limit; whether that worked. */
static bool works_within(const char *path, uint64_t limit, err *e)
{
    int32_t codes[3 * 16];
    float pixels[3 * 3 * 64];
    limn_generate_options o = {.prompt = "a", .count = 3, .temperature = 1, .guidance = 2};
    dev->memory_limit = limit;
    model *m = limn_model_open(dev, path, e);
    bool ok = m && limn_generate(m, &o, codes, e) && limn_decode(m, codes, 3, pixels, e);
    limn_model_free(&m);
    assert_int_equal(dev->memory_used, 0);
    return ok;
}

static void any_memory_limit_gives_a_picture_or_an_error(void **state)
{
    (void)state;
    err e = {0};
    uint64_t before = dev->memory_limit;
    const char *path = support_path("tiny.gguf");
    good(tiny_model_write(path, &(tiny_config){.layers = 1}, &e), &e);
    bool worked = false;
    for (uint64_t limit = 1; !worked && limit < UINT64_C(1) << 30; limit += limit / 3 + 1) {
        err why = {0};
        worked = works_within(path, limit, &why);
        if (!worked) {
            assert_int_equal(why.code, ERR_FAILED);
            has(why.text, "would exceed");
        }
    }
    dev->memory_limit = before;
    assert_true(worked);
}

/* ---- attention and padding ------------------------------------------------------------------------------------- */

/* Half of the cells random, the others greedy: there the full pass must agree with the steps. */
static void check_steps(model *m, float *logits)
{
    err e = {0};
    uint8_t keep[16];
    int32_t kept[16], codes[16], ids[] = {7, 100, 30};
    for (int i = 0; i < 16; i++) {
        keep[i] = i % 2 == 0;
        kept[i] = (int32_t)(rng_uniform(5, 0, 0, (uint32_t)i) * TINY_CODES);
    }
    limn_generate_options o = {.text_ids = ids, .n_text_ids = 3, .keep = keep, .kept_codes = kept};
    limn_score s;
    good(limn_generate(m, &o, codes, &e) && limn_score_codes(m, ids, 3, codes, logits, &s, &e), &e);
    for (int i = 0; i < 16; i++) {
        int best = 0;
        float next[TINY_CODES];
        good(limn_next_logits(m, ids, 3, i ? codes : NULL, i, next, &e), &e);
        for (int k = 0; k < TINY_CODES; k++)
            assert_true(fabsf(next[k] - logits[i * TINY_CODES + k]) < 1e-4f);
        for (int k = 1; k < TINY_CODES; k++)
            best = logits[i * TINY_CODES + k] > logits[i * TINY_CODES + best] ? k : best;
        if (codes[i] != (keep[i] ? kept[i] : best))
            fail_msg("cell %d: code %d, where %d is kept and %d most likely", i, codes[i], kept[i], best);
    }
    for (int n = -1; n <= 16; n += 17) {
        e = (err){0};
        assert_false(limn_next_logits(m, ids, 3, codes, n, logits, &e));
        assert_int_equal(e.code, LIMN_USAGE);
    }
    e = (err){0};
    codes[0] = TINY_CODES;
    assert_false(limn_next_logits(m, ids, 3, codes, 1, logits, &e));
    assert_int_equal(e.code, LIMN_USAGE);
}

static void cached_steps_equal_the_full_pass_for_every_pattern(void **state)
{
    (void)state;
    float full[16 * TINY_CODES], logits[16 * TINY_CODES];
    for (int kind = 0; kind < MASK_ALL; kind++) {
        model *m = open_tiny(&(tiny_config){.attention = mask_names[kind]});
        assert_int_equal(((gpt *)m->transformer)->blocks[1].mask.kind, kind);
        check_steps(m, kind == MASK_FULL ? full : logits);
        limn_model_free(&m);
        float worst = 0;
        for (int i = 8 * TINY_CODES; kind != MASK_FULL && i < 16 * TINY_CODES; i++)
            worst = fmaxf(worst, fabsf(full[i] - logits[i]));
        if (kind != MASK_FULL && worst < 1e-3f)
            fail_msg("pattern %s gives what full gives", mask_names[kind]);
    }
}

static void each_position_may_have_its_own_padding(void **state)
{
    (void)state;
    err e = {0};
    size_t used;
    int32_t ids[] = {5, TINY_PAD, 6, TINY_PAD, TINY_PAD}, row[TINY_TEXT];
    int32_t plain[] = {5, TINY_PAD, 6, TINY_PAD, TINY_PAD, TINY_PAD, TINY_PAD, TINY_IMAGE};
    int32_t own[] = {5,         TINY_TOKENS + 1, 6, TINY_TOKENS + 3, TINY_TOKENS + 4, TINY_TOKENS + 5, TINY_TOKENS + 6,
                     TINY_IMAGE};
    int32_t none[TINY_TEXT];
    for (int i = 0; i < TINY_TEXT; i++)
        none[i] = i == TINY_TEXT - 1 ? TINY_IMAGE : TINY_TOKENS + i;
    model *m = open_tiny(&(tiny_config){0});
    good(text_row(m, ids, 5, row, &used, &e), &e);
    assert_int_equal(used, 3);
    same(row, plain, TINY_TEXT, "shared padding");
    limn_model_free(&m);

    m = open_tiny(&(tiny_config){.pad_per_position = true});
    good(text_row(m, ids, 5, row, &used, &e), &e);
    assert_int_equal(used, 3);
    same(row, own, TINY_TEXT, "padding of its own");
    good(text_row(m, NULL, 0, row, &used, &e), &e);
    assert_int_equal(used, 0);
    same(row, none, TINY_TEXT, "no text");
    float logits[16 * TINY_CODES];
    check_steps(m, logits);
    limn_score s;
    int32_t codes[16] = {0};
    good(limn_score_codes(m, ids, 5, codes, NULL, &s, &e), &e);
    assert_int_equal(s.text_tokens, 2);
    assert_true(s.text_log_likelihood < 0 && isfinite(s.text_log_likelihood));
    limn_model_free(&m);
}

static void parts_of_a_model_are_models(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[16] = {0}, *ids;
    size_t n;
    float pixels[3 * 64];
    model *m = open_tiny(&(tiny_config){.no_transformer = true, .no_tokenizer = true});
    assert_true(m->info.has_codec && !m->info.has_transformer && !m->info.has_tokenizer);
    assert_int_equal(m->info.grid_width, 4);
    good(limn_decode(m, codes, 1, pixels, &e), &e);
    assert_false(limn_generate(m, &(limn_generate_options){.prompt = "a"}, codes, &e));
    assert_int_equal(e.code, ERR_USAGE);
    has(e.text, "no transformer inside");
    assert_null(limn_token(m, 3));
    limn_model_free(&m);

    e = (err){0};
    m = open_tiny(&(tiny_config){.no_codec = true, .no_tokenizer = true});
    assert_int_equal(m->info.width, 0);
    assert_false(limn_decode(m, codes, 1, pixels, &e));
    assert_int_equal(e.code, ERR_USAGE);
    has(e.text, "no image codec inside");
    e = (err){0};
    assert_false(limn_tokenize(m, "a", &ids, &n, &e));
    has(e.text, "no tokenizer inside");
    limn_model_free(&m);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const struct CMUnitTest kernels[] = {
        TEST(builtin_meets_text_ids),
        TEST(builtin_meets_greedy_codes),
        TEST(builtin_meets_logits),
        TEST(builtin_meets_decoded_pictures),
        TEST(builtin_meets_encoded_pictures),
        TEST(cached_steps_equal_the_full_pass_for_every_pattern),
        TEST(each_position_may_have_its_own_padding),
    };
    static const struct CMUnitTest files[] = {
        TEST(builtin_says_what_it_is),
        TEST(weights_larger_than_an_allocation_are_split),
        TEST(convolution_larger_than_an_allocation_is_an_error),
        TEST(any_memory_limit_gives_a_picture_or_an_error),
        TEST(parts_of_a_model_are_models),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    print_message("device: %s (%s)\n", dev->info.name, dev->reason);
    int failed = 0;
    const char *style;
    for (size_t i = 0; (style = support_styled(&dev, i)); i++) {
        char name[32];
        thorough = i == 0;
        snprintf(name, sizeof name, "models, %s kernels", style);
        failed += _cmocka_run_group_tests(name, kernels, COUNT(kernels), open_reference, close_reference);
        if (i == 0)
            failed += cmocka_run_group_tests_name("models", files, open_reference, close_reference);
    }
    device_free(dev);
    return failed != 0;
}
