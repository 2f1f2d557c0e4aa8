/* The trials of limn tune: works, timed with one tuning, and whether their results are right. */
#ifndef CLI_MEASURE_TUNE_H
#define CLI_MEASURE_TUNE_H
#include "cli/options.h"
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

/* Measures the works in the mask (1 << TUNE_…) on d with the tuning t, which becomes d's.  In a child process: drivers
 * hang and crash. */
void tune_trial(device *d, const tuning *t, unsigned works, tune_result *result);
#endif
