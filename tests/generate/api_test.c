/* What callers of the API may do wrong is refused and never undefined: freeing what is in use, two threads on a device;
 * and what they bring and get: models in memory, pixels of one layout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/rng.h"
#include "checks.h"
#include "models/model.h"
#include "support.h"

enum { SMALL = 16, PIXELS = 3 * 64 };

static limn_device *dev;
static limn_model *tiny;

static int open_tiny(void **state)
{
    (void)state;
    err e = {0};
    const char *path = support_path("tiny.gguf");
    dev = limn_device_open(getenv("LIMN_DEVICE"), NULL, &e);
    if (dev && tiny_model_write(path, &(tiny_config){0}, &e))
        tiny = limn_model_open(dev, path, &e);
    if (!tiny)
        print_error("%s\n", e.text);
    return tiny ? 0 : -1;
}

static int close_tiny(void **state)
{
    (void)state;
    limn_model_free(&tiny);
    bool nothing = !dev || dev->memory_used == 0;
    limn_device_free(&dev);
    limn_device_free(&dev);
    return nothing ? 0 : -1;
}

/* ---- within callbacks ------------------------------------------------------------------------------------------ */

static bool rests(void *context, int done, int total, const int32_t *codes)
{
    (void)done;
    (void)codes;
    err e = {0};
    int *calls = context;
    ++*calls;
    if (done == total)
        return true;
    assert_false(limn_model_rest(tiny, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    return true;
}

static void a_model_at_work_does_not_rest(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL];
    int calls = 0;
    const limn_generate_options o = {.prompt = "a", .progress = rests, .context = &calls};
    good(limn_generate(tiny, &o, codes, &e), &e);
    assert_true(calls > 1);
}

static bool frees(void *context, int done, int total, const int32_t *codes)
{
    (void)context;
    (void)done;
    (void)total;
    (void)codes;
    limn_model_free(&tiny);
    return true;
}

static bool frees_ready(void *context, int first, int n, const int32_t *codes)
{
    (void)context;
    (void)first;
    (void)n;
    (void)codes;
    limn_model_free(&tiny);
    return true;
}

static void a_model_that_is_freed_within_a_callback_goes_afterwards(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL];
    limn_generate_options o = {.prompt = "a", .progress = frees};
    assert_false(limn_generate(tiny, &o, codes, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    has(e.text, "freed while it was in use");
    assert_null(tiny);
    assert_true(dev->memory_used == 0 && dev->models == 0);
    for (int ready = 0; ready < 2; ready++) {
        e = (err){0};
        good((tiny = limn_model_open(dev, support_path("tiny.gguf"), &e)) != NULL, &e);
        if (ready == 1)
            break;
        o = (limn_generate_options){.prompt = "a", .ready = frees_ready};
        assert_false(limn_generate(tiny, &o, NULL, &e));
        assert_int_equal(e.code, LIMN_USAGE);
        assert_true(dev->memory_used == 0 && dev->models == 0);
    }
}

/* A generation keeps its model, which does nothing more; a device goes with its last model. */
static void things_are_freed_in_any_order(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL];
    limn_device *d = limn_device_open(getenv("LIMN_DEVICE"), NULL, &e);
    limn_model *m = d ? limn_model_open(d, support_path("tiny.gguf"), &e) : NULL;
    limn_generation *g = m ? limn_generation_open(m, NULL, &e) : NULL;
    good(g && limn_generation_add(g, &(limn_request){.prompt = "a"}, NULL, &e) && limn_generation_step(g, NULL, &e),
         &e);
    limn_device_free(&d);
    good(limn_generation_step(g, NULL, &e), &e); /* the device is there as long as the model is */
    limn_model *other = m;
    limn_model_free(&m);
    assert_null(m);
    assert_false(limn_generation_step(g, NULL, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    e = (err){0};
    assert_false(limn_decode(other, codes, 0, NULL, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    limn_generation_free(&g);
}

/* ---- two threads ----------------------------------------------------------------------------------------------- */

typedef struct other {
    bool frees, refused;
    err why;
} other;

static void *other_thread(void *context)
{
    other *o = context;
    int32_t codes[SMALL] = {0};
    float pixels[PIXELS];
    o->refused = !limn_decode(tiny, codes, 1, pixels, &o->why);
    limn_model *m = tiny;
    if (o->frees)
        limn_model_free(&m);
    return NULL;
}

static bool lets_another_in(void *context, int done, int total, const int32_t *codes)
{
    (void)done;
    (void)total;
    (void)codes;
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, other_thread, context), 0);
    pthread_join(t, NULL);
    return true;
}

static void another_thread_is_refused(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL];
    other o = {0};
    limn_generate_options q = {.prompt = "a", .progress = lets_another_in, .context = &o};
    good(limn_generate(tiny, &q, codes, &e), &e);
    assert_true(o.refused);
    assert_int_equal(o.why.code, LIMN_USAGE);
    has(o.why.text, "another thread");
    o = (other){0};
    lets_another_in(&o, 0, 0, NULL); /* nobody is at work */
    assert_false(o.refused);
    o = (other){.frees = true};
    assert_false(limn_generate(tiny, &q, codes, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    assert_int_equal(dev->models, 0);
    e = (err){0};
    good((tiny = limn_model_open(dev, support_path("tiny.gguf"), &e)) != NULL, &e);
}

/* Threads that each have a device of their own. */
static void *draws(void *context)
{
    err e = {0};
    int32_t *codes = context;
    limn_device *d = limn_device_open(getenv("LIMN_DEVICE"), NULL, &e);
    limn_model *m = d ? limn_model_open(d, support_path("tiny.gguf"), &e) : NULL;
    const limn_generate_options o = {.prompt = "a", .seed = 3, .temperature = 1};
    bool ok = m && limn_generate(m, &o, codes, &e);
    if (!ok)
        print_error("%s\n", e.text);
    limn_model_free(&m);
    limn_device_free(&d);
    return ok ? context : NULL;
}

static void threads_have_devices_of_their_own(void **state)
{
    (void)state;
    enum { THREADS = 3 };
    static int32_t codes[THREADS][SMALL];
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, draws, codes[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        void *done;
        pthread_join(t[i], &done);
        assert_ptr_equal(done, codes[i]);
        assert_memory_equal(codes[i], codes[0], sizeof codes[0]);
    }
}

/* ---- what comes in and goes out -------------------------------------------------------------------------------- */

static void models_open_from_memory(void **state)
{
    (void)state;
    err e = {0};
    file_map f = {0};
    int32_t wanted[SMALL], codes[SMALL];
    const limn_generate_options o = {.prompt = "a", .seed = 3, .temperature = 1};
    good(limn_generate(tiny, &o, wanted, &e) && file_map_open(&f, support_path("tiny.gguf"), &e), &e);
    char *copy = malloc(f.size);
    assert_non_null(copy);
    memcpy(copy, f.data, f.size);
    limn_model *m = limn_model_open_memory(dev, copy, f.size, "mine", &e);
    good(m && limn_generate(m, &o, codes, &e), &e);
    assert_memory_equal(codes, wanted, sizeof codes);
    limn_model_free(&m);
    memcpy(copy, "GUGF", 4);
    assert_null(limn_model_open_memory(dev, copy, f.size, "mine", &e));
    has(e.text, "mine");
    e = (err){0};
    assert_null(limn_model_open_memory(dev, f.data, f.size / 2, NULL, &e));
    has(e.text, "model in memory");
    free(copy);
    file_map_release(&f);
}

static bool counts(void *context, int64_t done, int64_t total)
{
    int64_t *seen = context;
    assert_true(done > seen[0] && done <= total);
    seen[0] = done;
    return !seen[1] || done < seen[1];
}

static void pixels_have_one_layout(void **state)
{
    (void)state;
    enum { N = 20 };
    static float first[N * PIXELS], last[N * PIXELS];
    static uint8_t bytes[N * PIXELS];
    int32_t codes[N * SMALL], encoded[N * SMALL], again[N * SMALL];
    int64_t seen[2] = {0, 0};
    const limn_control control = {.size = sizeof control, .progress = counts, .context = seen};
    err e = {0};
    for (int i = 0; i < N * SMALL; i++)
        codes[i] = (int32_t)(rng_uniform(3, 0, 0, (uint32_t)i) * TINY_CODES);
    good(limn_decode(tiny, codes, N, first, &e) && limn_decode_pixels(tiny, codes, N, LIMN_F32, last, NULL, &e) &&
             limn_decode_pixels(tiny, codes, N, LIMN_U8, bytes, &control, &e),
         &e);
    assert_int_equal(seen[0], N);
    for (int i = 0; i < N; i++)
        for (int p = 0; p < 64; p++)
            for (int k = 0; k < 3; k++) {
                float v = first[(i * 3 + k) * 64 + p];
                assert_true(last[(i * 64 + p) * 3 + k] == v);
                assert_int_equal(bytes[(i * 64 + p) * 3 + k], lrintf(v * 255));
            }
    for (int i = 0; i < N * PIXELS; i++)
        last[i] = (float)bytes[i] / 255;
    good(limn_encode(tiny, bytes, N, encoded, NULL, &e), &e);
    for (int type = LIMN_U8; type <= LIMN_F32; type++) {
        memset(again, 0, sizeof again);
        good(
            limn_encode_pixels(tiny, (limn_pixel_type)type, type == LIMN_U8 ? (void *)bytes : last, N, again, NULL, &e),
            &e);
        assert_memory_equal(again, encoded, sizeof again);
    }
    assert_false(limn_decode_pixels(tiny, codes, N, (limn_pixel_type)7, bytes, NULL, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    for (int i = 0; i < 2; i++) {
        seen[0] = 0;
        seen[1] = 1; /* stop after the first */
        e = (err){0};
        assert_false(i ? limn_encode_pixels(tiny, LIMN_U8, bytes, N, again, &control, &e)
                       : limn_decode_pixels(tiny, codes, N, LIMN_U8, bytes, &control, &e));
        has(e.text, "interrupted");
        assert_true(seen[0] < N);
    }
    limn_free(NULL);
    limn_free(malloc(3));
}

/* ---- opening, and where messages go ---------------------------------------------------------------------------- */

static void opening_is_watched_and_stopped(void **state)
{
    (void)state;
    err e = {0};
    int64_t seen[2] = {0, 0};
    const limn_control control = {.size = sizeof control, .progress = counts, .context = seen};
    const limn_model_options o = {.size = sizeof o, .control = &control};
    const int models = dev->models;
    const uint64_t used = dev->memory_used;
    limn_model *m = limn_model_open_with(dev, support_path("tiny.gguf"), &o, &e);
    good(m != NULL, &e);
    assert_int_equal(seen[0], m->params.n);
    limn_model_free(&m);
    for (int64_t stop = 1; stop < seen[0]; stop += 7) {
        int64_t until[2] = {0, stop};
        const limn_control stops = {.progress = counts, .context = until};
        e = (err){0};
        assert_null(limn_model_open_with(dev, support_path("tiny.gguf"), &(limn_model_options){.control = &stops}, &e));
        assert_int_equal(e.code, LIMN_FAILED);
        assert_int_equal(e.cause, LIMN_CAUSE_INTERRUPTED);
        assert_int_equal(until[0], stop);
        assert_true(dev->models == models && dev->memory_used == used);
    }
    e = (err){0};
    assert_null(limn_model_open_memory(dev, NULL, 0, NULL, &e));
    has(e.text, "model in memory");
}

typedef struct lines {
    int n, plans;
} lines;

static void keeps_lines(void *context, int level, const char *line)
{
    lines *l = context;
    assert_true(level >= 0 && level <= 3);
    l->n++;
    l->plans += strstr(line, "generate: plan") != NULL;
}

/* Within a call that another device's call made. */
static bool draws_beside(void *context, int done, int total, const int32_t *codes)
{
    (void)codes;
    err e = {0};
    int32_t beside[SMALL];
    if (done == total)
        good(limn_generate(context, &(limn_generate_options){.prompt = "a"}, beside, &e), &e);
    return true;
}

static void messages_go_to_their_own_function(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL], *ids = NULL;
    size_t n = 0;
    lines everybodys = {0}, devices = {0}, models = {0};
    limn_set_log(keeps_lines, &everybodys);
    const limn_device_options own = {.size = sizeof own, .log = keeps_lines, .log_context = &devices};
    const limn_model_options o = {.log = keeps_lines, .log_context = &models};
    limn_device *d = limn_device_open(getenv("LIMN_DEVICE"), &own, &e);
    limn_model *quiet = d ? limn_model_open(d, support_path("tiny.gguf"), &e) : NULL;
    limn_model *m = quiet ? limn_model_open_with(d, support_path("tiny.gguf"), &o, &e) : NULL;
    limn_generate_options a = {.prompt = "a"};
    good(m && limn_generate(quiet, &a, codes, &e), &e);
    assert_true(devices.plans == 1 && models.n == 0 && everybodys.n == 0);
    devices.n = 0;
    good(limn_generate(m, &a, codes, &e), &e);
    assert_true(devices.n == 0 && models.plans == 1 && everybodys.n == 0);
    models.n = 0;
    good(limn_tokenize(m, " ", &ids, &n, &e), &e);
    limn_free(ids);
    assert_true(devices.n == 0 && models.n == 1 && everybodys.n == 0);
    /* a call within another's */
    a.progress = draws_beside;
    a.context = m;
    models.n = 0;
    good(limn_generate(tiny, &a, codes, &e), &e);
    assert_true(devices.n == 0 && models.n > 0 && everybodys.n > 0);
    everybodys.n = 0;
    good(limn_generate(tiny, &(limn_generate_options){.prompt = "a"}, codes, &e), &e);
    assert_true(everybodys.n > 0);
    limn_model_free(&m);
    limn_model_free(&quiet);
    limn_device_free(&d);
    limn_set_log(NULL, NULL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_model_at_work_does_not_rest),
        cmocka_unit_test(a_model_that_is_freed_within_a_callback_goes_afterwards),
        cmocka_unit_test(things_are_freed_in_any_order),
        cmocka_unit_test(another_thread_is_refused),
        cmocka_unit_test(threads_have_devices_of_their_own),
        cmocka_unit_test(models_open_from_memory),
        cmocka_unit_test(pixels_have_one_layout),
        cmocka_unit_test(opening_is_watched_and_stopped),
        cmocka_unit_test(messages_go_to_their_own_function),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    device *d = support_device(); /* says so, and skips, where there is none */
    device_free(d);
    return cmocka_run_group_tests(tests, open_tiny, close_tiny) != 0;
}
