/* Outputs: files are written as cp would write them, what can't be written is found before the work, and no output is
 * an input. */
#include "cli_support.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/files.h"

enum { NOBODY = 65534 };

static void put(const char *path, const char *text)
{
    (void)remove(path);
    cli_write(path, text, strlen(text));
}

static void assert_text(const char *path, const char *text)
{
    char *now = cli_slurp(path);
    assert_string_equal(now, text);
    free(now);
}

static bool write_to(const char *path, const char *text, err *e)
{
    file_out o;
    return file_out_open(&o, path, e) && file_out_write(&o, text, strlen(text), e) && file_out_commit(&o, e);
}

static void good(const char *path, const char *text)
{
    err e = {0};
    if (!output_check("output", path, NULL, &e) || !write_to(path, text, &e))
        fail_msg("%s", e.text);
    assert_text(path, text);
}

/* Both the check before the work and the write itself refuse it. */
static void bad(const char *path, const char *part)
{
    err before = {0}, at = {0};
    assert_false(output_check("output", path, NULL, &before));
    cli_has(before.text, part);
    assert_false(write_to(path, "new", &at));
    cli_has(at.text, part);
}

/* Runs the checks as a user without privileges, whom the system refuses what it refuses users. */
static void as_nobody(void (*checks)(void))
{
    if (geteuid() != 0) {
        checks();
        return;
    }
    assert_int_equal(chmod(".", 0777), 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setgid(NOBODY) || setuid(NOBODY))
            _exit(2);
        checks(); /* a failure goes to cmocka, which ends the process */
        _exit(0);
    }
    assert_int_equal(cli_wait(pid), 0);
}

static ino_t number_of(const char *path)
{
    struct stat st;
    assert_int_equal(lstat(path, &st), 0);
    return st.st_ino;
}

/* ---- as cp writes ---- */

static void test_links(void **state)
{
    (void)state;
    put("target", "old");
    assert_int_equal(symlink("target", "link"), 0);
    assert_int_equal(link("target", "other"), 0);
    ino_t there = number_of("target");
    good("link", "through the link");
    assert_text("target", "through the link");
    assert_text("other", "through the link"); /* all names are of one file, and stay so */
    assert_true(number_of("target") == there && number_of("other") == there && number_of("link") != there);
    good("other", "");
    assert_text("target", "");
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    bad("dangling", "link to a file that is not there");
    assert_false(cli_exists("nowhere"));
    assert_int_equal(symlink("loop", "loop"), 0);
    bad("loop", "Too many levels of symbolic links");
}

static void check_closed(void)
{
    good("closed/open", "new and longer");
    good("closed/open", "new");
    bad("closed/new", "Permission denied");
    bad("closed/locked", "Permission denied");
    bad("locked", "Permission denied");
    good("sticky/theirs", "new");
    assert_int_equal(cli_shell("test -z \"$(ls -A closed sticky | grep tmp)\""), 0);
}

static void test_permissions(void **state)
{
    (void)state;
    struct stat st;
    assert_int_equal(mkdir("closed", 0755), 0);
    assert_int_equal(mkdir("sticky", 0755), 0);
    put("closed/open", "old");
    put("closed/locked", "old");
    put("sticky/theirs", "old");
    put("locked", "old");
    assert_int_equal(chmod("closed/open", 0666) | chmod("closed/locked", 0444) | chmod("locked", 0444), 0);
    assert_int_equal(chmod("sticky/theirs", 0666) | chmod("sticky", 01777) | chmod("closed", 0555), 0);
    uid_t owner = geteuid();
    as_nobody(check_closed);
    assert_text("locked", "old");
    assert_text("closed/locked", "old");
    assert_text("closed/open", "new");
    assert_text("sticky/theirs", "new");
    assert_int_equal(stat("sticky/theirs", &st), 0);
    assert_true(st.st_uid == owner && (st.st_mode & 0777) == 0666);
    assert_int_equal(chmod("closed", 0755), 0);
}

/* What has other names is written in place, but not before there is room for all of it. */
static void test_full_disk(void **state)
{
    (void)state;
    static char large[100000];
    err e = {0};
    assert_int_equal(mkdir("disk", 0755), 0);
    if (mount("none", "disk", "tmpfs", 0, "size=160k"))
        skip();
    memset(large, 'x', sizeof large - 1);
    put("disk/a", "old");
    assert_int_equal(link("disk/a", "disk/b"), 0);
    bool written = write_to("disk/a", large, &e); /* the temporary file fits, and both together don't */
    char *now = cli_slurp("disk/b");
    int unmounted = umount("disk");
    assert_int_equal(unmounted, 0);
    assert_false(written);
    cli_has(e.text, "disk/a: cannot write: No space left on device");
    assert_string_equal(now, "old");
    free(now);
}

/* ---- names ---- */

static void test_names(void **state)
{
    (void)state;
    char name[NAME_MAX + 16], line[NAME_MAX + 128];
    memset(name, 'x', sizeof name);
    strcpy(name + NAME_MAX - 4, ".png"); /* all that the file system allows */
    good(name, "new");
    good(name, "newer");
    put("plain", "");
    memset(name, 'x', sizeof name);
    strcpy(name + NAME_MAX - 4, ".npy?");
    name[NAME_MAX] = '\0';
    put("a.png", "");
    snprintf(line, sizeof line, "encode|a.png|-o|%s", name);
    cli_bad(line, 1, "a.png: "); /* this name is good: the picture isn't */
    memmove(name + 1, name, NAME_MAX + 1);
    snprintf(line, sizeof line, "encode|a.png|-o|%s", name);
    cli_bad(line, 1, ": File name too long (choose another name)");
    cli_bad("encode|a.png|-o|plain/a.npy", 1, "plain is not a directory");
    cli_bad("encode|a.png|-o|nowhere/a.npy", 1, "nowhere: No such file or directory (make the directory first)");
    assert_int_equal(mkdir("folder.npy", 0755), 0);
    cli_bad("encode|a.png|-o|folder.npy", 1, "folder.npy is not a plain file");
    cli_bad("encode|a.png|-o|/dev/a.npy", 1, "not a plain file");
    char *numbered = numbered_path("dir.d/a.png", 7, 12);
    assert_string_equal(numbered, "dir.d/a-07.png");
    free(numbered);
    numbered = numbered_path("a.png", 7, 9);
    assert_string_equal(numbered, "a-7.png");
    free(numbered);
    numbered = numbered_path("a.png", 3000, 3000);
    assert_string_equal(numbered, "a-3000.png");
    free(numbered);
}

/* ---- outputs that are inputs ---- */

static void test_outputs_that_are_inputs(void **state)
{
    (void)state;
    static const char *const same[] = {
        "encode|in.npy|-o|in.npy",
        "encode|other.png|in.npy|-o|./in.npy",
        "encode|in.npy|-o|symbolic.npy",
        "encode|in.npy|-o|hard.npy",
        "encode|other.png|-m|in.npy|-o|in.npy",
        "encode|other.png|-o|out.npy|--logits-out|in.npy|-m|symbolic.npy",
        "encode|other.png|-o|out.npy|--logits-out|./out.npy",
        "decode|in.npy|-o|in.npy",
        "decode|in.npy|-o|../inputs/in.npy",
        "decode|symbolic.npy|-o|hard.npy",
        "reconstruct|other.png|-o|other.png",
        "reconstruct|other.png|-o|same.png",
        "score|--text|a|--codes|in.npy|--logits-out|in.npy",
        "score|--text-ids|in.npy|--codes|other.png|--logits-out|hard.npy",
        "score|--text|a|--image|in.npy|--logits-out|symbolic.npy",
    };
    assert_int_equal(mkdir("inputs", 0755), 0);
    assert_int_equal(chdir("inputs"), 0);
    put("in.npy", "precious");
    put("other.png", "precious");
    assert_int_equal(symlink("in.npy", "symbolic.npy") | link("in.npy", "hard.npy") | symlink("other.png", "same.png"),
                     0);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        cli_bad(same[i], 2, " is the same file as ");
    cli_bad("reconstruct|other.png|-o|other.png", 2,
            "limn: --output: other.png is the same file as IMG, which would be lost (give another name)");
    cli_bad("encode|other.png|-o|out.npy|--logits-out|./out.npy", 2, "which is written too");
    assert_text("in.npy", "precious");
    assert_text("other.png", "precious");
    cli_bad("encode|in.npy|in.npy|-o|out.npy", 1, "in.npy: "); /* an input may come twice */
    assert_int_equal(chdir(".."), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_outputs_that_are_inputs),
    };
    if (!cli_enter())
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cli_leave();
    return failed;
}
