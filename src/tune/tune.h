/* Tuning: what could be faster on a device than what it takes by itself is tried, and what was is kept. */
#ifndef TUNE_TUNE_H
#define TUNE_TUNE_H
#include "device/device.h"

/* Classes of work and of shapes: each is measured alone. */
enum tune_work {
    TUNE_ONE_ROW,   /* products with F16 and Q8_0 weights that read these once: a row, */
    TUNE_FEW_ROWS,  /* 3, as of guidance */
    TUNE_SOME_ROWS, /* 16, as of batches */
    TUNE_MANY_ROWS, /* 256 rows and Q8_0 */
    TUNE_ROWS,      /* layer norm, attention of 64 positions */
    TUNE_DECODE,    /* attention of one position to 1024 keys, a layer norm of two rows */
    TUNE_PRODUCT,   /* F32 products of 64, 256 and 768 rows: three works, by which CLBlast's share is chosen */
    TUNE_PRODUCT_256,
    TUNE_PRODUCT_768,
    TUNE_CONVOLUTION,      /* of few channels, 4x4 with stride 2 */
    TUNE_CONVOLUTION_WIDE, /* of many, 1x1 */
    TUNE_WINOGRAD,         /* 3x3 of 64 channels, and of 256 */
    TUNE_GRADIENT,         /* of a product's weights */
    TUNE_DRAFTS,           /* products of the passes that draw some codes with guidance */
    TUNE_WORKS
};
extern const char *const tune_work_names[TUNE_WORKS];

/* What two tunings made of the same works, in turn in one process. */
typedef struct tune_result {
    bool right;                    /* all results agree with the host's, in double precision */
    double seconds[2][TUNE_WORKS]; /* of those that were asked for, else 0 */
    double ratio[TUNE_WORKS];      /* the median of the second one's times over the first one's in pairs */
    double least[TUNE_WORKS]; /* seconds of bandwidth or multiply-adds alone, as limn bench measured both; else 0 */
    unsigned unfit;           /* works for which the memory limit is too low, where both tunings are the same */
    tuning ran[2];            /* as asked, or with smaller groups where the driver refused these */
    char text[256];           /* where it isn't right, or some are unfit: why */
} tune_result;

/* trial.c: measures the works in the mask (1 << TUNE_…) on d with both tunings. */
void tune_trial(device *d, const tuning both[2], unsigned works, tune_result *result);

/* A search, and who runs its trials: drivers hang and crash with some kernels, so that the program runs each in a
 * process of its own, and the library, which starts none, says that it doesn't (limn.h). */
typedef struct tuner {
    limn_device_info info;
    tuning best; /* first as the device has it by itself; what was found in the end */
    /* clock_seconds() after which no trial begins; 0: none. */
    double end;
    /* tune_trial, wherever that is.  is_best: both are what remains, so that it is worth more patience.  False with e
     * filled: it gave no result. */
    bool (*trial)(void *context, const tuning both[2], unsigned works, bool is_best, tune_result *r, err *e);
    /* Whether the tunable of that name is to be tuned; NULL: all are. */
    bool (*wanted)(void *context, const char *name);
    /* Between trials; false with e filled ends the search. */
    bool (*goes_on)(void *context, int step, int steps, err *e);
    void (*say)(void *context, const char *line); /* what was tried, and what came of it */
    void *context;
    int trials, changes;
    int done; /* steps */
    /* the search's own */
    unsigned known, gained; /* works whose noise is known; those that something was found for */
    unsigned unfit;         /* those that need more memory than there is */
    double noise[TUNE_WORKS];
    double lost[TUNE_WORKS]; /* the logarithm of how many times the least time they take; 0: not known */
    struct found {
        const tunable *k;
        int from, to;
        double gain;
    } found[32];
} tuner;
/* Searches, and keeps what is faster for devices that are opened later (device/tuning.c): step by step, so that what an
 * ended search has found remains. */
bool tune_search(tuner *u, err *e);
/* The works that decide a tunable: their mask; 0: none does. */
unsigned tune_works_of(const tunable *k);
#endif
