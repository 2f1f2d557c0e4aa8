/* Importing published GPTs (models/transformers/gpt.h): what their families share. */
#ifndef CONVERT_GPT_H
#define CONVERT_GPT_H
#include "convert/convert.h"
#include "models/transformers/gpt.h"

/* Where a part of ours comes from: "qkv" and the like of a block, "text_head" and the like of the whole. */
typedef struct gpt_name {
    const char *ours;
    const char *theirs[3]; /* without ".weight" and ".bias"; of several the rows follow each other */
    bool bare;             /* a tensor of just that name */
    int64_t first;         /* ours are its rows from this one on */
} gpt_name;

typedef struct gpt_names {
    const char *prefix, *blocks; /* block 3 is PREFIX BLOCKS .3. */
    const gpt_name *list;
    size_t n;
} gpt_names;

/* The names of minGPT's blocks, which minDALL-E and taming-transformers took over. */
#define GPT_MINGPT_BLOCK                                                                                               \
    {.ours = "norm1", .theirs = {"ln1"}}, {.ours = "qkv", .theirs = {"attn.query", "attn.key", "attn.value"}},         \
        {.ours = "out", .theirs = {"attn.proj"}}, {.ours = "norm2", .theirs = {"ln2"}},                                \
        {.ours = "up", .theirs = {"mlp.0"}},                                                                           \
    {                                                                                                                  \
        .ours = "down", .theirs = { "mlp.2" }                                                                          \
    }

/* Blocks that the source has. */
int import_gpt_layers(const import *im, const gpt_names *names, const char *part);
/* --set heads, or heads of so many numbers as published; an error where these don't fit. */
bool import_gpt_heads(import *im, gpt *d, int size, err *e);
/* The side of a square grid of so many cells; 0 where it isn't one. */
int import_gpt_side(int cells);
/* The keys and tensors of a GPT of d's sizes. */
bool import_gpt(import *im, const gpt *d, const gpt_names *names, err *e);

/* Those that read a class, for the families that hold them beside a codec: import_class_gpt.c.  *grid: codes in a row.
 */
bool import_has_taming_gpt(const source *s);
bool import_taming_gpt(import *im, int *grid, err *e);
bool import_has_llamagen_gpt(const source *s);
bool import_llamagen_gpt(import *im, int *grid, err *e);
#endif
