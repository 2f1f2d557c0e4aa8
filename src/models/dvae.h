/* The discrete VAE's hyper-parameters, for those who make model files. */
#ifndef MODELS_DVAE_H
#define MODELS_DVAE_H
#include "models/codec.h"

#define DVAE_STAGES 8
#define DVAE_BLOCKS 16

typedef struct dvae_config {
    int width, height; /* pixels: multiples of 2^stages */
    int codes, code_dim;
    int stages; /* each halves the picture */
    int encoder_channels[DVAE_STAGES], decoder_channels[DVAE_STAGES];
    int encoder_blocks, decoder_blocks, block_width; /* residual blocks at the grid's size, and their inner width */
    activation act;
} dvae_config;

/* Makes c of k and declares its parameters; codec_release(c).  `file` is for messages. */
bool dvae_declare(codec *c, const dvae_config *k, const char *file, param_table *p, err *e);
/* Writes the keys that codec_open reads. */
void dvae_put(const dvae_config *k, gguf_writer *w);
#endif
