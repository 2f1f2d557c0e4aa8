/* Importing GPTs that read a class: those of taming-transformers (class Net2NetTransformer) and of LlamaGen. */
#include <stdio.h>

#include "convert/codecs.h"
#include "convert/gpt.h"

#define TAMING   "transformer."
#define LLAMAGEN "cls_embedding.embedding_table.weight"

enum { IMAGENET = 1000 }; /* classes */

bool import_has_taming_gpt(const source *s)
{
    return source_has(s, TAMING "tok_emb.weight") && source_has(s, TAMING "pos_emb");
}

bool import_has_llamagen_gpt(const source *s)
{
    return source_has(s, LLAMAGEN);
}

bool import_taming_gpt(import *im, int *grid, err *e)
{
    static const import_row rows[] = {
        IMPORT_MINGPT_BLOCK,
        {"image_embedding.weight", {"tok_emb.weight"}},
        {"text_position.weight", {"pos_emb"}, .first = "0"},
        {"cell_position.weight", {"pos_emb"}, .first = "1"},
        {"norm.*", {"ln_f.*"}},
        {"image_head.*", {"head.*"}},
        {NULL, {"blocks.{i}.attn.mask"}}, /* lower triangles */
    };
    const import_map maps[] = {{"transformer.", TAMING, IMPORT_ROWS(rows)}, {0}};
    int codes = import_size(im, 0, TAMING "tok_emb.weight"), cells = import_size(im, 1, TAMING "pos_emb");
    int side = import_gpt_side(cells); /* the class, and all cells but the last */
    if (cells && !side)
        return err_set(e, ERR_FAILED, "convert: tensor %spos_emb: %d positions are not a class and a square of codes",
                       TAMING, cells);
    gpt d = {.base.layers = import_gpt_layers(im, maps),
             .base.dim = import_size(im, 1, TAMING "tok_emb.weight"),
             .base.codes = codes,
             .base.classes = codes < IMAGENET ? codes : IMAGENET,
             .base.vocabulary = codes < IMAGENET ? codes : IMAGENET,
             .mlp = import_size(im, 0, TAMING "blocks.0.mlp.0.weight"),
             .base.text_length = 1,
             .base.grid_width = side,
             .base.grid_height = side,
             .text_positions = true,
             .shared = true,
             .attention_bias = true,
             .mlp_bias = true,
             .act = ACT_GELU_ERF,
             .eps = 1e-5f};
    *grid = side;
    return !im->error.code && import_gpt_heads(im, &d, 64, e) && import_gpt(im, &d, maps, e);
}

/* Pixels between the codes: of the tokenizer, where one is there, else 16, as published. */
static int pixels_of_cell(const import *im)
{
    char prefix[64];
    int stages = 0;
    if (!import_vqgan_prefix(im->from, prefix))
        return 16;
    while (stages < 8 && import_has(im, "%sdecoder.conv_blocks.%d.res.0.norm1.weight", prefix, stages))
        stages++;
    return stages ? 1 << (stages - 1) : 16;
}

bool import_llamagen_sizes(import *im, const import_map *maps, int size, gpt *d, err *e)
{
    int step = pixels_of_cell(im);
    d->base.layers = import_gpt_layers(im, maps);
    d->base.codes = import_size(im, 0, "tok_embeddings.weight");
    d->base.dim = import_size(im, 1, "tok_embeddings.weight");
    d->mlp = import_size(im, 0, "layers.0.feed_forward.w1.weight");
    d->base.grid_width = d->base.grid_height = size / step;
    d->grid = GPT_GRID_ROTARY;
    d->rms = d->gated = true;
    d->act = ACT_SILU;
    d->eps = 1e-5f;
    if (size % step)
        return err_set(e, ERR_USAGE, "convert: `settings` image_size=%d: a code is %d pixels wide", size, step);
    return !im->error.code && import_gpt_heads(im, d, 64, e);
}

bool import_llamagen_gpt(import *im, int *grid, err *e)
{
    static const import_row rows[] = {IMPORT_LLAMAGEN_GPT, {"text_embedding.weight", {LLAMAGEN}}};
    static const import_map maps[] = {{"transformer.", "", IMPORT_ROWS(rows)}, {0}};
    int classes = import_size(im, 0, LLAMAGEN);
    gpt d = {.base.classes = classes - 1, /* the last one is the picture without a class */
             .base.vocabulary = classes,
             .base.text_length = 1};
    bool ok = import_llamagen_sizes(im, maps, import_setting(im, "image_size", 256), &d, e);
    *grid = d.base.grid_width;
    return ok && import_gpt(im, &d, maps, e);
}
