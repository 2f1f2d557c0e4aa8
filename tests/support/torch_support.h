/* What the tests and the fuzz target of PyTorch's files share: reading all that a file gives. */
#ifndef TESTS_TORCH_SUPPORT_H
#define TESTS_TORCH_SUPPORT_H
#include <stdlib.h>
#include <string.h>

#include "io/torch.h"

enum { SOME = 256 };

/* The first and the last elements of a tensor: an expanded one may have any number. */
static inline void use_tensor(const file_tensor *t)
{
    float some[SOME];
    char shape[128];
    int64_t n = file_tensor_count(t), piece = n < SOME ? n : SOME;
    file_tensor_shape_text(t, shape);
    file_tensor_read(t, 0, piece, some);
    file_tensor_read(t, n - piece, piece, some);
    if (file_tensor_contiguous(t) && t->bytes) {
        volatile uint8_t last = ((const uint8_t *)t->data)[t->bytes - 1];
        (void)last;
    }
}

/* Opens, reads and closes; whether the reader takes the bytes. */
static inline bool use_torch(const uint8_t *data, size_t size)
{
    err e = {0};
    torch_file *f = torch_open(data, size, "FILE", &e);
    if (!f != (e.code != 0) || (e.code && strncmp(e.text, "FILE: ", 6) != 0))
        abort();
    for (size_t i = 0; f && i < torch_count(f); i++) {
        const file_tensor *t = torch_tensor(f, i);
        if (torch_find(f, t->name) != t)
            abort();
        use_tensor(t);
    }
    if (f)
        free(pickle_to_text(torch_root(f)));
    torch_free(f);
    return !e.code;
}
#endif
