/* Any value of a tunable gives right results: on CPUs those of the default to the bit, in the GPU form up to rounding.
 * usage: tunables_test [all]     all: each value alone, which is some minutes of compiling; otherwise the first values
 * of all of them at once, and the last ones (in the GPU form these alone); with LIMN_TEST_BRIEF nothing is computed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "checks.h"
#include "ops/ops.h"
#include "ops/tape.h"
#include "support.h"
#include "tune/tune.h"

enum { MOST = 1 << 20 };

typedef struct context {
    device *d;
    run *r;
    buffer *held[16];
    int n, stream;
    float *y; /* results of the case */
    int64_t count;
} context;

static float *numbers(context *c, int64_t n)
{
    float *x = malloc((size_t)n * sizeof *x);
    assert_non_null(x);
    c->stream++;
    for (int64_t i = 0; i < n; i++)
        x[i] = i < 4099 ? rng_normal(7, (uint64_t)c->stream, 0, (uint32_t)i) : x[i - 4099];
    return x;
}

static tensor input(context *c, dtype type, int nd, const int64_t *shape)
{
    int64_t n = 1;
    tensor t;
    limn_error e = {0};
    for (int i = 0; i < nd; i++)
        n *= shape[i];
    float *x = numbers(c, n);
    void *stored = malloc(dtype_row_bytes(type, n));
    assert_non_null(stored);
    dtype_from_float(type, stored, x, n);
    good(tensor_new(&t, c->d, type, nd, shape, stored, false, "test", &e), &e);
    free(x);
    free(stored);
    c->held[c->n++] = t.buf;
    return t;
}
#define INPUT(c, type, ...)                                                                                            \
    input(c, type, (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__})

/* Adds y to the results of the case. */
static void keep(context *c, tensor y)
{
    assert_true(c->count + tensor_count(&y) <= MOST);
    run_read(c->r, y, c->y + c->count);
    c->count += tensor_count(&y);
}

static void few_rows(context *c)
{
    static const int rows[] = {1, 3, 9, 37};
    static const dtype types[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
    limn_error e = {0};
    for (int k = 0; k < 3; k++) {
        linear l = {.w = INPUT(c, types[k], 75, 224), .b = INPUT(c, DTYPE_F32, 75)};
        for (int packed = 0; packed < (linear_packs(types[k]) ? 2 : 1); packed++) {
            if (packed) {
                good(linear_pack(c->r, &l.w, l.w, "test", &e), &e);
                c->held[c->n++] = l.w.buf;
            }
            for (int i = 0; i < 4; i++)
                keep(c, op_linear(c->r, tensor_rows(INPUT(c, DTYPE_F32, 37, 224), 0, rows[i]), &l, ACT_RELU));
            good(run_finish(c->r, &e), &e);
            while (c->n > (packed ? 3 : 2)) /* the inputs */
                buffer_free(c->held[--c->n]);
        }
        while (c->n)
            buffer_free(c->held[--c->n]);
    }
}

static void many_rows(context *c)
{
    linear l = {.w = INPUT(c, DTYPE_F32, 140, 300), .b = INPUT(c, DTYPE_F32, 140)};
    tensor x = INPUT(c, DTYPE_F32, 600, 300);
    keep(c, op_linear(c->r, x, &l, ACT_NONE));
    keep(c, op_linear_add(c->r, tensor_rows(x, 3, 43), &l, INPUT(c, DTYPE_F32, 43, 140)));
}

static conv filters(context *c, int out, int in, int kernel, int stride, int pad)
{
    limn_error e = {0};
    conv k = {.in = in, .out = out, .kernel = kernel, .stride = stride, .pad = pad, .b = INPUT(c, DTYPE_F32, out)};
    good(conv_pack(c->r, &k.panels, INPUT(c, DTYPE_F32, out, kernel, kernel, in), "test", &e), &e);
    c->held[c->n++] = k.panels.buf;
    return k;
}

static void convolutions(context *c)
{
    conv k = filters(c, 40, 36, 3, 2, 1), t = filters(c, 72, 36, 4, 2, 1);
    tensor x = INPUT(c, DTYPE_F32, 2, 21, 19, 36);
    keep(c, op_conv2d(c->r, x, &k, ACT_SILU, (tensor){0}));
    keep(c, op_conv_transpose2d(c->r, x, &t, ACT_NONE));
}

static void winograd(context *c)
{
    conv k = filters(c, 96, 128, 3, 1, 1), narrow = filters(c, 32, 64, 3, 1, 1);
    keep(c, op_conv2d(c->r, INPUT(c, DTYPE_F32, 2, 24, 21, 128), &k, ACT_NONE, (tensor){0}));
    /* in strips */
    keep(c, op_conv2d_of(c->r, INPUT(c, DTYPE_F32, 1, 100, 96, 64), &(conv_input){.act = ACT_RELU}, &narrow, ACT_NONE));
}

static void rows(context *c)
{
    norm n = {INPUT(c, DTYPE_F32, 500), INPUT(c, DTYPE_F32, 500), 1e-5f};
    keep(c, op_layer_norm(c->r, INPUT(c, DTYPE_F32, 5, 500), &n));
}

static void decode(context *c)
{
    const int32_t position = 1233;
    const attention_mask mask = {.kind = MASK_FULL, .text = 1300, .grid_width = 1};
    kv_cache cache = {INPUT(c, DTYPE_F32, 2, 2, 1300, 64), INPUT(c, DTYPE_F32, 2, 2, 1300, 64)};
    tensor qkv = INPUT(c, DTYPE_F32, 2, 1, 3 * 128);
    keep(c, op_attention(c->r, qkv, 2, &cache, run_upload(c->r, DTYPE_I32, 1, (int64_t[]){1}, &position), &mask));
}

static void gradients(context *c)
{
    limn_error e = {0};
    tape *t = tape_new(c->r, &e);
    assert_non_null(t);
    linear l = {.w = INPUT(c, DTYPE_F32, 200, 150)};
    conv k = filters(c, 40, 36, 3, 2, 1);
    k.w = INPUT(c, DTYPE_F32, 40, 3, 3, 36);
    conv_repack(c->r, &k);
    tape_begin(t);
    tape_watch_input(t, l.w);
    tape_watch_input(t, k.w);
    tensor a = op_linear(c->r, INPUT(c, DTYPE_F32, 700, 150), &l, ACT_NONE),
           b = op_conv2d(c->r, INPUT(c, DTYPE_F32, 2, 21, 19, 36), &k, ACT_NONE, (tensor){0});
    tensor loss = op_scale_add(c->r, op_l2(c->r, a, INPUT(c, DTYPE_F32, 700, 200)), 1,
                               op_l2(c->r, b, INPUT(c, DTYPE_F32, 2, 11, 10, 40)), 1);
    tape_end(t);
    tape_backward(t, loss);
    keep(c, tape_gradient(t, l.w));
    keep(c, tape_gradient(t, k.w));
    good(run_finish(c->r, &e), &e);
    tape_free(t);
}

#define MASK(w) (1u << TUNE_##w)
static const struct {
    unsigned works; /* of tunables that concern it */
    void (*compute)(context *c);
} cases[] = {
    {MASK(ONE_ROW) | MASK(FEW_ROWS) | MASK(SOME_ROWS) | MASK(MANY_ROWS), few_rows},
    {MASK(PRODUCT) | MASK(PRODUCT_256) | MASK(PRODUCT_768), many_rows},
    {MASK(CONVOLUTION) | MASK(CONVOLUTION_WIDE), convolutions},
    {MASK(WINOGRAD), winograd},
    {MASK(ROWS), rows},
    {MASK(DECODE), decode},
    {MASK(GRADIENT), gradients},
};
enum { CASES = sizeof cases / sizeof *cases };

/* What case i gives with a tuning: a new array of *count numbers, by a device of its own, as a device keeps what it
 * compiled. */
static float *result(const tuning *t, int i, int64_t *count)
{
    limn_error e = {0};
    context c = {.d = support_device(), .y = calloc(MOST, sizeof(float))};
    c.d->tune = *t;
    c.r = run_new(c.d, &e);
    assert_true(c.r && c.y);
    cases[i].compute(&c);
    good(run_finish(c.r, &e), &e);
    assert_true(tuning_same(t, &c.d->tune)); /* the driver did it as asked */
    while (c.n)
        buffer_free(c.held[--c.n]);
    run_free(c.r);
    limn_device_free(&c.d);
    *count = c.count;
    return c.y;
}

static void compare(const tuning *t, const char *what, const float *x, const float *y, int64_t n, bool exact)
{
    double difference = 0, size = 0;
    for (int64_t i = 0; i < n; i++) {
        difference += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        size += (double)x[i] * (double)x[i];
    }
    if (exact ? memcmp(x, y, (size_t)n * sizeof *x) != 0 : !(difference <= 1e-10 * size)) {
        char defines[TUNING_DEFINES];
        tuning_defines(t, "linear", defines);
        fail_msg("%s: differs by %.3g of the default's results (%s)", what, sqrt(difference / size), defines);
    }
}

static bool all;

/* The device's default of a form, if it can run that; CLBlast has no place here. */
static bool own_tuning(const limn_device_info *info, bool cpu_form, tuning *own)
{
    *own = device_form_tuning(info, cpu_form);
    own->clblast = false;
    return tuning_valid(own, info) && (!cpu_form || info->type == LIMN_CPU);
}

static bool concerns(const tunable *k, bool cpu_form)
{
    return strncmp(k->name, "clblast", 7) != 0 && strcmp(k->name, "cpu_form") != 0 &&
           (k->form == FORM_ANY || (k->form == FORM_CPU) == cpu_form);
}

/* Case i with value number j of each tunable that concerns it, or with those of `one` alone. */
static void check(const limn_device_info *info, const tuning *own, int i, const float *expected, int64_t count,
                  const tunable *one, int j)
{
    tuning t = *own;
    int64_t n;
    for (int k = 0; k < tunables_count; k++) {
        const tunable *one_of = &tunables[k];
        if (!concerns(one_of, own->cpu_form) || (one && one != one_of))
            continue;
        tuning changed = t;
        tunable_set(&changed, one_of, one_of->values[j ? (one ? j : one_of->n - 1) : 0], info);
        if (tuning_valid(&changed, info))
            t = changed;
    }
    if (tuning_same(&t, own))
        return;
    float *y = result(&t, i, &n);
    assert_int_equal(n, count);
    char what[80];
    snprintf(what, sizeof what, "case %d, %s %d", i,
             one ? one->name
             : j ? "the last values"
                 : "the first values",
             one ? one->values[j] : 0);
    compare(&t, what, expected, y, n, own->cpu_form);
    free(y);
}

static void any_value(bool cpu_form)
{
    device *d = support_device();
    const limn_device_info info = d->info;
    tuning own;
    limn_device_free(&d);
    if (!own_tuning(&info, cpu_form, &own))
        skip();
    for (int i = 0; i < CASES; i++) {
        int64_t count;
        float *expected = result(&own, i, &count);
        for (int k = 0; k < tunables_count && all; k++)
            for (int j = 0; j < tunables[k].n && (tune_works_of(&tunables[k]) & cases[i].works); j++)
                if (concerns(&tunables[k], cpu_form))
                    check(&info, &own, i, expected, count, &tunables[k], j);
        for (int j = cpu_form || all ? 0 : 1; j < 2; j++)
            check(&info, &own, i, expected, count, NULL, j);
        free(expected);
    }
}

static void any_value_gives_the_same_bits_on_cpus(void **state)
{
    (void)state;
    if (getenv("LIMN_TEST_BRIEF") && !all)
        skip();
    any_value(true);
}

static void any_value_is_right_in_the_gpu_form(void **state)
{
    (void)state;
    if (getenv("LIMN_TEST_BRIEF") && !all)
        skip();
    any_value(false);
}

static void each_tunable_has_its_trials_and_its_default(void **state)
{
    (void)state;
    device *d = support_device();
    for (int form = 0; form < 2; form++) {
        tuning t = device_form_tuning(&d->info, form);
        char text[TUNING_TEXT], defines[TUNING_DEFINES];
        for (int i = 0; i < tunables_count; i++) {
            const tunable *k = &tunables[i];
            assert_true(tune_works_of(k) != 0 && tunable_find(k->name) == k);
            bool here = k->form == FORM_ANY || (k->form == FORM_CPU) == form, found = k->free || !here;
            for (int j = 0; j < k->n; j++)
                found = found || k->values[j] == tunable_get(&t, k);
            if (!found)
                fail_msg("%s: its default is none of its values", k->name);
            int own = k->asked ? *(const bool *)((const char *)&d->info + k->asked) : k->own;
            if ((k->asked || (k->files && !k->free)) && tunable_get(&t, k) != own)
                fail_msg("%s: the %s another default", k->name, k->asked ? "device has" : "kernels have");
            if (k->asked || (k->files && k->free))
                tunable_set(&t, k, k->own, &d->info);
        }
        tuning_defines(&t, "linear", defines);
        assert_null(strstr(defines, "LINEAR")); /* what is compiled is the kernels' own */
        t = device_form_tuning(&d->info, form);
        tuning_text(&t, &d->info, text);
        if (form == device_default_tuning(&d->info).cpu_form)
            assert_string_equal(text, "");
    }
    limn_device_free(&d);
}

int main(int argc, char **argv)
{
    all = argc > 1 && !strcmp(argv[1], "all");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_tunable_has_its_trials_and_its_default),
        cmocka_unit_test(any_value_gives_the_same_bits_on_cpus),
        cmocka_unit_test(any_value_is_right_in_the_gpu_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
