/* The VQ-VAE, for those who make model files and for training: its state is an autoencoder. */
#ifndef MODELS_CODECS_VQVAE_H
#define MODELS_CODECS_VQVAE_H
#include "models/codecs/autoencoder.h"

/* Checks k and makes a codec c of it, which codec_release frees (errors name `file`); autoencoder_declare and
 * autoencoder_put are the rest. */
bool vqvae_prepare(codec *c, const autoencoder_config *k, const char *file, err *e);
extern const codec_kind codec_vqvae;
#endif
