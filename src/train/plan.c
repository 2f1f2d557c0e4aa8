/* Plans of training runs: what they need of the device's memory, known before the first launch. */
#include <stdlib.h>

#include "base/log.h"
#include "base/ranks.h"
#include "train/train.h"

#define MIB 0x1p20

/* ---- walking: the stage on a device that only counts ---- */

/* A step's items: black pictures without words.  What a step needs doesn't depend on them. */
static bool batch_new(dataset_batch *b, const train_stage *s, int n, err *e)
{
    size_t pixels = (size_t)n * (size_t)s->width * (size_t)s->height * 3;
    *b = (dataset_batch){.n = n, .width = s->width, .height = s->height};
    b->pixels = calloc(pixels + 1, 1);
    b->captions = calloc((size_t)n, sizeof *b->captions);
    b->items = calloc((size_t)n, sizeof *b->items);
    static char nothing[] = "";
    for (int i = 0; b->captions && i < n; i++)
        b->captions[i] = nothing;
    return (b->pixels && b->captions && b->items) || err_no_memory(e, "batch", pixels);
}

static void batch_free(dataset_batch *b)
{
    free(b->pixels);
    free(b->captions);
    free(b->items);
}

/* Where the memory is after a step; m->peak is filled. */
static void measure(train_memory *m, const train_stage *s, uint64_t others)
{
    const trainer *t = s->t;
    for (size_t i = 0; i < t->params->n; i++) {
        const param *p = &t->params->list[i];
        const slot *k = &t->slots[i];
        m->weights += tensor_bytes(p->to) + (p->conv ? tensor_bytes(param_value(p)) : 0);
        m->gradients += tensor_bytes(&k->gradient);
        m->moments += tensor_bytes(&k->m) + tensor_bytes(&k->v);
        m->averages += tensor_bytes(&k->average);
    }
    m->activations = run_memory(s->planned);
    m->before = others;
    m->others = m->peak - others - m->weights - m->gradients - m->moments - m->averages - m->activations;
}

/* Fills s->memory and s->planned for steps of so many pictures at once. */
static bool walk(const train_run *q, train_stage *s, device *d, int batch, err *e)
{
    uint64_t used = d->memory_used, peak = d->memory_peak;
    dataset_batch b = {0};
    run_free(s->planned);
    s->memory = (train_memory){0};
    s->planned = run_new(d, e);
    bool ok = s->planned && batch_new(&b, s, batch * (q->accumulate > 1 ? q->accumulate : 1), e);
    d->planning = true;
    d->memory_peak = used;
    ranks_rehearse(true);
    ok = ok && s->open(s->self, s->planned, batch, e);
    if (ok) { /* a vqgan's later steps do more */
        train_walk_step(q, s, &b, 0);
        train_walk_step(q, s, &b, q->settings.steps - 1);
        ok = run_finish(s->planned, e) && (!s->besides || s->besides(s->self, e));
    }
    s->memory.peak = d->memory_peak;
    if (ok)
        measure(&s->memory, s, used);
    s->close(s->self);
    ranks_rehearse(false);
    d->planning = false;
    d->memory_used = used;
    d->memory_peak = peak;
    batch_free(&b);
    return ok;
}

/* ---- what to do about it ---- */

static bool fits(const train_run *q, train_stage *s, device *d, int batch, err *e)
{
    return ranks_all(walk(q, s, d, batch, e) && s->memory.peak <= d->memory_limit);
}

/* The most pictures at once, fewer than the run's, for which there is room; 0: not even one. */
static int largest_batch(const train_run *q, train_stage *s, device *d)
{
    int low = 0, high = q->batch;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (fits(q, s, d, middle, NULL))
            low = middle;
        else
            high = middle;
    }
    return low;
}

static bool too_large(const train_run *q, train_stage *s, device *d, const char *what, err *e)
{
    const train_memory m = s->memory;
    const char *again = s->recompute ? " with --recompute" : "";
    int batch = largest_batch(q, s, d);
    char advice[200], limit[400];
    plan_limit_advice(d, limit);
    if (batch)
        snprintf(advice, sizeof advice, "--batch %d fits%s", batch,
                 s->whole_batches ? "" : ", and --accumulate makes steps of several");
    else
        snprintf(advice, sizeof advice, "one picture at a time needs %.1f MiB: give %s", (double)s->memory.peak / MIB,
                 s->help);
    return err_set(
        e, ERR_FAILED,
        "%s%s: %.1f MiB would exceed the limit of %.1f MiB on %s: weights of %.1f MiB, gradients of %.1f MiB, moments "
        "of %.1f MiB, averages of %.1f MiB, %s of %.1f MiB, activations of %d pictures at once of %.1f MiB, other "
        "work's %.1f MiB (%s%s)",
        what, again, (double)m.peak / MIB, (double)d->memory_limit / MIB, d->info.name, (double)m.weights / MIB,
        (double)m.gradients / MIB, (double)m.moments / MIB, (double)m.averages / MIB, s->others, (double)m.others / MIB,
        q->batch, (double)m.activations / MIB, (double)m.before / MIB, advice, limit);
}

bool train_plan(const train_run *q, train_stage *s, device *d, const char *what, err *e)
{
    err why = {0};
    bool room = fits(q, s, d, q->batch, &why);
    if (!room && s->recompute && !*s->recompute) {
        double kept = (double)s->memory.peak / MIB;
        why = (err){0};
        *s->recompute = true;
        room = fits(q, s, d, q->batch, &why);
        if (room)
            log_write(LOG_WARNING,
                      "%s: each block is done again on the way back, as --recompute says: to keep what they make would "
                      "take %.1f MiB, and the limit is %.1f MiB",
                      what, kept, (double)d->memory_limit / MIB);
    }
    if (why.code)
        return err_copy(e, &why);
    if (!room)
        return too_large(q, s, d, what, e);
    const train_memory *m = &s->memory;
    log_write(LOG_INFO,
              "%s: plan: %.1f MiB of %.1f MiB: weights %.1f, gradients %.1f, moments %.1f, averages %.1f, %s %.1f, "
              "activations %.1f; %d at once",
              what, (double)m->peak / MIB, (double)d->memory_limit / MIB, (double)m->weights / MIB,
              (double)m->gradients / MIB, (double)m->moments / MIB, (double)m->averages / MIB, s->others,
              (double)m->others / MIB, (double)m->activations / MIB, q->batch);
    return true;
}

bool train_open(const train_run *q, train_stage *s, run *r, const char *what, err *e)
{
    device *d = run_device(r);
    err why = {0};
    while (!s->open(s->self, r, q->batch, &why) || !run_reserve(r, s->planned, &why)) {
        if (why.cause != LIMN_CAUSE_DEVICE_MEMORY || ranks_size() > 1)
            return err_copy(e, &why);
        plan_lower_limit(d, what, s->memory.peak, &why);
        why = (err){0};
        s->close(s->self);
        if (!run_reserve(r, NULL, e) || !train_plan(q, s, d, what, e))
            return false;
    }
    return true;
}

void train_close(train_stage *s)
{
    s->close(s->self);
    run_free(s->planned);
    s->planned = NULL;
}
