/* limn train codec, dalle, clip: from options to runs. */
#include <stdio.h>
#include <stdlib.h>

#include "base/ranks.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/model_input.h"
#include "cli/train.h"
#include "train/train.h"

typedef struct context {
    limn_device *device;
    progress bar;
    bool counting; /* steps have begun */
    double loss;   /* smoothed */
    int64_t step, steps;
    char what[64];
} context;

static bool on_step(void *self, const train_progress *p)
{
    context *c = self;
    if (!c->counting) { /* what came before the first step is no measure, nor what an earlier start did */
        progress_from(&c->bar, p->step);
        c->bar.unit = "steps";
        c->counting = true;
    }
    c->loss = c->loss > 0 ? 0.98 * c->loss + 0.02 * p->loss : p->loss;
    c->step = p->step;
    c->steps = p->steps;
    snprintf(c->what, sizeof c->what, "step %lld of %lld, loss %.4f", (long long)p->step, (long long)p->steps, c->loss);
    c->bar.what = c->what;
    progress_update(&c->bar, p->step, p->steps);
    return !interrupted();
}

static bool on_reading(void *self)
{
    (void)self;
    return !interrupted();
}

static bool on_encoding(void *self, int64_t done, int64_t total)
{
    context *c = self;
    c->bar.what = "codes of the pictures";
    c->bar.unit = "pictures";
    progress_update(&c->bar, done, total);
    return !interrupted();
}

/* ---- sample pictures ---- */

#define SAMPLE_SEED 1 /* always the same, so that pictures differ by the model alone */

static bool on_code(void *self, int done, int total, const int32_t *codes)
{
    (void)self;
    (void)done;
    (void)total;
    (void)codes;
    return !interrupted();
}

/* A picture for each caption, with what the model takes by default. */
static bool generate_samples(const opened_model *m, const train_sample *s, int32_t *codes, err *e)
{
    bool ok = true;
    for (int i = 0; ok && i < s->n; i++) {
        limn_generate_options g = limn_generate_defaults(m->model);
        int32_t *ids = NULL, class = (int32_t)strtol(s->captions[i], NULL, 10);
        size_t n = 1, most = m->info->classes ? 1 : (size_t)m->info->text_length - 1;
        g.seed = SAMPLE_SEED;
        g.progress = on_code;
        ok = m->info->classes > 0 || limn_tokenize(m->model, s->captions[i], &ids, &n, e);
        g.text_ids = ids ? ids : &class;
        g.n_text_ids = n < most ? n : most; /* a long caption loses its end, as in training */
        ok = ok && limn_generate(m->model, &g, codes + i * m->cells, e);
        free(ids);
    }
    return ok;
}

/* The pictures as a grid; the chunk "captions" has a line for each, row by row. */
static bool write_samples(const image *ims, const train_sample *s, err *e)
{
    char *captions = NULL;
    size_t size = 0;
    image grid = {0};
    FILE *f = open_memstream(&captions, &size);
    for (int i = 0; f && i < s->n; i++)
        fprintf(f, "%s\n", s->captions[i]);
    if (!f || fclose(f) != 0)
        return err_no_memory(e, "captions", 1024);
    bool ok = image_grid(&grid, ims, s->n, 2, e) &&
              image_write_png(&grid, s->picture, &(image_text){"captions", captions}, 1, e);
    image_release(&grid);
    free(captions);
    return ok;
}

static bool on_sample(void *self, const train_sample *s, err *e)
{
    context *c = self;
    opened_model m = {.device = c->device, .model = limn_model_open(c->device, s->model, e)};
    if (!m.model)
        return false;
    m.info = limn_model_get_info(m.model);
    m.cells = m.info->grid_width * m.info->grid_height;
    int32_t *codes = array_new((size_t)s->n * (size_t)m.cells, sizeof *codes, "samples", e);
    image *ims = array_new((size_t)s->n, sizeof *ims, "samples", e);
    bool ok = codes && ims && generate_samples(&m, s, codes, e) && pictures_decode(&m, codes, s->n, ims, NULL, e) &&
              write_samples(ims, s, e);
    pictures_free(ims, s->n);
    free(codes);
    limn_model_free(&m.model);
    return ok;
}

/* What was written; true where the run is at its end, so that what comes next can be said. */
static bool say_model(const context *c, const char *path)
{
    if (c->step) /* else there was nothing to do: --resume at the last step */
        say_wrote(path, "step %lld of %lld, loss %.4f", (long long)c->step, (long long)c->steps, c->loss);
    return c->step == c->steps;
}

/* ---- options ---- */

/* The options that all share; *sources is for free(). */
static bool read_run(const options *o, train_run *q, const char ***sources, err *e)
{
    train_settings *s = &q->settings;
    q->output = options_text(o, "output", NULL);
    q->init = options_text(o, "init", NULL);
    q->resume = options_given(o, "resume");
    q->save_every = options_integer(o, "save-every", q->save_every);
    q->sample_every = options_integer(o, "sample-every", q->save_every);
    q->accumulate = (int)options_integer(o, "accumulate", 1);
    q->batch = (int)options_integer(o, "batch", q->batch);
    s->steps = options_integer(o, "steps", s->steps);
    s->warm_up = options_integer(o, "warm-up", s->warm_up);
    s->lr = (float)options_number(o, "lr", s->lr);
    s->decay = (float)options_number(o, "decay", s->decay);
    s->clip = (float)options_number(o, "clip", s->clip);
    s->ema = (float)options_number(o, "average", s->ema);
    s->seed = options_unsigned(o, "seed", 1);
    *sources = train_sources(o, &q->n_sources, e);
    q->sources = *sources;
    return *sources != NULL;
}

int command_train_codec(const options *o)
{
    err e = {0};
    context c = {0};
    const char **sources = NULL;
    train_output output = {.fd = -1};
    train_codec_options t = train_codec_defaults();
    t.run.progress = on_step;
    t.run.goes_on = on_reading;
    t.run.context = &c;
    bool ok = read_run(o, &t.run, &sources, &e) && train_codec_read(o, &t, &e) && model_input_file(t.perceptual, &e) &&
              train_claim(&output, o, (const char *const[]){"init", "perceptual", NULL}, NULL,
                          t.run.resume ? TRAIN_RESUME : TRAIN_REFUSE, &e);
    limn_device *d = ok ? command_device(o, &e) : NULL;
    if (d) {
        interrupt_catch();
        progress_begin(&c.bar, "train codec", "steps");
        ok = train_codec(d, &t, &e);
        progress_end(&c.bar);
        ok = ok && command_profile(&(opened_model){.device = d}, o, &e);
    }
    ok = ok && d;
    char name[512];
    if (ok && say_model(&c, t.run.output))
        train_say_next(o, "train dalle",
                       "--codec %s --tokenizer TOKENIZER.gguf -o MODEL.gguf (limn train tokenizer makes "
                       "the tokenizer; limn reconstruct shows what the codec keeps of a picture)",
                       train_quoted(t.run.output, name));
    limn_device_free(&d);
    train_output_release(&output);
    free(sources);
    return ok ? 0 : report(&e);
}

/* Without --init there is nothing else that codec and tokenizer could come from. */
static bool has_parts(const options *o, err *e)
{
    static const char *const needed[] = {"codec", "tokenizer"};
    for (size_t i = 0; i < 2 && !options_given(o, "init"); i++)
        if (!options_given(o, needed[i]))
            return err_set(e, ERR_USAGE, "train dalle: --%s FILE is missing (or give --init with a whole model)",
                           needed[i]);
    return true;
}

/* Whether the model draws classes instead of texts. */
static bool reads_class(limn_device *d, const char *path)
{
    limn_model *m = limn_model_open(d, path, NULL);
    bool classes = m && limn_model_get_info(m)->classes > 0;
    limn_model_free(&m);
    return classes;
}

int command_train_dalle(const options *o)
{
    err e = {0};
    context c = {0};
    const char **sources = NULL;
    train_output output = {.fd = -1};
    train_dalle_options t = train_dalle_defaults();
    gpt *m = &t.model;
    t.run.progress = on_step;
    t.run.goes_on = on_reading;
    t.run.context = &c;
    m->base.dim = (int)options_integer(o, "dim", 0);
    m->base.heads = (int)options_integer(o, "heads", 0);
    m->base.layers = (int)options_integer(o, "layers", 0);
    m->mlp = (int)options_integer(o, "mlp", 0);
    m->base.text_length = (int)options_integer(o, "text-length", 0);
    m->base.recompute = options_given(o, "recompute");
    t.codec = options_text(o, "codec", NULL);
    t.tokenizer = options_text(o, "tokenizer", NULL);
    t.text_weight = (float)options_number(o, "text-weight", t.text_weight);
    t.image_weight = 1 - t.text_weight;
    t.condition_dropout = (float)options_number(o, "condition-dropout", t.condition_dropout);
    t.bpe_dropout = (float)options_number(o, "bpe-dropout", t.bpe_dropout);
    t.codes = options_text(o, "codes-cache", NULL);
    t.encoding = on_encoding;
    t.run.sample = on_sample;
    bool ok = has_parts(o, &e) && read_run(o, &t.run, &sources, &e) && model_input_file(t.run.init, &e) &&
              model_input_file(t.codec, &e) && output_check("codes-cache", t.codes, NULL, &e) &&
              train_claim(&output, o, (const char *const[]){"init", "codec", "tokenizer", NULL}, t.codes,
                          t.run.resume ? TRAIN_RESUME : TRAIN_REFUSE, &e);
    limn_device *d = ok ? command_device(o, &e) : NULL;
    if (d) {
        c.device = d;
        interrupt_catch();
        progress_begin(&c.bar, "train dalle", "steps");
        ok = train_dalle(d, &t, &e);
        progress_end(&c.bar);
        ok = ok && command_profile(&(opened_model){.device = d}, o, &e);
    }
    ok = ok && d;
    char name[512];
    bool classes = ok && ranks_rank() == 0 && reads_class(d, t.run.output);
    if (ok && say_model(&c, t.run.output) && ranks_rank() == 0)
        say(LOG_WARNING, "next: limn generate %s -m %s -o picture.png%s", classes ? "--class N" : "\"PROMPT\"",
            train_quoted(t.run.output, name), classes ? "" : " (with words as the captions have them)");
    limn_device_free(&d);
    train_output_release(&output);
    free(sources);
    return ok ? 0 : report(&e);
}

static void read_tower(const options *o, clip_tower *w, const char *width, const char *layers)
{
    w->width = (int)options_integer(o, width, w->width);
    w->layers = (int)options_integer(o, layers, w->layers);
    w->heads = (int)options_integer(o, "heads", w->heads);
    w->mlp = 4 * w->width;
}

int command_train_clip(const options *o)
{
    err e = {0};
    context c = {0};
    const char **sources = NULL;
    train_output output = {.fd = -1};
    train_clip_options t = train_clip_defaults();
    clip *m = &t.model;
    t.run.progress = on_step;
    t.run.goes_on = on_reading;
    t.run.context = &c;
    m->image_size = (int)options_integer(o, "size", m->image_size);
    m->patch = (int)options_integer(o, "patch", m->patch);
    m->dim = (int)options_integer(o, "dim", m->dim);
    m->text_length = (int)options_integer(o, "text-length", m->text_length);
    read_tower(o, &m->image, "width", "layers");
    read_tower(o, &m->text, "text-width", "text-layers");
    t.tokenizer = options_text(o, "tokenizer", NULL);
    t.codec = options_text(o, "codec", NULL);
    t.shift = (int)options_integer(o, "shift", t.shift);
    bool ok = read_run(o, &t.run, &sources, &e) && model_input_file(t.codec, &e) &&
              train_claim(&output, o, (const char *const[]){"init", "codec", "tokenizer", NULL}, NULL,
                          t.run.resume ? TRAIN_RESUME : TRAIN_REFUSE, &e);
    limn_device *d = ok ? command_device(o, &e) : NULL;
    if (d) {
        interrupt_catch();
        progress_begin(&c.bar, "train clip", "steps");
        ok = train_clip(d, &t, &e);
        progress_end(&c.bar);
    }
    ok = ok && d;
    char name[512];
    if (ok && say_model(&c, t.run.output))
        say(LOG_WARNING, "next: limn generate \"PROMPT\" -m MODEL.gguf -n 16 --rank %s -o best.png",
            train_quoted(t.run.output, name));
    limn_device_free(&d);
    train_output_release(&output);
    free(sources);
    return ok ? 0 : report(&e);
}
