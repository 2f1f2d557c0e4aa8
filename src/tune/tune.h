/* Tuning: what could be faster on a device than what it takes by itself is tried, and what was is kept. */
#ifndef TUNE_TUNE_H
#define TUNE_TUNE_H
#include "device/device.h"

/* Classes of shapes: each is measured alone. */
enum tune_work {
    TUNE_FEW_ROWS, /* products of 1 and 8 rows */
    TUNE_ROWS,     /* layer norm, attention over a cache */
    TUNE_PRODUCT,  /* products of 64, 256 and 768 rows: three works, by which CLBlast's share is chosen */
    TUNE_PRODUCT_256,
    TUNE_PRODUCT_768,
    TUNE_CONVOLUTION,
    TUNE_WORKS
};

typedef struct tune_result {
    bool right;                 /* all results agree with the host's, in double precision */
    double seconds[TUNE_WORKS]; /* of those that were asked for, else 0 */
    tuning ran;                 /* as asked, or with smaller groups where the driver refused these */
    char text[256];             /* where not: why */
} tune_result;

/* trial.c: measures the works in the mask (1 << TUNE_…) on d with the tuning t, which becomes d's. */
void tune_trial(device *d, const tuning *t, unsigned works, tune_result *result);

/* A search, and who runs its trials: drivers hang and crash with some kernels, so that the program runs each in a
 * process of its own, and the library, which starts none, says that it doesn't (limn.h). */
typedef struct tuner {
    limn_device_info info;
    tuning best; /* first as the device has it by itself; what was found in the end */
    /* clock_seconds() after which no trial begins; 0: none. */
    double end;
    /* tune_trial, wherever that is.  is_best: t is what remains, so that it is worth more patience.  False with e
     * filled: it gave no result. */
    bool (*trial)(void *context, const tuning *t, unsigned works, bool is_best, tune_result *r, err *e);
    /* Between trials; false with e filled ends the search. */
    bool (*goes_on)(void *context, int step, int steps, err *e);
    void (*say)(void *context, const char *line); /* what was tried, and what came of it */
    void *context;
    int trials, changes;
} tuner;
/* Searches, and keeps what is faster for devices that are opened later (device/tuning.c): step by step, so that what an
 * ended search has found remains. */
bool tune_search(tuner *u, err *e);
#endif
