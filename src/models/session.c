/* A decoding session: its memory. */
#include "models/session.h"

#include <stdlib.h>

static int64_t cache_length(const transformer *d)
{
    return d->text_length + (int64_t)d->grid_width * d->grid_height - 1;
}

int session_rows_that_fit(const transformer *d, const device *dev, int least, int most)
{
    uint64_t row = (uint64_t)cache_length(d) * (uint64_t)d->dim * sizeof(float);
    /* half of what is left: activations want some too */
    uint64_t left = dev->memory_limit > dev->memory_used ? dev->memory_limit - dev->memory_used : 0;
    uint64_t by_piece = dev->info.max_allocation / row, by_memory = left / 2 / (2 * (uint64_t)d->layers * row);
    uint64_t fit = by_piece < by_memory ? by_piece : by_memory;
    return fit < (uint64_t)least ? least : fit < (uint64_t)most ? (int)fit : most;
}

/* Kernels read a cache as one buffer, so it must not be split. */
static bool cache_new(const session *s, tensor *t, const char *what, err *e)
{
    const transformer *d = s->d;
    const device *dev = run_device(s->r);
    int64_t shape[] = {s->rows, d->heads, cache_length(d), d->dim / d->heads};
    double bytes = 4.0 * s->rows * (double)cache_length(d) * d->dim;
    if (bytes > (double)dev->info.max_allocation)
        return err_set(e, ERR_FAILED, "%s: %.1f MiB in one piece, and %s allows %.1f MiB", what, bytes / 0x1p20,
                       dev->info.name, (double)dev->info.max_allocation / 0x1p20);
    return tensor_new(t, run_device(s->r), DTYPE_F32, 4, shape, NULL, false, what, e);
}

/* A block that is done again on the way back fills its cache again: then all may share one. */
static int own_caches(const transformer *d)
{
    return d->one_cache ? 1 : d->layers;
}

bool session_open(session *s, const transformer *d, run *r, int rows, err *e)
{
    *s = (session){.d = d, .r = r, .rows = rows};
    device *dev = run_device(r);
    int64_t cells = d->grid_width * d->grid_height;
    s->caches = calloc((size_t)d->layers, sizeof *s->caches);
    bool ok = s->caches ? true : err_no_memory(e, "session", (size_t)d->layers * sizeof *s->caches);
    ok = ok && tensor_new(&s->ids, dev, DTYPE_I32, 2, (int64_t[]){rows, d->text_length}, NULL, false, "text ids", e) &&
         tensor_new(&s->codes, dev, DTYPE_I32, 2, (int64_t[]){rows, cells}, NULL, false, "codes", e) &&
         tensor_new(&s->forced, dev, DTYPE_I32, 1, &cells, NULL, false, "kept codes", e) &&
         tensor_new(&s->position, dev, DTYPE_I32, 1, (int64_t[]){1}, NULL, false, "position", e) &&
         tensor_new(&s->last, dev, DTYPE_F32, 3, (int64_t[]){2, 1, d->dim}, NULL, false, "prompt", e);
    for (int i = 0; ok && i < own_caches(d); i++)
        ok = cache_new(s, &s->caches[i].k, "key cache", e) && cache_new(s, &s->caches[i].v, "value cache", e);
    for (int i = own_caches(d); ok && i < d->layers; i++)
        s->caches[i] = s->caches[0];
    if (!ok)
        session_release(s);
    return ok;
}

void session_release(session *s)
{
    for (int i = 0; s->caches && i < own_caches(s->d); i++) {
        buffer_free(s->caches[i].k.buf);
        buffer_free(s->caches[i].v.buf);
    }
    free(s->caches);
    buffer_free(s->ids.buf);
    buffer_free(s->codes.buf);
    buffer_free(s->forced.buf);
    buffer_free(s->position.buf);
    buffer_free(s->last.buf);
    *s = (session){0};
}

void session_row_caches(const session *s, int row, kv_cache *caches)
{
    for (int i = 0; i < s->d->layers; i++)
        caches[i] = (kv_cache){tensor_rows(s->caches[i].k, row, 1), tensor_rows(s->caches[i].v, row, 1)};
}
