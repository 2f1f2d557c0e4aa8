/* Plans: what a command needs of the device's memory, known before its first launch, and how it keeps the limit.
 *
 * Nothing is computed twice: the command's own work is walked on the device's counting twin (device/count.h).  Then, in
 * this order, until it fits: what the model has on the device for other commands goes; the work is done for fewer items
 * at once; then in parts of one; layers of the transformer are streamed (device/stream.h), no more of them than must
 * be. */
#ifndef MODELS_PLAN_H
#define MODELS_PLAN_H
#include "device/count.h"
#include "models/model.h"

typedef struct plan_job {
    const char *what; /* the command: messages begin with it */
    unsigned uses;    /* USE_… of the weights */
    int most;         /* items at once */
    int cuts;         /* pieces that a side of one item can be cut into at most; 0 and 1: it can't be cut */
    /* The largest part of the command, for n items at once or for one that is cut (count.h): it allocates all that the
     * command has at one time. */
    count_work *walk;
    void *context;
    const char *help; /* the options that would make it fit */
} plan_job;

/* Bytes of device memory. */
typedef struct plan {
    int n;             /* items at once; less than 1: one, which is cut (count_cuts) */
    uint64_t weights;  /* with the two places that layers are streamed to */
    uint64_t lasting;  /* what the work allocates beside its run: caches */
    uint64_t scratch;  /* of its run */
    uint64_t others;   /* of other models and runs */
    int layers;        /* that are streamed */
    uint64_t streamed; /* their bytes, which are copied each time all of them are wanted */
    bool beside;       /* what was on the device for other commands stays there, and counts as weights */
} plan;

/* What the job needs for as many items as fit, or for one that is cut as little as must be.  Afterwards its weights are
 * usable, r has its scratch, and both stay so until the next plan; what m->run had is gone.  While m->busy, what is
 * there stays there. Logs the plan.  ERR_FAILED where the least doesn't fit: what needs how much, and the job's help.
 */
bool plan_make(plan *p, model *m, run *r, const plan_job *job, err *e);

/* Whether e, why planned work of the model failed, is that the driver refused memory which the device should have, and
 * less may do: then the device's limit is three quarters of what was planned, which a warning says, e is empty, and the
 * caller does the work again from its plan on.  False after six times. */
bool plan_smaller(model *m, const char *what, err *e);

/* The driver refused memory to work that was planned to take so much, as e says: the device's limit is three quarters
 * of that from now on, which a warning says. */
void plan_lower_limit(device *d, const char *what, uint64_t planned, const err *e);

/* What takes how much, in what is said of a plan.  A list ends with an empty one. */
typedef struct plan_part {
    const char *name;   /* "weights"; NULL: it is not in the report */
    const char *within; /* the same before a size: "weights of" */
    uint64_t bytes;
    const char *further; /* behind the size; NULL: nothing */
} plan_part;

/* Fills e: "WHATHOW: 9.0 MiB would exceed the limit of 8.0 MiB on DEVICE: weights of 4.0 MiB, … (ADVICE, or raise
 * --mem-limit)", or, in place of the last, what the driver refused. */
bool plan_too_large(const device *d, const char *what, const char *how, uint64_t bytes, const plan_part *parts,
                    const char *advice, err *e);
/* Logs "WHAT: plan: 7.0 MiB of 8.0 MiB: weights 4.0, …; HOW8 at once". */
void plan_report(const device *d, const char *what, uint64_t bytes, const plan_part *parts, const char *how, int n);
#endif
