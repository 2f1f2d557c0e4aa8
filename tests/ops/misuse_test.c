/* What ops ask of their callers is asked in every build: a run fails with the op's name, and is usable again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ops/ops.h"
#include "ops/tape.h"
#include "support.h"

static void fails(run *r, const char *op)
{
    err e = {0};
    assert_true(run_failed(r));
    tensor after = op_activate(r, run_tensor(r, DTYPE_F32, 1, (int64_t[]){4}), ACT_RELU); /* nothing follows */
    assert_null(after.buf);
    assert_false(run_finish(r, &e));
    char start[64];
    snprintf(start, sizeof start, "%s: its operands don't go together: ", op);
    if (strncmp(e.text, start, strlen(start)) != 0)
        fail_msg("%s", e.text);
    assert_false(run_failed(r));
}

static void operands_that_do_not_go_together(void **state)
{
    (void)state;
    device *d = support_device();
    err e = {0};
    run *r = run_new(d, &e);
    tensor a = run_zeros(r, 12), b = a, six = a;
    a = tensor_shaped(a, 2, (int64_t[]){3, 4});
    b = tensor_shaped(b, 2, (int64_t[]){4, 3});
    six = tensor_shaped(six, 1, (int64_t[]){6});
    op_add(r, a, six);
    fails(r, "op_add");
    op_linear(r, a, &(linear){.w = a}, ACT_NONE); /* [3,4] by [3,4] */
    assert_false(run_failed(r));
    op_linear(r, a, &(linear){.w = b}, ACT_NONE);
    fails(r, "linear_step");
    op_cross_entropy(r, a, six, 0);
    fails(r, "op_cross_entropy");
    op_glu(r, b, ACT_SILU);
    fails(r, "op_glu");
    assert_true(run_finish(r, &e));
    run_free(r);
    device_free(d);
}

static void weights_that_are_not_loaded(void **state)
{
    (void)state;
    device *d = support_device();
    err e = {0};
    run *r = run_new(d, &e);
    buffer none = {.dev = d, .bytes = 64};
    tensor t = tensor_shaped((tensor){.buf = &none}, 1, (int64_t[]){16});
    op_activate(r, t, ACT_RELU);
    assert_true(run_failed(r));
    assert_false(run_finish(r, &e));
    assert_non_null(strstr(e.text, "CL_INVALID_MEM_OBJECT"));
    run_free(r);
    device_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operands_that_do_not_go_together),
        cmocka_unit_test(weights_that_are_not_loaded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
