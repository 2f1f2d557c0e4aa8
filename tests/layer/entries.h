/*
 * The intercepted entry points, for inclusion with these macros defined:
 *   STATUS(name, failure, via, (parameters), (arguments))              returns a status
 *   INFO(name, object, last, via)                                      a query; last is the last one of OpenCL 1.2
 *   EVENT(name, failure, via, (parameters), (arguments))               ends in a wait list and an event
 *   CREATE(name, object, kind, failure, via, (parameters), (arguments)) returns a handle, ends in a status
 *   COUNTED(Name, object)                                              clRetainName and clReleaseName, never failed
 *   SPECIAL(name)                                                      written out in layer.c
 * failure is what an injected failure returns; via: driver passes on, hook is in limits.c, newer is beyond OpenCL 1.2.
 */
/* clang-format off: one row an entry point */
STATUS(clGetPlatformIDs, CL_OUT_OF_HOST_MEMORY, driver, (cl_uint n, cl_platform_id *ids, cl_uint *count),
       (n, ids, count))
INFO(clGetPlatformInfo, cl_platform_id, 0x0920, hook)
STATUS(clGetDeviceIDs, CL_OUT_OF_HOST_MEMORY, hook,
       (cl_platform_id platform, cl_device_type type, cl_uint n, cl_device_id *ids, cl_uint *count),
       (platform, type, n, ids, count))
INFO(clGetDeviceInfo, cl_device_id, CL_DEVICE_PRINTF_BUFFER_SIZE, hook)
STATUS(clCreateSubDevices, CL_OUT_OF_RESOURCES, driver,
       (cl_device_id device, const cl_device_partition_property *how, cl_uint n, cl_device_id *ids, cl_uint *count),
       (device, how, n, ids, count))

CREATE(clCreateContext, cl_context, OBJECT_CONTEXT, CL_OUT_OF_HOST_MEMORY, driver,
       (const cl_context_properties *properties, cl_uint n, const cl_device_id *devices,
        void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user),
       (properties, n, devices, notify, user))
CREATE(clCreateContextFromType, cl_context, OBJECT_CONTEXT, CL_OUT_OF_HOST_MEMORY, hook,
       (const cl_context_properties *properties, cl_device_type type,
        void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *), void *user),
       (properties, type, notify, user))
INFO(clGetContextInfo, cl_context, CL_CONTEXT_NUM_DEVICES, driver)
COUNTED(Context, cl_context)

CREATE(clCreateCommandQueue, cl_command_queue, OBJECT_QUEUE, CL_OUT_OF_HOST_MEMORY, driver,
       (cl_context context, cl_device_id device, cl_command_queue_properties properties), (context, device, properties))
INFO(clGetCommandQueueInfo, cl_command_queue, CL_QUEUE_PROPERTIES, driver)
STATUS(clFlush, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue), (queue))
STATUS(clFinish, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue), (queue))
COUNTED(CommandQueue, cl_command_queue)

CREATE(clCreateBuffer, cl_mem, OBJECT_NONE /* the hook adds it, with its size */, CL_MEM_OBJECT_ALLOCATION_FAILURE,
       hook, (cl_context context, cl_mem_flags flags, size_t size, void *host), (context, flags, size, host))
CREATE(clCreateSubBuffer, cl_mem, OBJECT_BUFFER, CL_MEM_OBJECT_ALLOCATION_FAILURE, hook,
       (cl_mem buffer, cl_mem_flags flags, cl_buffer_create_type type, const void *info), (buffer, flags, type, info))
INFO(clGetMemObjectInfo, cl_mem, CL_MEM_OFFSET, driver)
STATUS(clSetMemObjectDestructorCallback, CL_OUT_OF_HOST_MEMORY, driver,
       (cl_mem buffer, void(CL_CALLBACK *notify)(cl_mem, void *), void *user), (buffer, notify, user))
COUNTED(MemObject, cl_mem)

CREATE(clCreateProgramWithSource, cl_program, OBJECT_PROGRAM, CL_OUT_OF_HOST_MEMORY, hook,
       (cl_context context, cl_uint n, const char **strings, const size_t *lengths), (context, n, strings, lengths))
CREATE(clCreateProgramWithBinary, cl_program, OBJECT_PROGRAM, CL_INVALID_BINARY, driver,
       (cl_context context, cl_uint n, const cl_device_id *devices, const size_t *lengths,
        const unsigned char **binaries, cl_int *states),
       (context, n, devices, lengths, binaries, states))
CREATE(clCreateProgramWithBuiltInKernels, cl_program, OBJECT_PROGRAM, CL_OUT_OF_HOST_MEMORY, driver,
       (cl_context context, cl_uint n, const cl_device_id *devices, const char *names), (context, n, devices, names))
STATUS(clBuildProgram, CL_BUILD_PROGRAM_FAILURE, hook,
       (cl_program program, cl_uint n, const cl_device_id *devices, const char *options,
        void(CL_CALLBACK *notify)(cl_program, void *), void *user),
       (program, n, devices, options, notify, user))
STATUS(clCompileProgram, CL_COMPILE_PROGRAM_FAILURE, hook,
       (cl_program program, cl_uint n, const cl_device_id *devices, const char *options, cl_uint headers,
        const cl_program *header_programs, const char **header_names, void(CL_CALLBACK *notify)(cl_program, void *),
        void *user),
       (program, n, devices, options, headers, header_programs, header_names, notify, user))
CREATE(clLinkProgram, cl_program, OBJECT_PROGRAM, CL_LINK_PROGRAM_FAILURE, driver,
       (cl_context context, cl_uint n, const cl_device_id *devices, const char *options, cl_uint inputs,
        const cl_program *programs, void(CL_CALLBACK *notify)(cl_program, void *), void *user),
       (context, n, devices, options, inputs, programs, notify, user))
INFO(clGetProgramInfo, cl_program, CL_PROGRAM_KERNEL_NAMES, driver)
STATUS(clGetProgramBuildInfo, CL_OUT_OF_HOST_MEMORY, driver,
       (cl_program program, cl_device_id device, cl_uint query, size_t size, void *value, size_t *size_ret),
       (program, device, query, size, value, size_ret))
COUNTED(Program, cl_program)

CREATE(clCreateKernel, cl_kernel, OBJECT_NONE /* the hook adds it */, CL_OUT_OF_RESOURCES, hook,
       (cl_program program, const char *name), (program, name))
STATUS(clCreateKernelsInProgram, CL_OUT_OF_RESOURCES, hook,
       (cl_program program, cl_uint n, cl_kernel *kernels, cl_uint *count), (program, n, kernels, count))
STATUS(clSetKernelArg, CL_OUT_OF_RESOURCES, hook, (cl_kernel kernel, cl_uint index, size_t size, const void *value),
       (kernel, index, size, value))
INFO(clGetKernelInfo, cl_kernel, CL_KERNEL_ATTRIBUTES, driver)
STATUS(clGetKernelArgInfo, CL_OUT_OF_HOST_MEMORY, driver,
       (cl_kernel kernel, cl_uint index, cl_uint query, size_t size, void *value, size_t *size_ret),
       (kernel, index, query, size, value, size_ret))
STATUS(clGetKernelWorkGroupInfo, CL_OUT_OF_HOST_MEMORY, hook,
       (cl_kernel kernel, cl_device_id device, cl_uint query, size_t size, void *value, size_t *size_ret),
       (kernel, device, query, size, value, size_ret))
COUNTED(Kernel, cl_kernel)

EVENT(clEnqueueReadBuffer, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, void *host),
      (queue, buffer, blocking, offset, size, host))
EVENT(clEnqueueWriteBuffer, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem buffer, cl_bool blocking, size_t offset, size_t size, const void *host),
      (queue, buffer, blocking, offset, size, host))
EVENT(clEnqueueCopyBuffer, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem from, cl_mem to, size_t from_offset, size_t to_offset, size_t size),
      (queue, from, to, from_offset, to_offset, size))
EVENT(clEnqueueReadBufferRect, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem buffer, cl_bool blocking, const size_t *origin, const size_t *host_origin,
       const size_t *region, size_t row, size_t slice, size_t host_row, size_t host_slice, void *host),
      (queue, buffer, blocking, origin, host_origin, region, row, slice, host_row, host_slice, host))
EVENT(clEnqueueWriteBufferRect, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem buffer, cl_bool blocking, const size_t *origin, const size_t *host_origin,
       const size_t *region, size_t row, size_t slice, size_t host_row, size_t host_slice, const void *host),
      (queue, buffer, blocking, origin, host_origin, region, row, slice, host_row, host_slice, host))
EVENT(clEnqueueCopyBufferRect, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem from, cl_mem to, const size_t *from_origin, const size_t *to_origin,
       const size_t *region, size_t from_row, size_t from_slice, size_t to_row, size_t to_slice),
      (queue, from, to, from_origin, to_origin, region, from_row, from_slice, to_row, to_slice))
EVENT(clEnqueueFillBuffer, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_mem buffer, const void *pattern, size_t pattern_size, size_t offset, size_t size),
      (queue, buffer, pattern, pattern_size, offset, size))
SPECIAL(clEnqueueMapBuffer)
EVENT(clEnqueueUnmapMemObject, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue, cl_mem buffer, void *mapped),
      (queue, buffer, mapped))
EVENT(clEnqueueMigrateMemObjects, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, cl_uint n, const cl_mem *buffers, cl_mem_migration_flags flags),
      (queue, n, buffers, flags))
EVENT(clEnqueueNDRangeKernel, CL_OUT_OF_RESOURCES, hook,
      (cl_command_queue queue, cl_kernel kernel, cl_uint dimensions, const size_t *offset, const size_t *global,
       const size_t *local),
      (queue, kernel, dimensions, offset, global, local))
EVENT(clEnqueueTask, CL_OUT_OF_RESOURCES, hook, (cl_command_queue queue, cl_kernel kernel), (queue, kernel))
EVENT(clEnqueueNativeKernel, CL_OUT_OF_RESOURCES, driver,
      (cl_command_queue queue, void(CL_CALLBACK *function)(void *), void *args, size_t size, cl_uint n,
       const cl_mem *buffers, const void **places),
      (queue, function, args, size, n, buffers, places))
STATUS(clEnqueueMarker, CL_OUT_OF_RESOURCES, hook, (cl_command_queue queue, cl_event *event), (queue, event))
STATUS(clEnqueueBarrier, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue), (queue))
STATUS(clEnqueueWaitForEvents, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue, cl_uint n, const cl_event *events),
       (queue, n, events))
EVENT(clEnqueueMarkerWithWaitList, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue), (queue))
EVENT(clEnqueueBarrierWithWaitList, CL_OUT_OF_RESOURCES, driver, (cl_command_queue queue), (queue))

CREATE(clCreateUserEvent, cl_event, OBJECT_EVENT, CL_OUT_OF_HOST_MEMORY, driver, (cl_context context), (context))
STATUS(clSetUserEventStatus, CL_OUT_OF_RESOURCES, driver, (cl_event event, cl_int execution), (event, execution))
STATUS(clSetEventCallback, CL_OUT_OF_HOST_MEMORY, driver,
       (cl_event event, cl_int state, void(CL_CALLBACK *notify)(cl_event, cl_int, void *), void *user),
       (event, state, notify, user))
STATUS(clWaitForEvents, CL_OUT_OF_RESOURCES, driver, (cl_uint n, const cl_event *events), (n, events))
INFO(clGetEventInfo, cl_event, CL_EVENT_CONTEXT, hook)
INFO(clGetEventProfilingInfo, cl_event, CL_PROFILING_COMMAND_END, driver)
COUNTED(Event, cl_event)

SPECIAL(clGetExtensionFunctionAddress)
SPECIAL(clGetExtensionFunctionAddressForPlatform)

/* Beyond OpenCL 1.2: a profile refuses all of these. */
CREATE(clCreateCommandQueueWithProperties, cl_command_queue, OBJECT_QUEUE, CL_OUT_OF_HOST_MEMORY, newer,
       (cl_context context, cl_device_id device, const cl_queue_properties *properties), (context, device, properties))
CREATE(clCreateBufferWithProperties, cl_mem, OBJECT_BUFFER, CL_MEM_OBJECT_ALLOCATION_FAILURE, newer,
       (cl_context context, const cl_mem_properties *properties, cl_mem_flags flags, size_t size, void *host),
       (context, properties, flags, size, host))
CREATE(clCreateImageWithProperties, cl_mem, OBJECT_BUFFER, CL_MEM_OBJECT_ALLOCATION_FAILURE, newer,
       (cl_context context, const cl_mem_properties *properties, cl_mem_flags flags, const cl_image_format *format,
        const cl_image_desc *description, void *host),
       (context, properties, flags, format, description, host))
CREATE(clCreatePipe, cl_mem, OBJECT_BUFFER, CL_MEM_OBJECT_ALLOCATION_FAILURE, newer,
       (cl_context context, cl_mem_flags flags, cl_uint size, cl_uint packets, const cl_pipe_properties *properties),
       (context, flags, size, packets, properties))
CREATE(clCreateProgramWithIL, cl_program, OBJECT_PROGRAM, CL_OUT_OF_HOST_MEMORY, newer,
       (cl_context context, const void *il, size_t length), (context, il, length))
CREATE(clCloneKernel, cl_kernel, OBJECT_KERNEL, CL_OUT_OF_RESOURCES, newer, (cl_kernel kernel), (kernel))
STATUS(clSetKernelArgSVMPointer, CL_OUT_OF_RESOURCES, newer, (cl_kernel kernel, cl_uint index, const void *value),
       (kernel, index, value))
STATUS(clSetKernelExecInfo, CL_OUT_OF_RESOURCES, newer,
       (cl_kernel kernel, cl_kernel_exec_info what, size_t size, const void *value), (kernel, what, size, value))
STATUS(clGetKernelSubGroupInfo, CL_OUT_OF_HOST_MEMORY, newer,
       (cl_kernel kernel, cl_device_id device, cl_kernel_sub_group_info query, size_t input_size, const void *input,
        size_t size, void *value, size_t *size_ret),
       (kernel, device, query, input_size, input, size, value, size_ret))
STATUS(clGetKernelSubGroupInfoKHR, CL_OUT_OF_HOST_MEMORY, newer,
       (cl_kernel kernel, cl_device_id device, cl_kernel_sub_group_info query, size_t input_size, const void *input,
        size_t size, void *value, size_t *size_ret),
       (kernel, device, query, input_size, input, size, value, size_ret))
STATUS(clGetDeviceAndHostTimer, CL_OUT_OF_RESOURCES, newer,
       (cl_device_id device, cl_ulong *device_time, cl_ulong *host_time), (device, device_time, host_time))
STATUS(clGetHostTimer, CL_OUT_OF_RESOURCES, newer, (cl_device_id device, cl_ulong *time), (device, time))
STATUS(clSetDefaultDeviceCommandQueue, CL_OUT_OF_RESOURCES, newer,
       (cl_context context, cl_device_id device, cl_command_queue queue), (context, device, queue))
STATUS(clSetProgramSpecializationConstant, CL_OUT_OF_HOST_MEMORY, newer,
       (cl_program program, cl_uint id, size_t size, const void *value), (program, id, size, value))
STATUS(clSetContextDestructorCallback, CL_OUT_OF_HOST_MEMORY, newer,
       (cl_context context, void(CL_CALLBACK *notify)(cl_context, void *), void *user), (context, notify, user))
SPECIAL(clSVMAlloc)
EVENT(clEnqueueSVMMemcpy, CL_OUT_OF_RESOURCES, newer,
      (cl_command_queue queue, cl_bool blocking, void *to, const void *from, size_t size),
      (queue, blocking, to, from, size))
EVENT(clEnqueueSVMMemFill, CL_OUT_OF_RESOURCES, newer,
      (cl_command_queue queue, void *to, const void *pattern, size_t pattern_size, size_t size),
      (queue, to, pattern, pattern_size, size))
EVENT(clEnqueueSVMMap, CL_OUT_OF_RESOURCES, newer,
      (cl_command_queue queue, cl_bool blocking, cl_map_flags flags, void *memory, size_t size),
      (queue, blocking, flags, memory, size))
EVENT(clEnqueueSVMUnmap, CL_OUT_OF_RESOURCES, newer, (cl_command_queue queue, void *memory), (queue, memory))
EVENT(clEnqueueSVMMigrateMem, CL_OUT_OF_RESOURCES, newer,
      (cl_command_queue queue, cl_uint n, const void **memory, const size_t *sizes, cl_mem_migration_flags flags),
      (queue, n, memory, sizes, flags))
/* clang-format on */
#undef STATUS
#undef INFO
#undef EVENT
#undef CREATE
#undef COUNTED
#undef SPECIAL
