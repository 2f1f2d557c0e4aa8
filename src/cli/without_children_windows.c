/* Windows has no fork: drivers are asked, and work is done, in this process, in place of guard_posix.c, probe_posix.c
 * and child_posix.c.  What a driver prints comes to the streams, and one that crashes ends the program. */
#include <stdlib.h>

#include "cli/child.h"
#include "cli/guard.h"
#include "cli/probe.h"

void guard_start(void)
{
}

void guard_end(int code)
{
    (void)code;
}

void guard_loading(bool on)
{
    (void)on;
}

/* None is asked: the loader has its list in the registry, and limn can't show it another. */
bool probe_drivers(const driver_list *l, probe **out, err *e)
{
    *out = calloc(l->n + 1, sizeof **out);
    return *out || err_no_memory(e, "drivers", l->n * sizeof **out);
}

void probe_free(probe *p, size_t n)
{
    for (size_t i = 0; p && i < n; i++)
        free(p[i].devices);
    free(p);
}

bool probe_use(const driver_list *l, const probe *answers, err *e)
{
    (void)l, (void)answers, (void)e;
    return true;
}

bool probe_check(bool fresh, err *e)
{
    (void)fresh, (void)e;
    return true;
}

struct child {
    child_heard *heard;
    void *hearer;
};

void child_tell(child *c, json_t *value)
{
    if (value)
        c->heard(c->hearer, value);
    json_decref(value);
}

bool child_run(child_work *work, void *context, double limit, child_heard *heard, void *hearer, char said[CHILD_SAID],
               err *e)
{
    child c = {heard, hearer};
    (void)limit;
    said[0] = 0;
    return work(&c, context, e);
}

bool child_answer(child_answers *work, const void *context, double limit, void *answer, size_t bytes, err *e)
{
    (void)limit, (void)bytes, (void)e;
    work(context, answer);
    return true;
}
