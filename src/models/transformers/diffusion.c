/* Latent diffusion: what its text tower, its U-Net and its noise say together, as a kind of transformer. */
#include "models/transformers/diffusion.h"

#include <stddef.h>
#include <stdlib.h>

#include "weights/config.h"

static const char *const step_key = "limn.image.step";

/* ---- the text --------------------------------------------------------------------------------------------------- */

bool diffusion_text_row(const transformer *base, const clip *c, const int32_t *ids, size_t n, int32_t *row,
                        size_t *used, err *e)
{
    size_t last = n; /* what pads may be a token of the text, too */
    while (last && ids[last - 1] == c->pad_id)
        last--;
    n = c->pad_id == c->end_id ? last : last && ids[last - 1] == c->end_id ? last - 1 : n;
    if (n && ids[0] == c->start_id) {
        ids++;
        n--;
    }
    n = transformer_cut(n, (size_t)base->text_room);
    if (!transformer_check_ids(base, ids, n, e))
        return false;
    *used = n + 2;
    row[0] = c->start_id;
    for (size_t i = 1; i < (size_t)base->text_length; i++)
        row[i] = i <= n ? ids[i - 1] : i == n + 1 ? c->end_id : c->pad_id;
    return true;
}

static bool text_row(const transformer *base, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    return diffusion_text_row(base, &diffusion_of(base)->text, ids, n, row, used, e);
}

/* ---- hyper-parameters ------------------------------------------------------------------------------------------- */

static const config_field fields[] = {
    CLIP_TOWER_FIELDS(diffusion),
    CLIP_WORD_FIELDS(diffusion, 3),
};
enum { FIELDS = sizeof fields / sizeof *fields };

void diffusion_put(const diffusion *d, gguf_writer *w)
{
    gguf_put_string(w, "limn.transformer.kind", transformer_diffusion.name);
    config_put(w, fields, FIELDS, d);
    unet_put(&d->net, w);
    schedule_put(&d->noise, w);
}

void diffusion_put_step(int step, gguf_writer *w)
{
    gguf_put_int(w, step_key, step);
}

bool diffusion_read_step(const gguf *g, int *step, err *e)
{
    *step = 0;
    return !gguf_has(g, step_key) || config_int(g, step_key, 1, 1024, step, e);
}

static bool check(const diffusion *d, const char *file, err *e)
{
    const clip *c = &d->text;
    if (!config_check(file, fields, FIELDS, d, e) || !schedule_check(&d->noise, file, e))
        return false;
    if (c->start_id >= c->vocabulary || c->end_id >= c->vocabulary || c->pad_id >= c->vocabulary)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.text.vocabulary: %d, and start_id, end_id or pad_id is outside", file,
                       c->vocabulary);
    if (d->net.k.joint || d->net.k.shifts || d->net.k.resamples)
        return err_set(e, ERR_FAILED, "%s: limn.unet.joint, scale_shift, resamples: those are unCLIP's", file);
    if (d->net.k.context != c->text.width)
        return err_set(e, ERR_FAILED, "%s: limn.unet.context: %d, and the text's states have %d numbers", file,
                       d->net.k.context, c->text.width);
    if (d->net.k.in != d->net.k.out && d->net.k.in != 2 * d->net.k.out + 1)
        return err_set(e, ERR_FAILED,
                       "%s: limn.unet.in: %d channels, and of %d there may be as many, or with a mask and masked "
                       "latents %d",
                       file, d->net.k.in, d->net.k.out, 2 * d->net.k.out + 1);
    return true;
}

bool diffusion_prepare(diffusion *d, const char *file, err *e)
{
    transformer *b = &d->base;
    if (!unet_prepare(&d->net, "unet", file, e) || !check(d, file, e))
        return false;
    b->kind = &transformer_diffusion;
    b->text_length = d->text.text_length;
    b->text_room = b->text_length - 2;
    b->prefix = 1;
    b->vocabulary = d->text.vocabulary;
    b->dim = b->head_dim = d->net.k.context;
    b->heads = 1;
    b->latents = d->net.k.out;
    b->grid_width = d->width * b->latents;
    b->grid_height = d->height;
    if ((int64_t)b->grid_width * b->grid_height > 1 << 28)
        return err_set(e, ERR_FAILED, "%s: limn.image.width, height: latents of %d x %d with %d numbers are too many",
                       file, d->width, d->height, b->latents);
    d->text.text.causal = true;
    d->text.text.norm_after = true;
    d->text.text.pooling = CLIP_END;
    return clip_prepare_text(&d->text, file, e);
}

/* ---- the kind --------------------------------------------------------------------------------------------------- */

void diffusion_declare(diffusion *d, param_table *p)
{
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    clip_declare_text(&d->text, "transformer.text", p);
    params_use(p, USE_TRANSFORMER);
    unet_declare(&d->net, p);
}

void diffusion_free(diffusion *d)
{
    if (d)
        clip_release(&d->text);
    free(d);
}

static void free_kind(transformer *t)
{
    diffusion_free((diffusion *)t);
}

static void declare(transformer *t, param_table *p)
{
    diffusion_declare((diffusion *)t, p);
}

/* The latents' size follows from the picture's. */
static bool read_size(diffusion *d, const gguf *g, err *e)
{
    int step, width, height;
    if (!diffusion_read_step(g, &step, e) || !config_int(g, "limn.image.width", 1, 16384, &width, e) ||
        !config_int(g, "limn.image.height", 1, 16384, &height, e))
        return false;
    if (!step || width % step || height % step)
        return err_set(e, ERR_FAILED, "%s: %s: %d, and pictures of %d x %d aren't a multiple of it", gguf_name(g),
                       step_key, step, width, height);
    d->width = width / step;
    d->height = height / step;
    return true;
}

static transformer *open_kind(const gguf *g, err *e)
{
    diffusion *d = calloc(1, sizeof *d);
    bool ok = d ? config_fields(g, fields, FIELDS, d, e) : err_no_memory(e, "diffusion", sizeof *d);
    if (ok && read_size(d, g, e) && unet_read(&d->net, "unet", g, e) && schedule_read(&d->noise, g, e) &&
        diffusion_prepare(d, gguf_name(g), e))
        return &d->base;
    diffusion_free(d);
    return NULL;
}

const transformer_kind transformer_diffusion = {
    .name = "diffusion", .open = open_kind, .free = free_kind, .declare = declare, .text_row = text_row};
