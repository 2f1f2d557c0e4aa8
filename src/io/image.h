/* Pictures: 8-bit RGB in memory; PNG and, where they are built in, JPEG and WebP files. */
#ifndef IO_IMAGE_H
#define IO_IMAGE_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

enum { IMAGE_MAX_SIDE = 16384 };

/* pixels[height][width][3], sRGB; owned. */
typedef struct image {
    int width, height;
    uint8_t *pixels;
} image;

bool image_new(image *im, int width, int height, err *e);
void image_release(image *im);

typedef enum image_format { IMAGE_NONE, IMAGE_PNG, IMAGE_JPEG, IMAGE_WEBP, IMAGE_FORMATS } image_format;

/* What the bytes are, by the first of them, and what a file's name says it is. */
image_format image_recognise(const void *data, size_t size);
image_format image_format_of_name(const char *name);
/* "PNG" */
const char *image_format_name(image_format f);
/* Whether a file's name has the ending of a picture that can be read. */
bool image_is_picture_name(const char *name);

/* ---- reading ---------------------------------------------------------------------------------------------------- */

/* Any PNG (palette, grey, 16 bit, interlaced, animated: its default picture), JPEG (grey, RGB, CMYK, YCCK) or WebP
 * (lossy, lossless, animated: the first picture), told apart by their first bytes; upright as EXIF says, its colours
 * converted to sRGB where it has an ICC profile, alpha blended over white.  Sides up to 16384.
 * Corrupt files are errors that name the file and the reason, and so are those of other formats, by their names; a
 * profile that can't be used is left out with a warning in the log. */
bool image_read(image *im, const char *path, err *e);
/* The same of a file in memory; name is for messages. */
bool image_read_memory(image *im, const void *data, size_t size, const char *name, err *e);
/* The same without white below: *alpha gets a new [height][width], or NULL where everything is opaque. */
bool image_read_alpha(image *im, uint8_t **alpha, const char *path, err *e);
bool image_read_alpha_memory(image *im, uint8_t **alpha, const void *data, size_t size, const char *name, err *e);
/* RGBA to RGB over white: to[n][3] of from[n][4], which may begin at the same place. */
void image_blend(uint8_t *to, const uint8_t *from, size_t n);

/* The pixels' width and height by a file's head, before EXIF turns it.  False where it isn't whole, or no picture. */
bool image_size_memory(int *width, int *height, const void *data, size_t size);

/* The text that a picture carries under a keyword, as a new string, or NULL: a chunk of a PNG; of JPEG and WebP
 * "parameters" is EXIF's UserComment, and "Software" its Software. */
char *image_read_text(const char *path, const char *keyword);
/* The settings that made a picture, for parameters_parse: *text is a new string, or NULL where there are none.  False
 * where the file can't be read or is no picture of a known format. */
bool image_read_parameters(char **text, const char *path, err *e);
/* The same of a file in memory, whose name is for the error. */
bool image_read_parameters_memory(char **text, const void *data, size_t size, const char *name, err *e);

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* A text of a picture: keyword (1 to 79 Latin-1 characters) and UTF-8 text.  PNG takes any; JPEG and WebP have room for
 * "parameters" and "Software" alone, in EXIF. */
typedef struct image_text {
    const char *keyword, *text;
} image_text;

typedef struct image_write_options {
    image_format format; /* IMAGE_NONE: as the path's ending says, else PNG */
    int quality;         /* of JPEG and WebP, 1 to 100; a WebP of 100 is lossless; 0: IMAGE_QUALITY */
    const image_text *texts;
    int n_texts;
    bool fresh; /* the file must be new (file_out) */
} image_write_options;

enum { IMAGE_QUALITY = 95 };

/* Whether this limn writes pictures of the format: an error that says why, else. */
bool image_can_write(image_format f, const char *name, err *e);
/* A file in memory: *data is a new block of *size bytes. */
bool image_encode(uint8_t **data, size_t *size, const image *im, const image_write_options *o, const char *name,
                  err *e);
bool image_write(const image *im, const char *path, const image_write_options *o, err *e);
bool image_write_png(const image *im, const char *path, const image_text *texts, int n_texts, err *e);

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

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
/* A square, as CLIP's authors cut it: the shorter side is brought to `side` pixels, the longer one to whole ones
 * below, and the middle is left. */
bool image_fit_shorter(image *out, const image *in, int side, image_filter by, err *e);
/* Of pixels as floats, any range: out[height][width][3] of in[in_height][in_width][3]. */
bool image_resize_floats(float *out, int width, int height, const float *in, int in_width, int in_height,
                         image_filter by, err *e);
/* By IMAGE_LANCZOS. */
bool image_fit(image *out, const image *in, int width, int height, err *e);
/* For showing: whole multiples of both sides repeat pixels, and others are fitted as by image_fit. */
bool image_scale(image *out, const image *in, int width, int height, err *e);
/* A mask from the picture's brightness: 1 where the mean over a cell of the rows x columns grid is at least 128. */
bool image_cells(uint8_t *cells, const image *im, int rows, int columns, err *e);
/* The cells that stay of a picture that is a mask, fitted to width x height as the picture below it is: by its alpha
 * [height][width], over which its pixels are lost, or without one by its brightness. */
bool image_mask_cells(uint8_t *cells, image *whole, const uint8_t *alpha, int width, int height, int rows, int columns,
                      err *e);
/* Makes a cell of the rows x columns grid, counted in rows, grey. */
void image_grey_cell(image *im, int rows, int columns, int cell);
/* The size of n pictures of width x height as one; an error where that is too large for a file. */
bool image_grid_size(int n, int width, int height, int gap, int *all_width, int *all_height, err *e);
/* n pictures of one size as one, ceil(sqrt(n)) columns, `gap` white pixels between them. */
bool image_grid(image *out, const image *ims, int n, int gap, err *e);
#endif
