/* The DiscreteVAE of DALLE-pytorch (github.com/lucidrains/DALLE-pytorch): strided convolutions down, transposed ones
 * up, all with ReLU, and blocks x + conv1x1(relu(conv3x3(relu(conv3x3(x))))) at the grid's size. */
#include "models/codecs/dalle_pytorch_vae.h"

#include <stddef.h>
#include <stdio.h>

#include "weights/config.h"

#define STAGES   DALLE_PYTORCH_STAGES
#define BLOCKS   DALLE_PYTORCH_BLOCKS
#define CHANNELS 3

typedef struct residual {
    conv conv[3];
} residual;

typedef struct dalle_pytorch_vae {
    dalle_pytorch_vae_config k;
    conv down[STAGES], logits, in, up[STAGES], out;
    residual encoder[BLOCKS], decoder[BLOCKS];
    tensor codebook; /* [codes, code_dim] */
} dalle_pytorch_vae;

static tensor blocks_forward(run *r, const residual *b, int n, tensor x)
{
    for (int i = 0; i < n; i++, b++) {
        run_next(r);
        tensor h = op_conv2d(r, x, &b->conv[0], ACT_RELU, (tensor){0});
        h = op_conv2d(r, h, &b->conv[1], ACT_RELU, (tensor){0});
        x = op_conv2d(r, h, &b->conv[2], ACT_NONE, x);
    }
    return x;
}

static tensor encode(run *r, const codec *c, tensor x)
{
    const dalle_pytorch_vae *v = c->state;
    for (int i = 0; i < v->k.stages; i++) {
        run_next(r);
        x = op_conv2d(r, x, &v->down[i], ACT_RELU, (tensor){0});
    }
    return op_conv2d(r, blocks_forward(r, v->encoder, v->k.blocks, x), &v->logits, ACT_NONE, (tensor){0});
}

static tensor decode_grid(run *r, const codec *c, tensor x)
{
    const dalle_pytorch_vae *v = c->state;
    if (v->k.blocks)
        x = blocks_forward(r, v->decoder, v->k.blocks, op_conv2d(r, x, &v->in, ACT_NONE, (tensor){0}));
    for (int i = 0; i < v->k.stages; i++) {
        run_next(r);
        x = op_conv_transpose2d(r, x, &v->up[i], ACT_RELU);
    }
    return op_conv2d(r, x, &v->out, ACT_NONE, (tensor){0});
}

/* ---- declaring ---- */

static const config_field fields[] = {
    {"limn.image.width", offsetof(dalle_pytorch_vae_config, width), 1, 16384},
    {"limn.image.height", offsetof(dalle_pytorch_vae_config, height), 1, 16384},
    {"limn.codec.codes", offsetof(dalle_pytorch_vae_config, codes), 2, 1 << 20},
    {"limn.codec.code_dim", offsetof(dalle_pytorch_vae_config, code_dim), 1, 65536},
    {"limn.codec.stages", offsetof(dalle_pytorch_vae_config, stages), 1, STAGES},
    {"limn.codec.hidden", offsetof(dalle_pytorch_vae_config, hidden), 1, 65536},
    {"limn.codec.blocks", offsetof(dalle_pytorch_vae_config, blocks), 0, BLOCKS},
};
enum { FIELDS = sizeof fields / sizeof *fields };

void dalle_pytorch_vae_put(const dalle_pytorch_vae_config *k, gguf_writer *w)
{
    gguf_put_string(w, "limn.codec.kind", codec_dalle_pytorch.name);
    config_put(w, fields, FIELDS, k);
}

static void declare_blocks(param_table *p, residual *b, int n, int channels, const char *prefix)
{
    char name[64];
    for (int i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) {
            snprintf(name, sizeof name, "%s.res.%d.conv%d", prefix, i, k + 1);
            param_conv(p, &b[i].conv[k], channels, channels, k < 2 ? 3 : 1, 1, k < 2, name);
        }
}

void dalle_pytorch_vae_declare(codec *c, param_table *p)
{
    dalle_pytorch_vae *v = c->state;
    const dalle_pytorch_vae_config *k = &v->k;
    char name[64];
    params_use(p, USE_ENCODER);
    for (int i = 0; i < k->stages; i++) {
        snprintf(name, sizeof name, "codec.encoder.down.%d", i);
        param_conv(p, &v->down[i], i ? k->hidden : CHANNELS, k->hidden, 4, 2, 1, name);
    }
    declare_blocks(p, v->encoder, k->blocks, k->hidden, "codec.encoder");
    param_conv(p, &v->logits, k->hidden, k->codes, 1, 1, 0, "codec.encoder.logits");
    params_use(p, USE_ENCODER | USE_DECODER);
    param_matrix(p, &v->codebook, k->codes, k->code_dim, PARAM_TABLE, "codec.codebook.weight");
    params_use(p, USE_DECODER);
    if (k->blocks)
        param_conv(p, &v->in, k->code_dim, k->hidden, 1, 1, 0, "codec.decoder.in");
    declare_blocks(p, v->decoder, k->blocks, k->hidden, "codec.decoder");
    for (int i = 0; i < k->stages; i++) {
        snprintf(name, sizeof name, "codec.decoder.up.%d", i);
        param_conv(p, &v->up[i], i || k->blocks ? k->hidden : k->code_dim, k->hidden, 4, 2, 1, name);
    }
    param_conv(p, &v->out, k->hidden, CHANNELS, 1, 1, 0, "codec.decoder.out");
}

static void set_reach(codec *c, const dalle_pytorch_vae_config *k)
{
    for (int i = 0; i < k->stages; i++) /* a pixel of a doubled picture comes of three of it in a row */
        c->reach = (c->reach + 1) / 2 + 1;
    c->reach += 2 * k->blocks;
}

bool dalle_pytorch_vae_prepare(codec *c, const dalle_pytorch_vae_config *k, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, k, e) ||
        !codec_start(c, &codec_dalle_pytorch, k->width, k->height, 1 << k->stages, sizeof(dalle_pytorch_vae), file, e))
        return false;
    dalle_pytorch_vae *v = c->state;
    v->k = *k;
    c->codes = k->codes;
    c->codebook = &v->codebook;
    set_reach(c, k);
    return true;
}

static bool open_file(codec *c, const gguf *g, param_table *p, err *e)
{
    dalle_pytorch_vae_config k = {0};
    if (!config_fields(g, fields, FIELDS, &k, e) || !dalle_pytorch_vae_prepare(c, &k, gguf_name(g), e))
        return false;
    dalle_pytorch_vae_declare(c, p);
    return true;
}

const codec_kind codec_dalle_pytorch = {
    .name = "dalle_pytorch", .open = open_file, .encode = encode, .decode_grid = decode_grid};
