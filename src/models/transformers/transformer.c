/* The registry of transformer kinds. */
#include "models/transformers/transformer.h"

#include <stddef.h>
#include <string.h>

#include "base/log.h"
#include "models/transformers/bart.h"
#include "models/transformers/dalle_pytorch.h"
#include "models/transformers/diffusion.h"
#include "models/transformers/gpt.h"
#include "models/transformers/masked.h"
#include "models/transformers/unclip.h"
#include "weights/config.h"

static const transformer_kind *const kinds[] = {
    &transformer_dalle,  &transformer_dalle_pytorch, &transformer_gpt,    &transformer_bart,
    &transformer_masked, &transformer_diffusion,     &transformer_unclip,
};

static transformer *open_kind(const char *name, const gguf *g, err *e)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i]->open(g, e);
    err_set(e, ERR_FAILED, "%s: key 'limn.transformer.kind': \"%.64s\" is not a kind that this version knows",
            gguf_name(g), name);
    return NULL;
}

/* What `generate` uses where nothing else is asked for. */
static bool read_sampling(transformer *t, const gguf *g, err *e)
{
    static const config_field fields[] = {
        {"limn.sampling.temperature", offsetof(transformer, temperature), 0, 1000000, CONFIG_FLOAT, .optional = true},
        {"limn.sampling.top_k", offsetof(transformer, top_k), 0, 1 << 24, .optional = true},
        {"limn.sampling.top_p", offsetof(transformer, top_p), 0, 1, CONFIG_FLOAT, .optional = true},
        {"limn.sampling.guidance", offsetof(transformer, guidance), 0, 1000000, CONFIG_FLOAT, .optional = true},
        {"limn.sampling.steps", offsetof(transformer, steps), 1, STEPS_MOST, .optional = true},
    };
    t->steps = t->kind->fill ? 12 : t->latents ? 50 : 0;
    t->temperature = 1;
    t->guidance = 1;
    t->top_p = 1;
    t->top_k = 0;
    return config_fields(g, fields, sizeof fields / sizeof *fields, t, e);
}

bool transformer_read_mask(attention_mask *m, int layer, const gguf *g, err *e)
{
    const char *key = "limn.transformer.attention", *side_key = "limn.transformer.conv_kernel";
    const char *const full = "full", *const *names = &full;
    size_t n = 1;
    m->kernel = 3;
    if ((gguf_has(g, key) && !gguf_get_strings(g, key, &names, &n, e)) ||
        (gguf_has(g, side_key) && !config_int(g, side_key, 1, 255, &m->kernel, e)))
        return false;
    if (n == 0)
        return err_set(e, ERR_FAILED, "%s: key '%s': the list is empty", gguf_name(g), key);
    if (m->kernel % 2 == 0)
        return err_set(e, ERR_FAILED, "%s: key '%s': %d is even", gguf_name(g), side_key, m->kernel);
    const char *name = names[(size_t)layer % n];
    for (int kind = 0; kind < MASK_ALL; kind++) /* the causal ones */
        if (!strcmp(name, mask_names[kind])) {
            m->kind = (mask_kind)kind;
            return true;
        }
    return err_set(e, ERR_FAILED, "%s: key '%s': \"%.64s\" is no pattern", gguf_name(g), key, name);
}

size_t transformer_cut(size_t n, size_t room)
{
    if (n <= room)
        return n;
    log_write(LOG_WARNING, "prompt: %zu tokens, and the model takes %zu: the end is cut off", n, room);
    return room;
}

bool transformer_check_ids(const transformer *t, const int32_t *ids, size_t n, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= t->vocabulary)
            return err_set(e, ERR_USAGE, "text ids: %d at place %zu is outside of the vocabulary of %d", ids[i], i,
                           t->vocabulary);
    return true;
}

bool transformer_open(transformer **out, const gguf *g, param_table *p, err *e)
{
    const char *key = "limn.transformer.kind", *name = transformer_dalle.name;
    *out = NULL;
    if (!config_has_section(g, "limn.transformer."))
        return true;
    if (gguf_has(g, key) && !gguf_get_string(g, key, &name, e))
        return false;
    transformer *t = *out = open_kind(name, g, e);
    if (!t)
        return false;
    if (p)
        t->kind->declare(t, p);
    return read_sampling(t, g, e);
}

void transformer_free(transformer *t)
{
    if (t)
        t->kind->free(t);
}
