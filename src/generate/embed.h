/* Embeddings by a CLIP. */
#ifndef GENERATE_EMBED_H
#define GENERATE_EMBED_H
#include "models/model.h"

#define EMBED_AT_ONCE 16 /* pictures: a bound for the memory of activations */

/* embedding[dim], on the host, of a row of ids. */
void embed_row(run *r, const clip *c, const int32_t *row, int32_t end, float *embedding);
/* The same of a text, once the weights are there.  what: for messages. */
bool embed_text(model *m, const char *what, const char *text, float *embedding, err *e);
/* out[cells, patch*patch*3] of a picture of any size. */
bool embed_fit(const clip *c, float *out, const uint8_t *rgb, int width, int height, err *e);
#endif
