/* Stage 2: the transformer learns text and the frozen codec's codes together (Ramesh et al. 2021, section 2.2). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "models/model.h"
#include "models/session.h"
#include "train/codes.h"
#include "train/samples.h"
#include "train/text.h"
#include "train/train.h"

typedef struct stage {
    const train_dalle_options *o;
    run *r;
    model *codec; /* whose codec makes the codes */
    bpe *tokenizer;
    gpt d;
    param_table params;
    trainer t;
    session s;
    int cells;
    train_codes codes; /* of the whole data set */
    train_text text;
    int32_t *ids;          /* [items of a step, text_length] */
    int32_t *text_targets; /* [items of a step, text_length - 1] */
    int *said;             /* [items of a step]: how many of the targets count */
    float all_said;        /* their sum, over all ranks */
    int32_t *part_codes;   /* [batch, cells] */
    char *captions[SAMPLES];
    int n_captions;
} stage;

train_dalle_options train_dalle_defaults(void)
{
    return (train_dalle_options){
        .run = {.batch = 48,
                .save_every = 500,
                .sample_every = 500,
                .settings = {.steps = 5000,
                             .warm_up = 200,
                             .lr = 1e-3f,
                             .lr_end = 1e-5f,
                             .beta1 = 0.9f,
                             .beta2 = 0.96f,
                             .eps = 1e-8f,
                             .decay = 0.02f,
                             .clip = 4}},
        .model = {.base.text_length = 24,
                  .base.dim = 256,
                  .base.heads = 4,
                  .base.layers = 8,
                  .mlp = 1024,
                  .act = ACT_GELU_TANH,
                  .eps = 1e-5f,
                  .base.temperature = 0.7f,
                  .base.top_k = 32,
                  .base.top_p = 1,
                  .base.guidance = 1},
        .text_weight = 0.125f,
        .image_weight = 0.875f,
    };
}

static void keys(const void *self, gguf_writer *w)
{
    const stage *s = self;
    for (size_t i = 0; i < gguf_key_count(s->codec->gguf); i++) {
        const char *key = gguf_key(s->codec->gguf, i);
        if (codec_owns_key(key))
            gguf_put_copy(w, s->codec->gguf, i);
    }
    gpt_put(&s->d, w);
    gguf_put_float(w, "limn.sampling.temperature", s->d.base.temperature);
    gguf_put_int(w, "limn.sampling.top_k", s->d.base.top_k);
    bpe_put(s->tokenizer, w);
}

/* ---- a step ---- */

/* The share of the targets of the step's text, in all ranks, that are those of the part, times the number of all parts:
 * captions differ in length, so each part's own mean counts by its number of targets. */
static float text_share(const stage *s, const train_part *p, int n)
{
    double of_part = 0;
    for (int i = p->first; i < p->first + n; i++)
        of_part += s->said[i];
    return s->all_said > 0 ? (float)(of_part * p->whole->n / n * ranks_size() / s->all_said) : 0;
}

/* The texts of a step, before its first part. */
static void fill_texts(stage *s, const dataset_batch *all, int64_t step)
{
    int length = s->d.base.text_length;
    s->all_said = 0;
    for (int i = 0; i < all->n; i++) {
        s->said[i] = train_text_row(&s->text, all->captions[i], step, (int)ranks_item(i), s->ids + i * length,
                                    s->text_targets + i * (length - 1));
        s->all_said += (float)s->said[i];
    }
    ranks_sum(&s->all_said, 1);
}

static tensor forward(void *self, const dataset_batch *b, const train_part *p, train_scalars *out)
{
    stage *s = self;
    const transformer *d = &s->d.base;
    run *r = s->r;
    const int32_t zero = 0;
    int64_t t = d->text_length + s->cells - 1;
    int32_t *ids = s->ids + p->first * d->text_length, *said = s->text_targets + p->first * (d->text_length - 1);
    if (p->first == 0)
        fill_texts(s, p->whole, p->step);
    for (int i = 0; s->codes.codes && i < b->n; i++) /* none yet in plans */
        memcpy(s->part_codes + i * s->cells, s->codes.codes + b->items[i] * s->cells,
               (size_t)s->cells * sizeof(int32_t));
    run_write(r, s->s.ids, ids);
    run_write(r, s->s.codes, s->part_codes);
    run_write(r, s->s.position, &zero);
    tensor x = d->kind->forward(r, d, s->s.ids, s->s.codes, &s->s.memory, s->s.position, t);
    tensor targets = run_upload(r, DTYPE_I32, 2, (int64_t[]){b->n, d->text_length - 1}, said);
    tensor text = op_linear(r, op_slice(r, x, 0, d->text_length - 1), d->text_head, ACT_NONE);
    tensor image = op_linear(r, op_slice(r, x, d->text_length - 1, s->cells), d->image_head, ACT_NONE);
    tensor text_loss = op_cross_entropy(r, text, targets, 0), image_loss = op_cross_entropy(r, image, s->s.codes, 0);
    if (b->n < p->whole->n || ranks_size() > 1)
        text_loss = op_scale_add(r, text_loss, text_share(s, p, b->n), (tensor){0}, 0);
    train_scalar(out, "text", text_loss);
    train_scalar(out, "image", image_loss);
    return op_scale_add(r, text_loss, s->o->text_weight, image_loss, s->o->image_weight);
}

/* ---- the stage ---- */

static bool open_files(stage *s, device *dev, err *e)
{
    const train_dalle_options *o = s->o;
    s->codec = model_open(dev, o->codec, e);
    if (!s->codec || !model_needs_encoder(s->codec, e) || !(s->tokenizer = bpe_open(o->tokenizer, e)))
        return false;
    const codec *c = &s->codec->codec;
    s->d = o->model;
    gpt_preset_dalle(&s->d);
    s->d.base.grid_width = c->grid_width;
    s->d.base.grid_height = c->grid_height;
    s->d.base.codes = c->codes;
    s->d.base.vocabulary = (int)bpe_size(s->tokenizer);
    s->d.pad_id = bpe_find(s->tokenizer, "<pad>");
    s->d.end_id = bpe_find(s->tokenizer, "<img>");
    s->cells = c->grid_width * c->grid_height;
    if (s->d.pad_id < 0 || s->d.end_id < 0)
        return err_set(e, ERR_FAILED, "%s: the tokenizer has no <pad> or no <img> (limn train tokenizer makes them)",
                       o->tokenizer);
    return true;
}

static bool open_memory(stage *s, err *e)
{
    const train_run *q = &s->o->run;
    size_t all = (size_t)train_batch(q), text = all * (size_t)s->d.base.text_length;
    s->ids = malloc(text * sizeof *s->ids);
    s->text_targets = malloc(text * sizeof *s->text_targets);
    s->said = malloc(all * sizeof *s->said);
    s->part_codes = malloc((size_t)q->batch * (size_t)s->cells * sizeof *s->part_codes);
    s->text = (train_text){&s->d.base, s->tokenizer, q->settings.seed, s->o->bpe_dropout, s->o->condition_dropout};
    return s->ids && s->text_targets && s->said && s->part_codes ? true
                                                                 : err_no_memory(e, "batch", text * sizeof *s->ids);
}

/* Different captions of the first batch, of which samples are made: the same in every start. */
static bool choose_captions(stage *s, dataset *data, err *e)
{
    dataset_batch b = {0};
    bool ok = dataset_next(data, &b, e);
    for (int i = 0; ok && i < b.n && s->n_captions < SAMPLES; i++) {
        int k = 0;
        while (k < s->n_captions && strcmp(s->captions[k], b.captions[i]) != 0)
            k++;
        if (k == s->n_captions && (s->captions[k] = strdup(b.captions[i])))
            s->n_captions++;
    }
    dataset_batch_release(&b);
    return ok && dataset_seek(data, (dataset_position){0}, e);
}

static bool open_data(stage *s, dataset **data, err *e)
{
    const train_dalle_options *o = s->o;
    dataset_options want = {.sources = o->run.sources,
                            .n_sources = o->run.n_sources,
                            .goes_on = o->run.goes_on,
                            .context = o->run.context,
                            .want = DATASET_CAPTIONS,
                            .batch = train_batch(&o->run),
                            .seed = o->run.settings.seed,
                            .rank = ranks_rank(),
                            .ranks = ranks_size()};
    size_t n = strlen(o->run.output) + 8;
    char *beside = malloc(n);
    if (!beside)
        return err_no_memory(e, o->run.output, n);
    snprintf(beside, n, "%s.codes", o->run.output);
    const char *path = o->codes ? o->codes : beside;
    bool ok = (*data = dataset_open(&want, e)) &&
              train_text_report(*data, s->tokenizer, s->d.base.text_length - 1, e) &&
              train_codes_open(&s->codes, s->codec, &want, path, o->encoding, o->run.context, e);
    if (ok)
        train_codes_exclude(&s->codes, *data);
    free(beside);
    return ok && choose_captions(s, *data, e);
}

static bool open_stage(void *self, run *r, int batch, err *e)
{
    stage *s = self;
    const train_dalle_options *o = s->o;
    s->r = r;
    gpt_declare(&s->d, &s->params);
    return trainer_load(&s->params, r, o->run.init, o->run.settings.seed, e) &&
           session_open(&s->s, &s->d.base, r, batch, DTYPE_F32, e) &&
           trainer_open(&s->t, r, &s->params, &o->run.settings, e);
}

static void close_stage(void *self)
{
    stage *s = self;
    if (s->t.params)
        trainer_release(&s->t);
    if (s->s.d)
        session_release(&s->s);
    params_release(&s->params);
}

bool train_dalle(device *dev, const train_dalle_options *o, err *e)
{
    stage s = {.o = o};
    train_stage all = {.self = &s,
                       .t = &s.t,
                       .open = open_stage,
                       .close = close_stage,
                       .others = "keys, values and inputs",
                       .help = "a smaller --dim or --mlp, or fewer --layers",
                       .recompute = &s.d.base.recompute,
                       .forward = forward,
                       .keys = keys};
    run *r = run_new(dev, e);
    bool ok = r && open_files(&s, dev, e) && open_memory(&s, e) && gpt_prepare(&s.d, "train dalle", e) &&
              train_plan(&o->run, &all, dev, "train dalle", e) && open_data(&s, &all.data, e) &&
              train_open(&o->run, &all, r, e);
    if (ok) {
        all.fingerprint = dataset_fingerprint(all.data);
        all.captions = (const char *const *)s.captions;
        all.n_captions = s.n_captions;
        all.further = s.codec->gguf;
        ok = train_loop(&o->run, &all, e);
    }
    dataset_free(all.data);
    train_close(&all);
    run_free(r);
    free(s.d.blocks);
    model_free(s.codec);
    bpe_free(s.tokenizer);
    train_codes_release(&s.codes);
    free(s.ids);
    free(s.text_targets);
    free(s.said);
    free(s.part_codes);
    for (int i = 0; i < s.n_captions; i++)
        free(s.captions[i]);
    return ok;
}
