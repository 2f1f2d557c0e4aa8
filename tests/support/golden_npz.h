/* What golden instances hold: arrays of NumPy's .npz files (zip archives of .npy files), and scores of a CLIP. */
#ifndef TESTS_GOLDEN_NPZ_H
#define TESTS_GOLDEN_NPZ_H
#include "io/npy.h"
#include "io/zip.h"
#include "models/model.h"

typedef struct golden_npz {
    file_map map;
    zip *z;
} golden_npz;

/* These fail the test that calls them where something is wrong. */
void golden_npz_open(golden_npz *f, const char *path);
void golden_npz_release(golden_npz *f);
/* The array of that name, as F32 or I32; the caller releases it. */
npy golden_npz_read(golden_npz *f, const char *name, dtype want);

/* Of the picture rgb: u8 [image_size, image_size, 3], and the text: the cosine times what training learned. */
double golden_clip_score(const model *m, const int32_t *ids, size_t n, const uint8_t *rgb);
#endif
