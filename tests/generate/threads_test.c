/* Which thread may do what, as limn.h says it: each works on a device of its own, a device serves one at a time.  Under
 * ThreadSanitizer (LIMN_TSAN) this also shows that nothing is shared in secret. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "device/device.h"
#include "models/model.h"
#include "support.h"

enum { THREADS = 2, CELLS = 16, PIXELS = 3 * 8 * 8, CALLS = 40 };

static const char *file;
static const limn_generate_options drawing = {.prompt = "a", .seed = 3, .temperature = 1};

/* What a thread saw: cmocka's checks are for the main one. */
typedef struct seen {
    int ok, busy, wrong;
    int32_t codes[CELLS], again[CELLS];
    uint8_t rgb[PIXELS];
    float logits[TINY_CODES];
    err why;
} seen;

/* ---- devices of their own -------------------------------------------------------------------------------------- */

static void keeps_count(void *context, int level, const char *line)
{
    int *n = context;
    *n += level >= 0 && line[0];
}

static bool draws(limn_device *d, seen *s)
{
    err *e = &s->why;
    int lines = 0;
    limn_score score;
    uint64_t id;
    const limn_model_options o = {.log = keeps_count, .log_context = &lines};
    limn_model *m = limn_model_open_with(d, file, &o, e);
    limn_generation *g = m ? limn_generation_open(m, NULL, e) : NULL;
    bool ok = g && limn_generation_add(g, &(limn_request){.prompt = "a", .seed = 3, .temperature = 1}, &id, e);
    for (int left = 1; ok && left > 0;)
        ok = limn_generation_step(g, &left, e);
    ok = ok && limn_generation_take(g, NULL, NULL, s->codes) &&
         limn_decode_pixels(m, s->codes, 1, LIMN_U8, s->rgb, NULL, e) &&
         limn_encode_pixels(m, LIMN_U8, s->rgb, 1, s->again, NULL, e) &&
         limn_next_logits(m, NULL, 0, s->codes, 3, s->logits, e) &&
         limn_score_codes(m, NULL, 0, s->codes, NULL, &score, e) && limn_model_rest(m, e) && lines > 0;
    limn_generation_free(&g);
    limn_model_free(&m);
    return ok;
}

static void *works_alone(void *context)
{
    seen *s = context;
    limn_device_info *list = NULL;
    size_t n = 0;
    limn_device *d = NULL;
    bool ok = limn_devices(&list, &n, &s->why) && n > 0 &&
              (d = limn_device_open(getenv("LIMN_DEVICE"), NULL, &s->why)) && draws(d, s) && draws(d, s);
    limn_free(list);
    limn_device_free(&d);
    s->ok = ok;
    return NULL;
}

static void threads_work_on_devices_of_their_own(void **state)
{
    (void)state;
    static seen s[THREADS];
    pthread_t t[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, works_alone, &s[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        good(s[i].ok, &s[i].why);
        assert_memory_equal(s[i].codes, s[0].codes, sizeof s->codes);
        assert_memory_equal(s[i].rgb, s[0].rgb, sizeof s->rgb);
        assert_memory_equal(s[i].again, s[0].again, sizeof s->again);
        assert_memory_equal(s[i].logits, s[0].logits, sizeof s->logits);
    }
}

/* ---- one device ------------------------------------------------------------------------------------------------ */

static limn_device *dev;
static limn_model *shared;
static atomic_int turn; /* of two threads that wait for each other */

static void wait_for(int n)
{
    while (atomic_load(&turn) < n)
        sched_yield();
}

/* Calls as they come: each is done, or refused because the other thread is in one. */
static void *calls(void *context)
{
    seen *s = context;
    for (int i = 0; i < CALLS; i++) {
        int32_t codes[CELLS] = {0};
        float pixels[PIXELS];
        err e = {0};
        bool ok = i % 4 == 3 ? limn_generate(shared, &drawing, codes, &e) : limn_decode(shared, codes, 1, pixels, &e);
        s->ok += ok;
        s->busy += !ok && e.code == LIMN_USAGE && e.cause == LIMN_CAUSE_BUSY;
        s->wrong += !ok && e.cause != LIMN_CAUSE_BUSY;
        if (ok && i % 4 == 3)
            memcpy(s->codes, codes, sizeof codes);
        if (!ok)
            sched_yield();
    }
    return NULL;
}

static void open_shared(void)
{
    err e = {0};
    dev = limn_device_open(getenv("LIMN_DEVICE"), NULL, &e);
    shared = dev ? limn_model_open(dev, file, &e) : NULL;
    good(shared != NULL, &e);
    atomic_store(&turn, 0);
}

static void a_device_serves_one_at_a_time(void **state)
{
    (void)state;
    static seen s[THREADS];
    pthread_t t[THREADS];
    err e = {0};
    int32_t wanted[CELLS], none[CELLS] = {0};
    open_shared();
    good(limn_generate(shared, &drawing, wanted, &e), &e);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, calls, &s[i]), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(t[i], NULL);
        assert_int_equal(s[i].wrong, 0);
        assert_int_equal(s[i].ok + s[i].busy, CALLS);
        if (memcmp(s[i].codes, none, sizeof none) != 0)
            assert_memory_equal(s[i].codes, wanted, sizeof wanted);
    }
    assert_true(s[0].ok + s[1].ok > 0);
    limn_device_free(&dev);
    limn_model_free(&shared);
}

/* While the first thread is within its call. */
static bool lets_the_other_go_on(void *context, int done, int total, const int32_t *codes)
{
    (void)context;
    (void)done;
    (void)total;
    (void)codes;
    if (atomic_load(&turn) == 0)
        atomic_store(&turn, 1);
    wait_for(2);
    return true;
}

static void *is_refused_and_frees(void *context)
{
    seen *s = context;
    int32_t codes[CELLS] = {0};
    float pixels[PIXELS];
    limn_model *m = shared;
    limn_device *d = dev;
    wait_for(1);
    s->busy = !limn_decode(m, codes, 1, pixels, &s->why) && s->why.code == LIMN_USAGE &&
              s->why.cause == LIMN_CAUSE_BUSY && !limn_model_open(d, file, NULL) && !limn_model_rest(m, NULL);
    limn_model_free(&m);
    limn_device_free(&d);
    atomic_store(&turn, 2);
    return NULL;
}

static void what_is_in_use_is_refused_and_freed_later(void **state)
{
    (void)state;
    static seen s;
    pthread_t t;
    err e = {0};
    int32_t codes[CELLS];
    open_shared();
    limn_generate_options o = drawing;
    o.progress = lets_the_other_go_on;
    assert_int_equal(pthread_create(&t, NULL, is_refused_and_frees, &s), 0);
    bool ok = limn_generate(shared, &o, codes, &e);
    pthread_join(t, NULL);
    assert_true(s.busy);
    has(s.why.text, "another thread is using this device");
    assert_false(ok);
    assert_int_equal(e.code, LIMN_USAGE);
    has(e.text, "freed while it was in use");
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(threads_work_on_devices_of_their_own),
        TEST(a_device_serves_one_at_a_time),
        TEST(what_is_in_use_is_refused_and_freed_later),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    err e = {0};
    device_free(support_device());
    file = support_path("tiny.gguf");
    if (!tiny_model_write(file, &(tiny_config){0}, &e)) {
        print_error("%s\n", e.text);
        return 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL) != 0;
}
