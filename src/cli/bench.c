/* limn bench: what the device can do at most, and how near the products come to it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/common.h"
#include "device/run.h"
#include "ops/ops.h"

#define ROUNDS  9    /* timed; the median counts */
#define WARM_UP 2    /* drivers compile again for each work-group size */
#define SECONDS 0.15 /* a round lasts at least so long */

typedef struct bench {
    run *r;
    json_t *rows;     /* NULL: text */
    double peak;      /* FLOP/s */
    double bandwidth; /* bytes/s */
} bench;

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef void bench_body(run *r, void *context);

/* Median seconds of one body. */
static bool measure(bench *b, bench_body *body, void *context, double *seconds, err *e)
{
    double times[ROUNDS];
    int repeat = 1;
    for (int i = -WARM_UP; i < ROUNDS; i++) {
        double start = clock_seconds();
        for (int k = 0; k < repeat; k++) {
            run_reset(b->r);
            body(b->r, context);
        }
        if (!run_finish(b->r, e) || !interrupt_check(e))
            return false;
        double took = clock_seconds() - start;
        if (i == -1 && took < SECONDS)
            repeat = (int)ceil(SECONDS / (took > 1e-6 ? took : 1e-6));
        if (i >= 0)
            times[i] = took / repeat;
    }
    qsort(times, ROUNDS, sizeof *times, by_value);
    *seconds = times[ROUNDS / 2];
    return true;
}

/* limit: of the same unit; 0 where the row is a limit itself. */
static void row(bench *b, const char *name, double value, const char *unit, double limit)
{
    if (b->rows) {
        json_t *o = json_pack("{s:s, s:f, s:s}", "name", name, "value", value, "unit", unit);
        if (limit > 0) {
            json_object_set_new(o, "limit", json_real(limit));
            json_object_set_new(o, "fraction", json_real(value / limit));
        }
        json_array_append_new(b->rows, o);
    } else if (limit > 0) {
        printf("%-36s %9.1f %-8s %3.0f%% of %.1f\n", name, value, unit, 100 * value / limit, limit);
    } else {
        printf("%-36s %9.1f %s\n", name, value, unit);
    }
    fflush(stdout);
}

/* ---- the limits ---- */

/* Drivers put few work-items into one group, on one core of a CPU. */
static work items_of(run *r, int n)
{
    return (work){.global = {(size_t)n}, .local = {run_device(r)->tune.panels ? 1 : 0}};
}

typedef struct limit_case {
    tensor x, y;
    int items, amount; /* rounds, or elements */
} limit_case;

static void peak_body(run *r, void *context)
{
    limit_case *c = context;
    LAUNCH(r, "bench:peak", items_of(r, c->items), ARG_T(c->y), ARG_I(c->amount), ARG_F(0.999f), ARG_F(0.001f));
}

static void read_body(run *r, void *context)
{
    limit_case *c = context;
    LAUNCH(r, "bench:read", items_of(r, c->items), ARG_T(c->x), ARG_T(c->y), ARG_I(c->amount));
}

static bool measure_limits(bench *b, tensor memory, err *e)
{
    device *d = run_device(b->r);
    bool cpu = d->tune.panels;
    limit_case c = {.x = memory, .items = (int)d->info.compute_units * (cpu ? 16 : 1024), .amount = cpu ? 40000 : 4000};
    double seconds;
    if (!tensor_new(&c.y, d, DTYPE_F32, 1, (int64_t[]){1 << 16}, NULL, false, "sums", e))
        return false;
    bool ok = measure(b, peak_body, &c, &seconds, e);
    if (ok) {
        b->peak = 2.0 * 12 * (cpu ? 16 : 4) * (double)c.amount * c.items / seconds;
        row(b, "multiply-add peak, F32", b->peak * 1e-9, "GFLOP/s", 0);
        c.items = cpu ? 512 : 16384;
        c.amount = (int)(tensor_count(&memory) / c.items / 64 * 64);
        ok = measure(b, read_body, &c, &seconds, e);
    }
    if (ok) {
        b->bandwidth = 4.0 * (double)c.amount * c.items / seconds;
        row(b, "read bandwidth, 256 MiB", b->bandwidth * 1e-9, "GB/s", 0);
    }
    buffer_free(c.y.buf);
    return ok;
}

/* ---- products ---- */

typedef struct product {
    tensor x;
    linear l;
} product;

static void product_body(run *r, void *context)
{
    product *p = context;
    op_linear(r, p->x, &p->l, ACT_NONE);
}

/* y[m,n] = x[m,k] w[n,k]^T with weights of some bits in `memory`, whatever they are. */
static bool measure_product(bench *b, tensor memory, dtype type, int64_t m, int64_t n, int64_t k, err *e)
{
    product p = {.l.w = memory};
    double seconds;
    char name[64];
    p.l.w.type = type;
    p.l.w = tensor_shaped(p.l.w, 2, (int64_t[]){n, k});
    if (!tensor_new(&p.x, run_device(b->r), DTYPE_F32, 2, (int64_t[]){m, k}, NULL, false, "rows", e))
        return false;
    float *host = array_new((size_t)(m * k), sizeof *host, "rows", e);
    if (host)
        run_write(b->r, p.x, host);
    bool ok = host && measure(b, product_body, &p, &seconds, e);
    if (ok && m > 1) {
        snprintf(name, sizeof name, "product %lld x %lld x %lld, %s", (long long)m, (long long)n, (long long)k,
                 dtype_table[type].name);
        row(b, name, 2.0 * (double)(m * n * k) / seconds * 1e-9, "GFLOP/s", b->peak * 1e-9);
    } else if (ok) {
        snprintf(name, sizeof name, "matrix-vector %lld x %lld, %s", (long long)n, (long long)k,
                 dtype_table[type].name);
        row(b, name, (double)dtype_row_bytes(type, n * k) / seconds * 1e-9, "GB/s", b->bandwidth * 1e-9);
    }
    free(host);
    buffer_free(p.x.buf);
    return ok;
}

static bool measure_all(bench *b, err *e)
{
    device *d = run_device(b->r);
    int64_t rows = 16384;
    while (rows * 4096 * 4 > (int64_t)d->info.max_allocation || (uint64_t)rows * 4096 * 8 > d->memory_limit)
        rows /= 2;
    tensor memory = {0};
    void *zeros = calloc((size_t)rows * 4096, 4);
    bool ok = zeros ? tensor_new(&memory, d, DTYPE_F32, 2, (int64_t[]){rows, 4096}, zeros, false, "matrix", e)
                    : err_no_memory(e, "matrix", (uint64_t)rows * 4096 * 4);
    free(zeros);
    ok = ok && measure_limits(b, memory, e);
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
    for (int i = 0; ok && i < 4; i++)
        ok = measure_product(b, memory, types[i], 1, rows, 4096, e);
    static const int sizes[] = {64, 256, 1024};
    for (int i = 0; ok && i < 3; i++)
        ok = measure_product(b, memory, DTYPE_F32, sizes[i], i < 2 ? 4096 : 1024, 1024, e);
    buffer_free(memory.buf);
    if (ok) {
        d->info.gflops = b->peak * 1e-9;
        d->info.gbytes_per_s = b->bandwidth * 1e-9;
        err ignored = {0}; /* without a cache directory there is no place for the score */
        if (!device_score_save(&d->info, &ignored))
            say(LOG_INFO, "%s", ignored.text);
    }
    return ok;
}

int command_bench(const options *o)
{
    err e = {0};
    limn_device *d = command_device(o, &e);
    bench b = {.r = d ? run_new(d, &e) : NULL};
    interrupt_catch();
    bool ok = b.r;
    if (ok && options_given(o, "json"))
        b.rows = json_array();
    else if (ok)
        printf("%s (%s)\n", d->info.name, d->info.platform_name);
    ok = ok && measure_all(&b, &e);
    if (ok && b.rows)
        print_json(json_pack("{s:o, s:o, s:o}", "device", json_text(d->info.name), "platform",
                             json_text(d->info.platform_name), "rows", b.rows));
    else
        json_decref(b.rows);
    run_free(b.r);
    limn_device_free(&d);
    return ok ? 0 : report(&e);
}
