/* VQGAN's autoencoder (Esser et al. 2021; github.com/CompVis/taming-transformers), which many models took over: ResNet
 * blocks with group norm, attention at the small sizes, and a codebook of nearest entries or of Gumbel logits.
 * Trained elsewhere: discriminator and perceptual loss aren't part of it. */
#include "models/codecs/vqgan.h"

#include <stddef.h>
#include <stdio.h>

#include "ops/tape.h"
#include "weights/config.h"

#define STAGES   RESNET_VQ_STAGES
#define BLOCKS   RESNET_VQ_BLOCKS
#define CHANNELS 3
#define OVERLAP                                                                                                        \
    8 /* cells of a tile's margin, where tiles are blended: 64 pixels of Stable Diffusion's, as others have it */

/* x + conv2(silu(norm2(conv1(silu(norm1(x)))))) */
typedef struct residual {
    norm norm1, norm2;
    conv conv1, conv2;
    conv skip; /* in 0: none */
} residual;

/* x + out(attention over all pixels of norm(x)); with mixes then x + mix(mix_norm(x)) too */
typedef struct attention {
    norm norm, mix_norm;
    conv q, k, v, out;
    conv mix; /* in 0: none */
} attention;

typedef struct stage {
    residual block[BLOCKS];
    attention attention[BLOCKS];
    conv resample;
    conv mix; /* in 0: none */
} stage;

typedef struct side {
    conv in;
    residual mid[2];
    attention mid_attention; /* q.in 0: none */
    stage stage[STAGES];
    norm norm;
    conv out;
} side;

typedef struct resnet_vq {
    resnet_vq_config k;
    side encoder, decoder;
    conv to_code, logits, from_code; /* logits: of a Gumbel codebook */
    conv bound;                      /* in 0: none; else what is compared with the codebook is bound(tanh(to_code)) */
    tensor codebook;                 /* [codes, code_dim] */
} resnet_vq;

static int haar_levels(const resnet_vq_config *k)
{
    return k->haar_twice ? 2 : k->wavelet;
}

/* Each part of the network finds x in the run's other arena and leaves its result there (run_next).  A block without a
 * skip convolution writes its result over x, and so does one with fewer channels behind it, so the network needs the
 * memory of one and a half pictures of its widest layer, or of two of the next one. */

static tensor residual_forward(run *r, const residual *b, int groups, tensor x)
{
    const conv_input first = {&b->norm1, groups, ACT_SILU}, second = {&b->norm2, groups, ACT_SILU};
    tensor h = op_conv2d_of(r, x, &first, &b->conv1, ACT_NONE);
    tensor y = b->skip.in ? op_conv2d_narrow(r, x, &b->skip) : x;
    const bool moved = y.buf != x.buf || y.at != x.at;
    y = op_conv2d_onto(r, h, &second, &b->conv2, 1, y);
    if (moved)
        run_next(r);
    else if (!run_tape(r))
        run_give_back(r, h);
    return y;
}

static tensor attention_forward(run *r, const attention *a, int groups, tensor x)
{
    tensor h = op_group_norm(r, x, &a->norm, groups, ACT_NONE), qkv[3];
    const conv *project[] = {&a->q, &a->k, &a->v};
    for (int i = 0; i < 3; i++)
        qkv[i] = op_conv2d(r, h, project[i], ACT_NONE, (tensor){0});
    x = op_conv2d(r, op_self_attention(r, qkv[0], qkv[1], qkv[2]), &a->out, ACT_NONE, x);
    run_next(r);
    if (a->mix.in) {
        x = op_conv2d(r, op_group_norm(r, x, &a->mix_norm, groups, ACT_NONE), &a->mix, ACT_NONE, x);
        run_next(r);
    }
    return x;
}

static tensor stage_forward(run *r, const stage *s, const resnet_vq_side *k, int i, int groups, tensor x)
{
    for (int b = 0; b < k->blocks; b++) {
        x = residual_forward(r, &s->block[b], groups, x);
        if (k->attention[i])
            x = attention_forward(r, &s->attention[b], groups, x);
    }
    return x;
}

static tensor middle_forward(run *r, const side *s, int groups, tensor x)
{
    x = residual_forward(r, &s->mid[0], groups, x);
    if (s->mid_attention.q.in)
        x = attention_forward(r, &s->mid_attention, groups, x);
    return residual_forward(r, &s->mid[1], groups, x);
}

static tensor last_forward(run *r, const side *s, int groups, tensor x)
{
    const conv_input k = {&s->norm, groups, ACT_SILU};
    return op_conv2d_of(r, x, &k, &s->out, ACT_NONE);
}

/* What is compared with the codebook, or becomes its logits. */
static tensor encode_grid(run *r, const codec *c, tensor x)
{
    const resnet_vq *v = c->state;
    const side *s = &v->encoder;
    int n = v->k.stages, groups = v->k.groups;
    x = op_conv2d(r, x, &s->in, ACT_NONE, (tensor){0});
    run_next(r);
    for (int i = 0; i < n; i++) {
        x = stage_forward(r, &s->stage[i], &v->k.encoder, i, groups, x);
        if (i == n - 1)
            break;
        x = op_conv2d(r, x, &s->stage[i].resample, ACT_NONE, (tensor){0});
        run_next(r);
    }
    x = last_forward(r, s, groups, middle_forward(r, s, groups, x));
    x = op_conv2d(r, x, &v->to_code, v->bound.in ? ACT_TANH : ACT_NONE, (tensor){0});
    return v->bound.in ? op_conv2d(r, x, &v->bound, ACT_NONE, (tensor){0}) : x;
}

static tensor logits_of(run *r, const resnet_vq *v, tensor x)
{
    return v->k.gumbel ? op_conv2d(r, x, &v->logits, ACT_NONE, (tensor){0}) : op_distances(r, x, v->codebook);
}

static tensor encode(run *r, const codec *c, tensor x)
{
    x = encode_grid(r, c, x);
    return c->latents ? x : logits_of(r, c->state, x);
}

/* Some cells at a time: all logits of a picture of 64 x 64 cells by 64000 codes are 1 GiB. */
static tensor choose(run *r, const codec *c, tensor x)
{
    enum { MOST = 1 << 22 }; /* logits at once */
    const resnet_vq *v = c->state;
    int64_t cells = x.shape[0] * c->grid_height * c->grid_width, dim = v->k.code_dim, at_once = MOST / v->k.codes;
    x = encode_grid(r, c, x);
    if (v->k.gumbel || cells <= at_once || run_failed(r))
        return op_argmax(r, logits_of(r, v, x));
    tensor ids = TENSOR(r, DTYPE_I32, cells);
    x = tensor_shaped(x, 4, (int64_t[]){cells, 1, 1, dim});
    for (int64_t first = 0; first < cells && !run_failed(r); first += at_once) {
        int64_t n = cells - first < at_once ? cells - first : at_once;
        tensor logits = logits_of(r, v, tensor_rows(x, first, n)), some = op_argmax(r, logits);
        op_repeat(r, tensor_rows(ids, first, n), some);
        run_give_back(r, some);
        run_give_back(r, logits);
    }
    return ids;
}

static tensor decode_grid(run *r, const codec *c, tensor x)
{
    const resnet_vq *v = c->state;
    const side *s = &v->decoder;
    int n = v->k.stages, groups = v->k.groups;
    if (v->k.latents)
        x = op_scale_add(r, x, 1 / v->k.scale, (tensor){0}, 0);
    x = op_conv2d(r, op_conv2d(r, x, &v->from_code, ACT_NONE, (tensor){0}), &s->in, ACT_NONE, (tensor){0});
    run_next(r);
    x = middle_forward(r, s, groups, x);
    for (int i = n - 1; i >= 0; i--) {
        x = stage_forward(r, &s->stage[i], &v->k.decoder, i, groups, x);
        if (i == 0)
            break;
        if (s->stage[i].mix.in) {
            x = op_conv2d(r, x, &s->stage[i].mix, ACT_NONE, x);
            run_next(r);
        }
        x = op_upsample_conv2d(r, x, 2, &s->stage[i].resample, ACT_NONE);
        run_next(r);
    }
    x = last_forward(r, s, groups, x);
    if (v->k.haar_twice)
        x = op_inverse_haar(r, x);
    return haar_levels(&v->k) ? op_inverse_haar(r, x) : x;
}

/* ---- hyper-parameters ---- */

static const config_field fields[] = {
    {"limn.image.width", offsetof(resnet_vq_config, width), 1, 16384},
    {"limn.image.height", offsetof(resnet_vq_config, height), 1, 16384},
    {"limn.codec.codes", offsetof(resnet_vq_config, codes), 2, 1 << 20, .optional = true},
    {"limn.codec.code_dim", offsetof(resnet_vq_config, code_dim), 1, 65536},
    {"limn.codec.latent", offsetof(resnet_vq_config, latent), 1, 65536},
    {"limn.codec.groups", offsetof(resnet_vq_config, groups), 1, 65536},
    {"limn.codec.has_encoder", offsetof(resnet_vq_config, has_encoder), .kind = CONFIG_BIT},
    {"limn.codec.gumbel", offsetof(resnet_vq_config, gumbel), .kind = CONFIG_BIT},
    {"limn.codec.wavelet", offsetof(resnet_vq_config, wavelet), .kind = CONFIG_BIT},
    {"limn.codec.haar_twice", offsetof(resnet_vq_config, haar_twice), .kind = CONFIG_BIT, .optional = true},
    {"limn.codec.mixes", offsetof(resnet_vq_config, mixes), .kind = CONFIG_BIT, .optional = true},
    {"limn.codec.unit_range", offsetof(resnet_vq_config, unit_range), .kind = CONFIG_BIT},
    {"limn.codec.plain_middle", offsetof(resnet_vq_config, plain_middle), .kind = CONFIG_BIT, .optional = true},
    {"limn.codec.latents", offsetof(resnet_vq_config, latents), .kind = CONFIG_BIT, .optional = true},
    {"limn.codec.scale", offsetof(resnet_vq_config, scale), 0, 1 << 20, CONFIG_FLOAT, .optional = true},
    {"limn.codec.decoder_blocks", offsetof(resnet_vq_config, decoder.blocks), 1, BLOCKS},
    {"limn.codec.norm_eps", offsetof(resnet_vq_config, eps), 0, 1, CONFIG_FLOAT},
};
static const config_field encoder_fields[] = {
    {"limn.codec.stem", offsetof(resnet_vq_config, stem), 1, 65536},
    {"limn.codec.bounded", offsetof(resnet_vq_config, bounded), .kind = CONFIG_BIT, .optional = true},
    {"limn.codec.encoder_blocks", offsetof(resnet_vq_config, encoder.blocks), 1, BLOCKS},
};
enum { FIELDS = sizeof fields / sizeof *fields, ENCODER_FIELDS = sizeof encoder_fields / sizeof *encoder_fields };

void resnet_vq_put(const resnet_vq_config *k, gguf_writer *w)
{
    gguf_put_string(w, "limn.codec.kind", codec_resnet_vq.name);
    config_put(w, fields, FIELDS, k);
    config_put_ints(w, "limn.codec.decoder_channels", k->decoder.channels, k->stages);
    config_put_ints(w, "limn.codec.decoder_attention", k->decoder.attention, k->stages);
    if (!k->has_encoder)
        return;
    config_put(w, encoder_fields, ENCODER_FIELDS, k);
    config_put_ints(w, "limn.codec.encoder_channels", k->encoder.channels, k->stages);
    config_put_ints(w, "limn.codec.encoder_attention", k->encoder.attention, k->stages);
}

/* A list with one number a stage; *stages 0: any length, which becomes *stages. */
static bool get_stages(const gguf *g, const char *key, int max, int *values, int *stages, err *e)
{
    int n;
    if (!config_ints(g, key, max == 1 ? 0 : 1, max, STAGES, values, &n, e))
        return false;
    if (*stages && n != *stages)
        return err_set(e, ERR_FAILED, "%s: key '%s': %d numbers, and there are %d stages", gguf_name(g), key, n,
                       *stages);
    *stages = n;
    return true;
}

static bool check_side(const resnet_vq_config *k, const resnet_vq_side *s, const char *name, const char *file, err *e)
{
    for (int i = 0; i < k->stages; i++)
        if (s->channels[i] < 1 || s->channels[i] > 65536 || s->channels[i] % k->groups)
            return err_set(e, ERR_FAILED,
                           "%s: limn.codec.%s_channels: a stage has %d, and up to 65536 that %d groups divide are "
                           "possible",
                           file, name, s->channels[i], k->groups);
    return true;
}

static bool check(const resnet_vq_config *k, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, k, e))
        return false;
    if (k->stages < 1 || k->stages > STAGES) /* before lists of so many numbers are read */
        return err_set(e, ERR_FAILED, "%s: limn.codec.decoder_channels: %d stages, and 1 to %d are possible", file,
                       k->stages, STAGES);
    if (!check_side(k, &k->decoder, "decoder", file, e))
        return false;
    if (k->has_encoder &&
        (!config_check(file, encoder_fields, ENCODER_FIELDS, k, e) || !check_side(k, &k->encoder, "encoder", file, e)))
        return false;
    if (k->latents ? k->codes || !(k->scale > 0) || k->gumbel : !k->codes)
        return err_set(e, ERR_FAILED, "%s: limn.codec.codes: %d, and %s", file, k->codes,
                       k->latents ? "a codec of latents has none, and a scale" : "2 or more are possible");
    if (k->latents && (int64_t)(k->width >> (k->stages - 1)) * (k->height >> (k->stages - 1)) * k->code_dim > 1 << 28)
        return err_set(e, ERR_FAILED, "%s: limn.codec.code_dim: %d numbers a latent of %d x %d pixels are too many",
                       file, k->code_dim, k->width, k->height);
    if (k->has_encoder && k->stem % k->groups)
        return err_set(e, ERR_FAILED, "%s: limn.codec.stem: %d channels, which %d groups don't divide", file, k->stem,
                       k->groups);
    return true;
}

/* ---- parameters ---- */

/* Declares what its functions are asked for under a path of names. */
typedef struct declarer {
    param_table *p;
    const resnet_vq_config *k;
    const char *side; /* "codec.encoder" */
} declarer;

static void declare_conv(const declarer *d, conv *c, int in, int out, int kernel, const char *path, const char *name)
{
    char whole[96];
    snprintf(whole, sizeof whole, "%s.%s%s", d->side, path, name);
    param_conv(d->p, c, in, out, kernel, 1, kernel / 2, whole);
}

static void declare_norm(const declarer *d, norm *n, int channels, const char *path, const char *name)
{
    char whole[96];
    snprintf(whole, sizeof whole, "%s.%s%s", d->side, path, name);
    param_norm(d->p, n, channels, d->k->eps, whole);
}

static void declare_residual(const declarer *d, residual *b, int in, int out, const char *path)
{
    declare_norm(d, &b->norm1, in, path, ".norm1");
    declare_conv(d, &b->conv1, in, out, 3, path, ".conv1");
    declare_norm(d, &b->norm2, out, path, ".norm2");
    declare_conv(d, &b->conv2, out, out, 3, path, ".conv2");
    if (in != out)
        declare_conv(d, &b->skip, in, out, 1, path, ".nin_shortcut");
}

/* mix: the path of its mix, which it has with mixes alone. */
static void declare_attention(const declarer *d, attention *a, int channels, const char *path, const char *mix)
{
    declare_norm(d, &a->norm, channels, path, ".norm");
    declare_conv(d, &a->q, channels, channels, 1, path, ".q");
    declare_conv(d, &a->k, channels, channels, 1, path, ".k");
    declare_conv(d, &a->v, channels, channels, 1, path, ".v");
    declare_conv(d, &a->out, channels, channels, 1, path, ".proj_out");
    if (!d->k->mixes)
        return;
    declare_norm(d, &a->mix_norm, channels, mix, ".norm");
    declare_conv(d, &a->mix, channels, channels, 1, mix, ".conv");
}

/* Stage i, whose input has `in` channels; up: of the decoder. */
static void declare_stage(const declarer *d, stage *s, const resnet_vq_side *k, int i, int in, bool up)
{
    char path[64], mix[64];
    int out = k->channels[i];
    for (int b = 0; b < k->blocks; b++, in = out) {
        snprintf(path, sizeof path, "%s.%d.block.%d", up ? "up" : "down", i, b);
        declare_residual(d, &s->block[b], in, out, path);
        snprintf(path, sizeof path, "%s.%d.attn.%d", up ? "up" : "down", i, b);
        snprintf(mix, sizeof mix, "%s.%d.attn.%d.mix", up ? "up" : "down", i, b);
        if (k->attention[i])
            declare_attention(d, &s->attention[b], out, path, mix);
    }
    snprintf(path, sizeof path, "%s.%d.%s", up ? "up" : "down", i, up ? "upsample" : "downsample");
    if (up ? i > 0 : i < d->k->stages - 1)
        declare_conv(d, &s->resample, out, out, 3, path, ".conv");
    if (!up) { /* as published: zeros at the bottom and at the right alone */
        s->resample.stride = 2;
        s->resample.pad = 0;
        s->resample.pad_end = 1;
    }
}

static void declare_middle(const declarer *d, side *s, int channels)
{
    declare_residual(d, &s->mid[0], channels, channels, "mid.block_1");
    if (!d->k->plain_middle)
        declare_attention(d, &s->mid_attention, channels, "mid.attn_1", "mid.mix");
    declare_residual(d, &s->mid[1], channels, channels, "mid.block_2");
}

/* Of the decoder: before each enlargement but the first. */
static void declare_mixes(const declarer *d, side *s)
{
    const resnet_vq_side *k = &d->k->decoder;
    for (int i = d->k->stages - 2; i > 0; i--) {
        char path[32];
        snprintf(path, sizeof path, "up.%d.mix", i);
        declare_conv(d, &s->stage[i].mix, k->channels[i], k->channels[i], 1, path, ".conv");
    }
}

static void declare_encoder(resnet_vq *v, param_table *p)
{
    const resnet_vq_config *k = &v->k;
    const declarer d = {p, k, "codec.encoder"};
    int in = k->stem, cell = 1 << 2 * k->haar_twice;
    params_use(p, USE_ENCODER);
    declare_conv(&d, &v->encoder.in, CHANNELS, in, 3 * cell, "conv_in", "");
    if (k->haar_twice) { /* of 3 x 3 cells' coefficients, which are sums of pixels */
        v->encoder.in.stride = cell;
        v->encoder.in.pad = cell;
    }
    for (int i = 0; i < k->stages; in = k->encoder.channels[i++])
        declare_stage(&d, &v->encoder.stage[i], &k->encoder, i, in, false);
    declare_middle(&d, &v->encoder, in);
    declare_norm(&d, &v->encoder.norm, in, "norm_out", "");
    const int of = k->latents ? 2 : 1; /* numbers for each: mean and ln variance */
    declare_conv(&d, &v->encoder.out, in, of * k->latent, 3, "conv_out", "");
    if (k->bounded)
        param_conv(p, &v->bound, k->code_dim, k->code_dim, 1, 1, 0, "codec.quantize.bound");
    params_use(p, k->latents ? USE_ENCODER : USE_ENCODER | USE_DECODER);
    param_conv(p, &v->to_code, of * k->latent, of * k->code_dim, 1, 1, 0, "codec.quant_conv");
    if (k->gumbel)
        param_conv(p, &v->logits, k->code_dim, k->codes, 1, 1, 0, "codec.quantize.proj");
}

static void declare_decoder(resnet_vq *v, param_table *p)
{
    const resnet_vq_config *k = &v->k;
    const declarer d = {p, k, "codec.decoder"};
    int in = k->decoder.channels[k->stages - 1];
    param_conv(p, &v->from_code, k->code_dim, k->latent, 1, 1, 0, "codec.post_quant_conv");
    params_use(p, USE_DECODER);
    declare_conv(&d, &v->decoder.in, k->latent, in, 3, "conv_in", "");
    declare_middle(&d, &v->decoder, in);
    for (int i = k->stages - 1; i >= 0; in = k->decoder.channels[i--])
        declare_stage(&d, &v->decoder.stage[i], &k->decoder, i, in, true);
    if (k->mixes)
        declare_mixes(&d, &v->decoder);
    declare_norm(&d, &v->decoder.norm, in, "norm_out", "");
    declare_conv(&d, &v->decoder.out, in, CHANNELS << 2 * haar_levels(k), 3, "conv_out", "");
}

bool resnet_vq_prepare(codec *c, const resnet_vq_config *k, const char *file, err *e)
{
    if (!check(k, file, e) || !codec_start(c, &codec_resnet_vq, k->width, k->height,
                                           1 << (k->stages - 1 + haar_levels(k)), sizeof(resnet_vq), file, e))
        return false;
    resnet_vq *v = c->state;
    v->k = *k;
    c->codes = k->codes;
    c->codebook = k->latents ? NULL : &v->codebook;
    c->latents = k->latents ? k->code_dim : 0;
    c->scale = k->scale;
    if (k->unit_range)
        c->input = c->output = (pixel_map){1, 0};
    c->doubles = k->wavelet;
    c->no_encoder = !k->has_encoder;
    c->reach = -1; /* norms and attention */
    c->overlap = k->latents ? OVERLAP : 0;
    return true;
}

void resnet_vq_declare(codec *c, param_table *p)
{
    resnet_vq *v = c->state;
    const resnet_vq_config *k = &v->k;
    if (k->has_encoder)
        declare_encoder(v, p);
    params_use(p, k->latents ? USE_DECODER : USE_ENCODER | USE_DECODER);
    if (!k->latents)
        param_matrix(p, &v->codebook, k->codes, k->code_dim, PARAM_TABLE, "codec.codebook.weight");
    declare_decoder(v, p);
}

static bool open_file(codec *c, const gguf *g, param_table *p, err *e)
{
    resnet_vq_config k = {0};
    if (!config_fields(g, fields, FIELDS, &k, e) ||
        !get_stages(g, "limn.codec.decoder_channels", 65536, k.decoder.channels, &k.stages, e) ||
        !get_stages(g, "limn.codec.decoder_attention", 1, k.decoder.attention, &k.stages, e))
        return false;
    if (k.has_encoder && (!config_fields(g, encoder_fields, ENCODER_FIELDS, &k, e) ||
                          !get_stages(g, "limn.codec.encoder_channels", 65536, k.encoder.channels, &k.stages, e) ||
                          !get_stages(g, "limn.codec.encoder_attention", 1, k.encoder.attention, &k.stages, e)))
        return false;
    if (!resnet_vq_prepare(c, &k, gguf_name(g), e))
        return false;
    resnet_vq_declare(c, p);
    return true;
}

const codec_kind codec_resnet_vq = {
    .name = "resnet_vq", .open = open_file, .encode = encode, .choose = choose, .decode_grid = decode_grid};
