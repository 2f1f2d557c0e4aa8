/* Networks that a family computes at once, so that a model needn't at each code: their results become tensors of the
 * source, for tables (convert/mapping.h). */
#ifndef CONVERT_FOLD_H
#define CONVERT_FOLD_H
#include "convert/convert.h"

/* name = fc2(act(fc1(table))) [rows of the table, out of fc2]; act: ACT_GELU_ERF or ACT_GELU_TANH; fc1, fc2: names of
 * linear layers without ".weight" and ".bias", which they may lack. */
bool import_fold_mlp(import *im, const char *name, const char *table, const char *fc1, const char *fc2, activation act,
                     err *e);
/* NAME.weight [out, in, height, width] and NAME.bias: convolution `second` of 1x1 after `first`, or after x + first(x)
 * where `added`.  Their kernels are over time too, [out, in, time, height, width]: of one picture alone, which a causal
 * network sees at all times, the sum over time is left.  second NULL: first alone. */
bool import_fold_convs(import *im, const char *name, const char *first, const char *second, bool added, err *e);
/* NAME.weight and NAME.bias again, of a convolution TO with `rows` outputs: output r is the sum over its n outputs of
 * factors[r, i] times output i. */
bool import_combine_outputs(import *im, const char *name, const char *to, const float *factors, int rows, int n,
                            err *e);
#endif
