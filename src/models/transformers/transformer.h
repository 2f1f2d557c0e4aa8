/* Transformers: rows of text ids and codes to logits.  One file per kind, one line each in transformer.c's registry. */
#ifndef MODELS_TRANSFORMERS_TRANSFORMER_H
#define MODELS_TRANSFORMERS_TRANSFORMER_H
#include "weights/params.h"

typedef struct transformer transformer;

/* What a batch of sequences keeps between steps. */
typedef struct transformer_memory {
    kv_cache *caches; /* [layers]: [rows, heads, prefix + cells - 1, head_dim]; one in all with recompute */
    tensor *kept;     /* [n_kept]: [rows, kept_shape], whatever else the kind wants to find again */
    tensor ids;       /* I32 [rows, text_length]: the text of these rows, also in the steps after it was read */
} transformer_memory;

typedef struct transformer_kind {
    const char *name; /* limn.transformer.kind; "dalle" where the key is missing */
    /* A transformer of the file's hyper-parameters: a struct of the kind's own, which begins with t.  NULL with e
     * filled where they are wrong. */
    transformer *(*open)(const gguf *g, err *e);
    void (*free)(transformer *t);
    /* Declares the parameters; the table then points into t. */
    void (*declare)(transformer *t, param_table *p);
    /* The row that the model reads, row[text_length], of ids (with or without trailing padding); n = 0 gives the row
     * without condition.  *used: the row begins with so many ids that are neither padding nor [IMG].  ERR_USAGE where
     * ids are out of range, or too many for a kind whose authors' code doesn't cut them. */
    bool (*text_row)(const transformer *t, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e);
    /* x[b,n,dim], ready for the heads: the positions p to p+n-1, p the int in `position`, given ids[b,text_length]
     * (empty once all positions are the grid's), codes[b,cells] and the memory of these b rows, which it fills. */
    tensor (*forward)(run *r, const transformer *t, tensor ids, tensor codes, const transformer_memory *m,
                      tensor position, int64_t n);
    /* The row without condition where it depends on the prompt's, which begins with `used` ids; NULL: text_row's of no
     * ids. */
    void (*null_row)(const transformer *t, const int32_t *text, size_t used, int32_t *row);
    bool recomputes; /* forward does as t->recompute says */
} transformer_kind;

/* The sizes that all kinds have; each kind's struct begins with it. */
struct transformer {
    const transformer_kind *kind;
    int text_length; /* ids of a row */
    int text_room;   /* ids of a text that a row has room for */
    int prefix; /* positions before the first code, the last of which predicts it: text_length, or 1 after an encoder */
    int vocabulary; /* text ids */
    int classes;    /* in place of text the row has one of so many classes; 0: text */
    int codes, grid_width, grid_height;
    int dim, heads, head_dim, layers;
    bool recompute; /* in training: what a block makes is not kept but made again in the backward pass, and all blocks
                       fill one cache in turn */
    int n_kept;
    int64_t kept_shape[2];
    bool keeps_keys; /* kept tensors are keys and values, in the type of the caches; else they are F32 */
    float guidance, temperature, top_p; /* defaults for sampling, which the registry reads */
    int top_k;
    const linear *text_head; /* NULL where text isn't predicted */
    const linear *image_head;
};

/* Layer i's pattern, from limn.transformer.attention: one a layer, repeated where there are fewer; full where the key
 * is missing.  Fills m's kind and kernel (limn.transformer.conv_kernel). */
bool transformer_read_mask(attention_mask *m, int layer, const gguf *g, err *e);

/* For text_row: so many of n ids as there is room for, with a warning where that is not all. */
size_t transformer_cut(size_t n, size_t room);

/* *t is NULL where the file holds no transformer: not an error.  Its parameters are declared in p, which may be NULL.
 * Whatever is returned, *t goes by transformer_free, and that after p, which points into it. */
bool transformer_open(transformer **t, const gguf *g, param_table *p, err *e);
void transformer_free(transformer *t);

extern const transformer_kind transformer_gpt;           /* gpt.c */
extern const transformer_kind transformer_dalle;         /* the same: the paper's, by the keys of its own files */
extern const transformer_kind transformer_dalle_pytorch; /* dalle_pytorch.c */
extern const transformer_kind transformer_bart;          /* bart.c */
#endif
