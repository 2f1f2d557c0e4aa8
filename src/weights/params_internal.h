/* Shared by params.c, params_random.c and residency.c. */
#ifndef WEIGHTS_PARAMS_INTERNAL_H
#define WEIGHTS_PARAMS_INTERNAL_H
#include "device/stream.h"
#include "weights/params.h"

/* The file's tensor for p, checked. */
const file_tensor *param_find(const param *p, const gguf *g, err *e);
/* Counts every parameter's memory; each has its file tensor. */
bool params_count_memory(param_table *t, run *r, err *e);
/* f's data as F32 in new memory. */
float *param_floats(const file_tensor *f, err *e);
/* An error if p's bytes exceed one allocation and p isn't a matrix, since only matrices are read in pieces. */
bool param_one_piece(const param *p, const device *d, uint64_t bytes, err *e);
#endif
