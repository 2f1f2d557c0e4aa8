/* Cases of golden gradients on a device. */
#include "golden_gradient.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "support.h"

#define BOUND 1e-8 /* sum of squared differences over sum of squares; rounding alone gives about 1e-13 */

static file_map file;
static safetensors *expected;

const file_tensor *golden_find(const golden *g, const char *prefix, const char *name)
{
    char full[192];
    snprintf(full, sizeof full, "%s/%s%s", g->name, prefix, name);
    return safetensors_find(expected, full);
}

const void *golden_data(const golden *g, const char *name)
{
    const file_tensor *f = golden_find(g, "", name);
    return f ? f->data : NULL;
}

tensor golden_input(golden *g, const char *name)
{
    err e = {0};
    const file_tensor *f = golden_find(g, "", name);
    tensor x = {0};
    if (!f)
        return x;
    good(tensor_new(&x, run_device(g->r), f->type, f->nd, f->shape, f->data, false, name, &e), &e);
    assert_true(g->n < GOLDEN_INPUTS);
    g->inputs[g->n++] = (struct golden_input){name, x};
    if (golden_find(g, "d.", name))
        tape_watch_input(run_tape(g->r), x);
    return x;
}

void golden_drop(golden *g)
{
    run_reset(g->r);
    for (int i = 0; i < g->n; i++)
        buffer_free(g->inputs[i].x.buf);
    buffer_free(g->panels.buf);
}

void golden_meet(golden *g, tensor got, const char *prefix, const char *name)
{
    err e = {0};
    const file_tensor *f = golden_find(g, prefix, name);
    if (!f || f->type != DTYPE_F32 || file_tensor_count(f) != tensor_count(&got))
        fail_msg("%s/%s%s: %lld numbers, and the file has another number of them", g->name, prefix, name,
                 (long long)tensor_count(&got));
    int64_t n = file_tensor_count(f);
    float *have = calloc((size_t)n, sizeof *have);
    const float *want = f->data;
    double difference = 0, size = 0;
    assert_non_null(have);
    run_read(g->r, got, have);
    good(run_finish(g->r, &e), &e);
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)have[i] - want[i]) * ((double)have[i] - want[i]);
        size += (double)want[i] * want[i];
    }
    free(have);
    double error = difference == 0 ? 0 : difference / size;
    if (!(error <= BOUND))
        fail_msg("%s/%s%s: the error is %g, and %g is allowed", g->name, prefix, name, error, BOUND);
    g->worst = error > g->worst ? error : g->worst;
}

const safetensors *golden_file(void)
{
    return expected;
}

int golden_open(void **state)
{
    (void)state;
    err e = {0};
    const char *path = TEST_DATA "/gradients.safetensors";
    if (file_map_open(&file, path, &e))
        expected = safetensors_open(file.data, file.size, path, &e);
    if (!expected)
        print_error("%s\n", e.text);
    return expected ? 0 : -1;
}

int golden_close(void **state)
{
    (void)state;
    safetensors_free(expected);
    file_map_release(&file);
    return 0;
}

void golden_run(void (*check)(run *r))
{
    err e = {0};
    device *d = support_device();
    run *r = run_new(d, &e);
    good(r != NULL, &e);
    check(r);
    run_free(r);
    assert_int_equal(d->memory_used, 0);
    device_free(d);
}
