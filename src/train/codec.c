/* Stage 1: an image codec learns pictures.  What all kinds share; each kind's own file is codec_KIND.c. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/ranks.h"
#include "train/codec_stage.h"
#include "train/samples.h"

static const codec_training *const kinds[TRAIN_CODEC_COUNT] = {&train_dvae, &train_vqvae, &train_vqgan};

train_codec_options train_codec_defaults(void)
{
    return (train_codec_options){
        .run = {.batch = 32,
                .save_every = 500,
                .sample_every = 500,
                .settings = {.steps = 5000, .lr = 1e-3f, .lr_end = 2e-5f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f}},
        .model = {.width = 64,
                  .height = 64,
                  .codes = 1024,
                  .code_dim = 96,
                  .stages = 3,
                  .encoder_channels = {32, 64, 128},
                  .decoder_channels = {128, 64, 32},
                  .encoder_blocks = 3,
                  .decoder_blocks = 3,
                  .block_width = 64,
                  .act = ACT_GELU_ERF},
        .l1 = 1,
        .l2 = 1,
        .usage = 0.05f,
        .usage_end = 0.01f,
        .kl = 0,
        .tau = 1,
        .tau_end = 0.0625f,
        .tau_share = 0.5f,
        .commitment = 0.25f,
        .codebook_decay = 0.99f,
        .restart = 0.1f,
        .discriminator_layers = 3,
        .discriminator_channels = {32, 64, 128},
        .discriminator_start = 2500,
        .discriminator_weight = 0.8f,
        .perceptual_weight = 1,
    };
}

static void keys(const void *self, gguf_writer *w)
{
    const codec_stage *s = self;
    autoencoder_put(&s->o->model, s->how->kind, w);
}

tensor codec_loss(codec_stage *s, tensor y, tensor x, train_scalars *out)
{
    const train_codec_options *o = s->o;
    tensor pixels = autoencoder_pixels(s->r, &s->c, y);
    tensor l1 = op_l1(s->r, pixels, x), l2 = op_l2(s->r, pixels, x);
    train_scalar(out, "l1", l1);
    train_scalar(out, "l2", l2);
    s->square = l2;
    if (o->model.output == LIKELIHOOD_PIXELS)
        return op_scale_add(s->r, l1, o->l1, l2, o->l2);
    tensor density = op_logit_laplace(s->r, y, x);
    train_scalar(out, "logit_laplace", density);
    return density;
}

static tensor forward(void *self, const dataset_batch *b, const train_part *part, train_scalars *out)
{
    codec_stage *s = self;
    int64_t n = (int64_t)b->n * b->height * b->width * 3;
    codec_floats(s->host, b->pixels, n, s->c.input);
    s->n = b->n;
    s->first = part->first;
    s->n_seen = b->n < SAMPLES ? b->n : SAMPLES;
    memcpy(s->seen, b->pixels, (size_t)(n / b->n * s->n_seen));
    s->kl = (tensor){0};
    tensor x = run_upload(s->r, DTYPE_F32, 4, (int64_t[]){b->n, b->height, b->width, 3}, s->host);
    return s->how->forward(s, x, part->step, out);
}

/* exp of the entropy of how often each code is there, in the batches of all ranks: from 1 to the codebook's size. */
static double perplexity(const int32_t *codes, int64_t n, int k)
{
    float *counts = calloc((size_t)k, sizeof *counts);
    double entropy = 0, all = (double)n * ranks_size();
    for (int64_t i = 0; counts && i < n; i++)
        counts[codes[i]]++;
    if (counts)
        ranks_sum(counts, (size_t)k);
    for (int i = 0; counts && i < k; i++)
        if (counts[i] > 0)
            entropy -= (double)counts[i] / all * log((double)counts[i] / all);
    free(counts);
    return exp(entropy);
}

/* The report of a step, then what the kind has to do.  New columns follow "loss", so that the log of a run that was
 * begun without them stays in line. */
static void after(void *self, int64_t step, train_scalars *out)
{
    codec_stage *s = self;
    int64_t cells = (int64_t)s->n * s->c.grid_width * s->c.grid_height;
    float square = 0, kl = logf((float)s->c.codes);
    run_read(s->r, s->square, &square);
    run_read(s->r, s->chosen, s->ids);
    if (s->kl.buf)
        run_read(s->r, s->kl, &kl);
    if (run_failed(s->r))
        return;
    float means[] = {square / (float)ranks_size(), kl / (float)ranks_size()};
    ranks_sum(means, 2);
    kl = means[1];
    s->psnr = 10 * log10((double)s->c.input.scale * s->c.input.scale / means[0]);
    s->perplexity = perplexity(s->ids, cells, s->c.codes);
    s->kl_known = kl;
    train_number(out, "psnr", (float)s->psnr);
    train_number(out, "perplexity", (float)s->perplexity);
    train_number(out, "kl", kl);
    if (s->how->after)
        s->how->after(s, step, out);
}

/* Originals above what the codec makes of them. */
static bool sample(void *self, const char *path, err *e)
{
    codec_stage *s = self;
    return s->n_seen == 0 || sample_reconstructions(s->r, &s->c, s->seen, s->n_seen, path, e);
}

/* What the last batch tells: as it was trained (of a dVAE with relaxed codes), and its first pictures by their codes.
 */
static bool report(codec_stage *s, err *e)
{
    size_t n = (size_t)s->n_seen * (size_t)(s->c.width * s->c.height * 3);
    float *again = malloc((n + 1) * sizeof *again);
    double sum = 0;
    bool ok = again ? true : err_no_memory(e, "pictures", n * sizeof *again);
    ok = ok && codec_encode(s->r, &s->c, s->seen, s->n_seen, s->ids, NULL, e) &&
         codec_decode_pictures(s->r, &s->c, s->ids, s->n_seen, again, e);
    for (size_t i = 0; ok && i < n; i++) {
        double far = (double)lrintf(again[i] * 255) - s->seen[i];
        sum += far * far;
    }
    if (ok)
        log_write(LOG_WARNING,
                  "train codec: the last batch: PSNR %.2f dB as trained, %.2f dB by the codes of %d pictures; "
                  "perplexity %.1f of %d codes; KL to the uniform prior %.3f nats",
                  s->psnr, 10 * log10(255.0 * 255.0 * (double)n / sum), s->n_seen, s->perplexity, s->c.codes,
                  s->kl_known);
    free(again);
    return ok;
}

/* What sample and report have on the device. */
static bool besides(void *self, err *e)
{
    codec_stage *s = self;
    size_t n = (size_t)s->n_seen * (size_t)(s->c.width * s->c.height * 3);
    float *again = malloc((n + 1) * sizeof *again);
    bool ok = again ? true : err_no_memory(e, "pictures", n * sizeof *again);
    ok = ok && codec_encode(s->r, &s->c, s->seen, s->n_seen, s->ids, NULL, e) &&
         codec_decode_pictures(s->r, &s->c, s->ids, s->n_seen, again, e);
    free(again);
    return ok;
}

static bool open_files(codec_stage *s, dataset **data, err *e)
{
    const train_codec_options *o = s->o;
    dataset_options want = {.sources = o->run.sources,
                            .n_sources = o->run.n_sources,
                            .goes_on = o->run.goes_on,
                            .context = o->run.context,
                            .want = DATASET_PICTURES,
                            .batch = train_batch(&o->run),
                            .width = o->model.width,
                            .height = o->model.height,
                            .seed = o->run.settings.seed,
                            .crop = o->crop,
                            .flip = o->flip,
                            .rank = ranks_rank(),
                            .ranks = ranks_size()};
    size_t picture = (size_t)o->model.width * (size_t)o->model.height * 3;
    if (o->kind != TRAIN_CODEC_DVAE && !train_needs_whole_batches(&o->run, "the codebook follows whole batches", e))
        return false;
    *data = dataset_open(&want, e);
    if (*data && ranks_rank() == 0) {
        dataset_log_problems(*data);
        log_write(LOG_WARNING, "data: %lld picture%s", (long long)dataset_size(*data),
                  dataset_size(*data) == 1 ? "" : "s");
    } else if (*data) {
        dataset_silence_problems(*data);
    }
    s->host = malloc((size_t)o->run.batch * picture * sizeof *s->host);
    s->seen = malloc(SAMPLES * picture);
    if (!s->host || !s->seen)
        return err_no_memory(e, "batch", (size_t)o->run.batch * picture * sizeof *s->host);
    return *data != NULL;
}

static bool open_stage(void *self, run *r, int batch, err *e)
{
    codec_stage *s = self;
    const train_codec_options *o = s->o;
    s->r = r;
    s->batch = batch;
    if (!s->how->prepare(&s->c, &o->model, "train codec", e))
        return false;
    autoencoder_declare(&s->c, &s->params);
    size_t ids = (size_t)(batch > SAMPLES ? batch : SAMPLES) * (size_t)(s->c.grid_width * s->c.grid_height);
    s->ids = calloc(ids, sizeof *s->ids);
    if (!s->ids)
        return err_no_memory(e, "codes", ids * sizeof *s->ids);
    return trainer_load(&s->params, r, o->run.init, o->run.settings.seed, e) &&
           trainer_open(&s->t, r, &s->params, &o->run.settings, e) && (!s->how->open || s->how->open(s, e));
}

static void close_stage(void *self)
{
    codec_stage *s = self;
    if (s->how->release)
        s->how->release(s);
    if (s->t.params)
        trainer_release(&s->t);
    params_release(&s->params);
    codec_release(&s->c);
    free(s->ids);
    s->ids = NULL;
    s->n_seen = 0;
}

bool train_codec(device *d, const train_codec_options *o, err *e)
{
    codec_stage s = {.o = o, .how = kinds[o->kind]};
    train_stage all = {.self = &s,
                       .t = &s.t,
                       .open = open_stage,
                       .close = close_stage,
                       .besides = besides,
                       .width = o->model.width,
                       .height = o->model.height,
                       .others = s.how->others,
                       .help = "a smaller `image_size`, or fewer channels: `encoder`, `decoder`, `block_width`",
                       .whole_batches = o->kind != TRAIN_CODEC_DVAE,
                       .forward = forward,
                       .after = after,
                       .sample = sample,
                       .keys = keys};
    run *r = run_new(d, e);
    bool ok = r && open_files(&s, &all.data, e) && train_plan(&o->run, &all, d, "train codec", e) &&
              train_open(&o->run, &all, r, e);
    if (ok) {
        all.fingerprint = dataset_fingerprint(all.data);
        ok = train_loop(&o->run, &all, e) && (s.n_seen == 0 || ranks_rank() > 0 || report(&s, e));
    }
    dataset_free(all.data);
    train_close(&all);
    run_free(r);
    free(s.host);
    free(s.seen);
    return ok;
}
