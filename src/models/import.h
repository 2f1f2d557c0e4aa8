/* Turning other files into limn's: what the importers of model families share.
 *
 * A family recognises its files by their tensors and then declares the keys of the GGUF file that it makes of them and,
 * for each parameter of the new model, the tensor that it comes from.  Tensors stream from the mapped source to the
 * output one at a time. */
#ifndef MODELS_IMPORT_H
#define MODELS_IMPORT_H
#include "base/file.h"
#include "io/gguf.h"
#include "models/params.h"

/* The tensors of all input files together. */
typedef struct source_tensor {
    const file_tensor *t;
    const char *file;
    bool used;
} source_tensor;

typedef struct source {
    source_tensor *tensors;
    size_t n;
    const char *directory; /* of the first input: where a family finds config.json and tokenizer files */
} source;

typedef struct import {
    source *from;
    gguf_writer *to;
    bool typed; /* weights are stored in `type`; else in the type they have */
    dtype type;
    const char *tokenizer;       /* --tokenizer: a folder, or NULL */
    const char *const *settings; /* --set: "key=value" */
    size_t n_settings;
    struct planned *plan; /* import.c */
    size_t n_plan, capacity;
    err error; /* the first failure of import_find and import_param */
} import;

typedef struct family {
    const char *name;
    bool (*recognise)(const source *s);
    bool (*run)(import *im, err *e);
} family;

/* The source tensor of that name, marked as used; NULL (and an error in im) where it is missing. */
const file_tensor *import_find(import *im, const char *name);
bool source_has(const source *s, const char *name);
/* Writes the keys of --set, and of the family's defaults ("temperature=0.7") those that --set doesn't give. */
void import_put_settings(import *im, const char *const *defaults, size_t n);
/* p's tensor in the new file is the source's `from`.  order: the source dimension that becomes dimension i of the
 * output, e.g. {0, 2, 3, 1} makes OIHW to OHWI; NULL keeps the order. */
void import_param(import *im, const param *p, const char *from, const int *order);

/* What the user asked for. */
typedef struct import_request {
    const char *const *inputs;
    size_t n_inputs;
    const char *output, *family; /* family NULL: recognised */
    dtype type;
    bool typed; /* --type was given; else weights keep the type of the source */
    const char *tokenizer;
    const char *const *settings;
    size_t n_settings;
} import_request;
/* Reads, converts and writes; every source tensor must be used, or the error names one that is not. */
bool import_convert(const import_request *q, err *e);

extern const family family_limn; /* limn's PyTorch twin: safetensors with config.json beside it */
#endif
