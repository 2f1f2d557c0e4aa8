/* Numbers as text. */
#include "base/number.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool parse_number(const char *text, double *value)
{
    char *end;
    /* strtod would also take leading blanks, hexadecimal, "nan" and "inf" */
    if (text[strspn(text, "0123456789.eE+-")] != '\0' || *text == '\0')
        return false;
    *value = strtod(text, &end);
    return end != text && *end == '\0' && isfinite(*value);
}
