/* Decoding by tiles: pictures of random codes by random decoders, whole and in parts, and with little memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "models/autoencoder.h"
#include "models/dalle_pytorch_vae.h"
#include "models/openai_dvae.h"
#include "models/resnet_vq.h"
#include "support.h"

static device *dev;

static void good(bool ok, const err *e)
{
    if (!ok)
        fail_msg("%s", e->text);
}

static bool declare_transposed(codec *c, param_table *p, err *e)
{
    const autoencoder_config k = {.width = 52,
                                  .height = 44,
                                  .codes = 32,
                                  .code_dim = 8,
                                  .stages = 2,
                                  .encoder_channels = {8, 16},
                                  .decoder_channels = {24, 16},
                                  .decoder_blocks = 1,
                                  .block_width = 8,
                                  .act = ACT_RELU};
    return autoencoder_declare(c, &codec_dvae, &k, 32, "codec.encoder.logits", "test", p, e);
}

static bool declare_nearest(codec *c, param_table *p, err *e)
{
    const autoencoder_config k = {.width = 88,
                                  .height = 72,
                                  .codes = 32,
                                  .code_dim = 8,
                                  .stages = 3,
                                  .encoder_channels = {8, 8, 8},
                                  .decoder_channels = {32, 16, 16},
                                  .decoder_blocks = 2,
                                  .block_width = 16,
                                  .act = ACT_GELU_ERF,
                                  .up = UPSAMPLING_NEAREST,
                                  .output = LIKELIHOOD_LOGIT_LAPLACE};
    return autoencoder_declare(c, &codec_dvae, &k, 32, "codec.encoder.logits", "test", p, e);
}

static bool declare_openai(codec *c, param_table *p, err *e)
{
    const openai_dvae_config k = {.width = 128,
                                  .height = 120,
                                  .codes = 32,
                                  .code_dim = 16,
                                  .encoder_width = 4,
                                  .decoder_width = 8,
                                  .encoder_blocks = 1,
                                  .decoder_blocks = 1};
    return openai_dvae_declare(c, &k, "test", p, e);
}

static bool declare_dalle_pytorch(codec *c, param_table *p, err *e)
{
    const dalle_pytorch_config k = {
        .width = 72, .height = 96, .codes = 32, .code_dim = 16, .stages = 3, .hidden = 16, .blocks = 1};
    return dalle_pytorch_declare(c, &k, "test", p, e);
}

static const struct kind {
    const char *name;
    bool (*declare)(codec *c, param_table *p, err *e);
} kinds[] = {{"autoencoder, transposed", declare_transposed},
             {"autoencoder, nearest", declare_nearest},
             {"openai_dvae", declare_openai},
             {"dalle_pytorch", declare_dalle_pytorch}};

/* LIMN_TEST_BRIEF: the first alone. */
static size_t n_kinds(void)
{
    return getenv("LIMN_TEST_BRIEF") ? 1 : sizeof kinds / sizeof *kinds;
}

typedef struct instance {
    codec c;
    param_table params;
    run *r;
    int32_t *codes;
    float *whole, *parts;
    size_t size; /* of a picture */
} instance;

static void instance_open(instance *t, const struct kind *k)
{
    err e = {0};
    *t = (instance){.r = run_new(dev, &e)};
    good(t->r && k->declare(&t->c, &t->params, &e), &e);
    for (size_t i = 0; i < t->params.n; i++) /* so that what blocks add, with the gain of some, can be seen */
        t->params.list[i].deviation *= strstr(t->params.list[i].name, "res_path") ? 4 : 1.5f;
    good(params_load_trainable(&t->params, t->r, NULL, 7, &e) && run_finish(t->r, &e), &e);
    int cells = t->c.grid_width * t->c.grid_height;
    t->size = (size_t)t->c.width * (size_t)t->c.height * 3;
    t->codes = calloc((size_t)cells, sizeof *t->codes);
    t->whole = calloc(t->size, sizeof *t->whole);
    t->parts = calloc(t->size, sizeof *t->parts);
    assert_true(t->codes && t->whole && t->parts);
    for (int i = 0; i < cells; i++)
        t->codes[i] = (int32_t)(rng_uniform(1, 2, 3, (uint32_t)i) * 32);
    good(codec_decode_whole(t->r, &t->c, t->codes, 1, t->whole, &e), &e);
}

static void instance_release(instance *t)
{
    params_release(&t->params);
    codec_release(&t->c);
    run_free(t->r);
    free(t->codes);
    free(t->whole);
    free(t->parts);
}

static double difference(const instance *t)
{
    double worst = 0;
    for (size_t i = 0; i < t->size; i++) {
        double d = fabs((double)t->parts[i] - t->whole[i]);
        worst = d <= worst ? worst : d;
    }
    return worst;
}

static void tiles_have_no_seams(void **state)
{
    (void)state;
    err e = {0};
    for (size_t i = 0; i < n_kinds(); i++) {
        instance t;
        instance_open(&t, &kinds[i]);
        for (int tile = 3; tile <= 6; tile += 3) {
            good(codec_decode_tiles(t.r, &t.c, t.codes, tile, t.parts, &e), &e);
            if (!(difference(&t) <= 1e-5))
                fail_msg("%s, tiles of %d: %g from the whole picture", kinds[i].name, tile, difference(&t));
        }
        t.c.reach = 0; /* the margin is what does it */
        good(codec_decode_tiles(t.r, &t.c, t.codes, 6, t.parts, &e), &e);
        if (!(difference(&t) > 3e-4))
            fail_msg("%s: without a margin %g", kinds[i].name, difference(&t));
        instance_release(&t);
    }
}

/* A run's memory is no more than codec_decode_bytes says, and not much less. */
static void what_a_decode_needs_is_known(void **state)
{
    (void)state;
    err e = {0};
    for (size_t i = 0; i < n_kinds(); i++) {
        instance t;
        instance_open(&t, &kinds[i]);
        run_free(t.r);
        t.r = run_new(dev, &e);
        uint64_t before = dev->memory_limit, used = dev->memory_used;
        uint64_t bytes = codec_decode_bytes(&t.c, dev, 1, t.c.grid_height, t.c.grid_width);
        dev->memory_limit = used + bytes;
        assert_int_equal(codec_tile_for(&t.c, dev, bytes), 0);
        good(codec_decode(t.r, &t.c, t.codes, 1, t.parts, &e), &e);
        assert_true(difference(&t) == 0);
        run_free(t.r);
        t.r = run_new(dev, &e);
        bytes /= 4;
        dev->memory_limit = used + bytes;
        if (codec_decode_whole(t.r, &t.c, t.codes, 1, t.parts, NULL))
            fail_msg("%s: a quarter of the memory is enough", kinds[i].name);
        run_free(t.r);
        t.r = run_new(dev, &e);
        assert_true(codec_tile_for(&t.c, dev, bytes) > 0);
        /* a tile that is a little smaller than the picture */
        dev->memory_limit = used + codec_decode_bytes(&t.c, dev, 1, t.c.grid_height, t.c.grid_width - 1);
        good(codec_decode(t.r, &t.c, t.codes, 1, t.parts, &e), &e);
        assert_true(difference(&t) <= 1e-5);
        dev->memory_limit = before;
        instance_release(&t);
    }
}

static void codecs_with_norms_have_no_tiles(void **state)
{
    (void)state;
    err e = {0};
    codec c = {0};
    param_table p = {0};
    const resnet_vq_config k = {.width = 32,
                                .height = 32,
                                .codes = 16,
                                .code_dim = 8,
                                .latent = 8,
                                .groups = 4,
                                .stages = 2,
                                .eps = 1e-6f,
                                .decoder = {.blocks = 1, .channels = {8, 16}}};
    good(resnet_vq_declare(&c, &k, "test", &p, &e), &e);
    assert_true(c.reach < 0);
    assert_int_equal(codec_tile_for(&c, dev, 1), 0);
    assert_true(codec_decode_bytes(&c, dev, 1, 16, 16) >= 4 * 32 * 32 * 8 * 4);
    params_release(&p);
    codec_release(&c);
}

int main(void)
{
    int failed = 0;
    support_style styles[SUPPORT_STYLES];
    device *first = support_device();
    size_t n = support_styles(first, styles);
    device_free(first);
    for (size_t i = 0; i < n; i++) {
        dev = support_device();
        dev->tune = styles[i].tune;
        static const struct CMUnitTest tests[] = {
            cmocka_unit_test(tiles_have_no_seams),
            cmocka_unit_test(what_a_decode_needs_is_known),
            cmocka_unit_test(codecs_with_norms_have_no_tiles),
        };
        failed += cmocka_run_group_tests_name(styles[i].name, tests, NULL, NULL);
        device_free(dev);
    }
    return failed ? 1 : 0;
}
