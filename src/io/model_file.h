/* A file with a model's tensors, whatever program wrote it: told by its content, mapped, and read as one table. */
#ifndef IO_MODEL_FILE_H
#define IO_MODEL_FILE_H
#include "io/gguf.h"
#include "io/pickle.h"
#include "io/tensor_file.h"

typedef enum model_format {
    MODEL_GGUF,
    MODEL_SAFETENSORS,
    MODEL_SHARDS, /* model.safetensors.index.json or pytorch_model.bin.index.json, which names the files beside it */
    MODEL_TORCH,
} model_format;

typedef struct model_file model_file;

/* Whether the name is that of an index of shards: it ends in ".index.json". */
bool model_file_is_index(const char *path);
/* path must stay as long as the result.  What is no model is named as what it is.  NULL with e filled. */
model_file *model_file_open(const char *path, err *e);
/* The same with all tensors of PyTorch files, optimiser states among them: torch_open_whole. */
model_file *model_file_open_whole(const char *path, err *e);
void model_file_free(model_file *m);
/* Frees the memory that pages of the mapped file take, for now: file_map_forget. */
void model_file_forget(const model_file *m);
model_format model_file_format(const model_file *m);
size_t model_file_count(const model_file *m);
const file_tensor *model_file_tensor(const model_file *m, size_t i);
const file_tensor *model_file_find(const model_file *m, const char *name);
const gguf *model_file_gguf(const model_file *m); /* NULL for other formats */
/* The files that it is: one, or the index and its shards.  NULL behind the last. */
const char *model_file_path(const model_file *m, size_t i);
const char *model_file_metadata(const model_file *m, const char *key); /* of safetensors; NULL where there is none */
const pickle_value *model_file_root(const model_file *m); /* of a PyTorch file: all that it holds; else NULL */
#endif
