/* unCLIP's golden instance, a tiny Karlo in its diffusers folders (data/golden/README.md). */
#ifndef TESTS_GOLDEN_UNCLIP_H
#define TESTS_GOLDEN_UNCLIP_H
#include "golden_npz.h"

#define GOLDEN_UNCLIP TEST_DATA "/golden/unclip/"

/* An array of GOLDEN_UNCLIP "reference.npz"; pictures become [b,h,w,c]. */
npy golden_unclip_floats(golden_npz *golden, const char *name);
/* The picture that is read there, u8 [height,width,3], a new array. */
uint8_t *golden_unclip_rgb(golden_npz *golden, int *width, int *height);
/* Fails the test unless all differ by less than tolerance of the largest wanted. */
void golden_unclip_close(const float *have, const float *want, int64_t n, double tolerance, const char *what);
/* A model of its folders, with or without the prior and the image encoder. */
model *golden_unclip_open(device *dev, const char *name, bool imagines, bool sees);
#endif
