/* The English names of emoji. */
#ifndef TEXT_EMOJI_H
#define TEXT_EMOJI_H
#include <stddef.h>

/* The name of the longest emoji that valid UTF-8 begins with, such as "grinning_face": small letters, ASCII, `length`
 * of them without a NUL.  *bytes: how many the emoji has.  NULL where text begins with none, or with one newer than
 * Unicode 15. */
const char *emoji_name(const char *text, size_t *bytes, size_t *length);
/* A new string with each emoji's name in its place; NULL without memory. */
char *emoji_to_names(const char *text);
#endif
