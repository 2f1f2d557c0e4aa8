/* What CLIP's tokenizer does to text before it splits it: ftfy's fix_text, and html.unescape, as far as captions need.
 */
#ifndef TEXT_FIX_H
#define TEXT_FIX_H
#include <stddef.h>

#include "base/err.h"

/* A new string of *bytes bytes: composed (NFC), straight quotes, no ligatures, letters of plain width, no control
 * characters; HTML's entities as the characters that they stand for: those of numbers, Latin-1's names and the common
 * ones of punctuation.  Not ftfy's repair of text in a wrong encoding. */
char *fix_text(const char *text, size_t *bytes, err *e);
#endif
