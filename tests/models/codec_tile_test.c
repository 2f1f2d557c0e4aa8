/* Decoding by tiles: pictures of random codes by random decoders, whole and in parts, and with little memory. */
#include "checks.h"
#include "cli_support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "io/image.h"
#include "io/npy.h"
#include "models/codecs/dalle_pytorch_vae.h"
#include "models/codecs/dvae.h"
#include "models/codecs/openai_dvae.h"
#include "models/codecs/vqgan.h"
#include "models/plan.h"
#include "models/transformers/gpt.h"
#include "support.h"

static device *dev;

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
    if (!autoencoder_prepare(c, &codec_dvae, &k, 32, "codec.encoder.logits", "test", e))
        return false;
    autoencoder_declare(c, p);
    return true;
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
    if (!autoencoder_prepare(c, &codec_dvae, &k, 32, "codec.encoder.logits", "test", e))
        return false;
    autoencoder_declare(c, p);
    return true;
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
    if (!openai_dvae_prepare(c, &k, "test", e))
        return false;
    openai_dvae_declare(c, p);
    return true;
}

static bool declare_dalle_pytorch(codec *c, param_table *p, err *e)
{
    const dalle_pytorch_vae_config k = {
        .width = 72, .height = 96, .codes = 32, .code_dim = 16, .stages = 3, .hidden = 16, .blocks = 1};
    if (!dalle_pytorch_vae_prepare(c, &k, "test", e))
        return false;
    dalle_pytorch_vae_declare(c, p);
    return true;
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
    good(codec_decode_pictures(t->r, &t->c, t->codes, 1, t->whole, &e), &e);
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
        int most = codec_most_cuts(&t.c), width, height;
        assert_true(most > 1);
        for (int cuts = 2; cuts <= most && cuts <= 4; cuts += 2) {
            good(codec_decode_tiles(t.r, &t.c, t.codes, cuts, t.parts, &e), &e);
            if (!(difference(&t) <= 1e-5))
                fail_msg("%s, %d tiles: %g from the whole picture", kinds[i].name,
                         codec_tiles(&t.c, cuts, &width, &height), difference(&t));
        }
        t.c.reach = 0; /* the margin is what does it */
        good(codec_decode_tiles(t.r, &t.c, t.codes, 2, t.parts, &e), &e);
        assert_int_equal(codec_tiles(&t.c, 2, &width, &height), 4);
        if (!(difference(&t) > 3e-4))
            fail_msg("%s: without a margin %g", kinds[i].name, difference(&t));
        instance_release(&t);
    }
}

/* A picture as a whole, and by 2 x 2 tiles. */
static void decoding_takes_what_is_counted(void **state)
{
    (void)state;
    err e = {0};
    for (size_t i = 0; i < n_kinds(); i++) {
        instance t;
        instance_open(&t, &kinds[i]);
        run_free(t.r);
        uint64_t before = dev->memory_limit, used = dev->memory_used, room[3];
        for (int cuts = 1; cuts <= 2; cuts++) {
            counted c = {0};
            good(count_walk(&c, dev, codec_walk_decode, &t.c, count_cut(cuts), &e), &e);
            room[cuts] = c.peak;
            dev->memory_limit = used + room[cuts];
            t.r = run_new(dev, &e);
            dev->memory_peak = dev->memory_used;
            good(run_reserve(t.r, c.dry, &e), &e);
            good(cuts > 1 ? codec_decode_tiles(t.r, &t.c, t.codes, cuts, t.parts, &e)
                          : codec_decode_pictures(t.r, &t.c, t.codes, 1, t.parts, &e),
                 &e);
            assert_true(difference(&t) <= (cuts > 1 ? 1e-5 : 0));
            assert_true(dev->memory_peak <= used + room[cuts]);
            count_release(&c);
            run_free(t.r);
            dev->memory_limit = before;
        }
        assert_true(room[2] < room[1]);
        t.r = NULL;
        instance_release(&t);
    }
}

static void misplaced(const param_table *t)
{
    const param *p = support_misplaced(t);
    if (p)
        fail_msg("%s: for %x, in layer %d", p->name, p->uses, p->layer);
}

static void parameters_are_for_what_their_names_say(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        err e = {0};
        codec c = {0};
        param_table p = {0};
        good(kinds[i].declare(&c, &p, &e), &e);
        misplaced(&p);
        params_release(&p);
        codec_release(&c);
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
                                .stem = 8,
                                .has_encoder = true,
                                .gumbel = true,
                                .encoder = {.blocks = 1, .channels = {8, 16}},
                                .decoder = {.blocks = 1, .channels = {8, 16}}};
    good(resnet_vq_prepare(&c, &k, "test", &e), &e);
    resnet_vq_declare(&c, &p);
    misplaced(&p);
    assert_int_equal(codec_most_cuts(&c), 1);
    params_release(&p);
    codec_release(&c);
}

/* The autoencoder of a diffusion model, whose norms see a tile each: blended tiles are near the whole picture, and
 * nothing of it is left out. */
static void latents_are_decoded_by_tiles_that_are_blended(void **state)
{
    (void)state;
    err e = {0};
    codec c = {0};
    param_table p = {0};
    const resnet_vq_config k = {.width = 144,
                                .height = 112,
                                .code_dim = 4,
                                .latent = 4,
                                .groups = 4,
                                .stages = 2,
                                .eps = 1e-6f,
                                .latents = true,
                                .scale = 1,
                                .decoder = {.blocks = 1, .channels = {8, 16}}};
    good(resnet_vq_prepare(&c, &k, "test", &e), &e);
    resnet_vq_declare(&c, &p);
    run *r = run_new(dev, &e);
    good(r && params_load_trainable(&p, r, NULL, 5, &e), &e);
    const int numbers = (int)codec_numbers(&c), count = 3 * c.width * c.height;
    float *z = malloc((size_t)numbers * sizeof *z), *whole = malloc(2 * (size_t)count * sizeof *whole),
          *parts = whole + count;
    for (int i = 0; i < numbers; i++)
        z[i] = rng_normal(3, 0, 0, (uint32_t)i);
    good(codec_decode_pictures(r, &c, (const int32_t *)z, 1, whole, &e), &e);
    assert_int_equal(codec_most_cuts(&c), 72 / 16 - 1);
    for (int cuts = 2; cuts <= codec_most_cuts(&c); cuts++) {
        double difference = 0, mean = 0;
        good(codec_decode_tiles(r, &c, (const int32_t *)z, cuts, parts, &e), &e);
        for (int i = 0; i < count; i++)
            mean += whole[i] / count;
        for (int i = 0; i < count; i++)
            difference += fabs((double)parts[i] - whole[i]) / count;
        if (!(difference > 0 && difference < 0.02) || !(mean > 0.1 && mean < 0.9))
            fail_msg("%d pieces a side: %g from the whole picture, whose mean is %g", cuts, difference, mean);
    }
    free(z);
    free(whole);
    run_free(r);
    params_release(&p);
    codec_release(&c);
}

/* ---- decoding by tiles, through the command line ---- */

enum { GRID = 8, PICTURE = 4 * GRID, CODES = 16 };

/* A small transformer, and a codec whose decoder takes more memory than it. */
static void write_wide_codec(const char *path)
{
    err e = {0};
    param_table t = {0};
    codec c = {0};
    const autoencoder_config k = {.width = PICTURE,
                                  .height = PICTURE,
                                  .codes = CODES,
                                  .code_dim = 8,
                                  .stages = 2,
                                  .encoder_channels = {4, 4},
                                  .decoder_channels = {32, 48},
                                  .block_width = 8,
                                  .act = ACT_RELU};
    gpt d = {.base.text_length = 8,
             .base.vocabulary = 24,
             .base.codes = CODES,
             .base.grid_width = GRID,
             .base.grid_height = GRID,
             .base.dim = 16,
             .base.heads = 2,
             .base.layers = 1,
             .mlp = 16,
             .end_id = 1,
             .act = ACT_GELU_TANH,
             .eps = 1e-5f};
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", "limn");
    gpt_preset_dalle(&d);
    good(gpt_prepare(&d, "dalle", &e), &e);
    gpt_declare(&d, &t);
    gpt_put(&d, w);
    good(autoencoder_prepare(&c, &codec_dvae, &k, CODES, "codec.encoder.logits", "dvae", &e), &e);
    autoencoder_declare(&c, &t);
    autoencoder_put(&k, &codec_dvae, w);
    support_write_values(w, &t, DTYPE_F32);
    good(gguf_writer_commit(w, &e), &e);
    gguf_writer_free(w);
    free(t.list);
    codec_release(&c);
    free(d.blocks);
}

static void same_array(const char *a_path, const char *b_path, dtype type, double most)
{
    err e = {0};
    npy a = {0}, b = {0};
    good(npy_read(&a, a_path, type, &e) && npy_read(&b, b_path, type, &e), &e);
    assert_true(a.count == b.count && a.count > 0);
    for (int64_t i = 0; i < a.count; i++) {
        double far = type == DTYPE_I32 ? (double)((int32_t *)a.data)[i] - ((int32_t *)b.data)[i]
                                       : (double)((float *)a.data)[i] - ((float *)b.data)[i];
        if (!(far <= most && far >= -most))
            fail_msg("%s, %s: %g apart at %lld", a_path, b_path, far, (long long)i);
    }
    npy_release(&a);
    npy_release(&b);
}

static void same_picture(const char *a_path, const char *b_path)
{
    err e = {0};
    image a = {0}, b = {0};
    good(image_read(&a, a_path, &e) && image_read(&b, b_path, &e), &e);
    assert_true(a.width == b.width && a.height == b.height);
    for (int i = 0; i < 3 * a.width * a.height; i++)
        assert_in_range(a.pixels[i] + 1 - b.pixels[i], 0, 2); /* what rounds the other way */
    image_release(&a);
    image_release(&b);
}

/* As cli_good, with a limit and -v; what it says has the plan of a decode by four tiles. */
static void good_by_tiles(const char *arguments, unsigned long long limit)
{
    char line[512];
    snprintf(line, sizeof line, "%s|-v|--mem-limit|%llu", arguments, limit);
    cli_result r = cli_good(line);
    cli_has(r.err, "decode: plan: ");
    cli_has(r.err, "parts of 1");
    cli_has(r.err, "decode: a picture of 8 x 8 cells exceeds the limit: 4 tiles of ");
}

static void what_does_not_fit_is_decoded_by_tiles(void **state)
{
    (void)state;
    err e = {0};
    char line[512];
    static int32_t codes[GRID * GRID];
    static float pixels[3 * PICTURE * PICTURE];
    write_wide_codec("wide.gguf");
    good(npy_write("ids.npy", DTYPE_I32, 1, (int64_t[]){3}, (int32_t[]){5, 9, 3}, &e), &e);
    dev = support_device();
    limn_model *m = limn_model_open(dev, "wide.gguf", &e);
    good(m && limn_decode(m, codes, 1, pixels, &e), &e);
    unsigned long long limit = m->planned - 1, weights = params_loaded(&m->params);
    limn_model_free(&m);
    device_free(dev);
    cli_good("generate|--text-ids|ids.npy|-m|wide.gguf|--seed|1|--codes-out|c1.npy|-o|g1.png");
    cli_good("decode|c1.npy|-m|wide.gguf|-o|p1.npy");
    cli_good("reconstruct|g1.png|-m|wide.gguf|-o|r1.png");
    good_by_tiles("generate|--text-ids|ids.npy|-m|wide.gguf|--seed|1|--codes-out|c2.npy|-o|g2.png|--preview|g3.png",
                  limit);
    good_by_tiles("decode|c1.npy|-m|wide.gguf|-o|p2.npy", limit);
    good_by_tiles("reconstruct|g1.png|-m|wide.gguf|-o|r2.png", limit);
    same_array("c1.npy", "c2.npy", DTYPE_I32, 0);
    same_array("p1.npy", "p2.npy", DTYPE_F32, 1e-5);
    same_picture("g1.png", "g2.png");
    same_picture("g1.png", "g3.png");
    same_picture("r1.png", "r2.png");
    snprintf(line, sizeof line, "decode|c1.npy|-m|wide.gguf|-o|p3.npy|--mem-limit|%llu", weights + 4096);
    cli_bad(line, 1, "decode, in the smallest parts: ");
    cli_result r = cli_run(line);
    cli_has(r.err, "would exceed the limit");
    cli_has(r.err, "scratch of ");
    cli_has(r.err, "take another device: --device, or raise --mem-limit");
}

int main(void)
{
    int failed = 0;
    const char *style;
    for (size_t i = 0; (style = support_styled(&dev, i)); i++) {
        static const struct CMUnitTest tests[] = {
            cmocka_unit_test(tiles_have_no_seams),
            cmocka_unit_test(decoding_takes_what_is_counted),
            cmocka_unit_test(codecs_with_norms_have_no_tiles),
            cmocka_unit_test(latents_are_decoded_by_tiles_that_are_blended),
            cmocka_unit_test(parameters_are_for_what_their_names_say),
        };
        failed += cmocka_run_group_tests_name(style, tests, NULL, NULL);
    }
    device_free(dev);
    static const struct CMUnitTest command[] = {cmocka_unit_test(what_does_not_fit_is_decoded_by_tiles)};
    if (!cli_enter())
        return 1;
    failed += cmocka_run_group_tests_name("command line", command, NULL, NULL);
    cli_leave();
    return failed ? 1 : 0;
}
