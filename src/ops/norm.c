/* Layer norm, group norm, softmax. */
#include "ops/ops_internal.h"

tensor op_layer_norm(run *r, tensor x, const norm *n)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:layer_norm", work_rows(r, rows_of(&x), 8 * count, 8 * count), ARG_T(x), ARG_T(n->w), ARG_T(n->b),
           ARG_T(y), ARG_I(last_of(&x)), ARG_F(n->eps));
    return y;
}

tensor op_group_norm(run *r, tensor x, const norm *n, int groups, activation act)
{
    int64_t b = x.shape[0], pixels = x.shape[1] * x.shape[2], c = x.shape[3];
    assert(run_failed(r) || c % groups == 0);
    double count = (double)tensor_count(&x);
    tensor stats = TENSOR(r, DTYPE_F32, b, groups, 2);
    tensor y = tensor_like(r, &x, c);
    LAUNCH(r, "norm:group_norm_stats", work_rows(r, b * groups, 4 * count, 4 * count), ARG_T(x), ARG_T(stats),
           ARG_I(pixels), ARG_I(c), ARG_I(groups), ARG_F(n->eps));
    LAUNCH(r, "norm:group_norm_apply", work_each(tensor_count(&x), 4, 8), ARG_T(x), ARG_T(stats), ARG_T(n->w),
           ARG_T(n->b), ARG_T(y), ARG_I(b * pixels), ARG_I(pixels), ARG_I(c), ARG_I(groups), ARG_I(act));
    return y;
}

tensor op_softmax(run *r, tensor x)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:softmax", work_rows(r, rows_of(&x), 8 * count, 8 * count), ARG_T(x), ARG_T(y), ARG_I(last_of(&x)));
    return y;
}
