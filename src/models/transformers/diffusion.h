/* Latent diffusion (Rombach et al. 2022), as Stable Diffusion has it: CLIP's text tower reads the prompt, and a U-Net,
 * which attends to its states, takes the noise out of latents, in some steps (generate/sampler.h).  It draws no codes:
 * the codec of its file decodes latents. */
#ifndef MODELS_TRANSFORMERS_DIFFUSION_H
#define MODELS_TRANSFORMERS_DIFFUSION_H
#include "models/diffusion/schedule.h"
#include "models/diffusion/unet.h"
#include "models/transformers/clip.h"
#include "models/transformers/transformer.h"

typedef struct diffusion {
    transformer base; /* its grid is latents.out numbers wider than `width` */
    clip text;
    unet net;
    schedule noise;
    int width, height; /* of the latents */
} diffusion;

void diffusion_free(diffusion *d);

/* For those who make model files: checks the hyper-parameters (`file` is for messages) and fills what of `base` and
 * `text` follows from them; declares the parameters; writes the keys that transformer_diffusion.open reads. */
bool diffusion_prepare(diffusion *d, const char *file, err *e);
void diffusion_declare(diffusion *d, param_table *p);
void diffusion_put(const diffusion *d, gguf_writer *w);
extern const transformer_kind transformer_diffusion;

/* Writes that pictures may have any sides that are multiples of `step` pixels, those of a latent. */
void diffusion_put_step(int step, gguf_writer *w);
/* The step of a file; 0: it isn't one of these. */
bool diffusion_read_step(const gguf *g, int *step, err *e);

static inline const diffusion *diffusion_of(const transformer *t)
{
    return t && t->kind == &transformer_diffusion ? (const diffusion *)t : NULL;
}

/* text_row of kinds whose text is read by the tower of a CLIP, with padding behind the end token. */
bool diffusion_text_row(const transformer *base, const clip *c, const int32_t *ids, size_t n, int32_t *row,
                        size_t *used, err *e);
#endif
