/* Choosing codes on the device. */
#include "ops/ops_internal.h"

tensor op_argmax(run *r, tensor x)
{
    int64_t k = last_of(&x);
    tensor y = run_tensor(r, DTYPE_I32, x.nd - 1, x.shape);
    LAUNCH(r, "sample:argmax", work_rows(rows_of(&x), 0, 4.0 * (double)tensor_count(&x)), ARG_T(x), ARG_T(y), ARG_I(k));
    return y;
}

void op_sample(run *r, tensor logits, tensor codes, tensor forced, tensor position, int text_length, const sampling *s)
{
    double count = (double)tensor_count(&logits);
    LAUNCH(r, "sample:sample", work_rows(logits.shape[0], 8 * count, 4 * count), ARG_T(logits), ARG_T(codes),
           ARG_T(forced), ARG_T(position), ARG_I(last_of(&logits)), ARG_I(codes.shape[1]), ARG_I(text_length),
           ARG_F(s->temperature), ARG_I(s->top_k), ARG_F(s->top_p), ARG_U(s->seed), ARG_U(s->seed >> 32),
           ARG_U(s->stream), ARG_I(logits.shape[0]), ARG_I(codes.shape[0]));
}

void op_advance(run *r, tensor position, int n)
{
    LAUNCH(r, "elementwise:advance", ((work){.global = {1}}), ARG_T(position), ARG_I(n));
}
