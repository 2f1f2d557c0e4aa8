/* The parameter table: a model declares each of its parameters once, and loading, freeing and conversion walk it. */
#ifndef MODELS_PARAMS_H
#define MODELS_PARAMS_H
#include "base/file.h"
#include "io/gguf.h"
#include "ops/ops.h"

typedef enum param_use {
    PARAM_VECTOR, /* biases, norms, positions: F32 on the device */
    PARAM_MATRIX, /* linear weights and tables: kept in the file's type */
    PARAM_CONV,   /* [out, kernel, kernel, in]: packed into panels (ops.h, struct conv) */
} param_use;

typedef struct param {
    char name[96];
    param_use use;
    int nd;
    int64_t shape[4];      /* as in the file */
    tensor *to;            /* where the model wants it; owned by the table once loaded */
    conv *conv;            /* PARAM_CONV: whose panels `to` is */
    float mean, deviation; /* a new model's values are normal: 0 and 0 for biases, 1 and 0 for a norm's weights */
} param;

/* Errors (no memory) stay until params_load reports them. */
typedef struct param_table {
    param *list;
    size_t n, capacity;
    err error;
} param_table;

void param_vector(param_table *t, tensor *to, int64_t n, const char *format, ...) __attribute__((format(printf, 4, 5)));
void param_matrix(param_table *t, tensor *to, int64_t rows, int64_t columns, param_use use, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* [out, side, side, in], as a convolution's weight, but read as a matrix of `out` rows: patches that don't overlap */
void param_patches(param_table *t, tensor *to, int64_t out, int64_t side, int64_t in, const char *name);
/* NAME.weight and NAME.bias */
void param_linear(param_table *t, linear *l, int64_t in, int64_t out, const char *name);
void param_norm(param_table *t, norm *n, int64_t d, float eps, const char *name);
/* Fills c's sizes too. */
void param_conv(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name);

/* Loads every declared parameter.  A tensor that is missing, left over, or of another shape is an error that names it.
 * `lasting`: g's data outlives the table, so that devices may use it in place. */
bool params_load(param_table *t, run *r, const gguf *g, bool lasting, err *e);
/* For training: every parameter as F32 in memory of its own, that is written to; convolutions keep their weight
 * (conv.w) beside the panels.  g NULL: a new model, its values drawn by (seed, index of the parameter, element). */
bool params_load_trainable(param_table *t, run *r, const gguf *g, uint64_t seed, err *e);
/* For measuring: every parameter as params_load would have it of a file with matrices of this type (rows that blocks
 * don't divide: F16), with random values that repeat.  _bytes: how much memory that takes, on the device; the host
 * needs as much as the largest of them besides, while it loads. */
bool params_load_random(param_table *t, run *r, dtype type, err *e);
uint64_t params_random_bytes(const param_table *t, dtype type);
/* Where the values of a trainable parameter are: conv.w, or *to. */
tensor *param_value(const param *p);
void params_release(param_table *t);
#endif
