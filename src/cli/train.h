/* What the commands of limn train share: the data set that their options name, the output, and the options of train
 * codec. */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H
#include "cli/options.h"
#include "train/data/dataset.h"
#include "train/output.h"
#include "train/train.h"

/* What --data and the operands name, *n of them, a new array. */
const char **train_sources(const options *o, size_t *n, err *e);
/* The data of --data and of the operands.  want: all but the sources.  NULL with e filled. */
dataset *train_open_data(const options *o, dataset_options want, err *e);
/* Claims the output of --output, where --overwrite is not given by `existing`, and checks that neither it nor
 * `further`, another output or NULL, is an input: the sources, and the files of the options named in `models`, "init",
 * "codec", ..., NULL. Release x in any case. */
bool train_claim(train_output *x, const options *o, const char *const *models, const char *further,
                 train_existing existing, err *e);
/* "limn: next: limn COMMAND DATA REST", with the data as it was named; `rest` is a format. */
void train_say_next(const options *o, const char *name, const char *rest, ...) __attribute__((format(printf, 3, 4)));
/* A name as a shell takes it, in out. */
const char *train_quoted(const char *name, char out[512]);
/* The options of train codec but those of every run (t->run), over the defaults in t. */
bool train_codec_read(const options *o, train_codec_options *t, err *e);
#endif
