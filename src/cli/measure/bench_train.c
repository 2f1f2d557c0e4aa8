/* limn bench: a step of each stage of training, at the sizes of DALLE-pytorch's examples. */
#include <stdlib.h>
#include <string.h>

#include "cli/measure/bench.h"
#include "models/codecs/dvae.h"
#include "models/session.h"
#include "models/transformers/gpt.h"
#include "train/train.h"

static const train_settings settings = {
    .steps = 1000, .lr = 1e-4f, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-8f, .clip = 4};

static tensor ids_of(run *r, int64_t rows, int64_t columns, int below)
{
    tensor t = {0};
    int32_t *host = malloc((size_t)(rows * columns) * sizeof *host);
    for (int64_t i = 0; host && i < rows * columns; i++)
        host[i] = (int32_t)(i * 7 % below);
    if (host)
        t = run_upload(r, DTYPE_I32, 2, (int64_t[]){rows, columns}, host);
    else
        err_no_memory(run_error(r), "ids", (uint64_t)(rows * columns) * sizeof *host);
    free(host);
    return t;
}

/* Measures a body that resets the run itself, as a training step does. */
static bool measure_step(bench *b, const bench_case *c, bench_body *body, void *context, err *e)
{
    double seconds, flops;
    if (!bench_measure(b, b->r, body, context, &seconds, &flops, NULL, e))
        return false;
    bench_row(b, c->name, NULL, &(bench_result){.seconds = seconds, .flops = flops, .unit = "s", .value = seconds});
    return true;
}

/* ---- the transformer ---- */

typedef struct text_stage {
    gpt d;
    param_table params;
    trainer t;
    session s;
    int batch, cells;
} text_stage;

static void text_body(run *r, void *context)
{
    text_stage *s = context;
    const transformer *d = &s->d.base;
    trainer_begin(&s->t);
    tensor ids = ids_of(r, s->batch, d->text_length, d->vocabulary), codes = ids_of(r, s->batch, s->cells, d->codes);
    tensor x = d->kind->forward(r, d, ids, codes, &s->s.memory, s->s.position, d->text_length + s->cells - 1);
    tensor targets = ids_of(r, s->batch, d->text_length - 1, d->vocabulary);
    train_losses l = train_sequence_losses(r, d, x, targets, codes);
    trainer_finish(&s->t, op_scale_add(r, l.text, 0.125f, l.image, 0.875f));
}

/* a: pictures of a batch */
static bool train_transformer(bench *b, const bench_case *c, err *e)
{
    text_stage s = {.d = {.base.text_length = 32,
                          .base.vocabulary = 10000,
                          .base.codes = 1024,
                          .base.grid_width = 16,
                          .base.grid_height = 16,
                          .base.dim = 256,
                          .base.heads = 4,
                          .base.layers = 8,
                          .mlp = 2048,
                          .pad_id = 0,
                          .end_id = 1,
                          .act = ACT_GELU_TANH,
                          .eps = 1e-5f},
                    .batch = (int)c->a,
                    .cells = 256};
    const int32_t zero = 0;
    gpt_preset_dalle(&s.d);
    bool ok = gpt_prepare(&s.d, "bench", e);
    if (ok)
        gpt_declare(&s.d, &s.params);
    ok = ok && trainer_load(&s.params, b->r, NULL, 1, e) &&
         session_open(&s.s, &s.d.base, b->r, s.batch, s.d.base.text_length, DTYPE_F32, e);
    if (ok)
        run_write(b->r, s.s.position, &zero);
    ok = ok && trainer_open(&s.t, b->r, &s.params, &settings, e) && measure_step(b, c, text_body, &s, e);
    if (s.t.params)
        trainer_release(&s.t);
    if (s.s.d)
        session_release(&s.s);
    params_release(&s.params);
    free(s.d.blocks);
    return ok;
}

/* ---- the transformer of a file ---- */

typedef struct file_stage {
    transformer *d;
    param_table params;
    trainer t;
    session s;
    int batch, cells;
} file_stage;

static void file_body(run *r, void *context)
{
    file_stage *s = context;
    const transformer *d = s->d;
    trainer_begin(&s->t);
    run_write(r, s->s.position, &(int32_t){0});
    tensor ids = ids_of(r, s->batch, d->text_length, d->classes ? d->classes : d->vocabulary), targets = {0};
    tensor codes = ids_of(r, s->batch, s->cells, d->codes);
    op_repeat(r, s->s.ids, ids);
    op_repeat(r, s->s.codes, codes);
    tensor x = d->kind->forward(r, d, s->s.ids, s->s.codes, &s->s.memory, s->s.position, d->prefix + s->cells - 1);
    if (d->text_head && d->prefix > 1)
        targets = ids_of(r, s->batch, d->prefix - 1, d->vocabulary);
    train_losses l = train_sequence_losses(r, d, x, targets, s->s.codes);
    trainer_finish(&s->t, l.text.buf ? op_scale_add(r, l.text, 0.125f, l.image, 0.875f) : l.image);
}

/* New weights of its sizes: values make no difference.  a: pictures of a batch */
static bool train_file(bench *b, const bench_case *c, err *e)
{
    file_stage s = {.batch = (int)c->a};
    model *m = model_open_keys(b->d, options_text(b->o, "model", NULL), e);
    bool ok = m && (transformer_open(&s.d, m->gguf, &s.params, e)),
         there = ok && s.d && s.d->kind->forward && !s.d->own_lengths;
    if (ok && !there)
        bench_skip(b, c->name,
                   !s.d                  ? "the model has no transformer"
                   : !s.d->kind->forward ? "it draws all of a picture at once"
                                         : "texts of any length aren't trained");
    s.cells = there ? s.d->grid_width * s.d->grid_height : 0;
    ok = ok && (!there || (trainer_load(&s.params, b->r, NULL, 1, e) &&
                           session_open(&s.s, s.d, b->r, s.batch, s.d->text_length, DTYPE_F32, e) &&
                           trainer_open(&s.t, b->r, &s.params, &settings, e) && measure_step(b, c, file_body, &s, e)));
    if (s.t.params)
        trainer_release(&s.t);
    if (s.s.d)
        session_release(&s.s);
    params_release(&s.params);
    transformer_free(s.d);
    model_free(m);
    return ok;
}

/* ---- the codec ---- */

typedef struct codec_step {
    codec c;
    param_table params;
    trainer t;
    int batch;
    float *pixels;
} codec_step;

static void codec_body(run *r, void *context)
{
    codec_step *s = context;
    const gumbel g = {.tau = 0.9f, .seed = 1};
    trainer_begin(&s->t);
    tensor x = run_upload(r, DTYPE_F32, 4, (int64_t[]){s->batch, s->c.height, s->c.width, 3}, s->pixels);
    tensor logits = s->c.kind->encode(r, &s->c, x);
    tensor y = codec_decode_soft(r, &s->c, op_gumbel_softmax(r, logits, &g));
    trainer_finish(&s->t, op_l2(r, autoencoder_pixels(r, &s->c, y), x));
}

/* a: pictures of a batch */
static bool train_codec_step(bench *b, const bench_case *c, err *e)
{
    const autoencoder_config k = {.width = 128,
                                  .height = 128,
                                  .codes = 1024,
                                  .code_dim = 512,
                                  .stages = 3,
                                  .encoder_channels = {64, 64, 64},
                                  .decoder_channels = {64, 64, 64},
                                  .encoder_blocks = 1,
                                  .decoder_blocks = 1,
                                  .block_width = 64,
                                  .act = ACT_RELU};
    codec_step s = {.batch = (int)c->a};
    const size_t pixels = (size_t)s.batch * 128 * 128 * 3;
    s.pixels = calloc(pixels, sizeof *s.pixels);
    bool ok =
        (s.pixels || err_no_memory(e, "pictures", pixels * sizeof *s.pixels)) && dvae_prepare(&s.c, &k, "bench", e);
    if (ok)
        autoencoder_declare(&s.c, &s.params);
    ok = ok && trainer_load(&s.params, b->r, NULL, 1, e) && trainer_open(&s.t, b->r, &s.params, &settings, e) &&
         measure_step(b, c, codec_body, &s, e);
    if (s.t.params)
        trainer_release(&s.t);
    params_release(&s.params);
    codec_release(&s.c);
    free(s.pixels);
    return ok;
}

const bench_case bench_train_cases[] = {
    {.name = "train transformer, dim 256, 8 layers, 288 positions, 8 pictures", train_transformer, .a = 8},
    {.name = "model, training step of the transformer, 8 pictures", train_file, .what = "model", .a = 8},
    {.name = "train dvae, 128 x 128, 3 stages of 64, 8 pictures", train_codec_step, .a = 8},
    {.name = NULL},
};
