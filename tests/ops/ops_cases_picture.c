/* Ops on pictures and codebooks: values, then gradients. */
#include <math.h>

#include "ops_cases_gradient.h"

typedef struct inputs {
    const shape *s;
    float *x, *k, *v;
    tensor tx, tk, tv;
} inputs;

/* The larger of the errors of y and of the gradient.  rough: where the largest changes there is no derivative. */
static double both(ops_env *v, inputs *p, tensor (*op)(run *, void *), void (*reference)(double *, void *), int count,
                   int n, const double *expected, float *c, bool rough)
{
    double *y = ops_memory(v, (size_t)count, sizeof *y);
    reference(y, p);
    double error = ops_error(v, op(v->r, p), y, count);
    const gradient_case g = {p, op, reference, count, c, rough, {{"x", p->tx, p->x, n, expected}}};
    double gradient = gradient_error(v, &g);
    return error > gradient ? error : gradient;
}

/* ---- attention ---- */

static tensor attention_op(run *r, void *context)
{
    const inputs *p = context;
    return op_self_attention(r, p->tx, p->tk, p->tv);
}

static void attention_reference(double *y, void *context)
{
    const inputs *p = context;
    ref_self_attention(y, p->x, p->k, p->v, p->s->b, p->s->h * p->s->w, p->s->c);
}

/* d(sum c y) of softmax(q k^T / sqrt(d)) v: for each query, dp = c . v, ds = p (dp - sum p dp). */
static void attention_back(double *dq, double *dk, double *dv, const float *c, const inputs *p, double *scores)
{
    int n = p->s->h * p->s->w, d = p->s->c;
    for (int i = 0; i < p->s->b * n; i++) {
        int first = i / n * n;
        double sum = 0, mean = 0, most = -INFINITY;
        for (int j = 0; j < n; j++) {
            scores[j] = 0;
            for (int e = 0; e < d; e++)
                scores[j] += (double)p->x[i * d + e] * p->k[(first + j) * d + e] / sqrt(d);
            most = fmax(most, scores[j]);
        }
        for (int j = 0; j < n; j++)
            sum += scores[j] = exp(scores[j] - most);
        for (int j = 0; j < n; j++) {
            scores[n + j] = 0;
            scores[j] /= sum;
            for (int e = 0; e < d; e++) {
                scores[n + j] += (double)c[i * d + e] * p->v[(first + j) * d + e];
                dv[(first + j) * d + e] += scores[j] * c[i * d + e];
            }
            mean += scores[j] * scores[n + j];
        }
        for (int j = 0; j < n; j++)
            for (int e = 0; e < d; e++) {
                double ds = scores[j] * (scores[n + j] - mean) / sqrt(d);
                dq[i * d + e] += ds * p->k[(first + j) * d + e];
                dk[(first + j) * d + e] += ds * p->x[i * d + e];
            }
    }
}

double check_self_attention(ops_env *v, const shape *s)
{
    int count = s->b * s->h * s->w * s->c;
    inputs p = {.s = s, .x = ops_numbers(v, count), .k = ops_numbers(v, count), .v = ops_numbers(v, count)};
    tensor *to[] = {&p.tx, &p.tk, &p.tv};
    float *from[] = {p.x, p.k, p.v};
    for (int i = 0; i < 3; i++)
        *to[i] = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), from[i]);
    double *y = ops_memory(v, (size_t)count, sizeof *y), *d = ops_memory(v, 3 * (size_t)count, sizeof *d);
    attention_reference(y, &p);
    double error = ops_error(v, attention_op(v->r, &p), y, count);
    float *c = ops_numbers(v, count);
    attention_back(d, d + count, d + 2 * count, c, &p, ops_memory(v, 2 * (size_t)(s->h * s->w), sizeof *d));
    const bool one = s->h * s->w == 1; /* a constant distribution: what is left is rounding */
    const gradient_case g = {&p,
                             attention_op,
                             attention_reference,
                             count,
                             c,
                             one,
                             {{"q", p.tx, p.x, count, one ? NULL : d},
                              {"k", p.tk, p.k, count, one ? NULL : d + count},
                              {"v", p.tv, p.v, count, d + 2 * count}}};
    double gradient = gradient_error(v, &g);
    return error > gradient ? error : gradient;
}

/* Some queries at a time. */
double check_self_attention_parts(ops_env *v, const shape *s)
{
    const tuning saved = v->d->tune;
    v->d->tune.strip = 0;
    double error = check_self_attention(v, s);
    v->d->tune = saved;
    return error;
}

/* ---- codebooks ---- */

double check_distances(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->m * s->d), *table = ops_numbers(v, s->k * s->d);
    tensor t = ops_weight(v, s, s->k, s->d, table);
    tensor y = op_distances(v->r, ops_input(v, s, SHAPE(s->m, s->d), x), t);
    double *reference = ops_memory(v, (size_t)(s->m * s->k), sizeof *reference);
    ref_distances(reference, x, table, s->m, s->k, s->d);
    return ops_error(v, y, reference, s->m * s->k);
}

/* ---- sizes ---- */

static tensor max_pool_op(run *r, void *context)
{
    const inputs *p = context;
    return op_max_pool(r, p->tx, p->s->factor);
}

static void max_pool_reference(double *y, void *context)
{
    const inputs *p = context;
    ref_max_pool(y, p->x, p->s->b, p->s->h, p->s->w, p->s->c, p->s->factor);
}

double check_max_pool(ops_env *v, const shape *s)
{
    int n = s->b * s->h * s->w * s->c, f = s->factor, count = n / f / f;
    inputs p = {.s = s, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    float *c = ops_numbers(v, count);
    double *y = ops_memory(v, (size_t)count, sizeof *y), *dx = ops_memory(v, (size_t)n, sizeof *dx);
    max_pool_reference(y, &p);
    for (int i = 0; i < n; i++) {
        int k = i % s->c, column = i / s->c % s->w, row = i / s->c / s->w;
        int to = (row / f * (s->w / f) + column / f) * s->c + k;
        dx[i] = y[to] == p.x[i] ? c[to] : 0;
    }
    return both(v, &p, max_pool_op, max_pool_reference, count, n, dx, c, true);
}

static tensor mean_pool_op(run *r, void *context)
{
    const inputs *p = context;
    return op_mean_pool(r, p->tx, p->s->factor);
}

static void mean_pool_reference(double *y, void *context)
{
    const inputs *p = context;
    ref_mean_pool(y, p->x, p->s->b, p->s->h, p->s->w, p->s->c, p->s->factor);
}

double check_mean_pool(ops_env *v, const shape *s)
{
    int n = s->b * s->h * s->w * s->c, f = s->factor, count = n / f / f;
    inputs p = {.s = s, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    float *c = ops_numbers(v, count);
    double *dx = ops_memory(v, (size_t)n, sizeof *dx);
    for (int i = 0; i < n; i++) {
        int column = i / s->c % s->w, row = i / s->c / s->w;
        dx[i] = (double)c[(row / f * (s->w / f) + column / f) * s->c + i % s->c] / (f * f);
    }
    return both(v, &p, mean_pool_op, mean_pool_reference, count, n, dx, c, false);
}

/* ---- a step of ancestral sampling ---- */

double check_ddpm_step(ops_env *v, const shape *s)
{
    const ddpm_step k = {.guidance = 3,
                         .clean_x = 1.25f,
                         .clean_o = -0.75f,
                         .clamp = 0.8f,
                         .by_clean = 0.3f,
                         .by_x = 0.6f,
                         .noise = 0.2f,
                         .log_least = -4,
                         .log_most = -1.5f};
    int n = s->m * s->d, wide = s->k ? 2 * s->d : s->d, all = s->m * wide;
    float *x = ops_numbers(v, n), *said = ops_numbers(v, s->b * all), *noise = ops_numbers(v, n);
    double *y = ops_memory(v, (size_t)n, sizeof *y), *clean = ops_memory(v, (size_t)n, sizeof *clean);
    for (int i = 0; i < n; i++) {
        const float *c = said + i / s->d * wide + i % s->d;
        double o = s->b > 1 ? c[all] + 3.0 * ((double)c[0] - c[all]) : c[0], f = s->k ? (c[s->d] + 1.0) / 2 : 0;
        clean[i] = fmin(fmax(1.25 * x[i] - 0.75 * o, -(double)k.clamp), (double)k.clamp);
        double scale = s->k ? exp((f * -1.5 + (1 - f) * -4) / 2) : (double)k.noise;
        y[i] = (double)k.by_clean * clean[i] + (double)k.by_x * x[i] + (s->factor ? scale * noise[i] : 0);
    }
    tensor tn = s->factor ? ops_input(v, s, SHAPE(s->m, s->d), noise) : (tensor){0}, seems;
    tensor next = op_ddpm_step(v->r, ops_input(v, s, SHAPE(s->m, s->d), x),
                               ops_input(v, s, SHAPE(s->b, s->m, wide), said), tn, &k, &seems);
    double error = ops_error(v, next, y, n), other = ops_error(v, seems, clean, n);
    return error > other ? error : other;
}

static tensor haar_op(run *r, void *context)
{
    const inputs *p = context;
    return op_inverse_haar(r, p->tx);
}

static void haar_reference(double *y, void *context)
{
    const inputs *p = context;
    ref_inverse_haar(y, p->x, p->s->b, p->s->h, p->s->w, p->s->c);
}

double check_inverse_haar(ops_env *v, const shape *s)
{
    int n = s->b * s->h * s->w * s->c * 4;
    inputs p = {.s = s, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, 4 * s->c), p.x);
    float *c = ops_numbers(v, n), *own = p.x;
    double *y = ops_memory(v, (size_t)n, sizeof *y), *dx = ops_memory(v, (size_t)n, sizeof *dx);
    float *unit = ops_memory(v, (size_t)n, sizeof *unit);
    p.x = unit;
    for (int i = 0; i < n; i++) { /* linear: each element's effect alone */
        unit[i] = 1;
        haar_reference(y, &p);
        unit[i] = 0;
        for (int k = 0; k < n; k++)
            dx[i] += y[k] * c[k];
    }
    p.x = own;
    return both(v, &p, haar_op, haar_reference, n, n, dx, c, false);
}

/* ---- channels ---- */

static tensor join_op(run *r, void *context)
{
    const inputs *p = context;
    return op_join(r, p->tx, p->tk);
}

static void join_reference(double *y, void *context)
{
    const inputs *p = context;
    ref_join(y, p->x, p->k, p->s->b * p->s->h * p->s->w, p->s->c, p->s->d);
}

double check_join(ops_env *v, const shape *s)
{
    int rows = s->b * s->h * s->w, n = rows * s->c, m = rows * s->d, all = s->c + s->d;
    inputs p = {.s = s, .x = ops_numbers(v, n), .k = ops_numbers(v, m)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    p.tk = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->d), p.k);
    double *y = ops_memory(v, (size_t)(n + m), sizeof *y), *da = ops_memory(v, (size_t)n, sizeof *da);
    double *db = ops_memory(v, (size_t)m, sizeof *db);
    float *c = ops_numbers(v, n + m);
    for (int i = 0; i < n + m; i++)
        *(i % all < s->c ? &da[i / all * s->c + i % all] : &db[i / all * s->d + i % all - s->c]) = (double)c[i];
    join_reference(y, &p);
    double error = ops_error(v, join_op(v->r, &p), y, n + m);
    const gradient_case g = {
        &p, join_op, join_reference, n + m, c, false, {{"a", p.tx, p.x, n, da}, {"b", p.tk, p.k, m, db}}};
    double gradient = gradient_error(v, &g);
    return error > gradient ? error : gradient;
}
