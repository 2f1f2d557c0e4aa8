/* Tensors: values that say where an array lies and what shape it has.  A view never owns. */
#ifndef DEVICE_TENSOR_H
#define DEVICE_TENSOR_H
#include "base/dtype.h"
#include "device/device.h"

/* Device memory.  A weight larger than one allocation may be is a list of buffers, split by rows. */
typedef struct buffer {
    device *dev;
    cl_mem mem;   /* NULL where it is only counted */
    size_t bytes; /* 0 where it lies in another one's */
    struct buffer *next;
    int64_t rows;             /* rows in this piece, where the tensor is split; else 0 */
    struct stream_part *part; /* device/stream.h: copied there before the launch that wants it; NULL: always there */
} buffer;

/* bytes of memory on the device; `what` names the wish in errors.  host: NULL, or the contents.  lasting: host outlives
 * the buffer and doesn't change, so that a device that shares memory with the host may use it in place (which counts
 * as device memory all the same).  A device without a queue counts the buffer and makes none: count.h. */
buffer *buffer_new(device *d, size_t bytes, const void *host, bool lasting, const char *what, err *e);
/* bytes more are in use. */
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
    bool panels; /* a linear layer's weight in the order of linear_pack (ops.h), which only linear layers read */
} tensor;

#define TENSOR_MOST INT32_MAX /* elements of one piece, as kernels count in int */

int64_t tensor_count(const tensor *t);
uint64_t tensor_bytes(const tensor *t); /* of all its buffers */
/* The same elements under another shape of as many elements. */
tensor tensor_shaped(tensor t, int nd, const int64_t *shape);
/* n rows (of the outermost dimension) from row `first`; t is not split. */
tensor tensor_rows(tensor t, int64_t first, int64_t n);
/* The rows of t that are in one buffer with `row`; *first is the number of the first of them. */
tensor tensor_piece(tensor t, int64_t row, int64_t *first);
/* A tensor of its own memory (buffer_free(t->buf)), with host's contents where host is not NULL.  Split by rows where
 * one piece may not be so large. */
bool tensor_new(tensor *t, device *d, dtype type, int nd, const int64_t *shape, const void *host, bool lasting,
                const char *what, err *e);
/* Whether such a tensor isn't split, for what kernels read as one piece.  An error where it is. */
bool tensor_in_one_piece(const device *d, dtype type, int nd, const int64_t *shape, const char *what, err *e);
/* The contents of a tensor in new memory; NULL with e filled where there is none. */
typedef void *tensor_contents(const void *context, err *e);
/* The same with contents that are made for it, which a device that only counts doesn't ask for. */
bool tensor_new_filled(tensor *t, device *d, dtype type, int nd, const int64_t *shape, tensor_contents *make,
                       const void *context, const char *what, err *e);
#endif
