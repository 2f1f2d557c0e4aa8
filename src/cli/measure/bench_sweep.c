/* limn bench: how time grows with pictures, tokens and layers, and how much of it is attention's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/measure/bench.h"
#include "models/transformers/gpt.h"

/* A GPT without a codec. */
typedef struct size {
    int layers, grid_height;
} size;

static void put(gguf_writer *w, const void *context)
{
    const size *s = context;
    const gpt d = {.base.text_length = 32,
                   .base.vocabulary = 1024,
                   .base.codes = 1024,
                   .base.grid_width = 16,
                   .base.grid_height = s->grid_height,
                   .base.dim = 512,
                   .base.heads = 8,
                   .base.layers = s->layers,
                   .mlp = 2048,
                   .text_positions = true,
                   .attention_bias = true,
                   .mlp_bias = true,
                   .act = ACT_GELU_ERF,
                   .eps = 1e-5f};
    gpt_put(&d, w);
}

static bool seconds_of(bench *b, const char *name, size s, int pictures, double *seconds, err *e)
{
    generation_time t = {0};
    model *m = bench_model_by(b, b->d, name, put, &s, DTYPE_F16, e);
    bool ok = m && bench_generate(b, m, pictures, 1, DTYPE_F32, 0, &t, e);
    *seconds = t.whole;
    b->guess = t.guess;
    model_free(m);
    return ok;
}

/* Each size's time over that of the first, where 1 is linear.  a: what grows: 0 pictures, 1 tokens, 2 layers */
static bool sweep(bench *b, const bench_case *c, err *e)
{
    static const struct {
        const char *what;
        int n[3];
    } grows[] = {{"pictures", {32, 64, 128}}, {"tokens", {128, 256, 512}}, {"layers", {4, 8, 16}}};
    double first = 0, seconds = 0;
    for (int i = 0; i < 3; i++) {
        int n = grows[c->a].n[i];
        size s = {.layers = c->a == 2 ? n : 4, .grid_height = c->a == 1 ? n / 16 : 8};
        if (!seconds_of(b, c->name, s, c->a == 0 ? n : 8, &seconds, e))
            return e->code == ERR_NONE;
        char part[96];
        first = i ? first : seconds;
        snprintf(part, sizeof part, "%d %s", n, grows[c->a].what);
        bench_row(b, c->name, part, &(bench_result){.unit = "s", .value = seconds});
        snprintf(part, sizeof part, "%d %s, over linear", n, grows[c->a].what);
        if (i)
            bench_row(b, c->name, part,
                      &(bench_result){.unit = "times", .value = seconds / first * grows[c->a].n[0] / n});
    }
    return true;
}

/* Seconds of all kernels since the device was opened, and of those whose names begin so. */
static bool kernel_seconds(device *d, const char *begin, double *all, double *of_these, err *e)
{
    limn_kernel_profile *rows = NULL;
    size_t n = 0;
    bool ok = limn_device_profile(d, &rows, &n, e);
    *all = *of_these = 0;
    for (size_t i = 0; ok && i < n; i++) {
        *all += rows[i].seconds;
        if (!strncmp(rows[i].name, begin, strlen(begin)))
            *of_these += rows[i].seconds;
    }
    free(rows);
    return ok;
}

/* Attention's share of all kernels' time, by the length of the sequence, with 8 rows. */
static bool attention_share(bench *b, const bench_case *c, err *e)
{
    if (bench_needs_device(b, c))
        return true;
    for (int tokens = 128; tokens <= 2048; tokens *= 2) {
        limn_device_options timed = {.profile = true, .memory_limit = b->d->memory_limit};
        char spec[32], part[64];
        size s = {.layers = 4, .grid_height = tokens / 16};
        double all, attention;
        generation_time t;
        snprintf(spec, sizeof spec, "%d.%d", b->d->info.platform, b->d->info.device);
        device *d = device_open(spec, &timed, e);
        model *m = d ? bench_model_by(b, d, c->name, put, &s, DTYPE_F16, e) : NULL;
        bool ok = m && bench_generate(b, m, 8, 1, DTYPE_F32, 0, &t, e) &&
                  kernel_seconds(d, "attention:", &all, &attention, e);
        if (ok) {
            snprintf(part, sizeof part, "%d tokens", tokens);
            bench_row(b, c->name, part, &(bench_result){.unit = "%", .value = 100 * attention / all});
        }
        bool skipped = d && !m && e->code == ERR_NONE;
        model_free(m);
        device_free(d);
        if (!ok)
            return skipped;
    }
    return true;
}

const bench_case bench_sweep_cases[] = {
    {.name = "sweep pictures", sweep, .a = 0},
    {.name = "sweep tokens", sweep, .a = 1},
    {.name = "sweep layers", sweep, .a = 2},
    {.name = "sweep attention's share", attention_share},
    {.name = NULL},
};
