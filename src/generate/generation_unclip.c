/* Generation: pictures of unCLIP, one after the other.  A picture's steps are those of the prior for each end that is a
 * text, then those of the decoder, then those of what enlarges it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "generate/generate.h"
#include "generate/generation.h"
#include "io/image.h"

enum { PHASES = 4, DRAWS = 4096 }; /* more than a stage draws */

/* ---- pictures that are read ------------------------------------------------------------------------------------- */

static bool walk_image(void *context, run *r, int n, err *e)
{
    const clip *c = &((const unclip *)context)->text;
    int64_t side = c->image_size / c->patch;
    clip_image_projected(r, c, TENSOR(r, DTYPE_F32, n, side * side, c->patch * c->patch * 3));
    return run_finish(r, e);
}

/* out[dim] of the numbers that the image tower reads. */
static bool embed_once(model *m, const float *pixels, float *out, err *e)
{
    const unclip *u = unclip_of(m->transformer);
    const clip *c = &u->text;
    const int64_t side = c->image_size / c->patch, shape[] = {1, side * side, c->patch * c->patch * 3};
    const plan_job job = {.what = "encode",
                          .uses = USE_ENCODER,
                          .most = 1,
                          .walk = walk_image,
                          .context = m->transformer,
                          .help = "convert the model with `type` q8_0"};
    plan p = {0};
    if (!plan_make(&p, m, m->run, &job, e))
        return false;
    run_reset(m->run);
    run_read(m->run, clip_image_projected(m->run, c, run_upload(m->run, DTYPE_F32, 3, shape, pixels)), out);
    return run_finish(m->run, e);
}

static bool embed(model *m, const uint8_t *rgb, int width, int height, float *out, err *e)
{
    const clip *c = &unclip_of(m->transformer)->text;
    const size_t count = 3 * (size_t)c->image_size * (size_t)c->image_size;
    const image from = {width, height, (uint8_t *)(uintptr_t)rgb};
    image to = {0};
    float *pixels = malloc(count * sizeof *pixels);
    err why = {0};
    bool ok = (pixels || err_no_memory(e, "picture", count * sizeof *pixels)) &&
              image_fit_shorter(&to, &from, c->image_size, IMAGE_BICUBIC, e);
    if (ok)
        clip_pixels(c, pixels, to.pixels);
    while (ok && !embed_once(m, pixels, out, &why))
        if (!plan_smaller(m, "encode", &why))
            ok = err_copy(e, &why);
    image_release(&to);
    free(pixels);
    return ok;
}

bool generation_read_ends(generation *g, draw_request *q, const limn_generate_options *o, err *e)
{
    const limn_model_info *i = &g->m->info;
    const uint8_t *const images[] = {o->image, o->between ? o->image_to : NULL};
    const int sides[][2] = {{o->image_width, o->image_height}, {o->image_to_width, o->image_to_height}};
    for (int k = 0; k < 2; k++) {
        const int width = sides[k][0] ? sides[k][0] : i->encode_width,
                  height = sides[k][1] ? sides[k][1] : i->encode_height;
        if (images[k] && !embed(g->m, images[k], width, height, q->image + k * unclip_of(g->d)->text.dim, e))
            return false;
        q->known[k] = images[k];
    }
    return true;
}

/* ---- noise ------------------------------------------------------------------------------------------------------ */

/* Numbers of a stage's noise. */
static int count_of(const unclip *u, unclip_stage stage)
{
    return stage == UNCLIP_PRIOR     ? u->text.dim
           : stage == UNCLIP_DECODER ? 3 * u->small_width * u->small_height
                                     : 3 * u->width * u->height;
}

/* Where number i of a stage stands in a row of given noise. */
static int place_of(const unclip *u, unclip_stage stage, int i)
{
    const int line = 3 * u->small_width;
    return stage == UNCLIP_PRIOR ? 3 * i : stage == UNCLIP_DECODER ? i / line * 3 * u->width + i % line : i;
}

/* Draw k of a stage: what it begins with, then that of each step. */
static void make_noise(const generation *g, const picture *p, unclip_stage stage, int k, float *out)
{
    const unclip *u = unclip_of(g->d);
    const draw_request *q = p->q;
    const uint32_t stream = q->between ? 0 : (uint32_t)p->number, draw = (uint32_t)((int)stage * DRAWS + k);
    int row = k;
    for (int i = 0; i < (int)stage; i++)
        row += q->sampler[i].n; /* 0 where no prior draws */
    for (int i = 0; i < count_of(u, stage); i++)
        out[i] = q->noise && row < q->n_noise ? q->noise[(size_t)row * (size_t)g->cells + (size_t)place_of(u, stage, i)]
                                              : rng_normal(q->sampling.seed, stream, draw, (uint32_t)i);
}

/* ---- embeddings ------------------------------------------------------------------------------------------------- */

/* Shoemake 1985, of vectors of any length: out[n] = a at share 0, b at 1. */
static void between(float *out, const float *a, const float *b, int n, double share)
{
    double dot = 0, aa = 0, bb = 0;
    for (int i = 0; i < n; i++) {
        dot += (double)a[i] * (double)b[i];
        aa += (double)a[i] * (double)a[i];
        bb += (double)b[i] * (double)b[i];
    }
    const double cosine = aa > 0 && bb > 0 ? dot / sqrt(aa * bb) : 1;
    const double angle = acos(fmin(fmax(cosine, -1), 1)), sine = sin(angle);
    const bool straight = fabs(sine) < 1e-6; /* as near as no way is another */
    const double wa = straight ? 1 - share : sin((1 - share) * angle) / sine,
                 wb = straight ? share : sin(share * angle) / sine;
    for (int i = 0; i < n; i++)
        out[i] = (float)(wa * (double)a[i] + wb * (double)b[i]);
}

/* The texts that a phase reads: the first one and the negative one; or others in place of the first. */
static bool read_texts(generation *g, const draw_request *q, int row, err *e)
{
    const size_t n = (size_t)g->d->text_length;
    int32_t *rows = calloc(2 * n, sizeof *rows);
    if (!rows)
        return err_no_memory(e, "text", 2 * n * sizeof *rows);
    memcpy(rows, q->text + (size_t)row * n, n * sizeof *rows);
    memcpy(rows + n, q->text + n, n * sizeof *rows);
    unclip_drawing_read(&g->drawing, rows, generation_sequences(q));
    free(rows);
    return true;
}

/* Between the priors and the decoder. */
static bool choose_embedding(generation *g, const picture *p, err *e)
{
    const draw_request *q = p->q;
    const int dim = unclip_of(g->d)->text.dim;
    if (!q->between && !q->known[0]) {
        unclip_drawing_end_prior(&g->drawing);
        return true;
    }
    float *own = malloc((size_t)dim * sizeof *own);
    if (!own)
        return err_no_memory(e, "embedding", (size_t)dim * sizeof *own);
    if (q->between)
        between(own, q->image, q->image + dim, dim, (double)p->number / (q->between - 1));
    unclip_drawing_put(&g->drawing, q->between ? own : q->image);
    free(own);
    return true;
}

/* What the prior has drawn is the same for all pictures between the ends. */
static bool keep_end(generation *g, draw_request *q, int end, err *e)
{
    unclip_drawing_end_prior(&g->drawing);
    run_read(g->r, g->drawing.embedding, q->image + (ptrdiff_t)end * unclip_of(g->d)->text.dim);
    q->known[end] = run_finish(g->r, e);
    return q->known[end];
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

static unclip_stage stage_of(int phase)
{
    return phase < 2 ? UNCLIP_PRIOR : phase == 2 ? UNCLIP_DECODER : UNCLIP_SUPER;
}

/* Rows of a stage, with guidance 2.  Where one of both stages is guided, the other one's guidance below 1 leads, too,
 * as in diffusers. */
static int rows_of(const draw_request *q, unclip_stage stage)
{
    const float guidance = stage == UNCLIP_PRIOR ? q->prior_guidance : q->sampling.guidance;
    return stage != UNCLIP_SUPER && q->guided && (guidance < 1 || guidance > 1) ? 2 : 1;
}

static bool begin_phase(generation *g, const picture *p, int phase, float *noise, err *e)
{
    const draw_request *q = p->q;
    const unclip_stage stage = stage_of(phase);
    const bool texts = q->between && q->sampler[UNCLIP_PRIOR].n > 0;            /* an end is a text */
    const bool read = phase == 3 || (phase == 2 && !texts && g->phases[0] > 0); /* already */
    bool ok = read || read_texts(g, q, phase == 1 ? 2 : phase == 2 && texts ? 3 : 0, e);
    if (ok && phase == 2)
        ok = choose_embedding(g, p, e);
    if (ok && phase == 3)
        ok = unclip_drawing_enlarge(&g->drawing, e);
    make_noise(g, p, stage, 0, noise);
    if (ok)
        unclip_drawing_begin(&g->drawing, stage, rows_of(q, stage), noise);
    return ok && run_finish(g->r, e);
}

/* How much work a step of each phase is, as far as pixels tell. */
static int64_t work_of(const generation *g, const draw_request *q, int phase)
{
    const unclip *u = unclip_of(g->d);
    return phase < 2    ? 1
           : phase == 2 ? (int64_t)rows_of(q, UNCLIP_DECODER) * u->small_width * u->small_height
                        : (int64_t)u->width * u->height;
}

static void count_done(generation *g, picture *p)
{
    int64_t done = 0, all = 0;
    for (int i = 0, left = p->chosen; i < PHASES; i++) {
        const int some = left < g->phases[i] ? left : g->phases[i];
        done += some * work_of(g, p->q, i);
        all += g->phases[i] * work_of(g, p->q, i);
        left -= some;
    }
    p->known = (int)((double)g->cells * (double)done / (double)all);
    if (p->known >= g->cells && done < all)
        p->known = g->cells - 1;
}

static bool step(generation *g, picture *p, float *noise, err *e)
{
    draw_request *q = p->q;
    int phase = 0, i = p->chosen;
    while (i >= g->phases[phase])
        i -= g->phases[phase++];
    const unclip_stage stage = stage_of(phase);
    const int n = g->phases[phase], rows = rows_of(q, stage);
    if (i == 0 && !begin_phase(g, p, phase, noise, e))
        return false;
    const sampler_step k = sampler_at(&q->sampler[stage], i);
    const bool last = i + 1 == n;
    if (!last)
        make_noise(g, p, stage, i + 1, noise);
    unclip_drawing_step(&g->drawing, stage, &k, last, rows,
                        stage == UNCLIP_PRIOR ? q->prior_guidance : q->sampling.guidance, last ? NULL : noise);
    p->chosen++;
    g->steps++;
    count_done(g, p);
    if (last && phase < 2 && q->between && !keep_end(g, q, phase, e))
        return false;
    if (last && phase == 3)
        run_read_later(g->r, g->drawing.x[1], p->codes);
    return run_finish(g->r, e);
}

static bool begin(generation *g, err *e)
{
    picture *p = generation_next_picture(g, e);
    if (!p)
        return false;
    const draw_request *q = p->q;
    g->work[g->n_work++] = p;
    for (int i = 0; i < PHASES; i++)
        g->phases[i] = i < 2 && (q->known[i] || (i == 1 && !q->between)) ? 0 : q->sampler[stage_of(i)].n;
    return true;
}

static bool draw(generation *g, float *noise, err *e)
{
    if ((!g->n_work && !begin(g, e)) || !step(g, g->work[0], noise, e))
        return false;
    int all = 0;
    for (int i = 0; i < PHASES; i++)
        all += g->phases[i];
    if (g->work[0]->chosen == all)
        generation_finish(g, 0);
    return g->n_work > 0 || generation_close_batch(g, g->alone && g->waiting, e);
}

bool generation_unclip(generation *g, err *e)
{
    const size_t bytes = (size_t)g->cells * sizeof(float);
    if (!g->n_work && g->planned && generation_sequences(g->waiting) > g->most_rows &&
        !generation_close_batch(g, false, e))
        return false;
    if (!g->drawing.rows && !generation_open_batch(g, e))
        return false;
    float *noise = malloc(bytes);
    bool ok = noise ? draw(g, noise, e) : err_no_memory(e, "noise", bytes);
    free(noise);
    return ok;
}

bool generation_walk_unclip(const generation *g, unclip_drawing *w, run *r, int rows, err *e)
{
    static const sampler_step plain = {.clamp = 1};
    const unclip *u = unclip_of(g->d);
    const size_t text = (size_t)rows * (size_t)u->text.text_length;
    int32_t *ids = calloc(text, sizeof *ids);
    float *noise = calloc((size_t)g->cells, sizeof *noise);
    bool ok = (ids && noise) || err_no_memory(e, "pictures", (size_t)g->cells * sizeof *noise);
    for (size_t i = 0; ok && i < text; i++)
        ids[i] = u->text.pad_id ? 0 : 1; /* as long as it can be */
    if (ok && (ok = unclip_drawing_open(w, u, r, rows, e))) {
        unclip_drawing_read(w, ids, rows);
        for (int i = u->imagines ? 0 : 1; i < UNCLIP_STAGES; i++) {
            const int n = i == UNCLIP_SUPER ? 1 : rows;
            unclip_drawing_begin(w, (unclip_stage)i, n, noise);
            unclip_drawing_step(w, (unclip_stage)i, &plain, false, n, 1, noise);
            unclip_drawing_step(w, (unclip_stage)i, &plain, true, n, 1, NULL);
        }
    }
    free(ids);
    free(noise);
    return ok;
}
