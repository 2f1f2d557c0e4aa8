/* HuggingFace's tokenizer.json, of byte-level BPE. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "io/json_file.h"
#include "text/bpe_internal.h"
#include "text/bpe_split.h"

/* What the file says beside vocabulary and merges. */
typedef struct json_rules {
    const char *path;
    bool lowercase, nfc, space_first;
    bool bytes;      /* there was a ByteLevel, the last part of a pre_tokenizer */
    char *steps[64]; /* of pretokens.h, each a new string */
    size_t n_steps;
} json_rules;

static bool refuse(const json_rules *r, const char *part, const json_t *what, err *e)
{
    char show[64];
    const char *type = json_string_value(json_object_get(what, "type"));
    return err_set(e, ERR_FAILED,
                   "%s: %s: %s is not of byte-level BPE (its parts are BPE, ByteLevel, Split, Digits, Lowercase, "
                   "NFC)",
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
    r->lowercase |= has_type(part, "Lowercase");
    r->nfc |= has_type(part, "NFC");
    return has_type(part, "Lowercase") || has_type(part, "NFC");
}

/* A step of pretokens.h: the word and the text behind it. */
static bool put_step(json_rules *r, const char *word, const char *text)
{
    size_t n = strlen(word), m = strlen(text);
    char *step = r->n_steps < sizeof r->steps / sizeof *r->steps ? malloc(n + m + 1) : NULL;
    if (!step)
        return false;
    memcpy(step, word, n);
    memcpy(step + n, text, m + 1);
    r->steps[r->n_steps++] = step;
    return true;
}

static bool read_pattern(json_rules *r, const json_t *part)
{
    const json_t *pattern = json_object_get(part, "pattern");
    const char *regex = json_string_value(json_object_get(pattern, "Regex"));
    const char *text = json_string_value(json_object_get(pattern, "String"));
    const char *behavior = json_string_value(json_object_get(part, "behavior"));
    const char *own = regex ? regex : text;
    return behavior && !strcmp(behavior, "Isolated") && own && *own && put_step(r, regex ? "split " : "text ", own);
}

static bool read_split(json_rules *r, const json_t *part)
{
    if (r->bytes)
        return false;
    if (has_type(part, "Split"))
        return read_pattern(r, part);
    if (has_type(part, "Digits"))
        return put_step(r, json_is_true(json_object_get(part, "individual_digits")) ? "digits" : "numbers", "");
    if (!has_type(part, "ByteLevel"))
        return false;
    r->bytes = true;
    r->space_first = json_is_true(json_object_get(part, "add_prefix_space"));
    if (r->n_steps == 0) /* by GPT-2's pattern */
        return !json_is_false(json_object_get(part, "use_regex"));
    if (r->space_first) /* before each piece */
        return false;
    return json_is_false(json_object_get(part, "use_regex")) || put_step(r, "gpt2", "");
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
           (r->bytes || refuse(r, "pre_tokenizer", NULL, e));
}

const char **bpe_json_tokens(const char *path, const json_t *root, size_t *n, err *e)
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
    json_object_foreach(vocabulary, key, value) ok = ok && bpe_put_token(path, key, value, tokens, *n, e);
    for (size_t i = 0; ok && i < json_array_size(added); i++) {
        const json_t *one = json_array_get(added, i);
        key = json_string_value(json_object_get(one, "content"));
        if (key && !json_object_get(vocabulary, key))
            ok = bpe_put_token(path, key, json_object_get(one, "id"), tokens, *n, e);
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

const char **bpe_json_merges(const char *path, const json_t *root, char **text, size_t *n, err *e)
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

/* Those that are found in texts: not what stands only for a normalised text, which special tokens never do. */
static bool json_added(bpe *b, const json_rules *r, const json_t *root, err *e)
{
    const json_t *added = json_object_get(root, "added_tokens");
    size_t n = 0, count = json_array_size(added);
    int32_t *ids = malloc((count ? count : 1) * sizeof *ids);
    bool beside = false;
    if (!ids)
        return err_no_memory(e, r->path, count * sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        const json_t *one = json_array_get(added, i);
        const char *text = json_string_value(json_object_get(one, "content"));
        int32_t id = text && *text ? bpe_find(b, text) : -1;
        beside |= json_is_true(json_object_get(one, "lstrip")) || json_is_true(json_object_get(one, "rstrip"));
        if (id >= 0 && !(r->lowercase && json_is_true(json_object_get(one, "normalized"))))
            ids[n++] = id;
    }
    if (beside)
        log_write(LOG_WARNING,
                  "%s: an added token takes the white space beside it: limn leaves that to the text around it",
                  r->path);
    bool ok = !n || bpe_add(b, r->path, ids, n, e);
    free(ids);
    return ok;
}

/* What is read of the file, with its rules. */
static bpe *build(json_rules *r, const json_t *root, err *e)
{
    const char **tokens = NULL, **merges = NULL;
    char *text = NULL;
    size_t n_tokens, n_merges;
    bpe *b = NULL;
    if (read_rules(r, root, e) && (tokens = bpe_json_tokens(r->path, root, &n_tokens, e)) &&
        (merges = bpe_json_merges(r->path, root, &text, &n_merges, e)))
        b = bpe_build(r->path, tokens, n_tokens, r->path, merges, n_merges, true, r->lowercase, e);
    free(merges);
    free(text);
    free(tokens);
    if (!b)
        return NULL;
    b->nfc = r->nfc;
    b->space_first = r->space_first;
    b->verbatim = true;
    if (json_added(b, r, root, e) &&
        (!r->n_steps || (b->splits = pretokens_new(r->path, (const char *const *)r->steps, r->n_steps, e))))
        return b;
    bpe_free(b);
    return NULL;
}

static bpe *build_all(const char *path, const json_t *root, err *e)
{
    json_rules r = {.path = path};
    bpe *b = build(&r, root, e);
    for (size_t i = 0; i < r.n_steps; i++)
        free(r.steps[i]);
    return b;
}

bpe *bpe_from_json(const char *path, err *e)
{
    json_t *root = json_file_load(path, JSON_REJECT_DUPLICATES, "HuggingFace's tokenizer.json is one", e);
    bpe *b = root ? build_all(path, root, e) : NULL;
    json_decref(root);
    return b;
}

/* ---- Qwen2's, in several files ---- */

/* Of added_tokens.json, {token: id}; or of tokenizer_config.json, {id: {content: token}}: a new list as in
 * tokenizer.json. */
static json_t *added_of(const char *folder, err *e)
{
    char path[4200];
    json_t *list = json_array(), *value;
    const char *key;
    snprintf(path, sizeof path, "%.4100s/added_tokens.json", folder);
    bool apart = access(path, R_OK) == 0;
    if (!apart)
        snprintf(path, sizeof path, "%.4100s/tokenizer_config.json", folder);
    json_t *root = json_file_load(path, JSON_REJECT_DUPLICATES, "it names the tokens that were added", e);
    json_t *tokens = apart ? root : json_object_get(root, "added_tokens_decoder");
    json_object_foreach(tokens, key, value)
    {
        json_t *one = apart ? json_pack("{s:s, s:O}", "content", key, "id", value)
                            : json_pack("{s:O?, s:i}", "content", json_object_get(value, "content"), "id", atoi(key));
        json_array_append_new(list, one);
    }
    json_decref(root);
    if (root)
        return list;
    json_decref(list);
    return NULL;
}

static json_t *merges_of(const char *folder, err *e)
{
    char path[4200], *text = NULL;
    const char **merges = NULL;
    size_t n = 0;
    snprintf(path, sizeof path, "%.4100s/merges.txt", folder);
    json_t *list = bpe_read_merges(path, &text, &merges, &n, e) ? json_array() : NULL;
    for (size_t i = 0; list && i < n; i++)
        if (json_array_append_new(list, json_string(merges[i])) != 0) {
            err_set(e, ERR_FAILED, "%s: line %zu is no UTF-8", path, i + 1);
            json_decref(list);
            list = NULL;
        }
    free(merges);
    free(text);
    return list;
}

bpe *bpe_from_qwen2(const char *folder, err *e)
{
    static const char pattern[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| "
                                  "?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";
    char path[4200];
    bpe *b = NULL;
    snprintf(path, sizeof path, "%.4100s/vocab.json", folder);
    json_t *vocabulary = json_file_load(path, JSON_REJECT_DUPLICATES, "a vocabulary is one of \"token\": id", e);
    json_t *merges = vocabulary ? merges_of(folder, e) : NULL, *added = merges ? added_of(folder, e) : NULL;
    if (added) { /* as its tokenizer.json has them */
        json_t *root =
            json_pack("{s:{s:s}, s:{s:[{s:s, s:{s:s}, s:s}, {s:s, s:b, s:b}]}, s:O, s:{s:s, s:O, s:O}}", "normalizer",
                      "type", "NFC", "pre_tokenizer", "pretokenizers", "type", "Split", "pattern", "Regex", pattern,
                      "behavior", "Isolated", "type", "ByteLevel", "add_prefix_space", 0, "use_regex", 0,
                      "added_tokens", added, "model", "type", "BPE", "vocab", vocabulary, "merges", merges);
        b = root ? build_all(path, root, e) : NULL;
        if (!root)
            err_no_memory(e, path, 1);
        json_decref(root);
    }
    json_decref(added);
    json_decref(merges);
    json_decref(vocabulary);
    return b;
}
