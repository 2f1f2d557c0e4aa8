/* Stage 2: the transformer learns text and the frozen codec's codes together (Ramesh et al. 2021, section 2.2). */
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "base/rng.h"
#include "models/model.h"
#include "models/session.h"
#include "train/samples.h"
#include "train/train.h"

#define ENCODE_BATCH 16

typedef struct stage {
    const train_dalle_options *o;
    run *r;
    model *codec; /* whose codec makes the codes */
    bpe *tokenizer;
    dalle d;
    param_table params;
    trainer t;
    transformer view; /* of d, for s */
    session s;
    int cells;
    int32_t *codes;       /* [items, cells]: of the whole data set */
    int32_t *ids;         /* [batch, text_length] */
    int32_t *batch_codes; /* [batch, cells] */
    int32_t *text_targets;
} stage;

train_dalle_options train_dalle_defaults(void)
{
    return (train_dalle_options){
        .run = {.batch = 48,
                .save_every = 500,
                .settings = {.steps = 5000,
                             .warm_up = 200,
                             .lr = 1e-3f,
                             .lr_end = 1e-5f,
                             .beta1 = 0.9f,
                             .beta2 = 0.96f,
                             .eps = 1e-8f,
                             .decay = 0.02f,
                             .clip = 4}},
        .model = {.text_length = 24,
                  .dim = 256,
                  .heads = 4,
                  .layers = 8,
                  .mlp = 1024,
                  .act = ACT_GELU_TANH,
                  .eps = 1e-5f,
                  .temperature = 0.7f,
                  .top_k = 32,
                  .top_p = 1,
                  .guidance = 1},
        .text_weight = 0.125f,
        .image_weight = 0.875f,
    };
}

static void keys(const void *self, gguf_writer *w)
{
    const stage *s = self;
    for (size_t i = 0; i < gguf_key_count(s->codec->gguf); i++) {
        const char *key = gguf_key(s->codec->gguf, i);
        if (!strncmp(key, "limn.codec.", 11) || !strncmp(key, "limn.image.", 11))
            gguf_put_copy(w, s->codec->gguf, i);
    }
    dalle_put(&s->d, w);
    bpe_put(s->tokenizer, w);
}

/* ---- codes of the data, once: each rank encodes its share ---- */

static bool encode_data(stage *s, const dataset_options *pairs, err *e)
{
    dataset_options o = *pairs;
    const codec *c = &s->codec->codec;
    o.want = DATASET_PICTURES;
    o.batch = ENCODE_BATCH;
    o.width = codec_input_width(c);
    o.height = codec_input_height(c);
    o.in_order = true;
    dataset *d = dataset_open(&o, e);
    dataset_batch b = {0};
    int64_t n = d ? dataset_size(d) : 0;
    int32_t some[ENCODE_BATCH * 4096];
    bool ok = d && s->cells <= 4096 && train_same_data(dataset_fingerprint(d), e);
    s->codes = ok ? malloc((size_t)n * (size_t)s->cells * sizeof *s->codes) : NULL;
    if (ok && !s->codes)
        ok = err_no_memory(e, "codes", (size_t)n * (size_t)s->cells * sizeof *s->codes);
    for (size_t i = 0; ok && i < (size_t)n * (size_t)s->cells; i++)
        s->codes[i] = -1;
    for (int64_t done = 0; ok && done < n; done += ENCODE_BATCH * ranks_size()) {
        ok = dataset_next(d, &b, e) && sample_encode(s->r, c, b.pixels, b.n, some, e);
        for (int i = 0; ok && i < b.n; i++)
            memcpy(s->codes + b.items[i] * s->cells, some + i * s->cells, (size_t)s->cells * sizeof *some);
    }
    if (ok)
        ranks_max(s->codes, (size_t)n * (size_t)s->cells);
    dataset_batch_release(&b);
    dataset_free(d);
    return ok;
}

/* ---- a step ---- */

/* The text of one caption as the model reads it, and what each of its positions should say next. */
static void fill_text(stage *s, int row, const char *caption, int64_t step)
{
    const dalle *d = &s->d;
    int32_t *ids = s->ids + row * d->text_length, *targets = s->text_targets + row * (d->text_length - 1), *own = NULL;
    size_t n = 0, used = 0;
    bool empty = rng_uniform(s->o->run.settings.seed, 0x7e47, (uint32_t)step, (uint32_t)ranks_item(row)) <
                 s->o->condition_dropout;
    if (!empty && bpe_encode(s->tokenizer, caption, &own, &n, NULL) && n > (size_t)d->text_length - 1)
        n = (size_t)d->text_length - 1; /* a long caption loses its end */
    dalle_text_row(d, own, n, ids, &used, NULL);
    for (int i = 0; i + 1 < d->text_length; i++)
        targets[i] = (size_t)i + 1 < used ? ids[i + 1] : -1; /* padding and [IMG] are given, not said */
    free(own);
}

/* The mean over the tokens of all ranks' texts, as a mean over the ranks: captions differ in length, so each rank's own
 * mean counts by its number of tokens. */
static tensor share_text_loss(stage *s, tensor loss, int rows)
{
    float mine = 0, all;
    for (int i = 0; i < rows * (s->d.text_length - 1); i++)
        mine += s->text_targets[i] >= 0;
    all = mine;
    ranks_sum(&all, 1);
    return op_scale_add(s->r, loss, all > 0 ? mine * (float)ranks_size() / all : 0, (tensor){0}, 0);
}

static tensor forward(void *self, const dataset_batch *b, int64_t step, train_scalars *out)
{
    stage *s = self;
    const dalle *d = &s->d;
    run *r = s->r;
    const int32_t zero = 0;
    int64_t t = d->text_length + s->cells - 1;
    for (int i = 0; i < b->n; i++) {
        fill_text(s, i, b->captions[i], step);
        memcpy(s->batch_codes + i * s->cells, s->codes + b->items[i] * s->cells, (size_t)s->cells * sizeof(int32_t));
    }
    run_write(r, s->s.ids, s->ids);
    run_write(r, s->s.codes, s->batch_codes);
    run_write(r, s->s.position, &zero);
    tensor x = dalle_forward(r, d, s->s.ids, s->s.codes, s->s.caches, s->s.position, t);
    tensor targets = run_upload(r, DTYPE_I32, 2, (int64_t[]){b->n, d->text_length - 1}, s->text_targets);
    tensor text = op_linear(r, op_slice(r, x, 0, d->text_length - 1), &d->text_head, ACT_NONE);
    tensor image = op_linear(r, op_slice(r, x, d->text_length - 1, s->cells), &d->image_head, ACT_NONE);
    tensor text_loss = op_cross_entropy(r, text, targets, 0), image_loss = op_cross_entropy(r, image, s->s.codes, 0);
    if (ranks_size() > 1)
        text_loss = share_text_loss(s, text_loss, b->n);
    train_scalar(out, "text", text_loss);
    train_scalar(out, "image", image_loss);
    return op_scale_add(r, text_loss, s->o->text_weight, image_loss, s->o->image_weight);
}

/* ---- the stage ---- */

static bool open_tokenizer(bpe **b, const char *path, err *e)
{
    file_map m = {0};
    gguf *g = file_map_open(&m, path, e) ? gguf_open(m.data, m.size, path, e) : NULL;
    *b = g ? bpe_from_gguf(g, e) : NULL;
    gguf_free(g);
    file_map_release(&m);
    return *b != NULL;
}

static bool open_files(stage *s, device *dev, err *e)
{
    const train_dalle_options *o = s->o;
    s->codec = model_open(dev, o->codec, e);
    if (!s->codec || !model_needs_encoder(s->codec, e) || !open_tokenizer(&s->tokenizer, o->tokenizer, e))
        return false;
    const codec *c = &s->codec->codec;
    s->d = o->model;
    s->d.grid_width = c->grid_width;
    s->d.grid_height = c->grid_height;
    s->d.codes = c->codes;
    s->d.vocabulary = (int)bpe_size(s->tokenizer);
    s->d.pad_id = bpe_find(s->tokenizer, "<pad>");
    s->d.image_id = bpe_find(s->tokenizer, "<img>");
    s->cells = c->grid_width * c->grid_height;
    if (s->d.pad_id < 0 || s->d.image_id < 0)
        return err_set(e, ERR_FAILED, "%s: the tokenizer has no <pad> or no <img> (limn train tokenizer makes them)",
                       o->tokenizer);
    return true;
}

static bool open_memory(stage *s, int batch, err *e)
{
    size_t text = (size_t)batch * (size_t)s->d.text_length;
    s->ids = malloc(text * sizeof *s->ids);
    s->text_targets = malloc(text * sizeof *s->text_targets);
    s->batch_codes = malloc((size_t)batch * (size_t)s->cells * sizeof *s->batch_codes);
    return s->ids && s->text_targets && s->batch_codes ? true : err_no_memory(e, "batch", text * sizeof *s->ids);
}

static bool open_stage(stage *s, device *dev, dataset **data, err *e)
{
    const train_dalle_options *o = s->o;
    dataset_options want = {.sources = o->run.sources,
                            .n_sources = o->run.n_sources,
                            .want = DATASET_CAPTIONS,
                            .batch = o->run.batch,
                            .seed = o->run.settings.seed,
                            .rank = ranks_rank(),
                            .ranks = ranks_size()};
    *data = dataset_open(&want, e);
    return *data && (s->r = run_new(dev, e)) && open_files(s, dev, e) && encode_data(s, &want, e) &&
           open_memory(s, o->run.batch, e) && dalle_prepare(&s->d, "train dalle", e) &&
           (dalle_declare(&s->d, &s->params), true) &&
           params_load_trainable(&s->params, s->r, NULL, o->run.settings.seed, e) &&
           (s->view = dalle_view(&s->d), true) && session_open(&s->s, &s->view, s->r, o->run.batch, e) &&
           trainer_open(&s->t, s->r, &s->params, &o->run.settings, e);
}

bool train_dalle(device *dev, const train_dalle_options *o, err *e)
{
    stage s = {.o = o};
    dataset *data = NULL;
    bool ok = open_stage(&s, dev, &data, e);
    if (ok) {
        train_stage all = {.self = &s,
                           .t = &s.t,
                           .data = data,
                           .fingerprint = dataset_fingerprint(data),
                           .forward = forward,
                           .keys = keys,
                           .further = s.codec->gguf};
        ok = train_loop(&o->run, &all, e);
    }
    dataset_free(data);
    if (s.t.params)
        trainer_release(&s.t);
    if (s.s.d)
        session_release(&s.s);
    run_free(s.r);
    params_release(&s.params);
    free(s.d.blocks);
    model_free(s.codec);
    bpe_free(s.tokenizer);
    free(s.codes);
    free(s.ids);
    free(s.batch_codes);
    free(s.text_targets);
    return ok;
}
