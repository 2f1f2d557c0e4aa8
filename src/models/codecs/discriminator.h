/* A patch discriminator: convolutions whose every output judges one patch of a picture (Isola et al. 2017, "PatchGAN";
 * as Esser et al. 2021 use it, but with group norms, whose sums are of one picture).  For training alone. */
#ifndef MODELS_CODECS_DISCRIMINATOR_H
#define MODELS_CODECS_DISCRIMINATOR_H
#include "weights/params.h"

#define DISCRIMINATOR_LAYERS 6

typedef struct discriminator {
    int layers;                           /* that halve the picture */
    conv down[DISCRIMINATOR_LAYERS];      /* 4 x 4, stride 2 */
    conv same, out;                       /* 4 x 4, stride 1: as many channels as the last of down, and 1 */
    norm norms[DISCRIMINATOR_LAYERS + 1]; /* of down but the first, whose place is empty, and of `same` */
    int groups[DISCRIMINATOR_LAYERS + 1];
} discriminator;

/* For pictures of width x height; `file` is for messages.  d keeps its place while p lives. */
bool discriminator_declare(discriminator *d, const int *channels, int layers, int width, int height, const char *file,
                           param_table *p, err *e);
/* x[b,h,w,3] -> [b,h',w',1]: large where the patch looks real */
tensor discriminator_forward(run *r, const discriminator *d, tensor x);
#endif
