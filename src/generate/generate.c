/* Text to codes: the prompt once, then one recorded step replayed for every code of a batch. */
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "device/stream.h"
#include "models/plan.h"
#include "models/session.h"

/* Sequences at once.  With more, op_linear's sums would depend on their number (ops/linear.c). */
#define MAX_ROWS 32

typedef struct generation {
    model *m;
    const transformer *d;
    const limn_generate_options *o;
    bool checking; /* nothing is drawn */
    bool guided;
    dtype keys; /* of the caches */
    int cells;
    int32_t *text;   /* [2, text_length]: the prompt's row, the row that guidance leads away from */
    int32_t *all;    /* [count, cells], the caller's; or those of the batch at work, [images, cells] */
    bool batch_only; /* the latter */
    run *r;          /* not the model's: a caller may decode a preview within `progress` */
    plan plan;
    int images;     /* at once */
    double seconds; /* of the codes after the first of each picture, without the caller's */
    double since;   /* what isn't in them yet */
    int steps;
} generation;

/* x[rows,1,dim] -> logits[rows / (1 + guided), codes] */
static tensor logits_of(run *r, const generation *g, tensor x)
{
    tensor logits = op_linear(r, x, g->d->image_head, ACT_NONE);
    logits = tensor_shaped(logits, 2, (int64_t[]){x.shape[0], g->d->codes});
    return g->guided ? op_guide(r, logits, g->o->guidance) : logits;
}

static void fill_ids(const generation *g, int32_t *ids, int images, int rows)
{
    int n = g->d->text_length;
    for (int i = 0; i < rows; i++)
        memcpy(ids + i * n, g->text + (i < images ? 0 : n), (size_t)n * sizeof *ids);
}

static bool start(const generation *g, session *s, int images, err *e)
{
    size_t n = (size_t)s->rows * (size_t)(g->d->text_length > g->cells ? g->d->text_length : g->cells);
    int32_t *host = calloc(n, sizeof *host), zero = 0;
    if (!host)
        return err_no_memory(e, "session", n * sizeof *host);
    run_write(s->r, s->codes, host);
    fill_ids(g, host, images, s->rows);
    run_write(s->r, s->ids, host);
    for (int i = 0; i < g->cells; i++)
        host[i] = g->o->keep && g->o->keep[i] ? g->o->kept_codes[i] : -1;
    run_write(s->r, s->forced, host);
    run_write(s->r, s->position, &zero);
    free(host);
    return true;
}

/* Reads the prompt into the caches of every row.  All pictures share it, so it is computed once for each kind of row
 * and copied: cheaper, and its sums don't depend on the batch.  Returns the logits of the first cell. */
static tensor prefill(const generation *g, session *s, int images)
{
    const transformer *d = g->d;
    run *r = s->r;
    for (int k = 0; k <= g->guided; k++) {
        tensor x = d->kind->forward(r, d, tensor_rows(s->ids, k * images, 1), tensor_rows(s->codes, 0, 1),
                                    session_row(s, k * images), s->position, d->prefix);
        op_repeat(r, tensor_rows(s->last, k, 1), op_slice(r, x, d->prefix - 1, 1));
        session_repeat_row(s, k * images, images - 1);
    }
    tensor one = logits_of(r, g, tensor_rows(s->last, 0, 1 + g->guided)), all = TENSOR(r, DTYPE_F32, images, d->codes);
    op_repeat(r, all, one);
    return all;
}

/* Where the codes of the batch go that begins with picture `first`. */
static int32_t *codes_of(const generation *g, int first)
{
    return g->all + (g->batch_only ? 0 : (size_t)first * (size_t)g->cells);
}

/* Cells from `done` on: the kept codes, and -1. */
static void mark_to_come(const generation *g, int first, int images, int done)
{
    const limn_generate_options *o = g->o;
    int32_t *codes = codes_of(g, first);
    for (int i = 0; i < images; i++)
        for (int c = done; c < g->cells; c++)
            codes[(size_t)i * (size_t)g->cells + (size_t)c] = o->keep && o->keep[c] ? o->kept_codes[c] : -1;
}

/* Hands the first `done` codes of each picture to the caller; false where they want no more. */
static bool report(const generation *g, int first, int images, int done, err *e)
{
    const limn_generate_options *o = g->o;
    if (!o->progress)
        return true;
    if (o->preview)
        mark_to_come(g, first, images, done);
    if (o->progress(o->context, first * g->cells + done * images, o->count * g->cells, o->preview ? g->all : NULL))
        return true;
    return err_set(e, ERR_FAILED, "generate: interrupted");
}

/* Starts the next step, whose codes are the first of a line, and reports the line before: the device is busy meanwhile.
 */
static bool report_line(generation *g, session *s, int first, int images, int done, err *e)
{
    run *r = s->r;
    run_mark line = {0};
    if (g->o->preview)
        run_read_later(r, tensor_rows(s->codes, 0, images), codes_of(g, first));
    run_mark_set(r, &line);
    run_replay(r);
    run_mark_wait(r, &line);
    g->seconds += clock_seconds() - g->since;
    bool ok = !run_failed(r) && report(g, first, images, done, e);
    g->since = clock_seconds();
    return ok;
}

/* The first code of each picture, then the recorded step that chooses the next. */
static bool prepare(const generation *g, session *s, int first, int images, err *e)
{
    const transformer *d = g->d;
    run *r = s->r;
    sampling choose = {.temperature = g->o->temperature,
                       .top_k = g->o->top_k,
                       .top_p = g->o->top_p,
                       .seed = g->o->seed,
                       .stream = (uint32_t)(g->o->first + first)};
    if (!start(g, s, images, e))
        return false;
    tensor logits = prefill(g, s, images);
    op_advance(r, s->position, d->prefix - 1);
    op_sample(r, logits, s->codes, s->forced, s->position, d->prefix, &choose);
    op_advance(r, s->position, 1);
    run_reset(r); /* the queue is in order, so the step may have the memory of what is done before it */
    run_record(r);
    tensor x = d->kind->forward(r, d, (tensor){0}, s->codes, &s->memory, s->position, 1);
    op_sample(r, logits_of(r, g, x), s->codes, s->forced, s->position, d->prefix, &choose);
    op_advance(r, s->position, 1);
    return true;
}

/* Seconds of a step that waits for no weights.  Its results are wrong, so this comes last. */
static double seconds_of_step(const generation *g, session *s)
{
    run *r = s->r;
    double least = INFINITY;
    stream_hold(g->m->params.stream, true);
    for (int i = 0; i < 3; i++) { /* other programs only make it longer */
        run_write(r, s->position, &(int32_t){s->d->prefix});
        double begin = clock_seconds();
        run_replay(r);
        run_finish(r, NULL);
        least = fmin(least, clock_seconds() - begin);
    }
    stream_hold(g->m->params.stream, false);
    return least;
}

/* `images` pictures from picture `first` on. */
static bool batch(generation *g, session *s, int first, int images, err *e)
{
    run *r = s->r;
    bool ok = prepare(g, s, first, images, e) && run_finish(r, e);
    g->since = clock_seconds();
    /* a step after a failure would read what was never written */
    for (int i = 1; ok && i < g->cells && !run_failed(r); i++)
        if (i % g->d->grid_width == 0)
            ok = report_line(g, s, first, images, i, e);
        else
            run_replay(r);
    run_read(r, tensor_rows(s->codes, 0, images), codes_of(g, first));
    ok = run_finish(r, e) && ok;
    g->seconds += clock_seconds() - g->since;
    g->steps += g->cells - 1;
    return ok && report(g, first, images, g->cells, e);
}

/* Says what streaming cost, as measured. */
static void report_streaming(const generation *g, session *s)
{
    if (!g->plan.layers || g->steps == 0)
        return;
    double step = g->seconds / g->steps, alone = fmin(seconds_of_step(g, s), step),
           mib = (double)g->plan.streamed / 0x1p20;
    log_write(
        LOG_WARNING,
        "generate: %.1f MiB of weights were copied to the device for each code, as the limit is %.1f MiB: %.4f s a "
        "code (%.2f GB/s), %.1f times the %.4f s that computing alone takes",
        mib, (double)g->m->dev->memory_limit / 0x1p20, step, (double)g->plan.streamed / step * 1e-9, step / alone,
        alone);
}

static bool check(const generation *g, err *e)
{
    const limn_generate_options *o = g->o;
    if (!(o->temperature >= 0 && isfinite(o->temperature)) || !(o->guidance >= 0 && isfinite(o->guidance)) ||
        o->top_k < 0)
        return err_set(e, ERR_USAGE, "generate: temperature, top-k and guidance must be finite and not negative");
    if (!(o->top_p >= 0 && o->top_p <= 1))
        return err_set(e, ERR_USAGE, "generate: top-p: %g is outside 0 to 1", o->top_p);
    if (o->count < 0 || o->count > INT_MAX / g->cells)
        return err_set(e, ERR_USAGE, "generate: count: %d is outside 0 to %d", o->count, INT_MAX / g->cells);
    if (o->first < 0 || o->first > INT_MAX - (o->count ? o->count : 1))
        return err_set(e, ERR_USAGE, "generate: first: %d is outside 0 to %d", o->first, INT_MAX - o->count);
    if (!o->prompt && !o->text_ids && o->n_text_ids)
        return err_set(e, ERR_USAGE, "generate: neither a prompt nor text ids");
    if (!o->keep != !o->kept_codes)
        return err_set(e, ERR_USAGE, "generate: keep and kept_codes go together");
    for (int i = 0; o->keep && i < g->cells; i++)
        if (o->keep[i] && (o->kept_codes[i] < 0 || o->kept_codes[i] >= g->d->codes))
            return err_set(e, ERR_USAGE, "generate: kept code %d of cell %d is outside of the codebook of %d",
                           o->kept_codes[i], i, g->d->codes);
    return true;
}

/* limn_tokenize.  What is only checked is not warned of: that is for when it is drawn. */
static bool tokenize(const generation *g, const char *text, int32_t **ids, size_t *n, err *e)
{
    return (g->checking ? model_tokenize : limn_tokenize)(g->m, text, ids, n, e);
}

/* The row that guidance leads away from; the prompt's begins with `used` ids. */
static bool read_negative(const generation *g, size_t used, err *e)
{
    const transformer_kind *kind = g->d->kind;
    int32_t *row = g->text + g->d->text_length, *ids = NULL;
    size_t n = 0;
    if (!g->o->negative && kind->null_row) {
        kind->null_row(g->d, g->text, used, row);
        return true;
    }
    bool ok =
        (!g->o->negative || tokenize(g, g->o->negative, &ids, &n, e)) && kind->text_row(g->d, ids, n, row, &used, e);
    free(ids);
    return ok;
}

/* The rows of text from the prompt, or from ids. */
static bool read_text(generation *g, err *e)
{
    const limn_generate_options *o = g->o;
    int32_t *own = NULL;
    size_t n = o->n_text_ids, used;
    if (o->prompt && !tokenize(g, o->prompt, &own, &n, e))
        return false;
    bool ok = g->d->kind->text_row(g->d, o->prompt ? own : o->text_ids, n, g->text, &used, e) &&
              (!g->guided || read_negative(g, used, e));
    free(own);
    return ok;
}

static bool previews(const generation *g)
{
    return g->o->preview && g->m->codec.kind;
}

/* For plans: all that the device holds at one time for n pictures.  In parts: one, its preview by small tiles. */
static bool walk(void *context, run *r, int n, err *e)
{
    const generation *g = context;
    codec *c = &g->m->codec;
    session s = {0};
    int images = n > 0 ? n : 1;
    run *preview = previews(g) ? run_new(run_device(r), e) : NULL;
    bool ok = session_open(&s, g->d, r, images * (1 + g->guided), g->keys, e) && prepare(g, &s, 0, images, e);
    if (ok && preview)
        ok = codec_walk_decode(c, preview, n > 0 ? 1 : 1 - codec_tilings(c), e);
    run_free(preview);
    session_release(&s);
    return ok;
}

/* For as many of `left` pictures as fit. */
static bool make_room(generation *g, int left, err *e)
{
    int most = MAX_ROWS / (1 + g->guided);
    char help[128];
    snprintf(help, sizeof help, "convert the model with --type q8_0 or q4_0%s%s",
             g->keys == DTYPE_F32 ? ", give --kv-cache f16" : "", g->guided ? ", do without --guidance" : "");
    const plan_job job = {
        .what = "generate",
        .uses = USE_TRANSFORMER | (previews(g) ? USE_DECODER : 0),
        .most = left < most ? left : most,
        .parts = previews(g) && codec_tilings(&g->m->codec) > 0,
        .walk = walk,
        .context = g,
        .help = help,
    };
    bool ok = plan_make(&g->plan, g->m, g->r, &job, e);
    g->images = g->plan.n > 0 ? g->plan.n : 1;
    return ok;
}

/* A place for the codes at work, where the caller wants them by `ready` alone. */
static bool own_codes(generation *g, err *e)
{
    size_t bytes = (size_t)(MAX_ROWS / (1 + g->guided)) * (size_t)g->cells * sizeof *g->all;
    if (g->all)
        return true;
    if (!g->o->ready || g->o->preview)
        return err_set(e, ERR_USAGE, "generate: no place for the codes");
    g->batch_only = true;
    g->all = malloc(bytes);
    return g->all || err_no_memory(e, "codes", bytes);
}

/* Hands a batch to the caller, who may have all that generation doesn't need between two batches. */
static bool hand_over(generation *g, int first, int images, err *e)
{
    const limn_generate_options *o = g->o;
    if (!o->ready)
        return true;
    g->images = 0; /* what was planned holds no more */
    return run_reserve(g->r, NULL, e) &&
           (o->ready(o->context, first, images, codes_of(g, first)) || err_set(e, ERR_FAILED, "generate: interrupted"));
}

/* As many of the pictures from `first` on as fit; *done of them. */
static bool next_batch(generation *g, int first, int *done, err *e)
{
    session s = {0};
    int left = g->o->count - first;
    unsigned busy = g->m->busy;
    if (g->images == 0 && !make_room(g, left, e))
        return false;
    *done = left < g->images ? left : g->images;
    run_reset(g->r);
    g->m->busy |= USE_TRANSFORMER;
    bool ok = session_open(&s, g->d, g->r, *done * (1 + g->guided), g->keys, e) && batch(g, &s, first, *done, e);
    if (ok && *done == left)
        report_streaming(g, &s);
    session_release(&s);
    g->m->busy = busy;
    return ok;
}

/* The same, where the driver refuses memory again with less. */
static bool next_batch_that_fits(generation *g, int first, int *done, err *e)
{
    err why = {0};
    while (!next_batch(g, first, done, &why)) {
        if (!plan_smaller(g->m, "generate", &why))
            return err_copy(e, &why);
        g->images = 0; /* planned anew */
    }
    return true;
}

/* All that needs no device. */
static bool begin(generation *g, limn_model *m, const limn_generate_options *o, bool checking, err *e)
{
    *g = (generation){.m = m, .o = o, .checking = checking};
    if (!model_needs_transformer(m, e))
        return false;
    g->d = m->transformer;
    g->keys = o->kv_cache_f16 ? DTYPE_F16 : DTYPE_F32;
    g->cells = g->d->grid_width * g->d->grid_height;
    g->guided = o->guidance != 0 && o->guidance != 1;
    g->text = calloc(2 * (size_t)g->d->text_length, sizeof *g->text);
    return g->text ? check(g, e) && read_text(g, e) : err_no_memory(e, "prompt", 8 * (size_t)g->d->text_length);
}

bool limn_generate_check(limn_model *m, const limn_generate_options *o, limn_error *e)
{
    generation g;
    bool ok = begin(&g, m, o, true, e);
    free(g.text);
    return ok;
}

bool limn_generate(limn_model *m, const limn_generate_options *options, int32_t *codes, limn_error *e)
{
    limn_generate_options o = *options;
    generation g;
    bool ok = begin(&g, m, &o, false, e);
    g.all = codes;
    ok = ok && own_codes(&g, e);
    if (o.count == 0)
        o.count = 1;
    if (ok && !g.batch_only) /* a preview has the pictures that are not begun */
        mark_to_come(&g, 0, o.count, 0);
    ok = ok && (g.r = run_new(m->dev, e));
    for (int first = 0, done = 0; ok && first < o.count; first += done)
        ok = next_batch_that_fits(&g, first, &done, e) && hand_over(&g, first, done, e);
    run_free(g.r);
    if (g.batch_only)
        free(g.all);
    free(g.text);
    return ok;
}
