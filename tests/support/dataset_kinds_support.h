/* What the tests of data sets as people have them share: what is said, and archives. */
#ifndef TESTS_DATASET_KINDS_SUPPORT_H
#define TESTS_DATASET_KINDS_SUPPORT_H
#include "dataset_support.h"

#include "base/log.h"

static char logged[8192];

static inline void keep_line(void *context, log_level level, const char *line)
{
    (void)context;
    (void)level;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s\n", line);
}

/* What dataset_log_problems says, with the folder's name as "@". */
static inline const char *said(dataset *d)
{
    static char text[8192];
    size_t n = 0, length = strlen(directory);
    logged[0] = 0;
    log_set_sink(keep_line, NULL);
    dataset_log_problems(d);
    log_set_sink(NULL, NULL);
    for (const char *p = logged; *p && n + 1 < sizeof text;) {
        bool folder = !strncmp(p, directory, length);
        text[n++] = folder ? '@' : *p;
        p += folder ? length : 1;
    }
    text[n] = 0;
    return text;
}

static inline dataset *open_pairs(const char *source, dataset_want want)
{
    dataset_options o = options_of(&source);
    o.want = want;
    o.in_order = true;
    return open_set(&o);
}

/* All captions of all items, "0=a|0=b|1=c|". */
static inline void has_captions(const char *source, const char *expected)
{
    seen s = {{0}, 0, 0};
    dataset *d = open_pairs(source, DATASET_PAIRS);
    assert_true(dataset_captions(d, see, &s));
    assert_string_equal(s.text, expected);
    dataset_free(d);
}

static inline void has_items(const char *source, dataset_want want, int64_t n)
{
    dataset *d = open_pairs(source, want);
    assert_int_equal(dataset_size(d), n);
    dataset_free(d);
}

static inline void write_pair(const char *name, int value, const char *caption)
{
    char file[128];
    snprintf(file, sizeof file, "%s.png", name);
    write_picture(file, value);
    snprintf(file, sizeof file, "%s.txt", name);
    write_text(file, caption);
}
#endif
