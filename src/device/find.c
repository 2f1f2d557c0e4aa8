/* Enumerates platforms and devices.  One that fails never hides the others: it is left out, with a warning. */
#include "device/find.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "device/drivers.h"

#define NO_PLATFORM -1001 /* CL_PLATFORM_NOT_FOUND_KHR */
#define MOST        4096  /* platforms, or devices of one: more is a wrong answer */

const char *device_type_name(limn_device_type t)
{
    static const char *const names[] = {"cpu", "igpu", "dgpu", "accel"};
    return names[t];
}

typedef struct finding {
    device_entry *list;
    size_t n;
    char skipped[1200]; /* a line each */
    size_t used;
} finding;

static void note(finding *f, const char *line)
{
    if (f->used + 1 < sizeof f->skipped)
        f->used += (size_t)snprintf(f->skipped + f->used, sizeof f->skipped - f->used, "\n  %s", line);
}

/* what: "platform NAME", or "device P.D (platform NAME)". */
static void skip(finding *f, const char *what, const char *why)
{
    char line[600];
    snprintf(line, sizeof line, "%s: left out: %.380s (`limn devices`)", what, why);
    log_write(LOG_WARNING, "%s", line);
    note(f, line);
}

bool answered(cl_int status, const char *call, err *e)
{
    return status == CL_SUCCESS || err_set(e, ERR_DEVICE, "%s: %s (%d)", call, cl_status_name(status), status);
}

/* The ids of a platform's devices, *n of them, as a new array; NULL with e where that fails, and without where it has
 * none. */
static cl_device_id *ids_of(cl_platform_id platform, cl_uint *n, err *e)
{
    cl_uint count = 0, again = 0;
    cl_int status = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
    *n = 0;
    if (status == CL_DEVICE_NOT_FOUND || (status == CL_SUCCESS && count == 0))
        return NULL;
    if (!answered(status, "clGetDeviceIDs", e))
        return NULL;
    if (count > MOST) {
        err_set(e, ERR_DEVICE, "clGetDeviceIDs: it says that it has %u devices", count);
        return NULL;
    }
    cl_device_id *ids = calloc(count, sizeof *ids);
    if (!ids) {
        err_no_memory(e, "devices", count * sizeof *ids);
        return NULL;
    }
    again = count;
    status = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, &again);
    if (status == CL_DEVICE_NOT_FOUND || !answered(status, "clGetDeviceIDs", e)) {
        free(ids);
        return NULL;
    }
    *n = again < count ? again : count;
    return ids;
}

static bool listed_before(const finding *f, cl_device_id id)
{
    for (size_t i = 0; i < f->n; i++)
        if (f->list[i].id == id)
            return true;
    return false;
}

/* False only where there is no memory. */
static bool add_device(finding *f, const device_entry *found, const char *platform_version, err *e)
{
    device_entry d = *found;
    char what[180];
    err why = {0};
    snprintf(what, sizeof what, "device %d.%d of %s", d.info.platform, d.info.device, d.info.platform_name);
    if (!d.id) {
        skip(f, what, "clGetDeviceIDs gave none");
        return true;
    }
    if (listed_before(f, d.id)) /* one library under two names */
        return true;
    if (!describe_device(&d, platform_version, &why)) {
        skip(f, what, why.text);
        return true;
    }
    device_entry *grown = realloc(f->list, (f->n + 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, "devices", (f->n + 1) * sizeof *grown);
    f->list = grown;
    d.info.index = (int)f->n;
    f->list[f->n++] = d;
    return true;
}

static bool add_platform(finding *f, cl_platform_id platform, int index, err *e)
{
    char version[128], what[160], hint[400], line[600];
    device_entry d = {.platform = platform, .info.platform = index};
    cl_uint count;
    err why = {0};
    bool ok = true;
    describe_platform(platform, index, d.info.platform_name, version);
    cl_device_id *ids = ids_of(platform, &count, &why);
    snprintf(what, sizeof what, "platform %s", d.info.platform_name);
    if (why.code) {
        skip(f, what, why.text);
    } else if (!ids) {
        log_write(LOG_INFO, "%s has no device", what);
        driver_hint(d.info.platform_name, hint, sizeof hint);
        snprintf(line, sizeof line, "%s: has no device%s", what, hint);
        note(f, line);
    }
    for (cl_uint k = 0; ok && k < count; k++) {
        d.info.device = (int)k;
        d.id = ids[k];
        ok = add_device(f, &d, version, e);
    }
    free(ids);
    return ok;
}

/* All platforms, *n of them, as a new array. */
static cl_platform_id *platforms_of(cl_uint *n, err *e)
{
    char text[1600];
    cl_uint again = 0;
    *n = 0;
    cl_int status = clGetPlatformIDs(0, NULL, n);
    if (status == NO_PLATFORM || (status == CL_SUCCESS && *n == 0)) {
        drivers_missing(text, sizeof text);
        err_set(e, ERR_DEVICE, "OpenCL: no platform found%s", text);
        return NULL;
    }
    if (status != CL_SUCCESS || *n > MOST) {
        err_set(e, ERR_DEVICE, "OpenCL: no platform can be asked: clGetPlatformIDs: %s (%d) (`limn devices`)",
                cl_status_name(status), status);
        return NULL;
    }
    cl_platform_id *ids = calloc(*n, sizeof(cl_platform_id));
    if (!ids) {
        err_no_memory(e, "platforms", *n * sizeof *ids);
        return NULL;
    }
    again = *n;
    status = clGetPlatformIDs(*n, ids, &again);
    if (status != CL_SUCCESS) {
        err_set(e, ERR_DEVICE, "OpenCL: no platform can be asked: clGetPlatformIDs: %s (%d) (`limn devices`)",
                cl_status_name(status), status);
        free(ids);
        return NULL;
    }
    *n = again < *n ? again : *n;
    return ids;
}

bool device_find(device_entry **list, size_t *n, err *e)
{
    finding f = {0};
    cl_uint count;
    *list = NULL;
    *n = 0;
    driver_enter();
    cl_platform_id *platforms = platforms_of(&count, e);
    bool ok = platforms != NULL;
    for (cl_uint p = 0; ok && p < count; p++) {
        bool before = !platforms[p];
        for (cl_uint q = 0; q < p; q++) /* two driver files may name one library */
            before = before || platforms[q] == platforms[p];
        ok = before || add_platform(&f, platforms[p], (int)p, e);
    }
    if (ok && f.n == 0) {
        char files[500];
        drivers_installed(files, sizeof files);
        ok = err_set(e, ERR_DEVICE, "OpenCL: no device found (`limn devices` says more):%s\n  of these drivers: %s",
                     f.skipped, files);
    }
    free(platforms);
    driver_leave(ok);
    if (!ok) {
        free(f.list);
        return false;
    }
    devices_match(f.list, f.n);
    *list = f.list;
    *n = f.n;
    return true;
}

/* Both loaders have it. */
typedef cl_int loader_info(cl_uint what, size_t size, void *value, size_t *ret);

int device_platforms(char loader[96])
{
    char name[64] = "", version[24] = "";
    cl_uint n = 0;
    *loader = 0;
    cl_int status = clGetPlatformIDs(0, NULL, &n);
    /* asked by the name of a function, for want of another way in OpenCL 1.2 */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    loader_info *info = (loader_info *)clGetExtensionFunctionAddress("clGetICDLoaderInfoOCLICD");
#pragma GCC diagnostic pop
    if (info && info(3, sizeof name - 1, name, NULL) == CL_SUCCESS &&
        info(2, sizeof version - 1, version, NULL) == CL_SUCCESS)
        snprintf(loader, 96, "%s %s", name, version);
    return status == CL_SUCCESS && n <= MOST ? (int)n : 0;
}
