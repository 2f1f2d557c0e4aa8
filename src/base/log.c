/* Messages on their way out: formatting and the one sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static log_place everybodys;
static _Thread_local log_place own;

void log_set_sink(log_sink *sink, void *context)
{
    everybodys = (log_place){sink, context};
}

log_place log_redirect(log_place to)
{
    log_place before = own;
    own = to;
    return before;
}

static void to_caller(void *context, log_level level, const char *line)
{
    const caller_log *c = context;
    c->function(c->context, (int)level, line);
}

log_place log_of(const caller_log *c)
{
    return c->function ? (log_place){to_caller, (void *)(uintptr_t)c} : (log_place){0};
}

void log_write(log_level level, const char *fmt, ...)
{
    const log_place to = own.sink ? own : everybodys;
    if (!to.sink)
        return;
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < (int)sizeof small) {
        to.sink(to.context, level, small);
        return;
    }
    char *large = malloc((size_t)n + 1);
    if (large) {
        va_start(ap, fmt);
        vsnprintf(large, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    to.sink(to.context, level, large ? large : small);
    free(large);
}

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
