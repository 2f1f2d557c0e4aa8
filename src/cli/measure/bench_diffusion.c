/* limn bench: diffusion models: a step of the U-Net, and whole pictures. */
#include <stdlib.h>

#include "base/os.h"
#include "cli/common.h"
#include "cli/measure/bench.h"
#include "generate/denoise.h"

typedef struct step_case {
    denoiser n;
    sampler_step step;
    int rows;
} step_case;

static void step_body(run *r, void *context)
{
    step_case *c = context;
    (void)r; /* the denoiser's */
    denoiser_ask(&c->n, &c->step, c->rows, 8);
}

/* Text and latents of nothing. */
static bool begin(step_case *c, const diffusion *d, run *r, err *e)
{
    const size_t ids = (size_t)c->rows * (size_t)d->text.text_length,
                 numbers = (size_t)d->width * (size_t)d->height * (size_t)d->base.latents;
    int32_t *text = calloc(ids, sizeof *text);
    float *latents = calloc(numbers, sizeof *latents);
    bool ok = (text && latents) || err_no_memory(e, "latents", ids * sizeof *text + numbers * sizeof *latents);
    ok = ok && denoiser_open(&c->n, d, r, c->rows, e);
    if (ok) {
        denoiser_begin(&c->n, text, c->rows, latents);
        ok = run_finish(r, e);
    }
    free(latents);
    free(text);
    return ok;
}

/* what: the model; a: rows, 2 of a picture with guidance */
static bool step_speed(bench *b, const bench_case *c, err *e)
{
    model *m = bench_model(b, b->d, c->name, c->what, c->type, e);
    if (!m)
        return e->code == ERR_NONE;
    step_case of = {.rows = (int)c->a, .step = {.time = 500, .scale_in = 1}};
    double seconds, flops, bytes;
    bool ok = begin(&of, diffusion_of(m->transformer), m->run, e) &&
              bench_measure(b, m->run, step_body, &of, &seconds, &flops, &bytes, e);
    if (ok)
        bench_row(
            b, c->name, NULL,
            &(bench_result){.seconds = seconds, .flops = flops, .unit = "GFLOP/s", .value = flops / seconds * 1e-9});
    denoiser_release(&of.n);
    model_free(m);
    return ok;
}

/* Text, steps and decoding. */
static bool draw(model *m, int steps, float guidance, int32_t *latents, float *pixels, err *e)
{
    const int32_t ids[] = {3, 4, 5, 6, 7};
    const limn_generate_options o = {.text_ids = ids,
                                     .n_text_ids = sizeof ids / sizeof *ids,
                                     .seed = 1,
                                     .temperature = 1,
                                     .guidance = guidance,
                                     .steps = steps};
    return limn_generate(m, &o, latents, e) && limn_decode(m, latents, 1, pixels, e);
}

/* what: the model; a: steps; b: guidance */
static bool picture_speed(bench *b, const bench_case *c, err *e)
{
    model *m = bench_model(b, b->d, c->name, c->what, c->type, e);
    if (!m)
        return e->code == ERR_NONE;
    int32_t *latents = array_new((size_t)codec_numbers(&m->codec), sizeof *latents, "latents", e);
    float *pixels = array_new(3 * (size_t)m->codec.width * (size_t)m->codec.height, sizeof *pixels, "pixels", e);
    bool ok = latents && pixels;
    double seconds = 0;
    for (int k = b->on ? 1 : 0; ok && k < 2; k++) { /* the first compiles kernels */
        if (b->on)
            device_launches_clear(m->dev);
        const double start = clock_seconds();
        ok = draw(m, (int)c->a, (float)c->b, latents, pixels, e) && interrupt_check(e);
        seconds = clock_seconds() - start;
    }
    if (ok && b->on) {
        b->guess = bench_predict(b, m->dev, false);
        seconds = predict_seconds(&b->guess);
    }
    if (ok)
        bench_row(b, c->name, NULL, &(bench_result){.seconds = seconds, .unit = "s", .value = seconds});
    free(pixels);
    free(latents);
    model_free(m);
    return ok;
}

#define STEP(MODEL, TYPE)                                                                                              \
    {.name = "a step of " MODEL ", " #TYPE ", 1 row", step_speed, .what = MODEL, .type = DTYPE_##TYPE, .a = 1},        \
    {                                                                                                                  \
        .name = "a step of " MODEL ", " #TYPE ", 2 rows", step_speed, .what = MODEL, .type = DTYPE_##TYPE, .a = 2      \
    }
#define STEPS(MODEL) STEP(MODEL, F32), STEP(MODEL, F16), STEP(MODEL, Q8_0)
#define PICTURE(MODEL, TYPE, STEPS, GUIDANCE, TEXT)                                                                    \
    {                                                                                                                  \
        .name = "a picture of " MODEL ", " #TYPE ", " TEXT, picture_speed, .what = MODEL, .type = DTYPE_##TYPE,        \
        .a = STEPS, .b = GUIDANCE                                                                                      \
    }
#define PICTURES(MODEL, STEPS, GUIDANCE, TEXT)                                                                         \
    PICTURE(MODEL, F32, STEPS, GUIDANCE, TEXT), PICTURE(MODEL, F16, STEPS, GUIDANCE, TEXT),                            \
        PICTURE(MODEL, Q8_0, STEPS, GUIDANCE, TEXT)

const bench_case bench_diffusion_cases[] = {
    STEPS("sd-1.5-256"),
    STEPS("sd-1.5-512"),
    STEPS("sd-1.5-768"),
    STEPS("sd-turbo-512"),
    PICTURES("sd-turbo-512", 1, 1, "1 step"),
    PICTURES("lcm-512", 4, 8, "4 steps"),
    {.name = NULL},
};
