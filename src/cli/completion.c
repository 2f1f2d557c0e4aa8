/* Completions for bash, zsh and fish, made from the command table. */
#include <string.h>

#include "cli/help.h"

/* Calls for each word of "a|b|c". */
static void put_words(FILE *f, const char *words, const char *before, const char *after)
{
    while (words && *words) {
        int n = (int)strcspn(words, "|");
        fprintf(f, "%s%.*s%s", before, n, words, after);
        words += n + (words[n] == '|');
    }
}

/* The first words of the commands, or the second words of a group's. */
static void put_names(FILE *f, const command *group, const char *separator)
{
    const char *before = "";
    for (const command *c = command_table; c->name; c++) {
        if (group ? !command_is_in(c, group) : strchr(c->name, ' ') != NULL)
            continue;
        fprintf(f, "%s%s", before, group ? c->name + strlen(group->name) + 1 : c->name);
        before = separator;
    }
}

/* The first sentence of a help text without its full stop; ' is not in it, so that it can stand in quotes. */
static void put_sentence(FILE *f, const char *text, const char *escape)
{
    for (; *text && !(text[0] == '.' && (text[1] == ' ' || text[1] == '\0')); text++) {
        if (strchr(escape, *text))
            fputc('\\', f);
        if (*text == '\'')
            fputs("'\\''", f);
        else
            fputc(*text, f);
    }
}

/* ---- bash -------------------------------------------------------------------------------------------------------- */

static void bash_option_names(FILE *f, const option *o)
{
    for (; o && o->name; o++) {
        fprintf(f, " --%s", o->name);
        if (o->letter)
            fprintf(f, " -%c", o->letter);
    }
}

/* A case for each option with a value: sets `words` or `files` by the option before the cursor. */
static void bash_values(FILE *f, const char *pattern, const option *o)
{
    for (; o && o->name; o++) {
        if (o->kind == OPTION_FLAG)
            continue;
        fprintf(f, "    %s:--%s", pattern, o->name);
        if (o->letter)
            fprintf(f, "|%s:-%c", pattern, o->letter);
        fputs(") value=1", f);
        if (o->words) {
            fputs("; words='", f);
            put_words(f, o->words, "", " ");
            fputc('\'', f);
        }
        fputs(o->complete == COMPLETE_FILE ? "; files=1 ;;\n" : " ;;\n", f);
    }
}

/* What follows commands that take the names of others, by place: limn train WORD, limn help COMMAND [WORD]. */
static void bash_second_words(FILE *f)
{
    for (const command *c = command_table; c->name; c++) {
        if (c->run && c->complete == COMPLETE_COMMAND) {
            fprintf(f, "        1:'%s':*) words+=' ", c->name);
            put_names(f, NULL, " ");
            fputs("' ;;\n", f);
        }
        for (const command *help = command_table; help->name && !c->run; help++) {
            if (help != c && help->complete != COMPLETE_COMMAND)
                continue;
            fprintf(f, help == c ? "        1:'%s':*) words+=' " : "        2:'%s':'%s') words+=' ", help->name,
                    c->name);
            put_names(f, c, " ");
            fputs("' ;;\n", f);
        }
        if (c->complete == COMPLETE_BENCH)
            fprintf(f, "        *:'%s':*) [[ $cur != -* ]] && bench=1 ;;\n", c->name);
    }
}

/* The beginning of the function: finds the command, a word or two, and what the word before stands for. */
static void bash_command(FILE *f)
{
    fputs("# Completion of limn for bash, made by: limn help --format bash\n"
          "_limn()\n"
          "{\n"
          "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
          "    local command='' words='' files='' value='' bench='' line i IFS=$' \\t\\n'\n"
          "    if [[ $cur == '=' ]]; then\n"
          "        cur=''\n"
          "    elif [[ $prev == '=' && $COMP_CWORD -gt 1 ]]; then\n"
          "        prev=${COMP_WORDS[COMP_CWORD-2]}\n"
          "    fi\n"
          "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
          "        case ${COMP_WORDS[i]} in\n"
          "        ",
          f);
    put_names(f, NULL, "|");
    fputs(") command=${COMP_WORDS[i]}; break ;;\n"
          "        esac\n"
          "    done\n"
          "    if ((i + 1 < COMP_CWORD)); then\n"
          "        case \"$command ${COMP_WORDS[i+1]}\" in\n",
          f);
    for (const command *c = command_table; c->name; c++) {
        if (strchr(c->name, ' '))
            fprintf(f, "        '%s') command='%s' ;;\n", c->name, c->name);
    }
    fputs("        esac\n"
          "    fi\n"
          "    case $command:$prev in\n",
          f);
    for (const command *c = command_table; c->name; c++) {
        char pattern[64];
        snprintf(pattern, sizeof pattern, "'%s'", c->name);
        bash_values(f, pattern, c->options);
    }
    bash_values(f, "*", common_options);
    fputs("    esac\n", f);
}

void completion_bash(FILE *f)
{
    bash_command(f);
    fputs("    if [[ -z $value ]]; then\n"
          "        case $command in\n"
          "        '') words='",
          f);
    put_names(f, NULL, " ");
    bash_option_names(f, common_options);
    fputs("' ;;\n", f);
    for (const command *c = command_table; c->name; c++) {
        fprintf(f, "        '%s') words='", c->name);
        bash_option_names(f, c->options);
        bash_option_names(f, common_options);
        fprintf(f, "'%s ;;\n", c->complete == COMPLETE_FILE ? "; [[ $cur != -* ]] && files=1" : "");
    }
    fputs("        esac\n"
          "        [[ $cur != -* && -n $command ]] && words=''\n"
          "        case $((COMP_CWORD - i)):$command:${COMP_WORDS[i+1]} in\n",
          f);
    bash_second_words(f);
    fputs("        esac\n"
          "    fi\n"
          "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
          "    if [[ -n $files ]]; then\n"
          "        compopt -o filenames 2>/dev/null\n"
          "        mapfile -t -O ${#COMPREPLY[@]} COMPREPLY < <(compgen -f -- \"$cur\")\n"
          "    elif [[ -n $bench ]]; then\n"
          "        compopt -o filenames 2>/dev/null\n" /* the names are quoted as those of files are */
          "        cur=${cur#[\\'\\\"]}\n"
          "        cur=${cur//\\\\/}\n"
          "        while IFS= read -r line; do\n"
          "            line=${line%  (default)}\n"
          "            [[ $line == \"$cur\"* ]] && COMPREPLY+=(\"$line\")\n"
          "        done < <(\"${COMP_WORDS[0]}\" bench --list 2>/dev/null)\n"
          "    elif [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *: ]]; then\n"
          "        compopt -o nospace 2>/dev/null\n"
          "    fi\n"
          "}\n"
          "complete -F _limn limn\n",
          f);
}

/* ---- zsh --------------------------------------------------------------------------------------------------------- */

/* ":N:_files", ":FORMAT:(text man)" */
static void zsh_value(FILE *f, const option *o)
{
    const char *sep = "";
    bool files = o->complete == COMPLETE_FILE;
    fprintf(f, ":%s:%s", o->argument, !o->words ? files ? "_files" : " " : files ? "{compadd -S \"\" -- " : "(");
    for (const char *w = o->words; w && *w; sep = " ") {
        int n = (int)strcspn(w, "|"), colon = w[n - 1] == ':'; /* a plain colon would end the specification */
        fprintf(f, "%s%.*s%s", sep, n - colon, w, colon ? "\\:" : "");
        w += n + (w[n] == '|');
    }
    if (o->words)
        fputs(files ? "; _files}" : ")", f);
}

/* One specification of _arguments a line: '(-n --count)'{-n,--count}'[help]:N:' */
static void zsh_options(FILE *f, const option *o, const char *indent)
{
    for (; o && o->name; o++) {
        const char *star = o->kind == OPTION_LIST ? "*" : "", *equals = o->kind == OPTION_FLAG ? "" : "=";
        fputs(indent, f);
        if (o->letter)
            fprintf(f, "'(-%c --%s)'{-%c%s,--%s%s}'[", o->letter, o->name, o->letter, *equals ? "+" : "", o->name,
                    equals);
        else
            fprintf(f, "'%s--%s%s[", star, o->name, equals);
        put_sentence(f, o->help, "[]:\\");
        fputc(']', f);
        if (o->kind != OPTION_FLAG)
            zsh_value(f, o);
        fputs("' \\\n", f);
    }
}

/* Functions that complete the names of commands and of measurements. */
static void zsh_helpers(FILE *f)
{
    fputs("#compdef limn\n"
          "# Completion of limn for zsh, made by: limn help --format zsh\n"
          "_limn_commands()\n"
          "{\n"
          "    local -a commands=(\n",
          f);
    for (const command *c = command_table; c->name; c++) {
        if (strchr(c->name, ' '))
            continue;
        fprintf(f, "        '%s:", c->name);
        put_sentence(f, c->summary, ":\\");
        fputs("'\n", f);
    }
    fputs("    )\n"
          "    _describe -t commands 'limn command' commands\n"
          "}\n"
          "_limn_bench()\n"
          "{\n"
          "    local -a names=(${${(f)\"$(_call_program names limn bench --list 2>/dev/null)\"}%\"  (default)\"})\n"
          "    compadd -a names\n"
          "}\n",
          f);
}

void completion_zsh(FILE *f)
{
    zsh_helpers(f);
    fputs("_limn()\n"
          "{\n"
          "    local context state state_descr line\n"
          "    typeset -A opt_args\n"
          "    _arguments -C \\\n",
          f);
    zsh_options(f, common_options, "        ");
    fputs("        '1: :_limn_commands' '*:: :->arguments' && return\n"
          "    [[ $state == arguments ]] || return 1\n"
          "    local command=$words[1]\n"
          "    if (( CURRENT > 2 )); then\n"
          "        case \"$command $words[2]\" in\n",
          f);
    for (const command *c = command_table; c->name; c++) {
        if (strchr(c->name, ' '))
            fprintf(f, "        '%s') command='%s'; shift words; (( CURRENT-- )) ;;\n", c->name, c->name);
    }
    fputs("        esac\n"
          "    fi\n"
          "    case $command in\n",
          f);
    for (const command *c = command_table; c->name; c++) {
        fprintf(f, "    '%s')\n        _arguments -s \\\n", c->name);
        zsh_options(f, c->options, "            ");
        zsh_options(f, common_options, "            ");
        const char *action = c->complete == COMPLETE_FILE      ? "_files"
                             : c->complete == COMPLETE_COMMAND ? "_limn_commands"
                             : c->complete == COMPLETE_BENCH   ? "_limn_bench"
                                                               : "";
        if (!c->run) {
            fputs("            '1: :(", f);
            put_names(f, c, " ");
            fputs(")'\n", f);
        } else if (c->operands) {
            fprintf(f, "            '%s: :%s'", c->max_operands < 0 ? "*" : "1", action);
            for (const command *g = command_table; g->name && c->complete == COMPLETE_COMMAND; g++) {
                if (g->run)
                    continue;
                fprintf(f, " '2: :{[[ $words[2] == %s ]] && compadd -- ", g->name);
                put_names(f, g, " ");
                fputs("}'", f);
            }
            fputc('\n', f);
        } else {
            fputs("            && return\n", f);
        }
        fputs("        ;;\n", f);
    }
    fputs("    esac\n"
          "}\n"
          "if [[ $funcstack[1] == _limn ]]; then\n"
          "    _limn \"$@\"\n"
          "else\n"
          "    compdef _limn limn\n"
          "fi\n",
          f);
}

/* ---- fish -------------------------------------------------------------------------------------------------------- */

/* Whether the word before the cursor is the one that follows. */
#define FISH_LAST "test (commandline -opc)[-1] ="

/* " -d 'TEXT'" and the end of the line: the first sentence of the text. */
static void fish_about(FILE *f, const char *text)
{
    fputs(" -d '", f);
    for (; *text && !(text[0] == '.' && (text[1] == ' ' || text[1] == '\0')); text++)
        fprintf(f, *text == '\'' || *text == '\\' ? "\\%c" : "%c", *text);
    fputs("'\n", f);
}

static void fish_options(FILE *f, const option *o, const char *condition)
{
    for (; o && o->name; o++) {
        fprintf(f, "complete -c limn%s -l %s", condition, o->name);
        if (o->letter)
            fprintf(f, " -s %c", o->letter);
        if (o->kind != OPTION_FLAG)
            fputs(o->complete == COMPLETE_FILE ? " -r -F" : " -x", f);
        if (o->words) {
            fputs(" -a '", f);
            put_words(f, o->words, "", " ");
            fputc('\'', f);
        }
        fish_about(f, o->help);
    }
}

void completion_fish(FILE *f)
{
    fputs("# Completion of limn for fish, made by: limn help --format fish\n"
          "complete -c limn -f\n",
          f);
    fish_options(f, common_options, "");
    for (const command *c = command_table; c->name; c++) {
        char condition[128];
        const char *second = strchr(c->name, ' ');
        int first = second ? (int)(second - c->name) : (int)strlen(c->name);
        snprintf(condition, sizeof condition, " -n '__fish_seen_subcommand_from %.*s%s%s'", first, c->name,
                 second ? "; and __fish_seen_subcommand_from" : "", second ? second : "");
        if (second)
            fprintf(f, "complete -c limn -n '__fish_seen_subcommand_from %.*s; and " FISH_LAST " %.*s' -a%s", first,
                    c->name, first, c->name, second);
        else
            fprintf(f, "complete -c limn -n __fish_use_subcommand -a %s", c->name);
        fish_about(f, c->summary);
        fish_options(f, c->options, condition);
        if (c->complete == COMPLETE_FILE)
            fprintf(f, "complete -c limn%s -F\n", condition);
        if (c->complete == COMPLETE_COMMAND) {
            fprintf(f, "complete -c limn -n '" FISH_LAST " %s' -a '", c->name);
            put_names(f, NULL, " ");
            fputs("'\n", f);
        }
        if (c->complete == COMPLETE_BENCH)
            fprintf(f,
                    "complete -c limn%s -a '(limn bench --list 2>/dev/null | string replace \"  (default)\" \"\")'\n",
                    condition);
    }
}
