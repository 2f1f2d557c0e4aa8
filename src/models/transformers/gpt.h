/* GPTs over text, or a class, and image codes: one stack of pre-norm blocks (Radford et al. 2019) in variants.  The
 * paper's DALL-E (Ramesh et al. 2021, section 2.2) is one of them; minDALL-E and its class-conditional kin, ruDALL-E,
 * taming-transformers and LlamaGen are others. */
#ifndef MODELS_TRANSFORMERS_GPT_H
#define MODELS_TRANSFORMERS_GPT_H
#include "models/transformers/transformer.h"

#define GPT_LAYERS 1024 /* the most */

typedef struct gpt_block {
    norm norm1, norm2, norm1_out, norm2_out;
    linear qkv, out, up, gate, down;
    attention_mask mask;
} gpt_block;

/* The grid's positions: a vector for each cell, one for each row and one for each column, or angles by which queries
 * and keys are turned. */
typedef enum gpt_grid { GPT_GRID_CELLS, GPT_GRID_AXES, GPT_GRID_ROTARY, GPT_GRID_COUNT } gpt_grid;

/* What stands for the padding at place i of the text's n. */
typedef enum gpt_padding {
    GPT_PAD_SAME,  /* pad_id */
    GPT_PAD_LAST,  /* id vocabulary - n + i: the last ones of the vocabulary */
    GPT_PAD_BEYOND /* id vocabulary + i: the embedding has so many rows more */
} gpt_padding;

typedef struct gpt {
    transformer base; /* vocabulary: text ids; in place of text it may have classes, where a further id is none of
                         them; the grid has at least two cells */
    int mlp;
    int pad_id, begin_id, end_id;
    int window;  /* side of MASK_CONV and MASK_TORUS: odd */
    bool begins; /* begin_id is put before the text; the grid of the attention patterns is then a cell late */
    bool ends;   /* end_id is put after text and padding: [IMG] of the paper's DALL-E (gpt_preset_dalle) */
    gpt_padding padding;
    bool text_positions; /* learned positions of the text too */
    bool shared;         /* classes are embedded by the table of codes */
    bool attention_bias, mlp_bias, head_bias;
    bool predicts_text;
    bool head_norm;         /* another norm before the heads */
    bool sandwich;          /* norms at the end of each branch too (Ding et al. 2021) */
    bool rms;               /* norms of the root mean square (Zhang & Sennrich 2019) */
    bool gated;             /* the MLP is down(up(x) act(gate(x))) (Shazeer 2020) */
    const mask_kind *masks; /* for gpt_prepare, the blocks' patterns; NULL: all full */
    gpt_grid grid;
    activation act;
    float eps; /* of the norms */
    sequence_embedding embedding;
    gpt_block *blocks;
    norm final, before_heads;
    linear text_head, image_head;
} gpt;

void gpt_free(gpt *d);

/* The paper's DALL-E, of whatever sizes d has: text, [IMG] as its last position, learned positions of the text, of rows
 * and of columns, biases everywhere.  The keys of its files have no limn.transformer.kind. */
void gpt_preset_dalle(gpt *d);

/* For those who make model files: checks the hyper-parameters (`file` is for messages), fills what of `base` follows
 * from them and allocates the blocks; declares the parameters; writes the keys that the kind reads. */
bool gpt_prepare(gpt *d, const char *file, err *e);
void gpt_declare(gpt *d, param_table *p);
void gpt_put(const gpt *d, gguf_writer *w);
#endif
