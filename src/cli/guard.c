/* What becomes of a driver that ends or blocks the program while it is loaded and asked, though it answered before. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "cli/probe_internal.h"

static volatile sig_atomic_t guarding;
static char *kept; /* the file that said that all drivers are good */

static void tell(const char *text)
{
    size_t n = strlen(text);
    if (write(STDERR_FILENO, text, n) != (ssize_t)n)
        _exit(ERR_DEVICE);
}

/* With system calls alone. */
static void give_up(const char *what)
{
    guarding = 0;
    tell("limn: OpenCL: a driver ");
    tell(what);
    tell(" while it is loaded and asked (run the command again: limn then asks each driver in a process of its own, "
         "and leaves out the one that does it; limn devices --why says more)\n");
    if (kept)
        unlink(kept);
    probe_remove_shown();
    _exit(ERR_DEVICE);
}

static void on_signal(int number)
{
    if (!guarding) { /* a driver's thread, later */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    give_up(number == SIGALRM ? "hangs" : probe_signal(number));
}

static void on_exit_in_driver(void)
{
    if (guarding)
        give_up("ends the program (exit)");
}

void probe_guard(bool on)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
    enum { N = sizeof signals / sizeof *signals };
    static struct sigaction before[N];
    static bool registered;
    struct sigaction action = {.sa_handler = on_signal};
    struct itimerval limit = {.it_value.tv_sec = on ? 4 * PROBE_SECONDS : 0};
#if defined(__SANITIZE_ADDRESS__)
    return; /* its own handlers say more */
#endif
    sigemptyset(&action.sa_mask);
    if (on && !registered) {
        registered = true;
        kept = probe_kept_path();
        atexit(on_exit_in_driver);
    }
    for (int i = 0; i < N; i++) {
        struct sigaction now;
        if (on)
            sigaction(signals[i], &action, &before[i]);
        else if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == on_signal) /* and not a driver's own */
            sigaction(signals[i], &before[i], NULL);
    }
    setitimer(ITIMER_REAL, &limit, NULL);
    guarding = on;
}
