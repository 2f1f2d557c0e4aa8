/* Tests of src/text: ids as HuggingFace's tokenizers give them, damaged vocabularies, and the way through GGUF.
 * Golden cases: data/tokenizer_cases.json, made by tools/make_golden_tokenizer.py. */
#include <jansson.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <utf8proc.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/bpe.h"
#include "text/bpe_split.h"

#define VOCABULARY TEST_DATA "/emoji_vocab.json"
#define MERGES     TEST_DATA "/emoji_merges.txt"

/* ---- files of a test ----------------------------------------------------------------------------------------- */

static char folder[256], vocab_path[300], merges_path[300], gguf_path[300];

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/limn-text-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    snprintf(vocab_path, sizeof vocab_path, "%s/vocab.json", folder);
    snprintf(merges_path, sizeof merges_path, "%s/merges.txt", folder);
    snprintf(gguf_path, sizeof gguf_path, "%s/tokenizer.gguf", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(vocab_path);
    unlink(merges_path);
    unlink(gguf_path);
    return rmdir(folder);
}

static void write_file(const char *path, const char *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* ---- a small vocabulary: the bytes (id = byte), then ab, bc, abc, <pad>, 中 ---------------------------------- */

enum { N_SMALL = 261 };

typedef struct small {
    char bytes[256][8];
    const char *tokens[N_SMALL];
} small;

static void small_init(small *s)
{
    static const char *const more[] = {"ab", "bc", "abc", "<pad>", "中"};
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 256; i++) {
        utf8proc_encode_char(bpe_byte_to_char((uint8_t)i), (uint8_t *)s->bytes[i]);
        s->tokens[i] = s->bytes[i];
    }
    for (int i = 256; i < N_SMALL; i++)
        s->tokens[i] = more[i - 256];
}

/* The small vocabulary as JSON: a new string. */
static char *small_json(void)
{
    small s;
    small_init(&s);
    json_t *root = json_object();
    for (int i = 0; i < N_SMALL; i++)
        assert_int_equal(json_object_set_new(root, s.tokens[i], json_integer(i)), 0);
    char *text = json_dumps(root, JSON_PRESERVE_ORDER);
    json_decref(root);
    assert_non_null(text);
    return text;
}

/* A new string: text with its only `from` made `to`. */
static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    assert_non_null(at);
    size_t before = (size_t)(at - text), n = strlen(text) + strlen(to) + 1;
    char *out = malloc(n);
    assert_non_null(out);
    snprintf(out, n, "%.*s%s%s", (int)before, text, to, at + strlen(from));
    return out;
}

static void assert_error(const bpe *b, const err *e, const char *file, const char *why)
{
    if (b || e->code != ERR_FAILED || !strstr(e->text, file) || !strstr(e->text, why))
        fail_msg("expected an error with \"%s\" and \"%s\", got %d \"%s\"", file, why, e->code, e->text);
    assert_true(bpe_is_utf8(e->text));
}

static void assert_ids(const bpe *b, const char *text, const int32_t *expected, size_t n_expected)
{
    err e = {0};
    int32_t *ids;
    size_t n;
    if (!bpe_encode(b, text, &ids, &n, &e))
        fail_msg("\"%s\": %s", text, e.text);
    if (n != n_expected || (n && memcmp(ids, expected, n * sizeof *ids) != 0))
        fail_msg("\"%s\": other ids", text);
    free(ids);
}

/* ---- golden cases -------------------------------------------------------------------------------------------- */

static json_t *golden(void)
{
    json_error_t why;
    json_t *root = json_load_file(TEST_DATA "/tokenizer_cases.json", 0, &why);
    if (!root)
        fail_msg("tokenizer_cases.json: line %d: %s", why.line, why.text);
    return root;
}

/* The ids of a case: a new array. */
static int32_t *case_ids(const json_t *row, size_t *n)
{
    const json_t *list = json_object_get(row, "ids");
    *n = json_array_size(list);
    int32_t *ids = malloc((*n + 1) * sizeof *ids);
    assert_non_null(ids);
    for (size_t i = 0; i < *n; i++)
        ids[i] = (int32_t)json_integer_value(json_array_get(list, i));
    return ids;
}

static bpe *emoji(void)
{
    err e = {0};
    bpe *b = bpe_from_files(VOCABULARY, MERGES, true, &e);
    if (!b)
        fail_msg("%s", e.text);
    return b;
}

static void check_encode_cases(const bpe *b)
{
    json_t *root = golden(), *rows = json_object_get(root, "encode"), *row;
    size_t i, n;
    assert_true(json_array_size(rows) > 300);
    json_array_foreach(rows, i, row)
    {
        int32_t *ids = case_ids(row, &n);
        assert_ids(b, json_string_value(json_object_get(row, "text")), ids, n);
        char *text = bpe_decode(b, ids, n, NULL);
        assert_string_equal(text, json_string_value(json_object_get(row, "lower")));
        free(text);
        free(ids);
    }
    json_decref(root);
}

static void encode_as_huggingface(void **state)
{
    (void)state;
    bpe *b = emoji();
    assert_int_equal(bpe_size(b), 2048);
    assert_string_equal(bpe_token(b, 0), "<pad>");
    assert_int_equal(bpe_find(b, "<img>"), 1);
    assert_int_equal(bpe_find(b, "no such token"), -1);
    assert_int_equal(bpe_find(b, ""), -1);
    assert_null(bpe_token(b, -1));
    assert_null(bpe_token(b, 2048));
    check_encode_cases(b);
    bpe_free(b);
}

static void decode_as_huggingface(void **state)
{
    (void)state;
    bpe *b = emoji();
    json_t *root = golden(), *rows = json_object_get(root, "decode"), *row;
    size_t i, n;
    assert_true(json_array_size(rows) > 100);
    json_array_foreach(rows, i, row)
    {
        int32_t *ids = case_ids(row, &n);
        char *text = bpe_decode(b, ids, n, NULL);
        assert_string_equal(text, json_string_value(json_object_get(row, "text")));
        free(text);
        free(ids);
    }
    json_decref(root);
    bpe_free(b);
}

/* ---- merging and text ---------------------------------------------------------------------------------------- */

static bpe *small_with(const char *const *merges, size_t n, bool lowercase)
{
    small s;
    small_init(&s);
    err e = {0};
    bpe *b = bpe_new("small", s.tokens, N_SMALL, merges, n, lowercase, &e);
    if (!b)
        fail_msg("%s", e.text);
    return b;
}

static void merge_order(void **state)
{
    (void)state;
    bpe *b = small_with((const char *const[]){"a b", "b c", "a bc"}, 3, false);
    assert_ids(b, "abc", (int32_t[]){256, 'c'}, 2);
    assert_ids(b, "bcab", (int32_t[]){257, 256}, 2);
    assert_ids(b, "ABC", (int32_t[]){'A', 'B', 'C'}, 3);
    assert_ids(b, "<pad>", (int32_t[]){'<', 'p', 'a', 'd', '>'}, 5);
    assert_ids(b, "中", (int32_t[]){0xE4, 0xB8, 0xAD}, 3);
    bpe_free(b);
    /* Of a repeated merge the last counts, as in HuggingFace's table. */
    b = small_with((const char *const[]){"a b", "b c", "a b", "a bc"}, 4, true);
    assert_ids(b, "ABC", (int32_t[]){258}, 1);
    bpe_free(b);
    /* A result may come from two merges. */
    b = small_with((const char *const[]){"a bc", "ab c", "b c", "a b"}, 4, true);
    assert_ids(b, "abcab", (int32_t[]){258, 256}, 2);
    bpe_free(b);
    b = small_with(NULL, 0, false);
    assert_ids(b, "ab", (int32_t[]){'a', 'b'}, 2);
    bpe_free(b);
}

static void specials_and_ids(void **state)
{
    (void)state;
    err e = {0};
    bpe *b = small_with((const char *const[]){"a b"}, 1, false);
    /* <pad>, 中 and the joins that no merge makes stand for no text. */
    char *text = bpe_decode(b, (int32_t[]){259, 'x', 260, 256, 257, 0, 'y', 0xE4, 0xB8}, 9, &e);
    assert_string_equal(text, "xab\uFFFDy\uFFFD");
    free(text);
    text = bpe_decode(b, NULL, 0, &e);
    assert_string_equal(text, "");
    free(text);
    assert_null(bpe_decode(b, (int32_t[]){1, N_SMALL}, 2, &e));
    assert_non_null(strstr(e.text, "261 at position 1"));
    assert_null(bpe_decode(b, (int32_t[]){-1}, 1, NULL));
    bpe_free(b);
    bpe_free(NULL);
}

static void text_must_be_utf8(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int position;
    } cases[] = {{"\xFF", 0},           {"ab\x80", 2},           {"ab\xC3", 2},
                 {"\xC0\x80", 0},       {"é\xE0\x80\x80", 2},    {"\xE4\xB8", 0},
                 {"a\xED\xA0\x80z", 1}, {"\xF4\x90\x80\x80", 0}, {"\xF0\x9F\x90", 0}};
    bpe *b = emoji();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        int32_t *ids = (int32_t *)&e;
        size_t n = 7;
        char where[32];
        snprintf(where, sizeof where, "byte %d ", cases[i].position);
        assert_false(bpe_encode(b, cases[i].text, &ids, &n, &e));
        assert_null(ids);
        assert_int_equal(n, 0);
        assert_non_null(strstr(e.text, where));
    }
    bpe_free(b);
}

/* A piece of a megabyte: merging that is quadratic in it would take minutes. */
static void long_words(void **state)
{
    (void)state;
    enum { SIZE = 1 << 20 };
    static const char *const alphabets[] = {"a", "aelrstin", "ab ", " "};
    bpe *b = emoji();
    char *text = malloc(SIZE + 1);
    assert_non_null(text);
    text[SIZE] = 0;
    clock_t start = clock();
    for (size_t k = 0; k < sizeof alphabets / sizeof *alphabets; k++) {
        uint32_t state_bits = 1;
        for (size_t i = 0; i < SIZE; i++) {
            state_bits = state_bits * 1664525u + 1013904223u;
            text[i] = alphabets[k][(state_bits >> 16) % strlen(alphabets[k])];
        }
        int32_t *ids;
        size_t n;
        assert_true(bpe_encode(b, text, &ids, &n, NULL));
        char *back = bpe_decode(b, ids, n, NULL);
        assert_string_equal(back, text);
        free(back);
        free(ids);
    }
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 60);
    free(text);
    bpe_free(b);
}

/* ---- damaged vocabularies ------------------------------------------------------------------------------------ */

static void check_files(const char *file, const char *why)
{
    err e = {0};
    bpe *b = bpe_from_files(vocab_path, merges_path, false, &e);
    assert_error(b, &e, file, why);
    assert_null(bpe_from_files(vocab_path, merges_path, false, NULL));
}

static void damaged_vocabulary(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to, *why;
    } changes[] = {
        {"\"ab\": 256", "\"ab\": 261", "token \"ab\": id 261 is outside 0..260"},
        {"\"ab\": 256", "\"ab\": -1", "token \"ab\": id -1 "},
        {"\"ab\": 256", "\"ab\": 9223372036854775807", "token \"ab\": id 9223372036854775807 "},
        {"\"ab\": 256", "\"ab\": 99999999999999999999", "token \"ab\": its id is not an integer"},
        {"\"ab\": 256", "\"ab\": 98", "tokens \"b\" and \"ab\" both have id 98"},
        {"\"ab\": 256", "\"ab\": \"256\"", "token \"ab\": its id is not an integer"},
        {"\"ab\": 256", "\"ab\": 256.0", "token \"ab\": its id is not an integer"},
        {"\"ab\": 256", "\"ab\": null", "token \"ab\""},
        {"\"ab\": 256", "\"a\\u001bb\": [256]", "token \"a?b\""},
        {"\"ab\": 256", "\"ab\": 256, \"gap\": 262", "token \"gap\": id 262 is outside"},
        {"\"ab\": 256", "256: 256", "line 1"},
        {"\"ab\": 256", "\"ab\": 256, \"ab\": 261", "duplicate"},
        {"\"ab\": 256", "\"\": 256", "token 256 is empty"},
        {"\"ab\": 256", "\"\\u0000\": 256", "line 1"},
        {"\"ab\": 256", "\"\xFF\": 256", "line 1"},
        {"\"ab\": 256", "\"\\ud800\": 256", "line 1"},
        {"\"Ā\": 0", "\"zz\": 0", "byte 0x00 has no token \"Ā\""},
        {"\"~\": 126", "\"zz\": 126", "byte 0x7E has no token \"~\""},
    };
    static const char *const texts[] = {
        "", "[]", "{}", "5", "\"x\"", "null", "{\"a\": {", "[[[[[[[[[[", "\xEF\xBB\xBF{}"};
    char *json = small_json();
    write_file(merges_path, "a b\n", 4);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        char *changed = replaced(json, changes[i].from, changes[i].to);
        write_file(vocab_path, changed, strlen(changed));
        check_files(vocab_path, changes[i].why);
        free(changed);
    }
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file(vocab_path, texts[i], strlen(texts[i]));
        check_files(vocab_path, "");
    }
    for (size_t k = 0; k < strlen(json); k++) {
        write_file(vocab_path, json, k);
        check_files(vocab_path, "");
    }
    free(json);
    unlink(vocab_path);
    check_files(vocab_path, "");
}

static void damaged_merges(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"a b\nb\n", "merge 1 \"b\" is not two tokens"},
        {"a b\n\n", "merge 1 \"\" is not two tokens"},
        {"a  b\n", "merge 0 \"a  b\" is not two tokens"},
        {" a b\n", "merge 0 \" a b\" is not two tokens"},
        {" b\n", "merge 0 \" b\" is not two tokens"},
        {"a \n", "merge 0 \"a \" is not two tokens"},
        {"a b c\n", "merge 0 \"a b c\" is not two tokens"},
        {"#version: 0.2\na b\na qq\n", "merge 1 \"a qq\": its second part is no token"},
        {"qq a", "merge 0 \"qq a\": its first part is no token"},
        {"b a", "merge 0 \"b a\": its result is no token"},
        {"a b\r", "merge 0 \"a b?\": its second part"},
        {"a b\n\xFF b\n", "merge 1 is not UTF-8"},
        {"a b\n\xE4\xB8", "merge 1 is not UTF-8"},
    };
    char *json = small_json();
    write_file(vocab_path, json, strlen(json));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_file(merges_path, cases[i].text, strlen(cases[i].text));
        check_files(merges_path, cases[i].why);
    }
    write_file(merges_path, "a b\n\0", 5);
    check_files(merges_path, "zero byte");
    static const char whole[] = "#version: 0.2\r\na b\r\nb c\r\nab c\r\n";
    for (size_t k = 0; k < sizeof whole; k++) { /* cut between lines it is a shorter, valid file */
        err e = {0};
        write_file(merges_path, whole, k);
        bpe *b = bpe_from_files(vocab_path, merges_path, false, &e);
        if (!b)
            assert_error(b, &e, merges_path, "merge");
        else if (k == sizeof whole - 1)
            assert_ids(b, "abc", (int32_t[]){258}, 1);
        bpe_free(b);
    }
    free(json);
    unlink(merges_path);
    check_files(merges_path, "");
}

/* Random bytes put into good files: any outcome but a crash. */
static void random_damage(void **state)
{
    (void)state;
    static const char lines[] = "#version: 0.2\na b\nb c\nab c\n";
    char *json = small_json(), merges[sizeof lines];
    size_t n = strlen(json);
    char *changed = malloc(n + 1);
    assert_non_null(changed);
    uint32_t bits = 7;
    for (int round = 0; round < 1000; round++) {
        memcpy(changed, json, n + 1);
        memcpy(merges, lines, sizeof lines);
        for (int k = 0; k < 3; k++) {
            bits = bits * 1664525u + 1013904223u;
            changed[(bits >> 8) % n] = (char)(bits >> 24);
            if (round % 2)
                merges[(bits >> 4) % (sizeof lines - 1)] = (char)(bits >> 20);
        }
        write_file(vocab_path, round % 2 ? json : changed, n);
        write_file(merges_path, merges, sizeof lines - 1);
        err e = {0};
        bpe *b = bpe_from_files(vocab_path, merges_path, true, &e);
        assert_true(b || e.code == ERR_FAILED);
        bpe_free(b);
    }
    free(changed);
    free(json);
}

static void damaged_lists(void **state)
{
    (void)state;
    static const struct {
        int id;
        const char *token, *merge, *why;
    } cases[] = {
        {256, "a", "b c", "token 256 \"a\" is also token 97"},
        {256, "", "b c", "token 256 is empty"},
        {256, "\x80", "b c", "token 256 is not UTF-8"},
        {65, "AAA", "b c", "byte 0x41 has no token \"A\""},
        {256, "a中", "a 中", "merge 0 \"a 中\" has a character that stands for no byte"},
        {256, "ab", "a b\xC3", "merge 0 is not UTF-8"},
        {256, "ab", "a bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
         "bbbbbbbb...\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        small s;
        small_init(&s);
        s.tokens[cases[i].id] = cases[i].token;
        err e = {0};
        bpe *b = bpe_new("list.gguf", s.tokens, N_SMALL, &cases[i].merge, 1, false, &e);
        assert_error(b, &e, "list.gguf: ", cases[i].why);
    }
    err e = {0};
    assert_error(bpe_new("none", NULL, 0, NULL, 0, false, &e), &e, "none", "byte 0x00 has no token");
}

/* ---- GGUF ---------------------------------------------------------------------------------------------------- */

/* Commits what was put, opens it, and reads the tokenizer from it. */
static bpe *through_gguf(gguf_writer *w, err *e)
{
    file_map map = {0};
    err io = {0};
    gguf_begin_data(w);
    if (!gguf_writer_commit(w, &io) || !file_map_open(&map, gguf_path, &io))
        fail_msg("%s", io.text);
    gguf_writer_free(w);
    gguf *g = gguf_open(map.data, map.size, gguf_path, &io);
    if (!g)
        fail_msg("%s", io.text);
    bpe *b = bpe_from_gguf(g, e);
    gguf_free(g);
    file_map_release(&map);
    return b;
}

static void gguf_round_trip(void **state)
{
    (void)state;
    err e = {0};
    bpe *first = emoji();
    gguf_writer *w = gguf_writer_new(gguf_path);
    bpe_put(first, w);
    gguf_put_bool(w, "limn.tokenizer.verbatim", true); /* as HuggingFace's reads it */
    bpe *second = through_gguf(w, &e);
    if (!second)
        fail_msg("%s", e.text);
    assert_int_equal(bpe_size(second), bpe_size(first));
    for (int32_t i = 0; i < (int32_t)bpe_size(first); i++)
        assert_string_equal(bpe_token(second, i), bpe_token(first, i));
    check_encode_cases(second);
    bpe_free(first);
    bpe_free(second);
}

static void damaged_gguf(void **state)
{
    (void)state;
    small s;
    small_init(&s);
    static const struct {
        const char *model, *pre;
        size_t n_tokens, n_merges;
        const char *merge, *why;
    } cases[] = {
        {"llama", "gpt-2", N_SMALL, 1, "a b", "tokenizer.ggml.model is \"llama\""},
        {"gpt2", "qwen2", N_SMALL, 1, "a b", "tokenizer.ggml.pre is \"qwen2\""},
        {"gpt2", "gpt-2", 0, 1, "a b", "tokenizer.ggml.tokens"},
        {"gpt2", "gpt-2", N_SMALL, 0, "a b", "tokenizer.ggml.merges"},
        {"gpt2", "gpt-2", 255, 1, "a b", "byte 0xFF has no token"},
        {"gpt2", "gpt-2", N_SMALL, 1, "ab", "merge 0 \"ab\" is not two tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        gguf_writer *w = gguf_writer_new(gguf_path);
        gguf_put_string(w, "tokenizer.ggml.model", cases[i].model);
        gguf_put_string(w, "tokenizer.ggml.pre", cases[i].pre);
        if (cases[i].n_tokens)
            gguf_put_strings(w, "tokenizer.ggml.tokens", s.tokens, cases[i].n_tokens);
        if (cases[i].n_merges)
            gguf_put_strings(w, "tokenizer.ggml.merges", &cases[i].merge, cases[i].n_merges);
        bpe *b = through_gguf(w, &e);
        assert_error(b, &e, gguf_path, cases[i].why);
    }
    /* Without limn's own key text is taken as it is. */
    err e = {0};
    gguf_writer *w = gguf_writer_new(gguf_path);
    gguf_put_strings(w, "tokenizer.ggml.tokens", s.tokens, N_SMALL);
    gguf_put_strings(w, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    bpe *b = through_gguf(w, &e);
    assert_non_null(b);
    assert_ids(b, "Aab", (int32_t[]){'A', 256}, 2);
    bpe_free(b);
    w = gguf_writer_new(gguf_path);
    gguf_put_strings(w, "tokenizer.ggml.tokens", s.tokens, N_SMALL);
    gguf_put_strings(w, "tokenizer.ggml.merges", (const char *const[]){"a b"}, 1);
    gguf_put_string(w, "limn.tokenizer.lowercase", "yes");
    b = through_gguf(w, &e);
    assert_error(b, &e, gguf_path, "limn.tokenizer.lowercase");
}

/* ---- dropout ------------------------------------------------------------------------------------------------- */

/* The text stays the same, the same numbers give the same ids, and share 0 and 1 are the plain ids and the bytes. */
static void dropout_by_the_paper(void **state)
{
    (void)state;
    err e = {0};
    bpe *b = bpe_from_files(VOCABULARY, MERGES, true, &e);
    assert_non_null(b);
    static const char text[] = "a grinning face with big eyes to the left of an avocado";
    int32_t *plain = NULL, *ids = NULL, *again = NULL;
    size_t n_plain, n, n_again, longer = 0;
    assert_true(bpe_encode(b, text, &plain, &n_plain, &e));
    for (uint32_t i = 0; i < 64; i++) {
        bpe_dropout d = {i == 0 ? 0 : i == 1 ? 1 : 0.1f, 5, 3, i};
        assert_true(bpe_encode_dropout(b, text, &d, &ids, &n, &e) &&
                    bpe_encode_dropout(b, text, &d, &again, &n_again, &e));
        char *back = bpe_decode(b, ids, n, &e);
        assert_string_equal(back, text);
        assert_int_equal(n, n_again);
        assert_memory_equal(ids, again, n * sizeof *ids);
        if (i == 0)
            assert_true(n == n_plain && !memcmp(ids, plain, n * sizeof *ids));
        if (i == 1)
            assert_int_equal(n, sizeof text - 1);
        longer += n > n_plain;
        free(back);
        free(ids);
        free(again);
    }
    assert_in_range(longer, 32, 63); /* of some 40 merges each is left out once in ten */
    free(plain);
    bpe_free(b);
}

/* abc with the merges ab, bc, a+bc: the four results come as often as the paper's algorithm says. */
static void dropout_by_the_coin(void **state)
{
    (void)state;
    err e = {0};
    bpe *b = small_with((const char *const[]){"a b", "b c", "a bc"}, 3, false);
    enum { TRIES = 4000 };
    const double p = 0.3, expected[4] = {1 - p, p * (1 - p) * (1 - p), p * (1 - p) * p, p * p};
    int seen[4] = {0}; /* ab c, abc, a bc, a b c */
    for (uint32_t i = 0; i < TRIES; i++) {
        int32_t *ids;
        size_t n;
        assert_true(bpe_encode_dropout(b, "abc", &(bpe_dropout){(float)p, 9, 1, i}, &ids, &n, &e));
        seen[n == 1 ? 1 : n == 3 ? 3 : ids[0] == 'a' ? 2 : 0]++;
        free(ids);
    }
    for (int i = 0; i < 4; i++)
        if (fabs((double)seen[i] / TRIES - expected[i]) > 0.02)
            fail_msg("result %d: %d of %d, expected %g", i, seen[i], TRIES, expected[i]);
    bpe_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(encode_as_huggingface), cmocka_unit_test(decode_as_huggingface),
        cmocka_unit_test(merge_order),           cmocka_unit_test(specials_and_ids),
        cmocka_unit_test(text_must_be_utf8),     cmocka_unit_test(long_words),
        cmocka_unit_test(damaged_vocabulary),    cmocka_unit_test(damaged_merges),
        cmocka_unit_test(random_damage),         cmocka_unit_test(damaged_lists),
        cmocka_unit_test(dropout_by_the_paper),  cmocka_unit_test(dropout_by_the_coin),
        cmocka_unit_test(gguf_round_trip),       cmocka_unit_test(damaged_gguf),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
