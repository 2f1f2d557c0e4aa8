/* The references of gradients and of losses, plain C from the definitions, in double precision.  dy and the outputs
 * have the shapes of what they are the gradients of. */
#ifndef TESTS_REF_BACK_H
#define TESTS_REF_BACK_H
#include "ref_ops.h"

void ref_layer_norm_back(double *dx, double *dw, double *db, const float *dy, const float *x, const float *w,
                         double eps, int rows, int d);
/* x[b,pixels,c]; dz: the gradient before the activation */
void ref_group_norm_back(double *dx, double *dw, double *db, const double *dz, const float *x, const float *w,
                         double eps, int batch, int pixels, int c, int groups);
/* of y = softmax(scale x) */
void ref_softmax_back(double *dx, const double *y, const float *dy, double scale, int rows, int d);
void ref_attention_back(double *dqkv, const float *dy, const float *qkv, int b, int t, int heads, int keys,
                        int head_dim, const attention_mask *mask);

/* Losses and their gradients with respect to x; dx: or NULL */
double ref_cross_entropy(double *dx, const float *x, const int32_t *targets, double smoothing, int n, int k);
double ref_l1(double *dx, const float *x, const float *target, int n);
double ref_l2(double *dx, const float *x, const float *target, int n);
double ref_logit_laplace(double *dx, const float *x, const float *target, int rows, int c);
double ref_kl_uniform(double *dx, const float *x, int n, int k);
double ref_usage_entropy(double *dx, const float *x, int n, int k);

/* softmax((x + noise) / tau) of x[pictures, rows, k] */
void ref_gumbel_noise(double *y, const gumbel *g, int pictures, int per);
void ref_gumbel_softmax(double *y, const float *x, const gumbel *g, int pictures, int rows, int k);
typedef struct ref_codebook {
    double *rows, *counts, *sums; /* [k,d], [k], [k,d] or NULL */
    int k, d;
} ref_codebook;
/* op_code_sums of x[n,d] and ids[n], then op_codebook */
void ref_codebook_step(const ref_codebook *c, const float *x, const int32_t *ids, int n, const codebook_step *o);
/* One step; scale: the clipping's. */
void ref_adamw(double *x, double *m, double *v, const float *gradient, double scale, const adamw *o, int n);
#endif
