/* What models that fill masked cells have, against references: values, gradients, and a step's choice. */
#include <math.h>
#include <stdlib.h>

#include "ops_cases_gradient.h"

typedef struct masked_case {
    const shape *s;
    float *x, *w, *b;
    tensor tx, tw, tb;
} masked_case;

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

/* The worse of the error of y and of its gradients; nw, nb: numbers of w and b. */
static double error_of(ops_env *v, masked_case *p, tensor (*op)(run *r, void *context),
                       void (*reference)(double *y, void *context), int count, const double *expected[3],
                       const float *c, int nw, int nb)
{
    double *y = doubles(v, count);
    reference(y, p);
    double error = ops_error(v, op(v->r, p), y, count);
    const gradient_case g = {p,
                             op,
                             reference,
                             count,
                             (float *)(uintptr_t)c,
                             false,
                             {{"x", p->tx, p->x, count, expected[0]},
                              {"w", p->tw, p->w, nw, expected[1]},
                              {"b", p->tb, p->b, nb, expected[2]}}};
    return fmax(error, gradient_error(v, &g));
}

/* ---- modulation: x[b,t,d], w[b,2d] ---- */

static tensor modulate_op(run *r, void *context)
{
    const masked_case *p = context;
    return op_modulate(r, p->tx, p->tw);
}

static void modulate_reference(double *y, void *context)
{
    const masked_case *p = context;
    int d = p->s->d;
    for (int i = 0; i < p->s->b * p->s->t * d; i++) {
        const float *m = p->w + i / d / p->s->t * 2 * d + i % d;
        y[i] = p->x[i] * (1.0 + m[0]) + m[d];
    }
}

double check_modulate(ops_env *v, const shape *s)
{
    int count = s->b * s->t * s->d, nw = 2 * s->b * s->d;
    masked_case p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, nw)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, s->d), p.x);
    p.tw = ops_input(v, s, SHAPE(s->b, 2 * s->d), p.w);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *dw = doubles(v, nw);
    for (int i = 0; i < count; i++) {
        int at = i / s->d / s->t * 2 * s->d + i % s->d;
        dx[i] = c[i] * (1.0 + p.w[at]);
        dw[at] += (double)c[i] * p.x[i];
        dw[at + s->d] += c[i];
    }
    return error_of(v, &p, modulate_op, modulate_reference, count, (const double *[]){dx, dw, NULL}, c, nw, 0);
}

/* ---- global response norm: x[b,t,d], gamma and beta [d] ---- */

static tensor response_op(run *r, void *context)
{
    const masked_case *p = context;
    return op_global_response_norm(r, p->tx, p->tw, p->tb);
}

/* g[d] of a picture x[t,d], and their mean. */
static double lengths(double *g, const float *x, int t, int d)
{
    double mean = 0;
    for (int k = 0; k < d; k++) {
        g[k] = 0;
        for (int i = 0; i < t; i++)
            g[k] += (double)x[i * d + k] * x[i * d + k];
        g[k] = sqrt(g[k]);
        mean += g[k] / d;
    }
    return mean;
}

static void response_reference(double *y, void *context)
{
    const masked_case *p = context;
    int t = p->s->t, d = p->s->d;
    double *g = malloc((size_t)d * sizeof *g);
    for (int b = 0; g && b < p->s->b; b++) {
        double mean = lengths(g, p->x + b * t * d, t, d);
        for (int i = b * t * d; i < (b + 1) * t * d; i++)
            y[i] = p->x[i] + p->w[i % d] * p->x[i] * g[i % d] / (mean + 1e-6) + p->b[i % d];
    }
    free(g);
}

double check_response_norm(ops_env *v, const shape *s)
{
    int t = s->t, d = s->d, count = s->b * t * d;
    masked_case p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, d), .b = ops_numbers(v, d)};
    p.tx = ops_input(v, s, SHAPE(s->b, t, d), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(d), p.w);
    p.tb = ops_tensor(v, DTYPE_F32, SHAPE(d), p.b);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *dw = doubles(v, d), *db = doubles(v, d), *g = doubles(v, d), *u = doubles(v, d);
    for (int b = 0; b < s->b; b++) {
        const float *x = p.x + b * t * d, *cb = c + b * t * d;
        double m = lengths(g, x, t, d) + 1e-6, weighted = 0;
        for (int k = 0; k < d; k++) { /* u: the gradient of n = g / m */
            double sum = 0;
            for (int i = 0; i < t; i++) {
                sum += (double)cb[i * d + k] * x[i * d + k];
                db[k] += cb[i * d + k];
            }
            dw[k] += sum * g[k] / m;
            u[k] = sum * p.w[k];
            weighted += u[k] * g[k] / d;
        }
        for (int i = 0; i < t * d; i++) {
            int k = i % d;
            double dg = u[k] / m - weighted / (m * m);
            dx[b * t * d + i] = cb[i] * (1 + p.w[k] * g[k] / m) + dg * x[i] / g[k];
        }
    }
    return error_of(v, &p, response_op, response_reference, count, (const double *[]){dx, dw, db}, c, d, d);
}

/* ---- depthwise convolution: x[b,h,w,c], weights [c,kernel,kernel] ---- */

static tensor depthwise_op(run *r, void *context)
{
    const masked_case *p = context;
    return op_depthwise_conv2d(r, p->tx, p->tw);
}

/* For each pixel and tap that lies inside: y's element, x's, w's. */
typedef void depthwise_tap(void *to, int y, int x, int w);

static void each_tap(const shape *s, depthwise_tap *f, void *to)
{
    int half = s->kernel / 2;
    for (int i = 0; i < s->b * s->h * s->w * s->c; i++)
        for (int tap = 0; tap < s->kernel * s->kernel; tap++) {
            int c = i % s->c, pixel = i / s->c, px = pixel % s->w, py = pixel / s->w % s->h;
            int dx = tap % s->kernel - half, dy = tap / s->kernel - half;
            if (px + dx >= 0 && px + dx < s->w && py + dy >= 0 && py + dy < s->h)
                f(to, i, i + (dy * s->w + dx) * s->c, c * s->kernel * s->kernel + tap);
        }
}

typedef struct depthwise_sums {
    const masked_case *p;
    const float *c;
    double *y, *dx, *dw;
} depthwise_sums;

static void add_value(void *to, int y, int x, int w)
{
    depthwise_sums *k = to;
    k->y[y] += (double)k->p->x[x] * k->p->w[w];
}

static void add_gradients(void *to, int y, int x, int w)
{
    depthwise_sums *k = to;
    k->dx[x] += (double)k->c[y] * k->p->w[w];
    k->dw[w] += (double)k->c[y] * k->p->x[x];
}

static void depthwise_reference(double *y, void *context)
{
    const masked_case *p = context;
    depthwise_sums k = {.p = p, .y = y};
    for (int i = 0; i < p->s->b * p->s->h * p->s->w * p->s->c; i++)
        y[i] = 0;
    each_tap(p->s, add_value, &k);
}

double check_depthwise(ops_env *v, const shape *s)
{
    int count = s->b * s->h * s->w * s->c, nw = s->c * s->kernel * s->kernel;
    masked_case p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, nw)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(s->c, s->kernel * s->kernel), p.w);
    depthwise_sums k = {.p = &p, .c = ops_numbers(v, count), .dx = doubles(v, count), .dw = doubles(v, nw)};
    each_tap(s, add_gradients, &k);
    return error_of(v, &p, depthwise_op, depthwise_reference, count, (const double *[]){k.dx, k.dw, NULL}, k.c, nw, 0);
}

/* ---- a step's choice: m cells of k codes, s->first of them wanted masked, s->step: each so many is masked ---- */

/* ln p of what was chosen in a row, with the noise or none. */
static double choose(const float *logits, const float *noise, int k, int *code)
{
    double most = -INFINITY, sum = 0;
    *code = 0;
    for (int i = 0; i < k; i++) {
        most = fmax(most, logits[i]);
        if (logits[i] + noise[i] > logits[*code] + noise[*code])
            *code = i;
    }
    for (int i = 0; i < k; i++)
        sum += exp(logits[i] - most);
    return fmax(logits[*code] - most - log(sum), log(1e-20));
}

double check_fill_masked(ops_env *v, const shape *s)
{
    int m = s->m, k = s->k, masked = 0, wrong = 0, n;
    float *logits = ops_numbers(v, m * k), *noise = ops_numbers(v, m * k), *of_cells = ops_numbers(v, m);
    int32_t *codes = ops_memory(v, (size_t)m, sizeof *codes), *expected = ops_memory(v, (size_t)m, sizeof *expected);
    double *sure = doubles(v, m), temperature = s->bias ? 1.7 : 0;
    for (int i = 0; i < m * k; i++)
        noise[i] = s->bias ? noise[i] : 0;
    for (int i = 0; i < m; i++) {
        int code;
        codes[i] = i % s->step ? i % k : k + 3;
        double known = choose(logits + i * k, noise + i * k, k, &code);
        bool open = codes[i] == k + 3;
        masked += open;
        expected[i] = open ? code : codes[i];
        sure[i] = open ? known + temperature * of_cells[i] : INFINITY;
    }
    n = masked - 1 < s->first ? masked - 1 : s->first;
    n = n > 1 ? n : 1;
    for (int i = 0; s->first >= 0 && i < m; i++) {
        int below = 0;
        for (int j = 0; j < m; j++)
            below += sure[j] < sure[i];
        expected[i] = below < n && sure[i] < INFINITY ? k + 3 : expected[i];
    }
    tensor at = ops_integers(v, SHAPE(m), codes);
    masked_step step = {.mask = k + 3, .wanted = s->first};
    if (s->bias) {
        step.noise = ops_tensor(v, DTYPE_F32, SHAPE(m, k), noise);
        step.noise_of_cells = ops_tensor(v, DTYPE_F32, SHAPE(m), of_cells);
        step.temperature = (float)temperature;
    }
    op_fill_masked(v->r, ops_input(v, s, SHAPE(m, k), logits), at, &step);
    run_read(v->r, at, codes);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < m; i++)
        wrong += codes[i] != expected[i];
    return wrong;
}
