/* The gradients of linear layers and convolutions. */
#include <math.h>

#include "ops_cases_gradient.h"
#include "ref_grad.h"

/* What both functions of a gradient_case see. */
typedef struct product {
    const shape *s;
    ref_conv c;
    float *x, *w, *b, *residual;
    tensor tx, tr;
    linear l;
    conv layer;
} product;

/* Weights that give sums of about 1, where activations bend. */
static float *weights_of(ops_env *v, int n, int inner)
{
    float *w = ops_numbers(v, n);
    for (int i = 0; i < n; i++)
        w[i] /= sqrtf((float)inner);
    return w;
}

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

/* dz[i] = c[i] act'(z[i]); the residual comes after the activation. */
static double *before_activation(ops_env *v, const double *z, const float *c, int n, activation act)
{
    double *dz = doubles(v, n);
    for (int i = 0; i < n; i++)
        dz[i] = ref_activation_back(z[i], c[i], act);
    return dz;
}

static double *residual_gradient(ops_env *v, const float *c, int n)
{
    double *d = doubles(v, n);
    for (int i = 0; i < n; i++)
        d[i] = c[i];
    return d;
}

static tensor linear_op(run *r, void *context)
{
    product *p = context;
    return p->residual ? op_linear_add(r, p->tx, &p->l, p->tr) : op_linear(r, p->tx, &p->l, p->s->act);
}

static void linear_reference(double *y, void *context)
{
    const product *p = context;
    ref_linear(y, p->x, p->w, p->b, p->residual, p->s->m, p->s->n, p->s->k, p->s->act);
}

double check_linear_gradient(ops_env *v, const shape *s)
{
    int count = s->m * s->n;
    bool trains = s->type == DTYPE_F32 && !s->split;
    product p = {.s = s, .x = ops_numbers(v, s->m * s->k), .w = weights_of(v, s->n * s->k, s->k)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->k), p.x);
    p.l.w = ops_weight(v, s, s->n, s->k, p.w);
    if (s->bias) {
        p.b = ops_numbers(v, s->n);
        p.l.b = ops_tensor(v, DTYPE_F32, SHAPE(s->n), p.b);
    }
    if (s->residual) {
        p.residual = ops_numbers(v, count);
        p.tr = ops_input(v, s, SHAPE(s->m, s->n), p.residual);
    }
    float *c = ops_numbers(v, count);
    double *z = doubles(v, count), *dx = doubles(v, s->m * s->k), *dw = doubles(v, s->n * s->k), *db = doubles(v, s->n);
    ref_linear(z, p.x, p.w, p.b, NULL, s->m, s->n, s->k, ACT_NONE);
    ref_linear_back(dx, dw, db, before_activation(v, z, c, count, s->act), p.x, p.w, s->m, s->n, s->k);
    const gradient_case g = {.context = &p,
                             .op = linear_op,
                             .reference = linear_reference,
                             .count = count,
                             .c = c,
                             .rough = s->act == ACT_RELU,
                             .in = {{"x", p.tx, p.x, s->m * s->k, dx},
                                    {"w", trains ? p.l.w : (tensor){0}, p.w, s->n * s->k, dw},
                                    {"b", p.l.b, p.b, s->n, db},
                                    {"residual", p.tr, p.residual, count, residual_gradient(v, c, count)}}};
    return gradient_error(v, &g) * (linear_rounds(v->d, s->type) ? OPS_X_BITS : 1);
}

static tensor conv_op(run *r, void *context)
{
    product *p = context;
    return p->s->transposed ? op_conv_transpose2d(r, p->tx, &p->layer, p->s->act)
                            : op_conv2d(r, p->tx, &p->layer, p->s->act, p->tr);
}

static void conv_reference(double *y, void *context)
{
    const product *p = context;
    if (p->s->transposed)
        ref_conv_transpose2d(y, p->x, p->w, p->b, &p->c);
    else
        ref_conv2d(y, p->x, p->w, p->b, p->residual, &p->c);
}

double check_conv_gradient(ops_env *v, const shape *s)
{
    product p = {.s = s, .c = {s->b, s->h, s->w, s->c, s->out, s->kernel, s->stride, s->pad, s->act, s->pad_end}};
    int oh = ref_conv_side(&p.c, s->h, s->transposed), ow = ref_conv_side(&p.c, s->w, s->transposed);
    int weights = s->out * s->kernel * s->kernel * s->c, pixels = s->b * s->h * s->w, count = s->b * oh * ow * s->out;
    p.x = ops_numbers(v, pixels * s->c);
    p.w = weights_of(v, weights, weights / s->out);
    p.tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), p.x);
    p.layer = (conv){
        .in = s->c, .out = s->out, .kernel = s->kernel, .stride = s->stride, .pad = s->pad, .pad_end = s->pad_end};
    const bool trains = s->type != DTYPE_F16; /* halves are those of a model that is only gone through */
    tensor w =
        ops_tensor(v, trains ? DTYPE_F32 : s->type, SHAPE(s->out, s->kernel, s->kernel, s->c), trains ? NULL : p.w);
    err e = {0};
    if (!conv_pack(v->r, &p.layer.panels, w, "test", &e))
        fail_msg("%s", e.text);
    if (trains) {
        p.layer.w = w;
        run_write(v->r, w, p.w);
        conv_repack(v->r, &p.layer);
    }
    if (s->bias) {
        p.b = ops_numbers(v, s->out);
        p.layer.b = ops_tensor(v, DTYPE_F32, SHAPE(s->out), p.b);
    }
    if (s->residual) {
        p.residual = ops_numbers(v, count);
        p.tr = ops_input(v, s, SHAPE(s->b, oh, ow, s->out), p.residual);
    }
    float *c = ops_numbers(v, count);
    ref_conv plain = p.c;
    plain.act = ACT_NONE;
    double *z = doubles(v, count), *dx = doubles(v, pixels * s->c), *dw = doubles(v, weights), *db = doubles(v, s->out);
    if (s->transposed)
        ref_conv_transpose2d(z, p.x, p.w, p.b, &plain);
    else
        ref_conv2d(z, p.x, p.w, p.b, NULL, &plain);
    ref_conv_back(dx, dw, db, before_activation(v, z, c, count, s->act), p.x, p.w, &p.c, s->transposed);
    const gradient_case g = {.context = &p,
                             .op = conv_op,
                             .reference = conv_reference,
                             .count = count,
                             .c = c,
                             .rough = s->act == ACT_RELU,
                             .in = {{"x", p.tx, p.x, pixels * s->c, dx},
                                    {"w", p.layer.w, p.w, weights, dw},
                                    {"b", p.layer.b, p.b, s->out, db},
                                    {"residual", p.tr, p.residual, count, residual_gradient(v, c, count)}}};
    double error = gradient_error(v, &g);
    buffer_free(p.layer.panels.buf);
    return error;
}
