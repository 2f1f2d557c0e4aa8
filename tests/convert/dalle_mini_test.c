/* DALL-E Mini, end to end: a tiny instance (tools/make_golden_dalle_mini.py) through limn convert, then score, greedy
 * generation, decode and tokenize against what min-dalle makes of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_tensors.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"

#define FOLDER TEST_DATA "/dalle_mini"
#define PROMPT "An armchair in the shape of an avocado"
enum { CODES = 30, CELLS = 16, CODEBOOK = 40, TEXT_LENGTH = 24 };

static device *dev;
static safetensors *golden, *codecs;

static const void *data_of(const safetensors *s, const char *name)
{
    const file_tensor *t = safetensors_find(s, name);
    assert_non_null(t);
    return t->data;
}

/* `files` of decoder.pt, encoder.pt and the detokenizer, as model.gguf. */
static bool convert(int files, const char *heads, dtype type, err *e)
{
    const char *inputs[] = {FOLDER "/decoder.pt", FOLDER "/encoder.pt", support_path("detokenizer.safetensors")};
    import_request q = {.inputs = inputs,
                        .n_inputs = (size_t)files,
                        .output = support_path("model.gguf"),
                        .tokenizer = TEST_DATA "/golden/min_dalle",
                        .typed = type != DTYPE_F32,
                        .type = type,
                        .settings = &heads,
                        .n_settings = heads != NULL};
    return import_convert(&q, e);
}

static model *opened(const char *path)
{
    err e = {0};
    model *m = limn_model_open(dev, path, &e);
    good(m, &e);
    return m;
}

/* The largest difference of the logits of both rows of text from the reference, over its range. */
static double logits_error(model *m)
{
    err e = {0};
    const int32_t *codes = data_of(golden, "codes");
    const file_tensor *ids = safetensors_find(golden, "ids");
    const float *want = data_of(golden, "logits");
    double most = 0, low = INFINITY, high = -INFINITY;
    for (int row = 0; row < 2; row++, want += CELLS * CODES) {
        float logits[CELLS * CODES];
        limn_score s;
        good(limn_score_codes(m, row ? ids->data : NULL, row ? (size_t)ids->shape[0] : 0, codes, logits, &s, &e), &e);
        assert_int_equal(s.image_tokens, CELLS);
        assert_int_equal(s.text_tokens, 0);
        for (int i = 0; i < CELLS; i += 3)
            good(limn_next_logits(m, row ? ids->data : NULL, row ? (size_t)ids->shape[0] : 0, codes, i,
                                  logits + i * CODES, &e),
                 &e);
        for (int i = 0; i < CELLS * CODES; i++) {
            double d = fabs((double)logits[i] - want[i]);
            most = d <= most ? most : d; /* NaN too */
            low = fmin(low, want[i]);
            high = fmax(high, want[i]);
        }
    }
    return most / (high - low);
}

static void does_what_min_dalle_does(void **state)
{
    (void)state;
    err e = {0};
    good(convert(3, "heads=4", DTYPE_F32, &e), &e);
    model *m = opened(support_path("model.gguf"));
    const limn_model_info *i = limn_model_get_info(m);
    assert_int_equal(i->codes, CODES);
    assert_int_equal(i->codebook, CODEBOOK);
    assert_int_equal(i->default_top_k, 256);
    assert_true(i->default_guidance == 16 && i->default_temperature == 1);
    double error = logits_error(m);
    if (!(error < 1e-4))
        fail_msg("logits differ by %g of their range", error);

    limn_generate_options o = limn_generate_defaults(m);
    int32_t codes[3 * CELLS];
    o.prompt = PROMPT;
    o.count = 3;
    o.temperature = 0;
    good(limn_generate(m, &o, codes, &e), &e);
    for (int k = 0; k < 3; k++)
        assert_memory_equal(codes + k * CELLS, data_of(golden, "codes"), CELLS * sizeof *codes);

    float pixels[2 * 3 * 8 * 8];
    const float *want = data_of(codecs, "detokenizer/pixels");
    good(limn_decode(m, data_of(codecs, "detokenizer/decode"), 2, pixels, &e), &e);
    for (int k = 0; k < 2 * 3 * 8 * 8; k++)
        assert_true(fabsf(pixels[k] - want[k]) < 1.0f / 255);
    limn_model_free(&m);
}

static void tokenizer_is_the_one_that_was_given(void **state)
{
    (void)state;
    err e = {0};
    good(convert(3, "heads=4", DTYPE_F32, &e), &e);
    model *m = opened(support_path("model.gguf"));
    const file_tensor *want = safetensors_find(golden, "ids");
    int32_t *ids;
    size_t n;
    good(limn_tokenize(m, PROMPT, &ids, &n, &e), &e);
    assert_int_equal(n, want->shape[0]);
    assert_memory_equal(ids, want->data, n * sizeof *ids);
    free(ids);
    limn_model_free(&m);
}

static void note_cut(void *context, log_level level, const char *line)
{
    *(int *)context += level == LOG_WARNING && strstr(line, "the end is cut off");
}

/* Padding is no text; what is too long is cut, and what is out of range is refused. */
static void text_is_checked(void **state)
{
    (void)state;
    err e = {0};
    good(convert(3, "heads=4", DTYPE_F32, &e), &e);
    model *m = opened(support_path("model.gguf"));
    const transformer *t = m->transformer;
    int32_t row[TEXT_LENGTH], null[TEXT_LENGTH], ids[TEXT_LENGTH + 1];
    size_t used;
    for (int i = 0; i <= TEXT_LENGTH; i++)
        ids[i] = i < 5 ? 3 + i : 1;
    good(t->kind->text_row(t, ids, TEXT_LENGTH + 1, row, &used, &e), &e);
    assert_int_equal(used, 5);
    assert_memory_equal(row, ids, sizeof row);
    good(t->kind->text_row(t, ids + 5, 3, row, &used, &e), &e);
    assert_true(used == 0 && row[0] == 0 && row[1] == 2 && row[2] == 1);
    ids[TEXT_LENGTH] = 2;
    int warnings = 0;
    log_set_sink(note_cut, &warnings);
    good(t->kind->text_row(t, ids, TEXT_LENGTH + 1, row, &used, &e), &e);
    log_set_sink(NULL, NULL);
    assert_int_equal(used, TEXT_LENGTH);
    assert_memory_equal(row, ids, sizeof row);
    assert_int_equal(warnings, 1);
    good(t->kind->null_row(t, row, used, null, &used, &e), &e); /* min-dalle takes the last id that is left for </s> */
    assert_true(null[0] == 0 && null[1] == ids[TEXT_LENGTH - 1] && null[2] == 1 && null[TEXT_LENGTH - 1] == 1);
    good(t->kind->null_row(t, row, 5, null, &used, &e), &e);
    assert_true(null[0] == 0 && null[1] == 2 && null[2] == 1);
    ids[2] = 700;
    assert_false(t->kind->text_row(t, ids, 5, row, &used, &e));
    assert_non_null(strstr(e.text, "outside of the vocabulary"));
    limn_model_free(&m);
}

/* Products of several source tensors, cut tables and rows that blocks don't divide, as blocks; and that file again. */
static void weights_become_blocks(void **state)
{
    (void)state;
    err e = {0};
    good(convert(3, "heads=4", DTYPE_Q8_0, &e), &e);
    model *m = opened(support_path("model.gguf"));
    double error = logits_error(m);
    if (!(error < 0.05))
        fail_msg("logits of Q8_0 differ by %g of their range", error);
    limn_model_free(&m);
    const char *in[] = {support_path("model.gguf")};
    import_request q = {.inputs = in, .n_inputs = 1, .output = support_path("again.gguf"), .typed = true};
    good(import_convert(&q, &e), &e);
    m = opened(support_path("again.gguf"));
    double again = logits_error(m);
    if (!(fabs(again - error) < 5e-4)) /* F32 of the same values; products with blocks may round x to 16 bits */
        fail_msg("logits of F32 from Q8_0 differ by %g, of Q8_0 by %g", again, error);
    limn_model_free(&m);
}

static void what_is_missing_is_named(void **state)
{
    (void)state;
    static const struct {
        int files;
        const char *heads, *text;
    } wrong[] = {
        {1, "heads=4", "tensor encoder."}, {3, NULL, "`settings` heads="}, {3, "heads=5", "do not divide the dim 32"}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err e = {0};
        assert_false(convert(wrong[i].files, wrong[i].heads, DTYPE_F32, &e));
        if (!strstr(e.text, wrong[i].text))
            fail_msg("\"%s\" is not in: %s", wrong[i].text, e.text);
    }
    err e = {0};
    good(convert(2, "heads=4", DTYPE_F32, &e), &e); /* a transformer alone */
    model *m = opened(support_path("model.gguf"));
    assert_true(logits_error(m) < 1e-4);
    limn_model_free(&m);
}

static safetensors *open_golden(file_map *map, const char *path)
{
    err e = {0};
    safetensors *s = file_map_open(map, path, &e) ? safetensors_open(map->data, map->size, path, &e) : NULL;
    if (!s)
        fprintf(stderr, "%s\n", e.text);
    return s;
}

static bool write_detokenizer(void)
{
    json_t *cases = json_load_file(TEST_DATA "/codecs.json", 0, NULL), *c;
    size_t i;
    bool found = false;
    json_array_foreach(cases, i, c) if (!strcmp(json_string_value(json_object_get(c, "name")), "detokenizer"))
    {
        golden_write_tensors(support_path("detokenizer.safetensors"), json_object_get(c, "tensors"), NULL, NULL);
        found = true;
    }
    json_decref(cases);
    return found;
}

int main(void)
{
    file_map maps[2];
    dev = support_device();
    golden = open_golden(&maps[0], FOLDER "/reference.safetensors");
    codecs = open_golden(&maps[1], TEST_DATA "/codecs.safetensors");
    if (!golden || !codecs || !write_detokenizer())
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(does_what_min_dalle_does), cmocka_unit_test(tokenizer_is_the_one_that_was_given),
        cmocka_unit_test(text_is_checked),          cmocka_unit_test(weights_become_blocks),
        cmocka_unit_test(what_is_missing_is_named),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    safetensors_free(golden);
    safetensors_free(codecs);
    for (int i = 0; i < 2; i++)
        file_map_release(&maps[i]);
    device_free(dev);
    return failed;
}
