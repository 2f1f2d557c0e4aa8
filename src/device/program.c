/* Builds programs from source or from the cache, and hands out their kernels. */
#include "device/program.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "device/drivers.h"
#include "device/kernels.h"

#define SLOTS 512 /* a power of two; limn has under 100 kernels, each in a few variants */

typedef struct program {
    struct program *next;
    cl_program handle;
    const char *file; /* in kernel_sources */
    tuning tune;      /* that it was compiled for */
    char options[];
} program;

/* Kernels of few rows, for each of which one group is all there is: a decode step's norms, attention and sampling, and
 * products that begin with a norm.  Their groups, what they call WG, are larger, so that more loads are on their way.
 */
static const char *const few_groups[] = {"attention", "linear_norm", "norm", "sample"};

tuning kernel_tuning(const device *d, const char *name)
{
    tuning t = d->tune;
    size_t length = strcspn(name, ":");
    for (size_t i = 0; i < sizeof few_groups / sizeof *few_groups; i++)
        if (strlen(few_groups[i]) == length && !strncmp(name, few_groups[i], length))
            t.wg = tuning_wide(&t, &d->info);
    return t;
}

struct programs {
    program *list;
    size_t kernels;
    struct slot {
        kernel k;
        char *key; /* name, NUL, options */
    } slots[SLOTS];
};

static bool log_build(const device *d, cl_program p, const char *name, log_level level, err *e)
{
    size_t n = 0;
    if (!cl_ok(clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, 0, NULL, &n), "clGetProgramBuildInfo", e))
        return false;
    char *text = calloc(1, n + 1);
    bool ok =
        text ? cl_ok(clGetProgramBuildInfo(p, d->id, CL_PROGRAM_BUILD_LOG, n, text, NULL), "clGetProgramBuildInfo", e)
             : err_no_memory(e, "build log", n);
    if (ok && text[strspn(text, " \r\n\t")])
        log_write(level, "build log of %s.cl on %s:\n%s", name, d->info.name, text);
    free(text);
    return ok;
}

static cl_program from_cache(device *d, const cache_key *key, const char *options)
{
    unsigned char *binary;
    size_t size;
    if (!cache_read(key, &binary, &size))
        return NULL;
    cl_int status = 0, ignored = 0;
    const unsigned char *pieces[] = {binary};
    watch_enter("clCreateProgramWithBinary");
    cl_program p = clCreateProgramWithBinary(d->context, 1, &d->id, &size, pieces, &ignored, &status);
    watch_leave(status);
    free(binary);
    if (status == CL_SUCCESS && WATCHED(clBuildProgram, p, 1, &d->id, options, NULL, NULL) == CL_SUCCESS)
        return p;
    log_write(LOG_DEBUG, "cached program %s: the driver refuses it, so it is built from source", key->name);
    cache_drop(key);
    if (status == CL_SUCCESS)
        clReleaseProgram(p);
    return NULL;
}

static void to_cache(cl_program p, const cache_key *key)
{
    size_t size = 0;
    if (clGetProgramInfo(p, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, NULL) != CL_SUCCESS || size == 0)
        return;
    unsigned char *binary = malloc(size);
    if (binary && clGetProgramInfo(p, CL_PROGRAM_BINARIES, sizeof binary, &binary, NULL) == CL_SUCCESS)
        cache_write(key, binary, size);
    free(binary);
}

static cl_program from_source(device *d, const char *name, const char *source, const char *options, err *e)
{
    cl_int status = 0;
    cl_program p = clCreateProgramWithSource(d->context, 1, &source, NULL, &status);
    if (!cl_ok(status, "clCreateProgramWithSource", e))
        return NULL;
    status = WATCHED(clBuildProgram, p, 1, &d->id, options, NULL, NULL);
    if (status != CL_SUCCESS) {
        log_build(d, p, name, LOG_ERROR, NULL);
        err_set(e, ERR_FAILED,
                "kernel file %s.cl: clBuildProgram: %s (%d) on %s with \"%s\" (the build log is above; "
                "update the driver, or choose another device with `device`)",
                name, cl_status_name(status), status, d->info.name, options);
        clReleaseProgram(p);
        return NULL;
    }
    if (!log_build(d, p, name, LOG_DEBUG, e)) { /* warnings */
        clReleaseProgram(p);
        return NULL;
    }
    return p;
}

static program *program_build(device *d, const char *file, const tuning *t, const char *options, err *e)
{
    const char *name = file;
    char *source = kernel_text(file, &name, e);
    program *p = source ? calloc(1, sizeof *p + strlen(options) + 1) : NULL;
    if (p) {
        char all[512], defines[TUNING_DEFINES];
        tuning_defines(t, name, defines);
        snprintf(all, sizeof all, "-cl-std=CL1.2 %s %s", defines, options);
        strcpy(p->options, options);
        p->file = name;
        p->tune = *t;
        cache_key key = cache_key_of(d, name, source, all);
        watch_kernel(name);
        watch_allow(watch_compiling);
        driver_enter();
        p->handle = d->no_cache ? NULL : from_cache(d, &key, all);
        log_write(LOG_DEBUG, "program %s: %s", name, p->handle ? "from the cache" : "from source");
        if (!p->handle) {
            p->handle = from_source(d, name, source, all, e);
            if (p->handle && !d->no_cache)
                to_cache(p->handle, &key);
        }
        watch_allow(watch_patience);
        driver_leave(p->handle != NULL);
        if (!p->handle) {
            free(p);
            p = NULL;
        }
    }
    free(source);
    return p;
}

static program *program_find(device *d, const char *file, size_t length, const tuning *t, const char *options, err *e)
{
    for (program *p = d->programs->list; p; p = p->next)
        if (!strncmp(p->file, file, length) && p->file[length] == 0 && !strcmp(p->options, options) &&
            tuning_same_code(&p->tune, t))
            return p;
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)length, file);
    program *p = program_build(d, name, t, options, e);
    if (p) {
        p->next = d->programs->list;
        d->programs->list = p;
    }
    return p;
}

static size_t hash_text(const char *s, size_t h)
{
    while (*s)
        h = (h ^ (unsigned char)*s++) * 16777619u;
    return h;
}

static bool kernel_make(device *d, struct slot *s, const char *name, const tuning *t, const char *options, err *e)
{
    const char *colon = strchr(name, ':');
    program *p = program_find(d, name, (size_t)(colon - name), t, options, e);
    if (!p)
        return false;
    size_t n = strlen(name) + 1, m = strlen(options) + 1;
    s->key = malloc(n + m);
    if (!s->key)
        return err_no_memory(e, name, n + m);
    memcpy(s->key, name, n);
    memcpy(s->key + n, options, m);
    cl_int status = 0;
    s->k = (kernel){.program = p->handle, .name = s->key, .options = s->key + n, .tune = *t};
    driver_enter();
    s->k.handle = clCreateKernel(p->handle, colon + 1, &status);
    driver_leave(status == CL_SUCCESS);
    char call[128];
    snprintf(call, sizeof call, "kernel %.64s: clCreateKernel", name);
    if (cl_ok(status, call, e) &&
        cl_ok(clGetKernelInfo(s->k.handle, CL_KERNEL_NUM_ARGS, sizeof s->k.n_args, &s->k.n_args, NULL),
              "clGetKernelInfo", e) &&
        cl_ok(clGetKernelWorkGroupInfo(s->k.handle, d->id, CL_KERNEL_WORK_GROUP_SIZE, sizeof s->k.max_group,
                                       &s->k.max_group, NULL),
              "clGetKernelWorkGroupInfo", e))
        return true;
    if (status == CL_SUCCESS)
        clReleaseKernel(s->k.handle);
    free(s->key);
    *s = (struct slot){0};
    return false;
}

const kernel *kernel_find(device *d, const char *name, const char *options, err *e)
{
    if (!d->programs && !(d->programs = calloc(1, sizeof *d->programs))) {
        err_no_memory(e, "programs", sizeof *d->programs);
        return NULL;
    }
    const tuning t = kernel_tuning(d, name);
    size_t h = hash_text(options, hash_text(name, 2166136261u));
    for (size_t i = h % SLOTS;; i = (i + 1) % SLOTS) {
        struct slot *s = &d->programs->slots[i];
        if (s->key && !strcmp(s->k.name, name) && !strcmp(s->k.options, options) && tuning_same_code(&s->k.tune, &t))
            return &s->k;
        if (s->key)
            continue;
        if (d->programs->kernels == SLOTS - 1) {
            err_set(e, ERR_FAILED, "kernel %s: more than %d kernels in use", name, SLOTS - 1);
            return NULL;
        }
        if (!kernel_make(d, s, name, &t, options, e))
            return NULL;
        d->programs->kernels++;
        return &s->k;
    }
}

void programs_free(programs *t, device *d)
{
    if (!t)
        return;
    watch_kernel(NULL); /* its name goes */
    for (size_t i = 0; i < SLOTS; i++)
        if (t->slots[i].key) {
            RELEASE(d, clReleaseKernel, t->slots[i].k.handle);
            free(t->slots[i].key);
        }
    while (t->list) {
        program *p = t->list;
        t->list = p->next;
        RELEASE(d, clReleaseProgram, p->handle);
        free(p);
    }
    free(t);
}
