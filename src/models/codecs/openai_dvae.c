/* OpenAI's discrete VAE (github.com/openai/DALL-E; Ramesh et al. 2021, appendix A): groups of bottleneck blocks,
 * max-pooling down, nearest upsampling up, and the logit-Laplace map of pixels. */
#include "models/codecs/openai_dvae.h"

#include <stddef.h>
#include <stdio.h>

#include "ops/tape.h"
#include "weights/config.h"

#define GROUPS   OPENAI_DVAE_GROUPS
#define BLOCKS   OPENAI_DVAE_BLOCKS
#define STEP     (1 << (GROUPS - 1))
#define CHANNELS 3
#define STATS    (2 * CHANNELS) /* of each pixel: mu, then ln b */

/* x + gain * the path through four convolutions, each after a ReLU */
typedef struct block {
    conv skip; /* in 0: none */
    conv path[4];
} block;

typedef struct side {
    int blocks;
    float gain; /* of each block: 1 / (number of all blocks)^2 */
    block group[GROUPS][BLOCKS];
    conv out;
} side;

typedef struct openai_dvae {
    openai_dvae_config k;
    conv in;
    side encoder, decoder;
    tensor codebook; /* [codes, code_dim] */
} openai_dvae;

/* x and the result are in the run's other arena (run_next); without a skip convolution the result takes x's memory.
 * up: computes the block of op_upsample(x, 2).  Upsampling commutes with the 1x1 convolutions that a decoder's block
 * begins with, so it is done after them: the same numbers for a quarter of the work. */
static tensor block_forward(run *r, const block *b, float gain, bool up, tensor x)
{
    const conv_input relu = {.act = ACT_RELU}, plain = {0};
    tensor y = b->skip.in ? op_conv2d(r, x, &b->skip, ACT_NONE, (tensor){0}) : x, h[3];
    if (up)
        y = op_upsample(r, y, 2);
    h[0] = op_conv2d_of(r, x, &relu, &b->path[0], ACT_RELU);
    h[1] = up ? op_upsample_conv2d(r, h[0], 2, &b->path[1], ACT_RELU)
              : op_conv2d(r, h[0], &b->path[1], ACT_RELU, (tensor){0});
    h[2] = op_conv2d(r, h[1], &b->path[2], ACT_RELU, (tensor){0});
    y = op_conv2d_onto(r, h[2], &plain, &b->path[3], gain, y);
    if (up || b->skip.in)
        run_next(r);
    for (int i = 2; i >= 0 && !up && !b->skip.in && !run_tape(r); i--)
        run_give_back(r, h[i]);
    return y;
}

/* The groups, then the last convolution; between groups the picture halves, or doubles. */
static tensor side_forward(run *r, const side *s, bool up, tensor x)
{
    const conv_input relu = {.act = ACT_RELU};
    run_next(r);
    for (int g = 0; g < GROUPS; g++) {
        for (int i = 0; i < s->blocks; i++)
            x = block_forward(r, &s->group[g][i], s->gain, up && g > 0 && i == 0, x);
        if (g == GROUPS - 1 || up)
            continue;
        x = op_max_pool(r, x, 2);
        run_next(r);
    }
    return op_conv2d_of(r, x, &relu, &s->out, ACT_NONE);
}

static tensor encode(run *r, const codec *c, tensor x)
{
    const openai_dvae *v = c->state;
    return side_forward(r, &v->encoder, false, op_conv2d(r, x, &v->in, ACT_NONE, (tensor){0}));
}

/* mu of the logit-Laplace distribution is a logit. */
static tensor decode_grid(run *r, const codec *c, tensor grid)
{
    const openai_dvae *v = c->state;
    return op_activate(r, side_forward(r, &v->decoder, true, grid), ACT_SIGMOID);
}

/* ---- declaring ---- */

static const config_field fields[] = {
    {"limn.image.width", offsetof(openai_dvae_config, width), 1, 16384},
    {"limn.image.height", offsetof(openai_dvae_config, height), 1, 16384},
    {"limn.codec.codes", offsetof(openai_dvae_config, codes), 2, 1 << 20},
    {"limn.codec.code_dim", offsetof(openai_dvae_config, code_dim), 1, 65536},
    {"limn.codec.encoder_width", offsetof(openai_dvae_config, encoder_width), 4, 8192},
    {"limn.codec.decoder_width", offsetof(openai_dvae_config, decoder_width), 4, 8192},
    {"limn.codec.encoder_blocks", offsetof(openai_dvae_config, encoder_blocks), 1, BLOCKS},
    {"limn.codec.decoder_blocks", offsetof(openai_dvae_config, decoder_blocks), 1, BLOCKS},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void openai_dvae_put(const openai_dvae_config *k, gguf_writer *w)
{
    gguf_put_string(w, "limn.codec.kind", codec_openai_dvae.name);
    config_put(w, fields, FIELDS, k);
}

/* Channels of the groups: `from` before the first, then `width` times 1, 2, 4, 8, in turn or reversed.  kernel: of the
 * four convolutions. */
static void declare_side(param_table *p, side *s, int from, int width, bool up, const int kernel[4])
{
    const char *name = up ? "codec.decoder" : "codec.encoder";
    char path[96];
    s->gain = 1 / (float)(GROUPS * s->blocks * GROUPS * s->blocks);
    for (int g = 0; g < GROUPS; g++) {
        int to = width << (up ? GROUPS - 1 - g : g), inner = to / 4;
        for (int i = 0; i < s->blocks; i++, from = to) {
            block *b = &s->group[g][i];
            snprintf(path, sizeof path, "%s.group_%d.block_%d.id_path", name, g + 1, i + 1);
            if (from != to)
                param_conv(p, &b->skip, from, to, 1, 1, 0, path);
            for (int k = 0; k < 4; k++) {
                snprintf(path, sizeof path, "%s.group_%d.block_%d.res_path.conv_%d", name, g + 1, i + 1, k + 1);
                param_conv(p, &b->path[k], k ? inner : from, k < 3 ? inner : to, kernel[k], 1, kernel[k] / 2, path);
            }
        }
    }
}

void openai_dvae_declare(codec *c, param_table *p)
{
    openai_dvae *v = c->state;
    const openai_dvae_config *k = &v->k;
    params_use(p, USE_ENCODER);
    param_conv(p, &v->in, CHANNELS, k->encoder_width, 7, 1, 3, "codec.encoder.input");
    declare_side(p, &v->encoder, k->encoder_width, k->encoder_width, false, (const int[]){3, 3, 3, 1});
    param_conv(p, &v->encoder.out, k->encoder_width * STEP, k->codes, 1, 1, 0, "codec.encoder.output.conv");
    params_use(p, USE_ENCODER | USE_DECODER);
    param_matrix(p, &v->codebook, k->codes, k->code_dim, PARAM_TABLE, "codec.codebook.weight");
    params_use(p, USE_DECODER);
    declare_side(p, &v->decoder, k->code_dim, k->decoder_width, true, (const int[]){1, 3, 3, 3});
    param_conv(p, &v->decoder.out, k->decoder_width, STATS, 1, 1, 0, "codec.decoder.output.conv");
}

static void set_reach(codec *c, const openai_dvae_config *k)
{
    for (int g = 0; g < GROUPS; g++) /* three convolutions of 3 x 3 a block, and half as far in the picture below */
        c->reach = (c->reach + 1) / 2 + 3 * k->decoder_blocks;
}

bool openai_dvae_prepare(codec *c, const openai_dvae_config *k, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, k, e))
        return false;
    if (k->encoder_width % 4 || k->decoder_width % 4)
        return err_set(e, ERR_FAILED, "%s: limn.codec.encoder_width, decoder_width: %d, %d are not multiples of 4",
                       file, k->encoder_width, k->decoder_width);
    if (!codec_start(c, &codec_openai_dvae, k->width, k->height, STEP, sizeof(openai_dvae), file, e))
        return false;
    openai_dvae *v = c->state;
    v->k = *k;
    v->encoder.blocks = k->encoder_blocks;
    v->decoder.blocks = k->decoder_blocks;
    c->codes = k->codes;
    c->codebook = &v->codebook;
    c->channels = STATS;
    c->input = (pixel_map){0.8f, 0.1f}; /* away from 0 and 1, where logits are infinite */
    c->output = (pixel_map){1.25f, -0.125f};
    set_reach(c, k);
    return true;
}

static bool open_file(codec *c, const gguf *g, param_table *p, err *e)
{
    openai_dvae_config k = {0};
    if (!config_fields(g, fields, FIELDS, &k, e) || !openai_dvae_prepare(c, &k, gguf_name(g), e))
        return false;
    openai_dvae_declare(c, p);
    return true;
}

const codec_kind codec_openai_dvae = {
    .name = "openai_dvae", .open = open_file, .encode = encode, .decode_grid = decode_grid};
