/* Bytes as files, in memory: readers take paths. */
#define _GNU_SOURCE /* memfd_create */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "readers.h"

void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: this doesn't hold: %s\n", file, line, condition);
    abort();
}

static void fill(int fd, const void *data, size_t size)
{
    CHECK(fd >= 0 && ftruncate(fd, 0) == 0);
    CHECK(!size || pwrite(fd, data, size, 0) == (ssize_t)size);
}

const char *fuzz_file(const void *data, size_t size)
{
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", MFD_CLOEXEC);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    fill(fd, data, size);
    return path;
}

static char folder[128];

static void remove_folder(void)
{
    char command[160];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    (void)!system(command);
}

const char *fuzz_named(const char *name, const void *data, size_t size)
{
    static char path[4][256];
    static int next;
    if (!*folder) {
        const char *in = getenv("TMPDIR");
        snprintf(folder, sizeof folder, "%s/limn-fuzz-XXXXXX", in ? in : "/tmp");
        CHECK(mkdtemp(folder));
        atexit(remove_folder);
        setenv("LIMN_CACHE_DIR", folder, 1); /* where archives are unpacked */
    }
    if (!name)
        return folder;
    char *p = path[next++ % 4];
    snprintf(p, sizeof path[0], "%s/%s", folder, name);
    int fd = open(p, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    fill(fd, data, size);
    close(fd);
    return p;
}

char *fuzz_part(const uint8_t **data, size_t *size, size_t *n)
{
    static const char end[] = "\n%%\n";
    const uint8_t *found = memmem(*data, *size, end, sizeof end - 1);
    *n = found ? (size_t)(found - *data) : *size;
    char *part = malloc(*n + 1);
    CHECK(part);
    if (*n)
        memcpy(part, *data, *n);
    part[*n] = 0;
    size_t used = found ? *n + sizeof end - 1 : *n;
    *data += used;
    *size -= used;
    return part;
}
