/* The ops of published transformers' blocks against their references. */
#include <math.h>
#include <string.h>

#include "ops_cases.h"

double check_multiply(ops_env *v, const shape *s)
{
    float *a = ops_numbers(v, s->m * s->n), *b = ops_numbers(v, s->n);
    double *reference = ops_memory(v, (size_t)(s->m * s->n), sizeof *reference);
    tensor y = op_multiply(v->r, ops_input(v, s, SHAPE(s->m, s->n), a), ops_tensor(v, DTYPE_F32, SHAPE(s->n), b));
    for (int i = 0; i < s->m * s->n; i++)
        reference[i] = (double)a[i] * b[i % s->n];
    return ops_error(v, y, reference, s->m * s->n);
}

double check_glu(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->m * 2 * s->d);
    double *reference = ops_memory(v, (size_t)(s->m * s->d), sizeof *reference);
    ref_glu(reference, x, s->m, s->d, s->act);
    return ops_error(v, op_glu(v->r, ops_input(v, s, SHAPE(s->m, 2 * s->d), x), s->act), reference, s->m * s->d);
}

double check_divide_max(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->m * s->d);
    double *reference = ops_memory(v, (size_t)(s->m * s->d), sizeof *reference);
    ref_divide_max(reference, x, s->m, s->d);
    return ops_error(v, op_divide_max(v->r, ops_input(v, s, SHAPE(s->m, s->d), x)), reference, s->m * s->d);
}

typedef tensor step_op(ops_env *v, const shape *s, tensor x, tensor more, tensor position);

/* x[b,t,d] in steps of s->step positions (0: all at once): decoding has the same reference as prefilling. */
static double in_steps(ops_env *v, const shape *s, const float *x, int d, step_op *op, tensor more,
                       const double *reference)
{
    int step = s->step ? s->step : s->t, count = s->b * s->t * d;
    float *y = ops_memory(v, (size_t)count, sizeof *y);
    tensor position = ops_integers(v, SHAPE(1), (int32_t[]){0});
    for (int p = 0; p < s->t; p += step) {
        int n = s->t - p < step ? s->t - p : step;
        float *part = ops_memory(v, (size_t)(s->b * n * d), sizeof *part);
        for (int b = 0; b < s->b; b++)
            memcpy(part + b * n * d, x + (b * s->t + p) * d, (size_t)(n * d) * sizeof *part);
        tensor result = op(v, s, ops_input(v, s, SHAPE(s->b, n, d), part), more, position);
        run_read(v->r, result, part);
        for (int b = 0; b < s->b && result.buf; b++)
            memcpy(y + (b * s->t + p) * d, part + b * n * d, (size_t)(n * d) * sizeof *y);
        op_advance(v->r, position, n);
        run_next(v->r);
    }
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    return ops_error_of(y, reference, count);
}

static tensor rotate_step(ops_env *v, const shape *s, tensor x, tensor angles, tensor position)
{
    return op_rotate(v->r, x, s->head_dim, angles, position);
}

/* s->k numbers of each head are turned. */
double check_rotate(ops_env *v, const shape *s)
{
    int d = s->heads * s->head_dim, count = s->b * s->t * d;
    float *x = ops_numbers(v, count), *angles = ops_numbers(v, s->t * s->k);
    for (int i = 0; i < s->t * s->k; i++)
        angles[i] *= i % 5 ? 1.0f : 4000.0f;
    tensor table = ops_tensor(v, DTYPE_F32, SHAPE(s->t, s->k), angles);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    ref_rotate(reference, x, angles, s->b, s->t, s->heads, s->head_dim, s->k);
    return in_steps(v, s, x, d, rotate_step, table, reference);
}

static tensor rotary_step(ops_env *v, const shape *s, tensor x, tensor frequencies, tensor position)
{
    return op_rotary(v->r, x, s->heads * s->head_dim, frequencies, position);
}

/* s->k numbers behind the heads are left as they are. */
double check_rotary(ops_env *v, const shape *s)
{
    int columns = s->heads * s->head_dim, d = columns + s->k, count = s->b * s->t * d, n = s->head_dim / 2;
    float *x = ops_numbers(v, count), *frequencies = ops_numbers(v, n);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    for (int i = 0; i < n; i++) /* as LLaMA's, whose first angles are the position itself */
        frequencies[i] = (float)pow(10000, -(double)i / n);
    tensor table = ops_tensor(v, DTYPE_F32, SHAPE(n), frequencies);
    ref_rotary(reference, x, frequencies, s->b, s->t, d, columns, n);
    return in_steps(v, s, x, d, rotary_step, table, reference);
}

static tensor grid_step(ops_env *v, const shape *s, tensor x, tensor more, tensor position)
{
    (void)more;
    return op_rotate_grid(v->r, x, s->heads, position, s->text, s->grid_width);
}

double check_rotate_grid(ops_env *v, const shape *s)
{
    int d = 3 * s->heads * s->head_dim, count = s->b * s->t * d;
    float *x = ops_numbers(v, count);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    ref_rotate_grid(reference, x, s->b, s->t, s->heads, s->head_dim, s->text, s->grid_width);
    return in_steps(v, s, x, d, grid_step, (tensor){0}, reference);
}

double check_rms_norm(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->m * s->d), *w = ops_numbers(v, s->d);
    norm n = {.w = ops_tensor(v, DTYPE_F32, SHAPE(s->d), w), .eps = 1e-5f};
    double *reference = ops_memory(v, (size_t)(s->m * s->d), sizeof *reference);
    ref_rms_norm(reference, x, w, s->m, s->d, n.eps);
    return ops_error(v, op_rms_norm(v->r, ops_input(v, s, SHAPE(s->m, s->d), x), &n), reference, s->m * s->d);
}

static tensor shift_step(ops_env *v, const shape *s, tensor x, tensor history, tensor position)
{
    return op_shift_tokens(v->r, x, history, position, s->text, s->grid_width);
}

/* The history is of a larger batch and longer than what is used of it. */
double check_shift_tokens(ops_env *v, const shape *s)
{
    int count = s->b * s->t * s->d, kept = (s->d + 3) / 4 * 2, length = s->t + 2;
    float *x = ops_numbers(v, count), *junk = ops_numbers(v, (s->b + 1) * length * kept);
    tensor history = ops_tensor(v, DTYPE_F32, SHAPE(s->b + 1, length, kept), junk);
    double *reference = ops_memory(v, (size_t)count, sizeof *reference);
    ref_shift_tokens(reference, x, s->b, s->t, s->d, s->text, s->grid_width);
    return in_steps(v, s, x, s->d, shift_step, history, reference);
}
