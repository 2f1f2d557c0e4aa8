/* Runs: batch invariance, recording, memory in two arenas, failures. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "device/program.h"
#include "ops_cases.h"

static void finish(ops_env *v)
{
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
}

/* A weight as models have it; free_weight frees panels. */
static tensor weight_in_panels(ops_env *v, tensor w)
{
    err e = {0};
    if (linear_packs(w.type) && !linear_pack(v->r, &w, w, "panels", &e))
        fail_msg("%s", e.text);
    return w;
}

static void free_weight(ops_env *v, tensor w)
{
    finish(v);
    if (w.panels)
        buffer_free(w.buf);
}

static void rows_alone(ops_env *v, dtype type, int k, bool packed)
{
    enum { M = 32, N = 37 };
    float *x = ops_numbers(v, M * k), *w = ops_numbers(v, N * k), *b = ops_numbers(v, N);
    float all[M * N], some[M * N];
    linear l = {ops_tensor(v, type, SHAPE(N, k), w), ops_tensor(v, DTYPE_F32, SHAPE(N), b)};
    if (packed)
        l.w = weight_in_panels(v, l.w);
    tensor tx = ops_tensor(v, DTYPE_F32, SHAPE(M, k), x);
    run_read(v->r, op_linear(v->r, tx, &l, ACT_GELU_TANH), all);
    for (int m = 1; m < M; m++) {
        run_read(v->r, op_linear(v->r, tensor_rows(tx, M - m, m), &l, ACT_GELU_TANH), some);
        finish(v);
        for (int i = 0; i < m * N; i++)
            if (memcmp(&some[i], &all[(M - m) * N + i], sizeof *some))
                fail_msg("%s, k %d: %d rows give %.9g where %d rows give %.9g", dtype_table[type].name, k, m, some[i],
                         M, all[(M - m) * N + i]);
        run_reset(v->r);
    }
    free_weight(v, l.w);
}

static void test_batch_invariance(ops_env *v)
{
    rows_alone(v, DTYPE_F32, 96, false);
    rows_alone(v, DTYPE_F32, 101, false);
    rows_alone(v, DTYPE_F16, 96, false);
    rows_alone(v, DTYPE_F16, 101, false);
    rows_alone(v, DTYPE_F16, 1101, false);
    for (int packed = 0; packed < 2; packed++) {
        rows_alone(v, DTYPE_Q8_0, 96, packed);
        rows_alone(v, DTYPE_Q4_0, 96, packed);
    }
}

/* A model in small: what is written at each step decides the next. */
enum { ROWS = 2, D = 32, HEADS = 2, VOCABULARY = 40, WIDTH = 4, HEIGHT = 3, CELLS = WIDTH * HEIGHT };

typedef struct toy {
    sequence_embedding embedding;
    norm norm;
    linear qkv, out, logits;
    kv_cache cache;
    tensor codes, forced, position, settings;
} toy;

static linear toy_linear(ops_env *v, int out, dtype type)
{
    return (linear){ops_tensor(v, type, SHAPE(out, D), ops_numbers(v, out * D)),
                    ops_tensor(v, DTYPE_F32, SHAPE(out), ops_numbers(v, out))};
}

static toy toy_new(ops_env *v)
{
    tensor image = ops_tensor(v, DTYPE_F32, SHAPE(VOCABULARY, D), ops_numbers(v, VOCABULARY * D));
    tensor rows = ops_tensor(v, DTYPE_F32, SHAPE(HEIGHT, D), ops_numbers(v, HEIGHT * D));
    tensor columns = ops_tensor(v, DTYPE_F32, SHAPE(WIDTH, D), ops_numbers(v, WIDTH * D));
    int32_t codes[ROWS * (CELLS + 1)], forced[ROWS * CELLS], settings[ROWS * SAMPLING_WORDS];
    for (int i = 0; i < ROWS * CELLS; i++)
        codes[i] = i % CELLS ? -1 : 5 + i;
    for (int i = 0; i < ROWS * CELLS; i++)
        forced[i] = -1;
    for (int i = 0; i < ROWS; i++)
        sampling_put(settings + i * SAMPLING_WORDS, &(sampling){.temperature = 30,
                                                                .top_k = 20,
                                                                .top_p = 0.95f,
                                                                .seed = 4,
                                                                .stream = (uint32_t)i,
                                                                .row = i,
                                                                .other = -1});
    return (toy){
        /* a text of one position, which is over: the grid begins at position 1 */
        .embedding = {rows, rows, image, rows, columns, 1, WIDTH, HEIGHT},
        .norm = {ops_tensor(v, DTYPE_F32, SHAPE(D), ops_numbers(v, D)),
                 ops_tensor(v, DTYPE_F32, SHAPE(D), ops_numbers(v, D)), 1e-5f},
        .qkv = toy_linear(v, 3 * D, DTYPE_F16),
        .out = toy_linear(v, D, DTYPE_Q8_0),
        .logits = toy_linear(v, VOCABULARY, DTYPE_F32),
        .cache = {ops_tensor(v, DTYPE_F32, SHAPE(ROWS, HEADS, CELLS + 1, D / HEADS), NULL),
                  ops_tensor(v, DTYPE_F32, SHAPE(ROWS, HEADS, CELLS + 1, D / HEADS), NULL)},
        .codes = ops_integers(v, SHAPE(ROWS, CELLS), codes),
        .forced = ops_integers(v, SHAPE(ROWS, CELLS), forced),
        .position = ops_integers(v, SHAPE(1), (int32_t[]){1}),
        .settings = ops_integers(v, SHAPE(ROWS, SAMPLING_WORDS), settings),
    };
}

static void toy_step(run *r, const toy *t)
{
    static const attention_mask mask = {.kind = MASK_FULL, .text = 1, .grid_width = WIDTH};
    tensor x = op_embed_sequence(r, &t->embedding, (tensor){0}, t->codes, t->position, 1);
    run_next(r);
    tensor qkv = op_linear(r, op_layer_norm(r, x, &t->norm), &t->qkv, ACT_NONE);
    x = op_linear_add(r, op_attention(r, qkv, HEADS, &t->cache, t->position, &mask), &t->out, x);
    run_next(r);
    tensor logits = op_linear(r, x, &t->logits, ACT_NONE);
    op_sample(r, tensor_shaped(logits, SHAPE(ROWS, VOCABULARY)), t->codes, t->forced, t->position, 1, t->settings);
    op_advance(r, t->position, 1);
}

static void toy_read(ops_env *v, const toy *t, int32_t codes[ROWS * CELLS])
{
    run_read(v->r, t->codes, codes);
    finish(v);
    for (int i = 0; i < ROWS * CELLS; i++)
        assert_in_range(codes[i], 0, VOCABULARY - 1);
}

static void test_record(ops_env *v)
{
    int32_t direct[ROWS * CELLS], replayed[ROWS * CELLS];
    uint32_t streams = v->streams;
    toy t = toy_new(v);
    for (int i = 1; i < CELLS; i++)
        toy_step(v->r, &t);
    toy_read(v, &t, direct);
    assert_memory_not_equal(direct, direct + CELLS, CELLS * sizeof *direct);
    for (int again = 0; again < 2; again++) { /* the second recording replaces the first */
        v->streams = streams;
        t = toy_new(v);
        run_reset(v->r);
        run_record(v->r);
        assert_true(run_recording(v->r));
        toy_step(v->r, &t);
        for (int i = 1; i < CELLS; i++)
            run_replay(v->r);
        assert_false(run_recording(v->r));
        toy_read(v, &t, replayed);
        assert_memory_equal(direct, replayed, sizeof direct);
    }
}

/* What a cache of F16 holds, bit for bit: ties to even, subnormals, and no infinity. */
static void half_keys(ops_env *v, int head_dim)
{
    static const float special[] = {0,        1,       0x1.002p0f, 0x1.006p0f,   -0x1.001p0f, 0x1.003p0f, 65504,
                                    65519.9f, 65520,   1e9f,       -1e30f,       0x1p-14f,    0x1p-24f,   -0x1.8p-24f,
                                    0x1p-25f, 3.1e-6f, -5e-5f,     0x1.ffep-15f, 0.1f,        -333.3f,    1e-30f};
    enum { N = 6, SPECIAL = sizeof special / sizeof *special };
    float *kv = ops_numbers(v, N * 2 * head_dim);
    uint16_t *got = ops_memory(v, (size_t)(N * head_dim), sizeof *got);
    for (int i = 0; i < N * 2 * head_dim; i += 2)
        kv[i] = special[i / 2 % SPECIAL];
    const kv_cache cache = {ops_tensor(v, DTYPE_F16, SHAPE(1, 1, N, head_dim), NULL),
                            ops_tensor(v, DTYPE_F16, SHAPE(1, 1, N, head_dim), NULL)};
    op_cross_keys(v->r, ops_tensor(v, DTYPE_F32, SHAPE(1, N, 2 * head_dim), kv), &cache);
    for (int value = 0; value < 2; value++) {
        run_read(v->r, value ? cache.v : cache.k, got);
        finish(v);
        for (int i = 0; i < N * head_dim; i++) {
            float x = kv[(i / head_dim * 2 + value) * head_dim + i % head_dim];
            uint16_t want = float_to_half(fminf(fmaxf(x, -65504), 65504));
            if (got[i] != want)
                fail_msg("%a became %#x, not %#x", (double)x, got[i], want);
        }
    }
}

static void test_half_keys(ops_env *v)
{
    half_keys(v, 5);
    half_keys(v, 16);
    half_keys(v, 20);
}

/* Where x begins changes no bit, as views do. */
static void test_any_beginning(ops_env *v)
{
    enum { M = 2, N = 9, K = 64 };
    for (int type = DTYPE_F32; type <= DTYPE_Q4_0; type++) {
        float *x = ops_numbers(v, M * K), *moved = ops_memory(v, M * K + 3, sizeof *moved), want[M * N], got[M * N];
        linear l = {.w = ops_tensor(v, (dtype)type, SHAPE(N, K), ops_numbers(v, N * K))};
        l.w = weight_in_panels(v, l.w);
        run_read(v->r, op_linear(v->r, ops_tensor(v, DTYPE_F32, SHAPE(M, K), x), &l, ACT_NONE), want);
        for (int at = 1; at <= 3; at++) {
            memcpy(moved + at, x, M * K * sizeof *x);
            tensor t = ops_tensor(v, DTYPE_F32, SHAPE(M * K + 3), moved);
            t = tensor_shaped(t, SHAPE(M, K));
            t.at = at;
            run_read(v->r, op_linear(v->r, t, &l, ACT_NONE), got);
            finish(v);
            assert_memory_equal(want, got, sizeof want);
        }
        free_weight(v, l.w);
    }
}

/* 1 + 1 + … over many blocks, each of which reads the result of the block before it. */
static void test_arenas(ops_env *v)
{
    enum { N = 1 << 18, BLOCKS = 40 };
    float *host = ops_memory(v, N, sizeof *host);
    for (int i = 0; i < N; i++)
        host[i] = 1;
    tensor one = ops_tensor(v, DTYPE_F32, SHAPE(N), host), x = one;
    uint64_t used = 0;
    for (int i = 1; i < BLOCKS; i++) {
        run_next(v->r);
        x = op_add(v->r, op_add(v->r, x, one), op_activate(v->r, one, ACT_NONE));
        if (i == 4)
            used = v->d->memory_used;
    }
    run_read(v->r, x, host);
    finish(v);
    assert_int_equal(used, v->d->memory_used);
    for (int i = 0; i < N; i++)
        assert_true(host[i] == 2 * BLOCKS - 1);
}

/* Tensors of blocks lie between others in a run's memory, and none overlap. */
static void test_block_uploads(ops_env *v)
{
    enum { D_BLOCKS = 96, N = 7 };
    static const dtype types[] = {DTYPE_Q8_0, DTYPE_F32, DTYPE_Q4_0, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q8_0, DTYPE_Q4_0};
    float *values[N], *x = ops_numbers(v, D_BLOCKS);
    tensor w[N], tx = ops_tensor(v, DTYPE_F32, SHAPE(1, D_BLOCKS), x);
    for (int i = 0; i < N; i++) {
        unsigned char stored[4 * D_BLOCKS];
        values[i] = ops_numbers(v, D_BLOCKS);
        dtype_from_float(types[i], stored, values[i], D_BLOCKS);
        dtype_to_float(values[i], types[i], stored, D_BLOCKS);
        w[i] = run_upload(v->r, types[i], SHAPE(1, D_BLOCKS), stored);
    }
    for (int i = 0; i < N; i++) {
        double expected;
        ref_linear(&expected, x, values[i], NULL, NULL, 1, 1, D_BLOCKS, ACT_NONE);
        double error = ops_error(v, op_linear(v->r, tx, &(linear){.w = w[i]}, ACT_NONE), &expected, 1);
        if (!(error * (linear_rounds(v->d, types[i]) ? OPS_X_BITS : 1) <
              1e-5)) /* one number, which may be small by cancellation */
            fail_msg("tensor %d, %s: error %.3g", i, dtype_table[types[i]].name, error);
    }
}

/* What isn't finite in a row of x stays in that row, where its results say so, whatever the weights' type. */
static void test_not_finite(ops_env *v)
{
    enum { M = 6, N = 20, K = 96 };
    static const float wrong[] = {NAN, INFINITY, -INFINITY};
    for (int type = DTYPE_F32; type <= DTYPE_Q4_0; type++) {
        float *x = ops_numbers(v, M * K), *w = ops_numbers(v, N * K), y[M * N];
        unsigned char stored[4 * N * K];
        for (int i = 0; i < 3; i++) /* in rows 1, 3 and 5, in each block of 32 */
            x[(2 * i + 1) * K + 40 * i] = wrong[i];
        dtype_from_float((dtype)type, stored, w, N * K);
        linear l = {.w = run_upload(v->r, (dtype)type, SHAPE(N, K), stored)};
        run_read(v->r, op_linear(v->r, run_upload(v->r, DTYPE_F32, SHAPE(M, K), x), &l, ACT_NONE), y);
        finish(v);
        for (int i = 0; i < M * N; i++)
            if (!isfinite(y[i]) != (i / N % 2 == 1))
                fail_msg("%s, row %d: %g", dtype_table[type].name, i / N, (double)y[i]);
    }
}

/* The run works: 2 + 2. */
static void usable_again(ops_env *v)
{
    float two[4] = {2, 2, 2, 2}, four[4] = {0};
    assert_false(run_failed(v->r));
    tensor x = run_upload(v->r, DTYPE_F32, SHAPE(4), two);
    run_read(v->r, op_add(v->r, x, x), four);
    finish(v);
    assert_true(four[0] == 4 && four[3] == 4);
}

/* After a failure every op returns nothing and nothing crashes; the first failure is what is reported. */
static void check_sticky(ops_env *v, const char *a, const char *b)
{
    assert_true(run_failed(v->r));
    tensor x = TENSOR(v->r, DTYPE_F32, 1, 4, 4, 32), none = {0};
    assert_null(x.buf);
    tensor weights = ops_tensor(v, DTYPE_F32, SHAPE(32, 32), NULL), w1 = tensor_shaped(weights, SHAPE(32));
    norm n = {w1, w1, 1e-5f};
    conv c = {.panels = none, .in = 32, .out = 32, .kernel = 3, .stride = 1, .pad = 1};
    kv_cache cache = {weights, weights};
    sequence_embedding embedding = {weights, weights, weights, weights, weights, 4, 2, .grid_height = 2};
    assert_null(op_add(v->r, x, x).buf);
    assert_null(op_linear(v->r, x, &(linear){.w = weights}, ACT_NONE).buf);
    assert_null(op_layer_norm(v->r, x, &n).buf);
    assert_null(op_layer_norm_add(v->r, x, &n, x).buf);
    assert_null(op_group_norm(v->r, x, &n, 4, ACT_SILU).buf);
    assert_null(op_softmax(v->r, x).buf);
    assert_null(op_conv2d(v->r, x, &c, ACT_NONE, none).buf);
    assert_null(op_conv_transpose2d(v->r, x, &c, ACT_NONE).buf);
    assert_null(op_attention(v->r, x, 2, &cache, x, &(attention_mask){0}).buf);
    op_cross_keys(v->r, x, &cache);
    assert_null(op_cross_attention(v->r, x, &cache, x, 0).buf);
    assert_null(op_decoder_ids(v->r, x, x, 1, 0).buf);
    assert_null(op_add_table(v->r, x, weights, x).buf);
    assert_null(op_activate(v->r, x, ACT_RELU).buf);
    assert_null(op_slice(v->r, x, 0, 0).buf);
    assert_null(op_upsample(v->r, x, 2).buf);
    assert_null(op_guide(v->r, x, x).buf);
    assert_null(op_embed(v->r, x, weights).buf);
    assert_null(op_embed_sequence(v->r, &embedding, x, x, x, 1).buf);
    assert_null(op_argmax(v->r, x).buf);
    op_repeat(v->r, x, x);
    op_sample(v->r, x, x, x, x, 1, x);
    op_advance(v->r, x, 1);
    run_write(v->r, x, NULL);
    run_read(v->r, x, NULL);
    err e = {0};
    assert_false(run_finish(v->r, &e));
    assert_int_equal(e.code, ERR_FAILED);
    if (!strstr(e.text, a) || !strstr(e.text, b))
        fail_msg("\"%s\" names neither %s nor %s", e.text, a, b);
    usable_again(v);
}

static void test_large_group(ops_env *v)
{
    LAUNCH(v->r, "elementwise:advance", ((work){.global = {1 << 20}, .local = {1 << 20}}), ARG_T((tensor){0}),
           ARG_I(1));
    check_sticky(v, "elementwise:advance", "local 1048576 x 1 x 1");
    run_record(v->r);
    LAUNCH(v->r, "elementwise:advance", ((work){.global = {1 << 20}, .local = {1 << 20}}), ARG_T((tensor){0}),
           ARG_I(1));
    run_replay(v->r);
    check_sticky(v, "elementwise:advance", "global 1048576 x 1 x 1");
}

/* Numbers and places of tensors are 32 bits wide in a kernel. */
static void test_beyond_32_bits(ops_env *v)
{
    LAUNCH(v->r, "elementwise:advance", ((work){.global = {1}}), ARG_T((tensor){0}), ARG_I(INT64_C(1) << 31));
    check_sticky(v, "elementwise:advance", "more elements than a kernel can count");
    LAUNCH(v->r, "elementwise:advance", ((work){.global = {1}}), ARG_T(((tensor){.at = INT64_C(1) << 32})), ARG_I(1));
    check_sticky(v, "elementwise:advance", "more elements than a kernel can count");
}

static void test_unknown_kernel(ops_env *v)
{
    LAUNCH(v->r, "elementwise:nothing", ((work){.global = {64}}), ARG_I(1));
    check_sticky(v, "elementwise:nothing", "CL_INVALID_KERNEL_NAME");
    LAUNCH(v->r, "nofile:nothing", ((work){.global = {64}}), ARG_I(1));
    check_sticky(v, "nofile", "not part of this build");
}

static void test_large_allocation(ops_env *v)
{
    uint64_t most = v->d->info.max_allocation, limit = v->d->memory_limit;
    v->d->info.max_allocation = 64 << 20;
    TENSOR(v->r, DTYPE_F32, 17 << 20);
    v->d->info.max_allocation = most;
    check_sticky(v, "activations: 68.0 MiB", "64.0 MiB");
    v->d->memory_limit = v->d->memory_used + (1 << 20);
    TENSOR(v->r, DTYPE_F32, 17 << 20);
    v->d->memory_limit = limit;
    check_sticky(v, "activations: 68.0 MiB", "`memory_limit`");
}

const ops_behaviour ops_runs[] = {
    {"a row's product is the same bit for bit whatever rows stand beside it", test_batch_invariance},
    {"where a row begins changes no bit of its product", test_any_beginning},
    {"a recorded step, replayed, equals launching each", test_record},
    {"F16 keys and values are the nearest, and finite", test_half_keys},
    {"memory of the block before the last is used again", test_arenas},
    {"tensors of blocks don't overlap their neighbours", test_block_uploads},
    {"what isn't finite stays in its row", test_not_finite},
    {"a work-group that is too large fails with kernel and sizes, and the run goes on", test_large_group},
    {"what a kernel's 32 bits can't count is refused, and not cut", test_beyond_32_bits},
    {"a kernel that is not there is named", test_unknown_kernel},
    {"an allocation over the limits fails with its size, and the run goes on", test_large_allocation},
    {0},
};
