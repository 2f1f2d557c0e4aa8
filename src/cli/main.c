/* The program: finds the command, parses its options by the table, and runs it. */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "cli/commands.h"
#include "cli/guard.h"
#include "cli/help.h"
#include "cli/launcher.h"
#include "cli/terminal.h"
#include "device/flight.h"

static log_level verbosity(const options *o)
{
    int verbose = options_position(o, "verbose"), quiet = options_position(o, "quiet");
    return quiet > verbose ? LOG_ERROR : verbose > quiet ? LOG_DEBUG : LOG_WARNING;
}

/* Several processes are one run, where the command can share its work out to them; else they would all do the same, and
 * write over each other's files. */
static bool join(const command *c, err *e)
{
    int n = launcher_processes();
    if (n > 1 && !c->ranks)
        return err_set(e, ERR_USAGE, "limn %s: it works in one process, and %d were started (start it without mpirun)",
                       c->name, n);
    return launcher_join(e);
}

static int run(int argc, char **argv)
{
    err e = {0};
    options o = {0};
    int code, words, word = options_find_command(argc, argv);
    if (argc < 2) {
        help_overview(stderr);
        return ERR_USAGE;
    }
    /* without a command, --help and --version are all that makes sense */
    static const command none = {.name = "COMMAND"};
    const command *c = word ? command_find((const char *const *)argv + word, argc - word, true, &words, &e) : &none;
    const char *stray = c ? NULL : options_stray(argv, word);
    if (stray) {
        e = (err){0};
        err_set(&e, ERR_USAGE,
                "%.60s: the command comes before its options (limn generate \"a cat\" -o cat.png; limn help lists the "
                "commands)",
                stray);
    }
    if (!c || !options_parse(&o, c, argc, argv, word ? word : -1, &e)) {
        code = report(&e);
    } else if (options_given(&o, "version")) {
        code = command_version(&o);
    } else if (options_given(&o, "help")) {
        if (word)
            help_command(stdout, c);
        else
            help_overview(stdout);
        code = 0;
    } else if (!word) {
        say(LOG_ERROR, "the command is missing (limn help lists the commands)");
        code = ERR_USAGE;
    } else if (!c->run) {
        say(LOG_ERROR, "limn %s: its second word is missing (limn %s --help lists what can follow)", c->name, c->name);
        code = ERR_USAGE;
    } else if (!join(c, &e)) {
        code = report(&e);
    } else {
        terminal_start(verbosity(&o));
        code = c->run(&o);
    }
    options_release(&o);
    return code;
}

int main(int argc, char **argv)
{
    int code = run(argc, os_start(argc, argv));
    /* A full disk shows only when the buffer is written. */
    errno = 0;
    bool written = fflush(stdout) == 0 && !ferror(stdout);
    if (!written && errno == EPIPE) { /* the reader had enough, which is no fault to speak of */
        launcher_leave(code);
        os_end_unread();
    }
    if (!written && code == 0) {
        say(LOG_ERROR, "standard output: %s", errno ? strerror(errno) : "write failed");
        code = ERR_FAILED;
    }
    launcher_leave(code);
    if (device_any_lost()) { /* drivers' own ends may never come */
        file_out_abandon();
        _exit(code);
    }
    guard_end(code);
    return code;
}
