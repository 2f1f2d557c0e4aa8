/* What the program says on stderr (messages and the progress line), Ctrl-C, and results on stdout. */
#ifndef CLI_TERMINAL_H
#define CLI_TERMINAL_H
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/err.h"
#include "base/log.h"

/* Shows messages up to this level, the library's too. */
void terminal_start(log_level most);
/* Where messages and progress go from here on, in place of stderr. */
void terminal_messages(FILE *stream);
/* "limn: " and the message.  Notes to the user that are not warnings have LOG_WARNING's level too: -q drops them. */
void say(log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* From here on, or no more, the library's warnings and notes are dropped: they come again. */
void terminal_mute(bool on);
/* "limn: wrote PATH: DETAIL, 640 B, 0.8 s": what a command wrote, how large the file is by now, and the time since
 * the command began.  Every command ends so.  -q drops it, and of several processes the first alone says it.  detail is
 * a format, or NULL. */
void say_wrote(const char *path, const char *detail, ...) __attribute__((format(printf, 2, 3)));
/* The same of several files, "a-1.png to a-9.png" and their bytes together; 0 where that isn't known. */
void say_wrote_files(const char *names, uint64_t bytes, const char *detail, ...) __attribute__((format(printf, 3, 4)));
/* Prints the error; returns the exit code that it carries. */
int report(const err *e);

/* From here on the first Ctrl-C (or SIGTERM) is only noted, a second one ends the program. */
void interrupt_catch(void);
bool interrupted(void);
/* False with "interrupted" in e after a Ctrl-C. */
bool interrupt_check(err *e);

/* The line "generate  43%  120 codes/s  0:05 left", drawn only where stderr is a terminal and messages are shown. */
typedef struct progress {
    const char *what, *unit;
    double started, drawn;
    int64_t already; /* done when the clock started */
    bool visible, owner;
} progress;
void progress_begin(progress *p, const char *what, const char *unit);
/* The rate counts from here on, where `done` is done already. */
void progress_from(progress *p, int64_t done);
void progress_update(progress *p, int64_t done, int64_t total);
void progress_end(progress *p);

/* "0.8 s", "2:05 min", "1:30 h" */
const char *duration_text(double seconds, char out[32]);
/* "1.5 GiB" */
const char *size_text(uint64_t bytes, char out[32]);
/* Prints text from a file, with control characters (which could steer the terminal) as '?'; newlines are kept. */
void print_clean(const char *text);
/* The same of what the library says, whose settings are options here. */
void print_said(const char *text);
/* Prints a JSON value and releases it. */
void print_json(json_t *value);
/* JSON strings must be UTF-8 and numbers finite; what isn't becomes '?' characters and null. */
json_t *json_text(const char *text);
json_t *json_said(const char *text); /* of what the library says */
json_t *json_finite(double value);
#endif
