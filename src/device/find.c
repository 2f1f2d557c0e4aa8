/* Enumerates platforms and devices and asks each what it can do. */
#include <stdlib.h>
#include <string.h>

#include "device/device.h"

#define NO_PLATFORM -1001 /* CL_PLATFORM_NOT_FOUND_KHR */

static const char *const no_device_text =
    "OpenCL: no platform found (install a driver: pocl-opencl-icd for any CPU; intel-opencl-icd for Intel graphics; "
    "mesa-opencl-icd or rocm-opencl-runtime for AMD; nvidia-opencl-icd or NVIDIA's own driver for NVIDIA)";

const char *device_type_name(limn_device_type t)
{
    static const char *const names[] = {"cpu", "igpu", "dgpu", "accel"};
    return names[t];
}

static bool get(cl_device_id id, cl_device_info what, size_t size, void *value, err *e)
{
    return cl_ok(clGetDeviceInfo(id, what, size, value, NULL), "clGetDeviceInfo", e);
}

/* A string of any length, cut to size; drivers pad names with blanks. */
static bool get_text(cl_device_id id, cl_device_info what, char *out, size_t size, err *e)
{
    size_t n = 0;
    if (!cl_ok(clGetDeviceInfo(id, what, 0, NULL, &n), "clGetDeviceInfo", e))
        return false;
    char *text = calloc(1, n + 1);
    if (!text)
        return err_no_memory(e, "clGetDeviceInfo", n);
    bool ok = get(id, what, n, text, e);
    const char *from = text + strspn(text, " ");
    size_t length = strlen(from);
    while (length && from[length - 1] == ' ')
        length--;
    if (length >= size)
        length = size - 1;
    memcpy(out, from, length);
    out[length] = 0;
    free(text);
    return ok;
}

static bool has_extension(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strstr(list, name); p; p = strstr(p + n, name))
        if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
            return true;
    return false;
}

static bool describe(device_entry *d, err *e)
{
    limn_device_info *i = &d->info;
    cl_device_type type = 0;
    cl_ulong memory = 0, allocation = 0, local = 0;
    cl_uint units = 0, align_bits = 0, width = 0;
    cl_bool unified = 0;
    size_t group = 0;
    static char extensions[16384]; /* enumeration happens on one thread, and the list is long */
    bool ok = get(d->id, CL_DEVICE_TYPE, sizeof type, &type, e) &&
              get_text(d->id, CL_DEVICE_NAME, i->name, sizeof i->name, e) &&
              get_text(d->id, CL_DEVICE_VENDOR, i->vendor, sizeof i->vendor, e) &&
              get_text(d->id, CL_DEVICE_VERSION, i->version, sizeof i->version, e) &&
              get_text(d->id, CL_DRIVER_VERSION, i->driver, sizeof i->driver, e) &&
              get_text(d->id, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions, e) &&
              get(d->id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, e) &&
              get(d->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof allocation, &allocation, e) &&
              get(d->id, CL_DEVICE_LOCAL_MEM_SIZE, sizeof local, &local, e) &&
              get(d->id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, e) &&
              get(d->id, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, sizeof width, &width, e) &&
              get(d->id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof group, &group, e) &&
              get(d->id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, sizeof align_bits, &align_bits, e) &&
              get(d->id, CL_DEVICE_HOST_UNIFIED_MEMORY, sizeof unified, &unified, e);
    if (!ok)
        return false;
    i->memory = memory;
    i->max_allocation = allocation;
    i->local_memory = local;
    i->compute_units = units;
    i->vector_width = width;
    i->max_work_group = group;
    i->base_alignment = align_bits / 8;
    i->unified_memory = unified;
    i->type = type & CL_DEVICE_TYPE_CPU   ? LIMN_CPU
              : type & CL_DEVICE_TYPE_GPU ? (unified ? LIMN_INTEGRATED_GPU : LIMN_DISCRETE_GPU)
                                          : LIMN_ACCELERATOR;
    i->fp16 = has_extension(extensions, "cl_khr_fp16");
    i->subgroups = has_extension(extensions, "cl_khr_subgroups") || has_extension(extensions, "cl_intel_subgroups");
    i->int8_dot = has_extension(extensions, "cl_khr_integer_dot_product");
    i->command_buffer = has_extension(extensions, "cl_khr_command_buffer");
    device_score_load(i);
    return true;
}

static bool add_platform(cl_platform_id platform, int index, device_entry **list, size_t *n, err *e)
{
    cl_uint count = 0;
    cl_int status = clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, NULL, &count);
    if (status == CL_DEVICE_NOT_FOUND || (status == CL_SUCCESS && count == 0))
        return true;
    if (!cl_ok(status, "clGetDeviceIDs", e))
        return false;
    char name[128] = "";
    if (!cl_ok(clGetPlatformInfo(platform, CL_PLATFORM_NAME, sizeof name, name, NULL), "clGetPlatformInfo", e))
        return false;
    cl_device_id *ids = calloc(count, sizeof *ids);
    device_entry *grown = realloc(*list, (*n + count) * sizeof **list);
    if (grown)
        *list = grown;
    bool ok = ids && grown ? cl_ok(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, count, ids, NULL), "clGetDeviceIDs", e)
                           : err_no_memory(e, "devices", count * sizeof **list);
    for (cl_uint k = 0; ok && k < count; k++) {
        device_entry *d = &(*list)[*n];
        *d = (device_entry){.platform = platform, .id = ids[k]};
        d->info.index = (int)(*n)++;
        d->info.platform = index;
        d->info.device = (int)k;
        memcpy(d->info.platform_name, name, sizeof name);
        ok = describe(d, e);
    }
    free(ids);
    return ok;
}

bool device_find(device_entry **list, size_t *n, err *e)
{
    *list = NULL;
    *n = 0;
    cl_platform_id platforms[64];
    cl_uint count = 0;
    cl_int status = clGetPlatformIDs(64, platforms, &count);
    if (status == NO_PLATFORM || (status == CL_SUCCESS && count == 0))
        return err_set(e, ERR_DEVICE, "%s", no_device_text);
    bool ok = cl_ok(status, "clGetPlatformIDs", e);
    for (cl_uint p = 0; ok && p < count && p < 64; p++)
        ok = add_platform(platforms[p], (int)p, list, n, e);
    if (ok && *n == 0)
        ok = err_set(e, ERR_DEVICE, "%s", no_device_text);
    if (!ok) {
        free(*list);
        *list = NULL;
        *n = 0;
    }
    return ok;
}
