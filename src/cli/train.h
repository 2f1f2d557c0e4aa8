/* What the commands of limn train share: the data that their options name, numbers as the library takes
 * them, and the options of train codec. */
#ifndef CLI_TRAIN_H
#define CLI_TRAIN_H
#include "cli/options.h"
#include "train/train.h"

/* What --data and the operands name, *n of them, a new array. */
const char **train_sources(const options *o, size_t *n, err *e);
/* As limn_train_options have numbers: 0 where the option isn't given, and -1 for 0. */
int64_t train_option_integer(const options *o, const char *name);
double train_option_number(const options *o, const char *name);
/* "limn: next: limn COMMAND DATA REST", with the data as it was named; `rest` is a format. */
void train_say_next(const options *o, const char *name, const char *rest, ...) __attribute__((format(printf, 3, 4)));
/* A name as a shell takes it, in out. */
const char *train_quoted(const char *name, char out[512]);
/* Room for the lists that the options of train codec have. */
typedef struct train_channels {
    int encoder[AUTOENCODER_STAGES], decoder[AUTOENCODER_STAGES], discriminator[DISCRIMINATOR_LAYERS];
} train_channels;
/* The options of train codec but those of every run; *t is all zeros. */
bool train_codec_read(const options *o, limn_train_codec_options *t, train_channels *room, err *e);
#endif
