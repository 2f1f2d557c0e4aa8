/* unCLIP (Ramesh et al. 2022), as Karlo has it: CLIP's text tower reads the prompt, a prior draws the CLIP embedding
 * that a picture of it would have, and a decoder draws a small picture of the embedding and the text, which two
 * networks enlarge, one for all steps but the last.  All draw by steps (generate/sampler.h), and all but the prior draw
 * pixels.  Instead of a prior's the embedding may be that of a picture, by CLIP's image tower: then pictures are
 * variations of it. */
#ifndef MODELS_TRANSFORMERS_UNCLIP_H
#define MODELS_TRANSFORMERS_UNCLIP_H
#include "models/diffusion/prior.h"
#include "models/diffusion/schedule.h"
#include "models/diffusion/unet.h"
#include "models/transformers/clip.h"
#include "models/transformers/transformer.h"

/* What draws, one after the other. */
typedef enum unclip_stage { UNCLIP_PRIOR, UNCLIP_DECODER, UNCLIP_SUPER, UNCLIP_STAGES } unclip_stage;
extern const char *const unclip_stage_names[UNCLIP_STAGES]; /* of keys: "prior", "decoder", "super" */

/* What an embedding and a text are to the decoder. */
typedef struct unclip_context {
    int tokens;         /* that the embedding becomes */
    tensor none;        /* [dim]: what stands for no embedding, for guidance */
    linear text, image; /* embeddings to what is added to the time */
    linear extra;       /* the embedding to tokens: number i of token j is row i tokens + j */
    linear states;      /* the text's states, which follow these */
    norm norm;          /* of the states */
} unclip_context;

typedef struct unclip {
    transformer base; /* its grid is `width` pixels wide, of 3 numbers */
    clip text;        /* and, with `sees`, the image tower */
    bool imagines;    /* it has a prior: it draws what a text says */
    bool sees;        /* it has CLIP's image tower: it draws variations */
    prior prior;
    unclip_context context;
    unet decoder, super[2]; /* the second for the last step */
    schedule noise[UNCLIP_STAGES];
    int steps[UNCLIP_STAGES]; /* by default; the decoder's are base.steps */
    float prior_guidance;
    int width, height, small_width, small_height; /* of pictures, and of those that the decoder draws */
} unclip;

void unclip_free(unclip *u);

/* For those who make model files: checks the hyper-parameters (`file` is for messages) and fills what follows from
 * them; declares the parameters; writes the keys that transformer_unclip.open reads. */
bool unclip_prepare(unclip *u, const char *file, err *e);
void unclip_declare(unclip *u, param_table *p);
void unclip_put(const unclip *u, gguf_writer *w);
extern const transformer_kind transformer_unclip;

static inline const unclip *unclip_of(const transformer *t)
{
    return t && t->kind == &transformer_unclip ? (const unclip *)t : NULL;
}

/* How many ids of a row [text_length] are its text, and the position of the token that stands for all of it. */
int unclip_text_length(const unclip *u, const int32_t *row);
int unclip_text_end(const unclip *u, const int32_t *row);

/* What the decoder reads of a text's embedding and a picture's, each [b,dim], beside the text's states: what is added
 * to the time, [b,4 channels], and the context[b,tokens + text_length,width]. */
tensor unclip_add_time(run *r, const unclip *u, tensor text, tensor image);
tensor unclip_read_context(run *r, const unclip *u, tensor image, tensor states);
#endif
