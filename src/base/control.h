/* What the caller of work that takes long may ask of it. */
#ifndef BASE_CONTROL_H
#define BASE_CONTROL_H
#include "base/err.h"

/* Tells the caller that `done` of n are done; false, with "WHAT: interrupted" in e, where they want no more.  k may be
 * NULL. */
bool control_goes_on(const limn_control *k, const char *what, int64_t done, int64_t n, err *e);
#endif
