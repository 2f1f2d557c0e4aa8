/* Published GPTs over image codes, end to end: tiny instances of them (tools/make_golden_gpt.py) through limn convert,
 * then score, generation, decoding and tokenizing against the same networks in PyTorch and the authors' tokenizers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_tensors.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"

static device *dev;
static json_t *cases, *codecs;
static file_map golden_file, codecs_file;
static safetensors *golden, *codecs_golden;

static const file_tensor *array_of(const safetensors *from, const char *name, const char *array)
{
    char key[96];
    snprintf(key, sizeof key, "%s/%s", name, array);
    const file_tensor *t = safetensors_find(from, key);
    assert_non_null(t);
    return t;
}

/* ---- converting ---- */

typedef struct request {
    const char *drop, *add, *family, *tokenizer;
    const char *set; /* one more setting */
    bool no_settings, no_codec;
    bool typed;
    dtype type;
} request;

/* The case and its codec as model.gguf. */
static bool convert(const char *name, const request *q, err *e)
{
    const json_t *c = golden_case(cases, name), *set = json_object_get(c, "set");
    const json_t *k = golden_case(codecs, json_string_value(json_object_get(c, "codec")));
    char gpt[512], vqgan[512], output[512];
    const char *inputs[2] = {gpt, vqgan}, *settings[8];
    snprintf(gpt, sizeof gpt, "%s", support_path("gpt.safetensors"));
    snprintf(vqgan, sizeof vqgan, "%s", support_path("gpt_codec.safetensors"));
    snprintf(output, sizeof output, "%s", support_path("model.gguf"));
    import_request r = {.inputs = inputs,
                        .n_inputs = q->no_codec ? 1 : 2,
                        .output = output,
                        .family = q->family,
                        .tokenizer = q->tokenizer,
                        .typed = q->typed,
                        .type = q->type,
                        .settings = settings};
    for (size_t i = 0; i < json_array_size(set) && !q->no_settings; i++)
        settings[r.n_settings++] = json_string_value(json_array_get(set, i));
    if (q->set)
        settings[r.n_settings++] = q->set;
    golden_write_tensors(gpt, json_object_get(c, "tensors"), q->drop, q->add);
    golden_write_tensors(vqgan, json_object_get(k, "tensors"), NULL, NULL);
    unlink(output);
    return import_convert(&r, e);
}

static model *open_model(void)
{
    err e = {0};
    model *m = limn_model_open(dev, support_path("model.gguf"), &e);
    good(m, &e);
    return m;
}

static model *converted(const char *name, const request *q)
{
    err e = {0};
    good(convert(name, q, &e), &e);
    return open_model();
}

/* ---- comparing ---- */

/* The largest difference as a share of the range of b. */
static double difference(const float *a, const float *b, int64_t n)
{
    double most = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        most = fabs((double)a[i] - b[i]) <= most ? most : fabs((double)a[i] - b[i]); /* NaN too */
        low = fmin(low, b[i]);
        high = fmax(high, b[i]);
    }
    return most / (high - low);
}

static void compare_scores(model *m, const char *name, double bound)
{
    err e = {0};
    const file_tensor *text = array_of(golden, name, "text"), *codes = array_of(golden, name, "codes");
    const file_tensor *want = array_of(golden, name, "logits");
    int64_t rows = codes->shape[0], cells = codes->shape[1], length = text->shape[1], k = want->shape[2];
    float *logits = calloc((size_t)(cells * k), sizeof *logits);
    assert_non_null(logits);
    for (int64_t i = 0; i < rows; i++) {
        limn_score s;
        good(limn_score_codes(m, (const int32_t *)text->data + i * length, (size_t)length,
                              (const int32_t *)codes->data + i * cells, logits, &s, &e),
             &e);
        for (int64_t c = 0; c < cells; c += 3)
            good(limn_next_logits(m, (const int32_t *)text->data + i * length, (size_t)length,
                                  (const int32_t *)codes->data + i * cells, (int)c, logits + c * k, &e),
                 &e);
        double d = difference(logits, (const float *)want->data + i * cells * k, cells * k);
        if (!(d <= bound))
            fail_msg("%s: logits differ by %g of their range", name, d);
    }
    free(logits);
}

static void compare_greedy(model *m, const char *name)
{
    err e = {0};
    const file_tensor *text = array_of(golden, name, "text"), *want = array_of(golden, name, "greedy");
    int64_t cells = want->shape[1], length = text->shape[1];
    int32_t codes[2 * 16];
    for (int64_t i = 0; i < want->shape[0]; i++) {
        limn_generate_options o = limn_generate_defaults(m);
        o.text_ids = (const int32_t *)text->data + i * length;
        o.n_text_ids = (size_t)length;
        o.temperature = 0;
        o.count = 2;
        good(limn_generate(m, &o, codes, &e), &e);
        assert_memory_equal(codes, (const int32_t *)want->data + i * cells, (size_t)cells * sizeof *codes);
        assert_memory_equal(codes + cells, codes, (size_t)cells * sizeof *codes);
    }
}

static void compare_decoded(model *m, const char *name, double bound)
{
    err e = {0};
    const char *kind = json_string_value(json_object_get(golden_case(cases, name), "codec"));
    const file_tensor *codes = array_of(codecs_golden, kind, "decode");
    const file_tensor *pixels = array_of(codecs_golden, kind, "pixels");
    int64_t count = file_tensor_count(pixels);
    float *x = calloc((size_t)count, sizeof *x);
    assert_non_null(x);
    good(limn_decode(m, codes->data, (int)codes->shape[0], x, &e), &e);
    for (int64_t i = 0; i < count; i++)
        if (!(fabsf(x[i] - ((const float *)pixels->data)[i]) <= bound))
            fail_msg("%s: pixel %d is %g", name, (int)i, x[i]);
    free(x);
}

/* ---- tests ---- */

static void every_gpt_does_what_its_twin_does(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(cases, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        model *m = converted(name, &(request){0});
        assert_int_equal(m->info.classes, json_integer_value(json_object_get(c, "classes")));
        compare_scores(m, name, 1e-5);
        compare_greedy(m, name);
        compare_decoded(m, name, 1e-5);
        limn_model_free(&m);
    }
}

static void weights_may_change_type(void **state)
{
    (void)state;
    static const char *const names[] = {"rudalle_v2", "llamagen", "taming"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        model *m = converted(names[i], &(request){.typed = true, .type = DTYPE_F16});
        compare_scores(m, names[i], 5e-3);
        limn_model_free(&m);
        m = converted(names[i], &(request){.typed = true, .type = DTYPE_Q8_0});
        compare_scores(m, names[i], 5e-2);
        limn_model_free(&m);
    }
    err e = {0}; /* limn's own file again */
    char copy[512];
    snprintf(copy, sizeof copy, "%s", support_path("again.gguf"));
    good(convert("rudalle_v2", &(request){0}, &e), &e);
    import_request q = {.inputs = (const char *[]){support_path("model.gguf")}, .n_inputs = 1, .output = copy};
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, copy, &e);
    good(m, &e);
    compare_scores(m, "rudalle_v2", 1e-5);
    limn_model_free(&m);
}

static void refuse(const char *name, request q, const char *part)
{
    err e = {0};
    bool done = convert(name, &q, &e);
    refused_with(done, &e, part, name, support_path("model.gguf"));
}

static void tensors_that_are_missing_or_extra_are_named(void **state)
{
    (void)state;
    static const char *const dropped[][2] = {
        {"mindalle", "blocks.1.attn.key.weight"},
        {"mindalle", "blocks.2.mlp.2.bias"},
        {"mindalle", "head_txt.weight"},
        {"igpt", "head.weight"},
        {"taming", "transformer.blocks.0.ln2.bias"},
        {"rudalle_v2", "transformer.layers.2.before_second_addition_layernorm.weight"},
        {"rudalle_v3", "to_logits.1.bias"},
        {"llamagen", "layers.1.feed_forward.w3.weight"},
    };
    for (size_t i = 0; i < sizeof dropped / sizeof *dropped; i++)
        refuse(dropped[i][0], (request){.drop = dropped[i][1]}, dropped[i][1]);
    refuse("mindalle", (request){.add = "blocks.9.ln1.bias"}, "blocks.9.ln1.bias belongs to nothing");
    refuse("llamagen", (request){.add = "layers.1.attention.wq"}, "layers.1.attention.wq belongs to nothing");
}

static void settings_say_what_files_do_not(void **state)
{
    (void)state;
    refuse("mindalle", (request){.no_settings = true}, "`settings` heads=N");
    refuse("mindalle", (request){.set = "heads=7"}, "`settings` heads=N");
    refuse("rudalle_v2", (request){.set = "version=v4"}, "versions v2 and v3");
    refuse("mindalle", (request){.set = "version=v2"}, "the files tell it themselves");
    refuse("llamagen", (request){.set = "image_size=18"}, "a code is 4 pixels wide");
    model *m = converted("rudalle_v3", &(request){.set = "top_k=5"});
    assert_int_equal(m->info.default_top_k, 5);
    assert_float_equal(m->info.default_top_p, 0.995, 1e-6);
    assert_int_equal(m->info.encode_width, 8); /* the wavelet's decoder doubles it */
    limn_model_free(&m);
    m = converted("taming", &(request){.no_codec = true});
    assert_false(m->info.has_codec);
    compare_scores(m, "taming", 1e-5);
    limn_model_free(&m);
}

static void generate_with(model *m, const int32_t *ids, size_t n, float guidance, const char *part)
{
    err e = {0};
    int32_t codes[16];
    limn_generate_options o = limn_generate_defaults(m);
    o.text_ids = ids;
    o.n_text_ids = n;
    o.guidance = guidance;
    bool ok = limn_generate(m, &o, codes, &e);
    if (!part)
        good(ok, &e);
    else if (ok || e.code != ERR_USAGE || !strstr(e.text, part))
        fail_msg("\"%s\" is not in: %s", part, e.text);
}

static void classes_are_checked(void **state)
{
    (void)state;
    err e = {0};
    int32_t *ids;
    size_t n;
    model *m = converted("llamagen", &(request){0});
    generate_with(m, (int32_t[]){9}, 1, 4, NULL);
    generate_with(m, (int32_t[]){10}, 1, 4, "10 is outside of 0 to 9"); /* what stands for no class */
    generate_with(m, (int32_t[]){1, 2}, 2, 1, "takes one class");
    assert_false(limn_tokenize(m, "a", &ids, &n, &e));
    assert_non_null(strstr(e.text, "`class`"));
    limn_model_free(&m);
    m = converted("igpt", &(request){0});
    generate_with(m, (int32_t[]){10}, 1, 1, NULL);
    generate_with(m, (int32_t[]){10}, 1, 2, "leave guidance out");
    limn_model_free(&m);
}

static void note_cut(void *context, log_level level, const char *line)
{
    *(int *)context += level == LOG_WARNING && strstr(line, "the end is cut off");
}

/* Of a long prompt the authors' code takes the beginning. */
static void long_prompts_lose_their_end(void **state)
{
    (void)state;
    static const char *const names[] = {"mindalle", "rudalle_v2", "rudalle_v3"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        model *m = converted(names[i], &(request){0});
        size_t room = (size_t)m->info.text_length - !strcmp(names[i], "rudalle_v2"); /* which begins with an id */
        int32_t ids[64], codes[2][16];
        int warnings = 0;
        assert_true(room < 64);
        for (size_t k = 0; k <= room; k++)
            ids[k] = 3 + (int)k % 5;
        log_set_sink(note_cut, &warnings);
        for (size_t k = 0; k < 2; k++) {
            err e = {0};
            limn_generate_options o = {.text_ids = ids, .n_text_ids = room + k, .count = 1};
            good(limn_generate(m, &o, codes[k], &e), &e);
            assert_int_equal(warnings, k);
        }
        log_set_sink(NULL, NULL);
        assert_memory_equal(codes[0], codes[1], (size_t)(m->info.grid_width * m->info.grid_height) * sizeof **codes);
        limn_model_free(&m);
    }
}

static void compare_tokens(model *m, const char *file)
{
    json_error_t why;
    json_t *list = json_load_file(file, 0, &why), *c;
    size_t i;
    if (!list)
        fail_msg("%s: %s", file, why.text);
    json_array_foreach(list, i, c)
    {
        err e = {0};
        int32_t *ids = NULL;
        size_t n = 0;
        const char *text = json_string_value(json_object_get(c, "text"));
        const json_t *want = json_object_get(c, "ids");
        good(limn_tokenize(m, text, &ids, &n, &e), &e);
        bool same = n == json_array_size(want);
        for (size_t k = 0; k < n && same; k++)
            same = ids[k] == json_integer_value(json_array_get(want, k));
        free(ids);
        if (!same)
            fail_msg("%s: the ids of \"%s\" differ", file, text);
    }
    json_decref(list);
}

static void tokenizers_do_what_their_authors_do(void **state)
{
    (void)state;
    model *m = converted("mindalle", &(request){.tokenizer = TEST_DATA "/gpt/char_bpe"});
    compare_tokens(m, TEST_DATA "/gpt/char_bpe_cases.json");
    limn_model_free(&m);
    m = converted("rudalle_v3", &(request){.tokenizer = TEST_DATA "/gpt/yttm"});
    compare_tokens(m, TEST_DATA "/gpt/yttm_cases.json");
    limn_generate_options o = limn_generate_defaults(m);
    int32_t codes[16];
    err e = {0};
    o.prompt = "кот";
    good(limn_generate(m, &o, codes, &e), &e);
    limn_model_free(&m);
    refuse("rudalle_v3", (request){.tokenizer = TEST_DATA "/codecs.json"}, "not a model of YouTokenToMe");
    refuse("mindalle", (request){.tokenizer = TEST_DATA "/no"}, "/no/vocab.json");
}

int main(void)
{
    err e = {0};
    json_error_t why;
    dev = support_device();
    cases = json_load_file(TEST_DATA "/gpts.json", 0, &why);
    codecs = cases ? json_load_file(TEST_DATA "/codecs.json", 0, &why) : NULL;
    if (!codecs || !file_map_open(&golden_file, TEST_DATA "/gpts.safetensors", &e) ||
        !(golden = safetensors_open(golden_file.data, golden_file.size, "gpts.safetensors", &e)) ||
        !file_map_open(&codecs_file, TEST_DATA "/codecs.safetensors", &e) ||
        !(codecs_golden = safetensors_open(codecs_file.data, codecs_file.size, "codecs.safetensors", &e))) {
        fprintf(stderr, "%s\n", codecs ? e.text : why.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gpt_does_what_its_twin_does),
        cmocka_unit_test(weights_may_change_type),
        cmocka_unit_test(tensors_that_are_missing_or_extra_are_named),
        cmocka_unit_test(settings_say_what_files_do_not),
        cmocka_unit_test(classes_are_checked),
        cmocka_unit_test(long_prompts_lose_their_end),
        cmocka_unit_test(tokenizers_do_what_their_authors_do),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    safetensors_free(golden);
    safetensors_free(codecs_golden);
    file_map_release(&golden_file);
    file_map_release(&codecs_file);
    json_decref(cases);
    json_decref(codecs);
    device_free(dev);
    return failed;
}
