/* Generation with unCLIP's models (the golden instance): the same pictures in any batch, variations, ways between two
 * ends, what is refused, and models that lack a part.
 * usage: unclip_generation_test [PATTERN]     the tests whose names match */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "golden_unclip.h"
#include "support.h"

static device *dev;
static golden_npz ref;

static const char *const prompts[] = {"a photograph of an astronaut riding a horse",
                                      "an oil painting of a lighthouse in a storm"};

static const int CELLS = 32 * 32 * 3;

static limn_generate_options few_steps(const model *m)
{
    limn_generate_options o = limn_generate_defaults(m);
    o.prior_steps = o.steps = 3;
    o.super_steps = 2;
    o.seed = 7;
    return o;
}

static void draw(model *m, const limn_generate_options *o, int32_t *codes)
{
    err e = {0};
    good(limn_generate(m, o, codes, &e), &e);
    for (int i = 0; i < CELLS; i++)
        assert_true(isfinite(((const float *)codes)[i]));
}

static void check_refused(model *m, const limn_generate_options *o, const char *part)
{
    err e = {0};
    int32_t codes[1];
    refused_with(limn_generate(m, o, codes, &e), &e, part, part, NULL);
}

static bool on_progress(void *context, int done, int total, const int32_t *codes)
{
    int *calls = context;
    float first;
    assert_true(done >= 0 && done <= total);
    memcpy(&first, codes, sizeof first);
    assert_true(isfinite(first));
    ++*calls;
    return true;
}

/* Picture i of a seed is the same whatever the count, and beside other requests; a picture that is cancelled leaves
 * nothing behind. */
static void check_same(model *m)
{
    err e = {0};
    const size_t bytes = (size_t)CELLS * sizeof(int32_t);
    int32_t *codes = calloc(4, bytes), *two = codes + CELLS, *taken = two + 2L * CELLS;
    int calls = 0, left = 1, number, n = 0, done;
    uint64_t id, cancelled;
    limn_generate_options o = few_steps(m);
    o.prompt = prompts[1];
    o.first = 1;
    o.progress = on_progress;
    o.context = &calls;
    o.preview = true;
    draw(m, &o, codes);
    assert_int_equal(calls, 8);
    o.first = 0;
    o.count = 2;
    o.progress = NULL;
    o.preview = false;
    draw(m, &o, two);
    assert_memory_equal(two + CELLS, codes, bytes);
    assert_memory_not_equal(two, codes, bytes);
    limn_generation *g = limn_generation_open(m, NULL, &e);
    const limn_request plain = {
        .size = sizeof plain, .prompt = "a bowl", .guidance = 1, .steps = 2, .prior_steps = 2, .super_steps = 2};
    const limn_request same = {.size = sizeof same,
                               .prompt = prompts[1],
                               .seed = 7,
                               .count = 2,
                               .steps = 3,
                               .prior_steps = 3,
                               .super_steps = 2};
    good(g && limn_generation_add(g, &same, &cancelled, &e) && limn_generation_add(g, &plain, NULL, &e) &&
             limn_generation_add(g, &same, NULL, &e),
         &e);
    for (int i = 0; i < 4; i++)
        good(limn_generation_step(g, NULL, &e), &e);
    good(limn_generation_peek(g, cancelled, 0, taken, &done, &e), &e);
    assert_true(done > 0 && done < CELLS);
    good(limn_generation_cancel(g, cancelled, &e), &e);
    while (left > 0) {
        good(limn_generation_step(g, &left, &e), &e);
        for (; limn_generation_take(g, &id, &number, taken); n++)
            if (id == 3)
                assert_memory_equal(taken, two + (int64_t)number * CELLS, bytes);
    }
    assert_int_equal(n, 3);
    limn_generation_free(&g);
    free(codes);
}

/* The ends of a way are what is drawn of them alone, with the same noise. */
static void check_between(model *m)
{
    const size_t bytes = (size_t)CELLS * sizeof(int32_t);
    int32_t *way = calloc(5, bytes), *end = way + 4L * CELLS;
    limn_generate_options o = few_steps(m), alone = few_steps(m);
    uint8_t *rgb = golden_unclip_rgb(&ref, &o.image_width, &o.image_height), other[3 * 32 * 32];
    for (size_t i = 0; i < sizeof other; i++)
        other[i] = (uint8_t)(i * i % 251);
    o.image = rgb;
    o.image_to = other;
    o.between = o.count = 3;
    draw(m, &o, way);
    alone.image = rgb;
    alone.image_width = o.image_width;
    alone.image_height = o.image_height;
    draw(m, &alone, end);
    golden_unclip_close((const float *)way, (const float *)end, CELLS, 1e-5, "the first end");
    alone.image = other; /* of the size that the model says */
    alone.image_width = alone.image_height = 0;
    draw(m, &alone, end);
    golden_unclip_close((const float *)way + 2L * CELLS, (const float *)end, CELLS, 1e-4, "the other end");
    assert_memory_not_equal(way + CELLS, way, bytes);
    o.first = 1;
    o.count = 1;
    draw(m, &o, end); /* the middle alone */
    assert_memory_equal(end, way + CELLS, bytes);
    o = few_steps(m);
    o.prompt = prompts[0];
    o.prompt_to = prompts[1];
    o.between = o.count = 3;
    draw(m, &o, way);
    o.prompt = prompts[1];
    o.prompt_to = prompts[0];
    o.first = 2;
    o.count = 1;
    draw(m, &o, end); /* the way back ends where the other begins */
    golden_unclip_close((const float *)way, (const float *)end, CELLS, 1e-4, "both ways");
    o.image = rgb;
    o.image_width = 52;
    o.image_height = 40;
    o.prompt = NULL;
    draw(m, &o, end);
    golden_unclip_close((const float *)way, (const float *)end, CELLS, 1e-4, "from a picture to a text");
    free(rgb);
    free(way);
}

static void check_what_is_refused(model *m)
{
    const uint8_t grey[3 * 32 * 32] = {0};
    limn_generate_options o = few_steps(m);
    o.prompt = "a";
    o.sampler = "ddim";
    check_refused(m, &o, "unclip");
    o.sampler = "unclip";
    o.spacing = "leading";
    check_refused(m, &o, "linspace");
    o.spacing = NULL;
    o.top_k = 3;
    check_refused(m, &o, "`top_k`");
    o.top_k = 0;
    o.strength = 0.5f;
    check_refused(m, &o, "`strength`");
    o.strength = 0;
    o.between = 2;
    check_refused(m, &o, "a picture or to a text");
    o.prompt_to = "b";
    o.count = 3;
    check_refused(m, &o, "there are 2 pictures");
    o.between = 0;
    check_refused(m, &o, "no number of pictures");
    o.prompt_to = NULL;
    o.image = grey;
    o.image_width = 3;
    check_refused(m, &o, "no picture of 3 x 0");
}

static void test_generation(void **state)
{
    (void)state;
    err e = {0};
    model *m = golden_unclip_open(dev, "karlo", true, true);
    const limn_model_info *i = limn_model_get_info(m);
    assert_true(i->latent_channels == 3 && i->has_prior && i->has_image_encoder && i->encode_width == 32);
    assert_true(i->default_steps == 25 && i->default_prior_steps == 25 && i->default_super_steps == 7);
    assert_true(i->default_guidance == 8 && i->default_prior_guidance == 4);
    assert_string_equal(i->default_sampler, "unclip");
    check_same(m);
    check_between(m);
    check_what_is_refused(m);
    uint8_t none[3 * 32 * 32] = {0};
    int32_t codes[1];
    refused_with(limn_encode(m, none, 1, codes, NULL, &e), &e, "draws pixels", "encoding", NULL);
    limn_model_free(&m);
}

/* Models that lack a part say which. */
static void test_parts(void **state)
{
    (void)state;
    const uint8_t grey[3 * 32 * 32] = {0};
    int32_t *codes = calloc((size_t)CELLS, sizeof *codes);
    model *m = golden_unclip_open(dev, "blind", true, false);
    limn_generate_options o = few_steps(m);
    o.prompt = "a";
    o.image = grey;
    check_refused(m, &o, "image encoder");
    o.image = NULL;
    draw(m, &o, codes);
    limn_model_free(&m);
    m = golden_unclip_open(dev, "variations", false, true);
    o = few_steps(m);
    o.prompt = "a";
    check_refused(m, &o, "no prior");
    o.image = grey;
    draw(m, &o, codes);
    free(codes);
    limn_model_free(&m);
    m = support_tiny(dev);
    o = limn_generate_defaults(m);
    o.prompt = "a";
    o.prior_steps = 3;
    check_refused(m, &o, "`prior_steps`");
    limn_model_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {TEST(test_generation), TEST(test_parts)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    golden_npz_open(&ref, GOLDEN_UNCLIP "reference.npz");
    int failed = _cmocka_run_group_tests("unclip_generation", tests, COUNT(tests), NULL, NULL);
    golden_npz_release(&ref);
    device_free(dev);
    return failed;
}
