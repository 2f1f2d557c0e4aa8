/* A picture of a diffusion model on the device: its latents, what its steps remember, and what its texts are to the
 * U-Net. */
#ifndef GENERATE_DENOISE_H
#define GENERATE_DENOISE_H
#include "generate/sampler.h"
#include "models/transformers/diffusion.h"

typedef struct denoiser {
    const diffusion *d;
    run *r;
    int rows; /* 1, or 2 with guidance; 0: it isn't open */
    unet_memory memory;
    tensor x, clean; /* [1, height, width, latents]: now, and what the picture seems to be */
    tensor kept, history[SAMPLER_HISTORY];
    int newest; /* of history */
} denoiser;

bool denoiser_open(denoiser *n, const diffusion *d, run *r, int rows, err *e);
void denoiser_release(denoiser *n);
/* Reads text[rows,text_length], the prompt first, and begins with these latents[height,width,latents]. */
void denoiser_begin(denoiser *n, const int32_t *text, int rows, const float *latents);
/* What the network says of the latents at the step, with guidance: u + guidance (c - u) of two rows.  It is valid until
 * the run's next work. */
tensor denoiser_ask(denoiser *n, const sampler_step *k, int rows, float guidance);
/* The next latents by what it said.  noise: [height,width,latents], or NULL. */
void denoiser_go_on(denoiser *n, const sampler_step *k, tensor said, const float *noise);
#endif
