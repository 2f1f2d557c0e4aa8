/* Progress, and an end before the end. */
#include "base/control.h"

bool control_goes_on(const limn_control *k, const char *what, int64_t done, int64_t n, err *e)
{
    return !k || !k->progress || k->progress(k->context, done, n) ||
           err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED, "%s: interrupted", what);
}
