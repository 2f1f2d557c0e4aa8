/* A request: checked, and its texts read. */
#include "generate/draw_request.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>

#include "base/log.h"
#include "models/transformers/unclip.h"

static int cells_of(const model *m)
{
    return m->transformer->grid_width * m->transformer->grid_height;
}

/* Whether an image prompt is drawn anew in part. */
static bool redraws(const limn_generate_options *o)
{
    return o->kept_codes && o->strength > 0 && o->strength < 1;
}

static bool check_kept(const model *m, const limn_generate_options *o, err *e)
{
    if (o->keep && !o->kept_codes)
        return err_set(e, ERR_USAGE, "generate: keep and kept_codes go together");
    if (o->kept_codes && !o->keep && o->strength == 0)
        return err_set(e, ERR_USAGE, "generate: kept_codes go together with keep, or with `strength`");
    for (int i = 0; o->kept_codes && i < cells_of(m); i++)
        if ((redraws(o) || (o->keep && o->keep[i])) &&
            (o->kept_codes[i] < 0 || o->kept_codes[i] >= m->transformer->codes))
            return err_set(e, ERR_USAGE, "generate: kept code %d of cell %d is outside of the codebook of %d",
                           o->kept_codes[i], i, m->transformer->codes);
    return true;
}

/* What models that fill masked cells are asked for, and others are not. */
static bool check_steps(const model *m, const limn_generate_options *o, err *e)
{
    const bool masked = m->transformer->kind->fill;
    if (o->sampler || o->spacing || o->noise)
        return err_set(e, ERR_USAGE,
                       "%s: it draws codes, without a sampler and its noise (leave out `sampler`, `spacing` and "
                       "`noise`, which are for diffusion models)",
                       gguf_name(m->gguf));
    if (!masked && (o->steps || o->strength != 0))
        return err_set(
            e, ERR_USAGE,
            "%s: it writes one code after the other: there is no number of steps, and no strength (leave out "
            "`steps` and `strength`)",
            gguf_name(m->gguf));
    if (o->steps < 0 || o->steps > STEPS_MOST)
        return err_set(e, ERR_USAGE, "generate: `steps`: %d is outside 1 to %d", o->steps, STEPS_MOST);
    if (!(o->strength >= 0 && o->strength <= 1))
        return err_set(e, ERR_USAGE, "generate: `strength`: %g is outside 0 to 1", o->strength);
    if (o->strength > 0 && !o->kept_codes)
        return err_set(e, ERR_USAGE, "generate: `strength`: there is no image prompt to be drawn anew");
    if (masked && (o->top_k || (o->top_p > 0 && o->top_p < 1)))
        return err_set(e, ERR_USAGE,
                       "%s: it fills all cells at once, by all of their codes (leave out `top_k` and `top_p`)",
                       gguf_name(m->gguf));
    return true;
}

static bool check(const model *m, const limn_generate_options *o, err *e)
{
    int most = INT_MAX / cells_of(m);
    if (!(o->temperature >= 0 && isfinite(o->temperature)) || !(o->guidance >= 0 && isfinite(o->guidance)) ||
        o->top_k < 0)
        return err_set(e, ERR_USAGE, "generate: temperature, top-k and guidance must be finite and not negative");
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return err_set(e, ERR_USAGE, "generate: top-p: %g is outside 0 to 1", o->top_p);
    if (o->count < 0 || o->count > most)
        return err_set(e, ERR_USAGE, "generate: count: %d is outside 0 to %d", o->count, most);
    if (o->first < 0 || o->first > INT_MAX - (o->count ? o->count : 1))
        return err_set(e, ERR_USAGE, "generate: first: %d is outside 0 to %d", o->first, INT_MAX - o->count);
    if (!o->prompt && !o->text_ids && o->n_text_ids)
        return err_set(e, ERR_USAGE, "generate: neither a prompt nor text ids");
    if (unclip_of(m->transformer))
        return draw_unclip_check(m, o, e);
    if (!draw_unclip_refuse(m, o, e))
        return false;
    if (m->transformer->latents)
        return draw_latents_check(m, o, e);
    return check_steps(m, o, e) && check_kept(m, o, e);
}

/* What is only checked is not warned of: that is for when it is drawn. */
static bool tokenize(const model *m, bool checking, const char *text, int32_t **ids, size_t *n, err *e)
{
    return (checking ? model_tokenize : model_tokenize_warned)(m, text, ids, n, e);
}

/* The row that guidance leads away from; the prompt's begins with *used ids, and it with *used then. */
static bool read_negative(const model *m, const limn_generate_options *o, bool checking, int32_t *text, size_t *used,
                          err *e)
{
    const transformer *d = m->transformer;
    int32_t *row = text + d->text_length, *ids = NULL;
    size_t n = 0;
    const char *negative = o->negative ? o->negative : m->form.negative;
    if (!negative && d->kind->null_row)
        return d->kind->null_row(d, text, *used, row, used, e);
    bool ok =
        (!negative || model_tokenize_negative(m, negative, &ids, &n, e)) && d->kind->text_row(d, ids, n, row, used, e);
    if (ok && o->negative && !checking)
        prompt_warn(&m->form, m->tokenizer, gguf_name(m->gguf), negative);
    free(ids);
    return ok;
}

/* The rows of text from the prompt, or from ids. */
static bool read_text(const model *m, const limn_generate_options *o, bool checking, draw_request *q, err *e)
{
    const transformer *d = m->transformer;
    int32_t *own = NULL;
    size_t n = o->n_text_ids, used[2] = {0};
    if (o->prompt && !tokenize(m, checking, o->prompt, &own, &n, e))
        return false;
    bool ok = d->kind->text_row(d, o->prompt ? own : o->text_ids, n, q->text, &used[0], e);
    used[1] = used[0];
    ok = ok && (!q->guided || read_negative(m, o, checking, q->text, &used[1], e));
    ok = ok && (!unclip_of(d) || draw_unclip_read_texts(m, o, checking, q, e));
    for (int i = 0; i < 2; i++)
        q->length[i] = d->own_lengths ? (int)used[i] : d->text_length;
    free(own);
    return ok;
}

/* Which of the steps are done: with a strength the last ones. */
static void plan_steps(const model *m, const limn_generate_options *o, draw_request *q)
{
    int cells = cells_of(m), masked = 0;
    q->steps = o->steps ? o->steps : m->transformer->steps;
    for (int i = 0; i < cells; i++)
        masked += !q->kept || q->kept[i] < 0;
    q->share = (float)masked / (float)cells;
    if (redraws(o)) {
        int some = (int)((double)q->steps * (double)o->strength);
        q->start = q->steps - (some > 0 ? some : 1);
    }
    if (!masked)
        q->start = q->steps - 1;
}

draw_request *draw_request_new(const model *m, const limn_generate_options *o, bool checking, err *e)
{
    if (!model_needs_transformer(m, e) || !check(m, o, e))
        return NULL;
    const unclip *u = unclip_of(m->transformer);
    size_t cells = (size_t)cells_of(m), text = (u ? 4 : 2) * (size_t)m->transformer->text_length;
    draw_request *q = calloc(1, sizeof *q);
    if (q) {
        q->text = calloc(text, sizeof *q->text);
        q->kept = o->keep ? calloc(cells, sizeof *q->kept) : NULL;
        q->shown = redraws(o) ? calloc(cells, sizeof *q->shown) : NULL;
    }
    if (!q || !q->text || (o->keep && !q->kept) || (redraws(o) && !q->shown)) {
        err_no_memory(e, "prompt", (text + cells) * sizeof(int32_t));
        draw_request_drop(q);
        return NULL;
    }
    q->guided = o->guidance != 0 && o->guidance != 1;
    q->first = o->first;
    q->count = o->count ? o->count : 1;
    q->sampling = (sampling){.temperature = o->temperature,
                             .top_k = o->top_k,
                             .top_p = o->top_p,
                             .seed = o->seed,
                             .guidance = o->guidance,
                             .other = -1};
    for (size_t i = 0; q->kept && i < cells; i++)
        q->kept[i] = o->keep[i] ? o->kept_codes[i] : -1;
    for (size_t i = 0; q->shown && i < cells; i++)
        q->shown[i] = o->kept_codes[i];
    if (m->transformer->kind->fill)
        plan_steps(m, o, q);
    if ((u && !draw_unclip_plan(m, o, q, e)) || (m->transformer->latents && !u && !draw_latents_plan(m, o, q, e)) ||
        !read_text(m, o, checking, q, e)) {
        draw_request_drop(q);
        return NULL;
    }
    return q;
}

void draw_request_drop(draw_request *q)
{
    if (!q || --q->users > 0)
        return;
    free(q->text);
    free(q->kept);
    free(q->shown);
    free(q->sampler);
    free(q->noise);
    free(q->image);
    free(q->stays);
    free(q->paint);
    free(q);
}
