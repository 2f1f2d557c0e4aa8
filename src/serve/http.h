/* HTTP/1.1 on libmicrohttpd, behind a gate (http_gate.h): any thread may give an answer.  What a client may take in
 * bytes, connections and time is bounded here. */
#ifndef SERVE_HTTP_H
#define SERVE_HTTP_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "serve/text.h"

typedef struct http_server http_server;
typedef struct exchange exchange; /* a request and its answer */

typedef struct http_options {
    const char *host;   /* address or name to listen at */
    int port;           /* 0: a free one */
    size_t body_most;   /* bytes of a request's body */
    size_t bodies_most; /* of those of all requests that have no answer yet */
    int connections;    /* at once */
    int deadline;       /* seconds in which a request must be whole */
    const char *server; /* what answers say of the program, "limn/0.2" */
    /* Called when the headers are there: where it answers, the body isn't read. */
    void (*begin)(void *context, exchange *x);
    /* Called when the request is whole.  It answers, or holds the exchange and answers later. */
    void (*handle)(void *context, exchange *x);
    /* An answer to what no handler sees, such as a body that is too large. */
    void (*refuse)(void *context, exchange *x, int status, const char *why);
    /* Writes the body, JSON, of an answer to what is no request. */
    void (*describe)(int status, const char *why, text_buffer *body);
    void *context;
} http_options;

/* NULL with e filled ("127.0.0.1:8080: in use …") if it can't listen there. */
http_server *http_start(const http_options *o, err *e);
int http_port(const http_server *s);
/* No new requests from now on. */
void http_quiesce(http_server *s);
/* Ends when all connections are closed: those that wait for an answer must have one. */
void http_stop(http_server **s);

/* ---- requests: all texts live as long as the exchange, but the body and fields only until handle returns ---- */

const char *exchange_method(const exchange *x);
const char *exchange_path(const exchange *x);                     /* without the query, decoded */
const char *exchange_header(const exchange *x, const char *name); /* NULL: it isn't there */
const char *exchange_query(const exchange *x, const char *name);  /* ?NAME=VALUE, decoded; NULL: it isn't there */
const char *exchange_body(const exchange *x, size_t *size);       /* a 0 is behind it; of forms empty */
bool exchange_is_form(const exchange *x);

/* A field of a form: text[size], with a 0 behind it; of a file its name, else NULL. */
typedef struct http_part {
    char *name, *file;
    char *text;
    size_t size;
} http_part;
const http_part *exchange_part(const exchange *x, size_t i); /* NULL behind the last */

/* ---- answers, from any thread ---- */

/* Of the answer that follows. */
void exchange_put_header(exchange *x, const char *name, const char *value);
/* The answer; data is copied.  The first one counts. */
void exchange_answer(exchange *x, int status, const char *type, const void *data, size_t size);
/* An answer in pieces, which are sent as they come, until its end. */
void exchange_stream(exchange *x, const char *type);
void exchange_send(exchange *x, const void *data, size_t size);
bool exchange_streams(exchange *x); /* whether its answer has begun so */
void exchange_end(exchange *x);

/* For who answers later: the exchange stays until it is released. */
void exchange_hold(exchange *x);
void exchange_release(exchange *x);
/* Whether the client has hung up. */
bool exchange_gone(exchange *x);
#endif
