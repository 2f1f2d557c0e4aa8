/* Pictures of what a model in training does, and pictures to numbers. */
#ifndef TRAIN_SAMPLES_H
#define TRAIN_SAMPLES_H
#include "models/codec.h"

#define SAMPLES 8 /* in a sample */

/* out[n] = u8 / 255 by the map */
void sample_floats(float *out, const uint8_t *rgb, int64_t n, pixel_map map);
/* The most likely codes [n, cells] of pictures rgb[n,h,w,3]. */
bool sample_encode(run *r, const codec *c, const uint8_t *rgb, int n, int32_t *codes, err *e);
/* rgb[n,h,w,3] of codes [n, cells]. */
bool sample_decode(run *r, const codec *c, const int32_t *codes, int n, uint8_t *rgb, err *e);
/* A PNG: the pictures, and below them what the codec makes of their codes. */
bool sample_reconstructions(run *r, const codec *c, const uint8_t *rgb, int n, const char *path, err *e);
/* A PNG of rows x columns pictures rgb[rows * columns, h, w, 3]. */
bool sample_sheet(const uint8_t *rgb, int rows, int columns, int height, int width, const char *path, err *e);
#endif
