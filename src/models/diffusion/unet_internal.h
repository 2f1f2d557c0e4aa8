/* Between the files of the U-Net alone. */
#ifndef MODELS_DIFFUSION_UNET_INTERNAL_H
#define MODELS_DIFFUSION_UNET_INTERNAL_H
#include "models/diffusion/unet.h"

/* A side of what has been halved `level` times. */
static inline int unet_side(int side, int level)
{
    for (int i = 0; i < level; i++)
        side = (side + 1) / 2;
    return side;
}

/* The first b rows of a tensor that is kept, or the one row that stands for all. */
static inline tensor unet_rows(tensor t, int64_t b)
{
    return tensor_rows(t, 0, b < t.shape[0] ? b : t.shape[0]);
}

/* ---- unet_pixels.c: what the U-Nets of unCLIP have in place of the others' ---- */

/* y[rows,n], each row x[1,n] */
tensor unet_repeated(run *r, tensor x, int64_t rows);
/* As those of unet.c: a ResNet block that time scales and shifts, or that resamples; attention. */
tensor unet_resample(run *r, const unet *u, const unet_memory *m, const unet_resnet *b, tensor x);
tensor unet_joint_attention(run *r, const unet *u, const unet_memory *m, const unet_transformer *t, tensor x);
/* What joint attention keeps, and what it reads of a text. */
bool unet_joint_open(unet_memory *m, const unet *u, device *d, int height, int width, int text, err *e);
void unet_joint_read(run *r, const unet *u, const unet_memory *m, tensor states, const int *lengths);
#endif
