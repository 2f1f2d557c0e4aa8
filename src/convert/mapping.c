/* Tables of parameters: finding the row of a name, making the other name of it, and what the row says. */
#include "convert/mapping.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert_internal.h"

enum { NESTED = 4 }; /* texts in texts */

/* What a pattern found in a name. */
typedef struct found {
    int number[3]; /* of {i}, {j}, {k} */
    const char *rest;
    size_t rest_length;
} found;

/* ---- patterns --------------------------------------------------------------------------------------------------- */

static bool is_number(const char *pattern)
{
    return pattern[0] == '{' && pattern[1] >= 'i' && pattern[1] <= 'k' && pattern[2] == '}';
}

/* begins: it is enough that the name begins so. */
static bool match(const char *pattern, const char *name, bool begins, found *f)
{
    while (*pattern && *pattern != '*') {
        if (is_number(pattern)) {
            size_t digits = strspn(name, "0123456789");
            if (digits < 1 || digits > 6)
                return false;
            f->number[pattern[1] - 'i'] = atoi(name);
            pattern += 3;
            name += digits;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    size_t n = strlen(name), end = *pattern ? strlen(pattern + 1) : 0;
    if (!*pattern)
        return begins || !n;
    f->rest = name;
    f->rest_length = n - end;
    return n >= end && !strcmp(name + n - end, pattern + 1);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

static const import_value *value_of(const import_map *m, const char *name, size_t length)
{
    for (size_t i = 0; i < IMPORT_VALUES && m->values[i].name; i++)
        if (strlen(m->values[i].name) == length && !strncmp(m->values[i].name, name, length))
            return &m->values[i];
    return NULL;
}

/* One number of a sum, behind which *text is then; *known goes where it has no value. */
static int64_t factor_of(const import_map *m, const found *f, const char **text, bool *known)
{
    const char *at = *text;
    size_t n = 0;
    while (isalnum((unsigned char)at[n]) || at[n] == '_')
        n++;
    *text += n;
    if (isdigit((unsigned char)*at))
        return atoi(at);
    if (f && n == 1 && *at >= 'i' && *at <= 'k')
        return f->number[*at - 'i'];
    const import_value *v = value_of(m, at, n);
    *known = *known && v && !v->text;
    return *known ? v->number : 0;
}

/* "stages-1-i", "1+2*i": products, added and subtracted, up to what can't be a part of it. */
static int64_t sum_of(const import_map *m, const found *f, const char *text, bool *known)
{
    int64_t sum = 0, product = 1, sign = 1;
    for (*known = true; *known; text++) {
        product *= factor_of(m, f, &text, known);
        if (*text == '*')
            continue;
        sum += sign * product;
        product = 1;
        sign = *text == '-' ? -1 : 1;
        if (*text != '+' && *text != '-')
            break;
    }
    return sum;
}

/* Appends their name to out.  f NULL: {i} and * stay as they are. */
static size_t append(const import_map *m, const found *f, const char *theirs, int depth, char out[IMPORT_NAME],
                     size_t at)
{
    while (*theirs && at < IMPORT_NAME - 1) {
        const char *end = *theirs == '{' ? strchr(theirs, '}') : NULL;
        const import_value *v = end ? value_of(m, theirs + 1, (size_t)(end - theirs) - 1) : NULL;
        size_t room = IMPORT_NAME - at, n = 1;
        bool known = false;
        int64_t sum = end && !(v && v->text) ? sum_of(m, f, theirs + 1, &known) : 0;
        if (v && v->text && depth) {
            at = append(m, f, v->text, depth - 1, out, at);
            theirs = end + 1;
            continue;
        }
        if (known)
            n = (size_t)snprintf(out + at, room, "%" PRId64, sum);
        else if (f && *theirs == '*')
            n = (size_t)snprintf(out + at, room, "%.*s", (int)f->rest_length, f->rest);
        else /* a name without value stays, for the message that there is no such tensor */
            out[at] = *theirs;
        at += n < room ? n : room - 1;
        theirs = known ? end + 1 : theirs + 1;
    }
    out[at] = 0;
    return at;
}

static void make_name(const import_map *m, const found *f, const char *theirs, char out[IMPORT_NAME])
{
    append(m, f, theirs, NESTED, out, append(m, f, m->theirs, NESTED, out, 0));
}

/* The row for our name, and its map; NULL where there is none. */
static const import_row *find_row(const import_map *maps, const char *ours, const import_map **map, found *f)
{
    for (const import_map *m = maps; m->rows; m++) {
        size_t n = strlen(m->ours);
        if (strncmp(ours, m->ours, n) != 0)
            continue;
        *map = m;
        for (size_t i = 0; i < m->n; i++)
            if (m->rows[i].ours && match(m->rows[i].ours, ours + n, false, f))
                return &m->rows[i];
    }
    return NULL;
}

void import_their_name(const import_map *maps, const char *ours, char out[IMPORT_NAME])
{
    const import_map *m;
    found f = {0};
    const import_row *row = find_row(maps, ours, &m, &f);
    *out = 0;
    if (row)
        make_name(m, &f, row->theirs[0], out);
}

static void their_name(const import_map *maps, const char *ours, va_list ap, char out[IMPORT_NAME])
{
    char name[IMPORT_NAME];
    vsnprintf(name, sizeof name, ours, ap);
    import_their_name(maps, name, out);
}

int import_mapped_size(import *im, const import_map *maps, int d, const char *ours, ...)
{
    char name[IMPORT_NAME];
    va_list ap;
    va_start(ap, ours);
    their_name(maps, ours, ap, name);
    va_end(ap);
    return import_size(im, d, "%s", name);
}

bool import_mapped_has(const import *im, const import_map *maps, const char *ours, ...)
{
    char name[IMPORT_NAME];
    va_list ap;
    va_start(ap, ours);
    their_name(maps, ours, ap, name);
    va_end(ap);
    return source_has(im->from, name);
}

int import_mapped_count(const import *im, const import_map *maps, const char *ours, int most)
{
    const char *number = strstr(ours, "{i}");
    int n = 0;
    while (n <= most && import_mapped_has(im, maps, "%.*s%d%s", (int)(number - ours), ours, n, number + 3))
        n++;
    return n;
}

/* ---- tensors ---------------------------------------------------------------------------------------------------- */

/* The source dimension that becomes dimension i of p; NULL keeps the order. */
static const int *order_of(const param *p, unsigned change)
{
    static const int convolution[] = {0, 2, 3, 1}, transposed_convolution[] = {1, 2, 3, 0}, transposed[] = {1, 0};
    if (p->nd == 4)
        return change & IMPORT_TRANSPOSED ? transposed_convolution : convolution;
    return p->nd == 2 && change & IMPORT_TRANSPOSED ? transposed : NULL;
}

/* "NAME.weight", a vector */
static bool is_norm_weight(const param *p)
{
    const char *last = strrchr(p->name, '.');
    return p->use == PARAM_VECTOR && p->nd == 1 && last && !strcmp(last, ".weight");
}

static void put(import *im, const import_map *m, const import_row *row, const found *f, const param *p)
{
    char names[IMPORT_SOURCES][IMPORT_NAME], other[IMPORT_NAME];
    const char *from[IMPORT_SOURCES];
    int n = 0;
    bool known = true;
    for (; n < IMPORT_SOURCES && row->theirs[n]; n++) {
        make_name(m, f, row->theirs[n], names[n]);
        from[n] = names[n];
    }
    if (row->plus || row->times)
        make_name(m, f, row->times ? row->times : row->plus, other);
    int64_t first = row->first ? sum_of(m, f, row->first, &known) : 0;
    if (!known) {
        err_set(&im->error, ERR_FAILED, "convert: %s: the family doesn't tell what \"%s\" is", p->name, row->first);
        return;
    }
    if (row->change & IMPORT_OR_ONES && is_norm_weight(p) && !source_has(im->from, from[0]))
        import_ones(im, p);
    else if (n > 1)
        import_stack(im, p, from, n);
    else if (row->change & IMPORT_SHAPED || row->times)
        import_shaped(im, p, from[0], row->times ? other : NULL);
    else if (row->first)
        import_part(im, p, from[0], first);
    else
        import_rows(im, p, from[0], order_of(p, row->change), row->plus ? other : NULL, row->change & IMPORT_UNIT);
}

/* Tensors whose names begin with this are used by being left out. */
static void leave_out(import *im, const import_map *m, const import_row *row)
{
    for (int n = 0; n < IMPORT_SOURCES && row->theirs[n]; n++) {
        char pattern[IMPORT_NAME];
        found f = {0};
        make_name(m, NULL, row->theirs[n], pattern);
        for (size_t i = 0; i < im->from->n; i++) {
            source_tensor *t = &im->from->tensors[i];
            if (!t->used && match(pattern, t->own.name, true, &f)) {
                t->used = true;
                t->left_out = row->change & IMPORT_SAY;
            }
        }
    }
}

void import_tensors(import *im, const import_map *maps, const param_table *params)
{
    for (size_t i = 0; i < params->n; i++) {
        const param *p = &params->list[i];
        const import_map *m;
        found f = {0};
        const import_row *row = find_row(maps, p->name, &m, &f);
        if (row)
            put(im, m, row, &f, p);
        else
            err_set(&im->error, ERR_FAILED, "convert: %s: the family doesn't tell where this comes from", p->name);
    }
    for (const import_map *m = maps; m->rows; m++)
        for (size_t i = 0; i < m->n; i++)
            if (!m->rows[i].ours)
                leave_out(im, m, &m->rows[i]);
    if (params->error.code)
        err_copy(&im->error, &params->error);
}
