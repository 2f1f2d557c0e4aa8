/* Pictures of what a model in training does. */
#ifndef TRAIN_SAMPLES_H
#define TRAIN_SAMPLES_H
#include "train/train.h"

#define SAMPLES 8 /* in a sample */

/* A PNG: the pictures, and below them what the codec makes of their codes. */
bool sample_reconstructions(run *r, const codec *c, const uint8_t *rgb, int n, const char *path, err *e);
/* A PNG of rows x columns pictures rgb[rows * columns, h, w, 3]. */
bool sample_sheet(const uint8_t *rgb, int rows, int columns, int height, int width, const char *path, err *e);
/* Captions for sample pictures: different ones of the first batch, the same in every start: captions[*n], strings of
 * the caller's.  data is at its beginning then. */
bool sample_choose(dataset *data, char *captions[SAMPLES], int *n, err *e);
/* What a train_run's `sample` may do: with what the model draws with by default, a picture of each caption as one PNG,
 * whose chunk "captions" has a line for each, row by row.  goes_on: asked between codes; false ends it with
 * "interrupted". */
bool sample_captions(device *d, const train_sample *s, bool (*goes_on)(void *context), void *context, err *e);
#endif
