/* Ops that touch each element once. */
#include "ops/ops_internal.h"

static tape_function activate_back, add_back, slice_back, upsample_back;

tensor op_activate(run *r, tensor x, activation act)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    LAUNCH(r, "elementwise:activate", work_blocks(r, tensor_count(&x), 8, 8), ARG_T(x), ARG_T(y),
           ARG_I(tensor_count(&x)), ARG_I(act));
    tape_push(r, &(tape_step){.back = activate_back, .in = {x}, .out = y, .i = {act}});
    return y;
}

static void activate_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:activate_back", backward(work_blocks(r, tensor_count(&x), 16, 12)), ARG_T(x),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(tensor_count(&x)), ARG_I(s->i[0]), ARG_I(add));
}

tensor op_add(run *r, tensor a, tensor b)
{
    assert(run_failed(r) || tensor_count(&a) == tensor_count(&b));
    tensor y = tensor_like(r, &a, last_of(&a));
    LAUNCH(r, "elementwise:add", work_blocks(r, tensor_count(&a), 1, 12), ARG_T(a), ARG_T(b), ARG_T(y),
           ARG_I(tensor_count(&a)));
    tape_push(r, &(tape_step){.back = add_back, .in = {a, b}, .out = y});
    return y;
}

void scale_gradient(run *r, tape *t, tensor x, tensor dy, float scale)
{
    if (!tape_wants(t, x))
        return;
    int add;
    tensor dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:scale_back", backward(work_blocks(r, tensor_count(&x), 1, 12)), ARG_T(dy), ARG_T(dx),
           ARG_I(tensor_count(&x)), ARG_F(scale), ARG_I(add));
}

static void add_back(run *r, tape *t, const tape_step *s)
{
    for (int i = 0; i < 2; i++)
        scale_gradient(r, t, s->in[i], tape_gradient(t, s->out), 1);
}

tensor op_slice(run *r, tensor x, int64_t first, int64_t n)
{
    int64_t b = x.shape[0], t = x.shape[1], d = x.shape[2];
    assert(run_failed(r) || (x.nd == 3 && first >= 0 && first + n <= t));
    tensor y = TENSOR(r, DTYPE_F32, b, n, d);
    LAUNCH(r, "elementwise:slice", work_each(b * n * d, 0, 8), ARG_T(x), ARG_T(y), ARG_I(b * n * d), ARG_I(d), ARG_I(n),
           ARG_I(t), ARG_I(first));
    tape_push(r, &(tape_step){.back = slice_back, .in = {x}, .out = y, .i = {(int32_t)first}});
    return y;
}

static void slice_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:slice_back", backward(work_each(tensor_count(&x), 0, 8)), ARG_T(tape_gradient(t, s->out)),
           ARG_T(dx), ARG_I(tensor_count(&x)), ARG_I(x.shape[2]), ARG_I(s->out.shape[1]), ARG_I(x.shape[1]),
           ARG_I(s->i[0]), ARG_I(add));
}

tensor op_upsample(run *r, tensor x, int factor)
{
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], c = x.shape[3], f = factor;
    tensor y = TENSOR(r, DTYPE_F32, b, h * f, w * f, c);
    LAUNCH(r, "elementwise:upsample_nearest", work_each(b * h * w * c * f * f, 0, 8), ARG_T(x), ARG_T(y),
           ARG_I(b * h * w * c * f * f), ARG_I(h), ARG_I(w), ARG_I(c), ARG_I(f));
    tape_push(r, &(tape_step){.back = upsample_back, .in = {x}, .out = y, .i = {factor}});
    return y;
}

static void upsample_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:upsample_back", backward(work_each(tensor_count(&x), 4, 20)),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(tensor_count(&x)), ARG_I(x.shape[2]), ARG_I(x.shape[3]),
           ARG_I(s->i[0]), ARG_I(add));
}

void op_repeat(run *r, tensor to, tensor from)
{
    int64_t n = tensor_count(&to), period = tensor_count(&from);
    assert(run_failed(r) || n % period == 0);
    LAUNCH(r, "elementwise:repeat", work_each(n, 0, 8), ARG_T(from), ARG_T(to), ARG_I(n), ARG_I(period));
}

tensor op_guide(run *r, tensor x, float scale)
{
    int64_t b = x.shape[0] / 2, k = last_of(&x);
    tensor y = TENSOR(r, DTYPE_F32, b, k);
    LAUNCH(r, "elementwise:guide", work_each(b * k, 3, 12), ARG_T(x), ARG_T(y), ARG_I(b * k), ARG_F(scale));
    return y;
}

void sum_rows(run *r, tensor to, tensor from, int64_t n, int64_t stride, int64_t first, int add)
{
    if (!to.buf)
        return;
    int64_t d = tensor_count(&to);
    from.at += first;
    LAUNCH(r, "elementwise:sum_rows", backward(work_columns(r, d, 1, (double)(n * d), 4.0 * (double)(n * d))),
           ARG_T(from), ARG_T(to), ARG_I(d), ARG_I(n), ARG_I(stride), ARG_I(add));
}
