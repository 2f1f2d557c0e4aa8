/* limn devices --why. */
#ifndef CLI_WHY_H
#define CLI_WHY_H
#include "cli/options.h"
#include "cli/terminal.h"

/* devices.c */
json_t *device_json(const limn_device_info *d);

/* Warns of GPUs that the system sees and that no device is. */
void why_hint(const limn_device_info *list, size_t n);

/* All that is known of drivers, devices, GPUs, permissions, caches and variables, as a new object; *list, a new array,
 * are the devices.  NULL with why in e. */
json_t *why_gather(limn_device_info **list, size_t *n, err *e);
/* The same as text. */
void why_print(const json_t *report);

/* Prints why there are the devices that there are; as JSON where o says so.  Returns the exit code. */
int why_report(const options *o);
#endif
