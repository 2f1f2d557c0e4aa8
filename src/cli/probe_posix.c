/* Asks OpenCL drivers in child processes. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "cli/probe_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/terminal.h"
#include "device/device.h"
#include "device/find.h"

/* ---- folders of driver files ---- */

bool probe_new_folder(char path[200])
{
    const char *base = getenv("TMPDIR");
    snprintf(path, 200, "%.160s/limn-drivers-XXXXXX", base && *base ? base : "/tmp");
    return mkdtemp(path) != NULL;
}

bool probe_add_file(const char *folder, const driver_file *f, size_t number, char out[300])
{
    const char *slash = strrchr(f->path, '/');
    if (*f->path)
        snprintf(out, 300, "%s/%.80s", folder, slash ? slash + 1 : f->path);
    else
        snprintf(out, 300, "%s/named-%zu.icd", folder, number);
    char real[4096];
    if (*f->path && realpath(f->path, real))
        return symlink(real, out) == 0;
    FILE *file = fopen(out, "w");
    if (!file)
        return false;
    bool ok = fprintf(file, "%s\n", f->library) > 0;
    return fclose(file) == 0 && ok;
}

/* ---- a child ---- */

/* What a child says, before its devices. */
typedef struct answer {
    int platforms;
    size_t n;
    err e;
    char warnings[1200], loader[96], load[300];
} answer;

static void keep_warning(void *context, int level, const char *line)
{
    char *all = context;
    size_t used = strlen(all), room = sizeof((answer *)0)->warnings;
    if (level <= LOG_WARNING && used + 1 < room)
        snprintf(all + used, room - used, "%s%s", used ? "\n" : "", line);
}

static bool write_all(int to, const void *data, size_t n)
{
    for (const char *p = data; n;) {
        ssize_t done = write(to, p, n);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        p += done;
        n -= (size_t)done;
    }
    return true;
}

static _Noreturn void child(const char *library, const char *folder, const char *output, int to)
{
    static const int signals[] = {SIGABRT, SIGSEGV, SIGBUS, SIGILL,  SIGFPE,  SIGINT,
                                  SIGTERM, SIGALRM, SIGHUP, SIGQUIT, SIGXCPU, SIGPIPE};
    struct rlimit none = {0};
    answer a = {0};
    limn_device_info *list = NULL;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        signal(signals[i], SIG_DFL);
    probe_close_others(to, -1);
    alarm(2 * PROBE_SECONDS); /* where the parent is gone */
    setrlimit(RLIMIT_CORE, &none);
    int said = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), nothing = open("/dev/null", O_RDONLY);
    if (said >= 0 && nothing >= 0) {
        dup2(nothing, 0);
        dup2(said, 1);
        dup2(said, 2);
    }
    setenv("OCL_ICD_VENDORS", folder, 1);
    unsetenv("OCL_ICD_FILENAMES");
    unsetenv("OPENCL_LAYERS"); /* they count calls, or fail them */
    limn_set_log(keep_warning, a.warnings);
    driver_watch(NULL, NULL);
    a.platforms = device_platforms(a.loader);
    if (a.platforms == 0)
        driver_load_error(library, a.load, sizeof a.load);
    limn_devices(&list, &a.n, &a.e);
    fflush(NULL); /* what the driver printed */
    bool ok = write_all(to, &a, sizeof a) && write_all(to, list, a.n * sizeof *list);
    _exit(!ok); /* drivers may crash in their own ends */
}

/* ---- asking ---- */

typedef struct asked {
    pid_t pid;
    int from;
    char folder[240], file[300], output[260];
    char *data; /* what it said so far */
    size_t n;
    bool done;
} asked;

static bool start(asked *q, const char *base, const driver_file *f, size_t number)
{
    int ends[2];
    snprintf(q->folder, sizeof q->folder, "%s/%zu", base, number);
    snprintf(q->output, sizeof q->output, "%s/%zu.said", base, number);
    if (mkdir(q->folder, 0700) != 0 || !probe_add_file(q->folder, f, number, q->file) || pipe(ends) != 0)
        return false;
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    q->pid = fork();
    if (q->pid == 0) {
        close(ends[0]);
        child(f->library, q->folder, q->output, ends[1]);
    }
    close(ends[1]);
    q->from = ends[0];
    if (q->pid < 0)
        close(ends[0]);
    return q->pid > 0;
}

/* Reads what is there; done at its end. */
static void receive(asked *q)
{
    char buffer[4096];
    ssize_t n = read(q->from, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR)
        return;
    char *grown = n > 0 ? realloc(q->data, q->n + (size_t)n) : NULL;
    if (!grown) {
        q->done = true;
        return;
    }
    memcpy(grown + q->n, buffer, (size_t)n);
    q->data = grown;
    q->n += (size_t)n;
}

static void wait_for_all(asked *q, size_t n)
{
    double end = clock_seconds() + PROBE_SECONDS;
    struct pollfd *p = calloc(n, sizeof *p);
    for (size_t open = n; p && open;) {
        double left = end - clock_seconds();
        open = 0;
        for (size_t i = 0; i < n; i++) {
            p[i] = (struct pollfd){.fd = q[i].pid > 0 && !q[i].done ? q[i].from : -1, .events = POLLIN};
            open += p[i].fd >= 0;
        }
        if (left <= 0 || interrupted() || (open && poll(p, n, (int)(1e3 * left) + 1) < 0 && errno != EINTR))
            break;
        for (size_t i = 0; i < n; i++)
            if (p[i].fd >= 0 && p[i].revents)
                receive(&q[i]);
    }
    free(p);
}

int probe_end(pid_t pid, bool late)
{
    int status = -1;
    if (late)
        kill(pid, SIGKILL);
    for (int tries = 0; tries < 200; tries++) {
        pid_t done = waitpid(pid, &status, WNOHANG);
        if (done == pid)
            return status;
        if (done < 0 && errno != EINTR)
            return -1;
        if (tries == 100)
            kill(pid, SIGKILL);
        nanosleep(&(struct timespec){.tv_nsec = tries < 10 ? 1000000 : 10000000}, NULL);
    }
    return -1;
}

const char *probe_signal(int number)
{
    static const struct {
        int number;
        const char *name;
    } names[] = {{SIGABRT, "aborts (SIGABRT)"}, {SIGSEGV, "crashes (SIGSEGV)"},
                 {SIGBUS, "crashes (SIGBUS)"},  {SIGILL, "crashes (SIGILL: it has instructions that this CPU lacks)"},
                 {SIGFPE, "crashes (SIGFPE)"},  {SIGKILL, "is killed (SIGKILL: out of memory?)"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (names[i].number == number)
            return names[i].name;
    return "is ended by a signal";
}

static void understand(asked *q, probe *p)
{
    answer a;
    int status = probe_end(q->pid, !q->done);
    close(q->from);
    FILE *f = fopen(q->output, "r");
    char text[4 * sizeof p->said] = "";
    if (f) {
        size_t n = fread(text, 1, sizeof text - 1, f);
        text[n] = 0;
        fclose(f);
        text_clean(n < sizeof p->said ? text : text + n - sizeof p->said + 1, p->said, sizeof p->said);
    }
    if (q->n >= sizeof a) {
        memcpy(&a, q->data, sizeof a);
        if (q->n == sizeof a + a.n * sizeof *p->devices) {
            p->platforms = a.platforms;
            p->devices = malloc(a.n * sizeof *p->devices + 1);
            p->n = p->devices ? a.n : 0;
            if (p->devices)
                memcpy(p->devices, q->data + sizeof a, a.n * sizeof *p->devices);
            snprintf(p->error, sizeof p->error, "%s", a.e.text);
            memcpy(p->warnings, a.warnings, sizeof p->warnings);
            memcpy(p->loader, a.loader, sizeof p->loader);
            memcpy(p->load, a.load, sizeof p->load);
            return;
        }
    }
    if (!q->done)
        snprintf(p->bad, sizeof p->bad, "hangs (no answer in %d s)", PROBE_SECONDS);
    else if (status >= 0 && WIFSIGNALED(status))
        snprintf(p->bad, sizeof p->bad, "%s", probe_signal(WTERMSIG(status)));
    else if (status >= 0 && WIFEXITED(status))
        snprintf(p->bad, sizeof p->bad, "ends the program (exit status %d)", WEXITSTATUS(status));
    else
        snprintf(p->bad, sizeof p->bad, "doesn't answer");
}

bool probe_drivers(const driver_list *l, probe **out, err *e)
{
    char base[200];
    size_t n = l->n;
    probe *p = calloc(n + 1, sizeof *p);
    asked *q = calloc(n + 1, sizeof *q);
    bool ok = p && q ? true : err_no_memory(e, "drivers", n * (sizeof *p + sizeof *q));
    ok = ok && (probe_new_folder(base) || err_set(e, ERR_FAILED, "%s: %s (set TMPDIR)", base, strerror(errno)));
    struct sigaction before[2]; /* Ctrl-C ends the asking, and leaves neither folders nor processes behind */
    sigaction(SIGINT, NULL, &before[0]);
    sigaction(SIGTERM, NULL, &before[1]);
    interrupt_catch();
    fflush(NULL);
    for (size_t i = 0; ok && i < n; i++)
        if (*l->files[i].library && !start(&q[i], base, &l->files[i], i))
            q[i].pid = 0; /* then it isn't asked: there may be no room for another process */
    if (ok)
        wait_for_all(q, n);
    for (size_t i = 0; ok && i < n; i++) {
        p[i].asked = q[i].pid > 0;
        if (p[i].asked)
            understand(&q[i], &p[i]);
        unlink(q[i].file);
        unlink(q[i].output);
        rmdir(q[i].folder);
        free(q[i].data);
    }
    if (ok)
        rmdir(base);
    free(q);
    ok = ok && interrupt_check(e);
    if (!interrupted()) {
        sigaction(SIGINT, &before[0], NULL);
        sigaction(SIGTERM, &before[1], NULL);
    }
    if (!ok) {
        probe_free(p, n);
        p = NULL;
    }
    *out = p;
    return ok;
}

void probe_free(probe *p, size_t n)
{
    for (size_t i = 0; p && i < n; i++)
        free(p[i].devices);
    free(p);
}
