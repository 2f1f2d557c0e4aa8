/* Who uses a device and its models: one thread at a time.  What is freed while it is in use goes when that is over, and
 * is refused until then.  For functions of the API. */
#ifndef MODELS_GUARD_H
#define MODELS_GUARD_H
#include "models/model.h"

/* The calling thread uses the device until guard_leave, also where it does already: they nest.  ERR_USAGE where another
 * one does. */
bool guard_enter(device *d, err *e);
/* The outermost one frees what was to be freed meanwhile and nothing holds, and the device without models. */
void guard_leave(device *d);
/* The same for a model: ERR_USAGE where it was freed. */
bool guard_enter_model(model *m, err *e);
void guard_leave_model(model *m);
/* Where messages of the model go: they do while it, or for its device's the device, is in use by the thread. */
log_place guard_log(const model *m);
/* ERR_USAGE where the model was freed, within a callback. */
bool guard_there(const model *m, err *e);

/* As soon as nobody uses them: what is on device d, by its `release`. */
void guard_free(device *d, guarded *g);
void guard_free_model(model *m);
void guard_free_device(device *d);
#endif
