/* What CLIP's tokenizer does to text before it splits it: ftfy's fix_text, and html.unescape, as far as captions need.
 */
#ifndef TEXT_FIX_H
#define TEXT_FIX_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* A new string of *bytes bytes: composed (NFC), straight quotes, no ligatures, letters of plain width, no control
 * characters; HTML's entities as the characters that they stand for: those of numbers, Latin-1's names and the common
 * ones of punctuation.  Not ftfy's repair of text in a wrong encoding. */
char *fix_text(const char *text, size_t *bytes, err *e);

/* The character of an HTML entity's name of n bytes; 0: none that is known here. */
int32_t fix_entity(const char *name, size_t n);
/* What a C1 control character means, which is a byte of Windows-1252 that was taken for Latin-1; others are as they
 * are.
 */
int32_t fix_windows(int32_t c);
#endif
