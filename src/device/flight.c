/* Work in flight, and waits with a limit. */
#include "device/flight.h"

#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/log.h"
#include "device/device.h"
#include "device/watch.h"

#define UNIT_FLOPS   4e10
#define UNIT_BYTES   1e10
#define SLOW         4.0  /* seconds that a unit of work takes on a device of unknown speed */
#define PIECE        0.1  /* units of work in a piece of a launch on the slowest devices that are common */
#define WORTH        0.02 /* units of work: less says nothing of the speed, since starting it takes as long */
#define NOTICED      0.1  /* seconds of a wait that do say something */
#define MANY         100  /* times as long as estimated: then the device doesn't answer */
#define LOOK_AT_MOST 1e-3 /* seconds between two looks at an event */

static atomic_bool any_lost;

bool device_any_lost(void)
{
    return atomic_load(&any_lost);
}

static void lose(device *d, const char *why)
{
    const char *kernel = atomic_load(&watched_calls.kernel);
    if (!d->lost) {
        snprintf(d->lost_why, sizeof d->lost_why, "%.150s", why);
        snprintf(d->lost_kernel, sizeof d->lost_kernel, "%.60s", kernel ? kernel : "none");
    }
    d->lost = true;
    atomic_store(&any_lost, true);
}

static bool say_lost(const device *d, err *e)
{
    return err_set_cause(
        e, ERR_FAILED, LIMN_CAUSE_DEVICE_LOST,
        "%s: the device is lost: %s; kernel %s was launched last (it may hang or have been reset: see dmesg and "
        "`limn devices`, update the driver, let limn tune find kernels that work, or choose another device "
        "with `device`)",
        d->info.name, d->lost_why, d->lost_kernel);
}

bool device_there(const device *d, err *e)
{
    return !d->lost || say_lost(d, e);
}

/* What can't be got over: the queue, the context or the device is gone.  -9999 is NVIDIA's for a kernel that broke off.
 */
static bool fatal(cl_int status)
{
    return status == CL_INVALID_COMMAND_QUEUE || status == CL_INVALID_CONTEXT || status == CL_INVALID_DEVICE ||
           status == CL_DEVICE_NOT_AVAILABLE || status == CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST ||
           status == -9999;
}

bool device_ok(device *d, cl_int status, const char *call, err *e)
{
    if (status == CL_SUCCESS)
        return true;
    watch_failure(call, cl_status_name(status), status);
    if (!fatal(status))
        return cl_ok(status, call, e);
    err why = {0};
    cl_ok(status, call, &why);
    lose(d, why.text);
    return say_lost(d, e);
}

static double slowness(const device *d)
{
    const flight *f = &d->flight;
    if (f->slowness > 0)
        return f->slowness;
    /* a quarter of what limn bench found: kernels reach less than it did */
    return d->info.gflops > 0 ? fmin(SLOW, 4 * UNIT_FLOPS / (1e9 * d->info.gflops)) : SLOW;
}

static double work_of(const flight *f)
{
    double work = f->open;
    for (int i = 0; i < f->n; i++)
        work += f->marks[i].work;
    return work;
}

double flight_seconds(const device *d)
{
    return work_of(&d->flight) * slowness(d);
}

double flight_piece(const device *d)
{
    return PIECE / (d->flight.measured && d->flight.slowness > 1 ? d->flight.slowness : 1) * UNIT_FLOPS;
}

/* `work` was done between f->since and now.  Where the host came to wait late, it may have been done before. */
static void measure(flight *f, double work, double waited, double now)
{
    double took = (now - f->since) / work;
    if ((work >= WORTH || (work > 0 && waited > NOTICED)) && took > 0) {
        if (waited * 2 >= now - f->since || f->slowness <= 0 || took < f->slowness)
            f->slowness = took;
        f->measured = true;
    }
    f->since = now;
}

/* Seconds that a wait for what is in flight may take. */
static double patience(const device *d)
{
    return watch_patience + MANY * flight_seconds(d);
}

static bool no_answer(device *d, double seconds, err *e)
{
    char why[64];
    snprintf(why, sizeof why, "no answer for %.0f s", seconds);
    lose(d, why);
    return say_lost(d, e);
}

/* Asks for the event until it has come, less and less often: at most 2% of the time is lost. */
static bool look(device *d, cl_event event, double limit, err *e)
{
    double start = clock_seconds(), now = start;
    for (;;) {
        cl_int status = CL_COMPLETE;
        if (!device_ok(d, clGetEventInfo(event, CL_EVENT_COMMAND_EXECUTION_STATUS, sizeof status, &status, NULL),
                       "clGetEventInfo", e))
            return false;
        if (status <= CL_COMPLETE)
            return device_ok(d, status, "waiting for the device", e);
        now = clock_seconds();
        if (now - start > limit)
            return no_answer(d, now - start, e);
        double pause = fmin(LOOK_AT_MOST, fmax(2e-5, 0.02 * (now - start)));
        nanosleep(&(struct timespec){.tv_nsec = (long)(1e9 * pause)}, NULL);
    }
}

bool device_wait(device *d, cl_event event, err *e)
{
    double limit = patience(d);
    bool ok = device_there(d, e);
    if (!ok)
        return false;
    if (d->info.type == LIMN_CPU) {
        watch_allow(limit);
        ok = device_ok(d, WATCHED(clWaitForEvents, 1, &event), "clWaitForEvents", e);
    } else { /* whoever watches from outside leaves this the first word */
        watch_allow(2 * limit);
        watch_enter("waiting for the device");
        ok = look(d, event, limit, e);
        watch_leave(0);
    }
    watch_allow(watch_patience);
    return ok;
}

void flight_free(device *d)
{
    flight *f = &d->flight;
    for (int i = 0; i < f->n; i++)
        RELEASE(d, clReleaseEvent, f->marks[i].event);
    f->n = 0;
    f->open = 0;
}

/* The oldest mark has passed, or the wait for it failed. */
static bool pass_oldest(device *d, err *e)
{
    flight *f = &d->flight;
    double work = f->marks[0].work, before = clock_seconds();
    bool ok = device_wait(d, f->marks[0].event, e);
    if (ok) {
        double now = clock_seconds();
        measure(f, work, now - before, now);
    }
    RELEASE(d, clReleaseEvent, f->marks[0].event);
    f->n--;
    for (int i = 0; i < f->n; i++)
        f->marks[i] = f->marks[i + 1];
    return ok;
}

static bool mark(device *d, err *e)
{
    flight *f = &d->flight;
    cl_event event = NULL;
    f->most = fmax(f->most, flight_seconds(d));
    if (f->n == FLIGHT_MARKS && !pass_oldest(d, e))
        return false;
    if (!device_ok(d, WATCHED(clEnqueueMarkerWithWaitList, d->queue, 0, NULL, &event), "clEnqueueMarkerWithWaitList",
                   e) ||
        !device_ok(d, WATCHED(clFlush, d->queue), "clFlush", e)) {
        if (event)
            RELEASE(d, clReleaseEvent, event);
        return false;
    }
    f->marks[f->n].event = event;
    f->marks[f->n++].work = f->open;
    f->open = 0;
    return true;
}

bool flight_add(device *d, double flops, double bytes, err *e)
{
    flight *f = &d->flight;
    double work = flops / UNIT_FLOPS + bytes / UNIT_BYTES;
    if (f->n == 0 && f->open == 0 && work > 0)
        f->since = clock_seconds();
    f->open += work;
    return f->open * slowness(d) < FLIGHT_SECONDS / (FLIGHT_MARKS + 1) || mark(d, e);
}

bool device_settle(device *d, err *e)
{
    if (d->info.type != LIMN_CPU && (d->flight.open > 0 || d->flight.n > 0))
        return device_finish(d, e);
    watch_allow(patience(d));
    return device_there(d, e);
}

bool device_finish(device *d, err *e)
{
    flight *f = &d->flight;
    double work = work_of(f), before = clock_seconds();
    cl_event event = NULL;
    bool ok = device_there(d, e);
    if (ok && d->info.type != LIMN_CPU) {
        ok = device_ok(d, WATCHED(clEnqueueMarkerWithWaitList, d->queue, 0, NULL, &event),
                       "clEnqueueMarkerWithWaitList", e) &&
             device_ok(d, WATCHED(clFlush, d->queue), "clFlush", e) && device_wait(d, event, e);
        if (event)
            RELEASE(d, clReleaseEvent, event);
    }
    if (!d->lost) { /* a wait that failed may have been one of many: what is freed now must not be in use */
        watch_allow(patience(d));
        cl_int status = WATCHED(clFinish, d->queue);
        watch_allow(watch_patience);
        ok = device_ok(d, status, "clFinish", ok ? e : NULL) && ok;
    }
    if (ok) {
        double now = clock_seconds();
        measure(f, work, now - before, now);
    }
    f->failed = ok ? 0 : f->failed + 1;
    if (f->failed == 2) /* it isn't what was launched: that fails once */
        lose(d, "what was launched fails, and so does waiting for nothing");
    flight_free(d);
    return ok;
}
