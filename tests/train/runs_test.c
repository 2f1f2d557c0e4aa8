/* What long runs keep and leave out: event files, parts of a batch, dropout of captions, cached codes, bad steps. */
#define _GNU_SOURCE /* utimensat */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "io/image.h"
#include "support.h"
#include "train/events.h"
#include "train/text.h"
#include "train/train.h"

static device *dev;
static char folder[512], codec_path[512], tiny[512];

static void join(char out[600], const char *a, const char *b)
{
    snprintf(out, 600, "%s%s", a, b);
}

static const char *text_of(const char *path)
{
    static char text[1 << 16];
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    text[fread(text, 1, sizeof text - 1, f)] = 0;
    fclose(f);
    return text;
}

static void fill_run(train_run *q, const char *output, int64_t steps)
{
    static const char *sources[1];
    sources[0] = folder;
    q->output = output;
    q->sources = sources;
    q->n_sources = 1;
    q->batch = 4;
    q->save_every = 0;
    q->sample_every = 0;
    q->settings.steps = steps;
    q->settings.warm_up = 0;
    q->settings.seed = 7;
}

static train_codec_options codec_options(const char *output, int64_t steps)
{
    train_codec_options o = train_codec_defaults();
    fill_run(&o.run, output, steps);
    o.model = support_autoencoder(SUPPORT_SIDE);
    o.model.encoder_blocks = 0;
    return o;
}

static train_dalle_options dalle_options(const char *output, int64_t steps)
{
    train_dalle_options o = train_dalle_defaults();
    fill_run(&o.run, output, steps);
    o.model.base.dim = 16;
    o.model.base.heads = 2;
    o.model.base.layers = 1;
    o.model.mlp = 32;
    o.model.base.text_length = 16;
    o.codec = codec_path;
    o.tokenizer = tiny;
    return o;
}

static int make_data(void **state)
{
    (void)state;
    err e = {0};
    dev = support_device();
    snprintf(folder, sizeof folder, "%s", support_path("data"));
    snprintf(codec_path, sizeof codec_path, "%s", support_path("codec.gguf"));
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    support_pictures(folder);
    train_codec_options o = codec_options(codec_path, 2);
    if (!tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e) || !train_codec(dev, &o, &e)) {
        print_error("%s\n", e.text);
        return -1;
    }
    return 0;
}

static int drop_data(void **state)
{
    (void)state;
    device_free(dev);
    return 0;
}

static void must(bool ok, const err *e)
{
    if (!ok)
        fail_msg("%s", e->text);
}

/* ---- event files ---- */

static uint64_t little_endian(const uint8_t *p, int n)
{
    uint64_t v = 0;
    for (int i = n; i-- > 0;)
        v = v << 8 | p[i];
    return v;
}

/* A field of a protobuf message. */
typedef struct field {
    int number, wire;
    uint64_t value; /* of numbers */
    const uint8_t *data;
    size_t n;
} field;

static uint64_t varint(const uint8_t **p)
{
    uint64_t v = 0;
    for (int shift = 0;; shift += 7) {
        v |= (uint64_t)(**p & 127) << shift;
        if (!(*(*p)++ & 128))
            return v;
    }
}

static bool next_field(const uint8_t **p, const uint8_t *end, field *f)
{
    if (*p >= end)
        return false;
    uint64_t key = varint(p);
    *f = (field){.number = (int)(key >> 3), .wire = (int)(key & 7)};
    if (f->wire == 0)
        f->value = varint(p);
    f->n = f->wire == 1 ? 8 : f->wire == 5 ? 4 : f->wire == 2 ? (size_t)varint(p) : 0;
    f->data = *p;
    if (f->wire == 1 || f->wire == 5)
        f->value = little_endian(*p, (int)f->n);
    *p += f->n;
    assert_true(*p <= end);
    return true;
}

/* What a reader knows after the files: by step, the loss; the sizes of pictures. */
typedef struct board {
    float loss[64];
    int seen[64];
    int pictures, starts;
} board;

static void read_value(board *b, int64_t step, const uint8_t *p, const uint8_t *end)
{
    field f, tag = {0}, inner;
    while (next_field(&p, end, &f)) {
        if (f.number == 1)
            tag = f;
        if (f.number == 2 && tag.n == 4 && !memcmp(tag.data, "loss", 4)) {
            uint32_t bits = (uint32_t)f.value;
            memcpy(&b->loss[step], &bits, sizeof bits);
            b->seen[step]++;
        }
        if (f.number == 4) { /* a picture */
            uint64_t height = 0, width = 0;
            const uint8_t *q = f.data;
            while (next_field(&q, f.data + f.n, &inner)) {
                height = inner.number == 1 ? inner.value : height;
                width = inner.number == 2 ? inner.value : width;
                if (inner.number == 4)
                    assert_memory_equal(inner.data, "\x89PNG", 4);
            }
            assert_true(height == 2 * SUPPORT_SIDE && width == 4 * SUPPORT_SIDE);
            b->pictures++;
        }
    }
}

static void read_event(board *b, const uint8_t *p, const uint8_t *end)
{
    field f;
    int64_t step = 0;
    double time = 0;
    while (next_field(&p, end, &f)) {
        if (f.number == 1)
            memcpy(&time, &f.value, sizeof time);
        if (f.number == 2)
            step = (int64_t)f.value;
        assert_in_range(step, 0, 63);
        if (f.number == 7) { /* a start: later steps are forgotten */
            b->starts++;
            for (int64_t i = step; i < 64; i++)
                b->seen[i] = 0;
        }
        const uint8_t *q = f.data;
        field value;
        while (f.number == 5 && next_field(&q, f.data + f.n, &value))
            read_value(b, step, value.data, value.data + value.n);
    }
    assert_true(time > 1.7e9);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* The directory's files in the order of their names. */
static void read_board(board *b, const char *directory)
{
    char names[16][600];
    int n = 0;
    DIR *d = opendir(directory);
    assert_non_null(d);
    for (struct dirent *entry; (entry = readdir(d));)
        if (strstr(entry->d_name, "tfevents"))
            snprintf(names[n++], sizeof *names, "%.300s/%.250s", directory, entry->d_name);
    closedir(d);
    qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 0; i < n; i++) {
        file_map m = {0};
        err e = {0};
        must(file_map_open(&m, names[i], &e), &e);
        for (size_t at = 0; at < m.size;) {
            const uint8_t *p = m.data + at;
            size_t bytes = (size_t)little_endian(p, 8);
            assert_true(bytes < m.size - at);
            assert_int_equal(little_endian(p + 8, 4), events_checksum(p, 8));
            assert_int_equal(little_endian(p + 12 + bytes, 4), events_checksum(p + 12, bytes));
            if (at == 0) /* wall_time, step 0, then the version */
                assert_memory_equal(p + 12 + 9 + 2 + 2, "brain.Event:2", 13);
            read_event(b, p + 12, p + 12 + bytes);
            at += 16 + bytes;
        }
        file_map_release(&m);
    }
}

static bool pause_after(void *context, const train_progress *p)
{
    return p->step < *(int *)context;
}

static void event_files_have_each_step_once(void **state)
{
    (void)state;
    err e = {0};
    int limit = 8;
    char folder_of[600], csv[600];
    board b = {0};
    /* "123456789": 0xE3069283 by RFC 3720's polynomial, masked */
    assert_int_equal(events_checksum("123456789", 9), (0xE3069283u >> 15 | 0xE3069283u << 17) + 0xA282EAD8u);
    train_codec_options o = codec_options(support_path("events.gguf"), 10);
    o.run.save_every = 3;
    o.run.sample_every = 5;
    o.run.progress = pause_after;
    o.run.context = &limit;
    must(train_codec(dev, &o, &e), &e);
    join(folder_of, o.run.output, ".events");
    join(csv, o.run.output, ".csv");
    o.run.resume = true;
    limit = 99;
    must(train_codec(dev, &o, &e), &e);
    read_board(&b, folder_of);
    assert_int_equal(b.starts, 2);
    assert_int_equal(b.pictures, 2);
    o.run.resume = false; /* anew: all that was there is forgotten */
    must(train_codec(dev, &o, &e), &e);
    b = (board){0};
    read_board(&b, folder_of);
    assert_int_equal(b.starts, 3);
    const char *line = text_of(csv), *name = strstr(line, ",loss,");
    int column = 0;
    assert_non_null(name);
    for (const char *c = line; c <= name; c++)
        column += *c == ',';
    for (int step = 1; step <= 10; step++) {
        const char *value = line = strchr(line, '\n') + 1;
        for (int i = 0; i < column; i++)
            value = strchr(value, ',') + 1;
        assert_int_equal(b.seen[step], 1);
        assert_true(atoi(line) == step && b.loss[step] == strtof(value, NULL));
    }
}

/* ---- parts of a batch ---- */

/* The largest difference of two files' tensors, relative to the largest value of each. */
static double difference(const char *a, const char *b)
{
    err e = {0};
    file_map m[2] = {0};
    gguf *g[2];
    double worst = 0;
    for (int i = 0; i < 2; i++) {
        must(file_map_open(&m[i], i ? b : a, &e), &e);
        g[i] = gguf_open(m[i].data, m[i].size, i ? b : a, &e);
        assert_non_null(g[i]);
    }
    for (size_t i = 0; i < gguf_tensor_count(g[0]); i++) {
        const file_tensor *x = gguf_tensor(g[0], i), *y = gguf_find(g[1], x->name);
        const float *p = x->data, *q = y->data;
        double most = 0, apart = 0;
        if (strstr(x->name, "#v")) /* squares: of another scale */
            continue;
        for (int64_t k = 0; k < file_tensor_count(x); k++) {
            most = fmax(most, fabs(p[k]));
            apart = fmax(apart, fabs((double)p[k] - q[k]));
        }
        worst = fmax(worst, most > 0 ? apart / most : apart);
    }
    for (int i = 0; i < 2; i++) {
        gguf_free(g[i]);
        file_map_release(&m[i]);
    }
    return worst;
}

/* A plain gradient step's moments are the gradient: they, and the weights, are those of a batch N times as large. */
static void parts_of_a_batch_are_the_batch(void **state)
{
    (void)state;
    err e = {0};
    char paths[4][600];
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "parts%d.gguf", i);
        const char *output = support_path(name);
        join(paths[i], output, ".checkpoint");
        train_codec_options c = codec_options(output, 1);
        train_dalle_options d = dalle_options(output, 1);
        train_run *q = i < 2 ? &c.run : &d.run;
        q->batch = i % 2 ? 4 : 12;
        q->accumulate = i % 2 ? 3 : 0;
        q->settings.eps = 1; /* no sign of noise: the step is the gradient's size */
        c.usage = 0;         /* the entropy of a batch is not the mean of its parts' */
        d.condition_dropout = 0.3f;
        d.bpe_dropout = 0.2f;
        must(i < 2 ? train_codec(dev, &c, &e) : train_dalle(dev, &d, &e), &e);
    }
    double first = difference(paths[0], paths[1]), second = difference(paths[2], paths[3]);
    print_message("3 parts of 4 and a batch of 12 differ by %.1e (codec) and %.1e (dalle)\n", first, second);
    assert_true(first < 1e-4 && second < 1e-4);
}

/* ---- captions ---- */

static void captions_are_dropped_as_often_as_asked(void **state)
{
    (void)state;
    err e = {0};
    enum { ROWS = 2000 };
    limn_model *m = limn_model_open(dev, tiny, &e);
    assert_non_null(m);
    const gpt *d = (const gpt *)m->transformer;
    int32_t ids[64], targets[64];
    const float shares[] = {0, 0.25f, 1};
    for (int k = 0; k < 3; k++) {
        train_text t = {&d->base, m->tokenizer, 5, 0, shares[k]};
        int empty = 0, of_step[2] = {0};
        for (int i = 0; i < ROWS; i++) {
            int said = train_text_row(&t, "red", i / 8, i % 8, ids, targets);
            bool none = ids[0] == d->pad_id;
            assert_int_equal(said, none ? 0 : 2); /* each letter but the first */
            assert_int_equal(targets[0], none ? -1 : ids[1]);
            assert_int_equal(ids[d->base.text_length - 1], d->end_id);
            empty += none;
            of_step[i % 2] += none;
        }
        if (fabs((double)empty / ROWS - (double)shares[k]) > 0.03)
            fail_msg("%d of %d are empty, and %g was asked for", empty, ROWS, (double)shares[k]);
        assert_true(k != 1 || (of_step[0] > ROWS / 10 && of_step[1] > ROWS / 10));
    }
    limn_model_free(&m);
}

/* ---- codes ---- */

static int64_t encoded; /* pictures, until now */

static bool count_encoding(void *context, int64_t done, int64_t total)
{
    (void)context;
    encoded += done == 0 ? total : 0;
    return true;
}

/* made: how many pictures' codes it makes. */
static train_codes open_codes(limn_model *m, const char *from, const char *path, int64_t made)
{
    err e = {0};
    train_codes t;
    const dataset_options o = {.sources = &from, .n_sources = 1, .seed = 1};
    encoded = 0;
    must(train_codes_open(&t, m, &o, path, count_encoding, NULL, &e), &e);
    assert_int_equal(encoded, made);
    return t;
}

static void drop_codes(limn_model *m, const char *from, const char *path, int64_t made)
{
    train_codes t = open_codes(m, from, path, made);
    train_codes_release(&t);
}

/* The data as a JSON-lines file: a picture without a caption first, a broken one in the middle. */
static void codes_are_made_once_and_belong_to_their_items(void **state)
{
    (void)state;
    err e = {0};
    limn_model *m = limn_model_open(dev, codec_path, &e);
    assert_non_null(m);
    const char *list = support_path("list.jsonl"), *cache = support_path("list.codes");
    FILE *f = fopen(list, "w");
    fprintf(f, "{\"image\": \"data/05.png\"}\n");
    for (int i = 0; i < 6; i++)
        fprintf(f, "{\"image\": \"%s%02d.png\", \"text\": \"a\"}\n", i == 3 ? "no" : "data/", i);
    fclose(f);
    train_codes all = open_codes(m, folder, support_path("all.codes"), 12), t = open_codes(m, list, cache, 6);
    assert_int_equal(t.n, 6); /* the one without a caption has no number */
    for (int64_t i = 0; i < 6; i++)
        if (i == 3)
            assert_int_equal(t.codes[i * t.cells], -1);
        else
            assert_memory_equal(t.codes + i * t.cells, all.codes + i * t.cells, (size_t)t.cells * sizeof *t.codes);
    train_codes again = open_codes(m, list, cache, 1); /* from the file, but for the one that couldn't be read */
    assert_memory_equal(again.codes, t.codes, (size_t)(t.n * t.cells) * sizeof *t.codes);
    train_codes_release(&again);
    drop_codes(m, folder, cache, 4); /* other data, of which eight are like these */
    drop_codes(m, folder, cache, 0);
    assert_int_equal(truncate(cache, 100), 0); /* damaged */
    again = open_codes(m, folder, cache, 12);
    assert_memory_equal(again.codes, all.codes, (size_t)(all.n * all.cells) * sizeof *all.codes);
    train_codes_release(&again);
    train_codes_release(&t);
    train_codes_release(&all);
    /* a file of something else is not replaced */
    const dataset_options data = {.sources = (const char *[]){folder}, .n_sources = 1, .seed = 1};
    assert_false(train_codes_open(&t, m, &data, list, NULL, NULL, &e));
    assert_non_null(strstr(e.text, "holds no codes of pictures"));
    train_codes_release(&t);
    e = (err){0};
    assert_false(train_codes_open(&t, m, &data, codec_path, NULL, NULL, &e));
    train_codes_release(&t);
    limn_model_free(&m);
    train_codec_options o = codec_options(support_path("other_codec.gguf"), 3); /* another codec */
    must(train_codec(dev, &o, &e), &e);
    m = limn_model_open(dev, o.run.output, &e);
    drop_codes(m, folder, cache, 12);
    limn_model_free(&m);
}

static void write_square(const char *path, int value)
{
    image im;
    err e = {0};
    must(image_new(&im, SUPPORT_SIDE, SUPPORT_SIDE, &e), &e);
    memset(im.pixels, value, SUPPORT_SIDE * SUPPORT_SIDE * 3);
    memset(im.pixels, 255 - value, SUPPORT_SIDE * SUPPORT_SIDE);
    must(image_write_png(&im, path, NULL, 0, &e), &e);
    image_release(&im);
}

static bool stop_now(void *context, int64_t done, int64_t total)
{
    (void)context;
    (void)total;
    return done == 0;
}

/* Whatever becomes of the pictures, their codes are those that a first start would make. */
enum { PIXELS, TOUCHED, NAMES, ADDED, GONE, TWO, CHANGES };

/* Changes the set, and returns how many of its pictures need new codes. */
static int change_set(const char *set, int change)
{
    char path[700], other[700], line[2000];
    struct stat st;
    snprintf(path, sizeof path, "%s/03.png", set);
    snprintf(other, sizeof other, "%s/07.png", set);
    assert_int_equal(stat(path, &st), 0);
    switch (change) {
    case PIXELS: /* with the size and the time of before */
        for (int value = 1; value < 256; value++) {
            write_square(path, value);
            struct stat now;
            if (stat(path, &now) == 0 && now.st_size == st.st_size && value % 12)
                break;
        }
        assert_int_equal(utimensat(AT_FDCWD, path, (const struct timespec[]){st.st_mtim, st.st_mtim}, 0), 0);
        return 1;
    case TOUCHED:
        assert_int_equal(utimensat(AT_FDCWD, path, NULL, 0), 0);
        return 0;
    case NAMES: /* two take each other's */
        snprintf(line, sizeof line, "cd %s && mv 03.png x && mv 07.png 03.png && mv x 07.png", set);
        assert_int_equal(system(line), 0);
        return 0;
    case ADDED: /* before all others */
        snprintf(line, sizeof line, "cd %s && cp 03.txt 00a.txt", set);
        assert_int_equal(system(line), 0);
        snprintf(path, sizeof path, "%s/00a.png", set);
        write_square(path, 77);
        return 1;
    case GONE:
        assert_int_equal(unlink(other), 0);
        return 0;
    default:
        write_square(path, 99);
        snprintf(path, sizeof path, "%s/05.png", set);
        write_square(path, 101);
        return 2;
    }
}

static void codes_are_those_of_the_pictures_as_they_are(void **state)
{
    (void)state;
    err e = {0};
    enum { N = 20 };
    char set[600], cache[600], fresh[600], path[700];
    limn_model *m = limn_model_open(dev, codec_path, &e);
    assert_non_null(m);
    snprintf(set, sizeof set, "%s", support_path("changing"));
    snprintf(cache, sizeof cache, "%s", support_path("changing.codes"));
    snprintf(fresh, sizeof fresh, "%s", support_path("fresh.codes"));
    assert_int_equal(mkdir(set, 0700), 0);
    for (int i = 0; i < N; i++) {
        snprintf(path, sizeof path, "%s/%02d.png", set, i);
        write_square(path, 12 * i);
        snprintf(path, sizeof path, "%s/%02d.txt", set, i);
        FILE *f = fopen(path, "w");
        fputs("a", f);
        fclose(f);
    }
    /* interrupted after a batch of 16: those are kept */
    const dataset_options data = {.sources = (const char *[]){set}, .n_sources = 1, .seed = 1};
    train_codes t;
    assert_false(train_codes_open(&t, m, &data, cache, stop_now, NULL, &e));
    assert_non_null(strstr(e.text, "interrupted"));
    train_codes_release(&t);
    drop_codes(m, set, cache, 4);
    for (int change = 0; change < CHANGES; change++) {
        train_codes now = open_codes(m, set, cache, change_set(set, change));
        unlink(fresh);
        train_codes anew = open_codes(m, set, fresh, now.n);
        assert_int_equal(now.n, anew.n);
        assert_memory_equal(now.codes, anew.codes, (size_t)(now.n * now.cells) * sizeof *now.codes);
        train_codes_release(&now);
        train_codes_release(&anew);
        drop_codes(m, set, cache, 0);
    }
    limn_model_free(&m);
}

/* ---- steps that go wrong ---- */

static void a_bad_step_changes_nothing(void **state)
{
    (void)state;
    err e = {0};
    tensor w = {0};
    param_table params = {0};
    trainer t = {0};
    run *r = run_new(dev, &e);
    float values[3][8];
    const float wild[] = {INFINITY, NAN, 3e38f};
    param_matrix(&params, &w, 2, 4, PARAM_MATRIX, "w");
    must(params_load_trainable(&params, r, NULL, 1, &e), &e);
    train_settings s = {.steps = 9, .lr = 0.1f, .beta1 = 0.9f, .beta2 = 0.9f, .eps = 1e-8f, .decay = 0.1f, .clip = 1};
    must(trainer_open(&t, r, &params, &s, &e), &e);
    run_read(r, w, values[0]);
    for (int i = 0; i < 4; i++) { /* three poisoned steps, then a good one */
        trainer_begin(&t);
        float data[8] = {0, 1, 2, i < 3 ? wild[i] : 3};
        tensor x = run_upload(r, DTYPE_F32, 2, (int64_t[]){2, 4}, data);
        trainer_finish(&t, op_l2(r, w, x));
        run_read(r, w, values[1]);
        run_read(r, t.slots[0].m, values[2]);
        must(run_finish(r, &e), &e);
        bool same = !memcmp(values[0], values[1], sizeof values[0]);
        assert_true(same == (i < 3));
        for (int k = 0; k < 8; k++)
            assert_true(isfinite(values[2][k]) && (i == 3 || values[2][k] == 0));
    }
    trainer_release(&t);
    params_release(&params);
    run_free(r);
}

static void a_run_that_diverged_goes_on_from_its_checkpoint(void **state)
{
    (void)state;
    err e = {0};
    int limit = 3;
    char csv[600], checkpoint[2][600];
    train_codec_options o = codec_options(support_path("steady.gguf"), 6);
    must(train_codec(dev, &o, &e), &e);
    join(checkpoint[0], o.run.output, ".checkpoint");
    o.run.output = support_path("wild.gguf");
    join(checkpoint[1], o.run.output, ".checkpoint");
    join(csv, o.run.output, ".csv");
    o.run.progress = pause_after;
    o.run.context = &limit;
    must(train_codec(dev, &o, &e), &e);
    limit = 99;
    float lr = o.run.settings.lr;
    o.run.resume = true;
    o.run.settings.lr = 1e20f;
    o.run.settings.steps = 50;
    assert_false(train_codec(dev, &o, &e));
    if (!strstr(e.text, "train: step ") || !strstr(e.text, "checkpoint of step 3"))
        fail_msg("%s", e.text);
    assert_null(strstr(text_of(csv), "nan"));
    assert_null(strstr(text_of(csv), "inf"));
    o.run.settings.lr = lr;
    o.run.settings.steps = 6;
    e = (err){0};
    must(train_codec(dev, &o, &e), &e);
    assert_true(difference(checkpoint[0], checkpoint[1]) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(event_files_have_each_step_once),
        cmocka_unit_test(parts_of_a_batch_are_the_batch),
        cmocka_unit_test(captions_are_dropped_as_often_as_asked),
        cmocka_unit_test(codes_are_made_once_and_belong_to_their_items),
        cmocka_unit_test(codes_are_those_of_the_pictures_as_they_are),
        cmocka_unit_test(a_bad_step_changes_nothing),
        cmocka_unit_test(a_run_that_diverged_goes_on_from_its_checkpoint),
    };
    return cmocka_run_group_tests(tests, make_data, drop_data);
}
