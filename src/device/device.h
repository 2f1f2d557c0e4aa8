/* A device: what it can do, and the context, queue, programs and buffers on it.
 * What differs between devices is here as limits, capabilities and tunables; no code asks for a vendor's name. */
#ifndef DEVICE_DEVICE_H
#define DEVICE_DEVICE_H
#include "base/err.h"
#include "device/cl.h"

typedef struct limn_device device;

/* Choices that differ between devices.  Set by device_default_tuning from type and limits; tests set others. */
typedef struct tuning {
    int wg;        /* work-items that share a row (a reduction): 1 on CPUs, a power of two else */
    int gemm_side; /* side of the square work-group of tiled products: 16, 8 or, on CPUs, 1 */
    bool panels;   /* products by one work-item per 8x32 register tile over packed panels, else tiled work-groups */
    bool clblast;  /* products of many rows by CLBlast where it applies */
} tuning;

typedef struct programs programs; /* program.c */
typedef struct profile profile;   /* profile.c */

struct limn_device {
    limn_device_info info;
    char reason[160];
    bool no_cache;
    uint64_t memory_limit, memory_used; /* bytes in live buffers */
    uint64_t memory_peak;               /* the most that memory_used was since somebody set this */
    bool planning; /* buffers are counted and not made, launches and transfers do nothing: models/plan.h */
    cl_platform_id platform;
    cl_device_id id;
    cl_context context;
    cl_command_queue queue;
    tuning tune;
    programs *programs;
    profile *profile; /* NULL: kernels are not timed */
    double opened;    /* clock_seconds() at the start of device_open; 0 once the first kernel was launched */
};

/* One candidate of an enumeration. */
typedef struct device_entry {
    limn_device_info info;
    cl_platform_id platform;
    cl_device_id id;
} device_entry;

/* find.c: every device of every platform, a new array.  ERR_DEVICE where there is none. */
bool device_find(device_entry **list, size_t *n, err *e);
const char *device_type_name(limn_device_type t); /* "cpu", "igpu", "dgpu", "accel" */

/* select.c: the index of the entry that spec means (limn.h), and why.  ERR_USAGE or ERR_DEVICE with the candidates.
 * Process `turn` of `turns` on this machine: where there are others spec may mean several, which the processes take in
 * turn; auto means all of the best type. */
bool device_select(const device_entry *list, size_t n, const char *spec, int turn, int turns, size_t *chosen,
                   char reason[160], err *e);

/* device.c */
tuning device_default_tuning(const limn_device_info *info);
device *device_open(const char *spec, const limn_device_options *o, err *e);
void device_free(device *d);

/* score.c: measured speed by device and driver, kept as text in the cache directory. */
void device_score_load(limn_device_info *info);
bool device_score_save(const limn_device_info *info, err *e);
#endif
