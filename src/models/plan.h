/* Plans: what a command needs of the device's memory, known before its first launch, and how it keeps the limit.
 *
 * Nothing is computed twice: the command's own work is walked on a device that is planning, where buffers are counted
 * and launches do nothing.  Then, in this order, until it fits: what the model has on the device for other commands
 * goes; the work is done for fewer items at once; layers of the transformer are streamed (device/stream.h), no more of
 * them than must be. */
#ifndef MODELS_PLAN_H
#define MODELS_PLAN_H
#include "models/model.h"

/* The largest part of the command, for n items at once: it allocates all that the command has at one time.  What it
 * reads back is undefined. */
typedef bool plan_work(void *context, run *r, int n, err *e);

/* Bytes of device memory. */
typedef struct plan {
    int items;         /* at once */
    uint64_t weights;  /* with the two places that layers are streamed to */
    uint64_t lasting;  /* what the work allocates beside its run: caches */
    uint64_t scratch;  /* of its run */
    uint64_t others;   /* of other models and runs */
    int layers;        /* that are streamed */
    uint64_t streamed; /* their bytes, which are copied each time all of them are wanted */
    bool beside;       /* what was on the device for other commands stays there, and counts as weights */
} plan;

/* What the command `what` needs for as many items, `most` at most, as fit.  Afterwards the weights for `uses` are
 * usable, r has its scratch, and both stay so until the next plan; what m->run had is gone.  While m->busy, what is
 * there stays there.  Logs the plan.  ERR_FAILED where one item doesn't fit: what needs how much, and `help`, the
 * options that would change that. */
bool plan_make(plan *p, model *m, run *r, const char *what, unsigned uses, int most, plan_work *walk, void *context,
               const char *help, err *e);
#endif
