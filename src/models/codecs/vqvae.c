/* The VQ-VAE (van den Oord et al. 2017): the encoder gives vectors, and a cell's code is the nearest row of the
 * codebook.  A VQGAN (Esser et al. 2021) is one that was trained with further losses: its file is the same. */
#include "models/codecs/vqvae.h"

bool vqvae_prepare(codec *c, const autoencoder_config *k, const char *file, err *e)
{
    return autoencoder_prepare(c, &codec_vqvae, k, k->code_dim, "codec.encoder.vectors", file, e);
}

static bool vqvae_open(codec *c, const gguf *g, param_table *p, err *e)
{
    autoencoder_config k;
    if (!autoencoder_read(&k, g, e) || !vqvae_prepare(c, &k, gguf_name(g), e))
        return false;
    autoencoder_declare(c, p);
    return true;
}

/* Minus the squared distances: the largest is the nearest, and their softmax is a Gaussian's q(z|x). */
static tensor vqvae_encode(run *r, const codec *c, tensor x)
{
    const autoencoder *a = c->state;
    return op_distances(r, autoencoder_encode(r, c, x), a->codebook);
}

const codec_kind codec_vqvae = {.name = "vqvae",
                                .open = vqvae_open,
                                .encode = vqvae_encode,
                                .decode_grid = autoencoder_decode_grid,
                                .features = autoencoder_features};
