/* An OpenCL driver with one platform that misbehaves, for the tests of how limn finds devices.  What it does is in the
 * file LIBRARY.modes beside it, else in LIMN_FAKE: words with commas between them.
 *   load-abort load-segv load-exit load-hang    when it is loaded (leave: by _exit)
 *   end-abort end-segv end-hang                 when the program ends
 *   ask-abort ask-segv ask-exit ask-hang        when its devices are asked for
 *   print                                       it talks, on both streams, whenever it is called
 *   none zero                                   it has no device: by an error, or by success and 0
 *   ids=STATUS ids2=STATUS                      clGetDeviceIDs fails, or only when it is to give them
 *   many null less                              says it has 2^32 - 1 devices; gives NULL; gives fewer than it said
 *   fail=QUERY (hexadecimal; several)           clGetDeviceInfo of that query fails; of 0x0900 and more,
 * clGetPlatformInfo huge=QUERY                                  it says that the answer has 2^60 bytes longname badname
 * names of 5000 bytes; that are no UTF-8, and have control characters version=X.Y c=X.Y platform=X.Y              of
 * OpenCL (1.2), of OpenCL C, and of the platform unavailable nocompiler nolinker embedded bigendian nomemory custom cpu
 *   uuid=BYTE pci=BUS nv=BUS amd=BUS            where the device says it is: by cl_khr_device_uuid (BYTE 16 times) and
 * so on context=STATUS                              of clCreateContext (else CL_OUT_OF_HOST_MEMORY) */
#define _GNU_SOURCE /* dladdr */
#include <CL/cl.h>
#include <CL/cl_icd.h>
#include <dlfcn.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))

struct _cl_platform_id {
    cl_icd_dispatch *dispatch;
};
struct _cl_device_id {
    cl_icd_dispatch *dispatch;
};
static cl_icd_dispatch table;
static struct _cl_platform_id platform = {&table};
static struct _cl_device_id device = {&table};
static char modes[1024];

/* What follows "word" or "word=" in the modes; NULL where it isn't there. */
static const char *mode(const char *word)
{
    size_t n = strlen(word);
    for (const char *p = modes; *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncmp(p, word, n) && (p[n] == ',' || p[n] == 0 || p[n] == '='))
            return p[n] == '=' ? p + n + 1 : p + n;
    return NULL;
}

static int has_query(const char *word, cl_uint query)
{
    size_t n = strlen(word);
    for (const char *p = modes; *p; p += strcspn(p, ","), p += *p == ',')
        if (!strncmp(p, word, n) && p[n] == '=' && strtoul(p + n + 1, NULL, 16) == query)
            return 1;
    return 0;
}

static void talk(const char *what)
{
    if (!mode("print"))
        return;
    printf("fake driver on stdout: %s\n", what);
    fprintf(stderr, "fake driver on stderr: %s\n", what);
    if (write(1, "fake driver by write\n", 21) != 21)
        abort();
}

static void misbehave(const char *when)
{
    char word[32];
    snprintf(word, sizeof word, "%s-abort", when);
    if (mode(word)) {
        fprintf(stderr, "fake driver: this can't be\n");
        abort();
    }
    snprintf(word, sizeof word, "%s-segv", when);
    if (mode(word))
        raise(SIGSEGV);
    snprintf(word, sizeof word, "%s-exit", when);
    if (mode(word))
        exit(7);
    snprintf(word, sizeof word, "%s-leave", when);
    if (mode(word))
        _exit(134);
    snprintf(word, sizeof word, "%s-hang", when);
    while (mode(word))
        sleep(1);
}

static cl_int give(cl_uint query, const void *from, size_t n, size_t size, void *value, size_t *ret)
{
    if (has_query("fail", query))
        return CL_OUT_OF_RESOURCES;
    if (ret)
        *ret = has_query("huge", query) ? (size_t)1 << 60 : n;
    if (value && size < n)
        return CL_INVALID_VALUE;
    if (value)
        memcpy(value, from, n);
    return CL_SUCCESS;
}

#define TEXT(s) return give(query, s, strlen(s) + 1, size, value, ret)
#define NUMBER(type, x)                                                                                                \
    do {                                                                                                               \
        type number = (type)(x);                                                                                       \
        return give(query, &number, sizeof number, size, value, ret);                                                  \
    } while (0)

/* "OpenCL C 1.2 fake" */
static void version_text(const char *word, const char *prefix, char out[64])
{
    const char *v = mode(word);
    snprintf(out, 64, "%s %.3s fake", prefix, v ? v : "1.2");
}

static void name_text(const char *name, char out[5002])
{
    snprintf(out, 5002, "%s", name);
    if (mode("longname")) /* two bytes each: one is cut where 127 bytes end */
        for (int i = 0; i < 5000; i += 2)
            memcpy(out + i, "\xC3\xA9", 3);
    if (mode("badname"))
        strcpy(out, "Fake \xFF\n\x1B[31m \xC3");
}

static cl_int CL_API_CALL platform_info(cl_platform_id p, cl_platform_info query, size_t size, void *value, size_t *ret)
{
    static char text[5002];
    (void)p;
    talk("clGetPlatformInfo");
    switch (query) {
    case CL_PLATFORM_NAME:
        name_text("Fake", text);
        TEXT(text);
    case CL_PLATFORM_VENDOR:
        TEXT("Makers of fakes");
    case CL_PLATFORM_VERSION:
        version_text("platform", "OpenCL", text);
        TEXT(text);
    case CL_PLATFORM_PROFILE:
        TEXT("FULL_PROFILE");
    case CL_PLATFORM_EXTENSIONS:
        TEXT("cl_khr_icd");
    case CL_PLATFORM_ICD_SUFFIX_KHR:
        TEXT("FAKE");
    }
    return CL_INVALID_VALUE;
}

static cl_int CL_API_CALL device_ids(cl_platform_id p, cl_device_type t, cl_uint n, cl_device_id *d, cl_uint *count)
{
    (void)p;
    (void)t;
    talk("clGetDeviceIDs");
    misbehave("ask");
    if (mode("none"))
        return CL_DEVICE_NOT_FOUND;
    if (mode("ids") || (d && mode("ids2")))
        return atoi(d && mode("ids2") ? mode("ids2") : mode("ids"));
    if (mode("zero")) {
        if (count)
            *count = 0;
        return n ? CL_INVALID_VALUE : CL_SUCCESS;
    }
    if (count)
        *count = mode("many") ? ~0u : mode("less") && !d ? 3 : 1;
    if (d && n)
        *d = mode("null") ? NULL : &device;
    return CL_SUCCESS;
}

static cl_int where(cl_device_info query, size_t size, void *value, size_t *ret)
{
    cl_uint pci[4] = {0};
    unsigned char bytes[24] = {0};
    const char *uuid = mode("uuid"), *khr = mode("pci"), *nv = mode("nv"), *amd = mode("amd");
    if (query == 0x106A && uuid) {
        memset(bytes, (int)strtoul(uuid, NULL, 16), 16);
        return give(query, bytes, 16, size, value, ret);
    }
    if (query == 0x410F && khr) {
        pci[1] = (cl_uint)strtoul(khr, NULL, 16);
        return give(query, pci, sizeof pci, size, value, ret);
    }
    if (query == 0x4008 && nv)
        NUMBER(cl_uint, strtoul(nv, NULL, 16));
    if (query == 0x4009 && nv)
        NUMBER(cl_uint, 0);
    if (query == 0x4037 && amd) {
        bytes[0] = 1;
        bytes[21] = (unsigned char)strtoul(amd, NULL, 16);
        return give(query, bytes, sizeof bytes, size, value, ret);
    }
    return CL_INVALID_VALUE;
}

static cl_int CL_API_CALL device_info(cl_device_id d, cl_device_info query, size_t size, void *value, size_t *ret)
{
    static char text[5002];
    (void)d;
    talk("clGetDeviceInfo");
    switch (query) {
    case CL_DEVICE_TYPE:
        NUMBER(cl_device_type, mode("custom") ? CL_DEVICE_TYPE_CUSTOM
                               : mode("cpu")  ? CL_DEVICE_TYPE_CPU
                                              : CL_DEVICE_TYPE_GPU);
    case CL_DEVICE_NAME:
        name_text("Fake GPU", text);
        TEXT(text);
    case CL_DEVICE_VENDOR:
        TEXT("Makers of fakes");
    case CL_DEVICE_VERSION:
        version_text("version", "OpenCL", text);
        TEXT(text);
    case CL_DEVICE_OPENCL_C_VERSION:
        version_text("c", "OpenCL C", text);
        TEXT(text);
    case CL_DRIVER_VERSION:
        TEXT("0.1");
    case CL_DEVICE_PROFILE:
        TEXT(mode("embedded") ? "EMBEDDED_PROFILE" : "FULL_PROFILE");
    case CL_DEVICE_EXTENSIONS:
        snprintf(text, sizeof text, "cl_khr_icd%s%s%s%s", mode("uuid") ? " cl_khr_device_uuid" : "",
                 mode("pci") ? " cl_khr_pci_bus_info" : "", mode("nv") ? " cl_nv_device_attribute_query" : "",
                 mode("amd") ? " cl_amd_device_attribute_query" : "");
        TEXT(text);
    case CL_DEVICE_GLOBAL_MEM_SIZE:
        NUMBER(cl_ulong, mode("nomemory") ? 0 : 8ull << 30);
    case CL_DEVICE_MAX_MEM_ALLOC_SIZE:
        NUMBER(cl_ulong, 2ull << 30);
    case CL_DEVICE_LOCAL_MEM_SIZE:
        NUMBER(cl_ulong, 65536);
    case CL_DEVICE_MAX_COMPUTE_UNITS:
        NUMBER(cl_uint, 28);
    case CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT:
        NUMBER(cl_uint, 1);
    case CL_DEVICE_MAX_WORK_GROUP_SIZE:
        NUMBER(size_t, 1024);
    case CL_DEVICE_MEM_BASE_ADDR_ALIGN:
        NUMBER(cl_uint, 1024);
    case CL_DEVICE_HOST_UNIFIED_MEMORY:
        NUMBER(cl_bool, CL_FALSE);
    case CL_DEVICE_AVAILABLE:
        NUMBER(cl_bool, !mode("unavailable"));
    case CL_DEVICE_COMPILER_AVAILABLE:
        NUMBER(cl_bool, !mode("nocompiler"));
    case CL_DEVICE_LINKER_AVAILABLE:
        NUMBER(cl_bool, !mode("nolinker"));
    case CL_DEVICE_ENDIAN_LITTLE:
        NUMBER(cl_bool, !mode("bigendian"));
    case CL_DEVICE_PLATFORM:
        NUMBER(cl_platform_id, &platform);
    }
    return where(query, size, value, ret);
}

static cl_context CL_API_CALL create_context(const cl_context_properties *properties, cl_uint n, const cl_device_id *d,
                                             void(CL_CALLBACK *notify)(const char *, const void *, size_t, void *),
                                             void *user, cl_int *status)
{
    (void)properties;
    (void)n;
    (void)d;
    (void)notify;
    (void)user;
    talk("clCreateContext");
    if (status)
        *status = mode("context") ? atoi(mode("context")) : CL_OUT_OF_HOST_MEMORY;
    return NULL;
}

__attribute__((constructor)) static void load(void)
{
    Dl_info self;
    char path[4200];
    const char *all = getenv("LIMN_FAKE");
    if (dladdr(&table, &self)) {
        snprintf(path, sizeof path, "%s.modes", self.dli_fname);
        FILE *f = fopen(path, "r");
        if (f && fgets(modes, sizeof modes, f)) {
            modes[strcspn(modes, "\n")] = 0;
            all = NULL;
        }
        if (f)
            fclose(f);
    }
    if (all)
        snprintf(modes, sizeof modes, "%s", all);
    table.clGetPlatformInfo = platform_info;
    table.clGetDeviceIDs = device_ids;
    table.clGetDeviceInfo = device_info;
    table.clCreateContext = create_context;
    talk("loading");
    misbehave("load");
}

__attribute__((destructor)) static void unload(void)
{
    talk("unloading");
    fflush(stdout);
    misbehave("end");
}

API cl_int clIcdGetPlatformIDsKHR(cl_uint n, cl_platform_id *p, cl_uint *count)
{
    if (count)
        *count = 1;
    if (p && n)
        *p = &platform;
    return CL_SUCCESS;
}

API cl_int clGetPlatformInfo(cl_platform_id p, cl_platform_info query, size_t size, void *value, size_t *ret)
{
    return platform_info(p, query, size, value, ret);
}

API void *clGetExtensionFunctionAddress(const char *name)
{
    if (!strcmp(name, "clIcdGetPlatformIDsKHR"))
        return (void *)clIcdGetPlatformIDsKHR;
    if (!strcmp(name, "clGetPlatformInfo"))
        return (void *)clGetPlatformInfo;
    return NULL;
}
