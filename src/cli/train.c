/* What the commands of limn train share: the data set that their options name, and the output. */
#define _XOPEN_SOURCE 700 /* realpath */
#include "cli/train.h"

#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

dataset *train_open_data(const options *o, dataset_options want, err *e)
{
    const char **sources = train_sources(o, &want.n_sources, e);
    want.sources = sources;
    dataset *d = sources ? dataset_open(&want, e) : NULL;
    free(sources);
    return d;
}

/* ---- the output ---- */

static bool same_file(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

/* Whether the file lies in the folder, or below it. */
static bool is_below(const char *path, const char *folder)
{
    char *file = realpath(path, NULL), *top = realpath(folder, NULL);
    size_t n = top ? strlen(top) : 0;
    bool below = file && top && !strncmp(file, top, n) && (file[n] == '/' || (n && top[n - 1] == '/'));
    free(file);
    free(top);
    return below;
}

/* A name that a folder's pictures and captions have. */
static bool is_data_name(const char *path)
{
    static const char *const endings[] = {".png",  ".jpg",   ".jpeg", ".webp",   ".txt",
                                          ".json", ".jsonl", ".tar",  ".caption"};
    if (has_ending(path, ".gguf.png")) /* sample pictures, which data sets pass over */
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (has_ending(path, endings[i]))
            return true;
    const char *slash = strrchr(path, '/');
    return !strcmp(slash ? slash + 1 : path, "metadata.csv");
}

static bool check_source(const char *output, const char *source, err *e)
{
    struct stat st;
    bool folder = stat(source, &st) == 0 && S_ISDIR(st.st_mode);
    if (folder ? is_data_name(output) && is_below(output, source) : same_file(output, source))
        return err_set(e, ERR_USAGE, "--output: %s is %s (give another name, such as model.gguf)", output,
                       folder ? "a file of the data" : "the data itself");
    return true;
}

/* One of the files that a run writes: it may be none that it reads. */
static bool check_inputs(const options *o, const char *const *models, const char *path, err *e)
{
    const char *source;
    for (int i = 0; models[i]; i++) {
        const char *read = options_text(o, models[i], NULL);
        if (read && same_file(path, read))
            return err_set(e, ERR_USAGE,
                           "--output: %s is the file of --%s, which would be replaced (give another name)", path,
                           models[i]);
    }
    for (int i = 0; (source = options_list(o, "data", i)); i++)
        if (!check_source(path, source, e))
            return false;
    for (int i = 0; i < o->n_operands; i++)
        if (!check_source(path, o->operands[i], e))
            return false;
    return true;
}

bool train_claim(train_output *x, const options *o, const char *const *models, const char *further,
                 train_existing existing, err *e)
{
    static const char *const endings[] = {"checkpoint", "csv", "png", "codes"};
    const char *output = options_text(o, "output", NULL);
    bool overwrite = options_given(o, "overwrite");
    *x = (train_output){.fd = -1};
    if (existing == TRAIN_RESUME && overwrite)
        return err_set(e, ERR_USAGE, "--resume goes on with a run, --overwrite begins it anew (give one of them)");
    bool ok = output_check("output", output, NULL, e) && check_inputs(o, models, output, e) &&
              (!further || check_inputs(o, models, further, e));
    for (size_t k = 0; ok && k < sizeof endings / sizeof *endings; k++) {
        char *path = train_beside(output, endings[k], e);
        ok = path && check_inputs(o, models, path, e);
        free(path);
    }
    return ok && (ranks_rank() > 0 || train_output_claim(x, output, overwrite ? TRAIN_OVERWRITE : existing, e));
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
