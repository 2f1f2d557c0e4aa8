/* Kernel times: events are kept until somebody asks, then read at once. */
#include "device/profile.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"

typedef struct span {
    const char *name;
    cl_event event; /* NULL once read */
    double flops, bytes;
    cl_ulong queued, start, end; /* ns of the device's clock */
} span;

struct profile {
    span *spans;
    size_t n, capacity, read;
};

#define EVENTS_KEPT 4096 /* drivers hold memory for each */

profile *profile_new(err *e)
{
    profile *p = calloc(1, sizeof *p);
    if (!p)
        err_no_memory(e, "profile", sizeof *p);
    return p;
}

void profile_free(profile *p, const device *d)
{
    if (!p)
        return;
    for (size_t i = p->read; i < p->n; i++)
        RELEASE(d, clReleaseEvent, p->spans[i].event);
    free(p->spans);
    free(p);
}

static bool read_time(const span *s, cl_profiling_info what, cl_ulong *time, err *e)
{
    return cl_ok(clGetEventProfilingInfo(s->event, what, sizeof *time, time, NULL), "clGetEventProfilingInfo", e);
}

/* Reads the times of the events up to number `end`; waits for those that are not finished. */
static bool profile_collect(profile *p, size_t end, err *e)
{
    bool ok = true;
    for (; p->read < end; p->read++) {
        span *s = &p->spans[p->read];
        ok = ok && cl_ok(WATCHED(clWaitForEvents, 1, &s->event), "clWaitForEvents", e) &&
             read_time(s, CL_PROFILING_COMMAND_QUEUED, &s->queued, e) &&
             read_time(s, CL_PROFILING_COMMAND_START, &s->start, e) &&
             read_time(s, CL_PROFILING_COMMAND_END, &s->end, e);
        clReleaseEvent(s->event);
        s->event = NULL;
    }
    return ok;
}

void profile_add(profile *p, const char *name, cl_event event, double flops, double bytes)
{
    if (p->n == p->capacity) {
        size_t capacity = p->capacity ? 2 * p->capacity : 1024;
        span *grown = realloc(p->spans, capacity * sizeof *grown);
        if (!grown) { /* a profile with a gap is better than a run that fails for it */
            clReleaseEvent(event);
            return;
        }
        p->spans = grown;
        p->capacity = capacity;
    }
    p->spans[p->n++] = (span){.name = name, .event = event, .flops = flops, .bytes = bytes};
    if (p->n - p->read >= EVENTS_KEPT) /* the older ones: the device has more to do while the host waits */
        profile_collect(p, p->n - EVENTS_KEPT / 2, NULL);
}

size_t profile_count(const profile *p)
{
    return p->n;
}

bool profile_times(profile *p, size_t first, profile_time *t, err *e)
{
    *t = (profile_time){0};
    if (first >= p->n || !profile_collect(p, p->n, e))
        return first >= p->n;
    for (size_t i = first; i < p->n; i++) {
        const span *s = &p->spans[i];
        t->kernels += (double)(s->end - s->start) * 1e-9;
        cl_ulong before = i > first ? p->spans[i - 1].end : s->start,
                 until = s->queued < s->start ? s->queued : s->start;
        t->waiting += until > before ? (double)(until - before) * 1e-9 : 0;
    }
    t->all = (double)(p->spans[p->n - 1].end - p->spans[first].start) * 1e-9;
    return true;
}

static int by_seconds(const void *a, const void *b)
{
    double x = ((const limn_kernel_profile *)a)->seconds, y = ((const limn_kernel_profile *)b)->seconds;
    return (x < y) - (x > y);
}

bool device_profile(device *d, limn_kernel_profile **rows, size_t *n, limn_error *e)
{
    *rows = NULL;
    *n = 0;
    profile *p = d->profile;
    if (!p || p->n == 0)
        return true;
    if (!profile_collect(p, p->n, e))
        return false;
    limn_kernel_profile *table = NULL;
    size_t used = 0;
    for (size_t i = 0; i < p->n; i++) {
        const span *s = &p->spans[i];
        size_t k = 0;
        while (k < used && strcmp(table[k].name, s->name))
            k++;
        if (k == used) {
            limn_kernel_profile *grown = realloc(table, (used + 1) * sizeof *grown);
            if (!grown) {
                free(table);
                return err_no_memory(e, "profile", used * sizeof *grown);
            }
            table = grown;
            table[used++] = (limn_kernel_profile){.name = s->name};
        }
        table[k].calls++;
        table[k].seconds += (double)(s->end - s->start) * 1e-9;
        table[k].flops += s->flops;
        table[k].bytes += s->bytes;
    }
    qsort(table, used, sizeof *table, by_seconds);
    *rows = table;
    *n = used;
    return true;
}

/* A driver's name for its device, inside JSON's quotes. */
static void put_name(FILE *f, const char *name)
{
    for (; *name; name++) {
        if (*name == '"' || *name == '\\')
            fputc('\\', f);
        fputc((unsigned char)*name < 0x20 || (unsigned char)*name > 0x7e ? '?' : *name, f);
    }
}

bool device_write_trace(device *d, const char *path, limn_error *e)
{
    profile *p = d->profile;
    file_out out = {0};
    if (p && !profile_collect(p, p->n, e))
        return false;
    bool ok = file_out_open(&out, path, e);
    if (ok) {
        fprintf(out.stream, "{\"traceEvents\":[\n"
                            "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":\"limn\"}},\n"
                            "{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":1,\"args\":{\"name\":\"");
        put_name(out.stream, d->info.name);
        fprintf(out.stream, "\"}}");
        for (size_t i = 0; p && i < p->n; i++) {
            const span *s = &p->spans[i];
            fprintf(out.stream, ",\n{\"name\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":1,\"ts\":%.3f,\"dur\":%.3f}",
                    s->name, (double)(s->start - p->spans[0].start) * 1e-3, (double)(s->end - s->start) * 1e-3);
        }
        fprintf(out.stream, "\n]}\n");
        ok = file_out_commit(&out, e);
    }
    file_out_release(&out);
    return ok;
}
