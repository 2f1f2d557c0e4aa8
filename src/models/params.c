/* The parameter table: declaring and loading. */
#include "models/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

static void declare(param_table *t, param p, const char *format, va_list ap)
{
    if (t->n == t->capacity) {
        size_t capacity = t->capacity ? 2 * t->capacity : 64;
        param *grown = realloc(t->list, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&t->error, "parameter table", capacity * sizeof *grown);
            return;
        }
        t->list = grown;
        t->capacity = capacity;
    }
    vsnprintf(p.name, sizeof p.name, format, ap);
    t->list[t->n++] = p;
}

void param_vector(param_table *t, tensor *to, int64_t n, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    declare(t, (param){.use = PARAM_VECTOR, .nd = 1, .shape = {n}, .to = to}, format, ap);
    va_end(ap);
}

void param_matrix(param_table *t, tensor *to, int64_t rows, int64_t columns, param_use use, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    declare(t, (param){.use = use, .nd = 2, .shape = {rows, columns}, .to = to, .deviation = 0.02f}, format, ap);
    va_end(ap);
}

/* What follows `declare` is variadic; a name here is a name. */
static void declare_named(param_table *t, param p, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    declare(t, p, format, ap);
    va_end(ap);
}

void param_patches(param_table *t, tensor *to, int64_t out, int64_t side, int64_t in, const char *name)
{
    declare_named(t,
                  (param){.use = PARAM_MATRIX, .nd = 4, .shape = {out, side, side, in}, .to = to, .deviation = 0.02f},
                  "%s", name);
}

void param_linear(param_table *t, linear *l, int64_t in, int64_t out, const char *name)
{
    param_matrix(t, &l->w, out, in, PARAM_MATRIX, "%s.weight", name);
    param_vector(t, &l->b, out, "%s.bias", name);
}

void param_norm(param_table *t, norm *n, int64_t d, float eps, const char *name)
{
    size_t at = t->n;
    n->eps = eps;
    param_vector(t, &n->w, d, "%s.weight", name);
    if (t->n > at)
        t->list[at].mean = 1;
    param_vector(t, &n->b, d, "%s.bias", name);
}

static void declare_conv(param_table *t, conv *c, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    /* the deviation of PyTorch's default, uniform within 1 / sqrt(fan in) */
    float deviation = 1 / sqrtf(3.0f * (float)(c->in * c->kernel * c->kernel));
    declare(t,
            (param){.use = PARAM_CONV,
                    .nd = 4,
                    .shape = {c->out, c->kernel, c->kernel, c->in},
                    .to = &c->panels,
                    .conv = c,
                    .deviation = deviation},
            format, ap);
    va_end(ap);
}

void param_conv(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name)
{
    *c = (conv){.in = in, .out = out, .kernel = kernel, .stride = stride, .pad = pad};
    declare_conv(t, c, "%s.weight", name);
    param_vector(t, &c->b, out, "%s.bias", name);
}

/* The file's tensor for p, checked. */
static const file_tensor *find(const param *p, const gguf *g, err *e)
{
    const file_tensor *f = gguf_find(g, p->name);
    if (!f) {
        err_set(e, ERR_FAILED, "%s: tensor %s is missing (the file is not whole, or of another architecture)",
                gguf_name(g), p->name);
        return NULL;
    }
    bool same = f->nd == p->nd;
    for (int i = 0; same && i < p->nd; i++)
        same = f->shape[i] == p->shape[i];
    if (!same) {
        char have[128], want[128];
        file_tensor wanted = {.nd = p->nd};
        memcpy(wanted.shape, p->shape, sizeof p->shape);
        file_tensor_shape_text(f, have);
        file_tensor_shape_text(&wanted, want);
        err_set(e, ERR_FAILED, "%s: tensor %s: shape %s, and its hyper-parameters ask for %s", gguf_name(g), p->name,
                have, want);
        return NULL;
    }
    return f;
}

/* f's data as F32 in new memory. */
static float *as_floats(const file_tensor *f, err *e)
{
    int64_t n = file_tensor_count(f);
    float *out = malloc((size_t)n * sizeof *out);
    if (out)
        dtype_to_float(out, f->type, f->data, n);
    else
        err_no_memory(e, f->name, (size_t)n * sizeof *out);
    return out;
}

/* Only matrices are read in pieces: bytes must fit into one allocation. */
static bool one_piece(const param *p, const device *d, uint64_t bytes, err *e)
{
    return p->use == PARAM_MATRIX || bytes <= d->info.max_allocation ||
           err_set(e, ERR_FAILED, "%s: %.1f MiB in one piece, and %s allows %.1f MiB", p->name, (double)bytes / 0x1p20,
                   d->info.name, (double)d->info.max_allocation / 0x1p20);
}

static bool load(param *p, run *r, const file_tensor *f, bool lasting, err *e)
{
    bool keep = f->type == DTYPE_F32 ||
                (p->use != PARAM_VECTOR && (f->type == DTYPE_F16 || f->type == DTYPE_Q8_0 || f->type == DTYPE_Q4_0));
    uint64_t floats = 4 * (uint64_t)file_tensor_count(f);
    if (p->use == PARAM_CONV) /* panels are filled up to 32 channels */
        floats = floats / (uint64_t)p->shape[0] * (((uint64_t)p->shape[0] + 31) / 32 * 32);
    if (!one_piece(p, run_device(r), floats, e))
        return false;
    float *converted = keep ? NULL : as_floats(f, e);
    if (!keep && !converted)
        return false;
    dtype type = keep ? f->type : DTYPE_F32;
    tensor t = {0};
    bool ok =
        tensor_new(&t, run_device(r), type, p->nd, p->shape, keep ? f->data : converted, keep && lasting, p->name, e);
    if (ok && p->use == PARAM_CONV) {
        ok = conv_pack(r, p->to, t, p->name, e);
        ok = run_finish(r, e) && ok; /* packed before its source goes */
        buffer_free(t.buf);
    } else if (ok) {
        *p->to = t;
    }
    free(converted);
    return ok;
}

/* The first tensor of the file that nobody declared. */
static bool check_left_over(const param_table *t, const gguf *g, err *e)
{
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const char *name = gguf_tensor(g, i)->name;
        size_t k = 0;
        while (k < t->n && strcmp(t->list[k].name, name))
            k++;
        if (k == t->n)
            return err_set(e, ERR_FAILED, "%s: tensor %s belongs to nothing in this architecture", gguf_name(g), name);
    }
    return true;
}

bool params_load(param_table *t, run *r, const gguf *g, bool lasting, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    if (t->n != gguf_tensor_count(g) && !check_left_over(t, g, e))
        return false;
    for (size_t i = 0; i < t->n; i++) /* all is there and fits together, before any of it is loaded */
        if (!find(&t->list[i], g, e))
            return false;
    for (size_t i = 0; i < t->n; i++)
        if (!load(&t->list[i], r, gguf_find(g, t->list[i].name), lasting, e))
            return false;
    return true;
}

/* ---- random values ---- */

#define PATTERN 65536 /* values until they repeat; a multiple of 32 */

static int64_t count_of(const param *p)
{
    int64_t n = 1;
    for (int i = 0; i < p->nd; i++)
        n *= p->shape[i];
    return n;
}

static dtype random_type(const param *p, dtype type)
{
    if (p->use != PARAM_MATRIX)
        return DTYPE_F32;
    return p->shape[p->nd - 1] % dtype_table[type].block ? DTYPE_F16 : type;
}

uint64_t params_random_bytes(const param_table *t, dtype type)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->n; i++)
        bytes += dtype_row_bytes(random_type(&t->list[i], type), count_of(&t->list[i]));
    return bytes;
}

/* A tensor as a file would have it, in `data`. */
static void fill_random(const param *p, dtype type, int64_t n, float *pattern, uint8_t *data, uint32_t stream)
{
    int64_t drawn = n < PATTERN ? n : PATTERN;
    size_t bytes = dtype_row_bytes(type, n), done = dtype_row_bytes(type, drawn);
    for (int64_t i = 0; i < drawn; i++)
        pattern[i] = p->mean + (p->deviation > 0 ? p->deviation * rng_normal(1, stream, 0, (uint32_t)i) : 0);
    dtype_from_float(type, data, pattern, drawn);
    for (; done < bytes; done += done < bytes - done ? done : bytes - done)
        memcpy(data + done, data, done < bytes - done ? done : bytes - done);
}

bool params_load_random(param_table *t, run *r, dtype type, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    float *pattern = malloc(PATTERN * sizeof *pattern);
    bool ok = pattern || err_no_memory(e, "random weights", PATTERN * sizeof *pattern);
    for (size_t i = 0; ok && i < t->n; i++) {
        param *p = &t->list[i];
        file_tensor f = {.name = p->name, .type = random_type(p, type), .nd = p->nd};
        int64_t n = count_of(p);
        uint8_t *data = malloc(dtype_row_bytes(f.type, n));
        ok = data || err_no_memory(e, p->name, dtype_row_bytes(f.type, n));
        if (ok) {
            memcpy(f.shape, p->shape, sizeof p->shape);
            fill_random(p, f.type, n, pattern, data, (uint32_t)i);
            f.data = data;
            ok = load(p, r, &f, false, e);
        }
        free(data);
    }
    free(pattern);
    return ok;
}

tensor *param_value(const param *p)
{
    return p->conv ? &p->conv->w : p->to;
}

/* A new parameter's values. */
static void draw(const param *p, float *values, int64_t n, uint64_t seed, uint32_t stream)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = p->mean + (p->deviation > 0 ? p->deviation * rng_normal(seed, stream, 0, (uint32_t)i) : 0);
}

static bool load_trainable(param *p, run *r, const file_tensor *f, uint64_t seed, uint32_t stream, err *e)
{
    int64_t n = 1;
    for (int i = 0; i < p->nd; i++)
        n *= p->shape[i];
    float *values = f ? as_floats(f, e) : malloc((size_t)n * sizeof *values);
    if (!values)
        return f ? false : err_no_memory(e, p->name, (unsigned long long)n * sizeof *values);
    if (!f)
        draw(p, values, n, seed, stream);
    bool ok = one_piece(p, run_device(r), 4 * (uint64_t)n, e) &&
              tensor_new(param_value(p), run_device(r), DTYPE_F32, p->nd, p->shape, values, false, p->name, e);
    if (ok && p->conv) {
        ok = conv_pack(r, p->to, *param_value(p), p->name, e);
        ok = run_finish(r, e) && ok;
    }
    free(values);
    return ok;
}

bool params_load_trainable(param_table *t, run *r, const gguf *g, uint64_t seed, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    for (size_t i = 0; i < t->n; i++) {
        const file_tensor *f = g ? find(&t->list[i], g, e) : NULL;
        if ((g && !f) || !load_trainable(&t->list[i], r, f, seed, (uint32_t)i, e))
            return false;
    }
    return true;
}

void params_release(param_table *t)
{
    for (size_t i = 0; i < t->n; i++) {
        tensor *both[] = {t->list[i].to, param_value(&t->list[i])};
        for (int k = 0; k < 2; k++) {
            buffer_free(both[k]->buf);
            *both[k] = (tensor){0};
        }
    }
    free(t->list);
    *t = (param_table){0};
}
