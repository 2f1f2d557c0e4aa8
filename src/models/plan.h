/* Plans: how much device memory a command needs, known before its first launch, and how it keeps to the limit.
 *
 * A plan does the command's own work on the device's counting twin (device/count.h), so there are no formulas to keep
 * true.  If the work doesn't fit, these are tried in order: other models of the device rest (models/rest.h), as few as
 * possible and those that were used longest ago first; weights that the model has on the device for other commands are
 * freed; fewer items are done at once; one item is cut into pieces; layers of the transformer are streamed
 * (device/stream.h), as few as possible. */
#ifndef MODELS_PLAN_H
#define MODELS_PLAN_H
#include "device/count.h"
#include "models/model.h"

typedef struct plan_job {
    const char *what; /* the command, with which messages begin */
    unsigned uses;    /* USE_… of the weights */
    int most;         /* the most items at once */
    int cuts;         /* pieces that a side of one item can be cut into at most; 0 and 1: it can't be cut */
    /* The largest part of the command, for n items at once or for one that is cut (count.h): it allocates all that the
     * command has at one time. */
    count_work *walk;
    void *context;
    const char *help; /* what a user can do to make it fit */
} plan_job;

/* Bytes of device memory. */
typedef struct plan {
    int n;             /* items at once; less than 1: one, which is cut (count_cuts) */
    uint64_t weights;  /* including the two places that layers are streamed to */
    uint64_t lasting;  /* what the work allocates beside its run: caches */
    uint64_t scratch;  /* its run's memory */
    uint64_t others;   /* memory of other models and runs */
    int layers;        /* how many are streamed */
    uint64_t streamed; /* the bytes of these, which are copied each time they are all used */
    bool beside;       /* weights for other commands stay on the device, and are counted in `weights` */
} plan;

/* Plans the job for as many items as fit, or for one that is cut as little as possible.  Then its weights are on the
 * device and r has its scratch, until the next plan; tensors of m->run are lost.  While m->busy no weights leave the
 * device.  Logs the plan.  ERR_FAILED if not even the least fits: what needs how much, and the job's help. */
bool plan_make(plan *p, model *m, run *r, const plan_job *job, err *e);

/* For planned work that failed as e says.  If the reason is that the driver refused memory that the device should have,
 * this lowers the device's limit to three quarters of what was planned, with a warning, empties e and returns true: the
 * caller plans and does the work again.  False for any other reason, and after six times. */
bool plan_smaller(model *m, const char *what, err *e);

/* Lowers the device's limit to three quarters of `planned`, with a warning, since the driver refused memory to work
 * that was planned to take that much, as e says. */
void plan_lower_limit(device *d, const char *what, uint64_t planned, const err *e);

/* One use of memory in a plan's report.  A list of them ends with an empty one. */
typedef struct plan_part {
    const char *name;   /* in the report: "weights"; NULL: it isn't mentioned there */
    const char *within; /* in an error, before the size: "weights of" */
    uint64_t bytes;
    const char *further; /* after the size; NULL: nothing */
} plan_part;

/* Fills e: "WHATHOW: 9.0 MiB would exceed the limit of 8.0 MiB on DEVICE: weights of 4.0 MiB, … (ADVICE, or raise
 * `memory_limit`)"; if the driver refused memory before, it says that instead of "raise". */
bool plan_too_large(const device *d, const char *what, const char *how, uint64_t bytes, const plan_part *parts,
                    const char *advice, err *e);
/* Logs "WHAT: plan: 7.0 MiB of 8.0 MiB: weights 4.0, …; HOW8 at once". */
void plan_report(const device *d, const char *what, uint64_t bytes, const plan_part *parts, const char *how, int n);
#endif
