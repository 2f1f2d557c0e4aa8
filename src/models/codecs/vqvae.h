/* The VQ-VAE, for those who make model files and for training: its state is an autoencoder. */
#ifndef MODELS_CODECS_VQVAE_H
#define MODELS_CODECS_VQVAE_H
#include "models/codecs/autoencoder.h"

/* Checks k and makes c of it (`file` is for messages), which goes by codec_release; autoencoder_declare and
 * autoencoder_put are the rest. */
bool vqvae_prepare(codec *c, const autoencoder_config *k, const char *file, err *e);
#endif
