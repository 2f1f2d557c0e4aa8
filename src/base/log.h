/* Messages on their way out.  The library never prints: it hands lines to the sink that the caller installed. */
#ifndef BASE_LOG_H
#define BASE_LOG_H
#include "limn/limn.h"

typedef enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG } log_level;

typedef void log_sink(void *context, log_level level, const char *line);

/* Installs the sink; NULL, the default, drops every message.  Not thread-safe: call it once, at start. */
void log_set_sink(log_sink *sink, void *context);

/* Where what this thread says goes instead; sink NULL: to that of log_set_sink. */
typedef struct log_place {
    log_sink *sink;
    void *context;
} log_place;
/* Returns where it went before. */
log_place log_redirect(log_place to);
/* A function of the API's caller, which stays where it is, or none, as a place. */
typedef struct caller_log {
    limn_log_function *function;
    void *context;
} caller_log;
log_place log_of(const caller_log *c);

/* One message, without a final newline; it may have several lines (a kernel build log). */
void log_write(log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Seconds of a clock that only goes forward. */
double clock_seconds(void);
#endif
