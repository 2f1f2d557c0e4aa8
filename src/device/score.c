/* Measured speeds: one line per device and driver in CACHE/devices, "GFLOPS GBYTES_PER_S NAME|DRIVER". */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "device/device.h"

static char *score_path(void)
{
    char *directory = file_cache_directory(), *path = NULL;
    if (directory) {
        size_t n = strlen(directory) + 16;
        path = malloc(n);
        if (path)
            snprintf(path, n, "%s/devices", directory);
    }
    free(directory);
    return path;
}

static void score_key(const limn_device_info *d, char key[512])
{
    snprintf(key, 512, "%s|%s|%s", d->platform_name, d->name, d->driver);
}

void device_score_load(limn_device_info *d)
{
    char *path = score_path(), key[512], line[640];
    score_key(d, key);
    FILE *f = path ? fopen(path, "r") : NULL;
    while (f && fgets(line, sizeof line, f)) {
        double gflops, gbytes;
        int used = 0;
        line[strcspn(line, "\n")] = 0;
        if (sscanf(line, "%lf %lf %n", &gflops, &gbytes, &used) == 2 && !strcmp(line + used, key)) {
            d->gflops = gflops;
            d->gbytes_per_s = gbytes;
        }
    }
    if (f)
        fclose(f);
    free(path);
}

bool device_score_save(const limn_device_info *d, err *e)
{
    char *path = score_path(), *directory = file_cache_directory(), key[512], line[640];
    score_key(d, key);
    file_out out = {0};
    bool ok =
        path && directory ? true : err_set(e, ERR_FAILED, "cache: no directory for it (set HOME or LIMN_CACHE_DIR)");
    ok = ok && file_make_directory(directory, e) && file_out_open(&out, path, e);
    FILE *old = ok ? fopen(path, "r") : NULL;
    while (ok && old && fgets(line, sizeof line, old)) {
        const char *tail = strchr(line, '|');
        if (tail && !strstr(line, key))
            ok = file_out_write(&out, line, strlen(line), e);
    }
    if (old)
        fclose(old);
    int n = snprintf(line, sizeof line, "%.1f %.2f %s\n", d->gflops, d->gbytes_per_s, key);
    ok = ok && file_out_write(&out, line, (size_t)n, e) && file_out_commit(&out, e);
    file_out_release(&out);
    free(path);
    free(directory);
    return ok;
}
