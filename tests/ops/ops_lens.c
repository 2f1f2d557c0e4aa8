/* Shapes for the lens (tools/lens), which an interpreter runs: small, and otherwise as those of models are, so that
 * what it sees of a kernel is what a GPU would do most of the time.  Multiples of the tiles, heads of 64, rows of 1024.
 */
#include "ops_cases.h"

static const shape products[] = {
    {.m = 1, .n = 16, .k = 1024},
    {.m = 1, .n = 16, .k = 1024, .type = DTYPE_F16},
    {.m = 1, .n = 16, .k = 1024, .type = DTYPE_Q8_0},
    {.m = 1, .n = 16, .k = 1024, .type = DTYPE_Q4_0},
    {.m = 1, .n = 8, .k = 256, .type = DTYPE_F16, .bias = true, .act = ACT_GELU_ERF}, /* the built-in model's */
    {.m = 2, .n = 16, .k = 1024, .type = DTYPE_F16},
    {.m = 2, .n = 16, .k = 1024, .type = DTYPE_Q8_0},
    {.m = 2, .n = 16, .k = 1024, .type = DTYPE_Q4_0},
    {.m = 8, .n = 8, .k = 512, .type = DTYPE_F16},
    {.m = 8, .n = 8, .k = 512, .type = DTYPE_Q8_0},
    {.m = 8, .n = 8, .k = 512, .type = DTYPE_Q4_0},
    {.m = 64, .n = 128, .k = 64, .bias = true},
    {.m = 64, .n = 128, .k = 32, .type = DTYPE_F16},
    {.m = 64, .n = 128, .k = 32, .type = DTYPE_Q8_0},
    {.m = 64, .n = 128, .k = 32, .type = DTYPE_Q4_0},
};
/* ops_cases_normed.c */
static const shape normed_products[] = {
    {.m = 1, .n = 32, .k = 256, .type = DTYPE_F16, .bias = true},
    {.m = 2, .n = 32, .k = 1024, .type = DTYPE_Q8_0, .first = 1},
    {.m = 2, .n = 32, .k = 1024, .type = DTYPE_Q8_0, .first = 3},
    {.m = 2, .n = 30, .k = 1024, .type = DTYPE_Q8_0, .factor = 1, .act = ACT_GELU_ERF},
    {.m = 2, .n = 32, .k = 1024, .type = DTYPE_Q4_0},
    {.m = 1, .n = 32, .k = 1024, .type = DTYPE_Q4_0, .first = 3},
    {.m = 1, .n = 32, .k = 1024, .type = DTYPE_Q4_0},
    {.m = 1, .n = 32, .k = 1366, .type = DTYPE_F16}, /* half of DALL-E Mini's 2730: rows begin at multiples of 2 */
};
static const shape conv_3[] = {
    {.b = 1, .h = 8, .w = 8, .c = 32, .out = 128, .kernel = 3, .stride = 1, .pad = 1, .bias = true},
    {.b = 1, .h = 8, .w = 8, .c = 64, .out = 128, .kernel = 1, .stride = 1, .bias = true},
    {.b = 1, .h = 8, .w = 8, .c = 32, .out = 3, .kernel = 3, .stride = 1, .pad = 1, .bias = true},
    {.b = 1, .h = 8, .w = 16, .c = 32, .out = 64, .kernel = 1, .stride = 1, .bias = true}, /* by tall tiles */
    {.b = 1, .h = 8, .w = 8, .c = 16, .out = 128, .kernel = 4, .stride = 2, .pad = 1, .transposed = true},
};
static const shape conv_sums[] = {
    {.b = 1, .h = 8, .w = 8, .c = 64, .out = 64, .kernel = 3, .stride = 2, .pad = 1, .bias = true}};
static const shape conv_back[] = {
    {.b = 1, .h = 8, .w = 8, .c = 32, .out = 64, .kernel = 3, .stride = 1, .pad = 1, .bias = true},
    {.b = 1, .h = 4, .w = 4, .c = 32, .out = 64, .kernel = 4, .stride = 2, .pad = 1, .transposed = true},
};
static const shape linear_back[] = {
    {.m = 64, .n = 128, .k = 64, .bias = true}, {.m = 136, .n = 64, .k = 32, .bias = true}, /* sums by parts */
};
/* 64 queries by tiles, then one by one */
static const shape attention[] = {
    {.b = 1, .t = 66, .heads = 1, .head_dim = 64, .step = 65},
    {.b = 1, .t = 66, .heads = 1, .head_dim = 64, .step = 65, .type = DTYPE_F16},
    {.b = 1, .t = 66, .n = 512, .heads = 1, .head_dim = 64, .step = 65, .type = DTYPE_F16}, /* keys by parts */
};
static const shape attention_back[] = {{.b = 1, .t = 64, .heads = 1, .head_dim = 64}};
static const shape cross[] = {{.b = 1, .t = 1, .n = 64, .heads = 2, .head_dim = 64, .residual = true}};
static const shape rows[] = {{.m = 2, .d = 1024}, {.m = 1, .d = 256}};
static const shape rows_back[] = {{.m = 16, .d = 256}};
static const shape group_rows[] = {{.b = 1, .h = 8, .w = 8, .c = 128, .groups = 32, .act = ACT_SILU}};
static const shape many[] = {{.m = 2, .n = 1024, .k = 1024, .d = 1024, .act = ACT_GELU_ERF}};
static const shape choices[] = {{.m = 2, .k = 2048}};
static const shape rotated[] = {{.b = 1, .t = 2, .heads = 6, .head_dim = 64, .k = 32, .step = 1}};
static const shape rotated_halves[] = {{.b = 1, .t = 2, .heads = 6, .head_dim = 64, .k = 128, .step = 1}};
static const shape rotated_grid[] = {
    {.b = 1, .t = 5, .heads = 2, .head_dim = 64, .text = 1, .grid_width = 4, .step = 1}};
static const shape embedded[] = {
    {.m = 50, .n = 8, .d = 512, .type = DTYPE_F16},
    {.m = 50, .n = 8, .d = 512, .type = DTYPE_Q8_0},
    {.m = 50, .n = 8, .d = 512, .type = DTYPE_Q4_0},
};
static const shape sequence[] = {
    {.b = 2,
     .t = 1,
     .d = 512,
     .m = 50,
     .n = 30,
     .text = 6,
     .grid_width = 4,
     .grid_height = 3,
     .first = 9,
     .type = DTYPE_F16},
};
static const shape pictures[] = {{.b = 1, .h = 8, .w = 8, .c = 32, .factor = 2}};
static const shape self[] = {{.b = 1, .h = 8, .w = 8, .c = 64}};
static const shape table[] = {{.m = 64, .k = 64, .d = 32}};
static const shape noise[] = {{.b = 1, .m = 8, .k = 256}};
static const shape modulated[] = {{.b = 1, .t = 8, .d = 64}};
static const shape depthwise[] = {{.b = 1, .h = 4, .w = 4, .c = 64, .kernel = 3}};
static const shape filled[] = {{.m = 16, .k = 256, .first = 5, .step = 1, .bias = true}};
static const shape parameters[] = {{.n = 4096, .factor = 1}};
static const shape embedded_back[] = {{.m = 50, .n = 64, .d = 256}};

#define SHAPES(x) (x), sizeof(x) / sizeof *(x)
const ops_lens ops_lenses[] = {
    {check_linear, SHAPES(products)},
    {check_linear_normed, SHAPES(normed_products)},
    {check_conv, SHAPES(conv_3)},
    {check_conv_sums, SHAPES(conv_sums)},
    {check_attention, SHAPES(attention)},
    {check_cross_attention, SHAPES(cross)},
    {check_self_attention, SHAPES(self)},
    {check_layer_norm, SHAPES(rows)},
    {check_rms_norm, SHAPES(rows)},
    {check_group_norm, SHAPES(group_rows)},
    {check_softmax, SHAPES(rows)},
    {check_argmax, SHAPES(choices)},
    {check_guide, SHAPES(noise)},
    {check_activate, SHAPES(many)},
    {check_add, SHAPES(many)},
    {check_multiply, SHAPES(many)},
    {check_repeat, SHAPES(many)},
    {check_glu, SHAPES(many)},
    {check_rotate, SHAPES(rotated)},
    {check_rotary, SHAPES(rotated_halves)},
    {check_rotate_grid, SHAPES(rotated_grid)},
    {check_embed, SHAPES(embedded)},
    {check_embed_sequence, SHAPES(sequence)},
    {check_upsample, SHAPES(pictures)},
    {check_max_pool, SHAPES(pictures)},
    {check_inverse_haar, SHAPES(pictures)},
    {check_distances, SHAPES(table)},
    {check_linear_gradient, SHAPES(linear_back)},
    {check_conv_gradient, SHAPES(conv_back)},
    {check_attention_gradient, SHAPES(attention_back)},
    {check_layer_norm_gradient, SHAPES(rows_back)},
    {check_rms_norm_gradient, SHAPES(rows_back)},
    {check_group_norm_gradient, SHAPES(group_rows)},
    {check_softmax_gradient, SHAPES(rows_back)},
    {check_activate_gradient, SHAPES(many)},
    {check_glu_gradient, SHAPES(many)},
    {check_add_gradient, SHAPES(many)},
    {check_embed_gradient, SHAPES(embedded_back)},
    {check_cross_entropy, SHAPES(many)},
    {check_kl_uniform, SHAPES(many)},
    {check_l2, SHAPES(many)},
    {check_gumbel_softmax, SHAPES(noise)},
    {check_adamw, SHAPES(parameters)},
    {check_modulate, SHAPES(modulated)},
    {check_response_norm, SHAPES(modulated)},
    {check_depthwise, SHAPES(depthwise)},
    {check_fill_masked, SHAPES(filled)},
};
const size_t ops_n_lenses = sizeof ops_lenses / sizeof *ops_lenses;
