/* What callers of the API ask of its work: their structs, which may be older than the library, and their control. */
#ifndef BASE_CONTROL_H
#define BASE_CONTROL_H
#include "base/err.h"

/* A caller's struct, which begins with its size (0: that of version 0.2), over the zeros in to[room]; NULL: nothing. */
void control_copy(void *to, size_t room, const void *from);
/* Tells the caller that `done` of n are done; false, with "WHAT: interrupted" in e, where they want no more.  k may be
 * NULL. */
bool control_goes_on(const limn_control *k, const char *what, int64_t done, int64_t n, err *e);
#endif
