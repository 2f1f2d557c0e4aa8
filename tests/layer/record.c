/* What the layer knows of the process: calls counted, the one that must fail, handles that are still held. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layer.h"

typedef struct object {
    const void *handle;
    object_kind kind;
    unsigned references;
    size_t bytes;  /* of a buffer */
    size_t *local; /* of a kernel: kernel_local_set */
    cl_uint locals;
    struct object *next;
} object;

#define BUCKETS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards all but what the environment says */
static object *objects[BUCKETS];
static cl_ulong memory; /* bytes of live buffers */
static unsigned long calls;
static const char *failed;
static bool closed;

static const profile *limits;
static profile changed;                                              /* with the limits that the environment gives */
static unsigned long fail_at, hang_at, stall_at, die_at, dead_calls; /* the last: 0 is for ever */
static int die_status;
static bool stalled;
static const char *fail_name, *report_path;
static bool stay;
static pid_t process;

static _Thread_local unsigned depth;

void record_open(void)
{
    const char *key = getenv("LIMN_LAYER_PROFILE"), *at = getenv("LIMN_LAYER_FAIL_AT");
    if (key && *key && !(limits = profile_find(key))) {
        /* The loader would go on without the layer, and the test would pass. */
        fprintf(stderr, "limn_layer: LIMN_LAYER_PROFILE=%s: no such profile\n", key);
        _Exit(2);
    }
    const char *other = getenv("LIMN_LAYER_LIMITS");
    if (limits && other && *other) {
        unsigned long v[5];
        changed = *limits;
        limits = &changed;
        if (sscanf(other, "%lu,%lu,%lu,%lu,%lu", &v[0], &v[1], &v[2], &v[3], &v[4]) != 5) {
            fprintf(stderr, "limn_layer: LIMN_LAYER_LIMITS=%s: not five numbers\n", other);
            _Exit(2);
        }
        changed.group = v[0];
        for (int i = 0; i < 3; i++)
            changed.items[i] = v[1 + i];
        changed.local = v[4];
    }
    const char *hang = getenv("LIMN_LAYER_HANG_AT"), *stall = getenv("LIMN_LAYER_STALL_AT");
    const char *die = getenv("LIMN_LAYER_DIE_AT");
    hang_at = hang ? strtoul(hang, NULL, 10) : 0;
    stall_at = stall ? strtoul(stall, NULL, 10) : 0;
    if (die && sscanf(die, "%lu,%d,%lu", &die_at, &die_status, &dead_calls) < 2)
        _Exit(2);
    fail_at = at ? strtoul(at, NULL, 10) : 0;
    fail_name = getenv("LIMN_LAYER_FAIL_NAME");
    if (fail_name && !*fail_name)
        fail_name = NULL;
    report_path = getenv("LIMN_LAYER_REPORT");
    stay = getenv("LIMN_LAYER_KEEP");
    process = getpid();
}

/* The work of a device that dies is over: here it isn't to go on in memory that the program then frees. */
static void drain(void)
{
    cl_command_queue queues[8];
    int n = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < BUCKETS; i++)
        for (const object *o = objects[i]; o && n < 8; o = o->next)
            if (o->kind == OBJECT_QUEUE)
                queues[n++] = (cl_command_queue)(uintptr_t)o->handle;
    pthread_mutex_unlock(&lock);
    while (n > 0)
        driver.clFinish(queues[--n]);
}

cl_int call_begin(const char *name, cl_int failure, cl_int refusal)
{
    if (++depth > 1)
        return CL_SUCCESS;
    cl_int status = limits ? refusal : CL_SUCCESS;
    if (name && (!fail_name || strcmp(name, fail_name) == 0)) {
        pthread_mutex_lock(&lock);
        bool hangs = ++calls == hang_at, dies = calls == die_at;
        stalled = stalled || calls == stall_at;
        if (calls == fail_at) {
            failed = name;
            status = failure;
        }
        if (die_at && calls >= die_at && (!dead_calls || calls < die_at + dead_calls))
            status = die_status;
        pthread_mutex_unlock(&lock);
        if (dies)
            drain();
        while (hangs)
            pause();
    }
    while (name && stalled && (strcmp(name, "clFinish") == 0 || strcmp(name, "clWaitForEvents") == 0))
        pause();
    return status;
}

void call_end(void)
{
    depth--;
}

bool events_stall(void)
{
    return stalled;
}

bool buffers_stay(void)
{
    return stay;
}

const profile *call_limits(void)
{
    return depth == 1 ? limits : NULL;
}

/* Where a handle's record is linked, or would be. */
static object **object_find(const void *handle)
{
    object **at = &objects[((uintptr_t)handle >> 4) % BUCKETS];
    while (*at && (*at)->handle != handle)
        at = &(*at)->next;
    return at;
}

static void object_drop(object **at)
{
    object *o = *at;
    memory -= o->bytes;
    *at = o->next;
    free(o->local);
    free(o);
}

void object_add(object_kind kind, const void *handle, size_t bytes)
{
    if (kind == OBJECT_NONE || depth != 1)
        return;
    object *o = calloc(1, sizeof *o);
    if (!o)
        abort();
    *o = (object){.handle = handle, .kind = kind, .references = 1, .bytes = bytes};
    pthread_mutex_lock(&lock);
    object **at = object_find(handle);
    if (*at) /* the driver gives the address again: the old object is gone, by a way that the layer doesn't see */
        object_drop(at);
    at = object_find(handle);
    o->next = *at;
    *at = o;
    pthread_mutex_unlock(&lock);
}

void object_retain(const void *handle)
{
    pthread_mutex_lock(&lock);
    object *o = *object_find(handle);
    if (o)
        o->references++;
    pthread_mutex_unlock(&lock);
}

static void report(void)
{
    static const char *const names[OBJECT_KINDS] = {
        [OBJECT_CONTEXT] = "contexts", [OBJECT_QUEUE] = "queues",   [OBJECT_BUFFER] = "buffers",
        [OBJECT_PROGRAM] = "programs", [OBJECT_KERNEL] = "kernels", [OBJECT_EVENT] = "events"};
    unsigned held[OBJECT_KINDS] = {0};
    for (size_t i = 0; i < BUCKETS; i++)
        for (const object *o = objects[i]; o; o = o->next)
            held[o->kind]++;
    FILE *file = fopen(report_path, "w");
    if (!file) {
        perror(report_path);
        return;
    }
    fprintf(file, "calls %lu\n", calls);
    if (failed)
        fprintf(file, "failed %s\n", failed);
    for (int kind = OBJECT_NONE + 1; kind < OBJECT_KINDS; kind++)
        if (held[kind])
            fprintf(file, "leak %s %u\n", names[kind], held[kind]);
    fclose(file);
}

/* A forked child is not the process under test: only the one that loaded the layer reports. */
static void report_if_due(void)
{
    if (closed && report_path && *report_path && getpid() == process)
        report();
}

void object_release(const void *handle)
{
    pthread_mutex_lock(&lock);
    object **at = object_find(handle);
    if (*at && --(*at)->references == 0) {
        object_drop(at);
        report_if_due(); /* a library's own clean-up (CLBlast's cache) may run after the layer's */
    }
    pthread_mutex_unlock(&lock);
}

__attribute__((destructor)) static void record_close(void)
{
    pthread_mutex_lock(&lock);
    closed = true;
    report_if_due();
    pthread_mutex_unlock(&lock);
}

void kernel_local_set(cl_kernel kernel, cl_uint slot, size_t bytes)
{
    pthread_mutex_lock(&lock);
    object *o = *object_find(kernel);
    if (o && slot >= o->locals && bytes) {
        o->local = realloc(o->local, (slot + 1) * sizeof *o->local);
        if (!o->local)
            abort();
        memset(o->local + o->locals, 0, (slot + 1 - o->locals) * sizeof *o->local);
        o->locals = slot + 1;
    }
    if (o && slot < o->locals)
        o->local[slot] = bytes;
    pthread_mutex_unlock(&lock);
}

size_t kernel_local(cl_kernel kernel)
{
    size_t sum = 0;
    pthread_mutex_lock(&lock);
    const object *o = *object_find(kernel);
    for (cl_uint i = 0; o && i < o->locals; i++)
        sum += o->local[i];
    pthread_mutex_unlock(&lock);
    return sum;
}

bool memory_take(size_t bytes, cl_ulong limit)
{
    pthread_mutex_lock(&lock);
    bool fits = memory <= limit && bytes <= limit - memory;
    if (fits)
        memory += bytes;
    pthread_mutex_unlock(&lock);
    return fits;
}

cl_ulong memory_taken(void)
{
    pthread_mutex_lock(&lock);
    cl_ulong bytes = memory;
    pthread_mutex_unlock(&lock);
    return bytes;
}

void memory_give(size_t bytes)
{
    pthread_mutex_lock(&lock);
    memory -= bytes;
    pthread_mutex_unlock(&lock);
}
