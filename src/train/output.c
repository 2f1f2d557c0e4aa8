/* Who may write a training run's output: the lock, and what is there already. */
#include "train/output.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/os.h"
#include "io/gguf.h"

char *train_beside(const char *output, const char *ending, err *e)
{
    size_t n = strlen(output) + strlen(ending) + 2;
    char *path = malloc(n);
    if (path)
        snprintf(path, n, "%s.%s", output, ending);
    else
        err_no_memory(e, output, n);
    return path;
}

/* ---- what a run reads ---- */

/* Whether the file lies in the folder, or below it. */
static bool is_below(const char *path, const char *folder)
{
    char *file = os_real_path(path), *top = os_real_path(folder);
    size_t n = top ? strlen(top) : 0;
    bool below = file && top && !strncmp(file, top, n) && (file[n] == '/' || (n && top[n - 1] == '/'));
    free(file);
    free(top);
    return below;
}

static bool ends_in(const char *path, const char *ending)
{
    size_t n = strlen(path), m = strlen(ending);
    return n > m && path[n - m - 1] != '/' && strcasecmp(path + n - m, ending) == 0;
}

/* A name that a folder's pictures and captions have. */
static bool is_data_name(const char *path)
{
    static const char *const endings[] = {".png",  ".jpg",   ".jpeg", ".webp",   ".txt",
                                          ".json", ".jsonl", ".tar",  ".caption"};
    if (ends_in(path, ".gguf.png")) /* sample pictures, which data sets pass over */
        return false;
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (ends_in(path, endings[i]))
            return true;
    return !strcmp(file_base_name(path), "metadata.csv");
}

/* One of the files that a run writes: it may be none that it reads. */
static bool check_file(const char *path, const train_input *inputs, const char *const *data, size_t n, err *e)
{
    struct stat st;
    for (const train_input *i = inputs; i->name; i++)
        if (i->path && os_same_file(path, i->path))
            return err_set(e, ERR_USAGE, "`output`: %s is the file of %s, which would be replaced (give another name)",
                           path, i->name);
    for (size_t i = 0; i < n; i++) {
        bool folder = stat(data[i], &st) == 0 && S_ISDIR(st.st_mode);
        if (folder ? is_data_name(path) && is_below(path, data[i]) : os_same_file(path, data[i]))
            return err_set(e, ERR_USAGE, "`output`: %s is %s (give another name, such as model.gguf)", path,
                           folder ? "a file of the data" : "the data itself");
    }
    return true;
}

bool train_output_check(const char *output, const char *further, const train_input *inputs, const char *const *data,
                        size_t n_data, err *e)
{
    static const char *const endings[] = {"checkpoint", "csv", "png", "codes"};
    bool ok = check_file(output, inputs, data, n_data, e) && (!further || check_file(further, inputs, data, n_data, e));
    for (size_t k = 0; ok && k < sizeof endings / sizeof *endings; k++) {
        char *path = train_beside(output, endings[k], e);
        ok = path && check_file(path, inputs, data, n_data, e);
        free(path);
    }
    return ok;
}

/* ---- the lock ---- */

/* "process 12 on HOST", as the holder wrote it; empty where it didn't. */
static void read_holder(int fd, char *text, size_t size)
{
    ssize_t n = os_read_at(fd, text, size - 1, 0);
    text[n > 0 ? n : 0] = 0;
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f)
            *p = 0;
}

static void write_holder(int fd)
{
    char host[256], text[192];
    os_host(host);
    int n = snprintf(text, sizeof text, "process %ld on %.127s\n", (long)getpid(), host);
    if (ftruncate(fd, 0) == 0)
        (void)!os_write_at(fd, text, (size_t)n, 0); /* for messages alone */
}

/* Whether the path is still that of the open file: its last holder removes it. */
static bool is_at(int fd, const char *path)
{
    os_id a, b;
    return os_id_of(fd, &a) && os_id_at(path, &b) && a.device == b.device && a.file == b.file;
}

static bool refuse_locked(const char *output, int fd, err *e)
{
    char who[192];
    read_holder(fd, who, sizeof who);
    return err_set(e, ERR_FAILED, "%s: another run is writing it: %s (wait for that one, or give another `output`)",
                   output, *who ? who : "its process is not known");
}

/* look: no lock is made, only one that is there is tried. */
static bool lock_output(train_output *x, const char *output, bool look, err *e)
{
    for (int tries = 0; tries < 100; tries++) {
        x->killed = true;
        int fd = os_open(x->lock, OS_SAME);
        if (fd < 0 && errno == ENOENT) {
            x->killed = false;
            if (look)
                return true;
            fd = os_open(x->lock, OS_SAME_NEW);
        }
        if (fd < 0)
            return err_set(e, ERR_FAILED, "%s: cannot write: %s (training keeps files beside its output)", x->lock,
                           strerror(errno));
        bool locked = os_lock(fd, false);
        if (!locked && errno == EWOULDBLOCK) {
            refuse_locked(output, fd, e);
            close(fd);
            return false;
        }
        if (!locked) {
            log_write(LOG_WARNING, "%s: it can't be locked: %s (start no other run with this output)", x->lock,
                      strerror(errno));
            x->fd = fd;
            return true;
        }
        if (is_at(fd, x->lock)) {
            if (!look)
                write_holder(fd);
            x->fd = fd;
            return true;
        }
        close(fd); /* removed between the two by the one who had it */
    }
    return err_set(e, ERR_FAILED, "%s: cannot lock: it is removed again and again (give another `output`)", x->lock);
}

/* ---- what is there ---- */

/* Bytes of a file; -1 where there is none. */
static int64_t bytes_at(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? (int64_t)st.st_size : -1;
}

static bool has_entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = 0;
    while (d && readdir(d))
        n++;
    if (d)
        closedir(d);
    return n > 2;
}

/* The step of a checkpoint, or -1. */
static int64_t step_of(const char *path)
{
    file_map m = {0};
    int64_t step = -1;
    gguf *g = file_map_open(&m, path, NULL) ? gguf_open(m.data, m.size, path, NULL) : NULL;
    if (g && !gguf_get_int(g, "train.step", 0, INT64_MAX, &step, NULL))
        step = -1;
    gguf_free(g);
    file_map_release(&m);
    return step;
}

static bool refuse_existing(const train_output *x, const char *output, bool model, bool board, bool picture, err *e)
{
    char checkpoint[96] = "";
    bool resumes = bytes_at(x->checkpoint) >= 0, log = bytes_at(x->log) > 0;
    int64_t step = resumes ? step_of(x->checkpoint) : -1;
    if (step >= 0)
        snprintf(checkpoint, sizeof checkpoint, "the checkpoint of step %" PRId64, step);
    else if (resumes)
        snprintf(checkpoint, sizeof checkpoint, "a checkpoint");
    const char *there[] = {model ? "a model" : "", checkpoint, log ? "a log (.csv)" : "",
                           board ? "event files (.events)" : "", picture ? "a picture (.png)" : ""};
    char all[256] = "";
    for (int i = 0; i < 5; i++)
        if (*there[i])
            snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", *all ? ", " : "", there[i]);
    if (!model && !resumes && !log && !picture) /* event files alone: a run adds one, and replaces none */
        return true;
    return err_set(e, ERR_FAILED,
                   "%s: an earlier run left %s (%s`overwrite` begins anew and replaces it, or give another `output`)",
                   output, all, resumes || (log && !model) ? "`resume` goes on, " : "");
}

static bool check_existing(const train_output *x, const char *output, train_existing existing, err *e)
{
    char *board = train_beside(output, "events", e), *picture = train_beside(output, "png", e);
    bool model = bytes_at(output) >= 0, ok = board && picture;
    if (ok && existing == TRAIN_REFUSE)
        ok = refuse_existing(x, output, model, has_entries(board), bytes_at(picture) >= 0, e);
    /* between the first model and the first checkpoint of a run that was killed there is nothing to lose */
    if (ok && existing == TRAIN_RESUME && model && !x->killed && bytes_at(x->checkpoint) < 0)
        ok = err_set(e, ERR_FAILED,
                     "%s: there is a model, but no %s to resume from (`overwrite` begins anew and replaces the model; "
                     "`init` %s with another `output` begins from its weights)",
                     output, x->checkpoint, output);
    free(board);
    free(picture);
    return ok;
}

/* ---- the whole ---- */

static bool claim(train_output *x, const char *output, train_existing existing, bool look, err *e)
{
    struct stat st;
    *x = (train_output){.fd = -1};
    char *path = os_lstat(output, &st) == 0 && os_is_link(&st) ? os_real_path(output) : NULL;
    const char *real = path ? path : output; /* two links to one file are one output */
    bool ok = (x->checkpoint = train_beside(output, "checkpoint", e)) && (x->log = train_beside(output, "csv", e)) &&
              (x->lock = train_beside(real, "lock", e));
    free(path);
    if (ok && os_lstat(x->checkpoint, &st) && errno != ENOENT)
        ok = err_set(e, ERR_FAILED, "%s: cannot write: %s (choose another `output`)", x->checkpoint, strerror(errno));
    ok = ok && lock_output(x, output, look, e) && check_existing(x, output, existing, e);
    x->claimed = ok && !look;
    return ok;
}

bool train_output_claim(train_output *x, const char *output, train_existing existing, err *e)
{
    return claim(x, output, existing, false, e);
}

bool train_output_is_free(const char *output, train_existing existing, err *e)
{
    train_output x;
    bool ok = claim(&x, output, existing, true, e);
    train_output_release(&x); /* what a killed run left is left */
    return ok;
}

void train_output_release(train_output *x)
{
    if (x->fd >= 0) {
        /* by the file it is known that a run ended within its first checkpoint */
        bool stays = x->claimed ? bytes_at(x->log) > 0 && bytes_at(x->checkpoint) < 0 : x->killed;
        if (!stays)
            (void)unlink(x->lock);
        close(x->fd);
    }
    free(x->lock);
    free(x->checkpoint);
    free(x->log);
    *x = (train_output){.fd = -1};
}
