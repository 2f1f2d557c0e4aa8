/* Opens a device: selection, context, queue, tunables. */
#include "device/program.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/ranks.h"
#include "cl/constants.h"
#include "device/count.h"
#include "device/drivers.h"
#include "device/find.h"
#include "device/pages.h"
#include "device/profile.h"
#include "device/program.h"

/* Where the choices come from:
 * - CPUs: measured on Intel's runtime and PoCL. The whole register tile of 8 x 32 sums is 16 registers of 16
 *   floats; CPUs with such registers have 32. In registers of 8 floats it is 32, and there are 16: most sums
 *   are kept in memory, and in quarters products and convolutions take 2/3 of the time (code for AVX2). With 32
 *   registers the quarters are 5% slower.
 * - GPUs: what CLBlast's published database, a tuner's findings on 153 of them, has for products of large
 *   matrices. Sums of a work-item: 16 or fewer on 12% of discrete GPUs, 17% of those of phones and none that is
 *   integrated in a computer; 32 on 40, 58 and 39%, 64 on 32, 25 and 43%. Nearly all groups have 64 to 256
 *   items and tiles of 32 x 64 to 128 x 128. So items make 4 x 8, and groups of 256 tiles of 64 x 128.
 *   Compilers agree: with the next tile's loads on the way that takes 73 to 126 registers on gfx90a, gfx1030 and
 *   sm_75 to sm_90 (tools/isa), which leaves 2 or more groups a compute unit, and 12 KiB of local memory, so that
 *   64 KiB hold 5; of 8 x 8 sums the compiler for Gen9, Gen12 and Arc keeps some in memory.
 * - Groups of attention's tiles are of the same side, with 27 KiB: with a side of 8 they take 9, but that
 *   compiler spills in the backward pass.
 * - CLBlast has that database itself, by devices' names, so that its own choice is where to begin. */
tuning device_form_tuning(const limn_device_info *i, bool cpu_form)
{
    tuning t = {.cpu_form = cpu_form,
                .wg = 1,
                .gemm_side = 1,
                .gemm_item = 8,
                .winograd = cpu_form ? 16 : 40, /* for fewer the transformed weights are written for too little */
                .winograd_channels = cpu_form ? 0 : 48,
                .winograd_cache = 4 << 20,
                .strip = 2 << 20,
                .narrow_panels = 9 << 16,
                .narrow_queries = 1024,
                .draft = 1,
                .wide = 4,
                .tile_k = TILE_K,
                .x_rows = LINEAR_X_ROWS_GPU,
                .byte_vectors = i->byte_vectors,
                .attention_keys = cpu_form ? 256 : 128,
                .items_few = 8,
                .items_many = 8,
                .ahead = LINEAR_AHEAD,
                .quantised_ahead = LINEAR_QUANTISED_AHEAD,
                .quantised_rows = LINEAR_QUANTISED_ROWS,
                .quantised_panels = LINEAR_QUANTISED_PANELS,
                .quantised_tile = LINEAR_QUANTISED_TILE,
                .tile_ahead = TILE_AHEAD,
                .gemm_chunk = GEMM_CHUNK,
                .gemm_rows = 32,
                .conv_rows = CONV_ROWS,
                .conv_items = 16,
                .winograd_tiles = WINOGRAD_TILES,
                .gradient_rows = GRADIENT_ROWS,
                .gradient_columns = GRADIENT_COLUMNS};
    if (cpu_form) {
        t.split = i->vector_width >= 4 && i->vector_width < 16;
        t.tall = i->vector_width >= 16;
    } else {
        t.wg = 64;
        t.gemm_side = 16;
        tuning_fit(&t, i);
        t.clblast = i->max_work_group >= 256; /* its kernels' defaults ask for groups of up to 256 */
    }
    tuning_complete(&t, i);
    return t;
}

tuning device_default_tuning(const limn_device_info *i)
{
    tuning groups = device_form_tuning(i, false);
    return device_form_tuning(i, i->type == LIMN_CPU || !tuning_valid(&groups, i));
}

/* What a desktop, a browser or the system needs of the same memory stays free: a sixteenth, from 256 MiB to 2 GiB, but
 * no more than a quarter. */
static uint64_t default_limit(const limn_device_info *i)
{
    const uint64_t least = (uint64_t)256 << 20, most = (uint64_t)2 << 30, quarter = i->memory / 4;
    uint64_t left = i->memory / 16;
    left = left < least ? least : left > most ? most : left;
    return i->memory - (left < quarter ? left : quarter);
}

/* Context and queue of d->id. */
static bool open_queue(device *d, bool timed, err *e)
{
    cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)d->platform, 0};
    cl_int status = CL_SUCCESS;
    watch_device(d->info.name, d->info.type == LIMN_CPU);
    watch_enter("clCreateContext");
    d->context = clCreateContext(properties, 1, &d->id, NULL, NULL, &status);
    watch_leave(status);
    if (!d->context && status == CL_SUCCESS)
        status = CL_INVALID_CONTEXT;
    if (!cl_ok(status, "clCreateContext", e)) {
        d->context = NULL;
        return false;
    }
    watch_enter("clCreateCommandQueue");
    d->queue = clCreateCommandQueue(d->context, d->id, timed ? CL_QUEUE_PROFILING_ENABLE : 0, &status);
    watch_leave(status);
    if (!d->queue && status == CL_SUCCESS)
        status = CL_INVALID_COMMAND_QUEUE;
    if (!cl_ok(status, "clCreateCommandQueue", e)) {
        d->queue = NULL;
        clReleaseContext(d->context);
        d->context = NULL;
        return false;
    }
    return true;
}

/* Chooses one of the list's devices and opens its queue; auto goes on to the next where that fails. */
static bool choose(device *d, device_entry *list, size_t n, const char *spec, bool timed, err *e)
{
    size_t chosen = 0;
    while (device_select(list, n, spec, ranks_local(), ranks_local_size(), &chosen, d->reason, e)) {
        err why = {0};
        device_entry *c = &list[chosen];
        d->info = c->info;
        d->platform = c->platform;
        d->id = c->id;
        driver_enter();
        bool open = open_queue(d, timed, &why);
        driver_leave(open);
        if (open)
            return true;
        if (!device_spec_is_auto(spec))
            return err_set(e, ERR_DEVICE, "device %d.%d, %s (%s) can't be opened: %s", c->info.platform, c->info.device,
                           c->info.name, c->info.platform_name, why.text);
        c->failed = true;
        snprintf(c->info.problem, sizeof c->info.problem, "it can't be opened: %.160s", why.text);
        log_write(LOG_WARNING, "device %d.%d, %s (%s) can't be opened, so another is looked for: %s", c->info.platform,
                  c->info.device, c->info.name, c->info.platform_name, why.text);
    }
    return false;
}

device *device_open(const char *spec, const limn_device_options *o, err *e)
{
    device_entry *list = NULL;
    size_t n = 0;
    double opened = clock_seconds();
    bool timed = o && o->profile;
    device *d = calloc(1, sizeof *d);
    bool ok =
        d ? device_find(&list, &n, e) && choose(d, list, n, spec, timed, e) : err_no_memory(e, "device", sizeof *d);
    if (ok) {
        d->opened = opened;
        d->tune = device_default_tuning(&d->info);
        if (!(o && o->no_cache) && tuning_load(&d->tune, &d->info)) {
            char text[TUNING_TEXT];
            tuning_text(&d->tune, &d->info, text);
            log_write(LOG_INFO, "tuned: %s", text[0] ? text : "as it is by itself");
        }
        d->cores = describe_cores(d->id, &d->info);
        d->memory_limit = o && o->memory_limit ? o->memory_limit : default_limit(&d->info);
        d->no_cache = o && o->no_cache;
        ok = !timed || (d->profile = profile_new(e));
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
    device_free(d->counting);
    if (d->launches)
        free(d->launches->list);
    free(d->launches);
    profile_free(d->profile, d);
    programs_free(d->programs, d);
    flight_free(d);
    if (d->queue)
        RELEASE(d, clReleaseCommandQueue, d->queue);
    if (d->context)
        RELEASE(d, clReleaseContext, d->context);
    pages_release(&d->pages);
    free(d);
}
