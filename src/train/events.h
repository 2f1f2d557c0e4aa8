/* TensorBoard's event files, written by hand: records of TFRecord's framing, each an Event message of protobuf
 * (tensorflow/core/util/event.proto, tensorflow/core/framework/summary.proto).
 *
 * Every start of a run has a file of its own in the run's directory.  It begins by saying from which step on the run
 * starts, and readers forget what earlier files have of that step and later ones: so no step is there twice. */
#ifndef TRAIN_EVENTS_H
#define TRAIN_EVENTS_H
#include "base/err.h"

typedef struct events events;

/* A new file in the directory, which is made where it isn't there, for the steps from `first` on. */
events *events_open(const char *directory, int64_t first, err *e);
/* False where something of it couldn't be written: the disk is full.  NULL is fine. */
bool events_close(events *v);

/* One number for each tag. */
void events_scalars(events *v, int64_t step, const char *const *tags, const float *values, int n);
/* A PNG file as a picture; nothing where it can't be read. */
void events_picture(events *v, int64_t step, const char *tag, const char *png);
/* What was written is in the file, for readers beside the run.  False where something of it couldn't be written. */
bool events_flush(events *v);

/* CRC-32C (Castagnoli; RFC 3720, appendix B.4), masked as TFRecord has it. */
uint32_t events_checksum(const void *data, size_t bytes);
#endif
