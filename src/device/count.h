/* Counting: what work takes of a device's memory, and which launches it is, found without doing it. */
#ifndef DEVICE_COUNT_H
#define DEVICE_COUNT_H
#include "device/run.h"

/* The counting twin of d: a device with d's limits and choices as they are now, but without a queue.  Buffers on it are
 * counted and not made, even beyond the memory limit; launches and transfers of its runs do nothing, so what is read
 * back is undefined.  The twin belongs to d and is freed with it; buffers and runs on it are freed as on any device.  A
 * twin has a twin too.  NULL with e filled: no memory. */
device *device_counting(device *d, err *e);
/* A device that nobody has: as info says, with the choices for GPUs, or for CPUs where info's type is one.  It is
 * counted on as on a twin, and its launches are kept in a list.  device_free frees it. */
device *device_described(const limn_device_info *info, err *e);

/* Whether d only counts: values that are made for it alone needn't be, as nothing reads them. */
bool device_only_counts(const device *d);

/* A launch that was counted, or a piece of one. */
typedef struct counted_launch {
    const char *kernel; /* "norm:layer_norm" */
    work asked, w;      /* as the op has it, whole, and in work-items; without options */
    tensor x[2];        /* types and shapes of its first two tensors */
    double times;       /* of one that was recorded: how often it was replayed; else 1 */
    const run *kept;    /* that recorded it, until it forgets it */
    bool recorded;
} counted_launch;
typedef struct launch_list {
    counted_launch *list;
    size_t n, capacity;
    double replays; /* of all that was recorded, together */
} launch_list;
/* The launches of a described device since it was made or since they were cleared; NULL of any other. */
launch_list *device_launches(device *d);
/* What a run has recorded stays, as it may be replayed. */
void device_launches_clear(device *d);

/* Work for a run: of n items at once; where n < 1, of one item that is cut into count_cuts(n) pieces along each side,
 * one piece at a time.  So the smaller n is, the less memory the work takes. */
typedef bool count_work(void *context, run *r, int n, err *e);
static inline int count_cuts(int n)
{
    return n < 1 ? 2 - n : 1;
}
/* The n of one item that is cut so: count_cut(1) = 1 is the whole item, count_cut(2) = 0, count_cut(3) = -1, … */
static inline int count_cut(int cuts)
{
    return 2 - cuts;
}

/* What some work takes.  Zero-initialised: nothing. */
typedef struct counted {
    run *dry;         /* the twin's run, as the work left it: for run_reserve */
    uint64_t scratch; /* bytes of that run */
    uint64_t peak;    /* bytes at the largest moment, the run's among them */
} counted;

/* Does the work on d's twin.  If it fails, c has what it took until then. */
bool count_walk(counted *c, device *d, count_work *walk, void *context, int n, err *e);
void count_release(counted *c);
#endif
