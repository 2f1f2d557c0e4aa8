/* Rotary positions: of given angles, of given frequencies, and on a grid. */
#include "ops/ops_internal.h"

static tape_function rotate_back, rotary_back, rotate_grid_back;

tensor op_rotate(run *r, tensor x, int head_dim, tensor angles, tensor position)
{
    int64_t width = last_of(&x), t = x.shape[1], turned = last_of(&angles);
    REQUIRE(r, x.nd == 3 && width % head_dim == 0 && turned <= head_dim && turned % 2 == 0 && angles.nd == 2);
    check_position(r, "op_rotate at several positions", position, x);
    check_position(r, "op_rotate at several positions", position, angles);
    tensor y = tensor_like(r, &x, width);
    LAUNCH(r, "rotary:rotate_heads", work_grid(width, rows_of(&x), 0, 12), ARG_T(x), ARG_T(angles), ARG_T(position),
           ARG_T(y), ARG_I(width), ARG_I(t), ARG_OWN(position), ARG_I(head_dim), ARG_I(turned), ARG_I(angles.shape[0]));
    tape_push(r, &(tape_step){.back = rotate_back, .in = {x, angles}, .out = y, .saved = {position}, .i = {head_dim}});
    return y;
}

static void rotate_back(run *r, tape *tp, const tape_step *s)
{
    tensor x = s->in[0], angles = s->in[1], position = s->saved[0], dy = tape_gradient(tp, s->out);
    int64_t width = last_of(&x), t = x.shape[1], turned = last_of(&angles), rows = rows_of(&x),
            length = angles.shape[0];
    int add;
    tensor dx = wanted(tp, x, &add);
    if (dx.buf)
        LAUNCH(r, "rotary:rotate_heads_back", backward(work_grid(width, rows, 0, 16)), ARG_T(dy), ARG_T(angles),
               ARG_T(position), ARG_T(dx), ARG_I(width), ARG_I(t), ARG_I(s->i[0]), ARG_I(turned), ARG_I(length),
               ARG_I(add));
    tensor dangles = wanted(tp, angles, &add);
    if (dangles.buf) {
        double seen = (double)(x.shape[0] * (width / s->i[0])); /* numbers that an angle turns */
        LAUNCH(r, "rotary:rotate_angles_back", backward(work_grid(turned, length, 6 * seen, 12 * seen)), ARG_T(x),
               ARG_T(dy), ARG_T(angles), ARG_T(position), ARG_T(dangles), ARG_I(x.shape[0]), ARG_I(width), ARG_I(t),
               ARG_I(s->i[0]), ARG_I(turned), ARG_I(add));
    }
}

/* A work-item takes a pair, or one of the numbers that aren't turned.  sign -1: turned back. */
static void rotary(run *r, work w, tensor x, tensor frequencies, tensor position, tensor y, int64_t columns, int sign,
                   int add)
{
    LAUNCH(r, "rotary:rotate_halves", w, ARG_T(x), ARG_T(frequencies), ARG_T(position), ARG_T(y), ARG_I(last_of(&x)),
           ARG_I(columns), ARG_I(x.shape[1]), ARG_OWN(position), ARG_I(last_of(&frequencies)), ARG_I(sign), ARG_I(add));
}

tensor op_rotary(run *r, tensor x, int64_t columns, tensor frequencies, tensor position)
{
    int64_t width = last_of(&x), n = last_of(&frequencies);
    REQUIRE(r, x.nd == 3 && frequencies.nd == 1 && n > 0 && columns % (2 * n) == 0 && columns <= width);
    check_position(r, "op_rotary at several positions", position, x);
    tensor y = tensor_like(r, &x, width);
    rotary(r, work_grid(width - columns / 2, rows_of(&x), 6, 16), x, frequencies, position, y, columns, 1, 0);
    tape_push(r,
              &(tape_step){
                  .back = rotary_back, .in = {x}, .out = y, .saved = {frequencies, position}, .i = {(int32_t)columns}});
    return y;
}

static void rotary_back(run *r, tape *tp, const tape_step *s)
{
    int add, columns = s->i[0];
    tensor x = s->in[0], dx = tape_gradient_of(tp, x, &add);
    rotary(r, work_grid(last_of(&x) - columns / 2, rows_of(&x), 6, 16), tape_gradient(tp, s->out), s->saved[0],
           s->saved[1], dx, columns, -1, add);
}

tensor op_rotate_grid(run *r, tensor qkv, int heads, tensor position, int text, int grid_width)
{
    int64_t width = last_of(&qkv), d = width / 3;
    REQUIRE(r, qkv.nd == 3 && width % 3 == 0 && d % heads == 0 && d / heads % 4 == 0);
    tensor y = tensor_like(r, &qkv, width);
    LAUNCH(r, "rotary:rotate_grid", work_grid(width, rows_of(&qkv), 0, 12), ARG_T(qkv), ARG_T(position), ARG_T(y),
           ARG_I(d), ARG_I(qkv.shape[1]), ARG_OWN(position), ARG_I(d / heads), ARG_I(text), ARG_I(grid_width));
    tape_push(r, &(tape_step){.back = rotate_grid_back,
                              .in = {qkv},
                              .out = y,
                              .saved = {position},
                              .i = {(int32_t)(d / heads), text, grid_width}});
    return y;
}

static void rotate_grid_back(run *r, tape *tp, const tape_step *s)
{
    int add;
    tensor qkv = s->in[0], dqkv = tape_gradient_of(tp, qkv, &add);
    LAUNCH(r, "rotary:rotate_grid_back", backward(work_grid(last_of(&qkv), rows_of(&qkv), 0, 16)),
           ARG_T(tape_gradient(tp, s->out)), ARG_T(s->saved[0]), ARG_T(dqkv), ARG_I(last_of(&qkv) / 3),
           ARG_I(qkv.shape[1]), ARG_OWN(s->saved[0]), ARG_I(s->i[0]), ARG_I(s->i[1]), ARG_I(s->i[2]), ARG_I(add));
}
