/* Ranking: how well pictures go with a text, by a CLIP. */
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "base/log.h"
#include "generate/generate.h"
#include "io/image.h"
#include "models/plan.h"

#define AT_ONCE 16 /* pictures: a bound for the memory of activations */

/* embedding[dim] of a row of ids, on the host. */
static void embed_row(run *r, const clip *c, const int32_t *row, int32_t end, float *embedding)
{
    tensor t = run_upload(r, DTYPE_I32, 2, (int64_t[]){1, c->text_length}, row);
    run_read(r, clip_text(r, c, t, &end), embedding);
}

/* The text's embedding [dim], on the host. */
static bool embed_text(model *m, const char *text, float *embedding, err *e)
{
    const clip *c = m->clip;
    int32_t *ids = NULL, *row = calloc((size_t)c->text_length, sizeof *row);
    size_t n = 0;
    bool ok = row ? model_tokenize_warned(m, text, &ids, &n, e)
                  : err_no_memory(e, "text", (size_t)c->text_length * sizeof *row);
    if (ok) {
        size_t most = (size_t)c->text_length, all = clip_text_tokens(c, ids, n);
        if (all > most)
            log_write(LOG_WARNING, "rank: the CLIP reads %zu tokens of %zu: the end of the text is left out", most,
                      all);
        int32_t end = clip_text_row(c, ids, n, row);
        run_reset(m->run);
        embed_row(m->run, c, row, end, embedding);
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

static void score(run *r, const clip *c, const float *embedding, const float *pixels, int n, float *scores)
{
    int64_t side = c->image_size / c->patch;
    tensor x = run_upload(r, DTYPE_F32, 3, (int64_t[]){n, side * side, c->patch * c->patch * 3}, pixels);
    tensor y = clip_image(r, c, x);
    linear text = {.w = run_upload(r, DTYPE_F32, 2, (int64_t[]){1, c->dim}, embedding)};
    run_read(r, op_linear(r, y, &text, ACT_NONE), scores);
}

/* For plans: n pictures at once, after the text. */
static bool walk(void *context, run *r, int n, err *e)
{
    const clip *c = context;
    embed_row(r, c, NULL, 0, NULL);
    run_reset(r);
    score(r, c, NULL, NULL, n, NULL);
    return run_finish(r, e);
}

static bool rank(model *m, const char *text, const uint8_t *rgb, int n, int width, int height, float *scores,
                 const limn_control *k, err *e)
{
    if (!model_needs_clip(m, e))
        return false;
    const clip *c = m->clip;
    plan p = {0};
    size_t one = (size_t)c->image_size * (size_t)c->image_size * 3, picture = (size_t)width * (size_t)height * 3;
    float *pixels = malloc(AT_ONCE * one * sizeof *pixels), *embedding = malloc((size_t)c->dim * sizeof *embedding);
    const plan_job job = {.what = "rank",
                          .uses = USE_CLIP,
                          .most = n < AT_ONCE ? n : AT_ONCE,
                          .walk = walk,
                          .context = m->clip,
                          .help = "convert the CLIP with `type` q8_0"};
    bool ok = pixels && embedding ? plan_make(&p, m, m->run, &job, e) && embed_text(m, text, embedding, e)
                                  : err_no_memory(e, "pictures", AT_ONCE * one * sizeof *pixels);
    for (int done = 0; ok && done < n; done += p.n) {
        int some = n - done < p.n ? n - done : p.n;
        for (int i = 0; ok && i < some; i++)
            ok = fit(c, pixels + (size_t)i * one, rgb + (size_t)(done + i) * picture, width, height, e);
        run_reset(m->run);
        if (ok)
            score(m->run, c, embedding, pixels, some, scores + done);
        ok = run_finish(m->run, e) && ok && control_goes_on(k, "rank", done + some, n, e);
    }
    free(pixels);
    free(embedding);
    return ok;
}

bool rank_pictures(model *m, const char *text, const uint8_t *rgb, int n, int width, int height, float *scores,
                   const limn_control *k, err *e)
{
    err why = {0};
    while (!rank(m, text, rgb, n, width, height, scores, k, &why))
        if (!plan_smaller(m, "rank", &why))
            return err_copy(e, &why);
    return true;
}
