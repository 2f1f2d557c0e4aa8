/* limn bench: single ops, one row for each class. */
#include <math.h>
#include <stdio.h>

#include "cli/measure/bench.h"

/* Zeros of this shape: a view of what is there. */
static tensor zeros_of(const bench *b, int64_t at, int nd, const int64_t *shape)
{
    tensor t = tensor_shaped(b->zeros, nd, shape);
    t.at += at;
    return t;
}
#define ZEROS(b, at, ...)                                                                                              \
    zeros_of((b), (at), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* A row of an op that runs at flops and bytes a second; `rate`: which of them is shown. */
static bool op_row(bench *b, const bench_case *c, bench_body *body, void *context, double flops, double bytes, err *e)
{
    double seconds;
    if (!bench_measure(b, b->r, body, context, &seconds, NULL, NULL, e))
        return false;
    bool by_flops = flops / b->peak > bytes / b->bandwidth;
    bench_row(b, c->name, NULL,
              &(bench_result){.seconds = seconds,
                              .flops = flops,
                              .bytes = bytes,
                              .unit = by_flops ? "GFLOP/s" : "GB/s",
                              .value = (by_flops ? flops : bytes) / seconds * 1e-9});
    return true;
}

/* Too little memory for the sizes that the case has. */
static bool fits(bench *b, const bench_case *c, int64_t floats)
{
    if (floats <= tensor_count(&b->zeros))
        return true;
    bench_skip(b, c->name, "the device has too little memory");
    return false;
}

/* ---- products ---- */

typedef struct product {
    tensor x;
    linear l;
} product;

static void product_body(run *r, void *context)
{
    product *p = context;
    op_linear(r, p->x, &p->l, ACT_NONE);
}

/* y[m,n] = x[m,k] w[n,k]^T; weights and x are zeros, and x the beginning of them.  Weights are as models have them. */
static bool measure_product(bench *b, const bench_case *c, int64_t m, int64_t n, int64_t k, err *e)
{
    int64_t weights = ((int64_t)dtype_row_bytes(c->type, k) * n + 127) / 128 * 32;
    if (!fits(b, c, weights > m * k ? weights : m * k))
        return true;
    product p = {.x = ZEROS(b, 0, m, k), .l.w = ZEROS(b, 0, n, k)};
    p.l.w.type = c->type;
    tensor packed = {0};
    bool ok = true;
    if (linear_packs(c->type)) {
        ok = linear_pack(b->r, &packed, p.l.w, c->name, e);
        ok = run_finish(b->r, e) && ok; /* which says why a launch failed */
        p.l.w = packed;
    }
    double bytes = (double)dtype_row_bytes(c->type, n * k) + 4.0 * (double)(m * (n + k));
    ok = ok && op_row(b, c, product_body, &p, 2.0 * (double)(m * n * k), bytes, e);
    buffer_free(packed.buf);
    return ok;
}

/* a rows over 64 MiB of weights */
static bool few_rows(bench *b, const bench_case *c, err *e)
{
    int64_t k = 4096;
    return measure_product(b, c, c->a, ((int64_t)64 << 20) / (int64_t)dtype_row_bytes(c->type, k), k, e);
}

/* a rows, b outputs, c inputs */
static bool any_rows(bench *b, const bench_case *c, err *e)
{
    return measure_product(b, c, c->a, c->b, c->c, e);
}

/* ---- attention ---- */

typedef struct attention_case {
    tensor qkv, q, position;
    kv_cache cache;
    attention_mask mask;
    int heads;
} attention_case;

static void attention_body(run *r, void *context)
{
    attention_case *a = context;
    op_attention(r, a->qkv, a->heads, &a->cache, a->position, &a->mask);
}

static void cross_body(run *r, void *context)
{
    attention_case *a = context;
    op_cross_attention(r, a->q, &a->cache, (tensor){0}, 0);
}

/* a rows of b positions, the last of them number c; 16 heads of 64.  d: attention to another sequence of c positions.
 * type: the cache's. */
static bool attention(bench *b, const bench_case *c, err *e)
{
    const int64_t heads = 16, head = 64, dim = heads * head, rows = c->a, t = c->b, length = c->c;
    const int32_t position = (int32_t)(length - t);
    int64_t cache = rows * length * dim;
    if (!fits(b, c, 2 * cache + 3 * rows * t * dim))
        return true;
    attention_case a = {.qkv = ZEROS(b, 2 * cache, rows, t, 3 * dim),
                        .q = ZEROS(b, 2 * cache, rows, t, dim),
                        .cache = {ZEROS(b, 0, rows, heads, length, head), ZEROS(b, cache, rows, heads, length, head)},
                        .mask = {.kind = MASK_FULL, .text = (int)length, .grid_width = 1},
                        .heads = (int)heads};
    a.cache.k.type = a.cache.v.type = c->type;
    if (!tensor_new(&a.position, b->d, DTYPE_I32, 1, (int64_t[]){1}, &position, false, "position", e))
        return false;
    double keys = c->d ? (double)(length * t) : (double)(length * t) - 0.5 * (double)(t * (t - 1));
    double flops = 4.0 * (double)rows * keys * (double)dim,
           bytes = (double)dtype_row_bytes(c->type, 2 * cache) + 4.0 * (double)((c->d ? 2 : 4) * rows * t * dim);
    bool ok = op_row(b, c, c->d ? cross_body : attention_body, &a, flops, bytes, e);
    buffer_free(a.position.buf);
    return ok;
}

/* ---- rows and pictures ---- */

typedef struct plain_case {
    tensor x;
    norm n;
    conv c;
    int which;
} plain_case;
enum { LAYER_NORM, RMS_NORM, GROUP_NORM, SOFTMAX, ACTIVATE };

static void plain_body(run *r, void *context)
{
    plain_case *p = context;
    switch (p->which) {
    case LAYER_NORM:
        op_layer_norm(r, p->x, &p->n);
        break;
    case RMS_NORM:
        op_rms_norm(r, p->x, &p->n);
        break;
    case GROUP_NORM:
        op_group_norm(r, tensor_shaped(p->x, 4, (int64_t[]){1, 128, p->x.shape[0] / 128, p->x.shape[1]}), &p->n, 32,
                      ACT_SILU);
        break;
    case SOFTMAX:
        op_softmax(r, p->x);
        break;
    default:
        op_activate(r, p->x, ACT_GELU_ERF);
    }
}

/* An op on b rows of c elements, each read and written once; a says which op. */
static bool plain(bench *b, const bench_case *c, err *e)
{
    if (!fits(b, c, c->b * c->c))
        return true;
    plain_case p = {
        .x = ZEROS(b, 0, c->b, c->c), .n = {ZEROS(b, 0, c->c), ZEROS(b, 0, c->c), 1e-5f}, .which = (int)c->a};
    if (p.which == RMS_NORM)
        p.n.b = (tensor){0};
    return op_row(b, c, plain_body, &p, 0, 8.0 * (double)(c->b * c->c), e);
}

static void conv_body(run *r, void *context)
{
    plain_case *p = context;
    if (p->which)
        op_conv_transpose2d(r, p->x, &p->c, ACT_NONE);
    else
        op_conv2d(r, p->x, &p->c, ACT_NONE, (tensor){0});
}

/* A kernel of a, b channels to b, on c x c pixels; d: transposed, stride 2. */
static bool convolution(bench *b, const bench_case *c, err *e)
{
    int64_t kernel = c->a, channels = c->b, side = c->c, taps = kernel * kernel;
    int64_t panels = (channels + 31) / 32, weights = panels * 32 * taps * channels, x = side * side * channels;
    if (!fits(b, c, weights + x))
        return true;
    plain_case p = {.x = ZEROS(b, weights, 1, side, side, channels), .which = (int)c->d};
    p.c = (conv){.panels = ZEROS(b, 0, panels, taps * channels, 32),
                 .in = (int)channels,
                 .out = (int)channels,
                 .kernel = (int)kernel,
                 .stride = c->d ? 2 : 1,
                 .pad = (int)(c->d ? (kernel - 2) / 2 : kernel / 2)};
    /* each pixel of the small side meets each tap; a transposed one's output is 4 times as large */
    double flops = 2.0 * (double)(x * channels * taps), bytes = 4.0 * (double)(weights + x * (c->d ? 5 : 2));
    return op_row(b, c, conv_body, &p, flops, bytes, e);
}

/* ---- launches ---- */

enum { LAUNCHES = 256 };

static void launches_body(run *r, void *context)
{
    tensor y = TENSOR(r, DTYPE_F32, 64);
    (void)context;
    for (int i = 0; i < LAUNCHES; i++)
        LAUNCH(r, "bench:peak", ((work){.global = {64}, .local = {run_device(r)->tune.cpu_form ? 1 : 64}}), ARG_T(y),
               ARG_I(1), ARG_F(0.999f), ARG_F(0.001f));
}

/* From one launch that does nothing to the next. */
static bool launches(bench *b, const bench_case *c, err *e)
{
    double seconds;
    if (!bench_measure(b, b->r, launches_body, NULL, &seconds, NULL, NULL, e))
        return false;
    bench_row(b, c->name, NULL, &(bench_result){.unit = "us", .value = 1e6 * seconds / LAUNCHES});
    return true;
}

const bench_case bench_op_cases[] = {
    {.name = "launches, one after another", launches, true},
    {.name = "product, 1 row, 64 MiB, F32", few_rows, true, .type = DTYPE_F32, .a = 1},
    {.name = "product, 1 row, 64 MiB, F16", few_rows, true, .type = DTYPE_F16, .a = 1},
    {.name = "product, 1 row, 64 MiB, Q8_0", few_rows, true, .type = DTYPE_Q8_0, .a = 1},
    {.name = "product, 1 row, 64 MiB, Q4_0", few_rows, true, .type = DTYPE_Q4_0, .a = 1},
    {.name = "product, 1 x 16384 x 4096, F32", any_rows, true, .type = DTYPE_F32, .a = 1, .b = 16384, .c = 4096},
    {.name = "product, 1 x 16384 x 4096, F16", any_rows, true, .type = DTYPE_F16, .a = 1, .b = 16384, .c = 4096},
    {.name = "product, 8 rows, 64 MiB, F32", few_rows, false, .type = DTYPE_F32, .a = 8},
    {.name = "product, 8 rows, 64 MiB, F16", few_rows, true, .type = DTYPE_F16, .a = 8},
    {.name = "product, 8 rows, 64 MiB, Q8_0", few_rows, true, .type = DTYPE_Q8_0, .a = 8},
    {.name = "product, 8 rows, 64 MiB, Q4_0", few_rows, false, .type = DTYPE_Q4_0, .a = 8},
    {.name = "product, 18 rows, 64 MiB, F32", few_rows, false, .type = DTYPE_F32, .a = 18},
    {.name = "product, 18 rows, 64 MiB, F16", few_rows, true, .type = DTYPE_F16, .a = 18},
    {.name = "product, 18 rows, 64 MiB, Q8_0", few_rows, true, .type = DTYPE_Q8_0, .a = 18},
    {.name = "product, 18 rows, 64 MiB, Q4_0", few_rows, false, .type = DTYPE_Q4_0, .a = 18},
    {.name = "product, 64 x 4096 x 1024, F32", any_rows, true, .type = DTYPE_F32, .a = 64, .b = 4096, .c = 1024},
    {.name = "product, 256 x 4096 x 1024, F32", any_rows, true, .type = DTYPE_F32, .a = 256, .b = 4096, .c = 1024},
    {.name = "product, 256 x 4096 x 1024, Q8_0", any_rows, false, .type = DTYPE_Q8_0, .a = 256, .b = 4096, .c = 1024},
    {.name = "product, 1024 x 1024 x 1024, F32", any_rows, true, .type = DTYPE_F32, .a = 1024, .b = 1024, .c = 1024},
    {.name = "attention, 1 row, 8192 keys", attention, true, .a = 1, .b = 1, .c = 8192},
    {.name = "attention, 1 row, 8192 keys, F16", attention, false, .type = DTYPE_F16, .a = 1, .b = 1, .c = 8192},
    {.name = "attention, 18 rows, 1024 keys", attention, true, .a = 18, .b = 1, .c = 1024},
    {.name = "attention, 18 rows, 1024 keys, F16", attention, false, .type = DTYPE_F16, .a = 18, .b = 1, .c = 1024},
    {.name = "attention, 512 positions", attention, true, .a = 1, .b = 512, .c = 512},
    {.name = "attention to another sequence, 18 rows, 1024 keys", attention, false, .a = 18, .b = 1, .c = 1024, .d = 1},
    {.name = "layer norm", plain, true, .a = LAYER_NORM, .b = 8192, .c = 1024},
    {.name = "rms norm", plain, false, .a = RMS_NORM, .b = 8192, .c = 1024},
    {.name = "group norm and SiLU", plain, true, .a = GROUP_NORM, .b = 65536, .c = 128},
    {.name = "softmax", plain, true, .a = SOFTMAX, .b = 1024, .c = 8192},
    {.name = "GELU", plain, true, .a = ACTIVATE, .b = 8192, .c = 1024},
    {.name = "convolution 3 x 3, 256 channels, 64 x 64", convolution, true, .a = 3, .b = 256, .c = 64},
    {.name = "convolution 3 x 3, 128 channels, 256 x 256", convolution, false, .a = 3, .b = 128, .c = 256},
    {.name = "convolution 1 x 1, 512 channels, 64 x 64", convolution, false, .a = 1, .b = 512, .c = 64},
    {.name = "transposed convolution 4 x 4, 128 channels, 64 x 64",
     convolution,
     true,
     .a = 4,
     .b = 128,
     .c = 64,
     .d = 1},
    {.name = NULL},
};
