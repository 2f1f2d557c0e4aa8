/* A decoding session: its memory. */
#include "models/session.h"

#include <stdlib.h>

static int64_t cache_length(const session *s)
{
    const transformer *d = s->d;
    return (d->own_lengths ? s->text : d->prefix) + (int64_t)d->grid_width * d->grid_height - 1;
}

/* Kernels read a cache as one buffer, so it must not be split. */
static bool memory_new(const session *s, tensor *t, dtype type, int nd, const int64_t *shape, const char *what, err *e)
{
    device *dev = run_device(s->r);
    return tensor_in_one_piece(dev, type, nd, shape, what, e) &&
           tensor_new(t, dev, type, nd, shape, NULL, false, what, e);
}

/* With recompute each block fills its cache again in the backward pass, so all blocks can share one.  What draws all
 * cells at once has none. */
static int own_caches(const transformer *d)
{
    return d->kind->fill ? 0 : d->recompute ? 1 : d->layers;
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
    int64_t cache[] = {s->rows, transformer_key_heads(d), cache_length(s), d->head_dim};
    int64_t kept[] = {s->rows, d->kept_shape[0], d->kept_shape[1]};
    bool ok = new_lists(m, d, e) && new_lists(&s->part, d, e);
    for (int i = 0; ok && i < own_caches(d); i++)
        ok = memory_new(s, &m->caches[i].k, keys, 4, cache, "key cache", e) &&
             memory_new(s, &m->caches[i].v, keys, 4, cache, "value cache", e);
    for (int i = own_caches(d); ok && i < d->layers; i++)
        m->caches[i] = m->caches[0];
    for (int i = 0; ok && i < d->n_kept; i++)
        ok = memory_new(s, &m->kept[i], d->keeps_keys ? keys : DTYPE_F32, 3, kept, "session", e);
    return ok;
}

bool session_open(session *s, const transformer *d, run *r, int rows, int text, dtype keys, err *e)
{
    *s = (session){.d = d, .r = r, .rows = rows, .text = text};
    device *dev = run_device(r);
    int64_t cells = d->grid_width * d->grid_height;
    bool ok = tensor_new(&s->ids, dev, DTYPE_I32, 2, (int64_t[]){rows, text}, NULL, false, "text ids", e) &&
              tensor_new(&s->codes, dev, DTYPE_I32, 2, (int64_t[]){rows, cells}, NULL, false, "codes", e) &&
              tensor_new(&s->position, dev, DTYPE_I32, 1, (int64_t[]){1}, NULL, false, "position", e) &&
              (!d->own_lengths ||
               tensor_new(&s->memory.place, dev, DTYPE_I32, 1, (int64_t[]){rows}, NULL, false, "places", e)) &&
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
    buffer_free(s->memory.place.buf);
    free(s->memory.caches);
    free(s->memory.kept);
    free(s->part.caches);
    free(s->part.kept);
    buffer_free(s->ids.buf);
    buffer_free(s->codes.buf);
    buffer_free(s->position.buf);
    *s = (session){0};
}

const transformer_memory *session_rows(session *s, int first, int n)
{
    const transformer_memory *all = &s->memory;
    for (int i = 0; i < s->d->layers && own_caches(s->d); i++)
        s->part.caches[i] =
            (kv_cache){tensor_rows(all->caches[i].k, first, n), tensor_rows(all->caches[i].v, first, n)};
    for (int i = 0; i < s->d->n_kept; i++)
        s->part.kept[i] = tensor_rows(all->kept[i], first, n);
    s->part.ids = tensor_rows(all->ids, first, n);
    if (all->place.buf)
        s->part.place = tensor_rows(all->place, first, n);
    return &s->part;
}

/* Copies row `from` to n rows from `to` on. */
static void repeat(run *r, tensor all, int from, int to, int n)
{
    op_repeat(r, tensor_rows(all, to, n), tensor_rows(all, from, 1));
}

static void repeat_memory(session *s, int from, int to, int n)
{
    for (int i = 0; i < own_caches(s->d); i++) {
        repeat(s->r, s->memory.caches[i].k, from, to, n);
        repeat(s->r, s->memory.caches[i].v, from, to, n);
    }
    for (int i = 0; i < s->d->n_kept; i++)
        repeat(s->r, s->memory.kept[i], from, to, n);
}

void session_repeat_row(session *s, int from, int to, int n)
{
    if (n > 0)
        repeat_memory(s, from, to, n);
}

void session_copy_row(session *s, int from, int to)
{
    repeat_memory(s, from, to, 1);
    repeat(s->r, s->ids, from, to, 1);
    repeat(s->r, s->codes, from, to, 1);
}
