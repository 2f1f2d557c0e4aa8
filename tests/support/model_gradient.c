/* Gradients of whole models against finite differences. */
#include "model_gradient.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "checks.h"
#include "support.h"

int model_gradient_open(void **state)
{
    err e = {0};
    *state = run_new(support_device(), &e);
    return *state ? 0 : -1;
}

int model_gradient_close(void **state)
{
    run *r = *state;
    device *d = run_device(r);
    run_free(r);
    bool none = d->memory_used == 0;
    device_free(d);
    return none ? 0 : -1;
}

void model_gradient_set(const model_gradient *m, const param *p, const float *values)
{
    run_write(m->r, *param_value(p), values);
    if (p->conv)
        conv_repack(m->r, p->conv);
}

void model_gradient_draw(const model_gradient *m)
{
    for (size_t i = 0; i < m->params.n; i++) {
        const param *p = &m->params.list[i];
        int64_t n = tensor_count(param_value(p));
        float *values = calloc((size_t)n, sizeof *values), size = p->use == PARAM_TABLE ? 1.0f : 0.4f;
        assert_non_null(values);
        for (int64_t k = 0; k < n; k++)
            values[k] = p->mean + size * rng_normal(8, (uint32_t)i, 0, (uint32_t)k);
        model_gradient_set(m, p, values);
        free(values);
    }
}

tensor model_gradient_backward(const model_gradient *m, tape *t)
{
    run_reset(m->r);
    tape_begin(t);
    for (size_t i = 0; i < m->params.n; i++)
        if (!m->params.list[i].fixed)
            tape_watch_input(t, *param_value(&m->params.list[i]));
    tensor loss = m->loss(m->context);
    tape_end(t);
    tape_backward(t, loss);
    return loss;
}

/* The loss with the parameters that are set.  The tape keeps all memory, as in training. */
static double loss_of(const model_gradient *m)
{
    err e = {0};
    float loss = 0;
    tape *t = tape_new(m->r, &e);
    good(t != NULL, &e);
    run_reset(m->r);
    tape_begin(t);
    run_read(m->r, m->loss(m->context), &loss);
    tape_free(t);
    good(run_finish(m->r, &e), &e);
    return loss;
}

/* The derivative of the loss along `direction`, of length 1, in one parameter, by central differences. */
static double difference(const model_gradient *m, const param *p, const float *values, const float *direction,
                         int64_t n, double step)
{
    float *moved = calloc((size_t)n, sizeof *moved);
    double loss[2];
    assert_non_null(moved);
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n; i++)
            moved[i] = (float)(values[i] + (side ? -step : step) * direction[i]);
        model_gradient_set(m, p, moved);
        loss[side] = loss_of(m);
    }
    model_gradient_set(m, p, values);
    free(moved);
    return (loss[0] - loss[1]) / (2 * step);
}

/* Finite differences agree with the gradient d: along it, and along the element where it is largest. */
static void check_differences(const model_gradient *m, const param *p, const float *d)
{
    int64_t n = tensor_count(param_value(p)), most = 0;
    float *direction = calloc((size_t)n, sizeof *direction), *values = calloc((size_t)n, sizeof *values);
    double size = 0;
    assert_non_null(direction);
    assert_non_null(values);
    run_read(m->r, *param_value(p), values);
    for (int64_t i = 0; i < n; i++) {
        size += (double)d[i] * d[i];
        most = fabsf(d[i]) > fabsf(d[most]) ? i : most;
    }
    size = sqrt(size);
    for (int pass = 0; pass < 2; pass++) {
        for (int64_t i = 0; i < n; i++)
            direction[i] = pass ? i == most : (float)(d[i] / size);
        double by_gradient = pass ? d[most] : size;
        /* far enough to be seen in a float, near enough to be straight */
        double step = m->step > 0 ? m->step : fmin(fmax(1e-3 / fabs(by_gradient), 2e-3), 3e-2);
        double by_loss = difference(m, p, values, direction, n, step);
        if (m->step <= 0 && fabs(by_loss - by_gradient) > 5e-3 * fabs(by_gradient)) /* Richardson */
            by_loss = (4 * difference(m, p, values, direction, n, step / 2) - by_loss) / 3;
        /* softmax doesn't see what all keys have in common: what is left is the loss's rounding */
        double rounding = 4 * FLT_EPSILON * fabs(loss_of(m)) / step;
        if (fabs(by_gradient) < rounding && fabs(by_loss) < rounding)
            continue;
        double error = fabs(by_loss - by_gradient) / fabs(by_gradient);
        if (getenv("LIMN_TEST_VERBOSE"))
            print_message("  %-40s %10.3g %10.3g %.2g\n", p->name, by_gradient, by_loss, error);
        if (!(error <= 1e-2))
            fail_msg("%s/%s: finite differences give %g, the gradient is %g", m->name, p->name, by_loss, by_gradient);
    }
    free(values);
    free(direction);
}

void model_gradient_check(const model_gradient *m, size_t some)
{
    err e = {0};
    float **gradients = calloc(m->params.n, sizeof *gradients);
    tape *t = tape_new(m->r, &e);
    good(t != NULL, &e);
    assert_non_null(gradients);
    model_gradient_backward(m, t);
    for (size_t i = 0; i < m->params.n && !run_failed(m->r); i++) {
        if (m->params.list[i].fixed)
            continue;
        tensor d = tape_gradient(t, *param_value(&m->params.list[i]));
        if (!d.buf)
            fail_msg("%s/%s: no gradient arrived", m->name, m->params.list[i].name);
        gradients[i] = calloc((size_t)tensor_count(&d), sizeof **gradients);
        assert_non_null(gradients[i]);
        run_read(m->r, d, gradients[i]);
    }
    good(run_finish(m->r, &e), &e);
    tape_free(t);
    for (size_t i = 0; i < m->params.n; i++) {
        if (gradients[i] && (i % some == 0 || !getenv("LIMN_TEST_BRIEF")))
            check_differences(m, &m->params.list[i], gradients[i]);
        free(gradients[i]);
    }
    free(gradients);
}
