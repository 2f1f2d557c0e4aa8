/* What the parts of finding devices share: find.c, describe.c, same.c. */
#ifndef DEVICE_FIND_H
#define DEVICE_FIND_H
#include "device/device.h"

/* find.c: as cl_ok, without a remedy: those are for devices in use. */
bool answered(cl_int status, const char *call, err *e);

/* describe.c: a driver's text without blanks at its ends, as valid UTF-8 without control characters, cut between two
 * characters where size asks for it. */
void text_clean(const char *from, char *out, size_t size);
/* Its name, or a name for it; version is "" where it isn't told. */
void describe_platform(cl_platform_id platform, int index, char name[128], char version[128]);
/* Fills d->info for d->id.  False with the query in e, where nobody could use such a device. */
bool describe_device(device_entry *d, const char *platform_version, err *e);
/* Units that have local memory of their own; the compute units, where a driver doesn't tell of others. */
uint32_t describe_cores(cl_device_id id, const limn_device_info *i);

/* same.c: marks those that are the same hardware under another platform's driver as alternatives of the best one. */
void devices_match(device_entry *list, size_t n);
/* Whether a's driver is to be preferred to b's for the same hardware. */
bool device_better(const limn_device_info *a, const limn_device_info *b);

/* select.c: whether the choice is limn's. */
bool device_spec_is_auto(const char *spec);
#endif
