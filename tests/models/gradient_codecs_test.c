/* The gradients of codecs whose grid is a codebook's, from pictures through soft codes to pictures, against finite
 * differences. */
#include <stdlib.h>

#include "base/rng.h"
#include "checks.h"
#include "model_gradient.h"
#include "models/codecs/dalle_pytorch_vae.h"
#include "models/codecs/vqgan.h"
#include "models/codecs/vqvae.h"

enum { ROWS = 2 };

typedef struct whole {
    model_gradient m;
    codec c;
    tensor x, target;
} whole;

/* The decoder reads the encoder's own distribution, the softmax of minus the squared distances, so that the gradient
 * goes through all of the parameters. */
static tensor output(const whole *w)
{
    run *r = w->m.r;
    tensor logits = w->c.kind->encode(r, &w->c, w->x);
    return codec_decode_soft(r, &w->c, op_softmax(r, logits));
}

static tensor loss(void *context)
{
    const whole *w = context;
    return op_l2(w->m.r, output(w), w->target);
}

static tensor numbers(run *r, int height, int width, int channels, uint32_t stream)
{
    err e = {0};
    tensor t;
    int n = ROWS * height * width * channels;
    float *x = calloc((size_t)n, sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < n; i++)
        x[i] = rng_uniform(5, stream, 0, (uint32_t)i);
    good(tensor_new(&t, run_device(r), DTYPE_F32, 4, (int64_t[]){ROWS, height, width, channels}, x, false, "test", &e),
         &e);
    free(x);
    return t;
}

/* Moves the target to within 1% of the output.  Then the loss is small, and so is its rounding, so that differences may
 * take steps that hardly ever cross a kink of ReLU. */
static void aim_near(whole *w)
{
    err e = {0};
    run *r = w->m.r;
    size_t n = (size_t)tensor_count(&w->target);
    float *noise = calloc(n, sizeof *noise), *y = calloc(n, sizeof *y);
    assert_non_null(noise);
    assert_non_null(y);
    tape *t = tape_new(r, &e); /* keeps all memory */
    good(t != NULL, &e);
    tape_begin(t);
    run_read(r, output(w), y);
    tape_free(t);
    run_read(r, w->target, noise);
    good(run_finish(r, &e), &e);
    for (size_t i = 0; i < n; i++)
        y[i] += 0.01f * (noise[i] - 0.5f);
    run_write(r, w->target, y);
    free(y);
    free(noise);
}

/* w->c is made, and its parameters declared.  step: of the differences, for a loss with kinks; 0: it has none. */
static void check(whole *w, const char *name, run *r, double step)
{
    err e = {0};
    const codec *c = &w->c;
    w->m.name = name;
    w->m.r = r;
    w->m.loss = loss;
    w->m.context = w;
    w->x = numbers(r, codec_input_height(c), codec_input_width(c), 3, 1);
    w->target = numbers(r, c->height, c->width, c->channels, 2);
    good(params_load_trainable(&w->m.params, r, NULL, 1, &e), &e);
    model_gradient_draw(&w->m);
    if (step > 0)
        aim_near(w);
    w->m.step = step;
    model_gradient_check(&w->m, 5);
    buffer_free(w->x.buf);
    buffer_free(w->target.buf);
    params_release(&w->m.params);
    codec_release(&w->c);
}

static void a_vqvae_learns(void **state)
{
    err e = {0};
    whole w = {0};
    const autoencoder_config k = {.width = 8,
                                  .height = 8,
                                  .codes = 7,
                                  .code_dim = 4,
                                  .stages = 1,
                                  .encoder_channels = {6},
                                  .decoder_channels = {6},
                                  .encoder_blocks = 1,
                                  .decoder_blocks = 1,
                                  .block_width = 5,
                                  .act = ACT_GELU_ERF};
    good(vqvae_prepare(&w.c, &k, "test", &e), &e);
    autoencoder_declare(&w.c, &w.m.params);
    check(&w, "vqvae", *state, 0);
}

static void check_vqgan(run *r, const char *name, bool projected, bool wavelet)
{
    err e = {0};
    whole w = {0};
    const resnet_vq_config k = {.width = wavelet ? 16 : 8,
                                .height = wavelet ? 16 : 8,
                                .codes = 7,
                                .code_dim = 4,
                                .latent = 6,
                                .stages = 2,
                                .groups = 2,
                                .eps = 1e-5f,
                                .has_encoder = true,
                                .stem = 4,
                                .gumbel = projected,
                                .wavelet = wavelet,
                                .encoder = {1, {4, 6}, {0, 1}},
                                .decoder = {1, {4, 6}, {0, 1}}};
    good(resnet_vq_prepare(&w.c, &k, "test", &e), &e);
    resnet_vq_declare(&w.c, &w.m.params);
    check(&w, name, r, 0);
}

static void a_vqgan_learns(void **state)
{
    check_vqgan(*state, "vqgan", false, false);
}

static void a_gumbel_vqgan_with_wavelets_learns(void **state)
{
    check_vqgan(*state, "vqgan, gumbel and wavelets", true, true);
}

static void a_vae_of_dalle_pytorch_learns(void **state)
{
    err e = {0};
    whole w = {0};
    const dalle_pytorch_vae_config k = {
        .width = 8, .height = 8, .codes = 7, .code_dim = 4, .stages = 2, .hidden = 5, .blocks = 1};
    good(dalle_pytorch_vae_prepare(&w.c, &k, "test", &e), &e);
    dalle_pytorch_vae_declare(&w.c, &w.m.params);
    check(&w, "dalle_pytorch", *state, 1e-4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_vqvae_learns),
        TEST(a_vqgan_learns),
        TEST(a_gumbel_vqgan_with_wavelets_learns),
        TEST(a_vae_of_dalle_pytorch_learns),
    };
    return cmocka_run_group_tests(tests, model_gradient_open, model_gradient_close);
}
