/* Losses, Gumbel-Softmax and the optimiser: values and gradients. */
#include <math.h>

#include "ops/tape.h"
#include "ops_cases_gradient.h"
#include "ref_back.h"

typedef struct loss {
    const shape *s;
    float *x, *target;
    int32_t *targets;
    tensor tx, ttarget, ttargets, table;
    gumbel g;
    double (*reference)(double *dx, const struct loss *p);
    tensor (*op)(run *r, const struct loss *p);
} loss;

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

static tensor loss_op(run *r, void *context)
{
    const loss *p = context;
    return p->op(r, p);
}

static void loss_reference(double *y, void *context)
{
    const loss *p = context;
    *y = p->reference(NULL, p);
}

/* The worse of the loss's error and of its gradient's with respect to x[n]. */
static double check_loss(ops_env *v, loss *p, int n, bool rough)
{
    float *c = ops_numbers(v, 1);
    double *dx = doubles(v, n), value = p->reference(dx, p);
    for (int i = 0; i < n; i++)
        dx[i] *= *c;
    double forward = ops_error(v, p->op(v->r, p), &value, 1);
    const gradient_case g = {p, loss_op, loss_reference, 1, c, rough, {{"x", p->tx, p->x, n, dx}}};
    return fmax(forward, gradient_error(v, &g));
}

static tensor cross_entropy_op(run *r, const loss *p)
{
    return op_cross_entropy(r, p->tx, p->ttargets, (float)p->s->factor / 100);
}

static double cross_entropy_reference(double *dx, const loss *p)
{
    return ref_cross_entropy(dx, p->x, p->targets, (float)p->s->factor / 100, p->s->m, p->s->k);
}

/* Every fifth row has no target, of two rows neither; s->factor: smoothing in percent. */
double check_cross_entropy(ops_env *v, const shape *s)
{
    loss p = {.s = s, .op = cross_entropy_op, .reference = cross_entropy_reference};
    p.x = ops_numbers(v, s->m * s->k);
    p.targets = ops_memory(v, (size_t)s->m, sizeof *p.targets);
    for (int i = 0; i < s->m; i++)
        p.targets[i] = i % 5 == 1 || s->m == 2 ? -1
                       : i % 3                 ? (int32_t)((unsigned)i * 2654435761u % (unsigned)s->k)
                                               : s->k - 1;
    for (int i = 0; i < s->m * s->k; i++)
        p.x[i] = 5 * p.x[i] + 100; /* exp overflows without the subtraction of the maximum */
    p.tx = ops_input(v, s, SHAPE(s->m, s->k), p.x);
    p.ttargets = ops_integers(v, SHAPE(s->m), p.targets);
    return check_loss(v, &p, s->m * s->k, false);
}

static tensor l1_op(run *r, const loss *p)
{
    return op_l1(r, p->tx, p->ttarget);
}

static double l1_reference(double *dx, const loss *p)
{
    return ref_l1(dx, p->x, p->target, p->s->m * p->s->n);
}

static tensor l2_op(run *r, const loss *p)
{
    return op_l2(r, p->tx, p->ttarget);
}

static double l2_reference(double *dx, const loss *p)
{
    return ref_l2(dx, p->x, p->target, p->s->m * p->s->n);
}

static double check_difference(ops_env *v, const shape *s, loss p, bool rough)
{
    int n = s->m * s->n;
    p.s = s;
    p.x = ops_numbers(v, n);
    p.target = ops_numbers(v, n);
    p.target[n / 2] = p.x[n / 2]; /* where |x - t| has no derivative, it is 0 */
    p.tx = ops_input(v, s, SHAPE(s->m, s->n), p.x);
    p.ttarget = ops_input(v, s, SHAPE(s->m, s->n), p.target);
    return check_loss(v, &p, n, rough);
}

double check_l1(ops_env *v, const shape *s)
{
    return check_difference(v, s, (loss){.op = l1_op, .reference = l1_reference}, true);
}

double check_l2(ops_env *v, const shape *s)
{
    return check_difference(v, s, (loss){.op = l2_op, .reference = l2_reference}, false);
}

static tensor logit_laplace_op(run *r, const loss *p)
{
    return op_logit_laplace(r, p->tx, p->ttarget);
}

static double logit_laplace_reference(double *dx, const loss *p)
{
    return ref_logit_laplace(dx, p->x, p->target, p->s->b * p->s->h * p->s->w, p->s->c);
}

/* Targets as the paper maps them: 0.1 + 0.8 x. */
double check_logit_laplace(ops_env *v, const shape *s)
{
    int n = s->b * s->h * s->w * s->c;
    loss p = {.s = s, .op = logit_laplace_op, .reference = logit_laplace_reference};
    p.x = ops_numbers(v, 2 * n);
    p.target = ops_numbers(v, n);
    for (int i = 0; i < n; i++)
        p.target[i] = 0.1f + 0.8f / (1 + expf(-p.target[i]));
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, 2 * s->c), p.x);
    p.ttarget = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.target);
    return check_loss(v, &p, 2 * n, false);
}

static tensor kl_uniform_op(run *r, const loss *p)
{
    return op_kl_uniform(r, p->tx);
}

static double kl_uniform_reference(double *dx, const loss *p)
{
    return ref_kl_uniform(dx, p->x, p->s->m, p->s->k);
}

static tensor usage_entropy_op(run *r, const loss *p)
{
    return op_usage_entropy(r, p->tx);
}

static double usage_entropy_reference(double *dx, const loss *p)
{
    return ref_usage_entropy(dx, p->x, p->s->m, p->s->k);
}

static double check_rows(ops_env *v, const shape *s, loss p)
{
    p.s = s;
    p.x = ops_numbers(v, s->m * s->k);
    for (int i = 0; i < s->m * s->k; i++)
        p.x[i] = 3 * p.x[i] + 100;
    p.tx = ops_input(v, s, SHAPE(s->m, s->k), p.x);
    return check_loss(v, &p, s->m * s->k, false);
}

double check_kl_uniform(ops_env *v, const shape *s)
{
    return check_rows(v, s, (loss){.op = kl_uniform_op, .reference = kl_uniform_reference});
}

double check_usage_entropy(ops_env *v, const shape *s)
{
    return check_rows(v, s, (loss){.op = usage_entropy_op, .reference = usage_entropy_reference});
}

static tensor gumbel_op(run *r, void *context)
{
    const loss *p = context;
    return op_gumbel_softmax(r, p->tx, &p->g);
}

static void gumbel_reference(double *y, void *context)
{
    const loss *p = context;
    ref_gumbel_softmax(y, p->x, &p->g, p->s->b, p->s->m, p->s->k);
}

/* s->b pictures of s->m rows of s->k; s->factor: hard. */
double check_gumbel_softmax(ops_env *v, const shape *s)
{
    int n = s->b * s->m * s->k;
    loss p = {.s = s,
              .x = ops_numbers(v, n),
              .g = {.tau = 0.7f, .hard = s->factor, .seed = 7ull << 33 | 5, .stream = 11, .step = 3}};
    p.tx = ops_input(v, s, SHAPE(s->b, s->m, s->k), p.x);
    float *c = ops_numbers(v, n);
    double *y = doubles(v, n), *dx = doubles(v, n), *noise = doubles(v, n);
    ref_gumbel_noise(noise, &p.g, s->b, s->m * s->k);
    double error = ops_error(v, op_gumbel_noise(v->r, SHAPE(s->b, s->m, s->k), &p.g), noise, n);
    gumbel_reference(y, &p);
    error = fmax(error, ops_error(v, gumbel_op(v->r, &p), y, n));
    gumbel soft = p.g;
    soft.hard = false;
    ref_gumbel_softmax(y, p.x, &soft, s->b, s->m, s->k);
    ref_softmax_back(dx, y, c, 1 / (double)p.g.tau, s->b * s->m, s->k);
    const gradient_case g = {&p, gumbel_op, gumbel_reference, n, c, p.g.hard, {{"logits", p.tx, p.x, n, dx}}};
    return fmax(error, gradient_error(v, &g));
}

static tensor matmul_table_op(run *r, void *context)
{
    const loss *p = context;
    return op_matmul_table(r, p->tx, p->table);
}

static void matmul_table_reference(double *y, void *context)
{
    const loss *p = context;
    for (int i = 0; i < p->s->m; i++)
        for (int j = 0; j < p->s->d; j++, y++) {
            *y = 0;
            for (int c = 0; c < p->s->k; c++)
                *y += (double)p->x[i * p->s->k + c] * p->target[c * p->s->d + j];
        }
}

double check_matmul_table(ops_env *v, const shape *s)
{
    loss p = {.s = s, .x = ops_numbers(v, s->m * s->k), .target = ops_numbers(v, s->k * s->d)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->k), p.x);
    p.table = ops_tensor(v, DTYPE_F32, SHAPE(s->k, s->d), p.target);
    float *c = ops_numbers(v, s->m * s->d);
    double *y = doubles(v, s->m * s->d), *dx = doubles(v, s->m * s->k), *dtable = doubles(v, s->k * s->d);
    matmul_table_reference(y, &p);
    double forward = ops_error(v, matmul_table_op(v->r, &p), y, s->m * s->d);
    for (int i = 0; i < s->m; i++)
        for (int j = 0; j < s->d; j++)
            for (int n = 0; n < s->k; n++) {
                dx[i * s->k + n] += (double)c[i * s->d + j] * p.target[n * s->d + j];
                dtable[n * s->d + j] += (double)c[i * s->d + j] * p.x[i * s->k + n];
            }
    const gradient_case g = {&p,
                             matmul_table_op,
                             matmul_table_reference,
                             s->m * s->d,
                             c,
                             false,
                             {{"x", p.tx, p.x, s->m * s->k, dx}, {"table", p.table, p.target, s->k * s->d, dtable}}};
    return fmax(forward, gradient_error(v, &g));
}

/* Three steps of AdamW on s->n numbers, clipped where s->factor; then the average. */
double check_adamw(ops_env *v, const shape *s)
{
    enum { STEPS = 3 };
    int n = s->n;
    float *x = ops_numbers(v, n), zero = 0;
    double *rx = doubles(v, n), *rm = doubles(v, n), *rv = doubles(v, n), *average = doubles(v, n);
    tensor tx = ops_input(v, s, SHAPE(n), x), tm = ops_tensor(v, DTYPE_F32, SHAPE(n), NULL);
    tensor tv = ops_tensor(v, DTYPE_F32, SHAPE(n), NULL), ta = ops_tensor(v, DTYPE_F32, SHAPE(n), NULL);
    tensor squares = ops_tensor(v, DTYPE_F32, SHAPE(1), &zero);
    op_fill(v->r, tm, 0);
    op_fill(v->r, tv, 0);
    op_fill(v->r, ta, 0.5f);
    for (int i = 0; i < n; i++) {
        rx[i] = x[i];
        average[i] = 0.5;
    }
    for (int step = 1; step <= STEPS; step++) {
        float *gradient = ops_numbers(v, n);
        double sum = 0;
        for (int i = 0; i < n; i++)
            sum += (double)gradient[i] * gradient[i];
        adamw o = {.lr = 0.01f, .beta1 = 0.9f, .beta2 = 0.96f, .eps = 1e-8f, .decay = 0.02f, .step = step};
        o.clip = s->factor ? (float)sqrt(sum) * (step == 2 ? 2 : 0.3f) : 0; /* one step is short enough */
        tensor tg = ops_input(v, s, SHAPE(n), gradient);
        op_fill(v->r, squares, 0);
        op_sum_squares(v->r, squares, tg);
        op_adamw(v->r, tx, tg, tm, tv, s->factor ? squares : (tensor){0}, &o);
        op_ema(v->r, ta, tx, 0.9f);
        ref_adamw(rx, rm, rv, gradient, s->factor && step != 2 ? 0.3 : 1, &o, n);
        for (int i = 0; i < n; i++)
            average[i] = 0.9 * average[i] + 0.1 * rx[i];
        double error = ops_error(v, squares, &sum, 1);
        if (!(error <= 1e-12))
            fail_msg("sum of squares: error %g", error);
    }
    double error = fmax(ops_error(v, tx, rx, n), ops_error(v, ta, average, n));
    return fmax(error, fmax(ops_error(v, tm, rm, n), ops_error(v, tv, rv, n)));
}

/* A sum of squares that isn't finite: nothing changes. */
static void test_adamw_infinite(ops_env *v)
{
    enum { N = 37 };
    float *x = ops_numbers(v, N), *gradient = ops_numbers(v, N), after[N], infinite = INFINITY;
    tensor tx = ops_tensor(v, DTYPE_F32, SHAPE(N), x), tm = ops_tensor(v, DTYPE_F32, SHAPE(N), NULL);
    tensor tv = ops_tensor(v, DTYPE_F32, SHAPE(N), NULL), squares = ops_tensor(v, DTYPE_F32, SHAPE(1), &infinite);
    op_fill(v->r, tm, 1);
    op_fill(v->r, tv, 1);
    gradient[3] = NAN;
    const adamw o = {.lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-8f, .decay = 0.1f, .clip = 1, .step = 1};
    op_adamw(v->r, tx, ops_tensor(v, DTYPE_F32, SHAPE(N), gradient), tm, tv, squares, &o);
    run_read(v->r, tx, after);
    assert_memory_equal(x, after, sizeof after);
    run_read(v->r, tm, after);
    for (int i = 0; i < N; i++)
        assert_true(after[i] == 1);
}

/* Picture i of a batch draws what it draws alone, and another step is another noise. */
static void test_gumbel_streams(ops_env *v)
{
    enum { PER = 35 };
    float all[3 * PER], one[PER];
    gumbel g = {.tau = 1, .seed = 9, .stream = 4, .step = 6};
    run_read(v->r, op_gumbel_noise(v->r, SHAPE(3, PER), &g), all);
    for (uint32_t i = 0; i < 3; i++) {
        g.stream = 4 + i;
        run_read(v->r, op_gumbel_noise(v->r, SHAPE(1, PER), &g), one);
        assert_memory_equal(one, all + i * PER, sizeof one);
    }
    g = (gumbel){.tau = 1, .seed = 9, .stream = 4, .stride = 2, .step = 6}; /* 4, 6 */
    float apart[2 * PER];
    run_read(v->r, op_gumbel_noise(v->r, SHAPE(2, PER), &g), apart);
    assert_memory_equal(apart, all, sizeof one);
    assert_memory_equal(apart + PER, all + 2 * PER, sizeof one);
    g.step++;
    run_read(v->r, op_gumbel_noise(v->r, SHAPE(1, PER), &g), one);
    assert_memory_not_equal(one, all, sizeof one);
}

/* The same gradients to the last bit, twice. */
static void test_same_twice(ops_env *v)
{
    enum { ROWS = 70, D = 40, VOCABULARY = 5 };
    float *table = ops_numbers(v, VOCABULARY * D), *w = ops_numbers(v, D), first[VOCABULARY * D],
          second[VOCABULARY * D];
    int32_t ids[ROWS];
    for (int i = 0; i < ROWS; i++)
        ids[i] = i * i % VOCABULARY;
    tensor tt = ops_tensor(v, DTYPE_F32, SHAPE(VOCABULARY, D), table), ti = ops_integers(v, SHAPE(ROWS), ids);
    norm n = {ops_tensor(v, DTYPE_F32, SHAPE(D), w), ops_tensor(v, DTYPE_F32, SHAPE(D), w), 1e-5f};
    err e = {0};
    tape *t = tape_new(v->r, &e);
    assert_non_null(t);
    for (int i = 0; i < 2; i++) {
        tape_begin(t);
        tape_watch_input(t, tt);
        tensor y = op_cross_entropy(v->r, op_layer_norm(v->r, op_embed(v->r, ti, tt), &n), ti, 0.1f);
        tape_end(t);
        tape_backward(t, y);
        run_read(v->r, tape_gradient(t, tt), i ? second : first);
    }
    tape_free(t);
    assert_memory_equal(first, second, sizeof first);
}

const ops_behaviour ops_learning[] = {
    {"AdamW leaves parameters alone where gradients are infinite", test_adamw_infinite},
    {"Gumbel noise of a picture is its own", test_gumbel_streams},
    {"gradients are the same twice", test_same_twice},
    {0},
};
