/* The models of a device under its one memory limit: what isn't at work rests where another one needs room. */
#ifndef MODELS_REST_H
#define MODELS_REST_H
#include "models/model.h"

/* Whether something of the model's is at work, so that what it has on the device must stay: a batch, or, within a
 * callback, what called it. */
bool model_at_work(const model *m);
/* Frees what the model has on the device, until it is used again.  ERR_USAGE while it is at work. */
bool model_rest(model *m, err *e);

/* From now on the model rests where another one of its device needs room.  For functions of the API, which use a model
 * by plans alone (models/plan.h): those bring back what they need. */
void model_share(model *m);
/* Bytes of those of the device's models, m apart, that may rest now. */
uint64_t model_idle(const model *m);
/* Of these, the one that was planned for longest ago rests.  False where there is none, or with e filled. */
bool model_rest_oldest(const model *m, err *e);
#endif
