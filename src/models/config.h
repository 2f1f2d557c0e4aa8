/* Hyper-parameters out of a model file, checked. */
#ifndef MODELS_CONFIG_H
#define MODELS_CONFIG_H
#include "io/gguf.h"

bool config_int(const gguf *g, const char *key, int min, int max, int *value, err *e);
bool config_float(const gguf *g, const char *key, float *value, err *e);
/* The index of the key's string among names. */
bool config_choice(const gguf *g, const char *key, const char *const *names, int n, int *value, err *e);
#endif
