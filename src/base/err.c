/* Errors: formatting and the first-error-wins rule. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

bool err_set(err *e, err_code code, const char *fmt, ...)
{
    if (!e || e->code != ERR_NONE)
        return false;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    va_end(ap);
    e->code = code;
    return false;
}

bool err_copy(err *e, const err *from)
{
    if (e && e->code == ERR_NONE)
        *e = *from;
    return false;
}

bool err_no_memory(err *e, const char *what, unsigned long long bytes)
{
    return err_set(e, ERR_FAILED,
                   "%s: no memory for %llu bytes (close other programs, or use a smaller model or batch)", what, bytes);
}
