/* Kernel times, from events, as totals by kernel and as a timeline. */
#ifndef DEVICE_PROFILE_H
#define DEVICE_PROFILE_H
#include "device/device.h"

profile *profile_new(err *e);
void profile_free(profile *p, const device *d);
/* Takes the event over.  name must live as long as the device. */
void profile_add(profile *p, const char *name, cl_event event, double flops, double bytes);

/* As limn_device_profile and limn_device_write_trace. */
bool device_profile(device *d, limn_kernel_profile **rows, size_t *n, err *e);
bool device_write_trace(device *d, const char *path, err *e);

/* How many launches it has. */
size_t profile_count(const profile *p);
/* Seconds of the device's clock. */
typedef struct profile_time {
    double all;     /* from the start of the first launch to the end of the last */
    double kernels; /* of these in kernels */
    double waiting; /* of the rest, while the next launch had not been enqueued yet: what the host is to blame for */
} profile_time;
/* *t tells of the launches from number `first` on, which are of one queue, and finished. */
bool profile_times(profile *p, size_t first, profile_time *t, err *e);
#endif
