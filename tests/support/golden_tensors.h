/* Tensors that tests make instead of keeping them: tools/make_golden_codecs.py, tools/make_golden_gpt.py. */
#ifndef TESTS_GOLDEN_TENSORS_H
#define TESTS_GOLDEN_TENSORS_H
#include <jansson.h>
#include <stdint.h>

/* The object of that name in a list of cases; the test fails if there is none. */
const json_t *golden_case(const json_t *list, const char *name);
/* Element i of the numbers that belong to a name: from -1 to 1 in steps of 1/32768. */
float golden_number(const char *name, uint32_t i);
/* A safetensors file of tensors: {name: [shape, scale, shift, what its numbers are made of]}, but `drop` (or NULL), and
 * with `add`. */
void golden_write_tensors(const char *path, const json_t *tensors, const char *drop, const char *add);
/* The same of a header and data that are made already. */
void golden_write_safetensors(const char *path, const json_t *header, const void *data, size_t size);
#endif
