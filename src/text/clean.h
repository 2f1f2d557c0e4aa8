/* Text as people bring it, made plain: what looks the same to them is the same to a tokenizer. */
#ifndef TEXT_CLEAN_H
#define TEXT_CLEAN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* White space by Unicode's property, and U+001C to U+001F, which Python counts too. */
bool clean_is_space(int32_t c);
/* Characters without a shape or a meaning: byte-order marks, zero-width spaces, soft hyphens, marks of direction,
 * control characters that are no white space.  Joiners (U+200C, U+200D) and variation selectors have one. */
bool clean_is_invisible(int32_t c);

/* What limn's own tokenizers read, in training and in generation: NFC, without invisible characters, each run of white
 * space one space, none at the ends.  A new string of *bytes bytes; invalid UTF-8 is an error that gives the position.
 */
char *clean_text(const char *text, size_t *bytes, err *e);
/* NFC alone, for the tokenizers of published models, which have their own rules for the rest. */
char *clean_compose(const char *text, size_t *bytes, err *e);
#endif
