/* What published transformers have between their products. */
#include "ops/ops_internal.h"

/* Rows of d numbers, a work-item each. */
static work work_grid(int64_t d, int64_t rows, double bytes_each)
{
    return (work){.global = {round_up((size_t)d, 64), (size_t)rows}, .bytes = bytes_each * (double)(d * rows)};
}

tensor op_multiply(run *r, tensor a, tensor b)
{
    int64_t n = tensor_count(&a), period = tensor_count(&b);
    REQUIRE(r, n % period == 0);
    tensor y = tensor_like(r, &a, last_of(&a));
    LAUNCH(r, "gate:multiply", work_each(n, 1, 12), ARG_T(a), ARG_T(b), ARG_T(y), ARG_I(n), ARG_I(period));
    return y;
}

tensor op_glu(run *r, tensor x, activation act)
{
    int64_t d = last_of(&x) / 2;
    REQUIRE(r, last_of(&x) % 2 == 0);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "gate:glu", work_grid(d, rows_of(&x), 12), ARG_T(x), ARG_T(y), ARG_I(d), ARG_I(act));
    return y;
}

tensor op_divide_max(run *r, tensor x)
{
    int64_t n = rows_of(&x), d = last_of(&x);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "gate:divide_max", work_rows(n, 2.0 * (double)(n * d), 12.0 * (double)(n * d)), ARG_T(x), ARG_T(y),
           ARG_I(d));
    return y;
}

tensor op_rotate(run *r, tensor x, int head_dim, tensor angles, tensor position)
{
    int64_t width = last_of(&x), t = x.shape[1], turned = last_of(&angles);
    REQUIRE(r, x.nd == 3 && width % head_dim == 0 && turned <= head_dim && turned % 2 == 0 && angles.nd == 2);
    tensor y = tensor_like(r, &x, width);
    LAUNCH(r, "gate:rotate_heads", work_grid(width, rows_of(&x), 12), ARG_T(x), ARG_T(angles), ARG_T(position),
           ARG_T(y), ARG_I(width), ARG_I(t), ARG_I(head_dim), ARG_I(turned), ARG_I(angles.shape[0]));
    return y;
}

tensor op_shift_tokens(run *r, tensor x, tensor history, tensor position, int text, int grid_width)
{
    int64_t t = x.shape[1], d = last_of(&x), kept = last_of(&history), length = history.shape[1];
    REQUIRE(r, x.nd == 3 && history.shape[0] >= x.shape[0] && kept == (d + 3) / 4 * 2);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "gate:store_history", work_grid(kept, rows_of(&x), 8), ARG_T(x), ARG_T(history), ARG_T(position),
           ARG_I(d), ARG_I(t), ARG_I(kept), ARG_I(length));
    LAUNCH(r, "gate:shift_tokens", work_grid(d, rows_of(&x), 8), ARG_T(x), ARG_T(history), ARG_T(position), ARG_T(y),
           ARG_I(d), ARG_I(t), ARG_I(kept), ARG_I(length), ARG_I(text), ARG_I(grid_width));
    return y;
}
