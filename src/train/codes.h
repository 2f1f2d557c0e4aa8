/* The codes of a data set's pictures, or their latents, made once and kept in a file: a GGUF file with the tensors
 * `codes` I32 [n, cells], `stamps` and `contents` (train/data/dataset.h: 8 bytes a picture, as I32 [n, 2]), and with
 * the codec's hash.
 */
#ifndef TRAIN_CODES_H
#define TRAIN_CODES_H
#include "models/plan.h"
#include "train/data/dataset.h"

typedef struct train_codes {
    int32_t *codes; /* [n, cells]; all -1 where a picture is bad */
    int64_t n;
    int cells; /* codec_numbers: those of latents are the bits of floats */
} train_codes;

/* Called with the pictures that are done; false ends the work with "interrupted". */
typedef bool train_codes_progress(void *context, int64_t done, int64_t total);

/* From the file at `path`, as far as it has them of pictures as they are now, wherever they lie now, and by a codec of
 * the same settings and values; the others by m's codec, by as many pictures at once as its plan has room for, and then
 * the file is written.  What comes of that is said with numbers.  A file of something else is an error.  options: the
 * data; what is wanted, and the size of pictures and batches, is set here.  progress may be NULL; where it ends the
 * work the codes made until then are kept.  With other ranks (base/ranks.h) rank 0 reads and writes, and each encodes
 * its share. */
bool train_codes_open(train_codes *t, model *m, const dataset_options *options, const char *path,
                      train_codes_progress *progress, void *context, err *e);
/* Codes that were made elsewhere: int32 [n, cells] of a .npy file, in the order of the data's n items. */
bool train_codes_read(train_codes *t, const char *path, int64_t n, int cells, err *e);
void train_codes_release(train_codes *t);
/* Items whose picture is bad get no place in a batch. */
void train_codes_exclude(const train_codes *t, dataset *d);
#endif
