/* Patterns over Unicode characters, as Python's re has them, as far as captions need: sets, \w \d \s \S \D \b, ^ $,
 * groups of alternatives (?:…|…), (…), which may be optional, and looks ahead (?!…); ? * + {m,n} after a character or a
 * set, as many as possible first.  A pattern is one that the program has, so mistakes in it are not reported. */
#ifndef TEXT_PATTERN_H
#define TEXT_PATTERN_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the match of the pattern (UTF-8) that begins at text[at] ends; SIZE_MAX where there is none. */
size_t pattern_match(const char *pattern, const int32_t *text, size_t n, size_t at);
/* What \w matches. */
bool pattern_is_word(int32_t c);
#endif
