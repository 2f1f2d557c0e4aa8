/* Tests of what limn convert takes beside one safetensors file: PyTorch's checkpoints, whose tensors are views here,
 * shards, BF16, and several files with tensors of one name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "convert/convert.h"
#include "support.h"

static void write_text(const char *path, const char *text, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

/* ---- a checkpoint in the older container ------------------------------------------------------------------------- */

static void put_int(FILE *f, char opcode, uint32_t value)
{
    fputc(opcode, f);
    fwrite(&value, 4, 1, f);
}

static void put_string(FILE *f, const char *text)
{
    put_int(f, 'X', (uint32_t)strlen(text));
    fputs(text, f);
}

/* ours[out,h,w,in] as the view [out,in,h,w] that PyTorch has, or [in,out,h,w]: no element moves. */
static file_tensor view_of(const file_tensor *t)
{
    static const int plain[] = {0, 3, 1, 2}, transposed[] = {3, 0, 1, 2}, same[] = {0, 1, 2, 3, 4};
    const int *order = t->nd != 4 ? same : strstr(t->name, "decoder.up.") ? transposed : plain;
    return file_tensor_permuted(t, order);
}

static void put_tensor(FILE *f, const file_tensor *t, const char *class, size_t i)
{
    char key[32];
    file_tensor view = view_of(t);
    snprintf(key, sizeof key, "%zu", i);
    put_string(f, t->name + strlen("codec."));
    fprintf(f, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_string(f, "storage");
    fprintf(f, "ctorch\n%s\n", class);
    put_string(f, key);
    put_string(f, "cpu");
    put_int(f, 'J', (uint32_t)file_tensor_count(t));
    fprintf(f, "NtQK%c(", 0);
    for (int k = 0; k < view.nd; k++)
        put_int(f, 'J', (uint32_t)view.shape[k]);
    fprintf(f, "t(");
    for (int k = 0; k < view.nd; k++)
        put_int(f, 'J', (uint32_t)view.stride[k]);
    fprintf(f, "t\x89}tR");
}

static void put_storage(FILE *f, const file_tensor *t, bool bf16)
{
    int64_t count = file_tensor_count(t);
    fwrite(&count, 8, 1, f);
    for (int64_t i = 0; i < count; i++) /* the upper half of a float is a BF16 */
        fwrite((const char *)t->data + 4 * i + (bf16 ? 2 : 0), bf16 ? 2 : 4, 1, f);
}

/* {"epoch": 3, "state_dict": {...}} with each storage in our order. */
static void write_checkpoint(const char *path, const gguf *g, bool bf16)
{
    static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."
                               "\x80\2}X\x0d\0\0\0little_endian\x88s.\x80\2}";
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fwrite(head, 1, sizeof head - 1, f);
    put_string(f, "epoch");
    fprintf(f, "K\3s");
    put_string(f, "state_dict");
    fprintf(f, "}(");
    for (size_t i = 0; i < gguf_tensor_count(g); i++)
        put_tensor(f, gguf_tensor(g, i), bf16 ? "BFloat16Storage" : "FloatStorage", i);
    fprintf(f, "us.\x80\2](");
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        char key[32];
        snprintf(key, sizeof key, "%zu", i);
        put_string(f, key);
    }
    fprintf(f, "e.");
    for (size_t i = 0; i < gguf_tensor_count(g); i++)
        put_storage(f, gguf_tensor(g, i), bf16);
    assert_int_equal(fclose(f), 0);
}

/* ---- converting -------------------------------------------------------------------------------------------------- */

static const char config[] = "{\"image_size\": 8, \"channels\": 3, \"codes\": 8, \"code_dim\": 5,"
                             " \"encoder_down\": [6], \"encoder_res\": 1, \"decoder_res\": 1, \"decoder_up\": [6],"
                             " \"codec_activation\": \"gelu_erf\"}";

static gguf *open_gguf(file_map *map, const char *path)
{
    err e = {0};
    good(file_map_open(map, path, &e), &e);
    gguf *g = gguf_open(map->data, map->size, path, &e);
    good(g, &e);
    return g;
}

static bool convert(const char *from, const char *to, err *e)
{
    return import_convert(&(import_request){.inputs = &from, .n_inputs = 1, .output = to}, e);
}

static void checkpoints_of_views_become_the_model_again(void **state)
{
    (void)state;
    const char *tiny = support_path("tiny.gguf"), *from = support_path("model.ckpt"), *to = support_path("out.gguf");
    err e = {0};
    file_map a_map, b_map;
    good(tiny_model_write(tiny, &(tiny_config){.no_transformer = true, .seed = 4}, &e), &e);
    gguf *a = open_gguf(&a_map, tiny);
    write_text(support_path("config.json"), config, sizeof config - 1);
    for (int bf16 = 0; bf16 < 2; bf16++) {
        write_checkpoint(from, a, bf16);
        good(convert(from, to, &e), &e);
        gguf *b = open_gguf(&b_map, to);
        assert_int_equal(gguf_tensor_count(a), gguf_tensor_count(b));
        for (size_t i = 0; i < gguf_tensor_count(a); i++) {
            const file_tensor *t = gguf_tensor(a, i), *u = gguf_find(b, t->name);
            assert_non_null(u);
            if (!bf16) {
                assert_int_equal(u->type, DTYPE_F32);
                assert_memory_equal(t->data, u->data, t->bytes);
                continue;
            }
            assert_int_equal(u->type, t->nd == 1 ? DTYPE_F32 : DTYPE_F16);
            for (int64_t k = 0; k < file_tensor_count(t); k++) {
                float x, y;
                uint32_t bits;
                file_tensor_read(t, k, 1, &x);
                file_tensor_read(u, k, 1, &y);
                memcpy(&bits, &x, 4);
                bits &= 0xffff0000;
                memcpy(&x, &bits, 4);
                assert_true(y == (t->nd == 1 ? x : half_to_float(float_to_half(x))));
            }
        }
        gguf_free(b);
        file_map_release(&b_map);
    }
    gguf_free(a);
    file_map_release(&a_map);
}

static void checkpoints_that_would_run_code_are_refused_by_name(void **state)
{
    (void)state;
    static const char head[] = "\x80\2\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\2M\xe9\3."
                               "\x80\2}X\x0d\0\0\0little_endian\x88s."
                               "\x80\2cposix\nsystem\nX\x10\0\0\0touch was-called\x85R.\x80\2].";
    const char *from = support_path("model.ckpt"), *to = support_path("refused.gguf");
    err e = {0};
    write_text(from, head, sizeof head - 1);
    assert_false(convert(from, to, &e));
    if (!strstr(e.text, "model.ckpt: it names posix.system"))
        fail_msg("%s", e.text);
    assert_int_not_equal(access(to, F_OK), 0);
    assert_int_not_equal(access("was-called", F_OK), 0);
}

/* ---- files and names --------------------------------------------------------------------------------------------- */

static void write_safetensors(const char *path, const char *header, const void *data, size_t bytes)
{
    char file[512];
    uint64_t n = strlen(header);
    memcpy(file, &n, 8);
    memcpy(file + 8, header, n);
    memcpy(file + 8 + n, data, bytes);
    write_text(path, file, 8 + n + bytes);
}

static void write_shards(const char *index)
{
    write_safetensors(support_path("one.safetensors"),
                      "{\"a\":{\"dtype\":\"F64\",\"shape\":[2],\"data_offsets\":[0,16]},"
                      "\"b\":{\"dtype\":\"I16\",\"shape\":[2],\"data_offsets\":[16,20]}}",
                      (const double[]){1.5, -2, 0}, 20);
    write_safetensors(support_path("two.safetensors"),
                      "{\"c\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[0,4]}}", "\xc0\x3f\x00\xc0", 4);
    write_text(support_path("model.safetensors.index.json"), index, strlen(index));
}

static void shards_are_one_table(void **state)
{
    (void)state;
    err e = {0};
    float values[2];
    write_shards("{\"metadata\": {\"total_size\": 24}, \"weight_map\": {\"a\": \"one.safetensors\","
                 " \"c\": \"two.safetensors\", \"b\": \"one.safetensors\"}}");
    model_file *m = model_file_open(support_path("model.safetensors.index.json"), &e);
    good(m, &e);
    assert_int_equal(model_file_format(m), MODEL_SHARDS);
    assert_int_equal(model_file_count(m), 3);
    assert_int_equal(model_file_find(m, "b")->type, DTYPE_I16);
    assert_null(model_file_find(m, "d"));
    for (int i = 0; i < 2; i++) {
        file_tensor_read(model_file_find(m, i ? "c" : "a"), 0, 2, values);
        assert_true(values[0] == 1.5f && values[1] == -2);
    }
    model_file_free(m);
}

static void broken_indices_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *index, *part;
    } rows[] = {
        {"", "index.json: line 1"},
        {"[]", "weight_map: missing, or empty"},
        {"{\"weight_map\": {}}", "weight_map: missing, or empty"},
        {"{\"weight_map\": {\"a\": 1}}", "weight_map: 'a': not the name of a file"},
        {"{\"weight_map\": {\"a\": \"../x/one.safetensors\"}}", "'../x/one.safetensors' is not the name of a file"},
        {"{\"weight_map\": {\"a\": \"\"}}", "is not the name of a file"},
        {"{\"weight_map\": {\"a\": \"three.safetensors\"}}", "three.safetensors: cannot open"},
        {"{\"weight_map\": {\"a\": \"two.safetensors\"}}", "tensor 'a' is not in "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        err e = {0};
        write_shards(rows[i].index);
        assert_null(model_file_open(support_path("model.safetensors.index.json"), &e));
        if (!strstr(e.text, rows[i].part))
            fail_msg("'%s' is not in '%s'", rows[i].part, e.text);
    }
}

/* An encoder and a decoder whose tensors have the same names. */
static void a_prefix_tells_files_apart(void **state)
{
    (void)state;
    err e = {0};
    source_tensor t[2] = {{.file = "encoder.pkl", .input = 0, .own.name = "w"},
                          {.file = "decoder.pkl", .input = 1, .own.name = "w"}};
    source s = {.tensors = t, .n = 2};
import im = {.from = & s };
    t[0].t = &t[0].own;
    t[1].t = &t[1].own;
    assert_null(import_find(&im, "w"));
    assert_string_equal(im.error.text, "decoder.pkl: tensor w is in encoder.pkl too");
    im.error = (err){0};
    assert_true(source_file_has(&s, 1, "w") && !source_file_has(&s, 1, "v") && !source_file_has(&s, 2, "w"));
    good(source_prefix(&s, 0, "encoder.", &e) && source_prefix(&s, 1, "decoder.", &e), &e);
    good(source_prefix(&s, 1, "x.", &e), &e);
    assert_false(source_has(&s, "w"));
    assert_ptr_equal(import_find(&im, "encoder.w"), t[0].t);
    assert_true(t[0].used && !t[1].used);
    import_skip(&im, "x.decoder");
    assert_true(t[1].used && !im.error.code);
    assert_null(source_get(&s, "hparams"));
    free(t[0].renamed);
    free(t[1].renamed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checkpoints_of_views_become_the_model_again),
        cmocka_unit_test(checkpoints_that_would_run_code_are_refused_by_name),
        cmocka_unit_test(shards_are_one_table),
        cmocka_unit_test(broken_indices_are_refused),
        cmocka_unit_test(a_prefix_tells_files_apart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
