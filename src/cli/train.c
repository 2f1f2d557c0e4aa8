/* What the commands of limn train share: the data that their options name, and the output. */
#include "cli/train.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "cli/common.h"

const char **train_sources(const options *o, size_t *n, err *e)
{
    int listed = 0;
    while (options_list(o, "data", listed))
        listed++;
    *n = (size_t)listed + (size_t)o->n_operands;
    if (!*n) {
        err_set(e, ERR_USAGE,
                "limn %s: the data is missing (name a folder of pictures, a .jsonl or a .tar file; "
                "--data does the same)",
                o->command->name);
        return NULL;
    }
    const char **sources = array_new(*n, sizeof *sources, "data", e);
    for (int i = 0; sources && i < listed; i++)
        sources[i] = options_list(o, "data", i);
    for (int i = 0; sources && i < o->n_operands; i++)
        sources[listed + i] = o->operands[i];
    return sources;
}

/* ---- numbers ---- */

int64_t train_option_integer(const options *o, const char *name)
{
    int64_t value = options_integer(o, name, 0);
    return options_given(o, name) && value <= 0 ? -1 : value;
}

double train_option_number(const options *o, const char *name)
{
    double value = options_number(o, name, 0);
    return options_given(o, name) && !((float)value > 0) ? -1 : value;
}

/* ---- what to do next ---- */

const char *train_quoted(const char *name, char out[512])
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/+-,:=@%";
    size_t n = 0, length = strlen(name);
    bool bare = length && strspn(name, plain) == length;
    if (!bare)
        out[n++] = '\'';
    for (const char *p = name; *p && n + 8 < 512; p++) {
        if (*p == '\'')
            n += (size_t)snprintf(out + n, 512 - n, "'\\''");
        else
            out[n++] = *p;
    }
    if (!bare)
        out[n++] = '\'';
    out[n] = 0;
    return out;
}

void train_say_next(const options *o, const char *name, const char *rest, ...)
{
    char data[2048] = "", more[2048], source_name[512];
    size_t n = 0;
    const char *source;
    for (int i = 0; (source = options_list(o, "data", i)) && n < sizeof data - 1; i++)
        n += (size_t)snprintf(data + n, sizeof data - n, " %s", train_quoted(source, source_name));
    for (int i = 0; i < o->n_operands && n < sizeof data - 1; i++)
        n += (size_t)snprintf(data + n, sizeof data - n, " %s", train_quoted(o->operands[i], source_name));
    va_list list;
    va_start(list, rest);
    vsnprintf(more, sizeof more, rest, list);
    va_end(list);
    if (ranks_rank() == 0)
        say(LOG_WARNING, "next: limn %s%s %s", name, n < 1024 ? data : " DATA", more);
}
