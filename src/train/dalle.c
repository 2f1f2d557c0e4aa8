/* Stage 2: the transformer learns text and the frozen codec's codes together (Ramesh et al. 2021, section 2.2): a new
 * one, or that of a model file, of whatever kind, with the file's codec and tokenizer where no others are named. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "models/lora.h"
#include "models/model.h"
#include "models/session.h"
#include "models/transformers/masked.h"
#include "train/codes.h"
#include "train/file.h"
#include "train/masked.h"
#include "train/samples.h"
#include "train/text.h"
#include "train/train.h"
#include "weights/config.h"

#define SECTION "limn.transformer."

typedef struct stage {
    const train_dalle_options *o;
    run *r;
    model *codec;            /* whose codec makes the codes */
    train_file init, tokens; /* init: open where the transformer is that file's; tokens: with the tokenizer */
    tokenizer *tokenizer;    /* NULL where classes are read */
    transformer *d;          /* a gpt of the options' sizes, or that of init */
    param_table params;
    lora lora; /* adapters, which learn in place of params */
    trainer t;
    session s;
    int cells;
    train_codes codes; /* of the whole data set */
    prompt_form form;  /* of init's prompts */
    train_text text;
    int room;              /* ids of a row; with own_lengths of the longest one of the data */
    int32_t *ids;          /* [items of a step, room] */
    int32_t *places;       /* [batch, cells]: of what predicts the codes, with own_lengths */
    int32_t *text_targets; /* [items of a step, prefix - 1] */
    int *said;             /* [items of a step]: how many of the targets count, or with own_lengths the text's length */
    float all_said;        /* their sum, over all ranks */
    int32_t *part_codes;   /* [batch, cells] */
    int32_t *part_targets; /* the same, of models that fill masked cells */
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
        .model = {.base = {.temperature = 0.7f, .top_k = 32}, .act = ACT_GELU_TANH, .eps = 1e-5f},
        .text_weight = 0.125f,
        .image_weight = 0.875f,
    };
}

static void keys(const void *self, gguf_writer *w)
{
    const stage *s = self;
    for (size_t i = 0; i < gguf_key_count(s->codec->gguf); i++)
        if (codec_owns_key(gguf_key(s->codec->gguf, i)))
            gguf_put_copy(w, s->codec->gguf, i);
    if (s->init.g) {
        train_copy_keys(w, s->init.g, SECTION, "limn.sampling.");
        train_copy_keys(w, s->init.g, "limn.prompt.", "limn.prompt.");
    } else {
        gpt_put((const gpt *)s->d, w);
        gguf_put_float(w, "limn.sampling.temperature", s->d->temperature);
        gguf_put_int(w, "limn.sampling.top_k", s->d->top_k);
    }
    if (s->tokens.g)
        train_copy_keys(w, s->tokens.g, "tokenizer.", "limn.tokenizer.");
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
    const transformer *d = s->d;
    s->all_said = 0;
    for (int i = 0; i < all->n; i++) {
        int32_t *ids = s->ids + i * s->room, *targets = s->text_targets + i * (d->prefix - 1);
        int row = (int)ranks_item(i);
        s->said[i] = d->own_lengths ? train_text_own_row(&s->text, &s->form, all->captions[i], step, row, s->room, ids)
                                    : train_text_row(&s->text, all->captions[i], step, row, ids, targets);
        if (d->kind->fill) /* the targets are masked cells */
            s->said[i] = train_mask(s->text.seed, step, row, s->cells, d->mask_code, NULL, NULL, NULL);
        s->all_said += (float)s->said[i];
    }
    ranks_sum(&s->all_said, 1);
}

train_losses train_sequence_losses(run *r, const transformer *d, tensor x, tensor targets, tensor codes)
{
    tensor text = {0}, image;
    if (targets.buf)
        text = op_linear(r, op_slice(r, x, 0, d->prefix - 1), d->text_head, ACT_NONE);
    image = op_linear(r, op_slice(r, x, d->prefix - 1, codes.shape[1]), d->image_head, ACT_NONE);
    if (targets.buf)
        text = op_cross_entropy(r, text, targets, 0);
    return (train_losses){text, op_cross_entropy(r, image, codes, 0)};
}

/* The loss where texts have lengths of their own.  All rows begin at position 0, so that each has its own positions and
 * only its keys before it: a shorter one ends before the others do, and what comes then is not read. */
static tensor own_forward(stage *s, const train_part *p, int n)
{
    run *r = s->r;
    const transformer *d = s->d;
    const int *length = s->said + p->first;
    int64_t positions = s->room + s->cells - 1;
    for (int i = 0; i < n; i++)
        s->places[i] = s->room - length[i];
    run_write(r, s->s.memory.place, s->places);
    tensor x = d->kind->forward(r, d, s->s.ids, s->s.codes, &s->s.memory, s->s.position, positions);
    for (int i = 0; i < n * s->cells; i++)
        s->places[i] = (int32_t)(i / s->cells * positions) + length[i / s->cells] - 1 + i % s->cells;
    tensor places = run_upload(r, DTYPE_I32, 2, (int64_t[]){n, s->cells}, s->places);
    x = op_embed(r, places, tensor_shaped(x, 2, (int64_t[]){n * positions, d->dim}));
    return op_cross_entropy(r, op_linear(r, x, d->image_head, ACT_NONE), s->s.codes, 0);
}

/* The loss of a model that fills masked cells: the mean over these. */
static tensor fill(stage *s, const train_part *p, int n)
{
    run *r = s->r;
    const masked *t = (const masked *)s->d;
    for (int i = 0; i < n; i++) {
        int32_t *codes = s->part_codes + i * s->cells, *targets = s->part_targets + i * s->cells;
        train_mask(s->text.seed, p->step, (int)ranks_item(p->first + i), s->cells, t->base.mask_code, codes, codes,
                   targets);
    }
    run_write(r, s->s.codes, s->part_codes);
    tensor targets = run_upload(r, DTYPE_I32, 2, (int64_t[]){n, s->cells}, s->part_targets);
    const masked_text text = masked_read_text(r, t, s->ids + p->first * s->room, n);
    tensor logits = op_linear(r, masked_forward(r, t, s->s.codes, &text), &t->head, ACT_NONE);
    tensor loss = op_cross_entropy(r, logits, targets, 0);
    if (n < p->whole->n || ranks_size() > 1)
        loss = op_scale_add(r, loss, text_share(s, p, n), (tensor){0}, 0);
    return loss;
}

static tensor forward(void *self, const dataset_batch *b, const train_part *p, train_scalars *out)
{
    stage *s = self;
    const transformer *d = s->d;
    run *r = s->r;
    const int32_t zero = 0;
    if (p->first == 0)
        fill_texts(s, p->whole, p->step);
    for (int i = 0; s->codes.codes && i < b->n; i++) /* none yet in plans */
        memcpy(s->part_codes + i * s->cells, s->codes.codes + b->items[i] * s->cells,
               (size_t)s->cells * sizeof(int32_t));
    if (d->kind->fill) {
        tensor loss = fill(s, p, b->n);
        train_scalar(out, "image", loss);
        return loss;
    }
    run_write(r, s->s.ids, s->ids + p->first * s->room);
    run_write(r, s->s.codes, s->part_codes);
    run_write(r, s->s.position, &zero);
    if (d->own_lengths) {
        tensor loss = own_forward(s, p, b->n);
        train_scalar(out, "image", loss);
        return loss;
    }
    tensor x = d->kind->forward(r, d, s->s.ids, s->s.codes, &s->s.memory, s->s.position, d->prefix + s->cells - 1);
    tensor targets = {0};
    if (d->text_head && d->prefix > 1)
        targets =
            run_upload(r, DTYPE_I32, 2, (int64_t[]){b->n, d->prefix - 1}, s->text_targets + p->first * (d->prefix - 1));
    train_losses l = train_sequence_losses(r, d, x, targets, s->s.codes);
    if (l.text.buf && (b->n < p->whole->n || ranks_size() > 1))
        l.text = op_scale_add(r, l.text, text_share(s, p, b->n), (tensor){0}, 0);
    if (l.text.buf)
        train_scalar(out, "text", l.text);
    train_scalar(out, "image", l.image);
    return l.text.buf ? op_scale_add(r, l.text, s->o->text_weight, l.image, s->o->image_weight) : l.image;
}

/* ---- the files ---- */

/* Opens --init and the transformer in it; a file without one, such as a checkpoint, gives weights alone. */
static bool open_init(stage *s, err *e)
{
    const char *path = s->o->run.init;
    if (!path || !train_file_open(&s->init, path, e))
        return !path;
    if (config_has_section(s->init.g, SECTION)) {
        if (!prompt_form_read(&s->form, s->init.g, e) || !transformer_open(&s->d, s->init.g, NULL, e))
            return false;
        return !s->d || !s->d->latents ||
               err_set(e, ERR_USAGE,
                       "%s: a diffusion model, and this trains those that draw codes (limn train lora, or limn train "
                       "unet)",
                       path);
    }
    train_file_release(&s->init);
    return true;
}

/* Checks that sizes which were asked for are those of --init's transformer. */
static bool check_sizes(const stage *s, err *e)
{
    const transformer *d = s->d, *want = &s->o->model.base;
    bool is_gpt = d->kind == &transformer_gpt || d->kind == &transformer_dalle;
    const struct {
        const char *option;
        int want, have;
    } sizes[] = {{"`dim`", want->dim, d->dim},
                 {"`heads`", want->heads, d->heads},
                 {"`layers`", want->layers, d->layers},
                 {"`mlp`", is_gpt ? s->o->model.mlp : 0, is_gpt ? ((const gpt *)d)->mlp : 0},
                 {"`text_length`", want->text_length, d->text_length}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (sizes[i].want && sizes[i].want != sizes[i].have)
            return err_set(e, ERR_USAGE, "%s %d: the transformer of %s has %d (leave the option out)", sizes[i].option,
                           sizes[i].want, gguf_name(s->init.g), sizes[i].have);
    if (s->o->model.mlp && !is_gpt)
        return err_set(
            e, ERR_USAGE,
            "`mlp` %d: the transformer of %s is of the kind \"%s\", whose size is the file's (leave the option "
            "out)",
            s->o->model.mlp, gguf_name(s->init.g), d->kind->name);
    return true;
}

static bool open_codec(stage *s, device *dev, err *e)
{
    const char *path = s->o->codec ? s->o->codec : s->init.g ? s->o->run.init : NULL;
    if (!path)
        return err_set(e, ERR_USAGE,
                       "train dalle: no codec makes the codes (give `codec` FILE, or `init` with a whole model)");
    s->codec = model_open(dev, path, e);
    if (!s->codec || !model_needs_codec(s->codec, e))
        return false;
    if (s->codec->codec.no_encoder && !s->o->made_codes)
        return err_set(e, ERR_USAGE,
                       "%s: its codec has a decoder alone, and can't encode pictures (make their codes elsewhere, and "
                       "give them: `codes`; or convert the model again with the codec's encoder)",
                       path);
    const codec *c = &s->codec->codec;
    const transformer *d = s->d;
    if (c->latents)
        return err_set(e, ERR_USAGE, "%s: its codec makes latents, not codes (give another `codec`)", path);
    s->cells = c->grid_width * c->grid_height;
    if (d && (c->grid_width != d->grid_width || c->grid_height != d->grid_height || c->codes < d->codes))
        return err_set(e, ERR_USAGE,
                       "%s: its codec has %d x %d cells of %d codes, and the transformer of %s %d x %d of %d (give the "
                       "codec that it learned with)",
                       path, c->grid_width, c->grid_height, c->codes, gguf_name(s->init.g), d->grid_width,
                       d->grid_height, d->codes);
    return true;
}

static bool open_tokenizer(stage *s, err *e)
{
    const char *path = s->o->tokenizer ? s->o->tokenizer : s->init.g ? s->o->run.init : NULL;
    if (s->d && s->d->classes)
        return true;
    if (!path)
        return err_set(
            e, ERR_USAGE,
            "train dalle: no tokenizer reads the captions (give `tokenizer` FILE, or `init` with a whole model)");
    if (!train_file_open(&s->tokens, path, e))
        return false;
    if (!config_has_section(s->tokens.g, "tokenizer."))
        return err_set(e, ERR_USAGE, "%s: no tokenizer inside (give `tokenizer` FILE)", path);
    s->tokenizer = tokenizer_from_gguf(s->tokens.g, e);
    return s->tokenizer &&
           (s->o->bpe_dropout <= 0 || tokenizer_drops(s->tokenizer) ||
            err_set(e, ERR_USAGE,
                    "`bpe_dropout`: %s has a tokenizer of the kind \"%s\", which can't leave merges out "
                    "(leave the option out)",
                    path, tokenizer_kind_name(s->tokenizer)));
}

static int or_else(int asked, int otherwise)
{
    return asked ? asked : otherwise;
}

/* A new transformer: the paper's, with the options' sizes.  If the tokenizer has no <pad> or <img>, ids after its own
 * stand for them. */
static bool new_transformer(stage *s, err *e)
{
    const codec *c = &s->codec->codec;
    gpt *d = malloc(sizeof *d);
    if (!d)
        return err_no_memory(e, "transformer", sizeof *d);
    *d = s->o->model;
    gpt_preset_dalle(d);
    d->base.dim = or_else(d->base.dim, 256);
    d->base.heads = or_else(d->base.heads, 4);
    d->base.layers = or_else(d->base.layers, 8);
    d->mlp = or_else(d->mlp, 4 * d->base.dim);
    d->base.text_length = or_else(d->base.text_length, 24);
    d->base.grid_width = c->grid_width;
    d->base.grid_height = c->grid_height;
    d->base.codes = c->codes;
    d->base.vocabulary = (int)tokenizer_size(s->tokenizer);
    d->pad_id = tokenizer_find(s->tokenizer, "<pad>");
    d->end_id = tokenizer_find(s->tokenizer, "<img>");
    if (d->pad_id < 0)
        d->pad_id = d->base.vocabulary++;
    if (d->end_id < 0)
        d->end_id = d->base.vocabulary++;
    if (!gpt_prepare(d, "train dalle", e)) {
        gpt_free(d);
        return false;
    }
    s->d = &d->base;
    return true;
}

static bool open_files(stage *s, device *dev, err *e)
{
    if (!open_init(s, e) || (s->d && !check_sizes(s, e)) || !open_codec(s, dev, e) || !open_tokenizer(s, e) ||
        (!s->d && !new_transformer(s, e)))
        return false;
    if (s->d->classes && s->d->vocabulary == s->d->classes && s->o->condition_dropout > 0)
        return err_set(e, ERR_USAGE, "`condition_dropout`: this model knows no picture without a class (leave it out)");
    s->d->recompute = s->o->model.base.recompute;
    if (s->o->lora && !s->init.g)
        return err_set(e, ERR_USAGE, "`lora`: adapters change a model that is there (give `init` with a transformer)");
    s->room = s->d->text_length;
    s->text = (train_text){s->d, s->tokenizer, s->o->run.settings.seed, s->o->bpe_dropout, s->o->condition_dropout};
    return s->d->kind->recomputes || !s->d->recompute ||
           err_set(e, ERR_USAGE,
                   "`recompute`: a transformer of the kind \"%s\" can't be done again by blocks (leave it out)",
                   s->d->kind->name);
}

/* ---- the stage ---- */

static bool open_memory(stage *s, err *e)
{
    const train_run *q = &s->o->run;
    size_t all = (size_t)train_batch(q), text = all * (size_t)s->room, part = (size_t)q->batch * (size_t)s->cells;
    s->ids = malloc(text * sizeof *s->ids);
    s->text_targets = malloc(text * sizeof *s->text_targets);
    s->said = malloc(all * sizeof *s->said);
    s->part_codes = malloc(part * sizeof *s->part_codes);
    s->part_targets = malloc(part * sizeof *s->part_targets);
    s->places = malloc(part * sizeof *s->places);
    bool ok = s->ids && s->text_targets && s->said && s->part_codes && s->part_targets && s->places;
    return ok || err_no_memory(e, "batch", text * sizeof *s->ids);
}

static bool report(stage *s, dataset *data, err *e)
{
    const transformer *d = s->d;
    bool encodes = d->kind == &transformer_gpt && ((const gpt *)d)->encodes;
    if (d->own_lengths)
        return train_text_report_own(data, &s->text, &s->form, encodes, &s->room, e);
    return s->tokenizer
               ? train_text_report(data, s->tokenizer, d->text_room, s->init.g ? 0 : d->text_length, d->vocabulary, e)
               : train_class_report(data, d->classes, e);
}

/* A codec may have more codes than the transformer knows; of a picture that can't be read all are -1. */
static bool check_codes(const stage *s, err *e)
{
    for (int64_t i = 0; i < s->codes.n * s->cells; i++)
        if (s->o->made_codes && (s->codes.codes[i] < 0 || s->codes.codes[i] >= s->d->codes))
            return err_set(e, ERR_FAILED, "%s: code %d of row %lld: the transformer knows codes 0 to %d",
                           s->o->made_codes, s->codes.codes[i], (long long)(i / s->cells), s->d->codes - 1);
        else if (s->codes.codes[i] >= s->d->codes)
            return err_set(e, ERR_FAILED,
                           "train dalle: the codec makes code %d, and the transformer knows %d codes (give "
                           "the codec that it learned with)",
                           s->codes.codes[i], s->d->codes);
    return true;
}

static dataset_options data_options(const stage *s)
{
    const train_run *q = &s->o->run;
    return (dataset_options){.sources = q->sources,
                             .n_sources = q->n_sources,
                             .goes_on = q->goes_on,
                             .context = q->context,
                             .want = DATASET_CAPTIONS,
                             .batch = train_batch(q),
                             .seed = q->settings.seed,
                             .rank = ranks_rank(),
                             .ranks = ranks_size()};
}

/* The captions, and how long they are. */
static bool open_captions(stage *s, dataset **data, err *e)
{
    const dataset_options want = data_options(s);
    return *data || ((*data = dataset_open(&want, e)) && report(s, *data, e));
}

static bool open_codes(stage *s, dataset *data, err *e)
{
    const train_dalle_options *o = s->o;
    const dataset_options want = data_options(s);
    size_t n = strlen(o->run.output) + 8;
    char *beside = malloc(n);
    if (!beside)
        return err_no_memory(e, o->run.output, n);
    snprintf(beside, n, "%s.codes", o->run.output);
    const char *path = o->codes ? o->codes : beside;
    bool ok = o->made_codes ? train_codes_read(&s->codes, o->made_codes, dataset_size(data), s->cells, e)
                            : train_codes_open(&s->codes, s->codec, &want, path, o->encoding, o->run.context, e);
    if (ok)
        train_codes_exclude(&s->codes, data);
    free(beside);
    return ok && check_codes(s, e) && sample_choose(data, s->captions, &s->n_captions, e);
}

/* The weights as they are in the file, and adapters of them to train. */
static bool open_adapters(stage *s, run *r, err *e)
{
    const train_settings *t = &s->o->run.settings;
    return params_load_frozen(&s->params, r, s->init.g, e) &&
           lora_declare(&s->lora, s->d, &s->params, s->o->lora, true, e) &&
           params_load_trainable(&s->lora.params, r, NULL, t->seed, e) &&
           trainer_open(&s->t, r, &s->lora.params, t, e) && lora_attach(&s->lora, s->t.tape, e);
}

/* A train_stage's `write`. */
static bool write_adapters(void *self, const char *path, err *e)
{
    stage *s = self;
    return trainer_write_adapters(&s->t, &s->lora, path, s->o->run.init, e);
}

static bool open_stage(void *self, run *r, int batch, err *e)
{
    stage *s = self;
    const train_dalle_options *o = s->o;
    s->r = r;
    s->d->kind->declare(s->d, &s->params);
    bool ok = o->lora ? open_adapters(s, r, e)
                      : trainer_load(&s->params, r, o->run.init, o->run.settings.seed, e) &&
                            trainer_open(&s->t, r, &s->params, &o->run.settings, e);
    return ok && session_open(&s->s, s->d, r, batch, s->room, DTYPE_F32, e);
}

static void close_stage(void *self)
{
    stage *s = self;
    if (s->t.params)
        trainer_release(&s->t);
    if (s->s.d)
        session_release(&s->s);
    lora_release(&s->lora);
    params_release(&s->params);
}

static void release(stage *s)
{
    transformer_free(s->d);
    model_free(s->codec);
    tokenizer_free(s->tokenizer);
    train_file_release(&s->init);
    train_file_release(&s->tokens);
    train_codes_release(&s->codes);
    free(s->ids);
    free(s->places);
    free(s->text_targets);
    free(s->said);
    free(s->part_codes);
    free(s->part_targets);
    for (int i = 0; i < s->n_captions; i++)
        free(s->captions[i]);
}

bool train_dalle(device *dev, const train_dalle_options *o, err *e)
{
    stage s = {.o = o};
    train_stage all = {.self = &s,
                       .t = &s.t,
                       .open = open_stage,
                       .close = close_stage,
                       .others = "keys, values and inputs",
                       .help = "a smaller `dim` or `mlp`, or fewer `layers`",
                       .forward = forward,
                       .keys = keys};
    run *r = run_new(dev, e);
    bool ok = r && open_files(&s, dev, e);
    ok = ok && (!s.d->own_lengths || open_captions(&s, &all.data, e)) && open_memory(&s, e);
    if (ok && s.init.g)
        all.help = "a smaller model";
    if (o->lora) {
        all.write = write_adapters;
        all.others = "frozen weights, keys, values and inputs";
    }
    if (ok && s.d->kind->recomputes)
        all.recompute = &s.d->recompute;
    ok = ok && train_plan(&o->run, &all, dev, "train dalle", e) && open_captions(&s, &all.data, e) &&
         open_codes(&s, all.data, e) && train_open(&o->run, &all, r, e);
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
    release(&s);
    return ok;
}
