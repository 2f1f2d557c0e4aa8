/* The hyper-parameters of DALLE-pytorch's DiscreteVAE, for those who make model files. */
#ifndef MODELS_CODECS_DALLE_PYTORCH_VAE_H
#define MODELS_CODECS_DALLE_PYTORCH_VAE_H
#include "models/codecs/codec.h"

#define DALLE_PYTORCH_STAGES 12
#define DALLE_PYTORCH_BLOCKS 32

typedef struct dalle_pytorch_vae_config {
    int width, height; /* pixels: multiples of 2^stages */
    int codes, code_dim;
    int stages; /* each halves the picture */
    int hidden; /* channels of all layers */
    int blocks; /* residual, at the grid's size, in encoder and decoder */
} dalle_pytorch_vae_config;

/* Checks k and makes a codec c of it, which codec_release frees (errors name `file`); declares c's parameters; writes
 * the keys that codec_open reads. */
bool dalle_pytorch_vae_prepare(codec *c, const dalle_pytorch_vae_config *k, const char *file, err *e);
void dalle_pytorch_vae_declare(codec *c, param_table *p);
void dalle_pytorch_vae_put(const dalle_pytorch_vae_config *k, gguf_writer *w);
extern const codec_kind codec_dalle_pytorch;
#endif
