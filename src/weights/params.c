/* The parameter table: declaring, and loading for training. */
#include "weights/params.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/rng.h"
#include "weights/params_internal.h"

void params_use(param_table *t, unsigned uses)
{
    t->uses = uses;
}

void params_layer(param_table *t, int i)
{
    t->stack += i == 0;
    t->layer = i + 1;
}

void params_blocks(param_table *t, bool may)
{
    t->blocks = may;
}

dtype param_stored_type(const param *p, dtype type)
{
    if (p->use == PARAM_VECTOR)
        return DTYPE_F32;
    if (dtype_table[type].block == 1)
        return type;
    if (!(param_is_matrix(p) || p->blocks) || p->shape[p->nd - 1] % dtype_table[type].block)
        return DTYPE_F16;
    return p->use == PARAM_CONV ? DTYPE_Q8_0 : type;
}

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
    p.uses = t->uses ? t->uses : ~0u;
    p.stack = t->stack;
    p.layer = t->layer;
    p.blocks = p.use == PARAM_CONV && t->blocks;
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

void param_weight(param_table *t, linear *l, int64_t in, int64_t out, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    declare(t, (param){.use = PARAM_MATRIX, .nd = 2, .shape = {out, in}, .to = &l->w, .linear = l, .deviation = 0.02f},
            format, ap);
    va_end(ap);
}

void param_fix(param_table *t)
{
    if (t->n)
        t->list[t->n - 1].fixed = true;
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
    param_weight(t, l, in, out, "%s.weight", name);
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

void param_conv_unbiased(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name)
{
    *c = (conv){.in = in, .out = out, .kernel = kernel, .stride = stride, .pad = pad};
    declare_conv(t, c, "%s.weight", name);
}

void param_conv(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name)
{
    param_conv_unbiased(t, c, in, out, kernel, stride, pad, name);
    param_vector(t, &c->b, out, "%s.bias", name);
}

/* The file's tensor for p, checked. */
const file_tensor *param_find(const param *p, const gguf *g, err *e)
{
    const file_tensor *f = gguf_find(g, p->name);
    if (!f) {
        err_set(e, ERR_FAILED, "%s: tensor %s is missing (the file is not whole, or of another architecture)",
                gguf_name(g), p->name);
        return NULL;
    }
    if (f->type == DTYPE_OTHER) {
        err_set(e, ERR_FAILED, "%s: tensor %s: its type, %s, is none that limn reads (F32, F16, Q8_0, Q4_0)",
                gguf_name(g), p->name, file_tensor_type_name(f));
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
float *param_floats(const file_tensor *f, err *e)
{
    int64_t n = file_tensor_count(f);
    float *out = malloc((size_t)n * sizeof *out);
    if (out)
        dtype_to_float(out, f->type, f->data, n);
    else
        err_no_memory(e, f->name, (size_t)n * sizeof *out);
    return out;
}

bool param_one_piece(const param *p, const device *d, uint64_t bytes, err *e)
{
    return param_is_matrix(p) || bytes <= d->info.max_allocation ||
           err_set(e, ERR_FAILED, "%s: %.1f MiB in one piece, and %s allows %.1f MiB", p->name, (double)bytes / 0x1p20,
                   d->info.name, (double)d->info.max_allocation / 0x1p20);
}

tensor *param_value(const param *p)
{
    return p->conv ? &p->conv->w : p->to;
}

/* A new parameter's values. */
static void draw(const param *p, float *values, int64_t n, uint64_t seed, uint32_t index)
{
    for (int64_t i = 0; i < n; i++)
        values[i] = p->mean + (p->deviation > 0 ? p->deviation * rng_normal(seed, index, 0, (uint32_t)i) : 0);
}

/* Where a trainable parameter's first values come from. */
typedef struct origin {
    const param *p;
    const file_tensor *file; /* NULL: they are drawn */
    uint64_t seed;
    uint32_t index;
} origin;

static int64_t count_of(const param *p)
{
    int64_t n = 1;
    for (int i = 0; i < p->nd; i++)
        n *= p->shape[i];
    return n;
}

static void *first_values(const void *context, err *e)
{
    const origin *o = context;
    if (o->file)
        return param_floats(o->file, e);
    int64_t n = count_of(o->p);
    float *values = malloc((size_t)n * sizeof *values);
    if (values)
        draw(o->p, values, n, o->seed, o->index);
    else
        err_no_memory(e, o->p->name, (unsigned long long)n * sizeof *values);
    return values;
}

static bool load_trainable(const origin *o, run *r, err *e)
{
    const param *p = o->p;
    device *d = run_device(r);
    bool ok = tensor_in_one_piece(d, DTYPE_F32, p->nd, p->shape, p->name, e) &&
              tensor_new_filled(param_value(p), d, DTYPE_F32, p->nd, p->shape, first_values, o, p->name, e);
    if (ok && p->conv) {
        ok = conv_pack(r, p->to, *param_value(p), p->name, e);
        ok = run_finish(r, e) && ok;
    }
    return ok;
}

bool params_load_trainable(param_table *t, run *r, const gguf *g, uint64_t seed, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    for (size_t i = 0; i < t->n; i++) {
        const file_tensor *f = g ? param_find(&t->list[i], g, e) : NULL;
        if ((g && !f) || !load_trainable(&(origin){&t->list[i], f, seed, (uint32_t)i}, r, e))
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
    stream_free(t->stream);
    for (size_t i = 0; t->random && i < t->n; i++)
        os_aligned_free((void *)t->random[i].data);
    for (size_t i = 0; i < t->n; i++)
        os_aligned_free((void *)t->list[i].replaced.data);
    free(t->random);
    free(t->layers);
    free(t->list);
    *t = (param_table){0};
}
