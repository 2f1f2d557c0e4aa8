/* Arrays of .npz files, by the readers of zip archives and of .npy files. */
#include "golden_npz.h"
#include "checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "support.h"

void golden_npz_open(golden_npz *f, const char *path)
{
    err e = {0};
    good(file_map_open(&f->map, path, &e), &e);
    f->z = zip_open(f->map.data, f->map.size, path, &e);
    good(f->z != NULL, &e);
}

void golden_npz_release(golden_npz *f)
{
    zip_free(f->z);
    file_map_release(&f->map);
    *f = (golden_npz){0};
}

npy golden_npz_read(golden_npz *f, const char *name, dtype want)
{
    err e = {0};
    npy a;
    char entry[64];
    const char *path = support_path("array.npy");
    const uint8_t *data;
    size_t i, size;
    snprintf(entry, sizeof entry, "%s.npy", name);
    if (!zip_find(f->z, entry, &i))
        fail_msg("no array %s", name);
    good(zip_data(f->z, i, &data, &size, &e), &e);
    FILE *out = fopen(path, "wb");
    assert_true(out && fwrite(data, 1, size, out) == size && fclose(out) == 0);
    good(npy_read(&a, path, want, &e), &e);
    return a;
}

double golden_clip_score(const model *m, const int32_t *ids, size_t n, const uint8_t *rgb)
{
    const clip *c = m->clip;
    run *r = m->run;
    err e = {0};
    int64_t cells = (c->image_size / c->patch) * (c->image_size / c->patch), pixels = cells * c->patch * c->patch * 3;
    float *patches = malloc((size_t)pixels * sizeof *patches), log_scale = 0;
    float *x = malloc((size_t)c->dim * sizeof *x), *y = malloc((size_t)c->dim * sizeof *y);
    int32_t *row = malloc((size_t)c->text_length * sizeof *row);
    clip_pixels(c, patches, rgb);
    int32_t end = clip_text_row(c, ids, n, row);
    tensor t = run_upload(r, DTYPE_I32, 2, (int64_t[]){1, c->text_length}, row);
    run_read(r, clip_text(r, c, t, &end), x);
    tensor p = run_upload(r, DTYPE_F32, 3, (int64_t[]){1, cells, pixels / cells}, patches);
    run_read(r, clip_image(r, c, p), y);
    run_read(r, c->log_scale, &log_scale);
    good(run_finish(r, &e), &e);
    double score = 0;
    for (int k = 0; k < c->dim; k++)
        score += exp((double)log_scale) * (double)x[k] * (double)y[k];
    free(patches);
    free(x);
    free(y);
    free(row);
    return score;
}
