/* Weights that don't fit on the device stay in the host's memory, in parts: a part is the weights of a layer.  The
 * device has room for two parts.  A part is copied to one of these places before it is used, while the device computes
 * with the other.
 *
 * Ops use tensors of such parts like all others: run_launch and run_replay ask for the part before a launch that reads
 * it.  The stream expects parts in the order in which they were used the last time, and copies the next one ahead. */
#ifndef DEVICE_STREAM_H
#define DEVICE_STREAM_H
#include "base/file.h"
#include "device/run.h"

typedef struct stream stream;
typedef struct stream_part stream_part;

/* For parts of at most `bytes` on the device: makes two buffers of that size.  Copies have a queue of their own if the
 * device gives one.  mapped: a file whose pages leave memory once the parts that lie in them are copied; it outlives
 * the stream.  NULL: all parts stay in memory. */
stream *stream_new(device *d, uint64_t bytes, int parts, const file_map *mapped, err *e);
/* Waits for copies.  The tensors must be freed before. */
void stream_free(stream *s);
/* What a tensor of so many bytes takes in a part, with its alignment. */
uint64_t stream_room(dtype type, uint64_t bytes);
/* Adds a tensor to part i, which has room for it: buffer_free(t->buf).  host outlives the stream. */
bool stream_tensor(stream *s, tensor *t, int i, dtype type, int nd, const int64_t *shape, const void *host, err *e);
/* After a failure the two places may hold anything: this makes each part be copied again before its next use.  Nothing
 * that was launched may still be at work.  s may be NULL. */
void stream_forget(stream *s);
/* While it is held nothing is copied, so results are wrong: to measure how long computing alone takes. */
void stream_hold(stream *s, bool hold);
/* Bytes copied since stream_new. */
uint64_t stream_copied(const stream *s);

/* For launches: copies the part, so that what is launched from now on finds its tensors in place. */
void stream_want(run *r, stream_part *p);
#endif
