/* Kernel times, from events, as totals by kernel and as a timeline. */
#ifndef DEVICE_PROFILE_H
#define DEVICE_PROFILE_H
#include "device/device.h"

profile *profile_new(err *e);
void profile_free(profile *p);
/* Takes the event over.  name must live as long as the device. */
void profile_add(profile *p, const char *name, cl_event event, double flops, double bytes);
#endif
