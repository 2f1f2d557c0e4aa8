/* Life of a job. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "serve/store.h"
#include "serve/worker.h"

const char *const job_state_names[] = {"waiting", "working", "done", "failed", "cancelled"};

double job_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

job *job_new(exchange *x, const job_answers *answers)
{
    job *j = calloc(1, sizeof *j);
    if (!j || !store_random_name(j->id)) {
        free(j);
        return NULL;
    }
    j->holders = 1;
    j->answers = answers;
    j->temperature = j->top_p = j->guidance = -1;
    j->top_k = -1;
    j->count = 1;
    j->format = IMAGE_PNG;
    j->created = job_seconds();
    j->x = x;
    if (x)
        exchange_hold(x);
    return j;
}

void job_hold(job *j)
{
    __atomic_add_fetch(&j->holders, 1, __ATOMIC_RELAXED);
}

void job_drop_files(job *j)
{
    for (int i = 0; j->pictures && i < j->count; i++) {
        free(j->pictures[i].file);
        free(j->pictures[i].settings);
        j->pictures[i].file = NULL;
        j->pictures[i].settings = NULL;
    }
    text_release(&j->picture);
    text_release(&j->mask);
    text_release(&j->view);
}

void job_release(job *j)
{
    if (!j || __atomic_sub_fetch(&j->holders, 1, __ATOMIC_ACQ_REL) > 0)
        return;
    job_drop_files(j);
    free(j->pictures);
    free(j->prompt);
    free(j->negative);
    free(j->user);
    free(j->region);
    free(j->own);
    if (j->x)
        exchange_release(j->x);
    free(j);
}

bool job_is_unwanted(const job *j)
{
    return j->cancelled || (j->x && exchange_gone(j->x));
}
