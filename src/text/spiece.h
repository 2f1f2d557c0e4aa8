/* SentencePiece's model files (sentencepiece_model.proto), as far as tokenizers need them. */
#ifndef TEXT_SPIECE_H
#define TEXT_SPIECE_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct spiece_piece {
    char *text;
    float score;
    int type; /* piece_type of unigram.h */
} spiece_piece;

typedef struct spiece {
    spiece_piece *pieces;
    size_t n, capacity;
    uint8_t *chars; /* [chars_size], precompiled_charsmap: charsmap.h */
    size_t chars_size;
    int model_type; /* 1: unigram */
    bool add_prefix, one_space;
} spiece;

/* A unigram model; of another kind, or damaged, it is an error that names `name`. */
bool spiece_read(spiece *s, const void *data, size_t size, const char *name, err *e);
/* The same of HuggingFace's tokenizer.json, with the tokens that texts name: spiece_json.c. */
bool spiece_read_json(spiece *s, const char *path, err *e);
void spiece_release(spiece *s);
#endif
