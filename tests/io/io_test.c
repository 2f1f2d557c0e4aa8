/* Tests of src/io: safetensors and npy.  GGUF has gguf_test.c, pictures have image_test.c. */
#include "io_support.h"

#include <math.h>

#include "base/file.h"
#include "io/json_file.h"
#include "io/npy.h"
#include "io/safetensors.h"

/* ---- safetensors ----------------------------------------------------------------------------------------------- */

static bool probe_safetensors(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    memcpy(exact, data, size);
    err e = {0};
    safetensors *s = safetensors_open(exact, size, "FILE", &e);
    assert_true(s ? e.code == ERR_NONE : !strncmp(e.text, "FILE: ", 6));
    for (size_t i = 0; s && i < safetensors_count(s); i++) {
        touch(safetensors_tensor(s, i));
        assert_ptr_equal(safetensors_find(s, safetensors_tensor(s, i)->name), safetensors_tensor(s, i));
    }
    safetensors_free(s);
    free(exact);
    return s != NULL;
}

static size_t make_safetensors(uint8_t *out, const char *header, size_t data_bytes)
{
    uint64_t n = strlen(header);
    memcpy(out, &n, 8);
    memcpy(out + 8, header, n + 1); /* the NUL is overwritten, or beyond the size */
    for (size_t i = 0; i < data_bytes; i++)
        out[8 + n + i] = (uint8_t)i;
    return 8 + n + data_bytes;
}

static const char good_header[] = "{\"__metadata__\":{\"format\":\"pt\"},"
                                  "\"b\":{\"dtype\":\"F16\",\"shape\":[2,1],\"data_offsets\":[4,8]},"
                                  "\"e\":{\"dtype\":\"I64\",\"shape\":[0,9],\"data_offsets\":[4,4]},"
                                  "\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0,4]}} ";

static void safetensors_are_read_in_the_order_of_their_data(void **state)
{
    (void)state;
    uint8_t file[1024];
    size_t size = make_safetensors(file, good_header, 8);
    err e = {0};
    safetensors *s = safetensors_open(file, size, "FILE", &e);
    assert_non_null(s);
    assert_int_equal(safetensors_count(s), 3);
    assert_string_equal(safetensors_tensor(s, 0)->name, "a");
    assert_string_equal(safetensors_tensor(s, 1)->name, "e");
    const file_tensor *b = safetensors_find(s, "b");
    assert_true(b->type == DTYPE_F16 && b->nd == 2 && b->shape[0] == 2 && b->bytes == 4);
    assert_int_equal(*(const uint8_t *)b->data, 4);
    assert_int_equal(file_tensor_count(safetensors_find(s, "a")), 1);
    assert_null(safetensors_find(s, "__metadata__"));
    assert_string_equal(safetensors_metadata(s, "format"), "pt");
    assert_null(safetensors_metadata(s, "absent"));
    safetensors_free(s);
}

/* Types that limn computes with, and those that it only tells of. */
static void safetensors_of_every_type_are_read(void **state)
{
    (void)state;
    static const char header[] = "{\"e4m3\":{\"dtype\":\"F8_E4M3\",\"shape\":[6],\"data_offsets\":[0,6]},"
                                 "\"e5m2\":{\"dtype\":\"F8_E5M2\",\"shape\":[6],\"data_offsets\":[6,12]},"
                                 "\"u16\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[12,14]},"
                                 "\"u32\":{\"dtype\":\"U32\",\"shape\":[1],\"data_offsets\":[14,18]},"
                                 "\"u64\":{\"dtype\":\"U64\",\"shape\":[1],\"data_offsets\":[18,26]},"
                                 "\"c64\":{\"dtype\":\"C64\",\"shape\":[2],\"data_offsets\":[26,42]},"
                                 "\"f4\":{\"dtype\":\"F4\",\"shape\":[4,2],\"data_offsets\":[42,46]},"
                                 "\"e8m0\":{\"dtype\":\"F8_E8M0\",\"shape\":[2],\"data_offsets\":[46,48]},"
                                 "\"f32\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[48,52]}}";
    static const uint8_t data[52] = {0x00, 0x01, 0x08, 0x38, 0xfe, 0x7f, 0x01,        0x04, 0x3c, 0xc0,
                                     0x7b, 0x7c, 0xff, 0xff, 0,    0,    0,           0x80, 0,    0,
                                     0,    0,    0,    0,    0,    0x80, [50] = 0x80, 0x3f};
    uint8_t file[1024];
    float v[6];
    err e = {0};
    size_t size = make_safetensors(file, header, sizeof data);
    memcpy(file + size - sizeof data, data, sizeof data);
    safetensors *s = safetensors_open(file, size, "FILE", &e);
    if (!s)
        fail_msg("%s", e.text);
    file_tensor_read(safetensors_find(s, "e4m3"), 0, 6, v);
    assert_true(v[0] == 0 && v[1] == 0x1p-9f && v[2] == 0x1p-6f && v[3] == 1 && v[4] == -448 && v[5] != v[5]);
    file_tensor_read(safetensors_find(s, "e5m2"), 0, 6, v);
    assert_true(v[0] == 0x1p-16f && v[1] == 0x1p-14f && v[2] == 1 && v[3] == -2 && v[4] == 57344 && v[5] > 1e30f);
    file_tensor_read(safetensors_find(s, "u16"), 0, 1, v);
    file_tensor_read(safetensors_find(s, "u32"), 0, 1, v + 1);
    file_tensor_read(safetensors_find(s, "u64"), 0, 1, v + 2);
    file_tensor_read(safetensors_find(s, "f32"), 0, 1, v + 3);
    assert_true(v[0] == 65535 && v[1] == 0x1p31f && v[2] == 0x1p63f && v[3] == 1);
    static const char *const names[] = {"c64", "f4", "e8m0"}, *const types[] = {"C64", "F4", "F8_E8M0"};
    static const size_t bytes[] = {16, 4, 2};
    for (size_t i = 0; i < COUNT(names); i++) {
        const file_tensor *t = safetensors_find(s, names[i]);
        assert_int_equal(t->type, DTYPE_OTHER);
        assert_string_equal(file_tensor_type_name(t), types[i]);
        assert_int_equal(t->bytes, bytes[i]);
        file_tensor_read(t, 0, 2, v);
        assert_true(v[0] != v[0] && v[1] != v[1]); /* nothing to compute with */
    }
    safetensors_free(s);
}

static void safetensors_survive_any_truncation_and_byte(void **state)
{
    (void)state;
    uint8_t file[1024];
    size_t size = make_safetensors(file, good_header, 8);
    torture(probe_safetensors, file, size, size);
}

static void safetensors_corruptions_are_refused_by_field(void **state)
{
    (void)state;
#define A(shape, offsets) "{\"a\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":" offsets "}}"
#define AB(a, b)                                                                                                       \
    "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" a "},"                                                  \
    "\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" b "}}"
    const struct {
        const char *header;
        size_t bytes;
        const char *message;
    } rows[] = {
        {"", 0, "FILE: header: it does not begin with '{'"},
        {"[]", 0, "FILE: header: it does not begin with '{'"},
        {"{\"a\":", 0, "FILE: header: "},
        {"{}{}", 0, "FILE: header: "},
        {"{}", 1, "FILE: data: 1 bytes belong to no tensor"},
        {"{\"a\":{},\"a\":{}}", 0, "FILE: header: duplicate object key"},
        {"{\"a\":[]}", 0, "FILE: tensor 'a': its entry is not an object"},
        {"{\"\":{}}", 0, "FILE: the name of a tensor: empty"},
        {"{\"a\":{}}", 0, "FILE: tensor 'a': dtype: missing"},
        {"{\"a\":{\"dtype\":\"F8 E4M3\"}}", 0, "FILE: tensor 'a': dtype: F8 E4M3 is no name of a type"},
        {"{\"a\":{\"dtype\":\"\"}}", 0, "FILE: tensor 'a': dtype:  is no name of a type"},
        {"{\"a\":{\"dtype\":\"F32\"}}", 0, "FILE: tensor 'a': shape: missing"},
        {A("[1,1,1,1,1,1]", "[0,4]"), 4, "FILE: tensor 'a': shape: 6 dimensions"},
        {A("[1.5]", "[0,4]"), 4, "FILE: tensor 'a': shape: size 0 is not an integer"},
        {A("[-1]", "[0,4]"), 4, "FILE: tensor 'a': shape: [-1] has a negative size"},
        {A("[4294967296,4294967296]", "[0,4]"), 4, "FILE: tensor 'a': shape: the product of"},
        {A("[0,4294967296,4294967296]", "[0,0]"), 0, "FILE: tensor 'a': shape: the product of"},
        {A("[4611686018427387904]", "[0,4]"), 4, "FILE: tensor 'a': shape: the bytes of"},
        {A("[99999999999999999999]", "[0,4]"), 4, "FILE: header: too big integer"},
        {A("[1]", "[0]"), 4, "FILE: tensor 'a': data_offsets: missing"},
        {A("[1]", "[0,\"4\"]"), 4, "FILE: tensor 'a': data_offsets: missing"},
        {A("[1]", "[-4,0]"), 4, "FILE: tensor 'a': data_offsets: [-4, 0] is not inside"},
        {A("[1]", "[4,0]"), 4, "FILE: tensor 'a': data_offsets: [4, 0] is not inside"},
        {A("[1]", "[0,8]"), 4, "FILE: tensor 'a': data_offsets: [0, 8] is not inside"},
        {A("[2]", "[0,4]"), 4, "FILE: tensor 'a': data_offsets: 4 bytes, where dtype and shape need 8"},
        {AB("[0,4]", "[2,6]"), 6, "FILE: tensor 'b': data_offsets: it overlaps 'a'"},
        {AB("[0,4]", "[0,4]"), 4, "FILE: tensor 'b': data_offsets: it overlaps 'a'"},
        {AB("[0,4]", "[5,9]"), 9, "FILE: tensor 'b': data_offsets: a gap of 1 bytes"},
        {AB("[1,5]", "[5,9]"), 9, "FILE: tensor 'a': data_offsets: a gap of 1 bytes"},
        {"{\"__metadata__\":[]}", 0, "FILE: __metadata__: not an object"},
        {"{\"__metadata__\":{\"k\":1}}", 0, "FILE: __metadata__: the value of 'k' is not a string"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t file[1024];
        err e = {0};
        size_t size = make_safetensors(file, rows[i].header, rows[i].bytes);
        assert_null(safetensors_open(file, size, "FILE", &e));
        assert_message(&e, rows[i].message);
    }
    const uint8_t long_header[10] = {3, 0, 0, 0, 0, 0, 0, 0, '{', '}'}, huge[10] = {0, 0, 0, 0, 0, 0, 0, 1};
    err e = {0};
    assert_null(safetensors_open(long_header, 10, "FILE", &e));
    assert_message(&e, "FILE: header length: 3 is more than the 2 bytes that follow");
    e = (err){0};
    assert_null(safetensors_open(huge, 10, "FILE", &e));
    assert_message(&e, "FILE: header length: 72057594037927936 is above the format's limit");
}

/* ---- npy ------------------------------------------------------------------------------------------------------- */

static size_t make_npy(uint8_t *out, int version, const char *dict, const void *data, size_t bytes)
{
    size_t prefix = version == 1 ? 10 : 12, n = strlen(dict);
    memcpy(out, "\x93NUMPY\0\0\0\0\0", 12);
    out[6] = (uint8_t)version;
    out[8] = (uint8_t)n;
    memcpy(out + prefix, dict, n + 1);
    memcpy(out + prefix + n, data, bytes);
    return prefix + n + bytes;
}

#define DICT(descr, shape) "{'descr': " descr ", 'fortran_order': False, 'shape': " shape ", }   \n"

static void npy_written_is_read_back(void **state)
{
    (void)state;
    const float floats[6] = {0, 1, -2, 0.5f, INFINITY, 6};
    const int32_t ints[6] = {0, 1, -2, INT32_MAX, INT32_MIN, 6};
    const int64_t shape[4] = {1, 2, 3, 1};
    for (int nd = 2; nd <= 4; nd++)
        for (int t = 0; t < 2; t++) {
            npy a;
            err e = {0};
            const void *data = t ? (const void *)ints : floats;
            assert_true(npy_write(path(), t ? DTYPE_I32 : DTYPE_F32, nd, shape, data, &e));
            assert_true(npy_read(&a, path(), t ? DTYPE_I32 : DTYPE_F32, &e));
            assert_int_equal(a.nd, nd);
            assert_int_equal(a.count, nd == 2 ? 2 : 6);
            assert_memory_equal(a.shape, shape, (size_t)nd * sizeof *shape);
            assert_memory_equal(a.data, data, (size_t)a.count * 4);
            npy_release(&a);
            npy_release(&a);
        }
    file_map m;
    assert_true(file_map_open(&m, path(), NULL));
    assert_int_equal(m.size, 128 + 24); /* as NumPy writes it: elements at a multiple of 64 */
    file_map_release(&m);
    unlink(path());
}

static void npy_of_every_readable_type_is_converted(void **state)
{
    (void)state;
    const struct {
        int version;
        dtype want;
        const char *dict;
        const char *data;
        size_t bytes;
        double value;
    } rows[] = {
        {1, DTYPE_F32, DICT("'<f4'", "(1,)"), "\0\0\xc0\x3f", 4, 1.5},
        {2, DTYPE_F32, DICT("'<f8'", "(1,)"), "\0\0\0\0\0\0\xf8\x3f", 8, 1.5},
        {3, DTYPE_F32, DICT("\"<f2\"", "()"), "\x00\x3e", 2, 1.5},
        {1, DTYPE_I32, DICT("'|i1'", "(1, 1)"), "\xfe", 1, -2},
        {1, DTYPE_I32, DICT("'|u1'", "(1)"), "\xfe", 1, 254},
        {1, DTYPE_I32, DICT("'|b1'", "(1,)"), "\x01", 1, 1},
        {1, DTYPE_I32, DICT("'<i2'", "(1,)"), "\xfe\xff", 2, -2},
        {1, DTYPE_I32, DICT("'<u2'", "(1,)"), "\xfe\xff", 2, 65534},
        {1, DTYPE_I32, DICT("'<i4'", "(1,)"), "\xfe\xff\xff\xff", 4, -2},
        {1, DTYPE_I32, DICT("'<u4'", "(1,)"), "\xfe\0\0\0", 4, 254},
        {1, DTYPE_I32, DICT("'<i8'", "(1,)"), "\xfe\xff\xff\xff\xff\xff\xff\xff", 8, -2},
        {1, DTYPE_I32, DICT("'<u8'", "(1,)"), "\xfe\0\0\0\0\0\0\0", 8, 254},
        {1, DTYPE_I32, "{'shape':(1,),'fortran_order':True,'descr':'<i4'}", "\2\0\0\0", 4, 2},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t file[256];
        npy a;
        err e = {0};
        write_file(file, make_npy(file, rows[i].version, rows[i].dict, rows[i].data, rows[i].bytes));
        assert_true(npy_read(&a, path(), rows[i].want, &e));
        assert_true(a.type == rows[i].want && a.count == 1);
        double v = a.type == DTYPE_F32 ? *(float *)a.data : *(int32_t *)a.data;
        assert_true(v == rows[i].value);
        npy_release(&a);
    }
    unlink(path());
}

static void npy_corruptions_are_refused_by_field(void **state)
{
    (void)state;
    const struct {
        const char *dict;
        size_t bytes;
        dtype want;
        const char *message;
    } rows[] = {
        {"", 0, DTYPE_F32, "file: header: not a dict"},
        {"{", 0, DTYPE_F32, "file: header: a key and ':'"},
        {"{}", 0, DTYPE_F32, "file: header: key 'descr' is missing"},
        {"{'descr': '<f4', 'shape': (1,)}", 4, DTYPE_F32, "file: header: key 'fortran_order' is missing"},
        {"{'descr': '<f4', 'descr': '<f4'}", 4, DTYPE_F32, "file: header: key 'descr' occurs twice"},
        {"{'other': 1}", 4, DTYPE_F32, "file: header: unknown key 'other'"},
        {"{'descr': '<f4' 'shape': (1,)}", 4, DTYPE_F32, "file: header: ',' or '}' is wanted after the value of"},
        {DICT("'<f4'", "(1,)") "x", 4, DTYPE_F32, "file: header: text after the dict"},
        {DICT("'>f4'", "(1,)"), 4, DTYPE_F32, "file: descr: >f4 is big-endian"},
        {DICT("'|O'", "(1,)"), 8, DTYPE_F32, "file: descr: |O is not supported"},
        {DICT("'<c8'", "(1,)"), 8, DTYPE_F32, "file: descr: <c8 is not supported"},
        {DICT("[('x', '<f4')]", "(1,)"), 4, DTYPE_F32, "file: descr: not a string"},
        {DICT("'<f4'", "(1,)"), 4, DTYPE_I32, "file: descr: floats, where integers are wanted"},
        {DICT("'<i4'", "(1,)"), 4, DTYPE_F32, "file: descr: integers, where floats are wanted"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1)}", 4, DTYPE_F32, "file: fortran_order: column-major"},
        {"{'descr': '<f4', 'fortran_order': 1, 'shape': (1, 1)}", 4, DTYPE_F32, "file: fortran_order: neither"},
        {DICT("'<f4'", "1"), 4, DTYPE_F32, "file: shape: not a tuple"},
        {DICT("'<f4'", "(1"), 4, DTYPE_F32, "file: shape: "},
        {DICT("'<f4'", "(-1,)"), 4, DTYPE_F32, "file: shape: size 0 is not a number"},
        {DICT("'<f4'", "(1, 1, 1, 1, 1)"), 4, DTYPE_F32, "file: shape: more than 4 dimensions"},
        {DICT("'<f4'", "(9223372036854775808,)"), 4, DTYPE_F32, "file: shape: size 0 is too large"},
        {DICT("'<f4'", "(4294967296, 4294967296)"), 0, DTYPE_F32, "file: shape: the product of its sizes"},
        {DICT("'<f4'", "(0, 4294967296, 4294967296)"), 0, DTYPE_F32, "file: shape: the product of its sizes"},
        {DICT("'<f4'", "(2,)"), 4, DTYPE_F32, "file: data: 4 bytes, where shape and descr need 8"},
        {DICT("'<f4'", "(2,)"), 12, DTYPE_F32, "file: data: 12 bytes, where shape and descr need 8"},
        {DICT("'<u4'", "(1,)"), 4, DTYPE_I32, "file: data: element 0 is out of the range of int32"},
        {DICT("'<i8'", "(1,)"), 8, DTYPE_I32, "file: data: element 0 is out of the range of int32"},
        {DICT("'<u8'", "(1,)"), 8, DTYPE_I32, "file: data: element 0 is out of the range of int32"},
    };
    const uint8_t data[16] = {0, 0, 0, 0x80, 0, 0, 0, 0x80};
    uint8_t file[256];
    npy a;
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = {0};
        write_file(file, make_npy(file, 1, rows[i].dict, data, rows[i].bytes));
        assert_false(npy_read(&a, path(), rows[i].want, &e));
        assert_message(&e, rows[i].message);
        assert_null(a.data);
    }
    const struct {
        size_t at;
        uint8_t value;
        const char *message;
    } bytes[] = {{0, 0, "file: magic: this is not"},
                 {6, 4, "file: version: 4 is not supported"},
                 {9, 1, "file: header length: "}};
    for (size_t i = 0; i < COUNT(bytes); i++) {
        err e = {0};
        size_t n = make_npy(file, 1, DICT("'<f4'", "(1,)"), data, 4);
        file[bytes[i].at] = bytes[i].value;
        write_file(file, n);
        assert_false(npy_read(&a, path(), DTYPE_F32, &e));
        assert_message(&e, bytes[i].message);
    }
    unlink(path());
}

static bool probe_npy(const uint8_t *data, size_t size)
{
    npy a;
    err e = {0};
    write_file(data, size);
    bool ok = npy_read(&a, path(), DTYPE_F32, &e);
    assert_true(ok ? a.data != NULL : !strncmp(e.text, path(), strlen(path())));
    npy_release(&a);
    return ok;
}

static void npy_survives_any_truncation_and_byte(void **state)
{
    (void)state;
    uint8_t file[256];
    const float data[4] = {1, 2, 3, 4};
    for (int version = 1; version <= 2; version++) {
        size_t n = make_npy(file, version, DICT("'<f4'", "(2, 2)"), data, sizeof data);
        torture(probe_npy, file, n, n);
    }
    unlink(path());
}

/* ---- JSON ------------------------------------------------------------------------------------------------------ */

static json_t *read_json(const char *text, err *e)
{
    char path[] = "/tmp/limn-json-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
    json_t *root = json_file_load(path, 0, NULL, e);
    unlink(path);
    return root;
}

/* Diffusers writes an infinity, transformers a length of 31 digits: neither is JSON, as jansson reads it. */
static void json_of_python_is_read(void **state)
{
    (void)state;
    err e = {0};
    json_t *root =
        read_json("{\"low\": -Infinity, \"n\": [NaN, Infinity, 7], \"most\": 1000000000000000019884624838656,"
                  " \"text\": \"a \\\" NaN, -Infinity\", \"end\": 0.5}",
                  &e);
    assert_non_null(root);
    assert_true(json_is_string(json_object_get(root, "low")) && json_is_string(json_object_get(root, "most")));
    assert_int_equal(json_integer_value(json_array_get(json_object_get(root, "n"), 2)), 7);
    assert_string_equal(json_string_value(json_object_get(root, "text")), "a \" NaN, -Infinity");
    assert_true(json_real_value(json_object_get(root, "end")) > 0.4);
    json_decref(root);
    static const char *const broken[] = {"{\"a\": -Infinity", "{\"a\": Infinit}", "NaN", "\"NaN", ""};
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        e = (err){0};
        root = read_json(broken[i], &e);
        if (root)
            fail_msg("%s is read", broken[i]);
        assert_int_equal(e.code, ERR_FAILED);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(safetensors_are_read_in_the_order_of_their_data),
        cmocka_unit_test(safetensors_of_every_type_are_read),
        cmocka_unit_test(safetensors_survive_any_truncation_and_byte),
        cmocka_unit_test(safetensors_corruptions_are_refused_by_field),
        cmocka_unit_test(npy_written_is_read_back),
        cmocka_unit_test(npy_of_every_readable_type_is_converted),
        cmocka_unit_test(npy_corruptions_are_refused_by_field),
        cmocka_unit_test(npy_survives_any_truncation_and_byte),
        cmocka_unit_test(json_of_python_is_read),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
