/* The family "taming": VQGANs of taming-transformers and of those who took its networks over.  The published layouts
 * differ in names and in what surrounds the two networks:
 *   taming     quantize.embedding; minDALL-E's is the same
 *   Gumbel     quantize.embed, and quantize.proj gives logits; ruDALL-E's is the same, under "model." or not
 *   wavelet    ruDALL-E's: the decoder has 12 channels and is behind one more "decoder."
 *   detokenizer  min-dalle's: embedding and decoder alone, values 0 to 1, another eps
 *   LlamaGen   stages are conv_blocks, in the order in which they run; entries are used at length 1 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "convert/codecs.h"
#include "convert/gpt.h"
#include "convert/names.h"
#include "models/codecs/vqgan.h"

#define LAST_IN "decoder.conv_in.weight"

typedef struct layout {
    const char *prefix;
    bool gumbel, wavelet, detokenizer, llamagen;
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

/* The source's name for ours, "decoder.up.1.block.0.conv1.weight" (those of taming-transformers). */
static void source_name(char out[160], const layout *l, const char *name)
{
    int i = 0, at = 0;
    const char *codebook = l->detokenizer ? "" : "quantize.";
    if (!strcmp(name, "codebook.weight")) {
        snprintf(out, 160, "%s%s%s.weight", l->prefix, codebook, l->gumbel ? "embed" : "embedding");
        return;
    }
    bool decoder = !strncmp(name, "decoder.", 8);
    const char *path = decoder || !strncmp(name, "encoder.", 8) ? name + 8 : NULL,
               *side = decoder ? "decoder" : "encoder";
    const char *more = l->wavelet && (decoder || !strncmp(name, "post_quant_conv.", 16)) ? "decoder." : "";
    if (!l->llamagen || !path) {
        snprintf(out, 160, "%s%s%s", l->prefix, more, name);
        return;
    }
    static const struct {
        const char *ours, *theirs;
    } middle[] = {{"mid.block_1.", "mid.0."}, {"mid.attn_1.", "mid.1."}, {"mid.block_2.", "mid.2."}};
    for (int k = 0; k < 3; k++)
        if (!strncmp(path, middle[k].ours, strlen(middle[k].ours))) {
            snprintf(out, 160, "%s%s.%s%s", l->prefix, side, middle[k].theirs, path + strlen(middle[k].ours));
            return;
        }
    if (sscanf(path, decoder ? "up.%d.%n" : "down.%d.%n", &i, &at) != 1 || !at) {
        snprintf(out, 160, "%s%s", l->prefix, name);
        return;
    }
    path += at;
    bool block = !strncmp(path, "block.", 6);
    snprintf(out, 160, "%s%s.conv_blocks.%d.%s%s", l->prefix, side, decoder ? l->stages - 1 - i : i,
             block ? "res." : "", block ? path + 6 : path);
}

static int size_of(import *im, const layout *l, int i, const char *format, ...) __attribute__((format(printf, 4, 5)));
static int size_of(import *im, const layout *l, int i, const char *format, ...)
{
    char ours[96], theirs[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(ours, sizeof ours, format, ap);
    va_end(ap);
    source_name(theirs, l, ours);
    return import_size(im, i, "%s", theirs);
}

static bool has(const import *im, const layout *l, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool has(const import *im, const layout *l, const char *format, ...)
{
    char ours[96], theirs[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(ours, sizeof ours, format, ap);
    va_end(ap);
    source_name(theirs, l, ours);
    return source_has(im->from, theirs);
}

/* ---- architecture ---- */

static layout layout_of(const import *im, const char *prefix)
{
    layout l = {.prefix = prefix,
                .gumbel = import_has(im, "%squantize.proj.weight", prefix),
                .wavelet = import_has(im, "%sdecoder." LAST_IN, prefix),
                .detokenizer = import_has(im, "%sembedding.weight", prefix),
                .llamagen = import_has(im, "%sdecoder.conv_blocks.0.res.0.norm1.weight", prefix)};
    const char *form = l.llamagen  ? "%sdecoder.conv_blocks.%d.res.0.norm1.weight"
                       : l.wavelet ? "%sdecoder.decoder.up.%d.block.0.norm1.weight"
                                   : "%sdecoder.up.%d.block.0.norm1.weight";
    char name[160];
    do /* one more than is possible is an error where the model is declared */
        snprintf(name, sizeof name, form, prefix, l.stages);
    while (source_has(im->from, name) && l.stages++ <= RESNET_VQ_STAGES);
    return l;
}

static void read_side(import *im, const layout *l, const char *side, resnet_vq_side *k)
{
    while (k->blocks <= RESNET_VQ_BLOCKS && has(im, l, "%s.0.block.%d.norm1.weight", side, k->blocks))
        k->blocks++;
    for (int i = 0; i < l->stages && i < RESNET_VQ_STAGES; i++) {
        k->channels[i] = size_of(im, l, 0, "%s.%d.block.0.conv1.weight", side, i);
        k->attention[i] = has(im, l, "%s.%d.attn.0.norm.weight", side, i);
    }
}

static resnet_vq_config read_config(import *im, const layout *l, int grid)
{
    resnet_vq_config k = {.codes = size_of(im, l, 0, "codebook.weight"),
                          .code_dim = size_of(im, l, 1, "codebook.weight"),
                          .latent = size_of(im, l, 0, "post_quant_conv.weight"),
                          .stages = l->stages,
                          .groups = 32,
                          .eps = l->detokenizer ? 1e-5f : 1e-6f,
                          .has_encoder = !l->detokenizer,
                          .gumbel = l->gumbel,
                          .wavelet = l->wavelet,
                          .unit_range = l->detokenizer};
    read_side(im, l, "decoder.up", &k.decoder);
    if (k.has_encoder) {
        k.stem = size_of(im, l, 0, "encoder.conv_in.weight");
        read_side(im, l, "encoder.down", &k.encoder);
    }
    int step = l->stages > 0 && l->stages <= RESNET_VQ_STAGES ? 1 << (l->stages - 1) : 1;
    k.width = k.height = import_image_size(im, grid, step) << l->wavelet; /* that of encoded pictures */
    return k;
}

/* ---- tensors ---- */

static void leave_out(import *im, const char *prefix, const char *name)
{
    char begin[96];
    snprintf(begin, sizeof begin, "%s%s", prefix, name);
    import_leave_out(im, begin);
}

bool import_vqgan(import *im, const char *prefix, int grid, err *e)
{
    codec c = {0};
    param_table params = {0};
    const layout l = layout_of(im, prefix);
    const resnet_vq_config k = read_config(im, &l, grid);
    bool ok = !im->error.code && resnet_vq_declare(&c, &k, "convert", &params, e);
    if (ok)
        resnet_vq_put(&k, im->to);
    for (size_t i = 0; ok && i < params.n; i++) {
        const param *p = &params.list[i];
        char from[160];
        source_name(from, &l, p->name + strlen("codec."));
        if (!strcmp(p->name, "codec.codebook.weight"))
            import_rows(im, p, from, NULL, NULL, l.llamagen);
        else
            import_param(im, p, from, p->nd == 4 ? import_conv_order : NULL);
    }
    static const char *const training[] = {"loss.", "quantize.embedding.cluster_size", "quantize.embedding.embed_avg",
                                           "quantize.codebook_used"};
    for (size_t i = 0; i < sizeof training / sizeof *training; i++)
        leave_out(im, prefix, training[i]);
    leave_out(im, "", "model_ema.");
    if (l.wavelet) { /* the first is of the decoder that this one replaced, the second Haar's own numbers */
        leave_out(im, prefix, "post_quant_conv.");
        leave_out(im, prefix, "decoder.idwt.");
    }
    return import_codec_end(im, &c, &params, ok, e);
}

static bool recognise(const source *s)
{
    char prefix[64];
    return import_has_taming_gpt(s) || import_vqgan_prefix(s, prefix);
}

/* A codec, a GPT, or both. */
static bool convert(import *im, err *e)
{
    static const char *const taming[] = {"temperature=1", "top_k=100"};
    static const char *const llamagen[] = {"temperature=1", "top_k=2000", "guidance=4"};
    char prefix[64] = "";
    int grid = 0;
    bool has_taming = import_has_taming_gpt(im->from), has_llamagen = import_has_llamagen_gpt(im->from), ok = true;
    gguf_put_string(im->to, "general.architecture", "limn");
    if (has_taming)
        ok = import_taming_gpt(im, &grid, e);
    else if (has_llamagen)
        ok = import_llamagen_gpt(im, &grid, e);
    if (ok && (import_vqgan_prefix(im->from, prefix) || !grid))
        ok = import_vqgan(im, prefix, grid, e);
    if (ok && has_taming)
        import_put_settings(im, taming, 2);
    else if (ok)
        import_put_settings(im, llamagen, has_llamagen ? 3 : 0);
    return ok;
}

static bool recognise_llamagen(const source *s)
{
    return import_has_llamagen_gpt(s) || source_has(s, "decoder.conv_blocks.0.res.0.norm1.weight");
}

const family family_taming = {"taming", recognise, convert, NETWORK_TAMING_GPT | NETWORK_VQGAN};
const family family_llamagen = {"llamagen", recognise_llamagen, convert,
                                NETWORK_LLAMAGEN | NETWORK_VQGAN}; /* LlamaGen's tokenizers and GPTs */
