/* limn bench: whole works: pictures from text, and codecs. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/common.h"
#include "cli/measure/bench.h"
#include "device/profile.h"
#include "models/session.h"

/* ---- generation ---- */

#define ROUNDS 5
#define PROMPT 200 /* ids of a long prompt */
#define LINES  64  /* of a grid, the most that are timed */

typedef struct watch {
    double last, lines[LINES];
    int n;
    bool warm_up; /* ends at the first line */
    double end;   /* when it ends at the latest, after a timed line; 0: whole */
    double share; /* of the codes, that were made */
    const profile *timed;
    size_t launches; /* of that, when the first line was done */
} watch;

static bool tick(void *context, int done, int total, const int32_t *codes)
{
    watch *w = context;
    double now = clock_seconds();
    (void)codes;
    if (w->last == 0 && w->timed)
        w->launches = profile_count(w->timed);
    if (w->last > 0 && w->n < LINES) /* the first line has the prompt */
        w->lines[w->n++] = now - w->last;
    w->last = now;
    w->share = (double)done / total;
    return !w->warm_up && !interrupted() && !(w->n && w->end > 0 && now > w->end);
}

/* One generation of n <= PROMPT ids, with its watch. */
static bool generate_of(model *m, int n, int count, float guidance, dtype keys, watch *w, int32_t *codes,
                        double *seconds, err *e)
{
    int32_t ids[PROMPT];
    for (int i = 0; i < n; i++)
        ids[i] = 3 + i;
    limn_generate_options o = {.text_ids = ids,
                               .n_text_ids = (size_t)n,
                               .count = count,
                               .seed = 1,
                               .temperature = 1,
                               .top_k = 64,
                               .guidance = guidance,
                               .kv_cache_f16 = keys == DTYPE_F16,
                               .progress = tick,
                               .context = w,
                               .preview = true}; /* else it isn't waited for the line's end */
    double start = clock_seconds();
    bool ok = limn_generate(m, &o, codes, e);
    *seconds = clock_seconds() - start;
    return ok;
}

static bool generate(model *m, int count, float guidance, dtype keys, watch *w, int32_t *codes, double *seconds, err *e)
{
    return generate_of(m, 1, count, guidance, keys, w, codes, seconds, e);
}

/* A generation on a device that is described. */
static bool predict_generation(bench *b, model *m, int count, float guidance, dtype keys, int32_t *codes,
                               generation_time *time, err *e)
{
    watch w = {0};
    double unused;
    device_launches_clear(m->dev);
    if (!generate(m, count, guidance, keys, &w, codes, &unused, e))
        return false;
    *time = (generation_time){.share = 1, .guess = bench_predict(b, m->dev, false)};
    b->guess = bench_predict(b, m->dev, true);
    time->whole = predict_seconds(&time->guess);
    time->step = predict_seconds(&b->guess);
    return true;
}

bool bench_generate(bench *b, model *m, int count, float guidance, dtype keys, double most, generation_time *time,
                    err *e)
{
    const limn_model_info *i = limn_model_get_info(m);
    int32_t *codes = array_new((size_t)count * (size_t)(i->grid_width * i->grid_height), sizeof *codes, "codes", e);
    double seconds[ROUNDS], steps[ROUNDS];
    err stopped = {0};
    watch w = {.warm_up = true};
    int rounds = 1;
    bool ok = codes;
    if (ok && b->on) {
        ok = predict_generation(b, m, count, guidance, keys, codes, time, e);
        free(codes);
        return ok;
    }
    for (int k = 0; ok && k < 2; k++) { /* kernels are compiled, and again for each size of work-group */
        ok = generate(m, count, guidance, keys, &w, codes, &seconds[0], &stopped) || w.last > 0;
        if (!ok)
            err_set(e, stopped.code, "%s", stopped.text);
    }
    if (ok && seconds[0] * i->grid_height < 2)
        rounds = ROUNDS;
    for (int k = 0; ok && k < rounds; k++) {
        stopped = (err){0};
        w = (watch){.end = most > 0 ? clock_seconds() + most : 0};
        ok = generate(m, count, guidance, keys, &w, codes, &seconds[k], &stopped) || (w.n && w.share < 1);
        if (!ok)
            err_set(e, stopped.code, "%s", stopped.text);
        ok = ok && interrupt_check(e);
        steps[k] = w.n ? bench_median(w.lines, w.n) / i->grid_width : 0;
    }
    free(codes);
    if (ok)
        *time = (generation_time){.whole = w.share < 1 ? 0 : bench_median(seconds, rounds),
                                  .step = bench_median(steps, rounds),
                                  .share = w.share};
    return ok;
}

static bool decode_seconds(bench *b, model *m, int count, double *seconds, err *e)
{
    const limn_model_info *i = limn_model_get_info(m);
    int32_t *codes = array_new((size_t)count * (size_t)(i->grid_width * i->grid_height), sizeof *codes, "codes", e);
    float *pixels = array_new((size_t)count * 3 * (size_t)(i->width * i->height), sizeof *pixels, "pixels", e);
    bool ok = codes && pixels && limn_decode(m, codes, 1, pixels, e);
    double start = clock_seconds();
    if (b->on)
        device_launches_clear(m->dev);
    for (int k = 0; ok && k < count; k++)
        ok = limn_decode(m, codes, 1, pixels, e) && interrupt_check(e);
    *seconds = clock_seconds() - start;
    if (b->on) {
        b->guess = bench_predict(b, m->dev, false);
        *seconds = predict_seconds(&b->guess);
    }
    free(codes);
    free(pixels);
    return ok;
}

/* what: the model; a: pictures; b: 1 with guidance, which doubles the rows; c: type of the keys and values */
static bool generation(bench *b, const bench_case *c, err *e)
{
    model *m = bench_model(b, b->d, c->name, c->what, c->type, e);
    const dtype keys = (dtype)c->c;
    int pictures = (int)c->a, rows = pictures * (1 + (int)c->b);
    generation_time t;
    double decode = 0, flops, bytes;
    if (!m)
        return e->code == ERR_NONE;
    if (!m->transformer || m->transformer->latents) {
        bench_skip(b, c->name, m->transformer ? "the model draws latents" : "the model has no transformer");
        model_free(m);
        return true;
    }
    bool ok = bench_generate(b, m, pictures, c->b ? 4 : 1, keys, b->most_seconds, &t, e);
    if (ok) {
        bench_step_cost(m, rows, keys, t.share, &flops, &bytes);
        bench_row(b, c->name, NULL,
                  &(bench_result){
                      .seconds = t.step, .flops = flops, .bytes = bytes, .unit = "tokens/s", .value = rows / t.step});
    }
    ok = ok && (t.whole == 0 || !m->codec.kind || decode_seconds(b, m, pictures, &decode, e));
    if (ok && t.whole > 0) {
        prediction decoded = b->guess;
        b->guess = (prediction){0};
        predict_sum(&b->guess, &t.guess, 1.0 / pictures);
        predict_sum(&b->guess, &decoded, 1.0 / pictures);
        const limn_model_info *i = limn_model_get_info(m);
        int cells = i->grid_width * i->grid_height;
        bench_row(b, c->name, "a picture",
                  &(bench_result){.seconds = (t.whole + decode) / pictures,
                                  .flops = flops * cells / pictures,
                                  .bytes = bytes * cells / pictures,
                                  .unit = "s",
                                  .value = (t.whole + decode) / pictures});
    }
    model_free(m);
    return ok;
}

/* ---- models that fill all cells at once ---- */

typedef struct fill_case {
    session s;
    int32_t *ids;
} fill_case;

static void fill_body(run *r, void *context)
{
    fill_case *c = context;
    const transformer *d = c->s.d;
    op_linear(r, d->kind->fill(r, d, c->s.codes, &c->s.memory), d->image_head, ACT_NONE);
}

/* A step: one pass over all cells of a picture with guidance, which are two rows.  what: the model */
static bool fill_speed(bench *b, const bench_case *c, err *e)
{
    model *m = bench_model(b, b->d, c->name, c->what, c->type, e);
    if (!m)
        return e->code == ERR_NONE;
    const transformer *d = m->transformer;
    fill_case of = {.ids = calloc(2 * (size_t)d->text_length, sizeof *of.ids)};
    double seconds, flops, bytes;
    bool ok = of.ids ? session_open(&of.s, d, m->run, 2, d->text_length, DTYPE_F32, e)
                     : err_no_memory(e, "bench", 2 * (size_t)d->text_length * sizeof *of.ids);
    if (ok) {
        d->kind->read_text(m->run, d, of.ids, &of.s.memory);
        ok = run_finish(m->run, e) && bench_measure(b, m->run, fill_body, &of, &seconds, &flops, &bytes, e);
    }
    if (ok)
        bench_row(
            b, c->name, NULL,
            &(bench_result){.seconds = seconds, .flops = flops, .unit = "GFLOP/s", .value = flops / seconds * 1e-9});
    session_release(&of.s);
    free(of.ids);
    model_free(m);
    return ok;
}

/* ---- long prompts ---- */

/* Seconds until the first line of codes is there. */
static bool first_line(model *m, int ids, int32_t *codes, double *seconds, err *e)
{
    err stopped = {0};
    watch w = {.warm_up = true};
    return generate_of(m, ids, 1, 4, DTYPE_F32, &w, codes, seconds, &stopped) || w.last > 0 ||
           err_set(e, stopped.code, "%s", stopped.text);
}

/* Reading a prompt of PROMPT ids with guidance: what it takes longer until the first line than a prompt of one id.
 * what: the model, of which texts have any length */
static bool prompt_speed(bench *b, const bench_case *c, err *e)
{
    if (bench_needs_device(b, c))
        return true;
    model *m = bench_model(b, b->d, c->name, c->what, c->type, e);
    if (!m)
        return e->code == ERR_NONE;
    int32_t *codes = array_new((size_t)(m->info.grid_width * m->info.grid_height), sizeof *codes, "codes", e);
    double seconds[2][3], one, many, flops, bytes;
    bool ok = codes;
    for (int k = -1; ok && k < 3; k++) /* the first compiles kernels */
        for (int i = 0; ok && i < 2; i++)
            ok = first_line(m, i ? PROMPT : 1, codes, &seconds[i][k < 0 ? 0 : k], e) && interrupt_check(e);
    free(codes);
    if (ok) {
        one = bench_median(seconds[0], 3);
        many = bench_median(seconds[1], 3) - one;
        bench_step_cost(m, 2, DTYPE_F32, 0, &flops, &bytes);
        flops *= PROMPT - 1;
        bench_row(
            b, c->name, NULL,
            &(bench_result){
                .seconds = many, .flops = flops, .bytes = 2 * bytes, .unit = "tokens/s", .value = 2 * PROMPT / many});
        bench_row(b, c->name, "codes whose time it takes",
                  &(bench_result){.unit = "codes", .value = many / (one / m->info.grid_width)});
    }
    model_free(m);
    return ok;
}

/* ---- the host's share ---- */

enum { OUTSIDE, SHARE, WAITING, LAUNCHES, HOST_ROWS };
static const struct {
    const char *part, *unit;
} host_rows[HOST_ROWS] = {[OUTSIDE] = {"a token", "ms"},
                          [SHARE] = {"share of a token", "%"},
                          [WAITING] = {"share with nothing enqueued", "%"},
                          [LAUNCHES] = {"launches", "a token"}};

/* The rows of one generation on a device that times its kernels. */
static bool host_values(model *m, int count, int32_t *codes, double values[HOST_ROWS], err *e)
{
    profile *p = m->dev->profile;
    watch w = {.timed = p};
    profile_time t;
    double seconds;
    if (!generate(m, count, 1, DTYPE_F32, &w, codes, &seconds, e) || !profile_times(p, w.launches, &t, e))
        return false;
    /* a line is reported when the first step of the next one is enqueued */
    int steps = m->info.grid_width * (m->info.grid_height - 1) - 1;
    values[OUTSIDE] = 1e3 * (t.all - t.kernels) / steps;
    values[SHARE] = 100 * (t.all - t.kernels) / t.all;
    values[WAITING] = 100 * t.waiting / t.all;
    values[LAUNCHES] = (double)(profile_count(p) - w.launches) / steps;
    return true;
}

/* What a step takes outside of kernels: the hand-over from one to the next, which is the driver's, and the time in
 * which nothing is enqueued.  On a device of its own.  what: the model; a: pictures */
static bool host_time(bench *b, const bench_case *c, err *e)
{
    limn_device_options timed = {.profile = true, .memory_limit = b->d->memory_limit};
    char spec[32];
    if (bench_needs_device(b, c))
        return true;
    snprintf(spec, sizeof spec, "%d.%d", b->d->info.platform, b->d->info.device);
    device *d = device_open(spec, &timed, e);
    model *m = d ? bench_model(b, d, c->name, c->what, c->type, e) : NULL;
    generation_time t;
    double values[ROUNDS][HOST_ROWS], sorted[ROUNDS];
    bool ok = m && bench_generate(b, m, (int)c->a, 1, DTYPE_F32, 0, &t, e);
    int32_t *codes = ok ? array_new((size_t)(c->a * m->info.grid_width * m->info.grid_height), 4, "codes", e) : NULL;
    int rounds = ok && t.whole < 1 ? ROUNDS : 1;
    ok = codes != NULL;
    for (int k = 0; ok && k < rounds; k++)
        ok = host_values(m, (int)c->a, codes, values[k], e) && interrupt_check(e);
    for (int row = 0; ok && row < HOST_ROWS; row++) {
        for (int k = 0; k < rounds; k++)
            sorted[k] = values[k][row];
        bench_row(b, c->name, host_rows[row].part,
                  &(bench_result){.unit = host_rows[row].unit, .value = bench_median(sorted, rounds)});
    }
    free(codes);
    model_free(m);
    device_free(d);
    return ok || (e->code == ERR_NONE && !m);
}

/* Of the file of --model, in its own type. */
#define GENERATION_OF_FILE(N, GUIDED, ROWS)                                                                            \
    {                                                                                                                  \
        .name = "model, " ROWS, generation, .what = "model", .a = N, .b = GUIDED                                       \
    }
#define GUIDED(MODEL, TYPE)                                                                                            \
    {                                                                                                                  \
        .name = "generate " MODEL ", " #TYPE ", 2 rows, 1 picture with guidance", generation, .what = MODEL,           \
        .type = DTYPE_##TYPE, .a = 1, .b = 1                                                                           \
    }
#define FILL(MODEL, TYPE)                                                                                              \
    {                                                                                                                  \
        .name = "a step of " MODEL ", " #TYPE ", 2 rows", fill_speed, .what = MODEL, .type = DTYPE_##TYPE              \
    }
#define LONG_PROMPT(MODEL)                                                                                             \
    {                                                                                                                  \
        .name = "prompt of 200 ids, " MODEL ", Q8_0, 2 rows", prompt_speed, .what = MODEL, .type = DTYPE_Q8_0          \
    }
#define GENERATION(MODEL, TYPE, QUICK)                                                                                 \
    {.name = "generate " MODEL ", " #TYPE ", 1 row", generation, QUICK, .what = MODEL, .type = DTYPE_##TYPE, .a = 1},  \
        GUIDED(MODEL, TYPE),                                                                                           \
        {.name = "generate " MODEL ", " #TYPE ", 4 rows", generation, .what = MODEL, .type = DTYPE_##TYPE, .a = 4},    \
        {.name = "generate " MODEL ", " #TYPE ", 9 rows",                                                              \
         generation,                                                                                                   \
         QUICK,                                                                                                        \
         .what = MODEL,                                                                                                \
         .type = DTYPE_##TYPE,                                                                                         \
         .a = 9},                                                                                                      \
    {                                                                                                                  \
        .name = "generate " MODEL ", " #TYPE ", 18 rows, 9 pictures with guidance", generation, QUICK, .what = MODEL,  \
        .type = DTYPE_##TYPE, .a = 9, .b = 1                                                                           \
    }
#define GENERATIONS(MODEL)                                                                                             \
    GENERATION(MODEL, F32, false), GENERATION(MODEL, F16, false), GENERATION(MODEL, Q8_0, false),                      \
        GENERATION(MODEL, Q4_0, false)

/* F16 keys and values */
#define HALF_CACHE(MODEL, N, ROWS)                                                                                     \
    {                                                                                                                  \
        .name = "generate " MODEL ", F16, " ROWS ", F16 cache", generation, .what = MODEL, .type = DTYPE_F16, .a = N,  \
        .c = DTYPE_F16                                                                                                 \
    }

const bench_case bench_work_cases[] = {
    GENERATION("builtin", F16, true),
    HALF_CACHE("builtin", 1, "1 row"),
    HALF_CACHE("builtin", 9, "9 rows"),
    GENERATIONS("mini"),
    HALF_CACHE("mini", 1, "1 row"),
    HALF_CACHE("mini", 9, "9 rows"),
    GENERATIONS("mega"),
    GENERATIONS("mindalle"),
    HALF_CACHE("mindalle", 1, "1 row"),
    HALF_CACHE("mindalle", 9, "9 rows"),
    GENERATION_OF_FILE(1, 0, "1 row"),
    GENERATION_OF_FILE(1, 1, "2 rows, 1 picture with guidance"),
    GENERATION_OF_FILE(9, 0, "9 rows"),
    GUIDED("janus-pro-1b", F32),
    GUIDED("janus-pro-1b", Q8_0),
    GUIDED("janus-pro-1b", Q4_0),
    GUIDED("janus-pro-7b", Q8_0),
    GUIDED("janus-pro-7b", Q4_0),
    GUIDED("simplear-0.5b", Q8_0),
    GUIDED("simplear-0.5b", Q4_0),
    GUIDED("simplear-1.5b", Q8_0),
    GUIDED("simplear-1.5b", Q4_0),
    GUIDED("llamagen-t2i-xl", Q8_0),
    GUIDED("llamagen-t2i-xl", Q4_0),
    FILL("amused-256", F32),
    FILL("amused-256", Q8_0),
    FILL("amused-256", Q4_0),
    FILL("amused-512", F32),
    FILL("amused-512", Q8_0),
    FILL("amused-512", Q4_0),
    LONG_PROMPT("janus-pro-1b"),
    LONG_PROMPT("simplear-0.5b"),
    {.name = "host time, builtin", host_time, true, .what = "builtin", .type = DTYPE_F16, .a = 1},
    {.name = "host time, mini, F32", host_time, .what = "mini", .type = DTYPE_F32, .a = 1},
    {.name = "host time, mini, Q8_0", host_time, .what = "mini", .type = DTYPE_Q8_0, .a = 1},
    {.name = "host time, mindalle, Q8_0", host_time, .what = "mindalle", .type = DTYPE_Q8_0, .a = 1},
    {.name = "host time, janus-pro-1b, Q8_0", host_time, .what = "janus-pro-1b", .type = DTYPE_Q8_0, .a = 1},
    {.name = "host time, simplear-0.5b, Q8_0", host_time, .what = "simplear-0.5b", .type = DTYPE_Q8_0, .a = 1},
    {.name = NULL},
};

/* ---- codecs ---- */

typedef struct codec_case {
    const codec *c;
    tensor in;
} codec_case;

static void decode_body(run *r, void *context)
{
    codec_case *c = context;
    codec_decode(r, c->c, c->in);
}

static void encode_body(run *r, void *context)
{
    codec_case *c = context;
    c->c->kind->encode(r, c->c, c->in);
}

/* what: the model; a: 1 encodes; b: pictures at once; type: of the weights */
static bool codec_speed(bench *b, const bench_case *c, err *e)
{
    model *m = bench_model(b, b->d, c->name, c->what, c->type, e);
    if (!m)
        return e->code == ERR_NONE;
    const codec *k = &m->codec;
    if (!k->kind || (c->a && !k->kind->encode)) {
        bench_skip(b, c->name, "the model has no codec for that");
        model_free(m);
        return true;
    }
    int64_t shape[4] = {c->b, codec_numbers(k)}, pixels[4] = {c->b, codec_input_height(k), codec_input_width(k), 3};
    codec_case of = {.c = k};
    double seconds, flops, bytes;
    size_t n = (size_t)c->b * (c->a ? (size_t)(pixels[1] * pixels[2] * 3) : (size_t)shape[1]);
    void *zeros = array_new(n, 4, "pictures", e);
    bool ok = zeros && tensor_new(&of.in, b->d, c->a || k->latents ? DTYPE_F32 : DTYPE_I32, c->a ? 4 : 2,
                                  c->a ? pixels : shape, zeros, false, "pictures", e);
    ok = ok && bench_measure(b, m->run, c->a ? encode_body : decode_body, &of, &seconds, &flops, &bytes, e);
    if (ok)
        bench_row(
            b, c->name, NULL,
            &(bench_result){.seconds = seconds, .flops = flops, .unit = "GFLOP/s", .value = flops / seconds * 1e-9});
    buffer_free(of.in.buf);
    free(zeros);
    model_free(m);
    return ok;
}

const bench_case bench_codec_cases[] = {
    {.name = "decode builtin, 8 pictures", codec_speed, true, .what = "builtin", .b = 8},
    {.name = "encode builtin, 8 pictures", codec_speed, true, .what = "builtin", .a = 1, .b = 8},
    {.name = "model, decode", codec_speed, .what = "model", .b = 1},
    {.name = "model, encode", codec_speed, .what = "model", .a = 1, .b = 1},
    {.name = "decode openai-dvae", codec_speed, .what = "openai-dvae", .b = 1},
    {.name = "encode openai-dvae", codec_speed, .what = "openai-dvae", .a = 1, .b = 1},
    {.name = "decode vqgan", codec_speed, .what = "vqgan", .b = 1},
    {.name = "encode vqgan", codec_speed, .what = "vqgan", .a = 1, .b = 1},
    {.name = "decode vq16-384", codec_speed, .what = "vq16-384", .b = 1},
    {.name = "decode cosmos, 1024 x 1024", codec_speed, .what = "cosmos", .b = 1},
    {.name = "decode sd-vae-256, F32", codec_speed, .what = "sd-vae-256", .b = 1},
    {.name = "decode sd-vae-256, F16", codec_speed, .what = "sd-vae-256", .type = DTYPE_F16, .b = 1},
    {.name = "decode sd-vae-512, F32", codec_speed, .what = "sd-vae-512", .b = 1},
    {.name = "decode sd-vae-512, F16", codec_speed, .what = "sd-vae-512", .type = DTYPE_F16, .b = 1},
    {.name = "decode sd-vae-768, F32", codec_speed, .what = "sd-vae-768", .b = 1},
    {.name = NULL},
};
