/* The gradients of a whole model's parameters, on the tape and by finite differences of its loss. */
#ifndef TESTS_MODEL_GRADIENT_H
#define TESTS_MODEL_GRADIENT_H
#include "ops/tape.h"
#include "weights/params.h"

typedef struct model_gradient {
    const char *name;
    run *r;
    param_table params; /* trainable */
    tensor (*loss)(void *context);
    void *context;
    double step; /* of the differences; 0: as suits a smooth loss */
} model_gradient;

/* For cmocka: the state is a run on the device that LIMN_DEVICE names; closing it fails where memory is left. */
int model_gradient_open(void **state);
int model_gradient_close(void **state);
/* The parameter p becomes values. */
void model_gradient_set(const model_gradient *m, const param *p, const float *values);
/* Random parameters, far from where training begins, so that all of them matter. */
void model_gradient_draw(const model_gradient *m);
/* The loss, and the gradients of all parameters on the tape. */
tensor model_gradient_backward(const model_gradient *m, tape *t);
/* Fails where the gradient of a parameter, along itself and of its largest element, isn't what finite differences give.
 * LIMN_TEST_BRIEF: of every `some`-th parameter. */
void model_gradient_check(const model_gradient *m, size_t some);
#endif
