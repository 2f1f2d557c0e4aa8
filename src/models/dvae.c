/* The discrete VAE: strided convolutions down to a grid of logits over the codebook; transposed convolutions up.
 * Ramesh et al. 2021 (section 2.1), with residual blocks x + conv1x1(gelu(conv3x3(gelu(x)))). */
#include "models/dvae.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "models/config.h"

#define CHANNELS      3 /* of pictures */
#define CHANNELS_MOST 65536

typedef struct residual {
    conv conv3, conv1;
} residual;

typedef struct dvae {
    activation act;
    int stages, encoder_blocks, decoder_blocks;
    conv down[DVAE_STAGES], logits, in, up[DVAE_STAGES], out;
    residual encoder[DVAE_BLOCKS], decoder[DVAE_BLOCKS];
    tensor codebook; /* [codes, code_dim] */
} dvae;

/* x + conv1(act(conv3(act(x)))) */
static tensor residual_forward(run *r, const dvae *v, const residual *b, tensor x)
{
    tensor h = op_conv2d(r, op_activate(r, x, v->act), &b->conv3, v->act, (tensor){0});
    return op_conv2d(r, h, &b->conv1, ACT_NONE, x);
}

static tensor dvae_encode(run *r, const codec *c, tensor x)
{
    const dvae *v = c->state;
    for (int i = 0; i < v->stages; i++) {
        run_next(r);
        x = op_conv2d(r, x, &v->down[i], v->act, (tensor){0});
    }
    for (int i = 0; i < v->encoder_blocks; i++) {
        run_next(r);
        x = residual_forward(r, v, &v->encoder[i], x);
    }
    run_next(r);
    return op_conv2d(r, op_activate(r, x, v->act), &v->logits, ACT_NONE, (tensor){0});
}

/* grid[b,h,w,code_dim] */
static tensor decode_grid(run *r, const dvae *v, tensor grid)
{
    tensor x = op_conv2d(r, grid, &v->in, ACT_NONE, (tensor){0});
    for (int i = 0; i < v->decoder_blocks; i++) {
        run_next(r);
        x = residual_forward(r, v, &v->decoder[i], x);
    }
    run_next(r);
    x = op_activate(r, x, v->act);
    for (int i = 0; i < v->stages; i++) { /* the activation before the next layer is this one's */
        run_next(r);
        x = op_conv_transpose2d(r, x, &v->up[i], v->act);
    }
    run_next(r);
    return op_conv2d(r, x, &v->out, ACT_NONE, (tensor){0});
}

static tensor dvae_decode(run *r, const codec *c, tensor codes)
{
    const dvae *v = c->state;
    tensor z = op_embed(r, codes, v->codebook);
    int64_t shape[] = {codes.shape[0], c->grid_height, c->grid_width, v->codebook.shape[1]};
    return decode_grid(r, v, tensor_shaped(z, 4, shape));
}

static tensor dvae_decode_soft(run *r, const codec *c, tensor q)
{
    const dvae *v = c->state;
    return decode_grid(r, v, op_matmul_table(r, q, v->codebook));
}

static const config_field fields[] = {
    {"limn.image.width", offsetof(dvae_config, width), 1, 16384},
    {"limn.image.height", offsetof(dvae_config, height), 1, 16384},
    {"limn.codec.codes", offsetof(dvae_config, codes), 2, 1 << 20},
    {"limn.codec.code_dim", offsetof(dvae_config, code_dim), 1, 65536},
    {"limn.codec.block_width", offsetof(dvae_config, block_width), 1, 65536},
    {"limn.codec.encoder_blocks", offsetof(dvae_config, encoder_blocks), 0, DVAE_BLOCKS},
    {"limn.codec.decoder_blocks", offsetof(dvae_config, decoder_blocks), 0, DVAE_BLOCKS},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* Channels of each stage. */
static bool get_channels(const gguf *g, const char *key, int *stages, int channels[DVAE_STAGES], err *e)
{
    const int64_t *values;
    size_t n;
    if (!gguf_get_ints(g, key, &values, &n, e))
        return false;
    if (n < 1 || n > DVAE_STAGES)
        return err_set(e, ERR_FAILED, "%s: %s: %zu stages, and 1 to %d are possible", gguf_name(g), key, n,
                       DVAE_STAGES);
    for (size_t i = 0; i < n; i++) {
        if (values[i] != (int)values[i])
            return err_set(e, ERR_FAILED, "%s: %s: %lld channels", gguf_name(g), key, (long long)values[i]);
        channels[i] = (int)values[i];
    }
    *stages = (int)n;
    return true;
}

static bool check_channels(const char *file, const char *key, int n, const int *channels, err *e)
{
    for (int i = 0; i < n; i++)
        if (channels[i] < 1 || channels[i] > CHANNELS_MOST)
            return err_set(e, ERR_FAILED, "%s: %s: a stage has %d channels, and 1 to %d are possible", file, key,
                           channels[i], CHANNELS_MOST);
    return true;
}

static void put_channels(gguf_writer *w, const char *key, int n, const int *channels)
{
    int64_t values[DVAE_STAGES];
    for (int i = 0; i < n; i++)
        values[i] = channels[i];
    gguf_put_ints(w, key, values, (size_t)n);
}

void dvae_put(const dvae_config *k, gguf_writer *w)
{
    gguf_put_string(w, "limn.codec.kind", codec_dvae.name);
    config_put(w, fields, FIELDS, k);
    put_channels(w, "limn.codec.encoder_channels", k->stages, k->encoder_channels);
    put_channels(w, "limn.codec.decoder_channels", k->stages, k->decoder_channels);
    gguf_put_string(w, "limn.codec.activation", activation_names[k->act]);
}

static void declare_blocks(param_table *p, residual *blocks, int n, int channels, int inner, const char *prefix)
{
    char name[64];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "%s.res.%d.conv3", prefix, i);
        param_conv(p, &blocks[i].conv3, channels, inner, 3, 1, 1, name);
        snprintf(name, sizeof name, "%s.res.%d.conv1", prefix, i);
        param_conv(p, &blocks[i].conv1, inner, channels, 1, 1, 0, name);
    }
}

static void declare(dvae *v, param_table *p, const dvae_config *k)
{
    char name[64];
    int channels = CHANNELS;
    for (int i = 0; i < k->stages; i++) {
        snprintf(name, sizeof name, "codec.encoder.down.%d", i);
        param_conv(p, &v->down[i], channels, k->encoder_channels[i], 4, 2, 1, name);
        channels = k->encoder_channels[i];
    }
    declare_blocks(p, v->encoder, k->encoder_blocks, channels, k->block_width, "codec.encoder");
    param_conv(p, &v->logits, channels, k->codes, 1, 1, 0, "codec.encoder.logits");
    param_matrix(p, &v->codebook, k->codes, k->code_dim, PARAM_MATRIX, "codec.codebook.weight");
    if (p->n)
        p->list[p->n - 1].deviation = 1; /* the only input of the decoder */
    channels = k->decoder_channels[0];
    param_conv(p, &v->in, k->code_dim, channels, 1, 1, 0, "codec.decoder.in");
    declare_blocks(p, v->decoder, k->decoder_blocks, channels, k->block_width, "codec.decoder");
    for (int i = 0; i < k->stages; i++) {
        snprintf(name, sizeof name, "codec.decoder.up.%d", i);
        param_conv(p, &v->up[i], channels, k->decoder_channels[i], 4, 2, 1, name);
        channels = k->decoder_channels[i];
    }
    param_conv(p, &v->out, channels, CHANNELS, 1, 1, 0, "codec.decoder.out");
}

bool dvae_declare(codec *c, const dvae_config *k, const char *file, param_table *p, err *e)
{
    if (!config_check(file, fields, FIELDS, k, e) ||
        !check_channels(file, "limn.codec.encoder_channels", k->stages, k->encoder_channels, e) ||
        !check_channels(file, "limn.codec.decoder_channels", k->stages, k->decoder_channels, e))
        return false;
    int step = 1 << k->stages;
    if (k->width % step || k->height % step)
        return err_set(e, ERR_FAILED, "%s: limn.image.width, height: %d x %d is not a multiple of %d, the codec's step",
                       file, k->width, k->height, step);
    dvae *v = calloc(1, sizeof *v);
    if (!v)
        return err_no_memory(e, "codec", sizeof *v);
    *v = (dvae){
        .act = k->act, .stages = k->stages, .encoder_blocks = k->encoder_blocks, .decoder_blocks = k->decoder_blocks};
    *c = (codec){.kind = &codec_dvae,
                 .width = k->width,
                 .height = k->height,
                 .grid_width = k->width / step,
                 .grid_height = k->height / step,
                 .codes = k->codes,
                 .channels = CHANNELS,
                 .input = {2, -1},
                 .output = {0.5f, 0.5f},
                 .state = v};
    declare(v, p, k);
    return true;
}

static bool dvae_open(codec *c, const gguf *g, param_table *p, err *e)
{
    dvae_config k = {0};
    int stages_up, act = 0;
    if (!config_fields(g, fields, FIELDS, &k, e) ||
        !get_channels(g, "limn.codec.encoder_channels", &k.stages, k.encoder_channels, e) ||
        !get_channels(g, "limn.codec.decoder_channels", &stages_up, k.decoder_channels, e) ||
        !config_choice(g, "limn.codec.activation", activation_names, ACT_COUNT, &act, e))
        return false;
    if (k.stages != stages_up)
        return err_set(e, ERR_FAILED, "%s: limn.codec.decoder_channels: %d stages, and the encoder has %d",
                       gguf_name(g), stages_up, k.stages);
    k.act = (activation)act;
    return dvae_declare(c, &k, gguf_name(g), p, e);
}

const codec_kind codec_dvae = {"dvae", dvae_open, dvae_encode, dvae_decode, dvae_decode_soft};
