/* Structs of any version, progress, and an end before the end. */
#include "base/control.h"

#include <string.h>

void control_copy(void *to, size_t room, const void *from)
{
    size_t size;
    if (!from)
        return;
    memcpy(&size, from, sizeof size);
    memcpy(to, from, size && size < room ? size : room);
}

bool control_goes_on(const limn_control *k, const char *what, int64_t done, int64_t n, err *e)
{
    return !k || !k->progress || k->progress(k->context, done, n) ||
           err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED, "%s: interrupted", what);
}
