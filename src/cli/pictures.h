/* Pictures on their way to PNG files: one file, numbered files, or one grid. */
#ifndef CLI_PICTURES_H
#define CLI_PICTURES_H
#include "cli/common.h"
#include "io/parameters.h"

/* The settings that made pictures, for the PNG's text chunks; a NULL prompt writes no settings. */
typedef struct picture_settings {
    const char *prompt, *negative;
    const char *image_prompt, *keep; /* NULL: none */
    const char *model;
    int width, height, steps;
    uint64_t seed;
    float temperature, top_p, guidance;
    int top_k;
    const char *kv_cache; /* NULL: f32 */
    const int *order;     /* which of the n each picture was, from 0; NULL: as they are */
    const float *scores;  /* [n] with order: CLIP's */
} picture_settings;

/* ims[n] to PATH; n > 1: to PATH-1 ... PATH-n, or to PATH as one grid. */
bool pictures_write(const image *ims, int n, bool grid, const char *path, const picture_settings *settings, err *e);
/* say_wrote of what pictures_write wrote: one file, or the first to the last. */
void say_pictures(const char *path, int n, bool grid, const char *detail, ...) __attribute__((format(printf, 4, 5)));
/* One picture; p may be NULL. */
bool picture_write(const image *im, const char *path, const parameters *p, err *e);
#endif
