/* Results and gradients of every differentiable op against PyTorch's (golden_gradient.h). */
#include "golden_gradient.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/ops.h"

/* ---- ops: what each makes of its case's inputs ----------------------------------------------------------------- */

static linear weights(golden *g)
{
    return (linear){.w = golden_input(g, "w"), .b = golden_input(g, "b")};
}

static tensor linear_op(golden *g)
{
    linear l = weights(g);
    return op_linear(g->r, golden_input(g, "x"), &l, (activation)g->i[0]);
}

static tensor linear_add_op(golden *g)
{
    linear l = weights(g);
    return op_linear_add(g->r, golden_input(g, "x"), &l, golden_input(g, "residual"));
}

/* i: stride, pad, activation.  The layer stays until the backward pass is done. */
static const conv *layer(golden *g)
{
    static conv c;
    err e = {0};
    c = (conv){.w = golden_input(g, "w"), .b = golden_input(g, "b"), .stride = g->i[0], .pad = g->i[1]};
    c.out = (int)c.w.shape[0];
    c.kernel = (int)c.w.shape[1];
    c.in = (int)c.w.shape[3];
    good(conv_pack(g->r, &g->panels, c.w, "panels", &e), &e);
    c.panels = g->panels;
    return &c;
}

static tensor conv2d_op(golden *g)
{
    const conv *c = layer(g);
    return op_conv2d(g->r, golden_input(g, "x"), c, (activation)g->i[2], golden_input(g, "residual"));
}

static tensor conv_transpose2d_op(golden *g)
{
    const conv *c = layer(g);
    return op_conv_transpose2d(g->r, golden_input(g, "x"), c, (activation)g->i[2]);
}

static tensor matmul_table_op(golden *g)
{
    return op_matmul_table(g->r, golden_input(g, "x"), golden_input(g, "table"));
}

static norm norm_of(golden *g)
{
    return (norm){.w = golden_input(g, "w"), .b = golden_input(g, "b"), .eps = g->f[0]};
}

static tensor layer_norm_op(golden *g)
{
    norm n = norm_of(g);
    return op_layer_norm(g->r, golden_input(g, "x"), &n);
}

static tensor group_norm_op(golden *g)
{
    norm n = norm_of(g);
    return op_group_norm(g->r, golden_input(g, "x"), &n, g->i[0], (activation)g->i[1]);
}

static tensor softmax_op(golden *g)
{
    return op_softmax(g->r, golden_input(g, "x"));
}

static tensor zero_position(golden *g)
{
    const int32_t zero = 0;
    return run_upload(g->r, DTYPE_I32, 1, (int64_t[]){1}, &zero);
}

/* The cache holds [b, heads, length, head_dim] of keys or values, which are part `part` of qkv. */
static void meet_cache(golden *g, tensor cache, int part)
{
    err e = {0};
    const file_tensor *f = golden_find(g, "", "qkv");
    int64_t b = f->shape[0], t = f->shape[1], d = f->shape[2] / 3, heads = g->i[0], size = d / heads;
    const float *qkv = f->data;
    float *have = calloc((size_t)tensor_count(&cache), sizeof *have);
    assert_non_null(have);
    run_read(g->r, cache, have);
    good(run_finish(g->r, &e), &e);
    for (int64_t i = 0; i < b * t * d; i++) {
        int64_t row = i / d, h = i % d / size;
        float want = qkv[row * 3 * d + part * d + i % d];
        if (have[((row / t * heads + h) * cache.shape[2] + row % t) * size + i % size] != want)
            fail_msg("%s: the cache has another number than part %d of qkv at %lld", g->name, part, (long long)i);
    }
    free(have);
}

/* i: heads, mask, text, grid width, kernel.  The cache is longer than the sequence. */
static tensor attention_op(golden *g)
{
    tensor qkv = golden_input(g, "qkv");
    int64_t heads = g->i[0], length = qkv.shape[1] + 3, size = qkv.shape[2] / 3 / heads;
    kv_cache cache = {TENSOR(g->r, DTYPE_F32, qkv.shape[0], heads, length, size),
                      TENSOR(g->r, DTYPE_F32, qkv.shape[0], heads, length, size)};
    attention_mask mask = {(mask_kind)g->i[1], g->i[2], g->i[3], g->i[4]};
    tensor y = op_attention(g->r, qkv, (int)heads, &cache, zero_position(g), &mask);
    meet_cache(g, cache.k, 1);
    meet_cache(g, cache.v, 2);
    return y;
}

static tensor activate_op(golden *g)
{
    return op_activate(g->r, golden_input(g, "x"), (activation)g->i[0]);
}

static tensor add_op(golden *g)
{
    return op_add(g->r, golden_input(g, "a"), golden_input(g, "b"));
}

static tensor scale_add_op(golden *g)
{
    return op_scale_add(g->r, golden_input(g, "a"), g->f[0], golden_input(g, "b"), g->f[1]);
}

static tensor slice_op(golden *g)
{
    return op_slice(g->r, golden_input(g, "x"), g->i[0], g->i[1]);
}

static tensor upsample_op(golden *g)
{
    return op_upsample(g->r, golden_input(g, "x"), g->i[0]);
}

static tensor embed_op(golden *g)
{
    return op_embed(g->r, golden_input(g, "ids"), golden_input(g, "table"));
}

static tensor embed_sequence_op(golden *g)
{
    sequence_embedding e = {.text = golden_input(g, "text"),
                            .text_position = golden_input(g, "text_position"),
                            .image = golden_input(g, "image"),
                            .row_position = golden_input(g, "row_position"),
                            .column_position = golden_input(g, "column_position")};
    e.text_length = (int)e.text_position.shape[0];
    e.grid_height = (int)e.row_position.shape[0];
    e.grid_width = (int)e.column_position.shape[0];
    return op_embed_sequence(g->r, &e, golden_input(g, "ids"), golden_input(g, "codes"), zero_position(g), g->i[0]);
}

static tensor cross_entropy_op(golden *g)
{
    return op_cross_entropy(g->r, golden_input(g, "logits"), golden_input(g, "targets"), g->f[0]);
}

static tensor l1_op(golden *g)
{
    return op_l1(g->r, golden_input(g, "x"), golden_input(g, "target"));
}

static tensor l2_op(golden *g)
{
    return op_l2(g->r, golden_input(g, "x"), golden_input(g, "target"));
}

static tensor logit_laplace_op(golden *g)
{
    return op_logit_laplace(g->r, golden_input(g, "x"), golden_input(g, "target"));
}

static tensor kl_uniform_op(golden *g)
{
    return op_kl_uniform(g->r, golden_input(g, "logits"));
}

static tensor usage_entropy_op(golden *g)
{
    return op_usage_entropy(g->r, golden_input(g, "logits"));
}

/* i: seed (low, high), stream, step */
static gumbel noise_of(const golden *g)
{
    return (gumbel){.tau = 1,
                    .seed = (uint64_t)(uint32_t)g->i[1] << 32 | (uint32_t)g->i[0],
                    .stream = (uint32_t)g->i[2],
                    .step = (uint32_t)g->i[3]};
}

/* then the shape */
static tensor gumbel_noise_op(golden *g)
{
    gumbel k = noise_of(g);
    int64_t shape[4];
    for (int i = 0; i < 4; i++)
        shape[i] = g->i[4 + i];
    return op_gumbel_noise(g->r, 4, shape, &k);
}

/* then whether it is hard */
static tensor gumbel_softmax_op(golden *g)
{
    gumbel k = noise_of(g);
    k.tau = g->f[0];
    k.hard = g->i[4];
    return op_gumbel_softmax(g->r, golden_input(g, "logits"), &k);
}

static tensor rms_norm_op(golden *g)
{
    norm n = {.w = golden_input(g, "w"), .eps = g->f[0]};
    return op_rms_norm(g->r, golden_input(g, "x"), &n);
}

static tensor multiply_op(golden *g)
{
    return op_multiply(g->r, golden_input(g, "a"), golden_input(g, "b"));
}

static tensor glu_op(golden *g)
{
    return op_glu(g->r, golden_input(g, "x"), (activation)g->i[0]);
}

static tensor divide_max_op(golden *g)
{
    return op_divide_max(g->r, golden_input(g, "x"));
}

static tensor rotate_op(golden *g)
{
    return op_rotate(g->r, golden_input(g, "x"), g->i[0], golden_input(g, "angles"), zero_position(g));
}

/* i: heads, text, grid width */
static tensor rotate_grid_op(golden *g)
{
    return op_rotate_grid(g->r, golden_input(g, "qkv"), g->i[0], zero_position(g), g->i[1], g->i[2]);
}

/* i: text, grid width */
static tensor shift_tokens_op(golden *g)
{
    tensor x = golden_input(g, "x");
    tensor history = TENSOR(g->r, DTYPE_F32, x.shape[0], x.shape[1], (x.shape[2] + 3) / 4 * 2);
    return op_shift_tokens(g->r, x, history, zero_position(g), g->i[0], g->i[1]);
}

static tensor add_table_op(golden *g)
{
    return op_add_table(g->r, golden_input(g, "x"), golden_input(g, "table"), zero_position(g));
}

static tensor distances_op(golden *g)
{
    return op_distances(g->r, golden_input(g, "x"), golden_input(g, "table"));
}

/* i: heads, the id of padding */
static tensor cross_attention_op(golden *g)
{
    tensor kv = golden_input(g, "kv"), q = golden_input(g, "q"), ids = golden_input(g, "ids");
    int64_t b = kv.shape[0], n = kv.shape[1], heads = g->i[0], size = q.shape[2] / heads;
    kv_cache keys = {TENSOR(g->r, DTYPE_F32, b, heads, n, size), TENSOR(g->r, DTYPE_F32, b, heads, n, size)};
    op_cross_keys(g->r, kv, &keys);
    return op_cross_attention(g->r, q, &keys, ids, g->i[1]);
}

static const struct op_row {
    const char *name;
    tensor (*op)(golden *g);
} ops[] = {
    {"linear", linear_op},
    {"linear_add", linear_add_op},
    {"conv2d", conv2d_op},
    {"conv_transpose2d", conv_transpose2d_op},
    {"matmul_table", matmul_table_op},
    {"layer_norm", layer_norm_op},
    {"group_norm", group_norm_op},
    {"softmax", softmax_op},
    {"attention", attention_op},
    {"activate", activate_op},
    {"add", add_op},
    {"scale_add", scale_add_op},
    {"slice", slice_op},
    {"upsample", upsample_op},
    {"embed", embed_op},
    {"embed_sequence", embed_sequence_op},
    {"cross_entropy", cross_entropy_op},
    {"l1", l1_op},
    {"l2", l2_op},
    {"logit_laplace", logit_laplace_op},
    {"kl_uniform", kl_uniform_op},
    {"usage_entropy", usage_entropy_op},
    {"gumbel_noise", gumbel_noise_op},
    {"gumbel_softmax", gumbel_softmax_op},
    {"rms_norm", rms_norm_op},
    {"multiply", multiply_op},
    {"glu", glu_op},
    {"divide_max", divide_max_op},
    {"rotate", rotate_op},
    {"rotate_grid", rotate_grid_op},
    {"shift_tokens", shift_tokens_op},
    {"add_table", add_table_op},
    {"distances", distances_op},
    {"cross_attention", cross_attention_op},
};
enum { OPS = sizeof ops / sizeof *ops };

/* The loss sum dy y has the gradient dy; its value is nobody's concern. */
static void loss_back(run *r, tape *t, const tape_step *s)
{
    int add;
    tensor gradient = tape_gradient_of(t, s->in[0], &add);
    run_write(r, gradient, s->op);
}

static void check_op(run *r, const char *name, const struct op_row *row)
{
    err e = {0};
    golden g = {.name = name, .r = r};
    tape *t = tape_new(r, &e);
    good(t != NULL, &e);
    g.i = golden_data(&g, "i");
    g.f = golden_data(&g, "f");
    tape_begin(t);
    tensor y = row->op(&g), loss = TENSOR(r, DTYPE_F32, 1);
    tape_push(r, &(tape_step){.back = loss_back, .in = {y}, .out = loss, .op = golden_data(&g, "dy")});
    tape_end(t);
    tape_backward(t, loss);
    golden_meet(&g, y, "", "y");
    for (int i = 0; i < g.n; i++)
        if (golden_find(&g, "d.", g.inputs[i].name))
            golden_meet(&g, tape_gradient(t, g.inputs[i].x), "d.", g.inputs[i].name);
    good(run_finish(r, &e), &e);
    tape_free(t);
    golden_drop(&g);
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("%-32s %.2g\n", name, g.worst);
}

/* Every case of the file, and every op at least once. */
static void check_ops(run *r)
{
    int seen[OPS] = {0};
    for (size_t k = 0; k < safetensors_count(golden_file()); k++) {
        char name[96];
        const char *full = safetensors_tensor(golden_file(), k)->name;
        size_t length = strcspn(full, "/"), op_length = strcspn(full, ".");
        if (strcmp(full + length, "/y") != 0 || !strncmp(full, "model.", 6))
            continue;
        snprintf(name, sizeof name, "%.*s", (int)length, full);
        int i = 0;
        while (i < OPS && (strlen(ops[i].name) != op_length || strncmp(ops[i].name, name, op_length) != 0))
            i++;
        if (i == OPS)
            fail_msg("%s: an op that this test doesn't know", name);
        else
            check_op(r, name, &ops[i]);
        seen[i]++;
    }
    for (int i = 0; i < OPS; i++)
        if (!seen[i])
            fail_msg("%s: no case in the file", ops[i].name);
}

static void ops_meet_pytorch(void **state)
{
    (void)state;
    golden_run(check_ops);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ops_meet_pytorch)};
    return cmocka_run_group_tests(tests, golden_open, golden_close);
}
