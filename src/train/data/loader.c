/* Threads that load batches ahead of the caller.
 *
 * A ring of slots holds batches, each with its number in the sequence; batch k has slot k % n_slots.  In order of the
 * batches, under the lock, a slot is planned (which items), its items are claimed one at a time by any thread, and when
 * all are loaded the caller may take it.  delivered <= claimed <= planned <= delivered + n_slots.
 * What a thread writes belongs to its (slot, item) alone, so loading needs no lock. */
#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/os.h"
#include "train/data/internal.h"

/* An item to be loaded: its number, and the epoch that decides what becomes of it. */
typedef struct job {
    int64_t epoch, item;
} job;

typedef struct slot {
    job *jobs; /* [batch] */
    dataset_batch batch;
    int missing; /* items not loaded yet */
    dataset_position after;
    err error;
} slot;

struct loader {
    dataset *d;
    slot *slots;
    int n_slots;
    pthread_t *threads;
    int n_threads;
    pthread_mutex_t lock;
    pthread_cond_t work, ready, idle;
    uint64_t delivered, claimed, planned;
    int claimed_items; /* of batch `claimed` */
    int busy;          /* threads that load right now */
    bool paused;
    atomic_bool stop;      /* threads are to end, and to drop what they load */
    dataset_position next; /* where the next batch to be planned begins */
    uint32_t *order;       /* of order_epoch; NULL where items come by number */
    int64_t order_epoch;
};

/* ---- planning ------------------------------------------------------------------------------------------------ */

static int64_t item_at(loader *l, dataset_position p)
{
    if (l->d->selected)
        return l->d->selected[p.item];
    if (!l->order)
        return p.item;
    if (l->order_epoch != p.epoch) {
        order_shuffle(l->order, l->d->n_items, l->d->o.seed, p.epoch);
        l->order_epoch = p.epoch;
    }
    return l->order[p.item];
}

/* Chooses the items of the next batch; the lock is held. */
static void plan(loader *l)
{
    const dataset_options *o = &l->d->o;
    slot *s = &l->slots[l->planned % (uint64_t)l->n_slots];
    for (int i = 0; i < o->batch; i++)
        for (int rank = 0; rank < o->ranks; rank++) {
            if (rank == o->rank)
                s->jobs[i] = (job){l->next.epoch, item_at(l, l->next)};
            if (++l->next.item == dataset_epoch_size(l->d))
                l->next = (dataset_position){l->next.epoch + 1, 0};
        }
    s->missing = o->batch;
    s->after = l->next;
    s->error = (err){0};
    l->planned++;
}

/* Takes the next item, if there is one that may be loaded now. */
static bool claim(loader *l, slot **s, int *i)
{
    if (l->paused)
        return false;
    if (l->claimed == l->planned) {
        if (l->planned == l->delivered + (uint64_t)l->n_slots)
            return false;
        plan(l);
        pthread_cond_broadcast(&l->work);
    }
    *s = &l->slots[l->claimed % (uint64_t)l->n_slots];
    *i = l->claimed_items++;
    if (l->claimed_items == l->d->o.batch) {
        l->claimed++;
        l->claimed_items = 0;
    }
    return true;
}

/* ---- the threads --------------------------------------------------------------------------------------------- */

static void load(loader *l, slot *s, int i, scratch *memory)
{
    dataset *d = l->d;
    dataset_batch *b = &s->batch;
    size_t picture = (size_t)d->o.width * (size_t)d->o.height * 3;
    uint8_t *pixels = b->pixels ? b->pixels + (size_t)i * picture : NULL;
    err e = {0};
    free(b->captions[i]);
    if (!item_load(d, s->jobs[i].epoch, s->jobs[i].item, memory, pixels, &b->captions[i], &b->items[i], &l->stop, &e)) {
        pthread_mutex_lock(&l->lock);
        err_set(&s->error, (err_code)e.code, "%s", e.text);
        pthread_mutex_unlock(&l->lock);
    }
}

static void *thread(void *context)
{
    loader *l = context;
    scratch memory = {0};
    slot *s;
    int i;
    pthread_mutex_lock(&l->lock);
    while (!atomic_load(&l->stop)) {
        if (!claim(l, &s, &i)) {
            pthread_cond_wait(&l->work, &l->lock);
            continue;
        }
        l->busy++;
        pthread_mutex_unlock(&l->lock);
        load(l, s, i, &memory);
        pthread_mutex_lock(&l->lock);
        if (--s->missing == 0)
            pthread_cond_signal(&l->ready);
        if (--l->busy == 0)
            pthread_cond_signal(&l->idle);
    }
    pthread_mutex_unlock(&l->lock);
    pool_release(&memory.captions.text);
    return NULL;
}

static bool start_threads(loader *l, int n, err *e)
{
    int status = 0;
    while (l->n_threads < n && !(status = os_thread(&l->threads[l->n_threads], thread, l)))
        l->n_threads++;
    /* fewer threads than wanted do the same work */
    return l->n_threads || err_set(e, ERR_FAILED, "data: cannot start a thread: %s", strerror(status));
}

/* ---- its life ------------------------------------------------------------------------------------------------ */

static bool batch_init(dataset_batch *b, const dataset_options *o, err *e)
{
    bool pictures = o->want != DATASET_CAPTIONS;
    size_t n = (size_t)o->batch, picture = (size_t)o->width * (size_t)o->height * 3;
    dataset_batch fresh = {.n = o->batch};
    if (pictures) {
        fresh.width = o->width;
        fresh.height = o->height;
        fresh.pixels = calloc(n, picture);
    }
    fresh.captions = calloc(n, sizeof *fresh.captions);
    fresh.items = calloc(n, sizeof *fresh.items);
    *b = fresh;
    if ((!pictures || b->pixels) && b->captions && b->items)
        return true;
    dataset_batch_release(b);
    return err_no_memory(e, "batches of the data set", (unsigned long long)n * picture);
}

void dataset_batch_release(dataset_batch *b)
{
    for (int i = 0; b->captions && i < b->n; i++)
        free(b->captions[i]);
    free(b->pixels);
    free(b->captions);
    free(b->items);
    *b = (dataset_batch){0};
}

static bool allocate(loader *l, err *e)
{
    const dataset_options *o = &l->d->o;
    size_t n = (size_t)l->n_slots, batch = (size_t)o->batch;
    l->slots = calloc(n, sizeof *l->slots);
    if (!l->slots)
        return err_no_memory(e, "data set", n * sizeof *l->slots);
    for (size_t i = 0; i < n; i++) {
        l->slots[i].jobs = calloc(batch, sizeof *l->slots[i].jobs);
        if (!l->slots[i].jobs)
            return err_no_memory(e, "data set", batch * sizeof *l->slots[i].jobs);
        if (!batch_init(&l->slots[i].batch, o, e))
            return false;
    }
    if (!o->in_order && !(l->order = calloc(l->d->n_items, sizeof *l->order)))
        return err_no_memory(e, "data set", l->d->n_items * sizeof *l->order);
    return true;
}

#define KEPT_BYTES ((size_t)256 << 20)

/* Without crops an item's picture is the same in every epoch: a small set of large files is read once.  No memory for
 * that is no failure. */
static void keep_pictures(dataset *d)
{
    size_t picture = (size_t)d->o.width * (size_t)d->o.height * 3;
    if (d->kept || d->o.want == DATASET_CAPTIONS || d->o.in_order || d->o.crop > 0)
        return;
    size_t n = KEPT_BYTES / picture < d->n_items ? KEPT_BYTES / picture : d->n_items;
    d->kept = n ? malloc(n * picture) : NULL;
    d->n_kept = d->kept ? (int64_t)n : 0;
}

static loader *loader_new(dataset *d, err *e)
{
    int processors = os_processors(), threads = d->o.threads ? d->o.threads : processors > 8 ? 8 : processors;
    loader *l = calloc(1, sizeof *l);
    if (!l) {
        err_no_memory(e, "data set", sizeof *l);
        return NULL;
    }
    l->d = d;
    keep_pictures(d);
    l->n_slots = d->o.prefetch ? d->o.prefetch : 2;
    l->next = d->position;
    l->order_epoch = -1;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->work, NULL);
    pthread_cond_init(&l->ready, NULL);
    pthread_cond_init(&l->idle, NULL);
    l->threads = calloc((size_t)threads, sizeof *l->threads);
    if (!l->threads)
        err_no_memory(e, "data set", (size_t)threads * sizeof *l->threads);
    if (!l->threads || !allocate(l, e) || !start_threads(l, threads, e)) {
        loader_free(l);
        return NULL;
    }
    return l;
}

void loader_free(loader *l)
{
    if (!l)
        return;
    pthread_mutex_lock(&l->lock);
    atomic_store(&l->stop, true);
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
    for (int i = 0; i < l->n_threads; i++)
        pthread_join(l->threads[i], NULL);
    for (int i = 0; l->slots && i < l->n_slots; i++) {
        free(l->slots[i].jobs);
        dataset_batch_release(&l->slots[i].batch);
    }
    pthread_cond_destroy(&l->work);
    pthread_cond_destroy(&l->ready);
    pthread_cond_destroy(&l->idle);
    pthread_mutex_destroy(&l->lock);
    free(l->threads);
    free(l->slots);
    free(l->order);
    free(l);
}

void loader_restart(loader *l)
{
    pthread_mutex_lock(&l->lock);
    l->paused = true;
    while (l->busy)
        pthread_cond_wait(&l->idle, &l->lock);
    l->delivered = l->claimed = l->planned = 0;
    l->claimed_items = 0;
    l->next = l->d->position;
    l->paused = false;
    pthread_cond_broadcast(&l->work);
    pthread_mutex_unlock(&l->lock);
}

/* ---- batches ------------------------------------------------------------------------------------------------- */

/* The slot gets the caller's memory in exchange, or new memory where that is of another size or empty. */
static bool exchange(dataset_batch *b, slot *s, const dataset_options *o, err *e)
{
    const dataset_batch *have = &s->batch;
    dataset_batch spare = *b;
    bool fits = b->n == have->n && b->width == have->width && b->height == have->height && !b->pixels == !have->pixels;
    if (!fits && !batch_init(&spare, o, e))
        return false;
    if (!fits)
        dataset_batch_release(b);
    *b = s->batch;
    s->batch = spare;
    return true;
}

/* Large pictures take long: the caller is asked in between.  Where there are other ranks they would wait for this one.
 */
static bool wait_for_batch(loader *l, err *e)
{
    struct timespec until;
    if (!l->d->o.goes_on || l->d->o.ranks > 1) {
        pthread_cond_wait(&l->ready, &l->lock);
        return true;
    }
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&l->ready, &l->lock, &until);
    return dataset_goes_on(l->d, e);
}

bool dataset_next(dataset *d, dataset_batch *b, err *e)
{
    if (!d->loader && !(d->loader = loader_new(d, e)))
        return false;
    loader *l = d->loader;
    pthread_mutex_lock(&l->lock);
    slot *s = &l->slots[l->delivered % (uint64_t)l->n_slots];
    while (l->planned == l->delivered || s->missing)
        if (!wait_for_batch(l, e)) {
            pthread_mutex_unlock(&l->lock);
            return false;
        }
    bool ok = !s->error.code || err_set(e, (err_code)s->error.code, "%s", s->error.text);
    if (ok && exchange(b, s, &d->o, e)) {
        d->position = s->after;
        l->delivered++;
        pthread_cond_broadcast(&l->work);
    } else {
        ok = false;
    }
    pthread_mutex_unlock(&l->lock);
    return ok;
}

dataset_position dataset_tell(const dataset *d)
{
    return d->position;
}

bool dataset_seek(dataset *d, dataset_position p, err *e)
{
    /* epochs are words of the random numbers' counters */
    if (p.epoch < 0 || p.epoch > INT32_MAX || p.item < 0 || p.item >= dataset_epoch_size(d))
        return err_set(e, ERR_FAILED,
                       "data: epoch %" PRId64 ", item %" PRId64 " is not in the data of %" PRId64
                       " items (has the data changed since the checkpoint?)",
                       p.epoch, p.item, dataset_size(d));
    d->position = p;
    if (d->loader)
        loader_restart(d->loader);
    return true;
}
