/* The unigram language model of SentencePiece (Kudo 2018): of all ways to take a text apart into pieces, the one with
 * the largest sum of their log probabilities. */
#ifndef TEXT_UNIGRAM_H
#define TEXT_UNIGRAM_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* As SentencePiece and GGUF number them. */
typedef enum piece_type {
    PIECE_NORMAL = 1,
    PIECE_UNKNOWN, /* for what no piece has */
    PIECE_CONTROL, /* never of a text's characters */
    PIECE_USER,    /* goes before all others */
    PIECE_UNUSED
} piece_type;

typedef struct unigram {
    const char *const *pieces; /* [n]; the caller's, as all of these */
    const float *scores;       /* [n] */
    const int32_t *types;      /* [n], piece_type */
    size_t n;
    int32_t unknown; /* id of PIECE_UNKNOWN */
    int32_t *sorted; /* [n_sorted], ids of the pieces of texts by their bytes */
    size_t n_sorted;
    float lowest, highest; /* scores of those that are normal */
} unigram;

/* Fills what follows from the caller's fields.  A piece that is empty, repeated or not UTF-8, a score that is no
 * number, and that none is unknown or normal, are errors. */
bool unigram_open(unigram *u, const char *name, err *e);
void unigram_release(unigram *u);
/* Appends the ids of text[0..bytes), valid UTF-8, to ids, which has room for `bytes` more than *n.  Characters that no
 * piece has are one `unknown` for all that follow each other. */
bool unigram_encode(const unigram *u, const char *text, size_t bytes, int32_t *ids, size_t *n, err *e);
#endif
