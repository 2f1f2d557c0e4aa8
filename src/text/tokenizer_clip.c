/* CLIP's BPE (OpenAI's SimpleTokenizer, as dalle-pytorch 1.6.6 uses it: no start and end ids).  Bytes in GPT-2's
 * alphabet, the last of each piece with "</w>", then merges by rank.  Before that the text is cleaned. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>
#include <zlib.h>

#include "io/json_file.h"
#include "text/bpe_internal.h"
#include "text/bpe_split.h"
#include "text/clean.h"
#include "text/fix.h"
#include "text/tokenizer.h"

#define KEY_MERGES "tokenizer.ggml.merges"
#define KEY_AS_IS  "limn.tokenizer.as_is"
#define KEY_APART  "limn.tokenizer.apart_id"
#define N_MERGES   48894 /* what SimpleTokenizer reads of its longer file */

typedef struct clip_bpe {
    bpe *b;
    int32_t inner[256], last[256]; /* the id of a byte, and of one that ends a piece */
    int apart;                     /* the id of a token whose text is always it, as if alone; -1: there is none */
    bool as_is;                    /* text isn't repaired, but composed alone, as transformers' CLIPTokenizer has it */
} clip_bpe;

static void free_self(void *self)
{
    clip_bpe *t = self;
    bpe_free(t->b);
    free(t);
}

/* The order of the ids: the printable bytes first, as bytes_to_unicode lists them. */
static int byte_at(int place)
{
    return place < 94    ? '!' + place
           : place < 106 ? 0xA1 + place - 94
           : place < 188 ? 0xAE + place - 106
           : place < 221 ? place - 188
           : place < 255 ? 0x7F + place - 221
                         : 0xAD;
}

static clip_bpe *build(const char *name, const char *const *merges, size_t n, err *e)
{
    size_t bytes = 0, count = 512 + n + 2;
    for (size_t i = 0; i < n; i++)
        bytes += strlen(merges[i]) + 1;
    clip_bpe *t = calloc(1, sizeof *t);
    const char **tokens = calloc(count, sizeof *tokens);
    char *text = malloc(bytes + 512 * 8), *at = text;
    if (!t || !tokens || !text) {
        err_no_memory(e, name, bytes);
        goto done;
    }
    for (int i = 0; i < 512; i++) {
        tokens[i] = at;
        at += utf8proc_encode_char(bpe_byte_to_char((uint8_t)byte_at(i % 256)), (uint8_t *)at);
        at += sprintf(at, "%s", i < 256 ? "" : "</w>") + 1;
        (i < 256 ? t->inner : t->last)[byte_at(i % 256)] = i;
    }
    for (size_t i = 0; i < n; i++) {
        tokens[512 + i] = at;
        for (const char *c = merges[i]; *c; c++)
            if (*c != ' ')
                *at++ = *c;
        *at++ = 0;
    }
    tokens[512 + n] = "<|startoftext|>";
    tokens[513 + n] = "<|endoftext|>";
    t->b = bpe_build(name, tokens, count, name, merges, n, false, true, e);
done:
    free(tokens);
    free(text);
    if (t && !t->b) {
        free(t);
        t = NULL;
    }
    return t;
}

static void *open_self(const gguf *g, err *e)
{
    const char *const *merges;
    size_t n;
    bool as_is = false;
    int64_t apart = -1;
    if (!gguf_get_strings(g, KEY_MERGES, &merges, &n, e) ||
        (gguf_has(g, KEY_AS_IS) && !gguf_get_bool(g, KEY_AS_IS, &as_is, e)) ||
        (gguf_has(g, KEY_APART) && !gguf_get_int(g, KEY_APART, 0, 511 + (int64_t)n, &apart, e)))
        return NULL;
    clip_bpe *t = build(gguf_name(g), merges, n, e);
    if (t) {
        t->as_is = as_is;
        t->apart = (int)apart;
    }
    return t;
}

static size_t size_of(const void *self)
{
    return bpe_size(((const clip_bpe *)self)->b);
}

static const char *token_of(const void *self, int32_t id)
{
    return bpe_token(((const clip_bpe *)self)->b, id);
}

/* The bytes of the piece at text, which is not white space: 's 't 're 've 'm 'll 'd, letters, one digit, or others. */
static size_t piece_bytes(const char *text, size_t bytes)
{
    size_t piece = bpe_piece_bytes(text, bytes);
    utf8proc_int32_t c;
    size_t first = (size_t)utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    utf8proc_category_t k = utf8proc_category(c);
    bool digit = k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
    return digit ? first : piece;
}

void tokenizer_clip_as_is(gguf_writer *w)
{
    gguf_put_bool(w, KEY_AS_IS, true);
}

void tokenizer_clip_apart(gguf_writer *w, int id)
{
    gguf_put_int(w, KEY_APART, id);
}

/* As it is split: repaired or composed, in small letters. */
static char *clean(const clip_bpe *t, const char *text, size_t *bytes, err *e)
{
    char *fixed = t->as_is ? clean_compose(text, bytes, e) : fix_text(text, bytes, e),
         *low = fixed ? bpe_normalise(fixed, true, bytes, e) : NULL;
    free(fixed);
    return low;
}

/* transformers splits at what Unicode calls white space, Python at some control characters too. */
static bool is_space(const clip_bpe *t, const char *text, size_t bytes, size_t *step)
{
    utf8proc_int32_t c;
    *step = (size_t)utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    return clean_is_space(c) && !(t->as_is && c >= 0x1C && c <= 0x1F);
}

/* Whether a token's text begins here: its bytes, or 0. */
static size_t token_at(const clip_bpe *t, const char *text, size_t id)
{
    const char *token = t->b->tokens[id];
    size_t n = strlen(token);
    return strncmp(text, token, n) ? 0 : n;
}

/* Cleaned text may spell the two specials, transformers' but for that which it found before: the bytes of the one
 * here and its id, or 0. */
static size_t special_at(const clip_bpe *t, const char *text, int32_t *id)
{
    const size_t end = bpe_size(t->b) - 1, last = t->as_is && t->apart < 0 ? end - 1 : end;
    for (size_t i = end - 1, n; i <= last; i++)
        if ((n = token_at(t, text, i))) {
            *id = (int32_t)i;
            return n;
        }
    return 0;
}

/* How many bytes of a piece are before a special: OpenAI's pieces of other characters run over it. */
static size_t before_special(const clip_bpe *t, const char *piece, size_t bytes)
{
    int32_t id;
    for (size_t i = 1; t->as_is && i < bytes; i++)
        if (special_at(t, piece + i, &id))
            return i;
    return bytes;
}

/* Appends the ids of a text, of which as many as bytes are possible. */
static bool encode_part(const clip_bpe *t, const char *text, int32_t **ids, size_t *n, err *e)
{
    size_t bytes;
    char *in = clean(t, text, &bytes, e);
    bool ok = in && (bytes <= INT32_MAX || err_set(e, ERR_FAILED, "text: %zu bytes are too many (split it)", bytes));
    int32_t *grown = ok && bytes ? realloc(*ids, (*n + bytes) * sizeof *grown) : NULL;
    if (ok && bytes && !grown)
        ok = err_no_memory(e, "text", (*n + bytes) * sizeof *grown);
    *ids = grown ? grown : *ids;
    for (size_t at = 0, step; ok && at < bytes; at += step) {
        int32_t *out = *ids + *n;
        if (is_space(t, in + at, bytes - at, &step))
            continue;
        if ((step = special_at(t, in + at, out))) {
            ++*n;
            continue;
        }
        step = before_special(t, in + at, piece_bytes(in + at, bytes - at));
        size_t count = step;
        for (size_t i = 0; i < step; i++)
            out[i] = (i + 1 < step ? t->inner : t->last)[(uint8_t)in[at + i]];
        ok = bpe_merge(t->b, out, &count, e);
        *n += count;
    }
    free(in);
    return ok;
}

static bool append(int32_t **ids, size_t *n, size_t id, err *e)
{
    int32_t *grown = realloc(*ids, (*n + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, "text", (*n + 1) * sizeof *grown);
    grown[*n] = (int32_t)id;
    *ids = grown;
    ++*n;
    return true;
}

/* transformers finds the token that it pads with first, as it is written, and cleans what is between. */
static bool encode_apart(const clip_bpe *t, const char *text, int32_t **ids, size_t *n, err *e)
{
    const size_t id = t->apart >= 0 ? (size_t)t->apart : bpe_size(t->b) - 1;
    char *copy = strdup(text), *part = copy;
    bool ok = copy || err_no_memory(e, "text", strlen(text) + 1);
    for (char *found; ok && (found = strstr(part, t->b->tokens[id])); part = found + strlen(t->b->tokens[id])) {
        *found = 0;
        ok = encode_part(t, part, ids, n, e) && append(ids, n, id, e);
    }
    ok = ok && encode_part(t, part, ids, n, e);
    free(copy);
    return ok;
}

static bool encode(const void *self, const char *text, int32_t **ids, size_t *n, err *e)
{
    const clip_bpe *t = self;
    int32_t *list = NULL;
    *ids = NULL;
    *n = 0;
    bool ok = (t->as_is ? encode_apart : encode_part)(t, text, &list, n, e);
    if (!ok || !*n) {
        free(list);
        *n = 0;
        return ok;
    }
    *ids = list;
    return true;
}

/* All of a file as a new block of *bytes bytes and a NUL; gzread reads .gz and plain ones.  NULL where it can't. */
static char *read_text(const char *path, size_t *bytes)
{
    enum { MOST = 16 << 20 };
    gzFile f = gzopen(path, "rb");
    char *text = NULL;
    int n = 1;
    *bytes = 0;
    for (size_t room = 1 << 14; f && n > 0; room *= 2) {
        char *grown = room <= MOST ? realloc(text, room) : NULL;
        n = grown ? gzread(f, grown + *bytes, (unsigned)(room - 1 - *bytes)) : -1;
        text = grown ? grown : text;
        *bytes += n > 0 ? (size_t)n : 0;
    }
    if (f && gzclose(f) == Z_OK && n == 0) {
        text[*bytes] = 0;
        return text;
    }
    free(text);
    return NULL;
}

static bool put(clip_bpe *t, const char *const *merges, size_t n, gguf_writer *w, size_t *size)
{
    if (!t)
        return false;
    gguf_put_strings(w, KEY_MERGES, merges, n);
    *size = bpe_size(t->b);
    free_self(t);
    return true;
}

/* Whether the file's ids are those that follow from its merges. */
static bool check_tokens(const clip_bpe *t, const char *path, const char *const *tokens, size_t n, err *e)
{
    if (n != bpe_size(t->b))
        return err_set(e, ERR_FAILED, "%s: %zu tokens, and CLIP's vocabulary of its merges has %zu", path, n,
                       bpe_size(t->b));
    for (size_t i = 0; i < n; i++)
        if (strcmp(tokens[i], t->b->tokens[i]) != 0)
            return err_set(e, ERR_FAILED, "%s: token %zu is \"%.40s\", and in CLIP's order of its merges \"%.40s\"",
                           path, i, tokens[i], t->b->tokens[i]);
    return true;
}

/* path: HuggingFace's tokenizer.json, as transformers from 5 on writes it alone. */
static bool import_json(gguf_writer *w, const char *path, size_t *size, err *e)
{
    json_t *root = json_file_load(path, JSON_REJECT_DUPLICATES, "HuggingFace's tokenizer.json is one", e);
    const char *end = json_string_value(json_object_get(json_object_get(root, "model"), "end_of_word_suffix"));
    const char **tokens = NULL, **merges = NULL;
    char *text = NULL;
    clip_bpe *t = NULL;
    size_t n_tokens, n;
    if (root && (!end || strcmp(end, "</w>") != 0))
        err_set(e, ERR_FAILED, "%s: \"end_of_word_suffix\" isn't \"</w>\", so it is no tokenizer of CLIP", path);
    else if (root && (tokens = bpe_json_tokens(path, root, &n_tokens, e)) &&
             (merges = bpe_json_merges(path, root, &text, &n, e)))
        t = build(path, merges, n, e);
    if (t && !check_tokens(t, path, tokens, n_tokens, e)) {
        free_self(t);
        t = NULL;
    }
    bool ok = put(t, merges, n, w, size);
    free(tokens);
    free(merges);
    free(text);
    json_decref(root);
    return ok;
}

/* path: bpe_simple_vocab_16e6.txt or its .gz, merges.txt, or tokenizer.json. */
static bool import_file(gguf_writer *w, const char *path, size_t *size, err *e)
{
    size_t n = 0, line = 0, lines = 1, bytes;
    bool ok = false;
    char *text = read_text(path, &bytes);
    if (text && text[strspn(text, " \t\r\n")] == '{') {
        free(text);
        return import_json(w, path, size, e);
    }
    if (text && !bpe_check_merges(path, text, bytes, e)) {
        free(text);
        return false;
    }
    for (size_t i = 0; text && i < bytes; i++)
        lines += text[i] == '\n';
    const char **merges = calloc(lines, sizeof *merges);
    clip_bpe *t = NULL;
    if (!text || !merges || memchr(text, 0, bytes)) {
        err_set(e, ERR_FAILED, "%s: can't be read as text, plain or .gz (give bpe_simple_vocab_16e6.txt)", path);
        goto done;
    }
    for (char *at = text, *next; *at && n < N_MERGES; at = next, line++) {
        size_t length = strcspn(at, "\n");
        next = at + length + (at[length] == '\n');
        at[length] = 0;
        if (line) /* the first is a version */
            merges[n++] = at;
    }
    if (!n)
        err_set(e, ERR_FAILED, "%s: it holds no merges (download it again)", path);
    else
        t = build(path, merges, n, e);
    ok = put(t, merges, n, w, size);
done:
    free(text);
    free(merges);
    return ok;
}

const tokenizer_kind tokenizer_clip = {"clip", open_self,   free_self, size_of, token_of,
                                       encode, import_file, NULL,      NULL};
