/* The transformer of DALLE-pytorch (its class DALLE): <bos>, text with a padding id for each position, image codes. */
#ifndef MODELS_DALLE_PYTORCH_H
#define MODELS_DALLE_PYTORCH_H
#include "models/params.h"

/* One branch of a layer: x + scale * norm_out(f(norm(x))). */
typedef struct dalle_pytorch_branch {
    norm norm, norm_out; /* norm_out: empty, unless sandwich */
    tensor scale;        /* [dim] */
    int set;             /* whose weights f has: layers may share them */
} dalle_pytorch_branch;

typedef struct dalle_pytorch_layer {
    dalle_pytorch_branch attention, mlp;
    attention_mask mask;
    linear qkv, out, up, down; /* of the set with this layer's number; else empty */
} dalle_pytorch_layer;

typedef struct dalle_pytorch {
    int text_length; /* positions: <bos> and the text */
    int vocabulary;  /* text ids; then come text_length - 1 padding ids, one a position */
    int codes, grid_width;
    int dim, heads, head_dim, mlp, layers;
    int turned; /* numbers of each head that rotary angles turn; 0: learned positions instead */
    bool shift_tokens, sandwich, stable, reversible;
    sequence_embedding embedding;
    tensor angles; /* [positions, turned] */
    dalle_pytorch_layer *list;
    norm final;
    linear text_head, image_head;
} dalle_pytorch;

/* What a batch keeps between steps, for each layer. */
typedef struct dalle_pytorch_state {
    kv_cache cache;                        /* [b, heads, positions, head_dim] */
    tensor attention_history, mlp_history; /* [b, positions, 2 ceil(dim/4)]; empty, unless tokens are shifted */
} dalle_pytorch_state;

/* *d is NULL where the file holds no transformer of this kind. */
bool dalle_pytorch_open(dalle_pytorch **d, const gguf *g, param_table *p, err *e);
void dalle_pytorch_free(dalle_pytorch *d);

/* For those who make model files: allocates the layers (each with sets of its own and full attention), checks and
 * declares, writes the keys that dalle_pytorch_open reads. */
bool dalle_pytorch_prepare(dalle_pytorch *d, const char *file, err *e);
bool dalle_pytorch_check_layers(const dalle_pytorch *d, const char *file, err *e);
void dalle_pytorch_params(dalle_pytorch *d, param_table *p);
void dalle_pytorch_write(const dalle_pytorch *d, gguf_writer *w);

/* Positions in the caches: the last code is never an input. */
int dalle_pytorch_positions(const dalle_pytorch *d);
/* The row that the model reads, row[text_length]: <bos>, then ids[n], where padding (0, and what is missing) becomes
 * the id of its position.  n = 0: without condition.  ERR_USAGE where there are too many or some are out of range. */
bool dalle_pytorch_text_row(const dalle_pytorch *d, const int32_t *ids, size_t n, int32_t *row, err *e);
bool dalle_pytorch_state_new(const dalle_pytorch *d, device *dev, int rows, dalle_pytorch_state **states, err *e);
void dalle_pytorch_state_free(const dalle_pytorch *d, dalle_pytorch_state *states);

/* x[b,t,dim], ready for the heads: the positions p to p+t-1, p the int in `position`; ids and codes as in
 * dalle_forward.  Whatever the steps, results are those of the whole sequence at once. */
tensor dalle_pytorch_forward(run *r, const dalle_pytorch *d, tensor ids, tensor codes,
                             const dalle_pytorch_state *states, tensor position, int64_t t);
#endif
