/* GPUs as Windows shows them.  Drivers reach them through the system: there are no device files, and no permissions. */
#include "device/machine.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <windows.h>

static const struct maker {
    unsigned vendor;
    const char *name, *package;
} makers[] = {
    {0x8086, "Intel", "Intel's graphics driver"},
    {0x1002, "AMD", "AMD's graphics driver"},
    {0x10de, "NVIDIA", "NVIDIA's graphics driver"},
    {0, NULL, "Intel's CPU Runtime for OpenCL"},
};

static const struct maker *maker_of(unsigned vendor)
{
    const struct maker *m = makers;
    while (m->name && m->vendor != vendor)
        m++;
    return m;
}

/* Each display of an adapter is listed, with an id such as PCI\VEN_8086&DEV_9A49&SUBSYS_…. */
size_t machine_gpus(const char *root, machine_gpu out[MACHINE_MOST])
{
    size_t n = 0;
    DISPLAY_DEVICEA d = {.cb = sizeof d};
    (void)root;
    for (DWORD i = 0; n < MACHINE_MOST && EnumDisplayDevicesA(NULL, i, &d, 0); i++) {
        machine_gpu gpu = {0};
        bool known = sscanf(d.DeviceID, "PCI\\VEN_%4x&DEV_%4x", &gpu.vendor, &gpu.product) != 2;
        for (size_t k = 0; k < n; k++)
            known = known || (out[k].vendor == gpu.vendor && out[k].product == gpu.product);
        if (known)
            continue;
        snprintf(gpu.pci, sizeof gpu.pci, "%u", (unsigned)n);
        snprintf(gpu.driver, sizeof gpu.driver, "%.31s", d.DeviceString);
        out[n++] = gpu;
    }
    return n;
}

const char *machine_vendor(unsigned vendor)
{
    return maker_of(vendor)->name;
}

size_t machine_nodes(const char *root, machine_node out[MACHINE_MOST])
{
    (void)root, (void)out;
    return 0;
}

void machine_node_advice(const machine_node *n, char *out, size_t size)
{
    (void)n;
    snprintf(out, size, "%s", "");
}

bool machine_can_write(const char *folder)
{
    return access(folder, W_OK) == 0;
}

const char *machine_package(const char *root, unsigned vendor)
{
    (void)root;
    return maker_of(vendor)->package;
}
