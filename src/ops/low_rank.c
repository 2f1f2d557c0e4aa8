/* Linear layers with low-rank adapters, which alone learn: y = x w^T + b + residual + scale (x a^T) b^T. */
#include "ops/ops_internal.h"

static tape_function adapted_back;

static int64_t common_divisor(int64_t a, int64_t b)
{
    return b ? common_divisor(b, a % b) : a;
}

/* Columns first to first + n - 1 of the rows of x, in new memory; all of them: x. */
static tensor columns(run *r, tensor x, int64_t first, int64_t n)
{
    int64_t m = rows_of(&x), all = last_of(&x), unit = common_divisor(common_divisor(all, first), n);
    if (n == all)
        return x;
    tensor y = TENSOR(r, DTYPE_F32, m, n);
    LAUNCH(r, "elementwise:slice", work_rows(m * n / unit, 0, 8.0 * (double)(m * n)), ARG_T(x), ARG_T(y), ARG_I(unit),
           ARG_I(n / unit), ARG_I(all / unit), ARG_I(first / unit));
    return y;
}

/* columns' memory, if it is the newest. */
static void give_back(run *r, tensor columns, tensor of)
{
    if (columns.buf != of.buf || columns.at != of.at)
        run_give_back(r, columns);
}

/* y += x, whose columns are those of y from `first` on */
static void add_columns(run *r, tensor x, tensor y, int64_t first)
{
    int64_t m = rows_of(&x), n = last_of(&x), all = last_of(&y);
    int64_t unit = common_divisor(common_divisor(all, first), n);
    LAUNCH(r, "elementwise:slice_back", backward(work_rows(m * all / unit, 0, 12.0 * (double)(m * n))), ARG_T(x),
           ARG_T(y), ARG_I(unit), ARG_I(n / unit), ARG_I(all / unit), ARG_I(first / unit), ARG_I(1));
}

/* y[m,n] = x[m,k] w[n,k]^T + b + residual, for any number of rows */
static tensor product(run *r, tensor x, tensor w, tensor b, tensor residual)
{
    const linear l = {.w = w, .b = b};
    tensor y = tensor_like(r, &x, w.shape[0]);
    if (!gemm(r, x, &l, ACT_NONE, residual, y) && !run_failed(r))
        err_set(run_error(r), ERR_FAILED, "a linear layer with an adapter: its weights exceed one allocation of %s",
                run_device(r)->info.name);
    return y;
}

tensor linear_adapted(run *r, tensor x, const linear *l, const low_rank *k, tensor residual)
{
    tensor none = {0};
    int64_t rank = last_of(&k->b), first = 0;
    REQUIRE(r, last_of(&x) == l->w.shape[1] && k->b.shape[0] == l->w.shape[0] && k->a.shape[0] == k->parts * rank &&
                   k->a.shape[1] == l->w.shape[1]);
    tape_no_gradient(r, "op_linear with an adapter", l->w);
    tape_no_gradient(r, "op_linear with an adapter", l->b);
    if (l->w.panels)
        tape_no_gradient(r, "op_linear with a weight in panels", x);
    if (run_failed(r))
        return none;
    tensor u = product(r, x, k->a, none, none), y = product(r, x, l->w, l->b, residual);
    scale_add(r, u, k->scale, none, 0, u); /* in place */
    for (int i = 0; i < k->parts && !run_failed(r); first += k->outputs[i++]) {
        tensor own = columns(r, u, i * rank, rank);
        tensor more = product(r, own, tensor_rows(k->b, first, k->outputs[i]), none, none);
        add_columns(r, more, y, first);
        run_give_back(r, more);
        give_back(r, own, u);
    }
    tape_push(
        r, &(tape_step){.back = adapted_back, .in = {x, k->a, k->b, residual}, .out = y, .saved = {u, l->w}, .op = k});
    return y;
}

/* With dU = scale dY b: db = dY^T U, where U has its scale, da = dU^T X, dX = dY W + dU a; the residual's is dY. */
static void adapted_back(run *r, tape *t, const tape_step *s)
{
    const low_rank *k = s->op;
    tensor x = s->in[0], u = s->saved[0], dy = tape_gradient(t, s->out), dx;
    int64_t rank = last_of(&k->b), first = 0;
    int add_a, add_b, add_x;
    tensor da = wanted(t, k->a, &add_a), db = wanted(t, k->b, &add_b);
    dx = wanted(t, x, &add_x);
    if (dx.buf)
        gemm_columns(r, dy, s->saved[1], dx, add_x);
    for (int i = 0; i < k->parts && !run_failed(r); first += k->outputs[i++]) {
        tensor own = columns(r, dy, first, k->outputs[i]), up = columns(r, u, i * rank, rank);
        if (db.buf)
            gemm_weight_gradient(r, own, up, tensor_rows(db, first, k->outputs[i]), add_b);
        give_back(r, up, u);
        tensor du = TENSOR(r, DTYPE_F32, rows_of(&dy), rank);
        gemm_columns(r, own, tensor_rows(k->b, first, k->outputs[i]), du, 0);
        scale_add(r, du, k->scale, (tensor){0}, 0, du);
        if (da.buf)
            gemm_weight_gradient(r, du, x, tensor_rows(da, i * rank, rank), add_a);
        if (dx.buf)
            gemm_columns(r, du, tensor_rows(k->a, i * rank, rank), dx, 1);
        run_give_back(r, du);
        give_back(r, own, dy);
    }
    gradient_add(r, t, s->in[3], dy);
}
