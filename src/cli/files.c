/* The files that a command reads and writes: whether they can be, and whether they are different ones. */
#include "cli/files.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/ranks.h"

/* ---- names ---------------------------------------------------------------------------------------------------- */

bool has_ending(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n > m && path[n - m - 1] != '/' && strcasecmp(path + n - m, ending) == 0;
}

char *numbered_path(const char *path, int i, int last)
{
    size_t size = strlen(path) + 16;
    char *out = malloc(size);
    const char *dot = strrchr(path, '.');
    int stem = dot ? (int)(dot - path) : (int)strlen(path);
    if (out)
        snprintf(out, size, "%.*s-%0*d%s", stem, path, snprintf(NULL, 0, "%d", last), i, dot ? dot : "");
    return out;
}

/* The folder of a path, a new string; *name: the rest. */
static char *folder_of(const char *path, const char **name)
{
    const char *slash = strrchr(path, '/');
    *name = slash ? slash + 1 : path;
    return !slash ? strdup(".") : slash == path ? strdup("/") : strndup(path, (size_t)(slash - path));
}

/* ---- one file ------------------------------------------------------------------------------------------------- */

bool input_check(const char *path, err *e)
{
    struct stat st;
    if (strcmp(path, "-") == 0 && access(path, F_OK) != 0)
        return err_set(e, ERR_USAGE, "-: standard input can't be read as a file (give the name of a file)");
    if (stat(path, &st) != 0 || access(path, R_OK) != 0)
        return err_set(e, ERR_FAILED, "%s: %s", path, strerror(errno));
    if (S_ISDIR(st.st_mode))
        return err_set(e, ERR_FAILED, "%s: is a directory (give the name of a file)", path);
    return true;
}

static bool ending_check(const char *name, const char *path, const char *ending, err *e)
{
    return has_ending(path, ending) ||
           err_set(e, ERR_USAGE, "--%s: %s does not end in %s (limn writes that format only)", name, path, ending);
}

/* What is there must be a file that may be written: cp asks no more of the folder then. */
static bool existing_check(const char *name, const char *path, const struct stat *st, err *e)
{
    if (!S_ISREG(st->st_mode))
        return err_set(e, ERR_FAILED, "--%s: %s is not a plain file (choose another name)", name, path);
    if (access(path, W_OK) != 0)
        return err_set(e, ERR_FAILED, "--%s: %s: %s (make the file writable, or choose another name)", name, path,
                       strerror(errno));
    return true;
}

static bool folder_check(const char *name, const char *folder, err *e)
{
    struct stat st;
    if (stat(folder, &st) != 0)
        return err_set(e, ERR_FAILED, "--%s: %s: %s (make the directory first)", name, folder, strerror(errno));
    if (!S_ISDIR(st.st_mode))
        return err_set(e, ERR_FAILED, "--%s: %s is not a directory (choose another place)", name, folder);
    if (access(folder, W_OK | X_OK) != 0)
        return err_set(e, ERR_FAILED, "--%s: %s: %s (choose a directory that you may write to)", name, folder,
                       strerror(errno));
    return true;
}

bool output_check(const char *name, const char *path, const char *ending, err *e)
{
    struct stat st;
    if (!path || ranks_rank() > 0)
        return true;
    if (ending && !ending_check(name, path, ending, e))
        return false;
    /* a plain file would take the place of a device */
    if (os_is_device(path))
        return err_set(e, ERR_FAILED, "--%s: %s is not a plain file (choose another name)", name, path);
    if (stat(path, &st) == 0)
        return existing_check(name, path, &st, e);
    int reason = errno;
    const char *last;
    char *folder = folder_of(path, &last);
    if (!folder)
        return err_no_memory(e, "file name", strlen(path));
    bool ok = folder_check(name, folder, e);
    free(folder);
    if (ok && reason == ENOENT && os_lstat(path, &st) == 0)
        return err_set(e, ERR_FAILED,
                       "--%s: %s is a link to a file that is not there (remove the link, or choose another name)", name,
                       path);
    if (ok && reason != ENOENT)
        return err_set(e, ERR_FAILED, "--%s: %s: %s (choose another name)", name, path, strerror(reason));
    return ok;
}

/* ---- all files of a run --------------------------------------------------------------------------------------- */

/* A file that is there is known by device and number, and one that isn't by its folder's and its name in it. */
struct file_use {
    os_id id;
    const char *name; /* in path; NULL: it is there */
    const char *what;
    char *path;
    bool written;
};

static void add(file_set *f, const char *what, const char *path, bool written)
{
    struct file_use u = {.what = what, .written = written};
    if (!path || strcmp(path, "-") == 0)
        return;
    u.path = strdup(path);
    f->short_of_memory = f->short_of_memory || !u.path;
    if (u.path && !os_id_at(path, &u.id)) {
        char *folder = folder_of(u.path, &u.name);
        if (!folder || !os_id_at(folder, &u.id)) { /* output_check and input_check say so */
            free(u.path);
            u.path = NULL;
        }
        free(folder);
    }
    if (!u.path)
        return;
    if (f->n == f->room) {
        size_t room = f->room ? 2 * f->room : 16;
        struct file_use *more = realloc(f->uses, room * sizeof *more);
        f->short_of_memory = f->short_of_memory || !more;
        if (!more) {
            free(u.path);
            return;
        }
        f->uses = more;
        f->room = room;
    }
    f->uses[f->n++] = u;
}

void files_read(file_set *f, const char *what, const char *path)
{
    add(f, what, path, false);
}

void files_write(file_set *f, const char *what, const char *path)
{
    if (ranks_rank() == 0)
        add(f, what, path, true);
}

/* Which file comes first; 0: they are one. */
static int by_file(const struct file_use *a, const struct file_use *b)
{
    if (a->id.device != b->id.device)
        return a->id.device < b->id.device ? -1 : 1;
    if (a->id.file != b->id.file)
        return a->id.file < b->id.file ? -1 : 1;
    if (!a->name || !b->name)
        return (a->name != NULL) - (b->name != NULL);
    return strcmp(a->name, b->name);
}

/* Uses of one file: the ones that write it come first. */
static int by_use(const void *a, const void *b)
{
    const struct file_use *x = a, *y = b;
    int order = by_file(x, y);
    return order ? order : (int)y->written - (int)x->written;
}

bool files_check(file_set *f, err *e)
{
    bool ok = !f->short_of_memory || err_no_memory(e, "file names", f->room * sizeof *f->uses);
    if (f->n)
        qsort(f->uses, f->n, sizeof *f->uses, by_use);
    for (size_t i = 1; ok && i < f->n; i++) {
        const struct file_use *a = &f->uses[i - 1], *b = &f->uses[i];
        bool same = strcmp(a->path, b->path) == 0;
        if (!a->written || by_file(a, b) != 0)
            continue;
        ok = err_set(e, ERR_USAGE, "%s: %s is the same file as %s%s%s, which %s (give another name)", a->what, a->path,
                     b->what, same ? "" : ": ", same ? "" : b->path, b->written ? "is written too" : "would be lost");
    }
    for (size_t i = 0; i < f->n; i++)
        free(f->uses[i].path);
    free(f->uses);
    *f = (file_set){0};
    return ok;
}
