/* The family "rudalle": ruDALL-E Malevich, Emojich, Kandinsky: pytorch_model.bin, its VQGAN and bpe.model.  Two
 * versions of its code differ: v2 puts id 2 before the text, by which the grid's attention patterns are one cell late,
 * and its last layer's window wraps at the edges of the grid. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "convert/codecs.h"
#include "convert/gpt.h"
#include "convert/names.h"
#include "text/tokenizer.h"

enum { WINDOW = 11, BEGIN_ID = 2 };

static bool recognise(const source *s)
{
    return source_has(s, "image_row_embeddings.weight") && source_has(s, "to_logits.1.weight");
}

static const import_row rows[] = {
    {"block.{i}.norm1.*", {"transformer.layers.{i}.input_layernorm.*"}},
    {"block.{i}.qkv.*", {"transformer.layers.{i}.attention.query_key_value.*"}},
    {"block.{i}.out.*", {"transformer.layers.{i}.attention.dense.*"}},
    {"block.{i}.norm1_out.*", {"transformer.layers.{i}.before_first_addition_layernorm.*"}},
    {"block.{i}.norm2.*", {"transformer.layers.{i}.post_attention_layernorm.*"}},
    {"block.{i}.up.*", {"transformer.layers.{i}.mlp.dense_h_to_4h.*"}},
    {"block.{i}.down.*", {"transformer.layers.{i}.mlp.dense_4h_to_h.*"}},
    {"block.{i}.norm2_out.*", {"transformer.layers.{i}.before_second_addition_layernorm.*"}},
    {"text_embedding.weight", {"text_embeddings.weight"}},
    {"image_embedding.weight", {"image_embeddings.weight"}},
    {"text_position.weight", {"text_pos_embeddings.weight"}, .first = "0"},
    {"row_position.weight", {"image_row_embeddings.weight"}},
    {"column_position.weight", {"image_col_embeddings.weight"}},
    {"norm.*", {"transformer.final_layernorm.*"}},
    {"head_norm.*", {"to_logits.0.*"}},
    {"text_head.*", {"to_logits.1.*"}, .first = "0"},
    {"image_head.*", {"to_logits.1.*"}, .first = "vocabulary"},
    {NULL, {"transformer.row_mask", "transformer.col_mask", "transformer.conv_mask"}}, /* the sizes tell them */
};

/* Whether a cell's window reaches over the edge, by what the file's own mask says of the first cell and the last one
 * of the second row; v3 where there is no such mask. */
static bool mask_wraps(const import *im, int text, int width)
{
    if (!source_has(im->from, "transformer.conv_mask"))
        return false;
    float seen = 0;
    const file_tensor *t = import_find((import *)im, "transformer.conv_mask");
    int64_t side = text + (int64_t)width * width, query = text + 2 * width - 1;
    if (t && t->nd == 2 && t->shape[0] == side && t->shape[1] == side && width > 1)
        file_tensor_read(t, query * side + text, 1, &seen);
    return width > WINDOW / 2 && seen != 0;
}

static bool read_version(import *im, bool *v2, int text, int width, err *e)
{
    const char *version = import_setting_text(im, "version");
    *v2 = version ? !strcmp(version, "v2") : mask_wraps(im, text, width);
    return !version || *v2 || !strcmp(version, "v3") ||
           err_set(e, ERR_USAGE, "convert: `settings` version=%.64s: ruDALL-E has the versions v2 and v3", version);
}

/* masks[GPT_LAYERS]: are filled, and outlive d */
static bool read_sizes(import *im, gpt *d, mask_kind *masks, const import_map *maps, err *e)
{
    bool v2 = false;
    int width = import_size(im, 0, "image_row_embeddings.weight");
    int text = import_size(im, 0, "text_pos_embeddings.weight") - 1;
    *d = (gpt){.base.layers = import_gpt_layers(im, maps),
               .base.dim = import_size(im, 1, "image_embeddings.weight"),
               .base.codes = import_size(im, 0, "image_embeddings.weight"),
               .mlp = import_size(im, 0, "transformer.layers.0.mlp.dense_h_to_4h.weight"),
               .base.vocabulary = import_size(im, 0, "text_embeddings.weight"),
               .base.grid_width = width,
               .base.grid_height = width,
               .window = WINDOW,
               .masks = masks,
               .padding = GPT_PAD_LAST,
               .text_positions = true,
               .grid = GPT_GRID_AXES,
               .attention_bias = true,
               .mlp_bias = true,
               .head_bias = true,
               .predicts_text = true,
               .head_norm = true,
               .sandwich = import_has(im, "transformer.layers.0.before_first_addition_layernorm.weight"),
               .act = ACT_GELU_TANH,
               .eps = 1e-5f};
    if (im->error.code)
        return false;
    if (text < 1 || d->base.vocabulary <= text)
        return err_set(e, ERR_FAILED, "convert: tensor text_pos_embeddings.weight: %d positions of %d ids", text + 1,
                       d->base.vocabulary);
    if (!read_version(im, &v2, text, width, e) || !import_gpt_heads(im, d, d->base.dim == 2048 ? 128 : 64, e))
        return false;
    d->begins = v2;
    d->begin_id = v2 ? BEGIN_ID : 0;
    d->base.text_length = text + v2;
    for (int i = 0; i < d->base.layers && i < GPT_LAYERS; i++)
        masks[i] = (i - 1) % 4 == 0 ? MASK_COLUMN : i < d->base.layers - 1 ? MASK_WINDOW : v2 ? MASK_TORUS : MASK_CONV;
    return true;
}

static bool put_tokenizer(import *im, const gpt *d, err *e)
{
    char beside[4200];
    snprintf(beside, sizeof beside, "%s/bpe.model", im->from->directory);
    const char *path = im->tokenizer ? im->tokenizer : access(beside, R_OK) == 0 ? beside : NULL;
    return !path || import_gpt_tokenizer(im, d, tokenizer_yttm.name, path, e);
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "top_k=2048", "top_p=0.995"};
    char vqgan[64];
    gpt d;
    mask_kind masks[GPT_LAYERS];
    const import_map maps[] = {{"transformer.",
                                "",
                                IMPORT_ROWS(rows),
                                {{"vocabulary", .number = import_size(im, 0, "text_embeddings.weight")}}},
                               {0}};
    bool ok = read_sizes(im, &d, masks, maps, e) && put_tokenizer(im, &d, e) && import_gpt(im, &d, maps, e);
    if (ok && import_vqgan_prefix(im->from, vqgan))
        ok = import_vqgan(im, vqgan, d.base.grid_width, e);
    if (ok)
        import_put_settings(im, defaults, 3);
    return ok;
}

static const import_setting_kind settings[] = {{"version", SETTING_TEXT}, {NULL}};

const family family_rudalle = {
    .recognise = recognise, .run = convert, .networks = NETWORK_RUDALLE | NETWORK_VQGAN, .settings = settings};
