/* One check of any op's gradient: that of L = sum over i of c[i] y[i], y = op(inputs), c random. */
#ifndef TESTS_OPS_CASES_GRADIENT_H
#define TESTS_OPS_CASES_GRADIENT_H
#include "ops_cases.h"

#define GRADIENT_INPUTS 8

/* What the gradient is taken of.  Rows with an empty x are skipped. */
typedef struct gradient_input {
    const char *name;
    tensor x;               /* on the device */
    float *values;          /* the same here, which `reference` reads; n numbers */
    int n;                  /* elements */
    const double *expected; /* dL/dx by the reference of the op's backward, or NULL: finite differences alone */
} gradient_input;

typedef struct gradient_case {
    void *context;                               /* passed to the two functions */
    tensor (*op)(run *r, void *context);         /* the op on the device */
    void (*reference)(double *y, void *context); /* its forward reference, of the inputs' `values`; NULL: no finite
                                                    differences */
    int count;                                   /* elements of y */
    float *c;                                    /* [count]: dL/dy, from ops_numbers */
    bool rough;                                  /* not smooth (relu): no finite differences */
    gradient_input in[GRADIENT_INPUTS];
} gradient_case;

/* The largest ops_error_of of the inputs' gradients against `expected`: of all inputs at once, overwritten and added to
 * what was there, and of each input alone.  Fails where finite differences of `reference` differ by more than 1e-2. */
double gradient_error(ops_env *v, const gradient_case *g);
#endif
