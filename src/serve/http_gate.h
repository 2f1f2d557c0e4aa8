/* What stands before libmicrohttpd, which lets requests through that can be read in two ways, answers some errors in
 * HTML and waits for a client as long as now and then a byte comes.  The gate takes the clients' connections, reads
 * where each request begins and ends, and passes on what is whole and plain; it alone sees time. */
#ifndef SERVE_HTTP_GATE_H
#define SERVE_HTTP_GATE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serve/text.h"

typedef struct http_gate http_gate;

typedef struct gate_options {
    int listener;    /* a socket that listens; the gate closes it */
    int connections; /* at once */
    int deadline;    /* seconds in which a request must be whole */
    size_t body_most;
    /* Gives libmicrohttpd the other end of a connection. */
    bool (*admit)(void *context, int fd);
    /* Writes an answer, with its head, after which the connection is closed. */
    void (*refuse)(void *context, int status, const char *why, text_buffer *answer);
    void *context;
} gate_options;

/* NULL: there is no memory for it. */
http_gate *gate_new(const gate_options *o);
/* Takes connections from now on.  False: there is no thread for it. */
bool gate_start(http_gate *g);
/* From any thread: the answer to the request at that end is written. */
void gate_answered(http_gate *g, int fd);
/* No new connections from now on. */
void gate_quiesce(http_gate *g);
/* Ends when clients have the answers that are there; gate_answered may still be called until it is freed. */
void gate_stop(http_gate *g);
void gate_free(http_gate **g);
#endif
