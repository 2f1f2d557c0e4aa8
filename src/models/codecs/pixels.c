/* The codec of models that draw pixels: a cell is a pixel, and its latents are red, green and blue in -1..1. */
#include "models/codecs/pixels.h"

#include "weights/config.h"

enum { CHANNELS = 3 };

static bool open_file(codec *c, const gguf *g, param_table *p, err *e)
{
    int width, height;
    (void)p;
    if (!config_int(g, "limn.image.width", 1, 16384, &width, e) ||
        !config_int(g, "limn.image.height", 1, 16384, &height, e) ||
        !codec_start(c, &codec_pixels, width, height, 1, 1, gguf_name(g), e))
        return false;
    c->latents = CHANNELS;
    c->scale = 1;
    c->no_encoder = true; /* there is nothing to do, and no model that would read it */
    c->reach = -1;
    return true;
}

static tensor encode(run *r, const codec *c, tensor x)
{
    (void)r, (void)c;
    return x;
}

static tensor decode_grid(run *r, const codec *c, tensor grid)
{
    (void)r, (void)c;
    return grid;
}

const codec_kind codec_pixels = {.name = "pixels", .open = open_file, .encode = encode, .decode_grid = decode_grid};
