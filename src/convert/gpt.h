/* Importing published GPTs (models/transformers/gpt.h): what their families share. */
#ifndef CONVERT_GPT_H
#define CONVERT_GPT_H
#include "convert/mapping.h"
#include "models/transformers/gpt.h"

/* The blocks of minGPT, which minDALL-E and taming-transformers took over: rows of a map from "transformer.". */
#define IMPORT_MINGPT_BLOCK                                                                                            \
    {"block.{i}.norm1.*", {"blocks.{i}.ln1.*"}},                                                                       \
        {"block.{i}.qkv.*", {"blocks.{i}.attn.query.*", "blocks.{i}.attn.key.*", "blocks.{i}.attn.value.*"}},          \
        {"block.{i}.out.*", {"blocks.{i}.attn.proj.*"}}, {"block.{i}.norm2.*", {"blocks.{i}.ln2.*"}},                  \
        {"block.{i}.up.*", {"blocks.{i}.mlp.0.*"}},                                                                    \
    {                                                                                                                  \
        "block.{i}.down.*",                                                                                            \
        {                                                                                                              \
            "blocks.{i}.mlp.2.*"                                                                                       \
        }                                                                                                              \
    }

/* LlamaGen's GPT but for what it reads its class or text with: rows of a map from "transformer.". */
#define IMPORT_LLAMAGEN_GPT                                                                                            \
    {"block.{i}.norm1.*", {"layers.{i}.attention_norm.*"}}, {"block.{i}.qkv.*", {"layers.{i}.attention.wqkv.*"}},      \
        {"block.{i}.out.*", {"layers.{i}.attention.wo.*"}}, {"block.{i}.norm2.*", {"layers.{i}.ffn_norm.*"}},          \
        {"block.{i}.gate.*", {"layers.{i}.feed_forward.w1.*"}}, {"block.{i}.up.*", {"layers.{i}.feed_forward.w3.*"}},  \
        {"block.{i}.down.*", {"layers.{i}.feed_forward.w2.*"}}, {"image_embedding.weight", {"tok_embeddings.weight"}}, \
        {"norm.*", {"norm.*"}},                                                                                        \
    {                                                                                                                  \
        "image_head.*",                                                                                                \
        {                                                                                                              \
            "output.*"                                                                                                 \
        }                                                                                                              \
    }

/* Blocks that the source has. */
int import_gpt_layers(const import *im, const import_map *maps);
/* --set heads, or heads of so many numbers as published; an error where these don't fit. */
bool import_gpt_heads(import *im, gpt *d, int size, err *e);
/* The side of a square grid of so many cells; 0 where it isn't one. */
int import_gpt_side(int cells);
/* The tokenizer of that kind at path; a warning if it has more tokens than d's vocabulary. */
bool import_gpt_tokenizer(import *im, const gpt *d, const char *kind, const char *path, err *e);
/* The keys and tensors of a GPT of d's sizes. */
bool import_gpt(import *im, const gpt *d, const import_map *maps, err *e);

/* Those that read a class, for the families that hold them beside a codec: class_gpt.c.  *grid: codes in a row. */
bool import_has_taming_gpt(const source *s);
bool import_taming_gpt(import *im, int *grid, err *e);
bool import_has_llamagen_gpt(const source *s);
bool import_llamagen_gpt(import *im, int *grid, err *e);
/* What those of LlamaGen have alike, for pictures `size` pixels wide; an error where codes don't fill them. */
bool import_llamagen_sizes(import *im, const import_map *maps, int size, gpt *d, err *e);
#endif
