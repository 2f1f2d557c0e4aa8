/* BART as DALL-E Mini and Mega have it: an encoder reads the text once, a decoder writes the codes.  Lewis et al. 2020
 * with the norms of Shleifer et al. 2021 (NormFormer) and gated MLPs (Shazeer 2020); no biases but the norms'. */
#ifndef MODELS_TRANSFORMERS_BART_H
#define MODELS_TRANSFORMERS_BART_H
#include "models/transformers/transformer.h"

typedef struct bart_attention {
    norm before, after;
    linear qkv;   /* of the decoder's attention to itself */
    linear q, kv; /* else: kv of the sequence that it looks at */
    linear out;
} bart_attention;

typedef struct bart_block {
    bart_attention self;  /* the decoder's alone */
    bart_attention cross; /* to the text; in the encoder from the text itself */
    norm before, middle;
    linear up, down; /* up: the value's rows, then the gate's */
} bart_block;

typedef struct bart {
    transformer base; /* layers: the decoder's */
    int start_id, end_id, pad_id;
    int start_code; /* what the decoder reads before the first code */
    int mlp, encoder_layers;
    activation act;
    float eps;                                         /* of the norms */
    tensor text, text_position, image, image_position; /* embeddings: [ids or positions, dim] */
    norm text_norm, image_norm, encoder_final, final;  /* the first two of the embeddings */
    bart_block *encoder, *decoder;                     /* [encoder_layers], [layers] */
    linear head;                                       /* [codes, dim] */
} bart;

void bart_free(bart *b);

/* For those who make model files: checks the hyper-parameters (`file` is for messages), fills what of `base` follows
 * from them and allocates the blocks; declares the parameters; writes the keys that transformer_bart.open reads. */
bool bart_prepare(bart *b, const char *file, err *e);
void bart_declare(bart *b, param_table *p);
void bart_put(const bart *b, gguf_writer *w);
extern const transformer_kind transformer_bart;
#endif
