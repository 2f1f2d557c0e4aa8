/* The registry of codec kinds. */
#include "models/codec.h"

#include <stdlib.h>
#include <string.h>

#include "models/config.h"

static const codec_kind *const kinds[] = {&codec_dvae, &codec_vqvae, &codec_openai_dvae, &codec_resnet_vq,
                                          &codec_dalle_pytorch};

bool codec_open(codec *c, const gguf *g, param_table *p, err *e)
{
    const char *name;
    *c = (codec){0};
    if (!config_has_section(g, "limn.codec."))
        return true;
    if (!gguf_get_string(g, "limn.codec.kind", &name, e))
        return false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i]->name, name))
            return kinds[i]->open(c, g, p, e);
    return err_set(e, ERR_FAILED, "%s: key 'limn.codec.kind': \"%.64s\" is not a kind that this version knows",
                   gguf_name(g), name);
}

void codec_release(codec *c)
{
    free(c->state);
    *c = (codec){0};
}

int codec_input_width(const codec *c)
{
    return c->doubles ? c->width / 2 : c->width;
}

int codec_input_height(const codec *c)
{
    return c->doubles ? c->height / 2 : c->height;
}
