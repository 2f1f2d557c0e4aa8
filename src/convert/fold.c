/* Networks that are computed while a model is converted. */
#include "convert/fold.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 16 }; /* of an input that go through a layer together */

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

typedef struct layer {
    float *w, *b; /* [out, in], [out] */
    int in, out;
} layer;

static bool read_layer(import *im, const char *name, layer *l)
{
    int n = 0, one;
    l->w = floats_of(im, name, ".weight", 2, &l->out, &l->in);
    l->b = l->w ? floats_of(im, name, ".bias", 1, &n, &one) : NULL;
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
            sum[r] = l->b[o];
        for (int i = 0; i < l->in; i++)
            for (int r = 0; r < ROWS; r++)
                sum[r] += w[i] * x[i * ROWS + r];
        memcpy(y + (size_t)o * ROWS, sum, sizeof sum);
    }
}

/* to[n, out] of table[n, in] */
static bool fold(const layer *first, const layer *second, const float *table, int n, float *to, err *e)
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
            h[i] = 0.5f * h[i] * (1 + erff(h[i] * 0.70710678f));
        multiply(second, h, y);
        for (int r = 0; r < some; r++)
            for (int i = 0; i < second->out; i++)
                to[(size_t)(at + r) * (size_t)second->out + (size_t)i] = y[(size_t)i * ROWS + (size_t)r];
    }
    free(x);
    return true;
}

bool import_fold_mlp(import *im, const char *name, const char *table, const char *fc1, const char *fc2, err *e)
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
        ok = to ? fold(&first, &second, rows, n, to, e) : err_no_memory(e, name, count * sizeof *to);
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

bool import_repeat_heads(import *im, const char *name, const char *from, int size, int times, err *e)
{
    int n = 0, d = 0;
    float *rows = floats_of(im, from, "", 2, &n, &d);
    if (!rows)
        return false;
    if (size < 1 || n % size) {
        free(rows);
        return err_set(e, ERR_FAILED, "convert: tensor %s: %d rows are no heads of %d", from, n, size);
    }
    size_t head = (size_t)size * (size_t)d;
    float *to = malloc((size_t)times * (size_t)n * (size_t)d * sizeof *to);
    for (int i = 0; to && i < n / size * times; i++)
        memcpy(to + (size_t)i * head, rows + (size_t)(i / times) * head, head * sizeof *to);
    free(rows);
    return to ? source_make(im->from, name, 2, (int64_t[]){(int64_t)times * n, d}, to, e)
              : err_no_memory(e, name, (size_t)n * (size_t)d);
}
