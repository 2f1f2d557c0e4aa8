/* What the commands of limn train share: the data set that their options name. */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H
#include "cli/options.h"
#include "train/dataset.h"

/* What --data and the operands name, *n of them, a new array. */
const char **train_sources(const options *o, size_t *n, err *e);
/* The data of --data and of the operands.  want: all but the sources.  NULL with e filled. */
dataset *train_open_data(const options *o, dataset_options want, err *e);
#endif
