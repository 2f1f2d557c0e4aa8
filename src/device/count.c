/* Devices that only count, and walks on them. */
#include "device/count.h"

#include <stdlib.h>

#include "device/run_internal.h"

device *device_counting(device *d, err *e)
{
    if (!d->counting && !(d->counting = calloc(1, sizeof *d->counting))) {
        err_no_memory(e, "device", sizeof *d->counting);
        return NULL;
    }
    device *twin = d->counting;
    twin->info = d->info;
    twin->tune = d->tune;
    twin->cores = d->cores;
    twin->memory_limit = UINT64_MAX;
    return twin;
}

device *device_described(const limn_device_info *info, err *e)
{
    device *d = calloc(1, sizeof *d);
    if (d)
        d->launches = calloc(1, sizeof *d->launches);
    if (!d || !d->launches) {
        err_no_memory(e, "device", sizeof *d);
        device_free(d);
        return NULL;
    }
    d->info = *info;
    d->cores = info->compute_units;
    d->tune = device_form_tuning(info, info->type == LIMN_CPU);
    d->tune.clblast = false; /* of its kernels nothing is known */
    d->memory_limit = UINT64_MAX;
    return d;
}

bool device_only_counts(const device *d)
{
    return !d->queue;
}

launch_list *device_launches(device *d)
{
    return d->launches;
}

void device_launches_clear(device *d)
{
    launch_list *l = d->launches;
    size_t n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (l->list[i].kept) {
            l->list[n] = l->list[i];
            l->list[n++].times = 0;
        }
    l->n = n;
    l->replays = 0;
}

void count_launch(run *r, const counted_launch *c)
{
    launch_list *l = r->dev->launches;
    if (l->n == l->capacity) {
        size_t capacity = l->capacity ? 2 * l->capacity : 256;
        counted_launch *grown = realloc(l->list, capacity * sizeof *grown);
        if (!grown) {
            err_no_memory(&r->error, "launches", capacity * sizeof *grown);
            return;
        }
        l->list = grown;
        l->capacity = capacity;
    }
    l->list[l->n++] = *c;
    if (!c->recorded) {
        r->flops += c->w.flops;
        r->bytes += c->w.bytes;
    }
}

void count_replay(run *r)
{
    launch_list *l = r->dev->launches;
    for (size_t i = 0; i < l->n; i++)
        if (l->list[i].kept == r) {
            l->list[i].times++;
            r->flops += l->list[i].w.flops;
            r->bytes += l->list[i].w.bytes;
        }
    l->replays++;
}

void count_forget(const run *r)
{
    launch_list *l = r->dev->launches;
    for (size_t i = 0; l && i < l->n; i++)
        if (l->list[i].kept == r)
            l->list[i].kept = NULL;
}

bool count_walk(counted *c, device *d, count_work *walk, void *context, int n, err *e)
{
    device *twin = device_counting(d, e);
    count_release(c);
    if (!twin || !(c->dry = run_new(twin, e)))
        return false;
    uint64_t used = twin->memory_peak = twin->memory_used;
    bool ok = walk(context, c->dry, n, e);
    ok = run_finish(c->dry, e) && ok;
    c->scratch = run_memory(c->dry);
    c->peak = twin->memory_peak - used;
    return ok;
}

void count_release(counted *c)
{
    run_free(c->dry);
    *c = (counted){0};
}
