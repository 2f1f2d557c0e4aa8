/* clang-format off */
/*
 * What drivers say of memory.
 *   LIMN_LAYER_IN_PLACE=intel       memory of the host that may only be read is refused with -6, as Intel's driver for i915
 *                                   does where the flags don't say that neither side writes it
 *   LIMN_LAYER_IN_PLACE=STATUS      all memory of the host is refused with this status
 *   LIMN_LAYER_MEMORY=BYTES         no more than this is there, whatever the device reports: a buffer beyond it is refused
 *   LIMN_LAYER_MEMORY_LATE=STATUS   ... or made, and the launches that follow fail: a driver that takes memory late
 *   LIMN_LAYER_MEMORY_AFTER=N       ... all but the first N of them: other programs take it meanwhile
 */
/* clang-format on */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layer.h"

/* Whether the process may not write at p. */
static bool read_only(const void *p)
{
    FILE *f = fopen("/proc/self/maps", "r");
    char line[512], rights[8];
    unsigned long from, to;
    bool found = false, only = false;
    while (f && !found && fgets(line, sizeof line, f))
        if (sscanf(line, "%lx-%lx %7s", &from, &to, rights) == 3 && (unsigned long)p >= from && (unsigned long)p < to) {
            found = true;
            only = rights[1] != 'w';
        }
    if (f)
        fclose(f);
    return only;
}

static unsigned long long limit(void)
{
    const char *bytes = getenv("LIMN_LAYER_MEMORY");
    return bytes ? strtoull(bytes, NULL, 10) : 0;
}

cl_int memory_refusal(cl_mem_flags flags, size_t bytes, const void *host)
{
    const char *in_place = getenv("LIMN_LAYER_IN_PLACE");
    if (in_place && flags & CL_MEM_USE_HOST_PTR) {
        bool nobody_writes = flags & CL_MEM_READ_ONLY && flags & (CL_MEM_HOST_READ_ONLY | CL_MEM_HOST_NO_ACCESS);
        if (strcmp(in_place, "intel") != 0)
            return atoi(in_place);
        if (!nobody_writes && read_only(host))
            return CL_OUT_OF_HOST_MEMORY;
    }
    const char *late = getenv("LIMN_LAYER_MEMORY_LATE");
    if (limit() && !(late && *late) && memory_taken() + bytes > limit())
        return CL_MEM_OBJECT_ALLOCATION_FAILURE;
    return CL_SUCCESS;
}

cl_int memory_late(void)
{
    static atomic_ulong launches;
    const char *status = getenv("LIMN_LAYER_MEMORY_LATE"), *after = getenv("LIMN_LAYER_MEMORY_AFTER");
    bool begun = atomic_fetch_add(&launches, 1) >= (after ? strtoul(after, NULL, 10) : 0);
    return begun && limit() && status && *status && memory_taken() > limit() ? atoi(status) : CL_SUCCESS;
}
