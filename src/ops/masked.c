/* What models that fill masked cells have between their products, and how they choose codes. */
#include <math.h>

#include "ops/ops_internal.h"

#define RESPONSE_EPS 1e-6f /* Woo et al. 2023, ConvNeXt V2 */

static tape_function modulate_back, response_back, depthwise_back;

tensor op_modulate(run *r, tensor x, tensor s)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t d = last_of(&x), b = rows_of(&s), rows = rows_of(&x);
    REQUIRE(r, last_of(&s) == 2 * d && b > 0 && rows % b == 0);
    tensor y = tensor_like(r, &x, d);
    LAUNCH(r, "masked:modulate", work_grid(d, rows, 3, 8), ARG_T(x), ARG_T(s), ARG_T(y), ARG_I(d), ARG_I(rows / b));
    tape_push(r, &(tape_step){.back = modulate_back, .in = {x, s}, .out = y});
    return y;
}

static void modulate_back(run *r, tape *t, const tape_step *step)
{
    tensor x = step->in[0], s = step->in[1], dy = tape_gradient(t, step->out);
    int64_t d = last_of(&x), b = rows_of(&s), rows = rows_of(&x);
    int add;
    tensor dx = wanted(t, x, &add);
    if (dx.buf)
        LAUNCH(r, "masked:modulate_back", backward(work_grid(d, rows, 2, 12)), ARG_T(dy), ARG_T(s), ARG_T(dx), ARG_I(d),
               ARG_I(rows / b), ARG_I(add));
    tensor ds = wanted(t, s, &add);
    if (ds.buf)
        LAUNCH(r, "masked:modulate_sums", backward(work_grid(d, b, 3.0 * (double)(rows / b), 8.0 * (double)(rows / b))),
               ARG_T(dy), ARG_T(x), ARG_T(ds), ARG_I(d), ARG_I(rows / b), ARG_I(add));
}

/* s[b,2c]: what op_modulate multiplies and adds, of squares[b,c], means of `count` squares */
static tensor response(run *r, tensor squares, tensor gamma, tensor beta, int64_t count)
{
    int64_t b = rows_of(&squares), c = last_of(&squares);
    tensor s = tensor_like(r, &squares, 2 * c);
    LAUNCH(r, "masked:response", work_rows(b, 8.0 * (double)(b * c), 16.0 * (double)(b * c)), ARG_T(squares),
           ARG_T(gamma), ARG_T(beta), ARG_T(s), ARG_I(c), ARG_F(count), ARG_F(RESPONSE_EPS));
    tape_push(r, &(tape_step){.back = response_back, .in = {squares, gamma, beta}, .out = s, .f = {(float)count}});
    return s;
}

static void response_back(run *r, tape *t, const tape_step *step)
{
    tensor squares = step->in[0], gamma = step->in[1], ds = tape_gradient(t, step->out), parts = {0};
    int64_t b = rows_of(&squares), c = last_of(&squares);
    int add, add_gamma, add_beta;
    tensor dsquares = wanted(t, squares, &add), dgamma = wanted(t, gamma, &add_gamma);
    tensor dbeta = wanted(t, step->in[2], &add_beta);
    if (dgamma.buf || dbeta.buf)
        parts = TENSOR(r, DTYPE_F32, b, 2 * c);
    LAUNCH(r, "masked:response_back", backward(work_rows(b, 16.0 * (double)(b * c), 24.0 * (double)(b * c))),
           ARG_T(squares), ARG_T(gamma), ARG_T(ds), ARG_T(dsquares), ARG_T(parts), ARG_I(c), ARG_F(step->f[0]),
           ARG_F(RESPONSE_EPS), ARG_I(add));
    sum_rows(r, dgamma, parts, b, 2 * c, 0, add_gamma);
    sum_rows(r, dbeta, parts, b, 2 * c, c, add_beta);
}

tensor op_global_response_norm(run *r, tensor x, tensor gamma, tensor beta)
{
    if (run_failed(r))
        return (tensor){0};
    REQUIRE(r, x.nd == 3 && tensor_count(&gamma) == x.shape[2] && tensor_count(&beta) == x.shape[2]);
    return op_modulate(r, x, response(r, op_mean_rows(r, op_multiply(r, x, x)), gamma, beta, x.shape[1]));
}

/* y (+)= the sums over the windows of x. */
static void depthwise(run *r, work w, tensor x, tensor weights, tensor y, int side, bool flip, int add)
{
    LAUNCH(r, "masked:depthwise", w, ARG_T(x), ARG_T(weights), ARG_T(y), ARG_I(x.shape[1]), ARG_I(x.shape[2]),
           ARG_I(x.shape[3]), ARG_I(side), ARG_I(flip), ARG_I(add));
}

tensor op_depthwise_conv2d(run *r, tensor x, tensor w)
{
    if (run_failed(r))
        return (tensor){0};
    int64_t c = last_of(&x), taps = tensor_count(&w) / c, side = lround(sqrt((double)taps));
    REQUIRE(r, x.nd == 4 && w.shape[0] == c && side * side == taps && side % 2 == 1);
    tensor y = tensor_like(r, &x, c);
    depthwise(r, work_grid(c, rows_of(&x), 2.0 * (double)taps, 8), x, w, y, (int)side, false, 0);
    tape_push(r, &(tape_step){.back = depthwise_back, .in = {x, w}, .out = y, .i = {(int32_t)side}});
    return y;
}

static void depthwise_back(run *r, tape *t, const tape_step *s)
{
    tensor x = s->in[0], w = s->in[1], dy = tape_gradient(t, s->out);
    int64_t c = last_of(&x), taps = (int64_t)s->i[0] * s->i[0];
    int add;
    tensor dx = wanted(t, x, &add);
    if (dx.buf)
        depthwise(r, work_grid(c, rows_of(&x), 2.0 * (double)taps, 8), dy, w, dx, s->i[0], true, add);
    tensor dw = wanted(t, w, &add);
    double pixels = (double)rows_of(&x);
    if (dw.buf)
        LAUNCH(r, "masked:depthwise_weights", backward(work_grid(c, taps, 2 * pixels, 8 * pixels)), ARG_T(dy), ARG_T(x),
               ARG_T(dw), ARG_I(x.shape[0]), ARG_I(x.shape[1]), ARG_I(x.shape[2]), ARG_I(c), ARG_I(s->i[0]),
               ARG_I(add));
}

void op_fill_masked(run *r, tensor logits, tensor codes, const masked_step *o)
{
    int64_t k = last_of(&logits), cells = tensor_count(&codes);
    double count = (double)(cells * k);
    REQUIRE(r, rows_of(&logits) == cells && (!o->noise.buf || tensor_count(&o->noise) == cells * k) &&
                   (o->temperature == 0 || tensor_count(&o->noise_of_cells) == cells));
    tensor drawn = op_argmax(r, o->noise.buf ? op_add(r, logits, o->noise) : logits), before, chosen, confidence;
    before = TENSOR(r, DTYPE_I32, cells);
    chosen = TENSOR(r, DTYPE_I32, cells);
    confidence = TENSOR(r, DTYPE_F32, cells);
    op_repeat(r, before, codes);
    LAUNCH(r, "masked:weigh_drawn", work_rows(cells, 8 * count, 8 * count), ARG_T(logits), ARG_T(drawn),
           ARG_T(o->noise_of_cells), ARG_T(before), ARG_T(chosen), ARG_T(confidence), ARG_I(k), ARG_I(o->mask),
           ARG_F(o->temperature));
    LAUNCH(r, "masked:mask_again", work_each(cells, 3.0 * (double)cells, 8.0 * (double)cells), ARG_T(chosen),
           ARG_T(confidence), ARG_T(before), ARG_T(codes), ARG_I(cells), ARG_I(o->mask), ARG_I(o->wanted));
}
