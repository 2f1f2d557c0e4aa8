/* Plans of training runs: what they need of the device's memory, known before the first launch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/ranks.h"
#include "models/plan.h"
#include "train/train.h"

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

/* Where the memory of the stage's trainer is after a step. */
static void measure(train_memory *m, const train_stage *s)
{
    const trainer *t = s->t;
    for (size_t i = 0; i < t->params->n; i++) {
        const param *p = &t->params->list[i];
        const slot *k = &t->slots[i];
        m->weights += tensor_bytes(p->to) + (p->conv ? tensor_bytes(param_value(p)) : 0);
        m->gradients += tensor_bytes(&k->gradient);
        m->moments += tensor_bytes(&k->m) + tensor_bytes(&k->v);
        m->ema += tensor_bytes(&k->ema);
    }
}

/* The stage's second run, where it wants one, on r's device. */
static bool second_new(train_stage *s, run *r, err *e)
{
    return !s->second || (*s->second = run_new(run_device(r), e));
}

static void second_free(train_stage *s)
{
    if (s->second)
        run_free(*s->second);
    if (s->second)
        *s->second = NULL;
}

typedef struct walk {
    const train_run *q;
    train_stage *s;
} walk;

/* A count_work: the stage's largest steps, of n pictures at once. */
static bool steps(void *context, run *r, int n, err *e)
{
    const walk *w = context;
    const train_run *q = w->q;
    train_stage *s = w->s;
    dataset_batch b = {0};
    bool ok = batch_new(&b, s, n * (q->accumulate > 1 ? q->accumulate : 1), e) && second_new(s, r, e);
    ranks_rehearse(true);
    ok = ok && s->open(s->self, r, n, e);
    if (ok) { /* a vqgan's later steps do more */
        train_walk_step(q, s, &b, 0);
        train_walk_step(q, s, &b, q->settings.steps - 1);
        ok = run_finish(r, e) && (!s->besides || s->besides(s->self, e));
    }
    if (ok)
        measure(&s->memory, s);
    s->close(s->self);
    ranks_rehearse(false);
    batch_free(&b);
    if (s->second) {
        run_free(s->planned_second);
        s->planned_second = *s->second;
        *s->second = NULL;
    }
    return ok;
}

/* Fills s->memory and s->planned for steps of so many pictures at once. */
static bool plan_steps(const train_run *q, train_stage *s, device *d, int batch, err *e)
{
    train_memory *m = &s->memory;
    *m = (train_memory){0};
    bool ok = count_walk(&s->planned, d, steps, &(walk){q, s}, batch, e);
    m->before = d->memory_used;
    m->peak = m->before + s->planned.peak;
    m->activations = s->planned.scratch;
    m->others = s->planned.peak - m->weights - m->gradients - m->moments - m->ema - m->activations;
    return ok;
}

/* ---- what to do about it ---- */

static bool fits(const train_run *q, train_stage *s, device *d, int batch, err *e)
{
    return ranks_all(plan_steps(q, s, d, batch, e) && s->memory.peak <= d->memory_limit);
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

#define TRAIN_PARTS 8

/* s->memory for what is said of it.  names: room for two that depend on the stage and the batch. */
static void memory_parts(const train_stage *s, int batch, char names[2][96], plan_part parts[TRAIN_PARTS])
{
    const train_memory *m = &s->memory;
    snprintf(names[0], sizeof names[0], "%s of", s->others);
    snprintf(names[1], sizeof names[1], "activations of %d pictures at once of", batch);
    const plan_part list[TRAIN_PARTS] = {
        {"weights", "weights of", m->weights, NULL}, {"gradients", "gradients of", m->gradients, NULL},
        {"moments", "moments of", m->moments, NULL}, {"averages", "averages of", m->ema, NULL},
        {s->others, names[0], m->others, NULL},      {"activations", names[1], m->activations, NULL},
        {NULL, "other work's", m->before, NULL}};
    memcpy(parts, list, sizeof list);
}

static bool too_large(const train_run *q, train_stage *s, device *d, const char *what, err *e)
{
    const uint64_t peak = s->memory.peak;
    plan_part parts[TRAIN_PARTS];
    char names[2][96], advice[200];
    memory_parts(s, q->batch, names, parts);
    int batch = largest_batch(q, s, d);
    if (batch)
        snprintf(advice, sizeof advice, "`batch` %d fits%s", batch,
                 s->whole_batches ? "" : ", and `accumulate` makes steps of several");
    else
        snprintf(advice, sizeof advice, "one picture at a time needs %.1f MiB: give %s", (double)s->memory.peak / MIB,
                 s->help);
    return plan_too_large(d, what, s->recompute ? " with `recompute`" : "", peak, parts, advice, e);
}

bool train_plan(const train_run *q, train_stage *s, device *d, const char *what, err *e)
{
    err why = {0};
    s->what = what;
    bool room = fits(q, s, d, q->batch, &why);
    if (!room && s->recompute && !*s->recompute) {
        double kept = (double)s->memory.peak / MIB;
        why = (err){0};
        *s->recompute = true;
        room = fits(q, s, d, q->batch, &why);
        if (room)
            log_write(
                LOG_WARNING,
                "%s: each block is done again in the backward pass, as `recompute` says: to keep what they make would "
                "take %.1f MiB, and the limit is %.1f MiB",
                what, kept, (double)d->memory_limit / MIB);
    }
    if (why.code)
        return err_copy(e, &why);
    if (!room)
        return too_large(q, s, d, what, e);
    plan_part parts[TRAIN_PARTS];
    char names[2][96];
    memory_parts(s, q->batch, names, parts);
    plan_report(d, what, s->memory.peak, parts, "", q->batch);
    return true;
}

/* The driver refused memory: a plan within three quarters of the last one, of the stage, which is closed. */
static bool plan_less(const train_run *q, train_stage *s, run *r, const err *why, err *e)
{
    device *d = run_device(r);
    plan_lower_limit(d, s->what, s->memory.peak, why);
    s->close(s->self);
    second_free(s);
    return run_reserve(r, NULL, e) && train_plan(q, s, d, s->what, e);
}

bool train_open(const train_run *q, train_stage *s, run *r, err *e)
{
    err why = {0};
    while (!second_new(s, r, &why) || !s->open(s->self, r, q->batch, &why) || !run_reserve(r, s->planned.dry, &why) ||
           (s->second && !run_reserve(*s->second, s->planned_second, &why))) {
        if (why.cause != LIMN_CAUSE_DEVICE_MEMORY || ranks_size() > 1)
            return err_copy(e, &why);
        if (!plan_less(q, s, r, &why, e))
            return false;
        why = (err){0};
    }
    return true;
}

bool train_open_again(const train_run *q, train_stage *s, const err *why, err *e)
{
    run *r = s->t->r;
    return plan_less(q, s, r, why, e) && train_open(q, s, r, e);
}

void train_close(train_stage *s)
{
    s->close(s->self);
    second_free(s);
    run_free(s->planned_second);
    s->planned_second = NULL;
    count_release(&s->planned);
}
