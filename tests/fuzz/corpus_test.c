/* Runs each reader on the files of its corpus, once: also where there is no libFuzzer.
 * usage: fuzz_corpus CORPUS [READER] */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "readers.h"

static int run_folder(const char *corpus, const char *name, void (*reader)(const uint8_t *, size_t))
{
    int n = 0;
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", corpus, name);
    DIR *d = opendir(path);
    for (struct dirent *entry; d && (entry = readdir(d));) {
        file_map m;
        err e = {0};
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s/%s", corpus, name, entry->d_name);
        if (!file_map_open(&m, path, &e)) {
            fprintf(stderr, "%s\n", e.text);
            exit(1);
        }
        /* a copy, behind which the sanitizer sees the end */
        uint8_t *copy = malloc(m.size ? m.size : 1);
        CHECK(copy);
        if (m.size)
            memcpy(copy, m.data, m.size);
        printf("%s\n", path);
        fflush(stdout);
        reader(copy, m.size);
        free(copy);
        file_map_release(&m);
        n++;
    }
    if (d)
        closedir(d);
    return n;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*read)(const uint8_t *data, size_t size);
    } readers[] = {
#define ENTRY(name) {#name, read_##name},
        READERS(ENTRY)
#undef ENTRY
    };
    int found = 0;
    for (size_t i = 0; argc > 1 && i < sizeof readers / sizeof *readers; i++) {
        if (argc > 2 && strcmp(argv[2], readers[i].name) != 0)
            continue;
        int n = run_folder(argv[1], readers[i].name, readers[i].read);
        if (!n) {
            fprintf(stderr, "%s/%s: nothing to read\n", argv[1], readers[i].name);
            return 1;
        }
        found += n;
    }
    printf("%d files\n", found);
    return found ? 0 : 1;
}
