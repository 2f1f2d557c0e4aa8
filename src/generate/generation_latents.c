/* Generation: pictures of diffusion models, one after the other, since together they would take as long: already a
 * step of one keeps a device busy. */
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "generate/generation.h"

/* Draw k of a picture's noise, from 0 on: what it begins with, then one for each step that draws. */
static void make_noise(const generation *g, const picture *p, int k, float *out)
{
    const draw_request *q = p->q;
    if (q->noise && k < q->n_noise)
        memcpy(out, q->noise + (size_t)k * (size_t)g->cells, (size_t)g->cells * sizeof *out);
    for (int i = 0; (!q->noise || k >= q->n_noise) && i < g->cells; i++) /* noise that isn't there counts 0 times */
        out[i] = rng_normal(q->sampling.seed, (uint32_t)p->number, (uint32_t)k, (uint32_t)i);
}

static bool begin(generation *g, float *noise, err *e)
{
    picture *p = generation_next_picture(g, e);
    if (!p)
        return false;
    const sampler *s = p->q->sampler;
    g->work[g->n_work++] = p;
    p->chosen = s->start;
    make_noise(g, p, 0, noise);
    for (int i = 0; i < g->cells; i++)
        noise[i] *= (float)s->initial;
    denoiser_begin(&g->denoiser, p->q->text, generation_sequences(p->q), noise);
    return run_finish(g->r, e);
}

static bool step(generation *g, float *noise, err *e)
{
    picture *p = g->work[0];
    const draw_request *q = p->q;
    const sampler *s = q->sampler;
    const sampler_step k = sampler_at(s, p->chosen);
    const bool draws = k.noise != 0;
    if (draws)
        make_noise(g, p, 1 + p->chosen - s->start, noise);
    tensor said = denoiser_ask(&g->denoiser, &k, generation_sequences(q), q->sampling.guidance);
    denoiser_go_on(&g->denoiser, &k, said, draws ? noise : NULL);
    p->chosen++;
    p->known = (int)((int64_t)g->cells * (p->chosen - s->start) / (s->n - s->start));
    g->steps++;
    if (p->chosen == s->n)
        run_read_later(g->r, g->denoiser.x, p->codes);
    return run_finish(g->r, e);
}

/* Noise stays as it is until the step is done. */
static bool draw(generation *g, float *noise, err *e)
{
    if (!g->n_work && !begin(g, noise, e))
        return false;
    if (!step(g, noise, e))
        return false;
    if (g->work[0]->chosen == g->work[0]->q->sampler->n)
        generation_finish(g, 0);
    return g->n_work > 0 || generation_close_batch(g, g->alone && g->waiting, e);
}

bool generation_denoise(generation *g, err *e)
{
    size_t bytes = (size_t)g->cells * sizeof(float);
    if (!g->n_work && g->planned && generation_sequences(g->waiting) > g->most_rows &&
        !generation_close_batch(g, false, e))
        return false;
    if (!g->denoiser.rows && !generation_open_batch(g, e))
        return false;
    float *noise = malloc(bytes);
    bool ok = noise ? draw(g, noise, e) : err_no_memory(e, "noise", bytes);
    free(noise);
    return ok;
}

bool generation_walk_latents(const generation *g, denoiser *n, run *r, int rows, err *e)
{
    static const sampler_step all = {.scale_in = 1, .x = 1, .o = 1, .noise = 1, .kept = 1, .push = true, .push_o = 1};
    const diffusion *d = diffusion_of(g->d);
    size_t text = (size_t)rows * (size_t)d->text.text_length, bytes = text * sizeof(int32_t);
    int32_t *ids = calloc(text, sizeof *ids);
    float *noise = calloc((size_t)g->cells, sizeof *noise);
    bool ok = (ids && noise) || err_no_memory(e, "latents", bytes + (size_t)g->cells * sizeof *noise);
    if (ok && (ok = denoiser_open(n, d, r, rows, e))) {
        denoiser_begin(n, ids, rows, noise);
        denoiser_go_on(n, &all, denoiser_ask(n, &all, rows, 1), noise);
    }
    free(ids);
    free(noise);
    return ok;
}
