/* Checkpoints that tests write: PyTorch's older container, and safetensors, of tensors under names of any kind. */
#ifndef TESTS_GOLDEN_CHECKPOINT_H
#define TESTS_GOLDEN_CHECKPOINT_H
#include <stddef.h>

#include "io/tensor_file.h"

typedef struct saved_tensor {
    char *name; /* dicts in dicts: "state_dict|model.encoder.0.weight"; safetensors has dots there */
    int nd;
    int64_t shape[TENSOR_DIMS];
    float *values;
    dtype type; /* F32, F16 or BF16: what the values are rounded to */
} saved_tensor;

typedef struct saved_list {
    saved_tensor *list;
    size_t n;
} saved_list;

/* Adds a tensor with these values (NULL: 0.5 each), whose name is PREFIX NAME. */
saved_tensor *saved_add(saved_list *s, const char *prefix, const char *name, int nd, const int64_t *shape,
                        const float *values);
/* All tensors of a model file in F32, whose names get the prefix. */
void saved_load(saved_list *s, const char *path, const char *prefix);
void saved_free(saved_list *s);

/* The tensors whose numbers are from `first` on, at most n. */
void saved_write_torch(const char *path, const saved_list *s, size_t first, size_t n);
void saved_write_safetensors(const char *path, const saved_list *s, size_t first, size_t n);
/* By the path's ending. */
void saved_write(const char *path, const saved_list *s);
#endif
