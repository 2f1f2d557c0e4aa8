/* Ops that touch each element once. */
#include "ops/ops_internal.h"

static tape_function activate_back, add_back, scale_add_back, slice_back, join_back, upsample_back, position_back,
    mean_back, scale_exp_back;

const char *const activation_names[ACT_COUNT] = {"none",       "relu",    "gelu_erf", "gelu_tanh", "silu",
                                                 "quick_gelu", "sigmoid", "tanh",     "leaky_relu"};

tensor op_activate(run *r, tensor x, activation act)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    activate(r, x, act, y);
    tape_push(r, &(tape_step){.back = activate_back, .in = {x}, .out = y, .i = {act}});
    return y;
}

void activate(run *r, tensor x, activation act, tensor y)
{
    LAUNCH(r, "elementwise:activate", work_blocks(tensor_count(&x), 8, 8), ARG_T(x), ARG_T(y), ARG_I(tensor_count(&x)),
           ARG_I(act));
}

static void activate_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:activate_back", backward(work_blocks(tensor_count(&x), 16, 12)), ARG_T(x),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(tensor_count(&x)), ARG_I(s->i[0]), ARG_I(add));
}

tensor op_add(run *r, tensor a, tensor b)
{
    REQUIRE(r, tensor_count(&a) == tensor_count(&b));
    tensor y = tensor_like(r, &a, last_of(&a));
    LAUNCH(r, "elementwise:add", work_blocks(tensor_count(&a), 1, 12), ARG_T(a), ARG_T(b), ARG_T(y),
           ARG_I(tensor_count(&a)));
    tape_push(r, &(tape_step){.back = add_back, .in = {a, b}, .out = y});
    return y;
}

tensor op_scale_add(run *r, tensor a, float wa, tensor b, float wb)
{
    REQUIRE(r, !b.buf || tensor_count(&b) == tensor_count(&a));
    tensor y = tensor_like(r, &a, last_of(&a));
    scale_add(r, a, wa, b, wb, y);
    tape_push(r, &(tape_step){.back = scale_add_back, .in = {a, b}, .out = y, .f = {wa, wb}});
    return y;
}

void scale_add(run *r, tensor a, float wa, tensor b, float wb, tensor y)
{
    int64_t count = tensor_count(&a);
    LAUNCH(r, "elementwise:scale_add", work_blocks(count, b.buf ? 3 : 1, b.buf ? 12 : 8), ARG_T(a), ARG_T(b), ARG_T(y),
           ARG_I(count), ARG_F(wa), ARG_F(wb));
}

static void scale_add_back(run *r, tape *t, const tape_step *s)
{
    for (int i = 0; i < 2; i++)
        scale_gradient(r, t, s->in[i], tape_gradient(t, s->out), s->f[i]);
}

void scale_gradient(run *r, tape *t, tensor x, tensor dy, float scale)
{
    if (!tape_wants(t, x))
        return;
    int add;
    tensor dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:scale_back", backward(work_blocks(tensor_count(&x), 1, 12)), ARG_T(dy), ARG_T(dx),
           ARG_I(tensor_count(&x)), ARG_F(scale), ARG_I(add));
}

void gradient_add(run *r, tape *t, tensor x, tensor dy)
{
    scale_gradient(r, t, x, dy, 1);
}

static void add_back(run *r, tape *t, const tape_step *s)
{
    for (int i = 0; i < 2; i++)
        scale_gradient(r, t, s->in[i], tape_gradient(t, s->out), 1);
}

tensor op_slice(run *r, tensor x, int64_t first, int64_t n)
{
    int64_t b = x.shape[0], t = x.shape[1], d = x.shape[2];
    REQUIRE(r, x.nd == 3 && first >= 0 && first + n <= t);
    tensor y = TENSOR(r, DTYPE_F32, b, n, d);
    LAUNCH(r, "elementwise:slice", work_rows(b * n, 0, 8.0 * (double)(b * n * d)), ARG_T(x), ARG_T(y), ARG_I(d),
           ARG_I(n), ARG_I(t), ARG_I(first));
    tape_push(r, &(tape_step){.back = slice_back, .in = {x}, .out = y, .i = {(int32_t)first}});
    return y;
}

static void slice_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:slice_back", backward(work_rows(rows_of(&x), 0, 8.0 * (double)tensor_count(&x))),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(x.shape[2]), ARG_I(s->out.shape[1]), ARG_I(x.shape[1]),
           ARG_I(s->i[0]), ARG_I(add));
}

tensor op_join(run *r, tensor a, tensor b)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t n = rows_of(&a), ca = last_of(&a), cb = last_of(&b);
    REQUIRE(r, a.nd == b.nd && rows_of(&b) == n);
    tensor y = tensor_like(r, &a, ca + cb);
    LAUNCH(r, "elementwise:join", work_rows(n, 0, 8.0 * (double)(n * (ca + cb))), ARG_T(a), ARG_T(b), ARG_T(y),
           ARG_I(ca), ARG_I(cb));
    tape_push(r, &(tape_step){.back = join_back, .in = {a, b}, .out = y});
    return y;
}

static void join_back(run *r, tape *t, const tape_step *s)
{
    for (int i = 0; i < 2; i++) {
        int add;
        tensor dx = wanted(t, s->in[i], &add);
        int64_t n = rows_of(&s->in[i]), d = last_of(&s->in[i]);
        if (dx.buf)
            LAUNCH(r, "elementwise:join_back", backward(work_rows(n, 0, 8.0 * (double)(n * d))),
                   ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(d), ARG_I(last_of(&s->out)),
                   ARG_I(i ? last_of(&s->in[0]) : 0), ARG_I(add));
    }
}

tensor op_upsample(run *r, tensor x, int factor)
{
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], c = x.shape[3], f = factor;
    tensor y = TENSOR(r, DTYPE_F32, b, h * f, w * f, c);
    upsample(r, x, factor, y);
    tape_push(r, &(tape_step){.back = upsample_back, .in = {x}, .out = y, .i = {factor}});
    return y;
}

void upsample(run *r, tensor x, int factor, tensor y)
{
    int64_t w = x.shape[2], c = x.shape[3], pixels = rows_of(&x), f = factor;
    LAUNCH(r, "elementwise:upsample_nearest", work_rows(pixels, 0, 4.0 * (double)(pixels * c * (1 + f * f))), ARG_T(x),
           ARG_T(y), ARG_I(w), ARG_I(c), ARG_I(f));
}

static void upsample_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "elementwise:upsample_back", backward(work_each(tensor_count(&x), 4, 20)),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(tensor_count(&x)), ARG_I(x.shape[2]), ARG_I(x.shape[3]),
           ARG_I(s->i[0]), ARG_I(add));
}

tensor op_add_position(run *r, tensor x, tensor first, tensor position)
{
    int64_t b = x.shape[0], t = x.shape[1], d = x.shape[2], n = position.shape[0];
    REQUIRE(r, x.nd == 3 && last_of(&position) == d && n == t + (first.buf ? 1 : 0));
    tensor y = TENSOR(r, DTYPE_F32, b, n, d);
    double count = (double)(b * n * d);
    LAUNCH(r, "elementwise:add_position", work_rows(b * n, count, 12 * count), ARG_T(x), ARG_T(first), ARG_T(position),
           ARG_T(y), ARG_I(t), ARG_I(n), ARG_I(d));
    tape_push(r, &(tape_step){.back = position_back, .in = {x, first, position}, .out = y});
    return y;
}

static void position_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], dy = tape_gradient(t, s->out), rows = dy;
    int64_t b = x.shape[0], n = dy.shape[1], d = x.shape[2];
    int add;
    tensor dfirst = wanted(t, s->in[1], &add);
    sum_rows(r, dfirst, dy, b, n * d, 0, add);
    tensor dposition = wanted(t, s->in[2], &add);
    sum_rows(r, dposition, dy, b, n * d, 0, add);
    if (n > x.shape[1] && tape_wants(t, x)) {
        rows = TENSOR(r, DTYPE_F32, b, n - 1, d);
        LAUNCH(r, "elementwise:slice", work_rows(b * (n - 1), 0, 8.0 * (double)(b * (n - 1) * d)), ARG_T(dy),
               ARG_T(rows), ARG_I(d), ARG_I(n - 1), ARG_I(n), ARG_I(1));
    }
    scale_gradient(r, t, x, rows, 1);
}

tensor op_mean_rows(run *r, tensor x)
{
    int64_t b = x.shape[0], t = x.shape[1], d = x.shape[2];
    REQUIRE(r, x.nd == 3);
    tensor y = TENSOR(r, DTYPE_F32, b, d);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "elementwise:mean_rows", work_columns(r, d, b, count, 4 * count), ARG_T(x), ARG_T(y), ARG_I(t), ARG_I(d));
    tape_push(r, &(tape_step){.back = mean_back, .in = {x}, .out = y});
    return y;
}

static void mean_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "elementwise:mean_rows_back",
           backward(work_columns(r, x.shape[2], x.shape[0] * x.shape[1], count, 8 * count)),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(x.shape[1]), ARG_I(x.shape[2]), ARG_I(add));
}

tensor op_scale_exp(run *r, tensor x, tensor log_scale, float most)
{
    REQUIRE(r, tensor_count(&log_scale) == 1);
    tensor y = tensor_like(r, &x, last_of(&x));
    LAUNCH(r, "elementwise:scale_exp", work_blocks(tensor_count(&x), 1, 8), ARG_T(x), ARG_T(log_scale), ARG_T(y),
           ARG_I(tensor_count(&x)), ARG_F(most), ARG_I(0));
    tape_push(r, &(tape_step){.back = scale_exp_back, .in = {x, log_scale}, .out = y, .f = {most}});
    return y;
}

/* dx = exp(s) dy; ds = sum dy y, or 0 where s is above its limit. */
static void scale_exp_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], log_scale = s->in[1], dy = tape_gradient(t, s->out);
    int64_t count = tensor_count(&x), each, n = parts_of(count, 1024, &each);
    int add;
    tensor dx = wanted(t, x, &add);
    if (dx.buf)
        LAUNCH(r, "elementwise:scale_exp", work_blocks(count, 1, 8), ARG_T(dy), ARG_T(log_scale), ARG_T(dx),
               ARG_I(count), ARG_F(s->f[0]), ARG_I(add));
    tensor ds = wanted(t, log_scale, &add);
    if (!ds.buf)
        return;
    tensor parts = TENSOR(r, DTYPE_F32, n);
    LAUNCH(r, "elementwise:scale_parts", backward(work_rows(n, 2.0 * (double)count, 8.0 * (double)count)),
           ARG_T(s->out), ARG_T(dy), ARG_T(log_scale), ARG_T(parts), ARG_I(count), ARG_I(each), ARG_F(s->f[0]));
    sum_rows(r, ds, parts, n, 1, 0, add);
}

void op_repeat(run *r, tensor to, tensor from)
{
    int64_t n = tensor_count(&to), period = tensor_count(&from);
    const bool half = to.type == DTYPE_F16;
    REQUIRE(r, n % period == 0 && half == (from.type == DTYPE_F16));
    LAUNCH(r, half ? "elementwise:repeat_f16" : "elementwise:repeat", work_each(n, 0, half ? 4 : 8), ARG_T(from),
           ARG_T(to), ARG_I(n), ARG_I(period));
}

void op_fill(run *r, tensor x, float value)
{
    LAUNCH(r, "elementwise:fill", work_blocks(tensor_count(&x), 0, 4), ARG_T(x), ARG_I(tensor_count(&x)), ARG_F(value));
}

void op_advance(run *r, tensor position, int n)
{
    int64_t rows = tensor_count(&position);
    LAUNCH(r, "elementwise:advance", work_each(rows, 0, 8), ARG_T(position), ARG_I(rows), ARG_I(n));
}
