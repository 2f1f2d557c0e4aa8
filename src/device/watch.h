/* Which driver's call the process is in, so that a watchdog (cli/watchdog.c) sees that one never returns.  The thread
 * that makes the call writes it, which takes a few stores; any thread may read it.  There is one for the process: if
 * several threads use devices of their own, it is right for one of them only. */
#ifndef DEVICE_WATCH_H
#define DEVICE_WATCH_H
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

typedef struct watch_state {
    _Atomic(const char *) call;   /* "clFinish"; NULL: in none */
    _Atomic(const char *) kernel; /* launched or compiled last */
    atomic_ulong calls;           /* begun so far */
    _Atomic double allowed;       /* seconds that a call may take */
    atomic_bool host;             /* the device is this machine's processor: it works where the process does */
} watch_state;
extern watch_state watched_calls;

/* Seconds allowed to a call that doesn't wait, and to compiling: on a busy machine drivers take minutes for that. */
extern double watch_patience, watch_compiling;
/* Names the device to be watched. */
void watch_device(const char *name, bool host);
const char *watch_device_name(void);
/* Notes that a call failed, since later ones may hang because of it.  The first failure is kept; "" if there is none.
 */
void watch_failure(const char *call, const char *status, int number);
const char *watch_first_failure(void);

static inline void watch_enter(const char *call)
{
    atomic_ulong *n = &watched_calls.calls;
    atomic_store_explicit(n, atomic_load_explicit(n, memory_order_relaxed) + 1, memory_order_relaxed);
    atomic_store_explicit(&watched_calls.call, call, memory_order_release);
}

/* Returns what the call did. */
static inline int watch_leave(int status)
{
    atomic_store_explicit(&watched_calls.call, NULL, memory_order_release);
    return status;
}

/* The status of a call, watched. */
#define WATCHED(call, ...) (watch_enter(#call), watch_leave(call(__VA_ARGS__)))

static inline void watch_kernel(const char *name)
{
    atomic_store_explicit(&watched_calls.kernel, name, memory_order_relaxed);
}

/* Allows calls so many seconds, until it is called again. */
static inline void watch_allow(double seconds)
{
    atomic_store_explicit(&watched_calls.allowed, seconds, memory_order_relaxed);
}
#endif
