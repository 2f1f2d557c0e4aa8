/* Random weights, as a file would have them: what bench measures with. */
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/rng.h"
#include "device/count.h"
#include "weights/params_internal.h"

#define PATTERN 65536 /* values until they repeat; a multiple of 32 */
#define PAGE    4096  /* where pages are no larger, devices that share memory with the host use the values in place */

static int64_t count_of(const param *p)
{
    int64_t n = 1;
    for (int i = 0; i < p->nd; i++)
        n *= p->shape[i];
    return n;
}

uint64_t params_random_bytes(const param_table *t, dtype type)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < t->n; i++)
        bytes += dtype_row_bytes(param_stored_type(&t->list[i], type), count_of(&t->list[i]));
    return bytes;
}

/* f's values, in `data`. */
static void fill(const param *p, const file_tensor *f, float *pattern, uint8_t *data, uint32_t index)
{
    int64_t n = count_of(p), drawn = n < PATTERN ? n : PATTERN;
    size_t done = dtype_row_bytes(f->type, drawn);
    for (int64_t i = 0; i < drawn; i++)
        pattern[i] = p->mean + (p->deviation > 0 ? p->deviation * rng_normal(1, index, 0, (uint32_t)i) : 0);
    dtype_from_float(f->type, data, pattern, drawn);
    for (; done < f->bytes; done += done < f->bytes - done ? done : f->bytes - done)
        memcpy(data + done, data, done < f->bytes - done ? done : f->bytes - done);
}

/* pattern NULL: without values. */
static bool make(param *p, file_tensor *f, dtype type, float *pattern, uint32_t index, err *e)
{
    *f = (file_tensor){.name = p->name, .type = param_stored_type(p, type), .nd = p->nd};
    memcpy(f->shape, p->shape, sizeof p->shape);
    f->bytes = dtype_row_bytes(f->type, count_of(p));
    p->file = f;
    if (!pattern)
        return true;
    uint8_t *data = os_aligned_new(PAGE, (f->bytes + PAGE - 1) / PAGE * PAGE);
    if (!data)
        return err_no_memory(e, p->name, f->bytes);
    fill(p, f, pattern, data, index);
    f->data = data;
    return true;
}

bool params_open_random(param_table *t, run *r, dtype type, err *e)
{
    if (t->error.code)
        return err_set(e, t->error.code, "%s", t->error.text);
    const bool valued = !device_only_counts(run_device(r));
    float *pattern = malloc(PATTERN * sizeof *pattern);
    t->random = calloc(t->n + 1, sizeof *t->random);
    t->lasting = true;
    bool ok = (pattern && t->random) || err_no_memory(e, "random weights", PATTERN * sizeof *pattern);
    for (size_t i = 0; ok && i < t->n; i++)
        ok = make(&t->list[i], &t->random[i], type, valued ? pattern : NULL, (uint32_t)i, e);
    free(pattern);
    return ok && params_count_memory(t, r, e);
}
