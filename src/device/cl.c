/* OpenCL status codes as names and remedies. */
#include "device/cl.h"

#include <string.h>

static const struct {
    cl_int status;
    const char *name, *remedy;
} statuses[] = {
    {-1, "CL_DEVICE_NOT_FOUND", 0},
    {-2, "CL_DEVICE_NOT_AVAILABLE", "another program may hold the device"},
    {-3, "CL_COMPILER_NOT_AVAILABLE",
     "the driver comes without its compiler: install it, or choose another with `device`"},
    {-4, "CL_MEM_OBJECT_ALLOCATION_FAILURE",
     "the device has not enough free memory: use a smaller batch or model, or `type` q8_0"},
    {-5, "CL_OUT_OF_RESOURCES",
     "the device ran out of memory or was reset: use a smaller batch, or choose another with `device`"},
    {-6, "CL_OUT_OF_HOST_MEMORY", "close other programs"},
    {-7, "CL_PROFILING_INFO_NOT_AVAILABLE", 0},
    {-11, "CL_BUILD_PROGRAM_FAILURE", "the build log says where; the driver may be out of date"},
    {-12, "CL_MAP_FAILURE", 0},
    {-13, "CL_MISALIGNED_SUB_BUFFER_OFFSET", 0},
    {-14, "CL_EXEC_STATUS_ERROR_FOR_EVENTS_IN_WAIT_LIST", 0},
    {-30, "CL_INVALID_VALUE", 0},
    {-32, "CL_INVALID_PLATFORM", 0},
    {-33, "CL_INVALID_DEVICE", 0},
    {-34, "CL_INVALID_CONTEXT", 0},
    {-36, "CL_INVALID_COMMAND_QUEUE", "the device may have been reset: try again, or choose another with `device`"},
    {-37, "CL_INVALID_HOST_PTR", 0},
    {-38, "CL_INVALID_MEM_OBJECT", 0},
    {-42, "CL_INVALID_BINARY", 0},
    {-43, "CL_INVALID_BUILD_OPTIONS", 0},
    {-44, "CL_INVALID_PROGRAM", 0},
    {-45, "CL_INVALID_PROGRAM_EXECUTABLE", 0},
    {-46, "CL_INVALID_KERNEL_NAME", 0},
    {-48, "CL_INVALID_KERNEL", 0},
    {-49, "CL_INVALID_ARG_INDEX", 0},
    {-50, "CL_INVALID_ARG_VALUE", 0},
    {-51, "CL_INVALID_ARG_SIZE", 0},
    {-52, "CL_INVALID_KERNEL_ARGS", 0},
    {-53, "CL_INVALID_WORK_DIMENSION", 0},
    {-54, "CL_INVALID_WORK_GROUP_SIZE", 0},
    {-55, "CL_INVALID_WORK_ITEM_SIZE", 0},
    {-56, "CL_INVALID_GLOBAL_OFFSET", 0},
    {-59, "CL_INVALID_OPERATION", 0},
    {-61, "CL_INVALID_BUFFER_SIZE", "the device allows no allocation of this size"},
    {-63, "CL_INVALID_GLOBAL_WORK_SIZE", 0},
    {-1001, "CL_PLATFORM_NOT_FOUND_KHR", "install an OpenCL driver"},
};

const char *cl_status_name(cl_int status)
{
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status)
            return statuses[i].name;
    return "unknown status";
}

int cl_cause(cl_int status)
{
    bool memory =
        status == CL_MEM_OBJECT_ALLOCATION_FAILURE || status == CL_OUT_OF_RESOURCES || status == CL_OUT_OF_HOST_MEMORY;
    return memory ? LIMN_CAUSE_DEVICE_MEMORY : LIMN_CAUSE_OTHER;
}

/* Drivers take memory when a buffer is made, or when commands first want it. */
static bool takes_memory(const char *call)
{
    return !strcmp(call, "clCreateBuffer") || !strncmp(call, "clEnqueue", 9) || !strcmp(call, "clFinish") ||
           !strcmp(call, "clWaitForEvents") || !strcmp(call, "waiting for the device") || !strncmp(call, "CLBlast", 7);
}

bool cl_ok(cl_int status, const char *call, err *e)
{
    if (status == CL_SUCCESS)
        return true;
    const char *remedy = 0;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++)
        if (statuses[i].status == status)
            remedy = statuses[i].remedy;
    if (e && e->code == ERR_NONE)
        e->cause = takes_memory(call) ? cl_cause(status) : LIMN_CAUSE_OTHER;
    return err_set(e, ERR_FAILED, "%s: %s (%d)%s%s%s", call, cl_status_name(status), status, remedy ? " (" : "",
                   remedy ? remedy : "", remedy ? ")" : "");
}
