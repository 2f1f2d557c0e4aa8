/* What the importers of published GPTs share. */
#include "convert/gpt.h"

#include <stdlib.h>

#include "base/log.h"
#include "text/tokenizer.h"

int import_gpt_layers(const import *im, const import_map *maps)
{
    return import_mapped_count(im, maps, "transformer.block.{i}.norm1.weight", 1024);
}

bool import_gpt_heads(import *im, gpt *d, int size, err *e)
{
    d->base.heads = import_setting(im, "heads", d->base.dim % size ? 0 : d->base.dim / size);
    if (d->base.heads > 0 && d->base.dim % d->base.heads == 0)
        return true;
    return err_set(e, ERR_USAGE,
                   "convert: the number of heads isn't in the files (add `settings` heads=N, which divides %d)",
                   d->base.dim);
}

int import_gpt_side(int cells)
{
    int side = 0;
    while (side < 1024 && side * side < cells)
        side++;
    return side * side == cells ? side : 0;
}

bool import_gpt_tokenizer(import *im, const gpt *d, const char *kind, const char *path, err *e)
{
    size_t size;
    if (!tokenizer_import(im->to, kind, path, &size, e))
        return false;
    if (size > (size_t)d->base.vocabulary) /* ids out of range are refused when they enter limn */
        log_write(LOG_WARNING, "convert: %s has %zu tokens, and the transformer's vocabulary %d", path, size,
                  d->base.vocabulary);
    return true;
}

bool import_gpt(import *im, const gpt *sizes, const import_map *maps, err *e)
{
    param_table params = {0};
    gpt *d = malloc(sizeof *d);
    if (!d)
        return err_no_memory(e, "transformer", sizeof *d);
    *d = *sizes;
    bool ok = gpt_prepare(d, "convert", e);
    if (ok) {
        gpt_declare(d, &params);
        gpt_put(d, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    gpt_free(d);
    return ok;
}
