/* Pictures on their way to files, with the settings that made them. */
#include "cli/pictures.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/ranks.h"

/* ---- where they go --------------------------------------------------------------------------------------------- */

bool picture_is_stdout(const char *path)
{
    return strcmp(path, "-") == 0 || strcmp(path, "/dev/stdout") == 0;
}

bool picture_is_stream(const char *path)
{
    struct stat st;
    return picture_is_stdout(path) || (stat(path, &st) == 0 && !S_ISREG(st.st_mode));
}

static bool stream_check(const char *name, const char *path, err *e)
{
    struct stat st;
    if (picture_is_stdout(path) && isatty(STDOUT_FILENO))
        return err_set(e, ERR_USAGE,
                       "--%s: standard output is a terminal, which shows no pictures (send it on: … -o - > out.png, or "
                       "… -o - | chafa)",
                       name);
    if (picture_is_stdout(path))
        return true;
    if (stat(path, &st) == 0 && !os_is_stream(&st))
        return err_set(e, ERR_FAILED, "--%s: %s is not a plain file (choose another name)", name, path);
    if (access(path, W_OK) != 0)
        return err_set(e, ERR_FAILED, "--%s: %s: %s (choose another name)", name, path, strerror(errno));
    return true;
}

bool picture_check(const char *name, const char *path, err *e)
{
    err why = {0};
    if (!path || ranks_rank() > 0)
        return true;
    bool stream = picture_is_stream(path);
    image_format f = image_format_of_name(path);
    if (!stream && f == IMAGE_NONE)
        return err_set(e, ERR_USAGE,
                       "--%s: %s does not end in .png, .jpg or .webp (limn writes pictures as PNG, JPEG "
                       "or WebP)",
                       name, path);
    if (f != IMAGE_NONE && !image_can_write(f, path, &why))
        return err_set(e, ERR_FAILED, "--%s: %s", name, why.text);
    return stream ? stream_check(name, path, e) : output_check(name, path, NULL, e);
}

int picture_quality(const options *o, const char *path)
{
    int quality = (int)options_integer(o, "quality", 0);
    image_format f = path ? image_format_of_name(path) : IMAGE_PNG;
    if (quality && (f == IMAGE_PNG || f == IMAGE_NONE) && ranks_rank() == 0)
        say(LOG_WARNING, "--quality: a PNG keeps every pixel as it is (it is for JPEG and WebP)");
    return quality;
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static bool to_stdout(const image *im, const image_write_options *o, err *e)
{
    uint8_t *data = NULL;
    size_t size = 0;
    bool ok = image_encode(&data, &size, im, o, "standard output", e);
    if (ok && (fwrite(data, 1, size, stdout) != size || fflush(stdout) != 0))
        ok = err_set(e, ERR_FAILED, "standard output: cannot write: %s", strerror(errno));
    free(data);
    return ok;
}

bool picture_write(const image *im, const char *path, int quality, const parameters *p, bool fresh, err *e)
{
    char *text = p ? parameters_text(p) : NULL;
    if (p && !text)
        return err_no_memory(e, "settings of a picture", 1024);
    image_text texts[2] = {{"Software", "limn " LIMN_VERSION}, {"parameters", text}};
    const image_write_options o = {.quality = quality, .texts = texts, .n_texts = text ? 2 : 1, .fresh = fresh};
    bool ok = picture_is_stdout(path) ? to_stdout(im, &o, e) : image_write(im, path, &o, e);
    free(text);
    return ok;
}

void say_pictures(const char *path, int n, const char *detail, ...)
{
    char text[256], names[8300];
    va_list ap;
    va_start(ap, detail);
    vsnprintf(text, sizeof text, detail, ap);
    va_end(ap);
    if (n == 1) {
        say_wrote(path, "%s", text);
        return;
    }
    char *first = numbered_path(path, 1, n), *last = numbered_path(path, n, n);
    uint64_t bytes = 0;
    for (int i = 1; i <= n; i++) {
        struct stat st;
        char *name = numbered_path(path, i, n);
        bytes += name && stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
        free(name);
    }
    snprintf(names, sizeof names, "%s to %s", first ? first : path, last ? last : path);
    say_wrote_files(names, bytes, "%d pictures, %s", n, text);
    free(first);
    free(last);
}
