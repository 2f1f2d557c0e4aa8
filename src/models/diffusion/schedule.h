/* How diffusion models add noise, and how they are meant to take it away: what a model file says of both.
 *
 * A picture's latents x_0 become x_t = sqrt(kept_t) x_0 + sqrt(1 - kept_t) e with noise e of unit variance, where
 * kept_t is the product of 1 - beta up to t (Ho et al. 2020).  sigma_t = sqrt((1 - kept_t) / kept_t) is the noise
 * beside x_0. */
#ifndef MODELS_DIFFUSION_SCHEDULE_H
#define MODELS_DIFFUSION_SCHEDULE_H
#include "io/gguf.h"

#define SCHEDULE_TIMES 1000 /* the most that a model was trained with, and the most steps of a picture */

/* How beta grows over the times. */
typedef enum schedule_betas {
    BETAS_SCALED, /* their roots grow evenly: Rombach et al. 2022 */
    BETAS_LINEAR, /* Ho et al. 2020 */
    BETAS_COSINE, /* Nichol & Dhariwal 2021 */
    BETAS_COUNT
} schedule_betas;

/* What the network gives for x at a time. */
typedef enum schedule_prediction {
    PREDICTION_EPSILON, /* e */
    PREDICTION_V,       /* sqrt(kept) e - sqrt(1 - kept) x_0: Salimans & Ho 2022 */
    PREDICTION_SAMPLE,  /* x_0 */
    PREDICTION_COUNT
} schedule_prediction;

/* The ways from noise to a picture: generate/sampler.h. */
typedef enum sampler_kind {
    SAMPLER_DDIM,                /* Song et al. 2020 */
    SAMPLER_PNDM,                /* Liu et al. 2022 */
    SAMPLER_EULER,               /* Karras et al. 2022 */
    SAMPLER_EULER_KARRAS,        /* at their sigmas */
    SAMPLER_EULER_A,             /* ancestral: adds noise in each step */
    SAMPLER_DPMPP_2M,            /* DPM-Solver++ of the second order: Lu et al. 2022 */
    SAMPLER_DPMPP_2M_KARRAS,     /* at Karras' sigmas */
    SAMPLER_DPMPP_2M_SDE,        /* adds noise in each step */
    SAMPLER_DPMPP_2M_SDE_KARRAS, /* both */
    SAMPLER_LCM,                 /* Luo et al. 2023 */
    SAMPLER_UNCLIP,              /* ancestral: Ho et al. 2020, of fewer steps as in Nichol & Dhariwal 2021 */
    SAMPLERS
} sampler_kind;
extern const char *const sampler_names[SAMPLERS]; /* "ddim", "pndm", … */

/* Which times the steps have. */
typedef enum spacing {
    SPACING_LEADING,  /* even, from the smallest on */
    SPACING_LINSPACE, /* even, with both ends */
    SPACING_TRAILING, /* even, from the largest on */
    SPACINGS
} spacing;
extern const char *const spacing_names[SPACINGS]; /* "leading", … */
extern const char *const prediction_names[PREDICTION_COUNT];

typedef struct schedule {
    int times; /* that the model was trained with */
    float beta_start, beta_end;
    schedule_betas betas;
    schedule_prediction predicts;
    int offset;        /* of leading times */
    bool ends_at_one;  /* behind the last step nothing is noise; false: as much as at time 0 */
    bool zero_snr;     /* at the last time nothing is left of a picture: Lin et al. 2023, algorithm 1 */
    sampler_kind with; /* the model's own, */
    int spacing;       /* and its spacing, from 1 on; 0: the sampler's usual one */
    /* of unCLIP's networks, which have keys of their own (transformers/unclip.c) */
    float clamp;  /* what a picture seems to be is brought to -clamp..clamp; 0: it stays */
    bool learned; /* the network says how much noise a step adds */
} schedule;

/* The limn.scheduler.… keys of g; for those who make model files: checks s (`file` is for messages); writes the keys.
 */
bool schedule_read(schedule *s, const gguf *g, err *e);
bool schedule_check(const schedule *s, const char *file, err *e);
void schedule_put(const schedule *s, gguf_writer *w);

/* kept[times] */
void schedule_kept(const schedule *s, double kept[SCHEDULE_TIMES]);
/* The same, and betas[times], rounded to floats as the published code has them.  1 - kept has three digits then near
 * time 0, and a first step that divides by sqrt(kept) makes other pictures of that. */
void schedule_floats(const schedule *s, double kept[SCHEDULE_TIMES], double betas[SCHEDULE_TIMES]);

/* The index of a name; -1: there is none. */
int sampler_find(const char *name);
int spacing_find(const char *name);
#endif
