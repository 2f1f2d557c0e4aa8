/* Asks a platform or a device what it is.  Any query may fail, and answers may be nonsense: what limn can't do without
 * loses the device, the rest gets a value that is safe. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/find.h"

/* Queries of extensions, which OpenCL 1.2's headers lack. */
#define DEVICE_UUID          0x106A /* cl_khr_device_uuid: 16 bytes */
#define DEVICE_PCI_BUS_INFO  0x410F /* cl_khr_pci_bus_info: domain, bus, device, function */
#define DEVICE_PCI_BUS_NV    0x4008 /* cl_nv_device_attribute_query */
#define DEVICE_PCI_SLOT_NV   0x4009
#define DEVICE_PCI_DOMAIN_NV 0x400A
#define DEVICE_TOPOLOGY_AMD  0x4037 /* cl_amd_device_attribute_query: type 1, 17 bytes unused, bus, device, function */

#define SLICES_INTEL    0x4252 /* cl_intel_device_attribute_query */
#define SUBSLICES_INTEL 0x4253 /* of a slice: each has local memory, and several compute units */

#define TEXT_LIMIT (1 << 20) /* a string that a driver says is longer is a wrong answer */

/* ---- texts ---------------------------------------------------------------------------------------------------- */

/* Bytes of the UTF-8 character at s, where `left` bytes are; 0 if there is none. */
static size_t character(const unsigned char *s, size_t left)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (n > left)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80)
            return 0;
    bool wrong = (s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
                 (s[0] == 0xF4 && s[1] > 0x8F); /* longer than need be, surrogates, beyond Unicode */
    return n > 1 && wrong ? 0 : n;
}

void text_clean(const char *from, char *out, size_t size)
{
    from += strspn(from, " \t\r\n");
    size_t left = strlen(from), used = 0;
    while (left) {
        const unsigned char *s = (const unsigned char *)from;
        size_t n = character(s, left), step = n ? n : 1;
        if (used + step >= size)
            break;
        if (n > 1)
            memcpy(out + used, from, n);
        else
            out[used] = n == 0 ? '?' : *s < 0x20 || *s == 0x7F ? ' ' : *from;
        used += step;
        from += step;
        left -= step;
    }
    while (used && out[used - 1] == ' ')
        used--;
    out[used] = 0;
}

/* A device's or a platform's text as a new string. */
static cl_int ask_text(cl_platform_id platform, cl_device_id id, cl_uint what, char **text)
{
    size_t n = 0;
    cl_int status = id ? clGetDeviceInfo(id, what, 0, NULL, &n) : clGetPlatformInfo(platform, what, 0, NULL, &n);
    *text = NULL;
    if (status != CL_SUCCESS || n > TEXT_LIMIT)
        return status != CL_SUCCESS ? status : CL_INVALID_VALUE;
    *text = calloc(1, n + 1);
    if (!*text)
        return CL_OUT_OF_HOST_MEMORY;
    status = n == 0 ? CL_SUCCESS
             : id   ? clGetDeviceInfo(id, what, n, *text, NULL)
                    : clGetPlatformInfo(platform, what, n, *text, NULL);
    if (status != CL_SUCCESS) {
        free(*text);
        *text = NULL;
    }
    return status;
}

static bool text_into(cl_platform_id platform, cl_device_id id, cl_uint what, char *out, size_t size)
{
    char *text;
    bool ok = ask_text(platform, id, what, &text) == CL_SUCCESS;
    if (ok)
        text_clean(text, out, size);
    free(text);
    return ok && *out;
}

void describe_platform(cl_platform_id platform, int index, char name[128], char version[128])
{
    char vendor[100];
    if (!text_into(platform, NULL, CL_PLATFORM_NAME, name, 128)) {
        if (text_into(platform, NULL, CL_PLATFORM_VENDOR, vendor, sizeof vendor))
            snprintf(name, 128, "platform %d of %s", index, vendor);
        else
            snprintf(name, 128, "platform %d", index);
    }
    if (!text_into(platform, NULL, CL_PLATFORM_VERSION, version, 128))
        *version = 0;
}

/* ---- numbers -------------------------------------------------------------------------------------------------- */

#define NEED(what, value)            need(d->id, what, #what, sizeof(value), &(value), e)
#define ASK(what, value)             (clGetDeviceInfo(d->id, what, sizeof(value), &(value), NULL) == CL_SUCCESS)
#define VALUE(type, what, otherwise) ((type)value(d->id, what, sizeof(type), (uint64_t)(otherwise)))

static bool need(cl_device_id id, cl_device_info what, const char *name, size_t size, void *value, err *e)
{
    char call[80];
    snprintf(call, sizeof call, "clGetDeviceInfo of %s", name);
    return answered(clGetDeviceInfo(id, what, size, value, NULL), call, e);
}

/* A number of 4 or 8 bytes, or what stands for it where the driver doesn't tell. */
static uint64_t value(cl_device_id id, cl_device_info what, size_t size, uint64_t otherwise)
{
    uint32_t small = 0;
    uint64_t large = 0;
    cl_int status = clGetDeviceInfo(id, what, size, size == sizeof small ? (void *)&small : (void *)&large, NULL);
    return status != CL_SUCCESS ? otherwise : size == sizeof small ? small : large;
}

static bool has_extension(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = strstr(list, name); p; p = strstr(p + n, name))
        if ((p == list || p[-1] == ' ') && (p[n] == 0 || p[n] == ' '))
            return true;
    return false;
}

/* ---- where the device is -------------------------------------------------------------------------------------- */

static void describe_place(device_entry *d, const char *extensions)
{
    limn_device_info *i = &d->info;
    cl_uint pci[4] = {0}; /* domain, bus, device, function */
    unsigned char uuid[16] = {0}, amd[24] = {0};
    cl_uint type = 0;
    bool known = false, any = false;
    if (has_extension(extensions, "cl_khr_pci_bus_info"))
        known = ASK(DEVICE_PCI_BUS_INFO, pci);
    if (!known && has_extension(extensions, "cl_nv_device_attribute_query") && ASK(DEVICE_PCI_BUS_NV, pci[1]) &&
        ASK(DEVICE_PCI_SLOT_NV, pci[2])) {
        pci[0] = VALUE(cl_uint, DEVICE_PCI_DOMAIN_NV, 0);
        pci[3] = pci[2] & 7;
        pci[2] >>= 3;
        known = true;
    }
    if (!known && has_extension(extensions, "cl_amd_device_attribute_query") && ASK(DEVICE_TOPOLOGY_AMD, amd)) {
        memcpy(&type, amd, sizeof type);
        pci[0] = 0;
        for (int k = 1; k < 4; k++)
            pci[k] = amd[20 + k];
        known = type == 1;
    }
    if (known && pci[0] <= 0xFFFFFF && pci[1] <= 0xFF && pci[2] <= 0x1F && pci[3] <= 7 &&
        (pci[0] || pci[1] || pci[2] || pci[3])) /* no GPU is at 0 of all: a bridge is */
        snprintf(i->pci, sizeof i->pci, "%04x:%02x:%02x.%x", pci[0], pci[1], pci[2], pci[3]);
    if (has_extension(extensions, "cl_khr_device_uuid") && ASK(DEVICE_UUID, uuid)) {
        for (int k = 0; k < 16; k++)
            any = any || uuid[k];
        for (int k = 0; any && k < 16; k++)
            snprintf(i->uuid + 2 * k, 3, "%02x", uuid[k]);
    }
}

/* ---- whether limn can use it ---------------------------------------------------------------------------------- */

/* Major * 10 + minor of "PREFIX 1.2 …"; -1 where it is something else. */
static int version_of(const char *text, const char *prefix)
{
    int major = -1, minor = -1;
    size_t n = strlen(prefix);
    if (strncmp(text, prefix, n) || sscanf(text + n, " %4d.%4d", &major, &minor) != 2 || major < 0 || minor < 0)
        return -1;
    return 10 * major + (minor < 10 ? minor : 9);
}

static void find_problem(device_entry *d, cl_device_type type, const char *platform_version)
{
    limn_device_info *i = &d->info;
    char full[64] = "", c[128] = "";
    int version = version_of(i->version, "OpenCL"), of_platform = version_of(platform_version, "OpenCL");
    text_into(NULL, d->id, CL_DEVICE_PROFILE, full, sizeof full);
    text_into(NULL, d->id, CL_DEVICE_OPENCL_C_VERSION, c, sizeof c);
    int compiler = version_of(c, "OpenCL C");
    char *out = i->problem;
    size_t size = sizeof i->problem;
    if (version < 0)
        snprintf(out, size, "limn needs OpenCL 1.2, and this driver's version reads \"%.40s\"", i->version);
    else if (version < 12 || (of_platform >= 0 && of_platform < 12))
        snprintf(out, size, "limn needs OpenCL 1.2, and this %s has %.1f (update the driver)",
                 version < 12 ? "device" : "platform", (version < 12 ? version : of_platform) / 10.0);
    else if (compiler >= 0 && compiler < 12)
        snprintf(out, size, "limn needs OpenCL C 1.2, and this device's compiler has %.1f (update the driver)",
                 compiler / 10.0);
    else if (!strncmp(full, "EMBEDDED", 8))
        snprintf(out, size, "limn needs OpenCL 1.2's full profile, and this device has the embedded one");
    else if (type & CL_DEVICE_TYPE_CUSTOM)
        snprintf(out, size, "it has fixed functions only, and runs no kernels");
    else if (!VALUE(cl_bool, CL_DEVICE_AVAILABLE, CL_TRUE))
        snprintf(out, size, "the driver says that it is not available (another program may hold it)");
    else if (!VALUE(cl_bool, CL_DEVICE_COMPILER_AVAILABLE, CL_TRUE))
        snprintf(out, size, "the driver comes without a compiler, which limn's kernels need (install it)");
    else if (!VALUE(cl_bool, CL_DEVICE_LINKER_AVAILABLE, CL_TRUE))
        snprintf(out, size, "the driver comes without a linker, which limn's kernels need (install it)");
    else if (!VALUE(cl_bool, CL_DEVICE_ENDIAN_LITTLE, CL_TRUE))
        snprintf(out, size, "it stores numbers big-endian, and limn's files are little-endian");
    else if (i->memory == 0)
        snprintf(out, size, "the driver says that it has no memory");
}

/* ---- all of a device ------------------------------------------------------------------------------------------ */

bool describe_device(device_entry *d, const char *platform_version, err *e)
{
    limn_device_info *i = &d->info;
    cl_device_type type = 0;
    cl_ulong memory = 0;
    if (!NEED(CL_DEVICE_TYPE, type) || !NEED(CL_DEVICE_GLOBAL_MEM_SIZE, memory))
        return false;
    char *extensions = NULL, *version = NULL;
    if (!answered(ask_text(NULL, d->id, CL_DEVICE_VERSION, &version), "clGetDeviceInfo of CL_DEVICE_VERSION", e))
        return false;
    text_clean(version, i->version, sizeof i->version);
    free(version);
    if (!text_into(NULL, d->id, CL_DEVICE_NAME, i->name, sizeof i->name))
        snprintf(i->name, sizeof i->name, "unnamed device");
    text_into(NULL, d->id, CL_DEVICE_VENDOR, i->vendor, sizeof i->vendor);
    i->vendor_id = VALUE(cl_uint, CL_DEVICE_VENDOR_ID, 0);
    text_into(NULL, d->id, CL_DRIVER_VERSION, i->driver, sizeof i->driver);
    i->memory = memory;
    /* What is missing is what OpenCL 1.2 promises at least. */
    uint64_t quarter = memory / 4 > 128u << 20 ? memory / 4 : 128u << 20;
    i->max_allocation = VALUE(cl_ulong, CL_DEVICE_MAX_MEM_ALLOC_SIZE, quarter);
    if (i->max_allocation == 0)
        i->max_allocation = quarter;
    i->local_memory = VALUE(cl_ulong, CL_DEVICE_LOCAL_MEM_SIZE, 32768);
    i->compute_units = VALUE(cl_uint, CL_DEVICE_MAX_COMPUTE_UNITS, 1);
    i->vector_width = VALUE(cl_uint, CL_DEVICE_NATIVE_VECTOR_WIDTH_FLOAT, 1);
    size_t sides[16] = {0}; /* of groups: they lie in the first dimension */
    bool limited = clGetDeviceInfo(d->id, CL_DEVICE_MAX_WORK_ITEM_SIZES, sizeof sides, sides, NULL) == CL_SUCCESS;
    i->max_work_group = VALUE(size_t, CL_DEVICE_MAX_WORK_GROUP_SIZE, 1);
    if (limited && sides[0] && sides[0] < i->max_work_group)
        i->max_work_group = sides[0];
    if (i->max_work_group == 0)
        i->max_work_group = 1;
    i->base_alignment = VALUE(cl_uint, CL_DEVICE_MEM_BASE_ADDR_ALIGN, 8 * 4096) / 8;
    if (i->base_alignment == 0)
        i->base_alignment = 4096;
    i->byte_vectors = VALUE(cl_uint, CL_DEVICE_NATIVE_VECTOR_WIDTH_CHAR, 1) > 4;
    i->unified_memory = VALUE(cl_bool, CL_DEVICE_HOST_UNIFIED_MEMORY, CL_FALSE);
    i->type = type & CL_DEVICE_TYPE_CPU   ? LIMN_CPU
              : type & CL_DEVICE_TYPE_GPU ? (i->unified_memory ? LIMN_INTEGRATED_GPU : LIMN_DISCRETE_GPU)
                                          : LIMN_ACCELERATOR;
    ask_text(NULL, d->id, CL_DEVICE_EXTENSIONS, &extensions);
    const char *list = extensions ? extensions : "";
    i->fp16 = has_extension(list, "cl_khr_fp16");
    i->subgroups = has_extension(list, "cl_khr_subgroups") || has_extension(list, "cl_intel_subgroups");
    i->int8_dot = has_extension(list, "cl_khr_integer_dot_product");
    i->command_buffer = has_extension(list, "cl_khr_command_buffer");
    describe_place(d, list);
    free(extensions);
    find_problem(d, type, platform_version);
    device_score_load(i);
    return true;
}

uint32_t describe_cores(cl_device_id id, const limn_device_info *i)
{
    cl_uint slices = 0, each = 0;
    if (clGetDeviceInfo(id, SLICES_INTEL, sizeof slices, &slices, NULL) == CL_SUCCESS &&
        clGetDeviceInfo(id, SUBSLICES_INTEL, sizeof each, &each, NULL) == CL_SUCCESS && slices && each &&
        each <= i->compute_units / slices)
        return slices * each;
    return i->compute_units;
}
