/* Files through the public API: what is in them, and models made of those of other programs.  No device is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "convert/convert.h"
#include "support.h"

#define CLIP  TEST_DATA "/clip/openai.pt"
#define WORDS TEST_DATA "/clip/huggingface"

static limn_inspection *opened(const char *path)
{
    limn_error e = {0};
    limn_inspection *in = limn_inspection_open(path, &e);
    good(in != NULL, &e);
    return in;
}

static const limn_key *key(const limn_inspection *in, const char *name)
{
    const limn_key *k;
    for (size_t n = 0; (k = limn_inspection_key(in, n)); n++)
        if (!strcmp(k->name, name))
            return k;
    fail_msg("there is no key %s", name);
    return NULL;
}

static const limn_tensor *tensor_of(const limn_inspection *in, const char *name)
{
    const limn_tensor *t;
    for (size_t n = 0; (t = limn_inspection_tensor(in, n)); n++)
        if (!strcmp(t->name, name))
            return t;
    fail_msg("there is no tensor %s", name);
    return NULL;
}

/* ---- inspection ---- */

static void a_model_of_limn(void **state)
{
    (void)state;
    limn_error e = {0};
    const char *path = support_path("tiny.gguf");
    good(tiny_model_write(path, &(tiny_config){0}, &e), &e);
    limn_inspection *in = opened(path);
    const limn_inspection_info *i = limn_inspection_get_info(in);
    assert_string_equal(i->format, "gguf");
    assert_false(i->shards || i->family || i->note);
    const limn_key *k = key(in, "limn.image.width");
    assert_true(k->kind == LIMN_VALUE_INTEGER && k->integer == 8);
    assert_string_equal(k->text, "8");
    assert_string_equal(k->type, "u32");
    k = key(in, "general.architecture");
    assert_true(k->kind == LIMN_VALUE_TEXT);
    assert_string_equal(k->text, "limn");
    k = key(in, "tokenizer.ggml.tokens");
    assert_int_equal(k->kind, LIMN_VALUE_OTHER);
    assert_string_equal(k->type, "arr[str]");
    const limn_tensor *t = tensor_of(in, "codec.codebook.weight");
    assert_string_equal(t->type, "f32");
    assert_int_equal(t->dims, 2);
    assert_int_equal(t->shape[0], TINY_CODES);
    assert_int_equal(t->bytes, 4 * (size_t)(t->shape[0] * t->shape[1]));
    assert_null(limn_inspection_key(in, i->keys));
    assert_null(limn_inspection_tensor(in, i->tensors));
    limn_inspection_free(&in);
    assert_null(in);
    limn_inspection_free(&in);
    in = opened(NULL);
    assert_int_equal(key(in, "limn.image.width")->integer, 64);
    limn_inspection_free(&in);
}

static void models_of_others(void **state)
{
    (void)state;
    static const struct {
        const char *path, *format, *family;
        bool keys, tensors;
    } rows[] = {
        {CLIP, "pytorch", "clip", false, true},
        {WORDS "/model.safetensors", "safetensors", "clip", false, true},
        {WORDS, "folder", "clip", false, false},
        {TEST_DATA "/torch/types.pt", "pytorch", NULL, false, true},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        limn_inspection *in = opened(rows[r].path);
        const limn_inspection_info *i = limn_inspection_get_info(in);
        assert_string_equal(i->format, rows[r].format);
        if (rows[r].family)
            assert_string_equal(i->family, rows[r].family);
        else
            assert_true(!i->family && !i->note);
        assert_int_equal(i->tensors > 0, rows[r].tensors);
        limn_inspection_free(&in);
    }
}

static void what_is_no_model_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *path, *text;
    } rows[] = {
        {TEST_DATA "/none", "No such file"},
        {TEST_DATA, "is a directory, and not a model's"},
        {TEST_DATA "/emoji_merges.txt", "it reads GGUF, safetensors, PyTorch's files"},
    };
    for (size_t r = 0; r < COUNT(rows); r++) {
        limn_error e = {0};
        assert_null(limn_inspection_open(rows[r].path, &e));
        assert_int_equal(e.code, LIMN_FAILED);
        has(e.text, rows[r].text);
    }
}

/* ---- conversion ---- */

typedef struct watch {
    int calls, most; /* most: calls before it stops; 0: never */
    int64_t done, total;
} watch;

static bool on_progress(void *context, int64_t done, int64_t total)
{
    watch *w = context;
    assert_true(done >= w->done && done <= total && (w->calls == 0 || total == w->total));
    w->done = done;
    w->total = total;
    return ++w->calls != w->most;
}

static limn_convert_options clip_options(const char *output)
{
    static const char *const inputs[] = {CLIP};
    return (limn_convert_options){
        .size = sizeof(limn_convert_options), .inputs = inputs, .n_inputs = 1, .output = output, .tokenizer = WORDS};
}

static void a_golden_clip_becomes_a_model(void **state)
{
    (void)state;
    limn_error e = {0};
    watch w = {0};
    limn_convert_options o = clip_options(support_path("clip.gguf"));
    good(limn_convert(&o, &(limn_control){.progress = on_progress, .context = &w}, &e), &e);
    assert_true(w.calls > 1 && w.total > 0 && w.done == w.total);
    /* the same bytes as the command's */
    good(import_convert(
             &(import_request){
                 .inputs = o.inputs, .n_inputs = 1, .output = support_path("other.gguf"), .tokenizer = WORDS},
             &e),
         &e);
    assert_true(support_same_files(o.output, support_path("other.gguf")));
    /* in blocks, with a setting */
    static const char *const settings[] = {"name=seven"};
    o.output = support_path("q8.gguf");
    o.type = "q8_0";
    o.settings = settings;
    o.n_settings = 1;
    good(limn_convert(&o, NULL, &e), &e);
    limn_inspection *in = opened(o.output);
    assert_string_equal(key(in, "general.name")->text, "seven");
    assert_true(key(in, "limn.clip.dim")->integer > 0);
    bool blocks = false;
    const limn_tensor *t;
    for (size_t n = 0; (t = limn_inspection_tensor(in, n)); n++)
        blocks = blocks || !strcmp(t->type, "q8_0");
    assert_true(blocks);
    limn_inspection_free(&in);
}

static void a_conversion_can_be_stopped(void **state)
{
    (void)state;
    const char *output = support_path("stopped.gguf");
    for (int most = 1; most < 4; most++) {
        limn_error e = {0};
        watch w = {.most = most};
        limn_convert_options o = clip_options(output);
        o.type = most == 3 ? "f16" : NULL; /* whose values are looked at first */
        assert_false(limn_convert(&o, &(limn_control){.progress = on_progress, .context = &w}, &e));
        assert_int_equal(e.code, LIMN_FAILED);
        assert_string_equal(e.text, "convert: interrupted");
        assert_int_equal(e.cause, LIMN_CAUSE_INTERRUPTED);
        assert_int_equal(w.calls, most);
        assert_int_not_equal(access(output, F_OK), 0);
    }
}

static void what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    static const char *const settings[] = {"no-such=1"};
    limn_convert_options rows[5];
    const char *const texts[] = {"no input", "no output", "no such type", "no such family", "no such setting"};
    for (size_t r = 0; r < COUNT(rows); r++)
        rows[r] = clip_options(support_path("bad.gguf"));
    rows[0].n_inputs = 0;
    rows[1].output = NULL;
    rows[2].type = "f17";
    rows[3].family = "none";
    rows[4].settings = settings;
    rows[4].n_settings = 1;
    for (size_t r = 0; r < COUNT(rows); r++) {
        limn_error e = {0};
        assert_false(limn_convert(&rows[r], NULL, &e));
        assert_int_equal(e.code, LIMN_USAGE);
        has(e.text, texts[r]);
        assert_int_not_equal(access(support_path("bad.gguf"), F_OK), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_model_of_limn),
        TEST(models_of_others),
        TEST(what_is_no_model_is_refused),
        TEST(a_golden_clip_becomes_a_model),
        TEST(a_conversion_can_be_stopped),
        TEST(what_cannot_be_meant_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
