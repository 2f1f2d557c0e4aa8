/* Ranking: how well pictures go with a text, by a CLIP. */
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "generate/embed.h"
#include "generate/generate.h"
#include "models/plan.h"

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
    float *pixels = malloc(EMBED_AT_ONCE * one * sizeof *pixels),
          *embedding = malloc((size_t)c->dim * sizeof *embedding);
    const plan_job job = {.what = "rank",
                          .uses = USE_CLIP,
                          .most = n < EMBED_AT_ONCE ? n : EMBED_AT_ONCE,
                          .walk = walk,
                          .context = m->clip,
                          .help = "convert the CLIP with `type` q8_0"};
    bool ok = pixels && embedding ? plan_make(&p, m, m->run, &job, e) && embed_text(m, "rank", text, embedding, e)
                                  : err_no_memory(e, "pictures", EMBED_AT_ONCE * one * sizeof *pixels);
    for (int done = 0; ok && done < n; done += p.n) {
        int some = n - done < p.n ? n - done : p.n;
        for (int i = 0; ok && i < some; i++)
            ok = embed_fit(c, pixels + (size_t)i * one, rgb + (size_t)(done + i) * picture, width, height, e);
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
