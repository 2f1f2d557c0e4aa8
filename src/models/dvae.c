/* The discrete VAE: strided convolutions down to a grid of logits over the codebook; transposed convolutions up.
 * Ramesh et al. 2021 (section 2.1), with residual blocks x + conv1x1(gelu(conv3x3(gelu(x)))). */
#include <stdio.h>
#include <stdlib.h>

#include "models/codec.h"
#include "models/config.h"

#define STAGES 8
#define BLOCKS 16

typedef struct residual {
    conv conv3, conv1;
} residual;

typedef struct dvae {
    activation act;
    int stages, encoder_blocks, decoder_blocks;
    conv down[STAGES], logits, in, up[STAGES], out;
    residual encoder[BLOCKS], decoder[BLOCKS];
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

static tensor dvae_decode(run *r, const codec *c, tensor codes)
{
    const dvae *v = c->state;
    tensor z = op_embed(r, codes, v->codebook);
    tensor grid = tensor_shaped(z, 4, (int64_t[]){codes.shape[0], c->grid_height, c->grid_width, v->codebook.shape[1]});
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

/* limn.codec.KEY: channels of each stage. */
static bool get_channels(const gguf *g, const char *key, int *stages, int channels[STAGES], err *e)
{
    const int64_t *values;
    size_t n;
    if (!gguf_get_ints(g, key, &values, &n, e))
        return false;
    if (n < 1 || n > STAGES)
        return err_set(e, ERR_FAILED, "%s: %s: %zu stages, and 1 to %d are possible", gguf_name(g), key, n, STAGES);
    for (size_t i = 0; i < n; i++) {
        if (values[i] < 1 || values[i] > 65536)
            return err_set(e, ERR_FAILED, "%s: %s: %lld channels", gguf_name(g), key, (long long)values[i]);
        channels[i] = (int)values[i];
    }
    *stages = (int)n;
    return true;
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

static void declare(dvae *v, param_table *p, const int down[STAGES], const int up[STAGES], int codes, int code_dim,
                    int inner)
{
    char name[64];
    int n = v->stages, channels = 3;
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "codec.encoder.down.%d", i);
        param_conv(p, &v->down[i], channels, down[i], 4, 2, 1, name);
        channels = down[i];
    }
    declare_blocks(p, v->encoder, v->encoder_blocks, channels, inner, "codec.encoder");
    param_conv(p, &v->logits, channels, codes, 1, 1, 0, "codec.encoder.logits");
    param_matrix(p, &v->codebook, codes, code_dim, PARAM_MATRIX, "codec.codebook.weight");
    param_conv(p, &v->in, code_dim, up[0], 1, 1, 0, "codec.decoder.in");
    declare_blocks(p, v->decoder, v->decoder_blocks, up[0], inner, "codec.decoder");
    channels = up[0];
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "codec.decoder.up.%d", i);
        param_conv(p, &v->up[i], channels, up[i], 4, 2, 1, name);
        channels = up[i];
    }
    param_conv(p, &v->out, channels, 3, 1, 1, 0, "codec.decoder.out");
}

static bool dvae_open(codec *c, const gguf *g, param_table *p, err *e)
{
    int code_dim, inner, down[STAGES], up[STAGES], stages_down, stages_up, act = 0;
    dvae *v = c->state = calloc(1, sizeof *v);
    if (!v)
        return err_no_memory(e, "codec", sizeof *v);
    if (!config_int(g, "limn.codec.codes", 2, 1 << 20, &c->codes, e) ||
        !config_int(g, "limn.codec.code_dim", 1, 65536, &code_dim, e) ||
        !config_int(g, "limn.codec.block_width", 1, 65536, &inner, e) ||
        !config_int(g, "limn.codec.encoder_blocks", 0, BLOCKS, &v->encoder_blocks, e) ||
        !config_int(g, "limn.codec.decoder_blocks", 0, BLOCKS, &v->decoder_blocks, e) ||
        !get_channels(g, "limn.codec.encoder_channels", &stages_down, down, e) ||
        !get_channels(g, "limn.codec.decoder_channels", &stages_up, up, e) ||
        !config_choice(g, "limn.codec.activation", activation_names, ACT_COUNT, &act, e))
        return false;
    v->act = (activation)act;
    if (stages_down != stages_up)
        return err_set(e, ERR_FAILED, "%s: limn.codec.decoder_channels: %d stages, and the encoder has %d",
                       gguf_name(g), stages_up, stages_down);
    if (c->width % (1 << stages_up) || c->height % (1 << stages_up))
        return err_set(e, ERR_FAILED, "%s: limn.image.width, height: %d x %d is not a multiple of %d, the codec's step",
                       gguf_name(g), c->width, c->height, 1 << stages_up);
    v->stages = stages_up;
    c->grid_width = c->width >> stages_up;
    c->grid_height = c->height >> stages_up;
    c->input = (pixel_map){2, -1};
    c->output = (pixel_map){0.5f, 0.5f};
    declare(v, p, down, up, c->codes, code_dim, inner);
    return true;
}

const codec_kind codec_dvae = {"dvae", dvae_open, dvae_encode, dvae_decode};
