/* An OpenCL layer that makes the devices of real drivers claim what LIMN_CLAIM says, words with commas between them:
 * gpu (a discrete one, in place of a CPU), uuid=BYTE, pci=BUS.  The fake driver's devices stay as they are.
 * print and abort are what clBuildProgram does. */
#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <CL/cl_layer.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define API __attribute__((visibility("default")))

static const cl_icd_dispatch *next;
static cl_icd_dispatch table;

static const char *claim(const char *word)
{
    const char *all = getenv("LIMN_CLAIM"), *p = all ? strstr(all, word) : NULL;
    return p ? p + strlen(word) : NULL;
}

static cl_int give(const void *from, size_t n, size_t size, void *value, size_t *ret)
{
    if (ret)
        *ret = n;
    if (value && size < n)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, n);
    return CL_SUCCESS;
}

static cl_int CL_API_CALL device_info(cl_device_id d, cl_device_info query, size_t size, void *value, size_t *ret)
{
    char name[8] = "", text[16384];
    cl_device_type gpu = CL_DEVICE_TYPE_GPU;
    cl_bool no = CL_FALSE;
    cl_uint pci[4] = {0};
    unsigned char uuid[16];
    next->clGetDeviceInfo(d, CL_DEVICE_VENDOR, sizeof text, text, NULL);
    snprintf(name, sizeof name, "%.6s", text);
    if (!strcmp(name, "Makers"))
        return next->clGetDeviceInfo(d, query, size, value, ret);
    if (query == CL_DEVICE_TYPE && claim("gpu"))
        return give(&gpu, sizeof gpu, size, value, ret);
    if (query == CL_DEVICE_HOST_UNIFIED_MEMORY && claim("gpu"))
        return give(&no, sizeof no, size, value, ret);
    if (query == 0x106A && claim("uuid=")) {
        memset(uuid, (int)strtoul(claim("uuid="), NULL, 16), 16);
        return give(uuid, sizeof uuid, size, value, ret);
    }
    if (query == 0x410F && claim("pci=")) {
        pci[1] = (cl_uint)strtoul(claim("pci="), NULL, 16);
        return give(pci, sizeof pci, size, value, ret);
    }
    if (query == CL_DEVICE_EXTENSIONS) {
        cl_int status = next->clGetDeviceInfo(d, query, sizeof text - 64, text, NULL);
        if (status != CL_SUCCESS)
            return status;
        if (claim("uuid="))
            strcat(text, " cl_khr_device_uuid");
        if (claim("pci="))
            strcat(text, " cl_khr_pci_bus_info");
        return give(text, strlen(text) + 1, size, value, ret);
    }
    return next->clGetDeviceInfo(d, query, size, value, ret);
}

static cl_int CL_API_CALL build_program(cl_program p, cl_uint n, const cl_device_id *d, const char *options,
                                        void(CL_CALLBACK *notify)(cl_program, void *), void *user)
{
    if (claim("print")) {
        printf("compiler on stdout\n");
        fprintf(stderr, "1 warning generated.\n");
    }
    if (claim("abort")) {
        fprintf(stderr, "compiler: this can't be\n");
        abort();
    }
    return next->clBuildProgram(p, n, d, options, notify, user);
}

API cl_int CL_API_CALL clGetLayerInfo(cl_layer_info query, size_t size, void *value, size_t *ret)
{
    cl_layer_api_version version = CL_LAYER_API_VERSION_100;
    return query == CL_LAYER_API_VERSION ? give(&version, sizeof version, size, value, ret) : CL_INVALID_VALUE;
}

API cl_int CL_API_CALL clInitLayer(cl_uint n, const cl_icd_dispatch *target, cl_uint *count,
                                   const cl_icd_dispatch **result)
{
    (void)n;
    next = target;
    table.clGetDeviceInfo = device_info;
    table.clBuildProgram = build_program;
    *count = sizeof table / sizeof(void *);
    *result = &table;
    return CL_SUCCESS;
}
