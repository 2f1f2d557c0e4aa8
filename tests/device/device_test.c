/* Choosing devices, and what the program says where a device can't be used. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "device/find.h"

/* ---- device_select, on a machine with one of each ---- */

static device_entry machine[5];

static int make_machine(void **state)
{
    (void)state;
    static const struct {
        const char *name, *platform;
        limn_device_type type;
        int p, d;
    } rows[] = {
        {"cpu-haswell-Ryzen", "Portable Computing Language", LIMN_CPU, 0, 0},
        {"AMD Ryzen 7", "Intel(R) OpenCL", LIMN_CPU, 1, 0},
        {"Intel(R) Iris(R) Xe Graphics", "Intel(R) OpenCL HD Graphics", LIMN_INTEGRATED_GPU, 2, 0},
        {"GeForce GTX 1060", "NVIDIA CUDA", LIMN_DISCRETE_GPU, 3, 0},
        {"GeForce GTX 1070", "NVIDIA CUDA", LIMN_DISCRETE_GPU, 3, 1},
    };
    memset(machine, 0, sizeof machine);
    for (int i = 0; i < 5; i++) {
        limn_device_info *d = &machine[i].info;
        d->index = i;
        d->platform = rows[i].p;
        d->device = rows[i].d;
        d->type = rows[i].type;
        snprintf(d->name, sizeof d->name, "%s", rows[i].name);
        snprintf(d->platform_name, sizeof d->platform_name, "%s", rows[i].platform);
    }
    return 0;
}

/* The index that spec chooses for process `turn` of `turns`, or minus the error's code. */
static int chosen_by(const char *spec, size_t n, int turn, int turns, char text[2048])
{
    size_t i = 99;
    char reason[160];
    err e = {0};
    bool ok = device_select(machine, n, spec, turn, turns, &i, reason, &e);
    snprintf(text, 2048, "%s", ok ? reason : e.text);
    return ok ? (int)i : -(int)e.code;
}

static int chosen(const char *spec, size_t n, char text[2048])
{
    return chosen_by(spec, n, 0, 1, text);
}

static void a_spec_that_matches_one_device_takes_it(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int index;
    } cases[] = {{"0", 0},           {"4", 4},
                 {"3.1", 4},         {"1.0", 1},
                 {"igpu", 2},        {"IRIS", 2},
                 {"1070", 4},        {"portable", 0},
                 {"gpu&1060", 3},    {"cpu & intel", 1},
                 {"dgpu&3.0", 3},    {"xe graphics", 2},
                 {"CPU&haswell", 0}, {"geforce&gtx 1070", 4}};
    char text[2048];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (chosen(cases[i].spec, 5, text) != cases[i].index)
            fail_msg("%s: %s", cases[i].spec, text);
}

static void auto_prefers_discrete_then_integrated_then_cpu(void **state)
{
    (void)state;
    char text[2048];
    assert_int_equal(chosen("auto", 5, text), 3);
    assert_non_null(strstr(text, "first of 2 discrete GPUs"));
    machine[4].info.gflops = 5000;
    assert_int_equal(chosen(NULL, 5, text), 4);
    assert_non_null(strstr(text, "fastest measured"));
    assert_int_equal(chosen("", 3, text), 2);
    assert_non_null(strstr(text, "the only integrated GPU of 3 devices"));
    assert_int_equal(chosen("auto", 2, text), 0);
    assert_int_equal(chosen("auto", 1, text), 0);
    assert_string_equal(text, "the only device");
}

static void two_matches_are_an_error_that_lists_them_alone(void **state)
{
    (void)state;
    char text[2048];
    assert_int_equal(chosen("dgpu", 5, text), -ERR_USAGE);
    assert_non_null(strstr(text, "2 devices match"));
    assert_non_null(strstr(text, "3.0  dgpu   GeForce GTX 1060"));
    assert_non_null(strstr(text, "3.1  dgpu   GeForce GTX 1070"));
    assert_null(strstr(text, "Iris"));
}

static void processes_take_those_that_match_in_turn(void **state)
{
    (void)state;
    static const struct {
        const char *spec;
        int indices[3];
    } cases[] = {{"dgpu", {3, 4, 3}}, {"auto", {3, 4, 3}}, {"cpu", {0, 1, 0}}, {"gpu", {2, 3, 4}}, {"igpu", {2, 2, 2}}};
    char text[2048];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int turn = 0; turn < 3; turn++)
            if (chosen_by(cases[i].spec, 5, turn, 3, text) != cases[i].indices[turn])
                fail_msg("%s for process %d: %s", cases[i].spec, turn, text);
    chosen_by("gpu", 5, 1, 3, text);
    assert_string_equal(text, "number 2 of 3, which 3 processes take in turn");
    chosen_by("igpu", 5, 1, 3, text);
    assert_string_equal(text, "number 1 of 1, which 3 processes share");
    assert_int_equal(chosen_by("accel", 5, 0, 3, text), -ERR_DEVICE);
}

/* The GTX 1060 and 1070 of the machine as one card under two drivers, the second better. */
static void same_card(void)
{
    snprintf(machine[3].info.uuid, sizeof machine[3].info.uuid, "ab");
    snprintf(machine[4].info.uuid, sizeof machine[4].info.uuid, "ab");
    machine[4].info.platform = 4;
    machine[4].info.device = 0;
    snprintf(machine[4].info.platform_name, sizeof machine[4].info.platform_name, "rusticl");
    snprintf(machine[3].info.version, sizeof machine[3].info.version, "OpenCL 1.2 CUDA");
    snprintf(machine[4].info.version, sizeof machine[4].info.version, "OpenCL 3.0 ");
    devices_match(machine, 5);
}

static void the_same_hardware_under_two_drivers_is_one_device(void **state)
{
    (void)state;
    char text[2048];
    same_card();
    assert_true(machine[3].info.alternative && machine[3].info.preferred == 4);
    assert_true(!machine[4].info.alternative && !machine[0].info.alternative);
    static const struct {
        const char *spec;
        int index;
    } cases[] = {{"dgpu", 4}, {"auto", 4}, {"3", 3}, {"3.0", 3}, {"4", 4}, {"cuda", 3}, {"rusticl", 4}, {"geforce", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (chosen(cases[i].spec, 5, text) != cases[i].index)
            fail_msg("%s: %s", cases[i].spec, text);
    chosen("auto", 5, text);
    assert_non_null(strstr(text, "the only discrete GPU of 4 devices"));
    for (int turn = 0; turn < 3; turn++) { /* processes don't take it twice */
        assert_int_equal(chosen_by("dgpu", 5, turn, 3, text), 4);
        assert_int_equal(chosen_by("gpu", 5, turn, 3, text), turn % 2 ? 4 : 2);
        assert_int_equal(chosen_by("auto", 5, turn, 3, text), 4);
    }
    machine[4].failed = true; /* then the other driver has it */
    assert_int_equal(chosen("auto", 5, text), 3);
    machine[4].failed = false;
    snprintf(machine[4].info.problem, sizeof machine[4].info.problem, "broken");
    devices_match(machine, 5);
    assert_true(machine[4].info.alternative && machine[4].info.preferred == 3);
    assert_int_equal(chosen("dgpu", 5, text), 3);
    assert_int_equal(chosen("4", 5, text), -ERR_DEVICE);
}

static void addresses_tell_cards_of_one_kind_apart(void **state)
{
    (void)state;
    same_card();
    snprintf(machine[3].info.pci, sizeof machine[3].info.pci, "0000:01:00.0");
    snprintf(machine[4].info.pci, sizeof machine[4].info.pci, "0000:02:00.0");
    devices_match(machine, 5);
    assert_true(!machine[3].info.alternative && !machine[4].info.alternative);
    snprintf(machine[4].info.pci, sizeof machine[4].info.pci, "0000:01:00.0");
    machine[4].info.uuid[0] = 'f';
    devices_match(machine, 5);
    assert_true(machine[3].info.alternative);
    machine[3].info.gflops = 900; /* speed decides where both were measured */
    devices_match(machine, 5);
    assert_true(machine[3].info.alternative);
    machine[4].info.gflops = 800;
    devices_match(machine, 5);
    assert_true(machine[4].info.alternative && machine[4].info.preferred == 3 && !machine[3].info.alternative);
    machine[4].info.platform = machine[3].info.platform; /* parts of a card, as its driver lists them */
    devices_match(machine, 5);
    assert_true(!machine[3].info.alternative && !machine[4].info.alternative);
}

static void what_cannot_be_used_is_never_chosen(void **state)
{
    (void)state;
    char text[2048];
    snprintf(machine[3].info.problem, sizeof machine[3].info.problem, "no compiler");
    assert_int_equal(chosen("auto", 5, text), 4);
    assert_non_null(strstr(text, "the only discrete GPU of 4 devices that can be used"));
    assert_int_equal(chosen("dgpu", 5, text), 4);
    assert_int_equal(chosen("3", 5, text), -ERR_DEVICE);
    assert_string_equal(text, "`device` 3: 3.0, GeForce GTX 1060 (NVIDIA CUDA): no compiler");
    snprintf(machine[4].info.problem, sizeof machine[4].info.problem, "not available");
    assert_int_equal(chosen("geforce", 5, text), -ERR_DEVICE);
    assert_non_null(strstr(text, "GTX 1060 (NVIDIA CUDA): no compiler"));
    assert_non_null(strstr(text, "GTX 1070 (NVIDIA CUDA): not available"));
    assert_int_equal(chosen("auto", 5, text), 2);
    for (int i = 0; i < 3; i++)
        machine[i].failed = true;
    assert_int_equal(chosen("auto", 5, text), -ERR_DEVICE);
    assert_non_null(strstr(text, "no device that can be used"));
}

static void texts_of_drivers_become_clean_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *from;
        size_t size;
        const char *to;
    } cases[] = {
        {"  GeForce GTX  ", 128, "GeForce GTX"},
        {"", 128, ""},
        {"   ", 128, ""},
        {"a\xFFz", 128, "a?z"},
        {"a\nb\x1B[31m", 128, "a b [31m"},
        {"a\xC3\xA9", 4, "a\xC3\xA9"},
        {"a\xC3\xA9", 3, "a"},
        {"\xED\xA0\x80", 128, "???"},
        {"\xF0\x9F\x98\x80", 5, "\xF0\x9F\x98\x80"},
        {"a\xC3", 128, "a?"},
        {"abcdef", 4, "abc"},
    };
    char out[128];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        text_clean(cases[i].from, out, cases[i].size);
        assert_string_equal(out, cases[i].to);
    }
}

static void no_match_is_an_error_that_lists_all(void **state)
{
    (void)state;
    static const char *const specs[] = {"accel", "5", "9.9", "radeon", "cpu&iris", "gpu&5"};
    char text[2048];
    for (size_t i = 0; i < sizeof specs / sizeof *specs; i++) {
        assert_int_equal(chosen(specs[i], 5, text), -ERR_DEVICE);
        assert_non_null(strstr(text, specs[i]));
        assert_non_null(strstr(text, "Ryzen"));
        assert_non_null(strstr(text, "1070"));
    }
    char longest[400];
    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    assert_int_equal(chosen(longest, 5, text), -ERR_USAGE);
}

static void defaults_follow_limits_not_names(void **state)
{
    (void)state;
    limn_device_info d = {.type = LIMN_DISCRETE_GPU, .max_work_group = 1024, .local_memory = 32768};
    tuning t = device_default_tuning(&d);
    assert_false(t.cpu_form);
    assert_int_equal(t.wg, 64);
    assert_int_equal(t.gemm_side, 16);
    assert_true(tuning_valid(&t, &d));
    d.max_work_group = 64;
    t = device_default_tuning(&d);
    assert_int_equal(t.gemm_side * t.gemm_side, 64);
    assert_false(t.clblast);
    d.max_work_group = 16;
    t = device_default_tuning(&d);
    assert_true(t.wg <= 16 && t.gemm_side * t.gemm_side <= 16);
    static const struct {
        int group, local, wg, side;
    } limits[] = {{256, 16384, 64, 16}, {256, 8192, 64, 8}, {100, 32768, 64, 8}, {48, 8192, 32, 4},
                  {32, 1024, 8, 1},     {6, 8192, 4, 2},    {1, 8192, 1, 1}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        d.max_work_group = (uint64_t)limits[i].group;
        d.local_memory = (uint64_t)limits[i].local;
        t = device_default_tuning(&d);
        assert_true(tuning_valid(&t, &d) && !t.cpu_form);
        assert_int_equal(t.wg, limits[i].wg);
        assert_int_equal(t.gemm_side, limits[i].side);
        int wide = tuning_wide(&t, &d);
        assert_true(wide >= t.wg && wide <= limits[i].group);
        for (size_t most = 1; most <= 256; most++) { /* what is made narrow isn't wider than that */
            t.wg = (int)tuning_narrow(&t, most);
            while (t.wg & (t.wg - 1))
                t.wg--;
            assert_true(t.wg >= 1 && (size_t)tuning_wide(&t, &d) <= most);
        }
    }
    d.local_memory = 0; /* kernels that need none */
    t = device_default_tuning(&d);
    assert_true(tuning_valid(&t, &d) && t.cpu_form);
    d.type = LIMN_CPU;
    for (d.vector_width = 1; d.vector_width <= 16; d.vector_width *= 2) {
        t = device_default_tuning(&d);
        assert_true(t.cpu_form && t.winograd && tuning_valid(&t, &d));
        assert_int_equal(t.tiles, d.vector_width >= 4);
        assert_int_equal(t.split, d.vector_width == 4 || d.vector_width == 8); /* fewer or shorter registers */
    }
    d.local_memory = 32768;
    t = device_form_tuning(&d, false); /* kernels for groups run on a CPU too */
    assert_true(!t.cpu_form && t.winograd && t.winograd_channels);
}

/* ---- the program ---- */

/* Runs a shell line; text gets what it printed. */
static int run(const char *line, char text[8192])
{
    char all[1024];
    snprintf(all, sizeof all, "%s 2>&1", line);
    FILE *p = popen(all, "r");
    assert_non_null(p);
    size_t n = fread(text, 1, 8191, p);
    text[n] = 0;
    int status = pclose(p);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void without_a_platform_the_packages_are_named(void **state)
{
    (void)state;
    char text[8192];
    assert_int_equal(run("OCL_ICD_VENDORS=/nonexistent " LIMN_PROGRAM " generate pizza -o never.png", text), 3);
    assert_non_null(strstr(text, "limn: OpenCL: no platform found"));
    assert_non_null(strstr(text, "pocl-opencl-icd"));
    assert_int_equal(run("OCL_ICD_VENDORS=/nonexistent " LIMN_PROGRAM " devices", text), 3);
    assert_int_not_equal(access("never.png", F_OK), 0);
}

static bool any_device(void)
{
    char text[8192];
    return run(LIMN_PROGRAM " devices", text) == 0;
}

static void an_unknown_device_ends_with_3_and_the_candidates(void **state)
{
    (void)state;
    char text[8192];
    if (!any_device())
        skip();
    assert_int_equal(run(LIMN_PROGRAM " generate pizza -d no-such-device -o never.png", text), 3);
    assert_non_null(strstr(text, "limn: --device no-such-device: no such device"));
    assert_non_null(strstr(text, "0.0"));
    assert_int_equal(run("LIMN_DEVICE=77 " LIMN_PROGRAM " generate pizza -o never.png", text), 3);
    assert_int_not_equal(access("never.png", F_OK), 0);
}

static void a_device_too_small_for_the_model_names_what_wanted_how_much(void **state)
{
    (void)state;
    char text[8192];
    if (!any_device())
        skip();
    assert_int_equal(run(LIMN_PROGRAM " generate pizza --mem-limit 4M -o never.png", text), 1);
    assert_non_null(strstr(text, "MiB"));
    assert_non_null(strstr(text, "--mem-limit"));
    assert_int_not_equal(access("never.png", F_OK), 0);
}

static void a_kernel_that_fails_to_build_shows_its_log(void **state)
{
    (void)state;
    char text[8192], folder[] = "/tmp/limn-cl-XXXXXX", line[512];
    if (!any_device())
        skip();
    assert_non_null(mkdtemp(folder));
    snprintf(line, sizeof line, "cd %s && for f in common embed; do echo 'this is no kernel' > $f.cl; done", folder);
    assert_int_equal(system(line), 0);
    snprintf(line, sizeof line, "LIMN_CL_DIR=%s " LIMN_PROGRAM " generate pizza --no-cache -o never.png", folder);
    assert_int_equal(run(line, text), 1);
    assert_non_null(strstr(text, "build log of embed.cl"));
    assert_non_null(strstr(text, "limn: kernel file embed.cl: clBuildProgram"));
    assert_int_not_equal(access("never.png", F_OK), 0);
    snprintf(line, sizeof line, "rm -r %s", folder);
    assert_int_equal(system(line), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_spec_that_matches_one_device_takes_it, make_machine),
        cmocka_unit_test_setup(auto_prefers_discrete_then_integrated_then_cpu, make_machine),
        cmocka_unit_test_setup(two_matches_are_an_error_that_lists_them_alone, make_machine),
        cmocka_unit_test_setup(processes_take_those_that_match_in_turn, make_machine),
        cmocka_unit_test_setup(no_match_is_an_error_that_lists_all, make_machine),
        cmocka_unit_test_setup(the_same_hardware_under_two_drivers_is_one_device, make_machine),
        cmocka_unit_test_setup(addresses_tell_cards_of_one_kind_apart, make_machine),
        cmocka_unit_test_setup(what_cannot_be_used_is_never_chosen, make_machine),
        cmocka_unit_test(texts_of_drivers_become_clean_utf8),
        cmocka_unit_test(defaults_follow_limits_not_names),
        cmocka_unit_test(without_a_platform_the_packages_are_named),
        cmocka_unit_test(an_unknown_device_ends_with_3_and_the_candidates),
        cmocka_unit_test(a_device_too_small_for_the_model_names_what_wanted_how_much),
        cmocka_unit_test(a_kernel_that_fails_to_build_shows_its_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
