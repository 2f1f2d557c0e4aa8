/* A run: memory in two arenas, transfers, and the sticky error. */
#include "device/run.h"

#include <stdlib.h>
#include <string.h>

#include "device/run_internal.h"

#define ALIGN     256 /* bytes: a multiple of every device's vector and cache line */
#define CHUNK     ((size_t)4 << 20)
#define CHUNK_MAX ((size_t)64 << 20)

run *run_new(device *d, err *e)
{
    run *r = calloc(1, sizeof *r);
    if (!r)
        err_no_memory(e, "run", sizeof *r);
    else
        r->dev = d;
    return r;
}

static void free_chunks(run *r)
{
    for (int i = 0; i < 2; i++)
        while (r->arenas[i].first) {
            chunk *c = r->arenas[i].first;
            r->arenas[i].first = c->next;
            buffer_free(c->buf);
            free(c);
        }
}

void run_forget(run *r)
{
    for (int i = 0; i < r->n_recorded; i++) {
        RELEASE(r->dev, clReleaseKernel, r->recorded[i].handle);
        free((void *)(uintptr_t)r->recorded[i].args);
    }
    if (r->dev && r->dev->launches)
        count_forget(r);
    r->n_recorded = 0;
    r->recording = false;
}

void run_free(run *r)
{
    if (!r)
        return;
    run_forget(r);
    free(r->recorded);
    buffer_free(r->zeros.buf);
    free_chunks(r);
    free(r);
}

device *run_device(run *r)
{
    return r->dev;
}

void run_counted(const run *r, double *flops, double *bytes)
{
    *flops = r->flops;
    *bytes = r->bytes;
}

bool run_failed(const run *r)
{
    return r->error.code != ERR_NONE;
}

err *run_error(run *r)
{
    return &r->error;
}

bool run_misused(run *r, const char *op, const char *condition)
{
    return err_set(&r->error, ERR_FAILED, "%s: its operands don't go together: %s doesn't hold (a bug of limn's)", op,
                   condition);
}

static chunk *chunk_new(device *d, size_t bytes, err *e)
{
    chunk *made = calloc(1, sizeof *made);
    if (!made) {
        err_no_memory(e, "activations", sizeof *made);
        return NULL;
    }
    made->buf = buffer_new(d, bytes, NULL, false, "activations", e);
    if (!made->buf) {
        free(made);
        return NULL;
    }
    return made;
}

/* Bytes that one more tensor may take in c.  Its place must be one that a kernel can be told: by 32 bits, of bytes
 * where it has blocks.  Where it is only counted a chunk grows with what is in it, as far as that. */
static size_t room_in(const run *r, const chunk *c)
{
    if (c->used > UINT32_MAX)
        return 0;
    uint64_t largest = r->dev->info.max_allocation < UINT32_MAX ? r->dev->info.max_allocation : UINT32_MAX;
    size_t most = r->dev->queue ? c->buf->bytes : (size_t)largest / ALIGN * ALIGN;
    return most > c->used ? most - c->used : 0;
}

/* A chunk of the arena with room for bytes: one that is there, or a new one at the end of the list. */
static chunk *find_room(run *r, arena *a, size_t bytes)
{
    chunk **c = &a->first;
    size_t size = CHUNK;
    for (; *c; c = &(*c)->next) {
        if (room_in(r, *c) >= bytes)
            return *c;
        size = (*c)->buf->bytes < CHUNK_MAX / 2 ? (*c)->buf->bytes * 2 : CHUNK_MAX;
    }
    const device *d = r->dev;
    uint64_t left = d->memory_limit > d->memory_used ? d->memory_limit - d->memory_used : 0;
    if (!d->queue || size > left || size > d->info.max_allocation)
        size = bytes;
    return *c = chunk_new(r->dev, size < bytes ? bytes : size, &r->error);
}

static bool same_chunks(const chunk *a, const chunk *b)
{
    while (a && b && a->buf->bytes == b->buf->bytes) {
        a = a->next;
        b = b->next;
    }
    return !a && !b;
}

bool run_reserve(run *r, const run *planned, err *e)
{
    bool ok = run_finish(r, e);
    run_reset(r);
    if (ok && planned && same_chunks(r->arenas[0].first, planned->arenas[0].first) &&
        same_chunks(r->arenas[1].first, planned->arenas[1].first))
        return true;
    free_chunks(r);
    r->current = 0;
    if (!planned) {
        buffer_free(r->zeros.buf);
        r->zeros = (tensor){0};
    }
    for (int i = 0; ok && planned && i < 2; i++) {
        chunk **end = &r->arenas[i].first;
        for (const chunk *c = planned->arenas[i].first; ok && c; c = c->next) {
            ok = (*end = chunk_new(r->dev, c->buf->bytes, e)) != NULL;
            end = ok ? &(*end)->next : end;
        }
    }
    return ok;
}

uint64_t run_memory(const run *r)
{
    uint64_t bytes = 0;
    for (int i = 0; i < 2; i++)
        for (const chunk *c = r->arenas[i].first; c; c = c->next)
            bytes += c->buf->bytes;
    return bytes;
}

/* Bytes that n elements take in a chunk.  Offsets are counted in elements, so a tensor of blocks starts at a whole
 * number of them. */
static size_t tensor_space(dtype type, int64_t n)
{
    size_t block = (size_t)dtype_table[type].bytes, slack = ALIGN % block ? block : 0;
    return (dtype_row_bytes(type, n) + slack + ALIGN - 1) / ALIGN * ALIGN;
}

tensor run_tensor(run *r, dtype type, int nd, const int64_t *shape)
{
    if (run_failed(r))
        return (tensor){0};
    tensor t = tensor_shaped((tensor){.type = type}, nd, shape);
    int64_t n = 1;
    for (int i = 0; i < nd; i++)
        n *= shape[i];
    size_t block = (size_t)dtype_table[type].bytes, bytes = tensor_space(type, n);
    chunk *c = find_room(r, &r->arenas[r->current], bytes);
    if (!c)
        return (tensor){0};
    t.buf = c->buf;
    t.at = (int64_t)((c->used + block - 1) / block * (size_t)dtype_table[type].block);
    c->used += bytes;
    if (c->used > c->buf->bytes) { /* only counted */
        buffer_count(r->dev, c->used - c->buf->bytes);
        c->buf->bytes = c->used;
    }
    return t;
}

void run_give_back(run *r, tensor t)
{
    size_t bytes;
    for (chunk *c = r->arenas[r->current].first; c && t.buf; c = c->next)
        if (c->buf == t.buf && (bytes = tensor_space(t.type, tensor_count(&t))) <= c->used &&
            c->used - bytes == dtype_row_bytes(t.type, t.at) / ALIGN * ALIGN)
            c->used -= bytes;
}

static void clear(arena *a)
{
    for (chunk *c = a->first; c; c = c->next)
        c->used = 0;
}

void run_next(run *r)
{
    if (r->tape)
        return; /* the backward pass needs everything */
    r->current = !r->current;
    clear(&r->arenas[r->current]);
}

void run_aside(run *r)
{
    r->current = !r->current;
    clear(&r->arenas[r->current]);
}

void run_return(run *r)
{
    r->current = !r->current; /* the queue is in order: what still runs there is done before the memory is written */
}

void run_reset(run *r)
{
    clear(&r->arenas[0]);
    clear(&r->arenas[1]);
    r->current = 0; /* the same work takes the same places again */
}

/* Host to tensor (to) or tensor to host (from); one of them is NULL.  wait: returns when it is done. */
static void transfer(run *r, tensor t, const void *from, void *to, bool wait)
{
    device *d = r->dev;
    if (run_failed(r) || !d->queue || !(wait ? device_settle(d, &r->error) : device_there(d, &r->error)))
        return;
    size_t at = dtype_row_bytes(t.type, t.at), bytes = dtype_row_bytes(t.type, tensor_count(&t));
    r->pending = r->pending || !wait;
    if (to)
        device_ok(d, WATCHED(clEnqueueReadBuffer, d->queue, t.buf->mem, wait, at, bytes, to, 0, NULL, NULL),
                  "clEnqueueReadBuffer", &r->error);
    else
        device_ok(d, WATCHED(clEnqueueWriteBuffer, d->queue, t.buf->mem, wait, at, bytes, from, 0, NULL, NULL),
                  "clEnqueueWriteBuffer", &r->error);
    if (wait)
        watch_allow(watch_patience);
}

void run_write(run *r, tensor t, const void *host)
{
    transfer(r, t, host, NULL, true);
}

void run_read(run *r, tensor t, void *host)
{
    transfer(r, t, NULL, host, true);
}

void run_read_later(run *r, tensor t, void *host)
{
    transfer(r, t, NULL, host, false);
}

void run_write_later(run *r, tensor t, const void *host)
{
    transfer(r, t, host, NULL, false);
}

void run_mark_set(run *r, run_mark *m)
{
    device *d = r->dev;
    if (run_failed(r) || !d->queue || !device_there(d, &r->error))
        return;
    r->pending = true;
    if (device_ok(d, WATCHED(clEnqueueMarkerWithWaitList, d->queue, 0, NULL, &m->event), "clEnqueueMarkerWithWaitList",
                  &r->error))
        device_ok(d, WATCHED(clFlush, d->queue), "clFlush", &r->error);
}

bool run_mark_passed(run *r, run_mark *m)
{
    cl_int status = CL_COMPLETE;
    if (!m->event)
        return true;
    device *d = r->dev;
    bool known = device_there(d, &r->error) &&
                 device_ok(d, clGetEventInfo(m->event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL),
                           "clGetEventInfo", &r->error);
    if (known && status > CL_COMPLETE)
        return false;
    if (known)
        device_ok(d, status, "marker", &r->error); /* CL_COMPLETE is CL_SUCCESS; less is why it failed */
    RELEASE(d, clReleaseEvent, m->event);
    m->event = NULL;
    return true;
}

void run_mark_wait(run *r, run_mark *m)
{
    if (!m->event)
        return;
    device_wait(r->dev, m->event, &r->error);
    RELEASE(r->dev, clReleaseEvent, m->event);
    m->event = NULL;
}

tensor run_zeros(run *r, int64_t n)
{
    if (run_failed(r) || (r->zeros.buf && r->zeros.shape[0] >= n))
        return r->zeros;
    void *host = calloc((size_t)n, 4);
    tensor made = {0};
    if (!host)
        err_no_memory(&r->error, "zeros", (size_t)n * 4);
    else if (tensor_new(&made, r->dev, DTYPE_F32, 1, &n, host, false, "zeros", &r->error)) {
        made.buf->next = r->zeros.buf; /* recorded launches may still read the old ones */
        r->zeros = made;
    }
    free(host);
    return r->zeros;
}

tensor run_upload(run *r, dtype type, int nd, const int64_t *shape, const void *host)
{
    tensor t = run_tensor(r, type, nd, shape);
    run_write(r, t, host);
    return t;
}

cl_command_queue run_queue(run *r)
{
    return run_failed(r) || !device_there(r->dev, &r->error) ? NULL : r->dev->queue;
}

bool run_finish(run *r, err *e)
{
    if (r->pending) {
        bool done = device_finish(r->dev, run_failed(r) ? NULL : &r->error);
        r->pending = !done && !r->dev->lost; /* then what is freed must wait for another try */
    }
    r->unflushed = 0;
    if (!run_failed(r))
        return true;
    err_copy(e, &r->error);
    r->error = (err){0};
    run_forget(r);
    return false;
}
