/* Files: read-only maps, atomic writes by rename, directories. */
#include "base/file.h"

#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

/* The tail of the last page reads as zeros, which would hide an overrun from AddressSanitizer: it is told. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define GUARD_TAIL 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define GUARD_TAIL 1
#endif
#ifdef GUARD_TAIL
#include <sanitizer/asan_interface.h>
static size_t tail_bytes(size_t size)
{
    size_t page = os_page_size();
    return (page - size % page) % page;
}
#define guard_tail(data, size)   ASAN_POISON_MEMORY_REGION((data) + (size), tail_bytes(size))
#define unguard_tail(data, size) ASAN_UNPOISON_MEMORY_REGION((data) + (size), tail_bytes(size))
#else
#define guard_tail(data, size)   ((void)0)
#define unguard_tail(data, size) ((void)0)
#endif

/* "PATH: cannot VERB: strerror".  Returns false. */
static bool fail(err *e, const char *path, const char *verb)
{
    return err_set(e, ERR_FAILED, "%s: cannot %s: %s", path, verb, strerror(errno));
}

bool file_map_open(file_map *m, const char *path, err *e)
{
    *m = (file_map){0};
    bool ok = false;
    struct stat st;
    int fd = os_open(path, OS_READ);
    if (fd < 0)
        return fail(e, path, "open");
    if (fstat(fd, &st)) {
        fail(e, path, "examine");
    } else if (!S_ISREG(st.st_mode)) {
        err_set(e, ERR_FAILED, "%s: cannot open: %s (give a regular file)", path,
                S_ISDIR(st.st_mode) ? "it is a directory" : "it is a device or a pipe");
    } else if ((uintmax_t)st.st_size > PTRDIFF_MAX) {
        err_set(e, ERR_FAILED, "%s: cannot map: larger than this machine's address space", path);
    } else if (st.st_size == 0) {
        ok = true; /* mmap refuses a length of 0 */
    } else {
        void *p = os_map(fd, (size_t)st.st_size);
        if (!p) {
            fail(e, path, "map");
        } else {
            *m = (file_map){p, (size_t)st.st_size};
            guard_tail(m->data, m->size);
            ok = true;
        }
    }
    close(fd);
    return ok;
}

const char *file_base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

void file_map_release(file_map *m)
{
    if (m->data) {
        unguard_tail(m->data, m->size);
        os_unmap((void *)m->data, m->size);
    }
    *m = (file_map){0};
}

void file_map_forget(const file_map *m)
{
    if (m->data)
        os_pages_forget((void *)m->data, m->size);
}

void file_map_forget_part(const file_map *m, const void *from, size_t bytes)
{
    const uintptr_t page = os_page_size(), map = (uintptr_t)m->data, at = (uintptr_t)from;
    if (!map || at < map || at - map > m->size || bytes > m->size - (at - map))
        return;
    const uintptr_t first = (at + page - 1) / page * page, end = (at + bytes) / page * page;
    if (first < end)
        os_pages_forget((void *)first, end - first);
}

/* ---- writing ---- */

/* A file in the making is FOLDER/.limn-PID-N.tmp, a name that fits wherever the file's own does. */
static bool is_temporary(const char *name)
{
    long pid;
    int n, end = 0;
    return sscanf(name, ".limn-%ld-%d.tmp%n", &pid, &n, &end) == 2 && end > 0 && name[end] == 0;
}

/* What a signal's handler has to remove.  More than these at once stay behind, for the next run to remove. */
static struct {
    atomic_bool taken;
    atomic_long live; /* the process that writes, not one that it forked; 0: none */
    char path[PATH_MAX];
} temporaries[16];
enum { TEMPORARIES = sizeof temporaries / sizeof *temporaries };

/* The place of the path, or -1 where there is none. */
static int remember(const char *path)
{
    if (strlen(path) >= PATH_MAX)
        return -1;
    for (int i = 0; i < TEMPORARIES; i++)
        if (!atomic_exchange(&temporaries[i].taken, true)) {
            memcpy(temporaries[i].path, path, strlen(path) + 1);
            atomic_store(&temporaries[i].live, (long)getpid());
            return i;
        }
    return -1;
}

static void forget(int i)
{
    if (i < 0)
        return;
    atomic_store(&temporaries[i].live, 0);
    atomic_store(&temporaries[i].taken, false);
}

static void (*_Atomic others)(void);

void file_out_abandon_also(void (*remove)(void))
{
    atomic_store(&others, remove);
}

void file_out_abandon(void)
{
    void (*also)(void) = atomic_load(&others);
    if (also)
        also();
    for (int i = 0; i < TEMPORARIES; i++)
        if (atomic_load(&temporaries[i].live) == (long)getpid())
            (void)unlink(temporaries[i].path);
}

/* The folder of a path, a new string. */
static char *folder_of(const char *path)
{
    const char *name = file_base_name(path);
    size_t n = (size_t)(name - path);
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? strndup(path, n) : strdup(".");
}

static void remove_leftover(const char *folder, const char *name)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return;
    int fd = os_open(path, OS_SAME);
    if (fd < 0)
        return;
    if (os_lock(fd, false))
        (void)unlink(path);
    close(fd);
}

/* Removes what writers that were killed left in the folder.  A writer holds a lock on its file, which the system lets
 * go with the process: numbers of processes come again, and are others in a container.  What can't be removed stays. */
static void remove_leftovers(const char *folder)
{
    /* once for each folder: a thousand pictures needn't read it a thousand times */
    static _Thread_local os_id last;
    os_id now;
    DIR *d = opendir(folder);
    if (d && os_id_at(folder, &now) && (now.device != last.device || now.file != last.file)) {
        last = now;
        for (struct dirent *entry; (entry = readdir(d));)
            if (is_temporary(entry->d_name))
                remove_leftover(folder, entry->d_name);
    }
    if (d)
        closedir(d);
}

/* Opens the temporary file beside o->path, and locks it.  Returns -1 with errno set where that fails. */
static int open_temporary(file_out *o)
{
    struct stat st;
    char *folder = folder_of(o->path);
    size_t size = folder ? strlen(folder) + 64 : 0;
    int fd = -1;
    o->temporary = folder ? malloc(size) : NULL;
    if (o->temporary)
        remove_leftovers(folder);
    for (int i = 0; o->temporary && i < 1000; i++) { /* others of this process have the first numbers */
        snprintf(o->temporary, size, "%s/.limn-%ld-%d.tmp", folder, (long)getpid(), i);
        fd = os_open(o->temporary, OS_NEW);
        if (fd < 0 && errno != EEXIST)
            break;
        if (fd < 0)
            continue;
        (void)os_lock(fd, true); /* some file systems have no locks: nobody removes a file there */
        if (!fstat(fd, &st) && st.st_nlink > 0)
            break;
        close(fd); /* removed before it was locked */
        fd = -1;
    }
    int reason = errno;
    free(folder);
    if (fd >= 0) {
        o->number = remember(o->temporary);
    } else { /* nothing of ours to remove */
        free(o->temporary);
        o->temporary = NULL;
    }
    errno = reason;
    return fd;
}

/* Whether PATH can be written as `cp` would write it; st: what is there, if `exists`. */
static bool may_write(const char *path, bool exists, const struct stat *st, err *e)
{
    struct stat link;
    if (exists && S_ISDIR(st->st_mode))
        return err_set(e, ERR_FAILED, "%s: cannot write: it is a directory (give a file's name)", path);
    if (exists && access(path, W_OK))
        return err_set(e, ERR_FAILED, "%s: cannot write: %s (make the file writable, or give another name)", path,
                       strerror(errno));
    if (!exists && !os_lstat(path, &link))
        return err_set(e, ERR_FAILED,
                       "%s: cannot write: it is a link to a file that is not there (remove the link, or make its "
                       "target)",
                       path);
    return true;
}

/* Whether the file is only replaced by changing it: its other names would keep the old one, or its folder takes no new.
 */
static bool must_stay(const char *path, const struct stat *st, bool *folder_closed)
{
    char *folder = folder_of(path);
    *folder_closed = folder && access(folder, W_OK | X_OK);
    free(folder);
    return *folder_closed || st->st_nlink > 1;
}

/* Copies all of `from` into the file that is there. */
static bool copy_into(const char *path, int from, err *e)
{
    char piece[1 << 16];
    struct stat st, old;
    int to = os_open(path, OS_WRITE);
    if (to < 0)
        return fail(e, path, "write");
    bool ok = !fstat(from, &st) && !fstat(to, &old);
    int full = ok && st.st_size > old.st_size ? os_reserve(to, st.st_size) : 0;
    if (full) { /* what is there must not be lost to a full disk */
        (void)!ftruncate(to, old.st_size);
        errno = full;
        ok = false;
    }
    for (off_t done = 0; ok && done < st.st_size;) {
        ssize_t n = os_read_at(from, piece, sizeof piece, done);
        ok = n > 0 && os_write_at(to, piece, (size_t)n, done) == n;
        done += n;
    }
    ok = ok && !ftruncate(to, st.st_size) && os_sync(to);
    if (!ok)
        fail(e, path, "write");
    if (close(to) && ok)
        ok = fail(e, path, "write");
    return ok;
}

bool file_out_open(file_out *o, const char *path, err *e)
{
    *o = (file_out){.number = -1};
    struct stat st;
    int fd = -1;
    bool exists = !stat(path, &st);
    if (!exists && errno != ENOENT) /* such as a name that is too long: better known before the work than after it */
        return fail(e, path, "write");
    if (!may_write(path, exists, &st, e))
        return false;
    /* /dev/null, a pipe, a shell's /dev/stdout: written as it is, never renamed over */
    bool direct = exists && (!S_ISREG(st.st_mode) || os_is_device(path)), closed = false;
    /* A link stays a link: its target is replaced. */
    o->path = exists && !direct ? os_real_path(path) : strdup(path);
    if (!o->path) {
        fail(e, path, "write");
    } else if (direct) {
        fd = os_open(path, S_ISREG(st.st_mode) ? OS_EMPTY : OS_WRITE);
    } else {
        o->copied = exists && must_stay(o->path, &st, &closed);
        if (closed)
            o->stream = os_temporary_file();
        else
            fd = open_temporary(o);
        if (fd >= 0 && exists)
            o->copied = !os_take_over(fd, &st) || o->copied;
    }
    if (fd >= 0)
        o->stream = fdopen(fd, "wb");
    if (o->stream)
        return true;
    if (o->path)
        fail(e, path, "write");
    if (fd >= 0)
        close(fd);
    file_out_release(o);
    return false;
}

bool file_out_write(file_out *o, const void *data, size_t bytes, err *e)
{
    if (bytes == 0 || fwrite(data, 1, bytes, o->stream) == bytes)
        return true;
    return fail(e, o->path, "write");
}

/* Makes the rename itself durable. */
static bool sync_folder_of(const char *path, err *e)
{
    char *folder = folder_of(path);
    bool ok =
        !folder || os_sync_folder(folder) ||
        err_set(e, ERR_FAILED, "%s: it was written, but not its name: %s (check the disk)", path, strerror(errno));
    free(folder);
    return ok;
}

/* Puts the temporary file in its place. */
static bool put_in_place(file_out *o, bool sync, err *e)
{
    /* a fresh file replaces nothing */
    if (!(o->fresh ? os_rename_new : os_rename)(o->temporary, o->path)) {
        /* another's file in a folder like /tmp, a file that a container has from outside */
        bool can_copy = errno == EPERM || errno == EACCES || errno == EBUSY;
        int from = can_copy ? os_open(o->temporary, OS_READ) : -1;
        if (from < 0)
            return fail(e, o->path, o->fresh ? "write" : "replace");
        bool ok = copy_into(o->path, from, e);
        close(from);
        return ok;
    }
    forget(o->number);
    free(o->temporary);
    o->temporary = NULL; /* it is the file now: release must not remove it */
    return !sync || sync_folder_of(o->path, e);
}

bool file_out_commit(file_out *o, err *e)
{
    bool ok = true, sync = o->temporary && !o->copied && !o->cache;
    if (ferror(o->stream))
        ok = err_set(e, ERR_FAILED, "%s: cannot write: an earlier write failed (is the disk full?)", o->path);
    if (ok && (fflush(o->stream) || (sync && !os_sync(fileno(o->stream)))))
        ok = fail(e, o->path, "write");
    if (ok && o->copied && o->fresh) {
        errno = EEXIST;
        ok = fail(e, o->path, "write");
    }
    ok = ok && (!o->copied || copy_into(o->path, fileno(o->stream), e));
    if (fclose(o->stream) && ok)
        ok = fail(e, o->path, "write");
    o->stream = NULL;
    if (ok && o->temporary && !o->copied)
        ok = put_in_place(o, sync, e);
    file_out_release(o);
    return ok;
}

void file_out_release(file_out *o)
{
    if (o->stream)
        (void)fclose(o->stream);
    if (o->temporary) {
        (void)unlink(o->temporary);
        forget(o->number);
    }
    free(o->temporary);
    free(o->path);
    *o = (file_out){0};
}

bool file_make_directory(const char *path, err *e)
{
    char *copy = strdup(path);
    if (!copy)
        return err_no_memory(e, path, strlen(path) + 1);
    bool ok = true;
    size_t n = strlen(copy);
    for (size_t i = 1; i <= n && ok; i++) {
        if (copy[i] && copy[i] != '/')
            continue;
        char end = copy[i];
        copy[i] = 0;
        ok = os_make_folder(copy) || fail(e, copy, "create the directory");
        copy[i] = end;
    }
    free(copy);
    return ok;
}

char *file_cache_directory(void)
{
    const char *own = getenv("LIMN_CACHE_DIR");
    if (!own || !*own)
        return os_cache_folder();
    char *folder = strdup(own);
    if (folder)
        os_use_slashes(folder);
    return folder;
}
