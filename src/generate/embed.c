/* Texts and pictures as vectors, by a CLIP. */
#include "generate/embed.h"

#include <stdlib.h>

#include "base/control.h"
#include "base/log.h"
#include "generate/generate.h"
#include "io/image.h"
#include "models/plan.h"

void embed_row(run *r, const clip *c, const int32_t *row, int32_t end, float *embedding)
{
    tensor t = run_upload(r, DTYPE_I32, 2, (int64_t[]){1, c->text_length}, row);
    run_read(r, clip_text(r, c, t, &end), embedding);
}

bool embed_text(model *m, const char *what, const char *text, float *embedding, err *e)
{
    const clip *c = m->clip;
    int32_t *ids = NULL, *row = calloc((size_t)c->text_length, sizeof *row);
    size_t n = 0;
    bool ok = row ? model_tokenize_warned(m, text, &ids, &n, e)
                  : err_no_memory(e, "text", (size_t)c->text_length * sizeof *row);
    if (ok) {
        size_t most = (size_t)c->text_length, all = clip_text_tokens(c, ids, n);
        if (all > most)
            log_write(LOG_WARNING, "%s: the CLIP reads %zu tokens of %zu: the end of the text is left out", what, most,
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

bool embed_fit(const clip *c, float *out, const uint8_t *rgb, int width, int height, err *e)
{
    image from = {width, height, (uint8_t *)(uintptr_t)rgb}, to = {0};
    bool ok = image_fit_by(&to, &from, c->image_size, c->image_size, (image_filter)c->filter, e);
    if (ok)
        clip_pixels(c, out, to.pixels);
    image_release(&to);
    return ok;
}

static void embed_pictures(run *r, const clip *c, const float *pixels, int n, float *embeddings)
{
    int64_t side = c->image_size / c->patch;
    tensor x = run_upload(r, DTYPE_F32, 3, (int64_t[]){n, side * side, c->patch * c->patch * 3}, pixels);
    run_read(r, clip_image(r, c, x), embeddings);
}

/* ---- texts ---- */

static bool walk_texts(void *context, run *r, int n, err *e)
{
    (void)n;
    embed_row(r, context, NULL, 0, NULL);
    return run_finish(r, e);
}

/* One by one: what a text gets doesn't depend on the others. */
static bool texts_once(model *m, const char *const *texts, int n, float *embeddings, const limn_control *k, err *e)
{
    const clip *c = m->clip;
    const plan_job job = {.what = "embed",
                          .uses = USE_CLIP,
                          .most = 1,
                          .walk = walk_texts,
                          .context = m->clip,
                          .help = "convert the CLIP with `type` q8_0"};
    plan p = {0};
    bool ok = plan_make(&p, m, m->run, &job, e);
    for (int i = 0; ok && i < n; i++)
        ok = embed_text(m, "embed", texts[i], embeddings + (size_t)i * (size_t)c->dim, e) &&
             control_goes_on(k, "embed", i + 1, n, e);
    return ok;
}

bool embed_texts(model *m, const char *const *texts, int n, float *embeddings, const limn_control *k, err *e)
{
    err why = {0};
    if (!model_needs_clip(m, e))
        return false;
    while (n > 0 && !texts_once(m, texts, n, embeddings, k, &why))
        if (!plan_smaller(m, "embed", &why))
            return err_copy(e, &why);
    return true;
}

/* ---- pictures ---- */

static bool walk_pictures(void *context, run *r, int n, err *e)
{
    embed_pictures(r, context, NULL, n, NULL);
    return run_finish(r, e);
}

static bool pictures_once(model *m, const uint8_t *rgb, int n, int width, int height, float *embeddings,
                          const limn_control *k, err *e)
{
    const clip *c = m->clip;
    size_t one = (size_t)c->image_size * (size_t)c->image_size * 3, picture = (size_t)width * (size_t)height * 3;
    float *pixels = malloc(EMBED_AT_ONCE * one * sizeof *pixels);
    const plan_job job = {.what = "embed",
                          .uses = USE_CLIP,
                          .most = n < EMBED_AT_ONCE ? n : EMBED_AT_ONCE,
                          .walk = walk_pictures,
                          .context = m->clip,
                          .help = "convert the CLIP with `type` q8_0"};
    plan p = {0};
    bool ok =
        pixels ? plan_make(&p, m, m->run, &job, e) : err_no_memory(e, "pictures", EMBED_AT_ONCE * one * sizeof *pixels);
    for (int done = 0; ok && done < n; done += p.n) {
        int some = n - done < p.n ? n - done : p.n;
        for (int i = 0; ok && i < some; i++)
            ok = embed_fit(c, pixels + (size_t)i * one, rgb + (size_t)(done + i) * picture, width, height, e);
        run_reset(m->run);
        if (ok)
            embed_pictures(m->run, c, pixels, some, embeddings + (size_t)done * (size_t)c->dim);
        ok = run_finish(m->run, e) && ok && control_goes_on(k, "embed", done + some, n, e);
    }
    free(pixels);
    return ok;
}

bool embed_pixels(model *m, const uint8_t *rgb, int n, int width, int height, float *embeddings, const limn_control *k,
                  err *e)
{
    err why = {0};
    if (!model_needs_clip(m, e))
        return false;
    if (width < 1 || height < 1)
        return err_set(e, ERR_USAGE, "embed: there are no pictures of %d x %d pixels", width, height);
    while (n > 0 && !pictures_once(m, rgb, n, width, height, embeddings, k, &why))
        if (!plan_smaller(m, "embed", &why))
            return err_copy(e, &why);
    return true;
}
