/* GPTs of published models that read text, or a class, and write image codes.  They are one stack of pre-norm blocks
 * with full attention (Radford et al. 2019) in variants: minDALL-E and its class-conditional kin, taming-transformers.
 */
#ifndef MODELS_GPT_H
#define MODELS_GPT_H
#include "models/transformer.h"

typedef struct gpt_block {
    norm norm1, norm2;
    linear qkv, out, up, down;
    attention_mask mask;
} gpt_block;

/* Where the grid's positions are learned. */
typedef enum gpt_grid { GPT_GRID_CELLS, GPT_GRID_COUNT } gpt_grid;

typedef struct gpt {
    int text_length; /* positions before the first code */
    int vocabulary;  /* text ids */
    int classes;     /* in place of text a class; a further id, where there is one, is none of them */
    int codes, grid_width, grid_height; /* at least two cells */
    int dim, heads, layers, mlp;
    int pad_id;
    bool text_positions; /* learned positions of the text too */
    bool shared;         /* classes are embedded by the table of codes */
    bool attention_bias, mlp_bias, head_bias;
    bool text_head; /* it predicts the text too */
    gpt_grid grid;
    activation act;
    float eps; /* of the norms */
    sequence_embedding embedding;
    gpt_block *blocks;
    norm final;
    linear predict_text, predict_code;
} gpt;

void gpt_free(gpt *d);

/* For importers: checks the hyper-parameters (`file` is for messages) and allocates the blocks, with full attention;
 * declares the parameters; writes the keys that the kind reads. */
bool gpt_prepare(gpt *d, const char *file, err *e);
void gpt_declare(gpt *d, param_table *p);
void gpt_put(const gpt *d, gguf_writer *w);
#endif
