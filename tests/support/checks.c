#include "checks.h"

#include <string.h>

void good(bool ok, const err *e)
{
    if (!ok)
        fail_msg("%s", e->text);
}

void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text);
}
