/* Messages on their way out: formatting and the one sink. */
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static log_sink *current_sink;
static void *current_context;

void log_set_sink(log_sink *sink, void *context)
{
    current_sink = sink;
    current_context = context;
}

void log_write(log_level level, const char *fmt, ...)
{
    if (!current_sink)
        return;
    char small[512];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    va_end(ap);
    if (n < (int)sizeof small) {
        current_sink(current_context, level, small);
        return;
    }
    char *large = malloc((size_t)n + 1);
    if (large) {
        va_start(ap, fmt);
        vsnprintf(large, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    current_sink(current_context, level, large ? large : small);
    free(large);
}

double clock_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
