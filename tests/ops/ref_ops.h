/* The reference of every op in src/ops/ops.h: plain C from the definitions, in double precision.
 * Arrays are row-major in the shapes given; NULL where a parameter says "or NULL". */
#ifndef TESTS_REF_OPS_H
#define TESTS_REF_OPS_H
#include "ops/ops.h"

double ref_activation(double v, activation act);

/* y[m,n] = act(x[m,k] w[n,k]^T + b[n]) + residual[m,n]; b, residual: or NULL */
void ref_linear(double *y, const float *x, const float *w, const float *b, const float *residual, int m, int n, int k,
                activation act);

typedef struct ref_conv {
    int b, h, w, in, out, kernel, stride, pad; /* x[b,h,w,in], weights [out,kernel,kernel,in] */
    activation act;
    int pad_end; /* not of transposed ones */
} ref_conv;
int ref_conv_side(const ref_conv *c, int side, bool transposed); /* of the output, for an input side */
/* y[b,oh,ow,out]; bias [out], residual (of y's shape): or NULL */
void ref_conv2d(double *y, const float *x, const float *w, const float *bias, const float *residual, const ref_conv *c);
void ref_conv_transpose2d(double *y, const float *x, const float *w, const float *bias, const ref_conv *c);

void ref_layer_norm(double *y, const float *x, const float *w, const float *b, double eps, int rows, int d);
/* x[b,pixels,c] */
void ref_group_norm(double *y, const float *x, const float *w, const float *b, double eps, int batch, int pixels, int c,
                    int groups, activation act);
void ref_softmax(double *y, const float *x, int rows, int d);

/* Whether the query at position q sees the key at position key. */
bool ref_mask_allows(const attention_mask *mask, int q, int key);
/* y[b,t,heads*head_dim] of all positions 0 to t-1; qkv[b,t,3*heads*head_dim] */
void ref_attention(double *y, const float *qkv, int b, int t, int heads, int keys, int head_dim,
                   const attention_mask *mask);

/* softmax(q k^T / sqrt(d)) v within each of b pictures of n pixels */
void ref_self_attention(double *y, const float *q, const float *k, const float *v, int b, int n, int d);
/* y[m,k] = -|x[m,d] - table[k,d]|^2 */
void ref_distances(double *y, const float *x, const float *table, int m, int k, int d);
/* y[b,h/factor,w/factor,c] */
void ref_mean_pool(double *y, const float *x, int b, int h, int w, int c, int factor);
void ref_max_pool(double *y, const float *x, int b, int h, int w, int c, int factor);
/* y[b,2h,2w,c]; x[b,h,w,4c] */
void ref_inverse_haar(double *y, const float *x, int b, int h, int w, int c);
/* rows of a[rows,ca] and b[rows,cb] side by side */
void ref_join(double *y, const float *a, const float *b, int rows, int ca, int cb);
/* ref_gate.c */
void ref_glu(double *y, const float *x, int m, int d, activation act);
void ref_divide_max(double *y, const float *x, int m, int d);
void ref_rotate(double *y, const float *x, const float *angles, int b, int t, int heads, int head_dim, int turned);
/* width numbers a row, of which the first `columns` are heads of 2n */
void ref_rotary(double *y, const float *x, const float *frequencies, int b, int t, int width, int columns, int n);
void ref_rotate_grid(double *y, const float *x, int b, int t, int heads, int head_dim, int text, int grid_width);
void ref_rms_norm(double *y, const float *x, const float *w, int m, int d, double eps);
void ref_shift_tokens(double *y, const float *x, int b, int t, int d, int text, int grid_width);

/* y[b,h*factor,w*factor,c] */
void ref_upsample(double *y, const float *x, int b, int h, int w, int c, int factor);
void ref_slice(double *y, const float *x, int b, int t, int d, int first, int n);
void ref_guide(double *y, const float *x, int b, int k, double scale); /* x[2b,k] */

/* y[n,d] = table[ids[n],d], row 0 for ids outside */
void ref_embed(double *y, const int32_t *ids, int n, const float *table, int rows, int d);

typedef struct ref_sequence {
    const float *text, *text_position, *image, *row_position, *column_position;
    int text_vocabulary, codes, text_length, grid_width, grid_height, d;
} ref_sequence;
/* y[d]: the input at position p of the sequence ids[text_length], codes[grid_height*grid_width] */
void ref_embed_position(double *y, const ref_sequence *e, const int32_t *ids, const int32_t *codes, int p);

int ref_argmax(const float *x, int k);
/* The code of row `row`, cell `cell`, without forcing. */
int ref_sample(const float *logits, int k, const sampling *s, int row, int cell);
#endif
