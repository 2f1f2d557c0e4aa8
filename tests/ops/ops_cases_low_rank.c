/* Linear layers with low-rank adapters: values and gradients, against the layer whose weight is w + scale b a. */
#include <math.h>

#include "ops/tape.h"
#include "ops_cases_gradient.h"
#include "ref_grad.h"

/* What both functions of a gradient_case see.  s: m rows, n outputs of k inputs, adapters of rank `out` for `groups`
 * parts. */
typedef struct adapted {
    const shape *s;
    float *x, *w, *bias, *residual, *a, *b;
    tensor tx, tr;
    linear l;
    low_rank k;
} adapted;

static tensor op(run *r, void *context)
{
    adapted *p = context;
    if (run_tape(r))
        tape_attach(run_tape(r), p->l.w, &p->k, NULL);
    return p->tr.buf ? op_linear_add(r, p->tx, &p->l, p->tr) : op_linear(r, p->tx, &p->l, p->s->act);
}

/* The part that output o is in. */
static int part_of(const adapted *p, int o)
{
    int i = 0;
    for (int64_t end = p->k.outputs[0]; o >= end; end += p->k.outputs[i])
        i++;
    return i;
}

/* w + scale b a */
static float *whole_weight(ops_env *v, const adapted *p)
{
    const shape *s = p->s;
    float *w = ops_memory(v, (size_t)(s->n * s->k), sizeof *w);
    for (int o = 0; o < s->n; o++)
        for (int i = 0; i < s->k; i++) {
            double sum = 0;
            for (int j = 0; j < s->out; j++)
                sum += (double)p->b[o * s->out + j] * p->a[(part_of(p, o) * s->out + j) * s->k + i];
            w[o * s->k + i] = (float)(p->w[o * s->k + i] + (double)p->k.scale * sum);
        }
    return w;
}

/* da and db of the whole weight's dw. */
static void reference_back(const adapted *p, const double *dw, double *da, double *db)
{
    const shape *s = p->s;
    for (int o = 0; o < s->n; o++)
        for (int j = 0; j < s->out; j++)
            for (int i = 0; i < s->k; i++) {
                int at = (part_of(p, o) * s->out + j) * s->k + i;
                da[at] += (double)p->k.scale * dw[o * s->k + i] * p->b[o * s->out + j];
                db[o * s->out + j] += (double)p->k.scale * dw[o * s->k + i] * p->a[at];
            }
}

static float *scaled(ops_env *v, int n, double scale)
{
    float *x = ops_numbers(v, n);
    for (int i = 0; i < n; i++)
        x[i] *= (float)scale;
    return x;
}

static void prepare(ops_env *v, adapted *p)
{
    const shape *s = p->s;
    p->x = ops_numbers(v, s->m * s->k);
    p->w = scaled(v, s->n * s->k, 1 / sqrt(s->k));
    p->a = scaled(v, s->groups * s->out * s->k, 1 / sqrt(s->k));
    p->b = scaled(v, s->n * s->out, 1 / sqrt(s->out));
    p->tx = ops_input(v, s, SHAPE(s->m, s->k), p->x);
    p->l.w = ops_weight(v, s, s->n, s->k, p->w);
    if (s->bias) {
        p->bias = ops_numbers(v, s->n);
        p->l.b = ops_tensor(v, DTYPE_F32, SHAPE(s->n), p->bias);
    }
    if (s->residual) {
        p->residual = ops_numbers(v, s->m * s->n);
        p->tr = ops_input(v, s, SHAPE(s->m, s->n), p->residual);
    }
    p->k = (low_rank){.a = ops_tensor(v, DTYPE_F32, SHAPE(s->groups * s->out, s->k), p->a),
                      .b = ops_tensor(v, DTYPE_F32, SHAPE(s->n, s->out), p->b),
                      .parts = s->groups,
                      .outputs = {s->groups > 1 ? s->n / 2 : s->n, s->n / 4, s->n / 4},
                      .scale = 0.7f};
}

static double value_error(ops_env *v, adapted *p, const double *expected)
{
    err e = {0};
    tape *t = tape_new(v->r, &e);
    assert_non_null(t);
    tape_begin(t);
    tape_watch_input(t, p->k.b);
    double error = ops_error(v, op(v->r, p), expected, p->s->m * p->s->n);
    tape_free(t);
    return error;
}

double check_low_rank(ops_env *v, const shape *s)
{
    adapted p = {.s = s};
    int count = s->m * s->n;
    prepare(v, &p);
    float *w = whole_weight(v, &p), *c = ops_numbers(v, count);
    double *y = ops_memory(v, (size_t)count, sizeof *y), *z = ops_memory(v, (size_t)count, sizeof *z);
    double *dz = ops_memory(v, (size_t)count, sizeof *dz), *dr = ops_memory(v, (size_t)count, sizeof *dr);
    double *dx = ops_memory(v, (size_t)(s->m * s->k), sizeof *dx), *bias = ops_memory(v, (size_t)s->n, sizeof *bias);
    double *dw = ops_memory(v, (size_t)(s->n * s->k), sizeof *dw);
    double *da = ops_memory(v, (size_t)(s->groups * s->out * s->k), sizeof *da);
    double *db = ops_memory(v, (size_t)(s->n * s->out), sizeof *db);
    ref_linear(y, p.x, w, p.bias, p.residual, s->m, s->n, s->k, s->act);
    ref_linear(z, p.x, w, p.bias, NULL, s->m, s->n, s->k, ACT_NONE);
    for (int i = 0; i < count; i++) {
        dz[i] = ref_activation_back(z[i], c[i], s->act);
        dr[i] = c[i];
    }
    ref_linear_back(dx, dw, bias, dz, p.x, w, s->m, s->n, s->k);
    reference_back(&p, dw, da, db);
    double values = value_error(v, &p, y);
    const gradient_case g = {.context = &p,
                             .op = op,
                             .count = count,
                             .c = c,
                             .in = {{"x", p.tx, p.x, s->m * s->k, dx},
                                    {"a", p.k.a, p.a, s->groups * s->out * s->k, da},
                                    {"b", p.k.b, p.b, s->n * s->out, db},
                                    {"residual", p.tr, p.residual, count, dr}}};
    return fmax(values, gradient_error(v, &g));
}
