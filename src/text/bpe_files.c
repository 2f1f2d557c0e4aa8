/* The tokenizer in files: HuggingFace's vocab.json and merges.txt, and GGUF. */
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
#define KEY_NFC       "limn.tokenizer.nfc"
#define KEY_ADDED     "limn.tokenizer.added"
#define KEY_STEPS     "limn.tokenizer.splits"
#define MODEL_NAME    "gpt2"
#define SPLIT_NAME    "gpt-2"
#define SPLIT_OWN     "limn" /* by KEY_STEPS */

bool bpe_put_token(const char *path, const char *token, const json_t *value, const char **tokens, size_t n, err *e)
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
    *root = json_file_load(path, JSON_REJECT_DUPLICATES, "a vocabulary is a JSON object of \"token\": id", e);
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
    json_object_foreach(*root, key, value) if (!bpe_put_token(path, key, value, *tokens, *n, e)) return false;
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

bool bpe_read_merges(const char *path, char **text, const char ***merges, size_t *n, err *e)
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
        bpe_read_merges(merges_path, &text, &merges, &n_merges, e) &&
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

static bool get_bool(const gguf *g, const char *key, bool *value, err *e)
{
    return !gguf_has(g, key) || gguf_get_bool(g, key, value, e);
}

static bool get_added(bpe *b, const gguf *g, err *e)
{
    const int64_t *values;
    size_t n;
    if (!gguf_has(g, KEY_ADDED))
        return true;
    if (!gguf_get_ints(g, KEY_ADDED, &values, &n, e))
        return false;
    int32_t *ids = malloc((n ? n : 1) * sizeof *ids);
    bool ok = ids || err_no_memory(e, gguf_name(g), n * sizeof *ids);
    for (size_t i = 0; ok && i < n; i++) {
        if (values[i] < 0 || (uint64_t)values[i] >= b->n_tokens)
            ok = err_set(e, ERR_FAILED, "%s: %s: %lld is outside of the vocabulary of %zu", gguf_name(g), KEY_ADDED,
                         (long long)values[i], b->n_tokens);
        ids[i] = (int32_t)values[i];
    }
    ok = ok && bpe_add(b, gguf_name(g), ids, n, e);
    free(ids);
    return ok;
}

static bool get_splits(bpe *b, const gguf *g, err *e)
{
    const char *name, *const *steps;
    size_t n;
    if (!gguf_has(g, KEY_SPLIT))
        return true;
    if (!gguf_get_string(g, KEY_SPLIT, &name, e))
        return false;
    if (strcmp(name, SPLIT_OWN))
        return expect_string(g, KEY_SPLIT, SPLIT_NAME, e);
    return gguf_get_strings(g, KEY_STEPS, &steps, &n, e) &&
           (b->splits = pretokens_new(gguf_name(g), steps, n, e)) != NULL;
}

bpe *bpe_from_gguf(const gguf *g, err *e)
{
    const char *const *tokens, *const *merges;
    size_t n_tokens, n_merges;
    bool lowercase = false;
    if (!expect_string(g, KEY_MODEL, MODEL_NAME, e) || !gguf_get_strings(g, KEY_TOKENS, &tokens, &n_tokens, e) ||
        !gguf_get_strings(g, KEY_MERGES, &merges, &n_merges, e) || !get_bool(g, KEY_LOWERCASE, &lowercase, e))
        return NULL;
    bpe *b = bpe_new(gguf_name(g), tokens, n_tokens, merges, n_merges, lowercase, e);
    if (b && get_bool(g, KEY_SPACE, &b->space_first, e) && get_bool(g, KEY_VERBATIM, &b->verbatim, e) &&
        get_bool(g, KEY_NFC, &b->nfc, e) && get_added(b, g, e) && get_splits(b, g, e)) {
        b->clean = !b->verbatim;
        return b;
    }
    bpe_free(b);
    return NULL;
}

void bpe_put(const bpe *b, gguf_writer *w)
{
    gguf_put_string(w, KEY_MODEL, MODEL_NAME);
    gguf_put_string(w, KEY_SPLIT, b->splits ? SPLIT_OWN : SPLIT_NAME);
    gguf_put_strings(w, KEY_TOKENS, (const char *const *)b->tokens, b->n_tokens);
    gguf_put_strings(w, KEY_MERGES, (const char *const *)b->merge_texts, b->n_merges);
    gguf_put_bool(w, KEY_LOWERCASE, b->lowercase);
    if (b->space_first)
        gguf_put_bool(w, KEY_SPACE, true);
    if (b->verbatim)
        gguf_put_bool(w, KEY_VERBATIM, true);
    if (b->nfc)
        gguf_put_bool(w, KEY_NFC, true);
    size_t n;
    if (b->added) {
        const int64_t *ids = added_ids(b->added, &n);
        gguf_put_ints(w, KEY_ADDED, ids, n);
    }
    if (b->splits) {
        const char *const *steps = pretokens_steps(b->splits, &n);
        gguf_put_strings(w, KEY_STEPS, steps, n);
    }
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
