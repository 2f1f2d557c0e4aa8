/* Linear layers: the choice between the kernels for few rows and the products for many. */
#include "ops/ops_internal.h"

#define FEW_ROWS 32 /* up to here reading the weights bounds the time, and sums don't depend on the number of rows */

const char *const activation_names[ACT_COUNT] = {"none",       "relu",    "gelu_erf", "gelu_tanh", "silu",
                                                 "quick_gelu", "sigmoid", "tanh",     "leaky_relu"};

/* One piece of the weight's rows, output columns from `column` on. */
static void few_rows(run *r, tensor x, tensor w, tensor b, activation act, tensor residual, tensor y, int64_t column)
{
    int64_t m = rows_of(&x), n = w.shape[0], k = w.shape[1];
    const device *d = run_device(r);
    int64_t wrows = d->tune.panels && m < 4 ? 8 : 4; /* of w at once: cl/linear.cl */
    size_t items = (size_t)((n + wrows - 1) / wrows);
    work size = {.global = {items}, .local = {1}};
    if (!d->tune.panels)
        size = (work){.global = {items * (size_t)d->tune.wg}, .local = {(size_t)d->tune.wg}};
    size.flops = 2.0 * (double)m * (double)n * (double)k;
    size.bytes = (double)dtype_row_bytes(w.type, n * k) + 4.0 * (double)(m * (n + k));
    LAUNCH(r, m >= 4 ? TYPED("linear:rows4_", w.type) : TYPED("linear:rows1_", w.type), size, ARG_T(x), ARG_T(w),
           ARG_T(b), ARG_T(residual), ARG_T(y), ARG_I(m), ARG_I(n), ARG_I(k), ARG_I(act), ARG_I(last_of(&y)),
           ARG_I(column));
}

static tensor linear_any(run *r, tensor x, const linear *l, activation act, tensor residual)
{
    int64_t m = rows_of(&x), n = l->w.shape[0];
    tensor y = tensor_like(r, &x, n);
    if (m > FEW_ROWS && gemm(r, x, l, act, residual, y))
        return y;
    int64_t column = 0;
    for (buffer *b = l->w.buf; b; b = b->next) { /* the pieces of a weight larger than an allocation may be */
        tensor piece = l->w;
        piece.buf = b;
        piece.shape[0] = b->rows ? b->rows : n;
        few_rows(r, x, piece, l->b, act, residual, y, column);
        column += piece.shape[0];
        if (!b->rows)
            break;
    }
    return y;
}

/* dX = dY W; dW = dY^T X; db = sums of dY's columns; the residual's is dY. */
static void linear_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], b = s->in[2], residual = s->in[3], dy = tape_gradient(t, s->out);
    int add;
    if (tape_wants(t, x)) {
        tensor dx = tape_gradient_of(t, x, &add);
        gemm_columns(r, dy, w, dx, add);
    }
    if (tape_wants(t, w)) {
        assert(w.type == DTYPE_F32 && !w.buf->rows);
        tensor dw = tape_gradient_of(t, w, &add);
        gemm_weight_gradient(r, dy, x, dw, add);
    }
    if (tape_wants(t, b)) {
        tensor db = tape_gradient_of(t, b, &add);
        column_sums(r, dy, db, add);
    }
    gradient_add(r, t, residual, dy);
}

static tensor linear_step(run *r, tensor x, const linear *l, activation act, tensor residual)
{
    if (run_failed(r))
        return (tensor){0};
    assert(last_of(&x) == l->w.shape[1]);
    tape_step s = {.back = linear_back, .in = {x, l->w, l->b, residual}};
    if (!tape_records(r, &s))
        return linear_any(r, x, l, act, residual);
    s.out = linear_any(r, x, l, ACT_NONE, residual);
    tape_push(r, &s);
    return act == ACT_NONE ? s.out : op_activate(r, s.out, act);
}

tensor op_linear(run *r, tensor x, const linear *l, activation act)
{
    return linear_step(r, x, l, act, (tensor){0});
}

tensor op_linear_add(run *r, tensor x, const linear *l, tensor residual)
{
    return linear_step(r, x, l, ACT_NONE, residual);
}
