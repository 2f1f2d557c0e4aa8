/* The table of the op tests: each op with the function that checks it, the bound of its error, and its shapes. */
#include "ops_cases.h"

static const shape linear_shapes[] = {
    {.m = 1, .n = 7, .k = 5, .bias = true, .tiny = true},
    {.m = 3, .n = 33, .k = 35, .tiny = true},
    {.m = 5, .n = 6, .k = 64, .type = DTYPE_Q4_0, .bias = true, .tiny = true},
    {.m = 2, .n = 9, .k = 32, .type = DTYPE_Q8_0, .residual = true, .tiny = true},
    {.m = 4, .n = 5, .k = 18, .type = DTYPE_F16, .act = ACT_RELU, .tiny = true},
    {.m = 34, .n = 37, .k = 19, .bias = true, .residual = true, .view = true, .tiny = true},
    {.m = 33, .n = 5, .k = 32, .type = DTYPE_Q8_0, .tiny = true},
    {.m = 1, .n = 6, .k = 24, .type = DTYPE_F16, .bias = true, .tiny = true},
    {.m = 2, .n = 5, .k = 20, .residual = true, .tiny = true},
    {.m = 1, .n = 5, .k = 96, .type = DTYPE_Q4_0, .tiny = true},
    {.m = 33, .n = 34, .k = 32, .type = DTYPE_Q8_0},
    {.m = 1, .n = 1, .k = 1},
    {.m = 1, .n = 256, .k = 1024, .bias = true},
    {.m = 1, .n = 130, .k = 333},
    {.m = 2, .n = 65, .k = 96, .bias = true, .act = ACT_GELU_ERF, .view = true},
    {.m = 3, .n = 64, .k = 130, .bias = true, .act = ACT_GELU_TANH},
    {.m = 4, .n = 67, .k = 100, .bias = true, .act = ACT_SILU},
    {.m = 5, .n = 31, .k = 77, .bias = true, .act = ACT_QUICK_GELU},
    {.m = 18, .n = 100, .k = 64, .bias = true, .act = ACT_SIGMOID},
    {.m = 32, .n = 129, .k = 48, .bias = true, .act = ACT_TANH, .view = true},
    {.m = 33, .n = 100, .k = 70, .bias = true, .act = ACT_GELU_ERF},
    {.m = 33, .n = 31, .k = 17, .bias = true, .act = ACT_RELU},
    {.m = 64, .n = 128, .k = 512, .bias = true, .act = ACT_GELU_TANH},
    {.m = 100, .n = 67, .k = 100, .bias = true, .act = ACT_QUICK_GELU, .view = true},
    {.m = 100, .n = 160, .k = 129, .residual = true},
    {.m = 257, .n = 33, .k = 1000, .bias = true, .residual = true},
    {.m = 18, .n = 100, .k = 66, .bias = true, .residual = true, .view = true},
    {.m = 7, .n = 19, .k = 2075, .bias = true}, /* pieces of k */
    {.m = 1, .n = 100, .k = 258, .type = DTYPE_F16, .bias = true},
    {.m = 18, .n = 33, .k = 99, .type = DTYPE_F16, .bias = true, .residual = true},
    {.m = 8, .n = 25, .k = 1090, .type = DTYPE_F16, .residual = true},
    {.m = 100, .n = 70, .k = 45, .type = DTYPE_F16, .bias = true, .act = ACT_SILU},
    {.m = 2, .n = 37, .k = 1024, .type = DTYPE_F16, .bias = true},
    {.m = 3, .n = 18, .k = 256, .type = DTYPE_F16, .residual = true},
    {.m = 1, .n = 70, .k = 1024, .type = DTYPE_Q8_0, .bias = true},
    {.m = 2, .n = 21, .k = 1056, .type = DTYPE_Q8_0, .bias = true, .residual = true},
    {.m = 3, .n = 30, .k = 2048, .type = DTYPE_Q4_0, .bias = true},
    {.m = 5, .n = 33, .k = 96, .type = DTYPE_Q8_0, .act = ACT_GELU_ERF},
    {.m = 100, .n = 70, .k = 96, .type = DTYPE_Q8_0, .bias = true, .residual = true},
    {.m = 1, .n = 70, .k = 1024, .type = DTYPE_Q4_0, .bias = true},
    {.m = 18, .n = 33, .k = 96, .type = DTYPE_Q4_0, .act = ACT_GELU_TANH},
    {.m = 100, .n = 70, .k = 96, .type = DTYPE_Q4_0, .bias = true},
    {.m = 1, .n = 20, .k = 64, .type = DTYPE_Q8_0, .faint = true},
    {.m = 5, .n = 20, .k = 64, .type = DTYPE_Q4_0, .faint = true},
    {.m = 3, .n = 100, .k = 64, .bias = true, .residual = true, .split = 32},
    {.m = 5, .n = 50, .k = 33, .bias = true, .act = ACT_RELU, .split = 7},
    {.m = 40, .n = 100, .k = 64, .bias = true, .act = ACT_SILU, .split = 32},
    {.m = 40, .n = 100, .k = 64, .bias = true, .residual = true, .split = 45},
    {.m = 40, .n = 50, .k = 33, .bias = true, .split = 7},
    {.m = 40, .n = 130, .k = 96, .type = DTYPE_Q8_0, .bias = true, .split = 64},
    {.m = 2, .n = 70, .k = 96, .type = DTYPE_Q4_0, .bias = true, .split = 33},
    {.m = 700, .n = 41, .k = 150, .bias = true},
};

/* first: LAYER, RMS, AFTER, ADDED of ops_cases_normed.c; factor: weights of a gated product */
static const shape normed_shapes[] = {
    {.m = 1, .n = 7, .k = 20, .bias = true, .tiny = true},
    {.m = 2, .n = 9, .k = 32, .type = DTYPE_Q8_0, .first = 3, .residual = true, .tiny = true},
    {.m = 3, .n = 10, .k = 32, .type = DTYPE_Q4_0, .first = 1, .factor = 2, .act = ACT_SILU, .tiny = true},
    {.m = 2, .n = 6, .k = 18, .type = DTYPE_F16, .first = 2, .factor = 1, .bias = true, .act = ACT_RELU, .tiny = true},
    {.m = 2, .n = 70, .k = 1024, .type = DTYPE_Q8_0, .first = 3, .factor = 1, .act = ACT_GELU_ERF},
    {.m = 4, .n = 130, .k = 96, .bias = true, .act = ACT_GELU_TANH, .view = true},
    {.m = 1, .n = 50, .k = 256, .type = DTYPE_Q4_0, .first = 1, .residual = true},
    {.m = 2, .n = 21, .k = 2730, .type = DTYPE_F16, .residual = true},
    {.m = 7, .n = 21, .k = 64, .type = DTYPE_F16, .factor = 1, .bias = true, .act = ACT_SILU},
    {.m = 40, .n = 20, .k = 33, .first = 3, .factor = 2, .act = ACT_SILU},
    {.m = 2, .n = 50, .k = 33, .first = 2, .split = 7},
};

#define UP .transposed = true
static const shape conv_shapes[] = {
    {.b = 1, .h = 5, .w = 6, .c = 3, .out = 5, .kernel = 3, .stride = 1, .pad = 1, .bias = true, .tiny = true},
    {.b = 2, .h = 6, .w = 5, .c = 4, .out = 33, .kernel = 4, .stride = 2, .pad = 1, .act = ACT_RELU, .tiny = true},
    {.b = 1, .h = 4, .w = 4, .c = 2, .out = 3, .kernel = 1, .stride = 1, .residual = true, .tiny = true},
    {.b = 1, .h = 17, .w = 13, .c = 3, .out = 64, .kernel = 5, .stride = 1, .pad = 2, .bias = true},
    {.b = 1, .h = 16, .w = 16, .c = 20, .out = 3, .kernel = 3, .stride = 1, .pad = 1, .bias = true, .act = ACT_TANH},
    {.b = 2, .h = 15, .w = 17, .c = 32, .out = 48, .kernel = 3, .stride = 2, .pad = 1, .bias = true},
    {.b = 3, .h = 9, .w = 7, .c = 33, .out = 31, .kernel = 4, .stride = 2, .pad = 1, .act = ACT_SILU, .view = true},
    {.b = 1, .h = 32, .w = 31, .c = 64, .out = 70, .kernel = 1, .stride = 1, .bias = true, .residual = true},
    {.b = 2, .h = 11, .w = 12, .c = 17, .out = 40, .kernel = 3, .stride = 1, .residual = true, .view = true},
    {.b = 1, .h = 8, .w = 8, .c = 16, .out = 65, .kernel = 1, .stride = 2, .act = ACT_GELU_ERF},
    {.b = 1, .h = 7, .w = 7, .c = 32, .out = 32, .kernel = 3, .stride = 1, .pad = 2, .type = DTYPE_F16, .bias = true},
    {.b = 1, .h = 4, .w = 4, .c = 20, .out = 6, .kernel = 2, .stride = 2, .type = DTYPE_F16, .tiny = true},
    {.b = 1, .h = 8, .w = 9, .c = 32, .out = 40, .kernel = 3, .stride = 1, .pad = 1, .type = DTYPE_Q8_0},
    {.b = 2, .h = 6, .w = 4, .c = 5, .out = 7, .kernel = 3, .stride = 2, .pad_end = 1, .bias = true, .tiny = true},
    {.b = 1, .h = 16, .w = 10, .c = 33, .out = 40, .kernel = 3, .stride = 2, .pad_end = 1, .bias = true},
    {.b = 2, .h = 9, .w = 8, .c = 36, .out = 38, .kernel = 5, .stride = 2, .pad = 2, .bias = true, .act = ACT_SILU},
    {.b = 1, .h = 3, .w = 4, .c = 20, .out = 9, .kernel = 3, .stride = 1, .pad = 1, .bias = true, .tiny = true},
};

/* Panels in several buffers. */
static const shape conv_split_shapes[] = {
    {.b = 1, .h = 5, .w = 6, .c = 3, .out = 40, .kernel = 3, .stride = 1, .pad = 1, .split = 32, .tiny = true},
    {.b = 2, .h = 9, .w = 8, .c = 32, .out = 150, .kernel = 3, .stride = 2, .pad = 1, .bias = true, .split = 64},
    {.b = 1, .h = 7, .w = 9, .c = 20, .out = 96, .kernel = 1, .stride = 1, .residual = true, .view = true, .split = 32},
    {.b = 1,
     .h = 8,
     .w = 8,
     .c = 32,
     .out = 130,
     .kernel = 3,
     .stride = 1,
     .type = DTYPE_F16,
     .bias = true,
     .split = 32},
    {.b = 1,
     .h = 28,
     .w = 28,
     .c = 32,
     .out = 100,
     .kernel = 3,
     .stride = 1,
     .bias = true,
     .residual = true,
     .split = 64},
    {.transposed = true,
     .b = 2,
     .h = 6,
     .w = 7,
     .c = 16,
     .out = 70,
     .kernel = 4,
     .stride = 2,
     .pad = 1,
     .bias = true,
     .split = 32},
};

/* Of at least 16 tiles of 4x4 (tuning.winograd), but for the tiny ones. */
#define THREE .kernel = 3, .stride = 1
static const shape winograd_shapes[] = {
    {THREE, .b = 1, .h = 4, .w = 7, .c = 16, .out = 17, .pad = 1, .bias = true, .residual = true, .tiny = true},
    {THREE, .b = 1, .h = 2, .w = 4, .c = 16, .out = 33, .pad = 1, .act = ACT_RELU, .factor = 2, .tiny = true},
    {THREE, .b = 2, .h = 19, .w = 23, .c = 32, .out = 40, .pad = 1, .bias = true, .act = ACT_SILU, .view = true},
    {THREE, .b = 1, .h = 30, .w = 31, .c = 48, .out = 64, .bias = true, .residual = true},
    {THREE, .b = 3, .h = 15, .w = 15, .c = 16, .out = 33, .pad = 2, .type = DTYPE_F16},
    {THREE, .b = 1, .h = 28, .w = 28, .c = 32, .out = 32, .pad_end = 1, .act = ACT_RELU},
    {THREE, .b = 1, .h = 14, .w = 15, .c = 32, .out = 48, .pad = 1, .bias = true, .factor = 2},
    {THREE, UP, .b = 1, .h = 28, .w = 28, .c = 32, .out = 40, .pad = 1, .bias = true},
    {THREE, UP, .b = 2, .h = 22, .w = 18, .c = 16, .out = 16, .act = ACT_TANH},
};
static const shape conv_in_place_shapes[] = {
    {.b = 2, .h = 9, .w = 7, .c = 32, .out = 16, .kernel = 1, .stride = 1, .bias = true, .first = 1},
    {.b = 1, .h = 8, .w = 9, .c = 20, .out = 20, .kernel = 1, .stride = 1, .first = 1, .view = true},
    {.b = 1, .h = 7, .w = 7, .c = 64, .out = 5, .kernel = 1, .stride = 1, .first = 1},
};
/* Of panels that are no floats: by Winograd's kernels, and unpacked, some panels at a time. */
static const shape conv_narrow_shapes[] = {
    {THREE, .b = 1, .h = 16, .w = 16, .c = 32, .out = 40, .pad = 1, .type = DTYPE_F16, .bias = true},
    {THREE, .b = 1, .h = 28, .w = 28, .c = 96, .out = 100, .pad = 1, .type = DTYPE_Q8_0, .residual = true},
    {THREE, .b = 1, .h = 28, .w = 28, .c = 96, .out = 100, .pad = 1, .type = DTYPE_F16, .bias = true},
    {THREE, UP, .b = 1, .h = 16, .w = 16, .c = 32, .out = 40, .pad = 1, .type = DTYPE_Q8_0, .bias = true},
    {.b = 2, .h = 9, .w = 8, .c = 32, .out = 130, .kernel = 3, .stride = 2, .pad = 1, .type = DTYPE_Q8_0, .bias = true},
    {.b = 1, .h = 9, .w = 8, .c = 20, .out = 130, .kernel = 3, .stride = 2, .pad = 1, .type = DTYPE_F16, .view = true},
    {THREE, .b = 1, .h = 8, .w = 8, .c = 32, .out = 130, .pad = 1, .type = DTYPE_F16, .split = 32},
    {THREE, .b = 1, .h = 4, .w = 4, .c = 32, .out = 33, .pad = 1, .type = DTYPE_Q8_0, .tiny = true},
};
/* Of 3 parts of tiles and 2 of panels. */
static const shape winograd_part_shapes[] = {
    {THREE, .b = 2, .h = 21, .w = 23, .c = 64, .out = 150, .pad = 1, .bias = true, .residual = true},
};
/* Also for the backward pass. */
static const shape winograd_gradient_shapes[] = {
    {THREE, .b = 1, .h = 16, .w = 15, .c = 16, .out = 17, .pad = 1, .bias = true},
    {THREE, UP, .b = 1, .h = 14, .w = 16, .c = 16, .out = 16, .pad = 1, .bias = true},
};

/* Of a device with many cores. */
static const shape conv_sums_shapes[] = {
    {.b = 2, .h = 3, .w = 3, .c = 64, .out = 5, .kernel = 3, .stride = 2, .pad = 1, .bias = true, .tiny = true},
    {.b = 1,
     .h = 9,
     .w = 7,
     .c = 256,
     .out = 70,
     .kernel = 3,
     .stride = 2,
     .pad = 1,
     .residual = true,
     .act = ACT_RELU},
    {.b = 2, .h = 4, .w = 4, .c = 1088, .out = 40, .kernel = 1, .stride = 1, .bias = true, .residual = true},
    {UP, .b = 2, .h = 4, .w = 5, .c = 272, .out = 36, .kernel = 4, .stride = 2, .pad = 1, .bias = true,
     .type = DTYPE_F16},
    {.b = 1, .h = 5, .w = 5, .c = 320, .out = 70, .kernel = 2, .stride = 1, .type = DTYPE_F16, .split = 32},
};

/* step: rows of a strip, rounded to 4 (a whole tile of Winograd's).  The first of them are also for the backward pass.
 */
static const shape strip_shapes[] = {
    {.b = 2,
     .h = 6,
     .w = 3,
     .c = 4,
     .out = 5,
     .kernel = 3,
     .groups = 2,
     .act = ACT_SILU,
     .residual = true,
     .tiny = true},
    {.b = 1, .h = 5, .w = 4, .c = 6, .out = 33, .kernel = 1, .act = ACT_RELU, .tiny = true},
    {.b = 1, .h = 9, .w = 4, .c = 4, .out = 3, .kernel = 3, .residual = true, .view = true},
    {.b = 2, .h = 22, .w = 24, .c = 32, .out = 33, .kernel = 3, .groups = 8, .act = ACT_SILU, .step = 9},
    {.b = 1, .h = 30, .w = 16, .c = 16, .out = 48, .kernel = 3, .residual = true, .factor = 1, .groups = 4, .step = 8},
    {.b = 1, .h = 17, .w = 40, .c = 16, .out = 32, .kernel = 3, .residual = true, .step = 12, .view = true},
    {.b = 3, .h = 7, .w = 8, .c = 10, .out = 7, .kernel = 5, .groups = 5, .act = ACT_RELU, .step = 15},
    {.b = 2, .h = 12, .w = 12, .c = 64, .out = 3, .kernel = 1, .groups = 32, .residual = true, .factor = 1, .step = 8},
};
enum { STRIPS_BACK = 3 };

static const shape transpose_shapes[] = {
    {UP, .b = 1, .h = 4, .w = 3, .c = 3, .out = 5, .kernel = 4, .stride = 2, .pad = 1, .bias = true, .tiny = true},
    {UP, .b = 2, .h = 3, .w = 3, .c = 2, .out = 33, .kernel = 3, .stride = 2, .pad = 1, .tiny = true},
    {UP, .b = 2, .h = 9, .w = 7, .c = 33, .out = 31, .kernel = 4, .stride = 2, .pad = 1, .bias = true, .view = true},
    {UP, .b = 1, .h = 16, .w = 16, .c = 64, .out = 3, .kernel = 4, .stride = 2, .pad = 1, .act = ACT_SIGMOID},
    {UP, .b = 1, .h = 8, .w = 9, .c = 17, .out = 40, .kernel = 3, .stride = 2, .pad = 1, .bias = true, .act = ACT_RELU},
    {UP, .b = 3, .h = 5, .w = 8, .c = 16, .out = 64, .kernel = 2, .stride = 2, .bias = true},
    {UP, .b = 1, .h = 6, .w = 7, .c = 12, .out = 35, .kernel = 5, .stride = 3, .pad = 1, .bias = true},
    {UP, .b = 1, .h = 10, .w = 9, .c = 20, .out = 21, .kernel = 3, .stride = 1, .pad = 1, .bias = true},
    {UP, .b = 1, .h = 5, .w = 5, .c = 8, .out = 8, .kernel = 1, .stride = 2, .bias = true},
    {UP, .b = 2, .h = 6, .w = 5, .c = 36, .out = 10, .kernel = 4, .stride = 2, .pad = 1, .act = ACT_TANH},
    {UP, .b = 1, .h = 1, .w = 1, .c = 16, .out = 8, .kernel = 1, .stride = 3, .bias = true},
    {UP, .b = 1, .h = 2, .w = 3, .c = 20, .out = 6, .kernel = 3, .stride = 2, .pad = 1, .bias = true, .tiny = true},
};

static const shape layer_norm_shapes[] = {
    {.m = 3, .d = 21, .tiny = true}, {.m = 1, .d = 64},   {.m = 18, .d = 100, .view = true}, {.m = 5, .d = 1},
    {.m = 100, .d = 1024},           {.m = 7, .d = 4097},
};

static const shape layer_norm_add_shapes[] = {
    {.m = 3, .d = 21, .residual = true, .tiny = true},
    {.m = 18, .d = 100, .residual = true, .view = true},
    {.m = 2, .d = 1024, .residual = true},
};

static const shape group_norm_shapes[] = {
    {.b = 2, .h = 3, .w = 5, .c = 6, .groups = 3, .tiny = true},
    {.b = 1, .h = 16, .w = 15, .c = 64, .groups = 32, .act = ACT_SILU},
    {.b = 3, .h = 9, .w = 7, .c = 96, .groups = 32, .act = ACT_SILU, .view = true},
    {.b = 1, .h = 8, .w = 8, .c = 128, .groups = 4},
    {.b = 2, .h = 5, .w = 5, .c = 30, .groups = 1},
    {.b = 1, .h = 64, .w = 64, .c = 32, .groups = 2},
    {.b = 1, .h = 4, .w = 4, .c = 20, .groups = 20, .act = ACT_RELU},
};

static const shape softmax_shapes[] = {
    {.m = 3, .d = 21, .tiny = true},
    {.m = 18, .d = 100, .view = true},
    {.m = 5, .d = 1},
    {.m = 9, .d = 8192},
};

#define TEXT_8_GRID_4 .text = 8, .grid_width = 4, .grid_height = 4
static const shape multiply_shapes[] = {
    {.m = 3, .n = 7, .tiny = true}, {.m = 1, .n = 300}, {.m = 18, .n = 48, .view = true}, {.m = 700, .n = 33}};

static const shape glu_shapes[] = {{.m = 3, .d = 7, .act = ACT_GELU_ERF, .tiny = true},
                                   {.m = 18, .d = 192, .act = ACT_GELU_ERF, .view = true},
                                   {.m = 1, .d = 70, .act = ACT_SILU},
                                   {.m = 2, .d = 2730, .act = ACT_GELU_ERF}};

static const shape rotate_shapes[] = {{.b = 2, .t = 9, .heads = 9, .head_dim = 32, .k = 30, .tiny = true},
                                      {.b = 2, .t = 9, .heads = 9, .head_dim = 32, .k = 30, .step = 1},
                                      {.b = 1, .t = 7, .heads = 6, .head_dim = 5, .k = 4, .step = 3, .view = true}};

static const shape rotary_shapes[] = {{.b = 2, .t = 9, .heads = 2, .head_dim = 8, .k = 5, .tiny = true},
                                      {.b = 3, .t = 40, .heads = 24, .head_dim = 128, .k = 1024}};
static const shape rotate_grid_shapes[] = {
    {.b = 2, .t = 13, .heads = 2, .head_dim = 8, .text = 1, .grid_width = 4, .tiny = true},
    {.b = 2, .t = 13, .heads = 3, .head_dim = 64, .text = 2, .grid_width = 4, .step = 1},
    {.b = 1, .t = 30, .heads = 1, .head_dim = 20, .text = 1, .grid_width = 24, .step = 7, .view = true},
};

/* first: between the rows' first positions */
static const shape grid_apart[] = {
    {.b = 3, .t = 9, .heads = 2, .head_dim = 8, .text = 5, .grid_width = 3, .first = 2, .tiny = true},
};

static const shape shift_shapes[] = {
    {.b = 2, .t = 24, .d = 48, TEXT_8_GRID_4, .tiny = true},
    {.b = 2, .t = 24, .d = 48, TEXT_8_GRID_4, .step = 1},
    {.b = 2, .t = 21, .d = 7, TEXT_8_GRID_4, .step = 8},
    {.b = 1, .t = 20, .d = 6, TEXT_8_GRID_4, .view = true},
    {.b = 1, .t = 16, .d = 8, .text = 1, .grid_width = 5, .step = 4},
};

static const shape cross_shapes[] = {
    {.b = 2, .t = 3, .n = 5, .heads = 2, .head_dim = 5, .tiny = true},
    {.b = 2, .t = 1, .n = 64, .heads = 6, .head_dim = 8, .first = 20},
    {.b = 1, .t = 256, .n = 33, .heads = 2, .head_dim = 64, .view = true},
    {.b = 3, .t = 70, .n = 70, .heads = 1, .head_dim = 12, .residual = true},
    {.b = 2, .t = 70, .n = 77, .heads = 2, .head_dim = 40, .residual = true},
    {.b = 1, .t = 520, .n = 40, .heads = 1, .head_dim = 64, .residual = true, .view = true},
    {.b = 1, .t = 65, .n = 20, .heads = 2, .head_dim = 80, .type = DTYPE_F16, .residual = true},
    {.b = 2, .t = 3, .n = 5, .heads = 2, .head_dim = 5, .type = DTYPE_F16, .tiny = true},
    {.b = 2, .t = 2, .n = 64, .heads = 2, .head_dim = 64, .type = DTYPE_F16, .first = 20, .view = true},
};
static const shape biased_shapes[] = {
    {.b = 2, .t = 3, .n = 5, .heads = 2, .head_dim = 5, .bias = true, .tiny = true},
    {.b = 1, .t = 120, .n = 120, .heads = 2, .head_dim = 64, .bias = true, .residual = true, .view = true},
    {.b = 2, .t = 40, .n = 40, .heads = 3, .head_dim = 16, .first = 9, .bias = true},
};
static const shape biased_back_shapes[] = {
    {.b = 2, .t = 3, .n = 5, .heads = 2, .head_dim = 5, .bias = true, .tiny = true},
    {.b = 2, .t = 33, .n = 33, .heads = 2, .head_dim = 16, .first = 4, .bias = true, .view = true},
};
/* n: reach */
static const shape relative_shapes[] = {
    {.heads = 2, .t = 7, .n = 3, .tiny = true},
    {.heads = 3, .t = 5, .n = 9},
    {.heads = 5, .t = 70, .n = 32, .view = true},
};
/* m: ids of vectors; k: of the table's rows; n: codes */
static const shape vectors_shapes[] = {
    {.b = 2, .t = 7, .d = 5, .m = 9, .k = 4, .n = 8, .text = 4, .grid_height = 4, .tiny = true},
    {.b = 3, .t = 17, .d = 64, .m = 20, .k = 6, .n = 8, .text = 6, .grid_height = 12, .view = true},
    {.b = 2, .t = 5, .d = 33, .m = 20, .k = 6, .n = 8, .text = 6, .grid_height = 9, .first = 4},
};
static const shape decoder_shapes[] = {
    {.b = 2, .t = 6, .n = 6, .d = 5, .tiny = true},
    {.b = 3, .t = 1, .n = 256, .d = 48},
    {.b = 2, .t = 3, .n = 9, .d = 70, .first = 6},
};
/* factor: as one op */
static const shape decoder_joined_shapes[] = {
    {.b = 2, .t = 6, .n = 6, .d = 5, .factor = 1, .tiny = true},
    {.b = 2, .t = 3, .n = 9, .d = 70, .first = 6, .factor = 1, .type = DTYPE_F16},
    {.b = 3, .t = 1, .n = 256, .d = 64, .factor = 1, .type = DTYPE_Q8_0},
    {.b = 2, .t = 4, .n = 9, .d = 96, .first = 2, .factor = 1, .type = DTYPE_Q4_0},
    {.b = 2, .t = 3, .n = 9, .d = 33, .first = 1, .factor = 1, .split = 4},
};

static const shape activate_shapes[] = {
    {.n = 21, .act = ACT_SILU, .tiny = true},
    {.n = 5, .act = ACT_NONE},
    {.n = 1000, .act = ACT_RELU},
    {.n = 1000, .act = ACT_GELU_ERF},
    {.n = 1000, .act = ACT_GELU_TANH, .view = true},
    {.n = 1000, .act = ACT_SILU},
    {.n = 1000, .act = ACT_QUICK_GELU},
    {.n = 1000, .act = ACT_SIGMOID},
    {.n = 1000, .act = ACT_TANH},
    {.n = 1000, .act = ACT_LEAKY_RELU},
};

static const shape add_shapes[] = {
    {.m = 3, .n = 7, .tiny = true}, {.m = 5, .n = 100, .view = true}, {.m = 64, .n = 64}};

static const shape slice_shapes[] = {
    {.b = 2, .t = 5, .d = 3, .first = 2, .n = 2, .tiny = true},
    {.b = 3, .t = 10, .d = 40, .first = 0, .n = 10},
    {.b = 3, .t = 10, .d = 41, .first = 9, .n = 1, .view = true},
};

/* factor: with a row before the others */
static const shape position_shapes[] = {
    {.b = 2, .t = 3, .d = 5, .factor = 1, .tiny = true},
    {.b = 3, .t = 4, .d = 7, .tiny = true},
    {.b = 5, .t = 17, .d = 100, .factor = 1, .view = true},
    {.b = 1, .t = 1, .d = 33, .factor = 1},
    {.b = 40, .t = 9, .d = 64},
};

static const shape mean_shapes[] = {{.b = 2, .t = 3, .d = 5, .tiny = true},
                                    {.b = 3, .t = 65, .d = 100, .view = true},
                                    {.b = 1, .t = 1, .d = 17},
                                    {.b = 9, .t = 20, .d = 64}};

/* factor: 1 where the scale is over its limit */
static const shape scale_exp_shapes[] = {{.m = 3, .n = 7, .tiny = true},
                                         {.m = 3, .n = 7, .factor = 1, .tiny = true},
                                         {.m = 128, .n = 33, .view = true},
                                         {.m = 700, .n = 500}};

static const shape upsample_shapes[] = {
    {.b = 2, .h = 2, .w = 3, .c = 3, .factor = 2, .tiny = true},
    {.b = 2, .h = 5, .w = 7, .c = 20, .factor = 2, .view = true},
    {.b = 1, .h = 3, .w = 4, .c = 5, .factor = 3},
    {.b = 1, .h = 3, .w = 4, .c = 64, .factor = 1},
};

static const shape self_attention_shapes[] = {
    {.b = 2, .h = 3, .w = 2, .c = 5, .tiny = true},
    {.b = 3, .h = 7, .w = 9, .c = 64, .view = true},
    {.b = 1, .h = 16, .w = 16, .c = 130},
    {.b = 1, .h = 1, .w = 1, .c = 32},
};

static const shape self_attention_part_shapes[] = {
    {.b = 2, .h = 18, .w = 17, .c = 8},
};

static const shape distances_shapes[] = {
    {.m = 5, .k = 7, .d = 3, .tiny = true},
    {.m = 3, .k = 5, .d = 32, .type = DTYPE_Q4_0, .tiny = true},
    {.m = 1, .k = 65, .d = 8},
    {.m = 35, .k = 130, .d = 70, .view = true},
    {.m = 20, .k = 200, .d = 37, .type = DTYPE_F16},
    {.m = 9, .k = 50, .d = 96, .type = DTYPE_Q8_0},
    {.m = 9, .k = 50, .d = 96, .type = DTYPE_Q4_0},
    {.m = 17, .k = 50, .d = 33, .split = 7},
};

static const shape max_pool_shapes[] = {
    {.b = 2, .h = 4, .w = 6, .c = 3, .factor = 2, .tiny = true},
    {.b = 3, .h = 10, .w = 8, .c = 33, .factor = 2, .view = true},
    {.b = 1, .h = 9, .w = 6, .c = 5, .factor = 3},
    {.b = 1, .h = 3, .w = 4, .c = 64, .factor = 1},
};
/* m places of d numbers, b rows, k = 1: it says how much noise; factor 1: there is noise */
static const shape ddpm_shapes[] = {
    {.b = 1, .m = 1, .d = 24, .factor = 1, .tiny = true},
    {.b = 2, .m = 1, .d = 24, .factor = 0},
    {.b = 2, .m = 35, .d = 3, .k = 1, .factor = 1, .view = true},
    {.b = 1, .m = 64, .d = 3, .k = 1, .factor = 1},
};
static const shape haar_shapes[] = {{.b = 2, .h = 2, .w = 3, .c = 3, .tiny = true},
                                    {.b = 1, .h = 9, .w = 7, .c = 3, .view = true},
                                    {.b = 1, .h = 5, .w = 5, .c = 20}};

static const shape join_shapes[] = {{.b = 2, .h = 2, .w = 3, .c = 3, .d = 2, .tiny = true},
                                    {.b = 1, .h = 5, .w = 4, .c = 70, .d = 33, .view = true},
                                    {.b = 2, .h = 3, .w = 3, .c = 16, .d = 320}};

static const shape repeat_shapes[] = {{.m = 2, .n = 5, .tiny = true},
                                      {.m = 1, .n = 100},
                                      {.m = 5, .n = 33, .view = true},
                                      {.m = 3, .n = 5, .type = DTYPE_F16, .tiny = true}};

static const shape guide_shapes[] = {
    {.b = 2, .k = 5, .tiny = true}, {.b = 1, .k = 1000}, {.b = 9, .k = 33, .view = true}};

static const shape embed_shapes[] = {
    {.m = 6, .n = 5, .d = 3, .tiny = true},
    {.m = 6, .n = 5, .d = 32, .type = DTYPE_Q4_0, .tiny = true},
    {.m = 50, .n = 33, .d = 100},
    {.m = 50, .n = 33, .d = 101, .type = DTYPE_F16},
    {.m = 50, .n = 33, .d = 96, .type = DTYPE_Q8_0},
    {.m = 50, .n = 33, .d = 96, .type = DTYPE_Q4_0},
    {.m = 50, .n = 33, .d = 10, .split = 7},
    {.m = 50, .n = 33, .d = 64, .type = DTYPE_Q8_0, .split = 32},
};

#define GRID_4_3 .grid_width = 4, .grid_height = 3
static const shape sequence_shapes[] = {
    {.b = 2, .t = 7, .d = 5, .m = 9, .n = 8, .text = 4, .grid_width = 2, .grid_height = 2, .tiny = true},
    {.b = 2, .t = 18, .d = 64, .m = 50, .n = 30, .text = 6, GRID_4_3},
    {.b = 2, .t = 18, .d = 64, .m = 50, .n = 30, .text = 6, GRID_4_3, .type = DTYPE_Q8_0},
    {.b = 3, .t = 1, .d = 33, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 5},
    {.b = 3, .t = 1, .d = 33, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 6, .type = DTYPE_F16},
    {.b = 3, .t = 5, .d = 100, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 11},
    {.b = 2, .t = 9, .d = 20, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 3, .split = 8},
    {.b = 3, .t = 12, .d = 100, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 6, .split = 11},
    {.b = 2, .t = 18, .d = 33, .m = 50, .n = 30, .text = 6, GRID_4_3, .k = 1}, /* k: tables that are missing */
    {.b = 2, .t = 10, .d = 33, .m = 50, .n = 30, .text = 1, .grid_width = 1, .grid_height = 9, .k = 4},
    {.b = 2, .t = 18, .d = 33, .m = 50, .n = 30, .text = 6, GRID_4_3, .k = 6},
    {.b = 2, .t = 18, .d = 33, .m = 50, .n = 30, .text = 6, GRID_4_3, .k = 7},
    {.b = 3, .t = 1, .d = 64, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 9, .type = DTYPE_Q8_0},
    {.b = 3, .t = 2, .d = 96, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 7, .k = 4, .type = DTYPE_Q4_0},
    {.b = 2,
     .t = 5,
     .d = 3,
     .m = 9,
     .n = 8,
     .text = 1,
     .grid_width = 2,
     .grid_height = 4,
     .first = 3,
     .k = 6,
     .tiny = true},
};

static const shape argmax_shapes[] = {
    {.m = 4, .k = 37, .tiny = true}, {.m = 1, .k = 1}, {.m = 33, .k = 1000, .view = true}, {.m = 3, .k = 16384}};

/* factor 1, 2: op_scale_add of one tensor, of two */
static const shape add_back_shapes[] = {
    {.m = 3, .n = 7, .tiny = true},
    {.m = 5, .n = 100, .factor = 1, .view = true},
    {.m = 64, .n = 64, .factor = 2, .tiny = true},
};

static const shape cross_back_shapes[] = {
    {.b = 2, .t = 3, .n = 5, .heads = 2, .head_dim = 5, .tiny = true},
    {.b = 2, .t = 9, .n = 4, .heads = 2, .head_dim = 4, .residual = true, .tiny = true},
    {.b = 2, .t = 1, .n = 64, .heads = 6, .head_dim = 8, .first = 20},
    {.b = 1, .t = 130, .n = 33, .heads = 2, .head_dim = 64, .view = true},
    {.b = 3, .t = 70, .n = 70, .heads = 1, .head_dim = 12, .residual = true},
};

static const shape embed_back_shapes[] = {{.m = 6, .n = 5, .d = 3, .tiny = true},
                                          {.m = 50, .n = 133, .d = 100},
                                          {.m = 7, .n = 33, .d = 101},
                                          {.m = 1, .n = 40, .d = 64}};

/* factor: the table of rows ends before the grid does */
static const shape sequence_back_shapes[] = {
    {.b = 2, .t = 7, .d = 5, .m = 9, .n = 8, .text = 4, .grid_width = 2, .grid_height = 2, .tiny = true},
    {.b = 2, .t = 17, .d = 64, .m = 50, .n = 30, .text = 6, GRID_4_3},
    {.b = 3, .t = 5, .d = 33, .m = 50, .n = 30, .text = 6, GRID_4_3, .first = 5},
    {.b = 2, .t = 4, .d = 5, .m = 9, .n = 8, .text = 2, .grid_width = 1, .grid_height = 3, .factor = 1, .tiny = true},
};

/* factor: label smoothing in percent */
static const shape cross_entropy_shapes[] = {{.m = 3, .k = 21, .tiny = true},
                                             {.m = 2, .k = 37},
                                             {.m = 18, .k = 100, .factor = 10, .view = true},
                                             {.m = 1, .k = 1},
                                             {.m = 300, .k = 33},
                                             {.m = 7, .k = 4097}};

static const shape difference_shapes[] = {
    {.m = 3, .n = 7, .tiny = true}, {.m = 5, .n = 1000, .view = true}, {.m = 70, .n = 64}};

static const shape laplace_shapes[] = {{.b = 1, .h = 2, .w = 3, .c = 3, .tiny = true},
                                       {.b = 2, .h = 9, .w = 10, .c = 3, .view = true},
                                       {.b = 1, .h = 5, .w = 5, .c = 1}};

static const shape usage_shapes[] = {
    {.m = 3, .k = 21, .tiny = true}, {.m = 300, .k = 100, .view = true}, {.m = 1, .k = 33}, {.m = 9, .k = 2048}};

/* factor: hard choices */
static const shape gumbel_shapes[] = {
    {.b = 2, .m = 3, .k = 7, .tiny = true},    {.b = 2, .m = 3, .k = 7, .factor = 1, .tiny = true},
    {.b = 3, .m = 17, .k = 101, .view = true}, {.b = 2, .m = 16, .k = 512},
    {.b = 3, .m = 16, .k = 130, .factor = 1},
};

static const shape matmul_table_shapes[] = {
    {.m = 5, .k = 7, .d = 3, .tiny = true}, {.m = 70, .k = 130, .d = 33, .view = true}, {.m = 64, .k = 256, .d = 96}};

/* factor: with clipping */
static const shape adamw_shapes[] = {
    {.n = 37, .tiny = true}, {.n = 37, .factor = 1, .tiny = true}, {.n = 5000, .factor = 1, .view = true}, {.n = 9000}};

static const shape row_shapes[] = {{.m = 3, .d = 7, .tiny = true}, {.m = 70, .d = 100, .view = true}, {.m = 5, .d = 2}};

/* factor: the hinge's sign; 0: the mean */
static const shape hinge_shapes[] = {{.m = 3, .n = 7, .tiny = true},
                                     {.m = 3, .n = 7, .factor = 1, .tiny = true},
                                     {.m = 5, .n = 1000, .factor = -1, .view = true},
                                     {.m = 70, .n = 64}};

/* factor: the weight's limit is reached */
static const shape balance_shapes[] = {
    {.b = 2, .h = 3, .w = 4, .c = 5, .out = 3, .kernel = 1, .stride = 1, .tiny = true},
    {.b = 2, .h = 7, .w = 6, .c = 20, .out = 3, .kernel = 3, .stride = 1, .pad = 1, .factor = 4, .view = true},
    {.b = 3, .h = 16, .w = 16, .c = 32, .out = 6, .kernel = 1, .stride = 1},
};

/* out: the rank; groups: parts of the outputs */
static const shape low_rank_shapes[] = {
    {.m = 5, .n = 7, .k = 6, .out = 2, .groups = 1, .bias = true, .tiny = true},
    {.m = 35, .n = 24, .k = 32, .out = 3, .groups = 3, .type = DTYPE_Q8_0, .tiny = true},
    {.m = 6, .n = 8, .k = 64, .out = 4, .groups = 1, .type = DTYPE_Q4_0, .residual = true, .tiny = true},
    {.m = 40, .n = 128, .k = 64, .out = 8, .groups = 3, .bias = true},
    {.m = 66, .n = 52, .k = 48, .out = 5, .groups = 3, .type = DTYPE_F16, .view = true},
    {.m = 70, .n = 96, .k = 33, .out = 16, .groups = 1, .act = ACT_SILU},
};

/* factor: without sums */
static const shape codebook_shapes[] = {{.m = 9, .k = 7, .d = 3, .tiny = true},
                                        {.m = 9, .k = 7, .d = 3, .factor = 1},
                                        {.m = 100, .k = 70, .d = 101, .view = true}};

#include "ops_rows_attention.h"

#define SHAPES(x) (x), sizeof(x) / sizeof *(x)
const ops_row ops_rows[] = {
    {"linear", check_linear, 1e-12, "F32 sums", SHAPES(linear_shapes)},
    {"linear of a norm", check_linear_normed, 3e-12, "F32 sums of numbers around 10", SHAPES(normed_shapes)},
    {"conv2d", check_conv, 1e-12, "F32 sums", SHAPES(conv_shapes)},
    {"conv 3x3", check_conv, 3e-12, "F32 sums of 36 products", SHAPES(winograd_shapes)},
    {"conv 3x3 in parts", check_conv_parts, 3e-12, "F32 sums of 36 products", SHAPES(winograd_part_shapes)},
    {"conv in place", check_conv_in_place, 1e-12, "F32 sums", SHAPES(conv_in_place_shapes)},
    {"conv of narrow panels", check_conv_narrow, 3e-12, "F32 sums of 36 products", SHAPES(conv_narrow_shapes)},
    {"conv of sums in parts", check_conv_sums, 1e-12, "F32 sums", SHAPES(conv_sums_shapes)},
    {"conv of panels in several buffers", check_conv, 3e-12, "F32 sums", SHAPES(conv_split_shapes)},
    {"conv by strips", check_conv_strips, 3e-12, "F32 sums of 36 products", SHAPES(strip_shapes)},
    {"conv by strips, gradient", check_conv_strips_gradient, 1e-11, "F32 sums", strip_shapes, STRIPS_BACK},
    {"conv_transpose2d", check_conv, 5e-13, "F32 sums", SHAPES(transpose_shapes)},
    {"linear gradient", check_linear_gradient, 1e-12, "F32 sums", SHAPES(linear_shapes)},
    {"linear with an adapter", check_low_rank, 1e-12, "F32 sums, of sums", SHAPES(low_rank_shapes)},
    {"conv2d gradient", check_conv_gradient, 1e-12, "F32 sums", SHAPES(conv_shapes)},
    {"conv 3x3 gradient", check_conv_gradient, 1e-12, "F32 sums of 36 products", SHAPES(winograd_gradient_shapes)},
    {"conv_transpose2d gradient", check_conv_gradient, 1e-12, "F32 sums", SHAPES(transpose_shapes)},
    {"layer_norm", check_layer_norm, 3e-12, "F32 sums of numbers around 10", SHAPES(layer_norm_shapes)},
    {"layer_norm", check_layer_norm, 3e-12, "the same, one rounding more", SHAPES(layer_norm_add_shapes)},
    {"layer_norm_twice", check_layer_norm_twice, 3e-12, "F32 sums of numbers around 10", SHAPES(layer_norm_shapes)},
    {"layer_norm_twice", check_layer_norm_twice, 3e-12, "the same, one rounding more", SHAPES(layer_norm_add_shapes)},
    {"rms_norm", check_rms_norm, 5e-14, "F32 sums", SHAPES(layer_norm_shapes)},
    {"rotary", check_rotary, 1e-13, "sine and cosine", SHAPES(rotary_shapes)},
    {"rotate_grid", check_rotate_grid, 1e-13, "exp, sine and cosine", SHAPES(rotate_grid_shapes)},
    {"group_norm", check_group_norm, 1e-11, "F32 sums of numbers around 10", SHAPES(group_norm_shapes)},
    {"softmax", check_softmax, 1e-11, "F32 sums of 8192 exponentials", SHAPES(softmax_shapes)},
    {"attention", check_attention, 5e-13, "F32 sums, exp of 3 ulp", SHAPES(attention_shapes)},
    {"attention, F16 for F32", check_attention_rounding, 0x1p-22, "keys and values rounded by 2^-11 at most",
     SHAPES(attention_rounding_shapes)},
    {"activate", check_activate, 1e-14, "exp, erf, tanh of a few ulp", SHAPES(activate_shapes)},
    {"add", check_add, 5e-15, "one rounding", SHAPES(add_shapes)},
    {"slice", check_slice, 0, "a copy", SHAPES(slice_shapes)},
    {"upsample", check_upsample, 0, "a copy", SHAPES(upsample_shapes)},
    {"repeat", check_repeat, 0, "a copy", SHAPES(repeat_shapes)},
    {"guide", check_guide, 5e-14, "three roundings", SHAPES(guide_shapes)},
    {"embed", check_embed, 0, "a copy; the product with a block's scale has one rounding at most",
     SHAPES(embed_shapes)},
    {"embed_sequence", check_embed_sequence, 1e-14, "two roundings", SHAPES(sequence_shapes)},
    {"argmax", check_argmax, 0, "an index is right or wrong", SHAPES(argmax_shapes)},
    {"layer_norm gradient", check_layer_norm_gradient, 1e-10, "F32 sums", SHAPES(layer_norm_shapes)},
    {"group_norm gradient", check_group_norm_gradient, 1e-10, "F32 sums", SHAPES(group_norm_shapes)},
    {"softmax gradient", check_softmax_gradient, 1e-10, "F32 sums", SHAPES(softmax_shapes)},
    {"attention gradient", check_attention_gradient, 1e-10, "F32 sums", SHAPES(attention_back_shapes)},
    {"activate gradient", check_activate_gradient, 1e-10, "exp, erf, tanh", SHAPES(activate_shapes)},
    {"rms_norm gradient", check_rms_norm_gradient, 1e-12, "F32 sums", SHAPES(layer_norm_shapes)},
    {"multiply gradient", check_multiply_gradient, 1e-12, "F32 sums", SHAPES(multiply_shapes)},
    {"glu gradient", check_glu_gradient, 1e-13, "exp, erf", SHAPES(glu_shapes)},
    {"divide_max gradient", check_divide_max_gradient, 1e-14, "one rounding", SHAPES(softmax_shapes)},
    {"rotate gradient", check_rotate_gradient, 2e-13, "F32 sums, sine and cosine", SHAPES(rotate_shapes)},
    {"rotary gradient", check_rotary_gradient, 2e-13, "sine and cosine", SHAPES(rotary_shapes)},
    {"rotate_grid gradient", check_rotate_grid_gradient, 5e-14, "exp, sine and cosine", SHAPES(rotate_grid_shapes)},
    {"rotate_grid gradient, apart", check_rotate_grid_gradient, 5e-14, "exp, sine and cosine", SHAPES(grid_apart)},
    {"shift_tokens gradient", check_shift_tokens_gradient, 1e-14, "a copy; gradients added", SHAPES(shift_shapes)},
    {"add_table gradient", check_add_table_gradient, 5e-14, "F32 sums", SHAPES(decoder_shapes)},
    {"guide gradient", check_guide_gradient, 5e-14, "two roundings", SHAPES(guide_shapes)},
    {"distances gradient", check_distances_gradient, 1e-12, "F32 sums", SHAPES(distances_shapes)},
    {"cross_attention gradient", check_cross_attention_gradient, 5e-12, "F32 sums", SHAPES(cross_back_shapes)},
    {"biased_attention gradient", check_cross_attention_gradient, 5e-12, "F32 sums", SHAPES(biased_back_shapes)},
    {"text_vectors gradient", check_text_vectors_gradient, 1e-13, "F32 sums", SHAPES(vectors_shapes)},
    {"relative_bias gradient", check_relative_bias_gradient, 1e-13, "F32 sums", SHAPES(relative_shapes)},
    {"add gradient", check_add_gradient, 1e-10, "two roundings", SHAPES(add_back_shapes)},
    {"slice gradient", check_slice_gradient, 1e-10, "a copy", SHAPES(slice_shapes)},
    {"l2_normalise", check_l2_normalise, 1e-10, "F32 sums", SHAPES(layer_norm_shapes)},
    {"add_position", check_add_position, 1e-10, "F32 sums", SHAPES(position_shapes)},
    {"mean_rows", check_mean_rows, 1e-10, "F32 sums", SHAPES(mean_shapes)},
    {"scale_exp", check_scale_exp, 1e-10, "F32 sums, exp", SHAPES(scale_exp_shapes)},
    {"upsample gradient", check_upsample_gradient, 1e-10, "F32 sums", SHAPES(upsample_shapes)},
    {"embed gradient", check_embed_gradient, 1e-10, "F32 sums", SHAPES(embed_back_shapes)},
    {"embed_sequence gradient", check_embed_sequence_gradient, 1e-10, "F32 sums", SHAPES(sequence_back_shapes)},
    {"cross_entropy", check_cross_entropy, 1e-10, "F32 sums", SHAPES(cross_entropy_shapes)},
    {"l1", check_l1, 1e-10, "F32 sums", SHAPES(difference_shapes)},
    {"l2", check_l2, 1e-10, "F32 sums", SHAPES(difference_shapes)},
    {"logit_laplace", check_logit_laplace, 1e-10, "F32 sums", SHAPES(laplace_shapes)},
    {"kl_uniform", check_kl_uniform, 1e-10, "F32 sums", SHAPES(usage_shapes)},
    {"usage_entropy", check_usage_entropy, 1e-10, "F32 sums", SHAPES(usage_shapes)},
    {"gumbel_softmax", check_gumbel_softmax, 1e-10, "F32 logarithms", SHAPES(gumbel_shapes)},
    {"matmul_table", check_matmul_table, 1e-10, "F32 sums", SHAPES(matmul_table_shapes)},
    {"self_attention", check_self_attention, 5e-12, "F32 sums", SHAPES(self_attention_shapes)},
    {"self_attention in parts", check_self_attention_parts, 5e-12, "F32 sums", SHAPES(self_attention_part_shapes)},
    {"distances", check_distances, 5e-14, "F32 sums", SHAPES(distances_shapes)},
    {"max_pool", check_max_pool, 1e-14, "a copy; gradients added", SHAPES(max_pool_shapes)},
    {"mean_pool", check_mean_pool, 1e-14, "some roundings", SHAPES(max_pool_shapes)},
    {"ddpm_step", check_ddpm_step, 1e-12, "some roundings", SHAPES(ddpm_shapes)},
    {"inverse_haar", check_inverse_haar, 1e-14, "three roundings", SHAPES(haar_shapes)},
    {"join", check_join, 1e-10, "a copy", SHAPES(join_shapes)},
    {"straight_through", check_straight_through, 1e-14, "a copy", SHAPES(row_shapes)},
    {"hinge", check_hinge, 1e-10, "F32 sums", SHAPES(hinge_shapes)},
    {"balance", check_balance, 1e-10, "F32 sums", SHAPES(balance_shapes)},
    {"codebook", check_codebook, 1e-10, "F32 sums", SHAPES(codebook_shapes)},
    {"multiply", check_multiply, 1e-14, "one rounding", SHAPES(multiply_shapes)},
    {"glu", check_glu, 3e-14, "erf of a few ulp, one rounding more", SHAPES(glu_shapes)},
    {"divide_max", check_divide_max, 1e-14, "one rounding", SHAPES(softmax_shapes)},
    {"rotate", check_rotate, 1e-13, "sine and cosine of large angles", SHAPES(rotate_shapes)},
    {"shift_tokens", check_shift_tokens, 0, "a copy", SHAPES(shift_shapes)},
    {"cross_attention", check_cross_attention, 5e-13, "F32 sums, exp of 3 ulp", SHAPES(cross_shapes)},
    {"biased_attention", check_cross_attention, 5e-13, "F32 sums, exp of 3 ulp", SHAPES(biased_shapes)},
    {"text_vectors", check_text_vectors, 0, "copies", SHAPES(vectors_shapes)},
    {"relative_bias", check_relative_bias, 0, "copies", SHAPES(relative_shapes)},
    {"decoder_input", check_decoder_input, 1e-14, "one rounding", SHAPES(decoder_shapes)},
    {"decoder_input, joined", check_decoder_input, 1e-14, "one rounding", SHAPES(decoder_joined_shapes)},
    {"adamw", check_adamw, 1e-10, "F32 sums", SHAPES(adamw_shapes)},
};
const size_t ops_n_rows = sizeof ops_rows / sizeof *ops_rows;
