/* The tape: while a run has one, each op appends how the gradient of its result reaches its inputs (reverse-mode
 * automatic differentiation; Griewank & Walther 2008, chapter 3).  A model is written once, as its forward pass.
 *
 * Gradients are F32 and of their tensor's shape, and a tensor is known by where it lies, so a view of another shape is
 * the same tensor.  A view of another size fails the run, as its gradient would be another one (op_slice takes parts).
 * What needs no gradient (pictures, ids, frozen weights) costs nothing: a step is kept only if one of its inputs is
 * watched or comes of one that is. */
#ifndef OPS_TAPE_H
#define OPS_TAPE_H
#include "device/run.h"

typedef struct tape tape;
typedef struct tape_step tape_step;

#define TAPE_INPUTS 6

/* A part of a forward pass, y = part(in[0], …), y of in[0]'s shape. */
typedef tensor tape_part(run *r, const void *context, int index, const tensor in[TAPE_INPUTS]);

/* Reads the gradient of s->out and adds to those of the inputs that want one. */
typedef void tape_function(run *r, tape *t, const tape_step *s);

struct tape_step {
    tape_function *back;
    tensor in[TAPE_INPUTS]; /* empty where there are fewer */
    tensor out;
    tensor saved[2]; /* what the forward pass kept besides */
    const void *op;  /* the op's own parameters (a linear, a conv): they outlive the tape's contents */
    tape_part *part; /* of tape_recompute */
    int32_t i[8];
    float f[4];
};

/* The tape of a run; NULL with e filled where there is no memory.  Freed by tape_free, before the run. */
tape *tape_new(run *r, err *e);
void tape_free(tape *t);
/* From tape_begin to tape_end the run's ops append, and its memory is kept (run_next does nothing).
 * tape_begin drops what was there. */
void tape_begin(tape *t);
void tape_end(tape *t);

/* From now on, over every tape_begin, `gradient` (of x's shape, not overwritten but added to) is where x's gradient
 * goes: parameters.  x is watched. */
void tape_watch(tape *t, tensor x, tensor gradient);
/* Only until the next tape_begin, the gradient in the run's memory: inputs that a test asks about. */
void tape_watch_input(tape *t, tensor x);

/* part(in), of which only the result is kept: in the backward pass the part is done again, and its steps are walked
 * then (Chen et al. 2016, "Training deep nets with sublinear memory cost").  The numbers are those of part(in) itself,
 * to the bit.  Where no tape records it is just called.  Parts don't nest; a part must not call run_next, and what it
 * writes besides (a cache) it must write again.  context outlives the tape's contents. */
tensor tape_recompute(run *r, tape_part *part, const void *context, int index, const tensor in[TAPE_INPUTS]);
/* Called in the backward pass with the gradient of each lasting x to which nothing will be added any more, in an order
 * that the steps alone decide.  What no step has as an input is left out.  NULL: nobody. */
typedef void tape_final(void *context, tensor gradient);
void tape_on_final(tape *t, tape_final *f, void *context);

/* For ops.  The tape of the run, or NULL where none records. */
tape *run_tape(run *r);
/* Keeps the step if one of its inputs is wanted; then its output is wanted too. */
void tape_push(run *r, const tape_step *s);
/* Whether a tape records and keeps this step (s->in is read). */
bool tape_records(run *r, const tape_step *s);
bool tape_wants(const tape *t, tensor x);
/* For an op through which no gradient goes back to x: where one is wanted, the run fails with an error that names the
 * op, since all that x was made of would else learn nothing, in silence. */
void tape_no_gradient(run *r, const char *op, tensor x);
/* Where x's gradient is to be added.  *add: 0 where nothing is there yet (the caller overwrites), else 1. */
tensor tape_gradient_of(tape *t, tensor x, int *add);
/* The gradient that has arrived at x; empty where none has. */
tensor tape_gradient(tape *t, tensor x);

/* Starts with d loss / d loss = 1 (loss has one element) and takes the steps backwards. */
void tape_backward(tape *t, tensor loss);
#endif
