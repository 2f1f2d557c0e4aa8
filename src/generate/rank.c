/* Ranking: how well pictures go with a text, by a CLIP. */
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "models/model.h"

#define AT_ONCE 16 /* pictures: a bound for the memory of activations */

/* The text's embedding [dim], on the host. */
static bool embed_text(model *m, const char *text, float *embedding, err *e)
{
    const clip *c = m->clip;
    int32_t *ids = NULL, *row = calloc((size_t)c->text_length, sizeof *row);
    size_t n = 0;
    bool ok =
        row ? limn_tokenize(m, text, &ids, &n, e) : err_no_memory(e, "text", (size_t)c->text_length * sizeof *row);
    if (ok) {
        int32_t end = clip_text_row(c, ids, n, row);
        run_reset(m->run);
        tensor t = run_upload(m->run, DTYPE_I32, 2, (int64_t[]){1, c->text_length}, row);
        run_read(m->run, clip_text(m->run, c, t, &end), embedding);
        ok = run_finish(m->run, e);
    }
    free(row);
    free(ids);
    return ok;
}

/* out[cells, patch*patch*3] of a picture of any size. */
static bool fit(const clip *c, float *out, const uint8_t *rgb, int width, int height, err *e)
{
    image from = {width, height, (uint8_t *)(uintptr_t)rgb}, to = {0};
    bool ok = image_fit_by(&to, &from, c->image_size, c->image_size, (image_filter)c->filter, e);
    if (ok)
        clip_pixels(c, out, to.pixels);
    image_release(&to);
    return ok;
}

static bool score(model *m, const float *embedding, const float *pixels, int n, float *scores, err *e)
{
    const clip *c = m->clip;
    int64_t side = c->image_size / c->patch;
    run_reset(m->run);
    tensor x = run_upload(m->run, DTYPE_F32, 3, (int64_t[]){n, side * side, c->patch * c->patch * 3}, pixels);
    tensor y = clip_image(m->run, c, x);
    linear text = {.w = run_upload(m->run, DTYPE_F32, 2, (int64_t[]){1, c->dim}, embedding)};
    run_read(m->run, op_linear(m->run, y, &text, ACT_NONE), scores);
    return run_finish(m->run, e);
}

bool limn_rank(limn_model *m, const char *text, const uint8_t *rgb, int n, int width, int height, float *scores,
               limn_error *e)
{
    if (!model_needs_clip(m, e))
        return false;
    const clip *c = m->clip;
    size_t one = (size_t)c->image_size * (size_t)c->image_size * 3, picture = (size_t)width * (size_t)height * 3;
    float *pixels = malloc(AT_ONCE * one * sizeof *pixels), *embedding = malloc((size_t)c->dim * sizeof *embedding);
    bool ok = pixels && embedding ? embed_text(m, text, embedding, e)
                                  : err_no_memory(e, "pictures", AT_ONCE * one * sizeof *pixels);
    for (int done = 0; ok && done < n; done += AT_ONCE) {
        int some = n - done < AT_ONCE ? n - done : AT_ONCE;
        for (int i = 0; ok && i < some; i++)
            ok = fit(c, pixels + (size_t)i * one, rgb + (size_t)(done + i) * picture, width, height, e);
        ok = ok && score(m, embedding, pixels, some, scores + done, e);
    }
    free(pixels);
    free(embedding);
    return ok;
}
