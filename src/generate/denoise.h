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
    /* of painting: [1, height, width, …]: 1 where latents are painted anew, and the others' own latents and noise; or,
     * of networks that read them, what stands behind the latents.  Empty: all is painted. */
    tensor mask, stays, noise, behind;
} denoiser;

bool denoiser_open(denoiser *n, const diffusion *d, run *r, int rows, err *e);
void denoiser_release(denoiser *n);
/* Reads text[rows,text_length], the prompt first, and begins with these latents[height,width,latents]. */
void denoiser_begin(denoiser *n, const int32_t *text, int rows, const float *latents);
/* What the network says of the latents at the step, with guidance: u + guidance (c - u) of two rows.  It is valid until
 * the run's next work. */
tensor denoiser_ask(denoiser *n, const sampler_step *k, int rows, float guidance);
/* What of the picture is painted anew: mask[height,width], and the picture's latents and noise[height,width,latents],
 * or the network's further channels, behind[height,width,…]. */
void denoiser_paint(denoiser *n, const float *mask, const float *latents, const float *noise);
void denoiser_put_behind(denoiser *n, const float *behind);
/* What stays is as it was, with noise: of latents and noise so much. */
void denoiser_blend(denoiser *n, float latents, float noise);
/* The next latents by what it said.  noise: [height,width,latents], or NULL. */
void denoiser_go_on(denoiser *n, const sampler_step *k, tensor said, const float *noise);
#endif
