/* The progress line on a terminal: it fits the width, goes away before messages, and isn't drawn where nobody could see
 * it redrawn. */
#define _XOPEN_SOURCE 700
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/terminal.h"

/* What the work in a child writes to its stderr, a terminal of so many columns. */
static void run_in_terminal(int columns, const char *kind, void (*work)(void), char *out, size_t size)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    if (master < 0 || grantpt(master) || unlockpt(master))
        skip();
    const char *name = ptsname(master);
    int terminal = open(name, O_RDWR | O_NOCTTY);
    assert_true(terminal >= 0);
    struct winsize w = {.ws_row = 24, .ws_col = (unsigned short)columns};
    assert_int_equal(ioctl(terminal, TIOCSWINSZ, &w), 0);
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        setsid();
        ioctl(terminal, TIOCSCTTY, 0);
        dup2(terminal, STDERR_FILENO);
        setenv("TERM", kind, 1);
        terminal_start(LOG_WARNING);
        work();
        tcdrain(terminal);
        _exit(0);
    }
    size_t n = 0;
    int status;
    bool ended = false;
    for (;;) {
        struct pollfd p = {master, POLLIN, 0};
        if (poll(&p, 1, 50) > 0 && n < size - 1) {
            ssize_t k = read(master, out + n, size - 1 - n);
            if (k <= 0)
                break;
            n += (size_t)k;
        } else if (ended) {
            break;
        } else {
            ended = waitpid(pid, &status, WNOHANG) == pid;
        }
    }
    if (!ended)
        waitpid(pid, &status, 0);
    out[n] = 0;
    close(terminal);
    close(master);
}

static void moment(void)
{
    nanosleep(&(struct timespec){0, 120000000}, NULL);
}

static void work(void)
{
    progress p;
    progress_begin(&p, "generate", "codes");
    for (int i = 1; i <= 3; i++) {
        moment();
        progress_update(&p, i, 4);
    }
    say(LOG_WARNING, "a message");
    moment();
    progress_update(&p, 4, 4);
    progress_end(&p);
}

/* The longest line between returns, without escape sequences. */
static size_t longest(const char *out)
{
    size_t most = 0, n = 0;
    for (; *out; out++) {
        if (*out == '\033')
            out += strcspn(out, "K");
        else if (*out == '\r' || *out == '\n')
            n = 0;
        else
            most = ++n > most ? n : most;
    }
    return most;
}

static void test_widths(void **state)
{
    (void)state;
    static const int widths[] = {200, 80, 40, 30, 20, 16, 12, 8, 5, 2};
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        static char out[8192];
        run_in_terminal(widths[i], "xterm", work, out, sizeof out);
        const char *message = strstr(out, "limn: a message");
        assert_non_null(message);
        assert_true(message - out < 4 || !memcmp(message - 4, "\r\033[K", 4)); /* on a line of its own */
        char *own = strdup(out);
        char *cut = strstr(own, "limn: a message");
        memset(cut, '\n', strlen("limn: a message"));
        if (longest(own) > (size_t)widths[i] - 1)
            fail_msg("%d columns: %zu in \"%s\"", widths[i], longest(own), own);
        if (widths[i] >= 40)
            assert_non_null(strstr(out, " codes/s"));
        if (widths[i] >= 30)
            assert_non_null(strstr(out, " left"));
        if (widths[i] >= 16)
            assert_non_null(strstr(out, "generate  50%"));
        if (widths[i] >= 5)
            assert_non_null(strstr(out, "50%"));
        size_t n = strlen(out);
        assert_true(widths[i] < 5 || (n > 4 && !strcmp(out + n - 4, "\r\033[K"))); /* and is gone at the end */
        free(own);
    }
}

static void test_where_none_is_drawn(void **state)
{
    (void)state;
    static char out[8192];
    run_in_terminal(80, "dumb", work, out, sizeof out);
    assert_string_equal(out, "limn: a message\r\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_widths),
        cmocka_unit_test(test_where_none_is_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
