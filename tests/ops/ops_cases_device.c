/* Tests that open a device of their own: kernel files, the cache of compiled kernels, profiles, Philox. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/rng.h"
#include "device/kernels.h"
#include "device/profile.h"
#include "device/program.h"
#include "ops_cases.h"

static const limn_device_options no_cache = {.no_cache = true};

static void write_file(const char *directory, const char *name, const char *text, size_t bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

/* A directory of kernel files: common.cl as it is, and elementwise.cl with another text. */
static void kernel_directory(char path[64], const char *elementwise)
{
    ops_make_directory(path);
    for (const kernel_source *s = kernel_sources; s->name; s++)
        if (!strcmp(s->file, "common.cl"))
            write_file(path, s->file, s->text, s->bytes);
    write_file(path, "elementwise.cl", elementwise, strlen(elementwise));
    setenv("LIMN_CL_DIR", path, 1);
}

static void remove_kernel_directory(const char *path)
{
    unsetenv("LIMN_CL_DIR");
    ops_remove_directory(path);
}

/* Two ones are two, by a kernel of elementwise.cl. */
static bool add_ones(run *r, err *e)
{
    float one[3] = {1, 1, 1}, two[3] = {0};
    tensor x = run_upload(r, DTYPE_F32, SHAPE(3), one);
    run_read(r, op_add(r, x, x), two);
    return run_finish(r, e) && two[0] == 2 && two[2] == 2;
}

static void test_broken_kernel_file(void **state)
{
    (void)state;
    char path[64];
    err e = {0};
    kernel_directory(path, "__kernel void add(this is not OpenCL C\n");
    device *d = ops_open(NULL, &no_cache);
    run *r = run_new(d, &e);
    assert_false(add_ones(r, &e));
    assert_non_null(strstr(e.text, "elementwise.cl"));
    assert_non_null(strstr(e.text, d->info.name));
    remove_kernel_directory(path);
    e = (err){0};
    assert_true(add_ones(r, &e)); /* the run is usable, and the file is tried again */
    run_free(r);
    device_free(d);
}

static void test_missing_kernel_file(void **state)
{
    (void)state;
    err e = {0};
    setenv("LIMN_CL_DIR", "/nowhere/kernels", 1);
    device *d = ops_open(NULL, &no_cache);
    run *r = run_new(d, &e);
    bool ok = add_ones(r, &e);
    unsetenv("LIMN_CL_DIR");
    assert_false(ok);
    assert_non_null(strstr(e.text, "/nowhere/kernels"));
    run_free(r);
    device_free(d);
}

/* One and one, by whatever elementwise.cl says. */
static float added(void)
{
    err e = {0};
    float one = 1, sum = 0;
    device *d = ops_open(NULL, NULL);
    run *r = run_new(d, &e);
    tensor x = run_upload(r, DTYPE_F32, SHAPE(1), &one);
    run_read(r, op_add(r, x, x), &sum);
    if (!run_finish(r, &e))
        fail_msg("%s", e.text);
    run_free(r);
    device_free(d);
    return sum;
}

/* That elementwise.cl can't be put together, and that the error says so. */
static void no_text(const char *why)
{
    err e = {0};
    const char *name;
    assert_null(kernel_text("elementwise", &name, &e));
    if (!strstr(e.text, why))
        fail_msg("\"%s\" says nothing of \"%s\"", e.text, why);
}

static void test_included_files(void **state)
{
    (void)state;
    static const char sum[] = "#define BODY(T, LOAD, STORE) STORE(LOAD(AT(a)) + LOAD(AT(b)) + MORE, AT(y));\n"
                              "EACH(count, BODY)\n#undef BODY\n#undef MORE";
    char path[64], cache[64];
    const char *before = getenv("LIMN_CACHE_DIR"), *name;
    char *kept = before ? strdup(before) : NULL;
    err e = {0};
    kernel_directory(path, "__kernel void add(IN(float, a), IN(float, b), OUT(float, y), const int count)\n"
                           "{\n#include \"more.clh\"\n#include \"sum.clh\"\n}\n");
    ops_make_directory(cache);
    setenv("LIMN_CACHE_DIR", cache, 1);
    no_text("more.clh");
    write_file(path, "more.clh", "#define MORE 3.0f\n", 18);
    write_file(path, "sum.clh", sum, strlen(sum));
    char *text = kernel_text("elementwise", &name, &e);
    assert_non_null(text);
    assert_string_equal(name, "elementwise");
    assert_non_null(strstr(text, "#line 1 \"elementwise.cl\"\n__kernel void add("));
    assert_non_null(strstr(
        text, "{\n#line 1 \"more.clh\"\n#define MORE 3.0f\n\n#line 4 \"elementwise.cl\"\n#line 1 \"sum.clh\"\n"));
    assert_non_null(strstr(text, "#undef MORE\n#line 5 \"elementwise.cl\"\n}\n"));
    free(text);
    assert_true(added() == 5);
    write_file(path, "more.clh", "#define MORE 4.0f\n", 18);
    assert_true(added() == 6); /* not from the cache, though elementwise.cl is the same */
    write_file(path, "more.clh", "#include \"more.clh\"\n", 20);
    no_text("more.clh: included by");
    write_file(path, "constants.h", "#define TILE_K 8\n", 17);
    no_text("constants.h: differs from the one that limn was built with");
    remove_kernel_directory(path);
    if (kept)
        setenv("LIMN_CACHE_DIR", kept, 1);
    else
        unsetenv("LIMN_CACHE_DIR");
    free(kept);
    ops_remove_directory(cache);
}

/* The kernel's words and uniform numbers for a few counters, by way of a kernel file of the test's own. */
static void test_philox(void **state)
{
    (void)state;
    static const struct {
        uint64_t seed;
        uint32_t stream, position, index;
    } counters[] = {{0, 0, 0, 0},
                    {1, 2, 3, 4},
                    {UINT64_C(0xa4093822299f31d0), 0x13198a2e, 0x85a308d3, 0x243f6a88},
                    {UINT64_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX}};
    char path[64];
    err e = {0};
    kernel_directory(path, "__kernel void words(OUT(uint, y), const int low, const int high, const int stream,\n"
                           "                    const int position, const int index)\n"
                           "{ vstore4(philox((uint4)(index, position, stream, 0), (uint2)(low, high)), 0, AT(y)); }\n"
                           "__kernel void uniforms(IN(uint, x), OUT(float, y))\n"
                           "{ int i = get_global_id(0); AT(y)[i] = UNIFORM(AT(x)[i]); }\n");
    device *d = ops_open(NULL, &no_cache);
    run *r = run_new(d, &e);
    tensor y = TENSOR(r, DTYPE_I32, 4);
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++) {
        uint32_t expected[4], got[4];
        uint64_t seed = counters[i].seed;
        rng_philox(expected, seed, counters[i].stream, counters[i].position, counters[i].index);
        LAUNCH(r, "elementwise:words", ((work){.global = {1}}), ARG_T(y), ARG_U(seed), ARG_U(seed >> 32),
               ARG_U(counters[i].stream), ARG_U(counters[i].position), ARG_U(counters[i].index));
        run_read(r, y, got);
        if (!run_finish(r, &e))
            fail_msg("%s", e.text);
        assert_memory_equal(expected, got, sizeof got);
    }
    uint32_t words[] = {0, 255, 256, 0x80000000u, 0x7fffffffu, 0xfffffe00u, 0xffffff00u, UINT32_MAX};
    float uniform[8] = {0};
    tensor result = TENSOR(r, DTYPE_F32, 8);
    LAUNCH(r, "elementwise:uniforms", ((work){.global = {8}}), ARG_T(run_upload(r, DTYPE_I32, SHAPE(8), words)),
           ARG_T(result));
    run_read(r, result, uniform);
    if (!run_finish(r, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < 8; i++)
        assert_true(uniform[i] > 0 && uniform[i] < 1);
    run_free(r);
    device_free(d);
    remove_kernel_directory(path);
}

static void test_profile(void **state)
{
    (void)state;
    err e = {0};
    device *d = ops_open(NULL, &(limn_device_options){.no_cache = true, .profile = true});
    run *r = run_new(d, &e);
    limn_kernel_profile *rows = NULL;
    size_t n = 1;
    assert_true(limn_device_profile(d, &rows, &n, &e));
    assert_int_equal(n, 0);
    for (int i = 0; i < 3; i++)
        assert_true(add_ones(r, &e));
    nanosleep(&(struct timespec){.tv_nsec = 30000000}, NULL);
    float zeros[64] = {0};
    op_softmax(r, run_upload(r, DTYPE_F32, SHAPE(4, 16), zeros));
    assert_true(run_finish(r, &e));
    assert_true(limn_device_profile(d, &rows, &n, &e));
    assert_int_equal(n, 2);
    bool found = false;
    for (size_t i = 0; i < n; i++) {
        assert_true(rows[i].seconds >= 0 && rows[i].bytes > 0 && (i == 0 || rows[i].seconds <= rows[i - 1].seconds));
        found |= !strcmp(rows[i].name, "elementwise:add") && rows[i].calls == 3;
    }
    assert_true(found);
    free(rows);
    profile_time t;
    assert_int_equal(profile_count(d->profile), 4);
    assert_true(profile_times(d->profile, 2, &t, &e)); /* the host slept between these two */
    if (t.kernels > 1e-7)                              /* rusticl 22.3 says that a launch takes a nanosecond */
        assert_true(t.waiting > 0.02 && t.all >= t.waiting + t.kernels);
    assert_true(profile_times(d->profile, 3, &t, &e));
    assert_true(t.waiting == 0 && t.all == t.kernels);
    char path[64], file[128];
    struct stat s;
    ops_make_directory(path);
    snprintf(file, sizeof file, "%s/trace.json", path);
    assert_true(limn_device_write_trace(d, file, &e));
    assert_true(stat(file, &s) == 0 && s.st_size > 100);
    ops_remove_directory(path);
    run_free(r);
    device_free(d);
}

static void test_no_profile(void **state)
{
    (void)state;
    err e = {0};
    device *d = ops_open(NULL, &no_cache);
    run *r = run_new(d, &e);
    limn_kernel_profile *rows = NULL;
    size_t n = 1;
    assert_true(add_ones(r, &e) && limn_device_profile(d, &rows, &n, &e));
    assert_int_equal(n, 0);
    free(rows);
    run_free(r);
    device_free(d);
}

/* The one cached program of elementwise.cl: its path and which file that is (files are replaced, not rewritten). */
static ino_t cached_file(const char *cache, char path[512])
{
    char directory[128];
    struct stat s = {0};
    snprintf(directory, sizeof directory, "%s/kernels", cache);
    DIR *d = opendir(directory);
    int n = 0;
    for (struct dirent *f; d && (f = readdir(d));)
        if (!strncmp(f->d_name, "elementwise-", 12)) {
            snprintf(path, 512, "%s/%s", directory, f->d_name);
            n++;
        }
    if (d)
        closedir(d);
    assert_int_equal(n, 1);
    assert_int_equal(stat(path, &s), 0);
    return s.st_ino;
}

static void open_and_add(void)
{
    err e = {0};
    device *d = ops_open(NULL, NULL);
    run *r = run_new(d, &e);
    if (!add_ones(r, &e))
        fail_msg("%s", e.text);
    run_free(r);
    device_free(d);
}

static void test_cache(void **state)
{
    (void)state;
    char cache[64], path[512];
    const char *before = getenv("LIMN_CACHE_DIR");
    char *kept = before ? strdup(before) : NULL;
    ops_make_directory(cache);
    setenv("LIMN_CACHE_DIR", cache, 1);
    open_and_add();
    ino_t first = cached_file(cache, path);
    FILE *held = fopen(path, "rb"); /* so that its number is not given to another file */
    assert_non_null(held);
    open_and_add();
    assert_true(cached_file(cache, path) == first); /* read, hence not written again */
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    long middle = ftell(f) / 2;
    fseek(f, middle, SEEK_SET);
    int byte = fgetc(f);
    fseek(f, middle, SEEK_SET);
    fputc(byte ^ 255, f);
    fclose(f);
    open_and_add();
    assert_true(cached_file(cache, path) != first);
    fclose(held);
    f = fopen(path, "wb"); /* cut to nothing, as by a full disk */
    assert_non_null(f);
    fclose(f);
    open_and_add();
    open_and_add();
    if (kept)
        setenv("LIMN_CACHE_DIR", kept, 1);
    else
        unsetenv("LIMN_CACHE_DIR");
    free(kept);
    ops_remove_directory(cache);
}

const struct CMUnitTest ops_device_tests[] = {
    cmocka_unit_test(test_broken_kernel_file),
    cmocka_unit_test(test_missing_kernel_file),
    cmocka_unit_test(test_included_files),
    cmocka_unit_test(test_philox),
    cmocka_unit_test(test_profile),
    cmocka_unit_test(test_no_profile),
    cmocka_unit_test(test_cache),
};
const size_t ops_n_device_tests = sizeof ops_device_tests / sizeof *ops_device_tests;
