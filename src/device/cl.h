/* OpenCL, and how its failures become errors.  Included by src/device and the GEMM code alone. */
#ifndef DEVICE_CL_H
#define DEVICE_CL_H
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS /* clCreateCommandQueue: the one call that every version has */
#include <CL/cl.h>

#include "base/err.h"

/* "CL_OUT_OF_RESOURCES", or "unknown status". */
const char *cl_status_name(cl_int status);

/* The LIMN_CAUSE_… of a status. */
int cl_cause(cl_int status);

/* True where status is CL_SUCCESS; else fills e with the call, the status and, where there is one, a remedy. */
bool cl_ok(cl_int status, const char *call, err *e);
#endif
