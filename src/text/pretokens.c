/* Taking a text apart by patterns and numbers. */
#include "text/pretokens.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/bpe_split.h"

#ifdef LIMN_PCRE2
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#endif

typedef enum step_kind { STEP_SPLIT, STEP_TEXT, STEP_DIGITS, STEP_NUMBERS, STEP_GPT2 } step_kind;

typedef struct step {
    step_kind kind;
    const char *text; /* of STEP_TEXT and STEP_SPLIT: in pretokens.steps */
    void *code;       /* of STEP_SPLIT: pcre2_code */
} step;

#define STEPS 64 /* at most */

struct pretokens {
    char **steps; /* [n], the strings behind them in one block */
    step *list;   /* [n] */
    size_t n;
};

/* A stretch that stands alone: at[0..bytes), after `before` bytes; false where there is none. */
typedef struct found {
    size_t before, bytes;
} found;

/* ---- patterns ------------------------------------------------------------------------------------------------ */

#ifdef LIMN_PCRE2
bool pretokens_have_patterns(void)
{
    return true;
}

/* As Oniguruma reads them, which HuggingFace's library uses: classes by Unicode, $ also before a line's end. */
static bool compile(step *s, const char *name, err *e)
{
    const uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    int code;
    PCRE2_SIZE at;
    PCRE2_UCHAR why[128];
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context)
        return err_no_memory(e, name, 256);
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    s->code = pcre2_compile((PCRE2_SPTR)s->text, PCRE2_ZERO_TERMINATED, options, &code, &at, context);
    pcre2_compile_context_free(context);
    if (s->code)
        return true;
    char show[64];
    pcre2_get_error_message(code, why, sizeof why);
    return err_set(e, ERR_FAILED, "%s: pattern \"%s\": %s, at byte %zu of it", name, bpe_excerpt(show, s->text),
                   (const char *)why, (size_t)at);
}

static void free_code(void *code)
{
    pcre2_code_free(code);
}

static void *new_matches(const step *s)
{
    return pcre2_match_data_create_from_pattern(s->code, NULL);
}

static void free_matches(void *matches)
{
    pcre2_match_data_free(matches);
}

/* The first match in text[from..bytes) that isn't empty; *any: whether there is one. */
static bool match(const step *s, void *matches, const char *text, size_t bytes, size_t from, found *f, bool *any,
                  err *e)
{
    int n = pcre2_match(s->code, (PCRE2_SPTR)text, bytes, from, PCRE2_NOTEMPTY | PCRE2_NO_UTF_CHECK, matches, NULL);
    *any = n >= 0;
    if (n == PCRE2_ERROR_NOMATCH)
        return true;
    if (n < 0) {
        char show[64];
        PCRE2_UCHAR why[128];
        pcre2_get_error_message(n, why, sizeof why);
        return err_set(e, ERR_FAILED, "text: the tokenizer's pattern \"%s\": %s (a shorter text may do)",
                       bpe_excerpt(show, s->text), (const char *)why);
    }
    const PCRE2_SIZE *ends = pcre2_get_ovector_pointer(matches);
    *f = (found){ends[0] - from, ends[1] - ends[0]};
    return true;
}
#else
bool pretokens_have_patterns(void)
{
    return false;
}

static bool compile(step *s, const char *name, err *e)
{
    char show[64];
    return err_set(e, ERR_FAILED,
                   "%s: its tokenizer splits texts by the pattern \"%s\", and this limn was built without PCRE2 "
                   "(install libpcre2-dev and build it again)",
                   name, bpe_excerpt(show, s->text));
}

static void free_code(void *code)
{
    (void)code;
}

static void *new_matches(const step *s)
{
    (void)s;
    return NULL;
}

static void free_matches(void *matches)
{
    (void)matches;
}

static bool match(const step *s, void *matches, const char *text, size_t bytes, size_t from, found *f, bool *any,
                  err *e)
{
    (void)s, (void)matches, (void)text, (void)bytes, (void)from, (void)f, (void)e;
    return *any = false;
}
#endif

/* ---- the other steps ----------------------------------------------------------------------------------------- */

static bool is_number(const char *text, size_t bytes, size_t *size)
{
    utf8proc_int32_t c;
    *size = (size_t)utf8proc_iterate((const uint8_t *)text, (utf8proc_ssize_t)bytes, &c);
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_ND || k == UTF8PROC_CATEGORY_NL || k == UTF8PROC_CATEGORY_NO;
}

/* The first number of text[0..bytes), or with `run` all that follow one another. */
static bool find_number(const char *text, size_t bytes, bool run, found *f)
{
    size_t at = 0, size;
    while (at < bytes && !is_number(text + at, bytes - at, &size))
        at += size;
    f->before = at;
    f->bytes = 0;
    while (at < bytes && (run || !f->bytes) && is_number(text + at, bytes - at, &size)) {
        at += size;
        f->bytes += size;
    }
    return f->bytes > 0;
}

static bool find_text(const char *text, size_t bytes, const char *what, found *f)
{
    size_t n = strlen(what);
    for (size_t at = 0; n && at + n <= bytes; at++)
        if (!memcmp(text + at, what, n)) {
            *f = (found){at, n};
            return true;
        }
    return false;
}

static bool find(const step *s, void *matches, const char *text, size_t bytes, size_t from, found *f, bool *any, err *e)
{
    const char *rest = text + from;
    size_t left = bytes - from;
    switch (s->kind) {
    case STEP_SPLIT:
        return match(s, matches, text, bytes, from, f, any, e);
    case STEP_TEXT:
        *any = find_text(rest, left, s->text, f);
        break;
    case STEP_DIGITS:
        *any = find_number(rest, left, false, f);
        break;
    case STEP_NUMBERS:
        *any = find_number(rest, left, true, f);
        break;
    case STEP_GPT2:
        *f = (found){0, bpe_piece_bytes(rest, left)};
        *any = true;
        break;
    }
    return true;
}

/* ---- all of them --------------------------------------------------------------------------------------------- */

static bool read_step(step *s, const char *text, const char *name, err *e)
{
    static const struct {
        const char *word;
        step_kind kind;
        bool has_text;
    } words[] = {{"split ", STEP_SPLIT, true},
                 {"text ", STEP_TEXT, true},
                 {"digits", STEP_DIGITS, false},
                 {"numbers", STEP_NUMBERS, false},
                 {"gpt2", STEP_GPT2, false}};
    char show[64];
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (words[i].has_text ? strncmp(text, words[i].word, n) || !text[n] : strcmp(text, words[i].word))
            continue;
        s->kind = words[i].kind;
        s->text = text + n;
        return s->kind != STEP_SPLIT || compile(s, name, e);
    }
    return err_set(e, ERR_FAILED, "%s: its tokenizer splits texts by \"%s\", which this limn doesn't know", name,
                   bpe_excerpt(show, text));
}

pretokens *pretokens_new(const char *name, const char *const *steps, size_t n, err *e)
{
    size_t bytes = n * sizeof(char *);
    if (n > STEPS) {
        err_set(e, ERR_FAILED, "%s: its tokenizer splits texts in %zu steps (at most %d are known)", name, n, STEPS);
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        bytes += strlen(steps[i]) + 1;
    pretokens *p = calloc(1, sizeof *p);
    if (p) {
        p->steps = malloc(bytes ? bytes : 1);
        p->list = calloc(n ? n : 1, sizeof *p->list);
    }
    bool ok = p && p->steps && p->list;
    if (!ok)
        err_no_memory(e, name, bytes);
    char *at = ok ? (char *)(p->steps + n) : NULL;
    for (size_t i = 0; ok && i < n; i++) {
        size_t size = strlen(steps[i]) + 1;
        if (!bpe_is_utf8(steps[i])) {
            ok = err_set(e, ERR_FAILED, "%s: a pattern of its tokenizer is not UTF-8 (the file is damaged)", name);
            break;
        }
        p->steps[i] = memcpy(at, steps[i], size);
        at += size;
        p->n = i + 1;
        ok = read_step(&p->list[i], p->steps[i], name, e);
    }
    if (ok)
        return p;
    pretokens_free(p);
    return NULL;
}

void pretokens_free(pretokens *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->n; i++)
        free_code(p->list[i].code);
    free(p->list);
    free(p->steps);
    free(p);
}

const char *const *pretokens_steps(const pretokens *p, size_t *n)
{
    *n = p->n;
    return (const char *const *)p->steps;
}

/* The steps from i on. */
static bool split_from(const pretokens *p, size_t i, const char *text, size_t bytes, pretokens_take *take,
                       void *context, err *e)
{
    if (!bytes)
        return true;
    if (i == p->n)
        return take(context, text, bytes, e);
    const step *s = &p->list[i];
    void *matches = s->code ? new_matches(s) : NULL;
    bool ok = !s->code || matches || err_no_memory(e, "text", bytes);
    for (size_t at = 0; ok && at < bytes;) {
        found f = {0};
        bool any = false;
        ok = find(s, matches, text, bytes, at, &f, &any, e);
        if (!any)
            f.before = bytes - at;
        ok = ok && split_from(p, i + 1, text + at, f.before, take, context, e) &&
             (!any || split_from(p, i + 1, text + at + f.before, f.bytes, take, context, e));
        at += f.before + f.bytes;
    }
    free_matches(matches);
    return ok;
}

bool pretokens_split(const pretokens *p, const char *text, size_t bytes, pretokens_take *take, void *context, err *e)
{
    return split_from(p, 0, text, bytes, take, context, e);
}
