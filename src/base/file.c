/* Files: read-only maps, atomic writes by rename, directories. */
#define _XOPEN_SOURCE   700 /* realpath */
#define _DEFAULT_SOURCE     /* madvise */
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
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

/* Opens a new PATH.tmp-PID; a leftover of that name gets a sibling, since it may be another writer's of this process.
 */
static int open_temporary(file_out *o)
{
    size_t size = strlen(o->path) + 48;
    o->temporary = malloc(size);
    if (!o->temporary)
        return -1;
    int fd = -1;
    snprintf(o->temporary, size, "%s.tmp-%ld", o->path, (long)getpid());
    for (int i = 1; i <= 100; i++) {
        fd = open(o->temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (fd >= 0 || errno != EEXIST)
            break;
        snprintf(o->temporary, size, "%s.tmp-%ld-%d", o->path, (long)getpid(), i);
    }
    if (fd < 0) { /* nothing of ours to remove */
        int reason = errno;
        free(o->temporary);
        o->temporary = NULL;
        errno = reason;
    }
    return fd;
}

bool file_out_open(file_out *o, const char *path, err *e)
{
    *o = (file_out){0};
    struct stat st;
    int fd = -1;
    bool exists = !stat(path, &st);
    if (exists && S_ISDIR(st.st_mode))
        return err_set(e, ERR_FAILED, "%s: cannot write: it is a directory (give a file's name)", path);
    /* A link stays a link: its target is replaced. */
    o->path = exists ? realpath(path, NULL) : strdup(path);
    if (!o->path) {
        fail(e, path, "write");
    } else if (exists && !S_ISREG(st.st_mode)) {
        fd = open(path, O_WRONLY | O_CLOEXEC); /* /dev/null, a pipe: written as it is, never renamed over */
    } else {
        fd = open_temporary(o);
        if (fd >= 0 && exists)
            (void)!fchmod(fd, st.st_mode & 0777); /* the new file is as private as the old one was */
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

/* Makes the rename itself durable; where that fails the file is whole all the same. */
static void sync_directory_of(const char *path)
{
    char *copy = strdup(path);
    if (!copy)
        return;
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        close(fd);
    }
    free(copy);
}

bool file_out_commit(file_out *o, err *e)
{
    bool ok = true;
    if (ferror(o->stream))
        ok = err_set(e, ERR_FAILED, "%s: cannot write: an earlier write failed (is the disk full?)", o->path);
    if (ok && (fflush(o->stream) || (o->temporary && fsync(fileno(o->stream)))))
        ok = fail(e, o->path, "write");
    if (fclose(o->stream) && ok)
        ok = fail(e, o->path, "write");
    o->stream = NULL;
    if (ok && o->temporary) {
        ok = !rename(o->temporary, o->path) || fail(e, o->path, "replace");
        if (ok) {
            free(o->temporary);
            o->temporary = NULL; /* it is the file now: release must not remove it */
            sync_directory_of(o->path);
        }
    }
    file_out_release(o);
    return ok;
}

void file_out_release(file_out *o)
{
    if (o->stream)
        (void)fclose(o->stream);
    if (o->temporary)
        (void)unlink(o->temporary);
    free(o->temporary);
    free(o->path);
    *o = (file_out){0};
}

/* The process of "NAME.tmp-PID" or "NAME.tmp-PID-N", where `file` is of NAME; else 0. */
static long writer_of(const char *file, const char *name)
{
    size_t n = strlen(name);
    if (strncmp(file, name, n) != 0 || strncmp(file + n, ".tmp-", 5) != 0)
        return 0;
    char *end;
    long pid = strtol(file + n + 5, &end, 10);
    return *end == 0 || *end == '-' ? pid : 0;
}

void file_remove_leftovers(const char *path)
{
    char *copy = strdup(path), *other = strdup(path), *full = malloc(strlen(path) + 512);
    const char *folder = copy ? dirname(copy) : "";
    DIR *d = copy && other && full ? opendir(folder) : NULL;
    const char *name = other ? basename(other) : "";
    for (struct dirent *entry; d && (entry = readdir(d));) {
        long pid = writer_of(entry->d_name, name);
        /* numbers come again (in a container, after a restart): one that is our own was another's */
        if (pid <= 0 || (pid != (long)getpid() && !(kill((pid_t)pid, 0) && errno == ESRCH)))
            continue;
        snprintf(full, strlen(path) + 512, "%s/%s", folder, entry->d_name);
        (void)unlink(full);
    }
    if (d)
        closedir(d);
    free(copy);
    free(other);
    free(full);
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
