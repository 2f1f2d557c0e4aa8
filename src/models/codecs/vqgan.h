/* The hyper-parameters of VQGAN's autoencoder, for those who make model files. */
#ifndef MODELS_CODECS_VQGAN_H
#define MODELS_CODECS_VQGAN_H
#include "models/codecs/codec.h"

#define RESNET_VQ_STAGES 10
#define RESNET_VQ_BLOCKS 8

/* One of the two networks.  Stage 0 has the picture's size; between stages it halves, or doubles. */
typedef struct resnet_vq_side {
    int blocks; /* residual blocks in a stage */
    int channels[RESNET_VQ_STAGES];
    int attention[RESNET_VQ_STAGES]; /* 1: after each block of the stage */
} resnet_vq_side;

typedef struct resnet_vq_config {
    int width, height; /* pixels of decoded pictures */
    int codes, code_dim;
    int latent; /* channels at the grid, between a network and the projection to or from code_dim */
    int stages;
    int groups; /* of all group norms */
    float eps;
    bool has_encoder;  /* false: the file has a decoder alone */
    int stem;          /* channels before the encoder's first stage */
    bool gumbel;       /* logits by a projection; false: the code is the nearest entry */
    bool bounded;      /* what the encoder gives is bounded, each number to its levels (Mentzer et al. 2023, FSQ) */
    bool haar_twice;   /* the networks read and give Haar coefficients of Haar coefficients of a picture */
    bool mixes;        /* there are linear layers between, of a network over time (NVIDIA's Cosmos) */
    bool wavelet;      /* the decoder gives Haar coefficients of pictures twice as wide and high as the encoder's */
    bool unit_range;   /* pictures are 0 to 1; false: -1 to 1 */
    bool plain_middle; /* without attention between the two blocks in the middle */
    bool latents;      /* no codebook: cells have code_dim numbers, of which the encoder gives mean and ln variance
                          (an autoencoder of diffusion models: Rombach et al. 2022); codes is 0 */
    float scale;       /* of these: latents are `scale` times those that the networks know */
    resnet_vq_side encoder, decoder;
} resnet_vq_config;

/* Checks k and makes a codec c of it, which codec_release frees (errors name `file`); declares c's parameters; writes
 * the keys that codec_open reads. */
bool resnet_vq_prepare(codec *c, const resnet_vq_config *k, const char *file, err *e);
void resnet_vq_declare(codec *c, param_table *p);
void resnet_vq_put(const resnet_vq_config *k, gguf_writer *w);
extern const codec_kind codec_resnet_vq;
#endif
