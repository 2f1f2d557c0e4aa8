/* What every model file reader yields: a table of named tensors whose data lies in memory. */
#ifndef IO_TENSOR_FILE_H
#define IO_TENSOR_FILE_H
#include "base/dtype.h"
#include "base/err.h"

#define TENSOR_DIMS 5

/* Row-major, outermost dimension first (PyTorch's order; GGUF's is reversed on disk).  nd may be 0: a scalar.
 * data points into the reader's memory and lives as long as the reader. */
typedef struct file_tensor {
    const char *name;
    dtype type;
    int nd;
    int64_t shape[TENSOR_DIMS];
    const void *data;
    size_t bytes;
} file_tensor;

/* Elements; the readers have checked that no product overflows. */
int64_t file_tensor_count(const file_tensor *t);
/* "[1024, 96]" in out. */
void file_tensor_shape_text(const file_tensor *t, char out[128]);

/* For the readers: what they check and look up in the same way.  Messages begin with `file`. */

/* Whether a name can be looked up and printed: not empty, no control characters. */
bool file_tensor_name_valid(const char *name);
/* Sets t->bytes from type and shape.  Negative sizes, overflowing products and broken blocks are errors. */
bool file_tensor_measure(file_tensor *t, const char *file, err *e);
/* A new array of pointers to tensors[0..n), sorted by name.  Two of one name are an error; NULL with e filled. */
const file_tensor **file_tensor_index(const file_tensor *tensors, size_t n, const char *file, err *e);
/* NULL where the index has none of that name. */
const file_tensor *file_tensor_find(const file_tensor *const *index, size_t n, const char *name);
#endif
