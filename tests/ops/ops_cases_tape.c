/* The tape: gradients that can't be are refused, and what is done again gives the same ones. */
#include <math.h>
#include <string.h>

#include "ops/tape.h"
#include "ops_cases.h"

/* ---- ops that give no gradient ---- */

/* An op called with x, which wants a gradient that the op can't give. */
typedef struct refusal {
    const char *op; /* what the error has to name */
    void (*call)(ops_env *v, tensor x);
    dtype type;
    int64_t shape[4];
} refusal;

static tensor weight_of(ops_env *v, int rows, int columns)
{
    return ops_tensor(v, DTYPE_F32, SHAPE(rows, columns), ops_numbers(v, rows * columns));
}

static tensor zero(ops_env *v)
{
    return ops_integers(v, SHAPE(1), (int32_t[]){0});
}

static kv_cache cache_of(ops_env *v, dtype type)
{
    kv_cache c = ops_cache(v, &(shape){.b = 1, .heads = 2, .head_dim = 4, .type = type}, 6);
    return c;
}

static void attention(ops_env *v, tensor x)
{
    const kv_cache cache = cache_of(v, DTYPE_F16);
    op_attention(v->r, x, 2, &cache, zero(v), &(attention_mask){.kind = MASK_FULL});
}

/* Each of two rows has a position of its own. */
static tensor positions(ops_env *v)
{
    return ops_integers(v, SHAPE(2), (int32_t[]){0, 1});
}

static void attention_apart(ops_env *v, tensor x)
{
    const kv_cache cache = cache_of(v, DTYPE_F32);
    op_attention(v->r, x, 2, &cache, positions(v), &(attention_mask){.kind = MASK_FULL});
}

static void rotate_apart(ops_env *v, tensor x)
{
    op_rotate(v->r, x, 8, weight_of(v, 6, 4), positions(v));
}

static void angles_apart(ops_env *v, tensor x)
{
    op_rotate(v->r, tensor_shaped(weight_of(v, 2, 24), SHAPE(2, 1, 24)), 8, x, positions(v));
}

static void rotary_apart(ops_env *v, tensor x)
{
    op_rotary(v->r, x, 16, ops_tensor(v, DTYPE_F32, SHAPE(4), ops_numbers(v, 4)), positions(v));
}

static void shift_tokens_apart(ops_env *v, tensor x)
{
    float *zeros = ops_memory(v, 2 * 6 * 12, sizeof *zeros);
    op_shift_tokens(v->r, x, ops_tensor(v, DTYPE_F32, SHAPE(2, 6, 12), zeros), positions(v), 2, 2);
}

static void table_apart(ops_env *v, tensor x)
{
    op_add_table(v->r, tensor_shaped(weight_of(v, 2, 24), SHAPE(2, 1, 24)), x, positions(v));
}

static void sequence_apart(ops_env *v, tensor x)
{
    const sequence_embedding s = {.text = weight_of(v, 3, 24),
                                  .text_position = x,
                                  .image = weight_of(v, 3, 24),
                                  .text_length = 6,
                                  .grid_width = 1,
                                  .grid_height = 2};
    const int32_t ids[12] = {1, 0, 2};
    op_embed_sequence(v->r, &s, ops_integers(v, SHAPE(2, 6), ids), ops_integers(v, SHAPE(2, 2), ids), positions(v), 1);
}

static void cross_keys(ops_env *v, tensor x)
{
    const kv_cache cache = cache_of(v, DTYPE_F16);
    op_cross_keys(v->r, x, &cache);
}

static void cross_attention(ops_env *v, tensor x)
{
    const kv_cache cache = cache_of(v, DTYPE_F16);
    op_cross_keys(v->r, ops_tensor(v, DTYPE_F32, SHAPE(2, 6, 16), ops_numbers(v, 192)), &cache);
    op_cross_attention(v->r, x, &cache, (tensor){0}, 0);
}

/* Frees what launches may still read; a failure stays the run's. */
static void drop(ops_env *v, buffer *b)
{
    err e = {0};
    if (!run_finish(v->r, &e))
        err_copy(run_error(v->r), &e);
    buffer_free(b);
}

static void packed_linear(ops_env *v, tensor x)
{
    err e = {0};
    linear l = {.w = {0}};
    tensor w = ops_tensor(v, DTYPE_Q8_0, SHAPE(5, 32), ops_numbers(v, 5 * 32));
    if (!linear_pack(v->r, &l.w, w, "panels", &e))
        fail_msg("%s", e.text);
    op_linear(v->r, x, &l, ACT_NONE);
    drop(v, l.w.buf);
}

static void linear_weight(ops_env *v, tensor x)
{
    op_linear(v->r, weight_of(v, 3, 32), &(linear){.w = x}, ACT_NONE);
}

static void table(ops_env *v, tensor x)
{
    op_embed(v->r, ops_integers(v, SHAPE(2), (int32_t[]){1, 0}), x);
}

static void sequence(ops_env *v, tensor x)
{
    const sequence_embedding s = {
        .text = weight_of(v, 3, 32), .image = x, .text_length = 1, .grid_width = 1, .grid_height = 2};
    op_embed_sequence(v->r, &s, zero(v), ops_integers(v, SHAPE(1, 2), (int32_t[]){1, 0}), zero(v), 2);
}

static void soft_table(ops_env *v, tensor x)
{
    op_matmul_table(v->r, weight_of(v, 3, 4), x);
}

static void split_conv(ops_env *v, tensor x)
{
    err e = {0};
    uint64_t most = v->d->info.max_allocation;
    conv c = {.in = 3, .out = 40, .kernel = 1, .stride = 1};
    v->d->info.max_allocation = 3 * 32 * sizeof(float); /* one panel */
    bool ok = conv_pack(v->r, &c.panels, weight_of(v, 40, 3), "panels", &e);
    v->d->info.max_allocation = most;
    if (!ok)
        fail_msg("%s", e.text);
    assert_non_null(c.panels.buf->next);
    op_conv2d(v->r, x, &c, ACT_NONE, (tensor){0});
    drop(v, c.panels.buf);
}

static const refusal refusals[] = {
    {"op_attention", attention, DTYPE_F32, {2, 6, 24}},
    {"op_attention", attention_apart, DTYPE_F32, {2, 1, 24}},
    {"op_rotate", rotate_apart, DTYPE_F32, {2, 1, 24}},
    {"op_rotate", angles_apart, DTYPE_F32, {6, 4}},
    {"op_rotary", rotary_apart, DTYPE_F32, {2, 1, 24}},
    {"op_shift_tokens", shift_tokens_apart, DTYPE_F32, {2, 1, 24}},
    {"op_add_table", table_apart, DTYPE_F32, {6, 24}},
    {"op_embed_sequence", sequence_apart, DTYPE_F32, {6, 24}},
    {"op_cross_keys", cross_keys, DTYPE_F32, {2, 6, 16}},
    {"op_cross_attention", cross_attention, DTYPE_F32, {2, 6, 8}},
    {"op_linear", packed_linear, DTYPE_F32, {3, 32}},
    {"op_linear", linear_weight, DTYPE_Q8_0, {5, 32}},
    {"op_embed", table, DTYPE_F16, {4, 32}},
    {"op_embed_sequence", sequence, DTYPE_Q4_0, {4, 32}},
    {"op_matmul_table", soft_table, DTYPE_F16, {4, 32}},
    {"convolution", split_conv, DTYPE_F32, {1, 4, 4, 3}},
};

/* Where x wants a gradient the run fails, and the error names the op; where it doesn't the op does its work. */
static void test_refusals(ops_env *v)
{
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
        for (int wanted = 0; wanted < 2; wanted++) {
            const refusal *f = &refusals[i];
            err e = {0};
            int nd = 4, n = 1;
            while (!f->shape[nd - 1])
                nd--;
            for (int k = 0; k < nd; k++)
                n *= (int)f->shape[k];
            tensor x = ops_tensor(v, f->type, nd, f->shape, ops_numbers(v, n));
            tape *t = tape_new(v->r, &e);
            assert_non_null(t);
            tape_begin(t);
            if (wanted)
                tape_watch_input(t, x);
            f->call(v, x);
            tape_free(t);
            if (run_finish(v->r, &e) == wanted || (wanted && !strstr(e.text, f->op)))
                fail_msg("%s, %d: %s", f->op, wanted, e.text);
            run_reset(v->r);
        }
}

/* ---- what a tensor is ---- */

static void fails(ops_env *v, tape *t, const char *says)
{
    err e = {0};
    tape_free(t);
    if (run_finish(v->r, &e) || !strstr(e.text, says))
        fail_msg("\"%s\" doesn't say %s", e.text, says);
}

/* A gradient has its tensor's size: some of its rows would get one of another, or, where they begin elsewhere, none. */
static void test_other_size(ops_env *v)
{
    static const struct {
        int watched, rows_watched, read, rows_read; /* of four rows */
        const char *says;
    } cases[] = {
        {0, 4, 0, 3, "24 elements begins where a tensor of 32"},
        {0, 3, 0, 4, "32 elements begins where a tensor of 24"},
        {0, 4, 1, 3, "24 elements is part of, or holds"},
        {2, 1, 0, 4, "32 elements is part of, or holds"},
        {1, 2, 2, 2, "16 elements is part of, or holds"},
        {1, 2, 3, 1, NULL},
        {1, 2, 0, 1, NULL},
        {1, 2, 1, 2, NULL},
    };
    err e = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        tensor x = weight_of(v, 4, 8), read = tensor_rows(x, cases[i].read, cases[i].rows_read);
        tape *t = tape_new(v->r, &e);
        assert_non_null(t);
        tape_begin(t);
        tape_watch_input(t, tensor_rows(x, cases[i].watched, cases[i].rows_watched));
        op_add(v->r, read, read);
        if (cases[i].says) {
            fails(v, t, cases[i].says);
        } else {
            tape_free(t);
            if (!run_finish(v->r, &e))
                fail_msg("%s", e.text);
        }
        run_reset(v->r);
    }
    /* another shape of the same size is the same tensor */
    tensor x = weight_of(v, 4, 8);
    float one = 0;
    tape *t = tape_new(v->r, &e);
    assert_non_null(t);
    tape_begin(t);
    tape_watch_input(t, x);
    tensor y = op_mean(v->r, tensor_shaped(x, SHAPE(2, 16)));
    tape_backward(t, y);
    run_read(v->r, tensor_rows(tape_gradient(t, tensor_shaped(x, SHAPE(32))), 31, 1), &one);
    tape_free(t);
    assert_true(run_finish(v->r, &e) && fabsf(one * 32 - 1) < 1e-6f);
}

static void test_many_losses(ops_env *v)
{
    err e = {0};
    tensor x = weight_of(v, 4, 8);
    tape *t = tape_new(v->r, &e);
    assert_non_null(t);
    tape_begin(t);
    tape_watch_input(t, x);
    tape_backward(t, op_add(v->r, x, x));
    fails(v, t, "tensor_count(&loss) == 1");
}

/* ---- parts that are done again ---- */

static tensor both_added(run *r, const void *context, int index, const tensor in[TAPE_INPUTS])
{
    (void)index;
    const tensor *other = context;
    return op_add(r, in[0], op_activate(r, op_add(r, in[0], *other), ACT_TANH));
}

/* Two parts that both read, besides their first input, a tensor that wants a gradient. */
static void test_parts_read_more(ops_env *v)
{
    enum { N = 40 };
    float got[2][2][N];
    err e = {0};
    tensor x = weight_of(v, 5, 8), other = weight_of(v, 5, 8), target = weight_of(v, 5, 8);
    tape *t = tape_new(v->r, &e);
    assert_non_null(t);
    for (int again = 0; again < 2; again++) {
        run_reset(v->r);
        tape_begin(t);
        tape_watch_input(t, x);
        tape_watch_input(t, other);
        tensor made = op_activate(v->r, other, ACT_SIGMOID), y = x;
        for (int i = 0; i < 2; i++) {
            const tensor in[TAPE_INPUTS] = {y};
            y = again ? tape_recompute(v->r, both_added, &made, i, in, y.shape[y.nd - 1])
                      : both_added(v->r, &made, i, in);
        }
        tape_backward(t, op_l2(v->r, y, target));
        run_read(v->r, tape_gradient(t, x), got[again][0]);
        run_read(v->r, tape_gradient(t, other), got[again][1]);
    }
    tape_free(t);
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    assert_memory_equal(got[0], got[1], sizeof got[0]);
}

const ops_behaviour ops_tapes[] = {
    {"an op that gives no gradient where one is wanted fails the run, and is named", test_refusals},
    {"a view of another size is another tensor, and is refused", test_other_size},
    {"gradients begin at one number", test_many_losses},
    {"parts that are done again may read more than one tensor that wants a gradient", test_parts_read_more},
    {0},
};
