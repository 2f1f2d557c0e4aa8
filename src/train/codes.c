/* The codes of a data set's pictures, made once. */
#include "train/codes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/log.h"
#include "base/ranks.h"
#include "io/npy.h"
#include "models/rest.h"
#include "train/train.h"

#define BATCH   16
#define MARK    "limn-codes"
#define VERSION 2 /* grows where pictures are read in another way, so that other codes come of them */

/* ---- whose codes they are ---- */

/* A hash of the codec's settings, and of its tensors with their names. */
static uint64_t codec_hash(const gguf *g)
{
    uint64_t h = HASH_BEGIN;
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const char *key = gguf_key(g, i);
        if (!codec_owns_key(key))
            continue;
        char *text = gguf_key_text(g, i);
        h = hash_words(h, key, strlen(key));
        if (text)
            h = hash_words(h, text, strlen(text));
        free(text);
    }
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const file_tensor *t = gguf_tensor(g, i);
        if (codec_owns_tensor(t->name))
            h = hash_words(hash_words(h, t->name, strlen(t->name)), t->data, t->bytes);
    }
    return h;
}

/* ---- the file ---- */

/* A picture's number by its stamp or its hash. */
typedef struct place {
    uint64_t key;
    int64_t row;
} place;

static int by_key(const void *a, const void *b)
{
    const place *x = a, *y = b;
    return x->key != y->key ? (x->key > y->key) - (x->key < y->key) : (x->row > y->row) - (x->row < y->row);
}

/* The row of the key in a sorted list, or -1. */
static int64_t find(const place *list, int64_t n, uint64_t key)
{
    int64_t low = 0, high = n;
    while (low < high) {
        int64_t middle = low + (high - low) / 2;
        if (list[middle].key < key)
            low = middle + 1;
        else
            high = middle;
    }
    return low < n && list[low].key == key ? list[low].row : -1;
}

/* What is in a file of codes. */
typedef struct cache {
    file_map m;
    gguf *g;
    int64_t n;
    const int32_t *codes;             /* [n, cells] */
    const uint8_t *stamps, *contents; /* [n], 8 bytes each */
    place *by_stamp, *by_content;     /* [n] */
    bool other_codec;
} cache;

static void cache_release(cache *c)
{
    free(c->by_stamp);
    free(c->by_content);
    gguf_free(c->g);
    file_map_release(&c->m);
    *c = (cache){0};
}

static uint64_t key_at(const uint8_t *keys, int64_t i)
{
    uint64_t key;
    memcpy(&key, keys + i * 8, 8);
    return key;
}

static const void *tensor_data(const gguf *g, const char *name, int64_t n, int64_t width)
{
    const file_tensor *f = gguf_find(g, name);
    return f && f->type == DTYPE_I32 && f->nd == 2 && f->shape[0] == n && f->shape[1] == width ? f->data : NULL;
}

static bool index_rows(cache *c, err *e)
{
    size_t bytes = (size_t)c->n * sizeof(place);
    c->by_stamp = malloc(bytes + 1);
    c->by_content = malloc(bytes + 1);
    if (!c->by_stamp || !c->by_content)
        return err_no_memory(e, "codes", 2 * bytes);
    for (int64_t i = 0; i < c->n; i++) {
        c->by_stamp[i] = (place){key_at(c->stamps, i), i};
        c->by_content[i] = (place){key_at(c->contents, i), i};
    }
    qsort(c->by_stamp, (size_t)c->n, sizeof(place), by_key);
    qsort(c->by_content, (size_t)c->n, sizeof(place), by_key);
    return true;
}

/* What stands in the place of each number of a picture that has none; as a float it is none. */
#define NONE (-1)

/* Whether a file's number is a code of the codec, or of its latents. */
static bool is_code(int32_t x, int codes)
{
    float value;
    memcpy(&value, &x, sizeof value);
    return x == NONE || (codes ? x >= 0 && x < codes : isfinite(value));
}

/* Empty where there is no whole file of these codes.  False where there is one of something else, which isn't to be
 * replaced. */
static bool cache_open(cache *c, const char *path, uint64_t maker, int64_t cells, int codes, err *e)
{
    int64_t of_codec = 0, version = 0;
    const char *mark = "";
    bool ok = true;
    *c = (cache){0};
    if (!file_map_open(&c->m, path, NULL) || !c->m.size)
        return true;
    c->g = gguf_open(c->m.data, c->m.size, path, NULL);
    if (c->m.size >= 4 && memcmp(c->m.data, "GGUF", 4) != 0)
        ok = false;
    else if (c->g && gguf_get_string(c->g, "general.architecture", &mark, NULL))
        ok = !strcmp(mark, MARK);
    if (!ok)
        return err_set(e, ERR_FAILED,
                       "%s: it holds no codes of pictures, and would be replaced by them (give another "
                       "`codes_cache`)",
                       path);
    const file_tensor *f = c->g ? gguf_find(c->g, "codes") : NULL;
    bool whole = f && f->nd == 2 && gguf_get_int(c->g, "codes.version", 0, INT64_MAX, &version, NULL) &&
                 version == VERSION && gguf_get_int(c->g, "codes.codec", INT64_MIN, INT64_MAX, &of_codec, NULL);
    c->other_codec = whole && of_codec != (int64_t)maker;
    c->n = whole && !c->other_codec ? f->shape[0] : 0;
    c->codes = c->n ? tensor_data(c->g, "codes", c->n, cells) : NULL;
    c->stamps = c->n ? tensor_data(c->g, "stamps", c->n, 2) : NULL;
    c->contents = c->n ? tensor_data(c->g, "contents", c->n, 2) : NULL;
    whole = c->codes && c->stamps && c->contents;
    for (int64_t i = 0; whole && i < c->n * cells; i++)
        whole = is_code(c->codes[i], codes);
    c->n = whole ? c->n : 0;
    return index_rows(c, e);
}

/* What is known of the data's pictures. */
typedef struct pictures {
    uint64_t *stamps, *contents; /* [n] */
    int64_t *missing;            /* items whose codes are to be made */
    int64_t n_missing, unread;   /* unread: of these, those that couldn't be read before either */
} pictures;

static void write_file(const train_codes *t, const pictures *p, const char *path, uint64_t maker)
{
    err e = {0};
    size_t n = (size_t)t->n;
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", MARK);
    gguf_put_int(w, "codes.version", VERSION);
    gguf_put_int(w, "codes.codec", (int64_t)maker);
    gguf_add_tensor(w, "codes", DTYPE_I32, 2, (int64_t[]){t->n, t->cells});
    gguf_add_tensor(w, "stamps", DTYPE_I32, 2, (int64_t[]){t->n, 2});
    gguf_add_tensor(w, "contents", DTYPE_I32, 2, (int64_t[]){t->n, 2});
    gguf_begin_data(w);
    gguf_write_data(w, t->codes, n * (size_t)t->cells * sizeof *t->codes);
    gguf_write_data(w, p->stamps, n * sizeof *p->stamps);
    gguf_write_data(w, p->contents, n * sizeof *p->contents);
    if (!gguf_writer_commit(w, &e)) /* the next start makes them again */
        log_write(LOG_WARNING, "%s", e.text);
    gguf_writer_free(w);
}

/* ---- which are there ---- */

/* The codes that the file has of each picture as it is now: found by the stamp, without reading it, else by what is in
 * it. */
static bool look_up(train_codes *t, pictures *p, const cache *c, const dataset *d, err *e)
{
    size_t row = (size_t)t->cells * sizeof *t->codes;
    for (int64_t i = 0; i < t->n; i++) {
        int64_t at = -1;
        bool there = dataset_picture_stamp(d, i, &p->stamps[i]);
        if (p->stamps[i])
            at = find(c->by_stamp, c->n, p->stamps[i]);
        if (at >= 0) {
            p->contents[i] = key_at(c->contents, at);
        } else if (there && dataset_picture_hash(d, i, &p->contents[i])) {
            at = find(c->by_content, c->n, p->contents[i]);
        }
        if (at >= 0)
            memcpy(t->codes + i * t->cells, c->codes + at * t->cells, row);
        if (t->codes[i * t->cells] == NONE) { /* one that couldn't be read is tried again */
            p->missing[p->n_missing++] = i;
            p->unread += at >= 0;
        }
        if (i % 64 == 0 && !dataset_goes_on(d, e))
            return false;
    }
    return true;
}

static bool pictures_new(pictures *p, int64_t n, err *e)
{
    size_t bytes = (size_t)n * sizeof(uint64_t);
    *p = (pictures){calloc((size_t)n, sizeof *p->stamps), calloc((size_t)n, sizeof *p->contents),
                    calloc((size_t)n, sizeof *p->missing), 0, 0};
    return (p->stamps && p->contents && p->missing) || err_no_memory(e, "codes", 3 * bytes);
}

static void pictures_release(pictures *p)
{
    free(p->stamps);
    free(p->contents);
    free(p->missing);
}

/* ---- the codec ---- */

/* How many pictures go through the codec at once, with its weights there. */
static bool make_room(plan *p, model *m, err *e)
{
    const plan_job job = {.what = "codes of the pictures",
                          .uses = USE_ENCODER,
                          .most = BATCH,
                          .walk = codec_encode_walk,
                          .context = &m->codec,
                          .help = "take another device: `device`"};
    return plan_make(p, m, m->run, &job, e);
}

/* `most` at once. */
static bool encode_batch(train_codes *t, model *m, const dataset_batch *b, int most, int32_t *some, err *e)
{
    const codec *c = &m->codec;
    size_t one = (size_t)codec_input_width(c) * (size_t)codec_input_height(c) * 3, row = (size_t)t->cells;
    for (int i = 0, n; i < b->n; i += n) {
        n = b->n - i < most ? b->n - i : most;
        if (!codec_encode(m->run, c, b->pixels + (size_t)i * one, n, some + (size_t)i * row, NULL, e))
            return false;
    }
    return true;
}

/* The same for as many at once as there is room for; where the driver refuses memory, again with less.  *p: none yet,
 * or that of the batch before. */
static bool encode_that_fits(train_codes *t, model *m, const dataset_batch *b, plan *p, int32_t *some, err *e)
{
    err why = {0};
    while (!((p->n || make_room(p, m, &why)) && encode_batch(t, m, b, p->n, some, &why))) {
        if (!plan_smaller(m, "codes of the pictures", &why))
            return err_copy(e, &why);
        p->n = 0;
    }
    return true;
}

/* Each rank has some of the codes, which all get: shifted so that what none has is the smallest of all integers. */
static void join_ranks(train_codes *t)
{
    const size_t n = (size_t)t->n * (size_t)t->cells;
    for (size_t i = 0; ranks_size() > 1 && i < n; i++)
        t->codes[i] = (int32_t)(((uint32_t)t->codes[i] - (uint32_t)NONE) ^ 0x80000000u);
    ranks_max(t->codes, n);
    for (size_t i = 0; ranks_size() > 1 && i < n; i++)
        t->codes[i] = (int32_t)(((uint32_t)t->codes[i] ^ 0x80000000u) + (uint32_t)NONE);
}

/* Encodes the missing ones; *stopped: the caller wanted an end. */
static bool encode(train_codes *t, const pictures *p, model *m, dataset *d, train_codes_progress *progress,
                   void *context, bool *stopped, err *e)
{
    dataset_batch b = {0};
    plan room = {0};
    size_t row = (size_t)t->cells * sizeof(int32_t);
    int32_t *some = malloc(BATCH * row);
    bool ok = some ? true : err_no_memory(e, "codes", BATCH * row);
    ok = ok && dataset_select(d, p->missing, p->n_missing, e);
    for (int64_t done = 0; ok && done < p->n_missing; done += BATCH * ranks_size()) { /* each rank has its share */
        *stopped = progress && !progress(context, done, p->n_missing);
        err why = {0};
        ok = !*stopped && dataset_next(d, &b, &why);
        if (!ok && !*stopped) {
            *stopped = !dataset_goes_on(d, NULL);
            ok = *stopped ? false : err_set(e, (err_code)why.code, "%s", why.text);
        }
        ok = ok && encode_that_fits(t, m, &b, &room, some, e);
        for (int i = 0; ok && i < b.n; i++) /* a bad picture's place has another one, so its own row stays */
            memcpy(t->codes + b.items[i] * t->cells, some + i * t->cells, row);
    }
    if (ok)
        join_ranks(t);
    dataset_batch_release(&b);
    free(some);
    return ok;
}

/* What rank 0 found, to all. */
static void share(train_codes *t, pictures *p)
{
    ranks_broadcast(t->codes, (size_t)t->n * (size_t)t->cells * sizeof *t->codes, 0);
    ranks_broadcast(&p->n_missing, sizeof p->n_missing, 0);
    ranks_broadcast(p->missing, (size_t)t->n * sizeof *p->missing, 0);
}

static void say_found(const train_codes *t, const pictures *p, const cache *c, const char *path)
{
    long long n = (long long)t->n, fresh = (long long)(p->n_missing - p->unread);
    if (c->other_codec)
        log_write(LOG_WARNING, "%s: its codes are another codec's: those of all %lld pictures are made anew", path, n);
    else if (c->n && fresh)
        log_write(LOG_WARNING,
                  "%s: it has the codes of %lld of %lld pictures; %lld are new or have changed, and are encoded", path,
                  n - (long long)p->n_missing, n, fresh);
    else
        log_write(LOG_INFO, "%s: codes of %lld pictures, %lld of them to be made", path, n, (long long)p->n_missing);
}

static bool fill(train_codes *t, pictures *p, model *m, dataset *d, const char *path, train_codes_progress *progress,
                 void *context, err *e)
{
    uint64_t maker = codec_hash(m->gguf);
    cache c = {0};
    bool first = ranks_rank() == 0, stopped = false;
    memset(t->codes, 0xFF, (size_t)t->n * (size_t)t->cells * sizeof *t->codes);
    bool ok = !first || (cache_open(&c, path, maker, t->cells, m->codec.codes, e) && look_up(t, p, &c, d, e));
    if (!ok) { /* a failure of one ends all */
        cache_release(&c);
        return false;
    }
    share(t, p);
    if (first)
        say_found(t, p, &c, path);
    size_t keys = (size_t)t->n * 8;
    bool changed = p->n_missing || c.n != t->n || memcmp(c.stamps, p->stamps, keys) != 0 ||
                   memcmp(c.contents, p->contents, keys) != 0;
    cache_release(&c);
    if (p->n_missing)
        ok = encode(t, p, m, d, progress, context, &stopped, e) && model_rest(m, e);
    if (first && changed && (ok || (stopped && ranks_size() == 1)))
        write_file(t, p, path, maker);
    if (stopped)
        err_set_cause(e, ERR_FAILED, LIMN_CAUSE_INTERRUPTED,
                      "interrupted while the pictures' codes were made: those that were made are kept in %s", path);
    dataset_log_problems(d);
    return ok;
}

bool train_codes_open(train_codes *t, model *m, const dataset_options *options, const char *path,
                      train_codes_progress *progress, void *context, err *e)
{
    const codec *c = &m->codec;
    dataset_options o = *options;
    o.want = DATASET_PAIRED;
    o.batch = BATCH;
    o.width = codec_input_width(c);
    o.height = codec_input_height(c);
    o.in_order = true;
    dataset *d = dataset_open(&o, e);
    if (!d)
        return false;
    dataset_silence_problems(d); /* the data set with the captions has told of them */
    *t = (train_codes){.n = dataset_size(d), .cells = (int)codec_numbers(c)};
    size_t bytes = (size_t)t->n * (size_t)t->cells * sizeof *t->codes;
    pictures p = {0};
    t->codes = malloc(bytes);
    bool ok = t->codes ? true : err_no_memory(e, "codes", bytes);
    ok = ok && pictures_new(&p, t->n, e) && train_same_data(dataset_fingerprint(d), e) &&
         fill(t, &p, m, d, path, progress, context, e);
    pictures_release(&p);
    dataset_free(d);
    return ok;
}

bool train_codes_read(train_codes *t, const char *path, int64_t n, int cells, err *e)
{
    npy a = {0};
    if (!npy_read(&a, path, DTYPE_I32, e))
        return false;
    bool fits = a.nd > 1 && a.shape[0] == n && a.count == n * cells;
    if (fits) {
        *t = (train_codes){.codes = a.data, .n = n, .cells = cells};
        a.data = NULL;
    }
    npy_release(&a);
    return fits ||
           err_set(e, ERR_FAILED,
                   "%s: its shape isn't that of the codes of %lld pictures, [%lld, %d] (make a row of codes for "
                   "each picture, in the order of the data)",
                   path, (long long)n, (long long)n, cells);
}

void train_codes_release(train_codes *t)
{
    free(t->codes);
    *t = (train_codes){0};
}

void train_codes_exclude(const train_codes *t, dataset *d)
{
    for (int64_t i = 0; i < t->n; i++)
        if (t->codes[i * t->cells] == NONE)
            dataset_exclude(d, i);
}
