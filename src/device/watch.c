/* The state of drivers' calls. */
#include "device/watch.h"

#include <stdio.h>

double watch_patience = 120, watch_compiling = 900;
watch_state watched_calls = {.allowed = 120, .host = true};
static char name[128] = "OpenCL", failure[128];

void watch_device(const char *device, bool host)
{
    snprintf(name, sizeof name, "%s", device);
    atomic_store(&watched_calls.host, host);
    watch_allow(watch_patience);
}

const char *watch_device_name(void)
{
    return name;
}

void watch_failure(const char *call, const char *status, int number)
{
    if (!*failure)
        snprintf(failure, sizeof failure, "%s: %s (%d)", call, status, number);
}

const char *watch_first_failure(void)
{
    return failure;
}
