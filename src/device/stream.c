/* Weights that don't fit on the device: two places there, and copies to them that overlap with computing. */
#include "device/stream.h"

#include <stdlib.h>

#include "device/profile.h"
#include "device/run_internal.h"

#define ALIGN 256

typedef struct piece {
    const void *host;
    size_t at, bytes; /* in the place */
} piece;

struct stream_part {
    stream *of;
    stream_part *next; /* the one that was used after this one the last time */
    piece *pieces;
    int n, capacity, place;
    size_t used;
};

/* One of the two places on the device: every second part is copied there. */
typedef struct place {
    buffer *buf;
    const stream_part *holds; /* it, or it is being copied there */
    cl_event copied;
    bool waits;    /* no launch has waited for that copy yet */
    cl_event left; /* the last launch that reads what it holds */
} place;

struct stream {
    device *dev;
    const file_map *mapped;
    cl_command_queue queue; /* in order, as the device's own */
    place places[2];
    stream_part *parts;
    int n;
    stream_part *current; /* the one that the last launches read */
    bool held;
    uint64_t copied;
};

stream *stream_new(device *d, uint64_t bytes, int parts, const file_map *mapped, err *e)
{
    stream *s = calloc(1, sizeof *s);
    bool ok = s && (s->parts = calloc((size_t)parts, sizeof *s->parts));
    if (!ok)
        err_no_memory(e, "streamed weights", (size_t)parts * sizeof *s->parts);
    for (int i = 0; ok && i < 2; i++)
        ok = (s->places[i].buf = buffer_new(d, bytes, NULL, false, "streamed weights", e)) != NULL;
    if (!ok) {
        stream_free(s);
        return NULL;
    }
    s->dev = d;
    s->mapped = mapped;
    s->n = parts;
    for (int i = 0; i < parts; i++) {
        s->parts[i].of = s;
        s->parts[i].place = i % 2;
        s->parts[i].next = i + 1 < parts ? &s->parts[i + 1] : NULL;
    }
    if (d->queue)
        s->queue = clCreateCommandQueue(d->context, d->id, d->profile ? CL_QUEUE_PROFILING_ENABLE : 0, NULL);
    if (d->queue && !s->queue) { /* a device that has one alone: copies then wait for their turn in it */
        s->queue = d->queue;
        clRetainCommandQueue(s->queue);
    }
    return s;
}

static void drop(const device *d, cl_event *event)
{
    if (*event)
        RELEASE(d, clReleaseEvent, *event);
    *event = NULL;
}

void stream_forget(stream *s)
{
    for (int i = 0; s && i < 2; i++) {
        place *p = &s->places[i];
        drop(s->dev, &p->copied);
        drop(s->dev, &p->left);
        p->holds = NULL;
        p->waits = false;
    }
    if (s)
        s->current = NULL;
}

void stream_free(stream *s)
{
    if (!s)
        return;
    if (s->queue && !s->dev->lost) {
        WATCHED(clFinish, s->queue);
        WATCHED(clReleaseCommandQueue, s->queue);
    }
    stream_forget(s);
    for (int i = 0; i < 2; i++)
        buffer_free(s->places[i].buf);
    for (int i = 0; i < s->n; i++)
        free(s->parts[i].pieces);
    free(s->parts);
    free(s);
}

/* The alignment of tensors in a place: a multiple of ALIGN and of whole blocks. */
static size_t alignment(dtype type)
{
    size_t block = (size_t)dtype_table[type].bytes;
    return dtype_table[type].block > 1 ? ALIGN / 2 * block : ALIGN; /* 34 and 18 bytes have the factor 2 */
}

uint64_t stream_room(dtype type, uint64_t bytes)
{
    return bytes + alignment(type) - 1;
}

bool stream_tensor(stream *s, tensor *t, int i, dtype type, int nd, const int64_t *shape, const void *host, err *e)
{
    stream_part *p = &s->parts[i];
    size_t align = alignment(type), at = (p->used + align - 1) / align * align;
    int64_t count = 1;
    for (int k = 0; k < nd; k++)
        count *= shape[k];
    if (p->n == p->capacity) {
        int capacity = p->capacity ? 2 * p->capacity : 8;
        piece *grown = realloc(p->pieces, (size_t)capacity * sizeof *grown);
        if (!grown)
            return err_no_memory(e, "streamed weights", (size_t)capacity * sizeof *grown);
        p->pieces = grown;
        p->capacity = capacity;
    }
    buffer *b = calloc(1, sizeof *b);
    if (!b)
        return err_no_memory(e, "streamed weights", sizeof *b);
    *b = (buffer){.dev = s->dev, .mem = s->places[p->place].buf->mem, .part = p};
    if (b->mem)
        clRetainMemObject(b->mem);
    p->pieces[p->n++] = (piece){host, at, dtype_row_bytes(type, count)};
    p->used = at + dtype_row_bytes(type, count);
    *t = tensor_shaped((tensor){.buf = b, .type = type}, nd, shape);
    t->at = (int64_t)(at / (size_t)dtype_table[type].bytes) * dtype_table[type].block;
    return true;
}

void stream_hold(stream *s, bool hold)
{
    s->held = hold;
}

uint64_t stream_copied(const stream *s)
{
    return s->copied;
}

/* The queue's next command after those before, as an event. */
static void mark(run *r, cl_command_queue queue, cl_event *event)
{
    drop(r->dev, event);
    if (device_ok(r->dev, WATCHED(clEnqueueMarkerWithWaitList, queue, 0, NULL, event), "clEnqueueMarkerWithWaitList",
                  &r->error))
        device_ok(r->dev, WATCHED(clFlush, queue), "clFlush", &r->error);
}

/* What was copied to a place last is not read from the file before its next turn, after all other parts: its pages
 * leave memory.  The host waits for that copy, which began two parts ago, so the device has launches to work on
 * meanwhile: without that the host would run ahead, and copies would bring the pages back. */
static void forget_pages(run *r, const stream *s, const place *to)
{
    if (!s->mapped || !to->copied || !to->holds || !device_wait(r->dev, to->copied, &r->error))
        return;
    for (int i = 0; i < to->holds->n; i++)
        file_map_forget_part(s->mapped, to->holds->pieces[i].host, to->holds->pieces[i].bytes);
}

/* Starts to copy p to its place, once what is there is not read any more. */
static void copy(run *r, stream_part *p)
{
    stream *s = p->of;
    place *to = &s->places[p->place];
    cl_int status = CL_COMPLETE;
    forget_pages(r, s, to);
    if (to->copied && !run_failed(r) &&
        cl_ok(clGetEventInfo(to->copied, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL),
              "clGetEventInfo", &r->error))
        cl_ok(status < 0 ? status : CL_SUCCESS, "clEnqueueWriteBuffer", &r->error);
    for (int i = 0; i < p->n && !run_failed(r); i++) {
        const piece *k = &p->pieces[i];
        cl_event event = NULL;
        bool waits = i == 0 && to->left;
        device_ok(r->dev,
                  WATCHED(clEnqueueWriteBuffer, s->queue, to->buf->mem, CL_FALSE, k->at, k->bytes, k->host, waits,
                          waits ? &to->left : NULL, r->dev->profile ? &event : NULL),
                  "clEnqueueWriteBuffer", &r->error);
        if (event)
            profile_add(r->dev->profile, "stream:copy", event, 0, (double)k->bytes);
        s->copied += k->bytes;
    }
    to->holds = p;
    to->waits = true;
    if (!run_failed(r))
        mark(r, s->queue, &to->copied);
}

void stream_want(run *r, stream_part *p)
{
    stream *s = p->of;
    place *at = &s->places[p->place];
    if (run_failed(r) || s->held || p == s->current)
        return;
    r->pending = true;
    if (s->current) {
        mark(r, r->dev->queue, &s->places[s->current->place].left);
        s->current->next = p;
    }
    s->current = p;
    if (at->holds != p && !run_failed(r))
        copy(r, p);
    if (at->waits && !run_failed(r))
        device_ok(r->dev, WATCHED(clEnqueueBarrierWithWaitList, r->dev->queue, 1, &at->copied, NULL),
                  "clEnqueueBarrierWithWaitList", &r->error);
    at->waits = false;
    stream_part *next = p->next;
    if (next && next->place != p->place && s->places[next->place].holds != next && !run_failed(r))
        copy(r, next);
    if (run_failed(r))
        stream_forget(s);
}
