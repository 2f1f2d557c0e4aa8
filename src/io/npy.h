/* NumPy's .npy files, versions 1 to 3 (numpy.org/doc/stable/reference/generated/numpy.lib.format.html). */
#ifndef IO_NPY_H
#define IO_NPY_H
#include "base/dtype.h"
#include "base/err.h"

#define NPY_DIMS 4

/* A C-ordered array; data is owned.  type is F32 or I32. */
typedef struct npy {
    dtype type;
    int nd;
    int64_t shape[NPY_DIMS];
    void *data;
    int64_t count;
} npy;

/* Reads '<f4' '<f8' '<f2' as F32 and any integer width ('<i8', '|u1', …) as I32 where want is I32; an integer
 * out of I32's range, a float where integers are wanted, Fortran order of more than one dimension,
 * big-endian data and objects are errors that name the file and the field. */
bool npy_read(npy *a, const char *path, dtype want, err *e);
bool npy_write(const char *path, dtype type, int nd, const int64_t *shape, const void *data, err *e);
void npy_release(npy *a);
#endif
