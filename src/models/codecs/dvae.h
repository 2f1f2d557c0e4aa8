/* The discrete VAE, for those who make model files. */
#ifndef MODELS_CODECS_DVAE_H
#define MODELS_CODECS_DVAE_H
#include "models/codecs/autoencoder.h"

/* Makes c of k and declares its parameters; codec_release(c).  `file` is for messages. */
bool dvae_declare(codec *c, const autoencoder_config *k, const char *file, param_table *p, err *e);
#endif
