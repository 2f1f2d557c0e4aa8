/* Kernel files: the built-in ones of cl/, and the text of a program of them. */
#ifndef DEVICE_KERNELS_H
#define DEVICE_KERNELS_H
#include <stddef.h>

#include "base/err.h"

typedef struct kernel_source {
    const char *name, *file; /* "norm", "norm.cl" */
    const char *text;        /* NUL-terminated; bytes excludes the NUL */
    size_t bytes;
} kernel_source;

extern const kernel_source kernel_sources[]; /* ended by a row without a name */

/* cl/common.cl, then cl/NAME.cl, both with what they include in its place: new memory, or NULL with e filled.  Files
 * are the built-in ones or, while kernels are being written, those of the directory LIMN_CL_DIR. stable: NAME, for as
 * long as the process lives. */
char *kernel_text(const char *name, const char **stable, err *e);
#endif
