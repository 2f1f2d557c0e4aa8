/* A run: the device's in-order queue, memory for results, and the first error.
 * Ops take a run and return their output, allocated from it.  After a failure the run stays failed: later ops do
 * nothing and return empty tensors, and run_finish reports the first failure with kernel and sizes. */
#ifndef DEVICE_RUN_H
#define DEVICE_RUN_H
#include "device/device.h"
#include "device/tensor.h"

typedef struct run run;

run *run_new(device *d, err *e);
void run_free(run *r);
device *run_device(run *r);
bool run_failed(const run *r);
/* For ops: the run's own error, to be filled by an op that fails. */
err *run_error(run *r);
/* For ops: fails the run, naming the op and the condition, if operands don't fit together.  It is checked in every
 * build: that costs nothing beside a launch, and such operands would mean wrong memory.  A run that has failed already
 * has empty tensors and isn't checked. */
#define REQUIRE(r, condition) ((void)(run_failed(r) || (condition) || run_misused((r), __func__, #condition)))
bool run_misused(run *r, const char *op, const char *condition);

/* A new tensor with undefined contents, valid until run_next is called for the second time from now. */
tensor run_tensor(run *r, dtype type, int nd, const int64_t *shape);
#define TENSOR(r, type, ...)                                                                                           \
    run_tensor((r), (type), (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})
/* Results lie in two arenas, which are used in turn.  run_next changes to the other one and empties it: so a block of
 * layers may use the results of the block before it, and nothing older.  Under a tape it does nothing, since the
 * backward pass needs all results. */
void run_next(run *r);
/* For temporary results while a tape keeps all others: after run_aside results come from the second arena, which it
 * empties; run_return goes back to the first, and the temporary results are lost.  The two calls don't nest. */
void run_aside(run *r);
void run_return(run *r);
/* Gives back the memory of t if t is the newest tensor; else does nothing.  Later launches may then write over it,
 * which is safe since the queue is in order. */
void run_give_back(run *r, tensor t);
/* Gives r as much memory as a run on a device that only counts (count.h) took, so that the same work in the same order
 * fits and r needn't grow.  No tensor of r may be in use.  planned NULL: frees r's memory, also its zeros. */
bool run_reserve(run *r, const run *planned, err *e);
/* Bytes of a run's memory. */
uint64_t run_memory(const run *r);
/* Frees everything for reuse: nothing allocated before is valid any more. */
void run_reset(run *r);

/* Host to tensor (blocking), tensor to host (waits for all that was launched). */
void run_write(run *r, tensor t, const void *host);
void run_read(run *r, tensor t, void *host);
/* Both without waiting: host must stay as it is until a mark that is set after the call has passed. */
void run_read_later(run *r, tensor t, void *host);
void run_write_later(run *r, tensor t, const void *host);
/* A mark is a place in the queue.  It has passed when all that was launched before it is done; so has a
 * zero-initialised one. */
typedef struct run_mark {
    cl_event event;
} run_mark;
/* Sets m, which has passed, behind all that was launched until now. */
void run_mark_set(run *r, run_mark *m);
/* Whether m has passed.  If the device failed before it, it counts as passed and the run has the error. */
bool run_mark_passed(run *r, run_mark *m);
/* Waits until m has passed; what was launched after it goes on. */
void run_mark_wait(run *r, run_mark *m);
/* At least n zeros, F32, which stay valid. */
tensor run_zeros(run *r, int64_t n);
tensor run_upload(run *r, dtype type, int nd, const int64_t *shape, const void *host);
/* What the algorithms of all launches since run_new need. */
void run_counted(const run *r, double *flops, double *bytes);
/* Waits for everything; false with e filled if anything failed since the last run_finish.  The run is usable again. */
bool run_finish(run *r, err *e);

/* ---- launching: for ops alone ---- */

typedef struct arg {
    enum { ARG_TENSOR, ARG_INT, ARG_FLOAT } kind;
    tensor t;
    int64_t i;
    float f;
} arg;
#define ARG_T(x) ((arg){.kind = ARG_TENSOR, .t = (x)})
#define ARG_I(x) ((arg){.kind = ARG_INT, .i = (int64_t)(x)})
/* 32 bits of a random number's key or counter. */
#define ARG_U(x) ((arg){.kind = ARG_INT, .i = (int32_t)(uint32_t)(x)})
#define ARG_F(x) ((arg){.kind = ARG_FLOAT, .f = (float)(x)})

/* What work.global counts.  From all units but UNIT_ITEM the launch makes work-groups of the size in the device's
 * tuning (device.h), or smaller ones if the driver refuses those. */
typedef enum work_unit {
    UNIT_ITEM,  /* work-items, in groups of local; local all 0: the driver's choice */
    UNIT_ROW,   /* global[0] groups of WG */
    UNIT_BLOCK, /* global[0] elements, by groups of WG that take an ELEMENT_BLOCK each */
    UNIT_TILE,  /* global[0] columns and global[1] rows of a product, by groups of SIDE x SIDE for each of its tiles */
    UNIT_TALL,  /* the same, whose tiles are tall: of kernels that are compiled with TALL_OPTION */
    UNIT_SPAN   /* global[0] positions, by groups of SIDE x SIDE that take TILE_M of them: cl/attention_tile.cl */
} work_unit;

#define TALL_OPTION "-DTILE_TALL=1"

/* flops and bytes: what the algorithm needs, for profiles and for splitting: a launch of much work is enqueued in
 * pieces, so that none of them freezes a display that the device also serves. */
typedef struct work {
    size_t global[3], local[3];
    work_unit unit;
    double flops, bytes;
    const char *options; /* further build options, NULL for none */
} work;

/* kernel: "file:kernel".  A tensor takes two kernel arguments (see cl/common.cl) and may be empty.  Kernels count
 * elements in int (TENSOR_MOST) and a tensor's first element in uint: larger tensors are an error, also on a device
 * that only counts. */
void run_launch(run *r, const char *kernel, work w, const arg *args, int n);
#define LAUNCH(r, kernel, w, ...)                                                                                      \
    run_launch((r), (kernel), (w), (const arg[]){__VA_ARGS__}, (int)(sizeof((const arg[]){__VA_ARGS__}) / sizeof(arg)))

/* Between run_record and the first run_replay, launches are kept, with their arguments set, and not executed; each
 * run_replay enqueues them all.  The run's memory must not be reset or reused for other work between.  The next
 * run_record drops what this one kept, and so does a run_finish that reports a failure. */
void run_record(run *r);
bool run_recording(const run *r);
void run_replay(run *r);
/* For work that is enqueued without run_launch: brings t to the device, if it is streamed. */
void run_want(run *r, const tensor *t);
/* For the same: the queue.  NULL if nothing is to be enqueued: the run failed, or its device only counts. */
cl_command_queue run_queue(run *r);
#endif
