/* The mean of gradients over the ranks, computed during the backward pass. */
#include "train/all_reduce.h"

#include <stdlib.h>
#include <time.h>

#include "base/log.h"
#include "base/ranks.h"

/* Floats of a piece: an eighth of all, so that small models overlap too, but not so small that the network's delay
 * counts, nor so large (4 MiB) that the first piece comes late. */
#define PIECES      8
#define PIECE_LEAST ((size_t)1 << 12)
#define PIECE_MOST  ((size_t)1 << 20)

bool all_reduce_open(all_reduce *a, run *r, size_t floats, size_t gradients, err *e)
{
    *a = (all_reduce){.r = r, .piece_floats = floats / PIECES};
    if (a->piece_floats < PIECE_LEAST)
        a->piece_floats = PIECE_LEAST;
    if (a->piece_floats > PIECE_MOST)
        a->piece_floats = PIECE_MOST;
    a->host = malloc(floats * sizeof *a->host);
    a->gradients = calloc(gradients, sizeof *a->gradients);
    a->pieces = calloc(gradients, sizeof *a->pieces);
    return a->host && a->gradients && a->pieces
               ? true
               : err_no_memory(e, "gradients of all processes", floats * sizeof(float));
}

static void wait_for(all_reduce *a, run_mark *m)
{
    while (!run_mark_passed(a->r, m))
        nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL); /* not a spin: the device may be these very cores */
}

void all_reduce_release(all_reduce *a)
{
    for (size_t i = a->started; i < a->n; i++) /* after a failure */
        wait_for(a, &a->pieces[i].read);
    if (a->r)
        wait_for(a, &a->end);
    if (a->sums)
        log_write(LOG_DEBUG, "gradients: %.0f%% of %llu sums over the processes began before their backward pass ended",
                  100 * (double)a->early / (double)a->sums, (unsigned long long)a->sums);
    if (a->done == a->n) /* after a failure others may still be writing to it, until the process ends */
        free(a->host);
    free(a->gradients);
    free(a->pieces);
    *a = (all_reduce){0};
}

void all_reduce_begin(all_reduce *a)
{
    a->active = a->r && !ranks_rehearsing();
    a->used = a->n_gradients = a->n = a->started = a->done = 0;
    a->launched = false;
}

/* The mean, back to where the gradients came from. */
static void put_back(all_reduce *a, const all_reduce_piece *p)
{
    float share = 1.0f / (float)ranks_size(), *at = a->host + p->at;
    for (size_t i = 0; i < p->n; i++)
        at[i] *= share;
    for (size_t i = p->first_gradient; i < p->first_gradient + p->n_gradients; i++) {
        run_write_later(a->r, a->gradients[i], at);
        at += tensor_count(&a->gradients[i]);
    }
}

/* Starts to sum what has been read, puts back what has been summed.  All ranks start the pieces in order. */
static void advance(all_reduce *a)
{
    while (a->started < a->n && !run_failed(a->r) && run_mark_passed(a->r, &a->pieces[a->started].read)) {
        all_reduce_piece *p = &a->pieces[a->started];
        if (run_failed(a->r))
            return;
        a->sums++;
        a->early += !a->launched || !run_mark_passed(a->r, &a->end);
        p->request = ranks_sum_begin(a->host + p->at, p->n);
        if (!p->request) {
            err_no_memory(run_error(a->r), "sums of all processes", p->n);
            return;
        }
        a->started++;
    }
    while (a->done < a->started && ranks_sum_done(a->pieces[a->done].request))
        put_back(a, &a->pieces[a->done++]);
}

/* What was added since the last piece becomes one. */
static void close_piece(all_reduce *a)
{
    const all_reduce_piece *last = a->n ? &a->pieces[a->n - 1] : NULL;
    size_t at = last ? last->at + last->n : 0, first = last ? last->first_gradient + last->n_gradients : 0;
    if (at == a->used)
        return;
    all_reduce_piece *p = &a->pieces[a->n++];
    *p =
        (all_reduce_piece){.at = at, .n = a->used - at, .first_gradient = first, .n_gradients = a->n_gradients - first};
    run_mark_set(a->r, &p->read);
}

void all_reduce_add(void *context, tensor gradient)
{
    all_reduce *a = context;
    if (!a->active || run_failed(a->r))
        return;
    const all_reduce_piece *last = a->n ? &a->pieces[a->n - 1] : NULL;
    run_read_later(a->r, gradient, a->host + a->used);
    a->gradients[a->n_gradients++] = gradient;
    a->used += (size_t)tensor_count(&gradient);
    if (a->used - (last ? last->at + last->n : 0) >= a->piece_floats)
        close_piece(a);
    advance(a);
}

void all_reduce_finish(all_reduce *a)
{
    if (!a->active)
        return;
    close_piece(a);
    run_mark_set(a->r, &a->end);
    a->launched = true;
    while (a->done < a->n && !run_failed(a->r)) {
        size_t before = a->started + a->done;
        advance(a);
        if (a->started + a->done == before)
            nanosleep(&(struct timespec){.tv_nsec = 50000}, NULL);
    }
    wait_for(a, &a->end);
    a->active = false;
}
