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

static bool put(import *im, gpt *d, int head, const gpt_names *names, err *e)
{
    if (im->error.code)
        return err_set(e, im->error.code, "%s", im->error.text);
    return import_gpt_heads(im, d, head, e) && import_gpt(im, d, names, e);
}

bool import_taming_gpt(import *im, int *grid, err *e)
{
    static const gpt_name list[] = {
        GPT_MINGPT_BLOCK,
        {.ours = "image_embedding", .theirs = {"tok_emb"}},
        {.ours = "text_position", .theirs = {"pos_emb"}, .bare = true},
        {.ours = "cell_position", .theirs = {"pos_emb"}, .bare = true, .first = 1},
        {.ours = "norm", .theirs = {"ln_f"}},
        {.ours = "image_head", .theirs = {"head"}},
    };
    const gpt_names names = {TAMING, "blocks", list, sizeof list / sizeof *list};
    int codes = import_size(im, 0, TAMING "tok_emb.weight"), cells = import_size(im, 1, TAMING "pos_emb");
    int side = import_gpt_side(cells); /* the class, and all cells but the last */
    if (cells && !side)
        return err_set(e, ERR_FAILED, "convert: tensor %spos_emb: %d positions are not a class and a square of codes",
                       TAMING, cells);
    gpt d = {.layers = import_gpt_layers(im, &names, "ln1"),
             .dim = import_size(im, 1, TAMING "tok_emb.weight"),
             .codes = codes,
             .classes = codes < IMAGENET ? codes : IMAGENET,
             .vocabulary = codes < IMAGENET ? codes : IMAGENET,
             .mlp = import_size(im, 0, TAMING "blocks.0.mlp.0.weight"),
             .text_length = 1,
             .grid_width = side,
             .grid_height = side,
             .text_positions = true,
             .shared = true,
             .attention_bias = true,
             .mlp_bias = true,
             .act = ACT_GELU_ERF,
             .eps = 1e-5f};
    for (int i = 0; i < d.layers; i++) { /* lower triangles */
        char mask[96];
        snprintf(mask, sizeof mask, "%sblocks.%d.attn.mask", TAMING, i);
        import_skip(im, mask);
    }
    *grid = side;
    return put(im, &d, 64, &names, e);
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

bool import_llamagen_gpt(import *im, int *grid, err *e)
{
    static const gpt_name list[] = {
        {.ours = "norm1", .theirs = {"attention_norm"}},
        {.ours = "qkv", .theirs = {"attention.wqkv"}},
        {.ours = "out", .theirs = {"attention.wo"}},
        {.ours = "norm2", .theirs = {"ffn_norm"}},
        {.ours = "gate", .theirs = {"feed_forward.w1"}},
        {.ours = "up", .theirs = {"feed_forward.w3"}},
        {.ours = "down", .theirs = {"feed_forward.w2"}},
        {.ours = "text_embedding", .theirs = {"cls_embedding.embedding_table"}},
        {.ours = "image_embedding", .theirs = {"tok_embeddings"}},
        {.ours = "norm", .theirs = {"norm"}},
        {.ours = "image_head", .theirs = {"output"}},
    };
    const gpt_names names = {"", "layers", list, sizeof list / sizeof *list};
    int rows = import_size(im, 0, LLAMAGEN), size = import_setting(im, "image_size", 256), step = pixels_of_cell(im);
    gpt d = {.layers = import_gpt_layers(im, &names, "attention_norm"),
             .dim = import_size(im, 1, LLAMAGEN),
             .codes = import_size(im, 0, "tok_embeddings.weight"),
             .classes = rows - 1, /* the last one is the picture without a class */
             .vocabulary = rows,
             .mlp = import_size(im, 0, "layers.0.feed_forward.w1.weight"),
             .text_length = 1,
             .grid_width = size / step,
             .grid_height = size / step,
             .grid = GPT_GRID_ROTARY,
             .rms = true,
             .gated = true,
             .act = ACT_SILU,
             .eps = 1e-5f};
    if (size % step)
        return err_set(e, ERR_USAGE, "convert: --set image_size=%d: a code is %d pixels wide", size, step);
    *grid = size / step;
    return put(im, &d, 64, &names, e);
}
