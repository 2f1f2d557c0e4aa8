/* Training runs: the loop, the two stages, and the CLIP that ranks. */
#ifndef TRAIN_TRAIN_H
#define TRAIN_TRAIN_H
#include "device/count.h"
#include "models/codecs/discriminator.h"
#include "models/codecs/dvae.h"
#include "models/transformers/clip.h"
#include "models/transformers/gpt.h"
#include "train/codes.h"
#include "train/trainer.h"

#define TRAIN_SCALARS 16

/* What a step reports: numbers that lie on the device until the loop reads them. */
typedef struct train_scalars {
    int n;
    const char *names[TRAIN_SCALARS];
    tensor values[TRAIN_SCALARS]; /* F32 [1]; an empty one is a number that the host knows: */
    float known[TRAIN_SCALARS];
} train_scalars;
void train_scalar(train_scalars *s, const char *name, tensor value);
void train_number(train_scalars *s, const char *name, float value);

typedef struct train_progress {
    int64_t step, steps;
    int64_t first; /* the run began after this step: 0, or the checkpoint's */
    double loss;
    uint64_t planned; /* bytes of the device's memory, by train_plan */
} train_progress;

/* A picture that is wanted: what the model makes of the captions. */
typedef struct train_sample {
    const char *model, *picture; /* paths */
    const char *adapter;         /* of the model's, or NULL */
    const char *const *captions;
    int n;
    int width, height; /* of the pictures, in pixels; 0: the model's */
} train_sample;

/* What every run has. */
typedef struct train_run {
    /* OUT.gguf; OUT.gguf.checkpoint, OUT.gguf.csv, OUT.gguf.events (for TensorBoard) and OUT.gguf.png lie beside it */
    const char *output;
    const char *init;     /* a model file whose weights the run begins from; NULL: new ones */
    bool resume;          /* from the checkpoint, where there is one */
    int64_t save_every;   /* steps between checkpoints; 0: at the end alone */
    int64_t sample_every; /* steps between sample pictures; 0: none */
    const char *const *sources;
    size_t n_sources;
    int batch;      /* of each rank, that goes through the model at once */
    int accumulate; /* batches in a step, which takes the mean of their gradients; 0: 1 */
    train_settings settings;
    /* After every step; false ends the run after a checkpoint: a pause, no error. */
    bool (*progress)(void *context, const train_progress *p);
    /* Asked besides, while data is read and captions are; false ends the run with "interrupted".  NULL: always true. */
    bool (*goes_on)(void *context);
    /* Where a stage has no sample pictures of its own, or NULL: the caller's, of the model at `output`, to a PNG. */
    bool (*sample)(void *context, const train_sample *s, err *e);
    void *context;
} train_run;

/* Items of this rank in a step. */
static inline int train_batch(const train_run *q)
{
    return q->batch * (q->accumulate > 1 ? q->accumulate : 1);
}

/* A micro-batch, which goes through the model at once: items of a step's batch, from `first` on. */
typedef struct train_part {
    int64_t step; /* from 0 */
    int first;    /* number ranks_item(first) of the global batch */
    const dataset_batch *whole;
} train_part;
/* A usage error if q accumulates batches.  For stages whose whole batch has another gradient than the mean of its
 * parts; why: the reason. */
bool train_needs_whole_batches(const train_run *q, const char *why, err *e);

/* The device memory that a run needs at its largest moment, in bytes.  Sample pictures of stage 2 are made if they fit
 * into what is left then. */
typedef struct train_memory {
    uint64_t weights, gradients, moments, ema; /* of the stage's trainer */
    uint64_t activations;                      /* the run's memory: what the backward pass needs, and scratch */
    uint64_t others;                           /* what the stage has besides (train_stage.others) */
    uint64_t before;                           /* in use before the run */
    uint64_t peak;                             /* the sum */
} train_memory;

/* A stage, for plan and loop. */
typedef struct train_stage {
    void *self;
    trainer *t; /* from `open` to `close` */
    /* open makes what the stage has on r's device, for steps of `batch` items at once, and launches on r from then on.
     * close frees that, also after a failed open, and may be called twice.  open may be called again after it. */
    bool (*open)(void *self, run *r, int batch, err *e);
    void (*close)(void *self);
    /* For plans: does what else the stage does after a step and that needs memory.  NULL: nothing. */
    bool (*besides)(void *self, err *e);
    int width, height;  /* of a batch's pictures; 0: it has none */
    const char *others; /* words for what the stage has on the device besides its trainer */
    const char *help;   /* words for the options that make it smaller */
    bool *recompute; /* set it to do parts again in the backward pass, with the same results; NULL: the stage can't */
    bool whole_batches; /* it can't accumulate batches */
    const char *what;   /* "train dalle", with which messages begin: train_plan sets it */
    run **second; /* a second run of the stage, made and freed with the first one and planned like it; NULL: none */
    train_memory memory; /* set by train_plan */
    counted planned;     /* set by train_plan: the run as it was on the device's counting twin */
    run *planned_second; /* and the second run */
    dataset *data;
    uint64_t fingerprint; /* of data and whatever else a resumed run must share */
    /* The forward pass of one micro-batch, b: returns its loss, F32 [1].  A loss that is a mean over other things than
     * items divides by their number in the whole batch of all ranks, so that the mean of the micro-batches' losses is
     * the whole batch's. */
    tensor (*forward)(void *self, const dataset_batch *b, const train_part *p, train_scalars *s);
    /* What else a step does and reports after the optimiser, while the results of the last micro-batch's forward pass
     * are still in the run's memory; or NULL. */
    void (*after)(void *self, int64_t step, train_scalars *s);
    /* Writes a picture of what the model does now to path.  NULL: train_run's `sample` does, of `captions`. */
    bool (*sample)(void *self, const char *path, err *e);
    const char *const *captions;
    int n_captions;
    int sample_width, sample_height; /* of these, as in train_sample */
    /* Writes what was trained to q->output.  NULL: a model with `keys` and the codec of `further` is written. */
    bool (*write)(void *self, const char *path, err *e);
    trainer_keys *keys;
    const gguf *further;
    const char *beside; /* what the names of more tensors of `further` begin with that the model needs, or NULL */
} train_stage;

/* Plans the run on d, before its first launch (plan.c): opens the stage on d's counting twin (device/count.h), does
 * steps and closes it.  If that doesn't fit, it sets *s->recompute and tries again; if that doesn't fit either, an
 * error says what needs how much and which option would help.  Logs the plan.  The stage must be complete but for
 * `data` and `fingerprint`. */
bool train_plan(const train_run *q, train_stage *s, device *d, const char *what, err *e);
/* Opens the stage for train_loop on r, an unused run, which gets the planned memory.  If the driver refuses that, it
 * plans again with three quarters of it as the limit. */
bool train_open(const train_run *q, train_stage *s, run *r, err *e);
/* For a step of the open stage that failed because the driver refused memory, as `why` says: closes the stage, plans
 * again with three quarters as the limit, and opens it again. */
bool train_open_again(const train_run *q, train_stage *s, const err *why, err *e);
/* Call it after train_plan, whether that succeeded or not. */
void train_close(train_stage *s);
/* For plans: launches what a step launches. */
void train_walk_step(const train_run *q, train_stage *s, const dataset_batch *b, int64_t step);

/* Whether all ranks have data of this fingerprint. */
bool train_same_data(uint64_t fingerprint, err *e);
/* Runs the stage to its end, or until a pause; writes checkpoint, model, log and samples.  With several ranks
 * (base/ranks.h) a step takes the global batch, in which item i of this rank's batch is number ranks_item(i); rank 0
 * writes; if one rank is to pause, all do. */
bool train_loop(const train_run *q, train_stage *s, err *e);

/* Stage 1 (Ramesh et al. 2021, section 2.1): a codec on pictures alone. */
typedef enum train_codec_kind {
    TRAIN_CODEC_DVAE,
    TRAIN_CODEC_VQVAE,
    TRAIN_CODEC_VQGAN, /* a vqvae with further losses: the file's kind is that */
    TRAIN_CODEC_COUNT
} train_codec_kind;

typedef struct train_codec_options {
    train_run run;
    train_codec_kind kind;
    autoencoder_config model;
    float l1,
        l2; /* weights of the reconstruction terms, on -1..1; a model of LIKELIHOOD_LOGIT_LAPLACE has its density */
    double crop;
    bool flip;
    /* dvae */
    float usage, usage_end; /* weight of the entropy of the codes' use, by a cosine */
    float kl;               /* weight of the KL to the uniform prior at the end; it grows from 0 */
    float tau, tau_end,
        tau_share; /* the temperature goes from tau to tau_end by a cosine over this share of the steps */
    bool straight_through;
    /* vqvae, vqgan */
    float commitment;      /* weight of the encoder's distance to the codes */
    bool learned_codebook; /* by gradients, else by running means: */
    float codebook_decay;  /* of the running counts and means */
    float restart;         /* a code whose running count is below this share of the mean starts again; 0: never */
    /* vqgan */
    int discriminator_layers, discriminator_channels[DISCRIMINATOR_LAYERS];
    int64_t discriminator_start; /* the step from which on there is one */
    float discriminator_weight;  /* of its gradient, when both at the decoder's last layer are of one size */
    const char *perceptual;      /* a model file whose codec's encoder sees for the perceptual loss; NULL: none */
    float perceptual_weight;
} train_codec_options;
train_codec_options train_codec_defaults(void);
bool train_codec(device *d, const train_codec_options *o, err *e);

/* Stage 2 (ibid., section 2.2): the transformer on text and the frozen codec's codes.  A new one, of the paper's kind,
 * or that of `init`, of whatever kind, in a file of any type of weights: they are F32 in training and in what it
 * writes. */
typedef struct train_dalle_options {
    train_run run;
    gpt model;         /* sizes, 0: the usual ones; those of grid, codes and vocabulary are taken from the files below.
                          Where `init` has a transformer, its sizes; a size that is given is the same then */
    const char *codec; /* a model file with a codec; NULL: init's */
    const char *tokenizer;                /* a model file with a tokenizer; NULL: init's */
    float text_weight, image_weight;      /* of the losses; a transformer that predicts no text has the image's alone */
    float condition_dropout, bpe_dropout; /* train/text.h */
    int lora;               /* rank of adapters (models/lora.h) that learn in place of init's weights; 0: none */
    const char *made_codes; /* .npy file of codes that were made elsewhere; NULL: the codec makes them, */
    const char *codes;      /* in this file (train/codes.h); NULL: OUT.gguf.codes */
    train_codes_progress *encoding; /* while they are made, with the run's context; or NULL */
} train_dalle_options;
train_dalle_options train_dalle_defaults(void);
bool train_dalle(device *d, const train_dalle_options *o, err *e);

/* The means of -log p over text, where targets I32 [b,prefix-1] (-1: none) are given, and over codes[b,cells], of
 * x[b,prefix+cells-1,dim] as d's forward pass gives it.  F32 [1]; text is empty without targets. */
typedef struct train_losses {
    tensor text, image;
} train_losses;
train_losses train_sequence_losses(run *r, const transformer *d, tensor x, tensor targets, tensor codes);

/* The U-Net of a diffusion model, `init`, or adapters of it, on text and the latents of the model's autoencoder: the
 * mean of (said - wanted)^2, where what is wanted is the noise, or v, at a uniform time of each picture (Ho et al.
 * 2020; Salimans & Ho 2022). */
typedef struct train_unet_options {
    train_run run;
    int width, height;              /* of the pictures, in pixels; 0: the model's */
    float condition_dropout;        /* train/text.h */
    int lora;                       /* rank of adapters that learn in place of the weights; 0: none */
    bool mlp;                       /* adapters of the MLPs too, beside the attention's */
    bool recompute;                 /* blocks are done again in the backward pass */
    const char *codes;              /* file of the pictures' latents (train/codes.h); NULL: OUT.codes */
    train_codes_progress *encoding; /* as train_dalle_options' */
} train_unet_options;
train_unet_options train_unet_defaults(void);
bool train_unet(device *d, const train_unet_options *o, err *e);

/* CLIP (Radford et al. 2021), which ranks pictures: captions and pictures of a batch find each other.  Two pictures of
 * a batch with equal captions are not held against each other: such pairs are left out of both softmaxes. */
typedef struct train_clip_options {
    train_run run;
    clip model;            /* sizes; the vocabulary and the ids are the tokenizer's */
    const char *tokenizer; /* a model file with a tokenizer */
    const char *codec;     /* a model file whose codec shows every other picture, as generated ones look; or NULL */
    int shift;             /* pictures move by up to so many pixels in each direction */
} train_clip_options;
train_clip_options train_clip_defaults(void);
bool train_clip(device *d, const train_clip_options *o, err *e);
#endif
