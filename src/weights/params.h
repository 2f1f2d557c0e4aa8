/* The parameter table: a model declares each of its parameters once; loading, training and conversion go through the
 * table.
 *
 * A model that is read from a file has its weights on the device while something uses them: params_open finds them in
 * the file, and params_load brings those that a use needs.  If they don't fit, the weights of some layers are copied
 * whenever they are used (device/stream.h); models/plan.h decides which. */
#ifndef WEIGHTS_PARAMS_H
#define WEIGHTS_PARAMS_H
#include "base/file.h"
#include "io/gguf.h"
#include "ops/ops.h"

typedef enum param_use {
    PARAM_VECTOR, /* biases, norms, positions: F32 on the device */
    PARAM_MATRIX, /* weights of linear layers: they keep the file's type, in panels if linear_packs says so (ops.h) */
    PARAM_TABLE,  /* tables that rows are looked up in: they keep the file's type */
    PARAM_CONV,   /* [out, kernel, kernel, in]: packed into panels (ops.h, struct conv) */
} param_use;

/* What a parameter is for, as bits. */
enum {
    USE_TRANSFORMER = 1,
    USE_ENCODER = 2,
    USE_DECODER = 4,
    USE_CLIP = 8,
    USE_TEXT = 16 /* beside USE_TRANSFORMER: only for the text, so no step of decoding reads it */
};

typedef struct param {
    char name[96];
    param_use use;
    int nd;
    int64_t shape[4];      /* as in the file */
    tensor *to;            /* the model's tensor; once loaded, its memory is the table's */
    conv *conv;            /* PARAM_CONV: the convolution whose panels `to` is */
    linear *linear;        /* the linear layer whose weight `to` is, or NULL */
    bool fixed;            /* it isn't trained: angles of rotary positions */
    bool blocks;           /* PARAM_CONV: files may have it in blocks (params_blocks) */
    float mean, deviation; /* a new model's values are normal: 0 and 0 for biases, 1 and 0 for a norm's weights */
    unsigned uses;         /* USE_…: params_use */
    int stack, layer;      /* the block that it is a part of, counted from 1; 0: none (params_layer) */
    /* after params_open */
    const file_tensor *file;
    file_tensor replaced; /* params_replace's, with data of the table's */
    uint64_t bytes;       /* on the device; until it is there, `to` is a tensor on the counting twin */
    int streams;          /* the table's layer that it is streamed with; -1: it can't be streamed */
} param;

static inline bool param_is_matrix(const param *p)
{
    return p->use == PARAM_MATRIX || p->use == PARAM_TABLE;
}

/* What files of a type have p as: vectors are F32; rows that blocks don't divide no smaller than F16, nor convolutions,
 * or, where these may be in blocks, than Q8_0. */
dtype param_stored_type(const param *p, dtype type);

/* The matrices of a block of a transformer that can be streamed. */
typedef struct param_layer {
    int stack, layer; /* its parameters' */
    unsigned uses;
    uint64_t bytes; /* on the device */
    uint64_t room;  /* that it takes of a place of the stream */
    bool streamed;  /* its matrices are copied to the device whenever they are used */
} param_layer;

/* Errors (no memory) stay until params_open reports them. */
typedef struct param_table {
    param *list;
    size_t n, capacity;
    err error;
    unsigned uses;    /* of the parameters that are declared next */
    int stack, layer; /* the same */
    bool blocks;      /* the same */
    /* after params_open */
    device *dev; /* where the weights go */
    param_layer *layers;
    int n_layers;
    struct stream *stream; /* for the streamed layers; NULL: there are none */
    bool lasting;
    bool plain;             /* nothing is in panels: params_load_frozen */
    const file_map *mapped; /* the file, where it is mapped: its pages leave memory when their weights are loaded, */
    bool rereads;           /* and those of streamed ones after each copy: a step takes so long that this is nothing */
    file_tensor *random;    /* after params_open_random: a tensor with data for each parameter; else NULL */
} param_table;

/* Parameters that are declared from here on are for `uses`. */
void params_use(param_table *t, unsigned uses);
/* Parameters that are declared from here on are a part of block i of a stack, which begins with block 0; -1: of none.
 */
void params_layer(param_table *t, int i);
/* Whether convolutions that are declared from here on may be stored in blocks: where they are most of the weights. */
void params_blocks(param_table *t, bool may);
void param_vector(param_table *t, tensor *to, int64_t n, const char *format, ...) __attribute__((format(printf, 4, 5)));
void param_matrix(param_table *t, tensor *to, int64_t rows, int64_t columns, param_use use, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
/* The weight of l. */
void param_weight(param_table *t, linear *l, int64_t in, int64_t out, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The parameter that was declared last isn't trained. */
void param_fix(param_table *t);
/* The weight of a convolution over patches that don't overlap, [out, side, side, in], which is read as a matrix of
 * `out` rows. */
void param_patches(param_table *t, tensor *to, int64_t out, int64_t side, int64_t in, const char *name);
/* NAME.weight and NAME.bias */
void param_linear(param_table *t, linear *l, int64_t in, int64_t out, const char *name);
void param_norm(param_table *t, norm *n, int64_t d, float eps, const char *name);
/* Fills c's sizes too. */
void param_conv(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name);
/* NAME.weight alone */
void param_conv_unbiased(param_table *t, conv *c, int in, int out, int kernel, int stride, int pad, const char *name);

/* Finds every declared parameter in g and counts its memory: each becomes a tensor that isn't on the device yet.  It is
 * an error, which names the tensor, if one is missing, left over, of another shape, or too large for the device.  g
 * outlives the table; `lasting`: so does its data, so that devices may read it in place.  k, which may be NULL,
 * counts tensors. */
bool params_open(param_table *t, run *r, const gguf *g, bool lasting, const limn_control *k, err *e);
/* For measuring: the same without a file.  Matrices are of this type (F16 if blocks don't divide their rows) and their
 * values random, the same each time; the table owns them, and a device that only counts gets none.
 * params_random_bytes: how much memory they take. */
bool params_open_random(param_table *t, run *r, dtype type, err *e);
uint64_t params_random_bytes(const param_table *t, dtype type);
/* How many layers are for one of `uses`; the bytes that all parameters for one of `uses` take if so many layers are
 * streamed. */
int params_layers(const param_table *t, unsigned uses);
uint64_t params_bytes(param_table *t, unsigned uses, int streamed);
/* Bytes that are copied each time all streamed layers are used. */
uint64_t params_streamed(const param_table *t);
/* Brings the parameters for one of `uses` to the device.  If nothing is streamed yet, `streamed` layers are from now
 * on: those of the stack that was declared first come first (an encoder's, which are used once), spread evenly. */
bool params_load(param_table *t, run *r, unsigned uses, int streamed, err *e);
/* Bytes that are on the device now; that params_load would bring; that it needs besides while it packs them. */
uint64_t params_loaded(const param_table *t);
uint64_t params_missing(const param_table *t, unsigned uses);
uint64_t params_passing(const param_table *t, unsigned uses);
/* Memory of the mapped file under the parameters for one of `uses` is given back; what is used again is read again. */
void params_forget_pages(const param_table *t, unsigned uses);
/* Frees all parameters but those for one of `keep`.  Waits for what runs. */
bool params_unload(param_table *t, run *r, unsigned keep, err *e);
/* For training: every parameter as F32 in memory of its own, which may be written to; convolutions have their weight
 * (conv.w) beside the panels.  g NULL: a new model, with values drawn by (seed, index of the parameter, element). */
bool params_load_trainable(param_table *t, run *r, const gguf *g, uint64_t seed, err *e);
/* For training of something else: every parameter as g has it, vectors as F32, without panels, so that gradients go
 * through them.  g and its data outlive the table. */
bool params_load_frozen(param_table *t, run *r, const gguf *g, err *e);
/* After params_open, and before p is on the device: its values are `data`, of its file's type, from os_aligned_new,
 * which the table frees. */
void params_replace(param *p, void *data);
/* The same with another number of rows (p->shape[0]) than the file has.  Frees data where it fails. */
bool params_grow(param_table *t, param *p, int64_t rows, void *data, err *e);
/* Where the values of a trainable parameter are: conv.w, or *to. */
tensor *param_value(const param *p);
void params_release(param_table *t);
#endif
