/* One GPU under the drivers of two platforms: which devices are the same hardware, and whose driver is taken. */
#include <stdio.h>
#include <string.h>

#include "device/find.h"

static bool same_hardware(const limn_device_info *a, const limn_device_info *b)
{
    if ((a->type == LIMN_CPU) != (b->type == LIMN_CPU))
        return false;
    if (*a->pci && *b->pci) /* two cards of one kind may have the UUID of their kind */
        return !strcmp(a->pci, b->pci);
    return *a->uuid && !strcmp(a->uuid, b->uuid);
}

static int capabilities(const limn_device_info *d)
{
    return d->fp16 + d->subgroups + d->int8_dot + d->command_buffer;
}

/* "OpenCL 3.0 …" */
static double version(const limn_device_info *d)
{
    double v = 0;
    return sscanf(d->version, "OpenCL %lf", &v) == 1 ? v : 0;
}

/* In this order: it can be used; it is faster, where both were measured; a newer OpenCL; more of the extensions that
 * limn uses; larger allocations, more memory; it comes first. */
bool device_better(const limn_device_info *a, const limn_device_info *b)
{
    if (!*a->problem != !*b->problem)
        return !*a->problem;
    const double by[][2] = {
        {a->gflops > 0 && b->gflops > 0 ? a->gflops : 0, a->gflops > 0 && b->gflops > 0 ? b->gflops : 0},
        {version(a), version(b)},
        {capabilities(a), capabilities(b)},
        {(double)a->max_allocation, (double)b->max_allocation},
        {(double)a->memory, (double)b->memory},
    };
    for (size_t i = 0; i < sizeof by / sizeof *by; i++)
        if (by[i][0] != by[i][1])
            return by[i][0] > by[i][1];
    return a->index < b->index;
}

/* Devices of one platform are never the same: it has its reasons to list parts of a card. */
void devices_match(device_entry *list, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        limn_device_info *d = &list[i].info;
        const limn_device_info *best = d;
        for (size_t k = 0; k < n; k++)
            if (k != i && same_hardware(d, &list[k].info) && device_better(&list[k].info, best))
                best = &list[k].info;
        d->alternative = best->platform != d->platform;
        d->preferred = d->alternative ? best->index : d->index;
    }
    /* a is b's alternative by its UUID, and b c's by its address: a is c's too */
    for (size_t i = 0; i < n; i++)
        for (size_t steps = 0; steps < n && list[list[i].info.preferred].info.alternative; steps++)
            list[i].info.preferred = list[list[i].info.preferred].info.preferred;
}
