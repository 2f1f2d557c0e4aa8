/* The gate: one thread, a pair of sockets for each connection. */
#include "serve/http_gate.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "serve/http_head.h"

enum { ROOM = 2 * HTTP_HEAD_MOST, LINGER = 2, FLUSH = 2 }; /* the last two: seconds */

/* Bytes on their way. */
typedef struct stretch {
    size_t sent, size;
    char bytes[ROOM];
} stretch;

typedef enum state { HEAD, BODY, ANSWER, CLOSING, CLOSED } state;

typedef struct wire {
    struct wire *next;
    int client, inner, other; /* other: the number of libmicrohttpd's end */
    int at;                   /* among the polled ones; -1: not there yet */
    state state;
    time_t since, moved; /* the request could begin then; bytes of an answer went */
    bool ended;          /* the client sends no more */
    bool relayed;        /* some of the answer went */
    bool shut;           /* the client, or libmicrohttpd, was told that no more comes */
    int answered;        /* libmicrohttpd's thread sets it */
    http_head head;
    http_chunks chunks;
    uint64_t left; /* of the body */
    size_t n;
    char in[HTTP_HEAD_MOST]; /* what came and isn't passed on */
    stretch to, back;
} wire;

struct http_gate {
    gate_options o;
    pthread_t thread;
    bool started;
    int wake[2];
    pthread_mutex_t lock; /* of the list and the two below; the gate's thread alone changes the list */
    bool quiet, stops;
    wire *links;
    int n;
    struct pollfd *polled;
    time_t rests; /* no connection is taken until then: there are no descriptors */
};

static time_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec;
}

static bool later(void)
{
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

/* ---- ends of connections ------------------------------------------------------------------------------------------
 */

static void begin_closing(http_gate *g, wire *l)
{
    pthread_mutex_lock(&g->lock);
    if (l->inner >= 0)
        close(l->inner);
    l->inner = l->other = -1; /* the numbers may become another connection's */
    pthread_mutex_unlock(&g->lock);
    l->state = CLOSING;
    l->since = l->moved = now();
    l->shut = false;
    l->n = 0;
}

static void put(stretch *s, const char *data, size_t size)
{
    memcpy(s->bytes + s->size, data, size);
    s->size += size;
}

/* The gate's own answer, after which the connection is closed. */
static void refuse(http_gate *g, wire *l, int status, const char *why)
{
    text_buffer b = {0};
    g->o.refuse(g->o.context, status, why, &b);
    if (b.size <= sizeof l->back.bytes - l->back.size)
        put(&l->back, b.text, b.size);
    text_release(&b);
    begin_closing(g, l);
}

/* False: the other side takes no more now, or none any more. */
static bool flush(stretch *s, int fd, bool *broken)
{
    while (s->sent < s->size) {
        ssize_t n = send(fd, s->bytes + s->sent, s->size - s->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n <= 0) {
            *broken = !later();
            return false;
        }
        s->sent += (size_t)n;
    }
    s->sent = s->size = 0;
    return true;
}

/* ---- from the client ----------------------------------------------------------------------------------------------
 */

static void consume(wire *l, size_t n)
{
    l->n -= n;
    memmove(l->in, l->in + n, l->n);
}

/* A connection to libmicrohttpd. */
static bool open_inner(http_gate *g, wire *l)
{
    int pair[2];
    if (l->inner >= 0)
        return true;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return false;
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    pthread_mutex_lock(&g->lock);
    l->inner = pair[0];
    l->other = pair[1];
    pthread_mutex_unlock(&g->lock);
    return g->o.admit(g->o.context, pair[1]);
}

static void pass_head(http_gate *g, wire *l)
{
    http_found found = http_head_read(&l->head, l->in, l->n);
    if (found == HTTP_MORE)
        return;
    if (found == HTTP_BAD || !open_inner(g, l)) {
        refuse(g, l, found == HTTP_BAD ? l->head.status : 503, found == HTTP_BAD ? l->head.why : "the server is busy");
        return;
    }
    put(&l->to, l->in + l->head.begin, l->head.size - l->head.begin);
    l->state = l->head.framing == HTTP_NO_BODY ? ANSWER : BODY;
    l->left = l->head.length;
    l->relayed = false;
    l->chunks = (http_chunks){0};
    consume(l, l->head.size);
}

/* Chunks become other ones, without extensions and trailers. */
static void pass_chunks(http_gate *g, wire *l)
{
    http_found found = HTTP_MORE;
    size_t at = 0, used = 0, size = 0;
    const char *data = NULL;
    while (found == HTTP_MORE && at < l->n && sizeof l->to.bytes - l->to.size >= l->n - at + 64) {
        char line[32];
        found = http_chunks_read(&l->chunks, l->in + at, l->n - at, &used, &data, &size);
        if (size > 0) {
            put(&l->to, line, (size_t)snprintf(line, sizeof line, "%zx\r\n", size));
            put(&l->to, data, size);
            put(&l->to, "\r\n", 2);
        }
        at += used;
    }
    consume(l, at);
    if (l->chunks.total > g->o.body_most)
        refuse(g, l, 413, "the body is too large");
    else if (found == HTTP_BAD)
        refuse(g, l, 400, "the body's chunks are malformed");
    if (found == HTTP_WHOLE && l->state == BODY) {
        put(&l->to, "0\r\n\r\n", 5);
        l->state = ANSWER;
    }
}

static void pass_body(http_gate *g, wire *l)
{
    if (l->head.framing == HTTP_CHUNKS) {
        pass_chunks(g, l);
        return;
    }
    size_t room = sizeof l->to.bytes - l->to.size, some = l->n < room ? l->n : room;
    some = some < l->left ? some : (size_t)l->left;
    put(&l->to, l->in, some);
    consume(l, some);
    l->left -= some;
    if (l->left == 0)
        l->state = ANSWER;
}

/* The client sends no more, and what it sent is passed on, as far as it is of this request. */
static void end_input(http_gate *g, wire *l)
{
    while (l->state == ANSWER && l->n >= 2 && !memcmp(l->in, "\r\n", 2)) /* some send an empty line behind a body */
        consume(l, 2);
    if (l->state == ANSWER && l->n == 0 && !l->shut) {
        shutdown(l->inner, SHUT_WR); /* whoever works on the answer sees that nobody waits for it */
        l->shut = true;
    } else if (l->state == HEAD && l->n == 0) {
        begin_closing(g, l);
    } else if (l->state == HEAD || l->state == BODY) {
        refuse(g, l, 400, "the request ends before it is whole");
    }
}

/* Passes on what came, as far as it may go now. */
static void pass(http_gate *g, wire *l)
{
    bool broken = false, goes_on = true;
    while (goes_on) {
        size_t n = l->n, size = l->to.size;
        if (l->state == HEAD && n > 0 && size == 0)
            pass_head(g, l);
        if (l->state == BODY && l->n > 0)
            pass_body(g, l);
        goes_on = l->inner >= 0 && flush(&l->to, l->inner, &broken) && (l->n < n || size > 0); /* there is room again */
    }
    if (l->ended && l->to.size == 0)
        end_input(g, l);
}

static bool wants_input(const wire *l)
{
    return !l->ended && (l->state == CLOSING || l->n < sizeof l->in);
}

static void read_client(http_gate *g, wire *l)
{
    char forgotten[16384];
    bool closing = l->state == CLOSING;
    ssize_t n = closing ? recv(l->client, forgotten, sizeof forgotten, MSG_DONTWAIT)
                        : recv(l->client, l->in + l->n, sizeof l->in - l->n, MSG_DONTWAIT);
    if (n < 0 && later())
        return;
    if (n < 0 || (n == 0 && closing)) {
        l->state = CLOSED;
    } else if (n == 0) {
        l->ended = true;
        pass(g, l);
    } else if (closing) {
        l->moved = n >= 4096 ? now() : l->moved; /* one who drips isn't waited for */
    } else {
        l->n += (size_t)n;
        pass(g, l);
    }
}

/* ---- to the client ------------------------------------------------------------------------------------------------
 */

/* What waits for the client goes.  False: not all of it. */
static bool flush_back(wire *l)
{
    bool broken = false;
    size_t before = l->back.sent;
    bool all = flush(&l->back, l->client, &broken);
    if (all || l->back.sent > before)
        l->moved = now();
    if (broken)
        l->state = CLOSED;
    return all;
}

/* The answer has gone as a whole: the next request may come. */
static void finish(http_gate *g, wire *l)
{
    if (l->state != ANSWER || (l->ended && l->n == 0)) {
        begin_closing(g, l);
        return;
    }
    l->state = HEAD;
    l->since = now();
    l->head = (http_head){0};
    pass(g, l);
}

/* From libmicrohttpd to the client. */
static void relay(http_gate *g, wire *l)
{
    bool answered = __atomic_load_n(&l->answered, __ATOMIC_ACQUIRE); /* then all of the answer can be read here */
    while (l->state != CLOSED && flush_back(l)) {
        ssize_t n = recv(l->inner, l->back.bytes, ROOM / 2, MSG_DONTWAIT);
        if (n > 0) {
            l->back.size = (size_t)n;
            l->relayed = true;
        } else if (n < 0 && later()) {
            if (!answered)
                return;
            __atomic_store_n(&l->answered, 0, __ATOMIC_RELEASE);
            finish(g, l);
            return;
        } else if (!l->relayed && (l->state == ANSWER || l->state == BODY)) {
            refuse(g, l, 500, "the request failed");
            return;
        } else {
            begin_closing(g, l);
            return;
        }
    }
}

static void go_on_closing(wire *l)
{
    if (flush_back(l) && !l->shut) {
        shutdown(l->client, SHUT_WR); /* what still comes is read and forgotten: else the answer could be lost */
        l->shut = true;
        l->state = l->ended ? CLOSED : l->state;
    }
}

/* ---- the loop -----------------------------------------------------------------------------------------------------
 */

static void accept_all(http_gate *g)
{
    for (int fd; (fd = accept(g->o.listener, NULL, NULL)) >= 0;) {
        fcntl(fd, F_SETFD, FD_CLOEXEC);
        wire *l = g->n < g->o.connections ? calloc(1, sizeof *l) : NULL;
        if (!l) {
            text_buffer b = {0};
            g->o.refuse(g->o.context, 503, "there are too many connections", &b);
            if (send(fd, b.text, b.size, MSG_NOSIGNAL | MSG_DONTWAIT) > 0)
                shutdown(fd, SHUT_WR);
            text_release(&b);
            close(fd);
            continue;
        }
        l->client = fd;
        l->inner = l->other = l->at = -1;
        l->since = l->moved = now();
        g->n++;
        pthread_mutex_lock(&g->lock);
        l->next = g->links;
        g->links = l;
        pthread_mutex_unlock(&g->lock);
    }
    if (errno == EMFILE || errno == ENFILE)
        g->rests = now() + 1;
}

static void handle(http_gate *g, wire *l, short client, short inner)
{
    if (client & (POLLERR | POLLNVAL) || (client & POLLHUP && !(client & POLLIN)))
        l->state = CLOSED;
    else if (client & (POLLIN | POLLHUP) && wants_input(l))
        read_client(g, l);
    if (inner & POLLOUT && l->inner >= 0)
        pass(g, l);
    if (l->inner >= 0 && l->state != CLOSED)
        relay(g, l);
    if (l->state == CLOSING)
        go_on_closing(l);
}

/* Cuts off what takes too long. */
static void watch(http_gate *g, wire *l, bool quiet)
{
    time_t t = now();
    if ((l->state == HEAD || l->state == BODY) && (t - l->since > g->o.deadline || (quiet && l->state == HEAD))) {
        if (l->state == HEAD && l->n == 0)
            l->state = CLOSED;
        else if (t - l->since > g->o.deadline)
            refuse(g, l, 408, "the request was not whole in time");
    }
    if (l->state == ANSWER && l->back.size > 0 && t - l->moved > g->o.deadline)
        l->state = CLOSED; /* it doesn't take its answer */
    if (l->state == CLOSING && (t - l->moved > LINGER || t - l->since > g->o.deadline + LINGER))
        l->state = CLOSED;
}

static void drop_closed(http_gate *g)
{
    pthread_mutex_lock(&g->lock);
    for (wire **at = &g->links; *at;) {
        wire *l = *at;
        if (l->state != CLOSED) {
            at = &l->next;
            continue;
        }
        *at = l->next;
        g->n--;
        if (l->inner >= 0)
            close(l->inner);
        close(l->client);
        free(l);
    }
    pthread_mutex_unlock(&g->lock);
}

/* What is waited for: the wake-up, the listener and both sides of each link. */
static nfds_t list_polled(http_gate *g, bool listens)
{
    nfds_t n = 0;
    g->polled[n++] = (struct pollfd){.fd = g->wake[0], .events = POLLIN};
    g->polled[n++] = (struct pollfd){.fd = listens ? g->o.listener : -1, .events = POLLIN};
    for (wire *l = g->links; l; l = l->next) {
        l->at = (int)n;
        g->polled[n++] = (struct pollfd){
            .fd = l->client, .events = (short)((wants_input(l) ? POLLIN : 0) | (l->back.size > 0 ? POLLOUT : 0))};
        g->polled[n++] = (struct pollfd){
            .fd = l->inner, .events = (short)((l->back.size == 0 ? POLLIN : 0) | (l->to.size > 0 ? POLLOUT : 0))};
    }
    return n;
}

/* Whether a link has something to do before it is known how the gate stops: answers that are there go. */
static bool has_answer(const wire *l)
{
    return l->state == ANSWER || (l->state == CLOSING && l->back.size > 0);
}

static void *run(void *context)
{
    http_gate *g = context;
    time_t looked = 0, end = 0;
    for (bool goes_on = true; goes_on;) {
        char bytes[256];
        pthread_mutex_lock(&g->lock);
        bool quiet = g->quiet, stops = g->stops;
        pthread_mutex_unlock(&g->lock);
        if (quiet && g->o.listener >= 0) {
            close(g->o.listener);
            g->o.listener = -1;
        }
        bool listens = !quiet && now() >= g->rests;
        poll(g->polled, list_polled(g, listens), stops ? 50 : 1000);
        while (read(g->wake[0], bytes, sizeof bytes) > 0)
            ;
        for (wire *l = g->links; l; l = l->next) {
            short client = g->polled[l->at].revents, inner = g->polled[l->at + 1].revents;
            if (client || inner || __atomic_load_n(&l->answered, __ATOMIC_ACQUIRE))
                handle(g, l, client, inner);
        }
        if (listens && g->polled[1].revents)
            accept_all(g);
        if (now() != looked || stops || quiet) {
            looked = now();
            goes_on = !stops;
            end = stops && !end ? looked + FLUSH : end;
            for (wire *l = g->links; l; l = l->next) {
                watch(g, l, quiet);
                goes_on |= has_answer(l) && looked <= end;
            }
        }
        drop_closed(g);
    }
    for (wire *l = g->links; l; l = l->next)
        l->state = CLOSED;
    drop_closed(g);
    return NULL;
}

/* ---- from outside -------------------------------------------------------------------------------------------------
 */

static void wake(http_gate *g)
{
    ssize_t n = write(g->wake[1], "", 1); /* if it is full, the gate wakes anyway */
    (void)n;
}

void gate_answered(http_gate *g, int fd)
{
    pthread_mutex_lock(&g->lock);
    for (wire *l = g->links; l; l = l->next)
        if (l->inner >= 0 && l->other == fd)
            __atomic_store_n(&l->answered, 1, __ATOMIC_RELEASE);
    pthread_mutex_unlock(&g->lock);
    wake(g);
}

http_gate *gate_new(const gate_options *o)
{
    http_gate *g = calloc(1, sizeof *g);
    if (!g)
        return NULL;
    g->o = *o;
    g->wake[0] = g->wake[1] = -1;
    pthread_mutex_init(&g->lock, NULL);
    g->polled = calloc(2 * ((size_t)o->connections + 1), sizeof *g->polled);
    bool ok = g->polled && pipe(g->wake) == 0;
    for (int i = 0; ok && i < 2; i++) {
        fcntl(g->wake[i], F_SETFL, O_NONBLOCK);
        fcntl(g->wake[i], F_SETFD, FD_CLOEXEC);
    }
    if (ok && fcntl(o->listener, F_SETFL, O_NONBLOCK) == 0)
        return g;
    g->o.listener = -1; /* it stays its owner's */
    gate_free(&g);
    return NULL;
}

bool gate_start(http_gate *g)
{
    return g->started = pthread_create(&g->thread, NULL, run, g) == 0;
}

void gate_quiesce(http_gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->quiet = true;
    pthread_mutex_unlock(&g->lock);
    wake(g);
}

void gate_stop(http_gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->quiet = g->stops = true;
    pthread_mutex_unlock(&g->lock);
    wake(g);
    if (g->started)
        pthread_join(g->thread, NULL);
    g->started = false;
}

void gate_free(http_gate **at)
{
    http_gate *g = *at;
    *at = NULL;
    if (!g)
        return;
    gate_stop(g);
    for (int i = 0; i < 2; i++)
        if (g->wake[i] >= 0)
            close(g->wake[i]);
    if (g->o.listener >= 0)
        close(g->o.listener);
    pthread_mutex_destroy(&g->lock);
    free(g->polled);
    free(g);
}
