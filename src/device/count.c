/* Devices that only count, and walks on them. */
#include "device/count.h"

#include <stdlib.h>

device *device_counting(device *d, err *e)
{
    if (!d->counting && !(d->counting = calloc(1, sizeof *d->counting))) {
        err_no_memory(e, "device", sizeof *d->counting);
        return NULL;
    }
    device *twin = d->counting;
    twin->info = d->info;
    twin->tune = d->tune;
    twin->memory_limit = UINT64_MAX;
    return twin;
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
