/* unCLIP: what its networks say together, as a kind of transformer. */
#include "models/transformers/unclip.h"

#include <stddef.h>
#include <stdlib.h>

#include "models/transformers/diffusion.h"
#include "weights/config.h"

enum { CHANNELS = 3, TOKENS_MOST = 64 };

const char *const unclip_stage_names[UNCLIP_STAGES] = {"prior", "decoder", "super"};

/* ---- the text --------------------------------------------------------------------------------------------------- */

static bool text_row(const transformer *base, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e)
{
    return diffusion_text_row(base, &unclip_of(base)->text, ids, n, row, used, e);
}

int unclip_text_length(const unclip *u, const int32_t *row)
{
    const clip *c = &u->text;
    int n = c->text_length;
    while (n > 1 && row[n - 1] == c->pad_id)
        n--;
    return c->pad_id == c->end_id && n < c->text_length ? n + 1 : n;
}

int unclip_text_end(const unclip *u, const int32_t *row)
{
    int at = 0;
    for (int i = 1; i < u->text.text_length; i++) /* the end token has the largest id */
        at = row[i] > row[at] ? i : at;
    return at;
}

/* ---- what the decoder reads ------------------------------------------------------------------------------------- */

tensor unclip_add_time(run *r, const unclip *u, tensor text, tensor image)
{
    return op_linear_add(r, text, &u->context.text, op_linear(r, image, &u->context.image, ACT_NONE));
}

/* [b,tokens,width] of extra[b,width tokens] */
static tensor tokens_of(run *r, const unclip *u, tensor extra)
{
    const int64_t b = extra.shape[0], n = u->context.tokens, width = u->decoder.k.context, all = b * n * width;
    int32_t *from = run_failed(r) ? NULL : malloc((size_t)all * sizeof *from);
    if (!from) {
        if (!run_failed(r))
            err_no_memory(run_error(r), "text", (size_t)all * sizeof *from);
        return extra;
    }
    for (int64_t i = 0; i < all; i++)
        from[i] = (int32_t)(i / (n * width) * n * width + i % width * n + i / width % n);
    tensor ids = run_upload(r, DTYPE_I32, 1, &all, from);
    free(from);
    tensor y = op_embed(r, ids, tensor_shaped(extra, 2, (int64_t[]){all, 1}));
    return run_failed(r) ? y : tensor_shaped(y, 3, (int64_t[]){b, n, width});
}

tensor unclip_read_context(run *r, const unclip *u, tensor image, tensor states)
{
    const unclip_context *c = &u->context;
    const int64_t b = states.shape[0], words = states.shape[1], width = u->decoder.k.context, all = c->tokens + words;
    tensor extra = tokens_of(r, u, op_linear(r, image, &c->extra, ACT_NONE));
    tensor text = op_layer_norm(r, op_linear(r, states, &c->states, ACT_NONE), &c->norm);
    tensor y = TENSOR(r, DTYPE_F32, b, all, width);
    for (int64_t i = 0; i < b && !run_failed(r); i++) {
        tensor row = tensor_shaped(tensor_rows(y, i, 1), 2, (int64_t[]){all, width});
        op_repeat(r, tensor_rows(row, 0, c->tokens), tensor_rows(extra, i, 1));
        op_repeat(r, tensor_rows(row, c->tokens, words), tensor_rows(text, i, 1));
    }
    return y;
}

/* ---- hyper-parameters ------------------------------------------------------------------------------------------- */

static const config_field fields[] = {
    CLIP_TOWER_FIELDS(unclip),
    CLIP_WORD_FIELDS(unclip, 3),
    {"limn.transformer.dim", offsetof(unclip, text.dim), 1, 1 << 16},
    {"limn.image.width", offsetof(unclip, width), 1, 16384},
    {"limn.image.height", offsetof(unclip, height), 1, 16384},
    {"limn.decoder.width", offsetof(unclip, small_width), 1, 16384},
    {"limn.decoder.height", offsetof(unclip, small_height), 1, 16384},
    {"limn.decoder.tokens", offsetof(unclip, context.tokens), 1, TOKENS_MOST},
};
static const config_field image_fields[] = {
    {"limn.transformer.image.size", offsetof(unclip, text.image_size), 1, 4096},
    {"limn.transformer.image.patch", offsetof(unclip, text.patch), 1, 4096},
    {"limn.transformer.image.width", offsetof(unclip, text.image.width), 1, 1 << 16},
    {"limn.transformer.image.layers", offsetof(unclip, text.image.layers), 1, 1024},
    {"limn.transformer.image.heads", offsetof(unclip, text.image.heads), 1, 1 << 16},
    {"limn.transformer.image.mlp", offsetof(unclip, text.image.mlp), 1, 1 << 20},
    {"limn.transformer.image.mean", offsetof(unclip, text.mean), .kind = CONFIG_COLOUR},
    {"limn.transformer.image.std", offsetof(unclip, text.std), .kind = CONFIG_COLOUR},
};
#define STAGE_FIELDS(NAME, STAGE)                                                                                      \
    {"limn." NAME ".times", offsetof(unclip, noise[STAGE].times), 2, SCHEDULE_TIMES},                                  \
        {"limn." NAME ".prediction",                                                                                   \
         offsetof(unclip, noise[STAGE].predicts),                                                                      \
         0,                                                                                                            \
         PREDICTION_COUNT,                                                                                             \
         CONFIG_CHOICE,                                                                                                \
         prediction_names},                                                                                            \
        {"limn." NAME ".clamp", offsetof(unclip, noise[STAGE].clamp), 0, 1 << 20, CONFIG_FLOAT},                       \
    {                                                                                                                  \
        "limn." NAME ".learned", offsetof(unclip, noise[STAGE].learned), .kind = CONFIG_BOOL                           \
    }
static const config_field prior_fields[] = {
    {"limn.prior.width", offsetof(unclip, prior.width), 2, 1 << 16},
    {"limn.prior.layers", offsetof(unclip, prior.layers), 1, 1024},
    {"limn.prior.heads", offsetof(unclip, prior.heads), 1, 1 << 16},
    {"limn.prior.head_dim", offsetof(unclip, prior.head_dim), 1, HEAD_MOST},
    {"limn.prior.mlp", offsetof(unclip, prior.mlp), 1, 1 << 20},
    STAGE_FIELDS("prior", UNCLIP_PRIOR),
    {"limn.prior.steps", offsetof(unclip, steps[UNCLIP_PRIOR]), 1, STEPS_MOST},
    {"limn.prior.guidance", offsetof(unclip, prior_guidance), 0, 1000000, CONFIG_FLOAT},
};
static const config_field stage_fields[] = {
    STAGE_FIELDS("decoder", UNCLIP_DECODER),
    STAGE_FIELDS("super", UNCLIP_SUPER),
    {"limn.super.steps", offsetof(unclip, steps[UNCLIP_SUPER]), 1, STEPS_MOST},
};
static const char *const super_names[2] = {"super_first", "super_last"};

#define N(list) (sizeof(list) / sizeof *(list))

void unclip_put(const unclip *u, gguf_writer *w)
{
    gguf_put_string(w, "limn.transformer.kind", transformer_unclip.name);
    gguf_put_string(w, "limn.codec.kind", "pixels");
    config_put(w, fields, N(fields), u);
    config_put(w, stage_fields, N(stage_fields), u);
    if (u->sees)
        config_put(w, image_fields, N(image_fields), u);
    if (u->imagines)
        config_put(w, prior_fields, N(prior_fields), u);
    unet_put(&u->decoder, w);
    unet_put(&u->super[0], w);
    unet_put(&u->super[1], w);
}

static bool check_picture(const unet *u, int width, int height, int in, bool learned, const char *file, err *e)
{
    const int step = 1 << (u->k.levels - 1), out = learned ? 2 * CHANNELS : CHANNELS;
    if (u->k.in != in || u->k.out != out)
        return err_set(e, ERR_FAILED, "%s: limn.%s.in: %d channels, and out %d: %d and %d are wanted", file, u->name,
                       u->k.in, u->k.out, in, out);
    return (width % step == 0 && height % step == 0) ||
           err_set(e, ERR_FAILED, "%s: limn.%s.channels: %d levels do not halve pictures of %d x %d", file, u->name,
                   u->k.levels, width, height);
}

static bool check(const unclip *u, const char *file, err *e)
{
    const clip *c = &u->text;
    if (c->start_id >= c->vocabulary || c->end_id >= c->vocabulary || c->pad_id >= c->vocabulary)
        return err_set(e, ERR_FAILED,
                       "%s: limn.transformer.text.vocabulary: %d, and start_id, end_id or pad_id is outside", file,
                       c->vocabulary);
    if ((int64_t)u->width * u->height > 1 << 26 || u->small_width > u->width || u->small_height > u->height)
        return err_set(e, ERR_FAILED, "%s: limn.image.width, height: pictures of %d x %d, enlarged from %d x %d", file,
                       u->width, u->height, u->small_width, u->small_height);
    if (u->imagines && c->dim > u->width * u->height)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.dim: %d, more than a picture has pixels", file, c->dim);
    for (int i = u->imagines ? 0 : 1; i < UNCLIP_STAGES; i++)
        if (!(u->noise[i].clamp > 0) || (i == UNCLIP_PRIOR && u->noise[i].learned))
            return err_set(e, ERR_FAILED, "%s: limn.%s.clamp, learned: %g, %d", file, unclip_stage_names[i],
                           (double)u->noise[i].clamp, u->noise[i].learned);
    if (!u->decoder.k.context)
        return err_set(e, ERR_FAILED, "%s: limn.unet.context: 0, and the decoder reads a text", file);
    if (!u->decoder.k.joint || !u->decoder.k.shifts || !u->decoder.k.resamples)
        return err_set(e, ERR_FAILED, "%s: limn.unet.joint, scale_shift, resamples: unCLIP's decoder has them", file);
    return check_picture(&u->decoder, u->small_width, u->small_height, CHANNELS, u->noise[UNCLIP_DECODER].learned, file,
                         e);
}

static bool prepare_clip(unclip *u, const char *file, err *e)
{
    clip *c = &u->text;
    c->text.causal = true;
    c->text.norm_after = true;
    c->text.pooling = CLIP_END;
    if (!clip_prepare_text(c, file, e))
        return false;
    if (!u->sees)
        return true;
    c->image.pooling = CLIP_CLASS;
    c->image.norm_before = c->image.norm_after = true;
    for (int i = 0; i < 3; i++)
        if (!(c->std[i] > 0 && c->std[i] < 1e6f && c->mean[i] > -1e6f && c->mean[i] < 1e6f))
            return err_set(e, ERR_FAILED, "%s: limn.transformer.image.std: %g, mean %g: no pixel map", file,
                           (double)c->std[i], (double)c->mean[i]);
    if (c->image_size % c->patch)
        return err_set(e, ERR_FAILED, "%s: limn.transformer.image.patch: %d doesn't divide pictures of %d pixels", file,
                       c->patch, c->image_size);
    return clip_prepare_image(c, file, e);
}

static bool check_fields(const unclip *u, const char *file, err *e)
{
    return config_check(file, fields, N(fields), u, e) && config_check(file, stage_fields, N(stage_fields), u, e) &&
           (!u->sees || config_check(file, image_fields, N(image_fields), u, e)) &&
           (!u->imagines || config_check(file, prior_fields, N(prior_fields), u, e));
}

bool unclip_prepare(unclip *u, const char *file, err *e)
{
    transformer *b = &u->base;
    if (!check_fields(u, file, e) || !unet_prepare(&u->decoder, "unet", file, e) || !check(u, file, e))
        return false;
    for (int i = 0; i < 2; i++)
        if (!unet_prepare(&u->super[i], super_names[i], file, e) ||
            !check_picture(&u->super[i], u->width, u->height, 2 * CHANNELS, u->noise[UNCLIP_SUPER].learned, file, e))
            return false;
    for (int i = 0; i < 2; i++)
        if (u->super[i].k.context || u->super[i].k.shifts)
            return err_set(e, ERR_FAILED, "%s: limn.%s.context, scale_shift: what enlarges pictures reads no text",
                           file, super_names[i]);
    for (int i = 0; i < UNCLIP_STAGES; i++) {
        u->noise[i].betas = BETAS_COSINE;
        u->noise[i].with = SAMPLER_UNCLIP;
    }
    b->kind = &transformer_unclip;
    b->text_length = u->text.text_length;
    b->text_room = b->text_length - 2;
    b->prefix = 1;
    b->vocabulary = u->text.vocabulary;
    b->dim = b->head_dim = u->text.dim;
    b->heads = 1;
    b->latents = CHANNELS;
    b->grid_width = u->width * CHANNELS;
    b->grid_height = u->height;
    u->prior.dim = u->text.dim;
    u->prior.text = u->text.text_length;
    u->prior.states = u->text.text.width;
    return prepare_clip(u, file, e) && (!u->imagines || prior_prepare(&u->prior, file, e));
}

/* ---- the kind --------------------------------------------------------------------------------------------------- */

static void declare_context(unclip *u, param_table *p)
{
    unclip_context *c = &u->context;
    const int64_t dim = u->text.dim, time = 4 * (int64_t)u->decoder.k.channels[0], width = u->decoder.k.context;
    param_vector(p, &c->none, dim, "transformer.context.none");
    param_linear(p, &c->text, dim, time, "transformer.context.text");
    param_linear(p, &c->image, dim, time, "transformer.context.image");
    param_linear(p, &c->extra, dim, c->tokens * width, "transformer.context.extra");
    param_linear(p, &c->states, u->text.text.width, width, "transformer.context.states");
    param_norm(p, &c->norm, width, 1e-5f, "transformer.context.norm");
}

void unclip_declare(unclip *u, param_table *p)
{
    if (u->sees) {
        params_use(p, USE_ENCODER);
        clip_declare_image(&u->text, "transformer.image", p);
    }
    params_use(p, USE_TRANSFORMER | USE_TEXT);
    clip_declare_text(&u->text, "transformer.text", p);
    params_use(p, USE_TRANSFORMER);
    if (u->imagines)
        prior_declare(&u->prior, p);
    declare_context(u, p);
    unet_declare(&u->decoder, p);
    unet_declare(&u->super[0], p);
    unet_declare(&u->super[1], p);
}

void unclip_free(unclip *u)
{
    if (u) {
        clip_release(&u->text);
        prior_release(&u->prior);
    }
    free(u);
}

static void free_kind(transformer *t)
{
    unclip_free((unclip *)t);
}

static void declare(transformer *t, param_table *p)
{
    unclip_declare((unclip *)t, p);
}

static bool read_file(unclip *u, const gguf *g, err *e)
{
    u->sees = gguf_has(g, image_fields[0].key);
    u->imagines = gguf_has(g, prior_fields[0].key);
    return config_fields(g, fields, N(fields), u, e) && config_fields(g, stage_fields, N(stage_fields), u, e) &&
           (!u->sees || config_fields(g, image_fields, N(image_fields), u, e)) &&
           (!u->imagines || config_fields(g, prior_fields, N(prior_fields), u, e)) &&
           unet_read(&u->decoder, "unet", g, e) && unet_read(&u->super[0], super_names[0], g, e) &&
           unet_read(&u->super[1], super_names[1], g, e) && unclip_prepare(u, gguf_name(g), e);
}

static transformer *open_kind(const gguf *g, err *e)
{
    unclip *u = calloc(1, sizeof *u);
    bool ok = u ? read_file(u, g, e) : err_no_memory(e, "unCLIP", sizeof *u);
    if (ok)
        return &u->base;
    unclip_free(u);
    return NULL;
}

const transformer_kind transformer_unclip = {
    .name = "unclip", .open = open_kind, .free = free_kind, .declare = declare, .text_row = text_row};
