/* limn help, --help and the manual page, made from the command table. */
#include "cli/help.h"

#include <string.h>
#include <utf8proc.h>

#include "cli/commands.h"
#include "cli/terminal.h"

static const char about[] =
    "limn turns text into pictures with models of the DALL-E family, on any OpenCL device: graphics cards of every "
    "maker, integrated graphics, CPUs. A small model is built in.";

typedef struct definition {
    const char *term, *text;
} definition;

static const definition exit_codes[] = {
    {"0", "Done."},        {"1", "Failed while it ran: a file, memory, the driver, or an interrupt."},
    {"2", "Wrong usage."}, {"3", "No usable OpenCL device."},
    {NULL, NULL},
};

static const definition environment[] = {
    {"LIMN_DEVICE", "The device to use where --device is not given."},
    {"LIMN_CACHE_DIR", "Directory of the compiled kernels and of measurements. Default: limn in XDG_CACHE_HOME, else "
                       "~/.cache/limn."},
    {NULL, NULL},
};

/* ---- text -------------------------------------------------------------------------------------------------------- */

enum { WIDTH = 80, COLUMN = 30 };

/* Words of text from `column` on, broken at WIDTH, continued at `indent`; ends the line. */
static void put_wrapped(FILE *f, const char *text, int column, int indent)
{
    bool first = true;
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (!first && column + 1 + n > WIDTH) {
            fprintf(f, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
        column += fprintf(f, "%s%.*s", first ? "" : " ", n, text);
        first = false;
        text += n;
        text += strspn(text, " ");
        if (*text == '\n') {
            text++;
            if (*text)
                fprintf(f, "\n%*s", indent, "");
            column = indent;
            first = true;
        }
    }
    fputc('\n', f);
}

/* "[-n N]", "-o OUT.png", "(--text T | --text-ids FILE.npy)"; *skip where the next option is part of it. */
static void usage_of(const option *o, char *out, size_t size, bool *skip)
{
    char one[2][96];
    *skip = o->either && o[1].name && o[1].either == o->either;
    for (int i = 0; i <= *skip; i++) {
        const char letter[] = {o[i].letter, '\0'};
        snprintf(one[i], sizeof one[i], "%s%s%s%s", o[i].letter ? "-" : "--", o[i].letter ? letter : o[i].name,
                 o[i].argument ? " " : "", o[i].argument ? o[i].argument : "");
    }
    if (*skip)
        snprintf(out, size, "(%s | %s)", one[0], one[1]);
    else
        snprintf(out, size, o->required ? "%s" : "[%s]", one[0]);
}

static void put_usage(FILE *f, const command *c)
{
    int indent = fprintf(f, "usage: limn %s", c->name), column = indent;
    if (c->operands)
        column += fprintf(f, " %s", c->operands);
    for (const option *o = c->options; o && o->name; o++) {
        char text[224];
        bool skip;
        usage_of(o, text, sizeof text, &skip);
        if (column + 1 + (int)strlen(text) > WIDTH)
            column = fprintf(f, "\n%*s", indent, "") - 1;
        column += fprintf(f, " %s", text);
        o += skip;
    }
    fputc('\n', f);
}

/* The first sentence of text, in out. */
static const char *first_sentence(const char *text, char out[256])
{
    size_t n = 0;
    while (text[n] && n < 255 && !(n > 0 && text[n - 1] == '.' && text[n] == ' '))
        n++;
    snprintf(out, 256, "%.*s", (int)n, text);
    return out;
}

/* shortly: the first sentence of each alone. */
static void put_options(FILE *f, const option *o, bool shortly)
{
    char sentence[256];
    for (; o && o->name; o++) {
        int column = o->letter ? fprintf(f, "  -%c, --%s", o->letter, o->name) : fprintf(f, "      --%s", o->name);
        if (o->argument)
            column += fprintf(f, " %s", o->argument);
        if (column + 2 > COLUMN) {
            fputc('\n', f);
            column = 0;
        }
        fprintf(f, "%*s", COLUMN - column, "");
        put_wrapped(f, shortly ? first_sentence(o->help, sentence) : o->help, COLUMN, COLUMN);
    }
}

static void put_indented(FILE *f, const char *lines)
{
    while (*lines) {
        int n = (int)strcspn(lines, "\n");
        fprintf(f, "  %.*s\n", n, lines);
        lines += n + (lines[n] == '\n');
    }
}

static void put_definitions(FILE *f, const definition *d, int column)
{
    for (; d->term; d++) {
        int n = fprintf(f, "  %s", d->term);
        fprintf(f, "%*s", column - n, "");
        put_wrapped(f, d->text, column, column);
    }
}

/* The commands, or those of a group. */
static void put_commands(FILE *f, const command *group)
{
    fputs("\ncommands:\n", f);
    for (const command *c = command_table; c->name; c++) {
        if (c->run && (!group || command_is_in(c, group)))
            fprintf(f, "  %-17s%s\n", c->name, c->summary);
    }
}

void help_command(FILE *f, const command *c)
{
    put_usage(f, c);
    fputc('\n', f);
    put_wrapped(f, c->description, 0, 0);
    if (!c->run)
        put_commands(f, c);
    if (c->example) {
        fputs("\nexamples:\n", f);
        put_indented(f, c->example);
    }
    if (c->options && c->options->name)
        fputs("\noptions:\n", f);
    put_options(f, c->options, false);
    if (c->run) {
        fputs("\ncommon options (limn help says more of them):\n", f);
        put_options(f, common_options, true);
    } else {
        fprintf(f, "\nlimn %s COMMAND --help shows the options of a command.\n", c->name);
    }
}

void help_overview(FILE *f)
{
    fputs("usage: limn COMMAND [ARGUMENT]... [OPTION]...\n\n", f);
    put_wrapped(f, about, 0, 0);
    fputs("\nexamples:\n"
          "  limn generate \"a red apple\" -o apple.png  a picture, by the built-in model\n"
          "  limn devices                              what -d can choose from\n"
          "  limn convert FILE... -o model.gguf        a published model for -m\n"
          "  limn inspect model.gguf                   what a model is\n",
          f);
    put_commands(f, NULL);
    fputs("\ncommon options:\n", f);
    put_options(f, common_options, false);
    fputs("\nexit codes:\n", f);
    put_definitions(f, exit_codes, 6);
    fputs("\nenvironment:\n", f);
    put_definitions(f, environment, 18);
    fputs("\nlimn COMMAND --help shows the options of a command.\n", f);
}

/* ---- the manual page -----------------------------------------------------------------------------------------------
 */

/* n bytes of text with everything escaped that troff would read as its own, or in another encoding. */
static void put_troff(FILE *f, const char *text, size_t n)
{
    static const char from[] = "\\-'`^~", *const to[] = {"\\e", "\\-", "\\(aq", "\\(ga", "\\(ha", "\\(ti"};
    for (size_t i = 0; i < n; i++) {
        const char *special = strchr(from, text[i]);
        utf8proc_int32_t c;
        utf8proc_ssize_t k = utf8proc_iterate((const uint8_t *)text + i, (utf8proc_ssize_t)(n - i), &c);
        if (special && text[i]) {
            fputs(to[special - from], f);
        } else if (k > 1) {
            fprintf(f, "\\[u%04X]", (unsigned)c);
            i += (size_t)k - 1;
        } else {
            fputc(text[i], f);
        }
    }
}

/* Paragraphs, each a line.  Sentences begin on lines of their own, as troff wants them, and lines are kept short. */
static void put_paragraphs(FILE *f, const char *text)
{
    int column = 0;
    while (*text) {
        int n = (int)strcspn(text, " \n");
        if (column > 0 && column + 1 + n > WIDTH - 10) {
            fputc('\n', f);
            column = 0;
        }
        if (column > 0)
            fputc(' ', f);
        else if (*text == '.' || *text == '\'')
            fputs("\\&", f); /* else it would be a request */
        put_troff(f, text, (size_t)n);
        column += 1 + n;
        bool sentence = n > 0 && text[n - 1] == '.', paragraph = text[n] == '\n';
        text += n + (text[n] != '\0');
        if (sentence || paragraph || *text == '\0') {
            fputs(paragraph && *text ? "\n.PP\n" : "\n", f);
            column = 0;
        }
    }
}

static void put_option_name(FILE *f, const option *o)
{
    fputs("\\fB", f);
    if (o->letter)
        fprintf(f, "\\-%c\\fR, \\fB", o->letter);
    fputs("\\-\\-", f);
    put_troff(f, o->name, strlen(o->name));
    fputs("\\fR", f);
    if (o->argument) {
        fputs(" \\fI", f);
        put_troff(f, o->argument, strlen(o->argument));
        fputs("\\fR", f);
    }
    fputc('\n', f);
}

static void man_options(FILE *f, const option *o)
{
    for (; o && o->name; o++) {
        fputs(".TP\n", f);
        put_option_name(f, o);
        put_paragraphs(f, o->help);
    }
}

static void man_definitions(FILE *f, const char *title, const definition *d)
{
    fprintf(f, ".SH %s\n", title);
    for (; d->term; d++) {
        fputs(".TP\n.B ", f);
        put_troff(f, d->term, strlen(d->term));
        fputc('\n', f);
        put_paragraphs(f, d->text);
    }
}

static void man_example(FILE *f, const char *lines)
{
    fputs(".PP\n.nf\n.RS\n", f);
    while (*lines) {
        size_t n = strcspn(lines, "\n");
        put_troff(f, lines, n);
        fputc('\n', f);
        lines += n + (lines[n] == '\n');
    }
    fputs(".RE\n.fi\n", f);
}

static void man_command(FILE *f, const command *c)
{
    fprintf(f, ".SS \"limn %s\"\n", c->name);
    fprintf(f, "\\fBlimn %s\\fR", c->name);
    if (c->operands) {
        fputs(" \\fI", f);
        put_troff(f, c->operands, strlen(c->operands));
        fputs("\\fR", f);
    }
    for (const option *o = c->options; o && o->name; o++) {
        char text[224];
        bool skip;
        usage_of(o, text, sizeof text, &skip);
        fputc('\n', f);
        put_troff(f, text, strlen(text));
        o += skip;
    }
    fputs("\n.PP\n", f);
    put_paragraphs(f, c->description);
    man_options(f, c->options);
    if (c->example)
        man_example(f, c->example);
}

void help_man(FILE *f)
{
    fprintf(f, ".TH LIMN 1 2026-11-24 \"limn %s\" \"User Commands\"\n", limn_version());
    fputs(".SH NAME\nlimn \\- text to pictures with models of the DALL\\-E family, on any OpenCL device\n", f);
    fputs(".SH SYNOPSIS\n.B limn\n.I command\n.RI [ argument ]...\n.RI [ option ]...\n", f);
    fputs(".SH DESCRIPTION\n", f);
    put_paragraphs(f, about);
    fputs(".PP\n", f);
    put_paragraphs(f, "Options may stand before or after the arguments, as --name value or --name=value. Where an "
                      "option is repeated, the last counts. After -- everything is an argument.\n");
    fputs(".SH COMMANDS\n", f);
    for (const command *c = command_table; c->name; c++) {
        if (c->run)
            man_command(f, c);
    }
    fputs(".SH COMMON OPTIONS\nThese are valid for every command.\n", f);
    man_options(f, common_options);
    man_definitions(f, "EXIT STATUS", exit_codes);
    man_definitions(f, "ENVIRONMENT", environment);
}

/* ---- the commands
 * ---------------------------------------------------------------------------------------------------- */

int command_help(const options *o)
{
    err e = {0};
    const char *format = options_text(o, "format", "text");
    int used = 0;
    const command *c = o->n_operands ? command_find(o->operands, o->n_operands, false, &used, &e) : NULL;
    if (c && used < o->n_operands)
        err_set(&e, ERR_USAGE, "limn help: \"%.80s\" is one argument too many (limn help shows how to use it)",
                o->operands[used]);
    if (e.code)
        return report(&e);
    if (c && strcmp(format, "text") != 0) {
        err_set(&e, ERR_USAGE, "limn help: --format %s covers all commands (leave out %s)", format, c->name);
        return report(&e);
    }
    if (c)
        help_command(stdout, c);
    else if (strcmp(format, "man") == 0)
        help_man(stdout);
    else if (strcmp(format, "bash") == 0)
        completion_bash(stdout);
    else if (strcmp(format, "zsh") == 0)
        completion_zsh(stdout);
    else if (strcmp(format, "fish") == 0)
        completion_fish(stdout);
    else
        help_overview(stdout);
    return 0;
}

int command_version(const options *o)
{
    (void)o;
    printf("limn %s\n", limn_version());
    return 0;
}
