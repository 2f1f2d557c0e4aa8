/* Text as people bring it: white space, invisible characters and composition mean the same to every tokenizer, and what
 * a vocabulary can't say is known. */
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/file.h"
#include "base/log.h"
#include "text/bpe.h"
#include "text/bpe_train.h"
#include "text/clean.h"
#include "text/fix.h"
#include "text/tokenizer.h"

static char folder[] = "/tmp/limn-clean-test-XXXXXX", path[64];

/* ---- the functions ---- */

static void assert_clean(const char *text, const char *expected)
{
    err e = {0};
    size_t bytes;
    char *clean = clean_text(text, &bytes, &e);
    if (!clean)
        fail_msg("%s", e.text);
    assert_string_equal(clean, expected);
    assert_int_equal(bytes, strlen(expected));
    free(clean);
}

static void test_clean(void **state)
{
    (void)state;
    assert_clean("a cat", "a cat");
    assert_clean("", "");
    assert_clean(" \t\r\n\u00a0\ufeff ", "");
    static const char *const spaces[] = {"\t",     "\n",     "\r",     "\r\n",     "\v",     "\f",
                                         "  ",     "\x1c",   "\x1f",   "\xC2\x85", "\u00a0", "\u1680",
                                         "\u2000", "\u2003", "\u2009", "\u200a",   "\u2028", "\u2029",
                                         "\u202f", "\u205f", "\u3000", " \n \t "};
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        char text[64];
        snprintf(text, sizeof text, "%sa%scat%s", spaces[i], spaces[i], spaces[i]);
        assert_clean(text, "a cat");
    }
    static const char *const nothing[] = {"\ufeff", "\u200b", "\u2060", "\u00ad", "\u200e",
                                          "\u202a", "\x01",   "\x1b",   "\x7f",   "\xC2\x80"};
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        char text[64];
        snprintf(text, sizeof text, "%sa c%sat%s", nothing[i], nothing[i], nothing[i]);
        assert_clean(text, "a cat");
    }
    assert_clean("cafe\u0301 A\u030angstro\u0308m", "caf\u00e9 \u00c5ngstr\u00f6m");
    assert_clean("\u1100\u1161\u11a8", "\uac01"); /* Hangul */
    assert_clean("\u2764\ufe0f \U0001f43b\u200d\u2744\ufe0f",
                 "\u2764\ufe0f \U0001f43b\u200d\u2744\ufe0f"); /* as it is */
    err e = {0};
    size_t bytes;
    assert_null(clean_text("a \xff cat", &bytes, &e));
    assert_non_null(strstr(e.text, "byte 2 (0xFF) is not UTF-8"));
}

static void test_fix(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"a cat", "a cat"},
        {"\u2018a\u2019 \u201Cb\u201d \u201ec\u201f \u02bcd", "'a' \"b\" \"c\" 'd"},
        {"\ufb01re \ufb03 \u0133s", "fire ffi ijs"},
        {"\uff21\uff42\uff11\u3000\uff76\uff9e", "Ab1 \u30ac"},
        {"fish &amp; chips &quot;x&quot; &#39;y&#39; &#x41;&#66;", "fish & chips \"x\" 'y' AB"},
        {"&eacute;t&Eacute; 5&nbsp;&euro;&hellip;", "\u00e9t\u00c9 5\u00a0\u20ac\u2026"},
        {"&lt;b&gt; &amp;lt; &amp;amp;", "<b> < &"},
        {"<b> &amp;amp;amp;", "<b> &amp;"},
        {"&copyright &copy2 &eacutex; &hearts &#150;", "\u00a9right \u00a92 \u00e9x; &hearts \u2013"},
        {"a\xC2\x93"
         "b\xC2\x85",
         "a\"b\u2026"},
        {"&zothing; &; &# &#0; &#99999999999; AT&T", "&zothing; &; &# &#0; &#99999999999; AT&T"},
        {"\ufeffe\u0301\x01\x7f", "\u00e9"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        size_t bytes;
        char *fixed = fix_text(cases[i][0], &bytes, &e);
        assert_non_null(fixed);
        assert_string_equal(fixed, cases[i][1]);
        assert_int_equal(bytes, strlen(fixed));
        free(fixed);
    }
}

/* ---- tokenizers ---- */

typedef struct opened {
    file_map map;
    gguf *g;
    tokenizer *t;
} opened;

static void open_file(opened *o)
{
    err e = {0};
    if (!file_map_open(&o->map, path, &e) || !(o->g = gguf_open(o->map.data, o->map.size, path, &e)) ||
        !(o->t = tokenizer_from_gguf(o->g, &e)))
        fail_msg("%s", e.text);
}

static void commit(gguf_writer *w)
{
    err e = {0};
    gguf_begin_data(w);
    if (!gguf_writer_commit(w, &e))
        fail_msg("%s", e.text);
    gguf_writer_free(w);
}

static void open_kind(opened *o, const char *kind, const char *from)
{
    err e = {0};
    size_t size;
    gguf_writer *w = gguf_writer_new(path);
    *o = (opened){0};
    if (!tokenizer_import(w, kind, from, &size, &e))
        fail_msg("%s", e.text);
    commit(w);
    open_file(o);
}

/* limn's own, trained on some captions. */
static void open_own(opened *o)
{
    static const char *const captions[] = {"a cat on a mat", "a red cat and a caf\u00e9", "the cat, the mat"};
    static const char *const specials[] = {"<pad>", "<img>"};
    err e = {0};
    bpe_trainer *t = bpe_trainer_new(true, &e);
    *o = (opened){0};
    for (int i = 0; i < 3; i++)
        assert_true(bpe_trainer_add(t, captions[i], &e));
    bpe *b = bpe_trainer_finish(t, 300, 1, specials, 2, &e);
    gguf_writer *w = gguf_writer_new(path);
    bpe_put(b, w);
    commit(w);
    bpe_free(b);
    bpe_trainer_free(t);
    open_file(o);
}

static void opened_release(opened *o)
{
    tokenizer_free(o->t);
    gguf_free(o->g);
    file_map_release(&o->map);
}

static void assert_same(const opened *o, const char *text, const char *as)
{
    err e = {0};
    int32_t *a, *b = NULL;
    size_t n, m = 0;
    assert_true(tokenizer_encode(o->t, text, &a, &n, &e) && tokenizer_encode(o->t, as, &b, &m, &e));
    if (n != m || (n && memcmp(a, b, n * sizeof *a) != 0))
        fail_msg("%s: \"%s\" has other ids than \"%s\"", tokenizer_kind_name(o->t), text, as);
    free(a);
    free(b);
}

/* What every kind reads as "a cat": kinds that take control characters away have no line tabulation here. */
static void check_spaces(const opened *o, bool control)
{
    static const char *const spaces[] = {"\t",     "\n",     "\r",     "\r\n",   "  ",
                                         "\u00a0", "\u2003", "\u3000", "\u2028", " \n\t "},
                             *const controls[] = {"\v", "\f", "\xC2\x85", "\x1c"};
    char text[64];
    for (size_t i = 0; i < sizeof spaces / sizeof *spaces; i++) {
        snprintf(text, sizeof text, "%sa%scat%s", spaces[i], spaces[i], spaces[i]);
        assert_same(o, text, "a cat");
    }
    for (size_t i = 0; control && i < sizeof controls / sizeof *controls; i++) {
        snprintf(text, sizeof text, "%sa%scat%s", controls[i], controls[i], controls[i]);
        assert_same(o, text, "a cat");
    }
    assert_same(o, "\ufeffa cat", "a cat");
    assert_same(o, "a cat\ufeff", "a cat");
    assert_same(o, "a cafe\u0301", "a caf\u00e9"); /* NFD, as macOS names files */
    assert_same(o, " \t\r\n", "");
}

static void test_kinds(void **state)
{
    (void)state;
    opened o;
    char vocabulary[128];
    snprintf(vocabulary, sizeof vocabulary, "%s/vocabulary.txt", folder);
    FILE *f = fopen(vocabulary, "w");
    assert_non_null(f);
    fputs("#version: 0.2\na t</w>\nc at</w>\n", f);
    fclose(f);
    open_own(&o);
    check_spaces(&o, true);
    assert_same(&o, "a\u200b cat\u00ad", "a cat");
    opened_release(&o);
    open_kind(&o, "dalle-mini", TEST_DATA "/golden/min_dalle");
    check_spaces(&o, true);
    opened_release(&o);
    open_kind(&o, "char-bpe", TEST_DATA "/golden/minDALL-E/tokenizer");
    check_spaces(&o, false);
    opened_release(&o);
    open_kind(&o, "yttm", TEST_DATA "/gpt/yttm");
    check_spaces(&o, true);
    assert_same(&o, "\u0438\u0306", "\u0439"); /* й */
    opened_release(&o);
    open_kind(&o, "clip", vocabulary);
    check_spaces(&o, false); /* ftfy takes some control characters away */
    opened_release(&o);
}

/* HuggingFace's tokenizer.json is read as that library does, white space and all; so are those in converted files. */
static void test_verbatim(void **state)
{
    (void)state;
    err e = {0};
    opened o = {0};
    int32_t *ids;
    size_t n, m;
    open_own(&o);
    assert_true(tokenizer_encode(o.t, "a  cat ", &ids, &n, &e));
    free(ids);
    gguf_writer *w = gguf_writer_new(path);
    for (size_t i = 0; i < gguf_key_count(o.g); i++)
        if (strcmp(gguf_key(o.g, i), "general.alignment") != 0)
            gguf_put_copy(w, o.g, i);
    gguf_put_bool(w, "limn.tokenizer.verbatim", true);
    commit(w);
    opened_release(&o);
    o = (opened){0};
    open_file(&o);
    assert_true(tokenizer_encode(o.t, "a  cat ", &ids, &m, &e));
    assert_true(m > n);
    free(ids);
    opened_release(&o);
}

/* ---- what can't be said ---- */

static char said[1024];
static int lines;

static void hear(void *context, log_level level, const char *line)
{
    (void)context;
    if (level == LOG_WARNING) {
        snprintf(said, sizeof said, "%s", line);
        lines++;
    }
}

static void assert_report(const opened *o, const char *text, size_t words, size_t unknown, bool vanishes,
                          const char *list)
{
    err e = {0};
    tokenizer_report r;
    assert_true(tokenizer_check(o->t, text, &r, &e));
    if (r.words != words || r.unknown != unknown || r.vanishes != vanishes || strcmp(r.list, list) != 0)
        fail_msg("\"%s\": %zu of %zu words, \"%s\"", text, r.unknown, r.words, r.list);
}

static void test_unknown_words(void **state)
{
    (void)state;
    opened o;
    open_kind(&o, "dalle-mini", TEST_DATA "/golden/min_dalle");
    assert_report(&o, "a red cat", 3, 0, false, "");
    assert_report(&o, "кот в шляпе", 3, 3, true, "кот, в, шляпе");
    assert_report(&o, "a кот  in\tшляпе", 4, 2, false, "кот, шляпе");
    assert_report(&o, "日本語 テキスト", 2, 2, true, "日本語, テキスト");
    assert_report(&o, "\U0001f600 here", 2, 0, false, "");                  /* it has a name */
    assert_report(&o, "\u201cquotes\u201d \u2013 \u2026", 3, 0, false, ""); /* punctuation is left out quietly */
    assert_report(&o, "na\u00efve", 1, 1, false, "na\u00efve");
    assert_report(&o, " ", 0, 0, false, "");
    log_set_sink(hear, NULL);
    lines = 0;
    tokenizer_warn(o.t, "mini.gguf", "a red cat");
    assert_int_equal(lines, 0);
    tokenizer_warn(o.t, "mini.gguf", "a кот");
    assert_string_equal(said,
                        "mini.gguf: 1 of 2 words isn't in this model's vocabulary: кот (the model can't read them)");
    tokenizer_warn(o.t, "mini.gguf", "a кот"); /* once */
    assert_int_equal(lines, 1);
    tokenizer_warn(o.t, "mini.gguf", "кот в шляпе");
    assert_string_equal(said,
                        "mini.gguf: 3 of 3 words aren't in this model's vocabulary: кот, в, шляпе (none of the text "
                        "is left: it is read as if it were empty)");
    tokenizer_warn(o.t, "mini.gguf", " \n");
    assert_non_null(strstr(said, "nothing but white space"));
    lines = 0;
    tokenizer_warn(o.t, "mini.gguf", "");
    assert_int_equal(lines, 0);
    log_set_sink(NULL, NULL);
    opened_release(&o);

    open_kind(&o, "char-bpe", TEST_DATA "/golden/minDALL-E/tokenizer");
    assert_report(&o, "a cat", 2, 0, false, "");
    assert_report(&o, "a \U0001f600 cat", 3, 1, false, "\U0001f600");
    opened_release(&o);
    open_kind(&o, "yttm", TEST_DATA "/gpt/yttm");
    assert_report(&o, "кот дом", 2, 0, false, "");
    assert_report(&o, "кот xyz", 2, 1, false, "xyz");
    opened_release(&o);
    open_own(&o);
    /* bytes say everything, but these letters were in no text that the vocabulary was made of */
    assert_report(&o, "кот в шляпе 日本語 \U0001f600", 5, 5, false, "кот, в, шляпе, 日本語, \U0001f600");
    assert_report(&o, "a cat caf\u00e9 zqxj", 4, 0, false, "");
    opened_release(&o);
}

/* The list stays short, and ends at a character. */
static void test_long_lists(void **state)
{
    (void)state;
    opened o;
    err e = {0};
    tokenizer_report r;
    char text[4000] = "";
    open_kind(&o, "dalle-mini", TEST_DATA "/golden/min_dalle");
    for (int i = 0; i < 60; i++)
        strcat(text, "шляпа ");
    assert_true(tokenizer_check(o.t, text, &r, &e));
    assert_int_equal(r.unknown, 60);
    assert_true(strlen(r.list) < sizeof r.list && strcmp(r.list + strlen(r.list) - 5, ", \u2026") == 0);
    text[0] = 0;
    for (int i = 0; i < 60; i++)
        strcat(text, "日本語");
    assert_true(tokenizer_check(o.t, text, &r, &e));
    assert_int_equal(strlen(r.list), 40);
    assert_string_equal(r.list + 39, "-");
    opened_release(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_clean),    cmocka_unit_test(test_fix),           cmocka_unit_test(test_kinds),
        cmocka_unit_test(test_verbatim), cmocka_unit_test(test_unknown_words), cmocka_unit_test(test_long_lists),
    };
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof path, "%s/tokenizer.gguf", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char line[96];
    snprintf(line, sizeof line, "rm -rf %s", folder);
    return system(line) == 0 ? failed : 1;
}
