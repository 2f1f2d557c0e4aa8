/* What the tests of the data set share: a folder of pictures and captions, and what a batch must be. */
#ifndef TESTS_DATASET_SUPPORT_H
#define TESTS_DATASET_SUPPORT_H
#define _XOPEN_SOURCE 700 /* nftw */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checks.h"
#include "io/image.h"
#include "train/data/dataset.h"

/* ---- a folder for each test ---------------------------------------------------------------------------------- */

static char directory[64];

static inline int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/limn-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static inline int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

static inline int remove_directory(void **state)
{
    (void)state;
    return nftw(directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* A path in the folder, valid for 8 calls. */
static inline const char *path(const char *name)
{
    static char texts[8][256];
    static int next;
    char *text = texts[next++ % 8];
    snprintf(text, sizeof *texts, "%s/%s", directory, name);
    return text;
}

static inline void write_bytes(const char *name, const void *data, size_t bytes)
{
    FILE *f = fopen(path(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, bytes, f), bytes);
    assert_int_equal(fclose(f), 0);
}

static inline void write_text(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static inline void make_folder(const char *name)
{
    assert_int_equal(mkdir(path(name), 0777), 0);
}

/* 12 x 10 pixels of one value, by which a test knows the picture again. */
static inline void write_picture(const char *name, int value)
{
    image im;
    assert_true(image_new(&im, 12, 10, NULL));
    memset(im.pixels, value, 12 * 10 * 3);
    assert_true(image_write_png(&im, path(name), NULL, 0, NULL));
    image_release(&im);
}

/* n pictures 00.png ... with captions "I a", "I b", "I c" below the folder "set". */
static inline const char *make_set(int n)
{
    char name[32], text[64];
    make_folder("set");
    for (int i = 0; i < n; i++) {
        snprintf(name, sizeof name, "set/%02d.png", i);
        write_picture(name, i);
        snprintf(name, sizeof name, "set/%02d.txt", i);
        snprintf(text, sizeof text, "%d a\n%d b\n%d c\n", i, i, i);
        write_text(name, text);
    }
    return path("set");
}

static inline dataset_options options_of(const char *const *source)
{
    return (dataset_options){
        .sources = source, .n_sources = 1, .want = DATASET_PAIRS, .batch = 4, .width = 8, .height = 8, .seed = 7};
}

static inline dataset *open_set(const dataset_options *o)
{
    err e = {0};
    dataset *d = dataset_open(o, &e);
    if (!d)
        fail_msg("%s", e.text);
    return d;
}

static inline void next(dataset *d, dataset_batch *b)
{
    err e = {0};
    if (!dataset_next(d, b, &e))
        fail_msg("%s", e.text);
}

static inline void assert_message(const err *e, const char *part)
{
    if (!e->code || !strstr(e->text, part))
        fail_msg("'%s' is not in '%s'", part, e->text);
}

static inline void assert_problem(dataset *d, const char *name, const char *reason)
{
    const dataset_problem *list;
    size_t n;
    dataset_problems(d, &list, &n);
    for (size_t i = 0; i < n; i++) {
        size_t length = strlen(list[i].name), tail = strlen(name);
        if (length >= tail && !strcmp(list[i].name + length - tail, name) && strstr(list[i].reason, reason))
            return;
    }
    for (size_t i = 0; i < n; i++)
        print_message("%s: %s\n", list[i].name, list[i].reason);
    fail_msg("no problem '%s: %s' among %zu", name, reason, n);
}

static inline uint64_t problems(dataset *d)
{
    const dataset_problem *list;
    size_t n;
    return dataset_problems(d, &list, &n);
}

static inline uint64_t digest(uint64_t h, const dataset_batch *b)
{
    size_t bytes = (size_t)b->n * (size_t)b->width * (size_t)b->height * 3;
    for (size_t i = 0; i < bytes; i++)
        h = (h ^ b->pixels[i]) * 0x100000001B3u;
    for (int i = 0; i < b->n; i++) {
        h = (h ^ (uint64_t)b->items[i]) * 0x100000001B3u;
        for (const char *c = b->captions[i]; c && *c; c++)
            h = (h ^ (uint8_t)*c) * 0x100000001B3u;
    }
    return h;
}

/* The picture has the value of its item's number, and the caption is one of the item's, in a set of make_set. */
static inline void assert_belongs(const dataset_batch *b, int i)
{
    size_t picture = (size_t)b->width * (size_t)b->height * 3;
    for (size_t k = 0; k < picture; k++)
        assert_int_equal(b->pixels[(size_t)i * picture + k], b->items[i]);
    char text[16];
    int n = snprintf(text, sizeof text, "%d ", (int)b->items[i]);
    assert_int_equal(strncmp(b->captions[i], text, (size_t)n), 0);
    assert_true(strchr("abc", b->captions[i][n]) && strlen(b->captions[i]) == (size_t)n + 1);
}

typedef struct seen {
    char text[1024];
    int n, stop_at;
} seen;

static inline bool see(void *context, int64_t item, const char *caption)
{
    seen *s = context;
    size_t at = strlen(s->text);
    snprintf(s->text + at, sizeof s->text - at, "%d=%s|", (int)item, caption);
    return ++s->n != s->stop_at;
}

#define DATASET_TEST(f) cmocka_unit_test_setup_teardown(f, make_directory, remove_directory)
#endif
