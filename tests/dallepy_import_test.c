/* DALLE-pytorch's transformers: tiny instances (tools/make_golden_dalle_pytorch.py) through the importer, then logits
 * of whole sequences and of single steps, and greedy codes, against what their authors' code makes of them. usage:
 * dallepy_import_test [DIR NAME...]: other instances, DIR/NAME.pt with DIR/NAME.safetensors. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/safetensors.h"
#include "models/codec.h"
#include "models/dalle_pytorch.h"
#include "models/import.h"
#include "support.h"

static device *dev;
static const char *directory = TEST_DATA "/dallepy";

typedef struct instance {
    file_map file, golden_file;
    gguf *g;
    safetensors *golden;
    param_table params;
    codec codec;
    dalle_pytorch *d;
    run *r;
    dalle_pytorch_state *states;
    tensor ids, codes, position;
    int cells;
} instance;

static void good(bool ok, const err *e)
{
    if (!ok)
        fail_msg("%s", e->text);
}

/* A whole array of the reference; the caller frees it. */
static float *golden_of(const instance *m, const char *name)
{
    const file_tensor *t = safetensors_find(m->golden, name);
    if (!t)
        fail_msg("no %s in the reference", name);
    float *out = malloc((size_t)file_tensor_count(t) * sizeof *out);
    file_tensor_read(t, 0, file_tensor_count(t), out);
    return out;
}

static void open_instance(instance *m, const char *name)
{
    err e = {0};
    char from[300], to[] = "/tmp/limn-dallepy-XXXXXX", golden[300];
    snprintf(from, sizeof from, "%s/%s.pt", directory, name);
    snprintf(golden, sizeof golden, "%s/%s.safetensors", directory, name);
    int fd = mkstemp(to);
    assert_true(fd >= 0);
    close(fd);
    const char *inputs[] = {from};
    good(import_convert(&(import_request){.inputs = inputs, .n_inputs = 1, .output = to}, &e), &e);
    good(file_map_open(&m->file, to, &e) && file_map_open(&m->golden_file, golden, &e), &e);
    unlink(to);
    good((m->golden = safetensors_open(m->golden_file.data, m->golden_file.size, golden, &e)) != NULL, &e);
    good((m->g = gguf_open(m->file.data, m->file.size, to, &e)) != NULL, &e);
    good((m->r = run_new(dev, &e)) != NULL, &e);
    good(codec_open(&m->codec, m->g, &m->params, &e) && dalle_pytorch_open(&m->d, m->g, &m->params, &e), &e);
    good(params_load(&m->params, m->r, m->g, true, &e), &e);
    assert_int_equal(m->codec.grid_width, m->d->grid_width);
    assert_int_equal(m->codec.codes, m->d->codes);
    m->cells = m->d->grid_width * m->d->grid_width;
    good(dalle_pytorch_state_new(m->d, dev, 1, &m->states, &e), &e);
    good(tensor_new(&m->ids, dev, DTYPE_I32, 2, (int64_t[]){1, m->d->text_length}, NULL, false, "ids", &e) &&
             tensor_new(&m->codes, dev, DTYPE_I32, 2, (int64_t[]){1, m->cells}, NULL, false, "codes", &e) &&
             tensor_new(&m->position, dev, DTYPE_I32, 1, (int64_t[]){1}, NULL, false, "position", &e),
         &e);
}

static void close_instance(instance *m)
{
    dalle_pytorch_state_free(m->d, m->states);
    buffer_free(m->ids.buf);
    buffer_free(m->codes.buf);
    buffer_free(m->position.buf);
    run_free(m->r);
    params_release(&m->params);
    codec_release(&m->codec);
    dalle_pytorch_free(m->d);
    gguf_free(m->g);
    safetensors_free(m->golden);
    file_map_release(&m->file);
    file_map_release(&m->golden_file);
}

/* The logits of t positions from `first` on: of text before the last of text, else of codes; out[t, all], the others
 * untouched. */
static void step(instance *m, int first, int t, const int32_t *codes, float *out)
{
    const dalle_pytorch *d = m->d;
    int ids = (int)d->text_head.w.shape[0], all = ids + d->codes;
    err e = {0};
    float *text = malloc((size_t)(t * ids) * sizeof *text), *image = malloc((size_t)(t * d->codes) * sizeof *image);
    run_write(m->r, m->codes, codes);
    run_write(m->r, m->position, &first);
    tensor x = dalle_pytorch_forward(m->r, d, m->ids, m->codes, m->states, m->position, t);
    run_read(m->r, op_linear(m->r, x, &d->text_head, ACT_NONE), text);
    run_read(m->r, op_linear(m->r, x, &d->image_head, ACT_NONE), image);
    good(run_finish(m->r, &e), &e);
    for (int i = 0; i < t; i++) {
        if (first + i < d->text_length - 1)
            memcpy(out + i * all, text + i * ids, (size_t)ids * sizeof *out);
        else
            memcpy(out + i * all + ids, image + i * d->codes, (size_t)d->codes * sizeof *out);
    }
    free(text);
    free(image);
}

static void compare(const float *have, const float *want, int n, const char *what)
{
    float least = INFINITY, most = -INFINITY, worst = 0;
    for (int i = 0; i < n; i++)
        if (want[i] > -1e29f) { /* the others are masked */
            least = fminf(least, want[i]);
            most = fmaxf(most, want[i]);
            worst = isfinite(have[i]) ? fmaxf(worst, fabsf(have[i] - want[i])) : INFINITY;
        }
    print_message("%s: %g of the range\n", what, (double)(worst / (most - least)));
    if (!(worst <= 1e-4f * (most - least)))
        fail_msg("%s: off by %g of a range of %g", what, (double)worst, (double)(most - least));
}

/* Greedy codes, by steps. */
static void check_greedy(instance *m, const float *greedy)
{
    const dalle_pytorch *d = m->d;
    int ids = (int)d->text_head.w.shape[0], all = ids + d->codes;
    int32_t *codes = calloc((size_t)m->cells, sizeof *codes);
    float *out = calloc((size_t)(d->text_length * all), sizeof *out);
    for (int c = 0; c < m->cells; c++) {
        step(m, c ? d->text_length - 1 + c : 0, c ? 1 : d->text_length, codes, out);
        const float *last = out + (c ? 0 : d->text_length - 1) * all + ids;
        for (int k = 1; k < d->codes; k++)
            if (last[k] > last[codes[c]])
                codes[c] = k;
        assert_int_equal(codes[c], (int)greedy[c]);
    }
    free(codes);
    free(out);
}

static void check_row(instance *m, int row, bool condition, const float *want, const float *greedy)
{
    const dalle_pytorch *d = m->d;
    int n = d->text_length - 1, positions = dalle_pytorch_positions(d);
    int all = (int)d->text_head.w.shape[0] + d->codes;
    err e = {0};
    float *text = golden_of(m, "text"), *codes = golden_of(m, "codes");
    int32_t *ids = calloc((size_t)n, sizeof *ids), *line = calloc((size_t)n + 1, sizeof *line),
            *own = calloc((size_t)m->cells, sizeof *own);
    float *out = calloc((size_t)(positions * all), sizeof *out);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)text[row * n + i];
    for (int i = 0; i < m->cells; i++)
        own[i] = (int32_t)codes[row * m->cells + i];
    good(dalle_pytorch_text_row(d, ids, condition ? (size_t)n : 0, line, &e), &e);
    run_write(m->r, m->ids, line);
    step(m, 0, positions, own, out);
    compare(out, want, positions * all, condition ? "whole" : "without condition");
    memset(out, 0, (size_t)(positions * all) * sizeof *out);
    step(m, 0, d->text_length, own, out);
    for (int p = d->text_length; p < positions; p++)
        step(m, p, 1, own, out + p * all);
    compare(out, want, positions * all, "by steps");
    if (greedy)
        check_greedy(m, greedy);
    free(text);
    free(codes);
    free(ids);
    free(line);
    free(own);
    free(out);
}

static void test_instance(void **state)
{
    instance m = {0};
    open_instance(&m, *state);
    int size = dalle_pytorch_positions(m.d) * ((int)m.d->text_head.w.shape[0] + m.d->codes);
    float *logits = golden_of(&m, "logits"), *null = golden_of(&m, "logits_null"), *greedy = golden_of(&m, "greedy");
    for (int row = 0; row < 2; row++)
        check_row(&m, row, true, logits + row * size, greedy + row * m.cells);
    check_row(&m, 0, false, null, NULL);
    free(logits);
    free(null);
    free(greedy);
    close_instance(&m);
}

int main(int argc, char **argv)
{
    static char *const own[] = {"mix", "absolute", "shared"};
    char *const *names = argc > 2 ? argv + 2 : own;
    size_t n = argc > 2 ? (size_t)argc - 2 : sizeof own / sizeof *own;
    struct CMUnitTest tests[16];
    if (argc > 2)
        directory = argv[1];
    n = n < 16 ? n : 16;
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = test_instance, .initial_state = names[i]};
    dev = support_device();
    int failed = _cmocka_run_group_tests("dallepy_import", tests, n, NULL, NULL);
    device_free(dev);
    return failed;
}
