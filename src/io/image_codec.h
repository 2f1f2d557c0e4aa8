/* Decoders of picture files; image_read chooses by the first bytes. */
#ifndef IO_IMAGE_CODEC_H
#define IO_IMAGE_CODEC_H
#include "base/file.h"
#include "io/image.h"

enum { IMAGE_MAX_SIDE = 16384 };

/* *im, which must be empty, gets the picture; path is for messages. */
bool image_from_png(image *im, const file_map *m, const char *path, err *e);
bool image_from_jpeg(image *im, const file_map *m, const char *path, err *e);
#endif
