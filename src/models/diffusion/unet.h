/* The U-Net of diffusion models (Ronneberger et al. 2015): what it says of noisy latents at a time, beside a text.
 * Levels of ResNet blocks halve the latents and double them again; what is halved goes over to the other side.  Behind
 * the blocks transformers attend to all places and to the text (latent diffusion: Rombach et al. 2022); or, in
 * unCLIP's, which draw pixels (Ramesh et al. 2022), one attention reads text and places at once, or there is none. */
#ifndef MODELS_DIFFUSION_UNET_H
#define MODELS_DIFFUSION_UNET_H
#include "weights/params.h"

#define UNET_LEVELS       6
#define UNET_LAYERS       4
#define UNET_SKIPS        (1 + UNET_LEVELS * (UNET_LAYERS + 1))
#define UNET_DEPTH        16
#define UNET_TRANSFORMERS 192 /* blocks of them in all */

/* What stands between the way down and the way up. */
typedef enum unet_middle {
    UNET_MIDDLE_ATTENDS, /* two ResNet blocks with a transformer between them */
    UNET_MIDDLE_NONE,    /* nothing: Kim et al. 2023 */
    UNET_MIDDLE_RESNETS, /* two ResNet blocks */
    UNET_MIDDLES
} unet_middle;

typedef struct unet_config {
    int in, out;               /* channels: of latents, or with mask and masked latents behind them */
    int levels, layers;        /* ResNet blocks of a level on the way down; up has one more */
    int channels[UNET_LEVELS]; /* of the levels, the first of which has the latents' size */
    int heads[UNET_LEVELS];    /* of the transformers; the middle has the last level's */
    int attends[UNET_LEVELS];  /* 1: it has them */
    int depth[UNET_LEVELS];    /* how many blocks of attention and MLP each of them has; the middle as the last level */
    unet_middle middle;
    int context;    /* width of the text's states; 0: there is no text, and no attention */
    int groups;     /* of all group norms */
    float eps;      /* of those in ResNet blocks */
    int guidance;   /* numbers that tell it how much the text counts (Meng et al. 2023); 0: none do */
    bool shifts;    /* time scales and shifts what comes out of a block's second norm; else it is added before it.  Each
                     * row has a time of its own then, as conditions are added to it. */
    bool resamples; /* ResNet blocks halve and double, not convolutions */
    bool joint;     /* attention to the text's keys and those of all places at once, in place of transformers */
} unet_config;

/* Of ResNet blocks that resample: what comes out of the first norm, and x. */
typedef enum unet_sampling { UNET_STAYS, UNET_HALVES, UNET_DOUBLES } unet_sampling;

/* y = skip(x) + conv2(silu(norm2(conv1(silu(norm1(x))) + time(silu(t))))); with `shifts` the scale and shift of
 * norm2's result are time(silu(t)) */
typedef struct unet_resnet {
    norm norm1, norm2;
    conv conv1, conv2;
    linear time;
    linear skip; /* empty where x is as wide */
    unet_sampling sampling;
} unet_resnet;

/* Between `in` and `out` of norm(x): attention to all places, attention to the text, an MLP; and the same again in
 * `more`, which has no norm, in and out of its own.  A joint one has queries (q), the text's keys and values (kv) and
 * those of norm(x) (own), and out. */
typedef struct unet_transformer {
    norm norm, norm1, norm2, norm3;
    linear in, qkv, self_out, q, kv, own, cross_out, up, down, out;
    int channels, heads, level;
    struct unet_transformer *more; /* NULL: none */
} unet_transformer;

typedef struct unet_level {
    unet_resnet down[UNET_LAYERS], up[UNET_LAYERS + 1];
    unet_transformer *down_attention[UNET_LAYERS], *up_attention[UNET_LAYERS + 1]; /* NULL: none */
    conv halve, twice;
    unet_resnet shrink, grow; /* in place of these, with `resamples` */
} unet_level;

typedef struct unet {
    unet_config k;
    const char *name; /* of its keys and parameters, behind "limn." */
    linear time[2], guidance;
    conv in, out;
    norm norm_out;
    unet_level level[UNET_LEVELS];
    unet_resnet middle[2];
    unet_transformer transformer[UNET_TRANSFORMERS]; /* in the order in which they run */
    int transformers;
    unet_transformer *middle_attention; /* NULL: there is none in the middle */
    int skips, skip_channels[UNET_SKIPS], skip_level[UNET_SKIPS];
} unet;

/* The keys of g, limn.NAME.…; for those who make model files: checks u->k (`file` is for messages) and fills the sizes;
 * declares the parameters; writes the keys. */
bool unet_read(unet *u, const char *name, const gguf *g, err *e);
bool unet_prepare(unet *u, const char *name, const char *file, err *e);
void unet_declare(unet *u, param_table *p);
void unet_put(const unet *u, gguf_writer *w);

/* What stays on the device while pictures of one size are drawn, for up to `rows` latents at once; or, in training,
 * what a pass of the run's own memory is made of, and what it made. */
typedef struct unet_memory {
    const unet *u;
    int rows;
    kv_cache text[UNET_TRANSFORMERS]; /* [rows, heads, text's positions, channels / heads]; not in training */
    tensor skip[UNET_SKIPS];          /* [rows, height, width, channels] of their levels */
    tensor time;                      /* [1, 4 channels]; in training, and with `shifts`, each row has its own */
    tensor condition;                 /* with `shifts`: what a caller adds to each row's time; else empty */
    tensor states;                    /* in training: the texts' states; else empty */
    bool recompute;                   /* in training: tape_recompute of each block */
    /* of joint attention: keys and values of the text [rows, text's positions, 2 channels], and by level which keys are
     * there: 1, or 0; I32 [rows, text's positions + places] */
    tensor joint[UNET_TRANSFORMERS], there[UNET_LEVELS];
} unet_memory;
bool unet_memory_open(unet_memory *m, const unet *u, device *d, int rows, int height, int width, int text, err *e);
void unet_memory_release(unet_memory *m);

/* states[b,text's positions,context] of the texts of rows 0 to b - 1.  lengths[b], of joint attention: how many of a
 * row are there; else NULL. */
void unet_read_text(run *r, const unet *u, const unet_memory *m, tensor states, const int *lengths);
/* [1,n]: cosines, then sines of x / 10000^(i / (n / 2)), i < n / 2 */
tensor unet_sinusoids(run *r, float x, int n);
/* The time of the next calls, which may lie between two; guidance: how much the text counts, where it is told that. */
void unet_set_time(run *r, const unet *u, const unet_memory *m, float time, float guidance);
/* y[b,h,w,out] of x[b,h,w,in], rows 0 to b - 1 of m */
tensor unet_forward(run *r, const unet *u, unet_memory *m, tensor x);
/* The same while a tape records: each row has a time of its own, times[b] on the host, and a text's
 * states[b,positions,context].  *m is filled, but for `recompute`, and stays until the backward pass is done. */
tensor unet_learn(run *r, const unet *u, unet_memory *m, tensor x, const float *times, tensor states);
#endif
