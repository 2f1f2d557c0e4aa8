/* Rows of the table of the op tests: what models that fill masked cells have. */
#include "ops_cases.h"

static const shape modulate_shapes[] = {
    {.b = 2, .t = 3, .d = 5, .tiny = true},
    {.b = 3, .t = 17, .d = 130, .view = true},
    {.b = 1, .t = 256, .d = 64},
};
static const shape response_shapes[] = {
    {.b = 2, .t = 3, .d = 7, .tiny = true},
    {.b = 3, .t = 25, .d = 192, .view = true},
    {.b = 1, .t = 256, .d = 66},
};
static const shape depthwise_shapes[] = {
    {.b = 2, .h = 3, .w = 4, .c = 5, .kernel = 3, .tiny = true},
    {.b = 1, .h = 1, .w = 2, .c = 70, .kernel = 3, .view = true},
    {.b = 2, .h = 7, .w = 6, .c = 33, .kernel = 5},
    {.b = 1, .h = 16, .w = 16, .c = 64, .kernel = 3},
};
static const shape fill_shapes[] = {
    {.m = 6, .k = 5, .first = 2, .step = 2, .bias = true, .tiny = true},
    {.m = 25, .k = 64, .first = 7, .step = 1, .bias = true},
    {.m = 100, .k = 130, .first = 40, .step = 3, .bias = true}, /* fewer are masked than are wanted */
    {.m = 64, .k = 33, .first = 0, .step = 4, .bias = true},    /* one at least */
    {.m = 64, .k = 300, .first = 20, .step = 1, .view = true},
    {.m = 30, .k = 40, .first = -1, .step = 2, .bias = true}, /* the last step */
};

#define SHAPES(x) (x), sizeof(x) / sizeof *(x)
const ops_row ops_masked_rows[] = {
    {"modulate", check_modulate, 1e-12, "F32 sums", SHAPES(modulate_shapes)},
    {"global_response_norm", check_response_norm, 1e-11, "F32 sums, roots", SHAPES(response_shapes)},
    {"depthwise_conv2d", check_depthwise, 1e-12, "F32 sums", SHAPES(depthwise_shapes)},
    {"fill_masked", check_fill_masked, 0, "codes are right or wrong", SHAPES(fill_shapes)},
};
const size_t ops_n_masked_rows = sizeof ops_masked_rows / sizeof *ops_masked_rows;
