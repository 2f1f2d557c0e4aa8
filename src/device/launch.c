/* Launches: arguments, bounded pieces, and recorded launches that are replayed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "cl/constants.h"
#include "device/count.h"
#include "device/profile.h"
#include "device/run_internal.h"
#include "device/stream.h"

#define PIECE_FLOPS    4e9 /* to a flush */
#define FLUSH_LAUNCHES 64
#define BELIEVED       16 /* work-items: what a driver may say that its groups for a kernel are, and mean it */

/* "norm:layer_norm (global 64 x 9 x 1, local 64 x 1 x 1): REASON" as the run's error. */
static void fail(run *r, const char *name, const work *w, const char *reason)
{
    err_set(&r->error, ERR_FAILED, "kernel %s (global %zu x %zu x %zu, local %zu x %zu x %zu): %s%s", name,
            w->global[0], w->global[1], w->global[2], w->local[0], w->local[1], w->local[2], reason,
            r->dev->lost ? " (the device may have been reset: see dmesg and `limn devices`, update the driver, or "
                           "choose another with `device`)"
                         : "");
}

/* Where a tensor begins.  Blocks are addressed by bytes, everything else by elements. */
static uint64_t offset_of(const tensor *t)
{
    return dtype_table[t->type].block > 1 ? (uint64_t)dtype_row_bytes(t->type, t->at) : (uint64_t)t->at;
}

/* Whether kernels can count so far: they know where a tensor begins by 32 bits, and its elements and their own number
 * by 31. */
static bool countable(const work *w, const arg *args, int n)
{
    bool ok = w->global[0] <= INT32_MAX && w->global[1] <= INT32_MAX && w->global[2] <= INT32_MAX;
    for (int i = 0; ok && i < n; i++) {
        const arg *a = &args[i];
        if (a->kind == ARG_INT)
            ok = a->i <= INT32_MAX && a->i >= INT32_MIN;
        else if (a->kind == ARG_TENSOR)
            ok = offset_of(&a->t) <= UINT32_MAX && tensor_count(&a->t) <= TENSOR_MOST;
    }
    return ok;
}

static bool set_args(run *r, const launch *l)
{
    cl_uint at = 0;
    cl_kernel k = l->handle;
    cl_int status = CL_SUCCESS;
    for (int i = 0; i < l->n && status == CL_SUCCESS; i++) {
        const arg *a = &l->args[i];
        cl_mem mem = a->kind == ARG_TENSOR && a->t.buf ? a->t.buf->mem : NULL;
        cl_uint offset = a->kind == ARG_TENSOR ? (cl_uint)offset_of(&a->t) : 0;
        cl_int number = (cl_int)a->i;
        switch (a->kind) {
        case ARG_TENSOR:
            if (a->t.buf && !mem) /* weights that were not loaded */
                status = CL_INVALID_MEM_OBJECT;
            else
                status = clSetKernelArg(k, at++, sizeof mem, &mem);
            if (status == CL_SUCCESS)
                status = clSetKernelArg(k, at++, sizeof offset, &offset);
            break;
        case ARG_INT:
            status = clSetKernelArg(k, at++, sizeof number, &number);
            break;
        case ARG_FLOAT:
            status = clSetKernelArg(k, at++, sizeof a->f, &a->f);
            break;
        }
    }
    char reason[128];
    if (status != CL_SUCCESS)
        snprintf(reason, sizeof reason, "clSetKernelArg %u: %s (%d)", at, cl_status_name(status), status);
    else if (at != l->k->n_args)
        snprintf(reason, sizeof reason, "%u arguments are set, and it has %u", at, l->k->n_args);
    else
        return true;
    device_ok(r->dev, status, "clSetKernelArg", NULL);
    fail(r, l->k->name, &l->w, reason);
    return false;
}

/* Enqueues one piece; the caller reports what isn't CL_SUCCESS, unless the run has failed otherwise. */
static cl_int enqueue_piece(run *r, const launch *l, const size_t offset[3], const size_t global[3], double share)
{
    device *d = r->dev;
    const work *w = &l->w;
    cl_event event = NULL;
    watch_kernel(l->k->name);
    cl_int status = WATCHED(clEnqueueNDRangeKernel, d->queue, l->handle, 3, offset, global,
                            w->local[0] ? w->local : NULL, 0, NULL, d->profile ? &event : NULL);
    r->pending = true;
    if (status != CL_SUCCESS)
        return status;
    if (d->opened > 0) {
        log_write(LOG_DEBUG, "first kernel after %.3f s", clock_seconds() - d->opened);
        d->opened = 0;
    }
    if (event)
        profile_add(d->profile, l->k->name, event, w->flops * share, w->bytes * share);
    run_did(r, w->flops * share, w->bytes * share);
    return CL_SUCCESS;
}

void run_did(run *r, double flops, double bytes)
{
    device *d = r->dev;
    r->flops += flops;
    r->bytes += bytes;
    r->unflushed += flops;
    if (r->unflushed > PIECE_FLOPS || ++r->launches >= FLUSH_LAUNCHES) {
        r->unflushed = 0;
        r->launches = 0;
        device_ok(d, WATCHED(clFlush, d->queue), "clFlush", &r->error);
    }
    if (!run_failed(r))
        flight_add(d, flops, bytes, &r->error);
}

/* A launch of much work is done in pieces along its longest dimension. */
typedef struct pieces {
    int dim;
    size_t groups, per, step; /* along it: all, those of a piece, and work-items of one */
} pieces;

static pieces pieces_of(const device *d, const work *w)
{
    pieces p = {0};
    for (int i = 0; i < 3; i++) {
        size_t step = w->local[0] ? w->local[i] : 1, groups = w->global[i] / step;
        if (i == 0 || groups > p.groups)
            p = (pieces){.dim = i, .groups = groups, .step = step};
    }
    double most = flight_piece(d);
    size_t n = w->flops > most ? (size_t)(w->flops / most) + 1 : 1;
    p.per = (p.groups + n - 1) / n;
    return p;
}

/* Enqueues a launch.  Kernels address by get_global_id, which includes the offset.  *begun: whether any of it was
 * enqueued. */
static cl_int enqueue(run *r, const launch *l, bool *begun)
{
    const work *w = &l->w;
    const pieces p = pieces_of(r->dev, w);
    cl_int status = CL_SUCCESS;
    *begun = false;
    for (size_t done = 0; done < p.groups && status == CL_SUCCESS && !run_failed(r);) {
        size_t n = p.groups - done < p.per ? p.groups - done : p.per;
        size_t offset[3] = {0}, global[3] = {w->global[0], w->global[1], w->global[2]};
        offset[p.dim] = done * p.step;
        global[p.dim] = n * p.step;
        status = enqueue_piece(r, l, offset, global, (double)n / (double)p.groups);
        *begun = *begun || status == CL_SUCCESS;
        done += n;
    }
    return status;
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

/* w in work-items, for groups of the size that k was compiled for. */
static work in_items(const work *w, const tuning *t)
{
    work s = *w;
    const bool is_tall = w->unit == UNIT_TALL;
    size_t wg = (size_t)t->wg, side = (size_t)t->gemm_side, group = 0;
    size_t tall = TILE_M_OF(TILE_DOWN(side, is_tall)),
           wide = TILE_N_OF(TILE_ACROSS(side, is_tall), (size_t)t->gemm_item);
    size_t block = t->cpu_form ? ELEMENT_BLOCK_CPU : ELEMENT_BLOCK_GPU(wg);
    switch (w->unit) {
    case UNIT_ITEM:
        break;
    case UNIT_ROW:
        group = wg;
        break;
    case UNIT_BLOCK:
        group = wg;
        s.global[0] = (s.global[0] + block - 1) / block;
        break;
    case UNIT_TILE:
    case UNIT_TALL:
        group = side * side;
        s.global[0] = (s.global[0] + wide - 1) / wide;
        s.global[1] = (s.global[1] + tall - 1) / tall;
        break;
    case UNIT_SPAN:
        group = side * side;
        s.global[0] = (s.global[0] + tall - 1) / tall;
        break;
    }
    if (group) {
        s.global[0] *= group;
        s.local[0] = group;
    }
    for (int i = 0; i < 3; i++) {
        if (!s.global[i])
            s.global[i] = 1;
        if (s.local[0] && !s.local[i])
            s.local[i] = 1;
    }
    return s;
}

static size_t group_of(const work *w)
{
    return w->local[0] * w->local[1] * w->local[2];
}

/* The kernel for l as the device is tuned now, its arguments set; in an object of its own where it is kept. */
static bool prepare(run *r, launch *l, const char *name, const char *options, err *e)
{
    const kernel *k = kernel_find(r->dev, name, options, e);
    if (!k)
        return false;
    cl_kernel handle = k->handle;
    if (l->kept) {
        cl_int status = 0;
        watch_enter("clCreateKernel");
        handle = clCreateKernel(k->program, strchr(name, ':') + 1, &status);
        watch_leave(status);
        char call[160];
        snprintf(call, sizeof call, "kernel %s: clCreateKernel", name);
        if (!cl_ok(status, call, e))
            return false;
        if (l->handle)
            RELEASE(r->dev, clReleaseKernel, l->handle);
    }
    l->handle = handle;
    l->k = k;
    l->w = in_items(&l->asked, &k->tune);
    return true;
}

/* What a driver answers where a group is too large for the kernel; the last one, Mali's, may mean anything else. */
static bool refuses_group(cl_int status)
{
    return status == CL_INVALID_WORK_GROUP_SIZE || status == CL_INVALID_WORK_ITEM_SIZE || status == CL_OUT_OF_RESOURCES;
}

/* Says that the device's tuning has changed, and keeps it for the next start. */
static void keep_smaller(device *d, const launch *l, size_t group, size_t says, cl_int status)
{
    char text[TUNING_TEXT];
    err why = {0};
    if (d->trial)
        return;
    tuning_text(&d->tune, &d->info, text);
    bool kept = !d->no_cache && tuning_save(&d->tune, &d->info, &why);
    log_write(LOG_WARNING,
              "%s: the driver refuses work-groups of %zu for kernel %s (%s (%d); it says %zu): from now on they are of "
              "%zu, %s (limn tune looks for what is fastest)",
              d->info.name, group, l->k->name, cl_status_name(status), status, says, group_of(&l->w), text);
    if (!kept && !d->no_cache)
        log_write(LOG_WARNING, "that isn't kept for the next start: %s", why.text);
}

/* A driver refuses l's groups: all kernels get smaller ones, as a device that has few registers for one kernel has few
 * for the others.  CL_KERNEL_WORK_GROUP_SIZE says how many it has for this one, but rusticl 22.3 gives the subgroup's
 * size there: only a refusal proves anything, and what is too small to be meant isn't believed.  Returns the status of
 * the last try; the tuning stays as it was where none went well. */
static cl_int enqueue_smaller(run *r, launch *l, cl_int refusal)
{
    device *d = r->dev;
    const tuning before = d->tune;
    const size_t group = group_of(&l->w), says = l->k->max_group;
    const bool tiles = l->asked.unit == UNIT_TILE || l->asked.unit == UNIT_TALL || l->asked.unit == UNIT_SPAN;
    const bool wide = !tiles && l->k->tune.wg != before.wg;
    const char *name = l->k->name, *options = l->k->options;
    size_t now = group;
    cl_int status = refusal;
    bool begun = false;
    err why = {0};
    /* -5 may have other reasons: then it isn't tried at each size */
    for (int i = 0; refuses_group(status) && !begun && now > 1 && !(refusal == CL_OUT_OF_RESOURCES && i == 2); i++) {
        bool believed = says >= BELIEVED && says < now;
        size_t most = believed ? says : refusal == CL_OUT_OF_RESOURCES && i == 1 ? BELIEVED : now - 1;
        tuning_shrink(&d->tune, tiles, wide ? tuning_narrow(&d->tune, most) : most);
        const tuning tuned = kernel_tuning(d, name);
        size_t next = group_of(&(work){.local = {in_items(&l->asked, &tuned).local[0], 1, 1}});
        if (next >= now || !prepare(r, l, name, options, &why) || !set_args(r, l))
            break;
        now = next;
        status = enqueue(r, l, &begun);
    }
    if (status != CL_SUCCESS)
        d->tune = before;
    else if (before.wg != d->tune.wg || before.gemm_side != d->tune.gemm_side)
        keep_smaller(d, l, group, says, refusal);
    return status;
}

/* Enqueues a launch that is prepared. */
static void execute(run *r, launch *l)
{
    bool begun;
    const work asked = l->w;
    const kernel *k = l->k;
    cl_int status = enqueue(r, l, &begun);
    if (refuses_group(status) && !begun && l->asked.unit != UNIT_ITEM && enqueue_smaller(r, l, status) == CL_SUCCESS)
        return;
    if (status == CL_SUCCESS || run_failed(r))
        return;
    char reason[256];
    snprintf(reason, sizeof reason, "clEnqueueNDRangeKernel: %s (%d); the driver says %zu for its work-groups%s",
             cl_status_name(status), status, k->max_group,
             !refuses_group(status) ? ""
             : group_of(&asked) > 1
                 ? " (smaller ones are refused too: update the driver, or choose another device with "
                   "`device`)"
                 : " (the device may be out of memory or was reset: use a smaller batch, or choose "
                   "another with `device`)");
    device_ok(r->dev, status, "clEnqueueNDRangeKernel", NULL);
    fail(r, k->name, &asked, reason);
    r->error.cause = r->dev->lost ? LIMN_CAUSE_DEVICE_LOST : cl_cause(status);
}

/* Keeps the launch, with its arguments. */
static void record(run *r, launch l)
{
    size_t bytes = (size_t)l.n * sizeof *l.args;
    if (r->n_recorded == r->capacity) {
        int capacity = r->capacity ? 2 * r->capacity : 64;
        launch *grown = realloc(r->recorded, (size_t)capacity * sizeof *grown);
        r->recorded = grown ? grown : r->recorded;
        r->capacity = grown ? capacity : r->capacity;
    }
    arg *args = malloc(bytes);
    if (!args || r->n_recorded == r->capacity) {
        free(args);
        RELEASE(r->dev, clReleaseKernel, l.handle);
        err_no_memory(&r->error, "recorded launches", bytes);
        return;
    }
    memcpy(args, l.args, bytes);
    l.args = args;
    r->recorded[r->n_recorded++] = l;
    set_args(r, &l);
}

/* The launch on a device that is described alone. */
static void count(run *r, const char *name, const work *w, const arg *args, int n)
{
    const tuning tuned = kernel_tuning(r->dev, name);
    counted_launch c = {.kernel = name,
                        .asked = *w,
                        .w = in_items(w, &tuned),
                        .times = !r->recording,
                        .kept = r->recording ? r : NULL,
                        .recorded = r->recording};
    c.asked.options = c.w.options = NULL; /* the caller's */
    for (int i = 0, k = 0; i < n && k < 2; i++)
        if (args[i].kind == ARG_TENSOR) {
            c.x[k] = args[i].t;
            c.x[k++].buf = NULL;
        }
    const work whole = c.w;
    const pieces p = pieces_of(r->dev, &whole);
    for (size_t done = 0; done < p.groups && !run_failed(r); done += p.per) {
        size_t groups = p.groups - done < p.per ? p.groups - done : p.per;
        c.w.global[p.dim] = groups * p.step;
        c.w.flops = whole.flops * (double)groups / (double)p.groups;
        c.w.bytes = whole.bytes * (double)groups / (double)p.groups;
        count_launch(r, &c);
    }
}

void run_launch(run *r, const char *name, work w, const arg *args, int n)
{
    if (run_failed(r) || w.global[0] == 0)
        return;
    if (!countable(&w, args, n)) {
        fail(r, name, &w, "more elements than a kernel can count (use a smaller batch, or smaller pictures)");
        return;
    }
    if (!r->dev->queue) {
        if (r->dev->launches)
            count(r, name, &w, args, n);
        return;
    }
    launch l = {.asked = w, .args = args, .n = n, .part = part_of(args, n), .kept = r->recording};
    if (!device_there(r->dev, &r->error) || !prepare(r, &l, name, w.options ? w.options : "", &r->error))
        return;
    l.asked.options = NULL; /* the caller's, and the kernel knows it */
    /* Not by k->max_group: see enqueue_smaller.  What is too large for the kernel, the driver refuses. */
    if (group_of(&l.w) > r->dev->info.max_work_group) {
        char reason[128];
        snprintf(reason, sizeof reason, "the device allows work-groups of %" PRIu64, r->dev->info.max_work_group);
        fail(r, name, &l.w, reason);
        if (l.kept)
            RELEASE(r->dev, clReleaseKernel, l.handle);
        return;
    }
    if (l.kept) {
        record(r, l);
        return;
    }
    if (l.part)
        stream_want(r, l.part);
    if (!run_failed(r) && set_args(r, &l))
        execute(r, &l);
}

void run_record(run *r)
{
    run_forget(r);
    r->recording = true;
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
    if (r->dev->launches)
        count_replay(r);
    device_there(r->dev, &r->error);
    for (int i = 0; i < r->n_recorded && !run_failed(r); i++) {
        launch *l = &r->recorded[i];
        if (l->part)
            stream_want(r, l->part);
        if (!run_failed(r))
            execute(r, l);
    }
}
