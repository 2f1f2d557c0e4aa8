/* The tensors of the new file, and the parts of the source that each is made of. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/convert_internal.h"

static bool check_shape(import *im, const param *p, const file_tensor *t, const int *order)
{
    file_tensor wanted = {.nd = p->nd};
    bool same = t->nd == p->nd;
    for (int i = 0; i < p->nd; i++) {
        int at = order ? order[i] : i;
        wanted.shape[at] = p->shape[i];
        same = same && t->shape[at] == p->shape[i];
    }
    char have[128], want[128];
    if (same)
        return true;
    file_tensor_shape_text(t, have);
    file_tensor_shape_text(&wanted, want);
    return err_set(&im->error, ERR_FAILED, "convert: tensor %s: shape %s, and the model's sizes ask for %s", t->name,
                   have, want);
}

/* What a tensor is stored as. */
static dtype stored_type(const import *im, const param *p, dtype own)
{
    bool has_own = own == DTYPE_F32 || own == DTYPE_F16 || own == DTYPE_Q8_0 || own == DTYPE_Q4_0;
    dtype type = im->typed ? im->type : has_own ? own : own == DTYPE_BF16 ? DTYPE_F16 : DTYPE_F32;
    return param_stored_type(p, type);
}

/* p's data, or the next part of it, is t, in another order where that isn't NULL.  Declares nothing. */
static struct import_part *add_data(import *im, const param *p, const file_tensor *t, const int *order)
{
    if (im->error.code || !check_shape(im, p, t, order))
        return NULL;
    if (t->type == DTYPE_OTHER) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s: %s, which limn can't read (save it as float32 or float16)",
                t->name, file_tensor_type_name(t));
        return NULL;
    }
    if (im->n_parts == im->capacity) {
        size_t capacity = im->capacity ? 2 * im->capacity : 256;
        struct import_part *grown = realloc(im->parts, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&im->error, "convert", capacity * sizeof *grown);
            return NULL;
        }
        im->parts = grown;
        im->capacity = capacity;
    }
    struct import_part *to = &im->parts[im->n_parts++];
    *to = (struct import_part){.from = order ? file_tensor_permuted(t, order) : *t, .output = im->n_outputs};
    if (dtype_table[t->type].block > 1 && !file_tensor_contiguous(&to->from)) {
        err_set(&im->error, ERR_FAILED, "convert: tensor %s: %s can't be put in another order (give it as f32 or f16)",
                t->name, dtype_table[t->type].name);
        return NULL;
    }
    return to;
}

/* The parts that were added last make up p, as a tensor of the new file. */
static void declare(import *im, const param *p, dtype own)
{
    if (im->n_outputs == im->outputs_capacity) {
        size_t capacity = im->outputs_capacity ? 2 * im->outputs_capacity : 256;
        struct import_output *grown = realloc(im->outputs, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&im->error, "convert", capacity * sizeof *grown);
            return;
        }
        im->outputs = grown;
        im->outputs_capacity = capacity;
    }
    struct import_output *o = &im->outputs[im->n_outputs];
    *o = (struct import_output){.name = strdup(p->name), .nd = p->nd, .type = stored_type(im, p, own)};
    memcpy(o->shape, p->shape, (size_t)p->nd * sizeof *o->shape);
    if (o->name)
        im->n_outputs++;
    else
        err_no_memory(&im->error, "convert", strlen(p->name));
}

/* p is t alone. */
static struct import_part *add_part(import *im, const param *p, const file_tensor *t, const int *order)
{
    struct import_part *to = add_data(im, p, t, order);
    if (to)
        declare(im, p, t->type);
    return to;
}

void import_param(import *im, const param *p, const char *from, const int *order)
{
    const file_tensor *t = import_find(im, from);
    if (t)
        add_part(im, p, t, order);
}

/* Drops dimensions of size 1, the first ones first, as long as there are more than nd. */
static void squeeze(file_tensor *t, int nd)
{
    for (int i = 0; i < t->nd && t->nd > nd;) {
        if (t->shape[i] != 1) {
            i++;
            continue;
        }
        t->nd--;
        for (int k = i; k < t->nd; k++) {
            t->shape[k] = t->shape[k + 1];
            t->stride[k] = t->stride[k + 1];
        }
    }
}

void import_part(import *im, const param *p, const char *from, int64_t first)
{
    const file_tensor *t = import_find(im, from);
    if (!t)
        return;
    file_tensor part = *t;
    squeeze(&part, p->nd);
    if (part.nd == p->nd && part.nd && first >= 0 &&
        first <= part.shape[0] - p->shape[0]) { /* else the shapes differ */
        part.data = (const uint8_t *)part.data + dtype_row_bytes(part.type, first * part.stride[0]);
        part.shape[0] = p->shape[0];
        part.bytes = dtype_row_bytes(part.type, file_tensor_count(&part));
    }
    add_part(im, p, &part, NULL);
}

/* -1 where one of them isn't there. */
static int64_t rows_of_all(const import *im, const char *const *from, int n)
{
    int64_t sum = 0;
    for (int i = 0; i < n; i++) {
        const file_tensor *t = source_tensor_of(im->from, from[i]);
        if (!t || t->nd < 1)
            return -1;
        sum += t->shape[0];
    }
    return sum;
}

void import_stack(import *im, const param *p, const char *const *from, int n)
{
    param part = *p;
    dtype own = DTYPE_F32;
    bool ok = true, together = rows_of_all(im, from, n) == p->shape[0];
    part.shape[0] /= n;
    for (int i = 0; ok && i < n; i++) {
        const file_tensor *t = import_find(im, from[i]);
        if (together && t)
            part.shape[0] = t->shape[0];
        ok = t && add_data(im, &part, t, NULL);
        if (i == 0 && ok)
            own = t->type;
    }
    if (ok)
        declare(im, p, own);
}

void import_ones(import *im, const param *p)
{
    static const float one = 1;
    file_tensor t = {.name = "ones", .type = DTYPE_F32, .nd = p->nd, .data = &one, .bytes = sizeof one};
    for (int i = 0; i < p->nd; i++) /* strides of 0 */
        t.shape[i] = p->shape[i];
    add_part(im, p, &t, NULL);
}

void import_rows(import *im, const param *p, const char *from, const int *order, const char *plus, bool unit)
{
    const file_tensor *t = import_find(im, from), *added = plus ? import_find(im, plus) : NULL;
    if (!t || (plus && !added))
        return;
    file_tensor table = *t;
    while (table.nd > p->nd && table.shape[table.nd - 1] == 1)
        table.nd--;
    squeeze(&table, p->nd);
    struct import_part *to = add_data(im, p, &table, order);
    if (to)
        declare(im, p, unit ? DTYPE_F32 : t->type); /* unit: the values are others than those that t's type held */
    if (to && added && (added->nd != 1 || added->shape[0] != p->shape[p->nd - 1]))
        check_shape(im, &(param){.nd = 1, .shape = {p->shape[p->nd - 1]}}, added, NULL);
    else if (to) {
        to->plus = added;
        to->unit = unit;
    }
}

void import_shaped(import *im, const param *p, const char *from, const char *scale)
{
    const file_tensor *t = import_find(im, from), *times = scale ? import_find(im, scale) : NULL;
    if (!t || (scale && !times))
        return;
    file_tensor shaped = {.nd = p->nd};
    int64_t count = 1;
    for (int i = p->nd; i-- > 0; count *= p->shape[i]) {
        shaped.shape[i] = p->shape[i];
        shaped.stride[i] = count;
    }
    bool fits = file_tensor_count(t) == count && file_tensor_contiguous(t);
    if (fits) {
        shaped.name = t->name;
        shaped.type = t->type;
        shaped.data = t->data;
        shaped.bytes = t->bytes;
    }
    struct import_part *to = add_part(im, p, fits ? &shaped : t, NULL);
    if (to && times && file_tensor_count(times) != p->shape[0])
        check_shape(im, &(param){.nd = 1, .shape = {p->shape[0]}}, times, NULL);
    else if (to)
        to->times = times;
}
