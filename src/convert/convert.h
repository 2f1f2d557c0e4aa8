/* Turning other files into limn's: what the importers of model families share.
 *
 * A family recognises its files by their tensors and then puts the keys of the GGUF file that it makes of them; tables
 * tell for each parameter of the new model what it comes from (convert/mapping.h).  Tensors stream from the mapped
 * source to the output one at a time. */
#ifndef CONVERT_CONVERT_H
#define CONVERT_CONVERT_H
#include "base/file.h"
#include "io/gguf.h"
#include "io/model_file.h"
#include "weights/params.h"

/* The tensors of all input files together.  Two files may hold tensors of one name, such as an encoder and a decoder:
 * source_prefix tells them apart. */
typedef struct source_tensor {
    const file_tensor *t; /* strides may be any: file_tensor_read */
    const char *file;
    size_t input; /* which of the files */
    bool used;
    bool left_out;        /* used by being left out: what only training needs */
    file_tensor own;      /* what t points to */
    char *renamed;        /* its name, where it was given another */
    const char *original; /* its name in the file */
    size_t unit;          /* the file, or its shards that are files of their own */
    int root;             /* of source.roots, from 1; 0: in no network that limn knows */
} source_tensor;

typedef struct source {
    source_tensor *tensors;
    size_t n;
    const char *directory; /* of the first input: where a family finds config.json and tokenizer files */
    model_file **files;    /* the inputs */
    size_t n_files;
    size_t n_all;               /* those behind the first n belong to no network: optimiser states and the like */
    struct source_made *made;   /* tensors that a family has made of others, the last one first */
    struct network_root *roots; /* names.h */
    size_t n_roots;
    bool folder;      /* a folder was given, not files */
    char **paths;     /* of the files */
    size_t *asked;    /* [n_files] by which of the request's inputs each is there; or NULL */
    char *own_folder; /* what directory points to */
} source;

typedef struct import {
    source *from;
    gguf_writer *to;
    bool typed; /* weights are stored in `type`; else in the type they have */
    dtype type;
    const char *tokenizer;       /* --tokenizer: a folder, or NULL */
    const char *const *settings; /* --set: "key=value" */
    size_t n_settings;
    struct import_part *parts;     /* convert_internal.h */
    struct import_output *outputs; /* what its parts make */
    size_t n_parts, capacity, n_outputs, outputs_capacity;
    err error;                   /* the first failure */
    uint64_t asked;              /* the settings without a key that the family has asked for */
    const limn_control *control; /* or NULL; what it is told: bytes of the source */
    int64_t done, total;
    size_t read; /* bytes of the source, since its pages left memory */
} import;

/* What --set may say. */
typedef struct import_setting_kind {
    const char *name; /* NULL ends a list */
    enum { SETTING_TEXT, SETTING_INT, SETTING_FLOAT } kind;
    double max;
    const char *key; /* that it becomes; NULL: the family asks for it */
} import_setting_kind;

typedef struct family {
    bool (*recognise)(const source *s);
    bool (*run)(import *im, err *e);     /* e is im's error: the first counts, whoever finds it */
    uint64_t networks;                   /* what it may consist of: a set of names.h */
    const import_setting_kind *settings; /* of its own; or NULL */
} family;

/* The source tensor of that name, marked as used; NULL (and an error in im) where it is missing, or in two files. */
const file_tensor *import_find(import *im, const char *name);
/* Marks the tensors whose names begin so as used: those that a family leaves out on purpose. */
void import_skip(import *im, const char *prefix);
bool source_has(const source *s, const char *name);
/* A tensor of that name that a family makes of others, for its tables: F32 data[shape], from malloc, which is the
 * source's from now on (freed also where this fails). */
bool source_make(source *s, const char *name, int nd, const int64_t *shape, float *data, err *e);
/* Whether that one of the input files has it. */
bool source_file_has(const source *s, size_t file, const char *name);
/* The directory, where other files are looked for, becomes that of the file with this tensor, where there is one. */
bool source_stand_beside(source *s, const char *name, err *e);
/* Puts the prefix before the names of all tensors of that file: "encoder.". */
bool source_prefix(source *s, size_t file, const char *prefix, err *e);
/* What the PyTorch files hold beside tensors: the entry of that key ("hparams") in the first of them that has one, at
 * its root or beside what wraps the model; or NULL. */
const pickle_value *source_get(const source *s, const char *key);
/* Writes the keys of --set, and of the family's defaults ("temperature=0.7") those that --set doesn't give. */
void import_put_settings(import *im, const char *const *defaults, size_t n);
/* The whole number that --set gives for what no file tells ("image_size"); `otherwise` where it gives none. */
int import_setting(import *im, const char *name, int otherwise);
/* The text that --set gives; NULL where it gives none. */
const char *import_setting_text(import *im, const char *name);
/* The sides of pictures whose codes are `step` pixels wide: of a grid of so many codes in a row where that is known,
 * else 0: then --set image_size tells, or it is 256. */
int import_image_size(import *im, int grid, int step);
/* The size of dimension i of a source tensor, an error in im (and 0) where there is no such. */
int import_size(import *im, int i, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* Whether there is a tensor of that name. */
bool import_has(const import *im, const char *format, ...) __attribute__((format(printf, 2, 3)));

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
    bool quiet;                  /* nothing is logged about what is chosen */
    const limn_control *control; /* or NULL */
} import_request;
/* The names of the families, i = 0, 1, ...; NULL after the last. */
const char *import_family_name(size_t i);
/* The same of what --set may say. */
const char *import_setting_name(size_t i);

/* Reads, converts and writes.  A source tensor that is neither used nor what training leaves is an error that names
 * it, and so are weights that are no numbers.  What was chosen or left out is logged. */
bool import_convert(const import_request *q, err *e);
/* What import_convert would make a model of: "a PyTorch checkpoint of the family taming"; false, with the reason, where
 * it is nothing of the kind.  path: a file, an index of shards, a folder. */
bool import_describe(const char *path, char out[128], err *e);
/* Fills e for a path that is given as a model, and is no GGUF file: what it is, and how to make a model of it; `more`
 * goes behind that.  Returns false. */
bool import_refuse_model(const char *path, const char *more, err *e);
/* Converts a file or folder into the cache directory's models/, where the result is found again as long as its files
 * are the same; *path is the model's, a new string, and *found whether it was there. */
bool import_cached(const char *from, char **path, bool *found, err *e);
#endif
