/* The public API of tuning: trials in this process. */
#include "limn/limn.h"

#include <stdio.h>

#include "base/control.h"
#include "base/log.h"
#include "models/guard.h"
#include "tune/tune.h"

typedef struct tune_call {
    const limn_control *control;
    limn_device *d;
} tune_call;

/* On a device of its own: kernels are compiled for one tuning. */
static bool run_trial(void *self, const tuning both[2], unsigned works, bool is_best, tune_result *r, err *e)
{
    const device *d = ((tune_call *)self)->d;
    const limn_device_options quiet = {.memory_limit = d->memory_limit,
                                       .no_cache = d->no_cache,
                                       .log = d->log.function,
                                       .log_context = d->log.context};
    char spec[32];
    (void)is_best;
    snprintf(spec, sizeof spec, "%d.%d", d->info.platform, d->info.device);
    limn_device *own = limn_device_open(spec, &quiet, e);
    if (own)
        tune_trial(own, both, works, r);
    bool ok = own != NULL;
    limn_device_free(&own);
    return ok;
}

static bool goes_on(void *self, int step, int steps, err *e)
{
    return control_goes_on(((tune_call *)self)->control, "tune", step, steps, e);
}

static void log_line(void *self, const char *line)
{
    (void)self;
    log_write(LOG_INFO, "tune: %s", line);
}

bool limn_tune(limn_device *d, double seconds, const limn_control *control, limn_error *e)
{
    tune_call call = {control, d};
    tuner u = {.info = d->info,
               .best = device_default_tuning(&d->info),
               .end = seconds > 0 ? clock_seconds() + seconds : 0,
               .trial = run_trial,
               .goes_on = goes_on,
               .say = log_line,
               .context = &call};
    if (!guard_enter(d, e))
        return false;
    bool ok = tune_search(&u, e);
    guard_leave(d);
    return ok;
}
