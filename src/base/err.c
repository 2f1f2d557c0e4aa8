/* Errors: formatting and the first-error-wins rule. */
#include "base/err.h"

#include <stdarg.h>
#include <stdio.h>

static bool set(err *e, err_code code, const char *fmt, va_list ap)
{
    if (!e || e->code != ERR_NONE)
        return false;
    vsnprintf(e->text, sizeof e->text, fmt, ap);
    e->code = code;
    return true;
}

bool err_set(err *e, err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    set(e, code, fmt, ap);
    va_end(ap);
    return false;
}

bool err_set_cause(err *e, err_code code, int cause, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    if (set(e, code, fmt, ap))
        e->cause = cause;
    va_end(ap);
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
