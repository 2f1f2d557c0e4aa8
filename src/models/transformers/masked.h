/* A transformer that fills masked cells, all of them at once: aMUSEd (Patil et al. 2024), an open MUSE (Chang et al.
 * 2023). A U-ViT (Hoogeboom et al. 2023): blocks of convolutions and of attention to the text at the grid's size,
 * around a transformer in the middle.  The text is read by CLIP, whose states it attends to; what CLIP projects, with
 * some numbers about the picture, scales and shifts what most layers see. */
#ifndef MODELS_TRANSFORMERS_MASKED_H
#define MODELS_TRANSFORMERS_MASKED_H
#include "models/transformers/clip.h"
#include "models/transformers/transformer.h"

#define MASKED_BLOCKS 16

typedef struct masked_attention {
    tensor norm; /* [width] */
    linear q, kv, out;
} masked_attention;

/* A convolution's block, then two attentions to the text. */
typedef struct masked_unit {
    tensor depthwise, norm; /* [channels, 9], [channels] */
    linear up, down;
    tensor gamma, beta; /* [4 channels]: of the response norm */
    linear condition;
    linear map; /* of the text's states; empty where they are as wide */
    masked_attention attention[2];
} masked_unit;

typedef struct masked_block {
    tensor norm1, norm2, norm3;                /* the third is a layer norm's */
    linear condition1, condition2, condition3; /* scale and shift of what they give */
    linear qkv, out;
    linear q, kv, cross_out; /* to the text */
    linear up, down;         /* up: the value's rows, then the gate's */
} masked_block;

typedef struct masked {
    transformer base; /* dim: of the middle */
    clip text;
    int channels, unit_heads, units; /* of the blocks at the grid's size, on each side */
    int code_rows, code_dim;         /* of the table of codes, which has the mask's too */
    int mlp;
    int frequencies;   /* numbers of each of the five conditions */
    bool halves;       /* the middle has half the grid's sides */
    int width, height; /* pixels of the pictures */
    float eps;
    linear text_in;                 /* CLIP's states become the middle's width */
    linear condition_in, condition; /* of the whole: pooled text and numbers about the picture */
    tensor text_norm, table, table_norm;
    linear in, to_middle, from_middle, last, head;
    tensor to_middle_norm, from_middle_norm, last_norm;
    tensor halve_norm, double_norm;
    conv halve, doubled;
    masked_unit before[MASKED_BLOCKS], after[MASKED_BLOCKS]; /* [units] */
    masked_block *block;                                     /* [layers] */
} masked;

void masked_free(masked *t);

/* For those who make model files: checks the hyper-parameters (`file` is for messages), fills what of `base` and
 * `text` follows from them and allocates the blocks; declares the parameters; writes the keys that
 * transformer_masked.open reads. */
bool masked_prepare(masked *t, const char *file, err *e);
void masked_declare(masked *t, param_table *p);
void masked_put(const masked *t, gguf_writer *w);
extern const transformer_kind transformer_masked;

/* What all layers read of the text: states[b,text_length,dim], condition[b,dim].  rows[b,text_length] are on the host.
 * Gradients go to all but CLIP's parameters. */
typedef struct masked_text {
    tensor states, condition;
} masked_text;
masked_text masked_read_text(run *r, const masked *t, const int32_t *rows, int b);
/* x[b,cells,code_dim], ready for the head, of codes[b,cells]. */
tensor masked_forward(run *r, const masked *t, tensor codes, const masked_text *text);
#endif
