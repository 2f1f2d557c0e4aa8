/* Gradients of this rank become the mean over all ranks (base/ranks.h) while the way back goes on: they are read from
 * the device in pieces as they become final, and summed while the device works on the layers before. */
#ifndef TRAIN_AVERAGE_H
#define TRAIN_AVERAGE_H
#include "device/run.h"

typedef struct average_piece {
    size_t at, n;                       /* floats of host */
    size_t first_gradient, n_gradients; /* that it is made of */
    run_mark read;
    void *request;
} average_piece;

/* Zero-initialised is for a rank that is alone: all functions accept it and do nothing. */
typedef struct average {
    run *r;
    float *host; /* the gradients, one after the other as they become final */
    size_t used, piece_floats;
    tensor *gradients; /* the same on the device */
    size_t n_gradients;
    average_piece *pieces;
    size_t n, started, done; /* pieces: closed; being summed, or done; done */
    bool active;
    bool launched; /* the way back, as a whole; `end` is its end */
    run_mark end;
    uint64_t sums, early; /* since open: of these many sums, so many began before the device had reached `end` */
} average;

/* Room for `gradients` tensors of `floats` elements together. */
bool average_open(average *a, run *r, size_t floats, size_t gradients, err *e);
void average_release(average *a);
/* Before the way back; then average_add (an average is the context of a tape_final) for each gradient, in the same
 * order on all ranks; then finish, which waits.  The gradients are as if written by launches before it.  Errors stay in
 * the run. */
void average_begin(average *a);
void average_add(void *context, tensor gradient);
void average_finish(average *a);
#endif
