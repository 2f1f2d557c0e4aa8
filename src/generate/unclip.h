/* A picture of unCLIP on the device: its text and embedding, what each of its stages draws, and what their networks
 * keep.  A stage begins with noise, and its steps go on from there. */
#ifndef GENERATE_UNCLIP_H
#define GENERATE_UNCLIP_H
#include "generate/sampler.h"
#include "models/transformers/unclip.h"

typedef struct unclip_drawing {
    const unclip *u;
    run *r;
    int rows; /* 1, or 2 with guidance; 0: it isn't open */
    prior_memory prior;
    unet_memory decoder, super[2]; /* the second is empty where the first serves both */
    tensor states, texts;          /* [rows, text_length, width], [rows, dim] of the texts */
    int lengths[2];                /* of these, in tokens */
    tensor embedding;              /* [1, dim]: noisy while the prior draws it */
    tensor x[2], low;              /* [1, height, width, 3]: small and large pictures, and the small one enlarged */
    tensor clean;                  /* [1, height, width, 3]: what the picture seems to be */
} unclip_drawing;

bool unclip_drawing_open(unclip_drawing *w, const unclip *u, run *r, int rows, err *e);
void unclip_drawing_release(unclip_drawing *w);

/* Reads text[rows,text_length], the prompt first. */
void unclip_drawing_read(unclip_drawing *w, const int32_t *text, int rows);
/* Begins a stage with noise of its shape: [dim] of the prior, which needs texts; [height,width,3] of pictures. */
void unclip_drawing_begin(unclip_drawing *w, unclip_stage stage, int rows, const float *noise);
/* A step of it, `last` its last one.  noise: of its shape, or NULL. */
void unclip_drawing_step(unclip_drawing *w, unclip_stage stage, const sampler_step *k, bool last, int rows,
                         float guidance, const float *noise);
/* What follows a stage, or comes in its place: the prior's embedding as CLIP has it; embedding[dim] itself; the small
 * picture, enlarged. */
void unclip_drawing_end_prior(unclip_drawing *w);
void unclip_drawing_put(unclip_drawing *w, const float *embedding);
bool unclip_drawing_enlarge(unclip_drawing *w, err *e);
#endif
