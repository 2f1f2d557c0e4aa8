/*
 * Proves the test layer on whatever OpenCL device is present (exit status 77: there is none).
 *   layer_check profile      under LIMN_LAYER_PROFILE: limits are reported and enforced
 *   layer_check leak         handles left behind are counted
 *   layer_check work OUT     a well-behaved little program for fault_sweep.sh
 *   layer_check sloppy OUT   the same, but it cleans up nothing after a failure: the sweep must find that
 */
#include <CL/cl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "profile.h"

static const char source[] = "#if defined PROFILE && defined cl_khr_fp16\n"
                             "#error fp16 shows\n"
                             "#endif\n"
                             "__kernel void add_id(__global int *y) { y[get_global_id(0)] += get_global_id(0); }\n"
                             "__kernel void swap(__global int *y, __local int *given)\n"
                             "{\n"
                             "    __local int own[1024];\n"
                             "    own[get_local_id(0)] = given[get_local_id(0)] = y[get_global_id(0)];\n"
                             "    barrier(CLK_LOCAL_MEM_FENCE);\n"
                             "    y[get_global_id(0)] = own[0] + given[0];\n"
                             "}\n";

typedef struct setup {
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    cl_program program;
    cl_kernel kernel;
    cl_mem buffer;
} setup;

enum { ITEMS = 4096, SKIP = 77 };

static unsigned calls; /* counted here, to compare with the layer's count */
static bool sloppy;

/* Whether a call went well; else says which failed, and whether it is the one that the layer was told to fail. */
static bool ok(const char *call, cl_int status)
{
    calls++;
    if (status == CL_SUCCESS)
        return true;
    const char *at = getenv("LIMN_LAYER_FAIL_AT"), *name = getenv("LIMN_LAYER_FAIL_NAME");
    bool meant = (at && strtoul(at, NULL, 10) == calls) || (name && *name);
    fprintf(stderr, "limn: %s: status %d at call %u%s\n", call, status, calls, meant ? "" : " (not the one meant)");
    if (!meant)
        exit(3);
    return false;
}
#define DO(name, ...)             ok(#name, name(__VA_ARGS__))
#define MAKE(object, name, ...)   ((object) = name(__VA_ARGS__, &status), ok(#name, status))
#define TELL(name, object, query) ok(#name, name(object, query, sizeof value, value, NULL))

static bool setup_init(setup *s)
{
    cl_platform_id platforms[16];
    cl_uint n = 0;
    cl_int status = clGetPlatformIDs(16, platforms, &n);
    if (status == -1001 /* CL_PLATFORM_NOT_FOUND_KHR */ || (status == CL_SUCCESS && n == 0))
        exit(SKIP);
    if (!ok("clGetPlatformIDs", status))
        return false;
    for (cl_uint i = 0; !s->device && i < n && i < 16; i++) {
        status = clGetDeviceIDs(platforms[i], CL_DEVICE_TYPE_ALL, 1, &s->device, NULL);
        if (!ok("clGetDeviceIDs", status == CL_DEVICE_NOT_FOUND ? CL_SUCCESS : status))
            return false;
    }
    if (!s->device)
        exit(SKIP);
    const char *text = source;
    char value[4096];
    return TELL(clGetDeviceInfo, s->device, CL_DEVICE_NAME) &&
           MAKE(s->context, clCreateContext, NULL, 1, &s->device, NULL, NULL) &&
           MAKE(s->queue, clCreateCommandQueue, s->context, s->device, CL_QUEUE_PROFILING_ENABLE) &&
           MAKE(s->program, clCreateProgramWithSource, s->context, 1, &text, NULL) &&
           DO(clBuildProgram, s->program, 1, &s->device, "-cl-std=CL1.2", NULL, NULL) &&
           MAKE(s->kernel, clCreateKernel, s->program, "add_id") &&
           MAKE(s->buffer, clCreateBuffer, s->context, CL_MEM_READ_WRITE, ITEMS * sizeof(cl_int), NULL) &&
           DO(clSetKernelArg, s->kernel, 0, sizeof(cl_mem), &s->buffer);
}

static void setup_release(setup *s)
{
    if (s->buffer)
        clReleaseMemObject(s->buffer);
    if (s->kernel)
        clReleaseKernel(s->kernel);
    if (s->program)
        clReleaseProgram(s->program);
    if (s->queue)
        clReleaseCommandQueue(s->queue);
    if (s->context)
        clReleaseContext(s->context);
    *s = (setup){0};
}

/* ---- work: what limn does with a device, in small ---- */

static bool launch(setup *s)
{
    const size_t global = ITEMS, local = 64;
    cl_event event = NULL;
    cl_ulong time;
    bool good = DO(clEnqueueNDRangeKernel, s->queue, s->kernel, 1, NULL, &global, &local, 0, NULL, &event) &&
                DO(clFlush, s->queue) && DO(clWaitForEvents, 1, &event) &&
                DO(clGetEventProfilingInfo, event, CL_PROFILING_COMMAND_END, sizeof time, &time, NULL);
    if (event)
        clReleaseEvent(event);
    return good;
}

static bool compute(setup *s, cl_int *y)
{
    const cl_int zero = 0;
    cl_int status, *mapped = NULL;
    if (!DO(clEnqueueFillBuffer, s->queue, s->buffer, &zero, sizeof zero, 0, ITEMS * sizeof zero, 0, NULL, NULL) ||
        !launch(s) || !launch(s) ||
        !MAKE(mapped, clEnqueueMapBuffer, s->queue, s->buffer, CL_TRUE, CL_MAP_READ, 0, ITEMS * sizeof *y, 0, NULL,
              NULL))
        return false;
    if (mapped)
        memcpy(y, mapped, ITEMS * sizeof *y);
    return DO(clEnqueueUnmapMemObject, s->queue, s->buffer, mapped, 0, NULL, NULL) && DO(clFinish, s->queue) &&
           DO(clEnqueueReadBuffer, s->queue, s->buffer, CL_TRUE, 0, ITEMS * sizeof *y, y, 0, NULL, NULL);
}

static int work(const char *out)
{
    static cl_int y[ITEMS];
    char temporary[4096];
    setup s = {0};
    bool good = setup_init(&s) && compute(&s, y);
    if (!good && !sloppy && s.queue)
        clFinish(s.queue); /* a driver may be lost where the program ends amid commands */
    if (good || !sloppy)
        setup_release(&s);
    for (cl_int i = 0; good && i < ITEMS; i++)
        good = y[i] == 2 * i;
    if (!good && !sloppy)
        return 1;
    snprintf(temporary, sizeof temporary, "%s.tmp-%d", out, (int)getpid());
    FILE *file = fopen(temporary, "wb");
    good = file && fwrite(y, sizeof y, 1, file) == 1 && good;
    good = file && fclose(file) == 0 && good;
    return good && rename(temporary, out) == 0 ? 0 : 1;
}

/* ---- leak ---- */

/* Leaves behind one queue, two buffers, three events; what else it makes it releases. */
static int leave_handles(void)
{
    setup s = {0};
    cl_int status;
    cl_event events[3];
    if (!setup_init(&s))
        return 1;
    for (int i = 0; i < 3; i++)
        if (!DO(clEnqueueMarkerWithWaitList, s.queue, 0, NULL, &events[i]))
            return 1;
    cl_mem another = clCreateBuffer(s.context, CL_MEM_READ_WRITE, 4096, NULL, &status);
    if (!another || clFinish(s.queue) || clRetainKernel(s.kernel) || clReleaseKernel(s.kernel) ||
        clRetainMemObject(s.buffer) || clReleaseMemObject(s.buffer))
        return 1;
    s.buffer = NULL;
    s.queue = NULL;
    setup_release(&s);
    return 0;
}

static int check_leak(void)
{
    char path[] = "/tmp/limn_layer_XXXXXX", text[512] = "";
    int file = mkstemp(path), status = 0;
    if (file < 0)
        return 1;
    close(file);
    pid_t child = fork();
    if (child == 0) {
        setenv("LIMN_LAYER_REPORT", path, 1);
        exit(leave_handles());
    }
    waitpid(child, &status, 0);
    FILE *report = fopen(path, "r");
    if (report) {
        text[fread(text, 1, sizeof text - 1, report)] = '\0';
        fclose(report);
    }
    unlink(path);
    if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP)
        return SKIP;
    const char *leaks = strstr(text, "leak");
    bool good = WIFEXITED(status) && WEXITSTATUS(status) == 0 && strncmp(text, "calls ", 6) == 0 && leaks &&
                strcmp(leaks, "leak queues 1\nleak buffers 2\nleak events 3\n") == 0;
    if (!good)
        fprintf(stderr, "child status %#x, report:\n%s", (unsigned)status, text);
    return good ? 0 : 1;
}

/* ---- profile ---- */

static int wrong;

static void expect(const char *what, long long got, long long wanted)
{
    if (got == wanted)
        return;
    fprintf(stderr, "%s: %lld instead of %lld\n", what, got, wanted);
    wrong++;
}

static cl_ulong number(const setup *s, cl_device_info query)
{
    cl_ulong value = 0;
    expect("clGetDeviceInfo", clGetDeviceInfo(s->device, query, sizeof value, &value, NULL), CL_SUCCESS);
    return value;
}

static void expect_text(const setup *s, cl_device_info query, const char *wanted)
{
    char got[1024] = "";
    clGetDeviceInfo(s->device, query, sizeof got, got, NULL);
    if (strcmp(got, wanted) != 0) {
        fprintf(stderr, "query %#x: \"%s\" instead of \"%s\"\n", query, got, wanted);
        wrong++;
    }
}

static void check_queries(const setup *s, const profile *p)
{
    size_t items[3], group;
    cl_uint n = 7;
    cl_platform_id platform;
    char text[1024] = "";
    expect_text(s, CL_DEVICE_NAME, p->name);
    expect_text(s, CL_DEVICE_VENDOR, p->vendor);
    expect_text(s, CL_DRIVER_VERSION, p->driver);
    expect_text(s, CL_DEVICE_VERSION, p->version);
    expect_text(s, CL_DEVICE_OPENCL_C_VERSION, p->c_version);
    expect_text(s, CL_DEVICE_EXTENSIONS, p->extensions);
    expect("fp16 in the extensions", strstr(p->extensions, "fp16") != NULL, false);
    expect("type", number(s, CL_DEVICE_TYPE), CL_DEVICE_TYPE_GPU);
    expect("units", number(s, CL_DEVICE_MAX_COMPUTE_UNITS), p->units);
    expect("group", number(s, CL_DEVICE_MAX_WORK_GROUP_SIZE), p->group);
    expect("local memory", number(s, CL_DEVICE_LOCAL_MEM_SIZE), p->local);
    expect("local memory type", number(s, CL_DEVICE_LOCAL_MEM_TYPE), p->local_type);
    expect("global memory", number(s, CL_DEVICE_GLOBAL_MEM_SIZE), p->global);
    expect("allocation", number(s, CL_DEVICE_MAX_MEM_ALLOC_SIZE), p->alloc);
    expect("alignment", number(s, CL_DEVICE_MEM_BASE_ADDR_ALIGN), p->align);
    expect("unified memory", number(s, CL_DEVICE_HOST_UNIFIED_MEMORY), p->unified);
    clGetDeviceInfo(s->device, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof items, items, NULL);
    for (int i = 0; i < 3; i++)
        expect("items of a dimension", items[i], p->items[i]);
    expect("short answer", clGetDeviceInfo(s->device, CL_DEVICE_NAME, 1, text, NULL), CL_INVALID_VALUE);
    expect("CL_DEVICE_NUMERIC_VERSION", clGetDeviceInfo(s->device, CL_DEVICE_NUMERIC_VERSION, 1024, text, NULL),
           CL_INVALID_VALUE);
    expect("CL_DEVICE_MAX_NUM_SUB_GROUPS", clGetDeviceInfo(s->device, CL_DEVICE_MAX_NUM_SUB_GROUPS, 1024, text, NULL),
           CL_INVALID_VALUE);
    clGetKernelWorkGroupInfo(s->kernel, s->device, CL_KERNEL_WORK_GROUP_SIZE, sizeof group, &group, NULL);
    expect("kernel's group within the limit", group <= p->group, true);

    clGetDeviceInfo(s->device, CL_DEVICE_PLATFORM, sizeof(cl_platform_id), &platform, NULL);
    clGetPlatformInfo(platform, CL_PLATFORM_VERSION, sizeof text, text, NULL);
    expect("platform's version", strcmp(text, p->platform_version), 0);
    expect("CL_PLATFORM_NUMERIC_VERSION",
           clGetPlatformInfo(platform, CL_PLATFORM_NUMERIC_VERSION, sizeof text, text, NULL), CL_INVALID_VALUE);
    expect("CPU devices", clGetDeviceIDs(platform, CL_DEVICE_TYPE_CPU, 0, NULL, &n), CL_DEVICE_NOT_FOUND);
    expect("GPU devices", clGetDeviceIDs(platform, CL_DEVICE_TYPE_GPU, 0, NULL, &n), CL_SUCCESS);
}

static cl_int launch_3d(const setup *s, cl_kernel kernel, size_t gx, size_t lx, size_t ly, size_t lz)
{
    const size_t global[3] = {gx, ly, lz}, local[3] = {lx, ly, lz};
    cl_int status = clEnqueueNDRangeKernel(s->queue, kernel, 3, NULL, global, lx ? local : NULL, 0, NULL, NULL);
    return status == CL_SUCCESS ? clFinish(s->queue) : status;
}

/* The device's own group size and local memory: what a profile allows may still be too much for it. */
typedef struct own_limits {
    size_t group;
    cl_ulong local;
} own_limits;

/* Asks in a child process, where the layer has no profile. */
static own_limits own_limits_get(void)
{
    own_limits own = {0};
    int ends[2];
    if (pipe(ends))
        return own;
    pid_t child = fork();
    if (child == 0) {
        setup s = {0};
        unsetenv("LIMN_LAYER_PROFILE");
        if (setup_init(&s)) {
            clGetDeviceInfo(s.device, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof own.group, &own.group, NULL);
            clGetDeviceInfo(s.device, CL_DEVICE_LOCAL_MEM_SIZE, sizeof own.local, &own.local, NULL);
        }
        _exit(write(ends[1], &own, sizeof own) != sizeof own);
    }
    close(ends[1]);
    if (read(ends[0], &own, sizeof own) != sizeof own)
        own = (own_limits){0};
    close(ends[0]);
    waitpid(child, NULL, 0);
    return own;
}

static void check_launches(const setup *s, const profile *p, own_limits own)
{
    const size_t group = p->group, flat = p->items[2];
    cl_int status;
    if (group <= own.group)
        expect("group at the limit", launch_3d(s, s->kernel, group, group, 1, 1), CL_SUCCESS);
    expect("group over the limit", launch_3d(s, s->kernel, 2 * group, 2 * group, 1, 1), CL_INVALID_WORK_GROUP_SIZE);
    expect("group over the limit in 2-D", launch_3d(s, s->kernel, group, group, 2, 1), CL_INVALID_WORK_GROUP_SIZE);
    expect("left-over items", launch_3d(s, s->kernel, 100, 64, 1, 1), CL_INVALID_WORK_GROUP_SIZE);
    expect("no local size", launch_3d(s, s->kernel, 100, 0, 1, 1), CL_SUCCESS);
    if (flat < group)
        expect("dimension over the limit", launch_3d(s, s->kernel, 1, 1, 1, 2 * flat), CL_INVALID_WORK_ITEM_SIZE);

    cl_kernel swap = clCreateKernel(s->program, "swap", &status);
    cl_ulong declared = 0;
    expect("clCreateKernel", status, CL_SUCCESS);
    clGetKernelWorkGroupInfo(swap, s->device, CL_KERNEL_LOCAL_MEM_SIZE, sizeof declared, &declared, NULL);
    expect("local memory declared in the kernel", declared >= 4096, true);
    clSetKernelArg(swap, 0, sizeof(cl_mem), &s->buffer);
    expect("argument at the limit", clSetKernelArg(swap, 1, p->local - declared, NULL), CL_SUCCESS);
    if (p->local <= own.local)
        expect("local memory at the limit", launch_3d(s, swap, 64, 64, 1, 1), CL_SUCCESS);
    clSetKernelArg(swap, 1, p->local - declared + 4, NULL);
    expect("local memory over the limit", launch_3d(s, swap, 64, 64, 1, 1), CL_OUT_OF_RESOURCES);
    clReleaseKernel(swap);
}

static cl_int build_status(const setup *s, const char *options)
{
    const char *text = source;
    cl_int status;
    cl_program program = clCreateProgramWithSource(s->context, 1, &text, NULL, &status);
    status = clBuildProgram(program, 1, &s->device, options, NULL, NULL);
    clReleaseProgram(program);
    return status;
}

static void check_memory(const setup *s, const profile *p)
{
    cl_int status;
    expect("allocation over the limit",
           clCreateBuffer(s->context, CL_MEM_READ_WRITE, p->alloc + 1, NULL, &status) == NULL, true);
    expect("its status", status, CL_INVALID_BUFFER_SIZE);

    /* The driver commits no memory before it is used. */
    enum { CHUNKS = 64 };
    const size_t chunk = (size_t)512 << 20, fit = (p->global - ITEMS * sizeof(cl_int)) / chunk;
    cl_mem chunks[CHUNKS];
    size_t n = 0;
    while (n < CHUNKS && (chunks[n] = clCreateBuffer(s->context, CL_MEM_READ_WRITE, chunk, NULL, &status)))
        n++;
    expect("status once memory is full", status, CL_MEM_OBJECT_ALLOCATION_FAILURE);
    expect("live buffers within global memory", n <= fit, true);
    if (n < fit)
        printf("the driver's memory is smaller than the profile's: its limit was not reached\n");
    while (n--)
        clReleaseMemObject(chunks[n]);

    cl_buffer_region region = {p->align / 8, 1024};
    cl_mem part = clCreateSubBuffer(s->buffer, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &status);
    expect("aligned sub-buffer", status, CL_SUCCESS);
    clReleaseMemObject(part);
    region.origin /= 2;
    part = clCreateSubBuffer(s->buffer, CL_MEM_READ_WRITE, CL_BUFFER_CREATE_TYPE_REGION, &region, &status);
    expect("misaligned sub-buffer", status, CL_MISALIGNED_SUB_BUFFER_OFFSET);
    expect("its handle", part == NULL, true);
}

static int check_profile(void)
{
    const char *key = getenv("LIMN_LAYER_PROFILE");
    const profile *p = key ? profile_find(key) : NULL;
    own_limits own = own_limits_get();
    setup s = {0};
    cl_int status;
    if (!p || !setup_init(&s)) {
        fprintf(stderr, "no such profile, or nothing to try it on\n");
        return 1;
    }
    check_queries(&s, p);
    check_launches(&s, p, own);
    check_memory(&s, p);
    expect("-cl-std=CL1.2", build_status(&s, "-cl-std=CL1.2 -DPROFILE"), CL_SUCCESS);
    expect("-cl-std=CL2.0", build_status(&s, "-DX=1 -cl-std=CL2.0"), CL_INVALID_BUILD_OPTIONS);
    expect("-cl-std=CL3.0", build_status(&s, "-cl-std=CL3.0"), CL_INVALID_BUILD_OPTIONS);
    cl_command_queue queue = clCreateCommandQueueWithProperties(s.context, s.device, NULL, &status);
    expect("clCreateCommandQueueWithProperties", status, CL_INVALID_OPERATION);
    expect("its handle", queue == NULL, true);
    setup_release(&s);
    return wrong ? 1 : 0;
}

int main(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    sloppy = strcmp(what, "sloppy") == 0;
    if (strcmp(what, "profile") == 0)
        return check_profile();
    if (strcmp(what, "leak") == 0)
        return check_leak();
    if (argc == 3 && (sloppy || strcmp(what, "work") == 0))
        return work(argv[2]);
    fprintf(stderr, "usage: layer_check profile | leak | work OUT | sloppy OUT\n");
    return 2;
}
