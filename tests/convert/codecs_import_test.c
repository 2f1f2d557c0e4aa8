/* Published image codecs, end to end: tiny instances of them (tools/make_golden_codecs.py) through limn convert, then
 * encode and decode against what their authors' own code makes of them. */
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

#include "checks.h"
#include "convert/convert.h"
#include "golden_tensors.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"

static device *dev;
static json_t *cases;
static file_map golden_file;
static safetensors *golden;

/* ---- instances ---- */

/* The array of a case, or NULL. */
static const file_tensor *array_of(const char *name, const char *array)
{
    char key[96];
    snprintf(key, sizeof key, "%s/%s", name, array);
    return safetensors_find(golden, key);
}

/* What a request asks for beside a case's own settings. */
typedef struct request {
    const char *drop, *add, *family;
    dtype type; /* F16: asked for */
    bool no_settings;
} request;

/* The case as codec.gguf. */
static bool convert(const char *name, const request *q, err *e)
{
    const json_t *c = golden_case(cases, name), *files = json_object_get(c, "files"), *set = json_object_get(c, "set");
    const char *inputs[4], *settings[4];
    char paths[4][512];
    import_request r = {.inputs = inputs,
                        .n_inputs = files ? json_array_size(files) : 1,
                        .output = support_path("codec.gguf"),
                        .family = q->family,
                        .typed = q->type == DTYPE_F16,
                        .type = q->type,
                        .settings = settings,
                        .n_settings = q->no_settings ? 0 : json_array_size(set)};
    assert_true(r.n_inputs <= 4 && r.n_settings <= 4);
    for (size_t i = 0; i < r.n_settings; i++)
        settings[i] = json_string_value(json_array_get(set, i));
    for (size_t i = 0; i < r.n_inputs; i++) {
        snprintf(paths[i], sizeof paths[i], "%s/%s", TEST_DATA, json_string_value(json_array_get(files, i)));
        inputs[i] = files ? paths[i] : support_path("codec.safetensors");
    }
    if (!files)
        golden_write_tensors(inputs[0], json_object_get(c, "tensors"), q->drop, q->add);
    unlink(r.output);
    return import_convert(&r, e);
}

/* ---- comparing ---- */

/* The largest difference; `range` too, of b. */
static double difference(const float *a, const float *b, int64_t n, double *range)
{
    double most = 0, low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        most = fabs((double)a[i] - b[i]) <= most ? most : fabs((double)a[i] - b[i]); /* NaN too */
        low = fmin(low, b[i]);
        high = fmax(high, b[i]);
    }
    *range = high - low;
    return most;
}

static void compare_encoded(model *m, const char *name, double bound)
{
    err e = {0};
    const file_tensor *image = array_of(name, "image"), *codes = array_of(name, "codes");
    const file_tensor *logits = array_of(name, "logits");
    const limn_model_info *i = limn_model_get_info(m);
    int64_t n = file_tensor_count(codes), count = file_tensor_count(logits);
    assert_int_equal(i->encode_width, image->shape[2]);
    assert_int_equal(i->codes, logits->shape[1]);
    int32_t *z = calloc((size_t)n, sizeof *z);
    float *q = calloc((size_t)count, sizeof *q);
    good(limn_encode(m, image->data, (int)image->shape[0], z, q, &e), &e);
    double range, most;
    float *want = malloc((size_t)count * sizeof *want);
    dtype_to_float(want, logits->type, logits->data, count);
    /* LlamaGen's vectors have another length here than there, which changes no choice */
    most = difference(q, want, count, &range);
    if (!(most <= bound * range) && strcmp(name, "llamagen") != 0)
        fail_msg("%s: logits differ by %g of a range of %g", name, most, range);
    assert_memory_equal(z, codes->data, (size_t)n * sizeof *z);
    free(want);
    free(q);
    free(z);
}

static void compare_decoded(model *m, const char *name, double bound)
{
    err e = {0};
    const file_tensor *codes = array_of(name, "decode"), *pixels = array_of(name, "pixels");
    const limn_model_info *i = limn_model_get_info(m);
    int64_t count = file_tensor_count(pixels);
    assert_int_equal(i->width, pixels->shape[3]);
    float *x = calloc((size_t)count, sizeof *x);
    good(limn_decode(m, codes->data, (int)codes->shape[0], x, &e), &e);
    double range, most = difference(x, pixels->data, count, &range);
    if (!(most <= bound))
        fail_msg("%s: pixels differ by %g of 255", name, most * 255);
    assert_true(range > 0.09);
    free(x);
}

static model *open_model(void)
{
    err e = {0};
    model *m = limn_model_open(dev, support_path("codec.gguf"), &e);
    good(m, &e);
    return m;
}

/* ---- tests ---- */

static void every_codec_does_what_its_authors_do(void **state)
{
    (void)state;
    size_t i;
    json_t *c;
    json_array_foreach(cases, i, c)
    {
        const char *name = json_string_value(json_object_get(c, "name"));
        err e = {0};
        good(convert(name, &(request){0}, &e), &e);
        model *m = open_model();
        if (array_of(name, "image"))
            compare_encoded(m, name, 1e-5);
        compare_decoded(m, name, 1e-5);
        limn_model_free(&m);
        good(
            convert(name, &(request){.family = json_string_value(json_object_get(c, "family")), .type = DTYPE_F16}, &e),
            &e);
        m = open_model();
        compare_decoded(m, name, 2.0 / 255);
        limn_model_free(&m);
    }
}

static void refuse(const char *name, request q, const char *part)
{
    err e = {0};
    bool done = convert(name, &q, &e);
    refused_with(done, &e, part, name, support_path("codec.gguf"));
}

static void tensors_that_are_missing_or_extra_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *name, *drop;
    } dropped[] = {
        {"taming", "encoder.down.0.downsample.conv.weight"},
        {"taming", "decoder.up.1.attn.0.q.bias"},
        {"taming", "quantize.embedding.weight"},
        {"taming", "quant_conv.bias"},
        {"gumbel", "model.quantize.proj.bias"},
        {"wavelet", "model.decoder.post_quant_conv.bias"},
        {"detokenizer", "decoder.up.0.block.1.norm2.weight"},
        {"llamagen", "decoder.conv_blocks.0.res.1.conv1.weight"},
        {"llamagen", "encoder.mid.1.proj_out.weight"},
        {"dalle_pytorch_plain", "decoder.3.bias"},
    };
    for (size_t i = 0; i < COUNT(dropped); i++)
        refuse(dropped[i].name, (request){.drop = dropped[i].drop}, dropped[i].drop);
    refuse("taming", (request){.add = "encoder.down.0.block.1.conv1.weight"}, "encoder.down.0.block.1.conv1.weight");
    refuse("gumbel", (request){.add = "quantize.used"}, "quantize.used belongs to nothing");
    refuse("dalle_pytorch_plain", (request){.add = "encoder.9.bias"}, "encoder.9.bias belongs to nothing");
}

static void sizes_come_from_settings_or_hyper_parameters(void **state)
{
    (void)state;
    err e = {0};
    good(convert("taming", &(request){.no_settings = true}, &e), &e);
    model *m = open_model();
    assert_int_equal(m->info.width, 256);
    assert_int_equal(m->info.grid_width, 128);
    limn_model_free(&m);
    good(convert("dalle_pytorch", &(request){0}, &e), &e); /* which takes it from the file */
    m = open_model();
    assert_int_equal(m->info.width, 16);
    limn_model_free(&m);
    good(convert("wavelet", &(request){0}, &e), &e);
    m = open_model();
    assert_int_equal(m->info.encode_width, 8);
    assert_int_equal(m->info.width, 16);
    limn_model_free(&m);
    const char *in[] = {TEST_DATA "/codecs_vae.pt"}, *set[] = {"image_size=32"}, *odd[] = {"image_size=7"};
    import_request q = {
        .inputs = in, .n_inputs = 1, .output = support_path("no.gguf"), .settings = set, .n_settings = 1};
    assert_false(import_convert(&q, &e));
    assert_int_equal(e.code, ERR_USAGE);
    assert_non_null(strstr(e.text, "`settings` image_size"));
    e = (err){0};
    in[0] = support_path("codec.safetensors");
    q.settings = odd;
    assert_false(import_convert(&q, &e));
    assert_non_null(strstr(e.text, "is not a multiple of"));
}

static void a_decoder_alone_says_so(void **state)
{
    (void)state;
    err e = {0};
    good(convert("detokenizer", &(request){0}, &e), &e);
    model *m = open_model();
    uint8_t rgb[8 * 8 * 3] = {0};
    int32_t codes[16];
    assert_false(limn_encode(m, rgb, 1, codes, NULL, &e));
    assert_int_equal(e.code, ERR_USAGE);
    assert_non_null(strstr(e.text, "decoder alone"));
    limn_model_free(&m);
}

/* A converted codec stays what it is when its weights change type. */
static void own_files_convert_again(void **state)
{
    (void)state;
    static const char *const names[] = {"openai", "dalle_pytorch", "wavelet", "detokenizer"};
    for (size_t i = 0; i < COUNT(names); i++) {
        err e = {0};
        good(convert(names[i], &(request){0}, &e), &e);
        const char *in[] = {support_path("codec.gguf")};
        char copy[512];
        snprintf(copy, sizeof copy, "%s", support_path("again.gguf"));
        import_request q = {.inputs = in, .n_inputs = 1, .output = copy, .typed = true, .type = DTYPE_F16};
        good(import_convert(&q, &e), &e);
        model *m = limn_model_open(dev, copy, &e);
        good(m, &e);
        compare_decoded(m, names[i], 2.0 / 255);
        limn_model_free(&m);
    }
}

int main(void)
{
    err e = {0};
    json_error_t why;
    dev = support_device();
    cases = json_load_file(TEST_DATA "/codecs.json", 0, &why);
    if (!cases || !file_map_open(&golden_file, TEST_DATA "/codecs.safetensors", &e) ||
        !(golden = safetensors_open(golden_file.data, golden_file.size, "codecs.safetensors", &e))) {
        fprintf(stderr, "%s\n", cases ? e.text : why.text);
        return 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_codec_does_what_its_authors_do),
        cmocka_unit_test(tensors_that_are_missing_or_extra_are_named),
        cmocka_unit_test(sizes_come_from_settings_or_hyper_parameters),
        cmocka_unit_test(a_decoder_alone_says_so),
        cmocka_unit_test(own_files_convert_again),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    safetensors_free(golden);
    file_map_release(&golden_file);
    json_decref(cases);
    device_free(dev);
    return failed;
}
