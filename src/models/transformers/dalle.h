/* The DALL-E transformer: a GPT over text tokens, [IMG] and image codes (Ramesh et al. 2021, section 2.2). */
#ifndef MODELS_TRANSFORMERS_DALLE_H
#define MODELS_TRANSFORMERS_DALLE_H
#include "models/transformers/transformer.h"

typedef struct block {
    norm norm1, norm2;
    linear qkv, out, up, down;
    attention_mask mask;
} block;

typedef struct dalle {
    int text_length; /* positions for text; the last of them is [IMG] */
    int vocabulary;  /* text ids */
    int codes, grid_width, grid_height;
    int dim, heads, layers, mlp;
    int pad_id, image_id;
    bool pad_per_position; /* each text position has a padding embedding of its own: ids vocabulary + position */
    activation act;
    float eps;                          /* of the norms */
    float guidance, temperature, top_p; /* defaults for sampling */
    int top_k;
    bool recompute; /* training: what a block makes is not kept but made again on the way back; one cache for all */
    sequence_embedding embedding;
    block *blocks;
    norm final;
    linear text_head, image_head;
} dalle;

void dalle_free(dalle *d);
/* What sessions need of d, which must outlive it. */
transformer dalle_view(dalle *d);

/* For those who make model files: checks the hyper-parameters (`file` is for messages) and allocates the blocks, with
 * full attention; declares the parameters; writes the keys that dalle_open reads. */
bool dalle_prepare(dalle *d, const char *file, err *e);
void dalle_declare(dalle *d, param_table *p);
void dalle_put(const dalle *d, gguf_writer *w);

/* The padded row that the model reads, row[text_length]: ids (without their trailing padding and [IMG]), padding,
 * [IMG]. n = 0 gives the row without condition.  *used: how many ids remained.  ERR_USAGE where they are too many or
 * out of range. */
bool dalle_text_row(const dalle *d, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e);

/* x[b,t,dim] after the final norm: the positions p to p+t-1, p the int in `position`, given ids[b,text_length] (empty
 * where all positions are the grid's), codes[b,cells] and the caches, one a layer, which it fills at these positions.
 */
tensor dalle_forward(run *r, const dalle *d, tensor ids, tensor codes, const kv_cache *caches, tensor position,
                     int64_t t);
#endif
