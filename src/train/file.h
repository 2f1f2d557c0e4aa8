/* Model files that training begins from: their keys, read and copied. */
#ifndef TRAIN_FILE_H
#define TRAIN_FILE_H
#include "base/file.h"
#include "io/gguf.h"

typedef struct train_file {
    file_map map;
    gguf *g;
} train_file;

bool train_file_open(train_file *f, const char *path, err *e);
void train_file_release(train_file *f);
/* g's keys that begin with `prefix` or with `other`, in their order. */
void train_copy_keys(gguf_writer *w, const gguf *g, const char *prefix, const char *other);
#endif
