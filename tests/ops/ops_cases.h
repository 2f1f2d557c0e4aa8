/* What the op tests share: the environment of a case, its shapes, and helpers that make inputs and measure errors.
 * The table is in ops_rows.c; the functions that its rows name are in ops_cases_*.c. */
#ifndef TESTS_OPS_CASES_H
#define TESTS_OPS_CASES_H
#include <setjmp.h> /* cmocka.h wants these four before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "ref_ops.h"

/* One device, opened with one choice of kernels. */
typedef struct ops_env {
    const char *style; /* "default", "cpu", "gpu 64", "gpu 16", "clblast" */
    device *d;
    run *r;
    bool tiny;                /* on a device that interprets: a case gets a run of its own, and does the least */
    uint32_t streams;         /* of random inputs: each array of a case has its own */
    struct ops_owned *arrays; /* freed by ops_release */
    struct ops_held *buffers;
} ops_env;

/* The sizes of a case, named as in ops.h; what an op doesn't have stays 0. */
typedef struct shape {
    int b, t, h, w, c, d;
    int m, n, k;
    int out, kernel, stride, pad, pad_end, groups;
    int heads, head_dim, text, grid_width, grid_height, step;
    int kv_heads; /* of keys; 0: as many as of queries */
    int factor, first;
    mask_kind mask;
    dtype type;
    activation act;
    bool transposed, bias, residual;
    int split;  /* rows of a weight in one buffer; 0: all */
    bool faint; /* weights so small that the scales of their blocks are subnormal halves */
    bool view;  /* inputs are rows of larger tensors */
    bool tiny;  /* runs under LIMN_TEST_TINY too */
} shape;

/* Where x has 16 bits (linear_rounds) the error's mean square may be larger by 1 / OPS_X_BITS than that of F32 sums:
 * the largest of 32 is some 2.2 times their deviation, and (2.2 / 32767)^2 / 12 is 4e-10. */
#define OPS_X_BITS 1e-3

/* Runs an op on a shape; the error against the reference. */
typedef double ops_check(ops_env *v, const shape *s);

ops_check check_linear, check_conv, check_conv_parts, check_conv_narrow, check_conv_in_place, check_conv_sums,
    check_layer_norm, check_layer_norm_twice, check_group_norm, check_softmax, check_attention,
    check_attention_rounding, check_activate, check_add, check_slice, check_upsample, check_repeat, check_guide,
    check_embed, check_embed_sequence, check_argmax;

ops_check check_linear_normed;                        /* ops_cases_normed.c */
ops_check check_linear_gradient, check_conv_gradient; /* ops_cases_product_gradient.c */
ops_check check_low_rank;                             /* ops_cases_low_rank.c: values and gradients */
/* ops_cases_row_gradient.c */
ops_check check_layer_norm_gradient, check_group_norm_gradient, check_softmax_gradient, check_attention_gradient,
    check_activate_gradient, check_add_gradient, check_slice_gradient, check_upsample_gradient, check_embed_gradient,
    check_embed_sequence_gradient;
ops_check check_conv_strips, check_conv_strips_gradient; /* ops_cases_strips.c */
/* ops_cases_picture.c: values and gradients */
ops_check check_self_attention, check_self_attention_parts, check_distances, check_max_pool, check_mean_pool,
    check_ddpm_step, check_inverse_haar, check_join;
ops_check check_rms_norm, check_rotate_grid, check_rotary;                               /* ops_cases_gate.c */
ops_check check_multiply, check_glu, check_divide_max, check_rotate, check_shift_tokens; /* ops_cases_gate.c */
/* ops_cases_decoder.c */
ops_check check_cross_attention, check_relative_bias, check_relative_bias_gradient, check_text_vectors,
    check_text_vectors_gradient, check_decoder_input;
/* ops_cases_gate_gradient.c */
ops_check check_multiply_gradient, check_glu_gradient, check_divide_max_gradient, check_rms_norm_gradient,
    check_guide_gradient, check_rotate_gradient, check_rotary_gradient, check_rotate_grid_gradient,
    check_shift_tokens_gradient, check_add_table_gradient, check_distances_gradient, check_cross_attention_gradient;
/* ops_cases_clip.c: values and gradients */
ops_check check_l2_normalise, check_add_position, check_mean_rows, check_scale_exp;
/* ops_cases_loss.c: values and gradients */
ops_check check_cross_entropy, check_l1, check_l2, check_logit_laplace, check_kl_uniform, check_usage_entropy,
    check_gumbel_softmax, check_matmul_table, check_adamw;

/* ops_cases_quantise.c: values and gradients */
ops_check check_straight_through, check_hinge, check_balance, check_codebook;

/* ops_cases_masked.c: values and gradients */
ops_check check_modulate, check_response_norm, check_depthwise, check_fill_masked;

/* One op of the table. */
typedef struct ops_row {
    const char *op;
    ops_check *check;
    double bound;    /* of ops_error */
    const char *why; /* the bound is that */
    const shape *shapes;
    size_t n;
} ops_row;
extern const ops_row ops_rows[]; /* ops_rows.c */
extern const size_t ops_n_rows;
extern const ops_row ops_masked_rows[]; /* ops_rows_masked.c: a part of the table too */
extern const size_t ops_n_masked_rows;
/* ops_lens.c: shapes for the lens, of rows of the table (the first one with that check). */
typedef struct ops_lens {
    ops_check *check;
    const shape *shapes;
    size_t n;
} ops_lens;
extern const ops_lens ops_lenses[];
extern const size_t ops_n_lenses;

/* Settings of b pictures by op_guide: row i of 2b, led away from row b + i. */
tensor ops_guidance(ops_env *v, int b, float scale);

/* Tests of behaviour that a number doesn't express; each runs for every style of kernels. */
typedef struct ops_behaviour {
    const char *name;
    void (*test)(ops_env *v);
} ops_behaviour;
/* Ended by a row without a name. */
extern const ops_behaviour ops_sampling[], ops_positions[], ops_runs[], ops_counting[], ops_learning[], ops_tapes[];

/* Tests that open devices of their own. */
extern const struct CMUnitTest ops_device_tests[];
extern const size_t ops_n_device_tests;

/* Memory that ops_release frees. */
void *ops_memory(ops_env *v, size_t count, size_t size);
/* n standard normal numbers; the same ones for the same call of a case. */
float *ops_numbers(ops_env *v, int n);
/* A lasting tensor.  values are rounded to what the type can hold, so that references see what kernels see. */
tensor ops_tensor(ops_env *v, dtype type, int nd, const int64_t *shape, float *values);
tensor ops_integers(ops_env *v, int nd, const int64_t *shape, const int32_t *values);
#define SHAPE(...)                                                                                                     \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[])                                             \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
/* The same, as a view into a larger tensor where the shape asks for views. */
tensor ops_input(ops_env *v, const shape *s, int nd, const int64_t *dims, float *values);
/* A weight [rows, columns] of the shape's type, in pieces of s->split rows where it asks for that. */
tensor ops_weight(ops_env *v, const shape *s, int rows, int columns, float *values);
/* x[n] as the type holds it; F32 or F16. */
void ops_round(dtype type, float *x, int n);
/* An attention's, of the shape's type and a larger batch, in memory that nobody has written. */
kv_cache ops_cache(ops_env *v, const shape *s, int length);
void ops_release(ops_env *v);
/* sum (y - reference)^2 / sum reference^2; infinite where y is not of n finite numbers or the run failed. */
double ops_error(ops_env *v, tensor y, const double *reference, int n);
double ops_error_of(const float *y, const double *reference, int n);

/* A directory of its own for a test; removed with all its files by ops_remove_directory. */
void ops_make_directory(char path[64]);
void ops_remove_directory(const char *path);
/* Another device like v's, with its tunables. */
device *ops_open(const tuning *tune, const limn_device_options *o);
#endif
