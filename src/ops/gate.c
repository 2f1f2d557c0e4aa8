/* What published transformers have between their products. */
#include "ops/ops_internal.h"

static tape_function multiply_back, glu_back, divide_max_back, shift_tokens_back;

tensor op_multiply(run *r, tensor a, tensor b)
{
    int64_t n = tensor_count(&a), period = tensor_count(&b);
    REQUIRE(r, n % period == 0);
    tensor y = tensor_like(r, &a, last_of(&a));
    LAUNCH(r, "gate:multiply", work_each(n, 1, 12), ARG_T(a), ARG_T(b), ARG_T(y), ARG_I(n), ARG_I(period));
    tape_push(r, &(tape_step){.back = multiply_back, .in = {a, b}, .out = y});
    return y;
}

/* dx = dy other */
static void times(run *r, tensor dy, tensor other, tensor dx, int add)
{
    int64_t n = tensor_count(&dy);
    LAUNCH(r, "gate:multiply_back", backward(work_each(n, 1, 16)), ARG_T(dy), ARG_T(other), ARG_T(dx), ARG_I(n),
           ARG_I(tensor_count(&other)), ARG_I(add));
}

/* da = dy b; db = the sum of dy a over what b is repeated for. */
static void multiply_back(run *r, tape *t, const tape_step *s)
{
    tensor a = s->in[0], b = s->in[1], dy = tape_gradient(t, s->out);
    int64_t d = tensor_count(&b), rows = tensor_count(&a) / d, each, n = parts_of(rows, 1, &each);
    int add;
    tensor da = wanted(t, a, &add);
    if (da.buf)
        times(r, dy, b, da, add);
    tensor db = wanted(t, b, &add);
    if (db.buf && rows == 1)
        times(r, dy, a, db, add);
    if (!db.buf || rows == 1)
        return;
    tensor parts = TENSOR(r, DTYPE_F32, n, d);
    LAUNCH(r, "gate:multiply_parts",
           backward(work_columns(r, d, n, 2.0 * (double)(rows * d), 8.0 * (double)(rows * d))), ARG_T(dy), ARG_T(a),
           ARG_T(parts), ARG_I(rows), ARG_I(each), ARG_I(d));
    sum_rows(r, db, parts, n, d, 0, add);
}

tensor op_glu(run *r, tensor x, activation act)
{
    int64_t d = last_of(&x) / 2;
    REQUIRE(r, last_of(&x) % 2 == 0);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "gate:glu", work_grid(d, rows_of(&x), 0, 12), ARG_T(x), ARG_T(y), ARG_I(d), ARG_I(act));
    tape_push(r, &(tape_step){.back = glu_back, .in = {x}, .out = y, .i = {act}});
    return y;
}

static void glu_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    int64_t d = last_of(&x) / 2;
    LAUNCH(r, "gate:glu_back", backward(work_grid(d, rows_of(&x), 24, 28)), ARG_T(x), ARG_T(tape_gradient(t, s->out)),
           ARG_T(dx), ARG_I(d), ARG_I(s->i[0]), ARG_I(add));
}

tensor op_divide_max(run *r, tensor x)
{
    int64_t n = rows_of(&x), d = last_of(&x);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "gate:divide_max", work_rows(n, 2.0 * (double)(n * d), 12.0 * (double)(n * d)), ARG_T(x), ARG_T(y),
           ARG_I(d));
    tape_push(r, &(tape_step){.back = divide_max_back, .in = {x}, .out = y});
    return y;
}

static void divide_max_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "gate:divide_max_back", backward(work_rows(rows_of(&x), 2 * count, 16 * count)), ARG_T(x),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(last_of(&x)), ARG_I(add));
}

tensor op_shift_tokens(run *r, tensor x, tensor history, tensor position, int text, int grid_width)
{
    int64_t t = x.shape[1], d = last_of(&x), kept = last_of(&history), length = history.shape[1];
    REQUIRE(r, x.nd == 3 && history.shape[0] >= x.shape[0] && kept == (d + 3) / 4 * 2);
    check_position(r, "op_shift_tokens at several positions", position, x);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "gate:store_history", work_grid(kept, rows_of(&x), 0, 8), ARG_T(x), ARG_T(history), ARG_T(position),
           ARG_I(d), ARG_I(t), ARG_OWN(position), ARG_I(kept), ARG_I(length));
    LAUNCH(r, "gate:shift_tokens", work_grid(d, rows_of(&x), 0, 8), ARG_T(x), ARG_T(history), ARG_T(position), ARG_T(y),
           ARG_I(d), ARG_I(t), ARG_OWN(position), ARG_I(kept), ARG_I(length), ARG_I(text), ARG_I(grid_width));
    tape_push(
        r, &(tape_step){.back = shift_tokens_back, .in = {x}, .out = y, .saved = {position}, .i = {text, grid_width}});
    return y;
}

static void shift_tokens_back(run *r, tape *tp, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(tp, x, &add);
    LAUNCH(r, "gate:shift_tokens_back", backward(work_grid(last_of(&x), rows_of(&x), 0, 12)),
           ARG_T(tape_gradient(tp, s->out)), ARG_T(s->saved[0]), ARG_T(dx), ARG_I(last_of(&x)), ARG_I(x.shape[1]),
           ARG_I(s->i[0]), ARG_I(s->i[1]), ARG_I(add));
}
