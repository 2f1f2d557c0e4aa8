/* The codes of a data set's pictures, made once and kept in a file: a GGUF file with the tensor `codes` I32 [n, cells],
 * and with the hashes of data and codec, by which it is known again. */
#ifndef TRAIN_CODES_H
#define TRAIN_CODES_H
#include "models/plan.h"
#include "train/dataset.h"

typedef struct train_codes {
    int32_t *codes; /* [n, cells]; all -1 where a picture is bad */
    int64_t n;
    int cells;
} train_codes;

/* Called with the pictures that are done; false ends the work with "interrupted". */
typedef bool train_codes_progress(void *context, int64_t done, int64_t total);

/* From the file at `path`, or by m's codec, by as many pictures at once as its plan has room for, and then the file is
 * written.  The file is used where the items have the same names in the same order (dataset_fingerprint) and the codec
 * has the same settings and values.  options: the data; what is wanted, and the size of pictures and batches, is set
 * here.  progress may be NULL.  With other ranks (base/ranks.h) rank 0 reads and writes, and each encodes its share. */
bool train_codes_open(train_codes *t, model *m, const dataset_options *options, const char *path,
                      train_codes_progress *progress, void *context, err *e);
void train_codes_release(train_codes *t);
/* Items whose picture is bad get no place in a batch. */
void train_codes_exclude(const train_codes *t, dataset *d);
#endif
