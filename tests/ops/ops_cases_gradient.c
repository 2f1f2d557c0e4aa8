/* The check of gradients that all ops share. */
#include "ops_cases_gradient.h"

#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "ops/tape.h"

#define ELEMENTS  5    /* of each input by finite differences */
#define STEP      1e-3 /* of them */
#define TOLERANCE 1e-2

/* L = sum c y has dL/dy = c, which lies there from the start; its value is nobody's concern. */
static void loss_back(run *r, tape *t, const tape_step *s)
{
    (void)r;
    (void)t;
    (void)s;
}

enum mode { OVERWRITE, ADD, ALONE };

/* The gradients of the inputs that are watched (`only`: that one alone) as got[i], arrays of the test's. */
static void backward(ops_env *v, const gradient_case *g, enum mode mode, int only, float *got[], float *before[])
{
    err e = {0};
    tape *t = tape_new(v->r, &e);
    assert_non_null(t);
    tensor place[GRADIENT_INPUTS] = {{0}};
    for (int i = 0; mode == ADD && i < GRADIENT_INPUTS; i++)
        if (g->in[i].x.buf) {
            before[i] = ops_numbers(v, g->in[i].n);
            place[i] = ops_tensor(v, DTYPE_F32, g->in[i].x.nd, g->in[i].x.shape, before[i]);
            tape_watch(t, g->in[i].x, place[i]);
        }
    tape_begin(t);
    for (int i = 0; mode != ADD && i < GRADIENT_INPUTS; i++)
        if (g->in[i].x.buf && (mode == OVERWRITE || i == only))
            tape_watch_input(t, g->in[i].x);
    tensor y = g->op(v->r, g->context), loss = TENSOR(v->r, DTYPE_F32, 1);
    if (!run_failed(v->r))
        assert_int_equal(tensor_count(&y), g->count);
    tape_watch(t, y, ops_tensor(v, DTYPE_F32, SHAPE(g->count), g->c));
    tape_push(v->r, &(tape_step){.back = loss_back, .in = {y}, .out = loss});
    tape_end(t);
    tape_backward(t, loss);
    for (int i = 0; i < GRADIENT_INPUTS; i++) {
        const gradient_input *in = &g->in[i];
        if (!in->x.buf || (mode == ALONE && i != only))
            continue;
        tensor arrived = mode == ADD ? place[i] : tape_gradient(t, in->x);
        got[i] = ops_memory(v, (size_t)in->n, sizeof(float));
        if (!run_failed(v->r) && tensor_count(&arrived) != in->n)
            fail_msg("no gradient arrived at %s", in->name);
        run_read(v->r, arrived, got[i]);
    }
    tape_free(t);
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
}

static double loss_of(const gradient_case *g, double *y)
{
    double sum = 0;
    g->reference(y, g->context);
    for (int i = 0; i < g->count; i++)
        sum += g->c[i] * y[i];
    return sum;
}

/* The derivative along `direction` (NULL: along element `at`) by central differences, and by the gradient. */
static void differences(ops_env *v, const gradient_case *g, const gradient_input *in, const float *gradient,
                        const float *direction, int at, double size)
{
    double *y = ops_memory(v, (size_t)g->count, sizeof *y), along[2] = {0}, loss[2];
    float *kept = ops_memory(v, (size_t)in->n, sizeof *kept);
    memcpy(kept, in->values, (size_t)in->n * sizeof *kept);
    for (int side = 0; side < 2; side++) {
        for (int i = 0; i < in->n; i++) {
            double u = direction ? direction[i] : i == at;
            in->values[i] = (float)(kept[i] + (side ? -STEP : STEP) * u);
            along[side] += gradient[i] * ((double)in->values[i] - kept[i]); /* the step as it was rounded */
        }
        loss[side] = loss_of(g, y);
    }
    memcpy(in->values, kept, (size_t)in->n * sizeof *kept);
    double by_loss = (loss[0] - loss[1]) / (2 * STEP), by_gradient = (along[0] - along[1]) / (2 * STEP);
    if (!(fabs(by_loss - by_gradient) <= TOLERANCE * fmax(fabs(by_loss), size)))
        fail_msg("%s: finite differences give %g %s %d, the gradient %g", in->name, by_loss,
                 direction ? "in all elements, not" : "at element", at, by_gradient);
}

static void check_differences(ops_env *v, const gradient_case *g, const gradient_input *in, const float *gradient)
{
    double squares = 0;
    for (int i = 0; i < in->n; i++)
        squares += (double)gradient[i] * gradient[i];
    for (int i = 0; i < ELEMENTS && i < in->n; i++) {
        int at = i == 0 ? 0 : i == 1 ? in->n - 1 : (int)(rng_uniform(3, 0, 0, (uint32_t)i) * (float)in->n) % in->n;
        differences(v, g, in, gradient, NULL, at, sqrt(squares / in->n));
    }
    differences(v, g, in, gradient, ops_numbers(v, in->n), 0, sqrt(squares));
}

static double error_of(ops_env *v, const gradient_input *in, const float *got, const float *before)
{
    double *expected = ops_memory(v, (size_t)in->n, sizeof *expected);
    for (int i = 0; i < in->n; i++)
        expected[i] = in->expected[i] + (before ? before[i] : 0);
    return ops_error_of(got, expected, in->n);
}

double gradient_error(ops_env *v, const gradient_case *g)
{
    double worst = 0;
    int inputs = 0;
    for (int i = 0; i < GRADIENT_INPUTS; i++)
        inputs += g->in[i].x.buf != NULL;
    for (int pass = 0; pass < 2 + GRADIENT_INPUTS; pass++) {
        float *got[GRADIENT_INPUTS] = {0}, *before[GRADIENT_INPUTS] = {0};
        enum mode mode = pass < 2 ? (enum mode)pass : ALONE;
        if (mode == ALONE && (v->tiny || inputs == 1 || !g->in[pass - 2].x.buf))
            continue;
        backward(v, g, mode, pass - 2, got, before);
        for (int i = 0; i < GRADIENT_INPUTS; i++) {
            if (!got[i])
                continue;
            if (g->in[i].expected)
                worst = fmax(worst, error_of(v, &g->in[i], got[i], before[i]));
            if (mode == OVERWRITE && g->reference && !g->rough)
                check_differences(v, g, &g->in[i], got[i]);
        }
    }
    return worst;
}
