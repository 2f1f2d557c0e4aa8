/* A decoding session: its memory. */
#include "models/session.h"

#include <stdlib.h>

static int64_t cache_length(const transformer *d)
{
    return d->prefix + (int64_t)d->grid_width * d->grid_height - 1;
}

/* Kernels read a cache as one buffer, so it must not be split. */
static bool memory_new(const session *s, tensor *t, dtype type, int nd, const int64_t *shape, const char *what, err *e)
{
    device *dev = run_device(s->r);
    return tensor_in_one_piece(dev, type, nd, shape, what, e) &&
           tensor_new(t, dev, type, nd, shape, NULL, false, what, e);
}

/* A block that is done again on the way back fills its cache again: then all may share one. */
static int own_caches(const transformer *d)
{
    return d->recompute ? 1 : d->layers;
}

static bool new_lists(transformer_memory *m, const transformer *d, err *e)
{
    m->caches = calloc((size_t)d->layers, sizeof *m->caches);
    m->kept = calloc((size_t)d->n_kept + 1, sizeof *m->kept);
    return m->caches && m->kept ? true : err_no_memory(e, "session", (size_t)d->layers * sizeof *m->caches);
}

static bool open_memory(session *s, dtype keys, err *e)
{
    const transformer *d = s->d;
    transformer_memory *m = &s->memory;
    int64_t cache[] = {s->rows, d->heads, cache_length(d), d->head_dim};
    int64_t kept[] = {s->rows, d->kept_shape[0], d->kept_shape[1]};
    bool ok = new_lists(m, d, e) && new_lists(&s->row, d, e);
    for (int i = 0; ok && i < own_caches(d); i++)
        ok = memory_new(s, &m->caches[i].k, keys, 4, cache, "key cache", e) &&
             memory_new(s, &m->caches[i].v, keys, 4, cache, "value cache", e);
    for (int i = own_caches(d); ok && i < d->layers; i++)
        m->caches[i] = m->caches[0];
    for (int i = 0; ok && i < d->n_kept; i++)
        ok = memory_new(s, &m->kept[i], d->keeps_keys ? keys : DTYPE_F32, 3, kept, "session", e);
    return ok;
}

bool session_open(session *s, const transformer *d, run *r, int rows, dtype keys, err *e)
{
    *s = (session){.d = d, .r = r, .rows = rows};
    device *dev = run_device(r);
    int64_t cells = d->grid_width * d->grid_height;
    bool ok = tensor_new(&s->ids, dev, DTYPE_I32, 2, (int64_t[]){rows, d->text_length}, NULL, false, "text ids", e) &&
              tensor_new(&s->codes, dev, DTYPE_I32, 2, (int64_t[]){rows, cells}, NULL, false, "codes", e) &&
              tensor_new(&s->forced, dev, DTYPE_I32, 1, &cells, NULL, false, "kept codes", e) &&
              tensor_new(&s->position, dev, DTYPE_I32, 1, (int64_t[]){1}, NULL, false, "position", e) &&
              tensor_new(&s->last, dev, DTYPE_F32, 3, (int64_t[]){2, 1, d->dim}, NULL, false, "prompt", e) &&
              open_memory(s, keys, e);
    s->memory.ids = s->ids;
    if (!ok)
        session_release(s);
    return ok;
}

void session_release(session *s)
{
    for (int i = 0; s->memory.caches && i < own_caches(s->d); i++) {
        buffer_free(s->memory.caches[i].k.buf);
        buffer_free(s->memory.caches[i].v.buf);
    }
    for (int i = 0; s->memory.kept && i < s->d->n_kept; i++)
        buffer_free(s->memory.kept[i].buf);
    free(s->memory.caches);
    free(s->memory.kept);
    free(s->row.caches);
    free(s->row.kept);
    buffer_free(s->ids.buf);
    buffer_free(s->codes.buf);
    buffer_free(s->forced.buf);
    buffer_free(s->position.buf);
    buffer_free(s->last.buf);
    *s = (session){0};
}

const transformer_memory *session_row(session *s, int row)
{
    const transformer_memory *all = &s->memory;
    for (int i = 0; i < s->d->layers; i++)
        s->row.caches[i] = (kv_cache){tensor_rows(all->caches[i].k, row, 1), tensor_rows(all->caches[i].v, row, 1)};
    for (int i = 0; i < s->d->n_kept; i++)
        s->row.kept[i] = tensor_rows(all->kept[i], row, 1);
    s->row.ids = tensor_rows(all->ids, row, 1);
    return &s->row;
}

static void repeat(run *r, tensor all, int row, int n)
{
    op_repeat(r, tensor_rows(all, row + 1, n), tensor_rows(all, row, 1));
}

void session_repeat_row(session *s, int row, int n)
{
    for (int i = 0; i < s->d->layers && n > 0; i++) {
        repeat(s->r, s->memory.caches[i].k, row, n);
        repeat(s->r, s->memory.caches[i].v, row, n);
    }
    for (int i = 0; i < s->d->n_kept && n > 0; i++)
        repeat(s->r, s->memory.kept[i], row, n);
}
