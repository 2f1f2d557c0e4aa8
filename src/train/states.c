/* What a diffusion model's text tower makes of captions. */
#include "train/states.h"

#include <stdlib.h>
#include <string.h>

#include "models/plan.h"
#include "models/rest.h"
#include "models/transformers/diffusion.h"

#define BATCH 16

/* ---- the captions ----------------------------------------------------------------------------------------------- */

typedef struct listing {
    train_states *s;
    size_t room;
    bool full; /* there is no memory */
} listing;

static bool add(listing *l, const char *caption)
{
    train_states *s = l->s;
    if ((size_t)s->n == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        char **grown = realloc(s->captions, room * sizeof *grown);
        if (!grown)
            return false;
        s->captions = grown;
        l->room = room;
    }
    char *copy = strdup(caption);
    if (copy)
        s->captions[s->n++] = copy;
    return copy != NULL;
}

static bool on_caption(void *context, int64_t item, const char *caption)
{
    listing *l = context;
    (void)item;
    l->full = !add(l, caption);
    return !l->full;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool list_captions(train_states *s, dataset *data, err *e)
{
    listing l = {.s = s};
    l.full = !add(&l, "");
    if (l.full || !dataset_captions(data, on_caption, &l))
        return l.full ? err_no_memory(e, "captions", (l.room + 64) * sizeof *s->captions)
                      : err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED,
                                      "interrupted while the captions were read: nothing was written");
    qsort(s->captions, (size_t)s->n, sizeof *s->captions, by_text);
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (n && !strcmp(s->captions[n - 1], s->captions[i]))
            free(s->captions[i]);
        else
            s->captions[n++] = s->captions[i];
    s->n = n;
    return true;
}

/* ---- the tower -------------------------------------------------------------------------------------------------- */

static tensor states_of(run *r, const diffusion *d, const int32_t *rows, int n)
{
    return clip_text_context(r, &d->text, run_upload(r, DTYPE_I32, 2, (int64_t[]){n, d->base.text_length}, rows));
}

/* A count_work. */
static bool walk(void *context, run *r, int n, err *e)
{
    const diffusion *d = context;
    int32_t *rows = calloc((size_t)n * (size_t)d->base.text_length, sizeof *rows);
    if (!rows)
        return err_no_memory(e, "captions", (size_t)n * (size_t)d->base.text_length * sizeof *rows);
    states_of(r, d, rows, n);
    free(rows);
    return true;
}

static bool fill_row(const model *m, const char *caption, int32_t *row, err *e)
{
    int32_t *ids = NULL;
    size_t n = 0, used;
    bool ok = model_tokenize(m, caption, &ids, &n, e);
    if (ok && n > (size_t)m->transformer->text_room) /* the caller has told of it */
        n = (size_t)m->transformer->text_room;
    ok = ok && m->transformer->kind->text_row(m->transformer, ids, n, row, &used, e);
    free(ids);
    return ok;
}

/* The n captions from `first` on, at once. */
static bool read_some(train_states *s, model *m, int64_t first, int n, int32_t *rows, err *e)
{
    const int length = m->transformer->text_length;
    for (int i = 0; i < n; i++)
        if (!fill_row(m, s->captions[first + i], rows + i * length, e))
            return false;
    run_reset(m->run);
    run_read(m->run, states_of(m->run, diffusion_of(m->transformer), rows, n), s->states + (size_t)first * s->each);
    return run_finish(m->run, e);
}

static bool read_all(train_states *s, model *m, dataset *data, int32_t *rows, err *e)
{
    const plan_job job = {.what = "states of the captions",
                          .uses = USE_TEXT,
                          .most = s->n < BATCH ? (int)s->n : BATCH,
                          .walk = walk,
                          .context = m->transformer,
                          .help = "take another device: `device`"};
    plan p = {0};
    int64_t at = 0;
    while (at < s->n) {
        err why = {0};
        const int64_t left = s->n - at;
        if (!dataset_goes_on(data, e))
            return false;
        if ((p.n || plan_make(&p, m, m->run, &job, &why)) &&
            read_some(s, m, at, (int)(left < p.n ? left : p.n), rows, &why))
            at += left < p.n ? left : p.n;
        else if (plan_smaller(m, job.what, &why))
            p.n = 0;
        else
            return err_copy(e, &why);
    }
    return model_rest(m, e);
}

bool train_states_open(train_states *s, model *m, dataset *data, err *e)
{
    const diffusion *d = diffusion_of(m->transformer);
    *s = (train_states){.each = (size_t)d->base.text_length * (size_t)d->text.text.width};
    if (!list_captions(s, data, e))
        return false;
    const size_t bytes = (size_t)s->n * s->each * sizeof *s->states;
    s->states = malloc(bytes);
    int32_t *rows = malloc(BATCH * (size_t)d->base.text_length * sizeof *rows);
    bool ok = (s->states && rows) || err_no_memory(e, "captions", bytes);
    ok = ok && read_all(s, m, data, rows, e);
    free(rows);
    return ok;
}

void train_states_release(train_states *s)
{
    for (int64_t i = 0; i < s->n; i++)
        free(s->captions[i]);
    free(s->captions);
    free(s->states);
    *s = (train_states){0};
}

const float *train_states_of(const train_states *s, const char *caption)
{
    char **found = bsearch(&caption, s->captions, (size_t)s->n, sizeof *s->captions, by_text);
    return s->states + (size_t)(found ? found - s->captions : 0) * s->each;
}
