/* limn tune: tries what could be faster on this device, each trial in a process of its own, and keeps what was. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/os.h"
#include "cli/child.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/probe.h"
#include "tune/tune.h"

#define PATIENCE 5 /* limits of a trial, for the kernels that it is compared with: a driver may compile for minutes */

/* ---- child processes ---- */

/* What a child is to do, and says: the device, and a trial where there are works. */
typedef struct order {
    const options *o;
    limn_device_info info; /* of the device that the first child found */
    tuning both[2];
    unsigned works;
} order;
typedef struct answer {
    err e;
    limn_device_info info;
    tuning otherwise; /* as the device is without what was saved */
    tuning saved;     /* and with it */
    tune_result result;
} answer;

static void carry_out(const void *context, void *said)
{
    const order *o = context;
    answer *a = said;
    char spec[32];
    if (!o->works) {
        device *d = command_device(o->o, &a->e);
        if (d) {
            a->info = d->info;
            a->otherwise = device_default_tuning(&d->info);
            a->saved = d->tune;
        }
        device_free(d);
        return;
    }
    limn_device_options quiet = {.memory_limit = options_unsigned(o->o, "mem-limit", 0),
                                 .no_cache = options_given(o->o, "no-cache")};
    snprintf(spec, sizeof spec, "%d.%d", o->info.platform, o->info.device);
    device *d = device_open(spec, &quiet, &a->e);
    if (d)
        tune_trial(d, o->both, o->works, &a->result);
    device_free(d);
}

static bool run_child(const order *o, double limit, answer *a, err *e)
{
    return child_answer(carry_out, o, limit, a, sizeof *a, e) &&
           (a->e.code == ERR_NONE || err_set(e, a->e.code, "%s", a->e.text));
}

/* ---- the command ---- */

typedef struct context {
    order o;
    double limit; /* seconds of a trial */
} context;

static bool run_trial(void *self, const tuning both[2], unsigned works, bool is_best, tune_result *r, err *e)
{
    context *c = self;
    answer a = {0};
    memcpy(c->o.both, both, sizeof c->o.both);
    c->o.works = works;
    if (!run_child(&c->o, is_best ? PATIENCE * c->limit : c->limit, &a, e))
        return false;
    *r = a.result;
    return true;
}

static bool wanted(void *self, const char *name)
{
    const options *o = ((context *)self)->o.o;
    bool is = o->n_operands == 0;
    for (int i = 0; i < o->n_operands && !is; i++)
        is = os_matches(o->operands[i], name);
    return is;
}

/* What the search begins with: what the device has by itself, and was found before of what isn't tuned now. */
static tuning start_of(context *c, const answer *a)
{
    tuning t = a->otherwise;
    for (int i = 0; i < tunables_count; i++)
        if (!wanted(c, tunables[i].name))
            tunable_set(&t, &tunables[i], tunable_get(&a->saved, &tunables[i]), &a->info);
    return tuning_valid(&t, &a->info) ? t : a->otherwise;
}

/* Each pattern means a tunable. */
static bool check_patterns(const options *o, err *e)
{
    for (int i = 0; i < o->n_operands; i++) {
        char names[640] = "";
        bool any = false;
        for (int k = 0; k < tunables_count; k++) {
            any = any || os_matches(o->operands[i], tunables[k].name);
            snprintf(names + strlen(names), sizeof names - strlen(names), " %s", tunables[k].name);
        }
        if (!any)
            return err_set(e, ERR_USAGE, "tune: %.60s means nothing that can be tuned (there are%s)", o->operands[i],
                           names);
    }
    return true;
}

static bool goes_on(void *self, int step, int all, err *e)
{
    (void)self;
    (void)step;
    (void)all;
    return interrupt_check(e);
}

static void print_line(void *self, const char *line)
{
    (void)self;
    print_said(line);
    putchar('\n');
    fflush(stdout);
}

int command_tune(const options *o)
{
    err e = {0};
    answer a = {0};
    context c = {.o.o = o, .limit = options_number(o, "trial-seconds", 120)};
    double budget = options_number(o, "seconds", 0), start = clock_seconds();
    interrupt_catch();
    bool ok = check_patterns(o, &e) && probe_check(false, &e) && run_child(&c.o, c.limit, &a, &e);
    if (ok) {
        tuner u = {.info = a.info,
                   .best = start_of(&c, &a),
                   .end = budget > 0 ? start + budget : 0,
                   .trial = run_trial,
                   .wanted = wanted,
                   .goes_on = goes_on,
                   .say = print_line,
                   .context = &c};
        c.o.info = a.info;
        printf("%s (%s), %s, %u units, vectors of %d\n", a.info.name, a.info.platform_name,
               device_type_name(a.info.type), (unsigned)a.info.compute_units, (int)a.info.vector_width);
        ok = tune_search(&u, &e);
        char *directory = ok ? file_cache_directory() : NULL, path[4200];
        if (directory) {
            snprintf(path, sizeof path, "%s/tuning", directory);
            say_wrote(path, "%d trials", u.trials);
        }
        free(directory);
    }
    return ok ? 0 : report(&e);
}
