/* NVIDIA's Cosmos tokenizer DV8x16x16 as a codec of pictures (github.com/NVIDIA/Cosmos-Tokenizer).  It is a causal
 * network over time, and a picture is a video of one frame: then each convolution over time is one of 1x1, and that can
 * be made one with the convolution before it.  What is left is a VQGAN's two networks with a norm of one group and a
 * few layers between, Haar's transform twice, and a codebook of numbers that are rounded (FSQ: Mentzer et al. 2023). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/fold.h"
#include "convert/mapping.h"
#include "models/codecs/vqgan.h"

enum { COLOURS = 3, FREQUENCIES = 64, ALL = FREQUENCIES * COLOURS, LEFT = 16 * COLOURS, CELL = 4 };
enum { NUMBERS = 16 }; /* of a codebook's entry, at most */

/* Both networks', behind "decoder." and "encoder."; what is folded is called limn. */
#define ATTENTION(name)                                                                                                \
    {name ".norm.*", {name ".0.norm.norm.*"}}, {name ".q.*", {name ".0.q.conv3d.*"}},                                  \
        {name ".k.*", {name ".0.k.conv3d.*"}}, {name ".v.*", {name ".0.v.conv3d.*"}},                                  \
    {                                                                                                                  \
        name ".proj_out.*",                                                                                            \
        {                                                                                                              \
            name ".0.proj_out.conv3d.*"                                                                                \
        }                                                                                                              \
    }
#define STAGES_OF(way)                                                                                                 \
    {way ".{i}.block.{j}.norm{k}.*", {way ".{i}.block.{j}.norm{k}.norm.*"}},                                           \
        {way ".{i}.block.{j}.conv{k}.*", {"limn." way ".{i}.block.{j}.conv{k}.*"}},                                    \
        {way ".{i}.block.{j}.nin_shortcut.*", {way ".{i}.block.{j}.nin_shortcut.conv3d.*"}},                           \
        {way ".{i}.attn.{j}.mix.norm.*", {way ".{i}.attn.{j}.1.norm.norm.*"}},                                         \
        {way ".{i}.attn.{j}.mix.conv.*", {"limn." way ".{i}.attn.{j}.*"}}, ATTENTION(way ".{i}.attn.{j}")

static const import_row network_rows[] = {
    {"conv_in.*", {"limn.conv_in.*"}},
    {"mid.mix.norm.*", {"mid.attn_1.1.norm.norm.*"}},
    {"mid.mix.conv.*", {"limn.mid.attn_1.*"}},
    ATTENTION("mid.attn_1"),
    {"mid.block_{i}.norm{j}.*", {"mid.block_{i}.norm{j}.norm.*"}},
    {"mid.block_{i}.conv{j}.*", {"limn.mid.block_{i}.conv{j}.*"}},
    STAGES_OF("up"),
    STAGES_OF("down"),
    {"up.{i}.upsample.conv.*", {"limn.up.{i}.upsample.*"}},
    {"up.{i}.mix.conv.*", {"limn.up.{i}.mix.*"}},
    {"down.{i}.downsample.conv.*", {"limn.down.{i}.downsample.*"}},
    {"norm_out.*", {"norm_out.norm.*"}},
    {"conv_out.*", {"limn.conv_out.*"}},
    {NULL, {"patcher3d.", "unpatcher3d."}}, /* Haar's own numbers */
};
static const import_row rows[] = {
    {"codebook.weight", {"{codebook}"}},
    {"quant_conv.*", {"limn.quant_conv.*"}},
    {"quantize.bound.*", {"limn.bound.*"}},
    {"post_quant_conv.*", {"post_quant_conv.conv3d.*"}},
    {NULL, {"inv_quant.quantizer.", "quantizer."}}, /* buffers, and the codebook again */
};

static const char *codebook_of(const source *s)
{
    static const char *const names[] = {"inv_quant.quantizer.implicit_codebook", "quantizer.implicit_codebook"};
    return names[!source_has(s, names[0])];
}

static bool has_encoder(const import *im)
{
    return import_has(im, "encoder.conv_in.0.conv3d.weight");
}

bool import_has_cosmos(const source *s)
{
    return source_has(s, codebook_of(s)) && source_has(s, "decoder.conv_in.0.conv3d.weight");
}

int import_cosmos_codes(import *im)
{
    return import_size(im, 0, "%s", codebook_of(im->from));
}

/* ---- the two networks ---- */

/* SIDE.limn.TO from SIDE.NAME.0, a convolution over space, and SIDE.NAME.1, the one over time behind it. */
static bool fold_pair(import *im, const char *side, const char *to, const char *name, err *e)
{
    char whole[112], first[112], second[112];
    snprintf(whole, sizeof whole, "%s.limn.%.80s", side, to);
    snprintf(first, sizeof first, "%s.%.80s.0.conv3d", side, name);
    snprintf(second, sizeof second, "%s.%.80s.1.conv3d", side, name);
    return import_fold_convs(im, whole, first, second, FOLD_NOTHING, e);
}

static bool fold_block(import *im, const char *side, const char *name, err *e)
{
    char path[80];
    bool ok = true;
    for (int i = 1; ok && i <= 2; i++) {
        snprintf(path, sizeof path, "%.60s.conv%d", name, i);
        ok = fold_pair(im, side, path, path, e);
    }
    return ok;
}

/* Attention over time: each pixel sees itself alone, so only its value counts. */
static bool fold_attention(import *im, const char *side, const char *name, err *e)
{
    char to[112], first[112], second[112];
    snprintf(to, sizeof to, "%s.limn.%.80s", side, name);
    snprintf(first, sizeof first, "%s.%.80s.1.v.conv3d", side, name);
    snprintf(second, sizeof second, "%s.%.80s.1.proj_out.conv3d", side, name);
    if (!import_fold_convs(im, to, first, second, FOLD_NOTHING, e))
        return false;
    for (const char *k = "qk"; *k; k++) {
        snprintf(first, sizeof first, "%s.%.80s.1.%c.", side, name, *k);
        import_skip(im, first);
    }
    return true;
}

/* Blocks and attention, with the stages' way, "up" or "down"; the ends and what is between stages differ. */
static bool fold_blocks(import *im, const char *side, const char *way, int stages, const resnet_vq_side *k, err *e)
{
    char name[64];
    bool ok = fold_block(im, side, "mid.block_1", e) && fold_block(im, side, "mid.block_2", e) &&
              fold_attention(im, side, "mid.attn_1", e);
    for (int i = 0; ok && i < stages * k->blocks; i++) {
        snprintf(name, sizeof name, "%s.%d.block.%d", way, i / k->blocks, i % k->blocks);
        ok = fold_block(im, side, name, e);
        snprintf(name, sizeof name, "%s.%d.attn.%d", way, i / k->blocks, i % k->blocks);
        ok = ok && (!k->attention[i / k->blocks] || fold_attention(im, side, name, e));
    }
    return ok;
}

/* ---- the decoder ---- */

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
    float factors[LEFT * ALL] = {0};
    for (int i = 0; i < ALL; i++) {
        int outer = i / (8 * COLOURS), inner = i / COLOURS % 8, colour = i % COLOURS;
        int channel = place_of(inner / 2 % 2, inner % 2, colour, COLOURS);
        int to = place_of(outer / 2 % 2, outer % 2, channel, 4 * COLOURS);
        factors[to * ALL + i] = (outer / 4 == inner / 4 ? 1 : -1) * (float)CELL;
    }
    return fold_pair(im, "decoder", "conv_all", "conv_out", e) &&
           import_combine_outputs(im, "decoder.limn.conv_all", "decoder.limn.conv_out", factors, LEFT, ALL, e);
}

static bool fold_decoder(import *im, const resnet_vq_config *k, err *e)
{
    char name[64], first[96], second[96];
    bool ok = fold_pair(im, "decoder", "conv_in", "conv_in", e) && fold_out(im, e) &&
              fold_blocks(im, "decoder", "up", k->stages, &k->decoder, e);
    for (int i = 1; ok && i < k->stages; i++) {
        snprintf(name, sizeof name, "decoder.limn.up.%d.upsample", i);
        snprintf(first, sizeof first, "decoder.up.%d.upsample.conv2.conv3d", i);
        snprintf(second, sizeof second, "decoder.up.%d.upsample.conv3.conv3d", i);
        ok = import_fold_convs(im, name, first, second, FOLD_INPUT, e);
        snprintf(name, sizeof name, "decoder.limn.up.%d.mix", i);
        snprintf(first, sizeof first, "decoder.up.%d.upsample.conv1.conv3d", i);
        if (ok && i < k->stages - 1)
            ok = import_fold_convs(im, name, first, NULL, FOLD_NOTHING, e); /* the decoder adds x */
    }
    snprintf(first, sizeof first, "decoder.up.%d.upsample.conv1.", k->stages - 1); /* that stage has no step in time */
    import_skip(im, first);
    return ok;
}

/* ---- the encoder ---- */

/* The first convolution's inputs are Haar's coefficients, twice, of a picture that is all four frames: the means of
 * pixels that differences of rows (r) and columns (s) make negative.  Differences in time are 0. */
static bool fold_in(import *im, err *e)
{
    float factors[ALL * COLOURS * CELL * CELL] = {0};
    for (int i = 0; i < ALL; i++) {
        int outer = i / (8 * COLOURS), inner = i / COLOURS % 8, colour = i % COLOURS;
        for (int y = 0; outer < 4 && inner < 4 && y < CELL; y++)
            for (int x = 0; x < CELL; x++) {
                int negative = (inner / 2 & y) ^ (inner & x) ^ (outer / 2 & y / 2) ^ (outer & x / 2);
                factors[((i * COLOURS + colour) * CELL + y) * CELL + x] = (negative & 1 ? -1.0f : 1.0f) / (CELL * CELL);
            }
    }
    return fold_pair(im, "encoder", "conv_cells", "conv_in", e) &&
           import_spread_inputs(im, "encoder.limn.conv_cells", "encoder.limn.conv_in", factors, ALL, COLOURS, CELL, e);
}

/* What makes a stage's picture smaller: conv1 over space, in stage 0 conv2 over time, and conv3; the first two add what
 * they read. */
static bool fold_downsample(import *im, int stage, err *e)
{
    char to[64], from[3][64];
    snprintf(to, sizeof to, "encoder.limn.down.%d.downsample", stage);
    for (int i = 0; i < 3; i++)
        snprintf(from[i], sizeof from[i], "encoder.down.%d.downsample.conv%d.conv3d", stage, i + 1);
    if (stage > 0) {
        import_skip(im, from[1]);
        return import_fold_convs(im, to, from[0], from[2], FOLD_MEANS, e);
    }
    return import_fold_convs(im, "encoder.limn.time", from[1], from[2], FOLD_INPUT, e) &&
           import_fold_convs(im, to, from[0], "encoder.limn.time", FOLD_MEANS, e);
}

/* How many levels each number of the codebook's entries has: L of them are i / (L / 2) - 1, i < L. */
static bool read_levels(import *im, const float *values, int n, int dim, int levels[NUMBERS])
{
    for (int j = 0; j < dim; j++) {
        float low = 0, step = 2; /* the least number, and the next one is so much larger */
        for (int i = 0; i < n; i++)
            low = fminf(low, values[i * dim + j]);
        for (int i = 0; i < n; i++)
            if (values[i * dim + j] > low)
                step = fminf(step, values[i * dim + j] - low);
        float half = roundf(1 / step), high = 0;
        bool known = low == -1 && half >= 1;
        for (int i = 0; known && i < n; i++) {
            float level = (values[i * dim + j] + 1) * half;
            known = fabsf(level - roundf(level)) < 1e-2f;
            high = fmaxf(high, roundf(level));
        }
        levels[j] = (int)high + 1;
        if (!known || levels[j] / 2 != (int)half)
            return err_set(&im->error, ERR_FAILED,
                           "convert: tensor %s: number %d of its entries has no levels as those of FSQ, to which the "
                           "encoder rounds (give the tokenizer's files as published)",
                           codebook_of(im->from), j);
    }
    return true;
}

/* FSQ: the encoder's numbers are bounded to their levels by tanh, moved so that 0 stays 0 where there is a level for it
 * or else halfway, and then rounded: the nearest entry of the codebook has the rounded ones. */
static bool fold_bound(import *im, err *e)
{
    int n = 0, dim = 0, levels[NUMBERS];
    float *values = import_floats(im, codebook_of(im->from), &n, &dim), shift[NUMBERS];
    bool ok = values;
    if (ok && dim > NUMBERS)
        ok = err_set(&im->error, ERR_FAILED, "convert: tensor %s: entries of %d numbers, and up to %d are possible",
                     codebook_of(im->from), dim, NUMBERS);
    ok = ok && read_levels(im, values, n, dim, levels);
    free(values);
    float *w = ok ? calloc((size_t)(dim * dim), sizeof *w) : NULL, *b = ok ? calloc((size_t)dim, sizeof *b) : NULL;
    if (ok && (!w || !b))
        ok = err_no_memory(e, "convert", (size_t)(dim * dim) * sizeof *w);
    for (int j = 0; ok && j < dim; j++) {
        float reach = (float)(levels[j] - 1) * 1.001f / 2, offset = levels[j] % 2 ? 0 : 0.5f,
              half = (float)(levels[j] / 2);
        shift[j] = atanhf(offset / reach);
        w[j * dim + j] = reach / half;
        b[j] = -offset / half;
    }
    if (!ok) {
        free(w);
        free(b);
        return false;
    }
    ok = source_make(im->from, "limn.bound.weight", 4, (int64_t[]){dim, dim, 1, 1}, w, e);
    if (!ok)
        free(b);
    return ok && source_make(im->from, "limn.bound.bias", 1, (int64_t[]){dim}, b, e) &&
           import_shift_outputs(im, "quant_conv.conv3d", "limn.quant_conv", shift, dim, e);
}

static bool fold_encoder(import *im, const resnet_vq_config *k, err *e)
{
    bool ok = fold_in(im, e) && fold_pair(im, "encoder", "conv_out", "conv_out", e) &&
              fold_blocks(im, "encoder", "down", k->stages, &k->encoder, e) && fold_bound(im, e);
    for (int i = 0; ok && i < k->stages - 1; i++)
        ok = fold_downsample(im, i, e);
    return ok;
}

/* ---- the whole ---- */

/* side: "decoder.up" */
static void read_side(import *im, const char *side, int stages, resnet_vq_side *k)
{
    while (k->blocks <= RESNET_VQ_BLOCKS && import_has(im, "%s.0.block.%d.norm1.norm.weight", side, k->blocks))
        k->blocks++;
    for (int i = 0; i < stages && i < RESNET_VQ_STAGES; i++) {
        k->channels[i] = import_size(im, 0, "%s.%d.block.0.conv1.0.conv3d.weight", side, i);
        k->attention[i] = import_has(im, "%s.%d.attn.0.0.q.conv3d.weight", side, i);
    }
}

bool import_cosmos(import *im, int *grid, err *e)
{
    const char *codebook = codebook_of(im->from);
    import_map maps[] = {{"codec.decoder.", "decoder.", IMPORT_ROWS(network_rows)},
                         {"codec.encoder.", "encoder.", IMPORT_ROWS(network_rows)},
                         {"codec.", "", IMPORT_ROWS(rows), {{"codebook", .text = codebook}}},
                         {0}};
    resnet_vq_config k = {.codes = import_cosmos_codes(im),
                          .code_dim = import_size(im, 1, "%s", codebook),
                          .latent = import_size(im, 0, "post_quant_conv.conv3d.weight"),
                          .groups = 1,
                          .eps = 1e-6f,
                          .has_encoder = has_encoder(im),
                          .bounded = has_encoder(im),
                          .haar_twice = true,
                          .mixes = true};
    while (k.stages <= RESNET_VQ_STAGES && import_has(im, "decoder.up.%d.block.0.norm1.norm.weight", k.stages))
        k.stages++;
    read_side(im, "decoder.up", k.stages, &k.decoder);
    if (k.has_encoder) {
        k.stem = import_size(im, 0, "encoder.conv_in.0.conv3d.weight");
        read_side(im, "encoder.down", k.stages, &k.encoder);
    } else {
        log_write(LOG_WARNING,
                  "convert: without the Cosmos tokenizer's encoder.jit the model can't read pictures: image "
                  "prompts, and training on pictures, need it (give it too)");
    }
    int step = k.stages > 0 && k.stages <= RESNET_VQ_STAGES ? CELL << (k.stages - 1) : 1;
    k.width = k.height = import_setting(im, "image_size", 1024);
    *grid = k.width / step;
    return !im->error.code && fold_decoder(im, &k, e) && (!k.has_encoder || fold_encoder(im, &k, e)) &&
           import_resnet_vq(im, &k, maps, e);
}
