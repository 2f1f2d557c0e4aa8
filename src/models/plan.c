/* Plans of memory: counting, choosing, and making room. */
#include "models/plan.h"

#include <stdio.h>

#include "base/log.h"
#include "device/stream.h"
#include "models/rest.h"

/* After so many a device has 18% of what was planned, or the work itself makes it fail again and again. */
#define MOST_REFUSALS 6

typedef struct planner {
    model *m;
    const plan_job *job;
    counted walked; /* the last walk */
    uint64_t room;  /* for weights and work */
    uint64_t most;  /* the same if all other models that can rest did, */
    bool resting;   /* and whether they may */
} planner;

static bool fits(const planner *k, const plan *p)
{
    uint64_t beside = p->scratch + p->lasting, passing = params_passing(&k->m->params, k->job->uses);
    uint64_t room = k->resting ? k->most : k->room;
    return p->weights <= room && (beside > passing ? beside : passing) <= room - p->weights;
}

/* Tries the job's most items, then fewer, down to `least`, with weights of that size, until it fits.  e is filled if
 * even the least fails for another reason than memory. */
static bool try(planner *k, plan *p, int least, uint64_t weights, err *e)
{
    const plan_job *job = k->job;
    for (int n = job->most; n >= least; n--) {
        err why = {0};
        counted *c = &k->walked;
        bool ok = count_walk(c, k->m->dev, job->walk, job->context, n, n > least ? &why : e);
        p->n = n;
        p->weights = weights;
        p->scratch = c->scratch;
        p->lasting = c->peak - c->scratch;
        if (ok && fits(k, p))
            return true;
    }
    return false;
}

/* Streams as few layers as possible. */
static void stream_fewer(planner *k, plan *p)
{
    for (int n = p->layers - 1; n > 2; n--) {
        plan less = *p;
        less.layers = n;
        less.weights = params_bytes(&k->m->params, k->job->uses, n);
        if (!fits(k, &less))
            return;
        *p = less;
    }
}

/* Chooses what fits.  False if nothing does: then p is what the last choice needs. */
static bool choose(planner *k, plan *p, err *e)
{
    param_table *t = &k->m->params;
    int all = params_layers(t, k->job->uses), most = k->job->most,
        least = count_cut(k->job->cuts > 1 ? k->job->cuts : 1);
    bool busy = model_at_work(k->m);
    uint64_t beside = params_loaded(t) + params_missing(t, k->job->uses);
    /* first with all weights staying that are there, unless some are streamed, which may fit now */
    p->beside = busy || !(t->stream && k->job->uses & USE_TRANSFORMER);
    if (p->beside && try(k, p, busy && k->most == k->room ? least : most, beside, e))
        return true;
    k->resting = k->most > k->room;
    if (p->beside && k->resting && try(k, p, busy ? least : most, beside, e))
        return true;
    if (busy)
        return false;
    p->beside = false;
    if (try(k, p, least, params_bytes(t, k->job->uses, 0), e))
        return true;
    if (all < 3) /* two fill the places that they would be streamed to */
        return false;
    p->layers = all;
    bool found = try(k, p, least, params_bytes(t, k->job->uses, all), e);
    if (found)
        stream_fewer(k, p);
    return found;
}

void plan_lower_limit(device *d, const char *what, uint64_t planned, const err *e)
{
    d->memory_refusals++;
    d->memory_refused = planned;
    snprintf(d->memory_why, sizeof d->memory_why, "%.239s", e->text);
    d->memory_limit = planned - planned / 4;
    log_write(LOG_WARNING, "%s: %s has no room for the %.1f MiB that it should have: again, within %.1f MiB (%s)", what,
              d->info.name, (double)planned / MIB, (double)d->memory_limit / MIB, e->text);
}

/* The largest that a list of parts is as text. */
#define PARTS_TEXT 1024

/* "weights of 4.0 MiB, …", or in a report "weights 4.0, …" */
static void parts_text(char out[PARTS_TEXT], const plan_part *parts, bool report)
{
    size_t n = 0;
    out[0] = 0;
    for (const plan_part *p = parts; p->within && n < PARTS_TEXT; p++) {
        const char *comma = n ? ", " : "";
        if (!report)
            n += (size_t)snprintf(out + n, PARTS_TEXT - n, "%s%s %.1f MiB%s", comma, p->within, (double)p->bytes / MIB,
                                  p->further ? p->further : "");
        else if (p->name)
            n += (size_t)snprintf(out + n, PARTS_TEXT - n, "%s%s %.1f", comma, p->name, (double)p->bytes / MIB);
    }
}

bool plan_too_large(const device *d, const char *what, const char *how, uint64_t bytes, const plan_part *parts,
                    const char *advice, err *e)
{
    char list[PARTS_TEXT], limit[400] = ", or raise `memory_limit`";
    parts_text(list, parts, false);
    if (d->memory_refused) /* then that is no help */
        snprintf(limit, sizeof limit, "; the driver had no room for %.1f MiB: close other programs; it said: %s",
                 (double)d->memory_refused / MIB, d->memory_why);
    return err_set_cause(e, ERR_FAILED, LIMN_CAUSE_MEMORY_LIMIT,
                         "%s%s: %.1f MiB would exceed the limit of %.1f MiB on %s: %s (%s%s)", what, how,
                         (double)bytes / MIB, (double)d->memory_limit / MIB, d->info.name, list, advice, limit);
}

void plan_report(const device *d, const char *what, uint64_t bytes, const plan_part *parts, const char *how, int n)
{
    char list[PARTS_TEXT];
    parts_text(list, parts, true);
    log_write(LOG_INFO, "%s: plan: %.1f MiB of %.1f MiB: %s; %s%d at once", what, (double)bytes / MIB,
              (double)d->memory_limit / MIB, list, how, n);
}

/* Reports the plan, or fills e if it didn't fit. */
static bool conclude(const planner *k, const plan *p, bool ok, err *e)
{
    const device *d = k->m->dev;
    const plan_job *job = k->job;
    int layers = params_layers(&k->m->params, job->uses);
    const plan_part parts[] = {{"weights", "weights of", p->weights, layers > 2 ? " with all layers streamed" : NULL},
                               {"caches and the like", "caches and the like of", p->lasting, NULL},
                               {"scratch", "scratch of", p->scratch, NULL},
                               {"other models", "other models of", p->others, p->others ? " at work" : NULL},
                               {0}};
    if (!ok)
        return plan_too_large(d, job->what, job->cuts > 1 ? ", in the smallest parts" : "",
                              p->weights + p->lasting + p->scratch + p->others, parts, job->help, e);
    plan_report(d, job->what, k->m->planned, parts, p->n > 0 ? "" : "parts of ", p->n > 0 ? p->n : 1);
    if (p->layers)
        log_write(LOG_INFO, "%s: plan: %d of %d layers, %.1f MiB, stay in the file and are copied when they are wanted",
                  job->what, p->layers, layers, (double)p->streamed / MIB);
    return true;
}

/* What is in use by others than the model. */
static uint64_t others(const model *m)
{
    return m->dev->memory_used - params_loaded(&m->params) - run_memory(m->run);
}

static uint64_t room_beside(const device *d, uint64_t bytes)
{
    return d->memory_limit > bytes ? d->memory_limit - bytes : 0;
}

static void find_room(planner *k, plan *p)
{
    const device *d = k->m->dev;
    p->others = others(k->m);
    k->room = room_beside(d, p->others);
    k->most = room_beside(d, p->others - model_idle(k->m));
}

/* Other models rest, no more of them than must. */
static bool rest_others(planner *k, plan *p, err *e)
{
    k->resting = false;
    while (!fits(k, p) && model_idle(k->m) > 0) {
        if (!model_rest_oldest(k->m, e))
            return false;
        find_room(k, p);
    }
    return true;
}

/* Brings the weights for k->job->uses to the device, as planned. */
static bool bring(const planner *k, plan *p, err *e)
{
    model *m = k->m;
    param_table *t = &m->params;
    bool same = p->layers && t->stream && params_bytes(t, k->job->uses, p->layers) == params_loaded(t);
    bool ok = p->beside || same || params_unload(t, m->run, p->layers || t->stream ? 0 : k->job->uses, e);
    ok = ok && params_load(t, m->run, k->job->uses, p->layers, e);
    p->streamed = p->layers ? params_streamed(t) : 0;
    return ok;
}

bool plan_smaller(model *m, const char *what, err *e)
{
    device *d = m->dev;
    uint64_t planned = m->planned < d->memory_limit ? m->planned : d->memory_limit;
    if (e->cause != LIMN_CAUSE_DEVICE_MEMORY || !planned || d->memory_refusals >= MOST_REFUSALS)
        return false;
    if (!device_finish(d, NULL)) /* it has nothing to do: so the device is gone, and not its memory */
        return false;
    stream_forget(m->params.stream);
    plan_lower_limit(d, what, planned, e);
    *e = (err){0};
    return true;
}

bool plan_make(plan *p, model *m, run *r, const plan_job *job, err *e)
{
    device *d = m->dev;
    param_table *t = &m->params;
    planner k = {.m = m, .job = job};
    *p = (plan){0};
    find_room(&k, p);
    m->used = ++d->plans;
    bool ok = choose(&k, p, e);
    if (!ok)
        p->others -= model_idle(m); /* which doesn't help */
    ok = (ok || conclude(&k, p, false, e)) && rest_others(&k, p, e);
    m->planned = ok ? p->weights + p->lasting + p->scratch + p->others : 0;
    /* scratch that is there may be in the way of the weights */
    bool settled = p->beside && params_missing(t, job->uses) == 0 && r == m->run;
    ok = ok && (settled || run_reserve(m->run, NULL, e)) && bring(&k, p, e) && run_reserve(r, k.walked.dry, e);
    ok = ok && conclude(&k, p, true, e);
    count_release(&k.walked);
    return ok;
}
