/*
 * The entry points that answer with a profile, hold the program to its limits, or follow what their handles need.
 * Without a profile they pass on.  A sub-buffer costs no memory, and a buffer released before its sub-buffers counts as
 * gone.
 */
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"

/* What an info query does with the bytes that answer it. */
static cl_int answer(const void *from, size_t bytes, size_t size, void *value, size_t *size_ret)
{
    if (value && size < bytes)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, bytes);
    if (size_ret)
        *size_ret = bytes;
    return CL_SUCCESS;
}

typedef struct field {
    cl_uint query;
    size_t offset, bytes; /* bytes 0: a string */
} field;

#define STRING(query, member)                                                                                          \
    {                                                                                                                  \
        query, offsetof(profile, member), 0                                                                            \
    }
#define VALUE(query, member)                                                                                           \
    {                                                                                                                  \
        query, offsetof(profile, member), sizeof((profile *)0)->member                                                 \
    }

static const field platform_fields[] = {
    STRING(CL_PLATFORM_NAME, platform),
    STRING(CL_PLATFORM_VENDOR, vendor),
    STRING(CL_PLATFORM_VERSION, platform_version),
    STRING(CL_PLATFORM_EXTENSIONS, extensions),
};
static const field device_fields[] = {
    STRING(CL_DEVICE_NAME, name),
    STRING(CL_DEVICE_VENDOR, vendor),
    STRING(CL_DRIVER_VERSION, driver),
    STRING(CL_DEVICE_VERSION, version),
    STRING(CL_DEVICE_OPENCL_C_VERSION, c_version),
    STRING(CL_DEVICE_EXTENSIONS, extensions),
    VALUE(CL_DEVICE_TYPE, type),
    VALUE(CL_DEVICE_VENDOR_ID, vendor_id),
    VALUE(CL_DEVICE_MAX_COMPUTE_UNITS, units),
    VALUE(CL_DEVICE_MAX_WORK_GROUP_SIZE, group),
    VALUE(CL_DEVICE_MAX_WORK_ITEM_SIZES, items),
    VALUE(CL_DEVICE_LOCAL_MEM_SIZE, local),
    VALUE(CL_DEVICE_LOCAL_MEM_TYPE, local_type),
    VALUE(CL_DEVICE_GLOBAL_MEM_SIZE, global),
    VALUE(CL_DEVICE_MAX_MEM_ALLOC_SIZE, alloc),
    VALUE(CL_DEVICE_MAX_CONSTANT_BUFFER_SIZE, constant),
    VALUE(CL_DEVICE_MEM_BASE_ADDR_ALIGN, align),
    VALUE(CL_DEVICE_HOST_UNIFIED_MEMORY, unified),
    VALUE(CL_DEVICE_MAX_PARAMETER_SIZE, parameters),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_CHAR, w_char),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_SHORT, w_short),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_INT, w_int),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_LONG, w_long),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_FLOAT, w_float),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_HALF, w_half),
    VALUE(CL_DEVICE_PREFERRED_VECTOR_WIDTH_DOUBLE, w_double),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_CHAR, w_char),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_SHORT, w_short),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_INT, w_int),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_LONG, w_long),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, w_float),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_HALF, w_half),
    VALUE(CL_DEVICE_NATIVE_VECTOR_WIDTH_DOUBLE, w_double),
    VALUE(CL_DEVICE_DOUBLE_FP_CONFIG, fp64),
};
#define COUNT(array) (sizeof(array) / sizeof *(array))

/* Answers a query from one of the fields; false if it is in none. */
static bool answer_field(const profile *p, const field *fields, size_t n, cl_uint query, size_t size, void *value,
                         size_t *size_ret, cl_int *status)
{
    for (size_t i = 0; i < n; i++) {
        if (fields[i].query != query)
            continue;
        const void *at = (const char *)p + fields[i].offset;
        size_t bytes = fields[i].bytes;
        if (bytes == 0) {
            at = *(const char *const *)at;
            bytes = strlen(at) + 1;
        }
        *status = answer(at, bytes, size, value, size_ret);
        return true;
    }
    return false;
}

cl_int CL_API_CALL hook_clGetPlatformInfo(cl_platform_id platform, cl_platform_info query, size_t size, void *value,
                                          size_t *size_ret)
{
    const profile *p = call_limits();
    cl_int status;
    if (p && answer_field(p, platform_fields, COUNT(platform_fields), query, size, value, size_ret, &status))
        return status;
    if (p && query != CL_PLATFORM_PROFILE && query != CL_PLATFORM_ICD_SUFFIX_KHR)
        return CL_INVALID_VALUE;
    return driver.clGetPlatformInfo(platform, query, size, value, size_ret);
}

cl_int CL_API_CALL hook_clGetDeviceInfo(cl_device_id device, cl_device_info query, size_t size, void *value,
                                        size_t *size_ret)
{
    const profile *p = call_limits();
    cl_int status;
    if (p && answer_field(p, device_fields, COUNT(device_fields), query, size, value, size_ret, &status))
        return status;
    if (p && query == CL_DEVICE_HALF_FP_CONFIG) /* belongs to cl_khr_fp16 */
        return CL_INVALID_VALUE;
    return driver.clGetDeviceInfo(device, query, size, value, size_ret);
}

/* Whether a request for devices of a type means the profile's; if so it asks the driver for all. */
static bool type_matches(const profile *p, cl_device_type *type)
{
    bool matches = *type & (p->type | CL_DEVICE_TYPE_DEFAULT);
    *type = CL_DEVICE_TYPE_ALL;
    return matches;
}

cl_int CL_API_CALL hook_clGetDeviceIDs(cl_platform_id platform, cl_device_type type, cl_uint n, cl_device_id *ids,
                                       cl_uint *count)
{
    const profile *p = call_limits();
    if (p && !type_matches(p, &type)) {
        if (count)
            *count = 0;
        return CL_DEVICE_NOT_FOUND;
    }
    return driver.clGetDeviceIDs(platform, type, n, ids, count);
}

cl_context CL_API_CALL hook_clCreateContextFromType(const cl_context_properties *properties, cl_device_type type,
                                                    void(CL_CALLBACK *notify)(const char *, const void *, size_t,
                                                                              void *),
                                                    void *user, cl_int *status)
{
    const profile *p = call_limits();
    if (p && !type_matches(p, &type)) {
        *status = CL_DEVICE_NOT_FOUND;
        return NULL;
    }
    return driver.clCreateContextFromType(properties, type, notify, user, status);
}

cl_mem CL_API_CALL hook_clCreateBuffer(cl_context context, cl_mem_flags flags, size_t size, void *host, cl_int *status)
{
    const profile *p = call_limits();
    if (p && size > p->alloc) {
        *status = CL_INVALID_BUFFER_SIZE;
        return NULL;
    }
    if ((*status = memory_refusal(flags, size, host)) != CL_SUCCESS)
        return NULL;
    if (!memory_take(size, p ? p->global : CL_ULONG_MAX)) {
        *status = CL_MEM_OBJECT_ALLOCATION_FAILURE;
        return NULL;
    }
    cl_mem buffer = driver.clCreateBuffer(context, flags, size, host, status);
    if (buffer)
        object_add(OBJECT_BUFFER, buffer, size);
    else
        memory_give(size);
    if (buffer && buffers_stay())
        driver.clRetainMemObject(buffer);
    return buffer;
}

cl_mem CL_API_CALL hook_clCreateSubBuffer(cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type,
                                          const void *info, cl_int *status)
{
    const profile *p = call_limits();
    const cl_buffer_region *region = info;
    if (p && type == CL_BUFFER_CREATE_TYPE_REGION && region && region->origin % (p->align / 8)) {
        *status = CL_MISALIGNED_SUB_BUFFER_OFFSET;
        return NULL;
    }
    return driver.clCreateSubBuffer(buffer, flags, type, info, status);
}

cl_program CL_API_CALL hook_clCreateProgramWithSource(cl_context context, cl_uint n, const char **strings,
                                                      const size_t *lengths, cl_int *status)
{
    /* In the source, as not every compiler takes -U among its options. */
    static const char hide[] = "#undef cl_khr_fp16\n#undef cl_khr_fp64\n#undef cl_khr_subgroups\n"
                               "#undef cl_intel_subgroups\n#undef cl_khr_integer_dot_product\n#line 1\n";
    if (!call_limits() || n == 0 || !strings)
        return driver.clCreateProgramWithSource(context, n, strings, lengths, status);
    const char **with = malloc((n + 1) * sizeof *with);
    size_t *with_lengths = calloc(n + 1, sizeof *with_lengths);
    if (!with || !with_lengths)
        abort();
    with[0] = hide;
    memcpy(with + 1, strings, n * sizeof *with);
    if (lengths)
        memcpy(with_lengths + 1, lengths, n * sizeof *with_lengths);
    cl_program program = driver.clCreateProgramWithSource(context, n + 1, with, with_lengths, status);
    free(with);
    free(with_lengths);
    return program;
}

/* Whether a 1.2 compiler takes the options. */
static bool options_fit(const char *options)
{
    static const char standard[] = "-cl-std=CL1.";
    const char *at = options;
    while (at && (at = strstr(at, "-cl-std="))) {
        if (strncmp(at, standard, sizeof standard - 1) != 0 || at[sizeof standard - 1] > '2')
            return false;
        at++;
    }
    return true;
}

/* Whether the options have the text that an environment variable holds. */
static bool has_option(const char *options, const char *variable)
{
    const char *text = getenv(variable);
    return text && options && strstr(options, text);
}

static bool idle; /* kernels do nothing */

/* A driver that is not well. */
static void misbehave(const char *options)
{
    if (has_option(options, "LIMN_LAYER_CRASH"))
        abort();
    while (has_option(options, "LIMN_LAYER_HANG"))
        pause();
    idle = idle || has_option(options, "LIMN_LAYER_IDLE");
}

cl_int CL_API_CALL hook_clBuildProgram(cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
                                       void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    if (call_limits() && !options_fit(options))
        return CL_INVALID_BUILD_OPTIONS;
    misbehave(options);
    return driver.clBuildProgram(program, n, devices, options, notify, user);
}

cl_int CL_API_CALL hook_clCompileProgram(cl_program program, cl_uint n, const cl_device_id *devices,
                                         const char *options, cl_uint headers, const cl_program *header_programs,
                                         const char **header_names, void(CL_CALLBACK *notify)(cl_program, void *),
                                         void *user)
{
    if (call_limits() && !options_fit(options))
        return CL_INVALID_COMPILER_OPTIONS;
    return driver.clCompileProgram(program, n, devices, options, headers, header_programs, header_names, notify, user);
}

/* The driver's figure includes arguments that are set, and at first none is: that much the kernel declares itself. */
static void kernel_add(cl_kernel kernel)
{
    cl_ulong bytes = 0;
    object_add(OBJECT_KERNEL, kernel, 0);
    if (call_limits() && driver.clGetKernelWorkGroupInfo(kernel, NULL, CL_KERNEL_LOCAL_MEM_SIZE, sizeof bytes, &bytes,
                                                         NULL) == CL_SUCCESS)
        kernel_local_set(kernel, 0, bytes);
}

cl_kernel CL_API_CALL hook_clCreateKernel(cl_program program, const char *name, cl_int *status)
{
    cl_kernel kernel = driver.clCreateKernel(program, name, status);
    if (kernel)
        kernel_add(kernel);
    return kernel;
}

cl_int CL_API_CALL hook_clCreateKernelsInProgram(cl_program program, cl_uint n, cl_kernel *kernels, cl_uint *count)
{
    cl_uint made = 0;
    cl_int status = driver.clCreateKernelsInProgram(program, n, kernels, &made);
    for (cl_uint i = 0; status == CL_SUCCESS && kernels && i < made; i++)
        kernel_add(kernels[i]);
    if (count && status == CL_SUCCESS)
        *count = made;
    return status;
}

cl_int CL_API_CALL hook_clSetKernelArg(cl_kernel kernel, cl_uint index, size_t size, const void *value)
{
    cl_int status = driver.clSetKernelArg(kernel, index, size, value);
    if (call_limits() && status == CL_SUCCESS)
        kernel_local_set(kernel, 1 + index, value ? 0 : size); /* a null buffer counts as 8 bytes: it does no harm */
    return status;
}

/* What LIMN_LAYER_REFUSE says of a kernel. */
typedef struct refusal {
    size_t most, says;
    cl_int status;
} refusal;

static bool refused(cl_kernel kernel, refusal *f)
{
    const char *text = getenv("LIMN_LAYER_REFUSE"), *comma = text ? strchr(text, ',') : NULL;
    char name[64];
    int status;
    if (!comma || sscanf(comma, ",%zu,%d,%zu", &f->most, &status, &f->says) != 3 ||
        driver.clGetKernelInfo(kernel, CL_KERNEL_FUNCTION_NAME, sizeof name, name, NULL) != CL_SUCCESS)
        return false;
    f->status = status;
    return *text == '*' || (strncmp(text, name, (size_t)(comma - text)) == 0 && !name[comma - text]);
}

cl_int CL_API_CALL hook_clGetKernelWorkGroupInfo(cl_kernel kernel, cl_device_id device, cl_kernel_work_group_info query,
                                                 size_t size, void *value, size_t *size_ret)
{
    const profile *p = call_limits();
    refusal f;
    if (query == CL_KERNEL_WORK_GROUP_SIZE && refused(kernel, &f))
        return answer(&f.says, sizeof f.says, size, value, size_ret);
    if (!p || (query != CL_KERNEL_WORK_GROUP_SIZE && query != CL_KERNEL_PREFERRED_WORK_GROUP_SIZE_MULTIPLE))
        return driver.clGetKernelWorkGroupInfo(kernel, device, query, size, value, size_ret);
    size_t given;
    cl_int status = driver.clGetKernelWorkGroupInfo(kernel, device, query, sizeof given, &given, NULL);
    if (status != CL_SUCCESS)
        return status;
    if (query != CL_KERNEL_WORK_GROUP_SIZE)
        given = p->wave;
    else if (given > p->group)
        given = p->group;
    return answer(&given, sizeof given, size, value, size_ret);
}

/* A launch's status by the limits; of the two sizes that a group can exceed, the whole is checked first. */
static cl_int launch_status(const profile *p, cl_kernel kernel, cl_uint dimensions, const size_t *global,
                            const size_t *local)
{
    if (kernel_local(kernel) > p->local)
        return CL_OUT_OF_RESOURCES;
    if (!local || !global || dimensions < 1 || dimensions > 3)
        return CL_SUCCESS; /* right, or for the driver to refuse */
    size_t group = 1;
    for (cl_uint i = 0; i < dimensions; i++) {
        if (local[i] == 0 || local[i] > p->group / group)
            return CL_INVALID_WORK_GROUP_SIZE;
        group *= local[i];
    }
    for (cl_uint i = 0; i < dimensions; i++)
        if (local[i] > p->items[i])
            return CL_INVALID_WORK_ITEM_SIZE;
    for (cl_uint i = 0; i < dimensions; i++)
        if (global[i] % local[i])
            return CL_INVALID_WORK_GROUP_SIZE;
    return CL_SUCCESS;
}

/* LIMN_LAYER_GROUP=N: where the program leaves the group to the driver, one of at most N items, as drivers choose them:
 * the largest that divide the launch, the first dimension first. */
static bool choose_group(cl_uint dimensions, const size_t *global, size_t local[3])
{
    const char *text = getenv("LIMN_LAYER_GROUP");
    size_t left = text ? strtoul(text, NULL, 10) : 0;
    if (!left || !global || dimensions < 1 || dimensions > 3)
        return false;
    for (cl_uint i = 0; i < dimensions; i++) {
        local[i] = left < global[i] ? left : global[i];
        while (local[i] > 1 && global[i] % local[i])
            local[i]--;
        if (!local[i])
            return false;
        left /= local[i];
    }
    return true;
}

cl_int CL_API_CALL hook_clEnqueueNDRangeKernel(cl_command_queue queue, cl_kernel kernel, cl_uint dimensions,
                                               const size_t *offset, const size_t *global, const size_t *local,
                                               cl_uint waits, const cl_event *wait_list, cl_event *event)
{
    const profile *p = call_limits();
    cl_int status = p ? launch_status(p, kernel, dimensions, global, local) : CL_SUCCESS;
    refusal f;
    if (status == CL_SUCCESS)
        status = memory_late();
    if (status != CL_SUCCESS)
        return status;
    if (local && refused(kernel, &f)) {
        size_t group = 1;
        for (cl_uint i = 0; i < dimensions; i++)
            group *= local[i];
        if (group > f.most)
            return f.status;
    }
    if (idle && !event)
        return CL_SUCCESS;
    size_t chosen[3];
    if (!local && choose_group(dimensions, global, chosen))
        local = chosen;
    return driver.clEnqueueNDRangeKernel(queue, kernel, dimensions, offset, global, local, waits, wait_list, event);
}

cl_int CL_API_CALL hook_clEnqueueTask(cl_command_queue queue, cl_kernel kernel, cl_uint waits,
                                      const cl_event *wait_list, cl_event *event)
{
    const profile *p = call_limits();
    cl_int status = p ? launch_status(p, kernel, 0, NULL, NULL) : CL_SUCCESS;
    return status != CL_SUCCESS ? status : driver.clEnqueueTask(queue, kernel, waits, wait_list, event);
}

cl_int CL_API_CALL hook_clEnqueueMarker(cl_command_queue queue, cl_event *event)
{
    cl_int status = driver.clEnqueueMarker(queue, event);
    if (status == CL_SUCCESS && event)
        object_add(OBJECT_EVENT, *event, 0);
    return status;
}

cl_int CL_API_CALL hook_clGetEventInfo(cl_event event, cl_event_info query, size_t size, void *value, size_t *size_ret)
{
    static const cl_int submitted = CL_SUBMITTED;
    if (events_stall() && query == CL_EVENT_COMMAND_EXECUTION_STATUS)
        return answer(&submitted, sizeof submitted, size, value, size_ret);
    return driver.clGetEventInfo(event, query, size, value, size_ret);
}
