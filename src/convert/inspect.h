/* What a file holds, as limn_inspection_open tells it. */
#ifndef CONVERT_INSPECT_H
#define CONVERT_INSPECT_H
#include "base/file.h"
#include "io/model_file.h"
#include "io/safetensors.h"

typedef struct limn_inspection inspection;
struct limn_inspection {
    limn_inspection_info info;
    limn_key *keys; /* their names and texts are new strings */
    limn_tensor *tensors;
    char *path, *family, *note;
    file_map map;
    gguf *g; /* one of these three has the tensors; none of a folder */
    safetensors *s;
    model_file *m;
};

/* path NULL: the built-in model.  NULL with e filled. */
inspection *inspection_open(const char *path, err *e);
void inspection_free(inspection *in);
#endif
