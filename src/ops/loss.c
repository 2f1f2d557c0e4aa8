/* Losses.  Each ends in one number: sums of rows or of parts, then the sum of those. */
#include <float.h>

#include "base/ranks.h"
#include "ops/ops_internal.h"

static tape_function cross_entropy_back, difference_back, logit_laplace_back, kl_uniform_back, usage_entropy_back,
    mean_back, balance_back, no_back;

/* scale times the sum of rows[n] */
static tensor total(run *r, tensor rows, tensor targets, tensor count, double scale)
{
    tensor y = TENSOR(r, DTYPE_F32, 1);
    LAUNCH(r, "loss:total", work_rows(1, 0, 0), ARG_T(rows), ARG_T(y), ARG_T(targets), ARG_T(count),
           ARG_I(tensor_count(&rows)), ARG_F(scale));
    return y;
}

tensor op_cross_entropy(run *r, tensor logits, tensor targets, float smoothing)
{
    int64_t n = rows_of(&logits), k = last_of(&logits);
    REQUIRE(r, tensor_count(&targets) == n);
    tensor rows = TENSOR(r, DTYPE_F32, n), sums = TENSOR(r, DTYPE_F32, n, 2), count = TENSOR(r, DTYPE_F32, 1);
    LAUNCH(r, "loss:cross_entropy", work_rows(n, 8.0 * (double)(n * k), 4.0 * (double)(n * k)), ARG_T(logits),
           ARG_T(targets), ARG_T(rows), ARG_T(sums), ARG_I(k), ARG_F(smoothing));
    tensor y = total(r, rows, targets, count, 1);
    tape_push(
        r,
        &(tape_step){
            .back = cross_entropy_back, .in = {logits, targets}, .out = y, .saved = {sums, count}, .f = {smoothing}});
    return y;
}

static void cross_entropy_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "loss:cross_entropy_back", work_rows(rows_of(&x), 6 * count, 8 * count), ARG_T(x), ARG_T(s->in[1]),
           ARG_T(s->saved[0]), ARG_T(s->saved[1]), ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(last_of(&x)),
           ARG_F(s->f[0]), ARG_I(add));
}

static tensor difference(run *r, tensor x, tensor target, int kind)
{
    int64_t count = tensor_count(&x), each, n = parts_of(count, 1024, &each);
    REQUIRE(r, tensor_count(&target) == count);
    tensor parts = TENSOR(r, DTYPE_F32, n);
    LAUNCH(r, "loss:difference", work_rows(n, 3.0 * (double)count, 8.0 * (double)count), ARG_T(x), ARG_T(target),
           ARG_T(parts), ARG_I(count), ARG_I(each), ARG_I(kind));
    tensor y = total(r, parts, (tensor){0}, (tensor){0}, 1.0 / (double)count);
    tape_push(r, &(tape_step){.back = difference_back, .in = {x}, .out = y, .saved = {target}, .i = {kind}});
    return y;
}

static void difference_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    int64_t count = tensor_count(&x), each, n = parts_of(count, 1024, &each);
    LAUNCH(r, "loss:difference_back", work_rows(n, 3.0 * (double)count, 12.0 * (double)count), ARG_T(x),
           ARG_T(s->saved[0]), ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(count), ARG_I(each), ARG_I(s->i[0]),
           ARG_I(add));
}

tensor op_l1(run *r, tensor x, tensor target)
{
    return difference(r, x, target, LOSS_L1);
}

tensor op_l2(run *r, tensor x, tensor target)
{
    return difference(r, x, target, LOSS_L2);
}

tensor op_logit_laplace(run *r, tensor x, tensor target)
{
    int64_t c = last_of(&target), count = tensor_count(&target), each, n = parts_of(rows_of(&target), 64, &each);
    REQUIRE(r, last_of(&x) == 2 * c && tensor_count(&x) == 2 * count);
    tensor parts = TENSOR(r, DTYPE_F32, n);
    LAUNCH(r, "loss:logit_laplace", work_rows(n, 16.0 * (double)count, 12.0 * (double)count), ARG_T(x), ARG_T(target),
           ARG_T(parts), ARG_I(rows_of(&target)), ARG_I(each), ARG_I(c));
    tensor y = total(r, parts, (tensor){0}, (tensor){0}, 1.0 / (double)count);
    tape_push(r, &(tape_step){.back = logit_laplace_back, .in = {x}, .out = y, .saved = {target}});
    return y;
}

static void logit_laplace_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor dx = tape_gradient_of(t, s->in[0], &add);
    int64_t count = tensor_count(&s->saved[0]);
    LAUNCH(r, "loss:logit_laplace_back", work_each(count, 16, 20), ARG_T(s->in[0]), ARG_T(s->saved[0]),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(count), ARG_I(last_of(&s->saved[0])), ARG_I(add));
}

tensor op_kl_uniform(run *r, tensor logits)
{
    int64_t n = rows_of(&logits), k = last_of(&logits);
    tensor rows = TENSOR(r, DTYPE_F32, n), sums = TENSOR(r, DTYPE_F32, n, 2), means = TENSOR(r, DTYPE_F32, n);
    LAUNCH(r, "loss:kl_uniform", work_rows(n, 12.0 * (double)(n * k), 4.0 * (double)(n * k)), ARG_T(logits),
           ARG_T(rows), ARG_T(sums), ARG_T(means), ARG_I(k));
    tensor y = total(r, rows, (tensor){0}, (tensor){0}, 1.0 / (double)n);
    tape_push(r, &(tape_step){.back = kl_uniform_back, .in = {logits}, .out = y, .saved = {sums, means}});
    return y;
}

static void kl_uniform_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "loss:kl_uniform_back", work_rows(rows_of(&x), 6 * count, 8 * count), ARG_T(x), ARG_T(s->saved[0]),
           ARG_T(s->saved[1]), ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(rows_of(&x)), ARG_I(last_of(&x)),
           ARG_I(add));
}

tensor op_usage_entropy(run *r, tensor logits)
{
    int64_t n = rows_of(&logits), k = last_of(&logits), each, n_parts = parts_of(n, 1, &each);
    double count = (double)(n * k);
    tensor sums = TENSOR(r, DTYPE_F32, n, 2), parts = TENSOR(r, DTYPE_F32, n_parts, k), use = TENSOR(r, DTYPE_F32, k);
    tensor logs = TENSOR(r, DTYPE_F32, k), y = TENSOR(r, DTYPE_F32, 1);
    LAUNCH(r, "loss:log_sums", work_rows(n, 6 * count, 4 * count), ARG_T(logits), ARG_T(sums), ARG_I(k));
    LAUNCH(r, "loss:usage", work_columns(r, k, n_parts, 6 * count, 4 * count), ARG_T(logits), ARG_T(sums), ARG_T(parts),
           ARG_I(n), ARG_I(k), ARG_I(each));
    sum_rows(r, use, parts, n_parts, k, 0, 0);
    op_sum_ranks(r, use);
    LAUNCH(r, "loss:usage_entropy", work_rows(1, 0, 0), ARG_T(use), ARG_T(logs), ARG_T(y), ARG_I(n * ranks_size()),
           ARG_I(k));
    tape_push(r, &(tape_step){.back = usage_entropy_back, .in = {logits}, .out = y, .saved = {sums, logs}});
    return y;
}

static void usage_entropy_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    double count = (double)tensor_count(&x);
    LAUNCH(r, "loss:usage_entropy_back", work_rows(rows_of(&x), 10 * count, 8 * count), ARG_T(x), ARG_T(s->saved[0]),
           ARG_T(s->saved[1]), ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(rows_of(&x)), ARG_I(last_of(&x)),
           ARG_I(add));
}

/* mean max(shift + scale x, least) */
static tensor mean_above(run *r, tensor x, float shift, float scale, float least)
{
    int64_t count = tensor_count(&x), each, n = parts_of(count, 1024, &each);
    tensor parts = TENSOR(r, DTYPE_F32, n);
    LAUNCH(r, "loss:mean_parts", work_rows(n, 3.0 * (double)count, 4.0 * (double)count), ARG_T(x), ARG_T(parts),
           ARG_I(count), ARG_I(each), ARG_F(shift), ARG_F(scale), ARG_F(least));
    tensor y = total(r, parts, (tensor){0}, (tensor){0}, 1.0 / (double)count);
    tape_push(r, &(tape_step){.back = mean_back, .in = {x}, .out = y, .f = {shift, scale, least}});
    return y;
}

static void mean_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor x = s->in[0], dx = tape_gradient_of(t, x, &add);
    int64_t count = tensor_count(&x), each, n = parts_of(count, 1024, &each);
    LAUNCH(r, "loss:mean_back", work_rows(n, 4.0 * (double)count, 8.0 * (double)count), ARG_T(x),
           ARG_T(tape_gradient(t, s->out)), ARG_T(dx), ARG_I(count), ARG_I(each), ARG_F(s->f[0]), ARG_F(s->f[1]),
           ARG_F(s->f[2]), ARG_I(add));
}

tensor op_mean(run *r, tensor x)
{
    return mean_above(r, x, 0, 1, -FLT_MAX);
}

tensor op_hinge(run *r, tensor x, float sign)
{
    return mean_above(r, x, 1, -sign, 0);
}

balance op_balance(run *r, tensor y, tensor x, const conv *c, float share, float most)
{
    balance m = {tensor_like(r, &y, last_of(&y)), tensor_like(r, &y, last_of(&y)), TENSOR(r, DTYPE_F32, 1)};
    op_repeat(r, m.a, y);
    op_repeat(r, m.b, y);
    op_fill(r, m.weight, 0);
    tape_push(r, &(tape_step){.back = no_back, .in = {y}, .out = m.b}); /* makes b's gradient wanted */
    tape_push(
        r, &(tape_step){
               .back = balance_back, .in = {y, m.b}, .out = m.a, .saved = {x, m.weight}, .op = c, .f = {share, most}});
    return m;
}

static void no_back(run *r, tape *t, const tape_step *s)
{
    (void)r, (void)t, (void)s; /* balance_back has taken what arrived */
}

static void balance_back(run *r, tape *t, const tape_step *s)
{
    const conv *c = s->op;
    tensor y = s->in[0], x = s->saved[0], weight = s->saved[1];
    tensor dy[] = {tape_gradient(t, s->out), tape_gradient(t, s->in[1])};
    if (!dy[1].buf) {
        gradient_add(r, t, y, dy[0]);
        return;
    }
    const grids g = {(int)x.shape[0], (int)y.shape[1], (int)y.shape[2], (int)x.shape[1],
                     (int)x.shape[2], c->kernel,       c->stride,       c->pad};
    tensor squares = TENSOR(r, DTYPE_F32, 2), dw = TENSOR(r, DTYPE_F32, c->out, c->kernel * c->kernel * c->in);
    op_fill(r, squares, 0);
    for (int i = 0; i < 2 && !run_failed(r); i++) {
        weight_gradient(r, dy[i], x, false, &g, dw, 0);
        op_sum_squares(r, tensor_rows(squares, i, 1), dw);
    }
    LAUNCH(r, "loss:balance_weight", ((work){.global = {1}}), ARG_T(squares), ARG_T(weight), ARG_F(s->f[0]),
           ARG_F(s->f[1]));
    int add;
    tensor dx = tape_gradient_of(t, y, &add);
    LAUNCH(r, "loss:balance_back", work_blocks(tensor_count(&y), 2, 16), ARG_T(dy[0]), ARG_T(dy[1]), ARG_T(weight),
           ARG_T(dx), ARG_I(tensor_count(&y)), ARG_I(add));
}
