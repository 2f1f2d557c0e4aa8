/* All-reduce of gradients: each rank's become the mean over all ranks (base/ranks.h) during the backward pass.  They
 * are read from the device in pieces as soon as they are final, and summed while the device works on earlier layers. */
#ifndef TRAIN_ALL_REDUCE_H
#define TRAIN_ALL_REDUCE_H
#include "device/run.h"

typedef struct all_reduce_piece {
    size_t at, n;                       /* floats of host */
    size_t first_gradient, n_gradients; /* that it is made of */
    run_mark read;
    void *request;
} all_reduce_piece;

/* Zero-initialised is for a rank that is alone: all functions accept it and do nothing. */
typedef struct all_reduce {
    run *r;
    float *host; /* the gradients, one after the other as they become final */
    size_t used, piece_floats;
    tensor *gradients; /* the same on the device */
    size_t n_gradients;
    all_reduce_piece *pieces;
    size_t n, started, done; /* pieces: closed; being summed, or done; done */
    bool active;
    bool launched; /* the whole backward pass is; `end` is its end */
    run_mark end;
    uint64_t sums, early; /* since open: all sums, and those that began before the device had reached `end` */
} all_reduce;

/* Room for `gradients` tensors of `floats` elements together. */
bool all_reduce_open(all_reduce *a, run *r, size_t floats, size_t gradients, err *e);
void all_reduce_release(all_reduce *a);
/* Call all_reduce_begin before the backward pass.  During it the tape calls all_reduce_add (a tape_final, with the
 * all_reduce as its context) for each gradient, in the same order on all ranks.  all_reduce_finish waits until all are
 * means; what is launched after it reads those.  Errors stay in the run. */
void all_reduce_begin(all_reduce *a);
void all_reduce_add(void *context, tensor gradient);
void all_reduce_finish(all_reduce *a);
#endif
