/* Where converted models are kept: CACHE/models/NAME-HASH.gguf, by the files' names, sizes and times and limn's
 * version. Whoever finds one there has all of it, since it was renamed into its place. */
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/hash.h"
#include "base/os.h"
#include "convert/convert_internal.h"

enum { PATH_BYTES = 4352 };

typedef struct key {
    uint64_t hash[2];
} key;

/* FNV-1a, twice from different starts. */
static void add(key *k, const void *data, size_t n)
{
    for (int w = 0; w < 2; w++)
        k->hash[w] = hash_bytes(k->hash[w], data, n);
}

static void add_file(key *k, const char *path)
{
    struct stat st;
    char *real = os_real_path(path);
    if (stat(path, &st) == 0) {
        const struct timespec modified = os_modified(&st);
        const int64_t about[] = {(int64_t)st.st_size, (int64_t)modified.tv_sec, (int64_t)modified.tv_nsec};
        add(k, real ? real : path, strlen(real ? real : path) + 1);
        add(k, about, sizeof about);
    }
    free(real);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The files of a tokenizer and of a configuration. */
static bool add_folder(key *k, const char *folder, err *e)
{
    static const char *const ends[] = {".json", ".txt", ".gz", ".model"};
    path_list files = {0};
    DIR *d = opendir(folder);
    bool ok = true;
    for (struct dirent *entry; d && ok && (entry = readdir(d));) {
        const char *dot = strrchr(entry->d_name, '.');
        char path[2 * PATH_BYTES];
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        for (size_t i = 0; ok && dot && i < sizeof ends / sizeof *ends; i++)
            if (!strcmp(dot, ends[i]))
                ok = path_list_add(&files, path, e);
    }
    if (d)
        closedir(d);
    if (files.n)
        qsort(files.list, files.n, sizeof *files.list, by_text);
    for (size_t i = 0; i < files.n; i++)
        add_file(k, files.list[i]);
    path_list_release(&files);
    return ok;
}

/* What the cache's file is called for people: the last part of the path, without its ending. */
static void short_name(const char *from, char out[64])
{
    size_t length = strlen(from), start;
    while (length > 1 && from[length - 1] == '/')
        length--;
    for (start = length; start && from[start - 1] != '/';)
        start--;
    snprintf(out, 64, "%.*s", (int)(length - start < 60 ? length - start : 60), from + start);
    char *dot = strrchr(out, '.');
    if (dot && dot != out)
        *dot = 0;
}

char *source_cache_path(const source *s, const char *from, err *e)
{
    key k = {.hash = {HASH_BEGIN, UINT64_C(0x9ae16a3b2f90404f)}};
    char *base = file_cache_directory(), folder[PATH_BYTES], inner[PATH_BYTES + 16], name[64];
    if (!base) {
        err_set(e, ERR_FAILED,
                "`convert`: there is no cache directory (set HOME or LIMN_CACHE_DIR, or use limn convert)");
        return NULL;
    }
    snprintf(folder, sizeof folder, "%.4200s/models", base);
    free(base);
    add(&k, LIMN_VERSION, sizeof LIMN_VERSION);
    for (size_t i = 0; i < s->n_files; i++) {
        const char *path;
        for (size_t n = 0; (path = model_file_path(s->files[i], n)); n++)
            add_file(&k, path);
    }
    snprintf(inner, sizeof inner, "%.4300s/tokenizer", s->directory);
    if (!add_folder(&k, s->directory, e) || !add_folder(&k, inner, e) || !file_make_directory(folder, e))
        return NULL;
    short_name(from, name);
    size_t size = strlen(folder) + strlen(name) + 48;
    char *path = malloc(size);
    if (path)
        snprintf(path, size, "%s/%s-%016" PRIx64 "%016" PRIx64 ".gguf", folder, name, k.hash[0], k.hash[1]);
    else
        err_no_memory(e, "cache", size);
    return path;
}
