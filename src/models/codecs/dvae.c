/* The discrete VAE: the encoder gives logits over the codebook (Ramesh et al. 2021, section 2.1). */
#include "models/codecs/dvae.h"

bool dvae_prepare(codec *c, const autoencoder_config *k, const char *file, err *e)
{
    return autoencoder_prepare(c, &codec_dvae, k, k->codes, "codec.encoder.logits", file, e);
}

static bool dvae_open(codec *c, const gguf *g, param_table *p, err *e)
{
    autoencoder_config k;
    if (!autoencoder_read(&k, g, e) || !dvae_prepare(c, &k, gguf_name(g), e))
        return false;
    autoencoder_declare(c, p);
    return true;
}

const codec_kind codec_dvae = {.name = "dvae",
                               .open = dvae_open,
                               .encode = autoencoder_encode,
                               .decode_grid = autoencoder_decode_grid,
                               .features = autoencoder_features};
