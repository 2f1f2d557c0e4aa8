/* The devices that the test layer can impersonate: one row of public limits each. */
#ifndef LAYER_PROFILE_H
#define LAYER_PROFILE_H
#include <CL/cl.h>

typedef struct profile {
    const char *key; /* what LIMN_LAYER_PROFILE says */
    const char *platform, *platform_version;
    const char *name, *vendor, *driver, *version, *c_version, *extensions;
    cl_device_type type;
    cl_uint vendor_id, units;
    size_t group, items[3]; /* work-items of a group: in all, and in each dimension */
    size_t wave;            /* preferred multiple of a group's size */
    cl_ulong local;         /* bytes */
    cl_device_local_mem_type local_type;
    cl_ulong global, alloc, constant; /* bytes: all buffers, one buffer, one constant buffer */
    cl_uint align;                    /* bits */
    cl_bool unified;
    size_t parameters;                                                 /* bytes of a kernel's arguments */
    cl_uint w_char, w_short, w_int, w_long, w_float, w_half, w_double; /* preferred vector widths */
    cl_device_fp_config fp64;
} profile;

/* The row of that key, or NULL. */
const profile *profile_find(const char *key);
#endif
