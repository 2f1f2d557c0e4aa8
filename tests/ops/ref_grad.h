/* The reference of the gradients of products: plain C from the definitions, in double precision.  Outputs and dy have
 * the shapes of what they are the gradients of; those that are NULL are not made. */
#ifndef TESTS_REF_GRAD_H
#define TESTS_REF_GRAD_H
#include "ref_ops.h"

/* dL/dv of L = g ref_activation(v, act) */
double ref_activation_back(double v, double g, activation act);
/* y[m,n] = act(x[m,k] w[n,k]^T + b[n]); dz[m,n]: the gradient before the activation */
void ref_linear_back(double *dx, double *dw, double *db, const double *dz, const float *x, const float *w, int m, int n,
                     int k);
/* dz: as above, of ref_conv2d or ref_conv_transpose2d without activation */
void ref_conv_back(double *dx, double *dw, double *db, const double *dz, const float *x, const float *w,
                   const ref_conv *c, bool transposed);
#endif
