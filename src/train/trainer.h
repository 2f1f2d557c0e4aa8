/* What both stages of training share: parameters with gradients and moments, the optimiser's step, checkpoints.
 *
 * A checkpoint is a GGUF file with everything that decides how training goes on (values, moments, EMA, step, place in
 * the data), so a resumed run gives the same bytes as one without a pause. */
#ifndef TRAIN_TRAINER_H
#define TRAIN_TRAINER_H
#include "ops/tape.h"
#include "train/all_reduce.h"
#include "train/data/dataset.h"
#include "weights/params.h"

typedef struct train_settings {
    int64_t steps;
    int64_t warm_up; /* steps of linear growth from 0 to lr, then a cosine down to lr_end at `steps` */
    float lr, lr_end;
    float beta1, beta2, eps, decay; /* AdamW; biases and norms don't decay, tables and positions do */
    float clip;                     /* largest norm of the whole gradient; 0: any */
    float ema; /* decay of the parameters' exponential moving average, which the model file gets; 0: none is kept */
    uint64_t seed;
} train_settings;

/* The learning rate of step `step`, counted from 0. */
float train_learning_rate(const train_settings *s, int64_t step);
/* From `from` at 0 to `to` at 1 and later, by a cosine: temperatures, weights. */
float train_cosine(float from, float to, double progress);

typedef struct slot {
    tensor gradient, m, v, ema; /* of the parameter's shape; ema is empty if none is kept */
} slot;

/* A tensor that checkpoints hold besides parameters and moments. */
typedef struct kept_tensor {
    char name[128];
    tensor x;
    const conv *conv; /* whose weight it is, or NULL */
} kept_tensor;

typedef struct trainer {
    run *r;
    tape *tape;
    param_table *params;
    slot *slots; /* one a parameter */
    tensor squares;
    all_reduce all_reduce; /* of the gradients; does nothing if this rank is alone */
    kept_tensor *kept;
    size_t n_kept;
    train_settings settings;
    int64_t step;              /* steps done */
    bool applied;              /* the step's optimiser began, so that values may be new ones */
    dataset_position position; /* where the next batch begins */
} trainer;

/* Loads every parameter for training (params_load_trainable) from the model file `init`, which may hold other tensors
 * too; if that is NULL, as a new model. */
bool trainer_load(param_table *params, run *r, const char *init, uint64_t seed, err *e);
/* params are loaded (trainer_load). */
bool trainer_open(trainer *t, run *r, param_table *params, const train_settings *s, err *e);
void trainer_release(trainer *t);
/* Gives all ranks (base/ranks.h) what rank 0 has: values, moments, EMA, step, position. */
bool trainer_share(trainer *t, err *e);

/* Makes x, which is F32 and has memory of its own, a part of t's checkpoints.  c: the convolution whose weight it is,
 * or NULL. */
bool trainer_keep(trainer *t, const char *name, tensor x, const conv *c, err *e);
/* The same for all that another trainer has: values, moments, EMA. */
bool trainer_keep_all(trainer *t, trainer *other, err *e);

/* One step: trainer_begin sets the gradients to 0 and starts the tape; the caller does the forward pass; trainer_finish
 * takes its loss and does the rest: backward, the mean of the gradients over the ranks, clipping, AdamW, EMA, packing
 * the new weights.  Errors stay in the run. */
void trainer_begin(trainer *t);
/* Between the two, for a batch of several micro-batches: adds the gradients of one, after which the forward pass of the
 * next may begin. */
void trainer_part(trainer *t, tensor loss);
void trainer_finish(trainer *t, tensor loss);

/* Writes the model's own keys: autoencoder_put, gpt_put, bpe_put. */
typedef void trainer_keys(const void *context, gguf_writer *w);
/* The model alone, ready to use, with the EMA of its parameters if it is kept.  `further`: a file whose codec the model
 * needs too, or NULL; and, unless `beside` is NULL, those of its tensors whose names begin so. */
bool trainer_write_model(trainer *t, const char *path, trainer_keys *keys, const void *context, const gguf *further,
                         const char *beside, err *e);
/* The value of parameter i that a model gets. */
const tensor *trainer_result(const trainer *t, size_t i);
/* Adapters that t trains: lora_write (models/lora.h). */
struct lora;
bool trainer_write_adapters(trainer *t, const struct lora *l, const char *path, const char *base_model, err *e);
bool trainer_write_checkpoint(trainer *t, const char *path, uint64_t fingerprint, err *e);
/* Values, moments, EMA, step and position.  A checkpoint of other data or another seed is an error. */
bool trainer_read_checkpoint(trainer *t, const char *path, uint64_t fingerprint, err *e);
#endif
