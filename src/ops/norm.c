/* Layer norm, group norm, softmax. */
#include "ops/ops_internal.h"

#define PARTS 256 /* at most about so many parts of a batch's pictures */

static tape_function layer_norm_back, rms_norm_back, group_norm_back, softmax_back, l2_normalise_back;

static tensor layer_norm(run *r, tensor x, const norm *n, tensor residual)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:layer_norm", work_rows(rows_of(&x), 8 * count, (residual.buf ? 12 : 8) * count), ARG_T(x),
           ARG_T(n->w), ARG_T(n->b), ARG_T(residual), ARG_T(y), ARG_I(last_of(&x)), ARG_F(n->eps));
    return y;
}

tensor op_layer_norm(run *r, tensor x, const norm *n)
{
    tensor y = layer_norm(r, x, n, (tensor){0});
    tape_push(r, &(tape_step){.back = layer_norm_back, .in = {x, n->w, n->b}, .out = y, .f = {n->eps}});
    return y;
}

tensor op_layer_norm_add(run *r, tensor x, const norm *n, tensor residual)
{
    REQUIRE(r, tensor_count(&x) == tensor_count(&residual));
    return run_tape(r) ? op_add(r, residual, op_layer_norm(r, x, n)) : layer_norm(r, x, n, residual);
}

tensor op_layer_norm_twice(run *r, tensor x, const norm *after, tensor residual, const norm *before, tensor *sum)
{
    REQUIRE(r, !residual.buf || tensor_count(&x) == tensor_count(&residual));
    if (!ops_fuses(r)) {
        *sum = residual.buf ? op_layer_norm_add(r, x, after, residual) : op_layer_norm(r, x, after);
        return op_layer_norm(r, *sum, before);
    }
    *sum = tensor_like(r, &x, last_of(&x));
    tensor y = tensor_like(r, &x, last_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:layer_norm_twice", work_rows(rows_of(&x), 16 * count, (residual.buf ? 16 : 12) * count), ARG_T(x),
           ARG_T(after->w), ARG_T(after->b), ARG_T(residual), ARG_T(*sum), ARG_T(before->w), ARG_T(before->b), ARG_T(y),
           ARG_I(last_of(&x)), ARG_F(after->eps), ARG_F(before->eps));
    return y;
}

static void layer_norm_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], dy = tape_gradient(t, s->out), parts = {0};
    int add_x, add_w, add_b;
    tensor dx = wanted(t, x, &add_x), dw = wanted(t, w, &add_w), db = wanted(t, s->in[2], &add_b);
    int64_t rows = rows_of(&x), d = last_of(&x), each, n = parts_of(rows, 1, &each);
    double count = (double)tensor_count(&x);
    if (dw.buf || db.buf)
        parts = TENSOR(r, DTYPE_F32, n, 2, d);
    LAUNCH(r, "norm:layer_norm_back", backward(work_rows(n, 20 * count, 12 * count)), ARG_T(x), ARG_T(w), ARG_T(dy),
           ARG_T(dx), ARG_T(parts), ARG_I(rows), ARG_I(each), ARG_I(d), ARG_F(s->f[0]), ARG_I(add_x));
    sum_rows(r, db, parts, n, 2 * d, 0, add_b);
    sum_rows(r, dw, parts, n, 2 * d, d, add_w);
}

tensor op_rms_norm(run *r, tensor x, const norm *n)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:rms_norm", work_rows(rows_of(&x), 5 * count, 8 * count), ARG_T(x), ARG_T(n->w), ARG_T(y),
           ARG_I(last_of(&x)), ARG_F(n->eps));
    tape_push(r, &(tape_step){.back = rms_norm_back, .in = {x, n->w}, .out = y, .f = {n->eps}});
    return y;
}

static void rms_norm_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], parts = {0};
    int add_x, add_w;
    tensor dx = wanted(t, x, &add_x), dw = wanted(t, w, &add_w);
    int64_t rows = rows_of(&x), d = last_of(&x), each, n = parts_of(rows, 1, &each);
    double count = (double)tensor_count(&x);
    if (dw.buf)
        parts = TENSOR(r, DTYPE_F32, n, d);
    LAUNCH(r, "norm:rms_norm_back", backward(work_rows(n, 12 * count, 12 * count)), ARG_T(x), ARG_T(w),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_T(parts), ARG_I(rows), ARG_I(each), ARG_I(d), ARG_F(s->f[0]),
           ARG_I(add_x));
    sum_rows(r, dw, parts, n, d, 0, add_w);
}

/* Parts of each of b images; *each: the pixels of one. */
static int64_t chunks_of(int64_t b, int64_t pixels, int64_t *each)
{
    int64_t most = b < PARTS ? PARTS / b : 1;
    *each = (pixels + most - 1) / most;
    if (*each < 32) /* of a small picture one work-item would do too little */
        *each = 32;
    return (pixels + *each - 1) / *each;
}

tensor op_group_norm(run *r, tensor x, const norm *n, int groups, activation act)
{
    if (run_tape(r) && act != ACT_NONE) /* the backward pass wants what the activation sees */
        return op_activate(r, op_group_norm(r, x, n, groups, ACT_NONE), act);
    tensor stats = group_norm_stats(r, x, groups, n->eps), y = tensor_like(r, &x, last_of(&x));
    group_norm_apply(r, x, stats, n, groups, act, y);
    tape_push(r,
              &(tape_step){.back = group_norm_back, .in = {x, n->w, n->b}, .out = y, .saved = {stats}, .i = {groups}});
    return y;
}

tensor group_norm_stats(run *r, tensor x, int groups, float eps)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t b = x.shape[0], pixels = x.shape[1] * x.shape[2], c = x.shape[3];
    REQUIRE(r, c % groups == 0);
    double count = (double)tensor_count(&x);
    tensor stats = TENSOR(r, DTYPE_F32, b, groups, 2);
    int64_t each, chunks = chunks_of(b, pixels, &each);
    tensor parts = TENSOR(r, DTYPE_F32, b * chunks, 2, c);
    LAUNCH(r, "norm:group_norm_parts", work_columns(r, c, b * chunks, 4 * count, 4 * count), ARG_T(x), ARG_T(parts),
           ARG_I(pixels), ARG_I(c), ARG_I(each), ARG_I(chunks));
    LAUNCH(r, "norm:group_norm_stats", work_rows(b * groups, 0, 8.0 * (double)(b * chunks * c)), ARG_T(parts),
           ARG_T(stats), ARG_I(pixels), ARG_I(c), ARG_I(groups), ARG_I(each), ARG_I(chunks), ARG_F(eps));
    run_give_back(r, parts);
    return stats;
}

void group_norm_apply(run *r, tensor x, tensor stats, const norm *n, int groups, activation act, tensor y)
{
    if (run_failed(r))
        return;
    int64_t b = x.shape[0], pixels = x.shape[1] * x.shape[2], c = x.shape[3];
    double count = (double)tensor_count(&x);
    int64_t each, chunks = chunks_of(b, pixels, &each);
    LAUNCH(r, "norm:group_norm_apply", work_columns(r, c, b * chunks, 4 * count, 8 * count), ARG_T(x), ARG_T(stats),
           ARG_T(n->w), ARG_T(n->b), ARG_T(y), ARG_I(pixels), ARG_I(c), ARG_I(groups), ARG_I(each), ARG_I(chunks),
           ARG_I(act));
}

static void group_norm_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], stats = s->saved[0], dy = tape_gradient(t, s->out);
    int add_x, add_w, add_b;
    tensor dx = wanted(t, x, &add_x), dw = wanted(t, w, &add_w), db = wanted(t, s->in[2], &add_b);
    int64_t b = x.shape[0], pixels = x.shape[1] * x.shape[2], c = x.shape[3], groups = s->i[0];
    int64_t each, chunks = chunks_of(b, pixels, &each);
    double count = (double)tensor_count(&x);
    tensor parts = TENSOR(r, DTYPE_F32, b * chunks, 2, c), means = TENSOR(r, DTYPE_F32, b, groups, 2);
    LAUNCH(r, "norm:group_norm_sums", backward(work_columns(r, c, b * chunks, 4 * count, 8 * count)), ARG_T(x),
           ARG_T(stats), ARG_T(dy), ARG_T(parts), ARG_I(pixels), ARG_I(c), ARG_I(groups), ARG_I(each), ARG_I(chunks));
    sum_rows(r, db, parts, b * chunks, 2 * c, 0, add_b);
    sum_rows(r, dw, parts, b * chunks, 2 * c, c, add_w);
    if (!dx.buf)
        return;
    LAUNCH(r, "norm:group_norm_means", backward(work_rows(b * groups, 4.0 * (double)(b * chunks * c), 0)), ARG_T(parts),
           ARG_T(w), ARG_T(means), ARG_I(pixels), ARG_I(c), ARG_I(groups), ARG_I(chunks));
    LAUNCH(r, "norm:group_norm_back", backward(work_columns(r, c, b * chunks, 5 * count, 12 * count)), ARG_T(x),
           ARG_T(stats), ARG_T(w), ARG_T(dy), ARG_T(means), ARG_T(dx), ARG_I(pixels), ARG_I(c), ARG_I(groups),
           ARG_I(each), ARG_I(chunks), ARG_I(add_x));
}

tensor op_softmax(run *r, tensor x)
{
    tensor y = tensor_like(r, &x, last_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:softmax", work_rows(rows_of(&x), 8 * count, 8 * count), ARG_T(x), ARG_T(y), ARG_I(last_of(&x)));
    tape_push(r, &(tape_step){.back = softmax_back, .in = {x}, .out = y});
    return y;
}

static void softmax_back(run *r, tape *t, const tape_step *s)
{
    softmax_gradient(r, t, s->in[0], s->out, s->out, 1);
}

void softmax_gradient(run *r, tape *t, tensor x, tensor y, tensor out, float scale)
{
    int add;
    tensor dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:softmax_back", backward(work_rows(rows_of(&x), 4 * count, 12 * count)), ARG_T(y),
           ARG_T(tape_gradient(t, out)), ARG_T(dx), ARG_I(last_of(&x)), ARG_F(scale), ARG_I(add));
}

tensor op_l2_normalise(run *r, tensor x, float eps)
{
    tensor y = tensor_like(r, &x, last_of(&x)), scales = TENSOR(r, DTYPE_F32, rows_of(&x));
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:l2_normalise", work_rows(rows_of(&x), 4 * count, 8 * count), ARG_T(x), ARG_T(y), ARG_T(scales),
           ARG_I(last_of(&x)), ARG_F(eps));
    tape_push(r, &(tape_step){.back = l2_normalise_back, .in = {x}, .out = y, .saved = {scales}});
    return y;
}

static void l2_normalise_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "norm:l2_normalise_back", backward(work_rows(rows_of(&x), 6 * count, 12 * count)), ARG_T(s->out),
           ARG_T(s->saved[0]), ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(last_of(&x)), ARG_I(add));
}
