/* The tokenizer in files: HuggingFace's vocab.json and merges.txt, its tokenizer.json, and GGUF. */
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "io/file_kind.h"
#include "io/json_file.h"
#include "text/bpe_internal.h"
#include "text/bpe_split.h"

/* What is written to and read from GGUF. */
#define KEY_MODEL     "tokenizer.ggml.model"
#define KEY_SPLIT     "tokenizer.ggml.pre"
#define KEY_TOKENS    "tokenizer.ggml.tokens"
#define KEY_MERGES    "tokenizer.ggml.merges"
#define KEY_LOWERCASE "limn.tokenizer.lowercase"
#define KEY_VERBATIM  "limn.tokenizer.verbatim"
#define KEY_SPACE     "tokenizer.ggml.add_space_prefix"
#define MODEL_NAME    "gpt2"
#define SPLIT_NAME    "gpt-2"

static json_t *load_json(const char *path, const char *what, err *e)
{
    return json_file_load(path, JSON_REJECT_DUPLICATES, what, e);
}

/* tokens[id] = the token, of n that have no gaps. */
static bool put_token(const char *path, const char *token, const json_t *value, const char **tokens, size_t n, err *e)
{
    char show[64], other[64];
    bpe_excerpt(show, token);
    if (!json_is_integer(value))
        return err_set(e, ERR_FAILED, "%s: token \"%s\": its id is not an integer", path, show);
    json_int_t id = json_integer_value(value);
    if (id < 0 || (uint64_t)id >= n)
        return err_set(e, ERR_FAILED,
                       "%s: token \"%s\": id %" JSON_INTEGER_FORMAT " is outside 0..%zu (the ids of "
                       "%zu tokens must have no gaps)",
                       path, show, id, n - 1, n);
    if (tokens[id])
        return err_set(e, ERR_FAILED, "%s: tokens \"%s\" and \"%s\" both have id %" JSON_INTEGER_FORMAT, path,
                       bpe_excerpt(other, tokens[id]), show, id);
    tokens[id] = token;
    return true;
}

/* The tokens of a vocab.json, by id: a new array of pointers into *root, which the caller releases. */
static bool read_vocabulary(const char *path, json_t **root, const char ***tokens, size_t *n, err *e)
{
    *root = load_json(path, "a vocabulary is a JSON object of \"token\": id", e);
    if (!*root)
        return false;
    if (!json_is_object(*root))
        return err_set(e, ERR_FAILED, "%s: not a JSON object of \"token\": id", path);
    if (json_is_object(json_object_get(*root, "model")))
        return err_set(e, ERR_FAILED, "%s: it is a whole tokenizer.json, where a vocab.json of \"token\": id is wanted",
                       path);
    *n = json_object_size(*root);
    *tokens = calloc(*n ? *n : 1, sizeof **tokens);
    if (!*tokens)
        return err_no_memory(e, path, *n * sizeof **tokens);
    const char *key;
    json_t *value;
    json_object_foreach(*root, key, value) if (!put_token(path, key, value, *tokens, *n, e)) return false;
    return true;
}

size_t bpe_text_start(const void *data, size_t size)
{
    return size >= 3 && !memcmp(data, "\xef\xbb\xbf", 3) ? 3 : 0;
}

bool bpe_check_merges(const char *path, const void *data, size_t size, err *e)
{
    size_t start = bpe_text_start(data, size);
    if (size == start)
        return err_set(e, ERR_FAILED,
                       "%s: the file is empty, and a merges.txt has a line for each merge (download it again)", path);
    const char *text = (const char *)data + start;
    file_kind k = file_kind_of(data, size, path);
    bool json = *text == '{' && size - start > 1 && (text[1] == '"' || text[1] == '\n' || text[1] == '\r');
    if (json)
        return err_set(e, ERR_FAILED, "%s: it is JSON, where a merges.txt with a merge on each line is wanted", path);
    if (*k.what && strncmp(k.what, "a text", 6) != 0 && strncmp(k.what, "an XML", 6) != 0 && !strstr(k.what, "JSON"))
        return err_set(e, ERR_FAILED, "%s: %s (%s)", path, k.what, k.remedy);
    return true;
}

/* The lines of a merges.txt without its "#version" lines: a new array of pointers into *text, a new block too. */
static bool read_merges(const char *path, char **text, const char ***merges, size_t *n, err *e)
{
    file_map file = {0};
    if (!file_map_open(&file, path, e))
        return false;
    size_t start = bpe_text_start(file.data, file.size), size = file.size - start, lines = 1;
    bool ok = false;
    if (!bpe_check_merges(path, file.data, file.size, e))
        goto done;
    const uint8_t *data = file.data + start;
    if (memchr(data, 0, size)) {
        err_set(e, ERR_FAILED, "%s: a zero byte in a text file (is this a merges.txt?)", path);
        goto done;
    }
    for (size_t i = 0; i < size; i++)
        lines += data[i] == '\n';
    *text = malloc(size + 1);
    *merges = calloc(lines, sizeof **merges);
    if (!*text || !*merges) {
        err_no_memory(e, path, size + lines * sizeof **merges);
        goto done;
    }
    memcpy(*text, data, size);
    (*text)[size] = 0;
    *n = 0;
    for (char *line = *text, *next; *line; line = next) {
        size_t length = strcspn(line, "\n");
        next = line + length + (line[length] == '\n');
        line[length] = 0;
        if (length && line[length - 1] == '\r' && next > line + length)
            line[length - 1] = 0;
        if (strncmp(line, "#version", 8) != 0) /* but "# #" is a merge */
            (*merges)[(*n)++] = line;
    }
    ok = true;
done:
    file_map_release(&file);
    return ok;
}

/* Whether the token is neither one character, nor a special. */
static bool is_joined(const char *token)
{
    size_t characters = 0, bytes = strlen(token);
    if (bytes > 4 && !strcmp(token + bytes - 4, "</w>"))
        bytes -= 4;
    if (*token == '<' || *token == '[')
        return false;
    for (size_t i = 0; i < bytes; i++)
        characters += (token[i] & 0xc0) != 0x80;
    return characters > 1;
}

/* Words that only merges could make need some. */
static bool check_some(const char *path, const char *const *tokens, size_t n, size_t n_merges, err *e)
{
    enum { SPECIALS = 8 };
    size_t joined = 0;
    for (size_t i = 0; i < n && !n_merges; i++)
        joined += is_joined(tokens[i]);
    return joined <= SPECIALS ||
           err_set(e, ERR_FAILED,
                   "%s: it holds no merges, and %zu tokens of the vocabulary are made by some (download it again)",
                   path, joined);
}

bpe *bpe_read(const char *vocab_path, const char *merges_path, bool byte_level, bool lowercase, err *e)
{
    json_t *root = NULL;
    char *text = NULL;
    const char **tokens = NULL, **merges = NULL;
    size_t n_tokens = 0, n_merges = 0;
    bpe *b = NULL;
    if (read_vocabulary(vocab_path, &root, &tokens, &n_tokens, e) &&
        read_merges(merges_path, &text, &merges, &n_merges, e) &&
        check_some(merges_path, tokens, n_tokens, n_merges, e))
        b = bpe_build(vocab_path, tokens, n_tokens, merges_path, merges, n_merges, byte_level, lowercase, e);
    free(merges);
    free(text);
    free(tokens);
    json_decref(root);
    return b;
}

bpe *bpe_from_files(const char *vocab_path, const char *merges_path, bool lowercase, err *e)
{
    return bpe_read(vocab_path, merges_path, true, lowercase, e);
}

/* ---- tokenizer.json ---- */

/* What the file says beside vocabulary and merges. */
typedef struct json_rules {
    const char *path;
    bool lowercase, split, space_first;
} json_rules;

static bool refuse(const json_rules *r, const char *part, const json_t *what, err *e)
{
    char show[64];
    const char *type = json_string_value(json_object_get(what, "type"));
    return err_set(e, ERR_FAILED, "%s: %s: %s is not of byte-level BPE (its parts are BPE, ByteLevel, Lowercase)",
                   r->path, part, bpe_excerpt(show, type ? type : "its value"));
}

/* The part, or the parts of its sequence, which `list` names. */
static bool read_parts(json_rules *r, const json_t *part, const char *name, const char *list,
                       bool (*read)(json_rules *r, const json_t *part), err *e)
{
    const json_t *inner = json_object_get(part, list);
    if (!part || json_is_null(part))
        return true;
    if (!inner)
        return read(r, part) || refuse(r, name, part, e);
    for (size_t i = 0; i < json_array_size(inner); i++)
        if (!read(r, json_array_get(inner, i)))
            return refuse(r, name, json_array_get(inner, i), e);
    return true;
}

static bool has_type(const json_t *part, const char *type)
{
    const char *own = json_string_value(json_object_get(part, "type"));
    return own && !strcmp(own, type);
}

static bool read_normalizer(json_rules *r, const json_t *part)
{
    r->lowercase = true;
    return has_type(part, "Lowercase");
}

static bool read_split(json_rules *r, const json_t *part)
{
    if (r->split || !has_type(part, "ByteLevel") || json_is_false(json_object_get(part, "use_regex")))
        return false;
    r->split = true;
    r->space_first = json_is_true(json_object_get(part, "add_prefix_space"));
    return true;
}

static bool read_rules(json_rules *r, const json_t *root, err *e)
{
    static const char *const unknown[] = {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback",
                                          "ignore_merges"};
    const json_t *model = json_object_get(root, "model");
    if (!model)
        return err_set(
            e, ERR_FAILED,
            "%s: it has no \"model\", so it is no tokenizer.json (of a vocab.json give the folder, with merges.txt "
            "in it)",
            r->path);
    if (!has_type(model, "BPE") && json_object_get(model, "type")) /* older files leave it out */
        return refuse(r, "model", model, e);
    if (!json_is_object(json_object_get(model, "vocab")) || !json_is_array(json_object_get(model, "merges")))
        return refuse(r, "model", NULL, e);
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        const json_t *v = json_object_get(model, unknown[i]);
        const char *text = json_string_value(v);
        if (v && !json_is_null(v) && !json_is_false(v) && !(text && !*text))
            return refuse(r, unknown[i], NULL, e);
    }
    return read_parts(r, json_object_get(root, "normalizer"), "normalizer", "normalizers", read_normalizer, e) &&
           read_parts(r, json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", read_split, e) &&
           (r->split || refuse(r, "pre_tokenizer", NULL, e));
}

/* The tokens by id, with those that were added to the vocabulary: a new array of pointers into root. */
static const char **json_tokens(const char *path, const json_t *root, size_t *n, err *e)
{
    json_t *vocabulary = json_object_get(json_object_get(root, "model"), "vocab"), *value;
    const json_t *added = json_object_get(root, "added_tokens");
    const char *key;
    bool ok = true;
    *n = json_object_size(vocabulary);
    for (size_t i = 0; i < json_array_size(added); i++) {
        key = json_string_value(json_object_get(json_array_get(added, i), "content"));
        *n += key && !json_object_get(vocabulary, key);
    }
    const char **tokens = calloc(*n ? *n : 1, sizeof *tokens);
    if (!tokens) {
        err_no_memory(e, path, *n * sizeof *tokens);
        return NULL;
    }
    json_object_foreach(vocabulary, key, value) ok = ok && put_token(path, key, value, tokens, *n, e);
    for (size_t i = 0; ok && i < json_array_size(added); i++) {
        const json_t *one = json_array_get(added, i);
        key = json_string_value(json_object_get(one, "content"));
        if (key && !json_object_get(vocabulary, key))
            ok = put_token(path, key, json_object_get(one, "id"), tokens, *n, e);
    }
    if (ok)
        return tokens;
    free(tokens);
    return NULL;
}

/* "left right", of a string or of a pair.  to[*at] begins with it; to NULL: only counts. */
static const char *put_merge(const json_t *one, char *to, size_t *at)
{
    const char *left = json_string_value(json_is_array(one) ? json_array_get(one, 0) : one);
    const char *right = json_is_array(one) ? json_string_value(json_array_get(one, 1)) : NULL;
    const char *out = to ? to + *at : NULL;
    left = left ? left : ""; /* no merge: bpe_build names it */
    size_t n = strlen(left), m = right ? strlen(right) : 0;
    if (to) {
        memcpy(to + *at, left, n + 1);
        if (right) {
            to[*at + n] = ' ';
            memcpy(to + *at + n + 1, right, m + 1);
        }
    }
    *at += n + 1 + (right ? m + 1 : 0);
    return out;
}

/* A new array of pointers into *text, a new block. */
static const char **json_merges(const char *path, const json_t *root, char **text, size_t *n, err *e)
{
    const json_t *list = json_object_get(json_object_get(root, "model"), "merges");
    size_t bytes = 0, at = 0;
    *n = json_array_size(list);
    for (size_t i = 0; i < *n; i++)
        put_merge(json_array_get(list, i), NULL, &bytes);
    const char **merges = calloc(*n + 1, sizeof *merges);
    *text = malloc(bytes + 1);
    if (!merges || !*text) {
        err_no_memory(e, path, bytes);
        free(merges);
        return NULL;
    }
    for (size_t i = 0; i < *n; i++)
        merges[i] = put_merge(json_array_get(list, i), *text, &at);
    return merges;
}

bpe *bpe_from_json(const char *path, err *e)
{
    json_rules r = {.path = path};
    json_t *root = load_json(path, "HuggingFace's tokenizer.json is one", e);
    const char **tokens = NULL, **merges = NULL;
    char *text = NULL;
    size_t n_tokens, n_merges;
    bpe *b = NULL;
    if (root && read_rules(&r, root, e) && (tokens = json_tokens(path, root, &n_tokens, e)) &&
        (merges = json_merges(path, root, &text, &n_merges, e)))
        b = bpe_build(path, tokens, n_tokens, path, merges, n_merges, true, r.lowercase, e);
    if (b) {
        b->space_first = r.space_first;
        b->verbatim = true;
    }
    free(merges);
    free(text);
    free(tokens);
    json_decref(root);
    return b;
}

/* ---- GGUF ---- */

/* Fails where the key is there with another value: the ids would come out wrong without a word. */
static bool expect_string(const gguf *g, const char *key, const char *expected, err *e)
{
    const char *value;
    if (!gguf_has(g, key))
        return true;
    if (!gguf_get_string(g, key, &value, e))
        return false;
    char show[64];
    if (strcmp(value, expected) != 0)
        return err_set(e, ERR_FAILED, "%s: %s is \"%s\": only \"%s\" is known", gguf_name(g), key,
                       bpe_is_utf8(value) ? bpe_excerpt(show, value) : "not UTF-8", expected);
    return true;
}

bpe *bpe_from_gguf(const gguf *g, err *e)
{
    const char *const *tokens, *const *merges;
    size_t n_tokens, n_merges;
    bool lowercase = false, space = false, verbatim = false;
    if (!expect_string(g, KEY_MODEL, MODEL_NAME, e) || !expect_string(g, KEY_SPLIT, SPLIT_NAME, e) ||
        !gguf_get_strings(g, KEY_TOKENS, &tokens, &n_tokens, e) ||
        !gguf_get_strings(g, KEY_MERGES, &merges, &n_merges, e) ||
        (gguf_has(g, KEY_LOWERCASE) && !gguf_get_bool(g, KEY_LOWERCASE, &lowercase, e)) ||
        (gguf_has(g, KEY_SPACE) && !gguf_get_bool(g, KEY_SPACE, &space, e)) ||
        (gguf_has(g, KEY_VERBATIM) && !gguf_get_bool(g, KEY_VERBATIM, &verbatim, e)))
        return NULL;
    bpe *b = bpe_new(gguf_name(g), tokens, n_tokens, merges, n_merges, lowercase, e);
    if (b) {
        b->space_first = space;
        b->verbatim = verbatim;
        b->clean = !verbatim;
    }
    return b;
}

void bpe_put(const bpe *b, gguf_writer *w)
{
    gguf_put_string(w, KEY_MODEL, MODEL_NAME);
    gguf_put_string(w, KEY_SPLIT, SPLIT_NAME);
    gguf_put_strings(w, KEY_TOKENS, (const char *const *)b->tokens, b->n_tokens);
    gguf_put_strings(w, KEY_MERGES, (const char *const *)b->merge_texts, b->n_merges);
    gguf_put_bool(w, KEY_LOWERCASE, b->lowercase);
    if (b->space_first)
        gguf_put_bool(w, KEY_SPACE, true);
    if (b->verbatim)
        gguf_put_bool(w, KEY_VERBATIM, true);
}

bpe *bpe_open(const char *path, err *e)
{
    file_map m = {0};
    gguf *g = file_map_open(&m, path, e) ? gguf_open(m.data, m.size, path, e) : NULL;
    bpe *b = g ? bpe_from_gguf(g, e) : NULL;
    gguf_free(g);
    file_map_release(&m);
    return b;
}
