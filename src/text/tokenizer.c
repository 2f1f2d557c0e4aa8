/* The registry of tokenizers. */
#include "text/tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "text/bpe_split.h"
#include "text/clean.h"

#define KEY_MODEL "tokenizer.ggml.model"

static const tokenizer_kind *const kinds[] = {&tokenizer_gpt2,     &tokenizer_dalle_mini, &tokenizer_clip,
                                              &tokenizer_char_bpe, &tokenizer_yttm,       &tokenizer_t5};

enum { WARNED = 16 };

struct tokenizer {
    const tokenizer_kind *kind;
    void *self;
    uint64_t warned[WARNED]; /* hashes of the texts that were warned of last */
    unsigned n_warned;
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

bool tokenizer_drops(const tokenizer *t)
{
    return t->kind->encode_dropout;
}

bool tokenizer_encode_dropout(const tokenizer *t, const char *text, const bpe_dropout *d, int32_t **ids, size_t *n,
                              err *e)
{
    return tokenizer_drops(t) ? t->kind->encode_dropout(t->self, text, d, ids, n, e)
                              : tokenizer_encode(t, text, ids, n, e);
}

int32_t tokenizer_find(const tokenizer *t, const char *token)
{
    for (size_t i = 0; i < tokenizer_size(t); i++) {
        const char *own = tokenizer_token(t, (int32_t)i);
        if (own && !strcmp(own, token))
            return (int32_t)i;
    }
    return -1;
}

/* ---- what can't be said -------------------------------------------------------------------------------------- */

/* Adds a word to the list, shortened, or a last "…". */
static void list_word(char list[200], const char *word)
{
    size_t at = strlen(list), n = strlen(word);
    if (at >= 3 && strcmp(list + at - 3, "\u2026") == 0)
        return;
    if (at > 200 - 60) {
        strcpy(list + at, ", \u2026");
        return;
    }
    n = n < 40 ? n : 40;
    while ((word[n] & 0xC0) == 0x80) /* not within a character */
        n--;
    sprintf(list + at, "%s%.*s%s", at ? ", " : "", (int)n, word, word[n] ? "-" : "");
}

bool tokenizer_check(const tokenizer *t, const char *text, tokenizer_report *r, err *e)
{
    int32_t *ids = NULL, *none = NULL;
    size_t bytes, n = 0, n_none = 0;
    *r = (tokenizer_report){0};
    char *clean = clean_text(text, &bytes, e);
    for (char *word = clean, *next; word && *word; word = next) {
        size_t length = strcspn(word, " ");
        next = word + length + (word[length] == ' ');
        word[length] = 0;
        r->words++;
        if (t->kind->lacks && t->kind->lacks(t->self, word)) {
            r->unknown++;
            list_word(r->list, word);
        }
    }
    bool ok = clean != NULL;
    if (ok && r->unknown > 0 && r->unknown == r->words) {
        ok = tokenizer_encode(t, text, &ids, &n, e) && tokenizer_encode(t, "", &none, &n_none, e);
        r->vanishes = ok && n == n_none && (n == 0 || !memcmp(ids, none, n * sizeof *ids));
    }
    free(ids);
    free(none);
    free(clean);
    return ok;
}

/* Whether the text was warned of already; from now on it was. */
static bool warned_of(tokenizer *t, const char *text)
{
    uint64_t h = hash_bytes(HASH_BEGIN, text, strlen(text));
    for (unsigned i = 0; i < WARNED && i < t->n_warned; i++)
        if (t->warned[i] == h)
            return true;
    t->warned[t->n_warned++ % WARNED] = h;
    return false;
}

void tokenizer_warn(tokenizer *t, const char *name, const char *text)
{
    tokenizer_report r;
    if (!*text || !tokenizer_check(t, text, &r, NULL) || (r.words > 0 && r.unknown == 0) || warned_of(t, text))
        return;
    if (r.words == 0)
        log_write(LOG_WARNING, "text: it has nothing but white space, and counts as empty");
    else
        log_write(LOG_WARNING, "%s: %zu of %zu word%s %s in this model's vocabulary: %s (%s)", name, r.unknown, r.words,
                  r.words == 1 ? "" : "s", r.unknown == 1 ? "isn't" : "aren't", r.list,
                  r.vanishes ? "none of the text is left: it is read as if it were empty"
                             : "the model can't read them");
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
