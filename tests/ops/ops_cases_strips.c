/* Convolutions that read by strips of rows: values, and, where a tape records, gradients. */
#include <math.h>

#include "ops_cases_gradient.h"
#include "ref_back.h"
#include "ref_grad.h"

typedef struct strips {
    const shape *s;
    ref_conv c; /* without activation where something is added */
    int count, pixels, weights;
    float gain;
    float *x, *w, *b, *onto, *norm_w, *norm_b;
    tensor tx, tonto;
    norm norm;
    conv_input before;
    conv layer;
    double *middle; /* what the convolution reads */
    float *rounded;
} strips;

/* groups: a norm, else what there is; residual: added to with a gain of a half, or of 1 where factor is 1. */
static void make(ops_env *v, strips *p, const shape *s)
{
    *p = (strips){.s = s, .c = {s->b, s->h, s->w, s->c, s->out, s->kernel, 1, s->kernel / 2, ACT_NONE, 0}};
    p->count = s->b * s->h * s->w * s->out;
    p->pixels = s->b * s->h * s->w * s->c;
    p->weights = s->out * s->kernel * s->kernel * s->c;
    p->gain = s->residual && !s->factor ? 0.5f : 1;
    p->x = ops_numbers(v, p->pixels);
    p->w = ops_numbers(v, p->weights);
    for (int i = 0; i < p->weights; i++)
        p->w[i] /= sqrtf((float)(s->kernel * s->kernel * s->c));
    p->b = ops_numbers(v, s->out);
    p->norm_w = ops_numbers(v, s->c);
    p->norm_b = ops_numbers(v, s->c);
    p->norm = (norm){ops_tensor(v, DTYPE_F32, SHAPE(s->c), p->norm_w), ops_tensor(v, DTYPE_F32, SHAPE(s->c), p->norm_b),
                     1e-5f};
    p->before = (conv_input){s->groups ? &p->norm : NULL, s->groups, s->act};
    p->tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p->x);
    p->layer = (conv){.in = s->c, .out = s->out, .kernel = s->kernel, .stride = 1, .pad = s->kernel / 2};
    p->layer.w = ops_tensor(v, DTYPE_F32, SHAPE(s->out, s->kernel, s->kernel, s->c), p->w);
    p->layer.b = ops_tensor(v, DTYPE_F32, SHAPE(s->out), p->b);
    err e = {0};
    if (!conv_pack(v->r, &p->layer.panels, p->layer.w, "test", &e))
        fail_msg("%s", e.text);
    if (s->residual) {
        p->onto = ops_numbers(v, p->count);
        p->tonto = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->out), p->onto);
    }
    p->middle = ops_memory(v, (size_t)p->pixels, sizeof *p->middle);
    p->rounded = ops_memory(v, (size_t)p->pixels, sizeof *p->rounded);
}

static tensor strips_op(run *r, void *context)
{
    strips *p = context;
    return p->s->residual ? op_conv2d_onto(r, p->tx, &p->before, &p->layer, p->gain, p->tonto)
                          : op_conv2d_of(r, p->tx, &p->before, &p->layer, ACT_NONE);
}

static void strips_reference(double *y, void *context)
{
    strips *p = context;
    const shape *s = p->s;
    if (s->groups)
        ref_group_norm(p->middle, p->x, p->norm_w, p->norm_b, p->norm.eps, s->b, s->h * s->w, s->c, s->groups, s->act);
    for (int i = 0; i < p->pixels; i++)
        p->rounded[i] = (float)(s->groups ? p->middle[i] : ref_activation(p->x[i], s->act));
    ref_conv2d(y, p->rounded, p->w, p->b, NULL, &p->c);
    for (int i = 0; i < p->count && s->residual; i++)
        y[i] = p->onto[i] + p->gain * y[i];
}

double check_conv_strips(ops_env *v, const shape *s)
{
    strips p;
    make(v, &p, s);
    const tuning saved = v->d->tune;
    v->d->tune.strip = s->step * s->w * (s->c > s->out ? s->c : s->out);
    tensor y = strips_op(v->r, &p);
    v->d->tune = saved;
    double *reference = ops_memory(v, (size_t)p.count, sizeof *reference);
    strips_reference(reference, &p);
    double error = ops_error(v, y, reference, p.count);
    buffer_free(p.layer.panels.buf);
    return error;
}

double check_conv_strips_gradient(ops_env *v, const shape *s)
{
    strips p;
    make(v, &p, s);
    float *c = ops_numbers(v, p.count);
    double *y = ops_memory(v, (size_t)p.count, sizeof *y), *dz = ops_memory(v, (size_t)p.count, sizeof *dz);
    double *du = ops_memory(v, (size_t)p.pixels, sizeof *du), *dx = ops_memory(v, (size_t)p.pixels, sizeof *dx);
    double *dw = ops_memory(v, (size_t)p.weights, sizeof *dw), *dn = ops_memory(v, (size_t)s->c, sizeof *dn);
    double *dnb = ops_memory(v, (size_t)s->c, sizeof *dnb);
    double *db = ops_memory(v, (size_t)s->out, sizeof *db), *donto = ops_memory(v, (size_t)p.count, sizeof *donto);
    strips_reference(y, &p);
    for (int i = 0; i < p.count; i++) {
        dz[i] = p.gain * c[i];
        donto[i] = c[i];
    }
    ref_conv_back(du, dw, db, dz, p.rounded, p.w, &p.c, false);
    if (s->groups)
        ref_group_norm(p.middle, p.x, p.norm_w, p.norm_b, p.norm.eps, s->b, s->h * s->w, s->c, s->groups, ACT_NONE);
    for (int i = 0; i < p.pixels; i++)
        du[i] = ref_activation_back(s->groups ? p.middle[i] : p.x[i], du[i], s->act);
    if (s->groups)
        ref_group_norm_back(dx, dn, dnb, du, p.x, p.norm_w, p.norm.eps, s->b, s->h * s->w, s->c, s->groups);
    const gradient_case g = {.context = &p,
                             .op = strips_op,
                             .reference = strips_reference,
                             .count = p.count,
                             .c = c,
                             .rough = s->act == ACT_RELU,
                             .in = {{"x", p.tx, p.x, p.pixels, s->groups ? dx : du},
                                    {"w", p.layer.w, p.w, p.weights, dw},
                                    {"norm", s->groups ? p.norm.w : (tensor){0}, p.norm_w, s->c, dn},
                                    {"shift", s->groups ? p.norm.b : (tensor){0}, p.norm_b, s->c, dnb},
                                    {"onto", p.tonto, p.onto, p.count, donto}}};
    double error = gradient_error(v, &g);
    buffer_free(p.layer.panels.buf);
    return error;
}
