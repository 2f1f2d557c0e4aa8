/* Shared by the ops alone: sizes of launches. */
#ifndef OPS_INTERNAL_H
#define OPS_INTERNAL_H
#include <assert.h>

#include "ops/ops.h"

static inline size_t round_up(size_t n, size_t multiple)
{
    return (n + multiple - 1) / multiple * multiple;
}

/* One work-item for each of n elements; the kernel checks the bound. */
static inline work work_each(int64_t n, double flops_each, double bytes_each)
{
    return (work){
        .global = {round_up((size_t)n, 64)}, .flops = flops_each * (double)n, .bytes = bytes_each * (double)n};
}

/* One work-group of WG for each of n rows. */
static inline work work_rows(run *r, int64_t n, double flops, double bytes)
{
    size_t wg = (size_t)run_device(r)->tune.wg;
    return (work){.global = {(size_t)n * wg}, .local = {wg}, .flops = flops, .bytes = bytes};
}

/* Rows of the last dimension. */
static inline int64_t rows_of(const tensor *x)
{
    return x->buf ? tensor_count(x) / x->shape[x->nd - 1] : 0;
}

static inline int64_t last_of(const tensor *x)
{
    return x->nd ? x->shape[x->nd - 1] : 0;
}

/* A new tensor like x but for the last dimension. */
static inline tensor tensor_like(run *r, const tensor *x, int64_t last)
{
    int64_t shape[4] = {x->shape[0], x->shape[1], x->shape[2], x->shape[3]};
    if (x->nd)
        shape[x->nd - 1] = last;
    return run_tensor(r, DTYPE_F32, x->nd, shape);
}

/* "linear:rows4_" and the type's name. */
#define TYPED(prefix, type)                                                                                            \
    ((type) == DTYPE_F16    ? prefix "f16"                                                                             \
     : (type) == DTYPE_Q8_0 ? prefix "q8_0"                                                                            \
     : (type) == DTYPE_Q4_0 ? prefix "q4_0"                                                                            \
                            : prefix "f32")

/* y = act(x w^T + b) + residual for many rows; y is all of the output: gemm.c. */
bool gemm(run *r, tensor x, const linear *l, activation act, tensor residual, tensor y);
#endif
