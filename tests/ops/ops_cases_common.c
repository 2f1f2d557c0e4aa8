/* Inputs and errors of the op tests. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"
#include "ops_cases.h"

struct ops_owned {
    struct ops_owned *next;
    max_align_t data[];
};

struct ops_held {
    struct ops_held *next;
    buffer *b;
};

void *ops_memory(ops_env *v, size_t count, size_t size)
{
    struct ops_owned *m = calloc(1, sizeof *m + count * size + 64);
    assert_non_null(m);
    m->next = v->arrays;
    v->arrays = m;
    return m->data;
}

float *ops_numbers(ops_env *v, int n)
{
    float *x = ops_memory(v, (size_t)n, sizeof *x);
    v->streams++;
    for (int i = 0; i < n; i++)
        x[i] = rng_normal(2021, v->streams, 0, (uint32_t)i);
    return x;
}

static void hold(ops_env *v, buffer *b)
{
    struct ops_held *h = calloc(1, sizeof *h);
    assert_non_null(h);
    *h = (struct ops_held){.next = v->buffers, .b = b};
    v->buffers = h;
}

tensor ops_tensor(ops_env *v, dtype type, int nd, const int64_t *dims, float *values)
{
    int64_t n = 1;
    for (int i = 0; i < nd; i++)
        n *= dims[i];
    err e = {0};
    tensor t;
    void *stored = ops_memory(v, dtype_row_bytes(type, n), 1);
    if (values) {
        dtype_from_float(type, stored, values, n);
        dtype_to_float(values, type, stored, n);
    }
    if (!tensor_new(&t, v->d, type, nd, dims, stored, false, "test input", &e))
        fail_msg("%s", e.text);
    hold(v, t.buf);
    return t;
}

tensor ops_integers(ops_env *v, int nd, const int64_t *dims, const int32_t *values)
{
    err e = {0};
    tensor t;
    if (!tensor_new(&t, v->d, DTYPE_I32, nd, dims, values, false, "test input", &e))
        fail_msg("%s", e.text);
    hold(v, t.buf);
    return t;
}

tensor ops_input(ops_env *v, const shape *s, int nd, const int64_t *dims, float *values)
{
    if (!s->view)
        return ops_tensor(v, DTYPE_F32, nd, dims, values);
    enum { BEFORE = 3 };
    int64_t larger[4] = {dims[0] + BEFORE + 1}, row = 1;
    for (int i = 1; i < nd; i++)
        row *= larger[i] = dims[i];
    float *all = ops_numbers(v, (int)(larger[0] * row));
    memcpy(all + BEFORE * row, values, (size_t)(dims[0] * row) * sizeof *all);
    return tensor_rows(ops_tensor(v, DTYPE_F32, nd, larger, all), BEFORE, dims[0]);
}

tensor ops_weight(ops_env *v, const shape *s, int rows, int columns, float *values)
{
    uint64_t limit = v->d->info.max_allocation;
    if (s->split)
        v->d->info.max_allocation = (uint64_t)s->split * dtype_row_bytes(s->type, columns);
    tensor w = ops_tensor(v, s->type, SHAPE(rows, columns), values);
    v->d->info.max_allocation = limit;
    if (s->split)
        assert_non_null(w.buf->next);
    return w;
}

void ops_round(dtype type, float *x, int n)
{
    unsigned char stored[4 * 256];
    for (int done = 0; done < n; done += 256) {
        int some = n - done < 256 ? n - done : 256;
        dtype_from_float(type, stored, x + done, some);
        dtype_to_float(x + done, type, stored, some);
    }
}

kv_cache ops_cache(ops_env *v, const shape *s, int length)
{
    err e = {0};
    tensor t[2];
    for (int i = 0; i < 2; i++) {
        if (!tensor_new(&t[i], v->d, s->type,
                        SHAPE(s->b + 1, s->kv_heads ? s->kv_heads : s->heads, length, s->head_dim), NULL, false,
                        "test cache", &e))
            fail_msg("%s", e.text);
        hold(v, t[i].buf);
    }
    return (kv_cache){t[0], t[1]};
}

void ops_release(ops_env *v)
{
    run_reset(v->r);
    v->streams = 0;
    while (v->arrays) {
        struct ops_owned *m = v->arrays;
        v->arrays = m->next;
        free(m);
    }
    while (v->buffers) {
        struct ops_held *h = v->buffers;
        v->buffers = h->next;
        buffer_free(h->b);
        free(h);
    }
}

double ops_error_of(const float *y, const double *reference, int n)
{
    double difference = 0, size = 0;
    for (int i = 0; i < n; i++) {
        if (!isfinite(y[i]))
            return INFINITY;
        difference += (y[i] - reference[i]) * (y[i] - reference[i]);
        size += reference[i] * reference[i];
    }
    return difference == 0 ? 0 : difference / size;
}

double ops_error(ops_env *v, tensor y, const double *reference, int n)
{
    err e = {0};
    float *host = ops_memory(v, (size_t)n, sizeof *host);
    bool complete = tensor_count(&y) == n;
    if (complete)
        run_read(v->r, y, host);
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    return complete ? ops_error_of(host, reference, n) : INFINITY;
}

void ops_make_directory(char path[64])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 64, "%.40s/limn-ops-XXXXXX", base ? base : "/tmp");
    assert_non_null(mkdtemp(path));
}

void ops_remove_directory(const char *path)
{
    DIR *d = opendir(path);
    if (!d)
        return;
    for (struct dirent *f; (f = readdir(d));) {
        char name[512];
        if (!strcmp(f->d_name, ".") || !strcmp(f->d_name, ".."))
            continue;
        snprintf(name, sizeof name, "%s/%s", path, f->d_name);
        if (unlink(name))
            ops_remove_directory(name);
    }
    closedir(d);
    rmdir(path);
}

device *ops_open(const tuning *tune, const limn_device_options *o)
{
    err e = {0};
    device *d = device_open(getenv("LIMN_DEVICE"), o, &e);
    if (!d)
        fail_msg("%s", e.text);
    else if (tune)
        d->tune = *tune;
    return d;
}
