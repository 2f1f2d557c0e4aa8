/* CLIP: pictures and texts in one space (Radford et al. 2021).  Two transformers, a ViT over patches (Dosovitskiy et
 * al. 2021) and one over text tokens, each with a projection to vectors of length 1; their products say how well a
 * picture and a text go together.  Hyper-parameters cover the published ones: pre-norm blocks, any pooling, either
 * attention. */
#ifndef MODELS_TRANSFORMERS_CLIP_H
#define MODELS_TRANSFORMERS_CLIP_H
#include "weights/params.h"

#define CLIP_SCALE_MOST 4.6051702f /* ln 100: the scale of the products goes no further (Radford et al., 2.5) */

/* The row of a tower's output that stands for all. */
typedef enum clip_pooling {
    CLIP_CLASS, /* of a token of its own before the patches (pictures) */
    CLIP_END,   /* at the end token (text) */
    CLIP_MEAN,  /* the mean of all, padding included */
    CLIP_POOLINGS
} clip_pooling;

typedef struct clip_block {
    norm norm1, norm2;
    linear qkv, out, up, down;
    attention_mask mask;
} clip_block;

typedef struct clip_tower {
    int width, layers, heads, mlp;
    int head_dim;  /* 0: clip_prepare makes it width / heads */
    int positions; /* filled by clip_prepare */
    clip_pooling pooling;
    bool causal;                  /* each position sees those before it alone: text */
    bool norm_before, norm_after; /* layer norms of the blocks' input, and of what was pooled */
    tensor position;              /* [positions, width] */
    clip_block *blocks;
    norm before, after;
    linear out; /* [dim, width], no bias */
} clip_tower;

typedef struct clip {
    int dim;               /* of the joint space; 0: of a text tower alone that has no projection */
    int image_size, patch; /* pixels: pictures are square, and patch divides them */
    float mean[3], std[3]; /* the image tower reads (pixel - mean) / std, pixels in 0..1 */
    int filter;            /* an image_filter: by which pictures are brought to that size */
    int text_length;       /* positions */
    int vocabulary;        /* text ids */
    int start_id, end_id;  /* stand before and after a text; -1: none */
    int pad_id;            /* fills the rest */
    activation act;
    bool gated;       /* the MLP's activation gates as many numbers more: op_glu */
    bool no_qkv_bias; /* of queries, keys and values */
    float eps;        /* of the norms */
    clip_tower image, text;
    tensor patches;     /* [width, patch, patch, 3] */
    tensor class_token; /* [width], where the pooling wants one */
    tensor tokens;      /* [vocabulary, width] */
    tensor log_scale;   /* [1]: ln of what products are multiplied by in training */
} clip;

/* Of the config_field tables of kinds that read texts by a CLIP's tower: struct KIND has it as `text`.  Its sizes, then
 * its words. */
#define CLIP_TOWER_FIELDS(KIND)                                                                                        \
    {"limn.transformer.text.width", offsetof(KIND, text.text.width), 1, 1 << 16},                                      \
        {"limn.transformer.text.layers", offsetof(KIND, text.text.layers), 1, 1024},                                   \
        {"limn.transformer.text.heads", offsetof(KIND, text.text.heads), 1, 1 << 16},                                  \
    {                                                                                                                  \
        "limn.transformer.text.mlp", offsetof(KIND, text.text.mlp), 1, 1 << 20                                         \
    }
#define CLIP_WORD_FIELDS(KIND, SHORTEST)                                                                               \
    {"limn.transformer.text.length", offsetof(KIND, text.text_length), SHORTEST, 65536},                               \
        {"limn.transformer.text.vocabulary", offsetof(KIND, text.vocabulary), 2, 1 << 24},                             \
        {"limn.transformer.text.start_id", offsetof(KIND, text.start_id), 0, (1 << 24) - 1},                           \
        {"limn.transformer.text.end_id", offsetof(KIND, text.end_id), 0, (1 << 24) - 1},                               \
        {"limn.transformer.text.pad_id", offsetof(KIND, text.pad_id), 0, (1 << 24) - 1},                               \
        {"limn.transformer.text.activation", offsetof(KIND, text.act), 0, ACT_COUNT, CONFIG_CHOICE, activation_names}, \
    {                                                                                                                  \
        "limn.transformer.text.norm_eps", offsetof(KIND, text.eps), 0, 1, CONFIG_FLOAT                                 \
    }

/* Reads the hyper-parameters and declares the parameters.  *c is NULL where the file holds no CLIP. */
bool clip_open(clip **c, const gguf *g, param_table *p, err *e);
void clip_free(clip *c);

/* For those who make model files: checks the hyper-parameters (`file` is for messages) and allocates the blocks;
 * declares the parameters; writes the keys that clip_open reads. */
bool clip_prepare(clip *c, const char *file, err *e);
void clip_declare(clip *c, param_table *p);
void clip_put(const clip *c, gguf_writer *w);
/* Frees what clip_prepare allocated. */
void clip_release(clip *c);

/* The numbers that the image tower reads: out[cells, patch*patch*3] of one picture rgb[image_size, image_size, 3]. */
void clip_pixels(const clip *c, float *out, const uint8_t *rgb);
/* How many tokens the row of a text would have if it were long enough: ids, start and end. */
size_t clip_text_tokens(const clip *c, const int32_t *ids, size_t n);
/* The row that the text tower reads, row[text_length]: start, ids, end, padding; a text that is too long loses its end,
 * not the end token.  Start and end that the tokenizer has put there already are not put again.  Returns the position
 * of the last token that isn't padding.  Ids out of range read as row 0. */
int clip_text_row(const clip *c, const int32_t *ids, size_t n, int32_t *row);

/* y[b,dim], rows of length 1, of patches[b, cells, patch*patch*3] */
tensor clip_image(run *r, const clip *c, tensor patches);
/* y[b,dim], rows of length 1, of ids I32 [b,text_length].  ends[b], on the host: what clip_text_row returned. */
tensor clip_text(run *r, const clip *c, tensor ids, const int32_t *ends);

/* ---- a tower alone, as a part of another model, which has the keys: of c its `text` or `image` counts, and what clip
 * says of that, dim, act and eps ---- */

/* As clip_prepare, without checking ranges; as clip_declare, the names beginning with `name`. */
bool clip_prepare_text(clip *c, const char *file, err *e);
void clip_declare_text(clip *c, const char *name, param_table *p);
bool clip_prepare_image(clip *c, const char *file, err *e);
void clip_declare_image(clip *c, const char *name, param_table *p);
/* As clip_image, of any length. */
tensor clip_image_projected(run *r, const clip *c, tensor patches);
/* y[b,text_length,width], what the tower's norm gives of its last block's states.  Without dim there is no projection.
 */
tensor clip_text_context(run *r, const clip *c, tensor ids);
/* The same, and *projected[b,dim]: as clip_text, of any length. */
tensor clip_text_all(run *r, const clip *c, tensor ids, const int32_t *ends, tensor *projected);
/* y[b,text_length,width], the states that the last block reads; *projected[b,dim]: as clip_text, of any length. */
tensor clip_text_states(run *r, const clip *c, tensor ids, const int32_t *ends, tensor *projected);
#endif
