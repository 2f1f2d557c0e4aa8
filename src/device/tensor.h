/* Tensors: values that say where an array lies and what shape it has.  A view never owns. */
#ifndef DEVICE_TENSOR_H
#define DEVICE_TENSOR_H
#include "base/dtype.h"
#include "device/device.h"

/* Device memory.  A weight larger than one allocation may be is a list of buffers, split by rows. */
typedef struct buffer {
    device *dev;
    cl_mem mem;   /* NULL if it is only counted */
    size_t bytes; /* 0 if it is a part of another buffer's memory */
    struct buffer *next;
    int64_t rows;             /* of a split tensor, in this piece; else 0 */
    struct stream_part *part; /* device/stream.h: is copied to the device before a launch reads it; NULL: is there */
} buffer;

/* A buffer of so many bytes on the device; errors call it `what`.  host: its contents, or NULL.  lasting: host outlives
 * the buffer and doesn't change, so a device that shares memory with the host may read it in place; that still counts
 * as device memory.  On a counting twin (count.h) the buffer is only counted: it has no memory, and host isn't read. */
buffer *buffer_new(device *d, size_t bytes, const void *host, bool lasting, const char *what, err *e);
/* Counts so many more bytes as in use. */
void buffer_count(device *d, size_t bytes);
void buffer_free(buffer *b); /* with all of its list; accepts NULL */

/* at: first element, counted in elements from the start of the buffer (a multiple of 32 for block types).
 * Row-major; shape[0] is outermost; unused dimensions are 1.  buf == NULL: no tensor. */
typedef struct tensor {
    buffer *buf;
    int64_t at;
    dtype type;
    int nd;
    int64_t shape[4];
    bool panels; /* a linear layer's weight in panels (linear_pack in ops.h), which only linear layers can read */
} tensor;

#define TENSOR_MOST INT32_MAX /* elements of one piece: kernels count in int */

int64_t tensor_count(const tensor *t);
uint64_t tensor_bytes(const tensor *t); /* of all its buffers */
/* The same elements under another shape of as many elements. */
tensor tensor_shaped(tensor t, int nd, const int64_t *shape);
/* n rows (of the outermost dimension) from row `first` on; t is not split. */
tensor tensor_rows(tensor t, int64_t first, int64_t n);
/* The piece of t that `row` is in: the rows that share its buffer.  *first: the number of the first of these. */
tensor tensor_piece(tensor t, int64_t row, int64_t *first);
/* A tensor with memory of its own (buffer_free(t->buf)) and the contents of host, unless that is NULL.  It is split by
 * rows if it is too large for one buffer. */
bool tensor_new(tensor *t, device *d, dtype type, int nd, const int64_t *shape, const void *host, bool lasting,
                const char *what, err *e);
/* For tensors that kernels read as one piece: false with e filled if such a tensor would be split. */
bool tensor_in_one_piece(const device *d, dtype type, int nd, const int64_t *shape, const char *what, err *e);
/* Makes the contents of a tensor in new memory; NULL with e filled if there is none. */
typedef void *tensor_contents(const void *context, err *e);
/* tensor_new with contents that `make` makes.  A device that only counts doesn't call it. */
bool tensor_new_filled(tensor *t, device *d, dtype type, int nd, const int64_t *shape, tensor_contents *make,
                       const void *context, const char *what, err *e);
#endif
