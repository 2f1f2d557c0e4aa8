/* The queue of jobs, and the thread that draws them. */
#include "serve/worker.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "base/log.h"
#include "serve/draw.h"

enum { REMEMBERED = 64 }; /* jobs that have ended, for who asks */

const char *const job_state_names[] = {"waiting", "working", "done", "failed", "cancelled"};

struct worker {
    worker_options o;
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t change;
    /* under the lock */
    job *waiting, *ended; /* ended: the last ones first */
    drawing *work;        /* changed by the thread alone */
    int n_waiting, n_working;
    bool ready, draining, stops;
    double stop_at;
    worker_counts counts;
    /* the thread's own */
    limn_device *device;
    drawer *drawers;
};

static double seconds_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- jobs -------------------------------------------------------------------------------------------------------- */

job *job_new(exchange *x, const job_answers *answers)
{
    job *j = calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->holders = 1;
    j->answers = answers;
    j->temperature = j->top_p = j->guidance = -1;
    j->top_k = -1;
    j->count = 1;
    j->format = IMAGE_PNG;
    j->created = seconds_now();
    j->x = x;
    if (x)
        exchange_hold(x);
    return j;
}

void job_hold(job *j)
{
    __atomic_add_fetch(&j->holders, 1, __ATOMIC_RELAXED);
}

void job_release(job *j)
{
    if (!j || __atomic_sub_fetch(&j->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    for (int i = 0; j->pictures && i < j->count; i++)
        free(j->pictures[i].file);
    free(j->pictures);
    free(j->prompt);
    free(j->negative);
    free(j->user);
    free(j->picture);
    free(j->mask);
    free(j->own);
    if (j->x)
        exchange_release(j->x);
    free(j);
}

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
    for (int i = 0; j->pictures && i < j->count; i++) {
        free(j->pictures[i].file);
        j->pictures[i].file = NULL;
    }
    free(j->picture);
    free(j->mask);
    j->picture = j->mask = NULL;
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

/* ---- devices and models ------------------------------------------------------------------------------------------ */

static void set_ready(worker *w, bool ready)
{
    pthread_mutex_lock(&w->lock);
    w->ready = ready;
    pthread_mutex_unlock(&w->lock);
}

static void close_drawer(drawer *d)
{
    limn_generation_free(&d->g);
    limn_model_free(&d->m);
    free(d);
}

static void close_device(worker *w)
{
    set_ready(w, false);
    for (drawer *d = w->drawers, *next; d; d = next) {
        next = d->next;
        close_drawer(d);
    }
    w->drawers = NULL;
    limn_device_free(&w->device);
}

static bool open_device(worker *w, limn_error *e)
{
    const limn_device_options o = {.size = sizeof o, .memory_limit = w->o.memory_limit, .no_cache = w->o.no_cache};
    w->device = limn_device_open(w->o.device, &o, e);
    return w->device;
}

static bool has_size(const limn_model_info *i, int width, int height)
{
    for (int k = 0; k < i->n_sizes; k++)
        if (i->sizes[2 * k] == width && i->sizes[2 * k + 1] == height)
            return true;
    return false;
}

/* The model, open for pictures of that size (0: its own). */
static drawer *open_drawer(worker *w, served *model, int width, int height, limn_error *e)
{
    for (drawer *d = w->drawers; d; d = d->next)
        if (d->model == model && d->width == width && d->height == height)
            return d;
    drawer *d = calloc(1, sizeof *d);
    if (!d) {
        err_no_memory(e, "model", sizeof *d);
        return NULL;
    }
    const limn_model_options o = {.size = sizeof o, .width = width, .height = height};
    *d = (drawer){.next = w->drawers, .model = model, .width = width, .height = height};
    d->m = limn_model_open_with(w->device, model->path, &o, e);
    if (!d->m) {
        free(d);
        return NULL;
    }
    d->info = limn_model_get_info(d->m);
    served_learn(model, d->info);
    return w->drawers = d;
}

/* The drawer of a job: of the size that it asks for, if the model can draw it. */
static drawer *drawer_of(worker *w, const job *j, limn_error *e)
{
    drawer *d = open_drawer(w, j->model, 0, 0, e);
    bool other = d && j->width && (j->width != d->info->width || j->height != d->info->height);
    return other && has_size(d->info, j->width, j->height) ? open_drawer(w, j->model, j->width, j->height, e) : d;
}

/* ---- the work ---------------------------------------------------------------------------------------------------- */

static void begin_job(worker *w, job *j)
{
    limn_error e = {0};
    drawing *a = calloc(1, sizeof *a);
    drawer *d = a ? drawer_of(w, j, &e) : NULL;
    j->pictures = calloc((size_t)j->count, sizeof *j->pictures);
    bool ok = a && j->pictures ? d && drawing_begin(a, d, j, &e) : err_no_memory(&e, "job", sizeof *a);
    if (!ok) {
        free(a);
        end_job(w, j, JOB_FAILED, &e);
        return;
    }
    pthread_mutex_lock(&w->lock);
    j->state = JOB_WORKING;
    j->all_codes = j->count * d->info->grid_width * d->info->grid_height;
    a->next = w->work;
    w->work = a;
    w->n_working++;
    pthread_mutex_unlock(&w->lock);
}

static void end_drawing(worker *w, drawing **at, job_state state, const limn_error *e)
{
    drawing *a = *at;
    job *j = a->j;
    drawing_end(a);
    a->d->jobs--;
    pthread_mutex_lock(&w->lock);
    *at = a->next;
    w->n_working--;
    pthread_mutex_unlock(&w->lock);
    free(a);
    end_job(w, j, state, e);
}

/* Takes the waiting jobs that are to begin, and ends those that nobody waits for. */
static void take_jobs(worker *w)
{
    pthread_mutex_lock(&w->lock);
    job *list = w->waiting;
    w->waiting = NULL;
    w->n_waiting = 0;
    pthread_mutex_unlock(&w->lock);
    while (list) {
        job *j = list;
        list = j->next;
        j->next = NULL;
        if (j->cancelled || (j->x && exchange_gone(j->x)))
            end_job(w, j, JOB_CANCELLED, &(limn_error){LIMN_FAILED, "cancelled", LIMN_CAUSE_INTERRUPTED});
        else
            begin_job(w, j);
    }
}

/* Fails all jobs at work of a drawer; d NULL: of all. */
static void fail_jobs(worker *w, const drawer *d, const limn_error *e)
{
    for (drawing **at = &w->work; *at;)
        if (!d || (*at)->d == d)
            end_drawing(w, at, JOB_FAILED, e);
        else
            at = &(*at)->next;
}

/* A line of codes of every job at work, and what follows from it. */
static void work(worker *w)
{
    for (drawer *d = w->drawers; d; d = d->next) {
        limn_error e = {0};
        if (d->jobs == 0 || (limn_generation_step(d->g, NULL, &e) && drawings_take(w->work, d, &e)))
            continue;
        if (e.cause == LIMN_CAUSE_DEVICE_LOST) {
            log_write(LOG_ERROR, "serve: %s (the device is opened again)", e.text);
            fail_jobs(w, NULL, &e);
            close_device(w);
            return;
        }
        fail_jobs(w, d, &e);
        limn_generation_free(&d->g);
    }
    for (drawing **at = &w->work; *at;) {
        drawing *a = *at;
        job *j = a->j;
        limn_error e = {0};
        int codes = 0;
        bool ok = drawing_look(a, &codes, &e);
        pthread_mutex_lock(&w->lock);
        w->counts.codes += codes > j->codes ? (uint64_t)(codes - j->codes) : 0;
        j->codes = codes;
        bool cancelled = j->cancelled;
        pthread_mutex_unlock(&w->lock);
        if (!ok)
            end_drawing(w, at, JOB_FAILED, &e);
        else if (j->finished == j->count)
            end_drawing(w, at, JOB_DONE, &e);
        else if (cancelled || (j->x && exchange_gone(j->x)))
            end_drawing(w, at, JOB_CANCELLED, &(limn_error){LIMN_FAILED, "cancelled", LIMN_CAUSE_INTERRUPTED});
        else
            at = &a->next;
    }
}

/* Waits until there is something to do.  False: it is time to end. */
static bool wait_for_work(worker *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->stops && !w->waiting && !w->work && (w->device || !w->draining)) {
        if (!w->device)
            break;
        pthread_cond_wait(&w->change, &w->lock);
        if (w->draining)
            break;
    }
    bool idle = !w->waiting && !w->work;
    bool late = w->draining && seconds_now() > w->stop_at;
    bool goes_on = !(w->stops || (w->draining && idle) || late);
    pthread_mutex_unlock(&w->lock);
    return goes_on;
}

static void *run_worker(void *context)
{
    worker *w = context;
    while (wait_for_work(w)) {
        limn_error e = {0};
        double begin = seconds_now();
        if (!w->device && !open_device(w, &e)) {
            log_write(LOG_ERROR, "serve: %s", e.text);
            nanosleep(&(struct timespec){1, 0}, NULL);
            continue;
        }
        set_ready(w, true);
        take_jobs(w);
        work(w);
        pthread_mutex_lock(&w->lock);
        w->counts.busy += seconds_now() - begin;
        pthread_mutex_unlock(&w->lock);
    }
    const limn_error ends = {LIMN_FAILED, "the server ends", LIMN_CAUSE_BUSY};
    fail_jobs(w, NULL, &ends);
    pthread_mutex_lock(&w->lock);
    job *list = w->waiting;
    w->waiting = NULL;
    w->stops = true;
    pthread_mutex_unlock(&w->lock);
    for (job *next; list; list = next) {
        next = list->next;
        end_job(w, list, JOB_CANCELLED, &ends);
    }
    close_device(w);
    return NULL;
}

/* ---- others ------------------------------------------------------------------------------------------------------ */

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
    bool ok = open_device(w, e) && open_drawer(w, &o->models[0], 0, 0, e);
    w->ready = ok;
    w->started = ok && pthread_create(&w->thread, NULL, run_worker, w) == 0;
    if (w->started)
        return w;
    if (ok)
        err_set(e, ERR_FAILED, "worker: no thread for it");
    worker_stop(&w);
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
        pthread_cond_signal(&w->change);
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
    for (drawing *a = w->work; a; a = a->next)
        if (!strcmp(a->j->id, id))
            found = a->j->cancelled = true;
    pthread_cond_signal(&w->change);
    pthread_mutex_unlock(&w->lock);
    return found;
}

void worker_each(worker *w, void (*see)(void *context, const job *j), void *context)
{
    pthread_mutex_lock(&w->lock);
    for (const job *j = w->waiting; j; j = j->next)
        see(context, j);
    for (const drawing *a = w->work; a; a = a->next)
        see(context, a->j);
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
    pthread_mutex_lock(&w->lock);
    bool ready = w->ready && !w->stops;
    pthread_mutex_unlock(&w->lock);
    return ready;
}

void worker_drain(worker *w, double seconds)
{
    pthread_mutex_lock(&w->lock);
    w->draining = true;
    w->stop_at = seconds_now() + seconds;
    pthread_cond_signal(&w->change);
    pthread_mutex_unlock(&w->lock);
}

void worker_stop(worker **at)
{
    worker *w = *at;
    if (!w)
        return;
    pthread_mutex_lock(&w->lock);
    w->stops = w->stops || !w->draining;
    pthread_cond_signal(&w->change);
    pthread_mutex_unlock(&w->lock);
    if (w->started)
        pthread_join(w->thread, NULL);
    else
        close_device(w);
    for (job *j = w->ended, *next; j; j = next) {
        next = j->next;
        job_release(j);
    }
    pthread_cond_destroy(&w->change);
    pthread_mutex_destroy(&w->lock);
    free(w);
    *at = NULL;
}
