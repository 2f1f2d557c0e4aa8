/* The family "dalle-pytorch": its DiscreteVAE, its CLIP and its DALLE, as train_vae.py and train_dalle.py save them
 * ("hparams", "weights") or bare. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/dalle_pytorch.h"
#include "convert/mapping.h"
#include "convert/names.h"
#include "models/codecs/dalle_pytorch_vae.h"
#include "text/bpe.h"
#include "text/tokenizer.h"

struct dalle_codec {
    enum { CODEC_OWN, CODEC_OPENAI, CODEC_VQGAN } kind;
    char prefix[64], encoder[32], decoder[32];
    int codes;
};

static bool recognise(const source *s)
{
    return source_has(s, "transformer.layers.layers.0.0.scale") ||
           source_has(s, "transformer.layers.blocks.0.f.net.scale") ||
           source_has(s, "text_transformer.layers.layers.0.0.scale") ||
           (source_has(s, "codebook.weight") && source_has(s, "encoder.0.0.weight"));
}

/* Layers are numbered as they follow each other; `in`: 1 where the decoder has a layer before its blocks. */
static const import_row vae_rows[] = {
    {"encoder.down.{i}.*", {"encoder.{i}.0.*"}},
    {"encoder.res.{i}.conv{j}.*", {"encoder.{stages+i}.net.{2*j-2}.*"}},
    {"encoder.logits.*", {"encoder.{stages+blocks}.*"}},
    {"decoder.in.*", {"decoder.0.*"}},
    {"decoder.res.{i}.conv{j}.*", {"decoder.{in+i}.net.{2*j-2}.*"}},
    {"decoder.up.{i}.*", {"decoder.{in+blocks+i}.0.*"}, IMPORT_TRANSPOSED},
    {"decoder.out.*", {"decoder.{in+blocks+stages}.*"}},
    {"codebook.weight", {"codebook.weight"}},
};

bool import_dalle_pytorch_vae(import *im, const char *prefix, int grid, err *e)
{
    codec c = {0};
    param_table params = {0};
    dalle_pytorch_vae_config k = {.codes = import_size(im, 0, "%scodebook.weight", prefix),
                                  .code_dim = import_size(im, 1, "%scodebook.weight", prefix),
                                  .hidden = import_size(im, 0, "%sencoder.0.0.weight", prefix)};
    while (k.stages <= DALLE_PYTORCH_STAGES && import_has(im, "%sencoder.%d.0.weight", prefix, k.stages))
        k.stages++;
    while (k.blocks <= DALLE_PYTORCH_BLOCKS && import_has(im, "%sencoder.%d.net.0.weight", prefix, k.stages + k.blocks))
        k.blocks++;
    k.width = k.height = import_image_size(im, grid, 1 << k.stages);
    const import_map maps[] = {
        {"codec.",
         prefix,
         IMPORT_ROWS(vae_rows),
         {{"stages", .number = k.stages}, {"blocks", .number = k.blocks}, {"in", .number = k.blocks > 0}}},
        {0}};
    bool ok = dalle_pytorch_vae_prepare(&c, &k, "convert", e);
    if (ok) {
        dalle_pytorch_vae_declare(&c, &params);
        dalle_pytorch_vae_put(&k, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    codec_release(&c);
    return ok;
}

/* The codec of a DALLE, one of three, in its own file or in those beside it.  *codes: how many it has. */
static bool find_codec(import *im, struct dalle_codec *c, err *e)
{
    source *s = im->from;
    char name[160];
    if (source_has(s, "vae.codebook.weight") || source_has(s, "codebook.weight")) {
        c->kind = CODEC_OWN;
        snprintf(c->prefix, sizeof c->prefix, "%s", source_has(s, "vae.codebook.weight") ? "vae." : "");
        snprintf(name, sizeof name, "%scodebook.weight", c->prefix);
    } else if (import_has_openai_dvae(s)) {
        c->kind = CODEC_OPENAI;
        if (!import_openai_dvae_sides(s, c->encoder, c->decoder, e))
            return false;
        snprintf(name, sizeof name, "%sblocks.input.w", c->decoder);
    } else if (import_vqgan_prefix(s, c->prefix)) {
        c->kind = CODEC_VQGAN;
        snprintf(name, sizeof name, "%squantize.embed.weight", c->prefix);
        if (!source_has(s, name))
            snprintf(name, sizeof name, "%squantize.embedding.weight", c->prefix);
    } else {
        return err_set(
            e, ERR_FAILED,
            "convert: no image codec inside (give its files too: that of a DiscreteVAE, OpenAI's encoder.pkl "
            "and decoder.pkl, or a VQGAN's)");
    }
    c->codes = import_size(im, c->kind == CODEC_OPENAI, "%s", name);
    return !im->error.code;
}

/* What --tokenizer names, or what lies in the folder that was given; NULL where there is none. */
static const char *find_tokenizer(const import *im, char path[4200])
{
    static const char *const names[] = {"bpe_simple_vocab_16e6.txt", "bpe_simple_vocab_16e6.txt.gz", "tokenizer.json"};
    for (size_t i = 0; !im->tokenizer && im->from->folder && i < sizeof names / sizeof *names; i++) {
        snprintf(path, 4200, "%.4100s/%s", im->from->directory, names[i]);
        if (access(path, R_OK) == 0)
            return path;
    }
    return im->tokenizer;
}

/* HuggingFace's: train_dalle.py --hug. */
static bool put_json_tokenizer(import *im, const char *path, size_t *n, err *e)
{
    bpe *b = bpe_from_json(path, e);
    if (!b)
        return false;
    bpe_put(b, im->to);
    *n = bpe_size(b);
    bpe_free(b);
    return true;
}

/* CLIP's, or of a .json.  *n: its tokens; 0 where none is given. */
static bool put_tokenizer(import *im, size_t *n, err *e)
{
    *n = 0;
    char found[4200];
    const char *path = find_tokenizer(im, found), *end = path ? strrchr(path, '.') : NULL;
    if (end && !strcmp(end, ".json"))
        return put_json_tokenizer(im, path, n, e);
    if (path)
        return tokenizer_import(im->to, "clip", path, n, e);
    log_write(LOG_WARNING,
              "convert: without `tokenizer` bpe_simple_vocab_16e6.txt the model reads token ids, no words");
    return true;
}

/* As generate.py samples: of all ids, text's too, the tenth that is most likely. */
static void put_sampling(import *im, int ids, int codes)
{
    char top_k[32];
    int tenth = ids / 10;
    snprintf(top_k, sizeof top_k, "top_k=%d", tenth < 1 ? 1 : tenth < codes ? tenth : codes);
    import_put_settings(im, (const char *const[]){"temperature=1", top_k}, 2);
}

static bool convert_dalle(import *im, err *e)
{
    struct dalle_codec c = {0};
    dalle_pytorch d = {0};
    size_t tokens;
    bool ok =
        find_codec(im, &c, e) && import_dalle_pytorch_transformer(im, c.codes, &d, e) && put_tokenizer(im, &tokens, e);
    if (ok && tokens > (size_t)d.base.vocabulary) /* what it can't read is refused where it enters */
        log_write(LOG_WARNING, "convert: %s: %zu tokens, and the transformer's vocabulary has %d: was it another's?",
                  im->tokenizer ? im->tokenizer : im->from->directory, tokens, d.base.vocabulary);
    if (ok && c.kind == CODEC_OWN)
        ok = import_dalle_pytorch_vae(im, c.prefix, d.base.grid_width, e);
    else if (ok && c.kind == CODEC_OPENAI)
        ok = import_openai_dvae(im, c.encoder, c.decoder, d.base.grid_width, e);
    else if (ok)
        ok = import_vqgan(im, c.prefix, d.base.grid_width, e);
    if (ok)
        put_sampling(im, d.base.vocabulary + d.base.text_length - 1 + d.base.codes, d.base.codes);
    return ok;
}

static bool convert_clip(import *im, err *e)
{
    int vocabulary = 0;
    size_t tokens;
    if (!import_dalle_pytorch_clip(im, &vocabulary, e) || !put_tokenizer(im, &tokens, e))
        return false;
    if (tokens > (size_t)vocabulary)
        return err_set(e, ERR_FAILED, "%s: %zu tokens, and the CLIP's vocabulary has %d (it had another tokenizer)",
                       im->tokenizer ? im->tokenizer : im->from->directory, tokens, vocabulary);
    import_put_settings(im, NULL, 0);
    return true;
}

static bool convert(import *im, err *e)
{
    if (source_has(im->from, "to_visual_latent.weight"))
        return convert_clip(im, e);
    if (source_has(im->from, "to_logits.1.weight"))
        return convert_dalle(im, e);
    const pickle_value *hyper = source_get(im->from, "hparams");
    int64_t size = 0, layers = 0;
    int grid = 0;
    if (pickle_int(pickle_get(hyper, "image_size"), &size) && pickle_int(pickle_get(hyper, "num_layers"), &layers) &&
        size > 0 && size <= 16384 && layers > 0 && layers <= DALLE_PYTORCH_STAGES)
        grid = (int)(size >> layers);
    if (!import_dalle_pytorch_vae(im, "", grid, e))
        return false;
    import_put_settings(im, NULL, 0);
    return true;
}

static const import_setting_kind settings[] = {{"stable", SETTING_INT, .max = 1}, {"attn_types", SETTING_TEXT}, {NULL}};

const family family_dalle_pytorch = {.recognise = recognise,
                                     .run = convert,
                                     .networks = NETWORK_DISCRETE_VAE | NETWORK_DALLE | NETWORK_DALLE_CLIP |
                                                 NETWORK_OPENAI_ENCODER | NETWORK_OPENAI_DECODER | NETWORK_VQGAN,
                                     .settings = settings};
