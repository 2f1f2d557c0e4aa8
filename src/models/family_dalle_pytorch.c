/* The family "dalle-pytorch": its DiscreteVAE and its DALLE, as train_vae.py and train_dalle.py save them ("hparams",
 * "weights") or bare. */
#include <stdio.h>
#include <string.h>

#include "models/dalle_pytorch_vae.h"
#include "models/import_codecs.h"

static bool recognise(const source *s)
{
    return source_has(s, "transformer.layers.layers.0.0.scale") ||
           source_has(s, "transformer.layers.blocks.0.f.net.scale") ||
           (source_has(s, "codebook.weight") && source_has(s, "encoder.0.0.weight"));
}

/* The source's name for p, whose layers are numbered as they follow each other. */
static void source_name(char out[160], const param *p, const char *prefix, const dalle_pytorch_config *k)
{
    const char *name = p->name + strlen("codec."), *last = strrchr(name, '.') + 1;
    int i = 0, n = 0, in = k->blocks > 0;
    if (sscanf(name, "encoder.down.%d.", &i) == 1)
        snprintf(out, 160, "%sencoder.%d.0.%s", prefix, i, last);
    else if (sscanf(name, "encoder.res.%d.conv%d.", &i, &n) == 2)
        snprintf(out, 160, "%sencoder.%d.net.%d.%s", prefix, k->stages + i, 2 * (n - 1), last);
    else if (!strncmp(name, "encoder.logits.", 15))
        snprintf(out, 160, "%sencoder.%d.%s", prefix, k->stages + k->blocks, last);
    else if (!strncmp(name, "decoder.in.", 11))
        snprintf(out, 160, "%sdecoder.0.%s", prefix, last);
    else if (sscanf(name, "decoder.res.%d.conv%d.", &i, &n) == 2)
        snprintf(out, 160, "%sdecoder.%d.net.%d.%s", prefix, in + i, 2 * (n - 1), last);
    else if (sscanf(name, "decoder.up.%d.", &i) == 1)
        snprintf(out, 160, "%sdecoder.%d.0.%s", prefix, in + k->blocks + i, last);
    else if (!strncmp(name, "decoder.out.", 12))
        snprintf(out, 160, "%sdecoder.%d.%s", prefix, in + k->blocks + k->stages, last);
    else
        snprintf(out, 160, "%s%s", prefix, name);
}

bool import_dalle_pytorch_vae(import *im, const char *prefix, int grid, err *e)
{
    codec c = {0};
    param_table params = {0};
    dalle_pytorch_config k = {.codes = import_size(im, 0, "%scodebook.weight", prefix),
                              .code_dim = import_size(im, 1, "%scodebook.weight", prefix),
                              .hidden = import_size(im, 0, "%sencoder.0.0.weight", prefix)};
    while (k.stages <= DALLE_PYTORCH_STAGES && import_has(im, "%sencoder.%d.0.weight", prefix, k.stages))
        k.stages++;
    while (k.blocks <= DALLE_PYTORCH_BLOCKS && import_has(im, "%sencoder.%d.net.0.weight", prefix, k.stages + k.blocks))
        k.blocks++;
    k.width = k.height = import_image_size(im, grid, 1 << k.stages);
    bool ok = !im->error.code && dalle_pytorch_declare(&c, &k, "convert", &params, e);
    if (ok)
        dalle_pytorch_put(&k, im->to);
    for (size_t i = 0; ok && i < params.n; i++) {
        const param *p = &params.list[i];
        char from[160];
        source_name(from, p, prefix, &k);
        bool up = !strncmp(p->name, "codec.decoder.up.", 17);
        import_param(im, p, from, p->nd != 4 ? NULL : up ? import_conv_transpose_order : import_conv_order);
    }
    return import_codec_end(im, &c, &params, ok, e);
}

/* DALLE with its codec: one of three, from its own file or from one beside it. */
static bool convert_dalle(import *im, err *e)
{
    int grid = 0;
    char prefix[64];
    if (!import_dalle_pytorch_transformer(im, &grid, e))
        return false;
    bool ok;
    if (source_has(im->from, "vae.codebook.weight"))
        ok = import_dalle_pytorch_vae(im, "vae.", grid, e);
    else if (source_has(im->from, "codebook.weight"))
        ok = import_dalle_pytorch_vae(im, "", grid, e);
    else if (source_has(im->from, "vae.enc.blocks.input.w"))
        ok = import_openai_dvae(im, "vae.enc.", "vae.dec.", grid, e);
    else if (import_vqgan_prefix(im->from, prefix))
        ok = import_vqgan(im, prefix, grid, e);
    else
        ok = err_set(e, ERR_FAILED, "convert: no image codec inside (give the file of the DiscreteVAE too)");
    if (ok)
        import_put_settings(im, NULL, 0);
    return ok;
}

static bool convert(import *im, err *e)
{
    if (source_has(im->from, "to_logits.1.weight")) {
        gguf_put_string(im->to, "general.architecture", "limn");
        return convert_dalle(im, e);
    }
    const pickle_value *hyper = source_get(im->from, "hparams");
    int64_t size = 0, layers = 0;
    int grid = 0;
    if (pickle_int(pickle_get(hyper, "image_size"), &size) && pickle_int(pickle_get(hyper, "num_layers"), &layers) &&
        size > 0 && size <= 16384 && layers > 0 && layers <= DALLE_PYTORCH_STAGES)
        grid = (int)(size >> layers);
    gguf_put_string(im->to, "general.architecture", "limn");
    if (!import_dalle_pytorch_vae(im, "", grid, e))
        return false;
    import_put_settings(im, NULL, 0);
    return true;
}

const family family_dalle_pytorch = {"dalle-pytorch", recognise, convert};
