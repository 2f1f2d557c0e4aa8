/* Vector quantisation, and what a discriminator's and a perceptual loss need. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "ops/tape.h"
#include "ops_cases_gradient.h"
#include "ref_back.h"
#include "ref_grad.h"

typedef struct quantise {
    const shape *s;
    float *x, *value, *w;
    tensor tx, tvalue;
    conv layer;
    ref_conv sizes;
} quantise;

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

static tensor straight_through_op(run *r, void *context)
{
    const quantise *p = context;
    return op_straight_through(r, p->tx, p->tvalue);
}

/* Forward the value, backward as x: no derivative of what it computes. */
double check_straight_through(ops_env *v, const shape *s)
{
    int n = s->m * s->d;
    quantise p = {.s = s, .x = ops_numbers(v, n), .value = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->d), p.x);
    p.tvalue = ops_input(v, s, SHAPE(s->m, s->d), p.value);
    float *c = ops_numbers(v, n);
    double *y = doubles(v, n), *dx = doubles(v, n);
    for (int i = 0; i < n; i++) {
        y[i] = p.value[i];
        dx[i] = c[i];
    }
    double forward = ops_error(v, straight_through_op(v->r, &p), y, n);
    const gradient_case g = {&p, straight_through_op, NULL, n, c, false, {{"x", p.tx, p.x, n, dx}}};
    return fmax(forward, gradient_error(v, &g));
}

static tensor hinge_op(run *r, void *context)
{
    const quantise *p = context;
    return p->s->factor ? op_hinge(r, p->tx, (float)p->s->factor) : op_mean(r, p->tx);
}

/* s->factor: the hinge's sign; 0: the mean. */
double check_hinge(ops_env *v, const shape *s)
{
    int n = s->m * s->n;
    quantise p = {.s = s, .x = ops_numbers(v, n)};
    float *c = ops_numbers(v, 1);
    double y = 0, *dx = doubles(v, n);
    for (int i = 0; i < n; i++) {
        bool above = s->factor == 0 || 1 - (double)s->factor * p.x[i] > 0;
        y += (s->factor ? above * (1 - (double)s->factor * p.x[i]) : p.x[i]) / n;
        dx[i] = *c * above * (s->factor ? -s->factor : 1) / (double)n;
    }
    p.tx = ops_input(v, s, SHAPE(s->m, s->n), p.x);
    double forward = ops_error(v, hinge_op(v->r, &p), &y, 1);
    const gradient_case g = {&p, hinge_op, NULL, 1, c, true, {{"x", p.tx, p.x, n, dx}}};
    return fmax(forward, gradient_error(v, &g));
}

enum { SHARE = 3, MOST = 2 }; /* of the balance below */

/* 2 a - b: the gradients of the two losses are then 2 c and -c. */
static tensor balance_op(run *r, void *context)
{
    const quantise *p = context;
    balance m = op_balance(r, p->tvalue, p->tx, &p->layer, SHARE, MOST / (float)(p->s->factor ? p->s->factor : 1));
    return op_scale_add(r, m.a, 2, m.b, -1);
}

/* The weight by its definition, from gradients of the layer's weights that the reference makes; the limit is reached
 * where s->factor. */
double check_balance(ops_env *v, const shape *s)
{
    quantise p = {.s = s, .sizes = {s->b, s->h, s->w, s->c, s->out, s->kernel, s->stride, s->pad, ACT_NONE}};
    int oh = ref_conv_side(&p.sizes, s->h, false), ow = ref_conv_side(&p.sizes, s->w, false);
    int n = s->b * oh * ow * s->out, inner = s->kernel * s->kernel * s->c;
    p.layer = (conv){.in = s->c, .out = s->out, .kernel = s->kernel, .stride = s->stride, .pad = s->pad};
    p.x = ops_numbers(v, s->b * s->h * s->w * s->c);
    p.value = ops_numbers(v, n);
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    p.tvalue = ops_input(v, s, SHAPE(s->b, oh, ow, s->out), p.value);
    float *c = ops_numbers(v, n);
    double *dz = doubles(v, n), *dw = doubles(v, s->out * inner), *y = doubles(v, n), *dy = doubles(v, n), length = 0;
    for (int i = 0; i < n; i++) {
        dz[i] = c[i];
        y[i] = p.value[i]; /* 2 - 1 times it */
    }
    ref_conv_back(NULL, dw, NULL, dz, p.x, NULL, &p.sizes, false);
    for (int i = 0; i < s->out * inner; i++)
        length += dw[i] * dw[i];
    length = sqrt(length);
    double most = (double)MOST / (s->factor ? s->factor : 1), weight = SHARE * fmin(2 * length / (length + 1e-4), most);
    for (int i = 0; i < n; i++)
        dy[i] = 2 * c[i] - weight * c[i];
    double forward = ops_error(v, balance_op(v->r, &p), y, n);
    const gradient_case g = {&p, balance_op, NULL, n, c, false, {{"y", p.tvalue, p.value, n, dy}}};
    return fmax(forward, gradient_error(v, &g));
}

/* Three steps of a codebook of s->k rows of s->d that sees s->m vectors; s->factor: it has no sums. */
double check_codebook(ops_env *v, const shape *s)
{
    int k = s->k, d = s->d;
    float *rows = ops_numbers(v, k * d), *counts = ops_memory(v, (size_t)k, sizeof *counts),
          *sums = ops_numbers(v, k * d);
    double *r_rows = doubles(v, k * d), *r_counts = doubles(v, k), *r_sums = doubles(v, k * d), worst = 0;
    for (int i = 0; i < k * d; i++) {
        counts[i / d] = (float)(i / d % 7) / 4;
        r_rows[i] = rows[i];
        r_counts[i / d] = counts[i / d];
        r_sums[i] = sums[i];
    }
    codebook_state c = {ops_tensor(v, DTYPE_F32, SHAPE(k, d), rows),
                        ops_tensor(v, DTYPE_F32, SHAPE(k), counts),
                        {0},
                        ops_tensor(v, DTYPE_F32, SHAPE(k), NULL),
                        {0}};
    if (!s->factor) {
        c.sums = ops_tensor(v, DTYPE_F32, SHAPE(k, d), sums);
        c.batch_sums = ops_tensor(v, DTYPE_F32, SHAPE(k, d), NULL);
        op_fill(v->r, c.batch_sums, 0);
    }
    op_fill(v->r, c.batch_counts, 0);
    ref_codebook ref = {r_rows, r_counts, s->factor ? NULL : r_sums, k, d};
    for (uint32_t step = 0; step < 3; step++) {
        const codebook_step o = {.decay = 0.75f, .least = 0.5f, .fresh = 1.5f, .seed = 5ull << 32 | 3, .step = step};
        float *x = ops_numbers(v, s->m * d);
        int32_t *ids = ops_memory(v, (size_t)s->m, sizeof *ids);
        for (int i = 0; i < s->m; i++)
            ids[i] =
                (int32_t)((unsigned)i * i * 2654435761u % (unsigned)((k + 1) / 2)); /* half of them is never chosen */
        tensor tx = ops_input(v, s, SHAPE(s->m, d), x);
        op_code_sums(v->r, ops_integers(v, SHAPE(s->m), ids), tx, c.batch_counts, c.batch_sums);
        op_codebook(v->r, &c, tx, &o);
        op_fill(v->r, c.batch_counts, 0);
        if (c.batch_sums.buf)
            op_fill(v->r, c.batch_sums, 0);
        ref_codebook_step(&ref, x, ids, s->m, &o);
        worst = fmax(worst, fmax(ops_error(v, c.rows, r_rows, k * d), ops_error(v, c.counts, r_counts, k)));
        if (c.sums.buf)
            worst = fmax(worst, ops_error(v, c.sums, r_sums, k * d));
    }
    return worst;
}
