/* Ops that touch each element once. */
#include "ops/ops_internal.h"

tensor op_activate(run *r, tensor x, activation act)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    LAUNCH(r, "elementwise:activate", work_each(tensor_count(&x), 8, 8), ARG_T(x), ARG_T(y), ARG_I(tensor_count(&x)),
           ARG_I(act));
    return y;
}

tensor op_add(run *r, tensor a, tensor b)
{
    assert(run_failed(r) || tensor_count(&a) == tensor_count(&b));
    tensor y = tensor_like(r, &a, last_of(&a));
    LAUNCH(r, "elementwise:add", work_each(tensor_count(&a), 1, 12), ARG_T(a), ARG_T(b), ARG_T(y),
           ARG_I(tensor_count(&a)));
    return y;
}

tensor op_slice(run *r, tensor x, int64_t first, int64_t n)
{
    int64_t b = x.shape[0], t = x.shape[1], d = x.shape[2];
    assert(run_failed(r) || (x.nd == 3 && first >= 0 && first + n <= t));
    tensor y = TENSOR(r, DTYPE_F32, b, n, d);
    LAUNCH(r, "elementwise:slice", work_each(b * n * d, 0, 8), ARG_T(x), ARG_T(y), ARG_I(b * n * d), ARG_I(d), ARG_I(n),
           ARG_I(t), ARG_I(first));
    return y;
}

tensor op_upsample(run *r, tensor x, int factor)
{
    int64_t b = x.shape[0], h = x.shape[1], w = x.shape[2], c = x.shape[3], f = factor;
    tensor y = TENSOR(r, DTYPE_F32, b, h * f, w * f, c);
    LAUNCH(r, "elementwise:upsample_nearest", work_each(b * h * w * c * f * f, 0, 8), ARG_T(x), ARG_T(y),
           ARG_I(b * h * w * c * f * f), ARG_I(h), ARG_I(w), ARG_I(c), ARG_I(f));
    return y;
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
