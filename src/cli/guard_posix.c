/* The program around calls in which OpenCL drivers may print, crash, exit or hang: src/device says when they begin and
 * end. What drivers print is kept from both streams, and shown with -v, or where the call failed. */
#include "cli/guard.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/probe_internal.h"
#include "cli/terminal.h"
#include "device/drivers.h"

#define ENDING_SECONDS 10
#define SHOWN          3000 /* bytes, of the end of what was printed */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
#define DEEPEST 8
static int depth;                                   /* of calls within calls */
static off_t began[DEEPEST];                        /* bytes that were printed before each */
static int kept_out = -1, kept_err = -1, said = -1; /* the streams as they were, and the file that stands for them */
static volatile sig_atomic_t inside, loading, ending;
static int ending_code;
static char *verdicts; /* the file that said that all drivers are good */

/* ---- a driver that ends the process: with system calls alone -------------------------------------------------- */

static void put(const char *text, size_t n)
{
    while (n) {
        ssize_t done = write(kept_err >= 0 ? kept_err : STDERR_FILENO, text, n);
        if (done <= 0)
            return;
        text += done;
        n -= (size_t)done;
    }
}

static void tell(const char *text)
{
    put(text, strlen(text));
}

static void witness_end(void);

static _Noreturn void give_up(const char *what)
{
    char text[1024];
    ssize_t n;
    for (off_t at = 0; said >= 0 && (n = pread(said, text, sizeof text, at)) > 0; at += n)
        put(text, (size_t)n);
    tell("limn: OpenCL: a driver ");
    tell(what);
    if (loading)
        tell(
            " while it is loaded and asked (run the command again: limn then asks each driver in a process of its own, "
            "and leaves out the one that does it; limn devices --why says more)\n");
    else
        tell(" while it compiles limn's kernels (update it, or choose another device: --device)\n");
    if (loading && verdicts)
        unlink(verdicts);
    witness_end();
    file_out_abandon();
    _exit(loading ? ERR_DEVICE : ERR_FAILED);
}

/* Drivers have handlers of their own (LLVM's let abort() end the process), and some leave by _exit.  So a process looks
 * on while they are loaded: where it hears nothing before this one is gone, it tells. */
static struct {
    pid_t pid;
    int to;
} witness;

void probe_close_others(int a, int b)
{
    for (int fd = STDERR_FILENO + 1; fd < 1024; fd++)
        if (fd != a && fd != b)
            close(fd);
}

static void witness_begin(void)
{
    int ends[2];
    char done;
    if (pipe(ends) != 0)
        return;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    witness.pid = fork();
    if (witness.pid == 0) {
        static const int deadly[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT}; /* of a user, to both: nothing to tell */
        for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
            signal(deadly[i], SIG_DFL);
        probe_close_others(ends[0], kept_err);
        close(STDIN_FILENO); /* whoever reads limn's output doesn't wait for this */
        close(STDOUT_FILENO);
        if (read(ends[0], &done, 1) == 0) {
            tell("limn: OpenCL: the program was ended while drivers were loaded and asked (run the command again: limn "
                 "then asks each driver in a process of its own, and leaves out the one that does it; limn devices "
                 "--why says more)\n");
            if (verdicts)
                unlink(verdicts);
        }
        _exit(0);
    }
    close(ends[0]);
    witness.to = ends[1];
    if (witness.pid < 0)
        close(ends[1]);
}

static void witness_end(void)
{
    if (witness.pid <= 0)
        return;
    if (write(witness.to, "", 1) == 1)
        waitpid(witness.pid, NULL, 0);
    close(witness.to);
    witness.pid = 0;
}

static void on_signal(int number)
{
    if (ending) {
        file_out_abandon();
        _exit(ending_code);
    }
    if (!inside) { /* a driver's thread, later */
        signal(number, SIG_DFL);
        raise(number);
        return;
    }
    inside = 0;
    give_up(number == SIGALRM ? "hangs" : probe_signal(number));
}

static void on_exit_in_driver(void)
{
    if (!inside)
        return;
    inside = 0;
    fflush(stdout); /* its prints */
    give_up("ends the program (exit)");
}

static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGALRM};
enum { SIGNALS = sizeof signals / sizeof *signals };

static void catch_signals(bool on)
{
    static struct sigaction before[SIGNALS];
    struct sigaction action = {.sa_handler = on_signal};
    sigemptyset(&action.sa_mask);
    for (int i = 0; i < SIGNALS; i++) {
        struct sigaction now;
        if (on)
            sigaction(signals[i], &action, &before[i]);
        else if (sigaction(signals[i], NULL, &now) == 0 && now.sa_handler == on_signal) /* and not a driver's own */
            sigaction(signals[i], &before[i], NULL);
    }
}

/* ---- what drivers print --------------------------------------------------------------------------------------- */

static int unnamed_file(void)
{
    char path[200];
    const char *base = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.160s/limn-said-XXXXXX", base && *base ? base : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return open("/dev/null", O_RDWR | O_CLOEXEC | O_APPEND);
    unlink(path);
    fcntl(fd, F_SETFD, FD_CLOEXEC);
    fcntl(fd, F_SETFL, O_APPEND); /* both streams write to it, buffered and not */
    return fd;
}

static void swap_streams(bool away)
{
    fflush(stdout); /* what limn printed before, or the driver in between */
    if (said < 0)
        return;
    const int from[] = {away ? said : kept_out, away ? said : kept_err};
    for (int i = 0; i < 2; i++) {
        if (from[i] >= 0)
            dup2(from[i], i + 1);
        else
            close(i + 1); /* it was closed when limn began */
    }
}

static off_t said_bytes(void)
{
    struct stat st;
    return said >= 0 && fstat(said, &st) == 0 ? st.st_size : 0;
}

/* What was printed since, its end where it is long, as a new string; NULL where it is nothing. */
static char *take_said(off_t since)
{
    off_t n = said_bytes(), from = n - since > SHOWN ? n - SHOWN : since;
    char *text = n > since ? calloc(1, SHOWN + 1) : NULL;
    ssize_t got = text ? pread(said, text, SHOWN, from) : 0;
    if (n > since && ftruncate(said, since) != 0)
        got = 0;
    while (got > 0 && strchr("\n\r\t ", text[got - 1]))
        text[--got] = 0;
    if (got > 0)
        return text;
    free(text);
    return NULL;
}

static void enter(void)
{
    pthread_mutex_lock(&lock);
    if (depth == 0) {
        swap_streams(true);
        catch_signals(true);
        inside = 1;
    } else {
        fflush(stdout);
    }
    if (depth < DEEPEST)
        began[depth] = said_bytes();
    depth++;
    pthread_mutex_unlock(&lock);
}

static void leave(bool ok)
{
    char *text = NULL;
    pthread_mutex_lock(&lock);
    bool last = --depth == 0;
    if (last) {
        inside = 0;
        catch_signals(false);
        swap_streams(false);
    } else {
        fflush(stdout);
    }
    if (last || (!ok && depth < DEEPEST)) /* what comes of it isn't known yet, where it is within another */
        text = take_said(began[depth]);
    pthread_mutex_unlock(&lock);
    if (text)
        say(ok ? LOG_INFO : last ? LOG_ERROR : LOG_WARNING, "the OpenCL driver prints:\n%s", text);
    free(text);
}

/* ---- for the commands ----------------------------------------------------------------------------------------- */

void guard_start(void)
{
    static bool started;
    if (started)
        return;
    started = true;
#if defined(__SANITIZE_ADDRESS__)
    return; /* its own handlers say more, on stderr */
#endif
    verdicts = probe_kept_path();
    atexit(on_exit_in_driver);
    kept_out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 10);
    kept_err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
    said = unnamed_file();
    FILE *messages = kept_err >= 0 ? fdopen(kept_err, "w") : NULL;
    if (messages) {
        setvbuf(messages, NULL, _IONBF, 0);
        terminal_messages(messages);
    }
    driver_watch(enter, leave);
}

void guard_end(int code)
{
    if (said < 0) /* it never began */
        return;
    ending_code = code;
    ending = 1;
    swap_streams(true);
    catch_signals(true);
    alarm(ENDING_SECONDS);
}

void guard_loading(bool on)
{
    struct itimerval limit = {.it_value.tv_sec = on ? 4 * PROBE_SECONDS : 0};
    if (on) {
        loading = 1;
        if (kept_err >= 0)
            witness_begin();
        driver_enter();
        setitimer(ITIMER_REAL, &limit, NULL);
    } else {
        setitimer(ITIMER_REAL, &limit, NULL);
        driver_leave(true);
        witness_end();
        loading = 0;
    }
}
