/* What --model and its like name: a model file, or with --convert what one can be made of. */
#ifndef CLI_MODEL_INPUT_H
#define CLI_MODEL_INPUT_H
#include "cli/options.h"

/* Whether the path can be opened as a model.  Checkpoints and folders are converted into the cache where --convert is
 * given: *own is the model's path then, a new string, else NULL.  path NULL is fine: the built-in model. */
bool model_input(const options *o, const char *path, char **own, err *e);
/* The same where nothing is converted: what is no model file is refused, with what it is. */
bool model_input_file(const char *path, err *e);
#endif
