/* ruDALL-E's tokenizer: a model of YouTokenToMe (github.com/VKCOM/YouTokenToMe, class BPEState), in which words begin
 * with U+2581 and merges are of ids.  As ruDALL-E uses it: text in lower case, between the ids of begin and end. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "base/file.h"
#include "text/bpe_split.h"
#include "text/clean.h"
#include "text/tokenizer.h"

#define KEY_CHARACTERS "limn.tokenizer.characters" /* code point, id, … */
#define KEY_RULES      "limn.tokenizer.rules"      /* left, right, result, … */
#define KEY_SPECIALS   "limn.tokenizer.specials"   /* unknown, padding, begin, end */
#define WORD_START     0x2581
#define MOST_IDS       (1 << 22)
#define LONGEST_TOKEN  256
#define LONGEST_WORD   4096 /* merging takes the square of it */

enum { UNKNOWN, PADDING, BEGIN, END, SPECIALS };

/* A pair of numbers and what it stands for, in order of the pair. */
typedef struct entry {
    int64_t key;
    int32_t value;
} entry;

typedef struct yttm {
    entry *characters; /* code point -> id */
    entry *rules;      /* left << 32 | right -> rank */
    int32_t *results;  /* [n_rules] by rank */
    size_t n_characters, n_rules, n_ids;
    int64_t specials[SPECIALS];
    int32_t word_start;
    char **tokens; /* [n_ids], each its own string or NULL */
} yttm;

static void free_self(void *self)
{
    yttm *t = self;
    for (size_t i = 0; t->tokens && i < t->n_ids; i++)
        free(t->tokens[i]);
    free(t->tokens);
    free(t->characters);
    free(t->rules);
    free(t->results);
    free(t);
}

/* ---- building ---- */

static int by_key(const void *a, const void *b)
{
    int64_t x = ((const entry *)a)->key, y = ((const entry *)b)->key;
    return x < y ? -1 : x > y;
}

static int32_t find(const entry *list, size_t n, int64_t key)
{
    const entry *found = bsearch(&(entry){.key = key}, list, n, sizeof *list, by_key);
    return found ? found->value : -1;
}

static bool sorted_once(entry *list, size_t n)
{
    qsort(list, n, sizeof *list, by_key);
    for (size_t i = 1; i < n; i++)
        if (list[i].key == list[i - 1].key)
            return false;
    return true;
}

/* Where all numbers are ids, how many ids there are: one for each character, rule and special. */
static bool count_ids(yttm *t, const int64_t *ids, size_t n, size_t first, size_t step, const char *name, err *e)
{
    int64_t most = (int64_t)(t->n_characters + t->n_rules + SPECIALS);
    for (size_t i = 0; i < n; i++) {
        if (i % step < first)
            continue;
        if (ids[i] < 0 || ids[i] >= most)
            return err_set(e, ERR_FAILED, "%s: id %" PRId64 " is outside of 0 to %" PRId64, name, ids[i], most - 1);
        if ((size_t)ids[i] >= t->n_ids)
            t->n_ids = (size_t)ids[i] + 1;
    }
    return true;
}

/* The texts of the ids; of a rule's the joined ones of its parts, which must come before it. */
static bool make_tokens(yttm *t, const int64_t *characters, const int64_t *rules, const char *name, err *e)
{
    static const char *const names[SPECIALS] = {"<UNK>", "<PAD>", "<BOS>", "<EOS>"};
    t->tokens = calloc(t->n_ids, sizeof *t->tokens);
    char text[2 * LONGEST_TOKEN];
    if (!t->tokens)
        return err_no_memory(e, name, t->n_ids * sizeof *t->tokens);
    for (size_t i = 0; i < SPECIALS + t->n_characters + t->n_rules; i++) {
        int64_t id;
        if (i < SPECIALS) {
            id = t->specials[i];
            snprintf(text, sizeof text, "%s", names[i]);
        } else if (i < SPECIALS + t->n_characters) {
            const int64_t *c = characters + 2 * (i - SPECIALS);
            id = c[1];
            text[utf8proc_encode_char((utf8proc_int32_t)c[0], (uint8_t *)text)] = 0;
        } else {
            const int64_t *rule = rules + 3 * (i - SPECIALS - t->n_characters);
            const char *left = t->tokens[rule[0]], *right = t->tokens[rule[1]];
            id = rule[2];
            if (!left || !right || strlen(left) + strlen(right) >= LONGEST_TOKEN)
                return err_set(e, ERR_FAILED, "%s: rule %zu joins what is no token yet, or too long (it is damaged)",
                               name, i - SPECIALS - t->n_characters);
            snprintf(text, sizeof text, "%s%s", left, right);
        }
        if (t->tokens[id])
            return err_set(e, ERR_FAILED, "%s: id %" PRId64 " is given twice", name, id);
        if (!(t->tokens[id] = strdup(text)))
            return err_no_memory(e, name, sizeof text);
    }
    return true;
}

static bool fill(yttm *t, const int64_t *characters, const int64_t *rules, const char *name, err *e)
{
    size_t n = t->n_characters, m = t->n_rules;
    if (!count_ids(t, characters, 2 * n, 1, 2, name, e) || !count_ids(t, rules, 3 * m, 0, 3, name, e) ||
        !count_ids(t, t->specials, SPECIALS, 0, 1, name, e))
        return false;
    t->characters = calloc(n + 1, sizeof *t->characters);
    t->rules = calloc(m + 1, sizeof *t->rules);
    t->results = calloc(m + 1, sizeof *t->results);
    if (!t->characters || !t->rules || !t->results)
        return err_no_memory(e, name, m * sizeof *t->rules);
    for (size_t i = 0; i < n; i++) {
        t->characters[i] = (entry){characters[2 * i], (int32_t)characters[2 * i + 1]};
        if (!utf8proc_codepoint_valid((utf8proc_int32_t)characters[2 * i]) || characters[2 * i] <= 0 ||
            characters[2 * i] > 0x10FFFF)
            return err_set(e, ERR_FAILED, "%s: %" PRId64 " is no character", name, characters[2 * i]);
    }
    for (size_t i = 0; i < m; i++) {
        t->rules[i] = (entry){rules[3 * i] << 32 | rules[3 * i + 1], (int32_t)i};
        t->results[i] = (int32_t)rules[3 * i + 2];
    }
    if (!sorted_once(t->characters, n) || !sorted_once(t->rules, m))
        return err_set(e, ERR_FAILED, "%s: a character or a pair is there twice", name);
    t->word_start = find(t->characters, n, WORD_START);
    if (t->word_start < 0)
        return err_set(e, ERR_FAILED,
                       "%s: U+2581, with which words begin, has no id (is this a model of YouTokenToMe?)", name);
    return make_tokens(t, characters, rules, name, e);
}

static yttm *build(const char *name, const int64_t *characters, size_t n_characters, const int64_t *rules,
                   size_t n_rules, const int64_t specials[SPECIALS], err *e)
{
    yttm *t = calloc(1, sizeof *t);
    if (!t) {
        err_no_memory(e, name, sizeof *t);
        return NULL;
    }
    t->n_characters = n_characters;
    t->n_rules = n_rules;
    memcpy(t->specials, specials, sizeof t->specials);
    if (!fill(t, characters, rules, name, e)) {
        free_self(t);
        return NULL;
    }
    return t;
}

static void *open_self(const gguf *g, err *e)
{
    const int64_t *characters, *rules, *specials;
    size_t n_characters, n_rules, n_specials;
    if (!gguf_get_ints(g, KEY_CHARACTERS, &characters, &n_characters, e) ||
        !gguf_get_ints(g, KEY_RULES, &rules, &n_rules, e) || !gguf_get_ints(g, KEY_SPECIALS, &specials, &n_specials, e))
        return NULL;
    if (n_characters % 2 || n_rules % 3 || n_specials != SPECIALS) {
        err_set(e, ERR_FAILED, "%s: the keys limn.tokenizer.* have lists of another length", gguf_name(g));
        return NULL;
    }
    return build(gguf_name(g), characters, n_characters / 2, rules, n_rules / 3, specials, e);
}

static size_t size_of(const void *self)
{
    return ((const yttm *)self)->n_ids;
}

static const char *token_of(const void *self, int32_t id)
{
    const char *text = ((const yttm *)self)->tokens[id];
    return text ? text : "";
}

/* ---- encoding ---- */

/* Joins the pair of lowest rank, the leftmost of equals, until there is none. */
static size_t merge(const yttm *t, int32_t *ids, size_t n)
{
    for (;;) {
        int32_t best = -1;
        size_t at = 0;
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t rank =
                ids[i] < 0 || ids[i + 1] < 0 ? -1 : find(t->rules, t->n_rules, (int64_t)ids[i] << 32 | ids[i + 1]);
            if (rank >= 0 && (best < 0 || rank < best)) {
                best = rank;
                at = i;
            }
        }
        if (best < 0)
            return n;
        ids[at] = t->results[best];
        memmove(ids + at + 1, ids + at + 2, (n - at - 2) * sizeof *ids);
        n--;
    }
}

/* As the library has it: of ASCII what C's isspace says, and U+2581.  Other white space, which its models don't know,
 * parts words too, rather than be an unknown character. */
static bool is_space(utf8proc_int32_t c, int32_t id)
{
    return c == ' ' || (c >= 9 && c <= 13) || c == WORD_START || (id < 0 && clean_is_space(c));
}

/* Composed characters in small letters. */
static char *prepare(const char *text, size_t *bytes, err *e)
{
    char *composed = clean_compose(text, bytes, e), *low = composed ? bpe_normalise(composed, true, bytes, e) : NULL;
    free(composed);
    return low;
}

static bool encode(const void *self, const char *text, int32_t **ids, size_t *n, err *e)
{
    const yttm *t = self;
    size_t bytes;
    *ids = NULL;
    *n = 0;
    char *in = prepare(text, &bytes, e);
    if (!in)
        return false;
    int32_t *out = malloc((2 * bytes + 2) * sizeof *out); /* a word start for each byte at most */
    bool ok = out ? true : err_no_memory(e, "text", (2 * bytes + 2) * sizeof *out);
    if (ok)
        out[(*n)++] = (int32_t)t->specials[BEGIN];
    for (size_t at = 0; ok && at < bytes;) {
        int32_t *word = out + *n;
        size_t count = 0;
        while (at < bytes) {
            utf8proc_int32_t c;
            at += (size_t)utf8proc_iterate((const uint8_t *)in + at, (utf8proc_ssize_t)(bytes - at), &c);
            int32_t id = find(t->characters, t->n_characters, c);
            if (is_space(c, id))
                break;
            if (id < 0 && clean_is_invisible(c))
                continue;
            if (!count)
                word[count++] = t->word_start;
            if (id >= 0 || word[count - 1] >= 0) /* unknown characters side by side are one */
                word[count++] = id;
        }
        if (count > LONGEST_WORD)
            ok = err_set(e, ERR_FAILED, "text: a word of %zu characters is too long (the most is %d)", count - 1,
                         LONGEST_WORD - 1);
        else
            *n += merge(t, word, count);
    }
    for (size_t i = 0; ok && i < *n; i++)
        out[i] = out[i] < 0 ? (int32_t)t->specials[UNKNOWN] : out[i];
    free(in);
    if (!ok) {
        free(out);
        *n = 0;
        return false;
    }
    out[(*n)++] = (int32_t)t->specials[END];
    *ids = out;
    return true;
}

/* ---- the published file ---- */

/* The next `n` whole numbers of text as a new array; NULL where there are fewer. */
static int64_t *read_numbers(const char **at, size_t n)
{
    size_t most = strlen(*at) / 2 + 1; /* a digit and a space each: what is allocated is in proportion to the file */
    int64_t *out = n <= most ? calloc(n ? n : 1, sizeof *out) : NULL;
    for (size_t i = 0; out && i < n; i++) {
        char *end;
        out[i] = strtoll(*at, &end, 10);
        if (end == *at) {
            free(out);
            return NULL;
        }
        *at = end;
    }
    return out;
}

static bool put_file(gguf_writer *w, const char *path, const char *text, size_t *size, err *e)
{
    const char *at = text + bpe_text_start(text, strlen(text));
    int64_t *counts = read_numbers(&at, 2), *characters = NULL, *rules = NULL, *specials = NULL;
    yttm *t = NULL;
    if (counts && counts[0] > 0 && counts[0] <= MOST_IDS && counts[1] >= 0 && counts[1] <= MOST_IDS) {
        characters = read_numbers(&at, 2 * (size_t)counts[0]);
        rules = characters ? read_numbers(&at, 3 * (size_t)counts[1]) : NULL;
        specials = rules ? read_numbers(&at, SPECIALS) : NULL;
    }
    if (specials)
        t = build(path, characters, (size_t)counts[0], rules, (size_t)counts[1], specials, e);
    else
        err_set(e, ERR_FAILED, "%s: not a model of YouTokenToMe (numbers of characters and of rules, then these)",
                path);
    if (t) {
        gguf_put_ints(w, KEY_CHARACTERS, characters, 2 * t->n_characters);
        gguf_put_ints(w, KEY_RULES, rules, 3 * t->n_rules);
        gguf_put_ints(w, KEY_SPECIALS, specials, SPECIALS);
        *size = t->n_ids;
        free_self(t);
    }
    free(counts);
    free(characters);
    free(rules);
    free(specials);
    return t != NULL;
}

/* path: the model, or the folder of bpe.model. */
static bool import_path(gguf_writer *w, const char *path, size_t *size, err *e)
{
    char inside[4200];
    file_map file = {0};
    snprintf(inside, sizeof inside, "%s/bpe.model", path);
    if (!file_map_open(&file, inside, NULL)) {
        snprintf(inside, sizeof inside, "%s", path);
        if (!file_map_open(&file, inside, e))
            return false;
    }
    char *text = calloc(file.size + 1, 1);
    bool ok = text ? true : err_no_memory(e, path, file.size + 1);
    if (ok && file.size)
        memcpy(text, file.data, file.size);
    ok = ok && put_file(w, inside, text, size, e);
    free(text);
    file_map_release(&file);
    return ok;
}

static bool lacks(const void *self, const char *word)
{
    const yttm *t = self;
    size_t n = 0;
    int32_t *ids = NULL;
    bool missing = false;
    if (encode(self, word, &ids, &n, NULL))
        for (size_t i = 0; i < n && !missing; i++)
            missing = ids[i] == (int32_t)t->specials[UNKNOWN];
    free(ids);
    return missing;
}

const tokenizer_kind tokenizer_yttm = {"yttm", open_self,   free_self, size_of, token_of,
                                       encode, import_path, lacks,     NULL};
