/* The convolutional encoder and decoder of our own codec kinds: forward passes, parameters, hyper-parameters. */
#include "models/codecs/autoencoder.h"

#include <stddef.h>
#include <stdio.h>

#include "weights/config.h"

#define CHANNELS      3 /* of pictures */
#define CHANNELS_MOST 65536

const char *const upsampling_names[UPSAMPLING_COUNT] = {"transposed", "nearest"};
static const char *const likelihood_names[LIKELIHOOD_COUNT] = {"pixels", "logit_laplace"};

/* ---- forward ---- */

/* x + conv1(act(conv3(act(x)))) */
static tensor residual_forward(run *r, activation act, const residual *b, tensor x)
{
    tensor h = op_conv2d(r, op_activate(r, x, act), &b->conv3, act, (tensor){0});
    return op_conv2d(r, h, &b->conv1, ACT_NONE, x);
}

tensor autoencoder_encode(run *r, const codec *c, tensor x)
{
    const autoencoder *a = c->state;
    activation act = a->config.act;
    for (int i = 0; i < a->config.stages; i++) {
        run_next(r);
        x = op_conv2d(r, x, &a->down[i], act, (tensor){0});
    }
    for (int i = 0; i < a->config.encoder_blocks; i++) {
        run_next(r);
        x = residual_forward(r, act, &a->encoder[i], x);
    }
    run_next(r);
    return op_conv2d(r, op_activate(r, x, act), &a->latent, ACT_NONE, (tensor){0});
}

int autoencoder_features(run *r, const codec *c, tensor x, tensor features[CODEC_FEATURES])
{
    const autoencoder *a = c->state;
    for (int i = 0; i < a->config.stages; i++)
        features[i] = x = op_conv2d(r, x, &a->down[i], a->config.act, (tensor){0});
    return a->config.stages;
}

tensor autoencoder_decode_to(run *r, const codec *c, tensor grid, tensor *last)
{
    const autoencoder *a = c->state;
    activation act = a->config.act;
    tensor x = op_conv2d(r, grid, &a->in, ACT_NONE, (tensor){0});
    for (int i = 0; i < a->config.decoder_blocks; i++) {
        run_next(r);
        x = residual_forward(r, act, &a->decoder[i], x);
    }
    run_next(r);
    x = op_activate(r, x, act);
    for (int i = 0; i < a->config.stages; i++) { /* the activation before the next layer is this one's */
        run_next(r);
        x = a->config.up == UPSAMPLING_NEAREST ? op_upsample_conv2d(r, x, 2, &a->up[i], act)
                                               : op_conv_transpose2d(r, x, &a->up[i], act);
    }
    run_next(r);
    if (last)
        *last = x;
    return op_conv2d(r, x, &a->out, ACT_NONE, (tensor){0});
}

tensor autoencoder_decode_grid(run *r, const codec *c, tensor grid)
{
    return autoencoder_decode_to(r, c, grid, NULL);
}

tensor autoencoder_pixels(run *r, const codec *c, tensor y)
{
    const autoencoder *a = c->state;
    if (a->config.output == LIKELIHOOD_PIXELS || !y.buf)
        return y;
    int64_t b = y.shape[0], h = y.shape[1], w = y.shape[2], flat[] = {b * h * w, y.shape[3], 1};
    tensor mu = op_slice(r, tensor_shaped(y, 3, flat), 0, CHANNELS);
    if (run_failed(r))
        return (tensor){0};
    return op_activate(r, tensor_shaped(mu, 4, (int64_t[]){b, h, w, CHANNELS}), ACT_SIGMOID);
}

/* ---- hyper-parameters ---- */

static const config_field fields[] = {
    {"limn.image.width", offsetof(autoencoder_config, width), 1, 16384},
    {"limn.image.height", offsetof(autoencoder_config, height), 1, 16384},
    {"limn.codec.codes", offsetof(autoencoder_config, codes), 2, 1 << 20},
    {"limn.codec.code_dim", offsetof(autoencoder_config, code_dim), 1, 65536},
    {"limn.codec.block_width", offsetof(autoencoder_config, block_width), 1, 65536},
    {"limn.codec.encoder_blocks", offsetof(autoencoder_config, encoder_blocks), 0, AUTOENCODER_BLOCKS},
    {"limn.codec.decoder_blocks", offsetof(autoencoder_config, decoder_blocks), 0, AUTOENCODER_BLOCKS},
};
enum { FIELDS = sizeof fields / sizeof *fields };

/* Behind the channels; files without the optional ones mean the first of the words. */
static const config_field choices[] = {
    {"limn.codec.activation", offsetof(autoencoder_config, act), 0, ACT_COUNT, CONFIG_CHOICE, activation_names},
    {"limn.codec.upsampling", offsetof(autoencoder_config, up), 0, UPSAMPLING_COUNT, CONFIG_CHOICE, upsampling_names,
     .optional = true},
    {"limn.codec.likelihood", offsetof(autoencoder_config, output), 0, LIKELIHOOD_COUNT, CONFIG_CHOICE,
     likelihood_names, .optional = true},
};
enum { CHOICES = sizeof choices / sizeof *choices };

/* Channels of each stage. */
static bool get_channels(const gguf *g, const char *key, int *stages, int channels[AUTOENCODER_STAGES], err *e)
{
    const int64_t *values;
    size_t n;
    if (!gguf_get_ints(g, key, &values, &n, e))
        return false;
    if (n < 1 || n > AUTOENCODER_STAGES)
        return err_set(e, ERR_FAILED, "%s: %s: %zu stages, and 1 to %d are possible", gguf_name(g), key, n,
                       AUTOENCODER_STAGES);
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
    int64_t values[AUTOENCODER_STAGES];
    for (int i = 0; i < n; i++)
        values[i] = channels[i];
    gguf_put_ints(w, key, values, (size_t)n);
}

void autoencoder_put(const autoencoder_config *k, const codec_kind *kind, gguf_writer *w)
{
    gguf_put_string(w, "limn.codec.kind", kind->name);
    config_put(w, fields, FIELDS, k);
    put_channels(w, "limn.codec.encoder_channels", k->stages, k->encoder_channels);
    put_channels(w, "limn.codec.decoder_channels", k->stages, k->decoder_channels);
    config_put(w, choices, CHOICES, k);
}

bool autoencoder_read(autoencoder_config *k, const gguf *g, err *e)
{
    int stages_up;
    *k = (autoencoder_config){0};
    if (!config_fields(g, fields, FIELDS, k, e) ||
        !get_channels(g, "limn.codec.encoder_channels", &k->stages, k->encoder_channels, e) ||
        !get_channels(g, "limn.codec.decoder_channels", &stages_up, k->decoder_channels, e) ||
        !config_fields(g, choices, CHOICES, k, e))
        return false;
    if (k->stages != stages_up)
        return err_set(e, ERR_FAILED, "%s: limn.codec.decoder_channels: %d stages, and the encoder has %d",
                       gguf_name(g), stages_up, k->stages);
    return true;
}

/* ---- parameters ---- */

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

void autoencoder_declare(codec *c, param_table *p)
{
    autoencoder *a = c->state;
    const autoencoder_config *k = &a->config;
    char name[64];
    int channels = CHANNELS;
    params_use(p, USE_ENCODER);
    for (int i = 0; i < k->stages; i++) {
        snprintf(name, sizeof name, "codec.encoder.down.%d", i);
        param_conv(p, &a->down[i], channels, k->encoder_channels[i], 4, 2, 1, name);
        channels = k->encoder_channels[i];
    }
    declare_blocks(p, a->encoder, k->encoder_blocks, channels, k->block_width, "codec.encoder");
    param_conv(p, &a->latent, channels, a->latent_channels, 1, 1, 0, a->latent_name);
    params_use(p, USE_ENCODER | USE_DECODER);
    param_matrix(p, &a->codebook, k->codes, k->code_dim, PARAM_TABLE, "codec.codebook.weight");
    if (p->n)
        p->list[p->n - 1].deviation = 1; /* the only input of the decoder */
    channels = k->decoder_channels[0];
    params_use(p, USE_DECODER);
    param_conv(p, &a->in, k->code_dim, channels, 1, 1, 0, "codec.decoder.in");
    declare_blocks(p, a->decoder, k->decoder_blocks, channels, k->block_width, "codec.decoder");
    for (int i = 0; i < k->stages; i++) {
        snprintf(name, sizeof name, "codec.decoder.up.%d", i);
        if (k->up == UPSAMPLING_NEAREST)
            param_conv(p, &a->up[i], channels, k->decoder_channels[i], 3, 1, 1, name);
        else
            param_conv(p, &a->up[i], channels, k->decoder_channels[i], 4, 2, 1, name);
        channels = k->decoder_channels[i];
    }
    param_conv(p, &a->out, channels, c->channels, 1, 1, 0, "codec.decoder.out");
}

static void set_reach(codec *c, const autoencoder_config *k)
{
    for (int i = 0; i < k->stages; i++) /* a pixel of a doubled picture comes of three of it in a row */
        c->reach = (c->reach + 1) / 2 + 1;
    c->reach += k->decoder_blocks;
}

bool autoencoder_prepare(codec *c, const codec_kind *kind, const autoencoder_config *k, int latent, const char *name,
                         const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, k, e) ||
        !check_channels(file, "limn.codec.encoder_channels", k->stages, k->encoder_channels, e) ||
        !check_channels(file, "limn.codec.decoder_channels", k->stages, k->decoder_channels, e))
        return false;
    if (!codec_start(c, kind, k->width, k->height, 1 << k->stages, sizeof(autoencoder), file, e))
        return false;
    autoencoder *a = c->state;
    a->config = *k;
    a->latent_channels = latent;
    a->latent_name = name;
    c->codes = k->codes;
    c->codebook = &a->codebook;
    if (k->output == LIKELIHOOD_LOGIT_LAPLACE) { /* ibid., equation 3: (1 - 2 epsilon) x + epsilon, epsilon = 0.1 */
        c->channels = 2 * CHANNELS;
        c->logits = true;
        c->input = (pixel_map){0.8f, 0.1f};
        c->output = (pixel_map){1.25f, -0.125f};
    }
    set_reach(c, k);
    return true;
}
