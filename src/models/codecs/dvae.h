/* The discrete VAE, for those who make model files. */
#ifndef MODELS_CODECS_DVAE_H
#define MODELS_CODECS_DVAE_H
#include "models/codecs/autoencoder.h"

/* Checks k and makes a codec c of it, which codec_release frees (errors name `file`); autoencoder_declare and
 * autoencoder_put are the rest. */
bool dvae_prepare(codec *c, const autoencoder_config *k, const char *file, err *e);
extern const codec_kind codec_dvae;
#endif
