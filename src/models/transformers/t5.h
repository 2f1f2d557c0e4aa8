/* The encoder of T5 (Raffel et al. 2020) in its version 1.1 with gated MLPs (Shazeer 2020), as Flan-T5 has it: what
 * models that draw read their prompts with.  RMS norms, no biases but those of attention by the distance of two ids. */
#ifndef MODELS_TRANSFORMERS_T5_H
#define MODELS_TRANSFORMERS_T5_H
#include "weights/params.h"

typedef struct t5_block {
    norm norm1, norm2;
    linear q, kv, out;
    linear up, down; /* up: the value's rows, then the gate's */
} t5_block;

typedef struct t5 {
    int layers, dim, heads, head_dim, mlp;
    int vocabulary;
    int reach;        /* the largest distance that has a bias of its own */
    float eps;        /* of the norms */
    tensor embedding; /* [vocabulary, dim] */
    tensor bias;      /* [2 reach + 1, heads]: op_relative_bias's table, for all layers */
    t5_block *blocks; /* [layers] */
    norm final;
} t5;

/* Frees what t5_prepare has allocated. */
void t5_release(t5 *t);

/* The states x[b,n,dim] of ids[b,n] (I32), n any length.  Ids that are `pad` aren't looked at; at least one of each row
 * isn't. */
tensor t5_forward(run *r, const t5 *t, tensor ids, int pad);

/* Checks the hyper-parameters (`file` is for messages) and allocates the blocks; declares the parameters, none of which
 * is trained; reads and writes the keys limn.transformer.encoder_….  vocabulary is the caller's to fill. */
bool t5_prepare(t5 *t, const char *file, err *e);
void t5_declare(t5 *t, param_table *p);
bool t5_read(t5 *t, const gguf *g, err *e);
void t5_put(const t5 *t, gguf_writer *w);
#endif
