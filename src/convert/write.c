/* Conversion: the types of the output's tensors, a look at their values, and streaming them. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "base/log.h"
#include "convert/convert_internal.h"

enum { FORGET_AFTER = 1 << 25 };

/* Whole blocks, and few enough that a tensor of any size needs little memory. */
enum { PIECE = 1 << 16 };

/* What there is among a tensor's values. */
typedef struct look {
    int64_t count, nans, infinities;
    float largest; /* magnitude, of those that are finite */
} look;

static void look_at(look *l, const float *values, int64_t n)
{
    uint32_t largest = 0;
    int64_t odd = 0, nans = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &values[i], sizeof bits);
        bits &= 0x7fffffff;
        odd += bits >= 0x7f800000;
        nans += bits > 0x7f800000;
        largest = bits < 0x7f800000 && bits > largest ? bits : largest;
    }
    float f;
    memcpy(&f, &largest, sizeof f);
    l->count += n;
    l->nans += nans;
    l->infinities += odd - nans;
    l->largest = f > l->largest ? f : l->largest;
}

static bool check_look(const import *im, const struct import_part *p, const look *l, err *e)
{
    const char *file = NULL, *name = p->from.name;
    if (!l->nans && !l->infinities)
        return true;
    for (size_t i = 0; i < im->from->n && !file; i++)
        if (!strcmp(im->from->tensors[i].own.name, name)) {
            file = im->from->tensors[i].file;
            name = im->from->tensors[i].original ? im->from->tensors[i].original : name;
        }
    char both[64] = "";
    if (l->nans && l->infinities)
        snprintf(both, sizeof both, ", and %" PRId64 " are infinite", l->infinities);
    return err_set(e, ERR_FAILED,
                   "%s: tensor %s: %" PRId64 " of %" PRId64 " values are %s%s: a model with these can't draw (did the "
                   "training diverge? take an earlier checkpoint; or download the file again)",
                   file ? file : "convert", name, l->nans ? l->nans : l->infinities, l->count,
                   l->nans ? "no numbers (NaN)" : "infinite", both);
}

/* ---- a part, piece by piece ------------------------------------------------------------------------------------- */

/* values[n] are rows of d; plus[d]; times: of the first of the rows, or NULL. */
static void change_rows(const struct import_part *p, float *values, int64_t n, int64_t d, const float *plus,
                        const float *times)
{
    for (float *row = values; row < values + n; row += d) {
        double squares = 0;
        for (int64_t i = 0; i < d; i++) {
            row[i] += plus[i];
            squares += (double)row[i] * row[i];
        }
        double scale = times ? *times++ : p->unit ? 1 / fmax(sqrt(squares), 1e-12) : 1; /* as PyTorch's normalize */
        for (int64_t i = 0; scale != 1 && i < d; i++)
            row[i] = (float)(row[i] * scale);
    }
}

/* Of so many bytes of the source that were read: now and then their pages leave memory, else all of it would be
 * resident in the end. */
static void forget(import *im, size_t bytes)
{
    im->read += bytes;
    for (size_t k = 0; k < im->from->n_files && im->read > FORGET_AFTER; k++)
        model_file_forget(im->from->files[k]);
    im->read = im->read > FORGET_AFTER ? 0 : im->read;
}

/* Reads the part as floats and looks at them.  w: where they are written to as `type`, or NULL.  Bytes that stay as
 * they are go through untouched. */
static bool stream(import *im, gguf_writer *w, const struct import_part *p, dtype type, look *l, err *e)
{
    const file_tensor *t = &p->from;
    bool change = p->plus || p->unit || p->times, as_is = type == t->type && !change && file_tensor_contiguous(t);
    int64_t count = file_tensor_count(t), d = 1;
    if (count)
        d = p->times ? count / t->shape[0] : change ? t->shape[t->nd - 1] : 1;
    int64_t piece = d < PIECE ? PIECE / d * d : d, rows = p->times ? t->shape[0] : 1; /* whole rows */
    float *values = malloc((size_t)piece * sizeof *values), *plus = calloc((size_t)d, sizeof *plus);
    float *times = malloc((size_t)rows * sizeof *times);
    void *stored = malloc((size_t)piece * sizeof *values);
    bool ok = (values && stored && plus && times) || err_no_memory(e, t->name, 2 * (size_t)piece * sizeof *values);
    if (ok && p->plus)
        file_tensor_read(p->plus, 0, d, plus);
    if (ok && p->times)
        file_tensor_read(p->times, 0, rows, times);
    for (int64_t at = 0; ok && at < count; at += piece) {
        int64_t n = count - at < piece ? count - at : piece;
        file_tensor_read(t, at, n, values);
        forget(im, (size_t)((double)t->bytes * (double)n / (double)count));
        if (change)
            change_rows(p, values, n, d, plus, p->times ? times + at / d : NULL);
        look_at(l, values, n);
        if (w && as_is) {
            gguf_write_data(w, (const uint8_t *)t->data + dtype_row_bytes(type, at), dtype_row_bytes(type, n));
        } else if (w) {
            dtype_from_float(type, stored, values, n);
            gguf_write_data(w, stored, dtype_row_bytes(type, n));
        }
        ok = control_goes_on(im->control, "convert",
                             im->done + (int64_t)((double)t->bytes * (double)(at + n) / (double)count), im->total, e);
    }
    im->done += (int64_t)t->bytes;
    free(stored);
    free(times);
    free(plus);
    free(values);
    return ok;
}

/* ---- types ------------------------------------------------------------------------------------------------------ */

/* Whether values up to that magnitude neither overflow in that type nor all vanish.  Blocks have a half as scale. */
static bool fits(dtype type, float largest)
{
    float scale = type == DTYPE_Q8_0 ? largest / 127 : type == DTYPE_Q4_0 ? largest / 8 : largest;
    uint16_t half = float_to_half(scale);
    return type == DTYPE_F32 || largest == 0 || ((half & 0x7fff) < 0x7c00 && (half & 0x7fff));
}

/* Whether the type may be too narrow for what the part has. */
static bool is_narrower(const struct import_part *p, dtype type)
{
    bool change = p->plus || p->unit || p->times;
    return type != DTYPE_F32 && (type != p->from.type || change);
}

/* What doesn't fit into its type stays F32, tensor by tensor. */
static bool settle_types(import *im, err *e)
{
    char names[256] = "";
    size_t n = 0, shown = 0;
    dtype wanted = DTYPE_F16;
    float largest = 0;
    for (size_t i = 0; i < im->n_parts; i++) {
        struct import_part *p = &im->parts[i];
        struct import_output *o = &im->outputs[p->output];
        look l = {0};
        if (!is_narrower(p, o->type))
            continue;
        if (!stream(im, NULL, p, o->type, &l, e) || !check_look(im, p, &l, e))
            return false;
        if (fits(o->type, l.largest))
            continue;
        wanted = o->type;
        largest = l.largest > largest ? l.largest : largest;
        o->type = DTYPE_F32;
        if (n++ < 3)
            shown += (size_t)snprintf(names + shown, sizeof names - shown, "%s%.70s", shown ? ", " : "", o->name);
    }
    if (n)
        log_write(LOG_WARNING, "convert: %zu tensor%s F32, since %s can't hold the values (up to %g): %s%s", n,
                  n == 1 ? " stays" : "s stay", dtype_table[wanted].name, (double)largest, names, n > 3 ? ", …" : "");
    return true;
}

/* ---- the file --------------------------------------------------------------------------------------------------- */

/* What is read: all of the source once, and twice what may not fit into its type. */
static int64_t bytes_to_read(const import *im)
{
    int64_t sum = 0;
    for (size_t i = 0; i < im->n_parts; i++) {
        const struct import_part *p = &im->parts[i];
        sum += (int64_t)p->from.bytes * (is_narrower(p, im->outputs[p->output].type) ? 2 : 1);
    }
    return sum;
}

bool import_write(import *im, err *e)
{
    im->total = bytes_to_read(im);
    if (!settle_types(im, e))
        return false;
    for (size_t i = 0; i < im->n_outputs; i++) {
        const struct import_output *o = &im->outputs[i];
        gguf_add_tensor(im->to, o->name, o->type, o->nd, o->shape);
    }
    gguf_put_description(im->to);
    gguf_begin_data(im->to);
    for (size_t i = 0; i < im->n_parts; i++) {
        const struct import_part *p = &im->parts[i];
        look l = {0};
        if (!stream(im, im->to, p, im->outputs[p->output].type, &l, e) || !check_look(im, p, &l, e))
            return false;
    }
    return gguf_writer_commit(im->to, e);
}

void import_release(import *im)
{
    gguf_writer_free(im->to);
    for (size_t i = 0; i < im->n_outputs; i++)
        free(im->outputs[i].name);
    free(im->outputs);
    free(im->parts);
}
