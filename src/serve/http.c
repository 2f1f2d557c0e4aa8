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
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "serve/http_gate.h"

struct http_server {
    http_options o;
    struct MHD_Daemon *daemon;
    http_gate *gate;
    int port;
    size_t held; /* bytes of bodies without an answer; by atomic operations */
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
    size_t held;           /* of these */
    bool too_large, too_many, malformed, handled;
    bool early; /* it is answered before its body is read */
    /* the answer */
    int status; /* 0: none yet */
    char *type;
    text_buffer headers; /* NAME 0 VALUE 0 … */
    text_buffer out;
    size_t sent;
    bool stream, ended, suspended, queued;
};

/* ---- life of an exchange ---------------------------------------------------------------------------------------- */

/* The path of "http://HOST/PATH" too. */
static const char *path_of(const char *target)
{
    const char *name = *target == '/' ? NULL : strstr(target, "://"), *path = name ? strchr(name + 3, '/') : target;
    return path ? path : "/";
}

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
    x->path = strdup(path_of(path));
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

/* What the client has sent, behind the headers.  Who handles it has taken what it needs, so it counts until there is an
 * answer. */
static void drop_body(exchange *x)
{
    for (size_t i = 0; i < x->n_parts; i++) {
        free(x->parts[i].name);
        free(x->parts[i].file);
        free(x->parts[i].text);
    }
    free(x->parts);
    x->parts = NULL;
    x->n_parts = 0;
    text_release(&x->body);
}

void exchange_release(exchange *x)
{
    pthread_mutex_lock(&x->lock);
    bool last = --x->holders == 0;
    pthread_mutex_unlock(&x->lock);
    if (!last)
        return;
    __atomic_sub_fetch(&x->s->held, x->held, __ATOMIC_RELAXED);
    drop_body(x);
    free(x->method);
    free(x->path);
    free(x->type);
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

const char *exchange_query(const exchange *x, const char *name)
{
    return MHD_lookup_connection_value(x->c, MHD_GET_ARGUMENT_KIND, name);
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
    /* a field may begin twice, the first time without a byte */
    const http_part *last = x->n_parts ? &x->parts[x->n_parts - 1] : NULL;
    bool again = last && last->size == 0 && last->name && !strcmp(last->name, name ? name : "");
    if (offset == 0 && !again) {
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

/* Whether there is room for so many bytes more. */
static bool hold_bytes(exchange *x, size_t size)
{
    if (__atomic_add_fetch(&x->s->held, size, __ATOMIC_RELAXED) > x->s->o.bodies_most) {
        __atomic_sub_fetch(&x->s->held, size, __ATOMIC_RELAXED);
        return false;
    }
    x->held += size;
    return true;
}

/* Bytes of the body; those beyond what may be are counted and forgotten. */
static bool take_body(exchange *x, const char *data, size_t size)
{
    x->bytes += size;
    x->too_large = x->too_large || x->bytes > x->s->o.body_most;
    if (!x->too_large && !x->too_many)
        x->too_many = !hold_bytes(x, size);
    if (x->too_many && x->held > 0) { /* the others have its room */
        if (x->form)
            MHD_destroy_post_processor(x->form);
        x->form = NULL;
        drop_body(x);
        __atomic_sub_fetch(&x->s->held, x->held, __ATOMIC_RELAXED);
        x->held = 0;
    }
    if (x->too_large || x->too_many)
        return x->bytes < 2 * x->s->o.body_most; /* a client that goes on is cut off */
    if (!x->form && exchange_is_form(x) && x->bytes == size)
        x->form = MHD_create_post_processor(x->c, 65536, take_part, x);
    if (x->form)
        x->malformed = x->malformed || MHD_post_process(x->form, data, size) != MHD_YES;
    return x->form || text_put(&x->body, data, size);
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
    if (x->early) /* or its body would be taken for a request */
        MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close");
    x->queued = true;
    enum MHD_Result result = MHD_queue_response(x->c, (unsigned)x->status, r);
    MHD_destroy_response(r);
    return result;
}

/* ---- libmicrohttpd's calls --------------------------------------------------------------------------------------- */

static void on_completed(void *context, struct MHD_Connection *c, void **own, enum MHD_RequestTerminationCode code)
{
    http_server *s = context;
    exchange *x = *own;
    (void)code, (void)c;
    if (!x)
        return;
    gate_answered(s->gate, x->fd);
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

static const char too_many[] = "the bodies of all requests together are too large now: try again in a moment";

/* The headers are there. */
static enum MHD_Result begin_request(http_server *s, struct MHD_Connection *c, exchange *x)
{
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    x->early = length || MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Transfer-Encoding");
    s->o.begin(s->o.context, x);
    const size_t comes = length ? strtoull(length, NULL, 10) : 0, held = __atomic_load_n(&s->held, __ATOMIC_RELAXED);
    if (!x->status && comes > s->o.body_most)
        s->o.refuse(s->o.context, x, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
    else if (!x->status && comes > 0 && (held > s->o.bodies_most || comes > s->o.bodies_most - held))
        s->o.refuse(s->o.context, x, MHD_HTTP_SERVICE_UNAVAILABLE, too_many);
    if (x->status)
        return queue_answer(x);
    x->early = false;
    return MHD_YES;
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
        x->handled = true;
        if (x->form) /* a form without its end lacks a part of its last field */
            x->malformed = MHD_destroy_post_processor(x->form) != MHD_YES || x->malformed;
        x->form = NULL;
        if (x->too_large)
            s->o.refuse(s->o.context, x, MHD_HTTP_CONTENT_TOO_LARGE, "the body is too large");
        else if (x->too_many)
            s->o.refuse(s->o.context, x, MHD_HTTP_SERVICE_UNAVAILABLE, too_many);
        else if (x->malformed)
            s->o.refuse(s->o.context, x, MHD_HTTP_BAD_REQUEST, "the form is malformed");
        else
            s->o.handle(s->o.context, x);
        drop_body(x);
    }
    pthread_mutex_lock(&x->lock);
    bool answers = x->status && !x->queued;
    if (!x->status) {
        x->suspended = true;
        MHD_suspend_connection(c);
    }
    pthread_mutex_unlock(&x->lock);
    return answers ? queue_answer(x) : MHD_YES; /* what it reads doesn't change any more */
}

/* ---- the server -------------------------------------------------------------------------------------------------- */

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

/* The gate gives the other end of a client's connection. */
static bool admit(void *context, int fd)
{
    http_server *s = context;
    const struct sockaddr nobody = {.sa_family = AF_UNIX};
    return MHD_add_connection(s->daemon, fd, &nobody, sizeof nobody) == MHD_YES;
}

/* An answer of the gate's own. */
static void refuse(void *context, int status, const char *why, text_buffer *answer)
{
    http_server *s = context;
    text_buffer body = {0};
    s->o.describe(status, why, &body);
    text_format(answer,
                "HTTP/1.1 %d %s\r\nServer: %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
                "Connection: close\r\n%s\r\n",
                status, MHD_get_reason_phrase_for((unsigned)status), s->o.server, body.size,
                status == MHD_HTTP_SERVICE_UNAVAILABLE ? "Retry-After: 2\r\n" : "");
    text_put(answer, body.text ? body.text : "", body.size);
    text_release(&body);
}

/* As many connections as there may be descriptors for, three for each. */
static int most_connections(int wanted)
{
    struct rlimit r;
    const rlim_t need = 3 * (rlim_t)wanted + 256;
    if (getrlimit(RLIMIT_NOFILE, &r))
        return wanted;
    if (r.rlim_cur != RLIM_INFINITY && r.rlim_cur < need) {
        r.rlim_cur = r.rlim_max == RLIM_INFINITY || r.rlim_max > need ? need : r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    if (getrlimit(RLIMIT_NOFILE, &r) || r.rlim_cur == RLIM_INFINITY || r.rlim_cur >= need)
        return wanted;
    return r.rlim_cur > 512 ? (int)(r.rlim_cur - 256) / 3 : 64;
}

http_server *http_start(const http_options *o, err *e)
{
    http_server *s = calloc(1, sizeof *s);
    if (!s) {
        err_no_memory(e, "server", sizeof *s);
        return NULL;
    }
    s->o = *o;
    int fd = listen_at(o->host, o->port, &s->port, e), most = most_connections(o->connections);
    const gate_options gate = {.listener = fd,
                               .connections = most,
                               .deadline = o->deadline,
                               .body_most = o->body_most,
                               .admit = admit,
                               .refuse = refuse,
                               .context = s};
    s->gate = fd >= 0 ? gate_new(&gate) : NULL;
    if (s->gate)
        s->daemon = MHD_start_daemon(
            MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ERROR_LOG, 0,
            NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER, be_silent, NULL, MHD_OPTION_CONNECTION_LIMIT,
            2 * (unsigned)most, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)131072, MHD_OPTION_NOTIFY_COMPLETED,
            on_completed, s, MHD_OPTION_END);
    if (s->daemon && gate_start(s->gate))
        return s;
    if (fd >= 0 && !s->gate)
        close(fd);
    if (fd >= 0)
        err_set(e, ERR_FAILED, "%.200s, port %d: the server doesn't start: no threads or no memory", o->host, o->port);
    http_stop(&s);
    return NULL;
}

int http_port(const http_server *s)
{
    return s->port;
}

void http_quiesce(http_server *s)
{
    gate_quiesce(s->gate);
}

void http_stop(http_server **at)
{
    http_server *s = *at;
    if (!s)
        return;
    if (s->gate)
        gate_stop(s->gate);
    if (s->daemon)
        MHD_stop_daemon(s->daemon);
    gate_free(&s->gate);
    free(s);
    *at = NULL;
}
