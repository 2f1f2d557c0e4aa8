/* The tape: while a run has one, each op appends a step that says how the gradient of its result reaches its inputs
 * (reverse-mode automatic differentiation; Griewank & Walther 2008, chapter 3).  So a model is written once, as its
 * forward pass.
 *
 * A gradient is F32 and has its tensor's shape.  The tape knows a tensor by its place in memory: a view of another
 * shape is the same tensor; a view of another size fails the run (op_slice takes parts).  A step is kept only if an
 * input of it wants a gradient, because it is watched or computed from a watched tensor.  So pictures, ids and frozen
 * weights cost nothing. */
#ifndef OPS_TAPE_H
#define OPS_TAPE_H
#include "device/run.h"

typedef struct tape tape;
typedef struct tape_step tape_step;

#define TAPE_INPUTS 6

/* A part of a forward pass: y = part(in[0], …), where y has in[0]'s shape but for the last dimension. */
typedef tensor tape_part(run *r, const void *context, int index, const tensor in[TAPE_INPUTS]);

/* A step's backward: reads the gradient of s->out and adds to the gradients of the inputs that want one. */
typedef void tape_function(run *r, tape *t, const tape_step *s);

struct tape_step {
    tape_function *back;
    tensor in[TAPE_INPUTS]; /* the rest is empty */
    tensor out;
    tensor saved[2]; /* what the forward pass kept besides */
    const void *op;  /* the op's own parameters (a linear, a conv), which outlive the tape's contents */
    tape_part *part; /* for tape_recompute */
    int32_t i[8];
    float f[4];
};

/* A tape for a run; NULL with e filled if there is no memory.  It is freed before the run. */
tape *tape_new(run *r, err *e);
void tape_free(tape *t);
/* From tape_begin to tape_end the run's ops append, and its memory is kept (run_next does nothing).
 * tape_begin drops what was there. */
void tape_begin(tape *t);
void tape_end(tape *t);

/* For parameters: watches x until the tape is freed.  Each backward pass adds x's gradient to `gradient`, which has x's
 * shape and which the caller sets to 0. */
void tape_watch(tape *t, tensor x, tensor gradient);
/* For tests: watches x until the next tape_begin, with its gradient in the run's memory. */
void tape_watch_input(tape *t, tensor x);

/* y = part(in), keeping only y: the backward pass does the part again and then walks its steps (Chen et al. 2016,
 * "Training deep nets with sublinear memory cost").  The numbers are those of part(in) itself, to the bit.  Without a
 * tape part is just called.  Parts don't nest; a part must not call run_next; if it writes something besides (a cache),
 * it must write the same again.  context outlives the tape's contents.  last: y's last dimension. */
tensor tape_recompute(run *r, tape_part *part, const void *context, int index, const tensor in[TAPE_INPUTS],
                      int64_t last);
/* The backward pass calls this with the gradient of each parameter (tape_watch) as soon as it is complete, in an order
 * that depends on the steps alone.  A parameter that no step uses is left out.  NULL: nothing is called. */
typedef void tape_final(void *context, tensor gradient);
void tape_on_final(tape *t, tape_final *f, void *context);

/* For ops that do something else for a weight while the tape records: `data`, which outlives the tape, for a tensor
 * that begins in w.  What is attached to x, or NULL. */
bool tape_attach(tape *t, tensor w, const void *data, err *e);
const void *tape_attached(const tape *t, tensor x);

/* For ops.  The tape of the run, or NULL if none records. */
tape *run_tape(run *r);
/* Keeps the step if one of its inputs wants a gradient; then its output wants one too. */
void tape_push(run *r, const tape_step *s);
/* Whether a tape records and would keep this step (only s->in is read). */
bool tape_records(run *r, const tape_step *s);
bool tape_wants(const tape *t, tensor x);
/* For an op that has no backward for x: if x wants a gradient, the run fails with an error that names the op. Otherwise
 * everything that x was computed from would silently learn nothing. */
void tape_no_gradient(run *r, const char *op, tensor x);
/* The tensor that x's gradient is added to.  *add: 0 if it holds nothing yet, so that the caller overwrites it; else 1.
 */
tensor tape_gradient_of(tape *t, tensor x, int *add);
/* The gradient that has arrived at x; empty if none has. */
tensor tape_gradient(tape *t, tensor x);

/* The backward pass: starts with d loss / d loss = 1 (loss has one element) and takes the steps in reverse. */
void tape_backward(tape *t, tensor loss);
#endif
