/* The codes of a data set's pictures, made once. */
#include "train/codes.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/ranks.h"
#include "train/train.h"

#define BATCH 16
#define MARK  "limn-codes"

/* ---- whose codes they are ---- */

static uint64_t hash(uint64_t h, const void *data, size_t n)
{
    const uint8_t *p = data;
    for (; n >= 8; n -= 8, p += 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0x9E3779B97F4A7C15u;
        h ^= h >> 29;
    }
    for (; n; n--, p++)
        h = (h ^ *p) * 0x100000001B3u;
    return h;
}

/* Of the codec's settings, and of its tensors with their names. */
static uint64_t codec_hash(const gguf *g)
{
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        const char *key = gguf_key(g, i);
        if (strncmp(key, "limn.codec.", 11) != 0 && strncmp(key, "limn.image.", 11) != 0)
            continue;
        char *text = gguf_key_text(g, i);
        h = hash(h, key, strlen(key));
        if (text)
            h = hash(h, text, strlen(text));
        free(text);
    }
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const file_tensor *t = gguf_tensor(g, i);
        if (!strncmp(t->name, "codec.", 6))
            h = hash(hash(h, t->name, strlen(t->name)), t->data, t->bytes);
    }
    return h;
}

/* ---- the file ---- */

/* False where there is no file of these codes; why is of no interest. */
static bool read_file(train_codes *t, const char *path, uint64_t data, uint64_t maker, int codes)
{
    file_map m = {0};
    gguf *g = file_map_open(&m, path, NULL) ? gguf_open(m.data, m.size, path, NULL) : NULL;
    const char *mark = "";
    int64_t of_data = 0, of_codec = 0, n = t->n * t->cells;
    const file_tensor *f = g ? gguf_find(g, "codes") : NULL;
    bool ok = f && f->type == DTYPE_I32 && file_tensor_count(f) == n &&
              gguf_get_string(g, "general.architecture", &mark, NULL) && !strcmp(mark, MARK) &&
              gguf_get_int(g, "codes.data", INT64_MIN, INT64_MAX, &of_data, NULL) && of_data == (int64_t)data &&
              gguf_get_int(g, "codes.codec", INT64_MIN, INT64_MAX, &of_codec, NULL) && of_codec == (int64_t)maker;
    if (ok)
        memcpy(t->codes, f->data, (size_t)n * sizeof *t->codes);
    for (int64_t i = 0; ok && i < n; i++)
        ok = t->codes[i] >= -1 && t->codes[i] < codes;
    gguf_free(g);
    file_map_release(&m);
    return ok;
}

static void write_file(const train_codes *t, const char *path, uint64_t data, uint64_t maker)
{
    err e = {0};
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", MARK);
    gguf_put_int(w, "codes.data", (int64_t)data);
    gguf_put_int(w, "codes.codec", (int64_t)maker);
    gguf_add_tensor(w, "codes", DTYPE_I32, 2, (int64_t[]){t->n, t->cells});
    gguf_begin_data(w);
    gguf_write_data(w, t->codes, (size_t)t->n * (size_t)t->cells * sizeof *t->codes);
    if (!gguf_writer_commit(w, &e)) /* the next start makes them again */
        log_write(LOG_WARNING, "%s", e.text);
    gguf_writer_free(w);
}

/* ---- the codec ---- */

/* `most` at once */
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

static bool encode(train_codes *t, model *m, int most, dataset *d, train_codes_progress *progress, void *context,
                   err *e)
{
    dataset_batch b = {0};
    size_t row = (size_t)t->cells * sizeof(int32_t);
    int32_t *some = malloc(BATCH * row);
    bool ok = some ? true : err_no_memory(e, "codes", BATCH * row);
    memset(t->codes, 0xFF, (size_t)t->n * row);
    for (int64_t done = 0; ok && done < t->n; done += BATCH * ranks_size()) { /* each rank has its share */
        ok = (!progress || progress(context, done, t->n) ||
              err_set(e, ERR_FAILED, "interrupted while the pictures' codes were made: nothing was written")) &&
             dataset_next(d, &b, e) && encode_batch(t, m, &b, most, some, e);
        for (int i = 0; ok && i < b.n; i++) /* a bad picture's place has another one, so its own row stays */
            memcpy(t->codes + b.items[i] * t->cells, some + i * t->cells, row);
    }
    if (ok)
        ranks_max(t->codes, (size_t)t->n * (size_t)t->cells);
    dataset_batch_release(&b);
    free(some);
    return ok;
}

bool train_codes_open(train_codes *t, model *m, const dataset_options *options, const char *path,
                      train_codes_progress *progress, void *context, err *e)
{
    const codec *c = &m->codec;
    dataset_options o = *options;
    o.want = DATASET_PAIRS; /* the numbers are those of the items with captions */
    o.batch = BATCH;
    o.width = codec_input_width(c);
    o.height = codec_input_height(c);
    o.in_order = true;
    dataset *d = dataset_open(&o, e);
    if (!d)
        return false;
    *t = (train_codes){.n = dataset_size(d), .cells = c->grid_width * c->grid_height};
    size_t bytes = (size_t)t->n * (size_t)t->cells * sizeof *t->codes;
    t->codes = malloc(bytes);
    bool ok = t->codes ? true : err_no_memory(e, "codes", bytes);
    bool first = ranks_rank() == 0, found = false;
    uint64_t of_data = dataset_fingerprint(d), of_codec = codec_hash(m->gguf);
    ok = ok && train_same_data(of_data, e);
    if (ok) {
        found = first && read_file(t, path, of_data, of_codec, c->codes);
        ranks_broadcast(&found, sizeof found, 0);
    }
    if (ok && found) {
        ranks_broadcast(t->codes, bytes, 0);
        log_write(LOG_INFO, "%s: codes of %lld pictures", path, (long long)t->n);
    } else if (ok) {
        plan p;
        const plan_job job = {.what = "codes of the pictures",
                              .uses = USE_ENCODER,
                              .most = BATCH,
                              .walk = codec_encode_walk,
                              .context = &m->codec,
                              .help = "take another device: --device"};
        ok = plan_make(&p, m, m->run, &job, e) && encode(t, m, p.n, d, progress, context, e) && limn_model_rest(m, e);
        dataset_log_problems(d);
        if (ok && first)
            write_file(t, path, of_data, of_codec);
    }
    dataset_free(d);
    return ok;
}

void train_codes_release(train_codes *t)
{
    free(t->codes);
    *t = (train_codes){0};
}

void train_codes_exclude(const train_codes *t, dataset *d)
{
    for (int64_t i = 0; i < t->n; i++)
        if (t->codes[i * t->cells] < 0)
            dataset_exclude(d, i);
}
