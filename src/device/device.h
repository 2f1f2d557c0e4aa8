/* A device: what it can do, and the context, queue, programs and buffers on it.
 * What differs between devices is here as limits, capabilities and tunables; no code asks for a vendor's name. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H
#include "base/err.h"
#include "base/log.h"
#include "device/cl.h"
#include "device/flight.h"
#include "device/tuning.h"

typedef struct limn_device device;

#define MIB 0x1p20 /* bytes in a MiB, for messages */

typedef struct programs programs; /* program.c */
typedef struct profile profile;   /* profile.c */

struct limn_device {
    limn_device_info info;
    char reason[160];
    bool no_cache;
    uint64_t memory_limit, memory_used; /* bytes in live buffers */
    uint64_t memory_refused;            /* bytes of the last plan that the driver had no memory for; 0: none */
    int memory_refusals;                /* how often it refused memory */
    char memory_why[240];               /* the driver's words */
    uint64_t memory_peak;               /* the largest memory_used since somebody set this */
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    uint32_t cores;               /* units that have local memory of their own: each runs whole work-groups */
    cl_command_queue queue;       /* NULL on a counting twin */
    struct limn_device *counting; /* its counting twin, once somebody has asked for it: count.h */
    struct launch_list *launches; /* of a described device, which isn't there: what was counted; else NULL */
    tuning tune;
    programs *programs;
    struct page_region *pages; /* of a CPU: device/pages.h */
    profile *profile;          /* NULL: kernels are not timed */
    flight flight;             /* what is enqueued and not done */
    char lost_why[160], lost_kernel[64];
    bool lost;           /* it doesn't answer, or the driver says that it is gone: its driver isn't called any more */
    int clblast_applied; /* the clblast_set that CLBlast was told */
    bool trial;          /* for limn tune: that the driver refuses a group's size is neither logged nor kept */
    /* for models/guard.h */
    const void *user;          /* the thread that uses the device now */
    int depth, models;         /* that thread's calls, one within another; open models */
    struct guarded *dead;      /* what is freed once the device isn't in use */
    bool freed;                /* the device itself is to be freed then */
    struct limn_model *shared; /* for models/rest.h: the models that share the device's memory */
    uint64_t plans;            /* that were made for them so far */
    caller_log log;            /* takes its messages; function NULL: the process's does */
    log_place log_before;      /* where those of the thread that uses it went before */
    double opened;             /* clock_seconds() at the start of device_open; 0 once the first kernel was launched */
};

/* One candidate of an enumeration. */
typedef struct device_entry {
    limn_device_info info;
    cl_platform_id platform;
    cl_device_id id;
    bool failed; /* it could not be opened, as info.problem says */
} device_entry;

/* find.c: every device of every platform, also those that limn can't use (info.problem), as a new array.  A platform or
 * device that fails to answer is left out with a warning.  ERR_DEVICE, naming what was left out, if nothing is left. */
bool device_find(device_entry **list, size_t *n, err *e);
/* The number of platforms, and what loader finds them, "ocl-icd 2.3.1", or "". */
int device_platforms(char loader[96]);
const char *device_type_name(limn_device_type t); /* "cpu", "igpu", "dgpu", "accel" */

/* select.c: the index of the entry that spec means (limn.h), and why.  ERR_USAGE or ERR_DEVICE with the candidates.
 * An entry that can't be used is never taken.  If several drivers offer the same hardware, only the best of them
 * counts, unless spec means another one alone.  turn, turns: this is process number `turn` of `turns` on this machine.
 * If there are several, spec may mean several devices, which the processes take in turn; auto means all devices of the
 * best type. */
bool device_select(const device_entry *list, size_t n, const char *spec, int turn, int turns, size_t *chosen,
                   char reason[160], err *e);

/* device.c.  If a device can't be opened, auto warns and goes on to the next. */
device *device_open(const char *spec, const limn_device_options *o, err *e);
void device_free(device *d);

/* score.c: measured speed by device and driver, kept as text in the cache directory. */
void device_score_load(limn_device_info *info);
bool device_score_save(const limn_device_info *info, err *e);
/* A file of the cache directory has a line for each device and driver, "TEXT PLATFORM|NAME|DRIVER".  These read the
 * TEXT of this device's line (false: there is none) and replace it. */
bool device_line_read(const char *file, const limn_device_info *info, char *text, size_t size);
bool device_line_write(const char *file, const limn_device_info *info, const char *text, err *e);
#endif
