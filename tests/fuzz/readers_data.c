/* Readers of data sets: their items are loaded one by one, without the threads of dataset_next. */
#include <stdlib.h>
#include <string.h>

#include "readers.h"
#include "train/data/internal.h"

static bool see(void *context, int64_t number, const char *caption)
{
    CHECK(number >= 0 && *caption);
    (void)context;
    return true;
}

static void read_source(const char *path)
{
    static const dataset_want wants[] = {DATASET_PAIRS, DATASET_PICTURES};
    enum { SIDE = 4 };
    for (int i = 0; i < 2; i++) {
        err e = {0};
        dataset_options o = {
            .sources = &path, .n_sources = 1, .want = wants[i], .batch = 1, .width = SIDE, .height = SIDE};
        dataset *d = dataset_open(&o, &e);
        CHECK(!d == (e.code != 0));
        if (!d)
            continue;
        uint8_t pixels[SIDE * SIDE * 3];
        scratch s = {0};
        atomic_bool stop = false;
        int64_t loaded;
        char *caption;
        CHECK(dataset_captions(d, see, NULL));
        for (int64_t k = 0; k < dataset_size(d) && k < 8; k++)
            if (item_load(d, 0, k, &s, pixels, &caption, &loaded, &stop, &e))
                free(caption);
        pool_release(&s.captions.text);
        const dataset_problem *problems;
        size_t n;
        dataset_problems(d, &problems, &n);
        for (size_t k = 0; k < n; k++)
            CHECK(*problems[k].name && *problems[k].reason);
        dataset_free(d);
    }
}

void read_tar(const uint8_t *data, size_t size)
{
    read_source(fuzz_named("a.tar", data, size));
}

void read_jsonl(const uint8_t *data, size_t size)
{
    read_source(fuzz_named("a.jsonl", data, size));
}

/* Lists beside pictures, which are damaged ones here; the second part. */
void read_lists(const uint8_t *data, size_t size)
{
    size_t n;
    fuzz_named("a.png", "", 0);
    fuzz_named("b.jpg", "", 0);
    char *part = fuzz_part(&data, &size, &n);
    fuzz_named("metadata.csv", part, n);
    free(part);
    fuzz_named("metadata.jsonl", data, size);
    read_source(fuzz_named(NULL, NULL, 0));
}

static bool some(void *context, const char *name, err *e)
{
    int *n = context;
    CHECK(*name || !*name);
    return ++*n < 100 || err_set(e, ERR_FAILED, "enough");
}

void read_names(const uint8_t *data, size_t size)
{
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    int count = 0;
    err e = {0};
    bool ok = names_expand(text, some, &count, &e);
    CHECK(ok == (e.code == 0));
    free(text);
}

void read_captions(const uint8_t *data, size_t size)
{
    captions c = {0};
    err e = {0};
    CHECK(captions_from_text(&c, (const char *)data, size, &e));
    const char *text = c.text.data;
    for (size_t i = 0; i < c.n; i++, text += strlen(text) + 1)
        CHECK(*text && strlen(text) <= size);
    pool_release(&c.text);
}
