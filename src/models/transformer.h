/* Transformers: rows of text ids and codes to logits.  One file per kind, one line each in transformer.c's registry. */
#ifndef MODELS_TRANSFORMER_H
#define MODELS_TRANSFORMER_H
#include "models/params.h"

typedef struct transformer transformer;

typedef struct transformer_kind {
    const char *name; /* limn.transformer.kind; "dalle" where the key is missing */
    /* Reads the hyper-parameters, fills t, allocates t->state and declares the parameters: that last, since the table
     * then points into the state. */
    bool (*open)(transformer *t, const gguf *g, param_table *p, err *e);
    void (*free)(void *state);
    /* As dalle_text_row and dalle_forward say. */
    bool (*text_row)(const void *state, const int32_t *ids, size_t n, int32_t *row, size_t *used, err *e);
    tensor (*forward)(run *r, const void *state, tensor ids, tensor codes, const kv_cache *caches, tensor position,
                      int64_t t);
} transformer_kind;

struct transformer {
    const transformer_kind *kind;
    int text_length; /* positions before the first code; the last of them predicts it */
    int vocabulary;  /* text ids */
    int codes, grid_width, grid_height;
    int dim, heads, layers;             /* of the caches too: [rows, heads, positions, dim / heads] */
    bool one_cache;                     /* in training, where all layers fill one in turn */
    float guidance, temperature, top_p; /* defaults for sampling */
    int top_k;
    const linear *text_head, *image_head; /* in the state */
    void *state;
};

/* *t is NULL where the file holds no transformer: not an error. */
bool transformer_open(transformer **t, const gguf *g, param_table *p, err *e);
void transformer_free(transformer *t);

extern const transformer_kind transformer_dalle; /* dalle.c */
#endif
