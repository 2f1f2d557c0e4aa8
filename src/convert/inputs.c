/* Conversion: the files that are read, shards of one model among them, and that none of them is the output. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "convert/convert_internal.h"
#include "convert/names.h"

enum { PATH_BYTES = 4352 };

bool path_list_add(path_list *p, const char *path, err *e)
{
    char **grown = realloc(p->list, (p->n + 1) * sizeof *grown), *copy = grown ? strdup(path) : NULL;
    if (grown)
        p->list = grown;
    if (!copy)
        return err_no_memory(e, "convert", strlen(path) + 1);
    p->list[p->n++] = copy;
    return true;
}

void path_list_release(path_list *p)
{
    for (size_t i = 0; i < p->n; i++)
        free(p->list[i]);
    free(p->list);
    *p = (path_list){0};
}

/* ---- shards ----------------------------------------------------------------------------------------------------- */

bool is_shard_name(const char *path, int *number, int *count, size_t *at)
{
    const char *name = file_base_name(path);
    for (const char *of = name; (of = strstr(of, "-of-")); of++) {
        int used = 0;
        if (of - name < 6 || of[-6] != '-' || strspn(of - 5, "0123456789") != 5 || strspn(of + 4, "0123456789") != 5 ||
            sscanf(of - 5, "%5d-of-%5d%n", number, count, &used) != 2 || *number < 1 || *number > *count)
            continue;
        *at = (size_t)(of - 5 - path);
        return true;
    }
    return false;
}

/* The path of another shard of the same model. */
static void shard_path(char out[PATH_BYTES], const char *path, size_t at, int number)
{
    snprintf(out, PATH_BYTES, "%.*s%05d%s", (int)at, path, number, path + at + 5);
}

static bool is_in(const path_list *p, const char *path)
{
    for (size_t i = 0; i < p->n; i++)
        if (!strcmp(p->list[i], path))
            return true;
    return false;
}

/* The file; of a shard all of its model's, wherever the list of files has some of them. */
static bool add_file(path_list *files, const char *path, const import_request *q, err *e)
{
    int number, count;
    size_t at;
    if (!is_shard_name(path, &number, &count, &at))
        return path_list_add(files, path, e);
    for (int i = 1; i <= count; i++) {
        char other[PATH_BYTES];
        bool given = false;
        shard_path(other, path, at, i);
        for (size_t k = 0; k < q->n_inputs; k++)
            given = given || !strcmp(q->inputs[k], other);
        if (!given && access(other, F_OK) != 0)
            return err_set(e, ERR_FAILED, "%s: this shard is missing: the model has %d (download all of them)", other,
                           count);
        if (!is_in(files, other) && !path_list_add(files, other, e))
            return false;
    }
    return true;
}

/* ---- opening ---------------------------------------------------------------------------------------------------- */

/* Shards are one unit; every other file is its own. */
static void number_units(source *s, size_t *units)
{
    size_t n = 0;
    for (size_t i = 0; i < s->n_files; i++) {
        int number, count;
        size_t at, other_at;
        units[i] = n;
        bool shard = is_shard_name(s->paths[i], &number, &count, &at), known = false;
        for (size_t k = 0; shard && k < i && !known; k++)
            if (is_shard_name(s->paths[k], &number, &count, &other_at) && other_at == at &&
                !strncmp(s->paths[k], s->paths[i], at) && !strcmp(s->paths[k] + at + 5, s->paths[i] + at + 5)) {
                units[i] = units[k];
                known = true;
            }
        n += !known;
    }
}

/* The tensors of all files as one list. */
static bool join(source *s, err *e)
{
    size_t all = 0, *units = calloc(s->n_files ? s->n_files : 1, sizeof *units);
    for (size_t i = 0; i < s->n_files; i++)
        all += model_file_count(s->files[i]);
    s->tensors = calloc(all ? all : 1, sizeof *s->tensors);
    if (!s->tensors || !units) {
        free(units);
        return err_no_memory(e, "convert", all * sizeof *s->tensors);
    }
    number_units(s, units);
    for (size_t i = 0; i < s->n_files; i++)
        for (size_t k = 0; k < model_file_count(s->files[i]); k++) {
            source_tensor *t = &s->tensors[s->n++];
            *t = (source_tensor){
                .file = s->paths[i], .input = i, .unit = units[i], .own = *model_file_tensor(s->files[i], k)};
            t->original = t->own.name;
            t->t = &t->own;
        }
    s->n_all = s->n;
    free(units);
    return true;
}

bool source_open_files(source *s, char **paths, size_t n, err *e)
{
    s->paths = paths;
    s->files = calloc(n ? n : 1, sizeof *s->files);
    if (!s->files) {
        for (size_t i = 0; i < n; i++)
            free(paths[i]);
        free(paths);
        s->paths = NULL;
        return err_no_memory(e, "convert", n * sizeof *s->files);
    }
    bool ok = true;
    for (size_t i = 0; i < n; i++) { /* behind an error the rest are only freed */
        s->files[i] = ok ? model_file_open_whole(paths[i], e) : NULL;
        ok = s->files[i];
        s->n_files++;
    }
    return ok && join(s, e);
}

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* Where the model's other files are: the folder that was given, else that of the first file. */
static bool put_directory(source *s, const char *first, const import_request *q, err *e)
{
    const char *slash = strrchr(first, '/');
    s->folder = q->n_inputs && is_folder(q->inputs[0]);
    s->own_folder = slash ? strdup(first) : strdup(".");
    if (!s->own_folder)
        return err_no_memory(e, "convert", strlen(first) + 1);
    if (slash)
        s->own_folder[slash == first ? 1 : slash - first] = 0;
    s->directory = s->own_folder;
    return true;
}

/* The files that an input adds, the last ones of the list, are there by it. */
static bool note_asked(source *s, size_t n, size_t all, size_t input, err *e)
{
    size_t *grown = realloc(s->asked, (all ? all : 1) * sizeof *grown);
    if (!grown)
        return err_no_memory(e, "convert", all * sizeof *grown);
    s->asked = grown;
    for (size_t i = n; i < all; i++)
        grown[i] = input;
    return true;
}

bool source_open(source *s, const import_request *q, err *e)
{
    path_list files = {0};
    bool ok = true;
    for (size_t i = 0; ok && i < q->n_inputs; i++) {
        const size_t n = files.n;
        ok = (is_folder(q->inputs[i]) ? folder_choose(q->inputs[i], q->quiet, &files, e)
                                      : add_file(&files, q->inputs[i], q, e)) &&
             note_asked(s, n, files.n, i, e);
    }
    ok = ok && put_directory(s, files.list[0], q, e);
    if (!ok) {
        path_list_release(&files);
        return false;
    }
    return source_open_files(s, files.list, files.n, e);
}

void source_close(source *s)
{
    size_t all = s->n_all > s->n ? s->n_all : s->n;
    for (size_t i = 0; i < all; i++)
        free(s->tensors[i].renamed);
    for (size_t i = 0; i < s->n_files; i++) {
        model_file_free(s->files[i]);
        free(s->paths[i]);
    }
    import_names_release(s);
    source_release_made(s);
    free(s->paths);
    free(s->asked);
    free(s->own_folder);
    free(s->tensors);
    free(s->files);
    *s = (source){0};
}

/* ---- the output ------------------------------------------------------------------------------------------------- */

static bool refuse_output(const char *output, const char *input, err *e)
{
    return err_set(e, ERR_USAGE, "convert: %s is also what is read, %s (choose another name for the output)", output,
                   input);
}

/* Whether one of the tokenizer's files in the folder is the output. */
static bool check_folder(const char *output, const char *folder, err *e)
{
    static const char *const ends[] = {".json", ".txt", ".gz", ".model"};
    DIR *d = opendir(folder);
    bool ok = true;
    for (struct dirent *entry; d && ok && (entry = readdir(d));) {
        const char *dot = strrchr(entry->d_name, '.');
        char path[PATH_BYTES];
        bool known = false;
        for (size_t i = 0; dot && i < sizeof ends / sizeof *ends; i++)
            known = known || !strcmp(dot, ends[i]);
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        if (known && os_same_file(output, path))
            ok = refuse_output(output, path, e);
    }
    if (d)
        closedir(d);
    return ok;
}

bool source_check_output(const source *s, const char *output, const char *tokenizer, err *e)
{
    struct stat st;
    const char *path;
    if (!output || stat(output, &st) != 0 || !S_ISREG(st.st_mode))
        return true;
    for (size_t i = 0; i < s->n_files; i++)
        for (size_t k = 0; (path = model_file_path(s->files[i], k)); k++)
            if (os_same_file(output, path))
                return refuse_output(output, path, e);
    if (tokenizer && os_same_file(output, tokenizer))
        return refuse_output(output, tokenizer, e);
    return check_folder(output, s->directory, e) &&
           (!tokenizer || !is_folder(tokenizer) || check_folder(output, tokenizer, e));
}
