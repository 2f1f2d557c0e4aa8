/* The VQ-VAE, for those who make model files and for training: its state is an autoencoder. */
#ifndef MODELS_CODECS_VQVAE_H
#define MODELS_CODECS_VQVAE_H
#include "models/codecs/autoencoder.h"

/* Makes c of k and declares its parameters; codec_release(c).  `file` is for messages. */
bool vqvae_declare(codec *c, const autoencoder_config *k, const char *file, param_table *p, err *e);
#endif
