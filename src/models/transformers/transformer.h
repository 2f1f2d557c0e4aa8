/* Transformers: from rows of text ids and codes to logits.  Each kind is a file and a line in transformer.c's registry.
 */
#ifndef MODELS_TRANSFORMERS_TRANSFORMER_H
#define MODELS_TRANSFORMERS_TRANSFORMER_H
#include "weights/params.h"

#define STEPS_MOST 1000 /* in which a picture's cells are filled */

typedef struct transformer transformer;

/* What a batch of sequences keeps between steps. */
typedef struct transformer_memory {
    kv_cache *caches; /* [layers]: [rows, key heads, prefix + cells - 1, head_dim]; with recompute all are the
                         same one */
    tensor *kept;     /* [n_kept]: [rows, kept_shape], what else the kind's forward pass keeps between steps */
    tensor ids;       /* I32 [rows, room]: the text of these rows, for all steps.  room is text_length; with own_lengths
                         it is the length of the longest text, and shorter ones stand at the end of their rows */
    tensor place;     /* I32 [rows], with own_lengths: each row's position as if its text had `room` ids; else empty */
    bool no_text;     /* ids are what null_row gives: an encoder isn't needed */
} transformer_memory;

typedef struct transformer_kind {
    const char *name; /* limn.transformer.kind; without that key it is "dalle" */
    /* Makes a transformer with the file's hyper-parameters: a struct of the kind's own, which begins with a
     * transformer. NULL with e filled if they are wrong. */
    transformer *(*open)(const gguf *g, err *e);
    void (*free)(transformer *t);
    /* Declares the parameters; the table then points into t. */
    void (*declare)(transformer *t, param_table *p);
    /* Makes row[text_length], which the model reads, from ids (with or without trailing padding); n = 0 gives the row
     * without a prompt.  *used: how many ids at the beginning of the row are neither padding nor [IMG]; with
     * own_lengths they are the whole row.  ERR_USAGE if ids are out of range, or too many for a kind whose authors'
     * code doesn't cut them. */
    bool (*text_row)(const transformer *t, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e);
    /* The forward pass at the positions p to p+n-1, p the int in `position`: x[b,n,dim], ready for the heads.
     * ids[b,text_length] is empty once all positions are the grid's; codes[b,cells]; m is the memory of these b rows,
     * which it reads and fills. */
    tensor (*forward)(run *r, const transformer *t, tensor ids, tensor codes, const transformer_memory *m,
                      tensor position, int64_t n);
    /* For guidance: the row without a prompt, if it depends on the prompt's row, text, which begins with n ids.  *used:
     * as text_row's.  NULL: it is text_row's for no ids. */
    bool (*null_row)(const transformer *t, const int32_t *text, size_t n, int32_t *row, size_t *used, err *e);
    bool recomputes; /* forward can do t->recompute */
    /* Of kinds that draw all cells at once, in some steps, instead of forward (masked generation: Chang et al. 2022).
     * Reads the rows[b,text_length], which are on the host, into the memory m of these b rows. */
    void (*read_text)(run *r, const transformer *t, const int32_t *rows, const transformer_memory *m);
    /* x[b,cells,…], ready for the head, of codes[b,cells], among which mask_code stands for the cells to come. */
    tensor (*fill)(run *r, const transformer *t, tensor codes, const transformer_memory *m);
} transformer_kind;

/* The sizes that all kinds have; each kind's struct begins with it. */
struct transformer {
    const transformer_kind *kind;
    int text_length;  /* ids of a row */
    bool own_lengths; /* a row is as long as its text, which has at most text_length ids */
    int text_room;    /* the most ids of a text that fit into a row */
    int prefix; /* positions before the first code; the last of them predicts it: text_length, or 1 after an encoder;
                   with own_lengths it is the length of each row's text */
    int vocabulary; /* text ids */
    int classes;    /* the row has one of so many classes instead of text; 0: text */
    int codes, grid_width, grid_height;
    int dim, heads, head_dim, layers;
    int kv_heads;   /* heads of keys and values, each read by heads / kv_heads of queries; 0: as many as of queries */
    bool recompute; /* in training: a block's results are not kept but computed again in the backward pass, and all
                     * blocks share one cache */
    int n_kept;
    int64_t kept_shape[2];
    bool keeps_keys; /* the kept tensors are keys and values, so they have the caches' type; else they are F32 */
    float guidance, temperature, top_p; /* defaults for sampling, which the registry reads */
    int top_k;
    int steps;     /* of kinds with `fill`, and of latents: how many draw a picture, by default */
    int mask_code; /* and what stands for a masked cell */
    int latents; /* of kinds that draw latents (transformers/diffusion.h): numbers of a place, which stand side by side
                    in the grid: a row of it is so many times wider than the latents; codes is 0 then */
    const linear *text_head; /* NULL if text isn't predicted */
    const linear *image_head;
};

/* Reads layer i's pattern from limn.transformer.attention, a list that is repeated if it is shorter than the layers;
 * the default is full.  Fills m's kind and kernel (limn.transformer.conv_kernel). */
bool transformer_read_mask(attention_mask *m, int layer, const gguf *g, err *e);

static inline int transformer_key_heads(const transformer *t)
{
    return t->kv_heads ? t->kv_heads : t->heads;
}

/* For text_row: the smaller of n and room, with a warning if ids are cut. */
size_t transformer_cut(size_t n, size_t room);
/* Whether all are in the vocabulary. */
bool transformer_check_ids(const transformer *t, const int32_t *ids, size_t n, err *e);

/* Opens the file's transformer and declares its parameters in p, which may be NULL.  *t is NULL if the file holds none,
 * which is no error.  In any case *t is freed by transformer_free, after p, which points into it. */
bool transformer_open(transformer **t, const gguf *g, param_table *p, err *e);
void transformer_free(transformer *t);
#endif
