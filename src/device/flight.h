/* Work in flight is work that was enqueued and isn't done.  This keeps count of it and of the device's speed, and waits
 * for it with a limit.  Intel's kernel driver kills work that isn't done 20 s after it was enqueued; so the host never
 * has more than about two seconds of it in flight, by the speed measured until now.  It waits for an earlier place in
 * the queue, not for the end, so that the device stays busy. */
#ifndef DEVICE_FLIGHT_H
#define DEVICE_FLIGHT_H
#include "base/err.h"
#include "device/cl.h"
#include "device/watch.h"

struct limn_device;

#define FLIGHT_SECONDS 2.0
#define FLIGHT_MARKS   3 /* each after a quarter of it */

/* Zero-initialised: an idle device of unknown speed.  Work is in seconds of a device of 40 GFLOP/s and 10 GB/s. */
typedef struct flight {
    struct {
        cl_event event;
        double work;
    } marks[FLIGHT_MARKS]; /* from the oldest on */
    int n;
    double open;     /* work since the last mark */
    double slowness; /* seconds that a unit of work takes; 0: not known */
    bool measured;   /* in this process */
    double since;    /* clock_seconds() when the device was known to begin with the oldest of it */
    int failed;      /* waits for all of it, one after another */
    double most;     /* the most seconds that were in flight at once, by the speed known then */
} flight;

/* Counts work that was enqueued, and waits for earlier work if it is too much.  False with e filled if that fails. */
bool flight_add(struct limn_device *d, double flops, double bytes, err *e);
/* Seconds until all work in flight is done, as far as is known. */
double flight_seconds(const struct limn_device *d);
/* The work of a launch that takes 100 ms on a slow device: larger launches are split. */
double flight_piece(const struct limn_device *d);

/* Wait for all that was enqueued, and for an event.  False with e filled if that failed, or if the device doesn't
 * answer: then it is lost.  Only waits for GPUs have a limit, since that means to ask the event again and again. */
bool device_finish(struct limn_device *d, err *e);
bool device_wait(struct limn_device *d, cl_event event, err *e);
/* Call it before a blocking transfer, which waits for all work in flight: this waits for that work, or grants the call
 * the time that the work takes. */
bool device_settle(struct limn_device *d, err *e);
void flight_free(struct limn_device *d);
/* As cl_ok.  A status after which nothing works any more makes the device a lost one: from then on none of its driver's
 * calls is made, not even to release objects, since any of them may hang. */
bool device_ok(struct limn_device *d, cl_int status, const char *call, err *e);
/* True, or false with e filled if d is lost. */
bool device_there(const struct limn_device *d, err *e);
/* Releases an object of d, unless d is lost. */
#define RELEASE(d, call, object) ((d)->lost ? CL_SUCCESS : WATCHED(call, object))
/* Whether a device of this process was lost: then exit handlers of drivers may hang too. */
bool device_any_lost(void);
#endif
