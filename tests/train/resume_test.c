/* Training as a user has it: killed at any moment and resumed it ends in the same bytes; Ctrl-C is a pause. */
#define _GNU_SOURCE /* memmem */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/rng.h"
#include "io/image.h"
#include "support.h"

enum { KILLS = 10, STEPS = 32, SAVE = 4, WORDS = 48 };

static char folder[256]; /* of everything here */

/* ---- processes ---- */

/* limn with the words of `line`, in the folder; what it says goes to the file `log`. */
static pid_t start(const char *line)
{
    char copy[1024], *words[WORDS] = {(char *)"limn"};
    int n = 1;
    snprintf(copy, sizeof copy, "%s", line);
    for (char *w = strtok(copy, " "); w && n + 1 < WORDS; w = strtok(NULL, " "))
        words[n++] = w;
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGINT, SIG_DFL); /* ignored where this program runs in the background */
        int fd = open("log", O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 || dup2(fd, 1) < 0 || dup2(fd, 2) < 0)
            _exit(126);
        execv(LIMN_PROGRAM, words);
        _exit(127);
    }
    assert_true(pid > 0);
    return pid;
}

static int finish(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void show_log(void)
{
    char text[2048];
    FILE *f = fopen("log", "r");
    size_t n = f ? fread(text, 1, sizeof text - 1, f) : 0;
    if (f)
        fclose(f);
    text[n] = 0;
    print_message("%s\n", text);
}

static void good(const char *line)
{
    int status = finish(start(line));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        show_log();
        fail_msg("limn %s: status %d", line, status);
    }
}

static void sleep_ms(double ms)
{
    nanosleep(&(struct timespec){(time_t)(ms / 1000), (long)(ms * 1e6) % 1000000000}, NULL);
}

/* Lines of a file; -1 where there is none. */
static int lines_of(const char *path)
{
    FILE *f = fopen(path, "r");
    int n = 0, c;
    if (!f)
        return -1;
    while ((c = getc(f)) != EOF)
        n += c == '\n';
    fclose(f);
    return n;
}

static bool ended(pid_t pid)
{
    siginfo_t info;
    memset(&info, 0, sizeof info);
    return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == pid;
}

/* Until the log of OUT.gguf has the step, or the process ends: then false. */
static bool wait_for(pid_t pid, const char *output, int step)
{
    char csv[300];
    snprintf(csv, sizeof csv, "%s.csv", output);
    while (!ended(pid)) {
        if (lines_of(csv) > step) /* a line has the names */
            return true;
        sleep_ms(2);
    }
    return false;
}

/* ---- files ---- */

static void same_files(const char *a, const char *b, const char *ending)
{
    char paths[2][300];
    file_map m[2] = {0};
    err e = {0};
    snprintf(paths[0], sizeof paths[0], "%s%s", a, ending);
    snprintf(paths[1], sizeof paths[1], "%s%s", b, ending);
    for (int i = 0; i < 2; i++)
        if (!file_map_open(&m[i], paths[i], &e))
            fail_msg("%s", e.text);
    if (m[0].size != m[1].size || memcmp(m[0].data, m[1].data, m[0].size) != 0)
        fail_msg("%s and %s differ", paths[0], paths[1]);
    file_map_release(&m[0]);
    file_map_release(&m[1]);
}

/* The logs without their last column: how long the steps took. */
static void same_logs(const char *a, const char *b)
{
    char path[300], line[2][1024];
    FILE *f[2];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s.csv", i ? b : a);
        f[i] = fopen(path, "r");
        assert_non_null(f[i]);
    }
    for (bool more = true; more;) {
        more = fgets(line[0], sizeof line[0], f[0]) != NULL;
        assert_int_equal(fgets(line[1], sizeof line[1], f[1]) != NULL, more);
        for (int i = 0; more && i < 2; i++) {
            char *last = strrchr(line[i], ',');
            assert_non_null(last);
            *last = 0;
        }
        if (more)
            assert_string_equal(line[0], line[1]);
    }
    fclose(f[0]);
    fclose(f[1]);
}

static void same_runs(const char *a, const char *b)
{
    same_files(a, b, "");
    same_files(a, b, ".checkpoint");
    same_logs(a, b);
}

static int leftovers(void)
{
    int n = 0;
    DIR *d = opendir(".");
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));)
        n += strncmp(entry->d_name, ".limn-", 6) == 0;
    closedir(d);
    return n;
}

/* ---- commands ---- */

#define COMMON "--data data --batch 4 --save-every 4 --sample-every 8 --seed 3 --average 0.9"

static void codec_line(char line[1024], const char *output, const char *more)
{
    snprintf(line, 1024,
             "train codec " COMMON " -o %s --size 16 --codes 16 --code-dim 8 --encoder 8,16 --decoder 16,8 --blocks 1 "
             "--block-width 8 --crop 0.7 --steps %d %s",
             output, STEPS, more);
}

static void dalle_line(char line[1024], const char *output, const char *more)
{
    snprintf(line, 1024,
             "train dalle " COMMON " -o %s --codec codec.gguf --tokenizer tokens.gguf --dim 16 --heads 2 --layers 1 "
             "--text-length 12 --condition-dropout 0.2 --bpe-dropout 0.1 --steps %d %s",
             output, STEPS, more);
}

typedef void line_function(char line[1024], const char *output, const char *more);

/* Kills at KILLS moments: soon after the line of a step, every other time of one that is saved. */
static void kill_and_resume(line_function *command, const char *whole, const char *parts, uint32_t stream)
{
    char line[1024];
    int inside = 0, kills = getenv("LIMN_TEST_BRIEF") ? 3 : KILLS;
    command(line, whole, "");
    good(line);
    command(line, parts, "--resume");
    for (int k = 0; k < kills; k++) {
        int step = (k * (STEPS - 2) / kills + 1 + SAVE - 1) / SAVE * SAVE - k % 2;
        pid_t pid = start(line);
        if (wait_for(pid, parts, k == 0 ? 1 : step))
            sleep_ms(12 * (double)rng_uniform(11, stream, 0, (uint32_t)k));
        kill(pid, SIGKILL);
        int status = finish(pid);
        inside += leftovers() > 0;
        if (!WIFSIGNALED(status) && (!WIFEXITED(status) || WEXITSTATUS(status) != 0)) {
            show_log();
            fail_msg("start %d ended with status %d", k, status);
        }
    }
    print_message("%d of %d kills while a file was written\n", inside, kills);
    good(line);
    same_runs(whole, parts);
    assert_int_equal(leftovers(), 0);
}

static void a_killed_codec_run_ends_in_the_same_bytes(void **state)
{
    (void)state;
    kill_and_resume(codec_line, "codec.gguf", "codec_parts.gguf", 1);
}

static void a_killed_dalle_run_ends_in_the_same_bytes(void **state)
{
    (void)state;
    good("train tokenizer --data data --vocabulary 270 -o tokens.gguf");
    kill_and_resume(dalle_line, "dalle.gguf", "dalle_parts.gguf", 2);
    same_files("dalle.gguf", "dalle_parts.gguf", ".png"); /* what the same model makes of the same captions */
    char *captions = image_read_text("dalle.gguf.png", "captions");
    assert_non_null(captions);
    assert_non_null(strstr(captions, " on "));
    free(captions);
}

/* Processes of its own, which watch and ask the drivers, may outlive a run that is killed as it begins: the lock of its
 * output doesn't. */
static void a_run_that_is_killed_as_it_begins_locks_nothing(void **state)
{
    (void)state;
    char line[1024];
    codec_line(line, "codec_parts.gguf", "--resume");
    for (int k = 0; k < 8; k++) {
        pid_t pid = start(line);
        sleep_ms(4 + 12 * k);
        kill(pid, SIGKILL);
        finish(pid);
        good(line);
    }
    same_runs("codec.gguf", "codec_parts.gguf");
}

static bool log_has(const char *text)
{
    file_map m = {0};
    bool found = file_map_open(&m, "log", NULL) && m.size && memmem(m.data, m.size, text, strlen(text));
    file_map_release(&m);
    return found;
}

static void ctrl_c_is_a_pause(void **state)
{
    (void)state;
    char line[1024];
    codec_line(line, "paused.gguf", "");
    pid_t pid = start(line);
    assert_true(wait_for(pid, "paused.gguf", 2));
    kill(pid, SIGINT);
    int status = finish(pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(log_has("paused after step ") && log_has("--resume"));
    codec_line(line, "paused.gguf", "--resume");
    good(line);
    same_runs("codec.gguf", "paused.gguf");
}

/* A step of many pictures, so that two signals come within one; where the first came at its end, again. */
static void a_second_ctrl_c_ends_at_once(void **state)
{
    (void)state;
    char line[1024];
    bool at_once = false;
    codec_line(line, "hurried.gguf", "--steps 1");
    good(line);
    codec_line(line, "hurried.gguf", "--resume --batch 2048");
    for (int tries = 0; tries < 10 && !at_once; tries++) {
        struct stat before, after;
        int done = lines_of("hurried.gguf.csv");
        assert_int_equal(stat("hurried.gguf.checkpoint", &before), 0);
        pid_t pid = start(line);
        assert_true(wait_for(pid, "hurried.gguf", done));
        sleep_ms(30);                     /* past the question whether to go on, into the next step */
        for (; !ended(pid); sleep_ms(10)) /* two that come together are one */
            kill(pid, SIGINT);
        int status = finish(pid);
        assert_int_equal(stat("hurried.gguf.checkpoint", &after), 0);
        if (WIFSIGNALED(status))
            assert_int_equal(WTERMSIG(status), SIGINT);
        else
            assert_true(WIFEXITED(status) && !WEXITSTATUS(status));
        /* a checkpoint of the pause that the first one asked for may be there when the second comes */
        at_once = WIFSIGNALED(status) && before.st_ino == after.st_ino;
    }
    assert_true(at_once);
}

static int enter_folder(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "%s", support_path("runs"));
    if (mkdir(folder, 0700) != 0 || chdir(folder) != 0)
        return -1;
    int status = finish(start("devices"));
    if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
        print_message("no OpenCL device: skipped\n");
        exit(77);
    }
    support_pictures("data");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_killed_codec_run_ends_in_the_same_bytes),
        cmocka_unit_test(a_killed_dalle_run_ends_in_the_same_bytes),
        cmocka_unit_test(a_run_that_is_killed_as_it_begins_locks_nothing),
        cmocka_unit_test(ctrl_c_is_a_pause),
        cmocka_unit_test(a_second_ctrl_c_ends_at_once),
    };
    return cmocka_run_group_tests(tests, enter_folder, NULL);
}
