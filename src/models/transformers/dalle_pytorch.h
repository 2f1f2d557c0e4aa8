/* The transformer of DALLE-pytorch (its class DALLE): <bos>, text with a padding id for each position, image codes. */
#ifndef MODELS_TRANSFORMERS_DALLE_PYTORCH_H
#define MODELS_TRANSFORMERS_DALLE_PYTORCH_H
#include "models/transformers/transformer.h"

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
    transformer base; /* text_length: <bos> and the text; vocabulary: after these ids come text_length - 1 padding ids,
                         one a position; the grid is square */
    int mlp;
    int turned; /* numbers of each head that rotary angles turn; 0: learned positions instead */
    bool shift_tokens, sandwich, stable, reversible;
    sequence_embedding embedding;
    tensor angles; /* [positions, turned] */
    dalle_pytorch_layer *list;
    norm final;
    linear text_head, image_head;
} dalle_pytorch;

void dalle_pytorch_free(dalle_pytorch *d);

/* For those who make model files: checks the hyper-parameters (`file` is for messages) and allocates the layers, each
 * with sets of its own and full attention; checks the sets; declares the parameters; writes the keys, the kind too. */
bool dalle_pytorch_prepare(dalle_pytorch *d, const char *file, err *e);
bool dalle_pytorch_check_layers(const dalle_pytorch *d, const char *file, err *e);
void dalle_pytorch_declare(dalle_pytorch *d, param_table *p);
void dalle_pytorch_put(const dalle_pytorch *d, gguf_writer *w);
extern const transformer_kind transformer_dalle_pytorch;
#endif
