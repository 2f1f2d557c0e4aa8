/* The registry of codec kinds. */
#include "models/codec.h"

#include <stdlib.h>
#include <string.h>

static const codec_kind *const kinds[] = {&codec_dvae};

bool codec_open(codec *c, const gguf *g, param_table *p, err *e)
{
    const char *name;
    int64_t width, height;
    *c = (codec){0};
    if (!gguf_has(g, "limn.codec.kind"))
        return true;
    if (!gguf_get_string(g, "limn.codec.kind", &name, e) || !gguf_get_int(g, "limn.image.width", 1, 16384, &width, e) ||
        !gguf_get_int(g, "limn.image.height", 1, 16384, &height, e))
        return false;
    c->width = (int)width;
    c->height = (int)height;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name)) {
            if (!kinds[i]->open(c, g, p, e))
                return false;
            c->kind = kinds[i];
            return true;
        }
    return err_set(e, ERR_FAILED, "%s: limn.codec.kind: \"%s\" is not a kind that this version knows", gguf_name(g),
                   name);
}

void codec_release(codec *c)
{
    free(c->state);
    *c = (codec){0};
}
