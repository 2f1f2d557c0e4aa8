/* Tensors that tests make instead of keeping them: tools/make_golden_codecs.py, tools/make_golden_gpt.py. */
#ifndef TESTS_GOLDEN_TENSORS_H
#define TESTS_GOLDEN_TENSORS_H
#include <jansson.h>

/* A safetensors file of tensors: {name: [shape, scale, shift, what its numbers are made of]}, but `drop` (or NULL), and
 * with `add`. */
void golden_write_tensors(const char *path, const json_t *tensors, const char *drop, const char *add);
/* The same of a header and data that are made already. */
void golden_write_safetensors(const char *path, const json_t *header, const void *data, size_t size);
#endif
