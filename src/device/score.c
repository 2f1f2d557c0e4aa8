/* Measured speeds: one line per device and driver in CACHE/devices, "GFLOPS GBYTES_PER_S NAME|DRIVER". */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "device/device.h"

#define LINE (512 + TUNING_TEXT + 64) /* a key, and the longest text */

/* ---- files of one line per device ---- */

static char *path_of(const char *file)
{
    char *directory = file_cache_directory(), *path = NULL;
    if (directory) {
        size_t n = strlen(directory) + strlen(file) + 2;
        path = malloc(n);
        if (path)
            snprintf(path, n, "%s/%s", directory, file);
    }
    free(directory);
    return path;
}

static void key_of(const limn_device_info *d, char key[512])
{
    snprintf(key, 512, " %s|%s|%s", d->platform_name, d->name, d->driver);
}

/* Whether the line ends in the key; *n: what is before it. */
static bool is_of(const char *line, const char *key, size_t *n)
{
    size_t length = strlen(line), tail = strlen(key);
    *n = length - tail;
    return length > tail && !strcmp(line + *n, key);
}

bool device_line_read(const char *file, const limn_device_info *d, char *text, size_t size)
{
    char *path = path_of(file), key[512], line[LINE];
    size_t n;
    bool found = false;
    key_of(d, key);
    FILE *f = path ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = 0;
        if (is_of(line, key, &n) && n < size) {
            snprintf(text, size, "%.*s", (int)n, line);
            found = true;
        }
    }
    if (f)
        fclose(f);
    free(path);
    return found;
}

/* Waits a moment for others who write lines, so that none is lost.  A descriptor; where it is -1, or the other one
 * takes longer, the last to write wins. */
static int lock_lines(const char *directory)
{
    char path[PATH_MAX];
    int fd = -1;
    if (snprintf(path, sizeof path, "%s/lock", directory) < (int)sizeof path)
        fd = os_open(path, OS_SAME_NEW);
    for (int tries = 0; fd >= 0 && !os_lock(fd, false) && errno == EWOULDBLOCK && tries < 100; tries++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    return fd;
}

bool device_line_write(const char *file, const limn_device_info *d, const char *text, err *e)
{
    char *path = path_of(file), *directory = file_cache_directory(), key[512], line[LINE];
    size_t n;
    key_of(d, key);
    file_out out = {0};
    bool ok =
        path && directory ? true : err_set(e, ERR_FAILED, "cache: no directory for it (set HOME or LIMN_CACHE_DIR)");
    ok = ok && file_make_directory(directory, e);
    int lock = ok ? lock_lines(directory) : -1;
    ok = ok && file_out_open(&out, path, e);
    FILE *old = ok ? fopen(path, "r") : NULL;
    while (ok && old && fgets(line, sizeof line, old)) {
        line[strcspn(line, "\n")] = 0;
        if (strchr(line, '|') && !is_of(line, key, &n))
            ok = file_out_write(&out, line, strlen(line), e) && file_out_write(&out, "\n", 1, e);
    }
    if (old)
        fclose(old);
    int length = snprintf(line, sizeof line, "%s%s\n", text, key);
    ok = ok && file_out_write(&out, line, (size_t)length, e) && file_out_commit(&out, e);
    file_out_release(&out);
    if (lock >= 0)
        close(lock);
    free(path);
    free(directory);
    return ok;
}

/* ---- scores ---- */

void device_score_load(limn_device_info *d)
{
    char text[256];
    double gflops, gbytes;
    if (device_line_read("devices", d, text, sizeof text) && sscanf(text, "%lf %lf", &gflops, &gbytes) == 2) {
        d->gflops = gflops;
        d->gbytes_per_s = gbytes;
    }
}

bool device_score_save(const limn_device_info *d, err *e)
{
    char text[64];
    snprintf(text, sizeof text, "%.1f %.2f", d->gflops, d->gbytes_per_s);
    return device_line_write("devices", d, text, e);
}
