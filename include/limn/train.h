/* limn: training.  limn.h, which includes this file, has conventions, errors and devices. */
#ifndef LIMN_TRAIN_H
#define LIMN_TRAIN_H
#include "limn.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Training as `limn train` does it, with the same files.  Models that are open on the device keep what they have there:
 * where memory is short, limn_model_rest them before.  In all of its options 0, or NULL, means the default, which is
 * named here; a number below 0 means 0 itself.  size: sizeof of the struct, or 0 for the fields of version 0.2. */
typedef enum limn_train_phase {
    LIMN_TRAIN_READING,  /* data is looked for (done and total are 0), or a tokenizer's captions are read */
    LIMN_TRAIN_ENCODING, /* the pictures' codes are made: done and total are pictures */
    LIMN_TRAIN_STEPPING  /* after a step: done and total are steps */
} limn_train_phase;
typedef struct limn_train_progress {
    limn_train_phase phase;
    int64_t done, total;
    int64_t first; /* steps that an earlier start had done */
    double loss;   /* of the step */
} limn_train_progress;

/* What is to become of an earlier run's output. */
typedef enum limn_train_existing {
    LIMN_TRAIN_REFUSE,   /* an error that says what is there */
    LIMN_TRAIN_RESUME,   /* go on from its checkpoint: the same data, seed and sizes; where there is none, begin */
    LIMN_TRAIN_OVERWRITE /* begin anew */
} limn_train_existing;

typedef struct limn_train_options {
    size_t size;
    const char *const *data; /* [n_data] paths: folders of pictures, .jsonl and .tar files, pictures */
    size_t n_data;
    /* The model that is written.  Beside it: OUTPUT.checkpoint, OUTPUT.csv (a line a step), OUTPUT.events (for
     * TensorBoard), OUTPUT.png (sample pictures), and while the run lasts OUTPUT.lock. */
    const char *output;
    limn_train_existing existing;
    const char *init;     /* a model file whose weights it begins from; NULL: new ones */
    uint64_t seed;        /* of the weights, the order and the noise */
    int64_t steps;        /* 5000; of a CLIP 3000 */
    int64_t save_every;   /* steps between checkpoints; 500; below 0: at the end alone */
    int64_t sample_every; /* steps between sample pictures; as save_every; below 0: none */
    int batch;            /* items that go through the model at once; 32, of a dalle 48, of a CLIP 128 */
    int accumulate;       /* batches whose gradients are averaged in a step; 1 */
    int64_t warm_up;      /* steps until the learning rate is at its largest; 200, of a codec 0 */
    float lr;             /* the largest learning rate; 0.001 */
    float decay;          /* of AdamW; 0.02, of a CLIP 0.1, of a codec 0 */
    float clip;           /* largest norm of the gradient; 4, of a CLIP 1, of a codec any */
    float ema;            /* decay of the moving average of the weights, which the model gets, such as 0.999; none */
    /* Called now and then, and after each step; NULL: never.  Returning false after a step pauses: a checkpoint is
     * written, and the call succeeds.  Before the first step it is LIMN_FAILED "interrupted". */
    bool (*progress)(void *context, const limn_train_progress *p);
    void *context;
    /* Nothing is trained, and the device may be NULL: only whether the options are possible, and the output free. */
    bool check;
} limn_train_options;

/* A byte-pair tokenizer, from the captions of the data.  Of the run's options `data`, `output`, `existing`, `progress`
 * and `check` count; where a tokenizer alone is at the output, it is replaced.  No device is needed. */
typedef struct limn_train_tokenizer_options {
    size_t size;
    int64_t vocabulary;    /* tokens to make, <pad>, <img> and the 256 bytes among them; 16384 */
    int64_t min_frequency; /* pairs that occur so many times are joined; 2 */
    bool lowercase;        /* no difference between capital and small letters */
} limn_train_tokenizer_options;
/* What came of it. */
typedef struct limn_tokenizer_counts {
    size_t tokens;
    int64_t captions;
} limn_tokenizer_counts;
/* options and counts may be NULL. */
LIMN_API bool limn_train_tokenizer(const limn_train_options *run, const limn_train_tokenizer_options *options,
                                   limn_tokenizer_counts *counts, limn_error *e);

/* An image codec (stage 1 of Ramesh et al. 2021).  Captions aren't read. */
typedef enum limn_codec_kind { LIMN_DVAE, LIMN_VQVAE, LIMN_VQGAN } limn_codec_kind;
typedef enum limn_codec_loss { LIMN_L1_L2, LIMN_L1, LIMN_L2, LIMN_LOGIT_LAPLACE } limn_codec_loss;
typedef struct limn_train_codec_options {
    size_t size;
    limn_codec_kind kind;
    limn_codec_loss loss;
    bool nearest;                 /* the decoder doubles pixels and convolves, else by transposed convolutions */
    int image_size;               /* width and height; 64 */
    int codes, code_dim;          /* size and width of the codebook; 1024, 96 */
    int stages;                   /* each halves the picture; 3 */
    const int *encoder, *decoder; /* [stages] channels after each halving, before each doubling; 32,64,128, 128,64,32 */
    int blocks, encoder_blocks;   /* residual blocks of both, and of the encoder alone; 3, as blocks */
    int block_width;              /* 64 */
    double crop;                  /* random crops with sides of at least this share; none */
    bool flip;                    /* every other picture is mirrored */
    /* of a dvae */
    float tau_end, tau_share; /* last temperature, from 1, and the share of the steps until then; 0.0625, 0.5 */
    float kl, usage;          /* weights of the KL to the uniform prior, and of the entropy of codes; 0, 0.05 */
    bool straight_through;    /* hard codes are decoded, with the gradient of soft ones */
    /* of a vqvae and a vqgan */
    float commitment;      /* weight of the encoder's distance to the codes; 0.25 */
    bool learned_codebook; /* by gradients, else by running means */
    float codebook_decay;  /* of these; 0.99 */
    float restart;         /* a code used less than this share of the mean starts again; 0.1 */
    /* of a vqgan */
    const int *discriminator; /* [discriminator_layers] channels; 32,64,128 */
    int discriminator_layers;
    int64_t discriminator_start; /* the step from which on there is one; half of the steps */
    float discriminator_weight;  /* 0.8 */
    const char *perceptual;      /* a model file whose codec sees for the perceptual loss; none */
    float perceptual_weight;     /* 1 */
} limn_train_codec_options;
/* options may be NULL. */
LIMN_API bool limn_train_codec(limn_device *d, const limn_train_options *run, const limn_train_codec_options *options,
                               limn_error *e);

/* A transformer on text and a codec's codes (stage 2, ibid.): a new one, or that of `init`, of whatever kind. */
typedef struct limn_train_dalle_options {
    size_t size;
    const char *codec, *tokenizer; /* model files with them; those of `init` */
    int dim, heads, layers, mlp;   /* 256, 4, 8, 4 dim; or the sizes of init's */
    int text_length;               /* positions for text, [IMG] among them; 24, or init's */
    float text_weight;             /* of the loss on text, the rest is that on codes; 0.125 */
    float condition_dropout;       /* share of captions left empty, so that guidance works; 0 */
    float bpe_dropout;             /* chance that a merge of the tokenizer is left out; 0 */
    const char *codes_cache;       /* path where the pictures' codes are kept; OUTPUT.codes */
    bool recompute;                /* do blocks again on the way back, in less memory; where it must be */
    /* Rank of low-rank adapters (Hu et al. 2021), which learn in place of the weights of `init`, of whatever type these
     * are; 0: none.  `output` is then a folder, which is made, for adapter_model.safetensors and adapter_config.json;
     * or a file NAME.safetensors, beside which the second is written. */
    int lora;
    const char *codes; /* path of the pictures' codes, made elsewhere: .npy, int32 [pictures, grid_height * grid_width]
                          in the order of the data; by the codec, which needs an encoder then */
} limn_train_dalle_options;
LIMN_API bool limn_train_dalle(limn_device *d, const limn_train_options *run, const limn_train_dalle_options *options,
                               limn_error *e);

/* The U-Net of a diffusion model, or adapters of it (Ho et al. 2020), on pictures and captions.  Of the run's options
 * `init` is needed, a model with autoencoder and text tower, which stay as they are; these are other by default: steps
 * 1000, batch 1, warm_up 0, lr 0.0001, decay 0.01, clip 1, sample_every none. */
typedef struct limn_train_unet_options {
    size_t size;
    int width, height;       /* of the pictures, in pixels: multiples of limn_model_info.size_step; the model's */
    float condition_dropout; /* share of captions left empty; 0 */
    const char *codes_cache; /* path where the pictures' latents are kept; OUTPUT.codes */
    bool recompute;          /* do blocks again on the way back, in less memory; where it must be */
    /* Rank of low-rank adapters (Hu et al. 2021) of the attention's layers, which learn in place of the weights, of
     * whatever type these are; 0: none, the whole network learns.  `output` is then a folder, which is made, for
     * pytorch_lora_weights.safetensors in the layout of diffusers; or a file NAME.safetensors. */
    int lora;
    bool lora_mlp; /* adapters of the MLPs too */
} limn_train_unet_options;
LIMN_API bool limn_train_unet(limn_device *d, const limn_train_options *run, const limn_train_unet_options *options,
                              limn_error *e);

/* A CLIP that ranks pictures (Radford et al. 2021). */
typedef struct limn_train_clip_options {
    size_t size;
    const char *tokenizer; /* a model file with one: needed */
    const char *codec;     /* a model file through whose codec every other picture goes first; none */
    int image_size, patch; /* width and height of pictures and patches; 64, 8 */
    int dim;               /* of the joint space; 128 */
    int width, layers;     /* of the image tower; 128, 4 */
    int text_width, text_layers;
    int heads;       /* of both towers; 4 */
    int text_length; /* positions for text, its end among them; 24 */
    int shift;       /* pictures move by up to so many pixels; 3 */
} limn_train_clip_options;
LIMN_API bool limn_train_clip(limn_device *d, const limn_train_options *run, const limn_train_clip_options *options,
                              limn_error *e);

#ifdef __cplusplus
}
#endif
#endif
