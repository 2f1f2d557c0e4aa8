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
#endif
