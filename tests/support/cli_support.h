/* What the tests of the command line share: they run the program in a directory of their own, and look at its exit
 * code, messages, output and files.  What goes wrong fails the test that calls. */
#ifndef TESTS_CLI_SUPPORT_H
#define TESTS_CLI_SUPPORT_H
#include <setjmp.h> /* cmocka.h wants these four before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/* Makes the directory and goes there; false, with a message, where that fails. */
bool cli_enter(void);
/* The same for what needs a device: 0; 77, with a message, where there is none; 1 as cli_enter's false. */
int cli_enter_device(void);
/* Removes it with all its files. */
void cli_leave(void);

typedef struct cli_result {
    int code;
    char *out, *err; /* live until the fourth call after that which gave them, so that tests stay short */
} cli_result;

/* limn with arguments given as one string, separated by '|', which limn's own arguments never hold here. */
cli_result cli_run(const char *arguments);
/* Runs, and expects success. */
cli_result cli_good(const char *arguments);
/* Runs, and expects the code, a one-line message that holds `part`, and nothing on stdout. */
void cli_bad(const char *arguments, int code, const char *part);
/* Runs a shell line; its exit code.  The line's output is in .shell. */
int cli_shell(const char *line);
/* Starts a program, with its output in `out` and its messages in .stderr. */
pid_t cli_start(const char *program, char *const *argv, const char *out);
/* Its exit code; 1000 and the number of the signal that ended it. */
int cli_wait(pid_t pid);

/* Fails unless part is in text. */
void cli_has(const char *text, const char *part);
/* A file's text, of less than 1 MiB; the caller frees it. */
char *cli_slurp(const char *path);
bool cli_exists(const char *path);
void cli_write(const char *path, const void *data, size_t n);
/* The caller releases it. */
json_t *cli_parse(const char *text);
#endif
