/* What the importers of published codecs share. */
#include "convert/codecs.h"

#include <stdarg.h>
#include <stdio.h>

const int import_conv_order[4] = {0, 2, 3, 1}, import_conv_transpose_order[4] = {1, 2, 3, 0};

int import_size(import *im, int i, const char *format, ...)
{
    char name[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    const file_tensor *t = import_find(im, name);
    if (!t || i >= t->nd)
        return 0; /* of too few dimensions: its shape is checked where it is imported */
    return t->shape[i] <= INT32_MAX ? (int)t->shape[i] : 0;
}

bool import_has(const import *im, const char *format, ...)
{
    char name[160];
    va_list ap;
    va_start(ap, format);
    vsnprintf(name, sizeof name, format, ap);
    va_end(ap);
    return source_has(im->from, name);
}

int import_image_size(import *im, int grid, int step)
{
    return grid > 0 && grid < 16384 ? grid * step : import_setting(im, "image_size", 256);
}

bool import_codec_end(import *im, codec *c, param_table *p, bool ok, err *e)
{
    if (im->error.code) /* the cause of what came after it */
        ok = err_set(e, im->error.code, "%s", im->error.text);
    else if (p->error.code)
        ok = err_set(e, p->error.code, "%s", p->error.text);
    params_release(p);
    codec_release(c);
    return ok;
}
