/* Counting: what work takes of a device's memory, found without doing it. */
#ifndef DEVICE_COUNT_H
#define DEVICE_COUNT_H
#include "device/run.h"

/* The counting twin of d: a device with the limits and choices that d has now, and with no queue.  Its buffers are
 * counted and not made, whatever the memory limit; launches and transfers of its runs do nothing, so what they would
 * read is undefined.  It belongs to d and is freed with it; what is made on it is freed as on any device.  A twin has a
 * twin too.  NULL with e filled: no memory. */
device *device_counting(device *d, err *e);

/* Work for a run, n says how much of it. */
typedef bool count_work(void *context, run *r, int n, err *e);

/* What some work takes.  Zero-initialised is an empty one. */
typedef struct counted {
    run *dry;         /* the run on the twin, as the work left it: for run_reserve */
    uint64_t scratch; /* bytes of that run */
    uint64_t peak;    /* bytes at the largest moment, the run's among them */
} counted;

/* Does the work on d's twin.  Where it fails c has what it had taken until then. */
bool count_walk(counted *c, device *d, count_work *walk, void *context, int n, err *e);
void count_release(counted *c);
#endif
