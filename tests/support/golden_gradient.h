/* What PyTorch makes of ops and models: cases of tests/data/gradients.safetensors, which
 * tools/make_golden_gradients.py writes and describes.  All of these fail the test where anything is amiss. */
#ifndef TESTS_GOLDEN_GRADIENT_H
#define TESTS_GOLDEN_GRADIENT_H
#include "checks.h"
#include "io/safetensors.h"
#include "ops/tape.h"

#define GOLDEN_INPUTS 64

/* One case on a device. */
typedef struct golden {
    const char *name; /* "OP.VARIANT" */
    run *r;
    const int32_t *i; /* parameters of the op */
    const float *f;
    struct golden_input {
        const char *name;
        tensor x;
    } inputs[GOLDEN_INPUTS];
    int n;
    tensor panels; /* of a convolution */
    double worst;  /* error so far */
} golden;

/* For cmocka: opens the file, closes it. */
int golden_open(void **state);
int golden_close(void **state);
const safetensors *golden_file(void);

/* CASE/PREFIX NAME, or NULL. */
const file_tensor *golden_find(const golden *g, const char *prefix, const char *name);
/* The data of CASE/NAME, or NULL. */
const void *golden_data(const golden *g, const char *name);
/* The case's input of that name on the device, watched where the tape records and a gradient is expected; empty where
 * there is none. */
tensor golden_input(golden *g, const char *name);
/* got is the file's CASE/PREFIX NAME. */
void golden_meet(golden *g, tensor got, const char *prefix, const char *name);
/* Frees the inputs. */
void golden_drop(golden *g);
/* Calls check with a run on the device that LIMN_DEVICE names. */
void golden_run(void (*check)(run *r));
#endif
