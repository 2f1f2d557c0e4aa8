/* What the importers of published GPTs share. */
#include "convert/gpt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/codecs.h"

int import_gpt_layers(const import *im, const gpt_names *names, const char *part)
{
    int n = 0;
    while (n <= 1024 && import_has(im, "%s%s.%d.%s.weight", names->prefix, names->blocks, n, part))
        n++; /* one more than is possible is an error where the model is declared */
    return n;
}

bool import_gpt_heads(import *im, gpt *d, int size, err *e)
{
    d->heads = import_setting(im, "heads", d->dim % size ? 0 : d->dim / size);
    if (d->heads > 0 && d->dim % d->heads == 0)
        return true;
    return err_set(e, ERR_USAGE,
                   "convert: the number of heads isn't in the files (add --set heads=N, which divides %d)", d->dim);
}

int import_gpt_side(int cells)
{
    int side = 0;
    while (side < 1024 && side * side < cells)
        side++;
    return side * side == cells ? side : 0;
}

/* The entry for the part of that many bytes, or NULL. */
static const gpt_name *find_name(const gpt_names *names, const char *part, size_t bytes)
{
    for (size_t i = 0; i < names->n; i++)
        if (strlen(names->list[i].ours) == bytes && !strncmp(names->list[i].ours, part, bytes))
            return &names->list[i];
    return NULL;
}

static void put_param(import *im, const param *p, const gpt_names *names)
{
    const char *part = p->name + strlen("transformer."), *last = strrchr(part, '.');
    int block = -1, at = 0;
    if (sscanf(part, "block.%d.%n", &block, &at) == 1 && at)
        part += at;
    const gpt_name *name = find_name(names, part, (size_t)(last - part));
    char own[3][160];
    const char *from[3];
    int n = 0;
    for (; name && n < 3 && name->theirs[n]; n++) {
        int k = snprintf(own[n], sizeof own[n], "%s", names->prefix);
        if (block >= 0)
            k += snprintf(own[n] + k, sizeof own[n] - (size_t)k, "%s.%d.", names->blocks, block);
        snprintf(own[n] + k, sizeof own[n] - (size_t)k, "%s%s", name->theirs[n], name->bare ? "" : last);
        from[n] = own[n];
    }
    if (n > 1)
        import_stack(im, p, from, n);
    else
        import_part(im, p, n ? from[0] : p->name, name ? name->first : 0);
}

bool import_gpt(import *im, const gpt *sizes, const gpt_names *names, err *e)
{
    param_table params = {0};
    gpt *d = malloc(sizeof *d);
    if (!d)
        return err_no_memory(e, "transformer", sizeof *d);
    *d = *sizes;
    bool ok = !im->error.code && gpt_prepare(d, "convert", e);
    if (ok) {
        gpt_declare(d, &params);
        gpt_put(d, im->to);
    }
    for (size_t i = 0; ok && i < params.n; i++)
        put_param(im, &params.list[i], names);
    if (im->error.code) /* the cause of what came after it */
        ok = err_set(e, im->error.code, "%s", im->error.text);
    else if (params.error.code)
        ok = err_set(e, params.error.code, "%s", params.error.text);
    params_release(&params);
    gpt_free(d);
    return ok;
}
