/* Opens a device: selection, context, queue, tunables. */
#include "device/program.h"

#include <stdlib.h>

#include "base/log.h"
#include "base/ranks.h"
#include "device/pages.h"
#include "device/profile.h"
#include "device/program.h"

tuning device_default_tuning(const limn_device_info *i)
{
    tuning t = {.wg = 1, .gemm_side = 1, .strip = 2 << 20};
    t.panels = i->type == LIMN_CPU;
    if (t.panels) {
        t.winograd = 16; /* for fewer the transformed weights are written for too little */
        t.winograd_cache = 4 << 20;
    } else {
        t.wg = i->max_work_group >= 64 ? 64 : i->max_work_group >= 32 ? 32 : i->max_work_group >= 16 ? 16 : 1;
        t.gemm_side = i->max_work_group >= 256 ? 16 : i->max_work_group >= 64 ? 8 : 4;
        t.clblast = i->max_work_group >= 256; /* its kernels' defaults ask for groups of up to 256 */
    }
    return t;
}

/* Whether it does attention by tiles (cl/attention_tile.cl): of registers, or of local memory.  Where vectors are taken
 * apart into numbers first, the compiler has minutes to do with a kernel of many of them. */
static bool choose_tiles(device *d, err *e)
{
    cl_uint width = 0;
    uint64_t tile = 4 * (uint64_t)d->tune.gemm_side;
    if (!d->tune.panels) {
        d->tune.tiles = d->info.local_memory >= sizeof(float) * ((tile + 32) * (tile + 1) + 5 * tile);
        return true;
    }
    cl_int status = clGetDeviceInfo(d->id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof width, &width, NULL);
    d->tune.tiles = width >= 4;
    return cl_ok(status, "clGetDeviceInfo", e);
}

device *device_open(const char *spec, const limn_device_options *o, err *e)
{
    device_entry *list = NULL;
    size_t n = 0, chosen = 0;
    cl_int status = 0;
    double opened = clock_seconds();
    device *d = calloc(1, sizeof *d);
    bool ok = d ? device_find(&list, &n, e) : err_no_memory(e, "device", sizeof *d);
    ok = ok && device_select(list, n, spec, ranks_local(), ranks_local_size(), &chosen, d->reason, e);
    if (ok) {
        d->opened = opened;
        d->info = list[chosen].info;
        d->platform = list[chosen].platform;
        d->id = list[chosen].id;
        d->tune = device_default_tuning(&d->info);
        if (!(o && o->no_cache) && tuning_load(&d->tune, &d->info)) {
            char text[TUNING_TEXT];
            tuning_text(&d->tune, text);
            log_write(LOG_INFO, "tuned: %s", text);
        }
        d->memory_limit = d->info.memory;
        if (o) {
            d->no_cache = o->no_cache;
            if (o->memory_limit && o->memory_limit < d->memory_limit)
                d->memory_limit = o->memory_limit;
        }
        ok = choose_tiles(d, e);
    }
    if (ok) {
        cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)d->platform, 0};
        d->context = clCreateContext(properties, 1, &d->id, NULL, NULL, &status);
        ok = cl_ok(status, "clCreateContext", e);
    }
    if (ok) {
        bool timed = o && o->profile;
        d->queue = clCreateCommandQueue(d->context, d->id, timed ? CL_QUEUE_PROFILING_ENABLE : 0, &status);
        ok = cl_ok(status, "clCreateCommandQueue", e) && (!timed || (d->profile = profile_new(e)));
    }
    free(list);
    if (!ok) {
        device_free(d);
        return NULL;
    }
    return d;
}

void device_free(device *d)
{
    if (!d)
        return;
    profile_free(d->profile);
    programs_free(d->programs);
    if (d->queue)
        clReleaseCommandQueue(d->queue);
    if (d->context)
        clReleaseContext(d->context);
    pages_release(&d->pages);
    free(d);
}
