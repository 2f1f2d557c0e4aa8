/* Tests of src/io: GGUF, reader and writer. */
#include "io_support.h"

#include "io/gguf.h"

/* A file made by hand, so that each field's place is known. */
typedef struct sample {
    uint8_t data[1024];
    size_t size;
    size_t string_length, bool_value, array_element, array_length, alignment_value, second_key;
    size_t dimensions, shape, type, offset, second_name, header;
} sample;

static void put_bytes(sample *s, const void *p, size_t n)
{
    memcpy(s->data + s->size, p, n);
    s->size += n;
}

static size_t put_number(sample *s, uint64_t v, size_t width)
{
    put_bytes(s, &v, width);
    return s->size - width;
}

static size_t put_text(sample *s, const char *text)
{
    size_t at = put_number(s, strlen(text), 8);
    put_bytes(s, text, strlen(text));
    return at;
}

static size_t put_key(sample *s, const char *name, uint32_t type)
{
    size_t at = put_text(s, name);
    put_number(s, type, 4);
    return at;
}

static sample gguf_sample(void)
{
    sample s = {0};
    put_bytes(&s, "GGUF", 4);
    put_number(&s, 3, 4);
    put_number(&s, 2, 8); /* tensors */
    put_number(&s, 5, 8); /* keys */
    put_key(&s, "name", 8);
    s.string_length = put_text(&s, "limn");
    s.second_key = put_key(&s, "flag", 7);
    s.bool_value = put_number(&s, 1, 1);
    put_key(&s, "words", 9);
    s.array_element = put_number(&s, 8, 4);
    s.array_length = put_number(&s, 2, 8);
    put_text(&s, "one");
    put_text(&s, "two");
    put_key(&s, "large", 10);
    put_number(&s, UINT64_MAX, 8);
    put_key(&s, "general.alignment", 4);
    s.alignment_value = put_number(&s, 16, 4);
    put_text(&s, "aaaa");
    s.dimensions = put_number(&s, 2, 4);
    s.shape = put_number(&s, 32, 8);
    put_number(&s, 2, 8);
    s.type = put_number(&s, 8, 4);
    s.offset = put_number(&s, 0, 8);
    s.second_name = put_text(&s, "bbbb");
    put_number(&s, 1, 4);
    put_number(&s, 3, 8);
    put_number(&s, 0, 4);
    put_number(&s, 80, 8);
    s.header = s.size;
    s.size = (s.size + 15) / 16 * 16 + 80;
    const float b[3] = {1, 2, 3};
    put_bytes(&s, b, sizeof b);
    return s;
}

static bool probe_gguf(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1); /* its end is guarded by AddressSanitizer */
    memcpy(exact, data, size);
    err e = {0};
    gguf *g = gguf_open(exact, size, "FILE", &e);
    assert_true(g ? e.code == ERR_NONE : !strncmp(e.text, "FILE: ", 6));
    for (size_t i = 0; g && i < gguf_key_count(g); i++) {
        char *text = gguf_key_text(g, i);
        assert_true(gguf_has(g, gguf_key(g, i)) && text && gguf_key_type(g, i));
        free(text);
    }
    for (size_t i = 0; g && i < gguf_tensor_count(g); i++) {
        touch(gguf_tensor(g, i));
        assert_ptr_equal(gguf_find(g, gguf_tensor(g, i)->name), gguf_tensor(g, i));
    }
    gguf_free(g);
    free(exact);
    return g != NULL;
}

static void gguf_of_versions_2_and_3_is_read(void **state)
{
    (void)state;
    sample s = gguf_sample();
    for (uint8_t version = 2; version <= 3; version++) {
        err e = {0};
        const char *text;
        const char *const *words;
        int64_t i;
        bool flag;
        size_t n;
        s.data[4] = version;
        gguf *g = gguf_open(s.data, s.size, "FILE", &e);
        assert_non_null(g);
        assert_string_equal(gguf_name(g), "FILE");
        assert_true(gguf_get_string(g, "name", &text, &e) && !strcmp(text, "limn"));
        assert_true(gguf_get_bool(g, "flag", &flag, &e) && flag);
        assert_true(gguf_get_strings(g, "words", &words, &n, &e) && n == 2 && !strcmp(words[1], "two"));
        assert_true(gguf_get_int(g, "general.alignment", 0, 99, &i, &e) && i == 16);
        const file_tensor *a = gguf_find(g, "aaaa"), *b = gguf_find(g, "bbbb");
        assert_true(a->type == DTYPE_Q8_0 && a->nd == 2 && a->shape[0] == 2 && a->shape[1] == 32 && a->bytes == 68);
        assert_true(b->type == DTYPE_F32 && b->nd == 1 && ((const float *)b->data)[2] == 3);
        assert_null(gguf_find(g, "c"));
        gguf_free(g);
    }
}

static void gguf_getters_refuse_what_is_missing_of_another_kind_or_out_of_range(void **state)
{
    (void)state;
    sample s = gguf_sample();
    gguf *g = gguf_open(s.data, s.size, "FILE", NULL);
    const char *text;
    const char *const *strings;
    const int64_t *ints;
    double d;
    int64_t i;
    size_t n;
    err e = {0};
    assert_false(gguf_get_int(g, "absent", 0, 1, &i, &e));
    assert_message(&e, "FILE: key 'absent': it is missing");
    e = (err){0};
    assert_false(gguf_get_string(g, "words", &text, &e));
    assert_message(&e, "FILE: key 'words': it is of type arr[str], where type string is wanted");
    e = (err){0};
    assert_false(gguf_get_strings(g, "name", &strings, &n, &e) || gguf_get_float(g, "flag", &d, &e));
    assert_message(&e, "where an array of type string is wanted");
    e = (err){0};
    assert_false(gguf_get_ints(g, "words", &ints, &n, &e));
    assert_message(&e, "where an array of type integer is wanted");
    e = (err){0};
    assert_false(gguf_get_int(g, "general.alignment", 32, 64, &i, &e));
    assert_message(&e, "FILE: key 'general.alignment': 16 is outside 32 to 64");
    e = (err){0};
    assert_false(gguf_get_int(g, "large", 0, INT64_MAX, &i, &e));
    assert_message(&e, "FILE: key 'large': an integer above 9223372036854775807");
    gguf_free(g);
}

static void gguf_corruptions_are_refused_by_field(void **state)
{
    (void)state;
    const sample s = gguf_sample();
    const struct {
        size_t at, width;
        uint64_t value;
        const char *message;
    } rows[] = {
        {0, 4, 0, "FILE: magic: this is not"},
        {4, 4, 1, "FILE: version: 1 is not supported"},
        {4, 4, 4, "FILE: version: 4 is not supported"},
        {4, 4, 0x03000000, "FILE: version: the file is big-endian"},
        {8, 8, UINT64_MAX, "FILE: tensor count: 18446744073709551615 cannot be"},
        {8, 8, 40, "FILE: tensor count: 40 cannot be"},
        {16, 8, UINT64_C(1) << 40, "FILE: key count: 1099511627776 cannot be"},
        {16, 8, 4, "FILE: tensor 'general.alignment': shape"},
        {24, 8, 0, "FILE: key 0: name: empty"},
        {24, 8, UINT64_MAX - 3, "FILE: key 0: name: 18446744073709551612 cannot be"},
        {32, 1, 0, "FILE: key 0: name: the string has a NUL inside"},
        {32, 1, 0x1b, "FILE: key 0: name: control characters"},
        {36, 4, 13, "FILE: key 'name': type: 13 is not a GGUF value type"},
        {s.string_length, 8, UINT64_MAX, "FILE: key 'name': value: 18446744073709551615 cannot be"},
        {s.string_length + 8, 1, 0, "FILE: key 'name': value: the string has a NUL inside"},
        {s.second_key + 8, 4, 0x656d616e, "FILE: key 'name': it occurs twice"},
        {s.bool_value, 1, 2, "FILE: key 'flag': value: 2 is not a bool"},
        {s.array_element, 4, 9, "FILE: key 'words': element type: arrays of arrays"},
        {s.array_element, 4, 99, "FILE: key 'words': element type: 99 is not"},
        {s.array_length, 8, UINT64_C(1) << 61, "FILE: key 'words': array length: 2305843009213693952 cannot be"},
        {s.alignment_value, 4, 0, "FILE: key 'general.alignment': 0 is outside"},
        {s.alignment_value, 4, 48, "FILE: key 'general.alignment': 48 is not a power of two"},
        {s.alignment_value, 4, 1 << 20, "FILE: tensor data: the file ends"},
        {s.dimensions, 4, 6, "FILE: tensor 'aaaa': dimensions: 6, but at most 5"},
        {s.shape, 8, UINT64_C(1) << 63, "FILE: tensor 'aaaa': shape: 9223372036854775808 is too large"},
        {s.shape, 8, UINT64_C(1) << 62,
         "FILE: tensor 'aaaa': shape: the product of [2, 4611686018427387904] overflows"},
        {s.shape, 8, UINT64_C(1) << 61, "FILE: tensor 'aaaa': offset: its 4899916394579099648 bytes at 0 reach beyond"},
        {s.shape, 8, 33, "FILE: tensor 'aaaa': shape: rows of [2, 33] are not whole q8_0 blocks of 32"},
        {s.type, 4, 5, "FILE: tensor 'aaaa': type: 5 is not supported"},
        {s.type, 4, UINT32_MAX, "FILE: tensor 'aaaa': type: 4294967295 is not supported"},
        {s.offset, 8, 8, "FILE: tensor 'aaaa': offset: 8 is not a multiple of the alignment, 16"},
        {s.offset, 8, 32, "FILE: tensor 'aaaa': offset: its 68 bytes at 32 reach beyond the 92 bytes"},
        {s.offset, 8, UINT64_MAX - 15, "FILE: tensor 'aaaa': offset: its 68 bytes at 18446744073709551600 reach"},
        {s.second_name + 8, 4, 0x61616161, "FILE: tensor 'aaaa': name: it occurs twice"},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        sample bad = s;
        err e = {0};
        memcpy(bad.data + rows[i].at, &rows[i].value, rows[i].width);
        assert_null(gguf_open(bad.data, bad.size, "FILE", &e));
        assert_message(&e, rows[i].message);
    }
}

/* At the end of what fits. */
static void largest_sizes_are_measured(void **state)
{
    (void)state;
    err e = {0};
    file_tensor t = {.name = "t", .type = DTYPE_I8, .nd = 1, .shape = {INT64_MAX}};
    assert_true(file_tensor_measure(&t, "FILE", &e));
    assert_true(t.bytes == INT64_MAX);
    t.type = DTYPE_F16;
    assert_false(file_tensor_measure(&t, "FILE", &e));
    assert_message(&e, "FILE: tensor 't': shape: the bytes of [9223372036854775807] overflow");
    t.shape[0] /= 2;
    assert_true(file_tensor_measure(&t, "FILE", &e));
    assert_true(t.bytes == INT64_MAX - 1);
}

static void gguf_survives_any_truncation_and_byte(void **state)
{
    (void)state;
    sample s = gguf_sample();
    torture(probe_gguf, s.data, s.size, s.header);
}

static void check_keys(const gguf *g)
{
    const char *const expected[][3] = {{"general.architecture", "str", "limn"},
                                       {"int", "u32", "7"},
                                       {"negative", "i64", "-7"},
                                       {"float", "f32", "0.25"},
                                       {"bool", "bool", "true"},
                                       {"words", "arr[str]", "[\"a\", \"\", \"\xc4\xa0z\"]"},
                                       {"small", "arr[i32]", "[-1, 2]"},
                                       {"large", "arr[i64]", "[-9223372036854775808, 1]"},
                                       {"floats", "arr[f32]", "[0.5, -2]"},
                                       {"none", "arr[i32]", "[]"},
                                       {"general.alignment", "u32", "4096"}};
    assert_int_equal(gguf_key_count(g), COUNT(expected));
    for (size_t i = 0; i < COUNT(expected); i++) {
        char *text = gguf_key_text(g, i);
        assert_string_equal(gguf_key(g, i), expected[i][0]);
        assert_string_equal(gguf_key_type(g, i), expected[i][1]);
        assert_string_equal(text, expected[i][2]);
        free(text);
    }
}

static void gguf_written_is_read_back(void **state)
{
    (void)state;
    const char *const words[] = {"a", "", "\xc4\xa0z"};
    const int64_t small[] = {-1, 2}, large[] = {INT64_MIN, 1}, shape[] = {2, 3, 4}, rows[] = {3, 32};
    const double floats[] = {0.5, -2};
    float data[24], blocks[96] = {1};
    uint8_t q[102];
    for (int i = 0; i < 24; i++)
        data[i] = (float)i;
    dtype_from_float(DTYPE_Q8_0, q, blocks, 96);

    gguf_writer *w = gguf_writer_new(path());
    gguf_put_string(w, "general.architecture", "limn");
    gguf_put_int(w, "int", 7);
    gguf_put_int(w, "negative", -7);
    gguf_put_float(w, "float", 0.25);
    gguf_put_bool(w, "bool", true);
    gguf_put_strings(w, "words", words, 3);
    gguf_put_ints(w, "small", small, 2);
    gguf_put_ints(w, "large", large, 2);
    gguf_put_floats(w, "floats", floats, 2);
    gguf_put_ints(w, "none", NULL, 0);
    gguf_add_tensor(w, "empty", DTYPE_F16, 1, &(int64_t){0});
    gguf_add_tensor(w, "f32", DTYPE_F32, 3, shape);
    gguf_add_tensor(w, "q8", DTYPE_Q8_0, 2, rows);
    gguf_add_tensor(w, "scalar", DTYPE_I32, 0, NULL);
    gguf_add_tensor(w, "bytes", DTYPE_U8, 1, &(int64_t){2});
    gguf_begin_data(w);
    gguf_write_data(w, data, 40);
    gguf_write_data(w, data + 10, 56);
    gguf_write_data(w, q, sizeof q);
    gguf_write_data(w, &(int32_t){5}, 4);
    gguf_write_data(w, "\x01\xff", 2);
    err e = {0};
    assert_true(gguf_writer_commit(w, &e));
    gguf_writer_free(w);

    file_map m;
    assert_true(file_map_open(&m, path(), &e));
    assert_int_equal(m.size % 4096, 0);
    gguf *g = gguf_open(m.data, m.size, path(), &e);
    assert_non_null(g);
    check_keys(g);
    const int64_t *ints;
    const double *reals;
    size_t n;
    assert_true(gguf_get_ints(g, "large", &ints, &n, &e) && n == 2 && ints[0] == INT64_MIN);
    assert_true(gguf_get_floats(g, "floats", &reals, &n, &e) && n == 2 && reals[1] == -2);
    assert_int_equal(gguf_tensor_count(g), 5);
    for (size_t i = 0; i < 5; i++)
        assert_int_equal((uintptr_t)gguf_tensor(g, i)->data % 4096, 0);
    const file_tensor *t = gguf_find(g, "f32");
    char text[128];
    file_tensor_shape_text(t, text);
    assert_string_equal(text, "[2, 3, 4]");
    assert_memory_equal(t->data, data, sizeof data);
    assert_memory_equal(gguf_find(g, "q8")->data, q, sizeof q);
    assert_true(gguf_find(g, "scalar")->nd == 0 && *(const int32_t *)gguf_find(g, "scalar")->data == 5);
    assert_int_equal(gguf_find(g, "bytes")->type, DTYPE_I8);
    gguf_free(g);
    file_map_release(&m);
    unlink(path());
}

static void gguf_keys_are_copied_with_their_types(void **state)
{
    (void)state;
    sample s = gguf_sample();
    err e = {0};
    gguf *from = gguf_open(s.data, s.size, "FILE", &e);
    gguf_writer *w = gguf_writer_new(path());
    for (size_t i = 0; i < gguf_key_count(from); i++)
        gguf_put_copy(w, from, i);
    assert_true(gguf_writer_commit(w, &e));
    gguf_writer_free(w);
    file_map m;
    assert_true(file_map_open(&m, path(), &e));
    gguf *g = gguf_open(m.data, m.size, path(), &e);
    assert_int_equal(gguf_key_count(g), gguf_key_count(from));
    for (size_t i = 0; i < gguf_key_count(g); i++) {
        char *a = gguf_key_text(g, i), *b = gguf_key_text(from, i);
        assert_string_equal(gguf_key(g, i), gguf_key(from, i));
        assert_string_equal(gguf_key_type(g, i), gguf_key_type(from, i));
        assert_string_equal(a, i == 4 ? "4096" : b); /* general.alignment is the writer's */
        free(a);
        free(b);
    }
    gguf_free(g);
    gguf_free(from);
    file_map_release(&m);
    unlink(path());
}

/* What a writer is made to do wrong. */
static void wrong(gguf_writer *w, int what)
{
    const int64_t shape[6] = {2, 31, 1, 1, 1, 1};
    const uint8_t data[512] = {0};
    gguf_put_int(w, "key", 1);
    if (what == 0)
        gguf_put_bool(w, "key", true);
    if (what == 1)
        gguf_put_int(w, "", 1);
    gguf_add_tensor(w, "tensor", DTYPE_F32, 2, shape);
    if (what == 2)
        gguf_add_tensor(w, "tensor", DTYPE_F32, 2, shape);
    if (what == 3)
        gguf_add_tensor(w, "other", DTYPE_F64, 2, shape);
    if (what == 4)
        gguf_add_tensor(w, "other", DTYPE_Q4_0, 2, shape);
    if (what == 5)
        gguf_add_tensor(w, "other", DTYPE_F32, 6, shape);
    gguf_begin_data(w);
    gguf_write_data(w, data, what == 6 ? 247 : what == 7 ? 249 : 248);
    if (what == 8)
        gguf_write_data(w, data, 1);
}

static void gguf_writer_keeps_its_first_error_and_leaves_no_file(void **state)
{
    (void)state;
    const char *const messages[] = {
        "key 'key': it occurs twice",       "key 1: name: empty",
        "tensor 'tensor': name: it occurs", "tensor 'other': type f64",
        "tensor 'other': shape: rows of",   "tensor 'other': type f32 with 6 dimensions",
        "data: only 247 of 248 bytes",      "data: 249 bytes where 248 of 248 remain",
        "tensor data: 1 bytes more",
    };
    for (int what = 0; what < (int)COUNT(messages); what++) {
        err e = {0};
        gguf_writer *w = gguf_writer_new(path());
        wrong(w, what);
        assert_false(gguf_writer_commit(w, &e));
        assert_message(&e, messages[what]);
        assert_message(&e, path());
        assert_int_equal(entries(), 0);
        gguf_writer_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_of_versions_2_and_3_is_read),
        cmocka_unit_test(gguf_getters_refuse_what_is_missing_of_another_kind_or_out_of_range),
        cmocka_unit_test(gguf_corruptions_are_refused_by_field),
        cmocka_unit_test(largest_sizes_are_measured),
        cmocka_unit_test(gguf_survives_any_truncation_and_byte),
        cmocka_unit_test(gguf_written_is_read_back),
        cmocka_unit_test(gguf_keys_are_copied_with_their_types),
        cmocka_unit_test(gguf_writer_keeps_its_first_error_and_leaves_no_file),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
