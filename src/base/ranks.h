/* The processes of one run, each with a device of its own: ranks 0 to size - 1.  A process is rank 0 of 1 until it
 * joins others (cli/launcher.c, by MPI), and then each function here does nothing and costs nothing.
 *
 * All ranks do the same work on different items and call these functions in the same order with the same sizes; each
 * call waits for the others.  A failure of one is not seen by the others: the process that fails ends them all. */
#ifndef BASE_RANKS_H
#define BASE_RANKS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What joins processes. */
typedef struct ranks {
    int rank, size;
    int local, local_size; /* among those of this machine */
    void (*sum)(float *x, size_t n);
    void (*max)(int32_t *x, size_t n);
    void (*broadcast)(void *x, size_t bytes, int from);
    void *(*sum_begin)(float *x, size_t n);
    bool (*sum_done)(void *request);
    bool (*send)(const void *x, size_t bytes);
    bool (*receive)(void *x, size_t bytes);
} ranks;
/* From here on this process is one of several.  *r is copied. */
void ranks_join(const ranks *r);

int ranks_rank(void);
int ranks_size(void);
int ranks_local(void);
int ranks_local_size(void);

/* The number in the global batch of item i of this rank's batch (train/data/dataset.h). */
int64_t ranks_item(int64_t i);

/* x[i] = the sum of all ranks' x[i], on all of them. */
void ranks_sum(float *x, size_t n);
/* x[i] = the largest of all ranks' x[i], on all of them. */
void ranks_max(int32_t *x, size_t n);
/* x becomes that of the rank `from` on all ranks. */
void ranks_broadcast(void *x, size_t bytes, int from);
/* Whether it is true on all of them. */
bool ranks_all(bool mine);
/* While it is on, those four wait for nobody and leave x as it is, though rank and size stay: for work that is only
 * planned (train/plan.c). */
void ranks_rehearse(bool on);
bool ranks_rehearsing(void);

/* ranks_sum without waiting: x is not to be touched until done says true, which it says once, and which releases the
 * request.  Sums begin in the same order on all ranks.  Only where there are others; NULL where there is no memory. */
void *ranks_sum_begin(float *x, size_t n);
bool ranks_sum_done(void *request);

/* Items to rank 0, in any order, where all other functions want the same order on all ranks.  ranks_send copies x and
 * doesn't wait; false where there is no memory.  ranks_receive takes one that is there, or returns false; all are of
 * one size. */
bool ranks_send(const void *x, size_t bytes);
bool ranks_receive(void *x, size_t bytes);
#endif
