/* Tokenizers of published models: ids as the authors' code gives them.  data/golden/min_dalle: a vocabulary of 700
 * tokens and ids of min-dalle 0.4.11 for it. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "text/bpe.h"
#include "text/charsmap.h"
#include "text/emoji.h"
#include "text/pretokens.h"
#include "text/tokenizer.h"

static char folder[256], gguf_path[300];

static int make_folder(void **state)
{
    (void)state;
    const char *base = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%.200s/limn-tokenizer-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(folder))
        return -1;
    snprintf(gguf_path, sizeof gguf_path, "%s/tokenizer.gguf", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    char path[300];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, (const char *[]){"tokenizer.gguf", "vocab.json", "merges.txt"}[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static bool import_to_file(const char *kind, const char *path, size_t *size, err *e)
{
    gguf_writer *w = gguf_writer_new(gguf_path);
    bool ok = tokenizer_import(w, kind, path, size, e);
    if (ok) {
        gguf_begin_data(w);
        ok = gguf_writer_commit(w, e);
    }
    gguf_writer_free(w);
    return ok;
}

static void write_file(const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* What import_to_file wrote, open; close_written releases it. */
typedef struct written {
    file_map map;
    gguf *g;
    tokenizer *t;
} written;

static written open_written(void)
{
    err e = {0};
    written w = {0};
    assert_true(file_map_open(&w.map, gguf_path, &e));
    w.g = gguf_open(w.map.data, w.map.size, gguf_path, &e);
    assert_non_null(w.g);
    w.t = tokenizer_from_gguf(w.g, &e);
    if (!w.t)
        fail_msg("%s", e.text);
    return w;
}

static void close_written(written *w)
{
    tokenizer_free(w->t);
    gguf_free(w->g);
    file_map_release(&w->map);
}

static void dalle_mini_gives_published_ids(void **state)
{
    (void)state;
    err e = {0};
    size_t size = 0;
    if (!import_to_file("dalle-mini", TEST_DATA "/golden/min_dalle", &size, &e))
        fail_msg("%s", e.text);
    assert_int_equal(size, 700);
    written w = open_written();
    tokenizer *t = w.t;
    assert_string_equal(tokenizer_kind_name(t), "dalle-mini");
    assert_int_equal(tokenizer_size(t), 700);
    assert_string_equal(tokenizer_token(t, 0), "<s>");
    assert_null(tokenizer_token(t, 700));
    assert_null(tokenizer_token(t, -1));
    json_t *cases = json_load_file(TEST_DATA "/golden/min_dalle/tokenizer_cases.json", 0, NULL), *c;
    size_t i, compared = 0;
    json_array_foreach(cases, i, c)
    {
        const char *text = json_string_value(json_object_get(c, "text"));
        const json_t *expected = json_object_get(c, "ids");
        int32_t *ids;
        size_t n;
        assert_true(tokenizer_encode(t, text, &ids, &n, &e));
        if (n != json_array_size(expected))
            fail_msg("\"%s\": %zu ids, not %zu", text, n, json_array_size(expected));
        for (size_t k = 0; k < n; k++)
            if (ids[k] != json_integer_value(json_array_get(expected, k)))
                fail_msg("\"%s\": id %zu is %d", text, k, (int)ids[k]);
        free(ids);
        compared++;
    }
    assert_int_equal(compared, 18);
    json_decref(cases);
    close_written(&w);
    tokenizer_free(NULL);
}

/* As the Python package emoji 2.16 writes them. */
static void emoji_have_names(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"", ""},
        {"no emoji: #1 * 2 caf\xC3\xA9", "no emoji: #1 * 2 caf\xC3\xA9"},
        {"a \xF0\x9F\x98\x80\xF0\x9F\x8E\x89 b", "a grinning_faceparty_popper b"},
        {"\xF0\x9F\x91\x8D\xF0\x9F\x8F\xBD\xF0\x9F\x91\x8D", "thumbs_up_medium_skin_tonethumbs_up"},
        {"\xF0\x9F\x8D\x8E\xF0\x9F\x8F\xBD", "red_applemedium_skin_tone"},
        {"\xF0\x9F\x8F\xB3\xEF\xB8\x8F\xE2\x80\x8D\xF0\x9F\x8C\x88 \xF0\x9F\x8F\xB3\xE2\x80\x8D\xF0\x9F\x8C\x88",
         "rainbow_flag rainbow_flag"},
        {"\xF0\x9F\x8F\xB4\xF3\xA0\x81\xA7\xF3\xA0\x81\xA2\xF3\xA0\x81\xB3\xF3\xA0\x81\xA3\xF3\xA0\x81\xB4\xF3\xA0\x81"
         "\xBF",
         "scotland"},
        {"\xF0\x9F\x87\xA9\xF0\x9F\x87\xAA\xF0\x9F\x87\xAF\xF0\x9F\x87\xB5", "germanyjapan"},
        {"\xF0\x9F\x87\xA9", "\xF0\x9F\x87\xA9"},
        {"1\xEF\xB8\x8F\xE2\x83\xA3 #\xEF\xB8\x8F\xE2\x83\xA3*\xE2\x83\xA3", "keycap_1 keycap_#keycap_*"},
        {"\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x91\xA7\xE2\x80\x8D\xF0\x9F\x91\xA6",
         "family_woman_woman_girl_boy"},
        {"\xF0\x9F\x91\xA9\xF0\x9F\x8F\xBD\xE2\x80\x8D\xF0\x9F\x9A\x80", "woman_astronaut_medium_skin_tone"},
        {"\xF0\x9F\x91\xA9\xF0\x9F\x8F\xBD\xE2\x80\x8D\xE2\x9D\xA4\xEF\xB8\x8F\xE2\x80\x8D\xF0\x9F\x92\x8B\xE2\x80\x8D"
         "\xF0\x9F\x91\xA8\xF0\x9F\x8F\xBF",
         "kiss_woman_man_medium_skin_tone_dark_skin_tone"},
        {"\xE2\x98\x83\xE2\x98\x83\xEF\xB8\x8F", "snowmansnowman"},
        {"\xC2\xA9\xE2\x93\x82\xE2\x84\xA2", "copyrightcircled_mtrade_mark"},
        {"\xF0\x9F\x91\xA8\xE2\x80\x8D\xF0\x9F\xA6\xB0", "man_red_hair"},
        {"\xE6\x97\xA5\xE6\x9C\xAC\xF0\x9F\x97\xBE\xE8\xAA\x9E", "\xE6\x97\xA5\xE6\x9C\xACmap_of_japan\xE8\xAA\x9E"},
        {"\xF0\x9F\xA7\x91\xF0\x9F\x8F\xBB\xE2\x80\x8D\xF0\x9F\xA4\x9D\xE2\x80\x8D\xF0\x9F\xA7\x91\xF0\x9F\x8F\xBE",
         "people_holding_hands_light_skin_tone_medium-dark_skin_tone"},
        {"\xE2\x9D\xA4\xEF\xB8\x8F", "red_heart"},
        {"\xF0\x9F\x90\xBB\xE2\x80\x8D\xE2\x9D\x84\xEF\xB8\x8F\xF0\x9F\x90\xBB\xE2\x80\x8D",
         "polar_bearbear\xE2\x80\x8D"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char *text = emoji_to_names(cases[i][0]);
        assert_string_equal(text, cases[i][1]);
        free(text);
    }
}

#define WORDS                                                                                                          \
    "{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2, \"a\": 3, \"b\": 4, \"ab\": 5, \"aba\": 6, \"abab\": 7, \"ba\": 8, "      \
    "\"bab\": "                                                                                                        \
    "9, \"baba\": 10, \"aa\": 11, \"aab\": 12, \"baa\": 13}"

static void byte_order_marks_are_passed_over(void **state)
{
    (void)state;
    err e = {0};
    size_t size = 0;
    write_file("vocab.json", "\xef\xbb\xbf" WORDS);
    write_file("merges.txt", "\xef\xbb\xbf#version: 0.2\na b\n");
    if (!import_to_file("dalle-mini", folder, &size, &e))
        fail_msg("%s", e.text);
    assert_int_equal(size, 14);
}

static void damaged_files_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *vocab, *merges, *message;
    } cases[] = {
        {"{", "", "vocab.json: line 1"},
        {"[]", "", "vocab.json: not a JSON object"},
        {"{\"<s>\": 0, \"<unk>\": 1}", "#version\n", "vocab.json: token \"</s>\" is missing"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}", "", "merges.txt: the file is empty"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}", "\xef\xbb\xbf", "merges.txt: the file is empty"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}", "{\"a\": 0}", "merges.txt: it is JSON"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}",
         "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "merges.txt: a Git LFS pointer"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}", "<!DOCTYPE html><html><title>Sign in</title></html>",
         "merges.txt: an HTML page, \"Sign in\""},
        {"{\"model\": {\"type\": \"BPE\"}}", "#version\n", "vocab.json: it is a whole tokenizer.json"},
        {"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "#version\n", "a Git LFS pointer"},
        {WORDS, "#version: 0.2\n", "merges.txt: it holds no merges, and 9 tokens of the vocabulary"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 3}", "", "vocab.json: token \"<unk>\": id 3 is outside"},
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}", "#version\na b\n", "merges.txt: merge 0 \"a b\""},
        {WORDS, "#version\na b\nb b\n", "merges.txt: merge 1 \"b b\""}, /* of another vocabulary */
        {"{\"<s>\": 0, \"</s>\": 1, \"<unk>\": 2}", "#version\nab\n", "merges.txt: merge 0 \"ab\" is not two tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        size_t size;
        write_file("vocab.json", cases[i].vocab);
        write_file("merges.txt", cases[i].merges);
        assert_false(import_to_file("dalle-mini", folder, &size, &e));
        if (!strstr(e.text, cases[i].message))
            fail_msg("\"%s\" is not in \"%s\"", cases[i].message, e.text);
    }
    err e = {0};
    size_t size;
    assert_false(import_to_file("no such kind", folder, &size, &e));
    assert_non_null(strstr(e.text, "only \"gpt2\", \"dalle-mini\", \"clip\", "));
}

static void clip_merges_within_pieces(void **state)
{
    (void)state;
    err e = {0};
    size_t size = 0;
    char path[300];
    write_file("vocab.json", "#version: 0.2\na t</w>\nc at</w>\n");
    snprintf(path, sizeof path, "%s/vocab.json", folder);
    if (!import_to_file("clip", path, &size, &e))
        fail_msg("%s", e.text);
    assert_int_equal(size, 516);
    written w = open_written();
    tokenizer *t = w.t;
    int32_t *ids;
    size_t n;
    assert_true(tokenizer_encode(t, " A  CAT 42 &amp;lt; cats <|endoftext|>", &ids, &n, &e));
    /* a</w> cat</w> 4</w> 2</w> <</w> c a t s</w> end */
    static const int32_t expected[] = {320, 513, 275, 273, 283, 66, 64, 83, 338, 515};
    assert_int_equal(n, 10);
    assert_memory_equal(ids, expected, sizeof expected);
    free(ids);
    assert_true(tokenizer_encode(t, " ", &ids, &n, &e));
    assert_int_equal(n, 0);
    assert_null(ids);
    close_written(&w);
    write_file("vocab.json", "#version: 0.2\na zz</w>\n");
    assert_false(import_to_file("clip", path, &size, &e));
    assert_non_null(strstr(e.text, "merge 0 \"a zz</w>\""));
}

/* The tokenizer.json in `root`, as it is after GGUF; NULL with e filled. */
static bpe *read_json(const json_t *root, err *e)
{
    char path[300];
    snprintf(path, sizeof path, "%s/vocab.json", folder);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    bpe *b = bpe_from_json(path, e);
    if (!b)
        return NULL;
    gguf_writer *w = gguf_writer_new(gguf_path);
    bpe_put(b, w);
    gguf_begin_data(w);
    assert_true(gguf_writer_commit(w, e));
    gguf_writer_free(w);
    bpe_free(b);
    return bpe_open(gguf_path, e);
}

/* The ids in `list` of each case, behind its first `skip`, which aren't the tokenizer's own. */
static size_t compare_cases(const bpe *b, const char *path, const char *list, size_t skip)
{
    err e = {0};
    json_t *cases = json_load_file(path, 0, NULL), *c;
    size_t i;
    json_array_foreach(cases, i, c)
    {
        const char *text = json_string_value(json_object_get(c, "text"));
        const json_t *want = json_object_get(c, list);
        int32_t *ids;
        size_t n;
        if (!bpe_encode(b, text, &ids, &n, &e))
            fail_msg("%s", e.text);
        bool same = n + skip == json_array_size(want);
        for (size_t k = 0; same && k < n; k++)
            same = ids[k] == json_integer_value(json_array_get(want, k + skip));
        free(ids);
        if (!same)
            fail_msg("%s: the ids of \"%s\" differ", list, text);
    }
    json_decref(cases);
    return i;
}

static void compare_json(const json_t *root, const char *list)
{
    err e = {0};
    bpe *b = read_json(root, &e);
    if (!b)
        fail_msg("%s", e.text);
    assert_int_equal(bpe_find(b, "<beyond>"), 340);
    assert_int_equal(compare_cases(b, TEST_DATA "/dallepy/tokenizer_cases.json", list, 0), 15);
    bpe_free(b);
}

/* tools/make_golden_tokenizer_json.py */
static void huggingface_files_give_their_ids(void **state)
{
    (void)state;
    static const struct {
        const char *at, *value, *message;
    } wrong[] = {
        {"model", "{\"type\": \"WordPiece\"}", "model: WordPiece is not"},
        {"normalizer", "{\"type\": \"NFKC\"}", "normalizer: NFKC is not"},
        {"normalizer", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"Strip\"}]}",
         "normalizer: Strip is not"},
        {"pre_tokenizer", "{\"type\": \"Whitespace\"}", "pre_tokenizer: Whitespace is not"},
        {"pre_tokenizer", "{\"type\": \"ByteLevel\", \"use_regex\": false}", "pre_tokenizer: ByteLevel is not"},
        {"pre_tokenizer", "null", "pre_tokenizer: its value is not"},
        {"model", "{\"type\": \"BPE\", \"vocab\": {}, \"merges\": [], \"end_of_word_suffix\": \"</w>\"}",
         "end_of_word_suffix: its value"},
        {"model", "{\"type\": \"BPE\", \"vocab\": {\"a\": 5}, \"merges\": []}", "token \"a\": id 5 is outside"},
        {"model", "7", "model: its value"},
    };
    json_t *root = json_load_file(TEST_DATA "/dallepy/tokenizer.json", 0, NULL);
    compare_json(root, "ids");
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err e = {0};
        json_t *copy = json_copy(root);
        json_object_set_new(copy, wrong[i].at, json_loads(wrong[i].value, JSON_DECODE_ANY, NULL));
        assert_null(read_json(copy, &e));
        json_decref(copy);
        if (!strstr(e.text, wrong[i].message))
            fail_msg("\"%s\" is not in \"%s\"", wrong[i].message, e.text);
    }
    /* merges as older versions write them */
    json_t *merges = json_object_get(json_object_get(root, "model"), "merges"), *pair, *strings = json_array();
    size_t i;
    json_array_foreach(merges, i, pair)
        json_array_append_new(strings, json_sprintf("%s %s", json_string_value(json_array_get(pair, 0)),
                                                    json_string_value(json_array_get(pair, 1))));
    json_object_set_new(json_object_get(root, "model"), "merges", strings);
    json_object_set_new(root, "normalizer", json_null());
    json_object_set_new(json_object_get(root, "pre_tokenizer"), "add_prefix_space", json_false());
    compare_json(root, "plain");
    json_decref(root);
}

#define GOLDEN TEST_DATA "/golden/"

/* Splits by patterns and digits, form C, added tokens: as HuggingFace's library gives them. */
static void patterns_and_added_tokens_give_their_ids(void **state)
{
    (void)state;
    static const struct {
        const char *json, *cases;
        size_t begin, n; /* ids before each text that a post-processor puts there; cases */
    } files[] = {{GOLDEN "janus_pro/tokenizer.json", GOLDEN "janus_pro/tokenizer_cases.json", 1, 24},
                 {GOLDEN "simplear/tokenizer.json", GOLDEN "simplear/tokenizer_cases.json", 0, 26}};
    if (!pretokens_have_patterns())
        skip();
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        err e = {0};
        json_t *root = json_load_file(files[i].json, 0, NULL);
        bpe *b = read_json(root, &e);
        if (!b)
            fail_msg("%s", e.text);
        assert_int_equal(compare_cases(b, files[i].cases, "ids", files[i].begin), files[i].n);
        bpe_free(b);
        json_decref(root);
    }
}

/* vocab.json and merges.txt, with the added tokens of a file of their own, or of tokenizer_config.json. */
static void qwen2_reads_its_older_files(void **state)
{
    static const char *const files[] = {"vocab.json", "merges.txt", "tokenizer_config.json"};
    err e = {0};
    char own[300], link[400];
    (void)state;
    if (!pretokens_have_patterns())
        skip();
    snprintf(own, sizeof own, "%s/qwen2", folder);
    assert_int_equal(mkdir(own, 0777), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char from[300];
        snprintf(from, sizeof from, GOLDEN "simplear/%s", files[i]);
        snprintf(link, sizeof link, "%s/%s", own, files[i]);
        assert_int_equal(symlink(from, link), 0);
    }
    const char *const folders[] = {GOLDEN "simplear", own};
    for (int i = 0; i < 2; i++) {
        bpe *b = bpe_from_qwen2(folders[i], &e);
        if (!b)
            fail_msg("%s", e.text);
        assert_int_equal(compare_cases(b, GOLDEN "simplear/tokenizer_cases.json", "ids", 0), 26);
        bpe_free(b);
    }
    unlink(link); /* tokenizer_config.json: without added tokens */
    assert_null(bpe_from_qwen2(own, &e));
    assert_non_null(strstr(e.text, "tokenizer_config.json"));
    for (size_t i = 0; i < 2; i++) {
        snprintf(link, sizeof link, "%s/%s", own, files[i]);
        unlink(link);
    }
    rmdir(own);
}

/* SentencePiece's unigram model, of 420 pieces and 100 further tokens. */
static void t5_gives_published_ids(void **state)
{
    (void)state;
    static const char *const lists[][2] = {{"text", "ids"}, {"cleaned", "cleaned_ids"}};
    err e = {0};
    size_t size = 0, i, compared = 0;
    if (!import_to_file("t5", GOLDEN "llamagen_t2i/flan-t5-xl", &size, &e))
        fail_msg("%s", e.text);
    assert_int_equal(size, 520);
    written w = open_written();
    assert_string_equal(tokenizer_token(w.t, 420), "<extra_id_99>");
    json_t *cases = json_load_file(GOLDEN "llamagen_t2i/tokenizer_cases.json", 0, NULL), *c;
    json_array_foreach(cases, i, c)
    {
        for (int k = 0; k < 2; k++, compared++) {
            const char *text = json_string_value(json_object_get(c, lists[k][0]));
            const json_t *want = json_object_get(c, lists[k][1]);
            int32_t *ids;
            size_t n;
            assert_true(tokenizer_encode(w.t, text, &ids, &n, &e));
            bool same = n == json_array_size(want);
            for (size_t j = 0; same && j < n; j++)
                same = ids[j] == json_integer_value(json_array_get(want, j));
            free(ids);
            if (!same)
                fail_msg("the ids of \"%s\" differ", text);
        }
    }
    assert_int_equal(compared, 56);
    json_decref(cases);
    close_written(&w);
}

/* Cut anywhere, the file is an error, or has fewer pieces. */
static void damaged_sentencepiece_models_are_named(void **state)
{
    (void)state;
    file_map map = {0};
    char path[300];
    err e = {0};
    size_t size, refused = 0;
    snprintf(path, sizeof path, "%s/vocab.json", folder);
    assert_true(file_map_open(&map, GOLDEN "llamagen_t2i/flan-t5-xl/spiece.model", &e));
    for (size_t n = 0; n < map.size; n += n < 400 ? 13 : 9973) {
        FILE *f = fopen(path, "wb");
        assert_non_null(f);
        assert_int_equal(fwrite(map.data, 1, n, f), n);
        assert_int_equal(fclose(f), 0);
        e = (err){0};
        if (!import_to_file("t5", path, &size, &e)) {
            refused++;
            if (n && !strstr(e.text, "SentencePiece") && !strstr(e.text, "</s>"))
                fail_msg("%s", e.text);
        }
    }
    assert_true(refused > 30);
    file_map_release(&map);
}

/* A table of replacements that maps one byte to a place in `texts`: the trie's units are root, node and leaf. */
static size_t put_table(uint8_t table[4 + 4 * 512 + 8], uint8_t byte, uint32_t place, const char *texts, size_t bytes)
{
    const size_t trie = 4 * 512;
    const uint32_t root = 256u << 10, node = byte | 1u << 8 | 1u << 10, leaf = 1u << 31 | place;
    memset(table, 0, 4 + trie);
    table[1] = trie >> 8;
    memcpy(table + 4, &root, 4);
    memcpy(table + 4 + 4 * (256 + byte), &node, 4);
    memcpy(table + 4 + 4 * ((256 + byte) ^ 1), &leaf, 4);
    memcpy(table + 4 + trie, texts, bytes);
    return 4 + trie + bytes;
}

/* Whatever a table says, what it makes of a text is UTF-8. */
static void replacements_are_whole_characters(void **state)
{
    (void)state;
    static const struct {
        uint8_t byte;
        uint32_t place;
        const char *text, *want; /* what the text begins with becomes */
    } cases[] = {{'a', 0, "ab", "\xC3\xA9"},
                 {'a', 1, "ab", "a"}, /* the second byte of a character */
                 {'a', 2, "ab", ""},
                 {'a', 3, "ab", "a"}, /* behind the end */
                 {0xC3, 0, "\xC3\xA8", "\xC3\xA8"} /* half of the text's character */};
    uint8_t table[4 + 4 * 512 + 8];
    charsmap m;
    err e = {0};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t n, size = put_table(table, cases[i].byte, cases[i].place, "\xC3\xA9", 3);
        const char *to;
        assert_true(charsmap_open(&m, table, size, "FILE", &e));
        size_t used = charsmap_next(&m, cases[i].text, strlen(cases[i].text), &to, &n);
        assert_int_equal(used, *cases[i].text == 'a' ? 1 : 2);
        assert_int_equal(n, strlen(cases[i].want));
        assert_memory_equal(to, cases[i].want, n);
    }
    assert_false(charsmap_open(&m, table, put_table(table, 'a', 0, "x\0\xC3", 4), "FILE", &e));
    assert_string_equal(e.text, "FILE: its table of characters has a text that is not UTF-8 (the file is damaged)");
}

typedef struct joined {
    char text[256];
} joined;

static bool join(void *context, const char *piece, size_t bytes, err *e)
{
    joined *j = context;
    (void)e;
    size_t n = strlen(j->text);
    snprintf(j->text + n, sizeof j->text - n, "%s%.*s", n ? "|" : "", (int)bytes, piece);
    return true;
}

static void steps_split_pieces(void **state)
{
    (void)state;
    static const struct {
        const char *steps[3], *text, *want;
    } cases[] = {
        {{"digits"}, "a12b\xD9\xA3", "a|1|2|b|\xD9\xA3"},
        {{"numbers"}, "12ab345", "12|ab|345"},
        {{"text --"}, "--a----b", "--|a|--|--|b"},
        {{"gpt2"}, "it's  12 cats", "it|'s| | 12| cats"},
        {{"text x", "digits"}, "1x23", "1|x|2|3"},
        {{"split [\r\n]", "split \\s?[a-z]+", "split \\s+$"}, "ab cd  \n1  ", "ab| cd|  |\n|1|  "},
        {{"split a*"}, "baab", "b|aa|b"}, /* not what is empty */
        {{"split \\p{L}+"}, "\xC3\xA9t\xC3\xA9 1", "\xC3\xA9t\xC3\xA9| 1"},
        {{"split (?i:'S)|\\s+(?!\\S)"}, "a's   b", "a|'s|  | b"},
        {{"digits"}, "", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        size_t n = 0;
        bool pattern = false;
        for (; n < 3 && cases[i].steps[n]; n++)
            pattern |= !strncmp(cases[i].steps[n], "split", 5);
        if (pattern && !pretokens_have_patterns())
            continue;
        pretokens *p = pretokens_new("test", cases[i].steps, n, &e);
        if (!p)
            fail_msg("%s", e.text);
        joined j = {""};
        assert_true(pretokens_split(p, cases[i].text, strlen(cases[i].text), join, &j, &e));
        assert_string_equal(j.text, cases[i].want);
        pretokens_free(p);
    }
}

/* Of files that may come from anywhere. */
static void wrong_steps_are_named(void **state)
{
    (void)state;
    static const char *const wrong[][2] = {{"split (", "pattern \"(\": missing"},
                                           {"split \\C", "pattern \"\\C\""},
                                           {"split ", "splits texts by \"split \""},
                                           {"words", "splits texts by \"words\""},
                                           {"digits2", "splits texts by \"digits2\""}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err e = {0};
        if (i < 2 && !pretokens_have_patterns())
            continue;
        assert_null(pretokens_new("test", &wrong[i][0], 1, &e));
        if (!strstr(e.text, wrong[i][1]))
            fail_msg("\"%s\" is not in \"%s\"", wrong[i][1], e.text);
    }
    err e = {0};
    const char *many[65];
    for (size_t i = 0; i < 65; i++)
        many[i] = "digits";
    assert_null(pretokens_new("test", many, 65, &e));
    if (!pretokens_have_patterns())
        return;
    /* a pattern that would take ages ends with an error */
    char text[64];
    memset(text, 'a', sizeof text - 1);
    text[63] = '!';
    pretokens *p = pretokens_new("test", (const char *const[]){"split (a+)+[bc]"}, 1, &e);
    joined j = {""};
    e = (err){0};
    assert_non_null(p);
    assert_false(pretokens_split(p, text, sizeof text, join, &j, &e));
    assert_non_null(strstr(e.text, "limit"));
    pretokens_free(p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dalle_mini_gives_published_ids),
        cmocka_unit_test(emoji_have_names),
        cmocka_unit_test(byte_order_marks_are_passed_over),
        cmocka_unit_test(damaged_files_are_named),
        cmocka_unit_test(clip_merges_within_pieces),
        cmocka_unit_test(huggingface_files_give_their_ids),
        cmocka_unit_test(patterns_and_added_tokens_give_their_ids),
        cmocka_unit_test(qwen2_reads_its_older_files),
        cmocka_unit_test(steps_split_pieces),
        cmocka_unit_test(wrong_steps_are_named),
        cmocka_unit_test(t5_gives_published_ids),
        cmocka_unit_test(damaged_sentencepiece_models_are_named),
        cmocka_unit_test(replacements_are_whole_characters),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
