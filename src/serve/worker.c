/* The queue of jobs, and for each device a thread that draws them. */
#include "serve/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "generate/settings.h"
#include "serve/draw.h"

enum {
    REMEMBERED = 64,  /* jobs that have ended, for who asks */
    SIZES_MOST = 8,   /* other than the models' own that stay open without work */
    FAILURES_MOST = 2 /* one after the other, and a device is opened again */
};

/* A device and its thread. */
typedef struct hand {
    worker *w;
    pthread_t thread;
    bool started;
    const char *spec;
    /* under the queue's lock */
    drawing *work; /* changed by the thread alone, as are the next ones */
    job *begins;   /* it is neither among the waiting ones nor at work yet */
    int load;      /* pictures of it that aren't finished */
    bool ready;    /* its device works */
    /* the thread's own */
    limn_device *device;
    drawer *drawers;
    int failures;
    bool drains; /* takes no job until all of its work is done, for which memory was short */
} hand;

struct worker {
    worker_options o;
    hand *hands;
    int n_hands;
    pthread_mutex_t lock;
    pthread_cond_t change;
    /* under the lock */
    job *waiting, *ended; /* ended: the last ones first */
    int n_waiting, n_working;
    bool draining, stops;
    double stop_at;
    worker_counts counts;
};

static const limn_error cancelled = {LIMN_FAILED, "cancelled", LIMN_CAUSE_INTERRUPTED},
                        reopened = {LIMN_FAILED, "the device is being opened again", LIMN_CAUSE_DEVICE_LOST};

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

/* The job has ended: it tells its client, and is remembered without what is large. */
static void end_job(worker *w, job *j, job_state state, const limn_error *e)
{
    if (state == JOB_DONE)
        j->answers->done(j);
    else
        j->answers->failed(j, e);
    pthread_mutex_lock(&w->lock);
    j->state = state;
    snprintf(j->error, sizeof j->error, "%.500s", state == JOB_DONE ? "" : e->text);
    w->counts.jobs[state]++;
    w->counts.pictures += (uint64_t)j->finished;
    job_drop_files(j);
    exchange *x = j->x;
    j->x = NULL;
    j->next = w->ended;
    w->ended = j;
    job **last = &w->ended;
    for (int n = 0; *last && n < REMEMBERED; n++)
        last = &(*last)->next;
    job *forgotten = *last;
    *last = NULL;
    pthread_mutex_unlock(&w->lock);
    if (x)
        exchange_release(x);
    while (forgotten) {
        job *next = forgotten->next;
        job_release(forgotten);
        forgotten = next;
    }
}

/* Ends the jobs that wait, unless a device works that can take them. */
static void end_waiting(worker *w, job_state state, const limn_error *e)
{
    for (job *j = NULL;; end_job(w, j, state, e)) {
        bool ready = false;
        pthread_mutex_lock(&w->lock);
        for (int i = 0; i < w->n_hands; i++)
            ready |= w->hands[i].ready;
        j = ready ? NULL : w->waiting;
        if (j) {
            w->waiting = j->next;
            w->n_waiting--;
        }
        pthread_mutex_unlock(&w->lock);
        if (!j)
            return;
    }
}

/* ---- devices and models ------------------------------------------------------------------------------------------ */

static void set_ready(hand *h, bool ready)
{
    pthread_mutex_lock(&h->w->lock);
    h->ready = ready;
    pthread_cond_broadcast(&h->w->change);
    pthread_mutex_unlock(&h->w->lock);
}

static void close_drawer(drawer *d)
{
    limn_generation_free(&d->g);
    limn_model_free(&d->m);
    free(d);
}

static void close_device(hand *h)
{
    set_ready(h, false);
    for (drawer *d = h->drawers, *next; d; d = next) {
        next = d->next;
        close_drawer(d);
    }
    h->drawers = NULL;
    limn_device_free(&h->device);
}

static bool open_device(hand *h, limn_error *e)
{
    const worker_options *w = &h->w->o;
    const limn_device_options o = {.size = sizeof o, .memory_limit = w->memory_limit, .no_cache = w->no_cache};
    h->device = limn_device_open(h->spec, &o, e);
    h->failures = 0;
    return h->device;
}

/* Of pictures that may have any size: larger ones take minutes, and gigabytes. */
enum { SIDE_MOST = 2048 };

static bool has_size(const limn_model_info *i, int width, int height)
{
    if (i->size_step && width % i->size_step == 0 && height % i->size_step == 0)
        return width > 0 && height > 0 && width <= SIDE_MOST && height <= SIDE_MOST;
    for (int k = 0; k < i->n_sizes; k++)
        if (i->sizes[2 * k] == width && i->sizes[2 * k + 1] == height)
            return true;
    return false;
}

/* Closes the least recently used size, if there are many without work. */
static void close_oldest(hand *h)
{
    drawer **oldest = NULL;
    int n = 0;
    for (drawer **at = &h->drawers; *at; at = &(*at)->next)
        if ((*at)->width && (*at)->jobs == 0) {
            oldest = at;
            n++;
        }
    if (n < SIZES_MOST)
        return;
    drawer *d = *oldest;
    *oldest = d->next;
    close_drawer(d);
}

/* The model, open for pictures of that size (0: its own). */
static drawer *open_drawer(hand *h, served *model, int width, int height, limn_error *e)
{
    for (drawer **at = &h->drawers; *at; at = &(*at)->next) {
        drawer *d = *at;
        if (d->model == model && d->width == width && d->height == height) {
            *at = d->next; /* the last used one is the first */
            d->next = h->drawers;
            return h->drawers = d;
        }
    }
    if (width)
        close_oldest(h);
    drawer *d = calloc(1, sizeof *d);
    if (!d) {
        err_no_memory(e, "model", sizeof *d);
        return NULL;
    }
    limn_model_options o = {.size = sizeof o};
    if (h->w->o.adapted)
        o = *h->w->o.adapted;
    o.width = width;
    o.height = height;
    *d = (drawer){.next = h->drawers, .model = model, .adapters = h->w->o.adapters, .width = width, .height = height};
    d->m = limn_model_open_with(h->device, model->path, &o, e);
    if (!d->m) {
        free(d);
        return NULL;
    }
    d->info = limn_model_get_info(d->m);
    served_learn(model, d->info);
    return h->drawers = d;
}

/* The drawer of a job: of the size that it asks for, if the model can draw it. */
static drawer *drawer_of(hand *h, const job *j, limn_error *e)
{
    drawer *d = open_drawer(h, j->model, 0, 0, e);
    bool other = d && j->width && (j->width != d->info->width || j->height != d->info->height);
    return other && has_size(d->info, j->width, j->height) ? open_drawer(h, j->model, j->width, j->height, e) : d;
}

/* ---- the work ---------------------------------------------------------------------------------------------------- */

/* Whether it may do later, when other work is done. */
static bool lacks_room(const limn_error *e)
{
    return e->cause == LIMN_CAUSE_DEVICE_MEMORY || e->cause == LIMN_CAUSE_MEMORY_LIMIT || e->cause == LIMN_CAUSE_BUSY;
}

/* The job is the first of those that wait. */
static void put_back(hand *h, job *j)
{
    worker *w = h->w;
    pthread_mutex_lock(&w->lock);
    j->next = w->waiting;
    w->waiting = j;
    w->n_waiting++;
    h->begins = NULL;
    h->load -= j->count;
    pthread_mutex_unlock(&w->lock);
    h->drains = true;
}

static void fail_jobs(hand *h, const drawer *d, const limn_error *e);

static void begin_job(hand *h, job *j)
{
    worker *w = h->w;
    limn_error e = {0};
    drawing *a = calloc(1, sizeof *a);
    drawer *d = a ? drawer_of(h, j, &e) : NULL;
    if (!j->pictures)
        j->pictures = calloc((size_t)j->count, sizeof *j->pictures);
    bool ok = a && j->pictures ? d && drawing_begin(a, d, j, &e) : err_no_memory(&e, "job", sizeof *a);
    bool lost = !ok && e.cause == LIMN_CAUSE_DEVICE_LOST;
    if (!ok) {
        free(a);
        if (h->work && lacks_room(&e)) {
            put_back(h, j);
            return;
        }
        pthread_mutex_lock(&w->lock);
        h->load -= j->count;
        h->begins = NULL;
        pthread_mutex_unlock(&w->lock);
        end_job(w, j, JOB_FAILED, &e);
        if (lost) { /* encoding the picture, or loading the model */
            log_write(LOG_ERROR, "serve: %s (the device is opened again)", e.text);
            fail_jobs(h, NULL, &e);
            close_device(h);
        }
        return;
    }
    pthread_mutex_lock(&w->lock);
    h->begins = NULL;
    j->state = JOB_WORKING;
    j->all_codes = j->count * d->info->grid_width * d->info->grid_height;
    j->all_steps = settings_parameters(d->info, &a->o).steps;
    a->next = h->work;
    h->work = a;
    w->n_working++;
    pthread_mutex_unlock(&w->lock);
}

static void end_drawing(hand *h, drawing **at, job_state state, const limn_error *e)
{
    worker *w = h->w;
    drawing *a = *at;
    job *j = a->j;
    drawing_end(a);
    a->d->jobs--;
    pthread_mutex_lock(&w->lock);
    *at = a->next;
    w->n_working--;
    h->load -= j->count;
    pthread_cond_broadcast(&w->change);
    pthread_mutex_unlock(&w->lock);
    free(a);
    end_job(w, j, state, e);
}

/* Whether the next job is this device's: that of the least work has it. */
static bool has_turn(const hand *h)
{
    const worker *w = h->w;
    bool turn = w->waiting && !(h->drains && h->work);
    for (const hand *o = w->hands; turn && o < w->hands + w->n_hands; o++)
        turn = o == h || !o->ready || o->load > h->load || (o->load == h->load && o > h);
    return turn;
}

/* The next job that is this device's, or that nobody waits for (*unwanted); NULL: there is none. */
static job *next_job(hand *h, bool *unwanted)
{
    worker *w = h->w;
    pthread_mutex_lock(&w->lock);
    job **at = &w->waiting;
    while (*at && !job_is_unwanted(*at))
        at = &(*at)->next;
    *unwanted = *at != NULL;
    if (!*at && has_turn(h))
        at = &w->waiting;
    job *j = *at;
    if (j) {
        *at = j->next;
        j->next = NULL;
        w->n_waiting--;
        h->begins = *unwanted ? NULL : j;
        h->load += j->count;
        pthread_cond_broadcast(&w->change);
    }
    pthread_mutex_unlock(&w->lock);
    return j;
}

/* Takes the waiting jobs that are to begin, and ends those that nobody waits for. */
static void take_jobs(hand *h)
{
    h->drains = h->drains && h->work;
    bool unwanted = false;
    for (job *j; h->device && (j = next_job(h, &unwanted));) { /* a device can be lost while a job begins */
        if (!unwanted) {
            begin_job(h, j);
            continue;
        }
        pthread_mutex_lock(&h->w->lock);
        h->load -= j->count;
        pthread_mutex_unlock(&h->w->lock);
        end_job(h->w, j, JOB_CANCELLED, &cancelled);
    }
}

/* Fails all jobs at work of a drawer; d NULL: of all. */
static void fail_jobs(hand *h, const drawer *d, const limn_error *e)
{
    for (drawing **at = &h->work; *at;)
        if (!d || (*at)->d == d)
            end_drawing(h, at, JOB_FAILED, e);
        else
            at = &(*at)->next;
}

/* Whether another drawer has work that it can do. */
static bool others_work(const hand *h, const drawer *d)
{
    for (const drawer *o = h->drawers; o; o = o->next)
        if (o != d && o->jobs > 0 && !o->waits)
            return true;
    return false;
}

/* What follows from a failure of a drawer's work.  False: the device was closed, to be opened again. */
static bool answer_failure(hand *h, drawer *d, limn_error *e)
{
    if (lacks_room(e) && others_work(h, d)) {
        d->waits = h->drains = true;
        return true;
    }
    bool lost = e->cause == LIMN_CAUSE_DEVICE_LOST;
    if (e->code == LIMN_FAILED && e->cause == LIMN_CAUSE_OTHER) {
        e->cause = LIMN_CAUSE_DEVICE_LOST; /* for the client: it may try again */
        lost = ++h->failures >= FAILURES_MOST;
    }
    log_write(LOG_ERROR, "serve: %s%s", e->text, lost ? " (the device is opened again)" : "");
    fail_jobs(h, lost ? NULL : d, e);
    if (lost)
        close_device(h);
    else
        limn_generation_free(&d->g);
    return !lost;
}

/* Up to a line of codes of every job at work.  False: the device was lost. */
static bool step(hand *h)
{
    for (drawer *d = h->drawers; d; d = d->next) {
        limn_error e = {0};
        if (d->jobs == 0 || (d->waits && others_work(h, d)))
            continue;
        d->waits = false;
        if (limn_generation_step(d->g, NULL, &e) && drawings_take(h->work, d, &e))
            h->failures = 0;
        else if (!answer_failure(h, d, &e))
            return false;
    }
    return true;
}

/* A look at the job's picture that is drawn, for whoever asked for it. */
static void peek(worker *w, drawing *a)
{
    text_buffer file = {0};
    err e = {0};
    bool ok = drawing_peek(a, &file, &e);
    pthread_mutex_lock(&w->lock);
    if (ok) {
        text_release(&a->j->view);
        a->j->view = file;
    }
    a->j->peeked = false;
    pthread_mutex_unlock(&w->lock);
    if (!ok)
        text_release(&file);
}

/* What is to be known of the jobs at work, and ends those that are done or not wanted. */
static void look(hand *h)
{
    worker *w = h->w;
    for (drawing **at = &h->work; *at;) {
        drawing *a = *at;
        job *j = a->j;
        limn_error e = {0};
        int codes = 0;
        bool ok = drawing_look(a, &codes, &e);
        pthread_mutex_lock(&w->lock);
        w->counts.codes += codes > j->codes ? (uint64_t)(codes - j->codes) : 0;
        j->codes = codes;
        bool unwanted = job_is_unwanted(j), peeked = j->peeked;
        pthread_mutex_unlock(&w->lock);
        if (ok && peeked && !unwanted)
            peek(w, a);
        if (!ok)
            end_drawing(h, at, JOB_FAILED, &e);
        else if (j->finished == j->count)
            end_drawing(h, at, JOB_DONE, &e);
        else if (unwanted)
            end_drawing(h, at, JOB_CANCELLED, &cancelled);
        else
            at = &a->next;
    }
}

/* Waits until there is something to do.  False: it is time to end. */
static bool wait_for_work(hand *h)
{
    worker *w = h->w;
    pthread_mutex_lock(&w->lock);
    while (!w->stops && !w->draining && h->device && !h->work && !has_turn(h))
        pthread_cond_wait(&w->change, &w->lock);
    bool idle = !h->work && (!w->waiting || !has_turn(h));
    bool late = w->draining && job_seconds() > w->stop_at;
    bool goes_on = !(w->stops || (w->draining && idle) || late);
    pthread_mutex_unlock(&w->lock);
    return goes_on;
}

static void *run_hand(void *context)
{
    hand *h = context;
    while (wait_for_work(h)) {
        limn_error e = {0};
        double begin = job_seconds();
        if (!h->device && !open_device(h, &e)) {
            log_write(LOG_ERROR, "serve: %s", e.text);
            end_waiting(h->w, JOB_FAILED, &reopened);
            nanosleep(&(struct timespec){1, 0}, NULL);
            continue;
        }
        if (!h->ready)
            set_ready(h, true);
        take_jobs(h);
        if (step(h))
            look(h);
        pthread_mutex_lock(&h->w->lock);
        h->w->counts.busy += job_seconds() - begin;
        pthread_mutex_unlock(&h->w->lock);
    }
    const limn_error ends = {LIMN_FAILED, "the server ends", LIMN_CAUSE_BUSY};
    fail_jobs(h, NULL, &ends);
    close_device(h);
    return NULL;
}

/* ---- others ------------------------------------------------------------------------------------------------------ */

static bool start_hand(hand *h, err *e)
{
    if (!open_device(h, e) || !open_drawer(h, &h->w->o.models[0], 0, 0, e))
        return false;
    set_ready(h, true);
    h->started = pthread_create(&h->thread, NULL, run_hand, h) == 0;
    return h->started || err_set(e, ERR_FAILED, "worker: no thread for it");
}

worker *worker_start(const worker_options *o, err *e)
{
    worker *w = calloc(1, sizeof *w);
    if (!w) {
        err_no_memory(e, "worker", sizeof *w);
        return NULL;
    }
    w->o = *o;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->change, NULL);
    w->hands = calloc((size_t)o->n_devices, sizeof *w->hands);
    bool ok = w->hands || err_no_memory(e, "worker", sizeof *w->hands);
    w->n_hands = ok ? o->n_devices : 0;
    for (int i = 0; i < w->n_hands; i++)
        w->hands[i] = (hand){.w = w, .spec = o->devices[i]};
    for (int i = 0; ok && i < w->n_hands; i++)
        ok = start_hand(&w->hands[i], e);
    if (ok)
        return w;
    worker_stop(w);
    worker_free(&w);
    return NULL;
}

bool worker_add(worker *w, job *j)
{
    pthread_mutex_lock(&w->lock);
    bool takes = w->n_waiting + w->n_working < w->o.most && !w->draining && !w->stops;
    if (takes) {
        job_hold(j);
        job **last = &w->waiting;
        while (*last)
            last = &(*last)->next;
        *last = j;
        w->n_waiting++;
        pthread_cond_broadcast(&w->change);
    }
    pthread_mutex_unlock(&w->lock);
    return takes;
}

bool worker_cancel(worker *w, const char *id)
{
    bool found = false;
    pthread_mutex_lock(&w->lock);
    for (job *j = w->waiting; j; j = j->next)
        if (!strcmp(j->id, id))
            found = j->cancelled = true;
    for (int i = 0; i < w->n_hands; i++) {
        job *begins = w->hands[i].begins;
        if (begins && !strcmp(begins->id, id))
            found = begins->cancelled = true;
        for (drawing *a = w->hands[i].work; a; a = a->next)
            if (!strcmp(a->j->id, id))
                found = a->j->cancelled = true;
    }
    pthread_cond_broadcast(&w->change);
    pthread_mutex_unlock(&w->lock);
    return found;
}

bool worker_first(worker *w, const job_answers *of, void (*see)(void *context, job *j), void *context)
{
    job *first = NULL;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_hands; i++)
        for (drawing *a = w->hands[i].work; a; a = a->next)
            if (a->j->answers == of && !a->j->cancelled && (!first || a->j->created < first->created))
                first = a->j;
    for (int i = 0; i < w->n_hands && !first; i++) {
        job *j = w->hands[i].begins;
        first = j && j->answers == of && !j->cancelled ? j : NULL;
    }
    for (job *j = w->waiting; j && !first; j = j->next)
        first = j->answers == of && !j->cancelled ? j : NULL;
    if (first)
        see(context, first);
    pthread_mutex_unlock(&w->lock);
    return first;
}

void worker_each(worker *w, void (*see)(void *context, const job *j), void *context)
{
    pthread_mutex_lock(&w->lock);
    for (const job *j = w->waiting; j; j = j->next)
        see(context, j);
    for (int i = 0; i < w->n_hands; i++) {
        if (w->hands[i].begins)
            see(context, w->hands[i].begins);
        for (const drawing *a = w->hands[i].work; a; a = a->next)
            see(context, a->j);
    }
    for (const job *j = w->ended; j; j = j->next)
        see(context, j);
    pthread_mutex_unlock(&w->lock);
}

void worker_count(worker *w, worker_counts *c)
{
    pthread_mutex_lock(&w->lock);
    *c = w->counts;
    c->jobs[JOB_WAITING] = (uint64_t)w->n_waiting;
    c->jobs[JOB_WORKING] = (uint64_t)w->n_working;
    pthread_mutex_unlock(&w->lock);
}

bool worker_is_ready(worker *w)
{
    bool ready = false;
    pthread_mutex_lock(&w->lock);
    for (int i = 0; i < w->n_hands; i++)
        ready |= w->hands[i].ready && !w->draining && !w->stops;
    pthread_mutex_unlock(&w->lock);
    return ready;
}

void worker_drain(worker *w, double seconds)
{
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    w->stop_at = job_seconds() + seconds;
    pthread_cond_broadcast(&w->change);
    pthread_mutex_unlock(&w->lock);
}

void worker_stop(worker *w)
{
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stops = w->stops || !w->draining;
    pthread_cond_broadcast(&w->change);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; w->hands && i < w->n_hands; i++)
        if (w->hands[i].started)
            pthread_join(w->hands[i].thread, NULL);
        else
            close_device(&w->hands[i]);
    const limn_error ends = {LIMN_FAILED, "the server ends", LIMN_CAUSE_BUSY};
    end_waiting(w, JOB_CANCELLED, &ends);
}

void worker_free(worker **at)
{
    worker *w = *at;
    if (!w)
        return;
    for (job *j = w->ended, *next; j; j = next) {
        next = j->next;
        job_release(j);
    }
    pthread_cond_destroy(&w->change);
    pthread_mutex_destroy(&w->lock);
    free(w->hands);
    free(w);
    *at = NULL;
}
