/* Several models on one device under one memory limit: those that aren't at work rest where another one needs room, the
 * one that was used longest ago first, and each gives the bits that it gives alone. */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "checks.h"
#include "models/model.h"
#include "support.h"

enum { MODELS = 3, CELLS = 16, PIXELS = 3 * 8 * 8 };

typedef struct result {
    int32_t codes[2 * CELLS], encoded[CELLS];
    float pixels[2 * PIXELS];
} result;

static limn_device *dev;
static limn_model *models[MODELS];
static result alone[MODELS];
static uint64_t one;  /* the most that a model takes by itself, */
static uint64_t idle; /* and what it leaves there when it has nothing to do */

static const char *path_of(int i)
{
    char name[32];
    snprintf(name, sizeof name, "model%d.gguf", i);
    return support_path(name);
}

/* A bit of everything. */
static bool use_model(limn_model *m, result *r, err *e)
{
    uint8_t rgb[PIXELS];
    const limn_generate_options o = {.prompt = "abc", .seed = 3, .temperature = 1, .count = 2};
    for (int i = 0; i < PIXELS; i++)
        rgb[i] = (uint8_t)(i * 37);
    return limn_generate(m, &o, r->codes, e) && limn_decode(m, r->codes, 2, r->pixels, e) &&
           limn_encode(m, rgb, 1, r->encoded, NULL, e);
}

static int open_all(void **state)
{
    (void)state;
    err e = {0};
    dev = limn_device_open(getenv("LIMN_DEVICE"), NULL, &e);
    bool ok = dev;
    for (int i = 0; ok && i < MODELS; i++) {
        const uint64_t none = dev->memory_used;
        ok = tiny_model_write(path_of(i), &(tiny_config){.seed = (uint64_t)i + 1}, &e) &&
             (models[i] = limn_model_open(dev, path_of(i), &e));
        dev->memory_peak = dev->memory_used;
        for (int k = 0; ok && k < 2; k++) /* the second time all of it is there */
            ok = use_model(models[i], &alone[i], &e);
        idle = dev->memory_used;
        ok = ok && limn_model_rest(models[i], &e) && dev->memory_used == none;
        one = dev->memory_peak > one ? dev->memory_peak : one;
    }
    if (!ok)
        print_error("%s\n", e.text);
    return ok && memcmp(&alone[0], &alone[1], sizeof *alone) != 0 ? 0 : -1;
}

static int close_all(void **state)
{
    (void)state;
    for (int i = 0; i < MODELS; i++)
        limn_model_free(&models[i]);
    bool nothing = dev && dev->memory_used == 0 && !dev->shared;
    limn_device_free(&dev);
    return nothing ? 0 : -1;
}

/* A limit for all that follows, of which nothing is in use. */
static void limit(uint64_t bytes)
{
    err e = {0};
    for (int i = 0; i < MODELS; i++)
        good(limn_model_rest(models[i], &e), &e);
    dev->memory_limit = bytes;
    dev->memory_peak = dev->memory_used;
}

static bool rests(int i)
{
    return params_loaded(&models[i]->params) == 0;
}

static void works(int i)
{
    err e = {0};
    result r = {0};
    good(use_model(models[i], &r, &e), &e);
    assert_memory_equal(&r, &alone[i], sizeof r);
    assert_true(dev->memory_peak <= dev->memory_limit);
}

static void three_models_where_one_and_a_half_fit(void **state)
{
    (void)state;
    static const int order[] = {0, 1, 2, 0, 2, 1, 1, 0};
    const uint64_t limits[] = {one + one / 2, one + idle / 2, one}; /* the last one is the least */
    for (size_t k = 0; k < COUNT(limits); k++) {
        limit(limits[k]);
        for (size_t i = 0; i < COUNT(order); i++) {
            works(order[i]);
            if (k > 0 && i > 0 && order[i] != order[i - 1])
                assert_true(rests(order[i - 1]));
        }
    }
}

static void the_one_used_longest_ago_rests(void **state)
{
    (void)state;
    limit(one + idle + idle / 2);
    works(0);
    works(1);
    assert_false(rests(0) || rests(1));
    works(0);
    works(2);
    assert_true(!rests(0) && rests(1) && !rests(2));
    works(1);
    assert_true(rests(0) && !rests(1) && !rests(2));
    limit(one + 2 * idle);
    for (int i = 0; i < 2 * MODELS; i++)
        works(i % MODELS);
    assert_false(rests(0) || rests(1) || rests(2));
}

static void a_generation_at_work_never_rests(void **state)
{
    (void)state;
    err e = {0};
    result r;
    int left = 1, n = 0;
    limit(2 * one);
    limn_generation *g = limn_generation_open(models[0], NULL, &e);
    good(g && limn_generation_add(g, &(limn_request){.prompt = "abc", .seed = 3, .temperature = 1, .count = 2}, NULL,
                                  &e),
         &e);
    good(limn_generation_step(g, &left, &e), &e);
    works(1);
    works(2); /* there is room for one of these */
    good(limn_model_rest(models[1], &e) && limn_model_rest(models[2], &e), &e);
    dev->memory_limit = dev->memory_used;
    assert_false(rests(0));
    assert_false(use_model(models[1], &r, &e));
    assert_int_equal(e.cause, LIMN_CAUSE_MEMORY_LIMIT);
    has(e.text, "would exceed the limit");
    has(e.text, " at work");
    while (left > 0) {
        e = (err){0};
        good(limn_generation_step(g, &left, &e), &e);
        while (limn_generation_take(g, NULL, &n, r.codes))
            assert_memory_equal(r.codes, alone[0].codes + n * CELLS, CELLS * sizeof *r.codes);
    }
    assert_int_equal(n, 1);
    limn_generation_free(&g);
    limit(one);
    works(1);
}

/* Within a callback of another model's call. */
static bool needs_room(void *context, int64_t done, int64_t total)
{
    err e = {0};
    result r;
    bool *first = context;
    if (!*first)
        return true;
    *first = false;
    assert_true(done <= total);
    dev->memory_limit = dev->memory_used;
    assert_false(use_model(models[1], &r, &e));
    assert_int_equal(e.cause, LIMN_CAUSE_MEMORY_LIMIT);
    dev->memory_limit = 2 * one;
    works(1);
    e = (err){0};
    assert_false(limn_model_rest(models[0], &e));
    assert_int_equal(e.cause, LIMN_CAUSE_BUSY);
    return true;
}

static void what_called_back_does_not_rest(void **state)
{
    (void)state;
    enum { N = 20 };
    static int32_t codes[N * CELLS];
    static float pixels[N * PIXELS], again[N * PIXELS];
    err e = {0};
    bool first = true;
    const limn_control k = {.size = sizeof k, .progress = needs_room, .context = &first};
    for (int i = 0; i < N * CELLS; i++)
        codes[i] = i % TINY_CODES;
    limit(2 * one);
    good(limn_decode_pixels(models[0], codes, N, LIMN_F32, pixels, NULL, &e), &e);
    good(limn_decode_pixels(models[0], codes, N, LIMN_F32, again, &k, &e), &e);
    assert_false(first);
    assert_memory_equal(pixels, again, sizeof again);
}

static void less_than_one_needs_is_a_clear_error(void **state)
{
    (void)state;
    err e = {0};
    result r;
    limit(one);
    works(0);
    dev->memory_limit = 2000;
    assert_false(use_model(models[1], &r, &e));
    assert_int_equal(e.code, LIMN_FAILED);
    assert_int_equal(e.cause, LIMN_CAUSE_MEMORY_LIMIT);
    has(e.text, "`memory_limit`");
    assert_false(rests(0)); /* that wouldn't have helped */
    limit(one);
    works(1);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(three_models_where_one_and_a_half_fit), TEST(the_one_used_longest_ago_rests),
        TEST(a_generation_at_work_never_rests),      TEST(what_called_back_does_not_rest),
        TEST(less_than_one_needs_is_a_clear_error),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    device *d = support_device();
    device_free(d);
    return cmocka_run_group_tests(tests, open_all, close_all) != 0;
}
