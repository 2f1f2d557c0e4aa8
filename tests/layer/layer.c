/*
 * An OpenCL layer for tests: OPENCL_LAYERS=<this library> program.
 *   LIMN_LAYER_PROFILE=KEY     every device looks and behaves like that row of profile.c
 *   LIMN_LAYER_LIMITS=G,X,Y,Z,L  with other limits than its: work-items of a group, in all and in each dimension, and
 *                              bytes of local memory
 *   LIMN_LAYER_HANG_AT=N       the N-th call (of LIMN_LAYER_FAIL_NAME) never returns
 *   LIMN_LAYER_STALL_AT=N      from that call on no event completes, and waits never return
 *   LIMN_LAYER_DIE_AT=N,STATUS[,CALLS]
 *                              from that call on all, or so many, end with STATUS
 *   LIMN_LAYER_REFUSE=NAME,MOST,STATUS,SAYS
 *                              launches of that kernel (* for all) in groups of more than MOST work-items end with
 *                              STATUS, and CL_KERNEL_WORK_GROUP_SIZE says SAYS of it
 *   LIMN_LAYER_FAIL_AT=N       the N-th call of the process fails (clRetain* and clRelease* don't count)
 *   LIMN_LAYER_FAIL_NAME=NAME  only calls of that function count
 *   LIMN_LAYER_REPORT=FILE     at exit: "calls N", "failed NAME", "leak KIND N"
 *   LIMN_LAYER_KEEP=1          no buffer's memory goes back to the driver
 *   LIMN_LAYER_GROUP=N         where a launch leaves the group to the driver, it has one of at most N work-items
 *   LIMN_LAYER_CRASH=TEXT      a build with TEXT in its options ends the process, as bad drivers do
 *   LIMN_LAYER_HANG=TEXT       such a build never returns
 *   LIMN_LAYER_IDLE=TEXT       after such a build, kernels do nothing
 * This file makes the wrappers of the entry points and hands them to the loader.
 */
#include <stddef.h>

#include "layer.h"

cl_icd_dispatch driver;
static cl_icd_dispatch layer;

#define UNWRAP(...)         __VA_ARGS__
#define CALLEE_driver(name) driver.name
#define CALLEE_newer(name)  driver.name
#define CALLEE_hook(name)   hook_##name
#define REFUSAL_driver      CL_SUCCESS
#define REFUSAL_hook        CL_SUCCESS
#define REFUSAL_newer       CL_INVALID_OPERATION

#define STATUS(name, failure, via, params, args)                                                                       \
    static cl_int CL_API_CALL layer_##name params                                                                      \
    {                                                                                                                  \
        cl_int status = call_begin(#name, failure, REFUSAL_##via);                                                     \
        if (status == CL_SUCCESS)                                                                                      \
            status = CALLEE_##via(name)(UNWRAP args);                                                                  \
        call_end();                                                                                                    \
        return status;                                                                                                 \
    }
#define INFO(name, object_t, last, via)                                                                                \
    static cl_int CL_API_CALL layer_##name(object_t object, cl_uint query, size_t size, void *value, size_t *size_ret) \
    {                                                                                                                  \
        cl_int status = call_begin(#name, CL_OUT_OF_HOST_MEMORY, query > (last) ? CL_INVALID_VALUE : CL_SUCCESS);      \
        if (status == CL_SUCCESS)                                                                                      \
            status = CALLEE_##via(name)(object, query, size, value, size_ret);                                         \
        call_end();                                                                                                    \
        return status;                                                                                                 \
    }
#define EVENT(name, failure, via, params, args)                                                                        \
    static cl_int CL_API_CALL layer_##name(UNWRAP params, cl_uint waits, const cl_event *wait_list, cl_event *event)   \
    {                                                                                                                  \
        cl_int status = call_begin(#name, failure, REFUSAL_##via);                                                     \
        if (status == CL_SUCCESS) {                                                                                    \
            status = CALLEE_##via(name)(UNWRAP args, waits, wait_list, event);                                         \
            if (status == CL_SUCCESS && event)                                                                         \
                object_add(OBJECT_EVENT, *event, 0);                                                                   \
        }                                                                                                              \
        call_end();                                                                                                    \
        return status;                                                                                                 \
    }
#define CREATE(name, object_t, kind, failure, via, params, args)                                                       \
    static object_t CL_API_CALL layer_##name(UNWRAP params, cl_int *status_ret)                                        \
    {                                                                                                                  \
        object_t object = NULL;                                                                                        \
        cl_int status = call_begin(#name, failure, REFUSAL_##via);                                                     \
        if (status == CL_SUCCESS)                                                                                      \
            object = CALLEE_##via(name)(UNWRAP args, &status);                                                         \
        if (object)                                                                                                    \
            object_add(kind, object, 0);                                                                               \
        call_end();                                                                                                    \
        if (status_ret)                                                                                                \
            *status_ret = status;                                                                                      \
        return object;                                                                                                 \
    }
/* A release leaves the records first: the driver may give the same handle to another thread at once. */
#define COUNTED(name, object_t)                                                                                        \
    static cl_int CL_API_CALL layer_clRetain##name(object_t object)                                                    \
    {                                                                                                                  \
        call_begin(NULL, CL_SUCCESS, CL_SUCCESS);                                                                      \
        cl_int status = driver.clRetain##name(object);                                                                 \
        if (status == CL_SUCCESS)                                                                                      \
            object_retain(object);                                                                                     \
        call_end();                                                                                                    \
        return status;                                                                                                 \
    }                                                                                                                  \
    static cl_int CL_API_CALL layer_clRelease##name(object_t object)                                                   \
    {                                                                                                                  \
        call_begin(NULL, CL_SUCCESS, CL_SUCCESS);                                                                      \
        object_release(object);                                                                                        \
        cl_int status = driver.clRelease##name(object);                                                                \
        call_end();                                                                                                    \
        return status;                                                                                                 \
    }
#define SPECIAL(name)
#include "entries.h"

static void *CL_API_CALL layer_clEnqueueMapBuffer(cl_command_queue queue, cl_mem buffer, cl_bool blocking,
                                                  cl_map_flags flags, size_t offset, size_t size, cl_uint waits,
                                                  const cl_event *wait_list, cl_event *event, cl_int *status_ret)
{
    void *mapped = NULL;
    cl_int status = call_begin("clEnqueueMapBuffer", CL_MAP_FAILURE, CL_SUCCESS);
    if (status == CL_SUCCESS)
        mapped =
            driver.clEnqueueMapBuffer(queue, buffer, blocking, flags, offset, size, waits, wait_list, event, &status);
    if (status == CL_SUCCESS && event)
        object_add(OBJECT_EVENT, *event, 0);
    call_end();
    if (status_ret)
        *status_ret = status;
    return mapped;
}

static void *CL_API_CALL layer_clSVMAlloc(cl_context context, cl_svm_mem_flags flags, size_t size, cl_uint alignment)
{
    void *memory = NULL;
    if (call_begin("clSVMAlloc", CL_OUT_OF_RESOURCES, CL_INVALID_OPERATION) == CL_SUCCESS)
        memory = driver.clSVMAlloc(context, flags, size, alignment);
    call_end();
    return memory;
}

/* No profile has an extension with functions. */
static void *CL_API_CALL layer_clGetExtensionFunctionAddress(const char *name)
{
    void *address = NULL;
    if (call_begin("clGetExtensionFunctionAddress", CL_OUT_OF_HOST_MEMORY, CL_INVALID_OPERATION) == CL_SUCCESS)
        address = driver.clGetExtensionFunctionAddress(name);
    call_end();
    return address;
}

static void *CL_API_CALL layer_clGetExtensionFunctionAddressForPlatform(cl_platform_id platform, const char *name)
{
    void *address = NULL;
    if (call_begin("clGetExtensionFunctionAddressForPlatform", CL_OUT_OF_HOST_MEMORY, CL_INVALID_OPERATION) ==
        CL_SUCCESS)
        address = driver.clGetExtensionFunctionAddressForPlatform(platform, name);
    call_end();
    return address;
}

#define PUBLIC __attribute__((visibility("default")))

PUBLIC cl_int CL_API_CALL clGetLayerInfo(cl_layer_info query, size_t size, void *value, size_t *size_ret)
{
    static const cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    if (query != CL_LAYER_API_VERSION || (value && size < sizeof version))
        return CL_INVALID_VALUE;
    if (value)
        *(cl_layer_api_version *)value = version;
    if (size_ret)
        *size_ret = sizeof version;
    return CL_SUCCESS;
}

PUBLIC cl_int CL_API_CALL clInitLayer(cl_uint entries, const cl_icd_dispatch *target, cl_uint *entries_ret,
                                      const cl_icd_dispatch **layer_ret)
{
    const cl_uint needed = sizeof layer / sizeof layer.clGetPlatformIDs;
    if (!target || !entries_ret || !layer_ret || entries < needed)
        return CL_INVALID_VALUE;
    record_open();
    driver = layer = *target;
#define STATUS(name, failure, via, params, args)                 layer.name = layer_##name;
#define INFO(name, object_t, last, via)                          layer.name = layer_##name;
#define EVENT(name, failure, via, params, args)                  layer.name = layer_##name;
#define CREATE(name, object_t, kind, failure, via, params, args) layer.name = layer_##name;
#define SPECIAL(name)                                            layer.name = layer_##name;
#define COUNTED(name, object_t)                                                                                        \
    layer.clRetain##name = layer_clRetain##name;                                                                       \
    layer.clRelease##name = layer_clRelease##name;
#include "entries.h"
    *entries_ret = needed;
    *layer_ret = &layer;
    return CL_SUCCESS;
}
