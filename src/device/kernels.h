/* The embedded kernel files, cl/NAME.cl. */
#ifndef DEVICE_KERNELS_H
#define DEVICE_KERNELS_H
#include <stddef.h>

typedef struct kernel_source {
    const char *name, *text; /* text is NUL-terminated; bytes excludes the NUL */
    size_t bytes;
} kernel_source;

extern const kernel_source kernel_sources[]; /* ended by a row without a name */
#endif
