/* Weights that don't fit: they stay in the host's memory in parts (a part is a layer's weights), and each part is
 * copied to the device when it is wanted, to one of two places in turn, while what was launched before it computes.
 *
 * Tensors of such parts are used like all others: before a launch that reads one, run_launch and run_replay ask for its
 * part.  Which part comes next is learned from the order in which they were wanted last, so nobody has to say it. */
#ifndef DEVICE_STREAM_H
#define DEVICE_STREAM_H
#include "device/run.h"

typedef struct stream stream;
typedef struct stream_part stream_part;

/* For `parts` parts of at most `bytes` on the device: two buffers of that size.  Copies have a queue of their own,
 * where the device gives one. */
stream *stream_new(device *d, uint64_t bytes, int parts, err *e);
/* After the tensors; waits for copies. */
void stream_free(stream *s);
/* What a tensor of so many bytes takes in a part, with what aligns it. */
uint64_t stream_room(dtype type, uint64_t bytes);
/* The next tensor of part i, to be freed by buffer_free(t->buf); there is room.  host outlives the stream. */
bool stream_tensor(stream *s, tensor *t, int i, dtype type, int nd, const int64_t *shape, const void *host, err *e);
/* After a failure, where the places may not hold what was on its way there: all is copied anew.  s may be NULL; nothing
 * that was launched may still be at work. */
void stream_forget(stream *s);
/* Held, nothing is copied, and what is computed is wrong: to measure how long computing alone takes. */
void stream_hold(stream *s, bool hold);
/* Bytes copied since stream_new. */
uint64_t stream_copied(const stream *s);

/* For launches: what is launched from now on finds the part's tensors in place. */
void stream_want(run *r, stream_part *p);
#endif
