/* Counting devices, and sizes that no test machine has: nothing is made of them. */
#include <math.h>
#include <string.h>

#include "device/count.h"
#include "ops/tape.h"
#include "ops_cases.h"

#define GIB 0x1p30

static run *counting_run(ops_env *v)
{
    err e = {0};
    device *twin = device_counting(v->d, &e);
    run *r = twin ? run_new(twin, &e) : NULL;
    if (!r)
        fail_msg("%s", e.text);
    return r;
}

static void test_counting(ops_env *v)
{
    err e = {0};
    uint64_t used = v->d->memory_used, peak = v->d->memory_peak, limit = v->d->memory_limit;
    run *dry = counting_run(v), *real = run_new(v->d, &e);
    device *twin = run_device(dry);
    uint64_t before = twin->memory_used;
    assert_ptr_equal(twin, device_counting(v->d, &e));
    assert_ptr_not_equal(twin, device_counting(twin, &e));
    /* beyond the device's limit, and nothing of the device is in use */
    v->d->memory_limit = used + (1 << 20);
    for (int i = 0; i < 3; i++)
        op_fill(dry, TENSOR(dry, DTYPE_F32, 1 << 20), 1);
    v->d->memory_limit = limit;
    assert_false(run_failed(dry));
    assert_int_equal(run_memory(dry), 3 << 22);
    assert_int_equal(twin->memory_used - before, 3 << 22);
    assert_true(v->d->memory_used == used && v->d->memory_peak == peak);
    /* meanwhile the device itself works, and its memory may be as was counted */
    float out[64] = {0};
    tensor x = TENSOR(v->r, DTYPE_F32, 64);
    op_fill(v->r, x, 3);
    run_read(v->r, x, out);
    assert_true(run_finish(v->r, &e) && out[0] == 3 && out[63] == 3);
    used = v->d->memory_used;
    assert_true(real && run_reserve(real, dry, &e));
    assert_int_equal(v->d->memory_used - used, 3 << 22);
    run_free(real);
    run_free(dry);
    assert_int_equal(v->d->memory_used, used);
    assert_int_equal(twin->memory_used, before);
}

/* v's device as one of so many bytes, a quarter of them in one allocation. */
static run *large_run(ops_env *v, double bytes)
{
    v->d->info.memory = (uint64_t)bytes;
    v->d->info.max_allocation = (uint64_t)(bytes / 4);
    return counting_run(v);
}

static const double sizes[] = {80 * GIB, 141 * GIB};

static void refused(run *r, const char *what)
{
    err e = {0};
    if (run_finish(r, &e) || !strstr(e.text, "more elements than a kernel can count"))
        fail_msg("%s: \"%s\"", what, e.text);
    run_reset(r);
}

/* Work whose memory is kept, as in training, takes more than 16 GiB: each place can be told to a kernel. */
static void keep_much(run *r)
{
    err e = {0};
    tape *t = tape_new(r, &e);
    assert_non_null(t);
    tape_begin(t);
    for (int i = 0; i < 100; i++) {
        static const dtype types[] = {DTYPE_F32, DTYPE_Q8_0, DTYPE_F16};
        dtype type = types[i % 3];
        tensor x = TENSOR(r, type, 1000 + i, 320, 320);
        if (type == DTYPE_F32)
            op_fill(r, x, 0);
        assert_false(run_failed(r));
        assert_true(dtype_row_bytes(type, x.at) <= UINT32_MAX);
        run_next(r);
    }
    assert_true((double)run_memory(r) > 20 * GIB);
    tape_end(t);
    tape_free(t);
    assert_true(run_finish(r, &e));
    run_reset(r);
}

enum { POSITIONS = 100 * 1280, WORDS = 17000 }; /* 2.2e9 logits */

static void refuse_logits(run *r)
{
    tensor x = TENSOR(r, DTYPE_F32, POSITIONS, 64);
    linear l = {.w = TENSOR(r, DTYPE_F32, WORDS, 64)};
    op_linear(r, x, &l, ACT_NONE);
    refused(r, "linear");
    tensor logits = TENSOR(r, DTYPE_F32, POSITIONS, WORDS), targets = TENSOR(r, DTYPE_I32, POSITIONS);
    assert_false(run_failed(r));
    tensor same = logits;
    op_cross_entropy(r, logits, targets, 0);
    refused(r, "cross entropy");
    logits = same;
    op_softmax(r, logits);
    refused(r, "softmax");
    op_argmax(r, logits);
    refused(r, "argmax");
    op_activate(r, logits, ACT_GELU_TANH);
    refused(r, "activation");
    op_fill(r, logits, 0);
    refused(r, "fill");
    op_add(r, logits, logits);
    refused(r, "add");
    op_embed(r, TENSOR(r, DTYPE_I32, 10), tensor_shaped(logits, SHAPE(WORDS, POSITIONS)));
    refused(r, "embed");
}

/* Just what a kernel counts. */
static void accept_most(run *r)
{
    err e = {0};
    tensor x = TENSOR(r, DTYPE_F32, TENSOR_MOST / 64, 64);
    op_fill(r, x, 0);
    op_activate(r, x, ACT_GELU_TANH);
    if (!run_finish(r, &e))
        fail_msg("%s", e.text);
    run_reset(r);
}

/* A weight of more elements is in several pieces, as one that is larger than an allocation may be. */
static void split_weights(run *r)
{
    err e = {0};
    tensor w = {0};
    const int64_t sides[] = {300000, 8192};
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        assert_true(tensor_new(&w, run_device(r), types[i], 2, sides, NULL, false, "test", &e));
        int64_t rows = 0;
        for (const buffer *b = w.buf; b; b = b->next) {
            assert_true(b->rows && b->rows * sides[1] <= TENSOR_MOST);
            rows += b->rows;
        }
        assert_int_equal(rows, sides[0]);
        op_linear(r, TENSOR(r, DTYPE_F32, 2, sides[1]), &(linear){.w = w}, ACT_NONE);
        if (!run_finish(r, &e))
            fail_msg("%s: %s", dtype_table[types[i]].name, e.text);
        run_reset(r);
        buffer_free(w.buf);
    }
    assert_false(tensor_in_one_piece(run_device(r), DTYPE_Q4_0, 2, sides, "a matrix", &e));
    assert_non_null(strstr(e.text, "a matrix: 2457600000 elements in one piece, and kernels count to 2147483647"));
}

static void test_large_devices(ops_env *v)
{
    const limn_device_info before = v->d->info;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        run *r = large_run(v, sizes[i]);
        keep_much(r);
        refuse_logits(r);
        accept_most(r);
        split_weights(r);
        run_free(r);
    }
    v->d->info = before;
}

const ops_behaviour ops_counting[] = {
    {"a counting twin counts, and the device works meanwhile", test_counting},
    {"devices of 80 and 141 GB: what a kernel can't count is split or refused", test_large_devices},
    {0},
};
