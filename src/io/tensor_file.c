/* The table of named tensors that every model file reader yields: sizes, names and look-up. */
#include "io/tensor_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int64_t file_tensor_count(const file_tensor *t)
{
    int64_t n = 1;
    for (int i = 0; i < t->nd; i++)
        n *= t->shape[i];
    return n;
}

const char *file_tensor_type_name(const file_tensor *t)
{
    return t->type == DTYPE_OTHER && t->type_name ? t->type_name : dtype_table[t->type].name;
}

void file_tensor_shape_text(const file_tensor *t, char out[128])
{
    int n = snprintf(out, 128, "[");
    for (int i = 0; i < t->nd; i++)
        n += snprintf(out + n, 128 - (size_t)n, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    snprintf(out + n, 128 - (size_t)n, "]");
}

/* The strides of contiguous rows. */
static void contiguous_strides(const file_tensor *t, int64_t stride[TENSOR_DIMS])
{
    int64_t step = 1;
    for (int i = t->nd - 1; i >= 0; i--) {
        stride[i] = step;
        step *= t->shape[i];
    }
}

bool file_tensor_contiguous(const file_tensor *t)
{
    int64_t wanted[TENSOR_DIMS] = {0};
    contiguous_strides(t, wanted);
    for (int i = 0; i < t->nd; i++)
        if (t->shape[i] != 1 && t->stride[i] != wanted[i] && t->bytes)
            return false;
    return true;
}

file_tensor file_tensor_permuted(const file_tensor *t, const int *order)
{
    file_tensor p = *t;
    for (int i = 0; i < t->nd; i++) {
        p.shape[i] = t->shape[order[i]];
        p.stride[i] = t->stride[order[i]];
    }
    return p;
}

enum { PIECE = 256 };

/* to[0, n) = n elements, each `step` after the last: gathered, then converted as a row. */
static void read_strided(float *to, dtype type, const uint8_t *from, int64_t step, int64_t n)
{
    uint8_t row[PIECE * 8];
    size_t size = (size_t)dtype_table[type].bytes;
    for (int64_t done = 0; done < n; done += PIECE) {
        int64_t count = n - done < PIECE ? n - done : PIECE;
        for (int64_t i = 0; i < count; i++)
            memcpy(row + (size_t)i * size, from + (done + i) * step * (int64_t)size, size);
        dtype_to_float(to + done, type, row, count);
    }
}

void file_tensor_read(const file_tensor *t, int64_t first, int64_t n, float *to)
{
    const uint8_t *data = t->data;
    if (t->type == DTYPE_OTHER) {
        for (int64_t i = 0; i < n; i++)
            to[i] = NAN;
        return;
    }
    if (file_tensor_contiguous(t)) {
        dtype_to_float(to, t->type, data + dtype_row_bytes(t->type, first), n);
        return;
    }
    int64_t row = t->shape[t->nd - 1], step = t->stride[t->nd - 1];
    while (n > 0) {
        int64_t column = first % row, rest = first / row, at = column * step;
        for (int i = t->nd - 2; i >= 0; i--) {
            at += rest % t->shape[i] * t->stride[i];
            rest /= t->shape[i];
        }
        int64_t count = row - column < n ? row - column : n;
        read_strided(to, t->type, data + at * dtype_table[t->type].bytes, step, count);
        first += count;
        to += count;
        n -= count;
    }
}

bool file_tensor_name_valid(const char *name)
{
    for (const char *p = name; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            return false;
    return *name != 0;
}

bool file_tensor_measure(file_tensor *t, const char *file, err *e)
{
    char shape[128];
    file_tensor_shape_text(t, shape);
    /* A size of 0 counts as 1: so the product of any of the sizes is known to fit, not only that of all. */
    int64_t all = 1, count = 1;
    for (int i = 0; i < t->nd; i++) {
        if (t->shape[i] < 0)
            return err_set(e, ERR_FAILED, "%s: tensor '%.100s': shape: %s has a negative size", file, t->name, shape);
        if (__builtin_mul_overflow(all, t->shape[i] ? t->shape[i] : 1, &all))
            return err_set(e, ERR_FAILED, "%s: tensor '%.100s': shape: the product of %s overflows", file, t->name,
                           shape);
        count *= t->shape[i];
    }
    const dtype_info *d = &dtype_table[t->type];
    int64_t row = t->nd ? t->shape[t->nd - 1] : 1;
    if (row % d->block)
        return err_set(e, ERR_FAILED, "%s: tensor '%.100s': shape: rows of %s are not whole %s blocks of %d", file,
                       t->name, shape, d->name, d->block);
    int64_t bytes;
    if (__builtin_mul_overflow((all - 1) / d->block + 1, d->bytes, &bytes) || (uint64_t)bytes > SIZE_MAX)
        return err_set(e, ERR_FAILED, "%s: tensor '%.100s': shape: the bytes of %s overflow", file, t->name, shape);
    t->bytes = dtype_row_bytes(t->type, count);
    contiguous_strides(t, t->stride);
    return true;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const file_tensor *const *)a)->name, (*(const file_tensor *const *)b)->name);
}

const file_tensor **file_tensor_index(const file_tensor *tensors, size_t n, const char *file, err *e)
{
    const file_tensor **index = calloc(n ? n : 1, sizeof(file_tensor *));
    if (!index) {
        err_no_memory(e, file, (unsigned long long)n * sizeof(file_tensor *));
        return NULL;
    }
    for (size_t i = 0; i < n; i++)
        index[i] = &tensors[i];
    qsort(index, n, sizeof(file_tensor *), by_name);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(index[i - 1]->name, index[i]->name)) {
            err_set(e, ERR_FAILED, "%s: tensor '%.100s': name: it occurs twice", file, index[i]->name);
            free(index);
            return NULL;
        }
    return index;
}

const file_tensor *file_tensor_find(const file_tensor *const *index, size_t n, const char *name)
{
    const file_tensor key = {.name = name}, *wanted = &key;
    const file_tensor *const *found = bsearch(&wanted, index, n, sizeof(file_tensor *), by_name);
    return found ? *found : NULL;
}
