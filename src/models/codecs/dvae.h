/* The discrete VAE, for those who make model files. */
#ifndef MODELS_CODECS_DVAE_H
#define MODELS_CODECS_DVAE_H
#include "models/codecs/autoencoder.h"

/* Checks k and makes c of it (`file` is for messages), which goes by codec_release; autoencoder_declare and
 * autoencoder_put are the rest. */
bool dvae_prepare(codec *c, const autoencoder_config *k, const char *file, err *e);
#endif
