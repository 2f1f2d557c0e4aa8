/* The tokenizer in files: HuggingFace's vocab.json and merges.txt, and GGUF. */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "text/bpe_internal.h"
#include "text/bpe_split.h"

/* What is written to and read from GGUF. */
#define KEY_MODEL     "tokenizer.ggml.model"
#define KEY_SPLIT     "tokenizer.ggml.pre"
#define KEY_TOKENS    "tokenizer.ggml.tokens"
#define KEY_MERGES    "tokenizer.ggml.merges"
#define KEY_LOWERCASE "limn.tokenizer.lowercase"
#define MODEL_NAME    "gpt2"
#define SPLIT_NAME    "gpt-2"

/* The tokens of a vocab.json, by id: a new array of pointers into *root, which the caller releases. */
static bool read_vocabulary(const char *path, json_t **root, const char ***tokens, size_t *n, err *e)
{
    file_map file = {0};
    if (!file_map_open(&file, path, e))
        return false;
    json_error_t why;
    *root = json_loadb(file.size ? (const char *)file.data : "", file.size, JSON_REJECT_DUPLICATES, &why);
    file_map_release(&file);
    if (!*root)
        return err_set(e, ERR_FAILED, "%s: line %d, column %d: %s (a vocabulary is a JSON object of \"token\": id)",
                       path, why.line, why.column, why.text);
    if (!json_is_object(*root))
        return err_set(e, ERR_FAILED, "%s: not a JSON object of \"token\": id", path);
    *n = json_object_size(*root);
    *tokens = calloc(*n ? *n : 1, sizeof **tokens);
    if (!*tokens)
        return err_no_memory(e, path, *n * sizeof **tokens);
    const char *key;
    json_t *value;
    char show[64];
    json_object_foreach(*root, key, value)
    {
        bpe_excerpt(show, key);
        if (!json_is_integer(value))
            return err_set(e, ERR_FAILED, "%s: token \"%s\": its id is not an integer", path, show);
        json_int_t id = json_integer_value(value);
        if (id < 0 || (uint64_t)id >= *n)
            return err_set(e, ERR_FAILED,
                           "%s: token \"%s\": id %" JSON_INTEGER_FORMAT " is outside 0..%zu (the ids of "
                           "%zu tokens must have no gaps)",
                           path, show, id, *n - 1, *n);
        if ((*tokens)[id]) {
            char other[64];
            return err_set(e, ERR_FAILED, "%s: tokens \"%s\" and \"%s\" both have id %" JSON_INTEGER_FORMAT, path,
                           bpe_excerpt(other, (*tokens)[id]), show, id);
        }
        (*tokens)[id] = key;
    }
    return true;
}

/* The lines of a merges.txt without its "#version" lines: a new array of pointers into *text, a new block too. */
static bool read_merges(const char *path, char **text, const char ***merges, size_t *n, err *e)
{
    file_map file = {0};
    if (!file_map_open(&file, path, e))
        return false;
    size_t size = file.size, lines = 1;
    bool ok = false;
    if (size && memchr(file.data, 0, size)) {
        err_set(e, ERR_FAILED, "%s: a zero byte in a text file (is this a merges.txt?)", path);
        goto done;
    }
    for (size_t i = 0; i < size; i++)
        lines += file.data[i] == '\n';
    *text = malloc(size + 1);
    *merges = calloc(lines, sizeof **merges);
    if (!*text || !*merges) {
        err_no_memory(e, path, size + lines * sizeof **merges);
        goto done;
    }
    if (size)
        memcpy(*text, file.data, size);
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

bpe *bpe_read(const char *vocab_path, const char *merges_path, bool byte_level, bool lowercase, err *e)
{
    json_t *root = NULL;
    char *text = NULL;
    const char **tokens = NULL, **merges = NULL;
    size_t n_tokens = 0, n_merges = 0;
    bpe *b = NULL;
    if (read_vocabulary(vocab_path, &root, &tokens, &n_tokens, e) &&
        read_merges(merges_path, &text, &merges, &n_merges, e))
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
    bool lowercase = false;
    if (!expect_string(g, KEY_MODEL, MODEL_NAME, e) || !expect_string(g, KEY_SPLIT, SPLIT_NAME, e) ||
        !gguf_get_strings(g, KEY_TOKENS, &tokens, &n_tokens, e) ||
        !gguf_get_strings(g, KEY_MERGES, &merges, &n_merges, e) ||
        (gguf_has(g, KEY_LOWERCASE) && !gguf_get_bool(g, KEY_LOWERCASE, &lowercase, e)))
        return NULL;
    return bpe_new(gguf_name(g), tokens, n_tokens, merges, n_merges, lowercase, e);
}

void bpe_put(const bpe *b, gguf_writer *w)
{
    gguf_put_string(w, KEY_MODEL, MODEL_NAME);
    gguf_put_string(w, KEY_SPLIT, SPLIT_NAME);
    gguf_put_strings(w, KEY_TOKENS, (const char *const *)b->tokens, b->n_tokens);
    gguf_put_strings(w, KEY_MERGES, (const char *const *)b->merge_texts, b->n_merges);
    gguf_put_bool(w, KEY_LOWERCASE, b->lowercase);
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
