/* GGUF keys of an open file: typed look-up, and values as text. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "io/gguf_format.h"

static const gguf_entry *find_key(const gguf *g, const char *name)
{
    gguf_entry wanted = {.name = (char *)name};
    const gguf_entry *p = &wanted;
    const gguf_entry **found = bsearch(&p, g->key_index, g->n_keys, sizeof(gguf_entry *), gguf_compare_entries);
    return found ? *found : NULL;
}

bool gguf_has(const gguf *g, const char *name)
{
    return find_key(g, name) != NULL;
}

static const char *type_name(const gguf_entry *k)
{
    return k->array ? gguf_types[k->element].array_name : gguf_types[k->element].name;
}

/* The key, if it is there and of that kind. */
static const gguf_entry *want(const gguf *g, const char *name, bool array, gguf_kind wanted, err *e)
{
    static const char *const kinds[] = {"integer", "float", "bool", "string"};
    const gguf_entry *k = find_key(g, name);
    if (!k) {
        err_set(e, ERR_FAILED, "%s: key '%s': it is missing (is this the right kind of file?)", g->name, name);
    } else if (k->array != array || gguf_types[k->element].kind != wanted) {
        err_set(e, ERR_FAILED, "%s: key '%s': it is of type %s, where %s%s is wanted", g->name, name, type_name(k),
                array ? "an array of type " : "type ", kinds[wanted]);
        k = NULL;
    } else if (k->too_large) {
        err_set(e, ERR_FAILED, "%s: key '%s': an integer above %" PRId64, g->name, name, INT64_MAX);
        k = NULL;
    }
    return k;
}

bool gguf_get_int(const gguf *g, const char *key_name, int64_t min, int64_t max, int64_t *value, err *e)
{
    const gguf_entry *k = want(g, key_name, false, KIND_INT, e);
    if (!k)
        return false;
    if (*k->u.ints < min || *k->u.ints > max)
        return err_set(e, ERR_FAILED, "%s: key '%s': %" PRId64 " is outside %" PRId64 " to %" PRId64, g->name, key_name,
                       *k->u.ints, min, max);
    *value = *k->u.ints;
    return true;
}

void gguf_replace_int(gguf *g, const char *key_name, int64_t value)
{
    const gguf_entry *k = want(g, key_name, false, KIND_INT, NULL);
    if (k)
        *k->u.ints = value;
}

bool gguf_get_float(const gguf *g, const char *key_name, double *value, err *e)
{
    const gguf_entry *k = want(g, key_name, false, KIND_FLOAT, e);
    if (k)
        *value = *k->u.floats;
    return k != NULL;
}

bool gguf_get_bool(const gguf *g, const char *key_name, bool *value, err *e)
{
    const gguf_entry *k = want(g, key_name, false, KIND_BOOL, e);
    if (k)
        *value = *k->u.ints != 0;
    return k != NULL;
}

bool gguf_get_string(const gguf *g, const char *key_name, const char **value, err *e)
{
    const gguf_entry *k = want(g, key_name, false, KIND_STRING, e);
    if (k)
        *value = *k->u.strings;
    return k != NULL;
}

bool gguf_get_strings(const gguf *g, const char *key_name, const char *const **values, size_t *n, err *e)
{
    const gguf_entry *k = want(g, key_name, true, KIND_STRING, e);
    if (k) {
        *values = k->u.strings;
        *n = k->n;
    }
    return k != NULL;
}

bool gguf_get_ints(const gguf *g, const char *key_name, const int64_t **values, size_t *n, err *e)
{
    const gguf_entry *k = want(g, key_name, true, KIND_INT, e);
    if (k) {
        *values = k->u.ints;
        *n = k->n;
    }
    return k != NULL;
}

bool gguf_get_floats(const gguf *g, const char *key_name, const double **values, size_t *n, err *e)
{
    const gguf_entry *k = want(g, key_name, true, KIND_FLOAT, e);
    if (k) {
        *values = k->u.floats;
        *n = k->n;
    }
    return k != NULL;
}

size_t gguf_key_count(const gguf *g)
{
    return g->n_keys;
}

const char *gguf_key(const gguf *g, size_t i)
{
    return i < g->n_keys ? g->keys[i].name : NULL;
}

const char *gguf_key_type(const gguf *g, size_t i)
{
    return i < g->n_keys ? type_name(&g->keys[i]) : NULL;
}

/* A string element of an array: quoted, and cut between characters where it is long. */
static void print_quoted(FILE *f, const char *s)
{
    enum { SHOWN = 60 };
    size_t n = strlen(s), shown = n;
    if (n > SHOWN)
        for (shown = SHOWN; shown > 0 && ((unsigned char)s[shown] & 0xc0) == 0x80;)
            shown--;
    fprintf(f, "\"%.*s%s\"", (int)shown, s, shown < n ? "..." : "");
}

static void print_element(FILE *f, const gguf_entry *k, size_t i)
{
    switch (gguf_types[k->element].kind) {
    case KIND_FLOAT:
        fprintf(f, k->element == GGUF_F64 ? "%.17g" : "%.9g", k->u.floats[i]);
        break;
    case KIND_BOOL:
        fputs(k->u.ints[i] ? "true" : "false", f);
        break;
    case KIND_STRING:
        if (k->array)
            print_quoted(f, k->u.strings[i]);
        else
            fputs(k->u.strings[i], f);
        break;
    default:
        if (k->element == GGUF_U64)
            fprintf(f, "%" PRIu64, (uint64_t)k->u.ints[i]);
        else
            fprintf(f, "%" PRId64, k->u.ints[i]);
    }
}

char *gguf_key_text(const gguf *g, size_t i)
{
    enum { SHOWN = 8 };
    os_text text;
    if (i >= g->n_keys || !os_text_open(&text))
        return NULL;
    FILE *f = text.stream;
    const gguf_entry *k = &g->keys[i];
    size_t n = k->n;
    if (k->array)
        fputc('[', f);
    for (size_t j = 0; j < n && j < SHOWN; j++) {
        if (j)
            fputs(", ", f);
        print_element(f, k, j);
    }
    if (n > SHOWN)
        fprintf(f, ", ... %zu in all", n);
    if (k->array)
        fputc(']', f);
    return os_text_close(&text);
}
