/* Tests of tokenizer training: merges and ids as HuggingFace's trainer gives them.
 * Golden cases: data/bpe_train_cases.json, made by tools/make_golden_bpe_train.py. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include <cmocka.h>

#include "text/bpe_internal.h"
#include "text/bpe_split.h"
#include "text/bpe_train.h"

enum { MAX_SPECIALS = 16 };

static bpe_trainer *trainer(bool lowercase)
{
    err e = {0};
    bpe_trainer *t = bpe_trainer_new(lowercase, &e);
    assert_non_null(t);
    return t;
}

static void add(bpe_trainer *t, const char *text)
{
    err e = {0};
    if (!bpe_trainer_add(t, text, &e))
        fail_msg("\"%s\": %s", text, e.text);
}

static bpe *finish(const bpe_trainer *t, size_t vocabulary, uint64_t frequency, const char *const *specials, size_t n)
{
    err e = {0};
    bpe *b = bpe_trainer_finish(t, vocabulary, frequency, specials, n, &e);
    if (!b)
        fail_msg("%s", e.text);
    return b;
}

/* ---- golden cases -------------------------------------------------------------------------------------------- */

static json_int_t integer(const json_t *c, const char *key)
{
    json_t *v = json_object_get(c, key);
    assert_true(json_is_integer(v));
    return json_integer_value(v);
}

static bpe_trainer *case_trainer(const json_t *c)
{
    bpe_trainer *t = trainer(json_is_true(json_object_get(c, "lowercase")));
    size_t i;
    json_t *text;
    json_array_foreach(json_object_get(c, "texts"), i, text) add(t, json_string_value(text));
    return t;
}

static bpe *case_finish(const json_t *c, const bpe_trainer *t)
{
    const char *specials[MAX_SPECIALS];
    size_t n = 0, i;
    json_t *special;
    json_array_foreach(json_object_get(c, "specials"), i, special)
    {
        assert_true(n < MAX_SPECIALS);
        specials[n++] = json_string_value(special);
    }
    return finish(t, (size_t)integer(c, "vocabulary"), (uint64_t)integer(c, "min_frequency"), specials, n);
}

static void assert_text(const json_t *c, const char *what, size_t i, const char *got, const char *expected)
{
    if (strcmp(got, expected) != 0)
        fail_msg("%s (%d): %s %zu is \"%s\", expected \"%s\"", json_string_value(json_object_get(c, "name")),
                 (int)integer(c, "vocabulary"), what, i, got, expected);
}

static void assert_case(const json_t *c, const bpe *b)
{
    const json_t *tokens = json_object_get(c, "tokens"), *merges = json_object_get(c, "merges"), *v;
    size_t size = (size_t)integer(c, "size"), first = size - json_array_size(tokens), i;
    assert_int_equal(bpe_size(b), size);
    assert_int_equal(b->n_merges, json_array_size(merges));
    json_array_foreach(tokens, i, v) assert_text(c, "token", first + i, b->tokens[first + i], json_string_value(v));
    json_array_foreach(merges, i, v) assert_text(c, "merge", i, b->merge_texts[i], json_string_value(v));
    assert_true(b->lowercase == json_is_true(json_object_get(c, "lowercase")));
    if (first == 0)
        return; /* all were compared */
    const json_t *specials = json_object_get(c, "specials");
    json_array_foreach(specials, i, v) assert_text(c, "special", i, b->tokens[i], json_string_value(v));
    size_t id = json_array_size(specials);
    for (int32_t character = 0; character <= 323; character++) {
        uint8_t text[8] = {0};
        utf8proc_encode_char(character, text);
        if (bpe_char_to_byte(character) >= 0)
            assert_text(c, "byte", id, b->tokens[id], (const char *)text), id++;
    }
    assert_int_equal(id, first);
}

static void test_golden(void **state)
{
    (void)state;
    json_error_t why;
    json_t *cases = json_load_file(TEST_DATA "/bpe_train_cases.json", 0, &why), *c;
    if (!cases)
        fail_msg("%s", why.text);
    assert_true(json_array_size(cases) > 50);
    size_t i;
    json_array_foreach(cases, i, c)
    {
        bpe_trainer *t = case_trainer(c);
        bpe *b = case_finish(c, t);
        assert_case(c, b);
        bpe_free(b);
        b = case_finish(c, t); /* the trainer is as it was */
        assert_case(c, b);
        bpe_free(b);
        bpe_trainer_free(t);
    }
    json_decref(cases);
}

/* ---- the rest ------------------------------------------------------------------------------------------------ */

/* What was learnt encodes the texts that it was learnt from, and decodes to them. */
static void test_round_trip(void **state)
{
    (void)state;
    static const char *const texts[] = {"a red bear", "a blue bear on a red mat", "日本の熊 🐻‍❄️",
                                        "  \n\t"};
    static const char *const specials[] = {"<pad>", "<img>"};
    bpe_trainer *t = trainer(false);
    for (int i = 0; i < 4; i++)
        add(t, texts[i]);
    bpe *b = finish(t, 300, 2, specials, 2);
    assert_int_equal(bpe_find(b, "<pad>"), 0);
    assert_int_equal(bpe_find(b, "<img>"), 1);
    assert_int_equal(bpe_find(b, "!"), 2);
    for (int i = 0; i < 4; i++) {
        err e = {0};
        int32_t *ids;
        size_t n;
        assert_true(bpe_encode(b, texts[i], &ids, &n, &e));
        char *text = bpe_decode(b, ids, n, &e);
        assert_string_equal(text, texts[i]);
        free(text);
        free(ids);
    }
    bpe_free(b);
    bpe_trainer_free(t);
}

/* Order and parting of texts at word bounds change nothing. */
static void test_order(void **state)
{
    (void)state;
    bpe_trainer *t = trainer(true), *u = trainer(true);
    add(t, "one two three two");
    add(t, "ONE two four");
    add(u, " two four");
    add(u, " two three");
    add(u, "one");
    add(u, "");
    add(u, "one two");
    bpe *a = finish(t, 280, 1, NULL, 0), *b = finish(u, 280, 1, NULL, 0);
    assert_int_equal(a->n_merges, b->n_merges);
    assert_true(a->n_merges > 5);
    for (size_t i = 0; i < a->n_merges; i++)
        assert_string_equal(a->merge_texts[i], b->merge_texts[i]);
    bpe_free(a);
    bpe_free(b);
    bpe_trainer_free(t);
    bpe_trainer_free(u);
}

static void test_errors(void **state)
{
    (void)state;
    bpe_trainer *t = trainer(false);
    err e = {0};
    assert_false(bpe_trainer_add(t, "ab ab ab\xff", &e));
    assert_int_equal(e.code, ERR_FAILED);
    assert_non_null(strstr(e.text, "byte 8"));
    bpe *b = finish(t, 300, 1, NULL, 0); /* nothing of it was counted */
    assert_int_equal(bpe_size(b), 256);
    bpe_free(b);
    static const struct {
        const char *specials[2], *why;
    } cases[] = {{{"<pad>", "<pad>"}, "special token 1 \"<pad>\""},
                 {{"<pad>", ""}, "special token 1 is empty"},
                 {{"\xc3", "<pad>"}, "special token 0 is not UTF-8"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        e = (err){0};
        assert_null(bpe_trainer_finish(t, 300, 1, cases[i].specials, 2, &e));
        assert_int_equal(e.code, ERR_USAGE);
        assert_non_null(strstr(e.text, cases[i].why));
    }
    e = (err){0};
    assert_null(bpe_trainer_finish(t, (size_t)INT32_MAX + 1, 1, NULL, 0, &e));
    assert_int_equal(e.code, ERR_USAGE);
    assert_null(bpe_trainer_finish(t, 300, UINT64_MAX, (const char *const[]){""}, 1, NULL));
    bpe_trainer_free(t);
    bpe_trainer_free(NULL);
}

/* A frequency that nothing reaches; many different words; a word of a megabyte. */
static void test_sizes(void **state)
{
    (void)state;
    bpe_trainer *t = trainer(false);
    char word[32];
    for (int i = 0; i < 20000; i++) {
        snprintf(word, sizeof word, "%x %o", (unsigned)i * 2654435761u, (unsigned)i);
        add(t, word);
    }
    size_t n = 1u << 20;
    char *text = malloc(n + 1);
    assert_non_null(text);
    for (size_t i = 0; i < n; i++)
        text[i] = "abcd"[(i * i / 7 + i / 3) % 4];
    text[n] = 0;
    add(t, text);
    free(text);
    bpe *b = finish(t, 5000, UINT64_MAX, NULL, 0);
    assert_int_equal(bpe_size(b), 256);
    bpe_free(b);
    b = finish(t, 600, 2, NULL, 0);
    assert_int_equal(bpe_size(b), 600);
    bpe_free(b);
    bpe_trainer_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden), cmocka_unit_test(test_round_trip), cmocka_unit_test(test_order),
        cmocka_unit_test(test_errors), cmocka_unit_test(test_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
