/* Fields of requests, with errors that name them. */
#include "serve/fields.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

bool fields_read(fields *p, exchange *x, api_error *a)
{
    json_error_t why;
    size_t size;
    *p = (fields){.x = x};
    if (exchange_is_form(x))
        return true;
    const char *body = exchange_body(x, &size);
    p->root = json_loadb(body, size, JSON_REJECT_DUPLICATES, &why);
    if (!p->root)
        return api_fail(a, 400, "", NULL, "the body is no JSON: line %d, column %d: %.200s", why.line, why.column,
                        why.text);
    if (json_is_object(p->root))
        return true;
    fields_release(p);
    return api_fail(a, 400, "", NULL, "the body is no JSON object");
}

void fields_release(fields *p)
{
    json_decref(p->root);
    p->root = NULL;
}

static bool is_name(const char *have, const char *name)
{
    size_t n = strlen(name);
    return !strncmp(have, name, n) && (!have[n] || !strcmp(have + n, "[]"));
}

static const http_part *part_of(const fields *p, const char *name)
{
    const http_part *found = NULL, *one;
    for (size_t i = 0; !found && (one = exchange_part(p->x, i)); i++)
        found = is_name(one->name, name) ? one : NULL;
    return found;
}

const http_part *fields_file(const fields *p, const char *name)
{
    const http_part *one = p->root ? NULL : part_of(p, name);
    return one && (one->file || one->size > 0) ? one : NULL;
}

/* The field as it stands; NULL: it isn't there.  Of a form it is text. */
static json_t *field(const fields *p, const char *name)
{
    if (p->root) {
        json_t *v = json_object_get(p->root, name);
        return json_is_null(v) ? NULL : json_incref(v);
    }
    const http_part *one = part_of(p, name);
    return one && one->size > 0 ? json_stringn(one->text, one->size) : NULL;
}

bool fields_text(const fields *p, const char *name, const char **value, api_error *a)
{
    if (!p->root) {
        const http_part *one = part_of(p, name);
        json_t *text = one ? json_stringn(one->text, one->size) : NULL;
        if (one && !text)
            return api_fail(a, 400, name, NULL, "%s: not text in UTF-8", name);
        json_decref(text);
        if (one)
            *value = one->text;
        return true;
    }
    json_t *v = json_object_get(p->root, name);
    if (!v || json_is_null(v))
        return true;
    if (!json_is_string(v))
        return api_fail(a, 400, name, NULL, "%s: text is wanted", name);
    *value = json_string_value(v);
    return true;
}

/* A field that is a number, or text that is one. */
static bool read_number(const fields *p, const char *name, double *value, bool *given, api_error *a)
{
    json_t *v = field(p, name);
    bool ok = true;
    *given = v;
    if (json_is_number(v)) {
        *value = json_number_value(v);
    } else if (v) {
        const char *text = json_string_value(v);
        char *end = NULL;
        *value = text ? strtod(text, &end) : 0;
        ok = text && *text && !*end && isfinite(*value);
    }
    json_decref(v);
    return ok || api_fail(a, 400, name, NULL, "%s: a number is wanted", name);
}

bool fields_number(const fields *p, const char *name, double min, double max, float *value, api_error *a)
{
    double v = 0;
    bool given;
    if (!read_number(p, name, &v, &given, a))
        return false;
    if (given && !(v >= min && v <= max))
        return api_fail(a, 400, name, NULL, "%s: %g is outside of %g to %g", name, v, min, max);
    if (given)
        *value = (float)v;
    return true;
}

bool fields_integer(const fields *p, const char *name, long long min, long long max, int *value, api_error *a)
{
    double v = 0;
    bool given;
    if (!read_number(p, name, &v, &given, a))
        return false;
    if (given && (v != floor(v) || v < (double)min || v > (double)max))
        return api_fail(a, 400, name, NULL, "%s: %g is no whole number from %lld to %lld", name, v, min, max);
    if (given)
        *value = (int)v;
    return true;
}

bool fields_seed(const fields *p, const char *name, uint64_t *value, bool *given, api_error *a)
{
    json_t *v = field(p, name);
    const char *text = json_string_value(v);
    bool ok = true;
    *given = v != NULL;
    if (json_is_integer(v)) {
        json_int_t i = json_integer_value(v);
        *given = i != -1; /* a random one */
        ok = i >= -1;
        *value = (uint64_t)i;
    } else if (v) {
        char *end = NULL;
        errno = 0;
        *value = text && *text >= '0' && *text <= '9' ? strtoull(text, &end, 10) : 0;
        ok = end && !*end && errno == 0;
        if (text && !strcmp(text, "-1"))
            ok = !(*given = false);
    }
    json_decref(v);
    return ok || api_fail(a, 400, name, NULL, "%s: a whole number from 0 to 2^64 - 1 is wanted", name);
}

bool fields_bool(const fields *p, const char *name, bool *value, api_error *a)
{
    json_t *v = field(p, name);
    const char *text = json_string_value(v);
    bool yes = json_is_true(v) || (text && (!strcmp(text, "true") || !strcmp(text, "True") || !strcmp(text, "1")));
    bool no = json_is_false(v) || (text && (!strcmp(text, "false") || !strcmp(text, "False") || !strcmp(text, "0")));
    bool ok = !v || yes || no;
    if (v && ok)
        *value = yes;
    json_decref(v);
    return ok || api_fail(a, 400, name, NULL, "%s: true or false is wanted", name);
}

bool fields_word(const fields *p, const char *name, const char *const *words, int *value, api_error *a)
{
    const char *text = NULL;
    char known[128] = "";
    size_t at = 0;
    if (!fields_text(p, name, &text, a))
        return false;
    for (int i = 0; words[i]; i++) {
        if (text && !strcmp(text, words[i]))
            *value = i;
        if (text && !strcmp(text, words[i]))
            return true;
        if (at < 100)
            at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", words[i]);
    }
    return !text || api_fail(a, 400, name, NULL, "%s: \"%.40s\" is none of %s", name, text, known);
}
