/* What a model of limn's is, in words: the first thing that limn inspect says of it. */
#ifndef CLI_INSPECT_MODEL_H
#define CLI_INSPECT_MODEL_H
#include "limn/limn.h"

/* A few lines on stdout; nothing for files of other programs. */
void print_model(const limn_inspection *in);
#endif
