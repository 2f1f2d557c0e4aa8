/* GPTs over text, or a class, and image codes: one stack of pre-norm blocks (Radford et al. 2019) in variants.  The
 * paper's DALL-E (Ramesh et al. 2021, section 2.2) is one of them; minDALL-E and its class-conditional kin, ruDALL-E,
 * taming-transformers and LlamaGen are others. */
#ifndef MODELS_TRANSFORMERS_GPT_H
#define MODELS_TRANSFORMERS_GPT_H
#include "models/transformers/t5.h"
#include "models/transformers/transformer.h"

#define GPT_LAYERS 1024 /* at most */

typedef struct gpt_block {
    norm norm1, norm2, norm1_out, norm2_out;
    linear qkv, out, up, gate, down;
    attention_mask mask;
} gpt_block;

/* Positions on the grid: a learned vector for each cell (CELLS); one for each row and one for each column (AXES);
 * queries and keys are rotated by them (ROTARY); or none, beside those of the sequence (NONE). */
typedef enum gpt_grid { GPT_GRID_CELLS, GPT_GRID_AXES, GPT_GRID_ROTARY, GPT_GRID_NONE, GPT_GRID_COUNT } gpt_grid;

/* The id of the padding at place i of a text with room for n ids. */
typedef enum gpt_padding {
    GPT_PAD_SAME,  /* pad_id */
    GPT_PAD_LAST,  /* vocabulary - n + i: the last ids of the vocabulary */
    GPT_PAD_BEYOND /* vocabulary + i: the embedding has a further row for each place */
} gpt_padding;

typedef struct gpt {
    transformer base; /* with classes the vocabulary may have a further id, for none of them */
    int mlp;
    int pad_id, begin_id, end_id;
    int window;  /* side of MASK_CONV and MASK_TORUS: odd */
    bool begins; /* begin_id comes before the text; in attention patterns the grid then begins a position early */
    bool ends;   /* end_id comes after text and padding: [IMG] of the paper's DALL-E (gpt_preset_dalle) */
    gpt_padding padding;
    bool text_positions; /* the text has learned positions too */
    bool shared;         /* text ids, or classes, are embedded by the table of codes */
    bool tied;           /* codes are embedded by the weights that predict them (Press & Wolf 2017) */
    bool attention_bias, mlp_bias, head_bias;
    bool predicts_text;
    bool head_norm;         /* another norm before the heads */
    bool sandwich;          /* a norm also at the end of each branch (Ding et al. 2021) */
    bool rms;               /* norms are RMS norms (Zhang & Sennrich 2019), else layer norms */
    bool gated;             /* the MLP is down(up(x) act(gate(x))) (Shazeer 2020) */
    bool qkv_bias;          /* queries, keys and values alone have a bias */
    bool rotary;            /* queries and keys are rotated by their positions in the sequence (Su et al. 2021) */
    bool deep_head;         /* codes are predicted by image_head(gelu(head_up(x))) */
    bool encodes;           /* the text is the vectors project_down(gelu(project_up(encoder(ids)))); what stands for
                               none has the ids from the vocabulary on: vectors of the text's table */
    const mask_kind *masks; /* for gpt_prepare: each block's pattern; NULL: all full */
    gpt_grid grid;
    activation act;
    float eps; /* of the norms */
    sequence_embedding embedding;
    gpt_block *blocks;
    norm final, before_heads;
    tensor frequencies; /* F32 [head_dim / 2], of rotary */
    linear text_head, head_up, image_head;
    t5 encoder;
    linear project_up, project_down;
} gpt;

void gpt_free(gpt *d);

/* The frequencies of rotary: frequencies[i] = base^(-2i / head_dim), in F32 as LLaMA's code computes them. */
void gpt_frequencies(float base, int head_dim, float *frequencies);

/* Makes d the paper's DALL-E, with the sizes that d has: [IMG] is the last position of the text; learned positions of
 * the text, of rows and of columns; biases everywhere.  Its files have no key limn.transformer.kind. */
void gpt_preset_dalle(gpt *d);

/* For making model files.  gpt_prepare checks the hyper-parameters (errors name `file`), fills the rest of `base` from
 * them and allocates the blocks; gpt_declare declares the parameters; gpt_put writes the keys that the kind reads. */
bool gpt_prepare(gpt *d, const char *file, err *e);
void gpt_declare(gpt *d, param_table *p);
void gpt_put(const gpt *d, gguf_writer *w);
extern const transformer_kind transformer_gpt, transformer_dalle; /* dalle: with the keys of the paper's model */
#endif
