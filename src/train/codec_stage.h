/* Stage 1 from inside: what the kinds of codecs share while they train.  Each kind is a file of its own. */
#ifndef TRAIN_CODEC_STAGE_H
#define TRAIN_CODEC_STAGE_H
#include "train/train.h"

typedef struct codec_stage codec_stage;

/* How a kind trains. */
typedef struct codec_training {
    const codec_kind *kind; /* of the model file */
    const char *others;     /* words for what it has on the device besides its trainer */
    bool (*prepare)(codec *c, const autoencoder_config *k, const char *file, err *e);
    /* Makes the kind's own state, after parameters and optimiser.  NULL: it has none. */
    bool (*open)(codec_stage *s, err *e);
    void (*release)(codec_stage *s); /* also after a failed open; may be called twice */
    /* The loss of x[b,height,width,3].  Sets s->chosen and, if the KL isn't ln K, s->kl. */
    tensor (*forward)(codec_stage *s, tensor x, int64_t step, train_scalars *out);
    /* After the optimiser's step, while the results of `forward` are still there.  NULL: nothing to do. */
    void (*after)(codec_stage *s, int64_t step, train_scalars *out);
} codec_training;
extern const codec_training train_dvae, train_vqvae, train_vqgan; /* codec_dvae.c, codec_vqvae.c, codec_vqgan.c */

/* A codebook that learns. */
typedef struct quantiser {
    codebook_state book;
    tensor z;       /* the last batch's vectors [b,h,w,code_dim] */
    int64_t chosen; /* how many codes this step counted */
} quantiser;

struct codec_stage {
    const train_codec_options *o;
    const codec_training *how;
    run *r;
    int batch; /* pictures of a step, at most */
    codec c;
    param_table params;
    trainer t;
    quantiser quantise;          /* vqvae, vqgan */
    struct adversary *adversary; /* vqgan */
    float *host;                 /* [batch, height, width, 3]: the last batch as the encoder reads it */
    int n;                       /* pictures in it */
    int first;                   /* of them, in this rank's batch of the step (train_part) */
    int32_t *ids;                /* [batch, cells]: their codes */
    uint8_t *seen;               /* the first of them, for samples */
    int n_seen;
    /* results of the last forward pass, on the device: codes I32 [b,h,w], mean square of the difference, KL to the
     * uniform prior (empty: ln K) */
    tensor chosen, square, kl;
    double psnr, perplexity, kl_known; /* the same as they are reported */
};

/* The reconstruction's loss of y, as the decoder gives it: o's l1 and l2 terms, or -log of the logit-Laplace density.
 */
tensor codec_loss(codec_stage *s, tensor y, tensor x, train_scalars *out);

/* ---- of the vqvae, for the vqgan: codec_vqvae.c ---- */

bool vqvae_train_open(codec_stage *s, err *e);
void vqvae_train_release(codec_stage *s);
void vqvae_train_after(codec_stage *s, int64_t step, train_scalars *out);
/* The pictures through encoder, quantisation and decoder; returns what the loss has of the codebook.  y: the decoder's
 * output; last: what its last convolution reads. */
tensor vqvae_pass(codec_stage *s, tensor x, tensor *y, tensor *last, train_scalars *out);
#endif
