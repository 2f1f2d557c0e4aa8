/* Latents as files. */
#include "cli/latents.h"

#include <stdlib.h>
#include <string.h>

#include "io/npy.h"

/* Copies n rows from channels last to channels first, or back. */
static void turn(int32_t *to, const int32_t *from, const limn_model_info *m, int n, bool first)
{
    int64_t c = m->latent_channels, w = m->grid_width / c, area = m->grid_height * w;
    for (int64_t i = 0; i < n * area * c; i++) {
        int64_t picture = i / (area * c), place = i % (area * c) / c, last = i % c;
        int64_t other = (picture * c + last) * area + place;
        if (first)
            to[other] = from[i];
        else
            to[i] = from[other];
    }
}

bool latents_write(const char *path, const limn_model_info *m, int n, const int32_t *rows, err *e)
{
    int64_t c = m->latent_channels, h = m->grid_height, w = m->grid_width / c;
    int32_t *turned = array_new((size_t)n, (size_t)(c * h * w) * sizeof *turned, "latents", e);
    if (turned)
        turn(turned, rows, m, n, true);
    bool ok = turned && npy_write(path, DTYPE_F32, 4, (int64_t[]){n, c, h, w}, turned, e);
    free(turned);
    return ok;
}

bool latents_read(int32_t **rows, int *n, const char *path, const limn_model_info *m, err *e)
{
    int64_t c = m->latent_channels, h = m->grid_height, w = m->grid_width / c;
    npy a = {0};
    *rows = NULL;
    if (!input_check(path, e) || !npy_read(&a, path, DTYPE_F32, e))
        return false;
    bool fits =
        a.nd == 4 && a.shape[0] > 0 && a.shape[0] <= 100000 && a.shape[1] == c && a.shape[2] == h && a.shape[3] == w;
    bool ok = fits || err_set(e, ERR_FAILED,
                              "%s: float32 [n, %d, %d, %d] is wanted, the latents of pictures of %d x %d (--size WxH "
                              "has others)",
                              path, (int)c, (int)h, (int)w, m->width, m->height);
    if (ok && (*rows = array_new((size_t)a.count, sizeof **rows, path, e))) {
        turn(*rows, a.data, m, (int)a.shape[0], false);
        *n = (int)a.shape[0];
    }
    npy_release(&a);
    return ok && *rows;
}
