/* Ops that change a picture's size by what is in it. */
#include "ops/ops_internal.h"

static tape_function max_pool_back, mean_pool_back, inverse_haar_back;

tensor op_max_pool(run *r, tensor x, int factor)
{
    int64_t b = x.shape[0], h = x.shape[1] / factor, w = x.shape[2] / factor, c = x.shape[3], f = factor;
    REQUIRE(r, x.nd == 4 && x.shape[1] % f == 0 && x.shape[2] % f == 0);
    tensor y = TENSOR(r, DTYPE_F32, b, h, w, c);
    LAUNCH(r, "picture:max_pool", work_each(b * h * w * c, (double)(f * f), 4.0 * (double)(f * f + 1)), ARG_T(x),
           ARG_T(y), ARG_I(b * h * w * c), ARG_I(w), ARG_I(c), ARG_I(f));
    tape_push(r, &(tape_step){.back = max_pool_back, .in = {x}, .out = y, .i = {factor}});
    return y;
}

static void max_pool_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add), dy = tape_gradient(t, s->out);
    int f = s->i[0];
    LAUNCH(r, "picture:max_pool_back", backward(work_each(tensor_count(&dy), f * f, 8 * f * f)), ARG_T(x), ARG_T(dy),
           ARG_T(dx), ARG_I(tensor_count(&dy)), ARG_I(s->out.shape[2]), ARG_I(x.shape[3]), ARG_I(f), ARG_I(add));
}

tensor op_mean_pool(run *r, tensor x, int factor)
{
    int64_t b = x.shape[0], h = x.shape[1] / factor, w = x.shape[2] / factor, c = x.shape[3], f = factor;
    REQUIRE(r, x.nd == 4 && x.shape[1] % f == 0 && x.shape[2] % f == 0);
    tensor y = TENSOR(r, DTYPE_F32, b, h, w, c);
    LAUNCH(r, "picture:mean_pool", work_each(b * h * w * c, (double)(f * f), 4.0 * (double)(f * f + 1)), ARG_T(x),
           ARG_T(y), ARG_I(b * h * w * c), ARG_I(w), ARG_I(c), ARG_I(f));
    tape_push(r, &(tape_step){.back = mean_pool_back, .in = {x}, .out = y, .i = {factor}});
    return y;
}

static void mean_pool_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add), dy = tape_gradient(t, s->out);
    int f = s->i[0];
    LAUNCH(r, "picture:mean_pool_back", backward(work_each(tensor_count(&dy), f * f, 8 * f * f)), ARG_T(dy), ARG_T(dx),
           ARG_I(tensor_count(&dy)), ARG_I(s->out.shape[2]), ARG_I(x.shape[3]), ARG_I(f), ARG_I(add));
}

tensor op_inverse_haar(run *r, tensor x)
{
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], c = x.shape[3] / 4;
    REQUIRE(r, x.nd == 4 && x.shape[3] % 4 == 0);
    tensor y = TENSOR(r, DTYPE_F32, b, 2 * h, 2 * w, c);
    LAUNCH(r, "picture:inverse_haar", work_each(b * h * w * c, 12, 32), ARG_T(x), ARG_T(y), ARG_I(b * h * w * c),
           ARG_I(w), ARG_I(c));
    tape_push(r, &(tape_step){.back = inverse_haar_back, .in = {x}, .out = y});
    return y;
}

static void inverse_haar_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    LAUNCH(r, "picture:inverse_haar_back", backward(work_each(tensor_count(&x) / 4, 12, 32)),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(tensor_count(&x) / 4), ARG_I(x.shape[2]),
           ARG_I(x.shape[3] / 4), ARG_I(add));
}
