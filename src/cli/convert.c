/* limn convert: model files of other programs, or limn's own in another type, to limn's. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "convert/convert.h"

/* The values of --set, as an array. */
static const char **settings_of(const options *o, size_t *n, err *e)
{
    *n = 0;
    while (options_list(o, "set", (int)*n))
        ++*n;
    const char **list = array_new(*n + 1, sizeof *list, "settings", e);
    for (size_t i = 0; list && i < *n; i++)
        list[i] = options_list(o, "set", (int)i);
    return list;
}

/* Whether an operand is one of a tokenizer's two files, which are read by the folder that they are in. */
static bool is_vocabulary(const char *path)
{
    static const char *const names[] = {"vocab.json", "merges.txt", "bpe-16k-vocab.json", "bpe-16k-merges.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!strcmp(file_base_name(path), names[i]))
            return true;
    return false;
}

/* Whether it is a tokenizer's only file. */
static bool is_tokenizer(const char *path)
{
    return has_ending(path, ".model") || !strcmp(file_base_name(path), "tokenizer.json") ||
           !strncmp(file_base_name(path), "bpe_simple_vocab", 16);
}

static void folder_of(const char *path, char out[4096])
{
    const char *slash = strrchr(path, '/');
    snprintf(out, 4096, "%.*s", slash ? (int)(slash - path) + (slash == path) : 1, slash ? path : ".");
}

/* A tokenizer's file more: `at` is the only file so far, or the folder.  False where it is in another folder. */
static bool add_tokenizer(const char *path, char at[4096])
{
    char folder[4096], folder_at[4096];
    folder_of(path, folder);
    folder_of(at, folder_at);
    if (!*at)
        snprintf(at, 4096, "%s", is_tokenizer(path) ? path : folder);
    else if (is_tokenizer(at) && strcmp(folder_at, folder) == 0 && strcmp(at, path) != 0)
        strcpy(at, folder); /* such as HuggingFace's tokenizer.json beside vocab.json */
    else
        return strcmp(at, path) == 0 || strcmp(at, folder) == 0;
    return true;
}

/* The operands but for a tokenizer's files, which go to `folder`, as --tokenizer, and config.json, which is read where
 * it lies. */
static const char **inputs_of(const options *o, size_t *n, char folder[4096], err *e)
{
    const char **list = array_new((size_t)o->n_operands + 1, sizeof *list, "inputs", e);
    *n = 0;
    for (int i = 0; list && i < o->n_operands; i++) {
        const char *path = o->operands[i];
        if (!strcmp(file_base_name(path), "config.json") && o->n_operands > 1)
            continue;
        if (!is_vocabulary(path) && !is_tokenizer(path)) {
            list[(*n)++] = path;
        } else if (!add_tokenizer(path, folder)) {
            char other[4096];
            folder_of(path, other);
            err_set(e, ERR_USAGE, "convert: %s: the tokenizer's files are in %s and in %s (put them in one folder)",
                    path, folder, other);
            free(list);
            return NULL;
        }
    }
    return list;
}

/* The output is none of what is given; of folders and shards, import_convert sees it. */
static bool check_output(const options *o, const char *output, err *e)
{
    file_set files = {0};
    for (int i = 0; i < o->n_operands; i++)
        files_read(&files, "IN", o->operands[i]);
    files_read(&files, "--tokenizer", options_text(o, "tokenizer", NULL));
    files_write(&files, "--output", output);
    return files_check(&files, e) && output_check("output", output, ".gguf", e);
}

int command_convert(const options *o)
{
    err e = {0};
    char folder[4096] = "";
    import_request q = {
        .output = options_text(o, "output", NULL),
        .family = options_text(o, "family", NULL),
        .typed = options_given(o, "type"),
    };
    if (q.typed)
        dtype_from_name(options_text(o, "type", "f32"), &q.type);
    const char **settings = settings_of(o, &q.n_settings, &e), **inputs = inputs_of(o, &q.n_inputs, folder, &e);
    q.settings = settings;
    q.inputs = inputs;
    q.tokenizer = options_text(o, "tokenizer", *folder ? folder : NULL);
    bool ok = settings && inputs && check_output(o, q.output, &e) && import_convert(&q, &e);
    if (ok)
        say_wrote(q.output, NULL);
    free(settings);
    free(inputs);
    return ok ? 0 : report(&e);
}
