/* Tests of src/base: element types and files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/dtype.h"
#include "base/file.h"

/* ---- dtype ----------------------------------------------------------------------------------------------------- */

static uint32_t bits(float f)
{
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static void type_names_round_trip(void **state)
{
    (void)state;
    dtype t;
    for (int i = 0; i < DTYPE_COUNT; i++) {
        assert_true(dtype_from_name(dtype_table[i].name, &t));
        assert_int_equal(t, i);
    }
    assert_false(dtype_from_name("q5_k", &t));
    assert_int_equal(dtype_row_bytes(DTYPE_Q8_0, 64), 68);
    assert_int_equal(dtype_row_bytes(DTYPE_Q4_0, 64), 36);
}

/* What the standard says a half is, by ldexp. */
static double half_value(unsigned h)
{
    int exponent = (int)(h >> 10 & 31);
    double m = h & 0x3ff, x = exponent ? ldexp(m + 1024, exponent - 25) : ldexp(m, -24);
    return h & 0x8000 ? -x : x;
}

static void every_half_converts_to_float_and_back(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 65536; h++) {
        float f = half_to_float((uint16_t)h);
        if ((h & 0x7c00) != 0x7c00)
            assert_true(f == half_value(h) && !signbit(f) == !(h & 0x8000));
        else if (h & 0x3ff)
            assert_true(isnan(f));
        else
            assert_true(isinf(f) && (f < 0) == (h > 0x7fff));
        unsigned quiet = isnan(f) ? h | 0x200 : h;
        assert_int_equal(float_to_half(f), quiet);
    }
}

static void floats_round_to_the_nearest_half_and_ties_to_even(void **state)
{
    (void)state;
    for (unsigned h = 0; h < 0x7bff; h++) {
        float low = half_to_float((uint16_t)h), high = half_to_float((uint16_t)(h + 1));
        float middle = low + (high - low) / 2; /* exact: floats have 13 bits more */
        unsigned even = h & 1 ? h + 1 : h;
        assert_int_equal(float_to_half(middle), even);
        assert_int_equal(float_to_half(nextafterf(middle, 0)), h);
        assert_int_equal(float_to_half(nextafterf(middle, 1e9f)), h + 1);
        assert_int_equal(float_to_half(-middle), even | 0x8000);
    }
    assert_int_equal(float_to_half(65519.996f), 0x7bff);
    assert_int_equal(float_to_half(65520), 0x7c00);
    assert_int_equal(float_to_half(INFINITY), 0x7c00);
    assert_int_equal(float_to_half(-1e30f), 0xfc00);
    assert_int_equal(float_to_half(1e-30f), 0);
    assert_int_equal(float_to_half(0x1p-149f), 0);
}

static void each_type_becomes_float_from_any_address(void **state)
{
    (void)state;
    static const struct {
        dtype t;
        uint8_t data[8];
        float value;
    } rows[] = {
        {DTYPE_F32, {0, 0, 0xc0, 0x3f}, 1.5f},
        {DTYPE_F16, {0, 0x3e}, 1.5f},
        {DTYPE_BF16, {0xc0, 0x3f}, 1.5f},
        {DTYPE_F64, {0, 0, 0, 0, 0, 0, 0xf8, 0x3f}, 1.5f},
        {DTYPE_I8, {0xfe}, -2},
        {DTYPE_U8, {0xfe}, 254},
        {DTYPE_I16, {0xfe, 0xff}, -2},
        {DTYPE_I32, {0xfe, 0xff, 0xff, 0xff}, -2},
        {DTYPE_I64, {0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, -2},
        {DTYPE_BOOL, {2}, 1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t shift = 0; shift < 8; shift++) {
            uint8_t unaligned[32] = {0};
            float out[2] = {0};
            size_t n = (size_t)dtype_table[rows[i].t].bytes;
            memcpy(unaligned + shift, rows[i].data, n);
            memcpy(unaligned + shift + n, rows[i].data, n);
            dtype_to_float(out, rows[i].t, unaligned + shift, 2);
            assert_true(out[0] == rows[i].value && out[1] == rows[i].value);
        }
}

static void q8_0_of_known_values(void **state)
{
    (void)state;
    /* d = 1: ties go away from zero, as roundf has them */
    float x[32] = {127, 0.5f, -0.5f, 2.5f, -2.5f, 1.49f, -127}, back[32];
    const int8_t q[7] = {127, 1, -1, 3, -3, 1, -127};
    uint8_t block[34];
    dtype_from_float(DTYPE_Q8_0, block, x, 32);
    assert_int_equal(block[0], 0x00);
    assert_int_equal(block[1], 0x3c);
    assert_memory_equal(block + 2, q, sizeof q);
    dtype_to_float(back, DTYPE_Q8_0, block, 32);
    for (int i = 0; i < 32; i++)
        assert_true(back[i] == (i < 7 ? (float)q[i] : 0));
}

static void q4_0_of_known_values(void **state)
{
    (void)state;
    /* the first of the largest magnitudes is -8 d: here d = 1, so that +8 has no code and becomes 7 */
    float x[32] = {0, -8, 8, 6.5f, -0.6f, 0.4f}, back[32];
    uint8_t block[18];
    x[16] = 3;
    x[31] = -3.4f;
    dtype_from_float(DTYPE_Q4_0, block, x, 32);
    const uint8_t expected[18] = {0,          0x3c,       11 << 4 | 8, 8 << 4 | 0, 8 << 4 | 15, 8 << 4 | 15,
                                  8 << 4 | 7, 8 << 4 | 8, 0x88,        0x88,       0x88,        0x88,
                                  0x88,       0x88,       0x88,        0x88,       0x88,        5 << 4 | 8};
    assert_memory_equal(block, expected, sizeof expected);
    dtype_to_float(back, DTYPE_Q4_0, block, 32);
    const float decoded[6] = {0, -8, 7, 7, -1, 0};
    for (int i = 0; i < 6; i++)
        assert_true(back[i] == decoded[i]);
    assert_true(back[16] == 3 && back[31] == -3);
    x[1] = 8;
    x[2] = -8;
    dtype_from_float(DTYPE_Q4_0, block, x, 32);
    assert_int_equal(block[1], 0xbc); /* d = -1 */
}

/* The codes of ggml's reference, made with the float scale where the half one differs. */
static void block_codes_come_from_the_unrounded_scale(void **state)
{
    (void)state;
    uint32_t seed = 1;
    for (int round = 0; round < 1000; round++) {
        float x[32], largest = 0, extreme = 0;
        uint8_t q8[34], q4[18];
        for (int i = 0; i < 32; i++) {
            seed = seed * 1664525 + 1013904223;
            x[i] = ldexpf((float)(int32_t)seed, -31 - round % 20);
            if (fabsf(x[i]) > largest) {
                largest = fabsf(x[i]);
                extreme = x[i];
            }
        }
        dtype_from_float(DTYPE_Q8_0, q8, x, 32);
        dtype_from_float(DTYPE_Q4_0, q4, x, 32);
        float d8 = largest / 127, i8 = 1 / d8, d4 = extreme / -8, i4 = 1 / d4;
        assert_int_equal(q8[0] | q8[1] << 8, float_to_half(d8));
        assert_int_equal(q4[0] | q4[1] << 8, float_to_half(d4));
        for (int i = 0; i < 32; i++) {
            volatile float p8 = x[i] * i8, p4 = x[i] * i4;
            int code = (int)(p4 + 8.5f), nibble = i < 16 ? q4[2 + i] & 15 : q4[2 + i - 16] >> 4;
            assert_int_equal(q8[2 + i], (uint8_t)(int)roundf(p8));
            assert_int_equal(nibble, code > 15 ? 15 : code);
        }
    }
}

static void blocks_of_zeros_and_of_what_is_not_finite_are_made(void **state)
{
    (void)state;
    const float values[] = {0, NAN, INFINITY, -INFINITY, 1e-40f, 3e38f};
    for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
        float x[32] = {0}, back[32];
        uint8_t block[34];
        for (int i = 0; i < 32; i += 3)
            x[i] = values[v];
        dtype_from_float(DTYPE_Q8_0, block, x, 32);
        dtype_to_float(back, DTYPE_Q8_0, block, 32);
        if (v == 0)
            assert_true(bits(back[0]) == 0);
        dtype_from_float(DTYPE_Q4_0, block, x, 32);
        dtype_to_float(back, DTYPE_Q4_0, block, 32);
        if (v == 0)
            assert_true(back[0] == 0);
    }
}

/* ---- files ----------------------------------------------------------------------------------------------------- */

static char directory[64];

static int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/limn-base-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static const char *path(const char *name)
{
    static char text[4][512];
    static int next;
    char *p = text[next++ % 4];
    snprintf(p, sizeof text[0], "%s/%s", directory, name);
    return p;
}

static int entries(void)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *i; (i = readdir(d));)
        n += strcmp(i->d_name, ".") != 0 && strcmp(i->d_name, "..") != 0;
    closedir(d);
    return n;
}

static int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory); /* fails where a test left something */
}

static void put_file(const char *name, const char *text)
{
    FILE *f = fopen(path(name), "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void assert_file(const char *name, const char *text)
{
    file_map m;
    err e = {0};
    assert_true(file_map_open(&m, path(name), &e));
    assert_int_equal(m.size, strlen(text));
    if (m.size)
        assert_memory_equal(m.data, text, m.size);
    file_map_release(&m);
    file_map_release(&m);
}

static void files_are_mapped_whole_and_empty_ones_are_valid(void **state)
{
    (void)state;
    put_file("a", "some text");
    assert_file("a", "some text");
    put_file("a", "");
    assert_file("a", "");
    unlink(path("a"));
}

/* Memory that is given back is read from the file again; what isn't in the map stays as it is. */
static void forgotten_parts_are_read_again(void **state)
{
    (void)state;
    enum { SIZE = 1 << 18 };
    char *text = malloc(SIZE + 1), *other = malloc(SIZE);
    for (int i = 0; i < SIZE; i++)
        text[i] = (char)('a' + i / 97 % 26);
    text[SIZE] = 0;
    memcpy(other, text, SIZE);
    put_file("parts", text);
    file_map m;
    err e = {0};
    assert_true(file_map_open(&m, path("parts"), &e));
    const struct {
        size_t at, n;
    } parts[] = {{0, SIZE}, {1, SIZE - 2}, {SIZE / 2, SIZE / 4}, {SIZE / 2 + 7, 11}, {SIZE, 0}, {SIZE - 1, 2}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        file_map_forget_part(&m, (const char *)m.data + parts[i].at, parts[i].n);
        assert_memory_equal(m.data, text, SIZE);
    }
    file_map_forget_part(&m, other, SIZE);
    assert_memory_equal(other, text, SIZE);
    file_map_release(&m);
    file_map_forget_part(&m, other, SIZE);
    assert_int_equal(unlink(path("parts")), 0);
    free(text);
    free(other);
}

static void what_cannot_be_mapped_is_named(void **state)
{
    (void)state;
    file_map m;
    const char *names[] = {path("absent"), directory, "/dev/null", path("fifo")};
    const char *reasons[] = {"cannot open", "directory", "device", "pipe"};
    assert_int_equal(mkfifo(names[3], 0600), 0);
    for (int i = 0; i < 4; i++) {
        err e = {0};
        assert_false(file_map_open(&m, names[i], &e));
        assert_non_null(strstr(e.text, names[i]));
        assert_non_null(strstr(e.text, reasons[i]));
    }
    unlink(names[3]);
}

static void a_committed_write_replaces_the_file(void **state)
{
    (void)state;
    file_out o;
    err e = {0};
    put_file("a", "old");
    chmod(path("a"), 0600);
    assert_true(file_out_open(&o, path("a"), &e));
    assert_true(file_out_write(&o, "new", 3, &e));
    assert_file("a", "old"); /* until the end */
    assert_true(file_out_commit(&o, &e));
    assert_file("a", "new");
    assert_int_equal(entries(), 1);
    struct stat st;
    assert_int_equal(stat(path("a"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    file_out_release(&o);
    unlink(path("a"));
}

static void an_abandoned_write_leaves_the_old_file_and_nothing_else(void **state)
{
    (void)state;
    file_out o;
    err e = {0};
    put_file("a", "old");
    assert_true(file_out_open(&o, path("a"), &e));
    assert_true(file_out_write(&o, "new", 3, &e));
    assert_int_equal(entries(), 2);
    file_out_release(&o);
    file_out_release(&o);
    assert_file("a", "old");
    assert_int_equal(entries(), 1);
    unlink(path("a"));
}

static void two_writers_of_one_file_do_not_mix(void **state)
{
    (void)state;
    file_out o[2];
    err e = {0};
    for (int i = 0; i < 2; i++)
        assert_true(file_out_open(&o[i], path("a"), &e) && file_out_write(&o[i], i ? "two" : "one", 3, &e));
    assert_true(file_out_commit(&o[0], &e));
    assert_file("a", "one");
    assert_true(file_out_commit(&o[1], &e));
    assert_file("a", "two");
    assert_int_equal(entries(), 1);
    unlink(path("a"));
}

static void a_fresh_file_takes_no_other_ones_place(void **state)
{
    (void)state;
    file_out o;
    for (int i = 0; i < 2; i++) {
        err e = {0};
        assert_true(file_out_open(&o, path("a"), &e) && file_out_write(&o, "new", 3, &e));
        o.fresh = true;
        if (i)
            put_file("a", "another's");
        assert_int_equal(file_out_commit(&o, &e), !i);
        assert_true(!i || strstr(e.text, "a: cannot write: File exists"));
        assert_file("a", i ? "another's" : "new");
        assert_int_equal(entries(), 1);
        unlink(path("a"));
    }
    /* nor does it change a file that is there with two names, as another's is for a moment */
    err e = {0};
    put_file("a", "another's");
    char *second = strdup(path("b"));
    assert_int_equal(link(path("a"), second), 0);
    assert_true(file_out_open(&o, path("a"), &e) && file_out_write(&o, "new", 3, &e));
    o.fresh = true;
    assert_false(file_out_commit(&o, &e));
    assert_file("a", "another's");
    assert_int_equal(entries(), 2);
    unlink(path("a"));
    unlink(second);
    free(second);
}

static void a_failed_write_is_reported_and_leaves_no_temporary(void **state)
{
    (void)state;
    file_out o;
    err e = {0};
    if (!access("/dev/full", W_OK)) { /* a device is written as it is */
        assert_true(file_out_open(&o, "/dev/full", &e) && file_out_write(&o, "x", 1, &e));
        assert_false(file_out_commit(&o, &e));
        assert_non_null(strstr(e.text, "/dev/full: cannot write: No space left"));
    }
    assert_true(file_out_open(&o, "/dev/null", NULL) && file_out_commit(&o, NULL));
    struct stat st;
    assert_true(!stat("/dev/null", &st) && S_ISCHR(st.st_mode));

    e = (err){0}; /* something took the file's place meanwhile */
    assert_true(file_out_open(&o, path("a"), &e));
    assert_int_equal(mkdir(path("a"), 0700), 0);
    assert_false(file_out_commit(&o, &e));
    assert_non_null(strstr(e.text, "cannot replace"));
    assert_int_equal(entries(), 1);
    e = (err){0};
    assert_false(file_out_open(&o, path("a"), &e));
    assert_non_null(strstr(e.text, "directory"));
    rmdir(path("a"));

    e = (err){0};
    assert_false(file_out_open(&o, path("absent/a"), &e));
    assert_non_null(strstr(e.text, "absent/a: cannot write: No such file"));
    file_out_release(&o);
}

static void a_link_stays_a_link(void **state)
{
    (void)state;
    file_out o;
    err e = {0};
    struct stat st;
    put_file("a", "old");
    assert_int_equal(symlink("a", path("link")), 0);
    assert_true(file_out_open(&o, path("link"), &e) && file_out_write(&o, "new", 3, &e) && file_out_commit(&o, &e));
    assert_file("a", "new");
    assert_true(!lstat(path("link"), &st) && S_ISLNK(st.st_mode));
    unlink(path("link"));
    unlink(path("a"));
}

static void links_and_read_only_files_are_as_cp_has_them(void **state)
{
    (void)state;
    file_out o;
    err e = {0};
    struct stat st;
    assert_int_equal(symlink("absent", path("link")), 0);
    assert_false(file_out_open(&o, path("link"), &e));
    assert_non_null(strstr(e.text, "link: cannot write: it is a link"));
    assert_int_equal(lstat(path("link"), &st), 0);
    unlink(path("link"));

    /* A link to another folder: what is written lies beside the target. */
    assert_int_equal(mkdir(path("there"), 0700), 0);
    put_file("there/a", "old");
    assert_int_equal(symlink("there/a", path("link")), 0);
    assert_true(file_out_open(&o, path("link"), &e));
    assert_int_equal(entries(), 2);
    assert_true(file_out_write(&o, "new", 3, &e) && file_out_commit(&o, &e));
    assert_file("there/a", "new");
    unlink(path("link"));
    unlink(path("there/a"));
    rmdir(path("there"));

    put_file("a", "old");
    chmod(path("a"), 0400);
    e = (err){0};
    if (geteuid() == 0) { /* who may write all, may */
        assert_true(file_out_open(&o, path("a"), &e) && file_out_write(&o, "new", 3, &e) && file_out_commit(&o, &e));
        assert_file("a", "new");
        assert_true(!stat(path("a"), &st) && (st.st_mode & 0777) == 0400);
    } else {
        assert_false(file_out_open(&o, path("a"), &e));
        assert_non_null(strstr(e.text, "/a: cannot write: Permission denied"));
        assert_file("a", "old");
    }
    assert_int_equal(entries(), 1);
    unlink(path("a"));
}

static void a_name_may_have_all_the_letters_that_are_allowed(void **state)
{
    (void)state;
    char name[257];
    file_out o;
    err e = {0};
    memset(name, 'n', 256);
    name[256] = 0;
    assert_true(file_out_open(&o, path(name + 1), &e) && file_out_write(&o, "new", 3, &e) && file_out_commit(&o, &e));
    assert_file(name + 1, "new");
    unlink(path(name + 1));
    assert_false(file_out_open(&o, path(name), &e)); /* one more */
    assert_non_null(strstr(e.text, "File name too long"));
    assert_int_equal(entries(), 0);
}

static void abandon(int number)
{
    file_out_abandon();
    signal(number, SIG_DFL);
    raise(number);
}

/* A writer that ends by `number`: by a handler, or so that it can't do anything. */
static void kill_a_writer(int number)
{
    int ends[2], status;
    char c;
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        file_out o[2];
        signal(SIGTERM, abandon);
        if (!file_out_open(&o[0], path("a"), NULL) || !file_out_open(&o[1], path("b"), NULL) ||
            write(ends[1], "x", 1) != 1)
            _exit(1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ends[0], &c, 1), 1);
    kill(child, number);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == number);
    close(ends[0]);
    close(ends[1]);
}

static void what_killed_writers_left_is_removed_and_nothing_else(void **state)
{
    (void)state;
    file_out o[3];
    err e = {0};
    static const char *const others[] = {".limn-1-0.tmpx", ".limn-1.tmp", "x.limn-1-0.tmp"};
    assert_int_equal(mkdir(path("x"), 0700), 0);
    for (int i = 0; i < 3; i++)
        put_file(others[i], "");
    assert_true(file_out_open(&o[0], path("a"), &e)); /* a writer of this process, which lives */
    kill_a_writer(SIGTERM);
    assert_int_equal(entries(), 5);
    kill_a_writer(SIGKILL);
    assert_int_equal(entries(), 7);
    assert_true(file_out_open(&o[1], path("x/a"), &e)); /* another folder */
    assert_int_equal(entries(), 7);
    assert_true(file_out_open(&o[2], path("b"), &e));
    assert_int_equal(entries(), 6);
    for (int i = 0; i < 3; i++) {
        assert_true(file_out_commit(&o[i], &e));
        assert_int_equal(unlink(path(others[i])), 0);
    }
    unlink(path("a"));
    unlink(path("b"));
    unlink(path("x/a"));
    rmdir(path("x"));
    assert_int_equal(entries(), 0);
}

static void directories_are_made_with_their_parents(void **state)
{
    (void)state;
    err e = {0};
    struct stat st;
    assert_true(file_make_directory(path("x/y//z/"), &e));
    assert_true(file_make_directory(path("x/y/z"), &e));
    assert_true(!stat(path("x/y/z"), &st) && S_ISDIR(st.st_mode));
    rmdir(path("x/y/z"));
    rmdir(path("x/y"));
    rmdir(path("x"));
    put_file("x", "");
    assert_false(file_make_directory(path("x/y"), &e));
    assert_non_null(strstr(e.text, "cannot create the directory: Not a directory"));
    unlink(path("x"));
}

static void assert_cache(const char *expected)
{
    char *s = file_cache_directory();
    if (expected)
        assert_string_equal(s, expected);
    else
        assert_null(s);
    free(s);
}

static void the_cache_directory_follows_the_environment(void **state)
{
    (void)state;
    setenv("HOME", "/h", 1);
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("LIMN_CACHE_DIR", "/l", 1);
    assert_cache("/l");
    setenv("LIMN_CACHE_DIR", "", 1);
    assert_cache("/x/limn");
    setenv("XDG_CACHE_HOME", "relative", 1);
    assert_cache("/h/.cache/limn");
    unsetenv("HOME");
    assert_cache(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(type_names_round_trip),
        cmocka_unit_test(every_half_converts_to_float_and_back),
        cmocka_unit_test(floats_round_to_the_nearest_half_and_ties_to_even),
        cmocka_unit_test(each_type_becomes_float_from_any_address),
        cmocka_unit_test(q8_0_of_known_values),
        cmocka_unit_test(q4_0_of_known_values),
        cmocka_unit_test(block_codes_come_from_the_unrounded_scale),
        cmocka_unit_test(blocks_of_zeros_and_of_what_is_not_finite_are_made),
        cmocka_unit_test(files_are_mapped_whole_and_empty_ones_are_valid),
        cmocka_unit_test(forgotten_parts_are_read_again),
        cmocka_unit_test(what_cannot_be_mapped_is_named),
        cmocka_unit_test(a_committed_write_replaces_the_file),
        cmocka_unit_test(an_abandoned_write_leaves_the_old_file_and_nothing_else),
        cmocka_unit_test(two_writers_of_one_file_do_not_mix),
        cmocka_unit_test(a_fresh_file_takes_no_other_ones_place),
        cmocka_unit_test(a_failed_write_is_reported_and_leaves_no_temporary),
        cmocka_unit_test(a_link_stays_a_link),
        cmocka_unit_test(links_and_read_only_files_are_as_cp_has_them),
        cmocka_unit_test(a_name_may_have_all_the_letters_that_are_allowed),
        cmocka_unit_test(what_killed_writers_left_is_removed_and_nothing_else),
        cmocka_unit_test(directories_are_made_with_their_parents),
        cmocka_unit_test(the_cache_directory_follows_the_environment),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
