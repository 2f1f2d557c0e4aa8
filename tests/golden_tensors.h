/* Tensors whose values are a formula. */
#ifndef TESTS_GOLDEN_TENSORS_H
#define TESTS_GOLDEN_TENSORS_H
#include <jansson.h>

/* The tensors of a case of data/codecs.json as a safetensors file, but `drop` (or NULL), and with `add`. */
void golden_write_tensors(const char *path, const json_t *tensors, const char *drop, const char *add);
#endif
