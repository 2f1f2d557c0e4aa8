/* The checks of limn selftest, which limn doctor runs too. */
#ifndef CLI_SELFTEST_H
#define CLI_SELFTEST_H
#include "base/err.h"

typedef struct selftest_check {
    const char *name; /* "product, 1 rows, F32" */
    double error, bound;
    bool ok; /* the error is within the bound */
} selftest_check;
typedef void selftest_heard(void *context, const selftest_check *c);
/* Prints a line for it. */
void selftest_print(void *unused, const selftest_check *c);

/* All checks, each heard as it is done.  False where the device fails, or where one of them wasn't passed. */
bool selftest_device(limn_device *d, selftest_heard *heard, void *context, err *e);
#endif
