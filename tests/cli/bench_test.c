/* limn bench: models of random weights, the choice of measurements, and the comparison with an earlier run. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "models/model.h"
#include "support.h"

static device *dev;

/* limn bench with these arguments: its standard output (a new string) and exit code. */
static char *bench(const char *arguments, int *code)
{
    char line[2048], *out = calloc(1, 1 << 20);
    snprintf(line, sizeof line, "'%s' bench %s 2>'%s'", LIMN_PROGRAM, arguments, support_path("messages"));
    FILE *f = popen(line, "r");
    assert_non_null(f);
    assert_non_null(out);
    assert_true(fread(out, 1, (1 << 20) - 1, f) < (1 << 20) - 1);
    *code = pclose(f) >> 8;
    return out;
}

static void random_models_of_every_type_generate(void **state)
{
    err e = {0};
    tiny_config c = {.no_codec = true};
    int32_t codes[16], ids[] = {5};
    (void)state;
    assert_true(tiny_model_write(support_path("tiny.gguf"), &c, &e));
    for (int type = DTYPE_F32; type <= DTYPE_Q4_0; type++) {
        model *m = model_open_keys(dev, support_path("tiny.gguf"), &e);
        assert_non_null(m);
        uint64_t before = dev->memory_used, bytes = params_random_bytes(&m->params, (dtype)type), filled_up = 0;
        assert_true(params_open_random(&m->params, m->run, (dtype)type, &e) && model_load(m, ~0u, &e));
        for (size_t i = 0; i < m->params.n; i++) {
            const tensor *to = m->params.list[i].to;
            if (param_is_matrix(&m->params.list[i]) && m->params.list[i].shape[1] % 32 == 0)
                assert_int_equal(to->type, type);
            int64_t tall = dev->tune.cpu_form ? LINEAR_PANEL : LINEAR_W_ROWS_GPU;
            if (to->panels)
                filled_up += dtype_row_bytes(to->type, (tall - to->shape[0] % tall) % tall * to->shape[1]);
        }
        assert_true(bytes > 0);
        assert_int_equal(dev->memory_used - before, bytes + filled_up);
        limn_generate_options o = {.text_ids = ids, .n_text_ids = 1, .count = 1, .temperature = 1};
        assert_true(limn_generate(m, &o, codes, &e));
        model_free(m);
    }
}

static void names_are_listed_and_chosen(void **state)
{
    int code;
    (void)state;
    char *out = bench("--list", &code);
    assert_int_equal(code, 0);
    assert_non_null(strstr(out, "generate mini, Q8_0, 18 rows"));
    free(out);
    out = bench("--list 'layer*'", &code);
    assert_string_equal(out, "layer norm  (default)\n");
    free(out);
    out = bench("'nothing of that name'", &code);
    assert_int_equal(code, 2);
    assert_string_equal(out, "");
    free(out);
    out = bench("--compare /nowhere", &code);
    assert_int_equal(code, 1);
    free(out);
}

static void rows_have_limits_and_ratios(void **state)
{
    char arguments[512];
    int code;
    size_t i;
    json_t *row, *found = NULL;
    (void)state;
    FILE *f = fopen(support_path("before.json"), "w");
    assert_non_null(f);
    fputs("{\"rows\": [{\"name\": \"layer norm\", \"value\": 1e-6, \"unit\": \"GB/s\"}]}", f);
    assert_int_equal(fclose(f), 0);
    snprintf(arguments, sizeof arguments, "--json 'layer norm' --compare '%s'", support_path("before.json"));
    char *out = bench(arguments, &code);
    assert_int_equal(code, 0);
    json_t *all = json_loads(out, 0, NULL), *rows = json_object_get(all, "rows");
    assert_int_equal(json_array_size(rows), 3); /* peak, bandwidth, and what was asked for */
    json_array_foreach(rows, i, row)
    {
        if (!strcmp(json_string_value(json_object_get(row, "name")), "layer norm"))
            found = row;
    }
    assert_non_null(found);
    double value = json_number_value(json_object_get(found, "value")),
           took = json_number_value(json_object_get(found, "seconds")),
           limit = json_number_value(json_object_get(found, "bandwidth_seconds")),
           fraction = json_number_value(json_object_get(found, "fraction"));
    assert_true(value > 0 && took > 0 && limit > 0);
    assert_true(fraction > 0.999 * limit / took && fraction < 1.001 * limit / took);
    double ratio = json_number_value(json_object_get(found, "ratio"));
    assert_true(ratio > 0.999e6 * value && ratio < 1.001e6 * value);
    json_decref(all);
    free(out);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_models_of_every_type_generate),
        cmocka_unit_test(names_are_listed_and_chosen),
        cmocka_unit_test(rows_have_limits_and_ratios),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    int failed = cmocka_run_group_tests_name("bench", tests, NULL, NULL);
    device_free(dev);
    return failed != 0;
}
