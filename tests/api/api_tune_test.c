/* Tuning through the public API: it stops when asked to, and what it keeps is what the device takes from then on. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "support.h"

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
static char said[4096];

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_search_can_be_stopped),
        TEST(without_time_the_device_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, open_device, free_device);
}
