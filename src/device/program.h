/* Programs and kernels: built from the embedded sources when first asked for, cached on disk. */
#ifndef DEVICE_PROGRAM_H
#define DEVICE_PROGRAM_H
#include "device/device.h"

typedef struct kernel {
    cl_kernel handle;
    cl_program program; /* owned by the table: for further handles of the same kernel */
    const char *name;   /* "norm:layer_norm": the kernel layer_norm of cl/norm.cl */
    const char *options;
    tuning tune;      /* that it was compiled for */
    cl_uint n_args;   /* of the kernel */
    size_t max_group; /* the largest work-group for it, as the driver says; some say too little */
} kernel;

/* The choices that kernels of a file are compiled for: the device's, WG aside (tuning_wide). */
tuning kernel_tuning(const device *d, const char *name);
/* The kernel of that name, its file compiled for the device's tuning as it is now, with options ("-DHEAD_DIM=64", "").
 * NULL with e filled; a failed build also logs its source's name and build log. */
const kernel *kernel_find(device *d, const char *name, const char *options, err *e);
void programs_free(programs *p, device *d);

/* cache.c: compiled programs under the cache directory, keyed by everything that decides them.
 * Reading returns false where there is no usable entry; neither is ever an error for the caller. */
typedef struct cache_key {
    uint64_t hash[2];
    const char *name;
} cache_key;
cache_key cache_key_of(const device *d, const char *name, const char *source, const char *options);
bool cache_read(const cache_key *k, unsigned char **binary, size_t *size);
void cache_write(const cache_key *k, const unsigned char *binary, size_t size);
void cache_drop(const cache_key *k);
#endif
