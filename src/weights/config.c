/* Hyper-parameters out of a model file. */
#include "weights/config.h"

#include <stdio.h>
#include <string.h>

bool config_fields(const gguf *g, const config_field *f, size_t n, void *to, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!config_int(g, f[i].key, f[i].min, f[i].max, (int *)((char *)to + f[i].at), e))
            return false;
    return true;
}

static int value_of(const config_field *f, const void *from)
{
    return *(const int *)((const char *)from + f->at);
}

bool config_check(const char *file, const config_field *f, size_t n, const void *from, err *e)
{
    for (size_t i = 0; i < n; i++) {
        int v = value_of(&f[i], from);
        if (v < f[i].min || v > f[i].max)
            return err_set(e, ERR_FAILED, "%s: %s: %d is outside %d to %d", file, f[i].key, v, f[i].min, f[i].max);
    }
    return true;
}

void config_put(gguf_writer *w, const config_field *f, size_t n, const void *from)
{
    for (size_t i = 0; i < n; i++)
        gguf_put_int(w, f[i].key, value_of(&f[i], from));
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
