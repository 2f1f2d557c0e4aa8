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

/* ---- names --------------------------------------------------------------------------------------------------- */

/* Edit distance with transpositions of neighbours (optimal string alignment); long words count as far away. */
static int distance(const char *a, const char *b)
{
    enum { LONGEST = 31 };
    int n = (int)strlen(a), m = (int)strlen(b), d[LONGEST + 1][LONGEST + 1];
    if (n > LONGEST || m > LONGEST)
        return LONGEST;
    for (int i = 0; i <= n; i++) {
        for (int j = 0; j <= m; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            best = d[i - 1][j] + 1 < best ? d[i - 1][j] + 1 : best;
            best = d[i][j - 1] + 1 < best ? d[i][j - 1] + 1 : best;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    }
    return d[n][m];
}

/* How far `name` is from what was typed; a beginning of it counts as near. */
static int unlikeness(const char *typed, const char *name)
{
    size_t n = strlen(typed);
    return n > 1 && strncmp(typed, name, n) == 0 ? 0 : distance(typed, name);
}

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

const command *command_find(const char *const *words, int n, int *used, err *e)
{
    const char *nearest = NULL;
    char name[96];
    int best = 1000;
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
    for (const command *c = command_table; c->name; c++) {
        if (group && !command_is_in(c, group))
            continue;
        int u = unlikeness(name, c->name);
        if (u < best) {
            best = u;
            nearest = c->name;
        }
    }
    err_set(e, ERR_USAGE, "%s: no such command (did you mean %s? limn help lists them)", name, nearest);
    return NULL;
}

static bool unknown_option(const command *c, const char *dashes, const char *name, size_t n, err *e)
{
    char typed[64];
    snprintf(typed, sizeof typed, "%.*s", (int)(n < 60 ? n : 60), name);
    const option *tables[2] = {c->options, common_options};
    const char *nearest = NULL;
    int best = 1000;
    for (int t = 0; t < 2; t++) {
        for (const option *o = tables[t]; o && o->name; o++) {
            int u = unlikeness(typed, o->name);
            if (u < best) {
                best = u;
                nearest = o->name;
            }
        }
    }
    if (dashes[1] == '\0' && n == 1)
        return err_set(e, ERR_USAGE, "-%s: not an option of limn %s (limn %s --help lists them; -- ends the options)",
                       typed, c->name, c->name);
    return err_set(e, ERR_USAGE, "%s%s: not an option of limn %s (did you mean --%s? limn %s --help lists them)",
                   dashes, typed, c->name, nearest, c->name);
}

/* ---- values -------------------------------------------------------------------------------------------------- */

bool parse_number(const char *text, double *value)
{
    char *end;
    /* strtod would also take leading blanks, hexadecimal, "nan" and "inf" */
    if (text[strspn(text, "0123456789.eE+-")] != '\0' || *text == '\0')
        return false;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}

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

/* 512M, 1.5G, 2GiB, 65536; at least one byte. */
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
    static const char letters[] = "KMGT";
    const char *suffix = text + n;
    const char *letter = *suffix ? strchr(letters, toupper((unsigned char)*suffix)) : NULL;
    if (letter) {
        v = ldexp(v, 10 * (int)(letter - letters + 1));
        suffix++;
        if (*suffix == 'i' && suffix[1] == 'B')
            suffix++;
    }
    if (*suffix == 'B')
        suffix++;
    if (*suffix != '\0' || v < 1 || v >= 9e18)
        return false;
    *value = (uint64_t)v;
    return true;
}

static bool is_word(const char *words, const char *text)
{
    size_t n = strlen(text);
    for (const char *w = words; w; w = strchr(w, '|') ? strchr(w, '|') + 1 : NULL) {
        if (n > 0 && strncmp(w, text, n) == 0 && (w[n] == '|' || w[n] == '\0'))
            return true;
    }
    return false;
}

static bool check_value(const option *o, const char *text, err *e)
{
    int64_t i;
    uint64_t u;
    double d;
    switch (o->kind) {
    case OPTION_INTEGER:
        if (!parse_integer(text, &i) || (double)i < o->min || (double)i > o->max)
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not possible (give a whole number from %.0f to %.0f)",
                           o->name, text, o->min, o->max);
        break;
    case OPTION_SEED:
        if (!parse_unsigned(text, &u))
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not possible (give a whole number from 0 to %" PRIu64 ")",
                           o->name, text, UINT64_MAX);
        break;
    case OPTION_NUMBER:
        if (!parse_number(text, &d) || d < o->min || d > o->max)
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not possible (give a number from %g to %g)", o->name, text,
                           o->min, o->max);
        break;
    case OPTION_SIZE:
        if (!parse_size(text, &u))
            return err_set(e, ERR_USAGE, "--%s: \"%.60s\" is not a size (give bytes, at least 1, or 512M, 1.5G)",
                           o->name, text);
        break;
    case OPTION_CHOICE:
        if (!is_word(o->words, text))
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
    p->o->given[p->o->n_given++] = (given_option){which, value};
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

/* -q, -qv, -n 9, -n9, -n=9 */
static bool parse_short(parser *p, const char *text, err *e)
{
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

static bool check_operands(const options *o, err *e)
{
    const command *c = o->command;
    if (o->n_operands < c->min_operands)
        return err_set(e, ERR_USAGE, "limn %s: %s is missing (limn %s --help shows how to use it)", c->name,
                       c->operands, c->name);
    if (c->max_operands >= 0 && o->n_operands > c->max_operands)
        return err_set(e, ERR_USAGE, "limn %s: \"%.80s\" is one argument too many (%s)", c->name,
                       o->operands[c->max_operands],
                       c->operands_hint ? c->operands_hint : "limn help shows how to use it");
    return true;
}

/* Required options, and those of which exactly one must be given. */
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
        const char *a = argv[p.next++];
        bool ok = true;
        if (more && strcmp(a, "--") == 0)
            more = false;
        else if (more && a[0] == '-' && a[1] == '-')
            ok = parse_long(&p, a + 2, e);
        else if (more && a[0] == '-' && a[1] != '\0' && !isdigit((unsigned char)a[1]) && a[1] != '.')
            ok = parse_short(&p, a + 1, e);
        else
            o->operands[o->n_operands++] = a;
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
