/* T5's tokenizer: SentencePiece's unigram model, read from spiece.model, with tokens behind its own that a text may
 * name (<extra_id_0>), and </s> at the end of every text.  As HuggingFace's T5Tokenizer gives ids. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "io/json_file.h"
#include "text/added.h"
#include "text/bpe_split.h"
#include "text/charsmap.h"
#include "text/spiece.h"
#include "text/tokenizer.h"
#include "text/unigram.h"

/* As llama.cpp writes them. */
#define KEY_TOKENS  "tokenizer.ggml.tokens"
#define KEY_SCORES  "tokenizer.ggml.scores"
#define KEY_TYPES   "tokenizer.ggml.token_type"
#define KEY_CHARS   "tokenizer.ggml.precompiled_charsmap"
#define KEY_PREFIX  "tokenizer.ggml.add_space_prefix"
#define KEY_SPACES  "tokenizer.ggml.remove_extra_whitespaces"
#define KEY_END     "tokenizer.ggml.eos_token_id"
#define SPACE       "\xE2\x96\x81" /* what stands for a space in pieces */
#define EXTRA_IDS   100            /* of T5Tokenizer, where nothing else is said */
#define END_OF_TEXT "</s>"

typedef struct t5 {
    unigram u;
    float *scores;
    int32_t *types;
    uint8_t *chars;
    charsmap map;
    added_tokens *added;
    int32_t end; /* id of </s> */
    bool prefix, one_space;
} t5;

static void free_self(void *self)
{
    t5 *t = self;
    if (!t)
        return;
    unigram_release(&t->u);
    added_free(t->added);
    free(t->scores);
    free(t->types);
    free(t->chars);
    free(t);
}

/* ---- opening ---- */

static bool read_chars(t5 *t, const gguf *g, err *e)
{
    const int64_t *values;
    size_t n;
    if (!gguf_has(g, KEY_CHARS))
        return true;
    if (!gguf_get_ints(g, KEY_CHARS, &values, &n, e))
        return false;
    t->chars = malloc(n ? n : 1);
    if (!t->chars)
        return err_no_memory(e, gguf_name(g), n);
    for (size_t i = 0; i < n; i++)
        t->chars[i] = (uint8_t)values[i];
    return charsmap_open(&t->map, t->chars, n, gguf_name(g), e);
}

/* Those that aren't made of characters are found by their names. */
static bool find_added(t5 *t, const char *name, err *e)
{
    const char **texts = malloc(t->u.n * sizeof *texts);
    int32_t *ids = malloc(t->u.n * sizeof *ids);
    size_t n = 0;
    for (size_t i = 0; texts && ids && i < t->u.n; i++)
        if ((t->types[i] == PIECE_CONTROL || t->types[i] == PIECE_UNKNOWN) && *t->u.pieces[i]) {
            texts[n] = t->u.pieces[i];
            ids[n++] = (int32_t)i;
        }
    bool ok = texts && ids ? (t->added = added_new(name, texts, ids, n, e)) != NULL
                           : err_no_memory(e, name, t->u.n * sizeof *ids);
    free(texts);
    free(ids);
    return ok;
}

static bool read_pieces(t5 *t, const gguf *g, err *e)
{
    const char *name = gguf_name(g);
    const double *scores;
    const int64_t *types;
    size_t n, n_types;
    if (!gguf_get_strings(g, KEY_TOKENS, &t->u.pieces, &t->u.n, e) || !gguf_get_floats(g, KEY_SCORES, &scores, &n, e) ||
        !gguf_get_ints(g, KEY_TYPES, &types, &n_types, e))
        return false;
    if (!t->u.n || n != t->u.n || n_types != n || n > INT32_MAX)
        return err_set(e, ERR_FAILED, "%s: %zu tokens, %zu scores and %zu types don't go together", name, t->u.n, n,
                       n_types);
    t->u.scores = t->scores = malloc(n * sizeof *t->scores);
    t->u.types = t->types = malloc(n * sizeof *t->types);
    if (!t->scores || !t->types)
        return err_no_memory(e, name, n * sizeof *t->scores);
    for (size_t i = 0; i < n; i++) {
        t->scores[i] = (float)scores[i];
        t->types[i] = (int32_t)types[i];
    }
    return unigram_open(&t->u, name, e) && find_added(t, name, e);
}

static void *open_self(const gguf *g, err *e)
{
    t5 *t = calloc(1, sizeof *t);
    int64_t end;
    if (!t) {
        err_no_memory(e, "tokenizer", sizeof *t);
        return NULL;
    }
    t->prefix = t->one_space = true;
    bool ok = read_pieces(t, g, e) && read_chars(t, g, e) &&
              gguf_get_int(g, KEY_END, 0, (int64_t)t->u.n - 1, &end, e) &&
              (!gguf_has(g, KEY_PREFIX) || gguf_get_bool(g, KEY_PREFIX, &t->prefix, e)) &&
              (!gguf_has(g, KEY_SPACES) || gguf_get_bool(g, KEY_SPACES, &t->one_space, e));
    if (!ok) {
        free_self(t);
        return NULL;
    }
    t->end = (int32_t)end;
    return t;
}

static size_t size_of(const void *self)
{
    return ((const t5 *)self)->u.n;
}

static const char *token_of(const void *self, int32_t id)
{
    return ((const t5 *)self)->u.pieces[id];
}

/* ---- encoding ---- */

/* A text that grows. */
typedef struct string {
    char *text;
    size_t n, room;
} string;

static bool append(string *s, const char *what, size_t n, err *e)
{
    if (s->n + n > s->room) {
        size_t room = 2 * (s->n + n) + 64;
        char *more = realloc(s->text, room);
        if (!more)
            return err_no_memory(e, "text", room);
        s->text = more;
        s->room = room;
    }
    memcpy(s->text + s->n, what, n);
    s->n += n;
    return true;
}

static bool ends_in_space(const string *s)
{
    return s->n >= 3 && !memcmp(s->text + s->n - 3, SPACE, 3);
}

/* Appends a replacement; `space`: what came before was one, so that further ones are dropped. */
static bool append_replaced(const t5 *t, string *s, const char *from, size_t n, bool *space, err *e)
{
    bool ok = true;
    for (; *space && n && *from == ' '; from++)
        n--;
    for (size_t i = 0; ok && i < n; i++)
        ok = from[i] == ' ' ? append(s, SPACE, 3, e) : append(s, from + i, 1, e);
    if (n)
        *space = from[n - 1] == ' ';
    *space = *space && t->one_space;
    return ok;
}

/* SentencePiece's Normalizer: characters replaced, spaces made one, one before the text, none at its end. */
static bool normalise(const t5 *t, const char *text, size_t bytes, string *s, err *e)
{
    bool ok = true, begun = false, space = t->one_space;
    size_t n;
    const char *to;
    for (size_t at = 0; ok && at < bytes;) {
        at += charsmap_next(&t->map, text + at, bytes - at, &to, &n);
        if (!begun && t->one_space && n == 1 && *to == ' ')
            continue;
        if (!begun && t->prefix)
            ok = append(s, SPACE, 3, e);
        begun = true;
        ok = ok && append_replaced(t, s, to, n, &space, e);
    }
    while (t->one_space && ends_in_space(s))
        s->n -= 3;
    return ok;
}

/* Appends the ids of a text without added tokens. */
static bool encode_text(const t5 *t, const char *text, size_t bytes, int32_t **ids, size_t *n, err *e)
{
    string s = {0};
    bool ok = normalise(t, text, bytes, &s, e);
    int32_t *more = ok ? realloc(*ids, (*n + s.n + 2) * sizeof *more) : NULL; /* and for what comes behind */
    if (more)
        *ids = more;
    else if (ok)
        ok = err_no_memory(e, "text", (*n + s.n + 2) * sizeof *more);
    ok = ok && unigram_encode(&t->u, s.text ? s.text : "", s.n, *ids, n, e);
    free(s.text);
    return ok;
}

static bool encode(const void *self, const char *text, int32_t **ids, size_t *n, err *e)
{
    const t5 *t = self;
    size_t bytes = 0, before, size;
    char *valid = bpe_normalise(text, false, &bytes, e);
    int32_t id = 0;
    bool ok = valid;
    *ids = NULL;
    *n = 0;
    for (size_t at = 0; ok && (at < bytes || !*ids); at += before + size) {
        size = added_find(t->added, valid + at, bytes - at, &before, &id);
        ok = encode_text(t, valid + at, before, ids, n, e);
        if (ok && size)
            (*ids)[(*n)++] = id;
    }
    if (ok)
        (*ids)[(*n)++] = t->end;
    free(valid);
    if (!ok) {
        free(*ids);
        *ids = NULL;
        *n = 0;
    }
    return ok;
}

static bool lacks(const void *self, const char *word)
{
    const t5 *t = self;
    size_t n = 0;
    int32_t *ids = NULL;
    bool missing = false;
    if (encode(self, word, &ids, &n, NULL))
        for (size_t i = 0; i < n && !missing; i++)
            missing = ids[i] == t->u.unknown;
    free(ids);
    return missing;
}

/* ---- importing ---- */

/* Further tokens, which tokenizer_config.json beside the file counts. */
static size_t extra_ids(const char *folder)
{
    char path[4300];
    snprintf(path, sizeof path, "%s/tokenizer_config.json", folder);
    json_t *root = json_file_load(path, 0, NULL, NULL);
    const json_t *v = json_object_get(root, "extra_ids");
    json_int_t n = json_is_integer(v) ? json_integer_value(v) : EXTRA_IDS;
    json_decref(root);
    return n >= 0 && n <= 1 << 16 ? (size_t)n : EXTRA_IDS;
}

/* Whether it can be opened again. */
static bool check(const spiece *s, const char *path, err *e)
{
    const char **pieces = malloc(s->n * sizeof *pieces);
    float *scores = malloc(s->n * sizeof *scores);
    int32_t *types = malloc(s->n * sizeof *types);
    charsmap map;
    unigram u = {.pieces = pieces, .scores = scores, .types = types, .n = s->n};
    bool ok = (pieces && scores && types) || err_no_memory(e, path, s->n * sizeof *pieces);
    for (size_t i = 0; ok && i < s->n; i++) {
        pieces[i] = s->pieces[i].text;
        scores[i] = s->pieces[i].score;
        types[i] = s->pieces[i].type;
    }
    ok = ok && unigram_open(&u, path, e) && charsmap_open(&map, s->chars, s->chars_size, path, e);
    unigram_release(&u);
    free(pieces);
    free(scores);
    free(types);
    return ok;
}

/* What the file holds, then <extra_id_N-1> to <extra_id_0>. */
static bool put(gguf_writer *w, const spiece *s, size_t extra, const char *path, size_t *size, err *e)
{
    size_t n = s->n + extra;
    const char **tokens = malloc(n * sizeof *tokens);
    double *scores = calloc(n, sizeof *scores);
    int64_t *types = calloc(n, sizeof *types), *chars = malloc((s->chars_size + 1) * sizeof *chars);
    char(*names)[40] = calloc(extra + 1, sizeof *names);
    int64_t end = -1;
    bool ok = (tokens && scores && types && chars && names) || err_no_memory(e, path, n * sizeof *scores);
    for (size_t i = 0; ok && i < n; i++) {
        bool own = i < s->n;
        if (!own)
            snprintf(names[i - s->n], sizeof *names, "<extra_id_%zu>", n - 1 - i);
        tokens[i] = own ? s->pieces[i].text : names[i - s->n];
        scores[i] = own ? (double)s->pieces[i].score : 0;
        types[i] = own ? s->pieces[i].type : PIECE_CONTROL;
        end = own && !strcmp(tokens[i], END_OF_TEXT) ? (int64_t)i : end;
    }
    if (ok && end < 0)
        ok = err_set(e, ERR_FAILED, "%s: it has no piece " END_OF_TEXT ": not T5's", path);
    for (size_t i = 0; ok && i < s->chars_size; i++)
        chars[i] = s->chars[i];
    if (ok) {
        gguf_put_strings(w, KEY_TOKENS, tokens, n);
        gguf_put_floats(w, KEY_SCORES, scores, n);
        gguf_put_ints(w, KEY_TYPES, types, n);
        if (s->chars_size)
            gguf_put_ints(w, KEY_CHARS, chars, s->chars_size);
        gguf_put_bool(w, KEY_PREFIX, s->add_prefix);
        gguf_put_bool(w, KEY_SPACES, s->one_space);
        gguf_put_int(w, KEY_END, end);
        *size = n;
    }
    free(tokens);
    free(scores);
    free(types);
    free(chars);
    free(names);
    return ok;
}

/* A file of the folder, where it is there. */
static bool find_inside(const char *folder, const char *name, char inside[4200])
{
    snprintf(inside, 4200, "%s/%s", folder, name);
    return access(inside, R_OK) == 0;
}

static bool read_model(spiece *s, const char *path, err *e)
{
    file_map file = {0};
    bool ok = file_map_open(&file, path, e) && spiece_read(s, file.data, file.size, path, e);
    file_map_release(&file);
    return ok;
}

/* path: spiece.model, tokenizer.json, or the folder of one. */
static bool import_path(gguf_writer *w, const char *path, size_t *size, err *e)
{
    char inside[4200], folder[4200];
    spiece s = {0};
    snprintf(folder, sizeof folder, "%s", path);
    if (!find_inside(path, "spiece.model", inside) && !find_inside(path, "tokenizer.json", inside)) {
        snprintf(inside, sizeof inside, "%s", path);
        char *slash = strrchr(folder, '/');
        snprintf(slash ? slash : folder, slash ? 1 : sizeof folder, "%s", slash ? "" : ".");
    }
    bool json = !strcmp(file_base_name(inside), "tokenizer.json");
    bool ok = (json ? spiece_read_json(&s, inside, e) : read_model(&s, inside, e)) && check(&s, inside, e) &&
              put(w, &s, json ? 0 : extra_ids(folder), inside, size, e);
    spiece_release(&s);
    return ok;
}

const tokenizer_kind tokenizer_t5 = {"t5", open_self, free_self, size_of, token_of, encode, import_path, lacks, NULL};
