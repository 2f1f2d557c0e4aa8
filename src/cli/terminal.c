/* Messages and progress on stderr, interrupts, and helpers for results on stdout. */
#include "cli/terminal.h"

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/os.h"
#include "base/ranks.h"
#include "cli/wording.h"

static log_level shown = LOG_WARNING;
static double began;       /* when the command did */
static bool muted;         /* the library */
static char who[32];       /* "rank 1: " where there are several processes */
static bool line_open;     /* a progress line is on the screen */
static bool progress_open; /* work within work (the decoding of a preview) draws none of its own */
static volatile sig_atomic_t signalled;
static FILE *messages; /* stderr, also while drivers are kept from it */

/* ---- messages ------------------------------------------------------------------------------------------------ */

void terminal_messages(FILE *stream)
{
    messages = stream;
}

static FILE *screen(void)
{
    return messages ? messages : stderr;
}

static void clear_line(void)
{
    if (line_open)
        fputs("\r\033[K", screen());
    line_open = false;
}

/* In one piece, since other processes may write to it too. */
static void put_message(const char *text)
{
    char *here = worded(text);
    clear_line();
    fprintf(screen(), "limn: %s%s\n", who, here ? here : text);
    free(here);
}

static void sink(void *context, int level, const char *line)
{
    (void)context;
    if (level > (int)shown || muted)
        return;
    put_message(line);
}

void terminal_mute(bool on)
{
    muted = on;
}

/* Ends the program by the signal, without leaving files that are half written. */
static void on_deadly_signal(int number)
{
    file_out_abandon();
    signal(number, SIG_DFL);
    raise(number);
}

void terminal_start(log_level most)
{
    os_catch_ends(on_deadly_signal);
    shown = most;
    began = clock_seconds();
    os_writes_fail(); /* whoever reads the messages may stop early: the work goes on */
    if (ranks_size() > 1)
        snprintf(who, sizeof who, "rank %d: ", ranks_rank());
    limn_set_log(sink, NULL);
}

void say(log_level level, const char *fmt, ...)
{
    if (level > shown)
        return;
    va_list ap;
    char text[4096];
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    put_message(text);
}

/* The words after "wrote NAMES:". */
static void say_results(const char *names, uint64_t bytes, const char *detail, va_list ap)
{
    char text[512] = "", size[40] = "", one[32], time[32];
    if (ranks_rank() > 0)
        return;
    if (detail)
        vsnprintf(text, sizeof text, detail, ap);
    if (bytes > 0)
        snprintf(size, sizeof size, "%s, ", size_text(bytes, one));
    say(LOG_WARNING, "wrote %s: %s%s%s%s", names, text, *text ? ", " : "", size,
        duration_text(clock_seconds() - began, time));
}

void say_wrote(const char *path, const char *detail, ...)
{
    struct stat st;
    bool file = stat(path, &st) == 0 && S_ISREG(st.st_mode);
    va_list ap;
    va_start(ap, detail);
    say_results(strcmp(path, "-") == 0 ? "to standard output" : path, file ? (uint64_t)st.st_size : 0, detail, ap);
    va_end(ap);
}

void say_wrote_files(const char *names, uint64_t bytes, const char *detail, ...)
{
    va_list ap;
    va_start(ap, detail);
    say_results(names, bytes, detail, ap);
    va_end(ap);
}

int report(const err *e)
{
    say(LOG_ERROR, "%s", e->text[0] ? e->text : "failed for a reason that was not given (please report this)");
    return e->code ? e->code : ERR_FAILED;
}

/* ---- interrupts ---------------------------------------------------------------------------------------------- */

static void on_signal(int number)
{
    signalled = number;
    signal(number, on_deadly_signal); /* where a driver hangs, the second Ctrl-C still ends the program */
}

void interrupt_catch(void)
{
    os_catch(SIGINT, on_signal);
    os_catch(SIGTERM, on_signal);
}

bool interrupted(void)
{
    return signalled != 0;
}

bool interrupt_check(err *e)
{
    return signalled ? err_set(e, ERR_FAILED, "interrupted: no result was written") : true;
}

/* ---- progress ------------------------------------------------------------------------------------------------ */

/* "generate  43%  120 codes/s  0:05 left", as much of it as fits: the last column stays free, since some terminals go
 * to the next line from there. */
static void put_line(const progress *p, int percent, const char *rate, const char *left)
{
    const char *forms[4][3] = {{p->what, rate, left}, {p->what, "", left}, {p->what, "", ""}, {"", "", ""}};
    int columns = os_terminal_columns(), width = (columns > 0 ? columns : 80) - 1;
    for (int i = 0; i < 4; i++) {
        char line[256];
        int n = snprintf(line, sizeof line, "%s%s%d%%%s%s", forms[i][0], *forms[i][0] ? "  " : "", percent, forms[i][1],
                         forms[i][2]);
        if (n <= width) {
            fprintf(screen(), "\r%s\033[K", line);
            fflush(screen());
            line_open = true;
            return;
        }
    }
}

void progress_begin(progress *p, const char *what, const char *unit)
{
    *p = (progress){.what = what, .unit = unit, .started = clock_seconds(), .owner = !progress_open};
    p->drawn = p->started; /* work that is done in no time draws nothing */
    p->visible = p->owner && shown >= LOG_WARNING && ranks_rank() == 0 && os_terminal_redraws();
    progress_open = true;
}

void progress_from(progress *p, int64_t done)
{
    p->started = clock_seconds();
    p->already = done;
}

void progress_update(progress *p, int64_t done, int64_t total)
{
    double t = clock_seconds(), rate = t > p->started ? (double)(done - p->already) / (t - p->started) : 0;
    if (!p->visible || total <= 0 || t - p->drawn < 0.1)
        return;
    char speed[64], left[32] = "";
    if (rate > 0) {
        long s = lround((double)(total - done) / rate);
        if (s >= 3600)
            snprintf(left, sizeof left, "  %ld:%02ld:%02ld left", s / 3600, s / 60 % 60, s % 60);
        else
            snprintf(left, sizeof left, "  %ld:%02ld left", s / 60, s % 60);
    }
    snprintf(speed, sizeof speed, "  %.*f %s/s", rate < 10 ? 1 : 0, rate, p->unit);
    if (os_terminal_redraws())
        put_line(p, (int)(100 * done / total), speed, left);
    p->drawn = t;
}

void progress_end(progress *p)
{
    if (!p->owner)
        return;
    progress_open = false;
    clear_line();
    *p = (progress){0};
}

/* ---- results ------------------------------------------------------------------------------------------------- */

const char *duration_text(double seconds, char out[32])
{
    long s = lround(seconds), m = lround(seconds / 60);
    if (seconds < 59.95)
        snprintf(out, 32, "%.1f s", seconds);
    else if (s < 3600)
        snprintf(out, 32, "%ld:%02ld min", s / 60, s % 60);
    else
        snprintf(out, 32, "%ld:%02ld h", m / 60, m % 60);
    return out;
}

const char *size_text(uint64_t bytes, char out[32])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double v = (double)bytes;
    int u = 0;
    while (v >= 1024 && u < 4) {
        v /= 1024;
        u++;
    }
    snprintf(out, 32, v == floor(v) || v >= 100 ? "%.0f %s" : "%.1f %s", v, units[u]);
    return out;
}

void print_clean(const char *text)
{
    for (const unsigned char *c = (const unsigned char *)text; *c; c++)
        putchar((*c < 0x20 && *c != '\n') || *c == 0x7f ? '?' : *c);
}

void print_json(json_t *value)
{
    json_dumpf(value, stdout, JSON_INDENT(2));
    putchar('\n');
    json_decref(value);
}

void print_said(const char *text)
{
    char *here = worded(text);
    print_clean(here ? here : text);
    free(here);
}

json_t *json_said(const char *text)
{
    char *here = worded(text);
    json_t *value = json_text(here ? here : text);
    free(here);
    return value;
}

json_t *json_text(const char *text)
{
    json_t *value = json_string(text);
    char *ascii = value ? NULL : strdup(text);
    if (!ascii)
        return value ? value : json_null();
    for (char *c = ascii; *c; c++) {
        if (*c & 0x80)
            *c = '?';
    }
    value = json_string(ascii);
    free(ascii);
    return value;
}

json_t *json_finite(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}
