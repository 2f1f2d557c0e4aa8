/* The public API of training: from its options to runs. */
#include "limn/limn.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/control.h"
#include "base/ranks.h"
#include "convert/convert.h"
#include "models/guard.h"
#include "models/lora.h"
#include "train/output.h"
#include "train/samples.h"
#include "train/tokenizer.h"
#include "train/train.h"

/* A call: its options, and its first error. */
typedef struct call {
    limn_train_options o;
    device *d;
    err *e;
    bool bad;
} call;

/* ---- numbers -------------------------------------------------------------------------------------------------- */

/* What an option means: 0 stands for `otherwise`, and what is below it for 0. */
static double in_range(call *c, const char *name, double given, double otherwise, double min, double max)
{
    double value = given > 0 ? given : given < 0 ? 0 : otherwise;
    if (!isnan(given) && value >= min && value <= max)
        return value;
    c->bad = true;
    err_set(c->e, ERR_USAGE, "train: %s: %.9g is outside %.9g to %.9g", name, given, min, max);
    return otherwise;
}

static int whole(call *c, const char *name, int given, int otherwise, double min, double max)
{
    return (int)in_range(c, name, given, otherwise, min, max);
}

static float number(call *c, const char *name, float given, float otherwise, double max)
{
    return (float)in_range(c, name, given, otherwise, 0, max);
}

/* One of the values of an enum. */
static int choice(call *c, const char *name, int given, int n)
{
    return given ? whole(c, name, given, 0, given < 0 ? 1 : 0, n - 1) : 0;
}

/* channels[n]; both stay as they are where none are given. */
static void channels(call *c, const char *name, const int *given, int n_given, int most, int *n, int *to)
{
    if (!given && n_given == 0)
        return;
    int count = whole(c, name, n_given, 0, 1, most);
    if (!given && count != *n) {
        c->bad = true;
        err_set(c->e, ERR_USAGE, "train: %s: the channels of %d stages are missing", name, count);
    }
    for (int i = 0; given && !c->bad && i < count; i++)
        to[i] = whole(c, name, given[i], 0, 1, 65536);
    *n = count;
}

/* ---- what a run tells ------------------------------------------------------------------------------------------ */

static bool tell(call *c, const limn_train_progress *p)
{
    return !c->o.progress || c->o.progress(c->o.context, p);
}

static bool on_step(void *context, const train_progress *p)
{
    return tell(
        context,
        &(limn_train_progress){
            .phase = LIMN_TRAIN_STEPPING, .done = p->step, .total = p->steps, .first = p->first, .loss = p->loss});
}

static bool goes_on(void *context)
{
    return tell(context, &(limn_train_progress){.phase = LIMN_TRAIN_READING});
}

static bool on_encoding(void *context, int64_t done, int64_t total)
{
    return tell(context, &(limn_train_progress){.phase = LIMN_TRAIN_ENCODING, .done = done, .total = total});
}

static bool on_sample(void *context, const train_sample *s, err *e)
{
    call *c = context;
    return sample_captions(c->d, s, goes_on, c, e);
}

/* ---- the run ---------------------------------------------------------------------------------------------------- */

/* The options that all share, over the defaults in q. */
static void read_run(call *c, train_run *q)
{
    const limn_train_options *o = &c->o;
    train_settings *s = &q->settings;
    q->output = o->output;
    q->init = o->init;
    q->resume = o->existing == LIMN_TRAIN_RESUME;
    q->sources = o->data;
    q->n_sources = o->n_data;
    q->save_every = (int64_t)in_range(c, "save_every", (double)o->save_every, (double)q->save_every, 0, 1e12);
    q->sample_every = (int64_t)in_range(c, "sample_every", (double)o->sample_every, (double)q->save_every, 0, 1e12);
    q->batch = whole(c, "batch", o->batch, q->batch, 1, 65536);
    q->accumulate = whole(c, "accumulate", o->accumulate, 1, 1, 65536);
    s->steps = (int64_t)in_range(c, "steps", (double)o->steps, (double)s->steps, 1, 1e12);
    s->warm_up = (int64_t)in_range(c, "warm_up", (double)o->warm_up, (double)s->warm_up, 0, 1e12);
    s->lr = number(c, "lr", o->lr, s->lr, 10);
    s->decay = number(c, "decay", o->decay, s->decay, 10);
    s->clip = number(c, "clip", o->clip, s->clip, 1e9);
    s->ema = number(c, "ema", o->ema, s->ema, 1);
    s->seed = o->seed;
    q->context = c;
    if (o->progress) {
        q->progress = on_step;
        q->goes_on = goes_on;
    }
}

/* What is there may not be written over by what is read. */
static bool check_files(call *c, const char *further, const train_input *inputs)
{
    const limn_train_options *o = &c->o;
    if (!o->n_data)
        return err_set(c->e, ERR_USAGE, "train: no data (give a folder of pictures, a .jsonl or a .tar file)");
    if (!o->output || !*o->output)
        return err_set(c->e, ERR_USAGE, "train: no output (give the path of a file)");
    choice(c, "existing", (int)o->existing, 3);
    for (const train_input *i = inputs; !c->bad && i->name; i++)
        if (i->model && i->path && model_is_foreign(i->path))
            return import_refuse_model(i->path, "", c->e);
    return !c->bad && train_output_check(o->output, further, inputs, o->data, o->n_data, c->e);
}

/* Takes the output, where this process writes it, and does the work; or checks that it could. */
static bool train(call *c, const char *further, const train_input *inputs, bool (*doing)(call *c, void *options),
                  void *options)
{
    static const train_existing existing[] = {TRAIN_REFUSE, TRAIN_RESUME, TRAIN_OVERWRITE};
    train_output output = {.fd = -1};
    if (!check_files(c, further, inputs))
        return false;
    if (c->o.check)
        return ranks_rank() > 0 || train_output_is_free(c->o.output, existing[c->o.existing], c->e);
    bool ok = (ranks_rank() > 0 || train_output_claim(&output, c->o.output, existing[c->o.existing], c->e)) &&
              doing(c, options);
    train_output_release(&output);
    return ok;
}

/* The same with the device, which is the caller's as long as it lasts. */
static bool train_on(call *c, const char *further, const train_input *inputs, bool (*doing)(call *c, void *options),
                     void *options)
{
    if (c->bad)
        return false;
    if (c->o.check)
        return train(c, further, inputs, doing, options);
    if (!c->d)
        return err_set(c->e, ERR_USAGE, "train: no device");
    if (!guard_enter(c->d, c->e))
        return false;
    bool ok = train(c, further, inputs, doing, options);
    guard_leave(c->d);
    return ok;
}

static call call_of(limn_device *d, const limn_train_options *q, err *e)
{
    call c = {.d = d, .e = e};
    control_copy(&c.o, sizeof c.o, q);
    return c;
}

/* ---- a tokenizer ------------------------------------------------------------------------------------------------- */

static bool on_caption(void *context, int64_t done, int64_t total)
{
    return tell(context, &(limn_train_progress){.phase = LIMN_TRAIN_READING, .done = done, .total = total});
}

typedef struct tokenizer_work {
    train_tokenizer_options t;
    limn_tokenizer_counts counts;
} tokenizer_work;

static bool work_tokenizer(call *c, void *options)
{
    tokenizer_work *w = options;
    return train_tokenizer(&w->t, &w->counts, c->e);
}

bool limn_train_tokenizer(const limn_train_options *q, const limn_train_tokenizer_options *options,
                          limn_tokenizer_counts *counts, limn_error *e)
{
    call c = call_of(NULL, q, e);
    limn_train_tokenizer_options o = {0};
    control_copy(&o, sizeof o, options);
    tokenizer_work w = {.t = {.output = c.o.output,
                              .sources = c.o.data,
                              .n_sources = c.o.n_data,
                              .lowercase = o.lowercase,
                              .progress = c.o.progress ? on_caption : NULL,
                              .context = &c}};
    w.t.vocabulary = (size_t)in_range(&c, "vocabulary", (double)o.vocabulary, 16384, 258, 1e6);
    w.t.min_frequency = (uint64_t)in_range(&c, "min_frequency", (double)o.min_frequency, 2, 1, 1e9);
    if (c.o.output && c.o.existing == LIMN_TRAIN_REFUSE && train_is_tokenizer(c.o.output))
        c.o.existing = LIMN_TRAIN_OVERWRITE;
    bool ok = !c.bad && train(&c, NULL, &(train_input){0}, work_tokenizer, &w);
    if (counts)
        *counts = w.counts;
    return ok;
}

/* ---- a codec ---------------------------------------------------------------------------------------------------- */

static void read_model(call *c, const limn_train_codec_options *o, autoencoder_config *m)
{
    int up = m->stages;
    m->width = m->height = whole(c, "image_size", o->image_size, m->width, 8, 4096);
    m->codes = whole(c, "codes", o->codes, m->codes, 2, 1e6);
    m->code_dim = whole(c, "code_dim", o->code_dim, m->code_dim, 1, 65536);
    m->block_width = whole(c, "block_width", o->block_width, m->block_width, 1, 65536);
    m->encoder_blocks = m->decoder_blocks = whole(c, "blocks", o->blocks, m->encoder_blocks, 0, AUTOENCODER_BLOCKS);
    m->encoder_blocks = whole(c, "encoder_blocks", o->encoder_blocks, m->encoder_blocks, 0, AUTOENCODER_BLOCKS);
    m->up = o->nearest ? UPSAMPLING_NEAREST : UPSAMPLING_TRANSPOSED;
    int stages = o->stages ? o->stages : m->stages;
    channels(c, "encoder", o->encoder, o->encoder ? stages : o->stages, AUTOENCODER_STAGES, &m->stages,
             m->encoder_channels);
    channels(c, "decoder", o->decoder, o->decoder ? stages : o->stages, AUTOENCODER_STAGES, &up, m->decoder_channels);
}

static void read_codec(call *c, const limn_train_codec_options *o, train_codec_options *t)
{
    int loss = choice(c, "loss", (int)o->loss, LIMN_LOGIT_LAPLACE + 1);
    int64_t half = t->run.settings.steps / 2;
    t->kind = (train_codec_kind)choice(c, "kind", (int)o->kind, TRAIN_CODEC_COUNT);
    t->model.output = loss == LIMN_LOGIT_LAPLACE ? LIKELIHOOD_LOGIT_LAPLACE : t->model.output;
    t->l1 = loss == LIMN_L2 ? 0 : t->l1;
    t->l2 = loss == LIMN_L1 ? 0 : t->l2;
    t->crop = in_range(c, "crop", o->crop, 0, 0, 1);
    t->flip = o->flip;
    t->tau_end = (float)in_range(c, "tau_end", o->tau_end, t->tau_end, 1e-3, 10);
    t->tau_share = (float)in_range(c, "tau_share", o->tau_share, t->tau_share, 1e-3, 1);
    t->kl = number(c, "kl", o->kl, t->kl, 1e6);
    t->usage = number(c, "usage", o->usage, t->usage, 1e6);
    t->straight_through = o->straight_through;
    t->commitment = number(c, "commitment", o->commitment, t->commitment, 1e6);
    t->learned_codebook = o->learned_codebook;
    t->codebook_decay = number(c, "codebook_decay", o->codebook_decay, t->codebook_decay, 1);
    t->restart = number(c, "restart", o->restart, t->restart, 1);
    channels(c, "discriminator", o->discriminator, o->discriminator_layers, DISCRIMINATOR_LAYERS,
             &t->discriminator_layers, t->discriminator_channels);
    t->discriminator_start =
        (int64_t)in_range(c, "discriminator_start", (double)o->discriminator_start, (double)half, 0, 1e12);
    t->discriminator_weight = number(c, "discriminator_weight", o->discriminator_weight, t->discriminator_weight, 1e6);
    t->perceptual = o->perceptual;
    t->perceptual_weight = number(c, "perceptual_weight", o->perceptual_weight, t->perceptual_weight, 1e6);
}

static bool work_codec(call *c, void *options)
{
    return train_codec(c->d, options, c->e);
}

bool limn_train_codec(limn_device *d, const limn_train_options *q, const limn_train_codec_options *options,
                      limn_error *e)
{
    call c = call_of(d, q, e);
    limn_train_codec_options o = {0};
    train_codec_options t = train_codec_defaults();
    control_copy(&o, sizeof o, options);
    read_run(&c, &t.run);
    read_model(&c, &o, &t.model);
    read_codec(&c, &o, &t);
    const train_input inputs[] = {{"`init`", t.run.init, false}, {"`perceptual`", t.perceptual, true}, {0}};
    return train_on(&c, NULL, inputs, work_codec, &t);
}

/* ---- a transformer ---------------------------------------------------------------------------------------------- */

/* The file that an adapter is written to: `output`, or where that is a folder, which is made, one of this name in it. A
 * new string. */
static char *lora_output(const call *c, const char *name)
{
    static const char ending[] = ".safetensors";
    const char *given = c->o.output;
    size_t n = strlen(given), room = n + strlen(name) + 2;
    bool file = n >= strlen(ending) && !strcmp(given + n - strlen(ending), ending);
    char *path = malloc(room);
    if (!path)
        err_no_memory(c->e, given, room);
    else
        snprintf(path, room, "%s%s%s", given, file || given[n - 1] == '/' ? "" : "/", file ? "" : name);
    if (path && (file || c->o.check || ranks_rank() > 0 || file_make_directory(given, c->e)))
        return path;
    free(path);
    return NULL;
}

static bool work_dalle(call *c, void *options)
{
    return train_dalle(c->d, options, c->e);
}

bool limn_train_dalle(limn_device *d, const limn_train_options *q, const limn_train_dalle_options *options,
                      limn_error *e)
{
    call c = call_of(d, q, e);
    limn_train_dalle_options o = {0};
    train_dalle_options t = train_dalle_defaults();
    control_copy(&o, sizeof o, options);
    read_run(&c, &t.run);
    transformer *m = &t.model.base;
    m->dim = whole(&c, "dim", o.dim, 0, 0, 65536);
    m->heads = whole(&c, "heads", o.heads, 0, 0, 1024);
    m->layers = whole(&c, "layers", o.layers, 0, 0, 1024);
    t.model.mlp = whole(&c, "mlp", o.mlp, 0, 0, 1e6);
    m->text_length = whole(&c, "text_length", o.text_length, 0, o.text_length ? 2 : 0, 65536);
    m->recompute = o.recompute;
    t.codec = o.codec;
    t.tokenizer = o.tokenizer;
    t.text_weight = number(&c, "text_weight", o.text_weight, t.text_weight, 1);
    t.image_weight = 1 - t.text_weight;
    t.condition_dropout = number(&c, "condition_dropout", o.condition_dropout, t.condition_dropout, 1);
    t.bpe_dropout = number(&c, "bpe_dropout", o.bpe_dropout, t.bpe_dropout, 1);
    t.codes = o.codes_cache;
    t.made_codes = o.codes;
    t.lora = whole(&c, "lora", o.lora, 0, 0, 65536);
    t.encoding = c.o.progress ? on_encoding : NULL;
    t.run.sample = on_sample;
    const train_input inputs[] = {{"`init`", t.run.init, true},
                                  {"`codec`", t.codec, true},
                                  {"`tokenizer`", t.tokenizer, false},
                                  {"`codes`", t.made_codes, false},
                                  {0}};
    char *output = NULL;
    if (t.lora && !c.bad && c.o.output && *c.o.output) {
        if (!(output = lora_output(&c, LORA_FILE)))
            return false;
        t.run.output = c.o.output = output;
    }
    bool ok = train_on(&c, t.made_codes ? NULL : t.codes, inputs, work_dalle, &t);
    free(output);
    return ok;
}

/* ---- a U-Net ---------------------------------------------------------------------------------------------------- */

static bool work_unet(call *c, void *options)
{
    return train_unet(c->d, options, c->e);
}

bool limn_train_unet(limn_device *d, const limn_train_options *q, const limn_train_unet_options *options, limn_error *e)
{
    call c = call_of(d, q, e);
    limn_train_unet_options o = {0};
    train_unet_options t = train_unet_defaults();
    control_copy(&o, sizeof o, options);
    read_run(&c, &t.run);
    if (!c.o.sample_every) /* a picture takes as long as dozens of steps */
        t.run.sample_every = 0;
    t.width = whole(&c, "width", o.width, 0, 0, 16384);
    t.height = whole(&c, "height", o.height, 0, 0, 16384);
    t.condition_dropout = number(&c, "condition_dropout", o.condition_dropout, 0, 1);
    t.lora = whole(&c, "lora", o.lora, 0, 0, 65536);
    t.mlp = o.lora_mlp;
    t.recompute = o.recompute;
    t.codes = o.codes_cache;
    t.encoding = c.o.progress ? on_encoding : NULL;
    t.run.sample = on_sample;
    const train_input inputs[] = {{"`init`", t.run.init, true}, {0}};
    char *output = NULL;
    if (t.lora && !c.bad && c.o.output && *c.o.output) {
        if (!(output = lora_output(&c, LORA_UNET)))
            return false;
        t.run.output = c.o.output = output;
    }
    bool ok = train_on(&c, t.codes, inputs, work_unet, &t);
    free(output);
    return ok;
}

/* ---- a CLIP ----------------------------------------------------------------------------------------------------- */

static void read_tower(call *c, clip_tower *t, int width, int layers, int heads)
{
    t->width = whole(c, "width", width, t->width, 1, 65536);
    t->layers = whole(c, "layers", layers, t->layers, 1, 1024);
    t->heads = whole(c, "heads", heads, t->heads, 1, 1024);
    t->mlp = 4 * t->width;
}

static bool work_clip(call *c, void *options)
{
    return train_clip(c->d, options, c->e);
}

bool limn_train_clip(limn_device *d, const limn_train_options *q, const limn_train_clip_options *options, limn_error *e)
{
    call c = call_of(d, q, e);
    limn_train_clip_options o = {0};
    train_clip_options t = train_clip_defaults();
    clip *m = &t.model;
    control_copy(&o, sizeof o, options);
    read_run(&c, &t.run);
    m->image_size = whole(&c, "image_size", o.image_size, m->image_size, 1, 4096);
    m->patch = whole(&c, "patch", o.patch, m->patch, 1, 4096);
    m->dim = whole(&c, "dim", o.dim, m->dim, 1, 65536);
    m->text_length = whole(&c, "text_length", o.text_length, m->text_length, 2, 65536);
    read_tower(&c, &m->image, o.width, o.layers, o.heads);
    read_tower(&c, &m->text, o.text_width, o.text_layers, o.heads);
    t.tokenizer = o.tokenizer;
    t.codec = o.codec;
    t.shift = whole(&c, "shift", o.shift, t.shift, 0, 4096);
    if (!c.bad && !t.tokenizer)
        return err_set(e, ERR_USAGE, "train clip: no tokenizer (give a model file with one)");
    const train_input inputs[] = {
        {"`init`", t.run.init, false}, {"`codec`", t.codec, true}, {"`tokenizer`", t.tokenizer, false}, {0}};
    return train_on(&c, NULL, inputs, work_clip, &t);
}
