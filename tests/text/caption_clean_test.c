/* Captions as LlamaGen cleans them, against what its authors' Python (with ftfy 6.3 and BeautifulSoup 4.15) makes of
 * them: data/captions.json, and the golden instance's. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "text/caption_clean.h"

static void check_file(const char *path)
{
    json_t *cases = json_load_file(path, 0, NULL), *c;
    size_t i, wrong = 0;
    assert_true(json_array_size(cases) > 20);
    json_array_foreach(cases, i, c)
    {
        const char *text = json_string_value(json_object_get(c, "text"));
        const char *want = json_string_value(json_object_get(c, "cleaned"));
        err e = {0};
        char *have = caption_clean(text, &e);
        good(have != NULL, &e);
        if (strcmp(have, want) != 0) {
            print_error("\"%s\" becomes \"%s\", not \"%s\"\n", text, have, want);
            wrong++;
        }
        free(have);
    }
    json_decref(cases);
    assert_int_equal(wrong, 0);
}

static void test_reference(void **state)
{
    (void)state;
    check_file(TEST_DATA "/captions.json");
}

static void test_golden(void **state)
{
    (void)state;
    check_file(TEST_DATA "/golden/llamagen_t2i/tokenizer_cases.json");
}

/* Only the beginning of a very long text counts, and it takes no time worth mentioning. */
static void test_long(void **state)
{
    (void)state;
    enum { N = 1 << 17 };
    static const char *const words[] = {"a", "a1", "a.", "<", "%", "&a", "http://", "-"};
    char *text = calloc(1, N + 16);
    assert_non_null(text);
    for (size_t w = 0; w < COUNT(words); w++) {
        size_t n = 0;
        for (size_t k = strlen(words[w]); n + k <= N; n += k)
            memcpy(text + n, words[w], k);
        text[n] = 0;
        err e = {0};
        char *have = caption_clean(text, &e);
        good(have != NULL, &e);
        assert_true(strlen(have) <= 8 * 2048);
        free(have);
    }
    free(text);
}

static void test_invalid(void **state)
{
    (void)state;
    err e = {0};
    assert_null(caption_clean("a \xFF cat", &e));
    has(e.text, "UTF-8");
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_reference), TEST(test_golden), TEST(test_long), TEST(test_invalid)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
