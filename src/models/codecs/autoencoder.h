/* The convolutional encoder and decoder that our own codec kinds share, with the codebook between them: strided
 * convolutions down, residual blocks at the grid's size, doublings up (Ramesh et al. 2021, section 2.1).  A kind says
 * what the encoder's last convolution means: logits over the codebook (dvae), or vectors of its width (vqvae). */
#ifndef MODELS_CODECS_AUTOENCODER_H
#define MODELS_CODECS_AUTOENCODER_H
#include "models/codecs/codec.h"

#define AUTOENCODER_STAGES 8
#define AUTOENCODER_BLOCKS 16

/* How the decoder doubles: limn.codec.upsampling. */
typedef enum upsampling {
    UPSAMPLING_TRANSPOSED, /* convolution transposed, 4 x 4, stride 2; what a file without the key means */
    UPSAMPLING_NEAREST,    /* each pixel twice, then a convolution of 3 x 3 */
    UPSAMPLING_COUNT
} upsampling;
extern const char *const upsampling_names[UPSAMPLING_COUNT]; /* "transposed", "nearest" */

/* What the decoder's output means: limn.codec.likelihood. */
typedef enum likelihood {
    LIKELIHOOD_PIXELS,        /* 3 channels, pixels on -1..1; what a file without the key means */
    LIKELIHOOD_LOGIT_LAPLACE, /* 6 channels, mu and ln b of a logit-Laplace distribution of pixels on 0.1..0.9: ibid.,
                                 appendix A.3 */
    LIKELIHOOD_COUNT
} likelihood;

typedef struct autoencoder_config {
    int width, height; /* pixels: multiples of 2^stages */
    int codes, code_dim;
    int stages; /* each halves the picture */
    int encoder_channels[AUTOENCODER_STAGES], decoder_channels[AUTOENCODER_STAGES];
    int encoder_blocks, decoder_blocks, block_width; /* residual blocks at the grid's size, and their inner width */
    activation act;
    upsampling up;
    likelihood output;
} autoencoder_config;

typedef struct residual {
    conv conv3, conv1;
} residual;

/* The state of a codec of these kinds. */
typedef struct autoencoder {
    autoencoder_config config;
    int latent_channels; /* of the encoder's last convolution */
    const char *latent_name;
    conv down[AUTOENCODER_STAGES], latent, in, up[AUTOENCODER_STAGES], out;
    residual encoder[AUTOENCODER_BLOCKS], decoder[AUTOENCODER_BLOCKS];
    tensor codebook; /* [codes, code_dim] */
} autoencoder;

/* Reads the keys; writes the keys that it reads, and the kind. */
bool autoencoder_read(autoencoder_config *k, const gguf *g, err *e);
void autoencoder_put(const autoencoder_config *k, const codec_kind *kind, gguf_writer *w);
/* Checks k and makes a codec c of it, which codec_release frees (errors name `file`).  latent: the channels of the
 * encoder's last convolution, and its name, which stays. */
bool autoencoder_prepare(codec *c, const codec_kind *kind, const autoencoder_config *k, int latent, const char *name,
                         const char *file, err *e);
void autoencoder_declare(codec *c, param_table *p);

/* x[b,height,width,3] -> [b,grid_height,grid_width,latent] */
tensor autoencoder_encode(run *r, const codec *c, tensor x);
/* codec_kind.decode_grid of these kinds, and the same with what the last convolution reads. */
tensor autoencoder_decode_grid(run *r, const codec *c, tensor grid);
tensor autoencoder_decode_to(run *r, const codec *c, tensor grid, tensor *last);
/* Pixels as c->input maps them, [b,height,width,3], of what autoencoder_decode_grid returns. */
tensor autoencoder_pixels(run *r, const codec *c, tensor y);

/* codec_kind.features of these kinds. */
int autoencoder_features(run *r, const codec *c, tensor x, tensor features[CODEC_FEATURES]);
#endif
