/* Parsing of the command line by the tables: forms, ranges, and usage errors that name what was likely meant. */
#include "cli/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "cli/hints.h"

/* ---- names --------------------------------------------------------------------------------------------------- */

static const option *find_in(const option *table, const char *name, size_t n)
{
    for (; table && table->name; table++) {
        if (strncmp(table->name, name, n) == 0 && table->name[n] == '\0')
            return table;
    }
    return NULL;
}

static const option *find_long(const command *c, const char *name, size_t n)
{
    const option *o = c ? find_in(c->options, name, n) : NULL;
    return o ? o : find_in(common_options, name, n);
}

static const option *find_short(const command *c, char letter)
{
    const option *tables[2] = {c ? c->options : NULL, common_options};
    for (int t = 0; t < 2; t++) {
        for (const option *o = tables[t]; o && o->name; o++) {
            if (o->letter == letter)
                return o;
        }
    }
    return NULL;
}

bool command_is_in(const command *c, const command *group)
{
    size_t n = strlen(group->name);
    return !group->run && strncmp(c->name, group->name, n) == 0 && c->name[n] == ' ';
}

static const command *find_command(const char *name)
{
    const command *c = command_table;
    while (c->name && strcmp(c->name, name) != 0)
        c++;
    return c->name ? c : NULL;
}

/* "a red apple": the words up to the first option, as they would stand in quotes. */
static void join_words(const char *const *words, int n, char out[128])
{
    size_t at = 0;
    out[0] = '\0';
    for (int i = 0; i < n && words[i][0] != '-' && at < 120; i++) {
        int k = snprintf(out + at, 128 - at, "%s%s", i ? " " : "", words[i]);
        at += (size_t)(k > 0 ? k : 0);
    }
    if (at >= 128)
        strcpy(out + 124, "...");
}

const command *command_find(const char *const *words, int n, bool first, int *used, err *e)
{
    char name[96], hint[HINT_SIZE], prompt[128];
    const command *found = find_command(words[0]), *group = found;
    *used = 1;
    if (found && (found->run || n < 2 || words[1][0] == '-'))
        return found;
    snprintf(name, sizeof name, "%.45s%s%.45s", words[0], group ? " " : "", group ? words[1] : "");
    found = group ? find_command(name) : NULL;
    if (found) {
        *used = 2;
        return found;
    }
    const char *dot = strrchr(words[0], '.');
    bool model = dot && (!strcmp(dot, ".gguf") || !strcmp(dot, ".safetensors") || !strcmp(dot, ".pt") ||
                         !strcmp(dot, ".pth") || !strcmp(dot, ".ckpt") || !strcmp(dot, ".bin"));
    join_words(words, n, prompt);
    if (*hint_command(group, words[group != NULL], hint))
        err_set(e, ERR_USAGE, "%s: no such command (%s%s limn help lists them)", name, hint,
                hint[strlen(hint) - 1] == '?' ? "" : ";");
    else if (first && !group && model)
        err_set(e, ERR_USAGE,
                "%s: a file is no command (limn inspect %s shows what it holds; limn generate \"a cat\" "
                "-m %s draws with it)",
                name, name, name);
    else if (first && !group)
        err_set(e, ERR_USAGE, "%s: no such command (to draw it: limn generate \"%s\"; limn help lists the commands)",
                name, prompt);
    else
        err_set(e, ERR_USAGE, "%s: no such command (limn help%s%s lists them)", name, group ? " " : "",
                group ? group->name : "");
    return NULL;
}

/* text: the argument without its dashes; the first n characters are the name. */
static bool unknown_option(const command *c, const char *dashes, const char *text, size_t n, err *e)
{
    char typed[64], hint[HINT_SIZE];
    bool words = strpbrk(text, " \t\n") && strcspn(text, " \t\n") < n; /* a prompt that begins with a dash */
    snprintf(typed, sizeof typed, "%.*s", (int)(n < 60 ? n : 60), text);
    hint_option(c, typed, hint);
    if (words && c->operands)
        return err_set(e, ERR_USAGE,
                       "%s%s: not an option of limn %s (put -- before a text that begins with a dash: "
                       "limn %s -- \"%s%s\")",
                       dashes, typed, c->name, c->name, dashes, typed);
    if (*hint)
        return err_set(e, ERR_USAGE, "%s%s: not an option of limn %s (%s%s limn %s --help lists them)", dashes, typed,
                       c->name, hint, hint[strlen(hint) - 1] == '?' ? "" : ";", c->name);
    return err_set(e, ERR_USAGE, "%s%s: not an option of limn %s (limn %s --help lists them%s)", dashes, typed, c->name,
                   c->name, dashes[1] == '\0' && c->operands ? "; -- ends the options" : "");
}

/* ---- values -------------------------------------------------------------------------------------------------- */

bool parse_integer(const char *text, int64_t *value)
{
    char *end;
    if (text[strspn(text, "0123456789+-")] != '\0' || *text == '\0')
        return false;
    errno = 0;
    long long v = strtoll(text, &end, 10);
    *value = v;
    return end != text && *end == '\0' && errno == 0;
}

static bool parse_unsigned(const char *text, uint64_t *value)
{
    if (text[strspn(text, "0123456789")] != '\0' || *text == '\0')
        return false;
    errno = 0;
    *value = strtoull(text, NULL, 10);
    return errno == 0;
}

/* 512M, 1.5G, 2GiB, 512 mb, 65536: powers of 1024 in any spelling; at least one byte. */
static bool parse_size(const char *text, uint64_t *value)
{
    char number[32];
    size_t n = strspn(text, "0123456789.");
    double v;
    if (n == 0 || n >= sizeof number)
        return false;
    memcpy(number, text, n);
    number[n] = '\0';
    if (!parse_number(number, &v))
        return false;
    static const char letters[] = "kmgt";
    const char *suffix = text + n + strspn(text + n, " ");
    const char *letter = *suffix ? strchr(letters, tolower((unsigned char)*suffix)) : NULL;
    if (letter) {
        v = ldexp(v, 10 * (int)(letter - letters + 1));
        suffix++;
        if (tolower((unsigned char)*suffix) == 'i' && tolower((unsigned char)suffix[1]) == 'b')
            suffix++;
    }
    if (tolower((unsigned char)*suffix) == 'b')
        suffix++;
    if (*suffix != '\0' || v < 1 || v >= 9e18)
        return false;
    *value = (uint64_t)v;
    return true;
}

/* "f32|f16", "F16" -> "f16", n = 3: the word of a choice that text is, in any case; NULL where it is none. */
static const char *find_word(const char *words, const char *text, size_t *n)
{
    for (const char *w = words; w && *text; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
        *n = strcspn(w, "|");
        if (strlen(text) == *n && strncasecmp(w, text, *n) == 0)
            return w;
    }
    return NULL;
}

/* The word that a value of a choice means: as it is, or as other programs spell types. */
static const char *choose(const char *words, const char *text, size_t *n)
{
    static const char *const others[][2] = {
        {"fp16", "f16"}, {"float16", "f16"}, {"half", "f16"},  {"fp32", "f32"}, {"float32", "f32"}, {"float", "f32"},
        {"full", "f32"}, {"q8", "q8_0"},     {"q8-0", "q8_0"}, {"q4", "q4_0"},  {"q4-0", "q4_0"},
    };
    const char *word = find_word(words, text, n);
    for (size_t i = 0; i < sizeof others / sizeof *others && !word; i++)
        word = strcasecmp(text, others[i][0]) == 0 ? find_word(words, others[i][1], n) : NULL;
    return word;
}

/* Whether it asks for a random seed. */
static bool is_random(const char *text)
{
    return strcmp(text, "-1") == 0 || strcasecmp(text, "random") == 0;
}

static bool check_value(const option *o, const char *text, err *e)
{
    int64_t i;
    uint64_t u;
    double d;
    size_t n;
    switch (o->kind) {
    case OPTION_INTEGER:
        if (!parse_integer(text, &i) || (double)i < o->min || (double)i > o->max)
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not possible (give a whole number from %.0f to %.0f)",
                           o->name, text, o->min, o->max);
        break;
    case OPTION_SEED:
        if (!parse_unsigned(text, &u) && !(o->min < 0 && is_random(text)))
            return err_set(e, ERR_USAGE,
                           "--%s: \"%.60s\" is not possible (give a whole number from 0 to %" PRIu64 "%s)", o->name,
                           text, UINT64_MAX, o->min < 0 ? ", or -1 for a random one" : "");
        break;
    case OPTION_NUMBER:
        if (!parse_number(text, &d) || d < o->min || d > o->max)
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not possible (give a number from %g to %g%s)", o->name,
                           text, o->min, o->max, strchr(text, ',') ? ", with a point" : "");
        break;
    case OPTION_SIZE:
        if (!parse_size(text, &u))
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not a size (give bytes, at least 1, or 512M, 1.5G)",
                           o->name, text);
        break;
    case OPTION_CHOICE:
        if (!choose(o->words, text, &n))
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not possible (give one of %s)", o->name, text, o->words);
        break;
    default:
        if (*text == '\0' && o->complete == COMPLETE_FILE)
            return err_set(e, ERR_USAGE, "--%s: the value is empty (give %s)", o->name, o->argument);
    }
    return true;
}

/* ---- parsing ------------------------------------------------------------------------------------------------- */

typedef struct parser {
    options *o;
    char **argv;
    int argc, next, skip, skip_end;
} parser;

static bool give(parser *p, const option *which, const char *value, err *e)
{
    if (value && !check_value(which, value, e))
        return false;
    if (value && which->complete == COMPLETE_FILE)
        os_use_slashes((char *)value); /* of argv */
    given_option *g = &p->o->given[p->o->n_given++];
    *g = (given_option){.option = which, .value = value};
    if (value && which->kind == OPTION_CHOICE) {
        size_t n;
        const char *word = choose(which->words, value, &n);
        if (n >= sizeof g->word)
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is too long", which->name, value);
        memcpy(g->word, word, n);
        g->value = g->word;
    }
    return true;
}

/* The next argument as the value of an option.  One that is an option itself was rather meant as that. */
static bool take_value(parser *p, const option *o, const char **value, err *e)
{
    if (p->next == p->skip)
        p->next = p->skip_end;
    const char *v = p->next < p->argc ? p->argv[p->next] : NULL;
    if (!v)
        return err_set(e, ERR_USAGE, "--%s: the value is missing (write --%s %s)", o->name, o->name, o->argument);
    size_t n = strcspn(v, "=");
    if (n > 2 && v[0] == '-' && v[1] == '-' && find_long(p->o->command, v + 2, n - 2))
        return err_set(e, ERR_USAGE,
                       "--%s: the value is missing before %s (write --%s %s, or --%s=%s to mean just that)", o->name, v,
                       o->name, o->argument, o->name, v);
    p->next++;
    *value = v;
    return true;
}

static bool parse_long(parser *p, const char *text, err *e)
{
    size_t n = strcspn(text, "=");
    const option *o = find_long(p->o->command, text, n);
    const char *value = text[n] == '=' ? text + n + 1 : NULL;
    if (!o)
        return unknown_option(p->o->command, "--", text, n, e);
    if (o->kind == OPTION_FLAG && value)
        return err_set(e, ERR_USAGE, "--%s: takes no value (write --%s alone)", o->name, o->name);
    if (o->kind != OPTION_FLAG && !value && !take_value(p, o, &value, e))
        return false;
    return give(p, o, value, e);
}

/* "dgpu" of -dgpu: a letter, and one of the words that its option knows. */
static bool is_word_behind(const command *c, const char *text)
{
    const option *o = find_short(c, *text);
    size_t n;
    return o && o->words && find_word(o->words, text + 1, &n);
}

/* -q, -qv, -n 9, -n9, -n=9; but "-n cat" in one argument is a prompt, or an option and its value that a shell's quotes
 * hold together, and -output a long option with a dash too few. */
static bool parse_short(parser *p, const char *text, err *e)
{
    const command *c = p->o->command;
    char name[64], hint[HINT_SIZE];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "="), text);
    if (isspace((unsigned char)text[1]))
        return err_set(e, ERR_USAGE, "\"-%.60s\": white space after -%c in one argument (%s%s)", text, *text,
                       c->operands ? "put -- before a text that begins with a dash; " : "",
                       "give an option and its value as two arguments");
    if (hint_is_option(c, name) && !is_word_behind(c, text))
        return err_set(e, ERR_USAGE, "-%s: not an option of limn %s (%s long names begin with two dashes)", name,
                       c->name, hint_option(c, name, hint));
    for (; *text; text++) {
        const option *o = find_short(p->o->command, *text);
        if (!o)
            return unknown_option(p->o->command, "-", text, strlen(text), e);
        if (o->kind != OPTION_FLAG) {
            const char *value = text[1] == '=' ? text + 2 : text + 1;
            if (text[1] == '\0' && !take_value(p, o, &value, e))
                return false;
            return give(p, o, value, e);
        }
        if (!give(p, o, NULL, e))
            return false;
    }
    return true;
}

/* "—seed" with the dash that text programs make of two. */
static bool check_dash(const command *c, const char *operand, err *e)
{
    const unsigned char *u = (const unsigned char *)operand;
    if (u[0] != 0xE2 || !((u[1] == 0x80 && u[2] >= 0x90 && u[2] <= 0x95) || (u[1] == 0x88 && u[2] == 0x92)))
        return true;
    size_t n = strcspn(operand + 3, "=");
    const option *o = n > 1 ? find_long(c, operand + 3, n) : NULL;
    return !o || err_set(e, ERR_USAGE, "%.60s: begins with a printer's dash (write --%s)", operand, o->name);
}

static bool check_operands(const options *o, err *e)
{
    const command *c = o->command;
    for (int i = 0; i < o->n_operands; i++)
        if (!check_dash(c, o->operands[i], e))
            return false;
    if (o->n_operands < c->min_operands)
        return err_set(e, ERR_USAGE, "limn %s: %s is missing (limn %s --help shows how to use it)", c->name,
                       c->operands, c->name);
    if (c->max_operands >= 0 && o->n_operands > c->max_operands)
        return err_set(e, ERR_USAGE, "limn %s: \"%.80s\" is one argument too many (%s)", c->name,
                       o->operands[c->max_operands],
                       c->operands_hint ? c->operands_hint : "limn help shows how to use it");
    return true;
}

/* Checks that required options are given, and exactly one of those that exclude each other. */
static bool check_required(const options *o, err *e)
{
    for (const option *t = o->command->options; t && t->name; t++) {
        if (t->required && !options_given(o, t->name))
            return err_set(e, ERR_USAGE, "limn %s: --%s is missing (add %s%s %s)", o->command->name, t->name,
                           t->letter ? "-" : "--", t->letter ? (char[]){t->letter, '\0'} : t->name, t->argument);
        if (!t->either || !t[1].name || t[1].either != t->either)
            continue;
        bool a = options_given(o, t->name), b = options_given(o, t[1].name);
        if (a == b)
            return err_set(e, ERR_USAGE, "limn %s: --%s and --%s: %s (give one of them)", o->command->name, t->name,
                           t[1].name, a ? "both are there" : "both are missing");
    }
    return true;
}

bool options_parse(options *o, const command *c, int argc, char **argv, int skip, err *e)
{
    *o = (options){.command = c};
    size_t most = 1; /* `-vvv` is three options in one argument */
    for (int i = 0; i < argc; i++)
        most += strlen(argv[i]) + 1;
    o->operands = calloc((size_t)argc + 1, sizeof *o->operands);
    o->given = calloc(most, sizeof *o->given);
    if (!o->operands || !o->given)
        return err_no_memory(e, "command line", most * sizeof *o->given);
    parser p = {.o = o, .argv = argv, .argc = argc, .next = 1, .skip = skip};
    p.skip_end = skip + (strchr(c->name, ' ') ? 2 : 1);
    bool more = true;
    while (p.next < argc) {
        if (p.next == skip) {
            p.next = p.skip_end;
            continue;
        }
        char *a = argv[p.next++];
        bool ok = true;
        if (more && strcmp(a, "--") == 0)
            more = false;
        else if (more && a[0] == '-' && a[1] == '-')
            ok = parse_long(&p, a + 2, e);
        else if (more && a[0] == '-' && a[1] != '\0' && !isdigit((unsigned char)a[1]) && a[1] != '.')
            ok = parse_short(&p, a + 1, e);
        else
            o->operands[o->n_operands++] = a;
        if (c->complete == COMPLETE_FILE && o->n_operands && o->operands[o->n_operands - 1] == a)
            os_use_slashes(a);
        if (!ok)
            return false;
        if (options_given(o, "help") || options_given(o, "version"))
            return true;
    }
    return check_operands(o, e) && check_required(o, e);
}

int options_find_command(int argc, char **argv)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (a[0] != '-')
            return i;
        const option *o = NULL;
        if (a[1] == '-') {
            o = find_in(common_options, a + 2, strlen(a + 2));
        } else {
            /* -d SPEC and -qd SPEC have their value in the next argument, -dSPEC has not */
            int k = 1;
            while (a[k] && (o = find_short(NULL, a[k])) && o->kind == OPTION_FLAG)
                k++;
            if (a[k] == '\0' || a[k + 1] != '\0')
                o = NULL;
        }
        if (o && o->kind != OPTION_FLAG)
            i++;
    }
    return 0;
}

const char *options_stray(char **argv, int word)
{
    for (int i = 1; i < word; i++) {
        const char *a = argv[i];
        if (a[0] == '-' && a[1] != '\0' &&
            !(a[1] == '-' ? find_in(common_options, a + 2, strcspn(a + 2, "=")) : find_short(NULL, a[1])))
            return a;
    }
    return NULL;
}

void options_release(options *o)
{
    free(o->operands);
    free(o->given);
    *o = (options){0};
}

/* ---- look-up ------------------------------------------------------------------------------------------------- */

int options_position(const options *o, const char *name)
{
    assert(find_long(o->command, name, strlen(name)));
    for (int i = o->n_given - 1; i >= 0; i--) {
        if (strcmp(o->given[i].option->name, name) == 0)
            return i;
    }
    return -1;
}

bool options_given(const options *o, const char *name)
{
    return options_position(o, name) >= 0;
}

const char *options_text(const options *o, const char *name, const char *fallback)
{
    int i = options_position(o, name);
    return i >= 0 ? o->given[i].value : fallback;
}

bool options_random(const options *o, const char *name)
{
    const char *text = options_text(o, name, NULL);
    return text && is_random(text);
}

int64_t options_integer(const options *o, const char *name, int64_t fallback)
{
    const char *text = options_text(o, name, NULL);
    if (text)
        parse_integer(text, &fallback);
    return fallback;
}

uint64_t options_unsigned(const options *o, const char *name, uint64_t fallback)
{
    int i = options_position(o, name);
    if (i >= 0 && o->given[i].option->kind == OPTION_SIZE)
        parse_size(o->given[i].value, &fallback);
    else if (i >= 0)
        parse_unsigned(o->given[i].value, &fallback);
    return fallback;
}

double options_number(const options *o, const char *name, double fallback)
{
    const char *text = options_text(o, name, NULL);
    if (text)
        parse_number(text, &fallback);
    return fallback;
}

const char *options_list(const options *o, const char *name, int i)
{
    for (int k = 0; k < o->n_given; k++) {
        if (strcmp(o->given[k].option->name, name) == 0 && i-- == 0)
            return o->given[k].value;
    }
    return NULL;
}
