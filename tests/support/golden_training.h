/* What a training run wrote, against its twin's of a tools/make_golden_*training.py. */
#ifndef TESTS_GOLDEN_TRAINING_H
#define TESTS_GOLDEN_TRAINING_H
#include <jansson.h>

#include "train/trainer.h"

/* The optimiser's settings of all twins. */
train_settings golden_training_settings(int64_t steps);

/* model: the run's output, beside which its log and its checkpoint are.  name: for messages. */

/* The log's losses of the first steps, in all and of the parts that there are: want[steps] of {"loss": …, "image": …}.
 */
void golden_training_losses(const char *model, const char *name, const json_t *want);
/* After one step without clipping: want is {parameter: [length, product with golden_number], …} of its gradients. */
void golden_training_gradients(const char *model, const char *name, const json_t *want);
/* The loss of a step, counted from 1. */
double golden_training_loss(const char *model, int step);
#endif
