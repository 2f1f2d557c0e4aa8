/* Pictures on their way to PNG files, with the settings that made them in text chunks. */
#include "cli/pictures.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Of picture i of n, from 1 on; i = 0: of a grid of n. */
static parameters settings_of(const picture_settings *s, int i, int n)
{
    parameters p = {.prompt = s->prompt,
                    .negative = s->negative,
                    .sampler = s->temperature > 0 ? "Gumbel-Max" : "Greedy",
                    .model = s->model,
                    .version = "limn " LIMN_VERSION,
                    .kv_cache = s->kv_cache,
                    .image_prompt = s->image_prompt,
                    .keep = s->keep,
                    .has = PARAMETERS_STEPS | PARAMETERS_GUIDANCE | PARAMETERS_SEED | PARAMETERS_SIZE |
                           PARAMETERS_TEMPERATURE | PARAMETERS_TOP_K | PARAMETERS_TOP_P,
                    .steps = s->steps,
                    .width = s->width,
                    .height = s->height,
                    .top_k = s->top_k,
                    .seed = s->seed,
                    .guidance = s->guidance > 0 ? s->guidance : 1,
                    .temperature = s->temperature,
                    .top_p = s->top_p > 0 ? s->top_p : 1};
    if (n > 1) {
        p.has |= PARAMETERS_PICTURE;
        p.picture = s->order && i > 0 ? s->order[i - 1] + 1 : i; /* the number that, with the seed, makes it again */
        p.pictures = n;
    }
    if (s->order && i > 0) {
        p.has |= PARAMETERS_SCORE;
        p.score = s->scores[i - 1];
    }
    return p;
}

bool picture_write(const image *im, const char *path, const parameters *p, err *e)
{
    char *text = p ? parameters_text(p) : NULL;
    if (p && !text)
        return err_no_memory(e, "settings of a picture", 1024);
    image_text texts[2] = {{"Software", "limn " LIMN_VERSION}, {"parameters", text}};
    bool ok = image_write_png(im, path, texts, text ? 2 : 1, e);
    free(text);
    return ok;
}

static bool write_one(const image *im, const char *path, const picture_settings *s, int i, int n, err *e)
{
    if (!s || !s->prompt)
        return picture_write(im, path, NULL, e);
    parameters p = settings_of(s, i, n);
    return picture_write(im, path, &p, e);
}

bool pictures_write(const image *ims, int n, bool grid, const char *path, const picture_settings *settings, err *e)
{
    if (n == 1)
        return write_one(&ims[0], path, settings, 1, 1, e);
    if (grid) {
        image all = {0};
        bool ok = image_grid(&all, ims, n, 2, e) && write_one(&all, path, settings, 0, n, e);
        image_release(&all);
        return ok;
    }
    for (int i = 0; i < n; i++) {
        char *name = numbered_path(path, i + 1, n);
        bool ok = name ? write_one(&ims[i], name, settings, i + 1, n, e) : err_no_memory(e, "file name", 1);
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
