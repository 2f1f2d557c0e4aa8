/* OpenCL drivers run in limn's process, and some abort, crash, exit or hang while they are loaded or asked for devices.
 * So each driver file is asked in a child process first; those that do that are left out, and named. */
#ifndef CLI_PROBE_H
#define CLI_PROBE_H
#include "base/err.h"
#include "device/drivers.h"

#define PROBE_SECONDS 15 /* for all drivers, which are asked at the same time; GPUs may have to be woken */

/* What one driver file did when it was asked alone. */
typedef struct probe {
    bool asked;
    char bad[160];  /* "" where it answered, else what it did: "aborts (SIGABRT)" */
    char said[600]; /* what it printed meanwhile, for people */
    int platforms;
    size_t n;
    limn_device_info *devices;
    char error[2048];    /* where it has no device: why */
    char load[300];      /* where it has no platform: what the dynamic linker says against it, or "" */
    char warnings[1200]; /* what was left out, a line each */
    char loader[96];     /* "ocl-icd 2.3.1"; "" where it isn't told */
} probe;

/* Asks the drivers of the list: *out is a new array of l->n.  Before the process's first OpenCL call. */
bool probe_drivers(const driver_list *l, probe **out, err *e);
void probe_free(probe *p, size_t n);

/* Before the process's first OpenCL call; does nothing the next time.  From here on the OpenCL loader sees only those
 * drivers that answer, and warnings have named the others.  What drivers did is kept in the cache directory until the
 * machine starts again or their files change; `fresh` asks them in any case.  False if none is left. */
bool probe_check(bool fresh, err *e);
/* The same with answers that are there. */
bool probe_use(const driver_list *l, const probe *answers, err *e);
#endif
