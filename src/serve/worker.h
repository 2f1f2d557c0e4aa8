/* The thread that owns a device and its models.  It takes jobs from the queue and draws their pictures together, each
 * as it would be alone. */
#ifndef SERVE_WORKER_H
#define SERVE_WORKER_H
#include "serve/job.h"

typedef struct worker_options {
    const char *const *devices; /* [n_devices] SPECs, one at least: each works by itself */
    int n_devices;
    uint64_t memory_limit;
    bool no_cache;
    served *models;
    size_t n_models;
    int most;                          /* jobs that may wait or be at work */
    const limn_model_options *adapted; /* adapters and embeddings of all models, or NULL */
    const char *adapters;              /* as pictures tell of them, or NULL */
} worker_options;

/* Counts since the start, for /metrics. */
typedef struct worker_counts {
    uint64_t jobs[5]; /* by state; waiting and working ones now */
    uint64_t pictures, codes;
    double busy; /* seconds at work */
} worker_counts;

/* The queue and its devices.  NULL with e filled where a device or the first model can't be opened. */
worker *worker_start(const worker_options *o, err *e);
/* Adds a job, which the worker holds from now on.  False if too many wait. */
bool worker_add(worker *w, job *j);
/* Ends a job, whether it waits or works.  False: there is none of that id, or it has ended. */
bool worker_cancel(worker *w, const char *id);
/* Calls see, under the queue's lock, for the job of those answers that began first, else for the first that waits.
 * False: there is none. */
bool worker_first(worker *w, const job_answers *of, void (*see)(void *context, job *j), void *context);
/* Calls see for each job that waits, works or has ended lately, under the queue's lock. */
void worker_each(worker *w, void (*see)(void *context, const job *j), void *context);
void worker_count(worker *w, worker_counts *c);
/* Whether a device takes work: false while it is opened again after a failure, and when the server ends. */
bool worker_is_ready(worker *w);
/* Takes no more jobs; ends once those that are there are finished, or after `seconds`, and then cancels them. */
void worker_drain(worker *w, double seconds);
/* Ends the threads; every exchange has its answer then, and what still comes is refused. */
void worker_stop(worker *w);
void worker_free(worker **w);
#endif
