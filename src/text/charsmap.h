/* SentencePiece's table of replacements (precompiled_charsmap): what texts become before they are taken apart, for
 * example NFKC.  A double-array trie in the format of darts-clone, whose values are places in a list of strings. */
#ifndef TEXT_CHARSMAP_H
#define TEXT_CHARSMAP_H
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct charsmap {
    const uint8_t *data; /* the caller's; NULL: nothing is replaced */
    size_t trie, size;   /* bytes of the trie, which begin at 4, and of all */
} charsmap;

/* Checks the table, which stays the caller's; of no bytes it replaces nothing.  Replacements that are not UTF-8 are an
 * error.  name: for messages. */
bool charsmap_open(charsmap *m, const void *data, size_t size, const char *name, err *e);
/* What text[0..bytes), valid UTF-8 of at least a character, begins with: how many bytes of it become to[0..*n).  That
 * is the longest entry of the table, or a character as it is; whole characters in both. */
size_t charsmap_next(const charsmap *m, const char *text, size_t bytes, const char **to, size_t *n);
#endif
