/* What a diffusion model's text tower makes of captions, each of them once. */
#ifndef TRAIN_STATES_H
#define TRAIN_STATES_H
#include "models/model.h"
#include "train/data/dataset.h"

typedef struct train_states {
    char **captions; /* [n] different ones in the order of strcmp, of which the first is empty */
    float *states;   /* [n, each] */
    int64_t n;
    size_t each; /* numbers of a caption: text_length times the states' width */
} train_states;

/* Reads all captions of the data with m's tower, as many at once as its plan has room for; then m rests.  False with
 * "interrupted" where the data set's goes_on says so. */
bool train_states_open(train_states *s, model *m, dataset *data, err *e);
void train_states_release(train_states *s);
/* Those of a caption of the data, or of "". */
const float *train_states_of(const train_states *s, const char *caption);
#endif
