/* Hyper-parameters out of a model file. */
#include "weights/config.h"

#include <stdio.h>
#include <string.h>

static bool get_colour(const gguf *g, const char *key, float v[3], err *e)
{
    const double *values;
    size_t n;
    if (!gguf_get_floats(g, key, &values, &n, e))
        return false;
    if (n != 3)
        return err_set(e, ERR_FAILED, "%s: key '%s': %zu numbers, and colours are three", gguf_name(g), key, n);
    for (int i = 0; i < 3; i++)
        v[i] = (float)values[i];
    return true;
}

static bool get_field(const gguf *g, const config_field *f, void *at, err *e)
{
    int value = 0;
    switch (f->kind) {
    case CONFIG_FLOAT:
        return config_float(g, f->key, f->min, f->max, at, e);
    case CONFIG_BOOL:
        return gguf_get_bool(g, f->key, at, e);
    case CONFIG_COLOUR:
        return get_colour(g, f->key, at, e);
    case CONFIG_BIT:
        if (!config_int(g, f->key, 0, 1, &value, e))
            return false;
        *(bool *)at = value;
        return true;
    case CONFIG_CHOICE:
        if (!config_choice(g, f->key, f->words, f->max, &value, e))
            return false;
        memcpy(at, &value, sizeof value);
        return true;
    default:
        return config_int(g, f->key, f->min, f->max, at, e);
    }
}

bool config_fields(const gguf *g, const config_field *f, size_t n, void *to, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!(f[i].optional && !gguf_has(g, f[i].key)) && !get_field(g, &f[i], (char *)to + f[i].at, e))
            return false;
    return true;
}

/* The value of a field that isn't a float. */
static int value_of(const config_field *f, const void *from)
{
    int value;
    const char *at = (const char *)from + f->at;
    if (f->kind == CONFIG_BOOL || f->kind == CONFIG_BIT)
        return *(const bool *)at;
    memcpy(&value, at, sizeof value);
    return value;
}

static const float *floats_of(const config_field *f, const void *from)
{
    return (const float *)((const char *)from + f->at);
}

static bool check_field(const char *file, const config_field *f, const void *from, err *e)
{
    int most = f->kind == CONFIG_CHOICE ? f->max - 1 : f->max;
    if (f->kind == CONFIG_BOOL || f->kind == CONFIG_BIT || f->kind == CONFIG_COLOUR)
        return true;
    if (f->kind == CONFIG_FLOAT) {
        float v = *floats_of(f, from);
        return (v >= (float)f->min && v <= (float)f->max) || /* NaN isn't */
               err_set(e, ERR_FAILED, "%s: %s: %g is outside %d to %d", file, f->key, v, f->min, f->max);
    }
    int v = value_of(f, from);
    return (f->optional && !v) || (v >= f->min && v <= most) ||
           err_set(e, ERR_FAILED, "%s: %s: %d is outside %d to %d", file, f->key, v, f->min, most);
}

bool config_check(const char *file, const config_field *f, size_t n, const void *from, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!check_field(file, &f[i], from, e))
            return false;
    return true;
}

static void put_field(gguf_writer *w, const config_field *f, const void *from)
{
    if (f->kind == CONFIG_FLOAT || f->kind == CONFIG_COLOUR) {
        const float *v = floats_of(f, from);
        if (f->kind == CONFIG_COLOUR)
            gguf_put_floats(w, f->key, (double[]){v[0], v[1], v[2]}, 3);
        else if (!f->optional || *v != 0)
            gguf_put_float(w, f->key, *v);
        return;
    }
    int value = value_of(f, from);
    if (f->optional && !value)
        return;
    if (f->kind == CONFIG_BOOL)
        gguf_put_bool(w, f->key, value);
    else if (f->kind == CONFIG_CHOICE)
        gguf_put_string(w, f->key, f->words[value]);
    else
        gguf_put_int(w, f->key, value);
}

void config_put(gguf_writer *w, const config_field *f, size_t n, const void *from)
{
    for (size_t i = 0; i < n; i++)
        put_field(w, &f[i], from);
}

bool config_int(const gguf *g, const char *key, int min, int max, int *value, err *e)
{
    int64_t v;
    if (!gguf_get_int(g, key, min, max, &v, e))
        return false;
    *value = (int)v;
    return true;
}

bool config_float(const gguf *g, const char *key, double min, double max, float *value, err *e)
{
    double v;
    if (!gguf_get_float(g, key, &v, e))
        return false;
    if (!(v >= min && v <= max)) /* NaN too */
        return err_set(e, ERR_FAILED, "%s: key '%s': %g is outside %g to %g", gguf_name(g), key, v, min, max);
    *value = (float)v;
    return true;
}

bool config_choice(const gguf *g, const char *key, const char *const *names, int n, int *value, err *e)
{
    const char *text;
    char known[256] = "";
    if (!gguf_get_string(g, key, &text, e))
        return false;
    for (int i = 0; i < n; i++) {
        if (!strcmp(names[i], text)) {
            *value = i;
            return true;
        }
        snprintf(known + strlen(known), sizeof known - strlen(known), "%s%s", i ? ", " : "", names[i]);
    }
    return err_set(e, ERR_FAILED, "%s: key '%s': \"%.64s\" is none that this version knows (known: %s)", gguf_name(g),
                   key, text, known);
}

bool config_ints(const gguf *g, const char *key, int min, int max, int most, int *values, int *n, err *e)
{
    const int64_t *list;
    size_t count;
    if (!gguf_get_ints(g, key, &list, &count, e))
        return false;
    if (count < 1 || count > (size_t)most)
        return err_set(e, ERR_FAILED, "%s: key '%s': %zu numbers, and 1 to %d are possible", gguf_name(g), key, count,
                       most);
    for (size_t i = 0; i < count; i++) {
        if (list[i] < min || list[i] > max)
            return err_set(e, ERR_FAILED, "%s: key '%s': %lld is outside %d to %d", gguf_name(g), key,
                           (long long)list[i], min, max);
        values[i] = (int)list[i];
    }
    *n = (int)count;
    return true;
}

void config_put_ints(gguf_writer *w, const char *key, const int *values, int n)
{
    int64_t list[64];
    for (int i = 0; i < n && i < 64; i++)
        list[i] = values[i];
    gguf_put_ints(w, key, list, n < 64 ? (size_t)n : 64);
}

bool config_has_section(const gguf *g, const char *prefix)
{
    for (size_t i = 0; i < gguf_key_count(g); i++)
        if (!strncmp(gguf_key(g, i), prefix, strlen(prefix)))
            return true;
    return false;
}
