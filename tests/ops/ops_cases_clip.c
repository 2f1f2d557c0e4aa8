/* The ops that CLIP brought: L2 normalisation, positions, means of rows, a learned scale.  Values and gradients. */
#include <math.h>

#include "ops_cases_gradient.h"

/* What the functions of a gradient_case see; each op uses some of it. */
typedef struct rows {
    const shape *s;
    int count; /* elements of the output */
    float *x, *first, *w;
    tensor tx, tfirst, tw;
} rows;

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

/* The worse of the value's error and of the gradients'. */
static double check(ops_env *v, const gradient_case *g)
{
    double *y = doubles(v, g->count);
    g->reference(y, g->context);
    double forward = ops_error(v, g->op(v->r, g->context), y, g->count);
    return fmax(forward, gradient_error(v, g));
}

static tensor l2_op(run *r, void *context)
{
    return op_l2_normalise(r, ((rows *)context)->tx, 1e-12f);
}

static double length_of(const float *x, int d)
{
    double sum = 0;
    for (int i = 0; i < d; i++)
        sum += (double)x[i] * x[i];
    return sqrt(sum);
}

static void l2_reference(double *y, void *context)
{
    const rows *p = context;
    int d = p->s->d;
    for (int i = 0; i < p->count; i++)
        y[i] = p->x[i] / length_of(p->x + i / d * d, d);
}

double check_l2_normalise(ops_env *v, const shape *s)
{
    int n = s->m * s->d, d = s->d;
    rows p = {.s = s, .count = n, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->m, d), p.x);
    float *c = ops_numbers(v, n);
    double *dx = doubles(v, n);
    for (int r = 0; r < s->m; r++) {
        const float *x = p.x + r * d;
        double length = length_of(x, d), product = 0;
        for (int i = 0; i < d; i++)
            product += c[r * d + i] * x[i] / length;
        for (int i = 0; i < d; i++)
            dx[r * d + i] = (c[r * d + i] - x[i] / length * product) / length;
    }
    /* of one element the sign is left: all of the gradient is rounding */
    const gradient_case g = {&p, l2_op, l2_reference, n, c, d == 1, {{"x", p.tx, p.x, n, d > 1 ? dx : NULL}}};
    return check(v, &g);
}

static tensor position_op(run *r, void *context)
{
    const rows *p = context;
    return op_add_position(r, p->tx, p->tfirst, p->tw);
}

static void position_reference(double *y, void *context)
{
    const rows *p = context;
    int d = p->s->d, t = p->s->t, first = p->s->factor, n = t + first;
    for (int b = 0; b < p->s->b; b++)
        for (int i = 0; i < n; i++)
            for (int j = 0; j < d; j++)
                *y++ = (double)p->w[i * d + j] + (i < first ? p->first[j] : p->x[(b * t + i - first) * d + j]);
}

double check_add_position(ops_env *v, const shape *s)
{
    int d = s->d, t = s->t, first = s->factor, n = t + first, in = s->b * t * d;
    rows p = {.s = s, .count = s->b * n * d, .x = ops_numbers(v, in), .w = ops_numbers(v, n * d)};
    p.first = ops_numbers(v, d);
    p.tx = ops_input(v, s, SHAPE(s->b, t, d), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(n, d), p.w);
    if (first)
        p.tfirst = ops_tensor(v, DTYPE_F32, SHAPE(d), p.first);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, in), *dw = doubles(v, n * d), *dfirst = doubles(v, d);
    for (int i = 0; i < p.count; i++) {
        int row = i / d, at = row % n - first;
        dw[row % n * d + i % d] += c[i];
        if (at < 0)
            dfirst[i % d] += c[i];
        else
            dx[(row / n * t + at) * d + i % d] += c[i];
    }
    const gradient_case g = {
        &p,
        position_op,
        position_reference,
        p.count,
        c,
        false,
        {{"x", p.tx, p.x, in, dx}, {"position", p.tw, p.w, n * d, dw}, {"first", p.tfirst, p.first, d, dfirst}}};
    return check(v, &g);
}

static tensor mean_op(run *r, void *context)
{
    return op_mean_rows(r, ((rows *)context)->tx);
}

static void mean_reference(double *y, void *context)
{
    const rows *p = context;
    int d = p->s->d, t = p->s->t;
    for (int i = 0; i < p->count; i++) {
        y[i] = 0;
        for (int k = 0; k < t; k++)
            y[i] += (double)p->x[(i / d * t + k) * d + i % d] / t;
    }
}

double check_mean_rows(ops_env *v, const shape *s)
{
    int n = s->b * s->t * s->d;
    rows p = {.s = s, .count = s->b * s->d, .x = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, s->d), p.x);
    float *c = ops_numbers(v, p.count);
    double *dx = doubles(v, n);
    for (int i = 0; i < n; i++)
        dx[i] = (double)c[i / s->d / s->t * s->d + i % s->d] / s->t;
    const gradient_case g = {&p, mean_op, mean_reference, p.count, c, false, {{"x", p.tx, p.x, n, dx}}};
    return check(v, &g);
}

#define MOST 0.75f

static tensor scale_op(run *r, void *context)
{
    const rows *p = context;
    return op_scale_exp(r, p->tx, p->tw, MOST);
}

static void scale_reference(double *y, void *context)
{
    const rows *p = context;
    for (int i = 0; i < p->count; i++)
        y[i] = exp(fmin(*p->w, MOST)) * p->x[i];
}

double check_scale_exp(ops_env *v, const shape *s)
{
    int n = s->m * s->n;
    rows p = {.s = s, .count = n, .x = ops_numbers(v, n), .w = ops_numbers(v, 1)};
    *p.w = s->factor ? 1.5f : 0.5f;
    p.tx = ops_input(v, s, SHAPE(s->m, s->n), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(1), p.w);
    float *c = ops_numbers(v, n);
    double *dx = doubles(v, n), ds = 0, scale = exp(fmin(*p.w, MOST));
    for (int i = 0; i < n; i++) {
        dx[i] = scale * c[i];
        ds += s->factor ? 0 : scale * c[i] * p.x[i];
    }
    const gradient_case g = {
        &p, scale_op, scale_reference, n, c, false, {{"x", p.tx, p.x, n, dx}, {"log_scale", p.tw, p.w, 1, &ds}}};
    return check(v, &g);
}
