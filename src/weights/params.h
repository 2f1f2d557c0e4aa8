/* The parameter table: a model declares each of its parameters once, and loading, freeing and conversion walk it.
 *
 * Of a model that is read from a file, the weights are on the device while something uses them: params_open finds them
 * in the file, params_load brings those that a use needs, or, where they don't fit, arranges that those of some layers
 * come when they are wanted (device/stream.h).  models/plan.h decides. */
#ifndef WEIGHTS_PARAMS_H
#define WEIGHTS_PARAMS_H
#include "base/file.h"
#include "io/gguf.h"
#include "ops/ops.h"

typedef enum param_use {
    PARAM_VECTOR, /* biases, norms, positions: F32 on the device */
    PARAM_MATRIX, /* weights of linear layers: kept in the file's type, in panels where the device wants that (ops.h) */
    PARAM_TABLE,  /* tables of which rows are read: kept in the file's type */
    PARAM_CONV,   /* [out, kernel, kernel, in]: packed into panels (ops.h, struct conv) */
} param_use;

/* What a parameter is for, as bits. */
enum {
    USE_TRANSFORMER = 1,
    USE_ENCODER = 2,
    USE_DECODER = 4,
    USE_CLIP = 8,
    USE_TEXT = 16 /* beside USE_TRANSFORMER: for the text alone, and no step of decoding reads it */
};

typedef struct param {
    char name[96];
    param_use use;
    int nd;
    int64_t shape[4];      /* as in the file */
    tensor *to;            /* where the model wants it; owned by the table once loaded */
    conv *conv;            /* PARAM_CONV: whose panels `to` is */
    bool fixed;            /* no gradient, no learning: angles of rotary positions */
    float mean, deviation; /* a new model's values are normal: 0 and 0 for biases, 1 and 0 for a norm's weights */
    unsigned uses;         /* USE_…: params_use */
    int stack, layer;      /* of which block it is a part, counted from 1; 0: of none: params_layer */
    /* of params_open */
    const file_tensor *file;
    uint64_t bytes; /* on the device, where a buffer of its counting twin stands for it until then */
    int streams;    /* the table's layer that it is streamed with, where it is a matrix that can be; else -1 */
} param;

static inline bool param_is_matrix(const param *p)
{
    return p->use == PARAM_MATRIX || p->use == PARAM_TABLE;
}

/* The matrices of a block of a transformer that can be streamed. */
typedef struct param_layer {
    int stack, layer; /* of its parameters */
    unsigned uses;
    uint64_t bytes; /* on the device */
    uint64_t room;  /* in a place to stream to */
    bool streamed;  /* its matrices come when they are wanted */
} param_layer;

/* Errors (no memory) stay until params_open reports them. */
typedef struct param_table {
    param *list;
    size_t n, capacity;
    err error;
    unsigned uses;    /* of what is declared next, */
    int stack, layer; /* and where it belongs */
    /* of params_open */
    device *dev; /* where the weights go */
    param_layer *layers;
    int n_layers;
    struct stream *stream; /* of the layers that are streamed; NULL: none is */
    bool lasting;
    file_tensor *random; /* of params_open_random: one for each parameter, with its data; else NULL */
} param_table;

/* What is declared from here on is for `uses`. */
void params_use(param_table *t, unsigned uses);
/* ... is a part of layer i of a stack of blocks, which begins with layer 0; -1: of none. */
void params_layer(param_table *t, int i);
void param_vector(param_table *t, tensor *to, int64_t n, const char *format, ...) __attribute__((format(printf, 4, 5)));
void param_matrix(param_table *t, tensor *to, int64_t rows, int64_t columns, param_use use, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* The one that was declared last is fixed. */
void param_fix(param_table *t);
/* [out, side, side, in], as a convolution's weight, but read as a matrix of `out` rows: patches that don't overlap */
void param_patches(param_table *t, tensor *to, int64_t out, int64_t side, int64_t in, const char *name);
/* NAME.weight and NAME.bias */
void param_linear(param_table *t, linear *l, int64_t in, int64_t out, const char *name);
void param_norm(param_table *t, norm *n, int64_t d, float eps, const char *name);
/* Fills c's sizes too. */
void param_conv(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name);

/* Finds every declared parameter in g, and plans its memory: each is a tensor then that isn't there yet.  A tensor that
 * is missing, left over, of another shape, or too large for the device is an error that names it.  g outlives the
 * table; `lasting`: so does its data, so that devices may use it in place. */
bool params_open(param_table *t, run *r, const gguf *g, bool lasting, err *e);
/* For measuring: the same without a file, its matrices of this type (rows that blocks don't divide: F16), with random
 * values that repeat; the table owns them, and a device that only counts gets none.  _bytes: how much memory they take.
 */
bool params_open_random(param_table *t, run *r, dtype type, err *e);
uint64_t params_random_bytes(const param_table *t, dtype type);
/* Layers for one of `uses`, and the bytes of all that is for one of `uses` where so many of them are streamed. */
int params_layers(const param_table *t, unsigned uses);
uint64_t params_bytes(param_table *t, unsigned uses, int streamed);
/* Bytes that go through the device each time these layers are wanted. */
uint64_t params_streamed(const param_table *t);
/* Brings what is for one of `uses` and isn't there.  Where no stream is there yet so many layers are streamed: first
 * those of the stack that was declared first (an encoder's, which are wanted once), spread evenly. */
bool params_load(param_table *t, run *r, unsigned uses, int streamed, err *e);
/* Bytes that are on the device now, those that params_load would bring, and those that it needs besides for a while. */
uint64_t params_loaded(const param_table *t);
uint64_t params_missing(const param_table *t, unsigned uses);
uint64_t params_passing(const param_table *t, unsigned uses);
/* Frees all but what is for one of `keep`.  Waits for what runs. */
bool params_unload(param_table *t, run *r, unsigned keep, err *e);
/* For training: every parameter as F32 in memory of its own, that is written to; convolutions keep their weight
 * (conv.w) beside the panels.  g NULL: a new model, its values drawn by (seed, index of the parameter, element). */
bool params_load_trainable(param_table *t, run *r, const gguf *g, uint64_t seed, err *e);
/* Where the values of a trainable parameter are: conv.w, or *to. */
tensor *param_value(const param *p);
void params_release(param_table *t);
#endif
