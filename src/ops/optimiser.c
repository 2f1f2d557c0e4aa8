/* What changes parameters: AdamW with clipping on the device, EMA, sums of squares. */
#include <math.h>

#include "ops/ops_internal.h"

void op_sum_squares(run *r, tensor total, tensor x)
{
    int64_t count = tensor_count(&x), each, n = parts_of(count, 4096, &each);
    tensor parts = TENSOR(r, DTYPE_F32, n);
    LAUNCH(r, "optimiser:square_parts", work_rows(n, 2.0 * (double)count, 4.0 * (double)count), ARG_T(x), ARG_T(parts),
           ARG_I(count), ARG_I(each));
    LAUNCH(r, "optimiser:add_parts", work_rows(1, 0, 0), ARG_T(parts), ARG_T(total), ARG_I(n));
}

void op_ema(run *r, tensor ema, tensor x, float decay)
{
    REQUIRE(r, tensor_count(&ema) == tensor_count(&x));
    LAUNCH(r, "optimiser:ema", work_blocks(tensor_count(&x), 3, 12), ARG_T(ema), ARG_T(x), ARG_I(tensor_count(&x)),
           ARG_F(decay));
}

void op_adamw(run *r, tensor x, tensor gradient, tensor m, tensor v, tensor squares, const adamw *o)
{
    int64_t count = tensor_count(&x);
    REQUIRE(r,
            tensor_count(&gradient) == count && tensor_count(&m) == count && tensor_count(&v) == count && o->step > 0);
    double rate = o->lr / (1 - pow(o->beta1, (double)o->step)),
           correction = 1 / sqrt(1 - pow(o->beta2, (double)o->step));
    LAUNCH(r, "optimiser:adamw", work_blocks(count, 16, 28), ARG_T(x), ARG_T(gradient), ARG_T(m), ARG_T(v),
           ARG_T(squares), ARG_I(count), ARG_F(rate), ARG_F(o->beta1), ARG_F(o->beta2), ARG_F(o->eps),
           ARG_F(correction), ARG_F(1 - (double)o->lr * o->decay), ARG_F(o->clip));
}
