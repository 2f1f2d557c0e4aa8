/* Work in flight: never more than some two seconds by what is known of the device, which is measured. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "device/run_internal.h"
#include "support.h"

/* Launches that say that they are so much work. */
static void launch_all(run *r, tensor t, double flops, int n)
{
    for (int i = 0; i < n; i++) {
        LAUNCH(r, "elementwise:advance", ((work){.global = {1}, .flops = flops}), ARG_T(t), ARG_I(1), ARG_I(1));
        assert_false(run_failed(r));
    }
}

static void the_host_waits_where_a_slow_device_has_two_seconds_to_do(void **state)
{
    (void)state;
    err e = {0};
    device *d = support_device();
    run *r = run_new(d, &e);
    tensor t = run_upload(r, DTYPE_I32, 1, (int64_t[]){1}, &(int32_t){0});
    d->flight.slowness = 50; /* 0.8 GFLOP/s */
    d->flight.measured = true;
    assert_true(flight_piece(d) < 0.11 * 0.8e9);
    for (int i = 0; i < 100; i++) { /* of 0.1 s each */
        launch_all(r, t, 0.8e8, 1);
        assert_true(flight_seconds(d) <= FLIGHT_SECONDS);
    }
    assert_int_equal(d->flight.n, FLIGHT_MARKS); /* it waited for the oldest, not for all */
    assert_true(d->flight.most > FLIGHT_SECONDS / 2);
    int32_t value = 0;
    run_read(r, t, &value);
    assert_true(run_finish(r, &e));
    assert_int_equal(value, 100);
    assert_true(flight_seconds(d) == 0);
    run_free(r);
    device_free(d);
}

static void its_speed_is_measured(void **state)
{
    (void)state;
    err e = {0};
    device *d = support_device();
    run *r = run_new(d, &e);
    tensor t = run_upload(r, DTYPE_I32, 1, (int64_t[]){1}, &(int32_t){0});
    launch_all(r, t, 0, 1);
    assert_true(run_finish(r, &e) && !d->flight.measured); /* nothing to measure by */
    launch_all(r, t, 4e10, 20);
    assert_true(run_finish(r, &e) && d->flight.measured);
    assert_true(d->flight.slowness < 1 && flight_seconds(d) == 0); /* it did nothing of that */
    assert_true(flight_piece(d) == 4e9);
    run_free(r);
    device_free(d);
}

static void a_lost_device_is_called_no_more(void **state)
{
    (void)state;
    err e = {0};
    device *d = support_device();
    run *r = run_new(d, &e);
    tensor t = run_upload(r, DTYPE_I32, 1, (int64_t[]){1}, &(int32_t){0});
    assert_true(run_finish(r, &e));
    assert_false(device_ok(d, CL_INVALID_COMMAND_QUEUE, "clFinish", &e));
    assert_non_null(strstr(e.text, "the device is lost: clFinish: CL_INVALID_COMMAND_QUEUE"));
    LAUNCH(r, "elementwise:advance", ((work){.global = {1}}), ARG_T(t), ARG_I(1), ARG_I(1));
    assert_true(run_failed(r));
    err again = {0};
    assert_false(run_finish(r, &again));
    assert_non_null(strstr(again.text, "the device is lost"));
    assert_true(device_any_lost());
    run_free(r);
    device_free(d); /* what the driver has of it stays until the process ends */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_host_waits_where_a_slow_device_has_two_seconds_to_do),
        cmocka_unit_test(its_speed_is_measured),
        cmocka_unit_test(a_lost_device_is_called_no_more),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
