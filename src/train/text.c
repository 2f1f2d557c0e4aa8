/* Captions as the transformer reads them in training. */
#include "train/text.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/ranks.h"
#include "base/rng.h"

/* Streams of random numbers. */
enum { EMPTY = 0x7e47, SPLIT = 0x0b9e0000 };

int train_text_row(const train_text *t, const char *caption, int64_t step, int row, int32_t *ids, int32_t *targets)
{
    const transformer *d = t->d;
    int32_t *own = NULL;
    size_t n = 0, used = 0;
    const bpe_dropout dropout = {t->bpe_dropout, t->seed, SPLIT + (uint32_t)row, (uint32_t)step};
    bool empty = rng_uniform(t->seed, EMPTY, (uint32_t)step, (uint32_t)row) < t->condition_dropout;
    if (!empty && bpe_encode_dropout(t->tokenizer, caption, &dropout, &own, &n, NULL) && n > (size_t)d->text_length - 1)
        n = (size_t)d->text_length - 1;
    d->kind->text_row(d, own, n, ids, &used, NULL);
    for (int i = 0; i + 1 < d->text_length; i++)
        targets[i] = (size_t)i + 1 < used ? ids[i + 1] : -1;
    free(own);
    return used > 1 ? (int)used - 1 : 0;
}

/* ---- the report ---- */

typedef struct counts {
    const bpe *tokenizer;
    size_t room, longest;
    int64_t n, cut, items, last_item;
    uint64_t *hashes; /* [n] */
    size_t capacity;
    err *e;
} counts;

static bool count(void *self, int64_t item, const char *caption)
{
    counts *c = self;
    int32_t *ids = NULL;
    size_t n = 0;
    if ((size_t)c->n == c->capacity) {
        size_t capacity = c->capacity + c->capacity / 2 + 1024;
        uint64_t *grown = realloc(c->hashes, capacity * sizeof *grown);
        if (!grown)
            return err_no_memory(c->e, "captions", capacity * sizeof *grown);
        c->hashes = grown;
        c->capacity = capacity;
    }
    bpe_encode(c->tokenizer, caption, &ids, &n, NULL); /* captions are UTF-8 */
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < n; i++)
        h = (h ^ (uint32_t)ids[i]) * 0x100000001B3u;
    free(ids);
    c->hashes[c->n++] = h;
    c->items += item != c->last_item;
    c->last_item = item;
    c->longest = n > c->longest ? n : c->longest;
    c->cut += n > c->room;
    return true;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

bool train_text_report(dataset *d, const bpe *tokenizer, int room, err *e)
{
    counts c = {.tokenizer = tokenizer, .room = (size_t)room, .last_item = -1, .e = e};
    int64_t different = 0;
    bool ok = dataset_captions(d, count, &c) || err_set(e, ERR_FAILED,
                                                        "interrupted while the captions were read: nothing "
                                                        "was written");
    if (c.n)
        qsort(c.hashes, (size_t)c.n, sizeof *c.hashes, by_value);
    for (int64_t i = 0; i < c.n; i++)
        different += i == 0 || c.hashes[i] != c.hashes[i - 1];
    free(c.hashes);
    if (ok && ranks_rank() > 0) /* the first one tells */
        dataset_silence_problems(d);
    if (!ok || ranks_rank() > 0)
        return ok;
    dataset_log_problems(d);
    if (c.n)
        log_write(LOG_WARNING,
                  "data: %" PRId64 " picture%s with %" PRId64 " caption%s, %" PRId64
                  " of them different, of up to %zu token%s",
                  c.items, c.items == 1 ? "" : "s", c.n, c.n == 1 ? "" : "s", different, c.longest,
                  c.longest == 1 ? "" : "s");
    if (c.cut)
        log_write(LOG_WARNING,
                  "captions too long for --text-length %d: %" PRId64 " of %" PRId64
                  ", which lose their end: up to %zu of %zu tokens (--text-length %zu keeps all)",
                  room + 1, c.cut, c.n, c.longest - c.room, c.longest, c.longest + 1);
    return true;
}
