/* Textual inversion (Gal et al. 2022): words that a text encoder has learned as vectors of their own, from files of
 * AUTOMATIC1111's, diffusers' and others' programs. */
#ifndef MODELS_EMBEDDING_H
#define MODELS_EMBEDDING_H
#include "models/model.h"

/* Adds them to m, whose parameters are open and not on the device yet: the words become ids behind its vocabulary,
 * wherever prompts have them.  A file that isn't of m's text encoder is an error. */
bool embedding_add(model *m, const limn_embedding *list, size_t n, err *e);
void embedding_release(model *m);
#endif
