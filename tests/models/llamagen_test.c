/* LlamaGen's model of texts with T5's encoder, a tiny instance with random weights in its published files
 * (data/golden/README.md), through limn convert: cleaned captions and their ids, states of the encoder, vectors of the
 * prefix, logits, greedy codes and pictures as its authors' code has them. */
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
#include "models/session.h"
#include "models/transformers/gpt.h"
#include "support.h"

#define FOLDER TEST_DATA "/golden/llamagen_t2i"
#define STATES 1e-5 /* of their range */
#define PIXELS 2e-5

enum { PROMPTS = 2 };

static const char *const prompts[PROMPTS] = {"A blue Porsche 356 parked in front of a yellow brick wall.",
                                             "two red cats"};
static device *dev;
static model *m;
static golden_npz golden;

static npy array(const char *name, dtype type)
{
    return golden_npz_read(&golden, name, type);
}

/* Rows of the array's first dimension. */
static float *row_of(const npy *a, int i)
{
    return (float *)a->data + (size_t)i * (size_t)(a->count / a->shape[0]);
}

static void same_codes(const int32_t *have, const int32_t *want, int n, const char *what)
{
    for (int i = 0; i < n; i++)
        if (have[i] != want[i])
            fail_msg("%s: number %d is %d, not %d", what, i, have[i], want[i]);
}

static void near(const float *have, const float *want, int n, const char *what)
{
    double most = 0, low = INFINITY, high = -INFINITY;
    for (int i = 0; i < n; i++) {
        most = fmax(most, fabs((double)have[i] - (double)want[i]));
        low = fmin(low, (double)want[i]);
        high = fmax(high, (double)want[i]);
    }
    if (!(most <= STATES * (high - low)))
        fail_msg("%s differ by %g of their range", what, most / (high - low));
}

/* How many ids the row has before its padding. */
static int length_of(const npy *mask, int row)
{
    int n = 0;
    while (n < mask->shape[1] && ((const int32_t *)mask->data)[row * mask->shape[1] + n])
        n++;
    return n;
}

/* Converts the inputs, and opens what that gives. */
static model *open_converted(const char *const *inputs, size_t n, bool typed, dtype type)
{
    static const char *const settings[] = {"heads=4", "image_size=8"};
    err e = {0};
    const import_request q = {.inputs = inputs,
                              .n_inputs = n,
                              .output = support_path("llamagen.gguf"),
                              .typed = typed,
                              .type = type,
                              .settings = settings,
                              .n_settings = 2};
    good(import_convert(&q, &e), &e);
    model *opened = limn_model_open(dev, support_path("llamagen.gguf"), &e);
    good(opened != NULL, &e);
    return opened;
}

/* ---- texts ---- */

static void test_cleaned(void **state)
{
    (void)state;
    json_t *cases = json_load_file(FOLDER "/tokenizer_cases.json", 0, NULL), *c;
    size_t i;
    assert_non_null(cases);
    json_array_foreach(cases, i, c)
    {
        const json_t *want = json_object_get(c, "cleaned_ids");
        err e = {0};
        int32_t *ids;
        size_t n;
        good(limn_tokenize(m, json_string_value(json_object_get(c, "text")), &ids, &n, &e), &e);
        if (n != json_array_size(want))
            fail_msg("text %zu: %zu ids, not %zu", i, n, json_array_size(want));
        for (size_t k = 0; k < n; k++)
            assert_int_equal(ids[k], json_integer_value(json_array_get(want, k)));
        free(ids);
    }
    json_decref(cases);
}

/* Another form of the same tokenizer. */
static void test_json(void **state)
{
    (void)state;
    const char *inputs[] = {FOLDER "/t2i_XL_stage1_256.pt", FOLDER "/vq_ds16_t2i.pt", FOLDER "/flan-t5-xl"};
    static const char *const texts[] = {"A photo of <extra_id_0>, ①②!", "", "x²+y³ 🐼 naïve", "</s> end"};
    err e = {0};
    model *kept = m;
    const import_request q = {.inputs = inputs,
                              .n_inputs = 3,
                              .output = support_path("json.gguf"),
                              .tokenizer = FOLDER "/flan-t5-xl/tokenizer.json",
                              .settings = (const char *const[]){"heads=4", "image_size=8"},
                              .n_settings = 2};
    good(import_convert(&q, &e), &e);
    model *other = limn_model_open(dev, support_path("json.gguf"), &e);
    good(other != NULL, &e);
    for (size_t i = 0; i < COUNT(texts); i++) {
        int32_t *a, *b;
        size_t n, k;
        good(tokenizer_encode(kept->tokenizer, texts[i], &a, &n, &e), &e);
        good(tokenizer_encode(other->tokenizer, texts[i], &b, &k, &e), &e);
        assert_int_equal(n, k);
        same_codes(b, a, (int)n, texts[i]);
        free(a);
        free(b);
    }
    limn_model_free(&other);
}

/* ---- the encoder ---- */

/* The states [n, dim] of ids[n]; those of the prefix too, if `vectors` isn't NULL. */
static void encode(const int32_t *ids, int n, float *states, float *vectors)
{
    err e = {0};
    const gpt *d = (const gpt *)m->transformer;
    good(model_load(m, USE_TRANSFORMER, &e), &e);
    run *r = m->run;
    run_reset(r);
    tensor x = t5_forward(r, &d->encoder, run_upload(r, DTYPE_I32, 2, (int64_t[]){1, n}, ids), 0);
    run_read(r, x, states);
    if (vectors)
        run_read(r, op_linear(r, op_linear(r, x, &d->project_up, ACT_GELU_TANH), &d->project_down, ACT_NONE), vectors);
    good(run_finish(r, &e), &e);
}

static void test_encoder(void **state)
{
    (void)state;
    npy ids = array("ids", DTYPE_I32), mask = array("mask", DTYPE_I32), hidden = array("t5_hidden", DTYPE_F32);
    npy prefix = array("cap_proj", DTYPE_F32), long_ids = array("long_ids", DTYPE_I32);
    npy long_hidden = array("long_hidden", DTYPE_F32);
    const int room = (int)ids.shape[1], dim = (int)hidden.shape[2], wide = (int)prefix.shape[2];
    float states[70 * 64], vectors[14 * 64];
    for (int i = 0; i < PROMPTS; i++) {
        int n = length_of(&mask, i);
        encode((const int32_t *)ids.data + i * room, n, states, vectors);
        near(states, row_of(&hidden, i), n * dim, "states");
        near(vectors, row_of(&prefix, i) + (room - n) * wide, n * wide, "vectors of the prefix");
    }
    encode(long_ids.data, (int)long_ids.count, states, NULL); /* distances of every bucket */
    near(states, long_hidden.data, (int)long_hidden.count, "states of a long text");
    npy *const all[] = {&ids, &mask, &hidden, &prefix, &long_ids, &long_hidden};
    for (size_t i = 0; i < COUNT(all); i++)
        npy_release(all[i]);
}

/* ---- the GPT ---- */

/* Logits with the text, and of the row without, which is as long. */
static void check_logits(const int32_t *ids, int n, const int32_t *codes, const float *with, const float *without)
{
    err e = {0};
    limn_score s;
    const transformer *d = m->transformer;
    int count = m->info.grid_width * m->info.grid_height * m->info.codes, zero = 0;
    int32_t row[64], null[64];
    size_t used;
    float *have = calloc((size_t)count, sizeof *have);
    session own = {0};
    good(limn_score_codes(m, ids, (size_t)n, codes, have, &s, &e), &e);
    near(have, with, count, "logits");
    good(d->kind->text_row(d, ids, (size_t)n, row, &used, &e), &e);
    good(d->kind->null_row(d, row, used, null, &used, &e), &e);
    good(model_load(m, USE_TRANSFORMER, &e), &e);
    run_reset(m->run);
    good(session_open(&own, d, m->run, 1, (int)used, DTYPE_F32, &e), &e);
    run_write(m->run, own.ids, null);
    run_write(m->run, own.codes, codes);
    run_write(m->run, own.position, &zero);
    run_write(m->run, own.memory.place, &zero);
    int cells = m->info.grid_width * m->info.grid_height;
    tensor x = d->kind->forward(m->run, d, own.ids, own.codes, &own.memory, own.position, (int)used + cells - 1);
    run_read(m->run, op_linear(m->run, op_slice(m->run, x, (int)used - 1, cells), d->image_head, ACT_NONE), have);
    good(run_finish(m->run, &e), &e);
    near(have, without, count, "logits without a text");
    session_release(&own);
    free(have);
}

static void test_logits(void **state)
{
    (void)state;
    npy ids = array("ids", DTYPE_I32), mask = array("mask", DTYPE_I32), codes = array("forced", DTYPE_I32);
    npy logits = array("forced_logits", DTYPE_F32);
    for (int i = 0; i < PROMPTS; i++)
        check_logits((const int32_t *)ids.data + i * ids.shape[1], length_of(&mask, i),
                     (const int32_t *)codes.data + i * codes.shape[1], row_of(&logits, i),
                     row_of(&logits, PROMPTS + i));
    npy_release(&ids);
    npy_release(&mask);
    npy_release(&codes);
    npy_release(&logits);
}

static void check_greedy(int prompt, float guidance, const npy *want, int32_t *codes)
{
    err e = {0};
    limn_generate_options o = limn_generate_defaults(m);
    int cells = m->info.grid_width * m->info.grid_height;
    assert_true(o.guidance == 7.5f && o.temperature == 1 && o.top_k == 1000);
    assert_int_equal(cells, want->shape[1]);
    o.prompt = prompts[prompt];
    o.temperature = 0;
    o.guidance = guidance;
    good(limn_generate(m, &o, codes, &e), &e);
    same_codes(codes, (const int32_t *)want->data + prompt * cells, cells, "greedy");
}

static void check_pixels(const int32_t *codes, const float *want)
{
    err e = {0};
    int n = m->info.width * m->info.height * 3;
    float *have = calloc((size_t)n, sizeof *have);
    good(limn_decode_pixels(m, codes, 1, LIMN_F32, have, NULL, &e), &e);
    for (int i = 0; i < n; i++) {
        float reference = fminf(fmaxf(want[i] / 2 + 0.5f, 0), 1);
        if (!(fabsf(have[i] - reference) <= (float)PIXELS))
            fail_msg("pixel %d is %g, not %g", i, (double)have[i], (double)reference);
    }
    free(have);
}

static void test_greedy(void **state)
{
    (void)state;
    npy guided = array("greedy_cfg7.5", DTYPE_I32), plain = array("greedy_cfg1", DTYPE_I32);
    npy pixels = array("greedy_pixels", DTYPE_F32);
    int32_t codes[64];
    for (int i = 0; i < PROMPTS; i++) {
        check_greedy(i, 1, &plain, codes);
        check_greedy(i, 7.5f, &guided, codes);
        check_pixels(codes, row_of(&pixels, i));
    }
    npy_release(&guided);
    npy_release(&plain);
    npy_release(&pixels);
}

/* Texts of different lengths at work together. */
static void test_together(void **state)
{
    (void)state;
    err e = {0};
    npy want = array("greedy_cfg7.5", DTYPE_I32);
    uint64_t ids[PROMPTS], id;
    int32_t codes[64];
    limn_generation *g = limn_generation_open(m, &(limn_generation_options){.rows = 4}, &e);
    good(g != NULL, &e);
    for (int i = 0; i < PROMPTS; i++)
        good(limn_generation_add(g, &(limn_request){.prompt = prompts[i], .greedy = true}, &ids[i], &e), &e);
    int left = 1, taken = 0;
    while (left > 0) {
        good(limn_generation_step(g, &left, &e), &e);
        for (; limn_generation_take(g, &id, NULL, codes); taken++)
            same_codes(codes, (const int32_t *)want.data + (id == ids[0] ? 0 : want.shape[1]), (int)want.shape[1],
                       "together");
    }
    assert_int_equal(taken, PROMPTS);
    limn_generation_free(&g);
    npy_release(&want);
}

/* The files one by one, as blocks: it draws, with and without a text. */
static void test_quantised(void **state)
{
    (void)state;
    const char *inputs[] = {FOLDER "/vq_ds16_t2i.pt", FOLDER "/flan-t5-xl/model-00002-of-00003.safetensors",
                            FOLDER "/t2i_XL_stage1_256.pt"};
    err e = {0};
    int32_t codes[64];
    model *small = open_converted(inputs, 3, true, DTYPE_Q8_0);
    limn_generate_options o = limn_generate_defaults(small);
    o.prompt = "a cat";
    good(limn_generate(small, &o, codes, &e), &e);
    o.prompt = NULL; /* of nothing */
    o.guidance = 1;
    good(limn_generate(small, &o, codes, &e), &e);
    limn_model_free(&small);
}

static void test_refused(void **state)
{
    (void)state;
    const char *gpt_alone[] = {FOLDER "/t2i_XL_stage1_256.pt"}, *t5_alone[] = {FOLDER "/flan-t5-xl"};
    err e = {0};
    import_request q = {.inputs = gpt_alone, .n_inputs = 1, .output = support_path("no.gguf")};
    refused_with(import_convert(&q, &e), &e, "flan-t5-xl", "a GPT without T5", support_path("no.gguf"));
    q.inputs = t5_alone;
    e = (err){0};
    refused_with(import_convert(&q, &e), &e, "t2i_XL", "T5 without a GPT", support_path("no.gguf"));
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {TEST(test_cleaned),  TEST(test_encoder),   TEST(test_logits),  TEST(test_greedy),
                                       TEST(test_together), TEST(test_quantised), TEST(test_refused), TEST(test_json)};
    const char *folder = FOLDER;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    m = open_converted(&folder, 1, false, DTYPE_F32);
    golden_npz_open(&golden, FOLDER "/io.npz");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    golden_npz_release(&golden);
    limn_model_free(&m);
    device_free(dev);
    return failed;
}
