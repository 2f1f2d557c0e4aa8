/* HTTP by libmicrohttpd.  An exchange whose answer isn't there yet is suspended, and who answers resumes it. */
#include "serve/http.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/text.h"

/* A connection of a client, which may have several requests one after the other. */
typedef struct connection {
    struct connection *next, **from;
    int fd;
    time_t since; /* the request that is being read began then, or could have */
    bool whole;   /* it was read, and isn't answered */
} connection;

struct http_server {
    http_options o;
    struct MHD_Daemon *daemon;
    int port;
    pthread_mutex_t lock;
    connection *connections;
    pthread_t sweeper;
    bool swept, ends;
    pthread_cond_t end;
};

struct exchange {
    http_server *s;
    struct MHD_Connection *c; /* NULL: it is closed */
    pthread_mutex_t lock;
    int holders;
    int fd;
    char *method, *path;
    text_buffer body;
    struct MHD_PostProcessor *form;
    http_part *parts;
    size_t n_parts, bytes; /* bytes: read so far, of all of the body */
    bool too_large, handled;
    /* the answer */
    int status; /* 0: none yet */
    char *type;
    text_buffer headers; /* NAME 0 VALUE 0 … */
    text_buffer out;
    size_t sent;
    bool stream, ended, suspended, queued;
};

static time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

/* ---- life of an exchange ---------------------------------------------------------------------------------------- */

static exchange *exchange_new(http_server *s, struct MHD_Connection *c, const char *method, const char *path)
{
    exchange *x = calloc(1, sizeof *x);
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    if (!x)
        return NULL;
    x->s = s;
    x->c = c;
    x->fd = i ? (int)i->connect_fd : -1;
    x->holders = 1;
    x->method = strdup(method);
    x->path = strdup(path);
    pthread_mutex_init(&x->lock, NULL);
    if (x->method && x->path)
        return x;
    exchange_release(x);
    return NULL;
}

void exchange_hold(exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->holders++;
    pthread_mutex_unlock(&x->lock);
}

void exchange_release(exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool last = --x->holders == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last)
        return;
    for (size_t i = 0; i < x->n_parts; i++) {
        free(x->parts[i].name);
        free(x->parts[i].file);
        free(x->parts[i].text);
    }
    free(x->parts);
    free(x->method);
    free(x->path);
    free(x->type);
    text_release(&x->body);
    text_release(&x->headers);
    text_release(&x->out);
    pthread_mutex_destroy(&x->lock);
    free(x);
}

/* ---- requests --------------------------------------------------------------------------------------------------- */

const char *exchange_method(const exchange *x)
{
    return x->method;
}

const char *exchange_path(const exchange *x)
{
    return x->path;
}

const char *exchange_header(const exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->c, MHD_HEADER_KIND, name);
}

const char *exchange_body(const exchange *x, size_t *size)
{
    *size = x->body.size;
    return x->body.text ? x->body.text : "";
}

bool exchange_is_form(const exchange *x)
{
    const char *type = exchange_header(x, "Content-Type");
    return type && !strncasecmp(type, "multipart/form-data", 19); /* others: JSON, whatever they are called */
}

const http_part *exchange_part(const exchange *x, size_t i)
{
    return i < x->n_parts ? &x->parts[i] : NULL;
}

/* A piece of a form's field; offset 0 begins one. */
static enum MHD_Result take_part(void *context, enum MHD_ValueKind kind, const char *name, const char *file,
                                 const char *type, const char *encoding, const char *data, uint64_t offset, size_t size)
{
    exchange *x = context;
    (void)kind, (void)type, (void)encoding;
    if (offset == 0) {
        http_part *grown = x->n_parts < 256 ? realloc(x->parts, (x->n_parts + 1) * sizeof *grown) : NULL;
        if (!grown)
            return MHD_NO;
        x->parts = grown;
        grown[x->n_parts++] =
            (http_part){.name = strdup(name ? name : ""), .file = file ? strdup(file) : NULL, .text = calloc(1, 1)};
    }
    http_part *p = &x->parts[x->n_parts - 1];
    char *text = p->name && p->text ? realloc(p->text, p->size + size + 1) : NULL;
    if (!text)
        return MHD_NO;
    memcpy(text + p->size, data, size);
    p->text = text;
    p->size += size;
    text[p->size] = 0;
    return MHD_YES;
}

/* Bytes of the body; those beyond what may be are counted and forgotten. */
static bool take_body(exchange *x, const char *data, size_t size)
{
    x->bytes += size;
    x->too_large = x->too_large || x->bytes > x->s->o.body_most;
    if (x->too_large)
        return x->bytes < 2 * x->s->o.body_most; /* a client that goes on is cut off */
    if (!x->form && exchange_is_form(x) && x->bytes == size)
        x->form = MHD_create_post_processor(x->c, 65536, take_part, x);
    return x->form ? MHD_post_process(x->form, data, size) == MHD_YES : text_put(&x->body, data, size);
}

static enum MHD_Result count_framing(void *context, enum MHD_ValueKind kind, const char *name, const char *value)
{
    int *n = context;
    (void)kind, (void)value;
    n[0] += !strcasecmp(name, "Content-Length");
    n[1] += !strcasecmp(name, "Transfer-Encoding");
    return MHD_YES;
}

/* Two lengths, or a length and chunks: where one request ends would be a matter of opinion. */
static bool is_framed(exchange *x)
{
    int n[2] = {0};
    MHD_get_connection_values(x->c, MHD_HEADER_KIND, count_framing, n);
    return n[0] + n[1] <= 1;
}

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static void resume(exchange *x)
{
    if (x->suspended && x->c) {
        x->suspended = false;
        MHD_resume_connection(x->c);
    }
}

void exchange_put_header(exchange *x, const char *name, const char *value)
{
    pthread_mutex_lock(&x->lock);
    if (!x->status && text_put(&x->headers, name, strlen(name) + 1))
        text_put(&x->headers, value, strlen(value) + 1);
    pthread_mutex_unlock(&x->lock);
}

void exchange_answer(exchange *x, int status, const char *type, const void *data, size_t size)
{
    pthread_mutex_lock(&x->lock);
    if (!x->status) {
        x->type = strdup(type);
        x->status = x->type && text_put(&x->out, data, size) ? status : MHD_HTTP_INTERNAL_SERVER_ERROR;
        x->ended = true;
        resume(x);
    }
    pthread_mutex_unlock(&x->lock);
}

void exchange_stream(exchange *x, const char *type)
{
    pthread_mutex_lock(&x->lock);
    if (!x->status) {
        x->type = strdup(type);
        x->status = MHD_HTTP_OK;
        x->stream = true;
        resume(x);
    }
    pthread_mutex_unlock(&x->lock);
}

void exchange_send(exchange *x, const void *data, size_t size)
{
    pthread_mutex_lock(&x->lock);
    if (x->stream && !x->ended && text_put(&x->out, data, size))
        resume(x);
    pthread_mutex_unlock(&x->lock);
}

bool exchange_streams(exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool streams = x->stream;
    pthread_mutex_unlock(&x->lock);
    return streams;
}

void exchange_end(exchange *x)
{
    pthread_mutex_lock(&x->lock);
    x->ended = true;
    resume(x);
    pthread_mutex_unlock(&x->lock);
}

bool exchange_gone(exchange *x)
{
    char byte;
    pthread_mutex_lock(&x->lock);
    ssize_t n = x->c ? recv(x->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) : 0;
    bool gone = n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    pthread_mutex_unlock(&x->lock);
    return gone;
}

/* What a stream has now; without anything it is suspended until there is. */
static ssize_t read_stream(void *context, uint64_t position, char *to, size_t room)
{
    exchange *x = context;
    (void)position;
    pthread_mutex_lock(&x->lock);
    size_t left = x->out.size - x->sent, n = left < room ? left : room;
    memcpy(to, x->out.text ? x->out.text + x->sent : "", n);
    x->sent += n;
    if (x->sent == x->out.size)
        x->sent = x->out.size = 0;
    ssize_t result = (ssize_t)n;
    if (n == 0 && x->ended) {
        result = MHD_CONTENT_READER_END_OF_STREAM;
    } else if (n == 0) {
        x->suspended = true;
        MHD_suspend_connection(x->c);
    }
    pthread_mutex_unlock(&x->lock);
    return result;
}

/* The answer that is there goes to the client. */
static enum MHD_Result queue_answer(exchange *x)
{
    struct MHD_Response *r =
        x->stream ? MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, read_stream, x, NULL)
                  : MHD_create_response_from_buffer(x->out.size, x->out.text ? x->out.text : "", MHD_RESPMEM_MUST_COPY);
    if (!r)
        return MHD_NO;
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, x->type ? x->type : "text/plain");
    MHD_add_response_header(r, MHD_HTTP_HEADER_SERVER, x->s->o.server);
    for (size_t at = 0; at < x->headers.size;) {
        const char *name = x->headers.text + at, *value = name + strlen(name) + 1;
        MHD_add_response_header(r, name, value);
        at += strlen(name) + strlen(value) + 2;
    }
    x->queued = true;
    enum MHD_Result result = MHD_queue_response(x->c, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return result;
}

/* ---- libmicrohttpd's calls --------------------------------------------------------------------------------------- */

static connection *connection_of(struct MHD_Connection *c)
{
    const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    return i ? i->socket_context : NULL;
}

static void on_connection(void *context, struct MHD_Connection *c, void **own, enum MHD_ConnectionNotificationCode code)
{
    http_server *s = context;
    pthread_mutex_lock(&s->lock);
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        connection *n = calloc(1, sizeof *n);
        const union MHD_ConnectionInfo *i = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (n && i) {
            *n =
                (connection){.next = s->connections, .from = &s->connections, .fd = (int)i->connect_fd, .since = now()};
            if (n->next)
                n->next->from = &n->next;
            s->connections = n;
        }
        *own = n;
    } else if (*own) {
        connection *n = *own;
        *n->from = n->next;
        if (n->next)
            n->next->from = n->from;
        free(n);
        *own = NULL;
    }
    pthread_mutex_unlock(&s->lock);
}

static void on_completed(void *context, struct MHD_Connection *c, void **own, enum MHD_RequestTerminationCode code)
{
    http_server *s = context;
    exchange *x = *own;
    connection *n = connection_of(c);
    (void)code;
    pthread_mutex_lock(&s->lock);
    if (n) {
        n->whole = false;
        n->since = now();
    }
    pthread_mutex_unlock(&s->lock);
    if (!x)
        return;
    pthread_mutex_lock(&x->lock);
    x->c = NULL;
    x->ended = true;
    pthread_mutex_unlock(&x->lock);
    if (x->form)
        MHD_destroy_post_processor(x->form);
    x->form = NULL;
    exchange_release(x);
    *own = NULL;
}

/* The headers are there. */
static enum MHD_Result begin_request(http_server *s, struct MHD_Connection *c, exchange *x)
{
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    if (!is_framed(x)) {
        exchange_put_header(x, "Connection", "close");
        s->o.refuse(s->o.context, x, MHD_HTTP_BAD_REQUEST, "a request has one length");
    } else {
        s->o.begin(s->o.context, x);
    }
    if (!x->status && length && strtoull(length, NULL, 10) > s->o.body_most) {
        exchange_put_header(x, "Connection", "close");
        s->o.refuse(s->o.context, x, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    }
    return x->status ? queue_answer(x) : MHD_YES;
}

static enum MHD_Result on_request(void *context, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *data, size_t *size, void **own)
{
    http_server *s = context;
    exchange *x = *own;
    (void)version;
    if (!x) {
        x = *own = exchange_new(s, c, method, path);
        return x ? begin_request(s, c, x) : MHD_NO;
    }
    if (*size) {
        bool ok = take_body(x, data, *size);
        *size = 0;
        return ok ? MHD_YES : MHD_NO;
    }
    if (!x->handled) {
        connection *n = connection_of(c);
        pthread_mutex_lock(&s->lock);
        if (n)
            n->whole = true;
        pthread_mutex_unlock(&s->lock);
        x->handled = true;
        if (x->too_large)
            s->o.refuse(s->o.context, x, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
        else
            s->o.handle(s->o.context, x);
    }
    pthread_mutex_lock(&x->lock);
    enum MHD_Result result = MHD_YES;
    if (x->status && !x->queued) {
        result = queue_answer(x);
    } else if (!x->status) {
        x->suspended = true;
        MHD_suspend_connection(c);
    }
    pthread_mutex_unlock(&x->lock);
    return result;
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

/* Cuts off those whose request isn't whole in time. */
static void *sweep(void *context)
{
    http_server *s = context;
    pthread_mutex_lock(&s->lock);
    while (!s->ends) {
        struct timespec until;
        clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec++;
        pthread_cond_timedwait(&s->end, &s->lock, &until);
        for (connection *n = s->connections; n; n = n->next)
            if (!n->whole && now() - n->since > s->o.deadline)
                shutdown(n->fd, SHUT_RDWR);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* A socket that listens at one of the host's addresses; -1 with e filled. */
static int listen_at(const char *host, int port, int *at, err *e)
{
    const struct addrinfo like = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char number[16];
    int fd = -1, why = 0;
    snprintf(number, sizeof number, "%d", port);
    int failed = getaddrinfo(host, number, &like, &list);
    if (failed) {
        err_set(e, ERR_FAILED, "%.200s: no address to listen at: %s", host, gai_strerror(failed));
        return -1;
    }
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        const int yes = 1;
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) ||
            bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 511)) {
            why = errno;
            if (fd >= 0)
                close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    struct sockaddr_storage own = {0};
    socklen_t size = sizeof own;
    if (fd < 0)
        err_set(e, ERR_FAILED, "%.200s, port %d: %s%s", host, port, strerror(why),
                why == EADDRINUSE ? " (another program listens there: --port takes another)" : "");
    else if (getsockname(fd, (struct sockaddr *)&own, &size) == 0 &&
             getnameinfo((struct sockaddr *)&own, size, NULL, 0, number, sizeof number, NI_NUMERICSERV) == 0)
        *at = atoi(number);
    return fd;
}

static void be_silent(void *context, const char *format, va_list list)
{
    (void)context, (void)format, (void)list;
}

http_server *http_start(const http_options *o, err *e)
{
    http_server *s = calloc(1, sizeof *s);
    if (!s) {
        err_no_memory(e, "server", sizeof *s);
        return NULL;
    }
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->end, NULL);
    int fd = listen_at(o->host, o->port, &s->port, e);
    if (fd >= 0)
        s->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s,
            MHD_OPTION_EXTERNAL_LOGGER, be_silent, NULL, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
            (unsigned)o->connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)65536, MHD_OPTION_CONNECTION_TIMEOUT,
            (unsigned)o->deadline, MHD_OPTION_STRICT_FOR_CLIENT, 0, MHD_OPTION_NOTIFY_CONNECTION, on_connection, s,
            MHD_OPTION_NOTIFY_COMPLETED, on_completed, s, MHD_OPTION_END);
    if (fd >= 0 && !s->daemon) {
        close(fd);
        err_set(e, ERR_FAILED, "%.200s, port %d: libmicrohttpd doesn't start", o->host, o->port);
    }
    s->swept = s->daemon && pthread_create(&s->sweeper, NULL, sweep, s) == 0;
    if (s->swept)
        return s;
    if (s->daemon)
        err_set(e, ERR_FAILED, "server: no thread for it");
    http_stop(&s);
    return NULL;
}

int http_port(const http_server *s)
{
    return s->port;
}

void http_quiesce(http_server *s)
{
    int fd = (int)MHD_quiesce_daemon(s->daemon);
    if (fd >= 0)
        close(fd);
}

void http_stop(http_server **at)
{
    http_server *s = *at;
    if (!s)
        return;
    pthread_mutex_lock(&s->lock);
    s->ends = true;
    pthread_cond_signal(&s->end);
    pthread_mutex_unlock(&s->lock);
    if (s->swept)
        pthread_join(s->sweeper, NULL);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    pthread_cond_destroy(&s->end);
    pthread_mutex_destroy(&s->lock);
    free(s);
    *at = NULL;
}
