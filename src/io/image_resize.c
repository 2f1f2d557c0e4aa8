/* Resampling by separable filters. */
#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"

/* The weights of one side: output i is the sum over k < taps of weight[i * taps + k] * input[clamp(first[i] + k)]. */
typedef struct filter {
    int taps;
    int *first;
    float *weight;
} filter;

static void filter_release(filter *f)
{
    free(f->first);
    free(f->weight);
    *f = (filter){0};
}

static double lanczos3(double x)
{
    const double pi = 3.14159265358979323846;
    if (fabs(x) >= 3)
        return 0;
    return x == 0 ? 1 : 3 * sin(pi * x) * sin(pi * x / 3) / (pi * pi * x * x);
}

static double bicubic(double x)
{
    x = fabs(x);
    return x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
}

static double triangle(double x)
{
    return fabs(x) < 1 ? 1 - fabs(x) : 0;
}

static const struct kind {
    double (*at)(double x);
    int reach;   /* it is 0 beyond */
    bool clamps; /* the picture's border goes on outside; else only what is inside counts */
} kinds[IMAGE_FILTERS] = {{lanczos3, 3, true}, {bicubic, 2, false}, {triangle, 1, false}};

static double weight_at(const struct kind *of, int at, int in, double centre, double stretch)
{
    return of->clamps || (at >= 0 && at < in) ? of->at((at - centre) / stretch) : 0;
}

static bool filter_init(filter *f, int in, int out, const struct kind *of, err *e)
{
    double step = (double)in / out, stretch = step > 1 ? step : 1; /* widened when shrinking: no aliasing */
    *f = (filter){.taps = (int)ceil(2 * of->reach * stretch) + 1};
    size_t weights = (size_t)out * (size_t)f->taps;
    f->first = malloc((size_t)out * sizeof *f->first);
    f->weight = malloc(weights * sizeof *f->weight);
    if (!f->first || !f->weight) {
        filter_release(f);
        return err_no_memory(e, "resizing a picture", weights * sizeof *f->weight);
    }
    for (int i = 0; i < out; i++) {
        double centre = (i + 0.5) * step - 0.5, sum = 0;
        float *w = f->weight + (size_t)i * (size_t)f->taps;
        f->first[i] = (int)ceil(centre - of->reach * stretch);
        for (int k = 0; k < f->taps; k++)
            sum += weight_at(of, f->first[i] + k, in, centre, stretch);
        for (int k = 0; k < f->taps; k++) /* their sum is 1: a constant picture stays as it is */
            w[k] = (float)(weight_at(of, f->first[i] + k, in, centre, stretch) / sum);
    }
    return true;
}

static int clamp(int x, int n)
{
    return x < 0 ? 0 : x >= n ? n - 1 : x;
}

/* A part of a picture. */
typedef struct window {
    const uint8_t *pixels; /* its first */
    size_t stride;         /* bytes from row to row */
    int width, height;
} window;

/* line[width][3]: row y of the output, filtered along the columns only. */
static void filter_columns(float *line, const window *in, const filter *f, int y)
{
    size_t n = (size_t)in->width * 3;
    memset(line, 0, n * sizeof *line);
    for (int k = 0; k < f->taps; k++) {
        float w = f->weight[(size_t)y * (size_t)f->taps + (size_t)k];
        const uint8_t *row = in->pixels + (size_t)clamp(f->first[y] + k, in->height) * in->stride;
        if (w == 0)
            continue;
        for (size_t i = 0; i < n; i++)
            line[i] += w * (float)row[i];
    }
}

static uint8_t to_byte(float v)
{
    return v <= 0 ? 0 : v >= 255 ? 255 : (uint8_t)lrintf(v);
}

static void filter_row(uint8_t *out, int width, const float *line, int in_width, const filter *f)
{
    for (int x = 0; x < width; x++, out += 3) {
        const float *w = f->weight + (size_t)x * (size_t)f->taps;
        float sum[3] = {0};
        for (int k = 0; k < f->taps; k++) {
            const float *p = line + (size_t)clamp(f->first[x] + k, in_width) * 3;
            for (int c = 0; c < 3; c++)
                sum[c] += w[k] * p[c];
        }
        for (int c = 0; c < 3; c++)
            out[c] = to_byte(sum[c]);
    }
}

/* One output row at a time, so that the memory needed beside the pictures is a line and the weights. */
static bool resample(image *out, const window *in, int width, int height, image_filter by, err *e)
{
    filter columns = {0}, rows = {0};
    size_t line_bytes = (size_t)in->width * 3 * sizeof(float);
    float *line = NULL;
    bool ok = image_new(out, width, height, e) && filter_init(&columns, in->height, height, &kinds[by], e) &&
              filter_init(&rows, in->width, width, &kinds[by], e);
    if (ok && !(line = malloc(line_bytes)))
        err_no_memory(e, "resizing a picture", line_bytes);
    ok = line != NULL;
    for (int y = 0; ok && y < height; y++) {
        filter_columns(line, in, &columns, y);
        filter_row(out->pixels + (size_t)y * (size_t)width * 3, width, line, in->width, &rows);
    }
    free(line);
    filter_release(&columns);
    filter_release(&rows);
    if (!ok)
        image_release(out);
    return ok;
}

static bool check(const image *out, const image *in, err *e)
{
    assert(out != in);
    (void)out;
    return in->pixels || err_set(e, ERR_FAILED, "picture: it is empty, so it cannot be resized");
}

bool image_resize(image *out, const image *in, int width, int height, err *e)
{
    const window all = {in->pixels, (size_t)in->width * 3, in->width, in->height};
    return check(out, in, e) && resample(out, &all, width, height, IMAGE_LANCZOS, e);
}

bool image_fit_by(image *out, const image *in, int width, int height, image_filter by, err *e)
{
    if (!check(out, in, e))
        return false;
    if (width < 1 || height < 1)
        return err_set(e, ERR_FAILED, "picture: cannot be fitted to %d x %d", width, height);
    int64_t w = in->width, h = in->height;
    if (w * height > h * width)
        w = (h * width + height / 2) / height;
    else
        h = (w * height + width / 2) / width;
    window part = {.stride = (size_t)in->width * 3, .width = w ? (int)w : 1, .height = h ? (int)h : 1};
    part.pixels = in->pixels + (size_t)((in->height - part.height) / 2) * part.stride +
                  (size_t)((in->width - part.width) / 2) * 3;
    if (by == IMAGE_LANCZOS)
        return resample(out, &part, width, height, by, e);
    image wide = {0}; /* as Pillow: along the rows first, and what is between is rounded */
    bool ok = resample(&wide, &part, width, part.height, by, e) &&
              resample(out, &(window){wide.pixels, (size_t)width * 3, width, part.height}, width, height, by, e);
    image_release(&wide);
    return ok;
}

bool image_fit(image *out, const image *in, int width, int height, err *e)
{
    return image_fit_by(out, in, width, height, IMAGE_LANCZOS, e);
}

bool image_scale(image *out, const image *in, int width, int height, err *e)
{
    if (width % in->width || height % in->height || width / in->width != height / in->height)
        return image_fit(out, in, width, height, e);
    size_t times = (size_t)(width / in->width);
    if (!image_new(out, width, height, e))
        return false;
    for (size_t y = 0; y < (size_t)height; y++)
        for (size_t x = 0; x < (size_t)width; x++)
            memcpy(out->pixels + 3 * (y * (size_t)width + x),
                   in->pixels + 3 * (y / times * (size_t)in->width + x / times), 3);
    return true;
}
