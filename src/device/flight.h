/* Work in flight: how much of it a device has, how fast that gets done, and waiting for it with a limit.
 * Intel's kernel driver ends what isn't done 20 s after it was handed over; so there is never more than some two
 * seconds of it, by what the device did until now.  Waiting is for an earlier place in the queue, which leaves the
 * device busy. */
#ifndef DEVICE_FLIGHT_H
#define DEVICE_FLIGHT_H
#include "base/err.h"
#include "device/cl.h"
#include "device/watch.h"

struct limn_device;

#define FLIGHT_SECONDS 2.0
#define FLIGHT_MARKS   3 /* each after a quarter of it */

/* Zero-initialised is an idle device of unknown speed.  Work is in seconds of a device of 40 GFLOP/s and 10 GB/s. */
typedef struct flight {
    struct {
        cl_event event;
        double work;
    } marks[FLIGHT_MARKS]; /* from the oldest on */
    int n;
    double open;     /* work since the last mark */
    double slowness; /* seconds for one of work; 0: not known */
    bool measured;   /* in this process */
    double since;    /* clock_seconds() when the device was known to begin with the oldest of it */
    int failed;      /* waits for all of it, one after another */
    double most;     /* seconds that were in flight at one time, by what was known then */
} flight;

/* Work that was enqueued.  False with e filled where the wait for earlier work failed. */
bool flight_add(struct limn_device *d, double flops, double bytes, err *e);
/* Seconds until all of it is done, as far as is known. */
double flight_seconds(const struct limn_device *d);
/* Work of a launch beyond which it takes more than 100 ms of a slow device. */
double flight_piece(const struct limn_device *d);

/* Wait for all that was enqueued, and for an event; false with e filled where that failed, or where the device doesn't
 * answer: then it is lost.  GPUs alone are given a limit here, since an event must be asked again and again for that.
 */
bool device_finish(struct limn_device *d, err *e);
bool device_wait(struct limn_device *d, cl_event event, err *e);
/* Before a blocking transfer, which waits for what is in flight: that is done first, or the call is given its time. */
bool device_settle(struct limn_device *d, err *e);
void flight_free(struct limn_device *d);
/* As cl_ok; a status of those after which nothing works any more makes the device a lost one: no call of its driver
 * is made for it from then on, releases included, since any may hang. */
bool device_ok(struct limn_device *d, cl_int status, const char *call, err *e);
/* e of a device that is lost, or true. */
bool device_there(const struct limn_device *d, err *e);
/* An object of d goes back to its driver, unless d is lost. */
#define RELEASE(d, call, object) ((d)->lost ? CL_SUCCESS : WATCHED(call, object))
/* Whether any device of this process was lost: then exit handlers of drivers may hang too. */
bool device_any_lost(void);
#endif
