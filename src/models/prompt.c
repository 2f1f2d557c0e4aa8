/* Prompts in the form that a model was trained with. */
#include "models/prompt.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

#include "base/os.h"
#include "text/caption_clean.h"
#include "text/clean.h"

static const char *const before_key = "limn.prompt.before", *const after_key = "limn.prompt.after",
                         *const cleans_key = "limn.prompt.clean", *const begins_key = "tokenizer.ggml.add_bos_token",
                         *const begin_id_key = "tokenizer.ggml.bos_token_id",
                         *const ends_key = "tokenizer.ggml.add_eos_token",
                         *const end_id_key = "tokenizer.ggml.eos_token_id";

/* Those of negative prompts, which a file has all of, or none. */
enum { NEGATIVE = 4 };
static const struct {
    const char *key;
    size_t at;
} negative_keys[NEGATIVE] = {{"limn.prompt.negative_before", offsetof(prompt_form, negative_before)},
                             {"limn.prompt.negative_after", offsetof(prompt_form, negative_after)},
                             {"limn.prompt.negative", offsetof(prompt_form, negative)},
                             {"limn.prompt.empty", offsetof(prompt_form, empty)}};

static bool read_negative(prompt_form *f, const gguf *g, err *e)
{
    bool ok = true, there = gguf_has(g, negative_keys[0].key);
    for (int i = 0; ok && there && i < NEGATIVE; i++)
        ok = gguf_get_string(g, negative_keys[i].key, (const char **)((char *)f + negative_keys[i].at), e);
    return ok;
}

bool prompt_form_read(prompt_form *f, const gguf *g, err *e)
{
    bool begins = false;
    int64_t id = -1, end = -1;
    *f = (prompt_form){.begin_id = -1};
    bool ok = (!gguf_has(g, cleans_key) || gguf_get_bool(g, cleans_key, &f->cleans, e)) &&
              (!gguf_has(g, before_key) ||
               (gguf_get_string(g, before_key, &f->before, e) && gguf_get_string(g, after_key, &f->after, e))) &&
              read_negative(f, g, e) && (!gguf_has(g, begins_key) || gguf_get_bool(g, begins_key, &begins, e)) &&
              (!begins || gguf_get_int(g, begin_id_key, 0, INT32_MAX, &id, e)) &&
              (!gguf_has(g, ends_key) || gguf_get_bool(g, ends_key, &f->ends, e)) &&
              (!f->ends || gguf_get_int(g, end_id_key, 0, INT32_MAX, &end, e));
    f->begin_id = (int)id;
    f->end_id = (int)end;
    return ok;
}

void prompt_form_put(const prompt_form *f, gguf_writer *w)
{
    if (f->before) {
        gguf_put_string(w, before_key, f->before);
        gguf_put_string(w, after_key, f->after);
    }
    for (int i = 0; f->negative_before && i < NEGATIVE; i++)
        gguf_put_string(w, negative_keys[i].key, *(const char *const *)((const char *)f + negative_keys[i].at));
    if (f->cleans)
        gguf_put_bool(w, cleans_key, true);
    if (f->begin_id >= 0) {
        gguf_put_bool(w, begins_key, true);
        gguf_put_int(w, begin_id_key, f->begin_id);
    }
    if (f->ends) {
        gguf_put_bool(w, ends_key, true);
        gguf_put_int(w, end_id_key, f->end_id);
    }
}

/* The text in the middle of what the model was trained with: a new string. */
static char *put_around(const prompt_form *f, const char *text, err *e)
{
    const uint8_t *in = (const uint8_t *)text;
    size_t n = strlen(text), first = 0, last = 0, before = strlen(f->before), after = strlen(f->after);
    for (size_t at = 0; at < n;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate(in + at, (utf8proc_ssize_t)(n - at), &c);
        bool space = k > 0 && clean_is_space(c);
        at += k > 0 ? (size_t)k : 1; /* the tokenizer refuses what is no UTF-8 */
        first = space && !last ? at : first;
        last = space ? last : at;
    }
    n = last > first ? last - first : 0;
    char *whole = malloc(before + n + after + 1);
    if (!whole) {
        err_no_memory(e, "prompt", before + n + after + 1);
        return NULL;
    }
    memcpy(whole, f->before, before);
    memcpy(whole + before, text + first, n);
    memcpy(whole + before + n, f->after, after + 1);
    return whole;
}

/* Puts the form's ids before and behind the others. */
static bool put_ids_around(const prompt_form *f, int32_t **ids, size_t *n, err *e)
{
    size_t first = f->begin_id >= 0, all = first + *n + f->ends;
    int32_t *more = all > *n ? realloc(*ids, all * sizeof *more) : *ids;
    if (!more && all)
        return err_no_memory(e, "prompt", all * sizeof *more);
    if (first) {
        memmove(more + 1, more, *n * sizeof *more);
        more[0] = f->begin_id;
    }
    if (f->ends)
        more[all - 1] = f->end_id;
    *ids = more;
    *n = all;
    return true;
}

/* ---- words with ids of their own ---- */

static bool is_part(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (c & 0x80);
}

/* The longest word that stands at text + at; NULL: none does. */
static const prompt_word *word_at(const prompt_form *f, const char *text, size_t at)
{
    const prompt_word *best = NULL;
    for (size_t i = 0; i < f->n_words; i++) {
        const char *word = f->words[i].text;
        size_t n = strlen(word);
        if (strncasecmp(text + at, word, n) != 0 || (at && is_part(text[at - 1]) && is_part(word[0])) ||
            (is_part(word[n - 1]) && is_part(text[at + n])) || (best && n <= strlen(best->text)))
            continue;
        best = &f->words[i];
    }
    return best;
}

/* Appends the ids of text[0, bytes), and those of a word (or NULL). */
static bool append(const tokenizer *t, const char *text, size_t bytes, const prompt_word *word, int32_t **ids,
                   size_t *n, err *e)
{
    int32_t *own = NULL;
    size_t count = 0, more = word ? (size_t)word->n : 0;
    char *part = strndup(text, bytes);
    bool ok = part ? tokenizer_encode(t, part, &own, &count, e) : err_no_memory(e, "prompt", bytes);
    int32_t *grown = ok && count + more ? realloc(*ids, (*n + count + more) * sizeof *grown) : *ids;
    if (ok && count + more && !grown)
        ok = err_no_memory(e, "prompt", (*n + count + more) * sizeof *grown);
    if (ok && count + more) {
        *ids = grown;
        if (count)
            memcpy(grown + *n, own, count * sizeof *grown);
        for (size_t i = 0; i < more; i++)
            grown[*n + count + i] = word->first + (int32_t)i;
        *n += count + more;
    }
    free(own);
    free(part);
    return ok;
}

/* tokenizer_encode, but for such words. */
static bool encode(const prompt_form *f, const tokenizer *t, const char *text, int32_t **ids, size_t *n, err *e)
{
    size_t first = 0, at = 0;
    bool ok = true;
    if (!f->n_words)
        return tokenizer_encode(t, text, ids, n, e);
    while (ok && text[at]) {
        const prompt_word *word = word_at(f, text, at);
        at += word ? 0 : 1;
        if (!word)
            continue;
        ok = append(t, text + first, at - first, word, ids, n, e);
        first = at += strlen(word->text);
    }
    ok = ok && append(t, text + first, at - first, NULL, ids, n, e);
    if (!ok) {
        free(*ids);
        *ids = NULL;
        *n = 0;
    }
    return ok;
}

bool prompt_tokenize_dropout(const prompt_form *f, const tokenizer *t, const char *text, const bpe_dropout *d,
                             int32_t **ids, size_t *n, err *e)
{
    char *clean = f->cleans ? caption_clean(text, e) : NULL;
    char *around = f->before && (clean || !f->cleans) ? put_around(f, clean ? clean : text, e) : NULL;
    const char *whole = around ? around : clean ? clean : text;
    bool ok = (clean || !f->cleans) && (around || !f->before);
    *ids = NULL;
    *n = 0;
    ok = ok && (d ? tokenizer_encode_dropout(t, whole, d, ids, n, e) : encode(f, t, whole, ids, n, e));
    free(around);
    free(clean);
    if (!ok || put_ids_around(f, ids, n, e))
        return ok;
    free(*ids);
    *ids = NULL;
    *n = 0;
    return false;
}

bool prompt_tokenize(const prompt_form *f, const tokenizer *t, const char *text, int32_t **ids, size_t *n, err *e)
{
    return prompt_tokenize_dropout(f, t, text, NULL, ids, n, e);
}

bool prompt_tokenize_negative(const prompt_form *f, const tokenizer *t, const char *text, int32_t **ids, size_t *n,
                              err *e)
{
    prompt_form own = *f;
    own.before = f->negative_before;
    own.after = f->negative_after;
    if (!f->negative_before)
        return prompt_tokenize(f, t, text, ids, n, e);
    if (text[strspn(text, " \t\r\n")])
        return prompt_tokenize(&own, t, text, ids, n, e);
    own.before = own.after = NULL;
    return prompt_tokenize(&own, t, f->empty, ids, n, e);
}

void prompt_warn(const prompt_form *f, tokenizer *t, const char *name, const char *text)
{
    char *clean = f->cleans ? caption_clean(text, NULL) : NULL;
    tokenizer_warn(t, name, clean ? clean : text);
    free(clean);
}
