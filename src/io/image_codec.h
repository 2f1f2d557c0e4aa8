/* What the parts of the picture reader and writer share: a file in memory, a picture as its decoder leaves it, and what
 * lies beside the pixels. */
#ifndef IO_IMAGE_CODEC_H
#define IO_IMAGE_CODEC_H
#include "io/image.h"

typedef struct image_file {
    const uint8_t *data;
    size_t size;
    const char *name; /* for messages */
    image_format format;
} image_file;

/* ---- pixels ---- */

typedef enum raster_colours { RASTER_GREY, RASTER_RGB, RASTER_CMYK } raster_colours;

/* A picture as it is in the file.  pixels[height][width][channels], owned; grey ones have three equal channels, CMYK is
 * as JPEG has it (255 is no ink), and 4 channels are RGB and alpha else. */
typedef struct raster {
    int width, height, channels;
    raster_colours colours;
    uint8_t *pixels;
    uint8_t *profile; /* ICC, owned; or NULL */
    size_t profile_size;
    uint8_t cicp[4]; /* of PNG's chunk: primaries, transfer, matrix, full range; zeros: none */
} raster;

void raster_release(raster *r);
/* Checks the sides, and that the picture fits into memory, before anything is decoded.  why[160] gets the reason. */
bool raster_check(uint64_t width, uint64_t height, int channels, char why[160]);

bool raster_from_png(raster *r, const image_file *f, err *e);
bool raster_from_jpeg(raster *r, const image_file *f, err *e);
bool raster_from_webp(raster *r, const image_file *f, err *e);

/* Logs a warning of a picture; the first few of a process. */
void raster_warn(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Makes the pixels sRGB, by the profile; CMYK becomes RGB in any case.  What is wrong with a profile is logged. */
bool raster_to_srgb(raster *r, const char *name, err *e);
/* Turns and mirrors as EXIF's orientation, 1 to 8, asks for. */
bool raster_orient(raster *r, int orientation, err *e);

/* ---- what lies beside them ---- */

/* A segment of a JPEG ("APP1", "COM"), a chunk of a PNG ("eXIf") or of a WebP ("EXIF", "ICCP"). */
typedef struct image_piece {
    char type[5];
    const uint8_t *data;
    size_t size;
} image_piece;

/* The next piece that begins at or behind *at, which begins as 0; of a PNG those whose check sum is wrong are left out,
 * of a JPEG those that come after the pixels. */
bool image_piece_next(image_piece *p, const image_file *f, size_t *at);

/* 1 to 8. */
int image_orientation(const image_file *f);
/* The ICC profile of a JPEG or a WebP, a new block; NULL where there is none. */
uint8_t *image_profile(const image_file *f, size_t *size);
/* A PNG's text of that keyword, or what EXIF has in its place, as UTF-8; a new string or NULL. */
char *image_text_of(const image_file *f, const char *keyword);

/* ---- writing ---- */

/* Bytes that grow; owned. */
typedef struct image_bytes {
    uint8_t *data;
    size_t size, room;
} image_bytes;

bool image_bytes_add(image_bytes *b, const void *data, size_t size);

/* *out, which must be empty, gets the file.  name is for messages. */
bool image_to_png(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e);
bool image_to_jpeg(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e);
bool image_to_webp(image_bytes *out, const image *im, const image_write_options *o, const char *name, err *e);
/* The EXIF block of the options' texts. */
uint8_t *image_new_exif(const image_write_options *o, size_t *size);
#endif
