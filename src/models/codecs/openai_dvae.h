/* The hyper-parameters of OpenAI's discrete VAE, for those who make model files. */
#ifndef MODELS_CODECS_OPENAI_DVAE_H
#define MODELS_CODECS_OPENAI_DVAE_H
#include "models/codecs/codec.h"

#define OPENAI_DVAE_GROUPS 4 /* of blocks; between them the picture halves or doubles */
#define OPENAI_DVAE_BLOCKS 16

typedef struct openai_dvae_config {
    int width, height; /* pixels: multiples of 8 */
    int codes, code_dim;
    int encoder_width, decoder_width; /* channels at the picture's size, 2, 4, 8 times as many below: multiples of 4 */
    int encoder_blocks, decoder_blocks; /* in a group */
} openai_dvae_config;

/* Checks k and makes a codec c of it, which codec_release frees (errors name `file`); declares c's parameters; writes
 * the keys that codec_open reads. */
bool openai_dvae_prepare(codec *c, const openai_dvae_config *k, const char *file, err *e);
void openai_dvae_declare(codec *c, param_table *p);
void openai_dvae_put(const openai_dvae_config *k, gguf_writer *w);
extern const codec_kind codec_openai_dvae;
#endif
