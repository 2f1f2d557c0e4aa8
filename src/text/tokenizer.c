/* The registry of tokenizers. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "text/bpe_split.h"

#define KEY_MODEL "tokenizer.ggml.model"

static const tokenizer_kind *const kinds[] = {&tokenizer_gpt2, &tokenizer_dalle_mini, &tokenizer_clip,
                                              &tokenizer_char_bpe, &tokenizer_yttm};

struct tokenizer {
    const tokenizer_kind *kind;
    void *self;
};

/* NULL with e filled, beginning with where the name stands. */
static const tokenizer_kind *find_kind(const char *where, const char *name, err *e)
{
    char known[256] = "", show[64];
    for (size_t i = 0, at = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!strcmp(kinds[i]->name, name))
            return kinds[i];
        at += (size_t)snprintf(known + at, sizeof known - at, "%s\"%s\"", i ? ", " : "", kinds[i]->name);
    }
    err_set(e, ERR_FAILED, "%s: %s is \"%s\": only %s are known", where, KEY_MODEL,
            bpe_is_utf8(name) ? bpe_excerpt(show, name) : "not UTF-8", known);
    return NULL;
}

tokenizer *tokenizer_from_gguf(const gguf *g, err *e)
{
    const char *name = tokenizer_gpt2.name;
    if (gguf_has(g, KEY_MODEL) && !gguf_get_string(g, KEY_MODEL, &name, e))
        return NULL;
    const tokenizer_kind *kind = find_kind(gguf_name(g), name, e);
    if (!kind)
        return NULL;
    tokenizer *t = calloc(1, sizeof *t);
    if (!t) {
        err_no_memory(e, "tokenizer", sizeof *t);
        return NULL;
    }
    t->kind = kind;
    t->self = kind->open(g, e);
    if (!t->self) {
        free(t);
        return NULL;
    }
    return t;
}

void tokenizer_free(tokenizer *t)
{
    if (!t)
        return;
    t->kind->free(t->self);
    free(t);
}

const char *tokenizer_kind_name(const tokenizer *t)
{
    return t->kind->name;
}

size_t tokenizer_size(const tokenizer *t)
{
    return t->kind->size(t->self);
}

const char *tokenizer_token(const tokenizer *t, int32_t id)
{
    return id >= 0 && (size_t)id < tokenizer_size(t) ? t->kind->token(t->self, id) : NULL;
}

bool tokenizer_encode(const tokenizer *t, const char *text, int32_t **ids, size_t *n, err *e)
{
    return t->kind->encode(t->self, text, ids, n, e);
}

bool tokenizer_import(gguf_writer *w, const char *kind, const char *path, size_t *size, err *e)
{
    const tokenizer_kind *k = find_kind(path, kind, e);
    if (!k)
        return false;
    if (!k->import)
        return err_set(e, ERR_USAGE, "%s: tokenizers of the kind \"%s\" are not imported by path", path, kind);
    gguf_put_string(w, KEY_MODEL, k->name);
    return k->import(w, path, size, e);
}
