/* A byte-pair tokenizer from the captions of a data set.  Needs no device. */
#ifndef TRAIN_TOKENIZER_H
#define TRAIN_TOKENIZER_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct train_tokenizer_options {
    const char *output; /* a GGUF file with the tokenizer alone */
    const char *const *sources;
    size_t n_sources;
    size_t vocabulary;      /* tokens to make, <pad>, <img> and the 256 bytes among them */
    uint64_t min_frequency; /* of the pairs that are joined */
    bool lowercase;         /* no difference between capital and small letters */
    /* Asked now and then, with the items whose captions were read, of all; false ends it with "interrupted".  Or NULL.
     */
    bool (*progress)(void *context, int64_t done, int64_t total);
    void *context;
} train_tokenizer_options;

bool train_tokenizer(const train_tokenizer_options *o, limn_tokenizer_counts *counts, err *e);
/* Whether the file is a tokenizer and nothing else: one is made again in a moment, and the models that were made with
 * it have their own. */
bool train_is_tokenizer(const char *path);
#endif
