/* Tuning: what a trial computes, how long it takes with one tuning and with another, and whether it is right. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/rng.h"
#include "device/run.h"
#include "ops/ops.h"
#include "ops/tape.h"
#include "tune/tune.h"

#define PAIRS    9
#define HOPELESS 2    /* times as slow: one pair will do */
#define SAMPLES  64   /* results that are computed again by the host */
#define BOUND    1e-4 /* of the largest: sums of a few thousand products in F32 */
#define SECONDS  0.02 /* of half a pair, at least */

enum { HEADS = 16, HEAD = 64, DIM = HEADS * HEAD };

typedef struct trial trial;
typedef struct kind kind;

/* A work, or a part of one; a is the number of rows, of positions, or the side of a picture.  b: results of a row; c:
 * numbers of its sum, without a convolution's taps. */
typedef struct part {
    enum tune_work work;
    const kind *kind;
    dtype type;
    int a, b, c, kernel, stride;
} part;

/* What one of the two tunings has on the device. */
typedef struct side {
    tensor x, w, position;
    linear l;
    conv conv;
    norm n;
    kv_cache cache;
} side;

struct trial {
    run *r;
    const part *part;
    float *x, *w; /* normal numbers; w as its type holds it */
    void *stored; /* w in its type */
    int64_t rows; /* of the result */
    double most;  /* about its largest number */
    side sides[2];
};

/* One kind of work: its sizes and inputs; what it needs on the device; its op; and number i of its result. */
struct kind {
    bool (*make)(trial *t, err *e);
    bool (*open)(trial *t, side *s, err *e);
    tensor (*body)(trial *t, side *s);
    double (*expect)(const trial *t, int64_t i);
};

/* Numbers for x and, in the part's type, for w.  Large arrays repeat the first 65521 of them, which no row's length
 * divides. */
static bool make_inputs(trial *t, int64_t nx, int64_t nw, err *e)
{
    const int64_t period = 65521, counts[2] = {nx, nw};
    size_t bytes = dtype_row_bytes(t->part->type, nw);
    float *made[2] = {malloc((size_t)nx * sizeof(float)), malloc((size_t)nw * sizeof(float))};
    t->x = made[0];
    t->w = made[1];
    t->stored = malloc(bytes);
    if (!t->x || !t->w || !t->stored)
        return err_no_memory(e, "trial", (size_t)(nx + nw) * sizeof(float) + bytes);
    for (int k = 0; k < 2; k++)
        for (int64_t i = 0; i < counts[k]; i++)
            made[k][i] = i < period ? rng_normal((uint64_t)k + 1, 0, 0, (uint32_t)i) : made[k][i - period];
    dtype_from_float(t->part->type, t->stored, t->w, nw);
    dtype_to_float(t->w, t->part->type, t->stored, nw);
    return true;
}

#define DIMS(...)                                                                                                      \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                                             \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static bool put(trial *t, tensor *to, dtype type, int nd, const int64_t *shape, const void *from, err *e)
{
    return tensor_new(to, run_device(t->r), type, nd, shape, from, false, "trial", e);
}

/* ---- products ---- */

static bool product_make(trial *t, err *e)
{
    const part *p = t->part;
    t->rows = p->a;
    t->most = 4 * sqrt(p->c);
    return make_inputs(t, (int64_t)p->a * p->c, (int64_t)p->b * p->c, e);
}

static bool product_open(trial *t, side *s, err *e)
{
    const part *p = t->part;
    if (!put(t, &s->x, DTYPE_F32, DIMS(p->a, p->c), t->x, e) || !put(t, &s->w, p->type, DIMS(p->b, p->c), t->stored, e))
        return false;
    s->l.w = s->w;
    return !linear_packs(p->type) || linear_pack(t->r, &s->l.w, s->w, "trial", e);
}

static tensor product_body(trial *t, side *s)
{
    return op_linear(t->r, s->x, &s->l, ACT_NONE);
}

static double product_expect(const trial *t, int64_t i)
{
    int64_t n = t->part->b, k = t->part->c;
    double sum = 0;
    for (int64_t c = 0; c < k; c++)
        sum += (double)t->x[i / n * k + c] * (double)t->w[i % n * k + c];
    return sum;
}

static const kind product = {product_make, product_open, product_body, product_expect};

/* The gradient of w of the mean of the product. */
static bool gradient_make(trial *t, err *e)
{
    bool ok = product_make(t, e);
    t->rows = t->part->b;
    t->most = 4 / (t->part->b * sqrt(t->part->a));
    return ok;
}

static tensor gradient_body(trial *t, side *s)
{
    tape *tp = tape_new(t->r, run_error(t->r));
    tensor dw = {0};
    if (!tp)
        return dw;
    tape_begin(tp);
    tape_watch_input(tp, s->l.w);
    tensor mean = op_mean(t->r, op_linear(t->r, s->x, &s->l, ACT_NONE));
    tape_end(tp);
    tape_backward(tp, mean);
    dw = tape_gradient(tp, s->l.w);
    tape_free(tp);
    return dw;
}

static double gradient_expect(const trial *t, int64_t i)
{
    const part *p = t->part;
    double sum = 0;
    for (int64_t row = 0; row < p->a; row++)
        sum += (double)t->x[row * p->c + i % p->c];
    return sum / ((double)p->a * p->b);
}

static const kind gradient = {gradient_make, product_open, gradient_body, gradient_expect};

/* The products of two sequences of a picture for DRAWN codes, where a pass has drafts and their confirmed ones are what
 * trained models have on average (README.md): a is the most rows. */
enum { DRAWN = 30 };
static tensor drafts_body(trial *t, side *s)
{
    const int draft = run_device(t->r)->tune.draft;
    const double codes = draft < 2 ? 1 : draft < 4 ? 1.3 : draft < 8 ? 1.7 : draft < 16 ? 2.3 : 2.8;
    const tensor x = tensor_rows(s->x, 0, 2 * (int64_t)draft);
    tensor y = {0};
    for (int i = 0; i < (int)round(DRAWN / codes); i++)
        y = op_linear(t->r, x, &s->l, ACT_NONE);
    return y;
}

static const kind drafts_kind = {product_make, product_open, drafts_body, product_expect};

/* ---- rows ---- */

/* Layer norm of x[a,b], with weights of 1. */
static bool norm_make(trial *t, err *e)
{
    t->rows = t->part->a;
    t->most = 4;
    if (!make_inputs(t, t->rows * t->part->b, 2 * (int64_t)t->part->b, e))
        return false;
    float *stored = t->stored; /* F32 */
    for (int i = 0; i < 2 * t->part->b; i++)
        stored[i] = i < t->part->b;
    return true;
}

static bool norm_open(trial *t, side *s, err *e)
{
    const int64_t d = t->part->b;
    s->n.eps = 1e-5f;
    if (!put(t, &s->x, DTYPE_F32, DIMS(t->part->a, d), t->x, e) || !put(t, &s->w, DTYPE_F32, DIMS(2, d), t->stored, e))
        return false;
    s->n.w = tensor_shaped(tensor_rows(s->w, 0, 1), 1, &d);
    s->n.b = tensor_shaped(tensor_rows(s->w, 1, 1), 1, &d);
    return true;
}

static tensor norm_body(trial *t, side *s)
{
    return op_layer_norm(t->r, s->x, &s->n);
}

static double norm_expect(const trial *t, int64_t i)
{
    const int64_t d = t->part->b;
    const float *row = t->x + i / d * d;
    double mean = 0, square = 0;
    for (int64_t c = 0; c < d; c++)
        mean += (double)row[c] / (double)d;
    for (int64_t c = 0; c < d; c++)
        square += ((double)row[c] - mean) * ((double)row[c] - mean) / (double)d;
    return ((double)row[i % d] - mean) / sqrt(square + 1e-5);
}

static const kind layer_norm = {norm_make, norm_open, norm_body, norm_expect};

/* Attention of the last a positions of c: query i of head h sees the keys 0 to c - a + i.  x: their q, k and v; w: the
 * caches, k's and then v's, [heads, c, head], whose last a positions are written. */
static bool attention_make(trial *t, err *e)
{
    t->rows = t->part->a;
    t->most = 4;
    return make_inputs(t, t->rows * 3 * DIM, 2 * (int64_t)t->part->c * DIM, e);
}

static bool attention_open(trial *t, side *s, err *e)
{
    const int64_t a = t->part->a, c = t->part->c;
    const int32_t first = (int32_t)(c - a);
    return put(t, &s->x, DTYPE_F32, DIMS(1, a, 3 * DIM), t->x, e) &&
           put(t, &s->cache.k, DTYPE_F32, DIMS(1, HEADS, c, HEAD), t->w, e) &&
           put(t, &s->cache.v, DTYPE_F32, DIMS(1, HEADS, c, HEAD), t->w + c * DIM, e) &&
           put(t, &s->position, DTYPE_I32, DIMS(1), &first, e);
}

static tensor attention_body(trial *t, side *s)
{
    const attention_mask mask = {.kind = MASK_FULL, .text = t->part->c, .grid_width = 1};
    return op_attention(t->r, s->x, HEADS, &s->cache, s->position, &mask);
}

/* Number d of head h of the key (which 0) or value (1) of a position. */
static double cached(const trial *t, int which, int64_t position, int64_t h, int64_t d)
{
    const int64_t c = t->part->c, row = position - (c - t->part->a);
    return (double)(row >= 0 ? t->x[row * 3 * DIM + (1 + which) * DIM + h * HEAD + d]
                             : t->w[(which * HEADS + h) * c * HEAD + position * HEAD + d]);
}

static double attention_expect(const trial *t, int64_t i)
{
    int64_t row = i / DIM, h = i % DIM / HEAD;
    const float *q = t->x + row * 3 * DIM + h * HEAD;
    double sum = 0, all = 0;
    for (int64_t p = 0; p <= t->part->c - t->part->a + row; p++) {
        double dot = 0;
        for (int d = 0; d < HEAD; d++)
            dot += (double)q[d] * cached(t, 0, p, h, d);
        double weight = exp(dot / sqrt(HEAD));
        all += weight;
        sum += weight * cached(t, 1, p, h, i % HEAD);
    }
    return sum / all;
}

static const kind attention = {attention_make, attention_open, attention_body, attention_expect};

/* ---- convolutions of a picture of a x a and c channels to b of them, of what is above 0 in it ---- */

static int padding(const part *p)
{
    return p->stride == 1 ? p->kernel / 2 : (p->kernel - p->stride) / 2;
}

static bool conv_make(trial *t, err *e)
{
    const part *p = t->part;
    const int64_t taps = (int64_t)p->kernel * p->kernel, out = p->a / p->stride;
    t->rows = out * out;
    t->most = 4 * sqrt((double)(taps * p->c));
    return make_inputs(t, (int64_t)p->a * p->a * p->c, p->b * taps * p->c, e);
}

static bool conv_open(trial *t, side *s, err *e)
{
    const part *p = t->part;
    s->conv = (conv){.in = p->c, .out = p->b, .kernel = p->kernel, .stride = p->stride, .pad = padding(p)};
    return put(t, &s->x, DTYPE_F32, DIMS(1, p->a, p->a, p->c), t->x, e) &&
           put(t, &s->w, DTYPE_F32, DIMS(p->b, p->kernel, p->kernel, p->c), t->w, e) &&
           conv_pack(t->r, &s->conv.panels, s->w, "trial", e);
}

static tensor conv_body(trial *t, side *s)
{
    if (t->part->stride > 1)
        return op_conv2d(t->r, s->x, &s->conv, ACT_NONE, (tensor){0});
    return op_conv2d_of(t->r, s->x, &(conv_input){.act = ACT_RELU}, &s->conv, ACT_NONE);
}

static double conv_expect(const trial *t, int64_t i)
{
    const part *p = t->part;
    const int64_t out = p->a / p->stride, o = i % p->b, px = i / p->b % out, py = i / p->b / out;
    double sum = 0;
    for (int tap = 0; tap < p->kernel * p->kernel; tap++) {
        int64_t y = py * p->stride + tap / p->kernel - padding(p), x = px * p->stride + tap % p->kernel - padding(p);
        for (int64_t c = 0; c < p->c && y >= 0 && y < p->a && x >= 0 && x < p->a; c++) {
            double v = (double)t->x[(y * p->a + x) * p->c + c];
            v = p->stride == 1 ? fmax(v, 0) : v;
            sum += v * (double)t->w[(o * p->kernel * p->kernel + tap) * p->c + c];
        }
    }
    return sum;
}

static const kind convolution = {conv_make, conv_open, conv_body, conv_expect};

/* ---- a trial ---- */

static const part parts[] = {
    {TUNE_ONE_ROW, &product, DTYPE_F16, 1, 2048, 4096, 0, 0},
    {TUNE_ONE_ROW, &product, DTYPE_Q8_0, 1, 2048, 4096, 0, 0},
    {TUNE_FEW_ROWS, &product, DTYPE_F16, 3, 2048, 4096, 0, 0},
    {TUNE_FEW_ROWS, &product, DTYPE_Q8_0, 3, 2048, 4096, 0, 0},
    {TUNE_SOME_ROWS, &product, DTYPE_F16, 16, 2048, 2048, 0, 0},
    {TUNE_SOME_ROWS, &product, DTYPE_Q8_0, 16, 2048, 2048, 0, 0},
    {TUNE_MANY_ROWS, &product, DTYPE_Q8_0, 256, 1024, 1024, 0, 0},
    {TUNE_ROWS, &layer_norm, DTYPE_F32, 512, DIM, 0, 0, 0},
    {TUNE_ROWS, &attention, DTYPE_F32, 64, DIM, 64, 0, 0},
    {TUNE_DECODE, &layer_norm, DTYPE_F32, 2, DIM, 0, 0, 0},
    {TUNE_DECODE, &attention, DTYPE_F32, 1, DIM, 1024, 0, 0},
    {TUNE_PRODUCT, &product, DTYPE_F32, 64, 512, 512, 0, 0},
    {TUNE_PRODUCT_256, &product, DTYPE_F32, 256, 512, 512, 0, 0},
    {TUNE_PRODUCT_768, &product, DTYPE_F32, 768, 1024, 1024, 0, 0},
    {TUNE_CONVOLUTION, &convolution, DTYPE_F32, 128, 64, 16, 4, 2},
    {TUNE_CONVOLUTION_WIDE, &convolution, DTYPE_F32, 32, 256, 256, 1, 1},
    {TUNE_WINOGRAD, &convolution, DTYPE_F32, 256, 64, 64, 3, 1},
    {TUNE_WINOGRAD, &convolution, DTYPE_F32, 32, 256, 256, 3, 1},
    {TUNE_GRADIENT, &gradient, DTYPE_F32, 2048, 512, 512, 0, 0},
    {TUNE_DRAFTS, &drafts_kind, DTYPE_F16, 32, 2048, 4096, 0, 0},
    {TUNE_DRAFTS, &drafts_kind, DTYPE_Q8_0, 32, 2048, 4096, 0, 0},
};
enum { PARTS = sizeof parts / sizeof *parts };

static void release(trial *t)
{
    run_reset(t->r);
    for (int k = 0; k < 2; k++) {
        side *s = &t->sides[k];
        if (s->l.w.buf != s->w.buf)
            buffer_free(s->l.w.buf);
        tensor *all[] = {&s->x, &s->w, &s->position, &s->conv.panels, &s->cache.k, &s->cache.v};
        for (size_t i = 0; i < sizeof all / sizeof *all; i++)
            buffer_free(all[i]->buf);
    }
    free(t->x);
    free(t->w);
    free(t->stored);
}

/* What bandwidth or multiply-adds alone would take; 0 where nobody measured these. */
static double least_seconds(const device *d, double flops, double bytes)
{
    const limn_device_info *i = &d->info;
    return i->gflops > 0 && i->gbytes_per_s > 0 ? fmax(flops / i->gflops, bytes / i->gbytes_per_s) * 1e-9 : 0;
}

/* Compares some results with the host's.  *least: of least_seconds. */
static bool check(trial *t, side *s, double *least, err *e)
{
    double before[2], after[2];
    run_reset(t->r);
    run_counted(t->r, &before[0], &before[1]);
    tensor got = t->part->kind->body(t, s);
    run_counted(t->r, &after[0], &after[1]);
    *least = least_seconds(run_device(t->r), after[0] - before[0], after[1] - before[1]);
    int64_t n = tensor_count(&got);
    float *y = malloc((size_t)n * sizeof *y + 1);
    if (!y)
        return err_no_memory(e, "trial", (size_t)n * sizeof *y);
    run_read(t->r, got, y);
    bool ok = run_finish(t->r, e);
    for (int i = 0; ok && i < SAMPLES; i++) {
        int64_t at = (int64_t)((double)(n - 1) * i / (SAMPLES - 1));
        double wanted = t->part->kind->expect(t, at);
        if (!(fabs((double)y[at] - wanted) <= BOUND * t->most))
            ok = err_set(e, ERR_FAILED, "wrong result: %g and not %g", (double)y[at], wanted);
    }
    free(y);
    return ok;
}

/* Seconds of the op with one of the tunings. */
static bool clock_body(trial *t, int which, const tuning *tune, int repeat, double *seconds, err *e)
{
    run_device(t->r)->tune = *tune;
    double start = clock_seconds();
    for (int k = 0; k < repeat; k++) {
        run_reset(t->r);
        t->part->kind->body(t, &t->sides[which]);
    }
    bool ok = run_finish(t->r, e);
    *seconds = (clock_seconds() - start) / repeat;
    return ok;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, by_size);
    return x[n / 2];
}

/* Both tunings in pairs, one after the other and then in the other order, so that what else the machine does meets
 * both: the medians of their times and of the pairs' ratios. */
static bool compare(trial *t, const tuning both[2], double seconds[2], double *ratio, err *e)
{
    double times[2][PAIRS], ratios[PAIRS], warm;
    /* CLBlast compiles when its parameters change */
    bool compiles = both[0].clblast_set != both[1].clblast_set;
    int pairs = compiles ? 3 : PAIRS, repeat = 1;
    for (int i = -2; i < pairs; i++) {
        for (int k = 0; k < 2; k++) {
            int which = (i + 2) % 2 ? 1 - k : k;
            if ((compiles && !clock_body(t, which, &both[which], 1, &warm, e)) ||
                !clock_body(t, which, &both[which], repeat, &times[which][i < 0 ? 0 : i], e))
                return false;
        }
        if (i == -1 && times[0][0] < SECONDS)
            repeat = (int)ceil(SECONDS / fmax(times[0][0], 1e-6));
        if (i == -1 && times[1][0] > HOPELESS * times[0][0])
            pairs = 1;
        if (i >= 0)
            ratios[i] = times[1][i] / times[0][i];
    }
    for (int k = 0; k < 2; k++)
        seconds[k] = median(times[k], pairs);
    *ratio = median(ratios, pairs);
    return true;
}

/* One part of a work with both tunings. */
static bool try_part(run *r, const part *p, tune_result *result, double *ratio, err *e)
{
    trial t = {.r = r, .part = p};
    double seconds[2], least = 0;
    bool ok = p->kind->make(&t, e);
    for (int k = 0; ok && k < 2; k++) {
        run_device(r)->tune = result->ran[k];
        ok = p->kind->open(&t, &t.sides[k], e) && check(&t, &t.sides[k], &least, e);
        result->ran[k] = run_device(r)->tune; /* with smaller groups, if the driver refused these */
    }
    ok = ok && compare(&t, result->ran, seconds, ratio, e);
    if (!ok && e->code == ERR_NONE)
        run_finish(r, e); /* it has the reason */
    for (int k = 0; ok && k < 2; k++)
        result->seconds[k][p->work] += seconds[k];
    result->least[p->work] += ok ? least : 0;
    release(&t);
    return ok;
}

void tune_trial(device *d, const tuning both[2], unsigned works, tune_result *result)
{
    err e = {0};
    d->tune = both[0];
    d->trial = true;
    *result = (tune_result){.ran = {both[0], both[1]}};
    int count[TUNE_WORKS] = {0};
    run *r = run_new(d, &e);
    bool ok = r != NULL;
    for (int i = 0; ok && i < PARTS; i++) {
        enum tune_work w = parts[i].work;
        double ratio = 1;
        if (!((works & ~result->unfit) >> w & 1))
            continue;
        ok = try_part(r, &parts[i], result, &ratio, &e);
        if (!ok && e.cause == LIMN_CAUSE_MEMORY_LIMIT && tuning_same(&both[0], &both[1])) {
            result->unfit |= 1u << w;
            snprintf(result->text, sizeof result->text, "%.255s", e.text);
            e = (err){0};
            ok = true;
        } else if (ok) /* the mean of the parts' logarithms */
            result->ratio[w] += (log(ratio) - result->ratio[w]) / ++count[w];
    }
    for (int w = 0; w < TUNE_WORKS; w++)
        result->ratio[w] = count[w] && !(result->unfit >> w & 1) ? exp(result->ratio[w]) : 0;
    run_free(r);
    result->right = ok;
    if (!ok)
        snprintf(result->text, sizeof result->text, "%.255s", e.text);
}
