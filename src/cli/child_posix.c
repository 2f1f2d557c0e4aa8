/* Child processes for work with drivers, which hang and crash. */
#include "cli/child.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/probe_internal.h"
#include "cli/terminal.h"

struct child {
    FILE *out;
};

void child_tell(child *c, json_t *value)
{
    if (value && json_dumpf(value, c->out, JSON_COMPACT) == 0)
        fputc('\n', c->out);
    fflush(c->out);
    json_decref(value);
}

/* The last line of a child: its error, if any.  Other processes may have the pipe's end still. */
static void tell_end(child *c, const err *e)
{
    json_t *end = json_object();
    json_object_set_new(end, "child_ended", json_integer(e->code));
    json_object_set_new(end, "why", json_text(e->text));
    child_tell(c, end);
}

static _Noreturn void be_child(child_work *work, void *context, int to, FILE *said)
{
    err e = {0};
    child c = {.out = fdopen(to, "w")};
    if (said) {
        dup2(fileno(said), STDOUT_FILENO);
        dup2(fileno(said), STDERR_FILENO);
    }
    if (c.out) {
        work(&c, context, &e);
        fflush(stdout);
        tell_end(&c, &e);
    }
    file_out_abandon(); /* and folders of drivers */
    _exit(0);           /* drivers may crash in their own ends */
}

typedef struct listener {
    child_heard *heard;
    void *hearer;
    char *text; /* of a line that isn't whole yet */
    size_t n;
    bool ended;
    err *e; /* of the work */
} listener;

/* The lines that are whole. */
static void hear_lines(listener *l)
{
    char *line = l->text, *end;
    while (!l->ended && (end = memchr(line, '\n', l->n - (size_t)(line - l->text)))) {
        json_t *value = json_loadb(line, (size_t)(end - line), 0, NULL);
        const json_t *code = json_object_get(value, "child_ended");
        if (code) {
            l->ended = true;
            if (json_integer_value(code))
                err_set(l->e, (err_code)json_integer_value(code), "%s",
                        json_string_value(json_object_get(value, "why")));
        } else if (value) {
            l->heard(l->hearer, value);
        }
        json_decref(value);
        line = end + 1;
    }
    l->n -= (size_t)(line - l->text);
    memmove(l->text, line, l->n);
}

/* Reads until the work's end, or that of the child or of its time; late: of the last. */
static void hear_all(listener *l, int from, double end, bool *late)
{
    char buffer[4096];
    while (!l->ended) {
        double left = end - clock_seconds();
        struct pollfd p = {.fd = from, .events = POLLIN};
        if (left <= 0 || interrupted()) {
            *late = !interrupted();
            return;
        }
        if (poll(&p, 1, (int)ceil(1e3 * fmin(left, 1))) <= 0)
            continue;
        ssize_t got = read(from, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR)
            continue;
        char *grown = got > 0 ? realloc(l->text, l->n + (size_t)got) : NULL;
        if (!grown)
            return;
        memcpy(grown + l->n, buffer, (size_t)got);
        l->text = grown;
        l->n += (size_t)got;
        hear_lines(l);
    }
}

/* The end of what the child printed. */
static void read_said(FILE *said, char out[CHILD_SAID])
{
    char text[CHILD_SAID] = "";
    out[0] = 0;
    if (!said || fseek(said, 0, SEEK_END) != 0)
        return;
    long size = ftell(said);
    if (fseek(said, size > CHILD_SAID - 1 ? size - (CHILD_SAID - 1) : 0, SEEK_SET) == 0)
        text[fread(text, 1, CHILD_SAID - 1, said)] = 0;
    memcpy(out, text, CHILD_SAID);
    for (size_t n = strlen(out); n > 0 && strchr("\n\r\t ", out[n - 1]);)
        out[--n] = 0;
}

/* said: its last line is the program's own, where that ended it. */
static bool judge(const listener *l, int status, bool late, double limit, const char *said, err *e)
{
    const char *line = strrchr(said, '\n');
    line = line ? line + 1 : said;
    if (!l->ended && interrupted())
        return interrupt_check(e);
    if (!l->ended && late)
        return err_set(e, ERR_FAILED, "hung, or was too slow: it wasn't done in %.0f s", limit);
    if (!l->ended && status >= 0 && WIFSIGNALED(status))
        return err_set(e, ERR_FAILED, "%s", probe_signal(WTERMSIG(status)));
    if (!l->ended)
        return err_set(e, ERR_FAILED, "ended before it was done, with exit status %d: %s",
                       status >= 0 && WIFEXITED(status) ? WEXITSTATUS(status) : -1, *line ? line : "nothing was said");
    return e->code == ERR_NONE;
}

bool child_run(child_work *work, void *context, double limit, child_heard *heard, void *hearer, char said[CHILD_SAID],
               err *e)
{
    int ends[2];
    bool late = false;
    listener l = {.heard = heard, .hearer = hearer, .e = e};
    FILE *printed = tmpfile();
    said[0] = 0;
    fflush(NULL);
    pid_t pid = pipe(ends) ? -1 : fork();
    if (pid < 0) {
        if (printed)
            fclose(printed);
        return err_set(e, ERR_FAILED, "no process for it: %s", strerror(errno));
    }
    if (pid == 0) {
        close(ends[0]);
        be_child(work, context, ends[1], printed);
    }
    close(ends[1]);
    hear_all(&l, ends[0], clock_seconds() + limit, &late);
    close(ends[0]);
    int status = probe_end(pid, late || interrupted());
    read_said(printed, said);
    if (printed)
        fclose(printed);
    free(l.text);
    return judge(&l, status, late, limit, said, e);
}

/* ---- an answer ---- */

/* Reads all of it, by `end`. */
static bool receive(int from, double end, char *to, size_t bytes, bool *late)
{
    size_t done = 0;
    while (done < bytes) {
        double left = end - clock_seconds();
        struct pollfd p = {.fd = from, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)ceil(1e3 * fmin(left, 1))) : 0;
        if (left <= 0 || interrupted()) {
            *late = !interrupted();
            return false;
        }
        if (ready <= 0)
            continue;
        ssize_t n = read(from, to + done, bytes - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

static _Noreturn void answer(child_answers *work, const void *context, size_t bytes, int to)
{
    void *said = calloc(1, bytes);
    if (said)
        work(context, said);
    ssize_t n = said ? write(to, said, bytes) : 0;
    _exit(n != (ssize_t)bytes); /* drivers may crash in their own ends */
}

bool child_answer(child_answers *work, const void *context, double limit, void *out, size_t bytes, err *e)
{
    int ends[2], status = 0;
    bool late = false;
    fflush(NULL);
    pid_t pid = pipe(ends) ? -1 : fork();
    if (pid < 0)
        return err_set(e, ERR_FAILED, "no process for it: %s", strerror(errno));
    if (pid == 0) {
        close(ends[0]);
        answer(work, context, bytes, ends[1]);
    }
    close(ends[1]);
    bool ok = receive(ends[0], clock_seconds() + limit, out, bytes, &late);
    close(ends[0]);
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ok && interrupted())
        return interrupt_check(e);
    if (!ok && late)
        return err_set(e, ERR_FAILED, "hung: no result in %.0f s", limit);
    if (!ok)
        return err_set(e, ERR_FAILED, "crashed%s%s", WIFSIGNALED(status) ? ": " : "",
                       WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "");
    return true;
}
