/* What every model file reader yields: a table of named tensors whose data lies in memory. */
#ifndef IO_TENSOR_FILE_H
#define IO_TENSOR_FILE_H
#include "base/dtype.h"
#include "base/err.h"

#define TENSOR_DIMS 5

/* Outermost dimension first (PyTorch's order; GGUF's is reversed on disk).  nd may be 0: a scalar.
 * data points to the first element in the reader's memory and lives as long as the reader.  stride: elements from one
 * to the next along each dimension, 0 or more; only PyTorch's files have others than those of contiguous rows, and only
 * tensors whose type has no blocks. */
typedef struct file_tensor {
    const char *name;
    dtype type;
    int nd;
    int64_t shape[TENSOR_DIMS], stride[TENSOR_DIMS];
    const void *data;
    size_t bytes;          /* of its elements, without what lies between them */
    const char *type_name; /* of DTYPE_OTHER, as the file has it: "C64"; lives as long as the name */
} file_tensor;

/* "f16"; of DTYPE_OTHER what the file calls it. */
const char *file_tensor_type_name(const file_tensor *t);

/* Elements; the readers have checked that no product overflows. */
int64_t file_tensor_count(const file_tensor *t);
/* "[1024, 96]" in out. */
void file_tensor_shape_text(const file_tensor *t, char out[128]);

/* Whether the elements lie in row-major order without gaps: data[0, bytes) is the tensor then. */
bool file_tensor_contiguous(const file_tensor *t);
/* The same elements with dimension order[i] of t as dimension i.  Not for block types, unless the order stays. */
file_tensor file_tensor_permuted(const file_tensor *t, const int *order);
/* to[0, n) = elements first to first + n in row-major order, as floats; whole blocks where the type has them.  NaN
 * where the type can't be read. */
void file_tensor_read(const file_tensor *t, int64_t first, int64_t n, float *to);

/* For the readers: what they check and look up in the same way.  Messages begin with `file`. */

/* Whether a name can be looked up and printed: not empty, no control characters. */
bool file_tensor_name_valid(const char *name);
/* Sets t->bytes from type and shape, and the strides of contiguous rows.  Negative sizes, overflowing products and
 * broken blocks are errors. */
bool file_tensor_measure(file_tensor *t, const char *file, err *e);
/* A new array of pointers to tensors[0..n), sorted by name.  Two of one name are an error; NULL with e filled. */
const file_tensor **file_tensor_index(const file_tensor *tensors, size_t n, const char *file, err *e);
/* NULL where the index has none of that name. */
const file_tensor *file_tensor_find(const file_tensor *const *index, size_t n, const char *name);
#endif
