/* Rotary positions on a grid. */
#include "ops/ops_internal.h"

tensor op_rotate_grid(run *r, tensor qkv, int heads, tensor position, int text, int grid_width)
{
    int64_t width = last_of(&qkv), d = width / 3, rows = rows_of(&qkv);
    REQUIRE(r, qkv.nd == 3 && width % 3 == 0 && d % heads == 0 && d / heads % 4 == 0);
    tensor y = tensor_like(r, &qkv, width);
    LAUNCH(r, "rotary:rotate_grid",
           ((work){.global = {round_up((size_t)width, 64), (size_t)rows}, .bytes = 12.0 * (double)(width * rows)}),
           ARG_T(qkv), ARG_T(position), ARG_T(y), ARG_I(d), ARG_I(qkv.shape[1]), ARG_I(d / heads), ARG_I(text),
           ARG_I(grid_width));
    return y;
}
