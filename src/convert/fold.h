/* Networks that a family computes at once, so that a model needn't at each code: their results become tensors of the
 * source, for tables (convert/mapping.h). */
#ifndef CONVERT_FOLD_H
#define CONVERT_FOLD_H
#include "convert/convert.h"

/* name = fc2(gelu(fc1(table))) [rows of the table, out of fc2], GELU with erf; fc1, fc2: names of linear layers without
 * ".weight" and ".bias". */
bool import_fold_mlp(import *im, const char *name, const char *table, const char *fc1, const char *fc2, err *e);
/* name = the tensor from[heads * size, d] with each head of `size` rows `times` times, one after another. */
bool import_repeat_heads(import *im, const char *name, const char *from, int size, int times, err *e);
#endif
