/* GPTs of published models that read text, or a class, and write image codes.  They are one stack of pre-norm blocks
 * (Radford et al. 2019) in variants: minDALL-E and its class-conditional kin, ruDALL-E, taming-transformers, LlamaGen.
 */
#ifndef MODELS_TRANSFORMERS_GPT_H
#define MODELS_TRANSFORMERS_GPT_H
#include "models/transformers/transformer.h"

#define GPT_LAYERS 128 /* the most */

typedef struct gpt_block {
    norm norm1, norm2, norm1_out, norm2_out;
    linear qkv, out, up, gate, down;
    attention_mask mask;
} gpt_block;

/* The grid's positions: a vector for each cell, one for each row and one for each column, or angles by which queries
 * and keys are turned. */
typedef enum gpt_grid { GPT_GRID_CELLS, GPT_GRID_AXES, GPT_GRID_ROTARY, GPT_GRID_COUNT } gpt_grid;

typedef struct gpt {
    int text_length; /* positions before the first code */
    int vocabulary;  /* text ids */
    int classes;     /* in place of text a class; a further id, where there is one, is none of them */
    int codes, grid_width, grid_height; /* at least two cells */
    int dim, heads, layers, mlp;
    int pad_id, begin_id;
    int window;          /* side of MASK_CONV and MASK_TORUS: odd */
    bool begins;         /* begin_id is put before the text; the grid of the attention patterns is then a cell late */
    bool pads_last;      /* the last ids of the vocabulary stand for the padding at each place of the text */
    bool text_positions; /* learned positions of the text too */
    bool shared;         /* classes are embedded by the table of codes */
    bool attention_bias, mlp_bias, head_bias;
    bool text_head; /* it predicts the text too */
    bool head_norm; /* another norm before the heads */
    bool sandwich;  /* norms at the end of each branch too (Ding et al. 2021) */
    bool rms;       /* norms of the root mean square (Zhang & Sennrich 2019) */
    bool gated;     /* the MLP is down(up(x) act(gate(x))) (Shazeer 2020) */
    mask_kind masks[GPT_LAYERS];
    gpt_grid grid;
    activation act;
    float eps; /* of the norms */
    sequence_embedding embedding;
    gpt_block *blocks;
    norm final, before_heads;
    linear predict_text, predict_code;
} gpt;

void gpt_free(gpt *d);

/* For importers: checks the hyper-parameters (`file` is for messages) and allocates the blocks; declares the
 * parameters; writes the keys that the kind reads. */
bool gpt_prepare(gpt *d, const char *file, err *e);
void gpt_declare(gpt *d, param_table *p);
void gpt_put(const gpt *d, gguf_writer *w);
#endif
