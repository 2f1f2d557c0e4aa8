/* Biases of attention by the distance of two positions. */
#include "ops/ops_internal.h"

static tape_function relative_back;

tensor op_relative_bias(run *r, tensor table, int64_t t)
{
    REQUIRE(r, table.nd == 2 && table.shape[0] % 2 == 1 && t > 0);
    int64_t heads = table.shape[1], reach = table.shape[0] / 2;
    tensor y = TENSOR(r, DTYPE_F32, heads, t, t);
    LAUNCH(r, "relative:relative_bias", work_grid(t, heads * t, 0, 8), ARG_T(table), ARG_T(y), ARG_I(heads), ARG_I(t),
           ARG_I(reach));
    tape_push(r, &(tape_step){.back = relative_back, .in = {table}, .out = y});
    return y;
}

static void relative_back(run *r, tape *tp, const tape_step *s)
{
    int add;
    tensor table = s->in[0], dtable = tape_gradient_of(tp, table, &add);
    int64_t heads = table.shape[1], t = s->out.shape[2], pairs = t * t;
    LAUNCH(r, "relative:relative_bias_back",
           backward(work_grid(heads, table.shape[0], (double)pairs / (double)table.shape[0],
                              4 * (double)pairs / (double)table.shape[0])),
           ARG_T(tape_gradient(tp, s->out)), ARG_T(dtable), ARG_I(heads), ARG_I(t), ARG_I(table.shape[0] / 2),
           ARG_I(add));
}
