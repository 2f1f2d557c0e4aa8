/* Kernels whose figures are known, for the test of the lens: lens_test.sh.  A launch of each; LIMN_TEST_NAME tells the
 * lens which.  usage: lens_program      (under Oclgrind) */
#include <stdio.h>
#include <stdlib.h>

#include <CL/cl.h>

enum { GROUP = 64, ITEMS = 256, FLOATS = 8 * ITEMS };

static const char source[] =
    "__kernel void every(__global const float *x, __global float *y) { int i = get_global_id(0); y[i] = x[i]; }\n"
    "__kernel void second(__global const float *x, __global float *y) { int i = get_global_id(0); y[i] = x[2 * i]; }\n"
    "__kernel void one(__global const float *x, __global float *y) { y[get_global_id(0)] = x[7]; }\n"
    /* 4 floats of each lane: together all of them are used; one after the other a quarter of what is touched */
    "__kernel void vectors(__global const float *x, __global float *y)\n"
    "{ float4 v = vload4(get_global_id(0), x); y[get_global_id(0)] = v.x + v.y + v.z + v.w; }\n"
    /* the same of a vector that is aligned: always one load, whatever is done with its numbers */
    "__kernel void aligned(__global const float *x, __global float *y)\n"
    "{ float4 v = ((__global const float4 *)x)[get_global_id(0)]; y[get_global_id(0)] = v.x * v.y + v.z * v.w; }\n"
    /* lanes of a warp of 32 in 8 of the banks: 4 cycles */
    "__kernel __attribute__((reqd_work_group_size(64, 1, 1))) void banks(__global const float *x, __global float *y)\n"
    "{ __local float t[4 * 64]; int l = get_local_id(0); t[4 * l] = x[l]; barrier(CLK_LOCAL_MEM_FENCE); y[l] = t[4 * "
    "l]; }\n"
    /* every second lane multiplies 50 times */
    "__kernel void lanes(__global const float *x, __global float *y)\n"
    "{ int i = get_global_id(0); float s = x[i]; if (i % 2) for (int k = 0; k < 50; k++) s = fma(s, s, 1.0f); y[i] = "
    "s; }\n"
    /* 100 multiply-adds: 200 FLOP of an item */
    "__kernel void products(__global const float *x, __global float *y)\n"
    "{ int i = get_global_id(0); float s = x[i]; for (int k = 0; k < 100; k++) s = fma(s, s, 1.0f); y[i] = s; }\n";
static const char *const names[] = {"every", "second", "one", "vectors", "aligned", "banks", "lanes", "products"};

static void need(cl_int status, const char *what)
{
    if (status == CL_SUCCESS)
        return;
    fprintf(stderr, "lens_program: %s: %d\n", what, (int)status);
    exit(status == -1001 ? 77 : 1);
}

int main(void)
{
    cl_platform_id platform;
    cl_device_id device;
    cl_int status;
    const char *text = source;
    size_t items = ITEMS, group = GROUP;
    need(clGetPlatformIDs(1, &platform, NULL), "clGetPlatformIDs");
    need(clGetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 1, &device, NULL), "clGetDeviceIDs");
    cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &status);
    need(status, "clCreateContext");
    cl_command_queue queue = clCreateCommandQueue(context, device, 0, &status);
    need(status, "clCreateCommandQueue");
    cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, &status);
    need(status, "clCreateProgramWithSource");
    need(clBuildProgram(program, 1, &device, "-cl-std=CL1.2", NULL, NULL), "clBuildProgram");
    static float zeros[FLOATS];
    cl_mem x = clCreateBuffer(context, CL_MEM_READ_ONLY | CL_MEM_COPY_HOST_PTR, sizeof zeros, zeros, &status);
    need(status, "clCreateBuffer");
    cl_mem y = clCreateBuffer(context, CL_MEM_READ_WRITE, sizeof zeros, NULL, &status);
    need(status, "clCreateBuffer");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        cl_kernel kernel = clCreateKernel(program, names[i], &status);
        need(status, names[i]);
        need(clSetKernelArg(kernel, 0, sizeof x, &x), "clSetKernelArg");
        need(clSetKernelArg(kernel, 1, sizeof y, &y), "clSetKernelArg");
        setenv("LIMN_TEST_NAME", names[i], 1);
        /* the last one leaves its group to the driver: the layer chooses */
        need(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &items, i == 7 ? NULL : &group, 0, NULL, NULL), names[i]);
        need(clFinish(queue), "clFinish");
        clReleaseKernel(kernel);
    }
    setenv("LIMN_TEST_NAME", "", 1);
    clReleaseMemObject(x);
    clReleaseMemObject(y);
    clReleaseProgram(program);
    clReleaseCommandQueue(queue);
    clReleaseContext(context);
    return 0;
}
