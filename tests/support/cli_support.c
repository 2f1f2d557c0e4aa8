/* Runs of the program and of shell lines, their messages and files, for the tests of the command line. */
#include "cli_support.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAX_ARGUMENTS = 48 };

static char directory[] = "/tmp/limn-cli-test-XXXXXX"; /* where the tests run */

bool cli_enter(void)
{
    if (mkdtemp(directory) && chdir(directory) == 0)
        return true;
    perror(directory);
    return false;
}

int cli_enter_device(void)
{
    if (!cli_enter())
        return 1;
    if (cli_run("devices").code == 0)
        return 0;
    fprintf(stderr, "no OpenCL device\n");
    return 77;
}

void cli_leave(void)
{
    char line[64];
    snprintf(line, sizeof line, "rm -rf %s", directory);
    cli_shell(line);
}

char *cli_slurp(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    assert_non_null(f);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) < (1 << 20) - 1);
    fclose(f);
    return text;
}

pid_t cli_start(const char *program, char *const *argv, const char *out)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, ".stderr", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawnp(&pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

int cli_wait(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

cli_result cli_run(const char *arguments)
{
    static cli_result kept[4];
    static int calls;
    cli_result *r = &kept[calls++ % 4];
    char *copy = strdup(arguments), *argv[MAX_ARGUMENTS] = {"limn"};
    int n = 1;
    assert_non_null(copy);
    for (char *a = copy; *arguments && a; n++) {
        char *bar = strchr(a, '|');
        assert_true(n < MAX_ARGUMENTS - 1);
        if (bar)
            *bar = '\0';
        argv[n] = a;
        a = bar ? bar + 1 : NULL;
    }
    free(r->out);
    free(r->err);
    r->code = cli_wait(cli_start(LIMN_PROGRAM, argv, ".stdout"));
    r->out = cli_slurp(".stdout");
    r->err = cli_slurp(".stderr");
    free(copy);
    return *r;
}

void cli_has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

cli_result cli_good(const char *arguments)
{
    cli_result r = cli_run(arguments);
    if (r.code != 0)
        fail_msg("limn %s: exit code %d: %s", arguments, r.code, r.err);
    return r;
}

void cli_bad(const char *arguments, int code, const char *part)
{
    cli_result r = cli_run(arguments);
    if (r.code != code || !strstr(r.err, part) || strncmp(r.err, "limn: ", 6) != 0 || r.out[0])
        fail_msg("limn %s: exit code %d, expected %d and \"%s\": %s%s", arguments, r.code, code, part, r.err, r.out);
}

int cli_shell(const char *line)
{
    char *argv[] = {"sh", "-c", (char *)line, NULL};
    return cli_wait(cli_start("sh", argv, ".shell"));
}

bool cli_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

void cli_write(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

json_t *cli_parse(const char *text)
{
    json_error_t e;
    json_t *j = json_loads(text, 0, &e);
    if (!j)
        fail_msg("not JSON (%s): %s", e.text, text);
    return j;
}
