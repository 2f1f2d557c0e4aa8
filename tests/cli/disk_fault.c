/* Loaded before the C library (LD_PRELOAD), lets one call on a file fail as a bad disk would.
 * DISK_FAULT="CALL N FOLDER": the N-th CALL (open, fsync, rename, fclose) on a file below FOLDER fails with EIO.
 * It then says "FAULT CALL PATH" on stderr. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static atomic_int calls;

static bool fails(const char *call, const char *path)
{
    char wanted[16], folder[PATH_MAX];
    int number;
    const char *fault = getenv("DISK_FAULT");
    if (!fault || sscanf(fault, "%15s %d %4095s", wanted, &number, folder) != 3 || strcmp(call, wanted) != 0 ||
        strncmp(path, folder, strlen(folder)) != 0 || atomic_fetch_add(&calls, 1) + 1 != number)
        return false;
    dprintf(2, "FAULT %s %s\n", call, path);
    errno = EIO;
    return true;
}

/* What is open as fd: "" where that can't be told. */
static const char *name_of(int fd, char path[PATH_MAX])
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = 0;
    return path;
}

int open(const char *path, int flags, ...)
{
    int (*real)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open");
    va_list ap;
    va_start(ap, flags);
    mode_t mode = flags & O_CREAT ? va_arg(ap, mode_t) : 0;
    va_end(ap);
    return flags & O_CREAT && fails("open", path) ? -1 : real(path, flags, mode);
}

int fsync(int fd)
{
    char path[PATH_MAX];
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    return fails("fsync", name_of(fd, path)) ? -1 : real(fd);
}

int rename(const char *from, const char *to)
{
    int (*real)(const char *, const char *) = (int (*)(const char *, const char *))dlsym(RTLD_NEXT, "rename");
    return fails("rename", to) ? -1 : real(from, to);
}

int fclose(FILE *f)
{
    char path[PATH_MAX];
    int (*real)(FILE *) = (int (*)(FILE *))dlsym(RTLD_NEXT, "fclose");
    int fd = fileno(f);
    bool writes = fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    bool bad = writes && fails("fclose", name_of(fd, path));
    int status = real(f);
    if (bad)
        errno = EIO;
    return bad ? EOF : status;
}
