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
    int32_t *whole; /* the same weights times 2^22, rounded */
} filter;

static void filter_release(filter *f)
{
    free(f->first);
    free(f->weight);
    free(f->whole);
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
    f->whole = malloc(weights * sizeof *f->whole);
    if (!f->first || !f->weight || !f->whole) {
        filter_release(f);
        return err_no_memory(e, "resizing a picture", weights * sizeof *f->weight);
    }
    for (int i = 0; i < out; i++) {
        double centre = (i + 0.5) * step - 0.5, sum = 0;
        float *w = f->weight + (size_t)i * (size_t)f->taps;
        f->first[i] = (int)ceil(centre - of->reach * stretch);
        for (int k = 0; k < f->taps; k++)
            sum += weight_at(of, f->first[i] + k, in, centre, stretch);
        for (int k = 0; k < f->taps; k++) { /* their sum is 1: a constant picture stays as it is */
            const double share = weight_at(of, f->first[i] + k, in, centre, stretch) / sum;
            w[k] = (float)share;
            f->whole[(size_t)i * (size_t)f->taps + (size_t)k] = (int32_t)lround(share * (1 << 22));
        }
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

enum { WHOLE = 1 << 22 }; /* Pillow's weights of bytes are whole numbers of such parts */

/* One side of bytes: to[count,out,each] of from[count,in,each], as Pillow has it to the bit. */
static void filter_bytes(uint8_t *to, const uint8_t *from, const filter *f, int count, int in, int out, int each)
{
    for (int i = 0; i < count; i++)
        for (int y = 0; y < out; y++)
            for (int c = 0; c < each; c++) {
                int64_t sum = WHOLE / 2;
                for (int k = 0; k < f->taps; k++)
                    sum += f->whole[(int64_t)y * f->taps + k] *
                           from[((int64_t)i * in + clamp(f->first[y] + k, in)) * each + c];
                to[((int64_t)i * out + y) * each + c] = (uint8_t)clamp((int)(sum >> 22), 256);
            }
}

/* As Pillow: along the rows first, and what is between is rounded. */
static bool resample_whole(image *out, const image *in, int width, int height, image_filter by, err *e)
{
    filter columns = {0}, rows = {0};
    image wide = {0};
    bool ok = image_new(out, width, height, e) && image_new(&wide, width, in->height, e) &&
              filter_init(&columns, in->height, height, &kinds[by], e) &&
              filter_init(&rows, in->width, width, &kinds[by], e);
    if (ok) {
        filter_bytes(wide.pixels, in->pixels, &rows, in->height, in->width, width, 3);
        filter_bytes(out->pixels, wide.pixels, &columns, 1, in->height, height, 3 * width);
    }
    image_release(&wide);
    filter_release(&columns);
    filter_release(&rows);
    if (!ok)
        image_release(out);
    return ok;
}

bool image_fit_shorter(image *out, const image *in, int side, image_filter by, err *e)
{
    if (!check(out, in, e))
        return false;
    const bool upright = in->height > in->width;
    const int64_t shorter = upright ? in->width : in->height, longer = upright ? in->height : in->width;
    const int64_t most = (int64_t)side * longer / shorter;
    if (side < 1 || most > 1 << 20)
        return err_set(e, ERR_FAILED, "picture: %d x %d cannot be brought to %d pixels", in->width, in->height, side);
    const int width = upright ? side : (int)most, height = upright ? (int)most : side;
    const size_t line = (size_t)side * 3, from = (size_t)((height - side) / 2), column = (size_t)((width - side) / 2);
    image whole = {0};
    bool ok = image_new(out, side, side, e) && resample_whole(&whole, in, width, height, by, e);
    for (size_t y = 0; ok && y < (size_t)side; y++)
        memcpy(out->pixels + y * line, whole.pixels + ((from + y) * (size_t)width + column) * 3, line);
    image_release(&whole);
    if (!ok)
        image_release(out);
    return ok;
}

/* One side of floats: to[count,out,each] of from[count,in,each]. */
static void filter_floats(float *to, const float *from, const filter *f, int count, int in, int out, int each)
{
    for (int i = 0; i < count; i++)
        for (int y = 0; y < out; y++)
            for (int c = 0; c < each; c++) {
                float sum = 0;
                for (int k = 0; k < f->taps; k++)
                    sum += f->weight[y * f->taps + k] * from[((int64_t)i * in + clamp(f->first[y] + k, in)) * each + c];
                to[((int64_t)i * out + y) * each + c] = sum;
            }
}

bool image_resize_floats(float *out, int width, int height, const float *in, int in_width, int in_height,
                         image_filter by, err *e)
{
    filter columns = {0}, rows = {0};
    size_t bytes = (size_t)in_height * (size_t)width * 3 * sizeof(float);
    float *wide = malloc(bytes);
    bool ok = wide || err_no_memory(e, "resizing a picture", bytes);
    ok = ok && filter_init(&columns, in_height, height, &kinds[by], e) &&
         filter_init(&rows, in_width, width, &kinds[by], e);
    if (ok) {
        filter_floats(wide, in, &rows, in_height, in_width, width, 3);
        filter_floats(out, wide, &columns, 1, in_height, height, 3 * width);
    }
    free(wide);
    filter_release(&columns);
    filter_release(&rows);
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
