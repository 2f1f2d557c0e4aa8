/* A device: what it can do, and the context, queue, programs and buffers on it.
 * What differs between devices is here as limits, capabilities and tunables; no code asks for a vendor's name. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H
#include "base/err.h"
#include "base/log.h"
#include "device/cl.h"
#include "device/flight.h"

typedef struct limn_device device;

#define MIB 0x1p20 /* bytes in a MiB, for messages */

/* Choices that differ between devices.  device_default_tuning makes them from type and limits; limn tune measures
 * better ones, which tuning.c keeps in a file; tests set others. */
typedef struct tuning {
    int wg;           /* work-items that share a row (a reduction): 1 in the CPU form, else a power of two */
    int gemm_side;    /* side of the square work-group of tiled products: 16, 8, 4, 2 or 1; in the CPU form 1 */
    int gemm_item;    /* columns of a work-item of these, of 4 rows: 4 or 8 */
    bool cpu_form;    /* kernels' CPU form, where a work-item makes a register tile (of products 8x32); else the GPU
                       * form, where a work-group makes a tile in local memory */
    bool split;       /* CPU form: the register tile in four parts one after the other */
    bool clblast;     /* CLBlast makes products of many rows, if it can */
    int clblast_rows; /* the fewest rows that it makes */
    int clblast_set;  /* its parameters: 0 for its own choice, else one of the sets of ops/gemm.c */
    bool tiles;       /* attention of many queries by tiles: the device has vectors (CPU form) or local memory for it */
    int winograd;     /* 3x3 convolutions of at least so many 4x4 tiles take Winograd's kernels; 0: none does */
    int winograd_channels; /* and of in and out channels that in x out / (in + out) is no less: GPUs write it all */
    int winograd_cache;    /* floats of transformed weights, and of transformed pixels, that are worked on at a time */
    int strip; /* floats of a strip of rows, for pictures that aren't in memory as a whole (conv_strips.c) */
} tuning;
#define CLBLAST_SETS 4 /* with the 0 */

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

/* device.c: the choices for a device, and those for one form of kernels on it. */
tuning device_default_tuning(const limn_device_info *info);
tuning device_form_tuning(const limn_device_info *info, bool cpu_form);
/* If a device can't be opened, auto warns and goes on to the next. */
device *device_open(const char *spec, const limn_device_options *o, err *e);
void device_free(device *d);

/* score.c: measured speed by device and driver, kept as text in the cache directory. */
void device_score_load(limn_device_info *info);
bool device_score_save(const limn_device_info *info, err *e);
/* A file of the cache directory has a line for each device and driver, "TEXT PLATFORM|NAME|DRIVER".  These read the
 * TEXT of this device's line (false: there is none) and replace it. */
bool device_line_read(const char *file, const limn_device_info *info, char text[256]);
bool device_line_write(const char *file, const limn_device_info *info, const char *text, err *e);

/* tuning.c: what limn tune found, kept beside the score by device, driver and version.  The version grows when what is
 * tuned means something else, or other kernels were measured. */
#define TUNING_VERSION 3
#define TUNING_TEXT    256
/* What isn't tuned follows from what is. */
void tuning_complete(tuning *t, const limn_device_info *info);
/* "wg=64 gemm_side=16 …" */
void tuning_text(const tuning *t, char out[TUNING_TEXT]);
/* Work-items of a group where a launch has a group or two for each row of a batch: more than wg, as few groups must
 * fill the device; and the largest wg with which these are at most `most`. */
int tuning_wide(const tuning *t, const limn_device_info *info);
size_t tuning_narrow(size_t most);
/* Whether the device can run it. */
bool tuning_valid(const tuning *t, const limn_device_info *info);
/* Limits groups to `most` work-items and to a power of two: those of tiles, or those that share a row.  False if
 * nothing changes. */
bool tuning_shrink(tuning *t, bool tiles, size_t most);
/* Makes the groups of the GPU form small enough for the device's limits. */
void tuning_fit(tuning *t, const limn_device_info *info);
/* Leaves *t as it is if nothing valid was saved. */
bool tuning_load(tuning *t, const limn_device_info *info);
bool tuning_save(const tuning *t, const limn_device_info *info, err *e);
#endif
