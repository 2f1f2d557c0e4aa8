/* Captions as T5 reads them in models of pictures: what is taken out, and what takes its place. */
#include "text/caption_clean.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/bpe_split.h"
#include "text/clean.h"
#include "text/fix.h"
#include "text/html.h"
#include "text/pattern.h"

/* More characters than these can't matter to a model of some hundred ids, and patterns take the square of the longest
 * word. */
#define MOST 2048

/* ---- patterns ---- */

typedef struct rule {
    const char *pattern, *to; /* to: \\1 at its beginning is what was found */
} rule;

#define DOMAINS "(?:com|co|ru|net|org|edu|gov|it)"
#define FILES   "(?:png|jpg|jpeg|bmp|webp|eps|pdf|apk|mp4)"

/* Before HTML is read. */
static const rule addresses[] = {
    {"<person>", "person"},
    {"\\b((?:https?:(?:\\/{1,3}|[a-zA-Z0-9%])|[a-zA-Z0-9.\\-]+[.]" DOMAINS "[\\w/-]*\\b\\/?(?!@)))", ""},
    {"\\b((?:www:(?:\\/{1,3}|[a-zA-Z0-9%])|[a-zA-Z0-9.\\-]+[.]" DOMAINS "[\\w/-]*\\b\\/?(?!@)))", ""},
};

static const rule marks[] = {
    {"@[\\w\\d]+\\b", ""},
    {"[\u31C0-\u31EF]+", ""}, /* strokes of Chinese characters, and blocks up to these themselves */
    {"[\u31F0-\u31FF]+", ""},
    {"[\u3200-\u32FF]+", ""},
    {"[\u3300-\u33FF]+", ""},
    {"[\u3400-\u4DBF]+", ""},
    {"[\u4DC0-\u4DFF]+", ""},
    {"[\u4E00-\u9FFF]+", ""},
    {"[\\-\u058A\u05BE\u1400\u1806\u2010-\u2015\u2E17\u2E1A\u2E3A\u2E3B\u2E40\u301C\u3030\u30A0\uFE31\uFE32\uFE58"
     "\uFE63\uFF0D]+",
     "-"},
    {"[`\u00B4\u00AB\u00BB\u201C\u201D\u00A8]", "\""},
    {"[\u2018\u2019]", "'"},
    {"&quot;?", ""},
    {"&amp", ""},
    {"\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}\\.\\d{1,3}", " "}, /* addresses of computers */
    {"\\d:\\d\\d\\s+$", ""},
    {"\\\\n", " "},
    {"#\\d{1,3}\\b", ""},
    {"#\\d{5,}\\b", ""},
    {"\\b\\d{6,}\\b", ""},
    {"[\\S]+\\." FILES, ""},
    {"[\"']{2,}", "\""},
    {"[\\.]{2,}", " "},
    {"[#\u00AE\u2022\u00A9\u2122&@\u00B7\u00BA\u00BD\u00BE\u00BF\u00A1\u00A7~\\)\\(\\]\\[\\}\\{\\|\\\\\\/\\*]{1,}",
     " "},
    {"\\s+\\.\\s+", " "},
};

/* Words that stand apart with these; only where there are more than 3. */
static const rule hyphens = {"(?:\\-|\\_)", " "};
enum { HYPHENS = 3 };

/* After ftfy. */
static const rule words[] = {
    {"\\b[a-zA-Z]{1,3}\\d{3,15}\\b", ""}, /* jc6640 */
    {"\\b[a-zA-Z]+\\d+[a-zA-Z]+\\b", ""}, /* jc6640vc */
    {"\\b\\d+[a-zA-Z]+\\d+\\b", ""},      /* 6640vc231 */
    {"(worldwide\\s+)?(free\\s+)?shipping", ""},
    {"(free\\s)?download(\\sfree)?", ""},
    {"\\bclick\\b\\s(?:for|on)\\s\\w+", ""},
    {"\\b" FILES "(\\simage[s]?)?", ""},
    {"\\bpage\\s+\\d+\\b", ""},
    {"\\b\\d*[a-zA-Z]+\\d+[a-zA-Z]+\\d+[a-zA-Z\\d]*\\b", " "}, /* j2d1a2a */
    {"\\b\\d+\\.?\\d*[x\u0445\u00D7]\\d+\\.?\\d*\\b", ""},     /* 1920x1080 */
    {"\\b\\s+\\:\\s+", ": "},
    {"(\\D[,\\./])\\b", "\\1 "},
    {"\\s+", " "},
};

static const rule ends[] = {
    {"^['\\_,\\-\\:;]", ""},
    {"['\\_,\\-\\:\\-\\+]$", ""},
    {"^\\.\\S+$", ""},
};

/* ---- a text of characters ---- */

typedef struct caption {
    int32_t *c;
    size_t n, room;
} caption;

static void put(caption *t, int32_t c)
{
    t->c[t->n++] = c;
}

static void put_text(caption *t, const char *text)
{
    utf8proc_int32_t c;
    for (const uint8_t *at = (const uint8_t *)text; *at; put(t, c))
        at += utf8proc_iterate(at, -1, &c);
}

/* Room for n characters more. */
static bool need(caption *t, size_t n, err *e)
{
    if (t->n + n <= t->room)
        return true;
    int32_t *more = realloc(t->c, (t->n + n) * sizeof *more);
    if (!more)
        return err_no_memory(e, "text", (t->n + n) * sizeof *more);
    t->c = more;
    t->room = t->n + n;
    return true;
}

/* Of valid UTF-8. */
static bool read_text(caption *t, const char *text, err *e)
{
    t->n = 0;
    if (!need(t, strlen(text) + 1, e))
        return false;
    put_text(t, text);
    return true;
}

static char *to_text(const caption *t, err *e)
{
    char *text = malloc(4 * t->n + 1), *at = text;
    if (!text) {
        err_no_memory(e, "text", 4 * t->n + 1);
        return NULL;
    }
    for (size_t i = 0; i < t->n; i++)
        at += utf8proc_encode_char(t->c[i], (uint8_t *)at);
    *at = 0;
    return text;
}

static void swap(caption *a, caption *b)
{
    caption old = *a;
    *a = *b;
    *b = old;
}

/* Both are alike: t is what it becomes, `other` memory. */
static bool apply(caption *t, caption *other, const rule *k, err *e)
{
    bool keeps = !strncmp(k->to, "\\1", 2);
    other->n = 0;
    if (!need(other, 2 * t->n, e)) /* no rule makes more of what it finds */
        return false;
    for (size_t at = 0; at < t->n;) {
        size_t end = pattern_match(k->pattern, t->c, t->n, at);
        bool found = end != SIZE_MAX && end > at;
        size_t kept = found && !keeps ? 0 : found ? end - at : 1;
        for (size_t i = 0; i < kept; i++)
            put(other, t->c[at + i]);
        if (found)
            put_text(other, k->to + 2 * keeps);
        at = found ? end : at + 1;
    }
    swap(t, other);
    return true;
}

static bool apply_all(caption *t, caption *other, const rule *k, size_t n, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!apply(t, other, &k[i], e))
            return false;
    return true;
}
#define APPLY(t, other, rules, e) apply_all(t, other, rules, sizeof(rules) / sizeof *(rules), e)

static void strip(caption *t)
{
    size_t first = 0;
    while (t->n && clean_is_space(t->c[t->n - 1]))
        t->n--;
    while (first < t->n && clean_is_space(t->c[first]))
        first++;
    t->n -= first;
    memmove(t->c, t->c + first, t->n * sizeof *t->c);
}

/* ---- steps ---- */

static int hex_of(int32_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* The byte of %XX at `at`, or -1. */
static int percent(const caption *t, size_t at)
{
    if (at + 2 >= t->n || t->c[at] != '%' || hex_of(t->c[at + 1]) < 0 || hex_of(t->c[at + 2]) < 0)
        return -1;
    return hex_of(t->c[at + 1]) * 16 + hex_of(t->c[at + 2]);
}

/* As in addresses of pages: + is a space, %XX a byte of UTF-8. */
static void unquote(caption *t)
{
    size_t kept = 0;
    for (size_t at = 0; at < t->n;) {
        uint8_t bytes[4];
        utf8proc_ssize_t n = 0, k = 0;
        utf8proc_int32_t c = 0;
        while (n < 4 && percent(t, at + 3 * (size_t)n) >= 0) {
            bytes[n] = (uint8_t)percent(t, at + 3 * (size_t)n);
            n++;
        }
        if (n)
            k = utf8proc_iterate(bytes, n, &c);
        if (n && k < 1) {
            c = 0xFFFD;
            k = 1;
        }
        t->c[kept++] = n ? c : t->c[at] == '+' ? ' ' : t->c[at];
        at += n ? 3 * (size_t)k : 1;
    }
    t->n = kept;
}

static bool is_cased(int32_t c)
{
    utf8proc_category_t k = utf8proc_category(c);
    return k == UTF8PROC_CATEGORY_LU || k == UTF8PROC_CATEGORY_LL || k == UTF8PROC_CATEGORY_LT;
}

/* What may stand within a word, and has no case: Unicode's Case_Ignorable. */
static bool is_within(int32_t c)
{
    static const int32_t marks_within[] = {'\'',   '.',    ':',    0xB7,   0x387,  0x55F,  0x5F4,  0x2018, 0x2019,
                                           0x2024, 0x2027, 0xFE13, 0xFE52, 0xFE55, 0xFF07, 0xFF0E, 0xFF1A};
    utf8proc_category_t k = utf8proc_category(c);
    bool within = k == UTF8PROC_CATEGORY_MN || k == UTF8PROC_CATEGORY_ME || k == UTF8PROC_CATEGORY_CF ||
                  k == UTF8PROC_CATEGORY_LM || k == UTF8PROC_CATEGORY_SK;
    for (size_t i = 0; !within && i < sizeof marks_within / sizeof *marks_within; i++)
        within = c == marks_within[i];
    return within;
}

/* Whether the letter at `at` is the last one of a word, and not its only one. */
static bool ends_word(const caption *t, size_t at)
{
    size_t before = at, after = at + 1;
    while (before > 0 && is_within(t->c[before - 1]))
        before--;
    while (after < t->n && is_within(t->c[after]))
        after++;
    return before > 0 && is_cased(t->c[before - 1]) && (after == t->n || !is_cased(t->c[after]));
}

/* As Python's lower(): a capital sigma at the end of a word has a form of its own, and a dotted I keeps its dot. */
static bool lower(caption *t, caption *other, err *e)
{
    other->n = 0;
    if (!need(other, 2 * t->n, e))
        return false;
    for (size_t i = 0; i < t->n; i++) {
        int32_t c = t->c[i];
        put(other, c == 0x3A3 && ends_word(t, i) ? 0x3C2 : c == 0x130 ? 'i' : utf8proc_tolower(c));
        if (c == 0x130)
            put(other, 0x307);
    }
    swap(t, other);
    return true;
}

static bool fix(caption *t, err *e)
{
    size_t bytes;
    char *text = to_text(t, e), *fixed = text ? fix_text(text, &bytes, e) : NULL;
    bool ok = fixed && read_text(t, fixed, e);
    free(text);
    free(fixed);
    if (ok)
        strip(t);
    return ok;
}

static bool drop_hyphens(caption *t, caption *other, err *e)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++)
        n += t->c[i] == '-' || t->c[i] == '_';
    return n <= HYPHENS || apply(t, other, &hyphens, e);
}

/* Quotes around all of it. */
static void unwrap(caption *t)
{
    bool newline = t->n && t->c[t->n - 1] == '\n';
    size_t n = t->n - newline;
    if (n < 3 || (t->c[0] != '"' && t->c[0] != '\'') || (t->c[n - 1] != '"' && t->c[n - 1] != '\''))
        return;
    memmove(t->c, t->c + 1, (n - 2) * sizeof *t->c);
    t->n = n - 2;
}

static bool clean_once(caption *t, caption *other, err *e)
{
    unquote(t);
    strip(t);
    if (!lower(t, other, e) || !APPLY(t, other, addresses, e))
        return false;
    t->n = html_text(t->c, t->n);
    if (!APPLY(t, other, marks, e) || !drop_hyphens(t, other, e) || !fix(t, e) || !APPLY(t, other, words, e))
        return false;
    unwrap(t);
    if (!APPLY(t, other, ends, e))
        return false;
    strip(t);
    return true;
}

char *caption_clean(const char *text, err *e)
{
    caption t = {0}, other = {0};
    size_t bytes;
    char *valid = bpe_normalise(text, false, &bytes, e), *cleaned = NULL;
    bool ok = valid && read_text(&t, valid, e);
    t.n = t.n < MOST ? t.n : MOST;
    for (int pass = 0; ok && pass < 2; pass++) /* as captions were in training */
        ok = clean_once(&t, &other, e);
    if (ok)
        cleaned = to_text(&t, e);
    free(valid);
    free(t.c);
    free(other.c);
    return cleaned;
}
