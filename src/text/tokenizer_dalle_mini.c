/* The tokenizer of DALL-E Mini and Mega as min-dalle 0.4.11 has it (text_tokenizer.py): emoji as their English names,
 * lower case, ASCII only, BPE of the characters of each word with "Ġ" before it, <s> and </s> around the whole. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/bpe_internal.h"
#include "text/bpe_split.h"
#include "text/clean.h"
#include "text/emoji.h"
#include "text/tokenizer.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_MERGES "tokenizer.ggml.merges"
#define WORD_START "\xC4\xA0" /* Ġ */

typedef struct dalle_mini {
    bpe *b;
    int32_t begin, end, unknown, word_start; /* word_start may be -1: it is then an unknown character */
    int32_t characters[128];                 /* -1: none */
} dalle_mini;

static void free_self(void *self)
{
    dalle_mini *t = self;
    bpe_free(t->b);
    free(t);
}

/* Takes b, also where it fails. */
static dalle_mini *wrap(bpe *b, const char *name, err *e)
{
    static const char *const specials[] = {"<s>", "</s>", "<unk>"};
    dalle_mini *t = b ? calloc(1, sizeof *t) : NULL;
    if (!t) {
        if (b)
            err_no_memory(e, name, sizeof *t);
        bpe_free(b);
        return NULL;
    }
    t->b = b;
    int32_t *ids[] = {&t->begin, &t->end, &t->unknown};
    for (int i = 0; i < 3; i++)
        if ((*ids[i] = bpe_find(b, specials[i])) < 0) {
            err_set(e, ERR_FAILED, "%s: token \"%s\" is missing (is this DALL-E Mini's vocabulary?)", name,
                    specials[i]);
            free_self(t);
            return NULL;
        }
    t->word_start = bpe_find(b, WORD_START);
    for (int c = 0; c < 128; c++)
        t->characters[c] = c ? bpe_find(b, (char[]){(char)c, 0}) : -1;
    return t;
}

static void *open_self(const gguf *g, err *e)
{
    const char *const *tokens, *const *merges;
    size_t n_tokens, n_merges;
    if (!gguf_get_strings(g, KEY_TOKENS, &tokens, &n_tokens, e) ||
        !gguf_get_strings(g, KEY_MERGES, &merges, &n_merges, e))
        return NULL;
    const char *name = gguf_name(g);
    return wrap(bpe_build(name, tokens, n_tokens, name, merges, n_merges, false, false, e), name, e);
}

static size_t size_of(const void *self)
{
    return bpe_size(((const dalle_mini *)self)->b);
}

static const char *token_of(const void *self, int32_t id)
{
    return bpe_token(((const dalle_mini *)self)->b, id);
}

/* Drops what is not ASCII from UTF-8, in place. */
static void keep_ascii(char *text, size_t *bytes)
{
    size_t kept = 0;
    for (size_t at = 0; at < *bytes; at++)
        if ((uint8_t)text[at] < 128)
            text[kept++] = text[at];
    *bytes = kept;
}

/* Emoji as their names, small letters, ASCII alone: a new string.  min-dalle knows no white space but the space: a tab
 * or a line's end is an unknown token there, and an NBSP joins two words.  Here all of it is a space, as in the text
 * processing that the model was trained with (dalle_mini/text.py). */
static char *normalise(const char *text, size_t *bytes, err *e)
{
    char *valid = clean_text(text, bytes, e), *named = valid ? emoji_to_names(valid) : NULL;
    if (valid && !named)
        err_no_memory(e, "text", *bytes);
    char *out = named ? bpe_normalise(named, true, bytes, e) : NULL;
    if (out)
        keep_ascii(out, bytes);
    free(named);
    free(valid);
    return out;
}

/* Appends the ids of a word of ASCII, which has at least a character. */
static bool encode_word(const dalle_mini *t, const char *word, size_t bytes, int32_t *ids, size_t *n, err *e)
{
    int32_t *own = ids + *n;
    size_t count = bytes + 1;
    own[0] = t->word_start;
    for (size_t i = 0; i < bytes; i++)
        own[i + 1] = t->characters[(uint8_t)word[i]];
    if (!bpe_merge(t->b, own, &count, e))
        return false;
    for (size_t i = 0; i < count; i++)
        own[i] = own[i] < 0 ? t->unknown : own[i];
    *n += count;
    return true;
}

static bool encode(const void *self, const char *text, int32_t **ids, size_t *n, err *e)
{
    const dalle_mini *t = self;
    size_t bytes;
    *ids = NULL;
    *n = 0;
    char *in = normalise(text, &bytes, e);
    if (!in)
        return false;
    bool ok = true;
    if (bytes > INT32_MAX / 2)
        ok = err_set(e, ERR_FAILED, "text: %zu bytes are too many for one text (split it)", bytes);
    int32_t *out = ok ? malloc((2 * bytes + 3) * sizeof *out) : NULL; /* a word start for each byte at most */
    if (ok && !out)
        ok = err_no_memory(e, "text", (2 * bytes + 3) * sizeof *out);
    if (ok)
        out[(*n)++] = t->begin;
    for (size_t at = 0, word; ok && at < bytes; at += word + 1) {
        const char *space = memchr(in + at, ' ', bytes - at);
        word = space ? (size_t)(space - (in + at)) : bytes - at;
        ok = !word || encode_word(t, in + at, word, out, n, e);
    }
    free(in);
    if (!ok) {
        free(out);
        *n = 0;
        return false;
    }
    out[(*n)++] = t->end;
    *ids = out;
    return true;
}

/* path: the folder of vocab.json and merges.txt. */
static bool import_folder(gguf_writer *w, const char *path, size_t *size, err *e)
{
    char vocab[4200], merges[4200];
    snprintf(vocab, sizeof vocab, "%s/vocab.json", path);
    snprintf(merges, sizeof merges, "%s/merges.txt", path);
    dalle_mini *t = wrap(bpe_read(vocab, merges, false, false, e), vocab, e);
    if (!t)
        return false;
    gguf_put_strings(w, KEY_TOKENS, (const char *const *)t->b->tokens, t->b->n_tokens);
    gguf_put_strings(w, KEY_MERGES, (const char *const *)t->b->merge_texts, t->b->n_merges);
    *size = t->b->n_tokens;
    free_self(t);
    return true;
}

/* Whether a character that is left out means something: punctuation does not. */
static bool matters(utf8proc_int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k != UTF8PROC_CATEGORY_PC && k != UTF8PROC_CATEGORY_PD && k != UTF8PROC_CATEGORY_PS &&
           k != UTF8PROC_CATEGORY_PE && k != UTF8PROC_CATEGORY_PI && k != UTF8PROC_CATEGORY_PF &&
           k != UTF8PROC_CATEGORY_PO && k != UTF8PROC_CATEGORY_MN && k != UTF8PROC_CATEGORY_CF;
}

/* A letter, a digit or an emoji without a name that isn't ASCII, or an ASCII character that has no token. */
static bool lacks(const void *self, const char *word)
{
    const dalle_mini *t = self;
    char *named = emoji_to_names(word);
    size_t bytes;
    char *low = named ? bpe_normalise(named, true, &bytes, NULL) : NULL;
    bool missing = false;
    for (size_t at = 0; low && at < bytes && !missing;) {
        utf8proc_int32_t c;
        at += (size_t)utf8proc_iterate((const uint8_t *)low + at, (utf8proc_ssize_t)(bytes - at), &c);
        missing = c < 128 ? t->characters[c] < 0 : matters(c);
    }
    free(low);
    free(named);
    return missing;
}

const tokenizer_kind tokenizer_dalle_mini = {"dalle-mini", open_self,     free_self, size_of, token_of,
                                             encode,       import_folder, lacks,     NULL};
