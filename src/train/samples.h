/* Pictures of what a model in training does. */
#ifndef TRAIN_SAMPLES_H
#define TRAIN_SAMPLES_H
#include "models/codecs/codec.h"

#define SAMPLES 8 /* in a sample */

/* A PNG: the pictures, and below them what the codec makes of their codes. */
bool sample_reconstructions(run *r, const codec *c, const uint8_t *rgb, int n, const char *path, err *e);
/* A PNG of rows x columns pictures rgb[rows * columns, h, w, 3]. */
bool sample_sheet(const uint8_t *rgb, int rows, int columns, int height, int width, const char *path, err *e);
#endif
