/* Networks that are computed while a model is converted. */
#include "convert/fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16 };     /* of an input that go through a layer together */
enum { COLUMNS = 256 }; /* of a convolution's numbers that are multiplied together */

/* The source tensor as floats, a new array; of nd dimensions, and where `rows` isn't NULL *rows and *columns are its
 * sizes.  NULL with im's error filled. */
static float *floats_of(import *im, const char *name, const char *ending, int nd, int *rows, int *columns)
{
    char whole[192];
    snprintf(whole, sizeof whole, "%s%s", name, ending);
    const file_tensor *t = import_find(im, whole);
    if (!t)
        return NULL;
    if (t->nd != nd || t->type == DTYPE_OTHER || t->shape[0] > INT32_MAX || t->shape[nd - 1] > INT32_MAX) {
        char shape[128];
        file_tensor_shape_text(t, shape);
        err_set(&im->error, ERR_FAILED, "convert: tensor %s: %s %s, and %d dimensions of numbers are wanted", whole,
                file_tensor_type_name(t), shape, nd);
        return NULL;
    }
    *rows = (int)t->shape[0];
    *columns = nd > 1 ? (int)t->shape[1] : 1;
    int64_t n = file_tensor_count(t);
    float *values = malloc((n ? (size_t)n : 1) * sizeof *values);
    if (!values)
        err_no_memory(&im->error, whole, (size_t)n * sizeof *values);
    else
        file_tensor_read(t, 0, n, values);
    return values;
}

float *import_floats(import *im, const char *name, int *rows, int *columns)
{
    return floats_of(im, name, "", 2, rows, columns);
}

typedef struct layer {
    float *w, *b; /* [out, in], [out] or NULL */
    int in, out;
} layer;

static bool read_layer(import *im, const char *name, layer *l)
{
    int n = 0, one;
    l->w = floats_of(im, name, ".weight", 2, &l->out, &l->in);
    if (!l->w || !import_has(im, "%s.bias", name))
        return l->w;
    l->b = floats_of(im, name, ".bias", 1, &n, &one);
    return l->b && (n == l->out || err_set(&im->error, ERR_FAILED, "convert: tensor %s.bias: %d numbers, and not %d",
                                           name, n, l->out));
}

static void free_layer(layer *l)
{
    free(l->w);
    free(l->b);
}

/* y[out, ROWS] = w x + b; x[in, ROWS]: a column is a row of the table */
static void multiply(const layer *l, const float *x, float *y)
{
    for (int o = 0; o < l->out; o++) {
        const float *w = l->w + (size_t)o * (size_t)l->in;
        float sum[ROWS];
        for (int r = 0; r < ROWS; r++)
            sum[r] = l->b ? l->b[o] : 0;
        for (int i = 0; i < l->in; i++)
            for (int r = 0; r < ROWS; r++)
                sum[r] += w[i] * x[i * ROWS + r];
        memcpy(y + (size_t)o * ROWS, sum, sizeof sum);
    }
}

static float gelu(float x, activation act)
{
    return act == ACT_GELU_TANH ? 0.5f * x * (1 + tanhf(0.79788456f * (x + 0.044715f * x * x * x)))
                                : 0.5f * x * (1 + erff(x * 0.70710678f));
}

/* to[n, out] of table[n, in] */
static bool fold(const layer *first, const layer *second, activation act, const float *table, int n, float *to, err *e)
{
    size_t widest = (size_t)(first->in + first->out + second->out) * ROWS;
    float *x = calloc(widest, sizeof *x), *h = x + (size_t)first->in * ROWS, *y = h + (size_t)first->out * ROWS;
    if (!x)
        return err_no_memory(e, "convert", widest * sizeof *x);
    for (int at = 0; at < n; at += ROWS) {
        int some = n - at < ROWS ? n - at : ROWS;
        for (int r = 0; r < some; r++)
            for (int i = 0; i < first->in; i++)
                x[i * ROWS + r] = table[(size_t)(at + r) * (size_t)first->in + (size_t)i];
        multiply(first, x, h);
        for (int i = 0; i < first->out * ROWS; i++)
            h[i] = gelu(h[i], act);
        multiply(second, h, y);
        for (int r = 0; r < some; r++)
            for (int i = 0; i < second->out; i++)
                to[(size_t)(at + r) * (size_t)second->out + (size_t)i] = y[(size_t)i * ROWS + (size_t)r];
    }
    free(x);
    return true;
}

bool import_fold_mlp(import *im, const char *name, const char *table, const char *fc1, const char *fc2, activation act,
                     err *e)
{
    layer first = {0}, second = {0};
    int n = 0, d = 0;
    float *rows = floats_of(im, table, "", 2, &n, &d), *to = NULL;
    bool ok = rows && read_layer(im, fc1, &first) && read_layer(im, fc2, &second);
    if (ok && (first.in != d || second.in != first.out))
        ok = err_set(&im->error, ERR_FAILED, "convert: tensors %s, %s.weight and %s.weight don't go together", table,
                     fc1, fc2);
    if (ok) {
        size_t count = (size_t)n * (size_t)second.out;
        to = malloc((count ? count : 1) * sizeof *to);
        ok = to ? fold(&first, &second, act, rows, n, to, e) : err_no_memory(e, name, count * sizeof *to);
    }
    if (ok)
        ok = source_make(im->from, name, 2, (int64_t[]){n, second.out}, to, e);
    else
        free(to);
    free(rows);
    free_layer(&first);
    free_layer(&second);
    return ok;
}

/* ---- convolutions ---- */

/* A convolution of one picture: w[out, in, area], b[out]. */
typedef struct picture_conv {
    float *w, *b;
    int out, in, height, width;
} picture_conv;

static void free_conv(picture_conv *c)
{
    free(c->w);
    free(c->b);
}

/* From name.weight [out, in, time, height, width], summed over time, or without time, and name.bias. */
static bool read_conv(import *im, const char *name, picture_conv *c)
{
    char whole[192];
    int n = 0, one;
    snprintf(whole, sizeof whole, "%s.weight", name);
    const file_tensor *t = import_find(im, whole);
    bool flat = t && t->nd == 4;
    float *all = t ? floats_of(im, name, ".weight", flat ? 4 : 5, &c->out, &c->in) : NULL;
    c->b = all ? floats_of(im, name, ".bias", 1, &n, &one) : NULL;
    if (!all || !c->b) {
        free(all);
        return false;
    }
    int time = flat ? 1 : (int)t->shape[2];
    c->height = (int)t->shape[t->nd - 2];
    c->width = (int)t->shape[t->nd - 1];
    size_t area = (size_t)c->height * (size_t)c->width, pairs = (size_t)c->out * (size_t)c->in;
    c->w = calloc(pairs * area + 1, sizeof *c->w);
    for (size_t i = 0; c->w && i < pairs; i++)
        for (size_t k = 0; k < (size_t)time * area; k++)
            c->w[i * area + k % area] += all[i * (size_t)time * area + k];
    free(all);
    if (!c->w)
        return err_no_memory(&im->error, name, pairs * area * sizeof *c->w);
    return n == c->out ||
           err_set(&im->error, ERR_FAILED, "convert: tensor %s.bias: %d numbers, and not %d", name, n, c->out);
}

/* to = m [rows, c->out] times c's outputs, with the bias b[rows] (or NULL) */
static bool multiply_conv(const picture_conv *c, const float *m, const float *b, int rows, picture_conv *to, err *e)
{
    size_t row = (size_t)c->in * (size_t)c->height * (size_t)c->width;
    *to = (picture_conv){calloc((size_t)rows * row + 1, sizeof *to->w),
                         calloc((size_t)rows + 1, sizeof *to->b),
                         rows,
                         c->in,
                         c->height,
                         c->width};
    if (!to->w || !to->b)
        return err_no_memory(e, "convert", (size_t)rows * row * sizeof *to->w);
    for (int r = 0; r < rows; r++) {
        to->b[r] = b ? b[r] : 0;
        for (int i = 0; i < c->out; i++)
            to->b[r] += m[(size_t)r * (size_t)c->out + (size_t)i] * c->b[i];
    }
    for (size_t first = 0; first < row; first += COLUMNS) /* of all outputs, which stay in the processor's cache */
        for (int r = 0; r < rows; r++) {
            size_t n = row - first < COLUMNS ? row - first : COLUMNS;
            float *w = to->w + (size_t)r * row + first;
            for (int i = 0; i < c->out; i++) {
                const float factor = m[(size_t)r * (size_t)c->out + (size_t)i], *from = c->w + (size_t)i * row + first;
                for (size_t k = 0; factor != 0 && k < n; k++)
                    w[k] += factor * from[k];
            }
        }
    return true;
}

/* Gives c's arrays to the source, as NAME.weight and NAME.bias. */
static bool make_conv(import *im, const char *name, picture_conv *c, err *e)
{
    char whole[192];
    float *w = c->w, *b = c->b;
    *c = (picture_conv){.out = c->out, .in = c->in, .height = c->height, .width = c->width};
    snprintf(whole, sizeof whole, "%s.weight", name);
    if (!source_make(im->from, whole, 4, (int64_t[]){c->out, c->in, c->height, c->width}, w, e)) {
        free(b);
        return false;
    }
    snprintf(whole, sizeof whole, "%s.bias", name);
    return source_make(im->from, whole, 1, (int64_t[]){c->out}, b, e);
}

/* The kernel of what is added. */
static bool add_to(picture_conv *c, fold_added added)
{
    size_t area = (size_t)c->height * (size_t)c->width;
    if (added == FOLD_NOTHING)
        return true;
    if (c->out != c->in || (added == FOLD_MEANS && (c->height < 2 || c->width < 2)))
        return false;
    for (int i = 0; i < c->out; i++) {
        float *kernel = c->w + ((size_t)i * (size_t)c->in + (size_t)i) * area;
        if (added == FOLD_INPUT)
            kernel[area / 2] += 1; /* its middle */
        for (int k = 0; added == FOLD_MEANS && k < 4; k++)
            kernel[k / 2 * c->width + k % 2] += 0.25f;
    }
    return true;
}

bool import_fold_convs(import *im, const char *name, const char *first, const char *second, fold_added added, err *e)
{
    picture_conv c = {0}, m = {0}, to = {0};
    bool ok = read_conv(im, first, &c) && (!second || read_conv(im, second, &m));
    if (ok && (!add_to(&c, added) || (second && (m.height != 1 || m.width != 1 || m.in != c.out))))
        ok = err_set(&im->error, ERR_FAILED, "convert: tensors %s.weight and %s.weight don't go together", first,
                     second ? second : first);
    if (ok && second)
        ok = multiply_conv(&c, m.w, m.b, m.out, &to, e);
    ok = ok && make_conv(im, name, second ? &to : &c, e);
    free_conv(&c);
    free_conv(&m);
    free_conv(&to);
    return ok;
}

bool import_combine_outputs(import *im, const char *name, const char *to, const float *factors, int rows, int n, err *e)
{
    picture_conv c = {0}, all = {0};
    bool ok = read_conv(im, name, &c);
    if (ok && c.out != n)
        ok = err_set(&im->error, ERR_FAILED, "convert: tensor %s.weight: %d outputs, and not %d", name, c.out, n);
    ok = ok && multiply_conv(&c, factors, NULL, rows, &all, e) && make_conv(im, to, &all, e);
    free_conv(&c);
    free_conv(&all);
    return ok;
}

bool import_spread_inputs(import *im, const char *name, const char *to, const float *factors, int inputs, int colours,
                          int side, err *e)
{
    picture_conv c = {0}, all = {0};
    bool ok = read_conv(im, name, &c);
    if (ok && c.in != inputs)
        ok = err_set(&im->error, ERR_FAILED, "convert: tensor %s.weight: %d inputs, and not %d", name, c.in, inputs);
    if (ok) {
        all = (picture_conv){.out = c.out, .in = colours, .height = c.height * side, .width = c.width * side};
        size_t n = (size_t)all.out * (size_t)all.in * (size_t)all.height * (size_t)all.width;
        all.w = calloc(n + 1, sizeof *all.w);
        all.b = c.b;
        c.b = NULL;
        ok = all.w || err_no_memory(e, name, n * sizeof *all.w);
    }
    float *w = all.w;
    for (int o = 0; ok && o < all.out; o++)
        for (int colour = 0; colour < colours; colour++)
            for (int y = 0; y < all.height; y++)
                for (int x = 0; x < all.width; x++, w++) {
                    const float *from =
                        c.w + (size_t)o * (size_t)(inputs * c.height * c.width) + y / side * c.width + x / side;
                    const float *factor = factors + (colour * side + y % side) * side + x % side;
                    for (int i = 0; i < inputs; i++)
                        *w += from[i * c.height * c.width] * factor[i * colours * side * side];
                }
    ok = ok && make_conv(im, to, &all, e);
    free_conv(&c);
    free_conv(&all);
    return ok;
}

bool import_shift_outputs(import *im, const char *name, const char *to, const float *shift, int n, err *e)
{
    picture_conv c = {0};
    bool ok = read_conv(im, name, &c);
    if (ok && c.out != n)
        ok = err_set(&im->error, ERR_FAILED, "convert: tensor %s.weight: %d outputs, and not %d", name, c.out, n);
    for (int i = 0; ok && i < n; i++)
        c.b[i] += shift[i];
    ok = ok && make_conv(im, to, &c, e);
    free_conv(&c);
    return ok;
}
