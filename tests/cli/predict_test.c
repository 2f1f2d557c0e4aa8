/* limn bench --predict: launches are counted as devices do them, and what is added up goes the right way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "cli/measure/predict.h"
#include "device/profile.h"
#include "models/model.h"
#include "support.h"

static const char *const known[] = {"iris_xe", "780m", "rtx3060", "uhd620"};

static void bad_profiles_are_refused_with_those_that_are_known(void **state)
{
    static const char *const bad[] = {"",
                                      "iris",
                                      "iris_xe,",
                                      "iris_xe,gbytes",
                                      "iris_xe,gbytes=",
                                      "iris_xe,gbytes=fast",
                                      "iris_xe,gbytes=0",
                                      "iris_xe,gbytes=-5",
                                      "iris_xe,gbytes=nan",
                                      "iris_xe,watts=15",
                                      "iris_xe,isa=xe2",
                                      "iris_xe,launch_us=10-4",
                                      "gbytes=60,iris_xe",
                                      "gflops=2000,units=96",
                                      "units=96,gbytes=60"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        predict_device d;
        err e = {0};
        assert_false(predict_parse(&d, bad[i], &e));
        assert_int_equal(e.code, ERR_USAGE);
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            assert_non_null(strstr(e.text, known[k]));
    }
}

static void numbers_may_follow_a_device_or_stand_alone(void **state)
{
    predict_device a, b;
    err e = {0};
    (void)state;
    assert_true(predict_parse(&a, "iris_xe", &e) && predict_parse(&b, "IRIS_XE,gbytes=68,launch_us=5", &e));
    assert_true(b.gbytes == 68 && b.launch_us[0] == 5 && b.launch_us[1] == 5 && b.gflops == a.gflops);
    assert_int_equal(b.info.compute_units, a.info.compute_units);
    assert_true(predict_parse(&b, "gflops=2000,gbytes=60,units=96,isa=gen12", &e));
    assert_true(b.groups == a.groups && b.clusters == a.clusters && b.launch_us[0] == a.launch_us[0]);
}

/* A picture of the built-in model, and one sequence of its codes where decoded is false. */
static void draw(device *d, bool decoded)
{
    err e = {0};
    const int32_t ids[] = {3};
    limn_generate_options o = {.text_ids = ids, .n_text_ids = 1, .count = 1, .temperature = 1, .top_k = 64};
    model *m = model_open(d, NULL, &e);
    assert_non_null(m);
    const limn_model_info *i = limn_model_get_info(m);
    int32_t *codes = calloc((size_t)(i->grid_width * i->grid_height), sizeof *codes);
    float *pixels = calloc((size_t)(3 * i->width * i->height), sizeof *pixels);
    assert_true(limn_generate(m, &o, codes, &e));
    assert_true(!decoded || limn_decode(m, codes, 1, pixels, &e));
    free(codes);
    free(pixels);
    model_free(m);
}

static double predicted(const char *text, double *launches)
{
    predict_device p;
    prediction sum = {0};
    err e = {0};
    assert_true(predict_parse(&p, text, &e));
    device *d = device_described(&p.info, &e);
    assert_non_null(d);
    draw(d, true);
    const launch_list *l = device_launches(d);
    for (size_t i = 0; i < l->n; i++)
        predict_launch(&sum, &p, &l->list[i], l->list[i].times);
    if (launches)
        *launches = sum.launches;
    device_free(d);
    assert_true(sum.bytes > 0 && sum.flops > 0 && sum.instructions > 0);
    return predict_seconds(&sum);
}

static void more_of_anything_takes_no_longer(void **state)
{
    /* instructions are what a UHD 620 has too few of */
    static const char *const more[][2] = {
        {"uhd620", "gflops=900"}, {"iris_xe", "gbytes=90"}, {"iris_xe", "units=128"}, {"iris_xe", "launch_us=2-4"}};
    double launches, base = predicted("iris_xe", &launches);
    (void)state;
    assert_true(launches > 64 * 20 && base > launches * 4e-6);
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) {
        char text[64];
        snprintf(text, sizeof text, "%s,%s", more[i][0], more[i][1]);
        assert_true(predicted(text, NULL) < predicted(more[i][0], NULL));
    }
    assert_true(predicted("rtx3060", NULL) < base && predicted("uhd620", NULL) > base);
}

/* Launches of a kernel that a list has. */
static double times_of(const launch_list *l, const char *kernel)
{
    double n = 0;
    for (size_t i = 0; i < l->n; i++)
        if (!strcmp(l->list[i].kernel, kernel))
            n += l->list[i].times;
    return n;
}

/* Launches of a kernel that a device's profile has. */
static double profiled(const limn_kernel_profile *rows, size_t n, const char *kernel)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(rows[i].name, kernel))
            return (double)rows[i].calls;
    return 0;
}

/* In the kernels for GPUs on any device here: each kernel is launched as often as it is counted on that device's
 * description.  The first drawing compiles, for which a driver may take so long that the device seems too slow for
 * whole launches; so the second one counts. */
static void launches_are_those_of_a_live_run(void **state)
{
    err e = {0};
    limn_device_options timed = {.profile = true};
    limn_kernel_profile *before = NULL, *rows = NULL;
    size_t n = 0, n_before = 0;
    double all = 0, all_counted = 0;
    (void)state;
    device *live = device_open(getenv("LIMN_DEVICE"), &timed, &e);
    if (!live || live->info.max_work_group < 64)
        skip();
    live->tune = device_form_tuning(&live->info, false);
    live->tune.clblast = false;
    device *described = device_described(&live->info, &e);
    assert_non_null(described);
    described->tune = live->tune;
    draw(described, false);
    draw(live, false);
    assert_true(limn_device_profile(live, &before, &n_before, &e));
    live->flight.slowness = 0;
    live->flight.measured = false;
    draw(live, false);
    assert_true(limn_device_profile(live, &rows, &n, &e));
    const launch_list *l = device_launches(described);
    for (size_t i = 0; i < n; i++) {
        double calls = (double)rows[i].calls - profiled(before, n_before, rows[i].name);
        if (calls != times_of(l, rows[i].name))
            fail_msg("%s: %.0f launches, and %.0f are counted", rows[i].name, calls, times_of(l, rows[i].name));
        all += calls;
    }
    for (size_t i = 0; i < l->n; i++)
        all_counted += l->list[i].times;
    assert_true(all > 0 && all == all_counted);
    free(before);
    free(rows);
    device_free(described);
    device_free(live);
}

/* The program, where there is no OpenCL at all: all measurements are predicted, in order of their names. */
static void the_program_needs_no_device(void **state)
{
    char line[1024], *out = calloc(1, 1 << 20);
    size_t i, found = 0;
    json_t *row;
    (void)state;
    snprintf(line, sizeof line,
             "OCL_ICD_VENDORS=/nowhere '%s' bench --predict rtx3060 --json 'generate mini, Q8_0, 2*' 'decode vqgan' "
             "'train *' 'host time, builtin' 'model, 1 row' 'model, training*'",
             LIMN_PROGRAM);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    assert_true(fread(out, 1, (1 << 20) - 1, f) > 0);
    assert_int_equal(pclose(f), 0);
    json_t *all = json_loads(out, 0, NULL), *list = json_object_get(all, "rows");
    json_array_foreach(list, i, row)
    {
        const json_t *p = json_object_get(row, "predicted");
        if (!p)
            continue;
        found++;
        size_t k;
        json_t *kernel;
        double launches = json_number_value(json_object_get(p, "launches")), sum = 0;
        json_array_foreach(json_object_get(p, "kernels"), k, kernel) sum +=
            json_number_value(json_object_get(kernel, "launches"));
        assert_true(launches > 0 && sum > launches - 1e-3 && sum < launches + 1e-3);
        assert_true(json_number_value(json_object_get(row, "seconds")) > 0);
    }
    assert_int_equal(found, 8); /* of the two that generate two each */
    assert_int_equal(json_array_size(list), 2 + 8 + 1);
    json_decref(all);
    free(out);
    snprintf(line, sizeof line, "OCL_ICD_VENDORS=/nowhere '%s' bench --predict iris 2>'%s'", LIMN_PROGRAM,
             support_path("messages"));
    assert_int_equal(system(line) >> 8, 2);
}

/* Of a code of DALL-E Mini with guidance: all, and those that fill less than a quarter of an Iris Xe. */
enum { STEP_LAUNCHES = 100, STEP_LITTLE = 3 };

/* Launches are what a small step takes most of the time of, so that they don't become more unseen. */
static void a_step_of_dalle_mini_is_few_launches(void **state)
{
    char line[512], *out = calloc(1, 1 << 20);
    size_t i;
    bool found = false;
    json_t *row;
    (void)state;
    snprintf(line, sizeof line,
             "OCL_ICD_VENDORS=/nowhere '%s' bench --predict iris_xe --json 'generate mini, Q8_0, 2*'", LIMN_PROGRAM);
    FILE *f = popen(line, "r");
    assert_non_null(f);
    assert_true(fread(out, 1, (1 << 20) - 1, f) > 0);
    assert_int_equal(pclose(f), 0);
    json_t *all = json_loads(out, 0, NULL);
    json_array_foreach(json_object_get(all, "rows"), i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "name")),
                   "generate mini, Q8_0, 2 rows, 1 picture with guidance") != 0)
            continue;
        const json_t *p = json_object_get(row, "predicted");
        double launches = json_number_value(json_object_get(p, "launches")),
               little = json_number_value(json_object_get(p, "launches_of_few_groups"));
        found = true;
        if (!(launches > 0 && launches <= STEP_LAUNCHES && little <= STEP_LITTLE))
            fail_msg("a code takes %.0f launches, of which %.0f fill too little of the device", launches, little);
    }
    assert_true(found);
    json_decref(all);
    free(out);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_profiles_are_refused_with_those_that_are_known),
        cmocka_unit_test(numbers_may_follow_a_device_or_stand_alone),
        cmocka_unit_test(more_of_anything_takes_no_longer),
        cmocka_unit_test(launches_are_those_of_a_live_run),
        cmocka_unit_test(the_program_needs_no_device),
        cmocka_unit_test(a_step_of_dalle_mini_is_few_launches),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("predict", tests, NULL, NULL);
}
