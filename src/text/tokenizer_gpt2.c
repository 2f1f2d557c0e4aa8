/* Byte-level BPE (bpe.h) as a kind of tokenizer. */
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

/* The family that has it reads its files with bpe_from_files. */
const tokenizer_kind tokenizer_gpt2 = {"gpt2", open_bpe, free_bpe, size_of, token_of, encode, NULL, NULL};
