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

typedef struct stage {
    chunk *first;
} stage;

/* One launch with its arguments set in a kernel object of its own. */
typedef struct recorded {
    cl_kernel handle;
    const kernel *k;
    work w;
    struct stream_part *part; /* of weights that it reads; NULL: they are there */
} recorded;

struct run {
    device *dev;
    err error;
    stage stage[2];
    int current;
    tensor zeros;
    struct tape *tape; /* ops/tape.h; NULL: nothing is recorded */
    double unflushed;  /* flops enqueued since the last flush */
    int launches;
    double flops, bytes; /* of all launches */
    bool pending;        /* something was enqueued that no run_finish has waited for */
    bool recording;
    recorded *recorded;
    int n_recorded, capacity;
};

/* Drops what was recorded: launch.c. */
void run_forget(run *r);
#endif
