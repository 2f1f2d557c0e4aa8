/* Numbers that people write. */
#ifndef BASE_NUMBER_H
#define BASE_NUMBER_H
#include <stdbool.h>

/* Whether the whole of a text is a finite decimal number: no blanks, no hexadecimal ones, no names. */
bool parse_number(const char *text, double *value);
#endif
