/* Launches: arguments, bounded pieces, and recorded launches that are replayed. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "device/profile.h"
#include "device/run_internal.h"
#include "device/stream.h"

#define PIECE_FLOPS    4e9 /* under 100 ms at 40 GFLOP/s: display watchdogs */
#define FLUSH_LAUNCHES 64

/* "norm:layer_norm (global 64 x 9 x 1, local 64 x 1 x 1): REASON" as the run's error. */
static void fail(run *r, const char *name, const work *w, const char *reason)
{
    err_set(&r->error, ERR_FAILED, "kernel %s (global %zu x %zu x %zu, local %zu x %zu x %zu): %s", name, w->global[0],
            w->global[1], w->global[2], w->local[0], w->local[1], w->local[2], reason);
}

static bool set_args(run *r, cl_kernel k, const char *name, const work *w, const arg *args, int n)
{
    cl_uint at = 0;
    for (int i = 0; i < n; i++) {
        cl_int status = 0;
        const arg *a = &args[i];
        assert(a->kind != ARG_TENSOR || !a->t.buf || a->t.buf->mem); /* weights that were not loaded */
        cl_mem mem = a->kind == ARG_TENSOR && a->t.buf ? a->t.buf->mem : NULL;
        /* blocks are addressed by bytes, everything else by elements */
        cl_uint offset =
            (cl_uint)(dtype_table[a->t.type].block > 1 ? (int64_t)dtype_row_bytes(a->t.type, a->t.at) : a->t.at);
        switch (a->kind) {
        case ARG_TENSOR:
            status = clSetKernelArg(k, at++, sizeof mem, &mem);
            if (status == CL_SUCCESS)
                status = clSetKernelArg(k, at++, sizeof offset, &offset);
            break;
        case ARG_INT:
            status = clSetKernelArg(k, at++, sizeof a->i, &a->i);
            break;
        case ARG_FLOAT:
            status = clSetKernelArg(k, at++, sizeof a->f, &a->f);
            break;
        }
        if (status != CL_SUCCESS) {
            char reason[128];
            snprintf(reason, sizeof reason, "clSetKernelArg %u: %s (%d)", at, cl_status_name(status), status);
            fail(r, name, w, reason);
            return false;
        }
    }
    return true;
}

static bool enqueue_piece(run *r, cl_kernel handle, const kernel *k, const work *w, const size_t offset[3],
                          const size_t global[3], double share)
{
    device *d = r->dev;
    cl_event event = NULL;
    cl_int status = clEnqueueNDRangeKernel(d->queue, handle, 3, offset, global, w->local[0] ? w->local : NULL, 0, NULL,
                                           d->profile ? &event : NULL);
    r->pending = true;
    if (status != CL_SUCCESS) {
        char reason[160];
        snprintf(reason, sizeof reason, "clEnqueueNDRangeKernel: %s (%d); the driver says %zu for its work-groups",
                 cl_status_name(status), status, k->max_group);
        fail(r, k->name, w, reason);
        r->error.cause = cl_cause(status);
        return false;
    }
    if (d->opened > 0) {
        log_write(LOG_DEBUG, "first kernel after %.3f s", clock_seconds() - d->opened);
        d->opened = 0;
    }
    if (event)
        profile_add(d->profile, k->name, event, w->flops * share, w->bytes * share);
    r->flops += w->flops * share;
    r->bytes += w->bytes * share;
    r->unflushed += w->flops * share;
    if (r->unflushed > PIECE_FLOPS || ++r->launches >= FLUSH_LAUNCHES) {
        r->unflushed = 0;
        r->launches = 0;
        if (!cl_ok(clFlush(d->queue), "clFlush", &r->error))
            return false;
    }
    return true;
}

/* Enqueues a launch, in pieces along its longest dimension where it is much work.  Kernels address by
 * get_global_id, which includes the offset. */
static void enqueue(run *r, cl_kernel handle, const kernel *k, const work *w)
{
    int dim = 0;
    size_t groups[3], step[3];
    for (int i = 0; i < 3; i++) {
        step[i] = w->local[0] ? w->local[i] : 1;
        groups[i] = w->global[i] / step[i];
        if (groups[i] > groups[dim])
            dim = i;
    }
    size_t pieces = w->flops > PIECE_FLOPS ? (size_t)(w->flops / PIECE_FLOPS) + 1 : 1;
    size_t per = (groups[dim] + pieces - 1) / pieces;
    for (size_t done = 0; done < groups[dim];) {
        size_t n = groups[dim] - done < per ? groups[dim] - done : per;
        size_t offset[3] = {0}, global[3] = {w->global[0], w->global[1], w->global[2]};
        offset[dim] = done * step[dim];
        global[dim] = n * step[dim];
        if (!enqueue_piece(r, handle, k, w, offset, global, (double)n / (double)groups[dim]))
            return;
        done += n;
    }
}

/* The part of the first argument that isn't always on the device: a launch reads the weights of one layer. */
static stream_part *part_of(const arg *args, int n)
{
    for (int i = 0; i < n; i++)
        if (args[i].kind == ARG_TENSOR && args[i].t.buf && args[i].t.buf->part)
            return args[i].t.buf->part;
    return NULL;
}

void run_want(run *r, const tensor *t)
{
    if (t->buf && t->buf->part)
        stream_want(r, t->buf->part);
}

/* Keeps the launch in a kernel object of its own. */
static void record(run *r, const kernel *k, const work *w, const arg *args, int n)
{
    if (r->n_recorded == r->capacity) {
        int capacity = r->capacity ? 2 * r->capacity : 64;
        recorded *grown = realloc(r->recorded, (size_t)capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&r->error, "recorded launches", (size_t)capacity * sizeof *grown);
            return;
        }
        r->recorded = grown;
        r->capacity = capacity;
    }
    cl_int status = 0;
    const char *name = k->name;
    while (*name++ != ':')
        ;
    cl_kernel own = clCreateKernel(k->program, name, &status);
    if (status != CL_SUCCESS) {
        char reason[96];
        snprintf(reason, sizeof reason, "clCreateKernel: %s (%d)", cl_status_name(status), status);
        fail(r, k->name, w, reason);
        return;
    }
    r->recorded[r->n_recorded++] = (recorded){.handle = own, .k = k, .w = *w, .part = part_of(args, n)};
    set_args(r, own, k->name, w, args, n);
}

void run_launch(run *r, const char *name, work w, const arg *args, int n)
{
    if (run_failed(r) || r->dev->planning || w.global[0] == 0)
        return;
    for (int i = 0; i < 3; i++) {
        if (!w.global[i])
            w.global[i] = 1;
        if (w.local[0] && !w.local[i])
            w.local[i] = 1;
    }
    const kernel *k = kernel_find(r->dev, name, w.options ? w.options : "", &r->error);
    if (!k)
        return;
    size_t group = w.local[0] * w.local[1] * w.local[2];
    /* Not by k->max_group: rusticl 22.3 gives the subgroup's size there.  What is too large for the kernel, the driver
     * refuses. */
    if (group > r->dev->info.max_work_group) {
        char reason[128];
        snprintf(reason, sizeof reason, "the device allows work-groups of %" PRIu64, r->dev->info.max_work_group);
        fail(r, name, &w, reason);
        return;
    }
    stream_part *part = part_of(args, n);
    if (r->recording) {
        record(r, k, &w, args, n);
        return;
    }
    if (part)
        stream_want(r, part);
    if (!run_failed(r) && set_args(r, k->handle, name, &w, args, n))
        enqueue(r, k->handle, k, &w);
}

void run_record(run *r)
{
    run_forget(r);
    r->recording = true;
}

void run_forget(run *r)
{
    for (int i = 0; i < r->n_recorded; i++)
        clReleaseKernel(r->recorded[i].handle);
    r->n_recorded = 0;
    r->recording = false;
}

bool run_recording(const run *r)
{
    return r->recording;
}

/* One by one: as a command buffer (cl_khr_command_buffer) a step of 55 small launches took 27% longer on Intel's CPU
 * runtime 2026.2 and 5% longer on PoCL 3.1. */
void run_replay(run *r)
{
    r->recording = false;
    for (int i = 0; i < r->n_recorded && !run_failed(r); i++) {
        recorded *k = &r->recorded[i];
        if (k->part)
            stream_want(r, k->part);
        if (!run_failed(r))
            enqueue(r, k->handle, k->k, &k->w);
    }
}
