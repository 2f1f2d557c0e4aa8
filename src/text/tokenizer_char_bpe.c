/* minDALL-E's tokenizer: HuggingFace's CharBPETokenizer with lowercase=True (Sennrich et al. 2016 on characters).  Text
 * is cleaned and split as BERT's, lower-cased, and each word merged from its characters, the last of which has "</w>".
 * As there, a text's ids end after 64; the padding is the transformer's business. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/log.h"
#include "text/bpe_internal.h"
#include "text/bpe_split.h"
#include "text/clean.h"
#include "text/tokenizer.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_MERGES "tokenizer.ggml.merges"
#define KEY_LENGTH "limn.tokenizer.length"
#define WORD_END   "</w>"
#define LENGTH     64 /* context_length of the published configuration */

static const char *const specials[2] = {"[UNK]", "[PAD]"}; /* which text may spell, too */

typedef struct char_bpe {
    bpe *b;
    int32_t special_ids[2];
    size_t length; /* most ids of a text */
} char_bpe;

static void free_self(void *self)
{
    char_bpe *t = self;
    bpe_free(t->b);
    free(t);
}

/* Takes b, also where it fails. */
static char_bpe *wrap(bpe *b, size_t length, const char *name, err *e)
{
    char_bpe *t = b ? calloc(1, sizeof *t) : NULL;
    if (!t) {
        if (b)
            err_no_memory(e, name, sizeof *t);
        bpe_free(b);
        return NULL;
    }
    t->b = b;
    t->length = length;
    for (int i = 0; i < 2; i++)
        if ((t->special_ids[i] = bpe_find(b, specials[i])) < 0) {
            err_set(e, ERR_FAILED, "%s: token \"%s\" is missing (is this minDALL-E's vocabulary?)", name, specials[i]);
            free_self(t);
            return NULL;
        }
    return t;
}

static void *open_self(const gguf *g, err *e)
{
    const char *const *tokens, *const *merges, *name = gguf_name(g);
    size_t n_tokens, n_merges;
    int64_t length;
    if (!gguf_get_strings(g, KEY_TOKENS, &tokens, &n_tokens, e) ||
        !gguf_get_strings(g, KEY_MERGES, &merges, &n_merges, e) || !gguf_get_int(g, KEY_LENGTH, 1, 1 << 20, &length, e))
        return NULL;
    return wrap(bpe_build(name, tokens, n_tokens, name, merges, n_merges, false, true, e), (size_t)length, name, e);
}

static size_t size_of(const void *self)
{
    return bpe_size(((const char_bpe *)self)->b);
}

static const char *token_of(const void *self, int32_t id)
{
    return bpe_token(((const char_bpe *)self)->b, id);
}

/* ---- words ---- */

typedef enum char_kind { PART, SPACE, ALONE, NOTHING } char_kind;

static bool is_chinese(utf8proc_int32_t c)
{
    static const utf8proc_int32_t ranges[][2] = {{0x4E00, 0x9FFF},   {0x3400, 0x4DBF},   {0x20000, 0x2A6DF},
                                                 {0x2A700, 0x2B73F}, {0x2B740, 0x2B81F}, {0x2B920, 0x2CEAF},
                                                 {0xF900, 0xFAFF},   {0x2F800, 0x2FA1F}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i][0] && c <= ranges[i][1])
            return true;
    return false;
}

/* What BERT's cleaning and splitting do with a character: ASCII that is no letter and no digit stands alone, and so do
 * other scripts' punctuation and Chinese characters; control characters vanish. */
static char_kind kind_of(utf8proc_int32_t c)
{
    if (c == '\t' || c == '\n' || c == '\r')
        return SPACE;
    if (c < 128)
        return c < 32 || c == 127                                                           ? NOTHING
               : c == ' '                                                                   ? SPACE
               : (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ? PART
                                                                                            : ALONE;
    if (c == 0xFFFD)
        return NOTHING;
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_CO:
        return NOTHING;
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return SPACE;
    case UTF8PROC_CATEGORY_PC:
    case UTF8PROC_CATEGORY_PD:
    case UTF8PROC_CATEGORY_PS:
    case UTF8PROC_CATEGORY_PE:
    case UTF8PROC_CATEGORY_PI:
    case UTF8PROC_CATEGORY_PF:
    case UTF8PROC_CATEGORY_PO:
        return ALONE;
    default:
        return is_chinese(c) ? ALONE : PART;
    }
}

/* The character's id, -1 where it has none. */
static int32_t char_id(const char_bpe *t, utf8proc_int32_t c, bool last)
{
    char text[4 + sizeof WORD_END];
    size_t k = (size_t)utf8proc_encode_char(c, (uint8_t *)text);
    strcpy(text + k, last ? WORD_END : "");
    return bpe_find(t->b, text);
}

/* Appends the ids of a word of at least a character; `word` is changed. */
static bool encode_word(const char_bpe *t, utf8proc_int32_t *word, size_t count, int32_t *ids, size_t *n, err *e)
{
    int32_t *own = ids + *n;
    for (size_t i = 0; i < count; i++)
        own[i] = char_id(t, word[i], i + 1 == count);
    if (!bpe_merge(t->b, own, &count, e))
        return false;
    for (size_t i = 0; i < count; i++)
        own[i] = own[i] < 0 ? t->special_ids[0] : own[i];
    *n += count;
    return true;
}

/* Appends the ids of text without specials.  word: room for its characters. */
static bool encode_plain(const char_bpe *t, const char *text, utf8proc_int32_t *word, int32_t *ids, size_t *n, err *e)
{
    size_t bytes, count = 0;
    char *low = bpe_normalise(text, true, &bytes, e);
    bool ok = low;
    for (size_t at = 0; ok && at < bytes;) {
        utf8proc_int32_t c;
        at += (size_t)utf8proc_iterate((const uint8_t *)low + at, (utf8proc_ssize_t)(bytes - at), &c);
        char_kind kind = kind_of(c);
        if ((kind == SPACE || kind == ALONE) && count) {
            ok = encode_word(t, word, count, ids, n, e);
            count = 0;
        }
        if (ok && kind == ALONE)
            ok = encode_word(t, &c, 1, ids, n, e);
        if (kind == PART)
            word[count++] = c;
    }
    if (ok && count)
        ok = encode_word(t, word, count, ids, n, e);
    free(low);
    return ok;
}

static bool encode(const void *self, const char *text, int32_t **ids, size_t *n, err *e)
{
    const char_bpe *t = self;
    size_t bytes;
    *ids = NULL;
    *n = 0;
    char *in = clean_compose(text, &bytes, e);
    if (!in)
        return false;
    bool ok = bytes <= INT32_MAX || err_set(e, ERR_FAILED, "text: %zu bytes are too many (split it)", bytes);
    size_t room = bytes + 1; /* lower-casing makes no more characters than there were bytes */
    int32_t *out = ok ? malloc(room * sizeof *out) : NULL;
    utf8proc_int32_t *word = ok ? malloc(room * sizeof *word) : NULL;
    if (ok && (!out || !word))
        ok = err_no_memory(e, "text", room * sizeof *out);
    for (char *at = in; ok && *at;) {
        char *first[2] = {strstr(at, specials[0]), strstr(at, specials[1])};
        int which = first[1] && (!first[0] || first[1] < first[0]);
        char *special = first[which];
        if (special)
            *special = 0;
        ok = encode_plain(t, at, word, out, n, e);
        at += special ? (size_t)(special - at) + strlen(specials[which]) : strlen(at);
        if (ok && special)
            out[(*n)++] = t->special_ids[which];
    }
    free(word);
    free(in);
    if (!ok || !*n) {
        free(out);
        *n = 0;
        return ok;
    }
    if (*n > t->length) {
        log_write(LOG_WARNING, "prompt: %zu tokens, and the model takes %zu: the end is cut off", *n, t->length);
        *n = t->length;
    }
    *ids = out;
    return true;
}

/* ---- files ---- */

/* path: the folder of bpe-16k-vocab.json and bpe-16k-merges.txt, or of vocab.json and merges.txt. */
static char_bpe *read_folder(const char *path, err *e)
{
    char vocab[4200], merges[4200];
    snprintf(vocab, sizeof vocab, "%s/bpe-16k-vocab.json", path);
    snprintf(merges, sizeof merges, "%s/bpe-16k-merges.txt", path);
    if (access(vocab, R_OK) != 0) {
        snprintf(vocab, sizeof vocab, "%s/vocab.json", path);
        snprintf(merges, sizeof merges, "%s/merges.txt", path);
    }
    return wrap(bpe_read(vocab, merges, false, true, e), LENGTH, vocab, e);
}

static bool import_folder(gguf_writer *w, const char *path, size_t *size, err *e)
{
    char_bpe *t = read_folder(path, e);
    if (!t)
        return false;
    gguf_put_strings(w, KEY_TOKENS, (const char *const *)t->b->tokens, t->b->n_tokens);
    gguf_put_strings(w, KEY_MERGES, (const char *const *)t->b->merge_texts, t->b->n_merges);
    gguf_put_int(w, KEY_LENGTH, LENGTH);
    *size = t->b->n_tokens;
    free_self(t);
    return true;
}

bool tokenizer_char_bpe_pad(const char *path, int *id, err *e)
{
    char_bpe *t = read_folder(path, e);
    if (!t)
        return false;
    *id = t->special_ids[1];
    free_self(t);
    return true;
}

static bool lacks(const void *self, const char *text)
{
    const char_bpe *t = self;
    size_t n = 0, room = strlen(text) + 1;
    int32_t *ids = malloc(room * sizeof *ids);
    utf8proc_int32_t *word = malloc(room * sizeof *word);
    bool missing = false;
    if (ids && word && encode_plain(t, text, word, ids, &n, NULL))
        for (size_t i = 0; i < n && !missing; i++)
            missing = ids[i] == t->special_ids[0];
    free(word);
    free(ids);
    return missing;
}

const tokenizer_kind tokenizer_char_bpe = {"char-bpe", open_self,     free_self, size_of, token_of,
                                           encode,     import_folder, lacks,     NULL};
