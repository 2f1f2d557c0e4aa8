/* The inside of a run, shared by run.c and launch.c. */
#ifndef DEVICE_RUN_INTERNAL_H
#define DEVICE_RUN_INTERNAL_H
#include "device/program.h"
#include "device/run.h"

typedef struct chunk {
    struct chunk *next;
    buffer *buf;
    size_t used;
} chunk;

/* Memory for results, from which tensors are taken one after the other. */
typedef struct arena {
    chunk *first;
} arena;

/* A launch. */
typedef struct launch {
    cl_kernel handle; /* k's, or where the launch is kept one of its own, in which the arguments stay */
    const kernel *k;
    work asked, w; /* as the op has it, and in work-items */
    const arg *args;
    int n;
    struct stream_part *part; /* of weights that it reads; NULL: they are there */
    bool kept;                /* to be replayed */
} launch;

struct run {
    device *dev;
    err error;
    arena arenas[2];
    int current; /* the arena that results come from now */
    tensor zeros;
    struct tape *tape; /* ops/tape.h; NULL: nothing is recorded */
    double unflushed;  /* flops enqueued since the last flush */
    int launches;
    double flops, bytes; /* of all launches */
    bool pending;        /* something was enqueued that no run_finish has waited for */
    bool recording;
    launch *recorded;
    int n_recorded, capacity;
};

/* On a device that is described alone: keeps a launch, replays what r recorded, and forgets that: count.c. */
struct counted_launch;
void count_launch(run *r, const struct counted_launch *c);
void count_replay(run *r);
void count_forget(const run *r);
/* Counts what was enqueued, flushes now and then, and waits where too much is in flight: launch.c. */
void run_did(run *r, double flops, double bytes);
/* Drops what was recorded: run.c. */
void run_forget(run *r);
#endif
