/* Pictures on their way to PNG files, with the settings that made them in text chunks. */
#include "cli/pictures.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ", Key: value", the value in quotes where it could be taken for more than one field. */
static void put_field(FILE *f, const char *key, const char *value)
{
    if (!value)
        return;
    fprintf(f, ", %s: ", key);
    if (!strpbrk(value, ",:\"\\\n")) {
        fputs(value, f);
        return;
    }
    fputc('"', f);
    for (; *value; value++) {
        if (*value == '\n') {
            fputs("\\n", f);
            continue;
        }
        if (*value == '"' || *value == '\\')
            fputc('\\', f);
        fputc(*value, f);
    }
    fputc('"', f);
}

/* The form that AUTOMATIC1111's web interface writes and other front ends read: the prompt, then one line of fields. */
char *parameters_text(const picture_settings *p, int i, int n)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    if (!f)
        return NULL;
    fprintf(f, "%s\nSteps: %d, Sampler: %s, CFG scale: %g, Seed: %" PRIu64 ", Size: %dx%d", p->prompt, p->steps,
            p->temperature > 0 ? "Gumbel-Max" : "Greedy", p->guidance > 0 ? p->guidance : 1, p->seed, p->width,
            p->height);
    put_field(f, "Model", p->model);
    fprintf(f, ", Temperature: %g, Top-k: %d, Top-p: %g", p->temperature, p->top_k, p->top_p > 0 ? p->top_p : 1);
    if (n > 1 && i > 0) /* the number that, with the seed, makes it again */
        fprintf(f, ", Picture: %d of %d", p->order ? p->order[i - 1] + 1 : i, n);
    else if (n > 1)
        fprintf(f, ", Pictures: %d", n);
    if (p->order && i > 0)
        fprintf(f, ", CLIP score: %.4f", (double)p->scores[i - 1]);
    put_field(f, "KV cache", p->kv_cache);
    put_field(f, "Image prompt", p->image_prompt);
    put_field(f, "Keep", p->keep);
    fprintf(f, ", Version: limn %s", limn_version());
    if (fclose(f) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

static bool picture_write(const image *im, const char *path, const picture_settings *p, int i, int n, err *e)
{
    char software[64];
    snprintf(software, sizeof software, "limn %s", limn_version());
    char *parameters = p && p->prompt ? parameters_text(p, i, n) : NULL;
    if (p && p->prompt && !parameters)
        return err_no_memory(e, "PNG text", 1024);
    image_text texts[2] = {{"Software", software}, {"parameters", parameters}};
    bool ok = image_write_png(im, path, texts, parameters ? 2 : 1, e);
    free(parameters);
    return ok;
}

bool pictures_write(const image *ims, int n, bool grid, const char *path, const picture_settings *settings, err *e)
{
    if (n == 1)
        return picture_write(&ims[0], path, settings, 1, 1, e);
    if (grid) {
        image all = {0};
        bool ok = image_grid(&all, ims, n, 2, e) && picture_write(&all, path, settings, 0, n, e);
        image_release(&all);
        return ok;
    }
    for (int i = 0; i < n; i++) {
        char *name = numbered_path(path, i + 1);
        bool ok = name ? picture_write(&ims[i], name, settings, i + 1, n, e) : err_no_memory(e, "file name", 1);
        free(name);
        if (!ok)
            return false;
    }
    return true;
}

void say_pictures(const char *path, int n, bool grid, const char *detail, ...)
{
    char text[256], names[8300];
    va_list ap;
    va_start(ap, detail);
    vsnprintf(text, sizeof text, detail, ap);
    va_end(ap);
    if (n == 1 || grid) {
        say_wrote(path, "%s", text);
        return;
    }
    char *first = numbered_path(path, 1), *last = numbered_path(path, n);
    uint64_t bytes = 0;
    for (int i = 1; i <= n; i++) {
        struct stat st;
        char *name = numbered_path(path, i);
        bytes += name && stat(name, &st) == 0 ? (uint64_t)st.st_size : 0;
        free(name);
    }
    snprintf(names, sizeof names, "%s to %s", first ? first : path, last ? last : path);
    say_wrote_files(names, bytes, "%d pictures, %s", n, text);
    free(first);
    free(last);
}
