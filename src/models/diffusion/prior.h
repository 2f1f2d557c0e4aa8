/* unCLIP's prior (Ramesh et al. 2022): a transformer that says, of a noisy embedding of a picture at a time, what the
 * embedding is, beside a text.  Its sequence is the text's states, the text's embedding, the time, the noisy embedding
 * and a token whose result is what it says; each position sees those before it.  So the first two depend on the text
 * alone: their keys and values are kept, and a step computes the last three. */
#ifndef MODELS_DIFFUSION_PRIOR_H
#define MODELS_DIFFUSION_PRIOR_H
#include "weights/params.h"

enum { PRIOR_LAST = 4 }; /* positions behind the text's states */

typedef struct prior_block {
    norm norm1, norm2;
    linear qkv, out, up, down;
} prior_block;

typedef struct prior {
    /* given by who has it */
    int dim;          /* of embeddings */
    int text, states; /* positions of a text, and the width of its states */
    int width, layers, heads, head_dim, mlp;
    prior_block *blocks;
    tensor position;        /* [text + 4, width] */
    tensor token;           /* [width], what stands at the last position */
    tensor mean, deviation; /* [dim], of embeddings: it knows them with mean 0 and deviation 1 */
    linear time[2], from_states, from_text, in, out;
    norm after;
} prior;

/* Checks the sizes (`file` is for messages) and allocates the blocks; frees them. */
bool prior_prepare(prior *p, const char *file, err *e);
void prior_release(prior *p);
/* Parameters "transformer.prior.…" */
void prior_declare(prior *p, param_table *t);

/* What stays on the device while pictures are drawn, for up to `rows` texts. */
typedef struct prior_memory {
    int rows;
    kv_cache *caches; /* [layers]: [rows, heads, text + 4, head_dim] */
    tensor position;  /* I32 [rows]: of the time */
} prior_memory;
bool prior_memory_open(prior_memory *m, const prior *p, device *d, int rows, err *e);
void prior_memory_release(prior_memory *m, const prior *p);

/* states[b,text,states] and embeddings[b,dim] of the texts of rows 0 to b - 1, of whose states the first lengths[b]
 * count. */
void prior_read_text(run *r, const prior *p, const prior_memory *m, tensor states, tensor embeddings,
                     const int *lengths);
/* said[b,dim] of the noisy embedding x[1,dim] beside the texts of rows 0 to b - 1 */
tensor prior_forward(run *r, const prior *p, const prior_memory *m, tensor x, float time, int64_t b);
/* The embedding that x[1,dim] stands for: x deviation + mean */
tensor prior_embedding(run *r, const prior *p, tensor x);
#endif
