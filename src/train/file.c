/* Model files that training begins from. */
#include "train/file.h"

#include <string.h>

bool train_file_open(train_file *f, const char *path, err *e)
{
    *f = (train_file){0};
    return file_map_open(&f->map, path, e) && (f->g = gguf_open(f->map.data, f->map.size, path, e));
}

void train_file_release(train_file *f)
{
    gguf_free(f->g);
    file_map_release(&f->map);
    *f = (train_file){0};
}

void train_copy_keys(gguf_writer *w, const gguf *g, const char *prefix, const char *other)
{
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const char *key = gguf_key(g, i);
        if (!strncmp(key, prefix, strlen(prefix)) || !strncmp(key, other, strlen(other)))
            gguf_put_copy(w, g, i);
    }
}
