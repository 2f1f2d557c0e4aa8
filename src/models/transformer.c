/* The registry of transformer kinds. */
#include "models/transformer.h"

#include <stdlib.h>
#include <string.h>

#include "models/config.h"

static const transformer_kind *const kinds[] = {&transformer_dalle, &transformer_bart};

static bool open_kind(transformer *t, const char *name, const gguf *g, param_table *p, err *e)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i]->open(t, g, p, e);
    return err_set(e, ERR_FAILED, "%s: key 'limn.transformer.kind': \"%.64s\" is not a kind that this version knows",
                   gguf_name(g), name);
}

bool transformer_open(transformer **out, const gguf *g, param_table *p, err *e)
{
    const char *key = "limn.transformer.kind", *name = transformer_dalle.name;
    *out = NULL;
    if (!config_has_section(g, "limn.transformer."))
        return true;
    if (gguf_has(g, key) && !gguf_get_string(g, key, &name, e))
        return false;
    transformer *t = calloc(1, sizeof *t);
    if (!t)
        return err_no_memory(e, "transformer", sizeof *t);
    if (!open_kind(t, name, g, p, e)) {
        free(t);
        return false;
    }
    *out = t;
    return true;
}

bool transformer_sampling(transformer *t, const gguf *g, err *e)
{
    static const char *const temperature = "limn.sampling.temperature", *const top_k = "limn.sampling.top_k",
                             *const top_p = "limn.sampling.top_p", *const guidance = "limn.sampling.guidance";
    t->temperature = 1;
    t->guidance = 1;
    t->top_p = 1;
    return (!gguf_has(g, temperature) || config_float(g, temperature, 0, 1e6, &t->temperature, e)) &&
           (!gguf_has(g, top_k) || config_int(g, top_k, 0, 1 << 24, &t->top_k, e)) &&
           (!gguf_has(g, top_p) || config_float(g, top_p, 0, 1, &t->top_p, e)) &&
           (!gguf_has(g, guidance) || config_float(g, guidance, 0, 1e6, &t->guidance, e));
}

void transformer_free(transformer *t)
{
    if (t && t->kind)
        t->kind->free(t->state);
    free(t);
}
