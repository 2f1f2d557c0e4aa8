/* Decoding with as much memory as there is: whole pictures, or tiles of one. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "device/count.h"
#include "models/codecs/codec.h"

/* out = the first three channels of x[count,channels] as pixels */
static void to_pixels(float *out, const float *x, int64_t count, const codec *c)
{
    for (int64_t i = 0; i < count * 3; i++) {
        float v = x[i / 3 * c->channels + i % 3] * c->output.scale + c->output.shift;
        out[i] = fminf(fmaxf(v, 0), 1);
    }
}

bool codec_decode_pictures(run *r, const codec *c, const int32_t *codes, int n, float *pixels, err *e)
{
    int64_t count = (int64_t)n * c->height * c->width;
    float *host = malloc((size_t)(count * c->channels) * sizeof *host);
    if (!host)
        return err_no_memory(e, "pictures", (size_t)(count * c->channels) * sizeof *host);
    run_reset(r);
    tensor z = run_upload(r, c->latents ? DTYPE_F32 : DTYPE_I32, 2, (int64_t[]){n, codec_numbers(c)}, codes);
    run_read(r, codec_decode(r, c, z), host);
    bool ok = run_finish(r, e);
    if (ok)
        to_pixels(pixels, host, count, c);
    free(host);
    return ok;
}

/* Cells `first` to first + n - 1 of a side; outer_…: the same with their margin. */
typedef struct range {
    int first, n, outer_first, outer_n;
} range;

/* All ranges of a side are equally long with their margins, so that a tile's memory is right for the next one.  There
 * is no margin where the picture ends. */
static range range_at(int first, int tile, int side, int reach)
{
    range t = {.first = first, .outer_first = first > reach ? first - reach : 0, .outer_n = tile < side ? tile : side};
    if (t.outer_first > side - t.outer_n)
        t.outer_first = side - t.outer_n;
    int end = t.outer_first + t.outer_n;
    t.n = (end < side ? end - reach : side) - first;
    return t;
}

static int longer_side(const codec *c)
{
    return c->grid_height > c->grid_width ? c->grid_height : c->grid_width;
}

int codec_margin(const codec *c)
{
    return c->overlap ? c->overlap : c->reach;
}

int codec_most_cuts(const codec *c)
{
    int side = longer_side(c), least = 2 * c->reach + 1;
    if (c->overlap) /* tiles of four margins at least: of a smaller one norms see too little */
        return side < 6 * c->overlap ? 1 : side / (2 * c->overlap) - 1;
    if (c->reach < 0 || least > side)
        return 1;
    /* n tiles in a row are side + 2 reach (n - 1) cells: not more than five times as many as the side has */
    int most = c->reach ? 1 + 2 * side / c->reach : side;
    return most < side - least + 1 ? most : side - least + 1;
}

/* The side of a tile, so that n of them in a row are the longer side. */
static int tile_side(const codec *c, int n)
{
    return (longer_side(c) + 2 * codec_margin(c) * (n - 1) + n - 1) / n;
}

static int ranges_of(int tile, int side, int reach)
{
    int n = 0;
    for (int at = 0; at < side; at += range_at(at, tile, side, reach).n)
        n++;
    return n;
}

int codec_tiles(const codec *c, int cuts, int *width, int *height)
{
    int tile = tile_side(c, cuts), margin = codec_margin(c);
    *width = range_at(0, tile, c->grid_width, margin).outer_n;
    *height = range_at(0, tile, c->grid_height, margin).outer_n;
    return ranges_of(tile, c->grid_width, margin) * ranges_of(tile, c->grid_height, margin);
}

/* A tile as a picture of its own. */
static codec part_of(const codec *c, int width, int height)
{
    int step = c->width / c->grid_width;
    codec part = *c;
    part.grid_width = width;
    part.grid_height = height;
    part.width = width * step;
    part.height = height * step;
    return part;
}

/* From 0 to 1 across the two margins of width m around a border, p pixels behind their beginning. */
static float ramp(int p, int m)
{
    return fminf(fmaxf(((float)p + 0.5f) / (float)(2 * m), 0), 1);
}

/* What a tile counts at pixel p of a side: the shares of all tiles there are 1 together. */
static float share_at(const codec *c, range r, int p, int side)
{
    const int step = c->width / c->grid_width, m = c->overlap * step, end = r.first + r.n;
    const float up = r.first > 0 ? ramp(p - r.first * step + m, m) : 1;
    return end < side ? up - ramp(p - end * step + m, m) : up;
}

/* Adds a tile of width x height pixels to the picture, by its share. */
static void blend(const codec *c, const float *decoded, const codec *part, range y, range x, float *pixels)
{
    const int step = c->width / c->grid_width;
    for (int i = 0; i < part->height; i++) {
        const int at = y.outer_first * step + i;
        float *row = pixels + ((size_t)at * (size_t)c->width + (size_t)(x.outer_first * step)) * 3;
        const float *from = decoded + (size_t)i * (size_t)part->width * 3, down = share_at(c, y, at, c->grid_height);
        for (int k = 0; k < part->width; k++) {
            const float share = down * share_at(c, x, x.outer_first * step + k, c->grid_width);
            for (int channel = 0; channel < 3; channel++)
                row[3 * k + channel] += share * from[3 * k + channel];
        }
    }
}

/* Keeps a tile's pixels without the margin. */
static void keep(const codec *c, const float *decoded, const codec *part, range y, range x, float *pixels)
{
    const int step = c->width / c->grid_width;
    for (int i = 0; i < y.n * step; i++)
        memcpy(pixels + ((size_t)(y.first * step + i) * (size_t)c->width + (size_t)(x.first * step)) * 3,
               decoded + ((size_t)((y.first - y.outer_first) * step + i) * (size_t)part->width +
                          (size_t)((x.first - x.outer_first) * step)) *
                             3,
               (size_t)(x.n * step) * 3 * sizeof *pixels);
}

static bool decode_tile(run *r, const codec *c, const int32_t *codes, range y, range x, float *pixels, err *e)
{
    const codec part = part_of(c, x.outer_n, y.outer_n);
    const size_t numbers = c->latents ? (size_t)c->latents : 1, row = (size_t)x.outer_n * numbers;
    const size_t bytes = (size_t)part.width * (size_t)part.height * 12;
    int32_t *own = malloc(row * (size_t)y.outer_n * sizeof *own);
    float *decoded = malloc(bytes);
    bool ok = (own && decoded) || err_no_memory(e, "tile", bytes);
    for (int i = 0; ok && i < y.outer_n; i++)
        memcpy(own + (size_t)i * row,
               codes + ((size_t)(y.outer_first + i) * (size_t)c->grid_width + (size_t)x.outer_first) * numbers,
               row * sizeof *own);
    ok = ok && codec_decode_pictures(r, &part, own, 1, decoded, e);
    if (ok)
        (c->overlap ? blend : keep)(c, decoded, &part, y, x, pixels);
    free(own);
    free(decoded);
    return ok;
}

bool codec_decode_tiles(run *r, const codec *c, const int32_t *codes, int cuts, float *pixels, err *e)
{
    int tile = tile_side(c, cuts), margin = codec_margin(c);
    memset(pixels, 0, (size_t)c->width * (size_t)c->height * 3 * sizeof *pixels);
    for (range y = {0}; y.first + y.n < c->grid_height;) {
        y = range_at(y.first + y.n, tile, c->grid_height, margin);
        for (range x = {0}; x.first + x.n < c->grid_width;) {
            x = range_at(x.first + x.n, tile, c->grid_width, margin);
            if (!decode_tile(r, c, codes, y, x, pixels, e))
                return false;
        }
    }
    return true;
}

bool codec_walk_decode(void *context, run *r, int n, err *e)
{
    const codec *c = context;
    codec part = *c;
    int width, height;
    if (count_cuts(n) > 1) {
        codec_tiles(c, count_cuts(n), &width, &height);
        part = part_of(c, width, height);
    }
    codec_decode(r, &part, TENSOR(r, c->latents ? DTYPE_F32 : DTYPE_I32, n > 0 ? n : 1, codec_numbers(&part)));
    return run_finish(r, e);
}
