/* limn train codec, dalle, clip: from options to runs. */
#include <stdio.h>
#include <stdlib.h>

#include "base/ranks.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/model_input.h"
#include "cli/train.h"

/* A command's run: its options, and what it says while it lasts. */
typedef struct context {
    limn_train_options run;
    const char **sources; /* run.data */
    progress bar;
    bool counting; /* steps have begun */
    double loss;   /* smoothed */
    int64_t step, steps;
    char what[64];
} context;

static void show_step(context *c, const limn_train_progress *p)
{
    if (!c->counting) { /* what came before the first step is no measure, nor what an earlier start did */
        progress_from(&c->bar, p->done);
        c->bar.unit = "steps";
        c->counting = true;
    }
    c->loss = c->loss > 0 ? 0.98 * c->loss + 0.02 * p->loss : p->loss;
    c->step = p->done;
    c->steps = p->total;
    snprintf(c->what, sizeof c->what, "step %lld of %lld, loss %.4f", (long long)p->done, (long long)p->total, c->loss);
    c->bar.what = c->what;
    progress_update(&c->bar, p->done, p->total);
}

static bool on_progress(void *self, const limn_train_progress *p)
{
    context *c = self;
    if (p->phase == LIMN_TRAIN_STEPPING) {
        show_step(c, p);
    } else if (p->phase == LIMN_TRAIN_ENCODING) {
        c->bar.what = "codes of the pictures";
        c->bar.unit = "pictures";
        progress_update(&c->bar, p->done, p->total);
    }
    return !interrupted();
}

/* What was written; true where the run is at its end, so that what comes next can be said. */
static bool say_model(const context *c)
{
    if (c->step) /* else there was nothing to do: --resume at the last step */
        say_wrote(c->run.output, "step %lld of %lld, loss %.4f", (long long)c->step, (long long)c->steps, c->loss);
    return c->step == c->steps;
}

/* The options that all share. */
static bool read_run(const options *o, context *c, err *e)
{
    limn_train_options *q = &c->run;
    q->size = sizeof *q;
    q->output = options_text(o, "output", NULL);
    q->init = options_text(o, "init", NULL);
    q->existing = options_given(o, "resume")      ? LIMN_TRAIN_RESUME
                  : options_given(o, "overwrite") ? LIMN_TRAIN_OVERWRITE
                                                  : LIMN_TRAIN_REFUSE;
    q->save_every = train_option_integer(o, "save-every");
    q->sample_every = train_option_integer(o, "sample-every");
    q->accumulate = (int)train_option_integer(o, "accumulate");
    q->batch = (int)train_option_integer(o, "batch");
    q->steps = train_option_integer(o, "steps");
    q->warm_up = train_option_integer(o, "warm-up");
    q->lr = (float)train_option_number(o, "lr");
    q->decay = (float)train_option_number(o, "decay");
    q->clip = (float)train_option_number(o, "clip");
    q->ema = (float)train_option_number(o, "average");
    q->seed = options_unsigned(o, "seed", 1);
    q->progress = on_progress;
    q->context = c;
    c->sources = train_sources(o, &q->n_data, e);
    q->data = c->sources;
    return c->sources != NULL;
}

static bool check_output(const options *o, const context *c, bool folder, err *e)
{
    if (options_given(o, "resume") && options_given(o, "overwrite"))
        return err_set(e, ERR_USAGE, "--resume goes on with a run, --overwrite begins it anew (give one of them)");
    return folder || output_check("output", c->run.output, NULL, e);
}

/* One of limn_train_codec and its like. */
typedef bool train_function(limn_device *d, const limn_train_options *q, const void *t, limn_error *e);

static bool train_codec_on(limn_device *d, const limn_train_options *q, const void *t, limn_error *e)
{
    return limn_train_codec(d, q, t, e);
}

static bool train_dalle_on(limn_device *d, const limn_train_options *q, const void *t, limn_error *e)
{
    return limn_train_dalle(d, q, t, e);
}

static bool train_unet_on(limn_device *d, const limn_train_options *q, const void *t, limn_error *e)
{
    return limn_train_unet(d, q, t, e);
}

static bool train_clip_on(limn_device *d, const limn_train_options *q, const void *t, limn_error *e)
{
    return limn_train_clip(d, q, t, e);
}

/* Opens the device once all else is right, and trains; *d: to be freed in any case. */
static bool run_training(const options *o, context *c, train_function *train, const void *t, limn_device **d, err *e)
{
    c->run.check = true;
    bool ok = train(NULL, &c->run, t, e) && (*d = command_device(o, e));
    if (!ok)
        return false;
    c->run.check = false;
    interrupt_catch();
    progress_begin(&c->bar, o->command->name, "steps");
    ok = train(*d, &c->run, t, e);
    progress_end(&c->bar);
    return ok;
}

int command_train_codec(const options *o)
{
    err e = {0};
    context c = {0};
    train_channels room;
    limn_device *d = NULL;
    limn_train_codec_options t = {.size = sizeof t};
    bool ok = read_run(o, &c, &e) && train_codec_read(o, &t, &room, &e) && model_input_file(t.perceptual, &e) &&
              check_output(o, &c, false, &e) && run_training(o, &c, train_codec_on, &t, &d, &e) &&
              command_profile(&(opened_model){.device = d}, o, &e);
    char name[512];
    if (ok && say_model(&c))
        train_say_next(o, "train dalle",
                       "--codec %s --tokenizer TOKENIZER.gguf -o MODEL.gguf (limn train tokenizer makes "
                       "the tokenizer; limn reconstruct shows what the codec keeps of a picture)",
                       train_quoted(c.run.output, name));
    limn_device_free(&d);
    free(c.sources);
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
    limn_device *d = NULL;
    limn_train_dalle_options t = {.size = sizeof t};
    t.dim = (int)train_option_integer(o, "dim");
    t.heads = (int)train_option_integer(o, "heads");
    t.layers = (int)train_option_integer(o, "layers");
    t.mlp = (int)train_option_integer(o, "mlp");
    t.text_length = (int)train_option_integer(o, "text-length");
    t.recompute = options_given(o, "recompute");
    t.codec = options_text(o, "codec", NULL);
    t.tokenizer = options_text(o, "tokenizer", NULL);
    t.text_weight = (float)train_option_number(o, "text-weight");
    t.condition_dropout = (float)train_option_number(o, "condition-dropout");
    t.bpe_dropout = (float)train_option_number(o, "bpe-dropout");
    t.codes_cache = options_text(o, "codes-cache", NULL);
    t.codes = options_text(o, "codes", NULL);
    t.lora = (int)train_option_integer(o, "lora");
    bool ok = has_parts(o, &e) && read_run(o, &c, &e) && model_input_file(c.run.init, &e) &&
              model_input_file(t.codec, &e) && (!t.codes || input_check(t.codes, &e)) &&
              output_check("codes-cache", t.codes_cache, NULL, &e) && check_output(o, &c, t.lora > 0, &e) &&
              run_training(o, &c, train_dalle_on, &t, &d, &e) && command_profile(&(opened_model){.device = d}, o, &e);
    char name[512], init[512];
    bool classes = ok && ranks_rank() == 0 && reads_class(d, t.lora ? c.run.init : c.run.output);
    const char *prompt = classes ? "--class N" : "\"PROMPT\"",
               *words = classes ? "" : " (with words as the captions have them)";
    bool done = ok && say_model(&c) && ranks_rank() == 0;
    if (done && t.lora)
        say(LOG_WARNING, "next: limn generate %s -m %s --lora %s -o picture.png%s", prompt,
            train_quoted(c.run.init, init), train_quoted(c.run.output, name), words);
    else if (done)
        say(LOG_WARNING, "next: limn generate %s -m %s -o picture.png%s", prompt, train_quoted(c.run.output, name),
            words);
    limn_device_free(&d);
    free(c.sources);
    return ok ? 0 : report(&e);
}

/* Both: adapters of --model, and the U-Net of --init. */
static int train_diffusion(const options *o, bool adapters)
{
    err e = {0};
    context c = {0};
    limn_device *d = NULL;
    limn_train_unet_options t = {.size = sizeof t};
    t.condition_dropout = (float)train_option_number(o, "condition-dropout");
    t.codes_cache = options_text(o, "codes-cache", NULL);
    t.recompute = options_given(o, "recompute");
    t.lora = adapters ? (int)options_integer(o, "rank", 4) : 0;
    t.lora_mlp = adapters && options_given(o, "mlp");
    bool ok = command_size(o, &t.width, &t.height, &e) && read_run(o, &c, &e);
    c.run.init = options_text(o, adapters ? "model" : "init", NULL);
    if (ok && !c.run.init)
        ok = err_set(&e, ERR_USAGE, "train unet: --init FILE is missing, the model to begin from");
    ok = ok && model_input_file(c.run.init, &e) && output_check("codes-cache", t.codes_cache, NULL, &e) &&
         check_output(o, &c, adapters, &e) && run_training(o, &c, train_unet_on, &t, &d, &e) &&
         command_profile(&(opened_model){.device = d}, o, &e);
    char name[512], init[512];
    if (ok && say_model(&c) && ranks_rank() == 0)
        say(LOG_WARNING,
            "next: limn generate \"PROMPT\" -m %s%s%s -o picture.png (with words as the captions have them)",
            train_quoted(adapters ? c.run.init : c.run.output, init), adapters ? " --lora " : "",
            adapters ? train_quoted(c.run.output, name) : "");
    limn_device_free(&d);
    free(c.sources);
    return ok ? 0 : report(&e);
}

int command_train_lora(const options *o)
{
    return train_diffusion(o, true);
}

int command_train_unet(const options *o)
{
    return train_diffusion(o, false);
}

int command_train_clip(const options *o)
{
    err e = {0};
    context c = {0};
    limn_device *d = NULL;
    limn_train_clip_options t = {.size = sizeof t};
    t.image_size = (int)train_option_integer(o, "size");
    t.patch = (int)train_option_integer(o, "patch");
    t.dim = (int)train_option_integer(o, "dim");
    t.text_length = (int)train_option_integer(o, "text-length");
    t.width = (int)train_option_integer(o, "width");
    t.layers = (int)train_option_integer(o, "layers");
    t.text_width = (int)train_option_integer(o, "text-width");
    t.text_layers = (int)train_option_integer(o, "text-layers");
    t.heads = (int)train_option_integer(o, "heads");
    t.tokenizer = options_text(o, "tokenizer", NULL);
    t.codec = options_text(o, "codec", NULL);
    t.shift = (int)train_option_integer(o, "shift");
    bool ok = read_run(o, &c, &e) && model_input_file(t.codec, &e) && check_output(o, &c, false, &e) &&
              run_training(o, &c, train_clip_on, &t, &d, &e);
    char name[512];
    if (ok && say_model(&c))
        say(LOG_WARNING, "next: limn generate \"PROMPT\" -m MODEL.gguf -n 16 --rank %s -o best.png",
            train_quoted(c.run.output, name));
    limn_device_free(&d);
    free(c.sources);
    return ok ? 0 : report(&e);
}
