/* What the parts of the reader of PyTorch's files share. */
#ifndef IO_TORCH_INTERNAL_H
#define IO_TORCH_INTERNAL_H
#include "io/torch.h"
#include "io/zip.h"

/* A storage of the older container, or the part of one that a key stands for. */
typedef struct torch_storage {
    const char *key;
    dtype type;
    size_t element; /* bytes of one */
    const uint8_t *data;
    size_t bytes;
} torch_storage;

struct torch_file {
    const char *name;
    zip *zip;     /* NULL: the older container */
    char *folder; /* in the archive: "archive/", or "" */
    torch_storage *storages;
    size_t n_storages;
    pickle *pickle;
    file_tensor *tensors; /* owns the names */
    size_t n, capacity;
    const file_tensor **index;
};

/* The element type of a storage class ("torch.HalfStorage"), with its bytes, or of a type's name ("torch.float16"):
 * DTYPE_OTHER for those that limn can't read. */
bool torch_storage_type(const char *class_name, dtype *type, size_t *bytes);
bool torch_dtype(const char *name, dtype *type);
/* The bytes of the storage with that key. */
bool torch_storage_data(torch_file *f, const char *key, const uint8_t **data, size_t *bytes, err *e);
/* Fills the tensors of f from its pickle: the model's, or all. */
bool torch_collect(torch_file *f, bool whole, err *e);
#endif
