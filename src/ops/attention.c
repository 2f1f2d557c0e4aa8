/* Attention over a cache of keys and values. */
#include <stdio.h>

#include "ops/ops_internal.h"

const char *const mask_names[MASK_COUNT] = {"full", "row", "column", "conv", "window"};

/* The build option that fixes the size of a head. */
static const char *head_option(int head_dim, char out[32])
{
    snprintf(out, 32, "-DHEAD_DIM=%d", head_dim);
    return out;
}

tensor op_attention(run *r, tensor qkv, int heads, const kv_cache *cache, tensor position, const attention_mask *mask)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t b = qkv.shape[0], t = qkv.shape[1], d = qkv.shape[2] / 3, length = cache->k.shape[2];
    assert(qkv.nd == 3 && d % heads == 0 && cache->k.shape[0] >= b && cache->k.shape[1] == heads);
    char option[32];
    head_option((int)(d / heads), option);
    work store = {
        .global = {round_up((size_t)d, 64), (size_t)(b * t)}, .bytes = 16.0 * (double)(b * t * d), .options = option};
    LAUNCH(r, "attention:store_kv", store, ARG_T(qkv), ARG_T(cache->k), ARG_T(cache->v), ARG_T(position), ARG_I(t),
           ARG_I(heads), ARG_I(length));
    tensor y = TENSOR(r, DTYPE_F32, b, t, d);
    size_t wg = (size_t)run_device(r)->tune.wg;
    /* the position is the device's secret: half the cache is what a query sees on average */
    double seen = 0.5 * (double)(b * t * d) * (double)length;
    work size = {.global = {(size_t)(b * t) * wg, (size_t)heads},
                 .local = {wg, 1, 1},
                 .flops = 4 * seen,
                 .bytes = 4 * seen,
                 .options = option};
    LAUNCH(r, "attention:attention", size, ARG_T(qkv), ARG_T(cache->k), ARG_T(cache->v), ARG_T(y), ARG_T(position),
           ARG_I(t), ARG_I(heads), ARG_I(length), ARG_I(mask->kind), ARG_I(mask->text), ARG_I(mask->grid_width),
           ARG_I(mask->kernel));
    return y;
}
