/* The text of HTML: what tags surround. */
#include "text/html.h"

#include <stdbool.h>
#include <string.h>
#include <utf8proc.h>

#include "text/clean.h"
#include "text/fix.h"

typedef struct page {
    int32_t *c;
    size_t n;
} page;

static bool is_letter(int32_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_digit(int32_t c)
{
    return c >= '0' && c <= '9';
}

static int32_t at_of(const page *p, size_t at)
{
    return at < p->n ? p->c[at] : 0;
}

/* Whether the text goes on so, letters of any case. */
static bool goes_on(const page *p, size_t at, const char *what)
{
    for (; *what; what++, at++)
        if (at >= p->n || (at_of(p, at) | (is_letter(at_of(p, at)) ? 32 : 0)) != *what)
            return false;
    return true;
}

/* Behind the next `what`; 0: there is none. */
static size_t behind(const page *p, size_t at, const char *what)
{
    for (; at < p->n; at++)
        if (goes_on(p, at, what))
            return at + strlen(what);
    return 0;
}

static size_t behind_comment(const page *p, size_t at)
{
    for (size_t end; (at = behind(p, at, "--")); at--) {
        for (end = at; clean_is_space(at_of(p, end));)
            end++;
        if (at_of(p, end) == '>')
            return end + 1;
    }
    return 0;
}

/* Behind the tag that begins at `at`; a > between quotes doesn't end it.  0: it has no end. */
static size_t behind_tag(const page *p, size_t at)
{
    for (bool value = false; at < p->n; at++) {
        int32_t c = p->c[at];
        if (c == '>')
            return at + 1;
        if (value && (c == '"' || c == '\'')) {
            size_t close = at + 1;
            while (close < p->n && p->c[close] != c)
                close++;
            at = close < p->n ? close : at;
        }
        value = c == '=' || (value && clean_is_space(c));
    }
    return 0;
}

/* What the tag, which ends before `end`, has inside and isn't text: behind that. */
static size_t skip_inside(const page *p, size_t at, size_t end)
{
    static const char *const names[] = {"script", "style", "template"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char close[16] = "</";
        int32_t after = at_of(p, at + 1 + strlen(names[i]));
        if (!goes_on(p, at + 1, names[i]) || (after != '>' && after != '/' && !clean_is_space(after)))
            continue;
        size_t found = behind(p, end, strcat(close, names[i]));
        found = found ? behind(p, found, ">") : 0;
        return found ? found : p->n;
    }
    return end;
}

/* Behind what begins with the < at `at`; 0: it is a character like others. */
static size_t behind_markup(const page *p, size_t at)
{
    int32_t next = at_of(p, at + 1);
    if (is_letter(next)) {
        size_t end = behind_tag(p, at + 1);
        return end ? skip_inside(p, at, end) : 0;
    }
    if (goes_on(p, at, "<!--"))
        return behind_comment(p, at + 4);
    return next == '/' || next == '!' || next == '?' ? behind(p, at + 2, ">") : 0;
}

static bool is_markup(const page *p, size_t at)
{
    int32_t next = at_of(p, at + 1);
    return p->c[at] == '<' && (is_letter(next) || next == '/' || next == '!' || next == '?');
}

/* Behind what is text of markup that has no end: up to the next >, else before the next <. */
static size_t behind_broken(const page *p, size_t at)
{
    size_t end = behind(p, at + 1, ">"), next = end ? 0 : behind(p, at + 1, "<");
    return end ? end : next ? next - 1 : at + 1;
}

/* The character of &#…; at `at`, and where that ends; 0: it is none. */
static int32_t read_number(const page *p, size_t at, size_t *end)
{
    bool hex = (at_of(p, at + 2) | 32) == 'x';
    int64_t value = 0;
    size_t from = at + 2 + hex, k = from;
    for (;; k++) {
        int32_t c = at_of(p, k), letter = c | 32;
        int digit = is_digit(c) ? c - '0' : hex && letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
        if (digit < 0)
            break;
        value = value > 0x10FFFF ? value : value * (hex ? 16 : 10) + digit;
    }
    if (k == from || k == p->n || (!hex && is_letter(at_of(p, k)) && (at_of(p, k) | 32) <= 'f'))
        return 0;
    *end = k + (p->c[k] == ';');
    bool valid = value > 0 && value <= 0x10FFFF && utf8proc_codepoint_valid((utf8proc_int32_t)value);
    return valid ? fix_windows((int32_t)value) : 0xFFFD;
}

/* The name of &name; at `at`: where it ends; 0: it is none. */
static size_t name_end(const page *p, size_t at)
{
    size_t k = at + 1;
    if (!is_letter(at_of(p, k)))
        return 0;
    while (is_letter(at_of(p, k)) || is_digit(at_of(p, k)))
        k++;
    return k < p->n ? k : 0;
}

/* Appends the characters from `at` to `end` to the `kept` first ones. */
static size_t keep(int32_t *c, size_t kept, size_t at, size_t end)
{
    memmove(c + kept, c + at, (end - at) * sizeof *c);
    return kept + end - at;
}

/* Whether html.parser stops reading at &# without a number: where no ; follows, or a second time. */
static bool gives_up(const page *p, size_t at, bool *again)
{
    bool stops = *again || !behind(p, at, ";");
    *again = true;
    return stops;
}

size_t html_text(int32_t *c, size_t n)
{
    bool again = false;
    page p = {c, n};
    size_t kept = 0;
    for (size_t at = 0; at < n;) {
        size_t end = c[at] == '<' ? behind_markup(&p, at) : 0;
        if (end) {
            at = end;
            continue;
        }
        if (is_markup(&p, at)) {
            end = behind_broken(&p, at);
            kept = keep(c, kept, at, end);
            at = end;
            continue;
        }
        if (c[at] == '&' && at + 2 == n && is_letter(c[at + 1])) { /* as html.parser, where all ends so */
            at++;
            continue;
        }
        int32_t known = c[at] == '&' && at_of(&p, at + 1) == '#' ? read_number(&p, at, &end) : 0;
        size_t name = c[at] == '&' && !known ? name_end(&p, at) : 0;
        if (name) {
            char word[32];
            size_t length = name - at - 1;
            for (size_t i = 0; i < length && i < sizeof word; i++)
                word[i] = (char)c[at + 1 + i];
            known = length <= sizeof word ? fix_entity(word, length) : 0;
            end = name + (c[name] == ';');
        }
        if (known || name) {
            if (known)
                c[kept++] = known;
            else /* an unknown one loses its semicolon */
                kept = keep(c, kept, at, name);
            at = end;
        } else if (goes_on(&p, at, "&#") && gives_up(&p, at, &again)) {
            return keep(c, kept, at, n);
        } else {
            c[kept++] = c[at++];
        }
    }
    return kept;
}
