/* Generation: pictures of diffusion models, one after the other, since together they would take as long: already a
 * step of one keeps a device busy. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "generate/generate.h"
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

/* ---- image prompts ---------------------------------------------------------------------------------------------- */

bool generation_read_image(generation *g, draw_request *q, const limn_generate_options *o, err *e)
{
    const codec *c = &g->m->codec;
    const int64_t area = (int64_t)c->width * c->height, pixels = 3 * area;
    const bool both = o->paint && diffusion_of(g->d)->net.k.in > g->d->latents;
    float *host = malloc((size_t)pixels * sizeof *host);
    q->image = malloc(2 * (size_t)g->cells * sizeof *q->image);
    q->stays = both ? malloc(2 * (size_t)g->cells * sizeof *q->stays) : NULL;
    bool ok = (host && q->image && (q->stays || !both)) || err_no_memory(e, "picture", (size_t)pixels * sizeof *host);
    if (ok) {
        codec_floats(host, o->image, pixels, c->input);
        ok = codes_moments(g->m, host, q->image, e);
    }
    for (int64_t i = 0; ok && both && i < pixels; i++) /* what is painted anew is grey, as these models learned it */
        host[i] = o->paint[i / 3] ? 0 : host[i];
    ok = ok && (!both || codes_moments(g->m, host, q->stays, e));
    free(host);
    return ok;
}

/* Latents of these moments, by draw k. */
static void sample(const generation *g, const picture *p, int k, const float *moments, float *z)
{
    const int n = g->d->latents;
    make_noise(g, p, k, z);
    for (int i = 0; i < g->cells; i++) {
        const float *of = moments + i / n * 2 * n + i % n;
        z[i] = (of[0] + expf(of[n] / 2) * z[i]) * g->m->codec.scale;
    }
}

/* What networks for painting read behind the latents: where it is painted, and the latents of what stays.  z: scratch.
 */
static bool put_behind(generation *g, const picture *p, int k, float *z, err *e)
{
    const draw_request *q = p->q;
    const int n = g->d->latents, places = g->cells / n;
    float *behind = malloc((size_t)places * (size_t)(n + 1) * sizeof *behind);
    if (!behind)
        return err_no_memory(e, "mask", (size_t)places * (size_t)(n + 1) * sizeof *behind);
    sample(g, p, k, q->stays, z);
    for (int i = 0; i < places; i++) {
        behind[i * (n + 1)] = q->paint[i];
        memcpy(behind + i * (n + 1) + 1, z + i * n, (size_t)n * sizeof *z);
    }
    denoiser_put_behind(&g->denoiser, behind);
    free(behind);
    return true;
}

static bool put_paint(generation *g, const draw_request *q, const float *z, const float *noise, err *e)
{
    const int places = g->cells / g->d->latents;
    float *mask = malloc((size_t)places * sizeof *mask);
    if (!mask)
        return err_no_memory(e, "mask", (size_t)places * sizeof *mask);
    for (int i = 0; i < places; i++)
        mask[i] = q->paint[i];
    denoiser_paint(&g->denoiser, mask, z, noise);
    free(mask);
    return true;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static bool blends(const generation *g, const draw_request *q)
{
    return q->paint && !g->denoiser.behind.buf;
}

/* scratch: for 3 rows of latents. */
static bool begin(generation *g, float *scratch, err *e)
{
    picture *p = generation_next_picture(g, e);
    float *x = scratch, *z = scratch + g->cells, *noise = z + g->cells;
    if (!p)
        return false;
    const draw_request *q = p->q;
    const sampler *s = q->sampler;
    const bool whole = q->paint && s->start == 0, painter = g->denoiser.behind.buf;
    float shown = 0, much = (float)s->initial;
    int k = 0;
    g->work[g->n_work++] = p;
    p->chosen = s->start;
    memset(z, 0, (size_t)g->cells * sizeof *z);
    if (q->image && !(painter && whole))
        sample(g, p, k++, q->image, z);
    make_noise(g, p, k++, noise);
    if (q->image && !whole)
        sampler_noised(s, s->start, &shown, &much);
    for (int i = 0; i < g->cells; i++)
        x[i] = shown * z[i] + much * noise[i];
    denoiser_begin(&g->denoiser, q->text, generation_sequences(q), x);
    const bool ok = (!blends(g, q) || put_paint(g, q, z, noise, e)) && (!painter || put_behind(g, p, k, z, e)) &&
                    run_finish(g->r, e);
    params_forget_pages(&g->m->params, USE_TEXT); /* no step reads them */
    return ok;
}

static bool step(generation *g, float *noise, err *e)
{
    picture *p = g->work[0];
    const draw_request *q = p->q;
    const sampler *s = q->sampler;
    const sampler_step k = sampler_at(s, p->chosen);
    const bool draws = k.noise != 0;
    if (draws)
        make_noise(g, p, q->draws + p->chosen - s->start, noise);
    tensor said = denoiser_ask(&g->denoiser, &k, generation_sequences(q), q->sampling.guidance);
    denoiser_go_on(&g->denoiser, &k, said, draws ? noise : NULL);
    p->chosen++;
    if (blends(g, q)) {
        float latents, much;
        sampler_noised(s, p->chosen, &latents, &much);
        denoiser_blend(&g->denoiser, latents, much);
    }
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
    size_t bytes = 3 * (size_t)g->cells * sizeof(float);
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
