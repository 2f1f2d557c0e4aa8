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

/* The class whose number the caption is, white space around it aside; -1 where it is none. */
static int class_of(const char *caption, int classes)
{
    char *end;
    long n = strtol(caption, &end, 10);
    bool whole = end > caption && end[strspn(end, " \t\r\n")] == 0;
    return whole && n >= 0 && n < classes ? (int)n : -1;
}

static const prompt_form no_form = {.begin_id = -1};

/* The ids of a caption in its form, a new array. */
static int32_t *read_caption(const train_text *t, const prompt_form *form, const char *caption, int64_t step, int row,
                             float dropout, size_t *n)
{
    const bpe_dropout d = {dropout, t->seed, SPLIT + (uint32_t)row, (uint32_t)step};
    int32_t *ids = NULL;
    *n = 0;
    if (t->tokenizer) {
        prompt_tokenize_dropout(form, t->tokenizer, caption, &d, &ids, n, NULL);
    } else if ((ids = malloc(sizeof *ids))) {
        int class = class_of(caption, t->d->classes);
        ids[0] = class < 0 ? 0 : class; /* captions were checked; plans have none */
        *n = 1;
    }
    return ids;
}

static bool is_dropped(const train_text *t, int64_t step, int row)
{
    return rng_uniform(t->seed, EMPTY, (uint32_t)step, (uint32_t)row) < t->condition_dropout;
}

int train_text_row(const train_text *t, const char *caption, int64_t step, int row, int32_t *ids, int32_t *targets)
{
    const transformer *d = t->d;
    size_t n = 0, used = 0, room = (size_t)d->text_room;
    int said = 0;
    int32_t *own = is_dropped(t, step, row) ? NULL : read_caption(t, &no_form, caption, step, row, t->bpe_dropout, &n);
    if (!d->kind->text_row(d, own, n < room ? n : room, ids, &used, NULL))
        d->kind->text_row(d, NULL, 0, ids, &used, NULL); /* BPE dropout came to an id that d doesn't know */
    for (int i = 0; i + 1 < d->prefix; i++) {
        targets[i] = (size_t)i + 1 < used ? ids[i + 1] : -1;
        said += targets[i] >= 0;
    }
    free(own);
    return said;
}

/* ids[room] from its beginning on: the caption's row, or with `dropped` the row without it.  False if it has no place,
 * or an id that the model doesn't know. */
static bool own_row(const train_text *t, const prompt_form *form, const int32_t *own, size_t n, bool dropped,
                    size_t room, int32_t *ids, size_t *used)
{
    const transformer *d = t->d;
    int32_t *null = NULL;
    size_t n_null = 0;
    if (n > room || !d->kind->text_row(d, own, n, ids, used, NULL))
        return false;
    if (!dropped)
        return true;
    if (!form->empty)
        return d->kind->null_row(d, own, n, ids, used, NULL);
    bool ok = prompt_tokenize_negative(form, t->tokenizer, "", &null, &n_null, NULL) && n_null <= room &&
              d->kind->text_row(d, null, n_null, ids, used, NULL);
    free(null);
    return ok;
}

int train_text_own_row(const train_text *t, const prompt_form *form, const char *caption, int64_t step, int row,
                       int room, int32_t *ids)
{
    const float dropouts[] = {t->bpe_dropout, 0};
    size_t used = 0;
    bool ok = false;
    for (int i = 0; !ok && i < 2; i++) { /* without dropout where that came to too many ids, or to one that is none */
        size_t n;
        int32_t *own = read_caption(t, form, caption, step, row, dropouts[i], &n);
        if (own && n > (size_t)t->d->text_length) { /* as text_row cuts it: the last id stays the last */
            own[t->d->text_length - 1] = own[n - 1];
            n = (size_t)t->d->text_length;
        }
        ok = own && own_row(t, form, own, n, is_dropped(t, step, row), (size_t)room, ids, &used);
        free(own);
    }
    if (!ok) { /* no memory */
        ids[0] = 0;
        used = 1;
    }
    memmove(ids + room - used, ids, used * sizeof *ids);
    memset(ids, 0, ((size_t)room - used) * sizeof *ids);
    return (int)used;
}

/* ---- the report ---- */

typedef struct counts {
    const tokenizer *tokenizer; /* NULL: classes */
    const prompt_form *form;    /* of a caption */
    int classes, vocabulary;
    size_t room, longest;
    int64_t n, cut, items, last_item;
    uint64_t *hashes; /* [n] */
    size_t capacity;
    err *e;
    bool whole; /* a caption that is too long isn't cut but wrong */
    bool wrong; /* e says what */
} counts;

/* Room for one hash more. */
static bool grow(counts *c)
{
    if ((size_t)c->n < c->capacity)
        return true;
    size_t capacity = c->capacity + c->capacity / 2 + 1024;
    uint64_t *grown = realloc(c->hashes, capacity * sizeof *grown);
    if (!grown)
        return err_no_memory(c->e, "captions", capacity * sizeof *grown);
    c->hashes = grown;
    c->capacity = capacity;
    return true;
}

/* The hash of a caption's ids, *n of them. */
static bool hash_caption(counts *c, const char *caption, uint64_t *hash, size_t *n)
{
    int32_t *ids = NULL;
    *hash = 0xCBF29CE484222325u;
    *n = 1;
    if (c->tokenizer) {
        prompt_tokenize(c->form, c->tokenizer, caption, &ids, n, NULL); /* captions are UTF-8 */
        int32_t most = -1;
        for (size_t i = 0; i < *n; i++) {
            *hash = (*hash ^ (uint32_t)ids[i]) * 0x100000001B3u;
            most = ids[i] > most ? ids[i] : most;
        }
        free(ids);
        return most < c->vocabulary ||
               err_set(
                   c->e, ERR_FAILED,
                   "data: caption \"%.64s\": token %d is outside of the model's vocabulary of %d (give the tokenizer "
                   "that the model learned with)",
                   caption, most, c->vocabulary);
    }
    int class = class_of(caption, c->classes);
    *hash = (uint64_t) class;
    return class >= 0 ||
           err_set(c->e, ERR_FAILED,
                   "data: caption \"%.64s\": this model reads no words but a class, 0 to %d (give captions "
                   "that are such numbers)",
                   caption, c->classes - 1);
}

static bool count(void *self, int64_t item, const char *caption)
{
    counts *c = self;
    size_t n = 0;
    uint64_t hash;
    c->wrong = !grow(c) || !hash_caption(c, caption, &hash, &n);
    if (!c->wrong && c->whole && n > c->room)
        c->wrong =
            !err_set(c->e, ERR_FAILED, "data: caption \"%.64s\": %zu tokens, and the model takes 1 to %zu (shorten it)",
                     caption, n, c->room);
    if (c->wrong)
        return false;
    c->hashes[c->n++] = hash;
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

static void say(const counts *c, int64_t different)
{
    log_write(LOG_WARNING,
              "data: %" PRId64 " picture%s with %" PRId64 " caption%s, %" PRId64
              " of them different, of up to %zu token%s",
              c->items, c->items == 1 ? "" : "s", c->n, c->n == 1 ? "" : "s", different, c->longest,
              c->longest == 1 ? "" : "s");
}

static bool report(dataset *d, counts *c, err *e)
{
    int64_t different = 0;
    c->last_item = -1;
    c->e = e;
    bool ok = dataset_captions(d, count, c) || c->wrong;
    if (!ok)
        err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED,
                      "interrupted while the captions were read: nothing was written");
    if (c->n)
        qsort(c->hashes, (size_t)c->n, sizeof *c->hashes, by_value);
    for (int64_t i = 0; i < c->n; i++)
        different += i == 0 || c->hashes[i] != c->hashes[i - 1];
    free(c->hashes);
    ok = ok && !c->wrong;
    if (ok && ranks_rank() > 0) /* the first one tells */
        dataset_silence_problems(d);
    if (!ok || ranks_rank() > 0)
        return ok;
    dataset_log_problems(d);
    if (c->n)
        say(c, different);
    return true;
}

/* Where the model's is given. */
static void say_cut(const counts *c)
{
    if (c->cut && ranks_rank() == 0)
        log_write(LOG_WARNING,
                  "captions too long for this model, which reads %zu tokens: %" PRId64 " of %" PRId64
                  ", which lose their end: up to %zu of %zu tokens",
                  c->room, c->cut, c->n, c->longest - c->room, c->longest);
}

bool train_text_report(dataset *d, const tokenizer *t, int room, int length, int vocabulary, err *e)
{
    counts c = {.tokenizer = t, .form = &no_form, .room = (size_t)room, .vocabulary = vocabulary};
    if (!report(d, &c, e))
        return false;
    if (c.cut && length && ranks_rank() == 0)
        log_write(LOG_WARNING,
                  "captions too long for `text_length` %d: %" PRId64 " of %" PRId64
                  ", which lose their end: up to %zu of %zu tokens (`text_length` %zu keeps all)",
                  length, c.cut, c.n, c.longest - c.room, c.longest, c.longest + (size_t)(length - room));
    else
        say_cut(&c);
    return true;
}

bool train_text_report_own(dataset *d, const train_text *t, const prompt_form *form, bool cuts, int *longest, err *e)
{
    const int most = t->d->text_length;
    counts c = {
        .tokenizer = t->tokenizer, .form = form, .room = (size_t)most, .vocabulary = t->d->vocabulary, .whole = !cuts};
    int32_t *ids = NULL;
    size_t n = 0;
    bool ok = report(d, &c, e) && prompt_tokenize_negative(form, t->tokenizer, "", &ids, &n, e);
    free(ids);
    if (ok)
        say_cut(&c);
    *longest = (int)(c.longest > n ? c.longest : n);
    *longest = *longest < most ? *longest : most;
    return ok;
}

bool train_class_report(dataset *d, int classes, err *e)
{
    return report(d, &(counts){.classes = classes, .room = 1}, e);
}
