/* The family "mindalle": kakaobrain's minDALL-E (stage1_last.ckpt, stage2_last.ckpt, tokenizer/), and the GPTs of its
 * codes that read a class, or nothing (class iGPT).  A checkpoint of the latter's training holds both stages in one
 * file, as "stage1." and "stage2.". */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "convert/codecs.h"
#include "convert/gpt.h"
#include "convert/names.h"
#include "text/tokenizer.h"

/* "", or what is before the names of the transformer's tensors; NULL where there is none. */
static const char *prefix_of(const source *s)
{
    return source_has(s, "pos_emb_img.weight") ? "" : source_has(s, "stage2.pos_emb_img.weight") ? "stage2." : NULL;
}

static bool recognise(const source *s)
{
    return prefix_of(s) != NULL;
}

/* In place of text a class, or nothing: then each picture begins with the same vector, sos. */
static const import_row rows[] = {
    IMPORT_MINGPT_BLOCK,
    {"text_embedding.weight", {"{text}"}, .first = "0"},
    {"image_embedding.weight", {"tok_emb_img.weight"}},
    {"text_position.weight", {"pos_emb_txt.weight"}},
    {"cell_position.weight", {"pos_emb_img.weight"}, .first = "0"}, /* the last cell is never read */
    {"norm.*", {"ln_f.*"}},
    {"text_head.*", {"head_txt.*"}},
    {"image_head.*", {"{head}.*"}},
};

/* Finds the kind of the transformer, and its sizes by the tensors. */
static void read_sizes(import *im, const char *prefix, gpt *d, import_map *map)
{
    bool text = import_has(im, "%stok_emb_txt.weight", prefix);
    bool classes = !text && import_has(im, "%ssos.weight", prefix);
    *map = (import_map){"transformer.",
                        prefix,
                        IMPORT_ROWS(rows),
                        {{"text", text      ? "tok_emb_txt.weight"
                                  : classes ? "sos.weight"
                                            : "sos"},
                         {"head", text ? "head_img" : "head"}}};
    int side = import_gpt_side(import_size(im, 0, "%spos_emb_img.weight", prefix));
    *d = (gpt){.base.layers = import_gpt_layers(im, map),
               .base.dim = import_size(im, 1, "%stok_emb_img.weight", prefix),
               .base.codes = import_size(im, 0, "%stok_emb_img.weight", prefix),
               .mlp = import_size(im, 0, "%sblocks.0.mlp.0.weight", prefix),
               .base.grid_width = side,
               .base.grid_height = side,
               .text_positions = text,
               .predicts_text = text,
               .attention_bias = import_has(im, "%sblocks.0.attn.key.bias", prefix),
               .mlp_bias = import_has(im, "%sblocks.0.mlp.0.bias", prefix),
               .act = ACT_GELU_ERF,
               .eps = 1e-5f};
    d->base.text_length = text ? import_size(im, 0, "%spos_emb_txt.weight", prefix) : 1;
    d->base.vocabulary = text      ? import_size(im, 0, "%stok_emb_txt.weight", prefix)
                         : classes ? import_size(im, 0, "%ssos.weight", prefix)
                                   : 1;
    d->base.classes = text ? 0 : d->base.vocabulary;
}

/* The folder of --tokenizer, or that of the first file, or tokenizer/ in it where one is there, as in the published
 * archive. */
static bool put_tokenizer(import *im, gpt *d, err *e)
{
    char folder[4200], vocab[4300];
    snprintf(folder, sizeof folder, "%s/tokenizer", im->from->directory);
    snprintf(vocab, sizeof vocab, "%s/bpe-16k-vocab.json", folder);
    if (access(vocab, R_OK) != 0) {
        snprintf(folder, sizeof folder, "%.4100s", im->from->directory);
        snprintf(vocab, sizeof vocab, "%s/bpe-16k-vocab.json", folder);
    }
    const char *path = im->tokenizer ? im->tokenizer : access(vocab, R_OK) == 0 ? folder : NULL;
    d->pad_id = 1; /* as published */
    return !path || (import_gpt_tokenizer(im, d, tokenizer_char_bpe.name, path, e) &&
                     tokenizer_char_bpe_pad(path, &d->pad_id, e));
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "top_k=256"};
    const char *prefix = prefix_of(im->from);
    char vqgan[64];
    gpt d;
    import_map maps[2] = {0};
    if (!prefix)
        return err_set(e, ERR_FAILED,
                       "convert: tensor pos_emb_img.weight is missing (are all files of the model given?)");
    read_sizes(im, prefix, &d, maps);
    if (im->error.code)
        return false;
    bool ok =
        import_gpt_heads(im, &d, 64, e) && (d.base.classes || put_tokenizer(im, &d, e)) && import_gpt(im, &d, maps, e);
    if (ok && import_vqgan_prefix(im->from, vqgan))
        ok = import_vqgan(im, vqgan, d.base.grid_width, e);
    if (ok)
        import_put_settings(im, defaults, 2);
    return ok;
}

const family family_mindalle = {.recognise = recognise, .run = convert, .networks = NETWORK_MINDALLE | NETWORK_VQGAN};
