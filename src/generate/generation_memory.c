/* Generation: the memory of a batch, planned before it begins, and what streaming cost at its end. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "device/stream.h"
#include "generate/generation.h"
#include "generate/masked.h"

/* With own_lengths a batch has room for texts of a multiple of so many ids; with a limit for as many at least. */
enum { TEXT_STEP = 32, TEXT_LEAST = 256 };

bool generation_fits(const generation *g, const draw_request *q)
{
    return q->length[0] <= g->text && (!q->guided || q->length[1] <= g->text);
}

int generation_sequences(const draw_request *q)
{
    return q->guided ? 2 : 1;
}

/* What n items take. */
static int rows_of(const generation *g, int n)
{
    return n >= g->most ? g->most_rows : n * g->unit;
}

/* What is to be planned for: any requests in `limit` sequences, or just those that wait. */
static void choose_items(generation *g)
{
    bool guided = false, plain = false;
    int rows = 0, text = g->limit && g->d->own_lengths ? TEXT_LEAST : 1;
    for (const draw_request *q = g->waiting; q && rows < BATCH_MOST; q = q->next) {
        int64_t all = rows + (int64_t)generation_sequences(q) * (q->count - q->begun);
        rows = all > BATCH_MOST ? BATCH_MOST : (int)all;
        guided |= q->guided;
        plain |= !q->guided;
        for (int i = 0; i <= q->guided; i++)
            text = q->length[i] > text ? q->length[i] : text;
    }
    text = (text + TEXT_STEP - 1) / TEXT_STEP * TEXT_STEP;
    g->text = g->d->own_lengths && text < g->d->text_length ? text : g->d->text_length;
    if (g->limit) {
        guided = plain = g->limit > 1;
        rows = g->limit;
    }
    g->unit = guided ? 2 : 1;
    g->mixed = guided && plain && !g->d->latents;
    g->by_choice = guided;
    g->most = g->d->latents ? 1 : rows / g->unit;
    g->most_rows = g->d->latents ? g->unit : rows;
}

/* The step of all rows, and that of fewer whose windows have more positions together, if there are such. */
static void walk_steps(const generation *g, batch *b, int rows)
{
    int most = 0, positions = 0;
    for (int n = rows; n > 0; n -= g->mixed ? 1 : g->unit) {
        batch_fit_window(b, n);
        if (n == rows || n * b->window > positions) {
            positions = n * b->window;
            most = n;
        }
    }
    for (int i = 0; i < (most < rows ? 2 : 1); i++) {
        int n = i ? most : rows;
        batch_fit_window(b, n);
        batch_record(b, n, g->mixed ? n : n / g->unit, g->by_choice);
    }
}

/* A count_work: all that the device holds at one time for n items, or for one whose picture is decoded by the smallest
 * tiles. */
static bool walk(void *context, run *r, int n, err *e)
{
    generation *g = context;
    codec *c = &g->m->codec;
    int rows = rows_of(g, n > 0 ? n : 1), pictures = g->mixed ? rows : rows / g->unit;
    static const sampling none[BATCH_MOST];
    batch b = {0};
    denoiser latents = {0};
    unclip_drawing drawing = {0};
    run *decoder = g->decoder ? run_new(run_device(r), e) : NULL;
    bool ok = decoder || !g->decoder;
    if (unclip_of(g->d))
        ok = ok && generation_walk_unclip(g, &drawing, r, rows, e);
    else if (g->d->latents)
        ok = ok && generation_walk_latents(g, &latents, r, rows, e);
    else
        ok = ok && batch_open(&b, g->d, r, rows, g->text, g->keys, g->draft, e);
    for (int i = 0; ok && i < rows && !g->d->latents; i++)
        b.row[i] = (batch_row){.used = true, .length = g->text};
    if (ok && g->d->kind->fill) {
        int32_t *text = calloc((size_t)g->text, sizeof *text);
        ok = text || err_no_memory(e, "text", (size_t)g->text * sizeof *text);
        for (int i = 0; i < rows; i++)
            b.row[i].text = text;
        if (ok) {
            masked_begin(&b);
            masked_fill(&b, &(masked_picture){.s = {.temperature = 1, .other = g->by_choice ? 1 : -1}, .steps = 2});
        }
        free(text);
    } else if (ok && !g->d->latents && batch_write(&b, none, pictures, e)) {
        batch_begin(&b, 0, pictures);
        walk_steps(g, &b, rows);
    }
    ok = ok && (!decoder || codec_walk_decode(c, decoder, n > 0 ? 1 : count_cut(codec_most_cuts(c)), e));
    if (b.rows)
        batch_release(&b);
    if (latents.rows)
        denoiser_release(&latents);
    if (drawing.rows)
        unclip_drawing_release(&drawing);
    run_free(decoder);
    return ok;
}

/* Plans for those that wait, and makes the room. */
static bool make_room(generation *g, err *e)
{
    char help[128];
    snprintf(help, sizeof help, "convert the model with `type` q8_0 or q4_0%s%s",
             g->keys == DTYPE_F32 && !g->d->latents ? ", give `kv_cache_f16`" : "",
             g->by_choice ? ", do without `guidance`" : "");
    const plan_job job = {
        .what = "generate",
        .uses = USE_TRANSFORMER | (g->decoder ? USE_DECODER : 0),
        .most = g->most,
        .cuts = g->decoder && codec_most_cuts(&g->m->codec) > 1 ? 2 : 1,
        .walk = walk,
        .context = g,
        .help = help,
    };
    if (!plan_make(&g->plan, g->m, g->r, &job, e))
        return false;
    g->planned = g->plan.n > 0 ? g->plan.n : 1;
    g->m->busy++;
    return true;
}

bool generation_open_batch(generation *g, err *e)
{
    choose_items(g);
    if (!g->planned && !make_room(g, e))
        return false;
    run_reset(g->r);
    if (unclip_of(g->d))
        return unclip_drawing_open(&g->drawing, unclip_of(g->d), g->r, g->most_rows, e);
    if (g->d->latents)
        return denoiser_open(&g->denoiser, diffusion_of(g->d), g->r, g->most_rows, e);
    return batch_open(&g->batch, g->d, g->r, rows_of(g, g->planned), g->text, g->keys, g->draft, e);
}

/* Seconds of a step that waits for no weights.  Its results are wrong, so this comes last. */
static double seconds_of_step(generation *g)
{
    run *r = g->r;
    double least = INFINITY;
    int32_t position[BATCH_MOST + 1] = {0};
    for (int i = 0; i < g->batch.rows; i++)
        position[i] = g->d->own_lengths ? g->batch.row[i].length : g->d->prefix;
    stream_hold(g->m->params.stream, true);
    for (int i = 0; i < 3; i++) { /* other programs only make it longer */
        run_write(r, g->batch.position, position);
        double begin = clock_seconds();
        batch_step(&g->batch);
        run_finish(r, NULL);
        least = fmin(least, clock_seconds() - begin);
    }
    stream_hold(g->m->params.stream, false);
    return least;
}

void generation_report(generation *g)
{
    if (g->draft > 1 && g->passes > 0)
        log_write(LOG_INFO, "generate: %.2f codes of a picture in each pass, where up to %d are drafted",
                  (double)g->chosen / (double)g->passes, g->draft);
    if (!g->plan.layers || g->steps == 0 || g->d->kind->fill ||
        g->d->latents) /* of a forward pass the copies are a small part */
        return;
    const char *what = g->draft > 1 ? "pass" : "code";
    double step = g->seconds / (double)g->steps, alone = fmin(seconds_of_step(g), step),
           mib = (double)g->plan.streamed / 0x1p20;
    log_write(LOG_WARNING,
              "generate: %.1f MiB of weights were copied to the device for each %s, as the limit is %.1f MiB: %.4f s a "
              "%s (%.2f GB/s), %.1f times the %.4f s that computing alone takes",
              mib, what, (double)g->m->dev->memory_limit / 0x1p20, step, what, (double)g->plan.streamed / step * 1e-9,
              step / alone, alone);
}

bool generation_close_batch(generation *g, bool more, err *e)
{
    if (!g->planned)
        return true;
    bool ok = run_finish(g->r, e); /* nothing may still read what goes now */
    if (g->batch.rows)
        batch_release(&g->batch);
    if (g->denoiser.rows)
        denoiser_release(&g->denoiser);
    if (g->drawing.rows)
        unclip_drawing_release(&g->drawing);
    g->changed = false;
    if (more)
        return ok;
    g->planned = 0;
    g->m->busy--;
    return run_reserve(g->r, NULL, ok ? e : NULL) && ok;
}
