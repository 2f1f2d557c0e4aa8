/* Requests to unCLIP: what of them is possible, the samplers of its stages, and the texts at both ends. */
#include <stdlib.h>
#include <string.h>

#include "generate/draw_request.h"
#include "models/transformers/unclip.h"

bool draw_unclip_refuse(const model *m, const limn_generate_options *o, err *e)
{
    const char *what = o->image_to || o->prompt_to || o->between         ? "`between`"
                       : o->prior_steps                                  ? "`prior_steps`"
                       : o->super_steps                                  ? "`super_steps`"
                       : o->prior_guidance != 0                          ? "`prior_guidance`"
                       : o->image && (o->image_width || o->image_height) ? "`image_width`"
                                                                         : NULL;
    return !what || err_set(e, ERR_USAGE, "%s: %s: it draws no embeddings of pictures (unCLIP's models do, as Karlo)",
                            gguf_name(m->gguf), what);
}

/* ---- checks ----------------------------------------------------------------------------------------------------- */

static bool refuse_others(const model *m, const limn_generate_options *o, err *e)
{
    const char *name = gguf_name(m->gguf);
    if (o->keep || o->kept_codes || o->paint || o->strength != 0)
        return err_set(e, ERR_USAGE,
                       "%s: it draws all of a picture anew, also of variations (leave out `keep`, `paint` and "
                       "`strength`; Stable Diffusion's models change parts)",
                       name);
    if (o->sampler && strcmp(o->sampler, sampler_names[SAMPLER_UNCLIP]) != 0)
        return err_set(e, ERR_USAGE,
                       "%s: `sampler`: it is drawn by unclip, not by %.60s (Stable Diffusion's models take others)",
                       name, o->sampler);
    return !o->spacing || !strcmp(o->spacing, spacing_names[SPACING_LINSPACE]) ||
           err_set(e, ERR_USAGE, "%s: `spacing`: unclip's steps are linspace, not %.60s", name, o->spacing);
}

static bool check_steps(const model *m, const limn_generate_options *o, err *e)
{
    static const char *const names[] = {"prior_steps", "steps", "super_steps"};
    const unclip *u = unclip_of(m->transformer);
    const int steps[] = {o->prior_steps, o->steps, o->super_steps};
    for (int i = u->imagines ? 0 : 1; i < UNCLIP_STAGES; i++)
        if (steps[i] < 0 || steps[i] > u->noise[i].times)
            return err_set(e, ERR_USAGE, "generate: `%s`: %d is outside 1 to %d", names[i], steps[i],
                           u->noise[i].times);
    return true;
}

static bool check_image(const model *m, const uint8_t *image, int width, int height, err *e)
{
    if (image && !unclip_of(m->transformer)->sees)
        return err_set(e, ERR_USAGE,
                       "%s: it can't see pictures: it has no CLIP image encoder (convert it with image_encoder/ and "
                       "feature_extractor/ of its image variations beside its other folders)",
                       gguf_name(m->gguf));
    return (width >= 0 && height >= 0 && width <= 1 << 16 && height <= 1 << 16 && !width == !height) ||
           err_set(e, ERR_USAGE, "generate: `image_width`, image_height: there is no picture of %d x %d", width,
                   height);
}

static bool check_ends(const model *m, const limn_generate_options *o, err *e)
{
    const bool imagines = unclip_of(m->transformer)->imagines, many = o->between != 0;
    if (!imagines && (!o->image || (many && !o->image_to)))
        return err_set(e, ERR_USAGE,
                       "%s: it has no prior, and draws variations of pictures alone (give `image`; with prior/ beside "
                       "its other folders limn convert makes a model that draws texts)",
                       gguf_name(m->gguf));
    if (!many)
        return (!o->image_to && !o->prompt_to) ||
               err_set(e, ERR_USAGE, "generate: `between`: there is an end to lead to, and no number of pictures");
    if (o->between < 2 || o->between > 100000)
        return err_set(e, ERR_USAGE, "generate: `between`: %d is outside 2 to 100000", o->between);
    if (!o->image_to == !o->prompt_to)
        return err_set(e, ERR_USAGE, "generate: `between`: it leads to a picture or to a text, one of both");
    return o->first + (o->count ? o->count : 1) <= o->between ||
           err_set(e, ERR_USAGE, "generate: `between`: there are %d pictures, and number %d is asked for", o->between,
                   o->first + (o->count ? o->count : 1));
}

bool draw_unclip_check(const model *m, const limn_generate_options *o, err *e)
{
    if (!(o->prior_guidance >= 0 && o->prior_guidance < 1e6f))
        return err_set(e, ERR_USAGE, "generate: `prior_guidance`: %g is not a number from 0 on",
                       (double)o->prior_guidance);
    return draw_latents_refuse_codes(m, o, e) && refuse_others(m, o, e) && check_steps(m, o, e) &&
           check_image(m, o->image, o->image_width, o->image_height, e) &&
           check_image(m, o->image_to, o->image_to_width, o->image_to_height, e) && check_ends(m, o, e) &&
           draw_latents_check_noise(m, o, UNCLIP_STAGES * SCHEDULE_TIMES, e);
}

/* ---- plans ------------------------------------------------------------------------------------------------------ */

bool draw_unclip_plan(const model *m, const limn_generate_options *o, draw_request *q, err *e)
{
    const unclip *u = unclip_of(m->transformer);
    const int steps[] = {o->prior_steps ? o->prior_steps : u->steps[UNCLIP_PRIOR], o->steps ? o->steps : u->base.steps,
                         o->super_steps ? o->super_steps : u->steps[UNCLIP_SUPER]};
    const bool texts = !o->image || (o->between && !o->image_to);
    int rows = 0;
    q->sampler = calloc(UNCLIP_STAGES, sizeof *q->sampler);
    q->image = calloc(2 * (size_t)u->text.dim, sizeof *q->image);
    if (!q->sampler || !q->image)
        return err_no_memory(e, "sampler", UNCLIP_STAGES * sizeof *q->sampler);
    for (int i = texts ? 0 : 1; i < UNCLIP_STAGES; i++) {
        const sampler_options s = {.kind = SAMPLER_UNCLIP, .spacing = SPACING_LINSPACE, .steps = steps[i]};
        if (!sampler_open(&q->sampler[i], &u->noise[i], &s, e))
            return false;
        rows += q->sampler[i].n;
    }
    q->prior_guidance = o->prior_guidance > 0 ? o->prior_guidance : u->prior_guidance;
    q->guided = o->guidance > 1 || (texts && q->prior_guidance > 1);
    q->between = o->between;
    return !o->noise || draw_latents_copy_noise(m, o, q, rows, e);
}

bool draw_unclip_read_texts(const model *m, const limn_generate_options *o, bool checking, draw_request *q, err *e)
{
    const transformer *d = m->transformer;
    int32_t *ids = NULL, *to = q->text + 2 * (size_t)d->text_length;
    size_t n = 0, used;
    bool ok = !o->prompt_to || (checking ? model_tokenize : model_tokenize_warned)(m, o->prompt_to, &ids, &n, e);
    ok = ok && d->kind->text_row(d, ids, n, to, &used, e) &&
         d->kind->text_row(d, NULL, 0, to + d->text_length, &used, e);
    free(ids);
    return ok;
}
