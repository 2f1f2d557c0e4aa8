/* Tuning through the public API: it stops when asked to, and what it keeps is what the device takes from then on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "checks.h"
#include "support.h"
#include "tune/tune.h"

static device *dev;

static int open_device(void **state)
{
    (void)state;
    dev = support_device();
    setenv("LIMN_CACHE_DIR", support_path("cache"), 1); /* what is kept is no matter of other tests */
    return 0;
}

static int free_device(void **state)
{
    (void)state;
    limn_device_free(&dev);
    return 0;
}

static bool kept(void)
{
    char path[600];
    snprintf(path, sizeof path, "%s/tuning", support_path("cache"));
    return access(path, F_OK) == 0;
}

static bool stop_at_once(void *context, int64_t done, int64_t total)
{
    assert_true(done == 0 && total > 1);
    ++*(int *)context;
    return false;
}

static void a_search_can_be_stopped(void **state)
{
    (void)state;
    limn_error e = {0};
    int calls = 0;
    assert_false(limn_tune(dev, 0, &(limn_control){.progress = stop_at_once, .context = &calls}, &e));
    assert_int_equal(e.code, LIMN_FAILED);
    assert_string_equal(e.text, "tune: interrupted");
    assert_int_equal(calls, 1);
    assert_false(kept());
}

/* The log's lines that say what came of it. */
static char said[16384];

static void on_line(void *context, int level, const char *line)
{
    (void)context;
    (void)level;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

static bool count(void *context, int64_t done, int64_t total)
{
    *(int64_t *)context = total - done;
    return true;
}

static void without_time_the_device_stays_as_it_is(void **state)
{
    (void)state;
    limn_error e = {0};
    int64_t left = 1;
    limn_set_log(on_line, NULL);
    bool ok = limn_tune(dev, 1e-9, &(limn_control){.progress = count, .context = &left}, &e);
    limn_set_log(NULL, NULL);
    good(ok, &e);
    has(said, "tune: nothing was faster after 0 trials");
    assert_int_equal(left, 0);
    assert_true(kept());
    tuning t = {0}, own = device_default_tuning(&dev->info);
    assert_true(tuning_load(&t, &dev->info));
    assert_true(tuning_same(&t, &own));
}

static bool stop_after_some(void *context, int64_t done, int64_t total)
{
    assert_true(done == 0 && total > 1);
    return ++*(int *)context < 3;
}

static void a_search_waits_for_another_one(void **state)
{
    (void)state;
    limn_error e = {0};
    int calls = 0;
    char path[600];
    snprintf(path, sizeof path, "%s/tune.lock", support_path("cache"));
    int fd = os_open(path, OS_SAME_NEW);
    assert_true(fd >= 0);
    if (!os_lock(fd, false))
        skip(); /* there are no locks here */
    said[0] = 0;
    limn_set_log(on_line, NULL);
    bool ok = limn_tune(dev, 1e-9, &(limn_control){.progress = stop_after_some, .context = &calls}, &e);
    limn_set_log(NULL, NULL);
    assert_false(ok);
    assert_string_equal(e.text, "tune: interrupted");
    assert_int_equal(calls, 3);
    has(said, "tune: another search is at work on this machine");
    close(fd);
    e = (limn_error){0};
    good(limn_tune(dev, 1e-9, NULL, &e), &e);
}

/* A trial of a device whose gradients take 9 times what its limits allow, and all else twice. */
static bool pretended(void *context, const tuning both[2], unsigned works, bool is_best, tune_result *r, err *e)
{
    (void)context, (void)is_best, (void)e;
    *r = (tune_result){.right = true, .ran = {both[0], both[1]}};
    for (int w = 0; w < TUNE_WORKS; w++)
        if (works >> w & 1) {
            r->seconds[0][w] = r->seconds[1][w] = w == TUNE_GRADIENT ? 9 : 2;
            r->ratio[w] = r->least[w] = 1;
        }
    return true;
}

static bool always(void *context, int step, int steps, err *e)
{
    (void)context, (void)step, (void)steps, (void)e;
    return true;
}

static void say(void *context, const char *line)
{
    on_line(context, 0, line);
}

static void what_is_furthest_from_the_limits_is_tried_first(void **state)
{
    (void)state;
    limn_error e = {0};
    for (int known = 0; known < 2; known++) {
        tuner u = {.info = dev->info,
                   .best = device_form_tuning(&dev->info, true),
                   .trial = pretended,
                   .goes_on = always,
                   .say = say};
        u.info.gflops = u.info.gbytes_per_s = known;
        said[0] = 0;
        good(tune_search(&u, &e), &e);
        assert_int_equal(u.changes, 0);
        const char *gradient = strstr(said, "gradient_rows:"), *few = strstr(said, "items_few:"),
                   *form = strstr(said, "cpu_form:"), *draft = strstr(said, "draft:");
        assert_true(gradient && few && form && draft && draft < form);
        assert_true(known ? gradient < few : few < gradient);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_search_can_be_stopped),
        TEST(without_time_the_device_stays_as_it_is),
        TEST(a_search_waits_for_another_one),
        TEST(what_is_furthest_from_the_limits_is_tried_first),
    };
    return cmocka_run_group_tests(tests, open_device, free_device);
}
