/* safetensors (github.com/huggingface/safetensors): an 8-byte length, a JSON header, raw tensors. */
#ifndef IO_SAFETENSORS_H
#define IO_SAFETENSORS_H
#include "io/tensor_file.h"

typedef struct safetensors safetensors;

/* Reads a file image that stays valid and unchanged while the result lives.  Offsets must tile the data
 * without overlap or gap, as the format demands; at most TENSOR_DIMS dimensions.  NULL with e filled. */
safetensors *safetensors_open(const void *data, size_t size, const char *name, err *e);
void safetensors_free(safetensors *s);
size_t safetensors_count(const safetensors *s);
const file_tensor *safetensors_tensor(const safetensors *s, size_t i); /* in the order of their data */
const file_tensor *safetensors_find(const safetensors *s, const char *name);
/* A value of "__metadata__", or NULL. */
const char *safetensors_metadata(const safetensors *s, const char *key);

/* Writes F32 tensors whose rows lie one after the other, in the order of the list. */
bool safetensors_write(const char *path, const file_tensor *list, size_t n, err *e);
#endif
