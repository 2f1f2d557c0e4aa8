/* Patterns over Unicode characters: matched as they are read. */
#include "text/pattern.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "text/clean.h"

#define NONE SIZE_MAX

typedef struct subject {
    const int32_t *c;
    size_t n;
} subject;

/* What of the pattern follows a group. */
typedef struct rest {
    const char *pattern;
    const struct rest *next;
} rest;

static bool is_digit(int32_t c)
{
    return utf8proc_category(c) == UTF8PROC_CATEGORY_ND;
}

bool pattern_is_word(int32_t c)
{
    switch (utf8proc_category(c)) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return true;
    default:
        return c == '_';
    }
}

/* ---- one character ---- */

/* A character of the pattern, or a class: negative, minus its letter. */
static int32_t next_item(const char **p)
{
    utf8proc_int32_t c = 0;
    bool escaped = **p == '\\';
    *p += escaped;
    utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)*p, -1, &c);
    *p += k > 0 ? k : 1;
    return escaped && c < 128 && strchr("wdsSD", c) ? -c : c;
}

static bool is_item(int32_t item, int32_t c)
{
    switch (-item) {
    case 'w':
        return pattern_is_word(c);
    case 'd':
        return is_digit(c);
    case 'D':
        return !is_digit(c);
    case 's':
        return clean_is_space(c);
    case 'S':
        return !clean_is_space(c);
    default:
        return item == c;
    }
}

/* Whether c is in the set, or is the character, that *p begins with; *p goes behind it. */
static bool matches_one(const char **p, int32_t c)
{
    if (**p != '[')
        return is_item(next_item(p), c);
    bool in = false;
    for (++*p; **p != ']';) {
        int32_t first = next_item(p), last = first;
        if (**p == '-' && (*p)[1] != ']') {
            ++*p;
            last = next_item(p);
        }
        in = in || is_item(first, c) || (first > 0 && c >= first && c <= last);
    }
    ++*p;
    return in;
}

static void read_times(const char **p, size_t *least, size_t *most)
{
    char *end;
    *least = *most = 1;
    if (**p == '?' || **p == '*' || **p == '+') {
        *least = **p == '+';
        *most = **p == '?' ? 1 : NONE;
        ++*p;
    } else if (**p == '{') {
        *least = strtoul(*p + 1, &end, 10);
        *most = *end != ',' ? *least : end[1] == '}' ? NONE : strtoul(end + 1, &end, 10);
        *p = strchr(end, '}') + 1;
    }
}

/* ---- all of it ---- */

static size_t match_here(const char *p, const subject *s, size_t at, const rest *k);

/* Behind the alternative that p is in: at its '|' or ')', or at the end. */
static const char *end_of(const char *p)
{
    for (int depth = 0; *p && (depth || (*p != '|' && *p != ')'));) {
        depth += (*p == '(') - (*p == ')');
        if (*p == '[')
            while (*p != ']')
                p += *p == '\\' ? 2 : 1;
        p += *p == '\\' ? 2 : 1;
    }
    return p;
}

/* A group, whose '(' is before p. */
static size_t match_group(const char *p, const subject *s, size_t at, const rest *k)
{
    bool negative = !strncmp(p, "?!", 2);
    p += negative || !strncmp(p, "?:", 2) ? 2 : 0;
    const char *close = end_of(p);
    while (*close == '|')
        close = end_of(close + 1);
    bool optional = close[1] == '?';
    const rest after = {close + 1 + optional, k};
    for (const char *one = p;; one = end_of(one) + 1) {
        size_t end = match_here(one, s, at, negative ? NULL : &after);
        if (end != NONE)
            return negative ? NONE : end;
        if (*end_of(one) != '|')
            break;
    }
    return negative || optional ? match_here(after.pattern, s, at, k) : NONE;
}

static bool is_boundary(const subject *s, size_t at)
{
    bool before = at > 0 && pattern_is_word(s->c[at - 1]), after = at < s->n && pattern_is_word(s->c[at]);
    return before != after;
}

/* $ is also before a newline at the end. */
static bool is_end(const subject *s, size_t at)
{
    return at == s->n || (at + 1 == s->n && s->c[at] == '\n');
}

static size_t match_repeated(const char *p, const subject *s, size_t at, const rest *k)
{
    size_t n = 0, least, most;
    const char *one = p, *after = p;
    matches_one(&after, 0);
    read_times(&after, &least, &most);
    while (n < most && at + n < s->n && matches_one(&p, s->c[at + n])) {
        p = one;
        n++;
    }
    for (n++; n-- > least;) {
        size_t end = match_here(after, s, at + n, k);
        if (end != NONE)
            return end;
    }
    return NONE;
}

static size_t match_here(const char *p, const subject *s, size_t at, const rest *k)
{
    for (;;) {
        bool boundary = !strncmp(p, "\\b", 2);
        if (!*p || *p == '|' || *p == ')') {
            if (!k)
                return at;
            p = k->pattern;
            k = k->next;
        } else if (*p == '(') {
            return match_group(p + 1, s, at, k);
        } else if (boundary || *p == '^' || *p == '$') {
            if (boundary ? !is_boundary(s, at) : *p == '^' ? at > 0 : !is_end(s, at))
                return NONE;
            p += 1 + boundary;
        } else {
            return match_repeated(p, s, at, k);
        }
    }
}

size_t pattern_match(const char *pattern, const int32_t *text, size_t n, size_t at)
{
    const subject s = {text, n};
    return match_here(pattern, &s, at, NULL);
}
