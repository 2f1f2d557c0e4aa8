/* EXIF, the TIFF structure that JPEG, PNG and WebP carry: what limn reads of it, and what it writes. */
#ifndef IO_EXIF_H
#define IO_EXIF_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Damaged blocks are read as far as they make sense.  "Exif\0\0" before the structure may be there or not. */

/* 1 to 8, how the picture lies (EXIF 2.32, 4.6.4); 0: the block doesn't say. */
int exif_orientation(const uint8_t *data, size_t size);

enum { EXIF_DESCRIPTION = 0x010e, EXIF_SOFTWARE = 0x0131, EXIF_COMMENT = 0x9286 };
/* The text of a tag as UTF-8, a new string, or NULL.  A comment (UserComment) is in the encoding that it names; UTF-16
 * is of either byte order, since programs differ in what they take the standard for. */
char *exif_text(const uint8_t *data, size_t size, unsigned tag);

/* Text in any encoding as UTF-8: UTF-8 stays, else it is taken as Latin-1.  A new string, or NULL without memory. */
char *text_to_utf8(const uint8_t *data, size_t size);

/* A new block with the Software and, where it isn't NULL, the comment in UTF-16, most significant byte first, as
 * front ends write it.  NULL without memory. */
uint8_t *exif_new(const char *software, const char *comment, size_t *size);
#endif
