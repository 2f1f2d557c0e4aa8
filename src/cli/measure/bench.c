/* limn bench: what the device can do at most, and how near to that its kernels and whole works come. */
#include "cli/measure/bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cli/commands.h"
#include "cli/common.h"

#define ROUNDS  9    /* timed; the median counts */
#define WARM_UP 2    /* drivers compile again for each work-group size */
#define SECONDS 0.15 /* a round lasts at least so long */

static const bench_case *const groups[] = {bench_op_cases,    bench_work_cases,  bench_diffusion_cases,
                                           bench_codec_cases, bench_train_cases, bench_sweep_cases};
enum { GROUPS = sizeof groups / sizeof *groups };

/* ---- the clock ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, by_value);
    return values[n / 2];
}

/* Median seconds of so many rounds (at most ROUNDS), each of `least` seconds or more. */
static bool clock_rounds(run *r, bench_body *body, void *context, int rounds, double least, double *seconds,
                         double *flops, double *bytes, err *e)
{
    double times[ROUNDS], before[2], after[2];
    int repeat = 1;
    for (int i = -WARM_UP; i < rounds; i++) {
        run_counted(r, &before[0], &before[1]);
        double start = clock_seconds();
        for (int k = 0; k < repeat; k++) {
            run_reset(r);
            body(r, context);
        }
        if (!run_finish(r, e) || !interrupt_check(e))
            return false;
        double took = clock_seconds() - start;
        run_counted(r, &after[0], &after[1]);
        if (i == -1 && took < least)
            repeat = (int)ceil(least / (took > 1e-6 ? took : 1e-6));
        if (i == -1 && took > 1 && rounds > 3)
            rounds = 3;
        if (i >= 0)
            times[i] = took / repeat;
    }
    *seconds = bench_median(times, rounds);
    if (flops)
        *flops = (after[0] - before[0]) / repeat;
    if (bytes)
        *bytes = (after[1] - before[1]) / repeat;
    return true;
}

prediction bench_predict(const bench *b, device *d, bool recorded)
{
    const launch_list *l = device_launches(d);
    prediction p = {0};
    for (size_t i = 0; i < l->n; i++)
        if (!recorded || l->list[i].recorded)
            predict_launch(&p, b->on, &l->list[i], recorded ? l->list[i].times / l->replays : l->list[i].times);
    return p;
}

static bool predict_body(bench *b, run *r, bench_body *body, void *context, double *seconds, double *flops,
                         double *bytes, err *e)
{
    device_launches_clear(run_device(r));
    run_reset(r);
    body(r, context);
    if (!run_finish(r, e))
        return false;
    b->guess = bench_predict(b, run_device(r), false);
    *seconds = predict_seconds(&b->guess);
    if (flops)
        *flops = b->guess.flops;
    if (bytes)
        *bytes = b->guess.bytes;
    return true;
}

bool bench_measure(bench *b, run *r, bench_body *body, void *context, double *seconds, double *flops, double *bytes,
                   err *e)
{
    if (b->on)
        return predict_body(b, r, body, context, seconds, flops, bytes, e);
    return clock_rounds(r, body, context, ROUNDS, SECONDS, seconds, flops, bytes, e);
}

/* ---- rows ---- */

double bench_limit(const bench *b, double flops, double bytes)
{
    return fmax(flops / b->peak, bytes / b->bandwidth);
}

/* Whether more of the unit is better. */
static bool is_rate(const char *unit)
{
    return strstr(unit, "/s") != NULL;
}

/* How many times as fast as before: 0 where that has no such row. */
static double against(const bench *b, const char *name, const bench_result *w)
{
    size_t i;
    json_t *row;
    json_array_foreach(b->before, i, row)
    {
        const char *was = json_string_value(json_object_get(row, "name")),
                   *unit = json_string_value(json_object_get(row, "unit"));
        double value = json_number_value(json_object_get(row, "value"));
        if (was && unit && !strcmp(was, name) && !strcmp(unit, w->unit) && value > 0 && w->value > 0)
            return is_rate(unit) ? w->value / value : value / w->value;
    }
    return 0;
}

/* "12.3 ms" */
static const char *time_text(double seconds, char out[32])
{
    if (seconds < 1e-3)
        snprintf(out, 32, "%.3g us", 1e6 * seconds);
    else if (seconds < 1)
        snprintf(out, 32, "%.3g ms", 1e3 * seconds);
    else
        snprintf(out, 32, "%.3g s", seconds);
    return out;
}

static double number_of(const json_t *row, const char *key)
{
    return json_number_value(json_object_get(row, key));
}

void bench_print(const json_t *row)
{
    char took[32], by_bytes[32], by_flops[32];
    const char *skipped = json_string_value(json_object_get(row, "skipped"));
    double bytes = number_of(row, "bandwidth_seconds"), flops = number_of(row, "multiply_add_seconds");
    const json_t *predicted = json_object_get(row, "predicted_seconds");
    printf("%-58s", json_string_value(json_object_get(row, "name")));
    if (predicted) {
        printf(" %s,", time_text(number_of(row, "seconds"), took));
        printf(" predicted %s", time_text(json_number_value(json_array_get(predicted, 0)), took));
        printf(" to %s", time_text(json_number_value(json_array_get(predicted, 1)), took));
    } else if (skipped) {
        fputs(" skipped: ", stdout);
        print_clean(skipped);
    } else {
        printf(" %9.4g %-8s", number_of(row, "value"), json_string_value(json_object_get(row, "unit")));
    }
    if (number_of(row, "ratio") > 0)
        printf(" %5.2fx", number_of(row, "ratio"));
    if (json_object_get(row, "fraction"))
        printf(" %4.0f%%  %s; limits: bandwidth %s, multiply-adds %s", 100 * number_of(row, "fraction"),
               time_text(number_of(row, "seconds"), took), bytes > 0 ? time_text(bytes, by_bytes) : "-",
               flops > 0 ? time_text(flops, by_flops) : "-");
    printf("\n");
    if (json_object_get(row, "predicted"))
        predict_print(json_object_get(row, "predicted"));
    fflush(stdout);
}

static void print_heard(void *context, const json_t *row)
{
    const options *o = context;
    bench_print(row);
    if (options_position(o, "verbose") > options_position(o, "quiet"))
        predict_print_kernels(json_object_get(row, "predicted"));
}

static void add_row(bench *b, json_t *row)
{
    json_array_append_new(b->rows, row);
    if (b->heard)
        b->heard(b->hearer, row);
}

void bench_row(bench *b, const char *name, const char *part, const bench_result *w)
{
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s%s", name, part ? ": " : "", part ? part : "");
    double ratio = against(b, whole, w);
    json_t *o = json_pack("{s:s, s:o, s:s}", "name", whole, "value", json_finite(w->value), "unit", w->unit);
    if (w->seconds > 0)
        json_object_set_new(o, "seconds", json_finite(w->seconds));
    if (w->bytes > 0)
        json_object_set_new(o, "bandwidth_seconds", json_finite(w->bytes / b->bandwidth));
    if (w->flops > 0)
        json_object_set_new(o, "multiply_add_seconds", json_finite(w->flops / b->peak));
    if (w->flops > 0 || w->bytes > 0)
        json_object_set_new(o, "fraction", json_finite(bench_limit(b, w->flops, w->bytes) / w->seconds));
    if (ratio > 0)
        json_object_set_new(o, "ratio", json_finite(ratio));
    if (b->guess.launches > 0)
        json_object_set_new(o, "predicted", predict_json(&b->guess));
    b->guess = (prediction){0};
    add_row(b, o);
}

void bench_skip(bench *b, const char *name, const char *why)
{
    add_row(b, json_pack("{s:s, s:o}", "name", name, "skipped", json_text(why)));
}

bool bench_needs_device(bench *b, const bench_case *c)
{
    if (b->on)
        bench_skip(b, c->name, "it isn't predicted: it asks the device itself");
    return b->on;
}

/* ---- the limits ---- */

/* Drivers put few work-items into one group, on one core of a CPU. */
static work items_of(run *r, int n)
{
    return (work){.global = {(size_t)n}, .local = {run_device(r)->tune.cpu_form ? 1 : 0}};
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

/* b->peak and b->bandwidth, the medians of so many rounds. */
static bool measure_limits(bench *b, int rounds, err *e)
{
    if (b->on) {
        b->peak = b->on->gflops * 1e9;
        b->bandwidth = b->on->gbytes * 1e9;
        return true;
    }
    bool cpu = b->d->tune.cpu_form;
    limit_case c = {
        .x = b->zeros, .items = (int)b->d->info.compute_units * (cpu ? 16 : 1024), .amount = cpu ? 40000 : 4000};
    double seconds;
    const int64_t sums = c.items > 1 << 16 ? c.items : 1 << 16; /* each work-item writes one */
    if (!tensor_new(&c.y, b->d, DTYPE_F32, 1, &sums, NULL, false, "sums", e))
        return false;
    bool ok = clock_rounds(b->r, peak_body, &c, rounds, SECONDS, &seconds, NULL, NULL, e);
    if (ok) {
        b->peak = 2.0 * 12 * (cpu ? 16 : 4) * (double)c.amount * c.items / seconds;
        c.items = cpu ? 512 : 16384;
        c.amount = (int)(tensor_count(&b->zeros) / c.items / 64 * 64);
        ok = clock_rounds(b->r, read_body, &c, rounds, SECONDS, &seconds, NULL, NULL, e);
    }
    if (ok)
        b->bandwidth = 4.0 * (double)c.amount * c.items / seconds;
    buffer_free(c.y.buf);
    return ok;
}

static void report_limits(bench *b)
{
    char name[64];
    bench_row(b, "multiply-add peak, F32", NULL, &(bench_result){.value = b->peak * 1e-9, .unit = "GFLOP/s"});
    snprintf(name, sizeof name, "read bandwidth, %lld MiB", (long long)(tensor_count(&b->zeros) >> 18));
    bench_row(b, name, NULL, &(bench_result){.value = b->bandwidth * 1e-9, .unit = "GB/s"});
}

static void save_score(bench *b)
{
    err ignored = {0}; /* without a cache directory there is no place for the score */
    b->d->info.gflops = b->peak * 1e-9;
    b->d->info.gbytes_per_s = b->bandwidth * 1e-9;
    if (!device_score_save(&b->d->info, &ignored))
        say(LOG_INFO, "%s", ignored.text);
}

static bool make_zeros(bench *b, err *e)
{
    int64_t rows = 16384;
    while (rows * 4096 * 4 > (int64_t)b->d->info.max_allocation || (uint64_t)rows * 4096 * 8 > b->d->memory_limit)
        rows /= 2;
    void *zeros = calloc((size_t)rows * 4096, 4);
    bool ok = zeros ? tensor_new(&b->zeros, b->d, DTYPE_F32, 1, (int64_t[]){rows * 4096}, zeros, false, "bench", e)
                    : err_no_memory(e, "bench", (uint64_t)rows * 4096 * 4);
    free(zeros);
    return ok;
}

/* ---- the command ---- */

/* Whether the case is asked for: by a pattern, or as part of the default. */
static bool is_chosen(const options *o, const bench_case *c)
{
    for (int i = 0; i < o->n_operands; i++)
        if (os_matches(o->operands[i], c->name))
            return true;
    if (o->n_operands == 0 && options_given(o, "model"))
        return c->what && !strcmp(c->what, "model");
    return o->n_operands == 0 && c->quick;
}

static bool check_patterns(const options *o, err *e)
{
    for (int i = 0; i < o->n_operands; i++) {
        bool any = false;
        for (int g = 0; g < GROUPS; g++)
            for (const bench_case *c = groups[g]; c->name; c++)
                any = any || os_matches(o->operands[i], c->name);
        if (!any)
            return err_set(e, ERR_USAGE, "bench: \"%.80s\" is the name of no measurement (limn bench --list has them)",
                           o->operands[i]);
    }
    return true;
}

static int list(const options *o)
{
    for (int g = 0; g < GROUPS; g++)
        for (const bench_case *c = groups[g]; c->name; c++)
            if (o->n_operands == 0 || is_chosen(o, c))
                printf("%s%s\n", c->name, c->quick ? "  (default)" : "");
    return 0;
}

static bool read_before(bench *b, json_t **file, err *e)
{
    const char *path = options_text(b->o, "compare", NULL);
    json_error_t why;
    if (!path)
        return true;
    if (!input_check(path, e))
        return false;
    *file = json_load_file(path, 0, &why);
    b->before = json_object_get(*file, "rows");
    return json_is_array(b->before) || err_set(e, ERR_FAILED, "%s: is not the output of limn bench --json%s%s", path,
                                               *file ? "" : ": ", *file ? "" : why.text);
}

bool bench_device(bench *b, err *e)
{
    if (!make_zeros(b, e) || !measure_limits(b, ROUNDS, e))
        return false;
    report_limits(b);
    if (!b->on)
        save_score(b);
    return true;
}

static bool measure_case(bench *b, const bench_case *c, err *e)
{
    run_reset(b->r);
    /* again before each: other programs, and heat, change them */
    return measure_limits(b, 3, e) && c->measure(b, c, e);
}

bool bench_run(bench *b, const char *name, err *e)
{
    for (int g = 0; g < GROUPS; g++)
        for (const bench_case *c = groups[g]; c->name; c++)
            if (!strcmp(c->name, name))
                return measure_case(b, c, e);
    return err_set(e, ERR_FAILED, "bench: there is no measurement \"%s\" (a bug of limn's)", name);
}

static bool measure_all(bench *b, err *e)
{
    bool ok = bench_device(b, e);
    for (int g = 0; ok && g < GROUPS; g++)
        for (const bench_case *c = groups[g]; ok && c->name; c++)
            if (is_chosen(b->o, c))
                ok = measure_case(b, c, e);
    buffer_free(b->zeros.buf);
    return ok;
}

/* The device, or the description of one. */
static device *open_device(bench *b, predict_device *described, err *e)
{
    const char *text = options_text(b->o, "predict", NULL);
    if (!text)
        return command_device(b->o, e);
    if (options_given(b->o, "device")) {
        err_set(e, ERR_USAGE,
                "bench: --predict describes a device, and --device means one that is there (leave one "
                "out)");
        return NULL;
    }
    if (!predict_parse(described, text, e))
        return NULL;
    b->on = described;
    device *d = device_described(&described->info, e);
    if (d)
        d->cores = (uint32_t)described->clusters;
    return d;
}

int command_bench(const options *o)
{
    err e = {0};
    bool text = !options_given(o, "json");
    bench b = {.o = o, .heard = text ? print_heard : NULL, .hearer = (void *)(uintptr_t)o, .rows = json_array()};
    predict_device described;
    json_t *file = NULL;
    bool ok = check_patterns(o, &e) && read_before(&b, &file, &e);
    if (ok && options_given(o, "list")) {
        json_decref(b.rows);
        json_decref(file);
        return list(o);
    }
    b.most_seconds = options_number(o, "seconds", 0);
    interrupt_catch();
    ok = ok && (b.d = open_device(&b, &described, &e)) && (b.r = run_new(b.d, &e));
    if (ok && text)
        printf("%s (%s)\n", b.d->info.name, b.d->info.platform_name);
    ok = ok && measure_all(&b, &e);
    if (ok && !text)
        print_json(json_pack("{s:o, s:o, s:O}", "device", json_text(b.d->info.name), "platform",
                             json_text(b.d->info.platform_name), "rows", b.rows));
    json_decref(b.rows);
    json_decref(file);
    run_free(b.r);
    limn_device_free(&b.d);
    return ok ? 0 : report(&e);
}
