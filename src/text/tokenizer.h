/* Tokenizers of every kind: text to ids and back.  One file per kind, and one line of the registry in tokenizer.c. */
#ifndef TEXT_TOKENIZER_H
#define TEXT_TOKENIZER_H
#include <stdint.h>

#include "base/err.h"
#include "io/gguf.h"
#include "text/bpe.h"

typedef struct tokenizer tokenizer;

/* What a kind is.  `self` is what open returned. */
typedef struct tokenizer_kind {
    const char *name; /* the value of tokenizer.ggml.model; for byte-level BPE "gpt2", as other programs have it */
    void *(*open)(const gguf *g, err *e);
    void (*free)(void *self);
    size_t (*size)(const void *self);
    const char *(*token)(const void *self, int32_t id); /* id is in range */
    bool (*encode)(const void *self, const char *text, int32_t **ids, size_t *n, err *e);
    /* Reads the published files at a path, checks them, and writes the keys that open reads (not the name's).
     * *size is the number of ids.  NULL for a kind that has its own importer. */
    bool (*import)(gguf_writer *w, const char *path, size_t *size, err *e);
    /* Whether the vocabulary lacks something of a word, of valid UTF-8 without white space.  NULL where it
     * can say everything. */
    bool (*lacks)(const void *self, const char *word);
    /* encode with BPE dropout (bpe.h), or NULL. */
    bool (*encode_dropout)(const void *self, const char *text, const bpe_dropout *d, int32_t **ids, size_t *n, err *e);
} tokenizer_kind;

extern const tokenizer_kind tokenizer_gpt2, tokenizer_dalle_mini, tokenizer_clip, tokenizer_char_bpe, tokenizer_yttm,
    tokenizer_t5;

/* By tokenizer.ggml.model; a file without that key has byte-level BPE.  An unknown kind is an error that lists those
 * that are known. */
tokenizer *tokenizer_from_gguf(const gguf *g, err *e);
void tokenizer_free(tokenizer *t);

const char *tokenizer_kind_name(const tokenizer *t);
size_t tokenizer_size(const tokenizer *t);
/* As the vocabulary has it; NULL where id is out of range. */
const char *tokenizer_token(const tokenizer *t, int32_t id);
/* The id whose token that is, or -1. */
int32_t tokenizer_find(const tokenizer *t, const char *token);
/* *ids is a new array (free it) of *n ids, without padding, and with the start and end ids that the kind puts around
 * every text.  Text is UTF-8; invalid bytes are an error that gives the position. */
bool tokenizer_encode(const tokenizer *t, const char *text, int32_t **ids, size_t *n, err *e);
/* The same with BPE dropout; of a kind that has none (tokenizer_drops) without. */
bool tokenizer_encode_dropout(const tokenizer *t, const char *text, const bpe_dropout *d, int32_t **ids, size_t *n,
                              err *e);
bool tokenizer_drops(const tokenizer *t);

/* What of a text the vocabulary can't say: words (between white space), and how many and which of them. */
typedef struct tokenizer_report {
    size_t words, unknown;
    bool vanishes;  /* the ids are those of an empty text, and the text has words */
    char list[200]; /* the first of them: "кот, шляпе, …" */
} tokenizer_report;
/* False with e filled where the text is no UTF-8, or memory is short. */
bool tokenizer_check(const tokenizer *t, const char *text, tokenizer_report *r, err *e);
/* Logs a warning of what can't be said, once for each text, and of a text that is white space alone.  name: whose
 * vocabulary it is. */
void tokenizer_warn(tokenizer *t, const char *name, const char *text);

/* Called by the importers of model families: writes the tokenizer at `path` (a folder, or the kind's one file) under
 * tokenizer.*.  Too many ids for the transformer are the caller's to refuse: *size is their number. */
bool tokenizer_import(gguf_writer *w, const char *kind, const char *path, size_t *size, err *e);
/* For those who make files with a "clip": its texts are composed (NFC) and not repaired, as transformers reads them. */
void tokenizer_clip_as_is(gguf_writer *w);
/* This token's text is it wherever it stands, as if it were alone: what transformers' CLIPTokenizer makes of the token
 * that it pads with. */
void tokenizer_clip_apart(gguf_writer *w, int id);
/* The id of [PAD] in the files of a "char-bpe", which the text's end is filled up with. */
bool tokenizer_char_bpe_pad(const char *path, int *id, err *e);
#endif
