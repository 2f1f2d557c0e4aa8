/* Requests to diffusion models: what of them is possible, their sampler, and where a picture is painted anew. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "generate/draw_request.h"
#include "models/transformers/diffusion.h"

#define USUAL_STRENGTH 0.8f /* of pictures that are changed everywhere */

static size_t cells_of(const model *m)
{
    return (size_t)m->transformer->grid_width * (size_t)m->transformer->grid_height;
}

/* Whether the network reads where it is painted, and what stays. */
static bool paints(const model *m)
{
    return diffusion_of(m->transformer)->net.k.in != m->transformer->latents;
}

static bool check_image(const model *m, const limn_generate_options *o, err *e)
{
    const char *name = gguf_name(m->gguf);
    if (o->keep || o->kept_codes)
        return err_set(e, ERR_USAGE, "%s: a diffusion model keeps parts of pictures, not codes (give `image`)", name);
    if (o->image && !model_needs_encoder(m, e))
        return false;
    if (!o->image && (o->paint || o->strength != 0))
        return err_set(e, ERR_USAGE, "generate: `%s`: there is no picture to be changed (give `image`)",
                       o->paint ? "paint" : "strength");
    if (!(o->strength >= 0 && o->strength <= 1))
        return err_set(e, ERR_USAGE, "generate: `strength`: %g is outside 0 to 1", (double)o->strength);
    if (paints(m) && !o->paint)
        return err_set(e, ERR_USAGE,
                       "%s: it paints parts of pictures (give `image` and `paint`, or take the model that it was made "
                       "of)",
                       name);
    return true;
}

bool draw_latents_check_noise(const model *m, const limn_generate_options *o, int most, err *e)
{
    if (o->noise ? o->n_noise < 1 || o->n_noise > most : o->n_noise)
        return err_set(e, ERR_USAGE, "generate: `noise`: %d rows of it", o->n_noise);
    for (size_t i = 0; i < (size_t)o->n_noise * cells_of(m); i++)
        if (!isfinite(o->noise[i]))
            return err_set(e, ERR_USAGE, "generate: `noise`: there is a number that isn't finite");
    return true;
}

bool draw_latents_refuse_codes(const model *m, const limn_generate_options *o, err *e)
{
    return (!o->top_k && !(o->top_p > 0 && o->top_p < 1) && o->temperature == 1) ||
           err_set(e, ERR_USAGE, "%s: a diffusion model draws no codes (leave out `top_k`, `top_p` and `temperature`)",
                   gguf_name(m->gguf));
}

bool draw_latents_check(const model *m, const limn_generate_options *o, err *e)
{
    if (!draw_latents_refuse_codes(m, o, e))
        return false;
    if (o->sampler && sampler_find(o->sampler) < 0)
        return err_set(e, ERR_USAGE, "generate: `sampler`: there is no \"%.60s\" (ddim, pndm, euler, …)", o->sampler);
    if (o->spacing && spacing_find(o->spacing) < 0)
        return err_set(e, ERR_USAGE, "generate: `spacing`: there is no \"%.60s\" (leading, linspace, trailing)",
                       o->spacing);
    return check_image(m, o, e) && draw_latents_check_noise(m, o, SCHEDULE_TIMES + 3, e);
}

/* How many rows of noise are read. */
static int rows_of_noise(const draw_request *q)
{
    const sampler *s = q->sampler;
    int n = q->draws;
    for (int i = s->start; i < s->n; i++)
        if (sampler_at(s, i).noise != 0)
            n = q->draws + i - s->start + 1;
    return n;
}

/* 1 where a latent's first pixel is painted anew: the nearest neighbours. */
static bool read_paint(const model *m, const limn_generate_options *o, draw_request *q, err *e)
{
    const codec *c = &m->codec;
    const size_t width = (size_t)c->grid_width, places = width * (size_t)c->grid_height;
    const size_t step = (size_t)c->width / width;
    q->paint = malloc(places);
    for (size_t i = 0; q->paint && i < places; i++)
        q->paint[i] = o->paint[(i / width * (size_t)c->width + i % width) * step] != 0;
    return q->paint || err_no_memory(e, "mask", places);
}

bool draw_latents_copy_noise(const model *m, const limn_generate_options *o, draw_request *q, int rows, err *e)
{
    const size_t bytes = (size_t)o->n_noise * cells_of(m) * sizeof *q->noise;
    if (o->n_noise < rows)
        return err_set(e, ERR_USAGE, "generate: `noise`: it has %d rows, and these steps read %d", o->n_noise, rows);
    q->noise = malloc(bytes);
    if (!q->noise)
        return err_no_memory(e, "noise", bytes);
    memcpy(q->noise, o->noise, bytes);
    q->n_noise = o->n_noise;
    return true;
}

bool draw_latents_plan(const model *m, const limn_generate_options *o, draw_request *q, err *e)
{
    const diffusion *d = diffusion_of(m->transformer);
    const sampler_options s = {.kind = o->sampler ? sampler_find(o->sampler) : -1,
                               .spacing = o->spacing ? spacing_find(o->spacing) : -1,
                               .steps = o->steps ? o->steps : d->base.steps,
                               .strength = o->strength > 0 || !o->image || o->paint ? o->strength : USUAL_STRENGTH};
    q->sampler = malloc(sizeof *q->sampler);
    if (!q->sampler)
        return err_no_memory(e, "sampler", sizeof *q->sampler);
    if (!sampler_open(q->sampler, &d->noise, &s, e))
        return false;
    q->guided = o->guidance > 1 && !d->net.k.guidance;
    q->draws = !o->image ? 1 : !o->paint ? 2 : paints(m) && q->sampler->start == 0 ? 2 : 3;
    return (!o->paint || read_paint(m, o, q, e)) &&
           (!o->noise || draw_latents_copy_noise(m, o, q, rows_of_noise(q), e));
}
