/*
 * The parts of the test layer: entries.h lists the entry points, layer.c wraps them, record.c counts calls, injects a
 * failure and follows handles, limits.c holds the program to a profile's limits, memory.c refuses memory as drivers do.
 */
#ifndef LAYER_H
#define LAYER_H
#include <CL/cl_layer.h>
#include <stdbool.h>

#include "profile.h"

extern cl_icd_dispatch driver; /* what lies below the layer */

/* record.c */
typedef enum {
    OBJECT_NONE,
    OBJECT_CONTEXT,
    OBJECT_QUEUE,
    OBJECT_BUFFER,
    OBJECT_PROGRAM,
    OBJECT_KERNEL,
    OBJECT_EVENT,
    OBJECT_KINDS
} object_kind;

/* Reads the environment. */
void record_open(void);
/*
 * Opens a call; call_end closes it.  The status to return without asking the driver (failure where the call is the one
 * that must fail, refusal where a profile is on), or CL_SUCCESS to go on.  A call made inside a call is the driver's
 * own: it is neither counted nor failed nor limited.  Without a name, nothing is counted.
 */
cl_int call_begin(const char *name, cl_int failure, cl_int refusal);
void call_end(void);
/* The profile that binds the current call, or NULL. */
const profile *call_limits(void);
/* Whether no event completes any more. */
bool events_stall(void);
/* Whether the driver is to keep buffers that the program has released: a new one then gets nobody's place. */
bool buffers_stay(void);

/* Follows a handle that the program was given; bytes come from memory_take. */
void object_add(object_kind kind, const void *handle, size_t bytes);
void object_retain(const void *handle);
void object_release(const void *handle);
/* Local memory of a kernel: slot 0 is what it declares itself, slot 1 + i its argument i. */
void kernel_local_set(cl_kernel kernel, cl_uint slot, size_t bytes);
size_t kernel_local(cl_kernel kernel);
/* Takes bytes from the limit on all live buffers; false if they exceed it. */
bool memory_take(size_t bytes, cl_ulong limit);
void memory_give(size_t bytes);

/* memory.c: the status of a new buffer, or of a launch, by what a driver says of memory; CL_SUCCESS: the driver is
 * asked. */
cl_int memory_refusal(cl_mem_flags flags, size_t bytes, const void *host);
cl_int memory_late(void);
/* Bytes of all live buffers. */
cl_ulong memory_taken(void);

/* limits.c: the entry points that do more than pass on. */
#define HOOK(name) __typeof__(*(cl_api_##name)0) hook_##name
HOOK(clGetPlatformInfo);
HOOK(clGetDeviceIDs);
HOOK(clGetDeviceInfo);
HOOK(clCreateContextFromType);
HOOK(clCreateBuffer);
HOOK(clCreateSubBuffer);
HOOK(clCreateProgramWithSource);
HOOK(clBuildProgram);
HOOK(clCompileProgram);
HOOK(clCreateKernel);
HOOK(clCreateKernelsInProgram);
HOOK(clSetKernelArg);
HOOK(clGetKernelWorkGroupInfo);
HOOK(clEnqueueNDRangeKernel);
HOOK(clEnqueueTask);
HOOK(clEnqueueMarker);
HOOK(clGetEventInfo);
#endif
