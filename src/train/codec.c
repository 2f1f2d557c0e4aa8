/* Stage 1: the dVAE learns pictures (Ramesh et al. 2021, section 2.1 and appendix A). */
#include <stdlib.h>
#include <string.h>

#include "train/samples.h"
#include "train/train.h"

typedef struct stage {
    const train_codec_options *o;
    run *r;
    codec c;
    param_table params;
    trainer t;
    float *host;   /* [batch, height, width, 3], as the encoder reads them */
    uint8_t *seen; /* the first pictures of the last batch, for samples */
    int n_seen;
} stage;

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
    };
}

static void keys(const void *self, gguf_writer *w)
{
    const stage *s = self;
    dvae_put(&s->o->model, w);
}

static tensor forward(void *self, const dataset_batch *b, const train_part *part, train_scalars *out)
{
    stage *s = self;
    const train_codec_options *o = s->o;
    double progress = (double)part->step / (double)o->run.settings.steps;
    int64_t n = (int64_t)b->n * b->height * b->width * 3;
    codec_floats(s->host, b->pixels, n, s->c.input);
    s->n_seen = b->n < SAMPLES ? b->n : SAMPLES;
    memcpy(s->seen, b->pixels, (size_t)(n / b->n * s->n_seen));
    gumbel g = {.tau = train_cosine(o->tau, o->tau_end, progress / o->tau_share),
                .hard = o->straight_through,
                .seed = o->run.settings.seed,
                .stream = (uint32_t)part->first,
                .step = (uint32_t)part->step};
    float usage = train_cosine(o->usage, o->usage_end, progress), kl = train_cosine(0, o->kl, progress);
    tensor x = run_upload(s->r, DTYPE_F32, 4, (int64_t[]){b->n, b->height, b->width, 3}, s->host);
    tensor logits = s->c.kind->encode(s->r, &s->c, x);
    tensor y = s->c.kind->decode_soft(s->r, &s->c, op_gumbel_softmax(s->r, logits, &g));
    tensor l1 = op_l1(s->r, y, x), l2 = op_l2(s->r, y, x), entropy = op_usage_entropy(s->r, logits);
    tensor loss = op_scale_add(s->r, op_scale_add(s->r, l1, o->l1, l2, o->l2), 1, entropy, -usage);
    if (o->kl > 0)
        loss = op_scale_add(s->r, loss, 1, op_kl_uniform(s->r, logits), kl);
    train_scalar(out, "l1", l1);
    train_scalar(out, "l2", l2);
    train_scalar(out, "usage_entropy", entropy);
    train_number(out, "tau", g.tau);
    return loss;
}

/* Originals above what the codec makes of them. */
static bool sample(void *self, const char *path, err *e)
{
    stage *s = self;
    return s->n_seen == 0 || sample_reconstructions(s->r, &s->c, s->seen, s->n_seen, path, e);
}

static bool open_stage(stage *s, device *d, dataset **data, err *e)
{
    const train_codec_options *o = s->o;
    dataset_options want = {.sources = o->run.sources,
                            .n_sources = o->run.n_sources,
                            .want = DATASET_PICTURES,
                            .batch = train_batch(&o->run),
                            .width = o->model.width,
                            .height = o->model.height,
                            .seed = o->run.settings.seed,
                            .crop = o->crop,
                            .flip = o->flip};
    size_t picture = (size_t)o->model.width * (size_t)o->model.height * 3;
    *data = dataset_open(&want, e);
    s->host = malloc((size_t)o->run.batch * picture * sizeof *s->host);
    s->seen = malloc(SAMPLES * picture);
    if (!s->host || !s->seen)
        return err_no_memory(e, "batch", (size_t)o->run.batch * picture * sizeof *s->host);
    return *data && (s->r = run_new(d, e)) && dvae_declare(&s->c, &o->model, "train codec", &s->params, e) &&
           params_load_trainable(&s->params, s->r, NULL, o->run.settings.seed, e) &&
           trainer_open(&s->t, s->r, &s->params, &o->run.settings, e);
}

bool train_codec(device *d, const train_codec_options *o, err *e)
{
    stage s = {.o = o};
    dataset *data = NULL;
    bool ok = open_stage(&s, d, &data, e);
    if (ok) {
        train_stage all = {.self = &s,
                           .t = &s.t,
                           .data = data,
                           .fingerprint = dataset_fingerprint(data),
                           .forward = forward,
                           .sample = sample,
                           .keys = keys};
        ok = train_loop(&o->run, &all, e);
    }
    dataset_free(data);
    if (s.t.params)
        trainer_release(&s.t);
    run_free(s.r);
    params_release(&s.params);
    codec_release(&s.c);
    free(s.host);
    free(s.seen);
    return ok;
}
