/* Byte-level BPE (bpe.h) as a kind of tokenizer. */
#include <stdlib.h>
#include <string.h>

#include "text/bpe.h"
#include "text/tokenizer.h"

static void *open_bpe(const gguf *g, err *e)
{
    return bpe_from_gguf(g, e);
}

static void free_bpe(void *self)
{
    bpe_free(self);
}

static size_t size_of(const void *self)
{
    return bpe_size(self);
}

static const char *token_of(const void *self, int32_t id)
{
    return bpe_token(self, id);
}

static bool encode(const void *self, const char *text, int32_t **ids, size_t *n, err *e)
{
    return bpe_encode(self, text, ids, n, e);
}

/* Bytes can say everything, but a word of other letters than English ones that falls into single bytes throughout was
 * in no text that the vocabulary was made of. */
static bool lacks(const void *self, const char *word)
{
    int32_t *ids = NULL;
    size_t n = 0, bytes = strlen(word);
    bool other = false;
    for (const char *c = word; *c; c++)
        other = other || *c & 0x80;
    bool alone = other && bpe_encode(self, word, &ids, &n, NULL) && n == bytes;
    free(ids);
    return alone;
}

static bool encode_dropout(const void *self, const char *text, const bpe_dropout *d, int32_t **ids, size_t *n, err *e)
{
    return bpe_encode_dropout(self, text, d, ids, n, e);
}

/* The family that has it reads its files with bpe_from_files. */
const tokenizer_kind tokenizer_gpt2 = {"gpt2", open_bpe, free_bpe, size_of,       token_of,
                                       encode, NULL,     lacks,    encode_dropout};
