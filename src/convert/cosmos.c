/* NVIDIA's Cosmos tokenizer DV8x16x16 as a codec of pictures (github.com/NVIDIA/Cosmos-Tokenizer).  It is a causal
 * network over time, and a picture is a video of one frame: then each convolution over time is one of 1x1, and that can
 * be made one with the convolution before it.  What is left is a VQGAN's decoder with a norm of one group, a few layers
 * between, and Haar's transform twice. */
#include <stdio.h>
#include <string.h>

#include "convert/codecs.h"
#include "convert/fold.h"
#include "convert/mapping.h"
#include "models/codecs/vqgan.h"

#define CODEBOOK "inv_quant.quantizer.implicit_codebook"

enum { COLOURS = 3, FREQUENCIES = 64, ALL = FREQUENCIES * COLOURS, LEFT = 16 * COLOURS, CELL = 4 };

static const import_row rows[] = {
    {"codebook.weight", {CODEBOOK}},
    {"post_quant_conv.*", {"post_quant_conv.conv3d.*"}},
    {"decoder.conv_in.*", {"limn.conv_in.*"}},
    {"decoder.mid.attn_1.norm.*", {"decoder.mid.attn_1.0.norm.norm.*"}},
    {"decoder.mid.attn_1.q.*", {"decoder.mid.attn_1.0.q.conv3d.*"}},
    {"decoder.mid.attn_1.k.*", {"decoder.mid.attn_1.0.k.conv3d.*"}},
    {"decoder.mid.attn_1.v.*", {"decoder.mid.attn_1.0.v.conv3d.*"}},
    {"decoder.mid.attn_1.proj_out.*", {"decoder.mid.attn_1.0.proj_out.conv3d.*"}},
    {"decoder.mid.mix.norm.*", {"decoder.mid.attn_1.1.norm.norm.*"}},
    {"decoder.mid.mix.conv.*", {"limn.mid.mix.*"}},
    {"decoder.mid.block_{i}.norm{j}.*", {"decoder.mid.block_{i}.norm{j}.norm.*"}},
    {"decoder.mid.block_{i}.conv{j}.*", {"limn.mid.block_{i}.conv{j}.*"}},
    {"decoder.up.{i}.block.{j}.norm{k}.*", {"decoder.up.{i}.block.{j}.norm{k}.norm.*"}},
    {"decoder.up.{i}.block.{j}.conv{k}.*", {"limn.up.{i}.block.{j}.conv{k}.*"}},
    {"decoder.up.{i}.block.{j}.nin_shortcut.*", {"decoder.up.{i}.block.{j}.nin_shortcut.conv3d.*"}},
    {"decoder.up.{i}.upsample.conv.*", {"limn.up.{i}.upsample.*"}},
    {"decoder.up.{i}.mix.conv.*", {"limn.up.{i}.mix.*"}},
    {"decoder.norm_out.*", {"decoder.norm_out.norm.*"}},
    {"decoder.conv_out.*", {"limn.conv_out.*"}},
    /* buffers, and what only several frames need */
    {NULL, {"inv_quant.quantizer._", "decoder.unpatcher3d.", "decoder.mid.attn_1.1.q.", "decoder.mid.attn_1.1.k."}},
    {NULL, {"decoder.up.{last}.upsample.conv1."}},
};

bool import_has_cosmos(const source *s)
{
    return source_has(s, CODEBOOK) && source_has(s, "decoder.conv_in.0.conv3d.weight");
}

int import_cosmos_codes(import *im)
{
    return import_size(im, 0, CODEBOOK);
}

/* A convolution over space and the one over time behind it. */
static bool fold_pair(import *im, const char *name, const char *from, err *e)
{
    char to[112], first[112], second[112];
    snprintf(to, sizeof to, "limn.%s", name);
    snprintf(first, sizeof first, "%s.0.conv3d", from);
    snprintf(second, sizeof second, "%s.1.conv3d", from);
    return import_fold_convs(im, to, first, second, false, e);
}

static bool fold_block(import *im, const char *name, err *e)
{
    char to[80], from[88];
    bool ok = true;
    for (int i = 1; ok && i <= 2; i++) {
        snprintf(to, sizeof to, "%.50s.conv%d", name, i);
        snprintf(from, sizeof from, "decoder.%.50s.conv%d", name, i);
        ok = fold_pair(im, to, from, e);
    }
    return ok;
}

/* Where Haar's coefficient of rows r and columns s of a channel stands, of `channels`: as op_inverse_haar reads them.
 */
static int place_of(int r, int s, int channel, int channels)
{
    int difference = r && s ? 2 : r ? 0 : 1;
    return !r && !s ? channel : channels + 3 * channel + difference;
}

/* The last convolution's outputs are Haar's coefficients, twice, over time, rows and columns; the picture is the last
 * of four frames.  op_inverse_haar halves. */
static bool fold_out(import *im, err *e)
{
    static float factors[LEFT * ALL];
    memset(factors, 0, sizeof factors);
    for (int i = 0; i < ALL; i++) {
        int outer = i / (8 * COLOURS), inner = i / COLOURS % 8, colour = i % COLOURS;
        int channel = place_of(inner / 2 % 2, inner % 2, colour, COLOURS);
        int to = place_of(outer / 2 % 2, outer % 2, channel, 4 * COLOURS);
        factors[to * ALL + i] = (outer / 4 == inner / 4 ? 1 : -1) * (float)CELL;
    }
    return fold_pair(im, "conv_all", "decoder.conv_out", e) &&
           import_combine_outputs(im, "limn.conv_all", "limn.conv_out", factors, LEFT, ALL, e);
}

static bool fold_all(import *im, int stages, int blocks, err *e)
{
    char name[64], first[96], second[96];
    bool ok = fold_pair(im, "conv_in", "decoder.conv_in", e) && fold_block(im, "mid.block_1", e) &&
              fold_block(im, "mid.block_2", e) && fold_out(im, e) &&
              import_fold_convs(im, "limn.mid.mix", "decoder.mid.attn_1.1.v.conv3d",
                                "decoder.mid.attn_1.1.proj_out.conv3d", false, e);
    for (int i = 0; ok && i < stages * blocks; i++) {
        snprintf(name, sizeof name, "up.%d.block.%d", i / blocks, i % blocks);
        ok = fold_block(im, name, e);
    }
    for (int i = 1; ok && i < stages; i++) {
        snprintf(name, sizeof name, "limn.up.%d.upsample", i);
        snprintf(first, sizeof first, "decoder.up.%d.upsample.conv2.conv3d", i);
        snprintf(second, sizeof second, "decoder.up.%d.upsample.conv3.conv3d", i);
        ok = import_fold_convs(im, name, first, second, true, e);
        snprintf(name, sizeof name, "limn.up.%d.mix", i);
        snprintf(first, sizeof first, "decoder.up.%d.upsample.conv1.conv3d", i);
        if (ok && i < stages - 1)
            ok = import_fold_convs(im, name, first, NULL, false, e); /* the decoder adds x */
    }
    return ok;
}

bool import_cosmos(import *im, int *grid, err *e)
{
    import_map maps[] = {{"codec.", "", IMPORT_ROWS(rows), {{"last", .number = 0}}}, {0}};
    int stages = 0;
    while (stages <= RESNET_VQ_STAGES && import_has(im, "decoder.up.%d.block.0.norm1.norm.weight", stages))
        stages++;
    maps[0].values[0].number = stages - 1;
    resnet_vq_config k = {.codes = import_cosmos_codes(im),
                          .code_dim = import_size(im, 1, CODEBOOK),
                          .latent = import_size(im, 0, "post_quant_conv.conv3d.weight"),
                          .stages = stages,
                          .groups = 1,
                          .eps = 1e-6f,
                          .haar_twice = true,
                          .mixes = true};
    k.decoder.blocks = import_mapped_count(im, maps, "codec.decoder.up.0.block.{i}.norm1.weight", RESNET_VQ_BLOCKS);
    for (int i = 0; i < stages && i < RESNET_VQ_STAGES; i++)
        k.decoder.channels[i] = import_size(im, 0, "decoder.up.%d.block.0.conv1.0.conv3d.weight", i);
    int step = stages > 0 && stages <= RESNET_VQ_STAGES ? CELL << (stages - 1) : 1;
    k.width = k.height = import_setting(im, "image_size", 1024);
    *grid = k.width / step;
    return !im->error.code && fold_all(im, stages, k.decoder.blocks, e) && import_resnet_vq(im, &k, maps, e);
}
