/* Files: read-only maps, atomic writes by rename, directories. */
#define _XOPEN_SOURCE   700 /* realpath */
#define _DEFAULT_SOURCE     /* madvise, flock */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h> /* flock */
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
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
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a FIFO without a writer must not hang */
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
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
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
        munmap((void *)m->data, m->size);
    }
    *m = (file_map){0};
}

void file_map_forget(const file_map *m)
{
    if (m->data) /* POSIX's own advice does nothing in glibc; this one drops clean pages of the file at once */
        madvise((void *)m->data, m->size, MADV_DONTNEED);
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

/* Removes what writers that were killed left in the folder.  A writer holds a lock on its file, which the system lets
 * go with the process: numbers of processes come again, and are others in a container.  What can't be removed stays. */
static void remove_leftovers(const char *folder)
{
    /* once for each folder: a thousand pictures needn't read it a thousand times */
    static _Thread_local dev_t last_device;
    static _Thread_local ino_t last_file;
    DIR *d = opendir(folder);
    struct stat st;
    if (!d)
        return;
    if (fstat(dirfd(d), &st) == 0 && (st.st_dev != last_device || st.st_ino != last_file)) {
        last_device = st.st_dev;
        last_file = st.st_ino;
        for (struct dirent *entry; (entry = readdir(d));) {
            if (!is_temporary(entry->d_name))
                continue;
            int fd = openat(dirfd(d), entry->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
            if (fd < 0)
                continue;
            if (!flock(fd, LOCK_EX | LOCK_NB))
                (void)unlinkat(dirfd(d), entry->d_name, 0);
            close(fd);
        }
    }
    closedir(d);
}

/* Opens the temporary file beside o->path, and locks it.  Returns -1 with errno set where that fails. */
static int open_temporary(file_out *o)
{
    struct stat st;
    char *copy = strdup(o->path);
    const char *folder = copy ? dirname(copy) : NULL;
    size_t size = copy ? strlen(folder) + 64 : 0;
    int fd = -1;
    o->temporary = copy ? malloc(size) : NULL;
    if (o->temporary)
        remove_leftovers(folder);
    for (int i = 0; o->temporary && i < 1000; i++) { /* others of this process have the first numbers */
        snprintf(o->temporary, size, "%s/.limn-%ld-%d.tmp", folder, (long)getpid(), i);
        fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd < 0 && errno != EEXIST)
            break;
        if (fd < 0)
            continue;
        (void)flock(fd, LOCK_EX); /* some file systems have no locks: nobody removes a file there */
        if (!fstat(fd, &st) && st.st_nlink > 0)
            break;
        close(fd); /* removed before it was locked */
        fd = -1;
    }
    int reason = errno;
    free(copy);
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
    if (!exists && !lstat(path, &link))
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
    char *copy = strdup(path);
    *folder_closed = copy && access(dirname(copy), W_OK | X_OK);
    free(copy);
    return *folder_closed || st->st_nlink > 1;
}

/* Copies all of `from` into the file that is there. */
static bool copy_into(const char *path, int from, err *e)
{
    char piece[1 << 16];
    struct stat st, old;
    int to = open(path, O_WRONLY | O_CLOEXEC);
    if (to < 0)
        return fail(e, path, "write");
    bool ok = !fstat(from, &st) && !fstat(to, &old);
    int full = ok && st.st_size > old.st_size ? posix_fallocate(to, 0, st.st_size) : 0;
    if (full == ENOSPC || full == EDQUOT || full == EFBIG) { /* what is there must not be lost to a full disk */
        (void)!ftruncate(to, old.st_size);
        errno = full;
        ok = false;
    }
    for (off_t done = 0; ok && done < st.st_size;) {
        ssize_t n = pread(from, piece, sizeof piece, done);
        ok = n > 0 && pwrite(to, piece, (size_t)n, done) == n;
        done += n;
    }
    ok = ok && !ftruncate(to, st.st_size) && !fsync(to);
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
    bool device = strncmp(path, "/dev/", 5) == 0 && strncmp(path, "/dev/shm/", 9) != 0;
    bool direct = exists && (!S_ISREG(st.st_mode) || device), closed = false;
    /* A link stays a link: its target is replaced. */
    o->path = exists && !direct ? realpath(path, NULL) : strdup(path);
    if (!o->path) {
        fail(e, path, "write");
    } else if (direct) {
        fd = open(path, O_WRONLY | O_CLOEXEC | (S_ISREG(st.st_mode) ? O_TRUNC : 0));
    } else {
        o->copied = exists && must_stay(o->path, &st, &closed);
        if (closed)
            o->stream = tmpfile();
        else
            fd = open_temporary(o);
        if (fd >= 0 && exists) { /* the new file is its owner's, and as private as the old one was */
            bool same_owner = !fchown(fd, st.st_uid, st.st_gid);
            o->copied = o->copied || (!same_owner && st.st_uid != geteuid());
            (void)!fchmod(fd, st.st_mode & 0777);
        }
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
    bool ok = true;
    char *copy = strdup(path);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    if (fd >= 0) { /* some systems open no folder, or sync none: then nothing can be done */
        if (fsync(fd) && (errno == EIO || errno == ENOSPC || errno == EDQUOT))
            ok = err_set(e, ERR_FAILED, "%s: it was written, but not its name: %s (check the disk)", path,
                         strerror(errno));
        close(fd);
    }
    free(copy);
    return ok;
}

/* A fresh file replaces nothing. */
static bool move(const file_out *o)
{
    if (!o->fresh)
        return rename(o->temporary, o->path) == 0;
    if (link(o->temporary, o->path) == 0) {
        (void)unlink(o->temporary);
        return true;
    }
    if (errno == EEXIST)
        return false;
    errno = EEXIST; /* some file systems have no second names */
    return access(o->path, F_OK) != 0 && rename(o->temporary, o->path) == 0;
}

/* Puts the temporary file in its place. */
static bool put_in_place(file_out *o, bool sync, err *e)
{
    if (!move(o)) {
        /* another's file in a folder like /tmp, a file that a container has from outside */
        bool can_copy = errno == EPERM || errno == EACCES || errno == EBUSY;
        int from = can_copy ? open(o->temporary, O_RDONLY | O_CLOEXEC) : -1;
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
    if (ok && (fflush(o->stream) || (sync && fsync(fileno(o->stream)))))
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
        struct stat st;
        if (mkdir(copy, 0777) && (errno != EEXIST || stat(copy, &st) || !S_ISDIR(st.st_mode))) {
            if (errno == EEXIST)
                errno = ENOTDIR;
            ok = fail(e, copy, "create the directory");
        }
        copy[i] = end;
    }
    free(copy);
    return ok;
}

static char *joined(const char *directory, const char *rest)
{
    size_t n = strlen(directory) + strlen(rest) + 1;
    char *s = malloc(n);
    if (s)
        snprintf(s, n, "%s%s", directory, rest);
    return s;
}

char *file_cache_directory(void)
{
    const char *own = getenv("LIMN_CACHE_DIR"), *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    if (own && *own)
        return joined(own, "");
    if (xdg && *xdg == '/') /* the XDG specification has relative paths ignored */
        return joined(xdg, "/limn");
    if (home && *home)
        return joined(home, "/.cache/limn");
    return NULL;
}
