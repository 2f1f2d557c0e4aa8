/* Tuning: what a trial computes, how long it takes, and whether it is right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "device/run.h"
#include "ops/ops.h"
#include "tune/tune.h"

#define ROUNDS  5
#define SAMPLES 64   /* results that are computed again by the host */
#define BOUND   1e-4 /* of the largest: sums of a few thousand products in F32 */
#define SECONDS 0.02 /* of a round, at least */

/* A work's inputs, on the device and on the host, and its op. */
typedef struct trial {
    run *r;
    float *x, *w; /* normal numbers: products read both, the others x */
    tensor xt, wt, position;
    linear l;
    conv c;
    norm n;
    kv_cache cache;
    int64_t m, k, o; /* rows, and as the work has them */
    tensor (*body)(struct trial *t);
    double (*expect)(const struct trial *t, int64_t i); /* element i of the result */
    double most;                                        /* about the largest result */
} trial;

static bool inputs(trial *t, int64_t nx, int64_t nw, err *e)
{
    t->x = malloc((size_t)nx * sizeof *t->x);
    t->w = malloc((size_t)nw * sizeof *t->w);
    for (int64_t i = 0; t->x && t->w && i < nx; i++)
        t->x[i] = rng_normal(1, 0, 0, (uint32_t)i);
    for (int64_t i = 0; t->x && t->w && i < nw; i++)
        t->w[i] = rng_normal(2, 0, 0, (uint32_t)i);
    return t->x && t->w ? true : err_no_memory(e, "trial", (size_t)(nx + nw) * sizeof *t->x);
}

/* ---- products ---- */

static tensor product_body(trial *t)
{
    return op_linear(t->r, t->xt, &t->l, ACT_NONE);
}

static double product_expect(const trial *t, int64_t i)
{
    double sum = 0;
    for (int64_t c = 0; c < t->k; c++)
        sum += (double)t->x[i / t->o * t->k + c] * t->w[i % t->o * t->k + c];
    return sum;
}

static bool product_open(trial *t, int64_t m, int64_t o, int64_t k, err *e)
{
    t->m = m;
    t->o = o;
    t->k = k;
    t->body = product_body;
    t->expect = product_expect;
    t->most = 4 * sqrt((double)k);
    return inputs(t, m * k, o * k, e) &&
           tensor_new(&t->xt, run_device(t->r), DTYPE_F32, 2, (int64_t[]){m, k}, t->x, false, "trial", e) &&
           tensor_new(&t->wt, run_device(t->r), DTYPE_F32, 2, (int64_t[]){o, k}, t->w, false, "trial", e) &&
           (t->l.w = t->wt, true);
}

/* ---- rows ---- */

enum { LENGTH = 64, HEADS = 16, HEAD = 64, DIM = HEADS * HEAD };

/* Layer norm of x[m,k], with weights of 1. */
static double norm_expect(const trial *t, int64_t i)
{
    const float *row = t->x + i / t->k * t->k;
    double mean = 0, square = 0;
    for (int64_t c = 0; c < t->k; c++)
        mean += row[c] / (double)t->k;
    for (int64_t c = 0; c < t->k; c++)
        square += (row[c] - mean) * (row[c] - mean) / (double)t->k;
    return (row[i % t->k] - mean) / sqrt(square + t->n.eps);
}

static tensor norm_body(trial *t)
{
    return op_layer_norm(t->r, t->xt, &t->n);
}

static bool norm_open(trial *t, err *e)
{
    t->m = 512;
    t->k = t->o = DIM;
    t->n.eps = 1e-5f;
    t->body = norm_body;
    t->expect = norm_expect;
    t->most = 4;
    if (!inputs(t, t->m * DIM, 2 * DIM, e))
        return false;
    for (int i = 0; i < 2 * DIM; i++)
        t->w[i] = i < DIM;
    if (!tensor_new(&t->xt, run_device(t->r), DTYPE_F32, 2, (int64_t[]){t->m, DIM}, t->x, false, "trial", e) ||
        !tensor_new(&t->wt, run_device(t->r), DTYPE_F32, 2, (int64_t[]){2, DIM}, t->w, false, "trial", e))
        return false;
    t->n.w = tensor_shaped(tensor_rows(t->wt, 0, 1), 1, (int64_t[]){DIM});
    t->n.b = tensor_shaped(tensor_rows(t->wt, 1, 1), 1, (int64_t[]){DIM});
    return true;
}

/* All positions at once: query i of head h sees the keys 0 to i. */
static double attention_expect(const trial *t, int64_t i)
{
    int64_t row = i / DIM, c = i % DIM, first = c / HEAD * HEAD;
    const float *q = t->x + row * 3 * DIM + first;
    double sum = 0, all = 0;
    for (int64_t p = 0; p <= row; p++) {
        const float *k = t->x + p * 3 * DIM + DIM + first;
        double dot = 0;
        for (int d = 0; d < HEAD; d++)
            dot += (double)q[d] * k[d];
        double weight = exp(dot / sqrt(HEAD));
        all += weight;
        sum += weight * t->x[p * 3 * DIM + 2 * DIM + c];
    }
    return sum / all;
}

static tensor attention_body(trial *t)
{
    const attention_mask mask = {.kind = MASK_FULL, .text = LENGTH, .grid_width = 1};
    return op_attention(t->r, t->xt, HEADS, &t->cache, t->position, &mask);
}

static bool attention_open(trial *t, err *e)
{
    const int64_t cache[] = {1, HEADS, LENGTH, HEAD};
    const int32_t zero = 0;
    device *d = run_device(t->r);
    t->m = LENGTH;
    t->o = DIM;
    t->body = attention_body;
    t->expect = attention_expect;
    t->most = 4;
    return inputs(t, LENGTH * 3 * DIM, 1, e) &&
           tensor_new(&t->xt, d, DTYPE_F32, 3, (int64_t[]){1, LENGTH, 3 * DIM}, t->x, false, "trial", e) &&
           tensor_new(&t->cache.k, d, DTYPE_F32, 4, cache, NULL, false, "trial", e) &&
           tensor_new(&t->cache.v, d, DTYPE_F32, 4, cache, NULL, false, "trial", e) &&
           tensor_new(&t->position, d, DTYPE_I32, 1, (int64_t[]){1}, &zero, false, "trial", e);
}

/* ---- convolution: 3 x 3, 64 channels, 64 x 64 ---- */

enum { SIDE = 64, CHANNELS = 64 };

static double conv_expect(const trial *t, int64_t i)
{
    int64_t o = i % CHANNELS, px = i / CHANNELS % SIDE, py = i / CHANNELS / SIDE;
    double sum = 0;
    for (int64_t tap = 0; tap < 9; tap++) {
        int64_t y = py + tap / 3 - 1, x = px + tap % 3 - 1;
        for (int64_t c = 0; c < CHANNELS && y >= 0 && y < SIDE && x >= 0 && x < SIDE; c++)
            sum += (double)t->x[(y * SIDE + x) * CHANNELS + c] * t->w[(o * 9 + tap) * CHANNELS + c];
    }
    return sum;
}

static tensor conv_body(trial *t)
{
    return op_conv2d(t->r, t->xt, &t->c, ACT_NONE, (tensor){0});
}

static bool conv_open(trial *t, err *e)
{
    t->m = SIDE * SIDE;
    t->o = CHANNELS;
    t->body = conv_body;
    t->expect = conv_expect;
    t->most = 4 * sqrt(9.0 * CHANNELS);
    t->c = (conv){.in = CHANNELS, .out = CHANNELS, .kernel = 3, .stride = 1, .pad = 1};
    device *d = run_device(t->r);
    return inputs(t, SIDE * SIDE * CHANNELS, CHANNELS * 9 * CHANNELS, e) &&
           tensor_new(&t->xt, d, DTYPE_F32, 4, (int64_t[]){1, SIDE, SIDE, CHANNELS}, t->x, false, "trial", e) &&
           tensor_new(&t->wt, d, DTYPE_F32, 4, (int64_t[]){CHANNELS, 3, 3, CHANNELS}, t->w, false, "trial", e) &&
           conv_pack(t->r, &t->c.panels, t->wt, "trial", e);
}

/* ---- a work ---- */

static void release(trial *t)
{
    run_reset(t->r);
    tensor *all[] = {&t->xt, &t->wt, &t->position, &t->c.panels, &t->cache.k, &t->cache.v};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        buffer_free(all[i]->buf);
    free(t->x);
    free(t->w);
}

/* Compares some results with the host's. */
static bool check(trial *t, err *e)
{
    int64_t n = t->m * t->o;
    float *y = malloc((size_t)n * sizeof *y);
    if (!y)
        return err_no_memory(e, "trial", (size_t)n * sizeof *y);
    run_reset(t->r);
    run_read(t->r, t->body(t), y);
    bool ok = run_finish(t->r, e);
    for (int s = 0; ok && s < SAMPLES; s++) {
        int64_t i = (int64_t)((double)(n - 1) * s / (SAMPLES - 1));
        double wanted = t->expect(t, i);
        if (!(fabs(y[i] - wanted) <= BOUND * t->most))
            ok = err_set(e, ERR_FAILED, "wrong result: %g and not %g", y[i], wanted);
    }
    free(y);
    return ok;
}

/* The fastest of some rounds: other programs can only add. */
static bool clock_body(trial *t, double *seconds, err *e)
{
    int repeat = 1;
    for (int i = -2; i < ROUNDS; i++) {
        double start = clock_seconds();
        for (int k = 0; k < repeat; k++) {
            run_reset(t->r);
            t->body(t);
        }
        if (!run_finish(t->r, e))
            return false;
        double took = (clock_seconds() - start) / repeat;
        if (i == -1 && took < SECONDS)
            repeat = (int)ceil(SECONDS / fmax(took, 1e-6));
        if (i == 0 || (i > 0 && took < *seconds))
            *seconds = took;
    }
    return true;
}

static bool open_work(trial *t, int part, enum tune_work which, err *e)
{
    static const int rows[] = {64, 256, 768};
    switch (which) {
    case TUNE_FEW_ROWS:
        return product_open(t, part ? 8 : 1, 1024, 1024, e);
    case TUNE_ROWS:
        return part ? attention_open(t, e) : norm_open(t, e);
    case TUNE_CONVOLUTION:
        return conv_open(t, e);
    default:
        return product_open(t, rows[which - TUNE_PRODUCT], 512, 512, e);
    }
}

void tune_trial(device *d, const tuning *tune, unsigned works, tune_result *result)
{
    err e = {0};
    d->tune = *tune;
    d->trial = true;
    *result = (tune_result){.right = true};
    run *r = run_new(d, &e);
    bool ok = r != NULL;
    for (int w = 0; ok && w < TUNE_WORKS; w++)
        for (int part = 0; ok && (works >> w & 1) && part < (w == TUNE_FEW_ROWS || w == TUNE_ROWS ? 2 : 1); part++) {
            trial t = {.r = r};
            double seconds = 0;
            ok = open_work(&t, part, (enum tune_work)w, &e) && check(&t, &e) && clock_body(&t, &seconds, &e);
            result->seconds[w] += seconds;
            release(&t);
        }
    run_free(r);
    result->ran = d->tune;
    result->right = ok;
    snprintf(result->text, sizeof result->text, "%.255s", ok ? "" : e.text);
}
