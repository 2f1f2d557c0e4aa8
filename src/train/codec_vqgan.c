/* The VQGAN learns pictures (Esser et al. 2021): a VQ-VAE with a discriminator that judges patches, whose weight
 * follows the reconstruction's gradient, and a perceptual loss on the features of another codec's encoder, in place of
 * a classifier's (Zhang et al. 2018). */
#include <stdlib.h>

#include "models/codecs/discriminator.h"
#include "models/codecs/vqvae.h"
#include "models/model.h"
#include "train/codec_stage.h"

#define WEIGHT_MOST     1e4f /* of the balance: as the paper's code has it */
#define UNIT_EPS        1e-5f /* under the root of a feature's norm: where nothing is seen there is nothing to scale up */
#define SEED_OF_ITS_OWN 0x9E3779B97F4A7C15u

typedef struct adversary {
    discriminator d;
    param_table params;
    trainer t;
    tensor fake;  /* [batch,height,width,3]: the last reconstructions, over the discriminator's own step */
    model *sight; /* whose codec's encoder gives the perceptual features, or NULL */
} adversary;

static bool open_sight(codec_stage *s, err *e)
{
    const char *path = s->o->perceptual;
    model *m = s->adversary->sight = path ? model_open(run_device(s->r), path, e) : NULL;
    if (!path)
        return true;
    if (!m || !model_needs_codec(m, e) || !model_load(m, USE_ENCODER, e))
        return false;
    int step = m->codec.width / m->codec.grid_width;
    if (!m->codec.kind->features)
        return err_set(e, ERR_USAGE, "%s: a codec of kind %s has no features for a perceptual loss", path,
                       m->codec.kind->name);
    if (s->c.width % step || s->c.height % step)
        return err_set(e, ERR_USAGE, "%s: its codec sees multiples of %d pixels, and the pictures have %d x %d", path,
                       step, s->c.width, s->c.height);
    return true;
}

static bool open(codec_stage *s, err *e)
{
    const train_codec_options *o = s->o;
    train_settings settings = o->run.settings;
    adversary *a = s->adversary = calloc(1, sizeof *a);
    if (!a)
        return err_no_memory(e, "discriminator", sizeof *a);
    settings.steps -= o->discriminator_start;
    settings.warm_up = 0;
    settings.beta1 = 0.5f; /* the paper's code; less momentum keeps two that learn against each other from swinging */
    settings.beta2 = 0.9f;
    settings.ema = settings.decay = settings.clip = 0;
    return vqvae_train_open(s, e) && open_sight(s, e) &&
           discriminator_declare(&a->d, o->discriminator_channels, o->discriminator_layers, s->c.width, s->c.height,
                                 "train codec", &a->params, e) &&
           params_load_trainable(&a->params, s->r, NULL, settings.seed ^ SEED_OF_ITS_OWN, e) &&
           trainer_open(&a->t, s->r, &a->params, &settings, e) && trainer_keep_all(&s->t, &a->t, e) &&
           tensor_new(&a->fake, run_device(s->r), DTYPE_F32, 4, (int64_t[]){s->batch, s->c.height, s->c.width, 3}, NULL,
                      false, "reconstructions", e);
}

static void release(codec_stage *s)
{
    adversary *a = s->adversary;
    vqvae_train_release(s);
    if (!a)
        return;
    if (a->t.params)
        trainer_release(&a->t);
    params_release(&a->params);
    buffer_free(a->fake.buf);
    model_free(a->sight);
    free(a);
    s->adversary = NULL;
}

/* x, pixels by the map `from`, by the map `to`. */
static tensor remap(run *r, tensor x, pixel_map from, pixel_map to)
{
    float scale = to.scale / from.scale, shift = to.shift - scale * from.shift;
    if (to.scale == from.scale && to.shift == from.shift)
        return x;
    tensor ones = run_tensor(r, DTYPE_F32, x.nd, x.shape);
    op_fill(r, ones, 1);
    return op_scale_add(r, x, scale, ones, shift);
}

/* The mean over the stages of the mean over pixels of |unit(f(y)) - unit(f(x))|^2, f a stage's feature vectors */
static tensor perceptual(codec_stage *s, tensor y, tensor x)
{
    run *r = s->r;
    const codec *c = &s->adversary->sight->codec;
    tensor of_y[CODEC_FEATURES], of_x[CODEC_FEATURES], sum = {0};
    int n = c->kind->features(r, c, remap(r, y, s->c.input, c->input), of_y);
    c->kind->features(r, c, remap(r, x, s->c.input, c->input), of_x);
    for (int i = 0; i < n && !run_failed(r); i++) {
        tensor far = op_l2(r, op_l2_normalise(r, of_y[i], UNIT_EPS), op_l2_normalise(r, of_x[i], UNIT_EPS));
        float weight = (float)of_y[i].shape[3] / (float)n; /* op_l2 is a mean over channels too */
        sum = sum.buf ? op_scale_add(r, sum, 1, far, weight) : op_scale_add(r, far, weight, (tensor){0}, 0);
    }
    return sum;
}

static tensor forward(codec_stage *s, tensor x, int64_t step, train_scalars *out)
{
    const train_codec_options *o = s->o;
    const autoencoder *net = s->c.state;
    adversary *a = s->adversary;
    run *r = s->r;
    bool judged = step >= o->discriminator_start;
    tensor y, last, codebook_loss = vqvae_pass(s, x, &y, &last, out);
    balance both = {.a = y, .b = y};
    if (judged)
        both = op_balance(r, y, last, &net->out, o->discriminator_weight, WEIGHT_MOST);
    tensor loss = op_scale_add(r, codec_loss(s, both.a, x, out), 1, codebook_loss, 1);
    if (a->sight) {
        tensor seen = perceptual(s, autoencoder_pixels(r, &s->c, both.a), x);
        loss = op_scale_add(r, loss, 1, seen, o->perceptual_weight);
        train_scalar(out, "perceptual", seen);
    }
    if (!judged) {
        train_number(out, "generator", 0);
        train_number(out, "balance", 0);
        return loss;
    }
    tensor pixels = autoencoder_pixels(r, &s->c, both.b);
    tensor generator = op_scale_add(r, op_mean(r, discriminator_forward(r, &a->d, pixels)), -1, (tensor){0}, 0);
    op_repeat(r, tensor_rows(a->fake, 0, s->n), pixels);
    train_scalar(out, "generator", generator);
    train_scalar(out, "balance", both.weight);
    return op_scale_add(r, loss, 1, generator, 1); /* its weight comes in in the backward pass: op_balance */
}

/* The discriminator's own step, on the last batch and its reconstructions. */
static void after(codec_stage *s, int64_t step, train_scalars *out)
{
    adversary *a = s->adversary;
    run *r = s->r;
    float known = 0;
    vqvae_train_after(s, step, out);
    if (step >= s->o->discriminator_start) {
        a->t.step = step - s->o->discriminator_start;
        trainer_begin(&a->t);
        tensor x = run_upload(r, DTYPE_F32, 4, (int64_t[]){s->n, s->c.height, s->c.width, 3}, s->host);
        tensor real = op_hinge(r, discriminator_forward(r, &a->d, x), 1);
        tensor fake = op_hinge(r, discriminator_forward(r, &a->d, tensor_rows(a->fake, 0, s->n)), -1);
        tensor loss = op_scale_add(r, real, 0.5f, fake, 0.5f);
        trainer_finish(&a->t, loss);
        run_read(r, loss, &known);
    }
    train_number(out, "discriminator", known);
}

const codec_training train_vqgan = {.kind = &codec_vqvae,
                                    .others = "codebook, discriminator and perceptual codec",
                                    .prepare = vqvae_prepare,
                                    .open = open,
                                    .release = release,
                                    .forward = forward,
                                    .after = after};
