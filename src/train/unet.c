/* Diffusion models learn: the U-Net, or adapters of it, tells the noise in latents of pictures beside their captions
 * (Ho et al. 2020, equation 14; Rombach et al. 2022, equation 2).  Latents and texts are made once, by the model's own
 * autoencoder and text tower, which stay as they are. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/ranks.h"
#include "base/rng.h"
#include "models/lora.h"
#include "models/model.h"
#include "models/transformers/diffusion.h"
#include "train/codes.h"
#include "train/file.h"
#include "train/output.h"
#include "train/samples.h"
#include "train/states.h"
#include "train/text.h"
#include "train/train.h"

/* Streams of the random numbers of a step; of noise each item has its own. */
enum { DRAW_TIME = 0xD1FF, DRAW_EMPTY, DRAW_NOISE = 0xD1FF0000 };

typedef struct stage {
    const train_unet_options *o;
    run *r;
    model *m; /* of `init`: codec, text tower, and sizes */
    const diffusion *d;
    unet net; /* the one that learns */
    param_table params;
    lora lora; /* adapters, which learn in place of params */
    trainer t;
    unet_memory memory;
    train_codes codes; /* latents of the whole data set */
    train_states texts;
    double kept[SCHEDULE_TIMES];
    float *times;          /* [batch] */
    float *noisy, *wanted; /* [batch, height, width, latents] */
    float *states;         /* [batch, text's positions, context] */
    char *captions[SAMPLES];
    int n_captions;
} stage;

train_unet_options train_unet_defaults(void)
{
    return (train_unet_options){.run = {.batch = 1,
                                        .save_every = 500,
                                        .settings = {.steps = 1000,
                                                     .warm_up = 0,
                                                     .lr = 1e-4f,
                                                     .lr_end = 1e-5f,
                                                     .beta1 = 0.9f,
                                                     .beta2 = 0.999f,
                                                     .eps = 1e-8f,
                                                     .decay = 1e-2f,
                                                     .clip = 1}}};
}

static void keys(const void *self, gguf_writer *w)
{
    const stage *s = self;
    train_copy_keys(w, s->m->gguf, "limn.", "tokenizer.");
}

/* ---- a step ----------------------------------------------------------------------------------------------------- */

/* The time of an item of the global batch, what the network is given there, and what it is to say. */
static void draw_item(const stage *s, const float *latents, int64_t step, uint32_t item, int i)
{
    const uint64_t seed = s->o->run.settings.seed;
    const uint32_t at = (uint32_t)step;
    const size_t n = (size_t)s->d->base.grid_width * (size_t)s->d->base.grid_height;
    const schedule *c = &s->d->noise;
    const int time = (int)(rng_uniform(seed, DRAW_TIME, at, item) * (float)c->times);
    const float picture = (float)sqrt(s->kept[time]), noise = (float)sqrt(1 - s->kept[time]);
    float *x = s->noisy + (size_t)i * n, *y = s->wanted + (size_t)i * n;
    s->times[i] = (float)time;
    for (size_t k = 0; k < n; k++) {
        const float drawn = rng_normal(seed, DRAW_NOISE + item, at, (uint32_t)k), z = latents ? latents[k] : 0;
        x[k] = picture * z + noise * drawn;
        y[k] = c->predicts == PREDICTION_V ? picture * drawn - noise * z : drawn;
    }
}

static const float *text_of(const stage *s, const char *caption, int64_t step, uint32_t item)
{
    const bool empty = rng_uniform(s->o->run.settings.seed, DRAW_EMPTY, (uint32_t)step, item) < s->o->condition_dropout;
    return train_states_of(&s->texts, empty ? "" : caption);
}

static tensor forward(void *self, const dataset_batch *b, const train_part *p, train_scalars *out)
{
    stage *s = self;
    run *r = s->r;
    const diffusion *d = s->d;
    const size_t numbers = s->codes.codes ? (size_t)s->codes.cells : 0;
    const size_t words = (size_t)d->base.text_length * (size_t)d->net.k.context;
    (void)out;
    for (int i = 0; i < b->n; i++) {
        const uint32_t item = (uint32_t)ranks_item(p->first + i);
        const float *latents = numbers ? (const float *)s->codes.codes + (size_t)b->items[i] * numbers : NULL;
        draw_item(s, latents, p->step, item, i);
        if (s->texts.states) /* none yet in plans */
            memcpy(s->states + (size_t)i * words, text_of(s, b->captions[i], p->step, item), words * sizeof(float));
    }
    const int64_t shape[] = {b->n, d->height, d->width, d->base.latents};
    tensor x = run_upload(r, DTYPE_F32, 4, shape, s->noisy), y = run_upload(r, DTYPE_F32, 4, shape, s->wanted);
    tensor states = run_upload(r, DTYPE_F32, 3, (int64_t[]){b->n, d->base.text_length, d->net.k.context}, s->states);
    return op_l2(r, unet_learn(r, &s->net, &s->memory, x, s->times, states), y);
}

/* ---- the files -------------------------------------------------------------------------------------------------- */

static bool check_model(const stage *s, err *e)
{
    const char *path = s->o->run.init;
    const diffusion *d = s->d;
    if (!d)
        return err_set(
            e, ERR_USAGE,
            "%s: no diffusion model, whose U-Net this trains (limn train dalle trains others, and with `lora` "
            "their adapters)",
            path);
    if (d->net.k.in != d->net.k.out)
        return err_set(e, ERR_USAGE,
                       "%s: a model for painting parts of pictures, whose network reads masks, and of those the data "
                       "has none (train the model that it was made of)",
                       path);
    if (d->net.k.guidance)
        return err_set(e, ERR_USAGE,
                       "%s: a latent consistency model, which learned from another model's steps and not from pictures "
                       "(train the model that it was made of)",
                       path);
    return model_needs_encoder(s->m, e) &&
           (s->m->tokenizer || err_set(e, ERR_USAGE,
                                       "%s: no tokenizer inside, which would read the captions (convert "
                                       "the model again with its `tokenizer`)",
                                       path));
}

static bool open_model(stage *s, device *dev, err *e)
{
    const train_unet_options *o = s->o;
    if (!o->run.init)
        return err_set(e, ERR_USAGE, "train unet: no model to begin from (give `init`, a model file)");
    s->m = model_open_with(dev, o->run.init, &(limn_model_options){.width = o->width, .height = o->height}, e);
    s->d = s->m ? diffusion_of(s->m->transformer) : NULL;
    if (!s->m || !check_model(s, e))
        return false;
    schedule_kept(&s->d->noise, s->kept);
    s->net.k = s->d->net.k;
    return unet_prepare(&s->net, s->d->net.name, o->run.init, e);
}

static bool open_memory(stage *s, err *e)
{
    const size_t n = (size_t)s->o->run.batch;
    const size_t numbers = n * (size_t)s->d->base.grid_width * (size_t)s->d->base.grid_height;
    const size_t words = n * (size_t)s->d->base.text_length * (size_t)s->d->net.k.context;
    s->times = calloc(n, sizeof *s->times);
    s->noisy = calloc(numbers, sizeof *s->noisy);
    s->wanted = calloc(numbers, sizeof *s->wanted);
    s->states = calloc(words, sizeof *s->states);
    return (s->times && s->noisy && s->wanted && s->states) ||
           err_no_memory(e, "batch", (2 * numbers + words) * sizeof(float));
}

/* Captions, their states, and latents. */
static bool open_data(stage *s, dataset **data, err *e)
{
    const train_unet_options *o = s->o;
    const train_run *q = &o->run;
    const dataset_options want = {.sources = q->sources,
                                  .n_sources = q->n_sources,
                                  .goes_on = q->goes_on,
                                  .context = q->context,
                                  .want = DATASET_CAPTIONS,
                                  .batch = train_batch(q),
                                  .seed = q->settings.seed,
                                  .rank = ranks_rank(),
                                  .ranks = ranks_size()};
    char *beside = train_beside(q->output, "codes", e);
    bool ok = beside && (*data = dataset_open(&want, e)) &&
              train_text_report(*data, s->m->tokenizer, s->d->base.text_room, 0, s->d->base.vocabulary, e) &&
              train_states_open(&s->texts, s->m, *data, e) &&
              train_codes_open(&s->codes, s->m, &want, o->codes ? o->codes : beside, o->encoding, q->context, e);
    free(beside);
    if (ok)
        train_codes_exclude(&s->codes, *data);
    return ok && sample_choose(*data, s->captions, &s->n_captions, e);
}

/* Of the data and of what else a resumed run must share. */
static uint64_t fingerprint_of(const stage *s, const dataset *data)
{
    const int32_t sizes[] = {s->d->width, s->d->height, s->o->lora, s->o->mlp};
    return hash_bytes(dataset_fingerprint(data), sizes, sizeof sizes);
}

/* ---- the stage -------------------------------------------------------------------------------------------------- */

/* The weights as they are in the file, and adapters of them to train. */
static bool open_adapters(stage *s, run *r, err *e)
{
    const train_settings *t = &s->o->run.settings;
    return params_load_frozen(&s->params, r, s->m->gguf, e) &&
           lora_declare(&s->lora, &s->d->base, &s->params, s->o->lora, s->o->mlp, e) &&
           params_load_trainable(&s->lora.params, r, NULL, t->seed, e) &&
           trainer_open(&s->t, r, &s->lora.params, t, e) && lora_attach(&s->lora, s->t.tape, e);
}

static bool open_stage(void *self, run *r, int batch, err *e)
{
    stage *s = self;
    const train_run *q = &s->o->run;
    (void)batch;
    s->r = r;
    unet_declare(&s->net, &s->params);
    return s->o->lora ? open_adapters(s, r, e)
                      : trainer_load(&s->params, r, q->init, q->settings.seed, e) &&
                            trainer_open(&s->t, r, &s->params, &q->settings, e);
}

static void close_stage(void *self)
{
    stage *s = self;
    if (s->t.params)
        trainer_release(&s->t);
    lora_release(&s->lora);
    params_release(&s->params);
}

/* A train_stage's `write`. */
static bool write_adapters(void *self, const char *path, err *e)
{
    stage *s = self;
    return trainer_write_adapters(&s->t, &s->lora, path, s->o->run.init, e);
}

static void release(stage *s)
{
    train_states_release(&s->texts);
    train_codes_release(&s->codes);
    model_free(s->m);
    free(s->times);
    free(s->noisy);
    free(s->wanted);
    free(s->states);
    for (int i = 0; i < s->n_captions; i++)
        free(s->captions[i]);
}

bool train_unet(device *dev, const train_unet_options *o, err *e)
{
    const char *what = o->lora ? "train lora" : "train unet";
    stage s = {.o = o, .memory = {.recompute = o->recompute}};
    train_stage all = {.self = &s,
                       .t = &s.t,
                       .open = open_stage,
                       .close = close_stage,
                       .others = o->lora ? "frozen weights and inputs" : "inputs",
                       .help = "a smaller `image_size`",
                       .recompute = &s.memory.recompute,
                       .forward = forward,
                       .keys = keys,
                       .write = o->lora ? write_adapters : NULL,
                       .sample_width = o->width,
                       .sample_height = o->height};
    run *r = run_new(dev, e);
    bool ok = r && open_model(&s, dev, e) && open_memory(&s, e) && train_plan(&o->run, &all, dev, what, e) &&
              open_data(&s, &all.data, e) && train_open(&o->run, &all, r, e);
    if (ok) {
        all.fingerprint = fingerprint_of(&s, all.data);
        all.captions = (const char *const *)s.captions;
        all.n_captions = s.n_captions;
        all.further = s.m->gguf;
        all.beside = "transformer.text.";
        ok = train_loop(&o->run, &all, e);
    }
    dataset_free(all.data);
    train_close(&all);
    run_free(r);
    release(&s);
    return ok;
}
