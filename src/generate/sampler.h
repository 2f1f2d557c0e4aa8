/* From noise to latents in some steps, as numbers: a sampler says at which times the network is asked, and of which
 * sums each step's latents are.  All samplers are sums of the same tensors, so the device needs no more than that. */
#ifndef GENERATE_SAMPLER_H
#define GENERATE_SAMPLER_H
#include "models/diffusion/schedule.h"

#define SAMPLER_HISTORY 3 /* what a step may read of those before it */

/* A step: x are the latents before it, o is what the network says of scale_in x at `time`. */
typedef struct sampler_step {
    float time; /* may be between two that the model was trained with */
    float scale_in;
    float x, o, noise;              /* the next latents = x x + o o + noise (unit variance) + … */
    float history[SAMPLER_HISTORY]; /* … + these of what was pushed before, the newest first */
    float kept;                     /* … + this of the latents that were kept */
    bool keep;                      /* keep x, as it is before the step */
    bool push;                      /* after the step, push push_x x + push_o o */
    float push_x, push_o;
    float clean_x, clean_o; /* what the picture seems to be now: clean_x x + clean_o o */
    /* of SAMPLER_UNCLIP: with that brought to -clamp..clamp the next latents are by_clean times it + by_x x + noise;
     * and where the network says how much noise is right, that lies between these logarithms of its variance */
    float clamp, by_clean, by_x;
    float log_least, log_most;
} sampler_step;

typedef struct sampler {
    sampler_kind kind;
    schedule_prediction predicts;
    int n;          /* steps; of PNDM one more than were asked for, if that was more than one */
    int start;      /* the first that is done: below n */
    int all;        /* times that the model was trained with */
    int each;       /* times from one step to the next, of DDIM and PNDM */
    double initial; /* of the first latents, of unit variance */
    double times[SCHEDULE_TIMES + 1];
    double sigmas[SCHEDULE_TIMES + 2]; /* of those that go by sigma: one more, 0 */
    double kept[SCHEDULE_TIMES];
    double last_kept;
    float clamp;                  /* the schedule's */
    double betas[SCHEDULE_TIMES]; /* of SAMPLER_UNCLIP */
} sampler;

typedef struct sampler_options {
    int kind;       /* a sampler_kind; -1: the model's own */
    int spacing;    /* -1: the model's own, or the sampler's */
    int steps;      /* from 1 on */
    float strength; /* below 1: only so much of the steps is done, the last ones; 0 and 1: all */
} sampler_options;

/* ERR_USAGE if the sampler can't do that. */
bool sampler_open(sampler *s, const schedule *c, const sampler_options *o, err *e);
/* Step i, from start to n - 1. */
sampler_step sampler_at(const sampler *s, int i);
/* Whether steps draw noise at all. */
bool sampler_draws(const sampler *s);
/* What a picture x_0 with noise e is before step i: *picture x_0 + *noise e; i = n: behind the last. */
void sampler_noised(const sampler *s, int i, float *picture, float *noise);
#endif
