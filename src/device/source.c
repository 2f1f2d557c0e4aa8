/* The text of a kernel program: kernel files with the files that they include in their places.  Drivers that compile
 * text have no folder to look in, and the kernel cache's key is the whole text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "device/kernels.h"

#define DEPTH 8 /* of files that include files */

static const kernel_source *built_in(const char *file)
{
    const kernel_source *s = kernel_sources;
    while (s->name && strcmp(s->file, file))
        s++;
    return s->name ? s : NULL;
}

/* cl/FILE: that of the directory LIMN_CL_DIR while kernels are being written, or the built-in one, which also stands
 * for files that are included and not there.  *mapped: to be released. */
static bool open_file(const char *file, bool included, file_map *m, bool *mapped, err *e)
{
    const char *directory = getenv("LIMN_CL_DIR");
    const kernel_source *s = built_in(file);
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", directory ? directory : "cl", file);
    *mapped = directory && (!included || access(path, F_OK) == 0);
    if (*mapped)
        return file_map_open(m, path, e);
    if (s)
        *m = (file_map){.data = (const uint8_t *)s->text, .size = s->bytes};
    else
        err_set(e, ERR_FAILED, "kernel file %s: neither in this build nor in LIMN_CL_DIR (build limn again)", file);
    return s != NULL;
}

/* The C code has the constants that it was compiled with. */
static bool check_constants(const char *file, const file_map *m, err *e)
{
    const kernel_source *s = built_in(file);
    if (strcmp(file, "constants.h") != 0 || (m->size == s->bytes && !memcmp(m->data, s->text, s->bytes)))
        return true;
    err_set(e, ERR_FAILED, "%s/%s: differs from the one that limn was built with (build limn again)",
            getenv("LIMN_CL_DIR"), file);
    return false;
}

/* The file that the line at `text` includes, or false: #include "FILE", at the line's begin. */
static bool included_file(const char *text, const char *end, char file[64])
{
    static const char word[] = "#include \"";
    size_t n = sizeof word - 1;
    if ((size_t)(end - text) < n || memcmp(text, word, n) != 0)
        return false;
    const char *quote = memchr(text + n, '"', (size_t)(end - text) - n);
    if (!quote || quote - text - n >= 64)
        return false;
    snprintf(file, 64, "%.*s", (int)(quote - text - n), text + n);
    return true;
}

static bool write_file(FILE *out, const char *file, int depth, err *e)
{
    file_map m = {0};
    bool mapped = false;
    if (depth == DEPTH) {
        err_set(e, ERR_FAILED, "kernel file %s: included by files that it includes (leave that #include out)", file);
        return false;
    }
    if (!open_file(file, depth > 0, &m, &mapped, e))
        return false;
    bool ok = check_constants(file, &m, e);
    const char *at = (const char *)m.data, *end = at + m.size;
    fprintf(out, "#line 1 \"%s\"\n", file);
    for (int line = 1; ok && at < end; line++) {
        const char *newline = memchr(at, '\n', (size_t)(end - at)), *next = newline ? newline + 1 : end;
        char other[64];
        if (included_file(at, next, other)) {
            ok = write_file(out, other, depth + 1, e);
            fprintf(out, "#line %d \"%s\"\n", line + 1, file);
        } else {
            fwrite(at, 1, (size_t)(next - at), out);
        }
        at = next;
    }
    fputc('\n', out);
    if (mapped)
        file_map_release(&m);
    return ok;
}

char *kernel_text(const char *name, const char **stable, err *e)
{
    char file[64];
    os_text text;
    snprintf(file, sizeof file, "%s.cl", name);
    const kernel_source *s = built_in(file);
    if (!s) {
        err_set(e, ERR_FAILED, "kernel file %s: not part of this build (build limn again)", file);
        return NULL;
    }
    *stable = s->name;
    bool open = os_text_open(&text);
    bool ok = open && write_file(text.stream, "common.cl", 1, e) && write_file(text.stream, file, 0, e);
    char *whole = os_text_close(&text);
    if (ok && whole)
        return whole;
    if (ok || !open)
        err_no_memory(e, file, 1);
    free(whole);
    return NULL;
}
