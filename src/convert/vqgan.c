/* VQGANs of taming-transformers and of those who took its networks over.  The published layouts differ in names and in
 * what surrounds the two networks:
 *   taming     quantize.embedding; minDALL-E's is the same
 *   Gumbel     quantize.embed, and quantize.proj gives logits; ruDALL-E's is the same, under "model." or not
 *   wavelet    ruDALL-E's: the decoder has 12 channels and is behind one more "decoder."
 *   detokenizer  min-dalle's: embedding and decoder alone, values 0 to 1, another eps
 *   LlamaGen   stages are conv_blocks, in the order in which they run; entries are used at length 1.  Janus's is the
 * same transformers  Janus's: LlamaGen's with taming's names, its stages in the order in which they run
 *   diffusers  VQModel, of aMUSEd: its own names, no attention in the middle, values 0 to 1; and AutoencoderKL, of
 *              Stable Diffusion: the same names, attention in the middle, latents instead of a codebook */
#include "models/codecs/vqgan.h"

#include <stdio.h>
#include <string.h>

#include "convert/codecs.h"
#include "convert/convert_internal.h"
#include "convert/mapping.h"

#define LAST_IN "decoder.conv_in.weight"

typedef struct layout {
    const char *prefix;
    bool gumbel, wavelet, detokenizer, llamagen, transformers, diffusers;
    bool named_anew;    /* of diffusers: its attention has the later names */
    bool linear_middle; /* of taming: what others wrote back */
    int stages;
} layout;

bool import_vqgan_prefix(const source *s, char prefix[64])
{
    for (size_t i = 0; i < s->n; i++) {
        const char *name = s->tensors[i].t->name;
        size_t n = strlen(name), end = strlen(LAST_IN);
        if (n < end || n - end >= 48 || strcmp(name + n - end, LAST_IN) != 0)
            continue;
        n -= end;
        if (n >= 8 && !strncmp(name + n - 8, "decoder.", 8)) /* the wavelet's */
            n -= 8;
        char more[96];
        snprintf(prefix, 64, "%.*s", (int)n, name);
        snprintf(more, sizeof more, "%spost_quant_conv.weight", prefix);
        if (source_has(s, more))
            return true;
    }
    return false;
}

/* ---- names ---- */

/* Ours are those of taming-transformers. */
static const import_row taming[] = {
    {"codebook.weight", {"{codebook}.weight"}},
    {"*", {"*"}},
};
static const import_row wavelet[] = {
    {"codebook.weight", {"{codebook}.weight"}},
    {"decoder.*", {"decoder.decoder.*"}},
    {"post_quant_conv.*", {"decoder.post_quant_conv.*"}},
    {"*", {"*"}},
    /* the first is of the decoder that this one replaced, the second Haar's own numbers */
    {NULL, {"post_quant_conv.", "decoder.idwt."}, IMPORT_SAY},
};
static const import_row llamagen[] = {
    {"codebook.weight", {"{codebook}.weight"}, IMPORT_UNIT},
    {"encoder.mid.block_1.*", {"encoder.mid.0.*"}},
    {"encoder.mid.attn_1.*", {"encoder.mid.1.*"}},
    {"encoder.mid.block_2.*", {"encoder.mid.2.*"}},
    {"encoder.down.{i}.block.*", {"encoder.conv_blocks.{i}.res.*"}},
    {"encoder.down.{i}.*", {"encoder.conv_blocks.{i}.*"}},
    {"decoder.mid.block_1.*", {"decoder.mid.0.*"}},
    {"decoder.mid.attn_1.*", {"decoder.mid.1.*"}},
    {"decoder.mid.block_2.*", {"decoder.mid.2.*"}},
    {"decoder.up.{i}.block.*", {"decoder.conv_blocks.{stages-1-i}.res.*"}},
    {"decoder.up.{i}.*", {"decoder.conv_blocks.{stages-1-i}.*"}},
    {"*", {"*"}},
};
static const import_row transformers[] = {
    {"codebook.weight", {"{codebook}.weight"}, IMPORT_UNIT},
    {"decoder.up.{i}.*", {"decoder.up.{stages-1-i}.*"}},
    {"*", {"*"}},
};
static const import_row diffusers[] = {
    {"codebook.weight", {"{codebook}.weight"}},
    {"encoder.mid.attn_1.norm.*", {"encoder.mid_block.attentions.0.group_norm.*"}},
    {"encoder.mid.attn_1.q.*", {"encoder.mid_block.attentions.0.{q}.*"}, IMPORT_SHAPED},
    {"encoder.mid.attn_1.k.*", {"encoder.mid_block.attentions.0.{k}.*"}, IMPORT_SHAPED},
    {"encoder.mid.attn_1.v.*", {"encoder.mid_block.attentions.0.{v}.*"}, IMPORT_SHAPED},
    {"encoder.mid.attn_1.proj_out.*", {"encoder.mid_block.attentions.0.{out}.*"}, IMPORT_SHAPED},
    {"decoder.mid.attn_1.norm.*", {"decoder.mid_block.attentions.0.group_norm.*"}},
    {"decoder.mid.attn_1.q.*", {"decoder.mid_block.attentions.0.{q}.*"}, IMPORT_SHAPED},
    {"decoder.mid.attn_1.k.*", {"decoder.mid_block.attentions.0.{k}.*"}, IMPORT_SHAPED},
    {"decoder.mid.attn_1.v.*", {"decoder.mid_block.attentions.0.{v}.*"}, IMPORT_SHAPED},
    {"decoder.mid.attn_1.proj_out.*", {"decoder.mid_block.attentions.0.{out}.*"}, IMPORT_SHAPED},
    {"encoder.mid.block_1.*", {"encoder.mid_block.resnets.0.*"}},
    {"encoder.mid.block_2.*", {"encoder.mid_block.resnets.1.*"}},
    {"encoder.norm_out.*", {"encoder.conv_norm_out.*"}},
    {"encoder.down.{i}.block.{j}.nin_shortcut.*", {"encoder.down_blocks.{i}.resnets.{j}.conv_shortcut.*"}},
    {"encoder.down.{i}.block.*", {"encoder.down_blocks.{i}.resnets.*"}},
    {"encoder.down.{i}.downsample.*", {"encoder.down_blocks.{i}.downsamplers.0.*"}},
    {"decoder.mid.block_1.*", {"decoder.mid_block.resnets.0.*"}},
    {"decoder.mid.block_2.*", {"decoder.mid_block.resnets.1.*"}},
    {"decoder.norm_out.*", {"decoder.conv_norm_out.*"}},
    {"decoder.up.{i}.block.{j}.nin_shortcut.*", {"decoder.up_blocks.{stages-1-i}.resnets.{j}.conv_shortcut.*"}},
    {"decoder.up.{i}.block.*", {"decoder.up_blocks.{stages-1-i}.resnets.*"}},
    {"decoder.up.{i}.upsample.*", {"decoder.up_blocks.{stages-1-i}.upsamplers.0.*"}},
    {"*", {"*"}},
};
/* The same with linear layers in place of convolutions of 1 x 1 in its attention. */
static const import_row linear_middle[] = {
    {"encoder.mid.attn_1.*", {"encoder.mid.attn_1.*"}, IMPORT_SHAPED},
    {"decoder.mid.attn_1.*", {"decoder.mid.attn_1.*"}, IMPORT_SHAPED},
    {"codebook.weight", {"{codebook}.weight"}},
    {"*", {"*"}},
};
/* Whatever the layout. */
static const import_row training[] = {
    {NULL,
     {"loss.", "quantize.embedding.cluster_size", "quantize.embedding.embed_avg", "quantize.codebook_used"},
     IMPORT_SAY},
};
static const import_row ema_rows[] = {{NULL, {"model_ema."}, IMPORT_SAY}};

enum { MAPS = 4 };

static void map_names(const layout *l, import_map maps[MAPS])
{
    import_map names = {"codec.", l->prefix, IMPORT_ROWS(taming)};
    if (l->wavelet)
        names = (import_map){"codec.", l->prefix, IMPORT_ROWS(wavelet)};
    else if (l->llamagen)
        names = (import_map){"codec.", l->prefix, IMPORT_ROWS(llamagen)};
    else if (l->transformers)
        names = (import_map){"codec.", l->prefix, IMPORT_ROWS(transformers)};
    else if (l->diffusers)
        names = (import_map){"codec.", l->prefix, IMPORT_ROWS(diffusers)};
    else if (l->linear_middle)
        names = (import_map){"codec.", l->prefix, IMPORT_ROWS(linear_middle)};
    names.values[0] = (import_value){"codebook", l->detokenizer ? "embedding"
                                                 : l->gumbel    ? "quantize.embed"
                                                                : "quantize.embedding"};
    names.values[1] = (import_value){"stages", .number = l->stages};
    names.values[2] = (import_value){"q", l->named_anew ? "to_q" : "query"};
    names.values[3] = (import_value){"k", l->named_anew ? "to_k" : "key"};
    names.values[4] = (import_value){"v", l->named_anew ? "to_v" : "value"};
    names.values[5] = (import_value){"out", l->named_anew ? "to_out.0" : "proj_attn"};
    maps[0] = names;
    maps[1] = (import_map){"codec.", l->prefix, IMPORT_ROWS(training)};
    maps[2] = (import_map){"codec.", "", IMPORT_ROWS(ema_rows)};
    maps[3] = (import_map){0};
}

/* ---- architecture ---- */

static bool ends_in(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && !strcmp(text + n - m, end);
}

static bool is_matrix(const import *im, const char *prefix, const char *name)
{
    char whole[160];
    snprintf(whole, sizeof whole, "%s%s", prefix, name);
    const file_tensor *t = source_tensor_of(im->from, whole);
    return t && t->nd == 2;
}

static layout layout_of(const import *im, const char *prefix)
{
    layout l = {.prefix = prefix,
                .gumbel = import_has(im, "%squantize.proj.weight", prefix),
                .wavelet = import_has(im, "%sdecoder." LAST_IN, prefix),
                .detokenizer = import_has(im, "%sembedding.weight", prefix),
                .transformers = ends_in(prefix, "vqmodel."),
                .diffusers = import_has(im, "%sdecoder.up_blocks.0.resnets.0.norm1.weight", prefix),
                .named_anew = import_has(im, "%sdecoder.mid_block.attentions.0.to_q.weight", prefix),
                .linear_middle = is_matrix(im, prefix, "decoder.mid.attn_1.q.weight"),
                .llamagen = import_has(im, "%sdecoder.conv_blocks.0.res.0.norm1.weight", prefix)};
    const char *form = l.llamagen    ? "%sdecoder.conv_blocks.%d.res.0.norm1.weight"
                       : l.diffusers ? "%sdecoder.up_blocks.%d.resnets.0.norm1.weight"
                       : l.wavelet   ? "%sdecoder.decoder.up.%d.block.0.norm1.weight"
                                     : "%sdecoder.up.%d.block.0.norm1.weight";
    char name[160];
    do /* one more than is possible is an error where the model is declared */
        snprintf(name, sizeof name, form, prefix, l.stages);
    while (source_has(im->from, name) && l.stages++ <= RESNET_VQ_STAGES);
    return l;
}

/* side: "encoder.down", "decoder.up" */
static void read_side(import *im, const import_map *maps, int stages, const char *side, resnet_vq_side *k)
{
    char block[64];
    snprintf(block, sizeof block, "codec.%s.0.block.{i}.norm1.weight", side);
    k->blocks = import_mapped_count(im, maps, block, RESNET_VQ_BLOCKS);
    for (int i = 0; i < stages && i < RESNET_VQ_STAGES; i++) {
        k->channels[i] = import_mapped_size(im, maps, 0, "codec.%s.%d.block.0.conv1.weight", side, i);
        k->attention[i] = import_mapped_has(im, maps, "codec.%s.%d.attn.0.norm.weight", side, i);
    }
}

/* latents: it has no codebook, but latents of that scale. */
static resnet_vq_config read_config(import *im, const layout *l, const import_map *maps, int grid, float latents)
{
    const bool codes = latents == 0;
    resnet_vq_config k = {
        .codes = codes ? import_mapped_size(im, maps, 0, "codec.codebook.weight") : 0,
        .code_dim = import_mapped_size(im, maps, 1, codes ? "codec.codebook.weight" : "codec.post_quant_conv.weight"),
        .latents = !codes,
        .scale = latents,
        .latent = import_mapped_size(im, maps, 0, "codec.post_quant_conv.weight"),
        .stages = l->stages,
        .groups = 32,
        .eps = l->detokenizer ? 1e-5f : 1e-6f,
        .has_encoder = !l->detokenizer,
        .gumbel = l->gumbel,
        .wavelet = l->wavelet,
        .unit_range = l->detokenizer || (l->diffusers && codes),
        .plain_middle = l->diffusers && !import_mapped_has(im, maps, "codec.decoder.mid.attn_1.q.weight")};
    read_side(im, maps, l->stages, "decoder.up", &k.decoder);
    if (k.has_encoder) {
        k.stem = import_mapped_size(im, maps, 0, "codec.encoder.conv_in.weight");
        read_side(im, maps, l->stages, "encoder.down", &k.encoder);
    }
    int step = l->stages > 0 && l->stages <= RESNET_VQ_STAGES ? 1 << (l->stages - 1) : 1;
    k.width = k.height = import_image_size(im, grid, step) << l->wavelet; /* that of encoded pictures */
    return k;
}

bool import_resnet_vq(import *im, const resnet_vq_config *k, const import_map *maps, err *e)
{
    codec c = {0};
    param_table params = {0};
    bool ok = resnet_vq_prepare(&c, k, "convert", e);
    if (ok) {
        resnet_vq_declare(&c, &params);
        resnet_vq_put(k, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    codec_release(&c);
    return ok;
}

bool import_vqgan(import *im, const char *prefix, int grid, err *e)
{
    import_map maps[MAPS];
    const layout l = layout_of(im, prefix);
    map_names(&l, maps);
    const resnet_vq_config k = read_config(im, &l, maps, grid, 0);
    return import_resnet_vq(im, &k, maps, e);
}

bool import_autoencoder_kl(import *im, const char *prefix, int grid, int groups, float scale, err *e)
{
    import_map maps[MAPS];
    const layout l = layout_of(im, prefix);
    map_names(&l, maps);
    resnet_vq_config k = read_config(im, &l, maps, grid, scale);
    k.groups = groups;
    return import_resnet_vq(im, &k, maps, e);
}
