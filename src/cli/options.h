/* The command line: tables of commands and options, and the parser that they drive.  The same tables make the help,
 * the man page and the completions, so an option is described once. */
#ifndef CLI_OPTIONS_H
#define CLI_OPTIONS_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/number.h"

typedef enum option_kind {
    OPTION_FLAG, /* takes no value */
    OPTION_TEXT,
    OPTION_INTEGER, /* min..max */
    OPTION_SEED,    /* 0..2^64-1; with min = -1 also -1 or "random" */
    OPTION_NUMBER,  /* min..max */
    OPTION_SIZE,    /* bytes, or with a suffix of powers of 1024: 512M, 2G, 2gib */
    OPTION_CHOICE,  /* one of `words`, typed in any case; the value is the word as it stands there */
    OPTION_LIST,    /* text; where it is repeated all of them count (elsewhere the last wins) */
} option_kind;

/* BENCH: the names that limn bench --list prints. */
typedef enum completion { COMPLETE_NONE, COMPLETE_FILE, COMPLETE_COMMAND, COMPLETE_BENCH } completion;

typedef struct option {
    const char *name;     /* without the dashes; NULL ends a table */
    const char *argument; /* what help calls the value; NULL for a flag */
    const char *help;
    const char *words; /* "f32|f16": the values of a choice, and what completion offers */
    double min, max;
    option_kind kind;
    completion complete;
    char letter; /* of the short form, or 0 */
    bool required;
    int either; /* neighbours with the same number other than 0: exactly one of them must be given */
} option;

typedef struct options options;

typedef struct command {
    const char *name; /* of one word, or two, "train tokenizer"; NULL ends the table */
    const char *summary;
    const char *operands;      /* "PROMPT", "IMG..."; NULL where the command takes none */
    const char *operands_hint; /* for usage errors: "quote a prompt of several words" */
    const char *description;   /* paragraphs, each one line that ends in a newline */
    const char *example;       /* lines of a shell */
    const option *options;
    int (*run)(const options *o); /* returns the exit code; NULL: a group, the first word of the commands after it */
    int min_operands, max_operands;
    completion complete; /* of the operands */
    bool ranks;          /* works in several processes (base/ranks.h) */
} command;

/* The last entry of a command's options. */
#define OPTIONS_END                                                                                                    \
    {                                                                                                                  \
        .name = NULL                                                                                                   \
    }

extern const command command_table[];
extern const option common_options[]; /* valid for every command */

typedef struct given_option {
    const option *option;
    const char *value; /* NULL for a flag */
    char word[24];     /* of a choice */
} given_option;

/* One parsed command line.  Strings are those of argv, or in `given`. */
struct options {
    const command *command;
    const char **operands;
    int n_operands;
    given_option *given; /* in order */
    int n_given;
};

/* Index in argv of the command's word, 0 where there is none; common options may stand before it. */
int options_find_command(int argc, char **argv);
/* The first of argv[1..word) that is none of the common options, which alone may stand before the command; or NULL. */
const char *options_stray(char **argv, int word);
/* The command that words[0..n) begin with, n > 0, and how many of them its name takes; a group where a second word is
 * missing.  NULL with what was likely meant in the message; where the words are the program's first, that may be a
 * prompt. */
const command *command_find(const char *const *words, int n, bool first, int *used, err *e);
/* Whether c is a command of the group. */
bool command_is_in(const command *c, const command *group);

/* Parses all of argv but argv[0] and, from argv[skip] on, the command's words.  Stops without an error at --help or
 * --version. Errors have code ERR_USAGE. */
bool options_parse(options *o, const command *c, int argc, char **argv, int skip, err *e);
void options_release(options *o);

/* The value given last, or the fallback.  A name that is in neither table is a programmer's error. */
bool options_given(const options *o, const char *name);
const char *options_text(const options *o, const char *name, const char *fallback);
int64_t options_integer(const options *o, const char *name, int64_t fallback);
bool options_random(const options *o, const char *name); /* whether a seed was given as random */
uint64_t options_unsigned(const options *o, const char *name, uint64_t fallback); /* seeds and sizes */
double options_number(const options *o, const char *name, double fallback);
/* The i-th value of a list, or NULL after the last. */
const char *options_list(const options *o, const char *name, int i);
/* Position of the last occurrence, -1 where there is none: tells which of two options came later. */
int options_position(const options *o, const char *name);

/* The whole of text as a number; false where it is none, or not in range. */
bool parse_integer(const char *text, int64_t *value);
#endif
