/* Hyper-parameters out of a model file. */
#include "models/config.h"

#include <string.h>

bool config_int(const gguf *g, const char *key, int min, int max, int *value, err *e)
{
    int64_t v;
    if (!gguf_get_int(g, key, min, max, &v, e))
        return false;
    *value = (int)v;
    return true;
}

bool config_float(const gguf *g, const char *key, float *value, err *e)
{
    double v;
    if (!gguf_get_float(g, key, &v, e))
        return false;
    *value = (float)v;
    return true;
}

bool config_choice(const gguf *g, const char *key, const char *const *names, int n, int *value, err *e)
{
    const char *text;
    if (!gguf_get_string(g, key, &text, e))
        return false;
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], text)) {
            *value = i;
            return true;
        }
    return err_set(e, ERR_FAILED, "%s: %s: \"%s\" is none that this version knows", gguf_name(g), key, text);
}
