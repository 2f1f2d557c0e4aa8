/* The gradients of what published transformers have between their products, and of what their decoders read. */
#include <math.h>

#include "ops_cases_gradient.h"

/* What the functions of a gradient_case see; each op uses some of it. */
typedef struct gate {
    const shape *s;
    float *x, *w;
    tensor tx, tw, more, position, tbias;
    float *bias;
    norm n;
    const double *most; /* of each row */
    kv_cache keys;
    int32_t *ids;
} gate;

typedef tensor gate_op(run *r, void *context);
typedef void gate_reference(double *y, void *context);

static double *doubles(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

/* Of x[n] with the gradient dx, and of w[nw] with dw where there is one; y has count elements. */
static double error_of(ops_env *v, gate *p, gate_op *op, gate_reference *reference, int count, float *c, int n,
                       const double *dx, int nw, const double *dw)
{
    const gradient_case g = {
        p, op, reference, count, c, false, {{"x", p->tx, p->x, n, dx}, {"the other", p->tw, p->w, nw, dw}}};
    return gradient_error(v, &g);
}

/* ---- gates and scales ---- */

static tensor multiply_op(run *r, void *context)
{
    const gate *p = context;
    return op_multiply(r, p->tx, p->tw);
}

static void multiply_reference(double *y, void *context)
{
    const gate *p = context;
    for (int i = 0; i < p->s->m * p->s->n; i++)
        y[i] = (double)p->x[i] * p->w[i % p->s->n];
}

double check_multiply_gradient(ops_env *v, const shape *s)
{
    int count = s->m * s->n;
    gate p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, s->n)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->n), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(s->n), p.w);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *dw = doubles(v, s->n);
    for (int i = 0; i < count; i++) {
        dx[i] = (double)c[i] * p.w[i % s->n];
        dw[i % s->n] += (double)c[i] * p.x[i];
    }
    return error_of(v, &p, multiply_op, multiply_reference, count, c, count, dx, s->n, dw);
}

static tensor glu_op(run *r, void *context)
{
    const gate *p = context;
    return op_glu(r, p->tx, p->s->act);
}

static void glu_reference(double *y, void *context)
{
    const gate *p = context;
    ref_glu(y, p->x, p->s->m, p->s->d, p->s->act);
}

double check_glu_gradient(ops_env *v, const shape *s)
{
    const double h = 1e-5;
    int count = s->m * s->d;
    gate p = {.s = s, .x = ops_numbers(v, 2 * count)};
    p.tx = ops_input(v, s, SHAPE(s->m, 2 * s->d), p.x);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, 2 * count);
    for (int i = 0; i < count; i++) {
        int at = i / s->d * 2 * s->d + i % s->d;
        double open = p.x[at + s->d];
        dx[at] = c[i] * ref_activation(open, s->act);
        dx[at + s->d] =
            (double)c[i] * p.x[at] * (ref_activation(open + h, s->act) - ref_activation(open - h, s->act)) / (2 * h);
    }
    return error_of(v, &p, glu_op, glu_reference, count, c, 2 * count, dx, 0, NULL);
}

static tensor divide_op(run *r, void *context)
{
    return op_divide_max(r, ((const gate *)context)->tx);
}

static void divide_reference(double *y, void *context)
{
    const gate *p = context;
    for (int i = 0; i < p->s->m * p->s->d; i++)
        y[i] = p->x[i] / p->most[i / p->s->d];
}

/* The maximum counts as a constant. */
double check_divide_max_gradient(ops_env *v, const shape *s)
{
    int count = s->m * s->d;
    gate p = {.s = s, .x = ops_numbers(v, count)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->d), p.x);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *most = doubles(v, s->m);
    for (int i = 0; i < count; i++)
        most[i / s->d] = i % s->d ? fmax(most[i / s->d], p.x[i]) : p.x[i];
    for (int i = 0; i < count; i++)
        dx[i] = c[i] / most[i / s->d];
    p.most = most;
    return error_of(v, &p, divide_op, divide_reference, count, c, count, dx, 0, NULL);
}

static tensor rms_op(run *r, void *context)
{
    const gate *p = context;
    return op_rms_norm(r, p->tx, &p->n);
}

static void rms_reference(double *y, void *context)
{
    const gate *p = context;
    ref_rms_norm(y, p->x, p->w, p->s->m, p->s->d, p->n.eps);
}

double check_rms_norm_gradient(ops_env *v, const shape *s)
{
    int count = s->m * s->d;
    gate p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, s->d)};
    p.tx = ops_input(v, s, SHAPE(s->m, s->d), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(s->d), p.w);
    p.n = (norm){.w = p.tw, .eps = s->d == 1 ? 0.5f : 1e-5f}; /* of one number what isn't eps is constant */
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *dw = doubles(v, s->d);
    for (int row = 0; row < s->m; row++) {
        const float *x = p.x + row * s->d, *dy = c + row * s->d;
        double squares = 0, product = 0;
        for (int i = 0; i < s->d; i++) {
            squares += (double)x[i] * x[i] / s->d;
            product += (double)dy[i] * p.w[i] * x[i] / s->d;
        }
        double scale = 1 / sqrt(squares + p.n.eps);
        for (int i = 0; i < s->d; i++) {
            dx[row * s->d + i] = scale * ((double)dy[i] * p.w[i] - x[i] * scale * scale * product);
            dw[i] += dy[i] * x[i] * scale;
        }
    }
    return error_of(v, &p, rms_op, rms_reference, count, c, count, dx, s->d, dw);
}

static tensor guide_op(run *r, void *context)
{
    const gate *p = context;
    return op_guide(r, p->tx, p->more);
}

static void guide_reference(double *y, void *context)
{
    const gate *p = context;
    ref_guide(y, p->x, p->s->b, p->s->k, 3.5);
}

double check_guide_gradient(ops_env *v, const shape *s)
{
    int count = s->b * s->k;
    gate p = {.s = s, .x = ops_numbers(v, 2 * count)};
    p.tx = ops_input(v, s, SHAPE(2 * s->b, s->k), p.x);
    p.more = ops_guidance(v, s->b, 3.5f);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, 2 * count);
    for (int i = 0; i < 2 * count; i++)
        dx[i] = (i < count ? 3.5 : -2.5) * c[i % count];
    return error_of(v, &p, guide_op, guide_reference, count, c, 2 * count, dx, 0, NULL);
}

/* ---- positions ---- */

static tensor rotate_op(run *r, void *context)
{
    const gate *p = context;
    return op_rotate(r, p->tx, p->s->head_dim, p->tw, p->position);
}

static void rotate_reference(double *y, void *context)
{
    const gate *p = context;
    const shape *s = p->s;
    ref_rotate(y, p->x, p->w, s->b, s->t, s->heads, s->head_dim, s->k);
}

/* Of a whole sequence, with angles of two positions more. */
double check_rotate_gradient(ops_env *v, const shape *s)
{
    int d = s->heads * s->head_dim, count = s->b * s->t * d, angles = (s->t + 2) * s->k;
    gate p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, angles)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, d), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(s->t + 2, s->k), p.w);
    p.position = ops_integers(v, SHAPE(1), (int32_t[]){0});
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *dw = doubles(v, angles);
    for (int i = 0; i < count; i++) {
        int at = i % s->head_dim, other = at % 2 ? i - 1 : i + 1, angle = i / d % s->t * s->k + at;
        if (at >= s->k) {
            dx[i] = c[i];
            continue;
        }
        double a = p.w[angle], sign = at % 2 ? 1 : -1;
        dx[i] += c[i] * cos(a);
        dx[other] += sign * c[i] * sin(a);
        dw[angle] += c[i] * (sign * p.x[other] * cos(a) - p.x[i] * sin(a));
    }
    return error_of(v, &p, rotate_op, rotate_reference, count, c, count, dx, angles, dw);
}

static tensor rotary_op(run *r, void *context)
{
    const gate *p = context;
    return op_rotary(r, p->tx, p->s->heads * p->s->head_dim, p->more, p->position);
}

static void rotary_reference(double *y, void *context)
{
    const gate *p = context;
    const shape *s = p->s;
    int columns = s->heads * s->head_dim;
    ref_rotary(y, p->x, p->w, s->b, s->t, columns + s->k, columns, s->head_dim / 2);
}

double check_rotary_gradient(ops_env *v, const shape *s)
{
    int columns = s->heads * s->head_dim, d = columns + s->k, count = s->b * s->t * d, n = s->head_dim / 2;
    gate p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, n)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, d), p.x);
    p.more = ops_tensor(v, DTYPE_F32, SHAPE(n), p.w);
    p.position = ops_integers(v, SHAPE(1), (int32_t[]){0});
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count);
    for (int i = 0; i < count; i++) {
        int at = i % d, k = at % (2 * n);
        double a = (float)(i / d % s->t) * p.w[k % n];
        if (at >= columns) {
            dx[i] = c[i];
            continue;
        }
        dx[i] += c[i] * cos(a);
        dx[k < n ? i + n : i - n] += (k < n ? -1 : 1) * c[i] * sin(a);
    }
    return error_of(v, &p, rotary_op, rotary_reference, count, c, count, dx, 0, NULL);
}

static tensor grid_op(run *r, void *context)
{
    const gate *p = context;
    return op_rotate_grid(r, p->tx, p->s->heads, p->position, p->s->text, p->s->grid_width);
}

static void grid_reference(double *y, void *context)
{
    const gate *p = context;
    const shape *s = p->s;
    int row = s->t * 3 * s->heads * s->head_dim;
    for (int b = 0; b < s->b; b++)
        ref_rotate_grid(y + b * row, p->x + b * row, 1, s->t, s->heads, s->head_dim, s->text - b * s->first,
                        s->grid_width);
}

/* s->first: row b of the batch begins at position b s->first. */
double check_rotate_grid_gradient(ops_env *v, const shape *s)
{
    int d = s->heads * s->head_dim, count = s->b * s->t * 3 * d;
    int32_t positions[8];
    for (int b = 0; b < s->b; b++)
        positions[b] = b * s->first;
    gate p = {.s = s, .x = ops_numbers(v, count), .position = ops_integers(v, SHAPE(s->first ? s->b : 1), positions)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, 3 * d), p.x);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count);
    for (int i = 0; i < count; i++) {
        int cell = i / (3 * d) % s->t + positions[i / (3 * d) / s->t] - s->text;
        int at = i % s->head_dim, quarter = s->head_dim / 4;
        int place = at / 2 < quarter ? cell / s->grid_width : cell % s->grid_width;
        double angle = place * pow(10000, -(double)(at / 2 % quarter) / quarter);
        if (i % (3 * d) >= 2 * d)
            dx[i] = c[i];
        else if (cell >= 0) {
            dx[i] += c[i] * cos(angle);
            dx[at % 2 ? i - 1 : i + 1] += (at % 2 ? 1 : -1) * c[i] * sin(angle);
        }
    }
    return error_of(v, &p, grid_op, grid_reference, count, c, count, dx, 0, NULL);
}

static tensor shift_op(run *r, void *context)
{
    const gate *p = context;
    return op_shift_tokens(r, p->tx, p->more, p->position, p->s->text, p->s->grid_width);
}

static void shift_reference(double *y, void *context)
{
    const gate *p = context;
    ref_shift_tokens(y, p->x, p->s->b, p->s->t, p->s->d, p->s->text, p->s->grid_width);
}

double check_shift_tokens_gradient(ops_env *v, const shape *s)
{
    int count = s->b * s->t * s->d, quarter = (s->d + 3) / 4, length = s->t + 2;
    gate p = {.s = s, .x = ops_numbers(v, count), .position = ops_integers(v, SHAPE(1), (int32_t[]){0})};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, s->d), p.x);
    p.more = ops_tensor(v, DTYPE_F32, SHAPE(s->b + 1, length, 2 * quarter), NULL);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count);
    for (int i = 0; i < count; i++) { /* y[i] is x[from] */
        int at = i % s->d, q = i / s->d % s->t, cell = q - s->text, back = 0;
        if (cell < 0)
            back = at < (s->d + 1) / 2 ? 1 : 0;
        else if (at < 2 * quarter)
            back = at < quarter ? s->grid_width : 1;
        bool there = !back || (cell < 0 ? q > 0 : back == 1 ? cell % s->grid_width > 0 : cell >= s->grid_width);
        if (cell >= 0 && at >= quarter && at < 2 * quarter)
            there = cell % s->grid_width > 0;
        if (there)
            dx[i - back * s->d] += c[i];
    }
    return error_of(v, &p, shift_op, shift_reference, count, c, count, dx, 0, NULL);
}

static tensor table_op(run *r, void *context)
{
    const gate *p = context;
    return op_add_table(r, p->tx, p->tw, p->position);
}

static void table_reference(double *y, void *context)
{
    const gate *p = context;
    const shape *s = p->s;
    for (int i = 0; i < s->b * s->t * s->d; i++)
        y[i] = (double)p->x[i] + p->w[(s->first + i / s->d % s->t) * s->d + i % s->d];
}

double check_add_table_gradient(ops_env *v, const shape *s)
{
    int count = s->b * s->t * s->d;
    gate p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, s->n * s->d)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, s->d), p.x);
    p.tw = ops_tensor(v, DTYPE_F32, SHAPE(s->n, s->d), p.w);
    p.position = ops_integers(v, SHAPE(1), &s->first);
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, count), *dw = doubles(v, s->n * s->d);
    for (int i = 0; i < count; i++) {
        dx[i] = c[i];
        dw[(s->first + i / s->d % s->t) * s->d + i % s->d] += c[i];
    }
    return error_of(v, &p, table_op, table_reference, count, c, count, dx, s->n * s->d, dw);
}

/* ---- codebooks ---- */

static tensor distances_op(run *r, void *context)
{
    const gate *p = context;
    return op_distances(r, p->tx, p->more);
}

static void distances_reference(double *y, void *context)
{
    const gate *p = context;
    ref_distances(y, p->x, p->w, p->s->m, p->s->k, p->s->d);
}

/* Of both where the table is F32 in one buffer, else of x. */
double check_distances_gradient(ops_env *v, const shape *s)
{
    int count = s->m * s->k;
    gate p = {.s = s, .x = ops_numbers(v, s->m * s->d), .w = ops_numbers(v, s->k * s->d)};
    p.more = ops_weight(v, s, s->k, s->d, p.w);
    p.tx = ops_input(v, s, SHAPE(s->m, s->d), p.x);
    if (s->type == DTYPE_F32 && !s->split)
        p.tw = p.more;
    float *c = ops_numbers(v, count);
    double *dx = doubles(v, s->m * s->d), *dw = doubles(v, s->k * s->d);
    for (int i = 0; i < count; i++)
        for (int k = 0; k < s->d; k++) {
            double far = (double)p.x[i / s->k * s->d + k] - p.w[i % s->k * s->d + k];
            dx[i / s->k * s->d + k] -= 2 * c[i] * far;
            dw[i % s->k * s->d + k] += 2 * c[i] * far;
        }
    return error_of(v, &p, distances_op, distances_reference, count, c, s->m * s->d, dx, s->k * s->d, dw);
}

/* ---- cross-attention ---- */

static tensor cross_op(run *r, void *context)
{
    const gate *p = context;
    op_cross_keys(r, p->tw, &p->keys);
    return op_biased_attention(r, p->tx, &p->keys, p->tbias, p->more, 7);
}

/* The scores of query `row` of head h, as probabilities in p[n]. */
static void cross_scores(double *p, const gate *g, int row, int h)
{
    const shape *s = g->s;
    int d = s->heads * s->head_dim, b = row / s->t;
    double total = 0;
    for (int j = 0; j < s->n; j++) {
        double score = 0;
        for (int i = h * s->head_dim; i < (h + 1) * s->head_dim; i++)
            score += (double)g->x[row * d + i] * g->w[(b * s->n + j) * 2 * d + i] / sqrt(s->head_dim);
        if (g->bias)
            score += g->bias[(h * s->t + row % s->t) * s->n + j];
        total += p[j] = g->ids && g->ids[b * s->n + j] == 7 ? 0 : exp(score);
    }
    for (int j = 0; j < s->n; j++)
        p[j] /= total;
}

static void cross_reference(double *y, void *context)
{
    const gate *p = context;
    const shape *s = p->s;
    int d = s->heads * s->head_dim;
    double scores[256];
    for (int i = 0; i < s->b * s->t * d; i++) {
        int row = i / d;
        if (i % s->head_dim == 0)
            cross_scores(scores, p, row, i % d / s->head_dim);
        y[i] = 0;
        for (int j = 0; j < s->n; j++)
            y[i] += scores[j] * p->w[((row / s->t * s->n + j) * 2 + 1) * d + i % d];
    }
}

static void cross_back(double *dq, double *dkv, double *dbias, const float *c, const gate *p)
{
    const shape *s = p->s;
    int d = s->heads * s->head_dim;
    double scores[256], dp[256], scale = 1 / sqrt(s->head_dim);
    for (int at = 0; at < s->b * s->t * s->heads; at++) {
        int row = at / s->heads, h = at % s->heads, first = h * s->head_dim, keys = row / s->t * s->n;
        double mean = 0;
        cross_scores(scores, p, row, h);
        for (int j = 0; j < s->n; j++) {
            dp[j] = 0;
            for (int i = first; i < first + s->head_dim; i++)
                dp[j] += (double)c[row * d + i] * p->w[((keys + j) * 2 + 1) * d + i];
            mean += scores[j] * dp[j];
        }
        for (int j = 0; j < s->n && p->bias; j++)
            dbias[(h * s->t + row % s->t) * s->n + j] += scores[j] * (dp[j] - mean);
        for (int j = 0; j < s->n; j++)
            for (int i = first; i < first + s->head_dim; i++) {
                double ds = scale * scores[j] * (dp[j] - mean);
                dq[row * d + i] += ds * p->w[(keys + j) * 2 * d + i];
                dkv[(keys + j) * 2 * d + i] += ds * p->x[row * d + i];
                dkv[((keys + j) * 2 + 1) * d + i] += scores[j] * c[row * d + i];
            }
    }
}

/* The shapes as for check_cross_attention. */
double check_cross_attention_gradient(ops_env *v, const shape *s)
{
    int d = s->heads * s->head_dim, count = s->b * s->t * d, kv = s->b * s->n * 2 * d, pairs = s->heads * s->t * s->n;
    gate p = {.s = s, .x = ops_numbers(v, count), .w = ops_numbers(v, kv)};
    p.tx = ops_input(v, s, SHAPE(s->b, s->t, d), p.x);
    p.tw = ops_input(v, s, SHAPE(s->b, s->n, 2 * d), p.w);
    if (s->bias) {
        p.bias = ops_numbers(v, pairs);
        p.tbias = ops_input(v, s, SHAPE(s->heads, s->t, s->n), p.bias);
    }
    for (int i = 0; i < 2; i++)
        *(i ? &p.keys.v : &p.keys.k) = ops_tensor(v, DTYPE_F32, SHAPE(s->b, s->heads, s->n, s->head_dim), NULL);
    if (!s->residual) {
        p.ids = ops_memory(v, (size_t)(s->b * s->n), sizeof *p.ids);
        for (int i = 0; i < s->b * s->n; i++)
            p.ids[i] = i % s->n == s->n - 1 ? 8 : i % s->n < s->first || i % 3 == 1 ? 7 : i;
        p.more = ops_integers(v, SHAPE(s->b, s->n), p.ids);
    }
    float *c = ops_numbers(v, count);
    double *dq = doubles(v, count), *dkv = doubles(v, kv), *dbias = doubles(v, pairs);
    cross_back(dq, dkv, dbias, c, &p);
    const gradient_case g = {
        &p,
        cross_op,
        cross_reference,
        count,
        c,
        false,
        {{"q", p.tx, p.x, count, dq}, {"kv", p.tw, p.w, kv, dkv}, {"bias", p.tbias, p.bias, pairs, dbias}}};
    return gradient_error(v, &g);
}
