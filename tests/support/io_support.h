/* What the tests of src/io share: a directory of their own, messages, and damage done to files. */
#ifndef TESTS_IO_SUPPORT_H
#define TESTS_IO_SUPPORT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "checks.h"
#include "io/tensor_file.h"

static char directory[64];

static inline int make_directory(void **state)
{
    (void)state;
    strcpy(directory, "/tmp/limn-test-XXXXXX");
    return mkdtemp(directory) ? 0 : -1;
}

static inline int remove_directory(void **state)
{
    (void)state;
    return rmdir(directory); /* fails where a test, or an abandoned write, left something */
}

static inline int entries(void)
{
    int n = 0;
    DIR *d = opendir(directory);
    for (struct dirent *i; (i = readdir(d));)
        n += *i->d_name != '.';
    closedir(d);
    return n;
}

static inline const char *path(void)
{
    static char text[128];
    snprintf(text, sizeof text, "%s/file", directory);
    return text;
}

static inline void write_file(const void *data, size_t size)
{
    FILE *f = fopen(path(), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static inline void assert_message(const err *e, const char *part)
{
    if (!e->code || !strstr(e->text, part))
        fail_msg("'%s' is not in '%s'", part, e->text);
}

/* Whether a reader takes the bytes; asserts that it says why where it does not. */
typedef bool probe(const uint8_t *data, size_t size);

/* Every truncation has to be refused; every byte of the header is replaced, and nothing may crash. */
static inline void torture(probe *p, const uint8_t *data, size_t size, size_t header)
{
    const int values[] = {0, 1, 0x7f, 0x80, 0xff};
    uint8_t *copy = malloc(size);
    assert_true(p(data, size));
    for (size_t n = 0; n < size; n++)
        assert_false(p(data, n));
    for (size_t i = 0; i < header; i++)
        for (size_t v = 0; v < COUNT(values) + 2; v++) {
            memcpy(copy, data, size);
            copy[i] = (uint8_t)(v < COUNT(values) ? values[v] : copy[i] ^ (v % 2 ? 0x01 : 0x20));
            p(copy, size);
        }
    free(copy);
}

/* Reads all that a table entry points at, for AddressSanitizer to see. */
static inline void touch(const file_tensor *t)
{
    volatile uint8_t sum = 0;
    char shape[128];
    for (size_t i = 0; i < t->bytes; i++)
        sum ^= ((const uint8_t *)t->data)[i];
    file_tensor_shape_text(t, shape);
    assert_true(strlen(t->name) > 0 && file_tensor_count(t) >= 0);
}
#endif
