/* Device memory and the tensors in it. */
#include "device/tensor.h"

#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "device/pages.h"

#define LEAST_IN_PAGES 65536

static bool fits(const device *d, size_t bytes, const char *what, err *e)
{
    if (bytes > d->info.max_allocation)
        return err_set(e, ERR_FAILED,
                       "%s: %.1f MiB in one piece, and %s allows %.1f MiB (use a smaller batch or image)", what,
                       bytes / MIB, d->info.name, d->info.max_allocation / MIB);
    if (bytes > d->memory_limit || d->memory_used > d->memory_limit - bytes)
        return err_set_cause(
            e, ERR_FAILED, LIMN_CAUSE_MEMORY_LIMIT,
            "%s: %.1f MiB more than the %.1f MiB in use would exceed %.1f MiB on %s (use a smaller batch, "
            "convert the model with `type` q8_0, train with `recompute`, or raise `memory_limit`)",
            what, bytes / MIB, d->memory_used / MIB, d->memory_limit / MIB, d->info.name);
    return true;
}

void buffer_count(device *d, size_t bytes)
{
    d->memory_used += bytes;
    if (d->memory_peak < d->memory_used)
        d->memory_peak = d->memory_used;
}

static void CL_CALLBACK give_back(cl_mem mem, void *piece)
{
    (void)mem;
    pages_give_back(piece);
}

/* A buffer in memory that limn takes for it; NULL where there is none, or the driver doesn't use such memory. */
static cl_mem in_pages(device *d, size_t bytes, const void *host)
{
    page_piece *piece = NULL;
    cl_int status = 0;
    if (d->info.type == LIMN_CPU && d->info.unified_memory && bytes >= LEAST_IN_PAGES)
        piece = pages_take(&d->pages, bytes);
    if (!piece)
        return NULL;
    if (host)
        memcpy(piece->at, host, bytes);
    cl_mem mem = clCreateBuffer(d->context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, bytes, piece->at, &status);
    if (mem && status == CL_SUCCESS && clSetMemObjectDestructorCallback(mem, give_back, piece) == CL_SUCCESS)
        return mem;
    if (mem)
        clReleaseMemObject(mem);
    pages_give_back(piece);
    return NULL;
}

/* The host's memory itself as a buffer, where the device can read it in place; else NULL.  Without HOST_READ_ONLY
 * Intel's driver pins it for writing, which memory that is mapped read-only refuses: "out of host memory". */
static cl_mem in_place(device *d, size_t bytes, const void *host)
{
    cl_int status = 0;
    if (!host || !d->info.unified_memory || (size_t)host % os_page_size() != 0)
        return NULL;
    cl_mem mem = clCreateBuffer(d->context, CL_MEM_READ_ONLY | CL_MEM_USE_HOST_PTR | CL_MEM_HOST_READ_ONLY, bytes,
                                (void *)(uintptr_t)host, &status);
    return status == CL_SUCCESS ? mem : NULL;
}

/* b's memory. */
static cl_int memory_make(buffer *b, const void *host, bool lasting)
{
    device *d = b->dev;
    cl_int status = CL_SUCCESS;
    /* a driver may refuse memory that it is to use in place, with whatever status: it can still have a copy */
    if (lasting)
        b->mem = in_place(d, b->bytes, host);
    if (!b->mem)
        b->mem = in_pages(d, b->bytes, host);
    if (!b->mem)
        b->mem = clCreateBuffer(d->context, CL_MEM_READ_WRITE | (host ? CL_MEM_COPY_HOST_PTR : 0), b->bytes,
                                (void *)(uintptr_t)host, &status);
    return status;
}

buffer *buffer_new(device *d, size_t bytes, const void *host, bool lasting, const char *what, err *e)
{
    if (bytes == 0)
        bytes = 16;
    if (!fits(d, bytes, what, e))
        return NULL;
    buffer *b = calloc(1, sizeof *b);
    if (!b) {
        err_no_memory(e, what, sizeof *b);
        return NULL;
    }
    *b = (buffer){.dev = d, .bytes = bytes};
    cl_int status = d->queue ? memory_make(b, host, lasting) : CL_SUCCESS;
    err reason = {0};
    if (!cl_ok(status, "clCreateBuffer", &reason)) {
        err refused = {.cause = reason.cause};
        err_set(&refused, reason.code,
                "%s: %.1f MiB more than the %.1f MiB in use, and the limit is %.1f MiB: %s (give a lower "
                "`memory_limit`, or "
                "close other programs that use %s)",
                what, bytes / MIB, d->memory_used / MIB, d->memory_limit / MIB, reason.text, d->info.name);
        err_copy(e, &refused);
        free(b);
        return NULL;
    }
    buffer_count(d, bytes);
    return b;
}

void buffer_free(buffer *b)
{
    while (b) {
        buffer *next = b->next;
        if (b->mem)
            RELEASE(b->dev, clReleaseMemObject, b->mem);
        b->dev->memory_used -= b->bytes;
        free(b);
        b = next;
    }
}

int64_t tensor_count(const tensor *t)
{
    int64_t n = t->buf ? 1 : 0;
    for (int i = 0; i < t->nd; i++)
        n *= t->shape[i];
    return n;
}

uint64_t tensor_bytes(const tensor *t)
{
    uint64_t bytes = 0;
    for (const buffer *b = t->buf; b; b = b->next)
        bytes += b->bytes;
    return bytes;
}

tensor tensor_shaped(tensor t, int nd, const int64_t *shape)
{
    t.nd = nd;
    for (int i = 0; i < 4; i++)
        t.shape[i] = i < nd ? shape[i] : 1;
    return t;
}

tensor tensor_rows(tensor t, int64_t first, int64_t n)
{
    if (t.buf && t.shape[0] > 0)
        t.at += tensor_count(&t) / t.shape[0] * first;
    t.shape[0] = n;
    return t;
}

tensor tensor_piece(tensor t, int64_t row, int64_t *first)
{
    *first = 0;
    while (t.buf->rows && row >= *first + t.buf->rows) {
        *first += t.buf->rows;
        t.buf = t.buf->next;
    }
    t.shape[0] = t.buf->rows ? t.buf->rows : t.shape[0];
    return t;
}

bool tensor_new(tensor *t, device *d, dtype type, int nd, const int64_t *shape, const void *host, bool lasting,
                const char *what, err *e)
{
    *t = tensor_shaped((tensor){.type = type}, nd, shape);
    int64_t row = 1;
    for (int i = 1; i < nd; i++)
        row *= shape[i];
    int64_t rows = nd ? shape[0] : 1;
    if (nd == 1) { /* a vector of blocks has one row */
        row = rows;
        rows = 1;
    }
    size_t row_bytes = dtype_row_bytes(type, row);
    int64_t most = row_bytes ? (int64_t)(d->info.max_allocation / row_bytes) : rows;
    if (row > 0 && most > TENSOR_MOST / row)
        most = TENSOR_MOST / row;
    if (most > 32 && most < rows)
        most -= most % 32; /* whole panels: src/ops/gemm.c */
    buffer **end = &t->buf;
    const char *from = host;
    for (int64_t done = 0; done < rows;) {
        int64_t n = rows - done < most || most == 0 ? rows - done : most;
        bool split = n < rows;
        buffer *b = buffer_new(d, row_bytes * (size_t)n, from, lasting, what, e);
        if (!b) {
            buffer_free(t->buf);
            t->buf = NULL;
            return false;
        }
        b->rows = split ? n : 0;
        *end = b;
        end = &b->next;
        done += n;
        if (from)
            from += row_bytes * (size_t)n;
    }
    return true;
}

bool tensor_in_one_piece(const device *d, dtype type, int nd, const int64_t *shape, const char *what, err *e)
{
    double count = 1; /* which is larger than any integer may be */
    for (int i = 0; i < nd; i++)
        count *= (double)shape[i];
    double bytes = count / dtype_table[type].block * dtype_table[type].bytes;
    if (bytes > (double)d->info.max_allocation)
        return err_set(e, ERR_FAILED, "%s: %.1f MiB in one piece, and %s allows %.1f MiB", what, bytes / MIB,
                       d->info.name, (double)d->info.max_allocation / MIB);
    return count <= TENSOR_MOST ||
           err_set(e, ERR_FAILED, "%s: %.0f elements in one piece, and kernels count to %d", what, count, TENSOR_MOST);
}

bool tensor_new_filled(tensor *t, device *d, dtype type, int nd, const int64_t *shape, tensor_contents *make,
                       const void *context, const char *what, err *e)
{
    void *host = d->queue ? make(context, e) : NULL;
    bool ok = (host || !d->queue) && tensor_new(t, d, type, nd, shape, host, false, what, e);
    free(host);
    return ok;
}
