/* Captions as the transformer reads them in training. */
#include "train/text.h"

#include <stdlib.h>

#include "base/rng.h"

/* Streams of random numbers. */
enum { EMPTY = 0x7e47, SPLIT = 0x0b9e0000 };

int train_text_row(const train_text *t, const char *caption, int64_t step, int row, int32_t *ids, int32_t *targets)
{
    const dalle *d = t->d;
    int32_t *own = NULL;
    size_t n = 0, used = 0;
    const bpe_dropout dropout = {t->bpe_dropout, t->seed, SPLIT + (uint32_t)row, (uint32_t)step};
    bool empty = rng_uniform(t->seed, EMPTY, (uint32_t)step, (uint32_t)row) < t->condition_dropout;
    if (!empty && bpe_encode_dropout(t->tokenizer, caption, &dropout, &own, &n, NULL) && n > (size_t)d->text_length - 1)
        n = (size_t)d->text_length - 1;
    dalle_text_row(d, own, n, ids, &used, NULL);
    for (int i = 0; i + 1 < d->text_length; i++)
        targets[i] = (size_t)i + 1 < used ? ids[i + 1] : -1;
    free(own);
    return used > 1 ? (int)used - 1 : 0;
}
