/* Networks that a family computes at once, so that a model needn't at each code: their results become tensors of the
 * source, for tables (convert/mapping.h). */
#ifndef CONVERT_FOLD_H
#define CONVERT_FOLD_H
#include "convert/convert.h"

/* name = fc2(act(fc1(table))) [rows of the table, out of fc2]; act: ACT_GELU_ERF or ACT_GELU_TANH; fc1, fc2: names of
 * linear layers without ".weight" and ".bias", which they may lack. */
bool import_fold_mlp(import *im, const char *name, const char *table, const char *fc1, const char *fc2, activation act,
                     err *e);
/* What is added to what a convolution makes of x: nothing, x, or x made smaller as the convolution, of stride 2 and 3x3
 * with zeros behind, makes it: means of 2x2 pixels. */
typedef enum fold_added { FOLD_NOTHING, FOLD_INPUT, FOLD_MEANS } fold_added;
/* NAME.weight [out, in, height, width] and NAME.bias: convolution `second` of 1x1 after `first` and what is added to
 * that.  Their kernels may be over time too, [out, in, time, height, width]: of one picture alone, which a causal
 * network sees at all times, the sum over time is left.  second NULL: first alone. */
bool import_fold_convs(import *im, const char *name, const char *first, const char *second, fold_added added, err *e);
/* NAME.weight and NAME.bias again, of a convolution TO with `rows` outputs: output r is the sum over its n outputs of
 * factors[r, i] times output i. */
bool import_combine_outputs(import *im, const char *name, const char *to, const float *factors, int rows, int n,
                            err *e);
/* NAME.weight and NAME.bias again, of a convolution TO that reads pictures of `colours`: each input of NAME was a sum
 * over the pixels of a cell of side x side, of factors[input, colour, row, column] times a pixel.  Its stride is `side`
 * times as large. */
bool import_spread_inputs(import *im, const char *name, const char *to, const float *factors, int inputs, int colours,
                          int side, err *e);
/* NAME.weight and NAME.bias again, of a convolution TO whose n outputs have shift[n] added. */
bool import_shift_outputs(import *im, const char *name, const char *to, const float *shift, int n, err *e);
/* A source tensor of two dimensions as floats[*rows, *columns], a new array; NULL with im's error filled. */
float *import_floats(import *im, const char *name, int *rows, int *columns);
#endif
