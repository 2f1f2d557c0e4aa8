/* Who uses a device. */
#include "models/guard.h"

#include <pthread.h>
#include <stddef.h>

/* For the fields of all devices that this file uses; it is held for moments only. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Thread_local char here; /* its address is the thread's name */

/* With the lock. */
static bool enter(device *d)
{
    if (d->user && d->user != &here)
        return false;
    d->user = &here;
    if (d->depth++ == 0)
        d->log_before = log_redirect(log_of(&d->log));
    return true;
}

bool guard_enter(device *d, err *e)
{
    pthread_mutex_lock(&lock);
    bool ok = enter(d);
    pthread_mutex_unlock(&lock);
    return ok ||
           err_set_cause(e, ERR_USAGE, LIMN_CAUSE_BUSY,
                         "%s: another thread is using this device (one may at a time; each can open a device of its "
                         "own)",
                         d->info.name);
}

/* What is to be freed and nothing holds, taken from the list. */
static guarded *next_dead(device *d)
{
    for (guarded **g = &d->dead; *g; g = &(*g)->next)
        if ((*g)->held == 0) {
            guarded *found = *g;
            *g = found->next;
            return found;
        }
    return NULL;
}

void guard_leave(device *d)
{
    pthread_mutex_lock(&lock);
    while (d->depth == 1) { /* the device is still this thread's */
        guarded *g = next_dead(d);
        if (!g)
            break;
        pthread_mutex_unlock(&lock);
        g->release(g);
        pthread_mutex_lock(&lock);
    }
    if (--d->depth == 0) {
        log_redirect(d->log_before);
        d->user = NULL;
    }
    bool gone = d->depth == 0 && d->freed && d->models == 0;
    pthread_mutex_unlock(&lock);
    if (gone)
        device_free(d);
}

bool guard_there(const model *m, err *e)
{
    pthread_mutex_lock(&lock);
    bool freed = m->guard.freed;
    pthread_mutex_unlock(&lock);
    return !freed || err_set(e, ERR_USAGE, "%s: it was freed while it was in use", gguf_name(m->gguf));
}

log_place guard_log(const model *m)
{
    return log_of(m->log.function || !m->dev ? &m->log : &m->dev->log);
}

bool guard_enter_model(model *m, err *e)
{
    device *d = m->dev;
    if (!guard_enter(d, e))
        return false;
    if (guard_there(m, e)) {
        if (m->inside++ == 0)
            m->log_before = log_redirect(guard_log(m));
        return true;
    }
    guard_leave(d);
    return false;
}

void guard_leave_model(model *m)
{
    if (--m->inside == 0)
        log_redirect(m->log_before);
    guard_leave(m->dev);
}

void guard_free(device *d, guarded *g)
{
    pthread_mutex_lock(&lock);
    if (!g->freed) {
        g->freed = true;
        g->next = d->dead;
        d->dead = g;
    }
    bool ours = enter(d); /* else whoever uses the device frees it */
    pthread_mutex_unlock(&lock);
    if (ours)
        guard_leave(d);
}

static void release_model(guarded *g)
{
    model_free((model *)(void *)((char *)g - offsetof(model, guard)));
}

void guard_free_model(model *m)
{
    if (!m)
        return;
    m->guard.release = release_model;
    guard_free(m->dev, &m->guard);
}

void guard_free_device(device *d)
{
    if (!d)
        return;
    pthread_mutex_lock(&lock);
    d->freed = true;
    bool ours = enter(d);
    pthread_mutex_unlock(&lock);
    if (ours)
        guard_leave(d);
}
