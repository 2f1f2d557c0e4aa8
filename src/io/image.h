/* Pictures: 8-bit RGB in memory; PNG and (where built in) JPEG files. */
#ifndef IO_IMAGE_H
#define IO_IMAGE_H
#include <stdint.h>

#include "base/err.h"

/* pixels[height][width][3], sRGB; owned. */
typedef struct image {
    int width, height;
    uint8_t *pixels;
} image;

bool image_new(image *im, int width, int height, err *e);
void image_release(image *im);

/* Any PNG (palette, grey, 16 bit, interlaced; alpha is blended over white) or JPEG, told apart by their first bytes.
 * Sides up to 16384.  Corrupt files are errors that name the file and libpng's reason. */
bool image_read(image *im, const char *path, err *e);

/* A text chunk of a PNG: keyword (1 to 79 Latin-1 characters) and UTF-8 text (iTXt where it is not ASCII). */
typedef struct image_text {
    const char *keyword, *text;
} image_text;
bool image_write_png(const image *im, const char *path, const image_text *texts, int n_texts, err *e);
/* The text of a chunk of a PNG file as a new string, or NULL. */
char *image_read_png_text(const char *path, const char *keyword);

/* Resamples by a separable Lanczos-3 filter, widened when shrinking, clamped at the borders. */
bool image_resize(image *out, const image *in, int width, int height, err *e);
/* The filters that models were trained with; all are widened when shrinking. */
typedef enum image_filter {
    IMAGE_LANCZOS,  /* that of image_resize */
    IMAGE_BICUBIC,  /* Keys 1981, a = -1/2; nothing beyond the border, as in Pillow */
    IMAGE_BILINEAR, /* the same for a triangle */
    IMAGE_FILTERS
} image_filter;

/* The largest centred part of the aspect width:height, resized to it. */
bool image_fit_by(image *out, const image *in, int width, int height, image_filter by, err *e);
/* By IMAGE_LANCZOS. */
bool image_fit(image *out, const image *in, int width, int height, err *e);
/* A mask from the picture's brightness: 1 where the mean over a cell of the rows x columns grid is at least 128. */
bool image_cells(uint8_t *cells, const image *im, int rows, int columns, err *e);
/* The size of n pictures of width x height as one; an error where that is too large for a file. */
bool image_grid_size(int n, int width, int height, int gap, int *all_width, int *all_height, err *e);
/* n pictures of one size as one, ceil(sqrt(n)) columns, `gap` white pixels between them. */
bool image_grid(image *out, const image *ims, int n, int gap, err *e);
#endif
