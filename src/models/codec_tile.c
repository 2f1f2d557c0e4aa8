/* Decoding with as much memory as there is: whole pictures, or tiles of one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "models/codec.h"

void decode_stage(decode_sizes *s, double floats)
{
    double *most = &s->most[s->n++ % 2];
    *most = fmax(*most, floats);
}

uint64_t codec_decode_bytes(const codec *c, const device *d, int64_t n, int64_t h, int64_t w)
{
    double scratch = d->tune.winograd ? 2.0 * d->tune.winograd_cache : 0, floats = (double)(n * h * w * c->cell_floats);
    /* a run's pieces of memory (device/run.c) that are too small for what comes later: more, where all are small */
    double pieces = floats < 16e6 ? 2 : 1.25;
    return (uint64_t)(4 * (pieces * floats + fmin(scratch, floats)));
}

/* out = the first three channels of x[count,channels] as pixels */
static void to_pixels(float *out, const float *x, int64_t count, const codec *c)
{
    for (int64_t i = 0; i < count * 3; i++) {
        float v = x[i / 3 * c->channels + i % 3] * c->output.scale + c->output.shift;
        out[i] = fminf(fmaxf(v, 0), 1);
    }
}

bool codec_decode_whole(run *r, const codec *c, const int32_t *codes, int n, float *pixels, err *e)
{
    int64_t count = (int64_t)n * c->height * c->width;
    float *host = malloc((size_t)(count * c->channels) * sizeof *host);
    if (!host)
        return err_no_memory(e, "pictures", (size_t)(count * c->channels) * sizeof *host);
    run_reset(r);
    tensor z = run_upload(r, DTYPE_I32, 2, (int64_t[]){n, c->grid_height * c->grid_width}, codes);
    run_read(r, c->kind->decode(r, c, z), host);
    bool ok = run_finish(r, e);
    if (ok)
        to_pixels(pixels, host, count, c);
    free(host);
    return ok;
}

/* Cells `first` to first + n - 1 of a side, and with their margin. */
typedef struct range {
    int first, n, outer_first, outer_n;
} range;

/* All ranges of a side are equally long with their margins, so that a tile's memory is right for the next one. */
static range range_of(int first, int tile, int side, int reach)
{
    int outer = tile + 2 * reach < side ? tile + 2 * reach : side, at = first > reach ? first - reach : 0;
    return (range){.first = first,
                   .n = side - first < tile ? side - first : tile,
                   .outer_first = at < side - outer ? at : side - outer,
                   .outer_n = outer};
}

/* One tile: a picture of its own, of which the inside is taken. */
static bool decode_tile(run *r, const codec *c, const int32_t *codes, range y, range x, float *pixels, err *e)
{
    int step = c->width / c->grid_width;
    codec part = *c;
    part.grid_width = x.outer_n;
    part.grid_height = y.outer_n;
    part.width = x.outer_n * step;
    part.height = y.outer_n * step;
    size_t cells = (size_t)x.outer_n * (size_t)y.outer_n, bytes = (size_t)part.width * (size_t)part.height * 12;
    int32_t *own = malloc(cells * sizeof *own);
    float *decoded = malloc(bytes);
    bool ok = (own && decoded) || err_no_memory(e, "tile", bytes);
    for (int i = 0; ok && i < y.outer_n; i++)
        memcpy(own + (size_t)i * (size_t)x.outer_n,
               codes + (size_t)(y.outer_first + i) * (size_t)c->grid_width + x.outer_first,
               (size_t)x.outer_n * sizeof *own);
    ok = ok && codec_decode_whole(r, &part, own, 1, decoded, e);
    for (int i = 0; ok && i < y.n * step; i++)
        memcpy(pixels + ((size_t)(y.first * step + i) * (size_t)c->width + (size_t)(x.first * step)) * 3,
               decoded + ((size_t)((y.first - y.outer_first) * step + i) * (size_t)part.width +
                          (size_t)((x.first - x.outer_first) * step)) *
                             3,
               (size_t)(x.n * step) * 3 * sizeof *pixels);
    free(own);
    free(decoded);
    return ok;
}

bool codec_decode_tiles(run *r, const codec *c, const int32_t *codes, int tile, float *pixels, err *e)
{
    for (int y = 0; y < c->grid_height; y += tile)
        for (int x = 0; x < c->grid_width; x += tile)
            if (!decode_tile(r, c, codes, range_of(y, tile, c->grid_height, c->reach),
                             range_of(x, tile, c->grid_width, c->reach), pixels, e))
                return false;
    return true;
}

int codec_tile_for(const codec *c, const device *d, uint64_t available)
{
    int side = c->grid_height > c->grid_width ? c->grid_height : c->grid_width;
    if (c->reach < 0 || codec_decode_bytes(c, d, 1, c->grid_height, c->grid_width) <= available)
        return 0;
    /* smaller tiles would be margin for the most part, and take more than 25 times as long as the whole */
    int tile = side - 1, least = c->reach > 3 ? c->reach / 2 : 1;
    for (; tile > least; tile--) {
        int outer = tile + 2 * c->reach;
        int64_t h = outer < c->grid_height ? outer : c->grid_height, w = outer < c->grid_width ? outer : c->grid_width;
        if (codec_decode_bytes(c, d, 1, h, w) <= available)
            break;
    }
    return tile > 0 ? tile : 1;
}
