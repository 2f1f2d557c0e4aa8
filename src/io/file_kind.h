/* What a file is, told by its content: those that limn reads, and in words those that people give it by mistake. */
#ifndef IO_FILE_KIND_H
#define IO_FILE_KIND_H
#include <stddef.h>

#include "base/err.h"

typedef enum file_format {
    FILE_UNKNOWN, /* none that limn reads; `what` names it where it can */
    FILE_GGUF,
    FILE_SAFETENSORS,
    FILE_TORCH, /* PyTorch's two containers; also a zip archive too broken to tell */
    FILE_NPY,
    FILE_PNG,
    FILE_JPEG,
    FILE_WEBP,
} file_format;

typedef struct file_kind {
    file_format format;
    char what[256];   /* "a Git LFS pointer, not the file"; empty where it can't be told */
    char remedy[160]; /* what to do about it */
} file_kind;

/* path: its ending is looked at where the content doesn't tell. */
file_kind file_kind_of(const void *data, size_t size, const char *path);
/* "PATH: what (remedy)", or that it is none of `readable` ("GGUF, safetensors, …").  Returns false. */
bool file_kind_refuse(const file_kind *k, const char *path, const char *readable, err *e);
/* Whether the name, or a file beside it, is that of a download that goes on or was given up. */
bool file_kind_is_partial(const char *path);
#endif
