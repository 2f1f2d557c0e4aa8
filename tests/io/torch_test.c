/* Tests of src/io: PyTorch's files (tests/data/torch, made by tools/make_golden_torch.py), the zip archives and pickles
 * that they are made of, and files that mean harm. */
#include "io_support.h"

#include "base/file.h"
#include "io/zip.h"
#include "torch_support.h"

/* ---- files made by hand ------------------------------------------------------------------------------------------ */

typedef struct bytes {
    uint8_t data[8192];
    size_t size;
} bytes;

static void put(bytes *b, const void *p, size_t n)
{
    assert_true(n <= sizeof b->data - b->size);
    memcpy(b->data + b->size, p, n);
    b->size += n;
}

static void put_number(bytes *b, uint64_t v, size_t width)
{
    put(b, &v, width);
}

typedef struct member {
    const char *name;
    const void *data;
    size_t size;
} member;

/* A record of the directory (or, local, that before the data), with its sizes and place in zip64's field if asked. */
static void put_header(bytes *b, const member *m, bool local, bool zip64, size_t at)
{
    size_t extra = zip64 && !local ? 28 : 0, size = zip64 && !local ? UINT32_MAX : m->size;
    put(b, local ? "PK\3\4" : "PK\1\2", 4);
    put_number(b, 45, 2);
    if (!local)
        put_number(b, 45, 2);
    put_number(b, 0, 2); /* flags */
    put_number(b, 0, 2); /* stored */
    put_number(b, 0, 8); /* time, date, CRC */
    put_number(b, size, 4);
    put_number(b, size, 4);
    put_number(b, strlen(m->name), 2);
    put_number(b, extra, 2);
    if (!local) {
        put_number(b, 0, 6); /* comment, disk, attributes */
        put_number(b, 0, 4);
        put_number(b, zip64 ? UINT32_MAX : at, 4);
    }
    put(b, m->name, strlen(m->name));
    if (extra) {
        put_number(b, 1, 2);
        put_number(b, 24, 2);
        put_number(b, m->size, 8);
        put_number(b, m->size, 8);
        put_number(b, at, 8);
    }
}

static void put_end(bytes *b, size_t n, size_t at, bool zip64)
{
    size_t size = b->size - at, end = b->size;
    if (zip64) {
        put(b, "PK\6\6", 4);
        put_number(b, 44, 8);
        put_number(b, 45, 2);
        put_number(b, 45, 2);
        put_number(b, 0, 8);
        put_number(b, n, 8);
        put_number(b, n, 8);
        put_number(b, size, 8);
        put_number(b, at, 8);
        put(b, "PK\6\7", 4);
        put_number(b, 0, 4);
        put_number(b, end, 8);
        put_number(b, 1, 4);
    }
    put(b, "PK\5\6", 4);
    put_number(b, 0, 4);
    put_number(b, zip64 ? UINT16_MAX : n, 2);
    put_number(b, zip64 ? UINT16_MAX : n, 2);
    put_number(b, zip64 ? UINT32_MAX : size, 4);
    put_number(b, zip64 ? UINT32_MAX : at, 4);
    put_number(b, 0, 2);
}

/* An archive of stored members. */
static bytes make_zip(const member *m, size_t n, bool zip64)
{
    bytes b = {.size = 0};
    size_t at[8];
    for (size_t i = 0; i < n; i++) {
        at[i] = b.size;
        put_header(&b, &m[i], true, zip64, 0);
        put(&b, m[i].data, m[i].size);
    }
    size_t table = b.size;
    for (size_t i = 0; i < n; i++)
        put_header(&b, &m[i], false, zip64, at[i]);
    put_end(&b, n, table, zip64);
    return b;
}

static const float four[4] = {1, 2, 3, 4};

/* A checkpoint of that pickle, and of a storage "0" of four floats. */
static bytes make_checkpoint(const void *pickled, size_t size)
{
    const member m[] = {{"x/data.pkl", pickled, size}, {"x/data/0", four, sizeof four}};
    return make_zip(m, 2, false);
}

/* The storage "0", and a tensor of it; what `sizes` pushes: size and stride. */
#define STORAGE                                                                                                        \
    "(X\7\0\0\0storagectorch\nFloatStorage\nX\1\0\0\0"                                                                 \
    "0X\3\0\0\0cpuK\4tQ"
#define TENSOR(offset, sizes) "ctorch._utils\n_rebuild_tensor_v2\n(" STORAGE "K" offset sizes "\x89}tR"
#define PLAIN                 TENSOR("\0", "K\4\x85K\1\x85")
#define KEY(c)                "X\1\0\0\0" c

/* ---- what PyTorch writes ----------------------------------------------------------------------------------------- */

typedef struct opened {
    file_map map;
    torch_file *f;
} opened;

static opened open_data(const char *name)
{
    char file[512];
    err e = {0};
    opened o;
    snprintf(file, sizeof file, TEST_DATA "/torch/%s", name);
    if (!file_map_open(&o.map, file, &e) || !(o.f = torch_open(o.map.data, o.map.size, name, &e)))
        fail_msg("%s", e.text);
    assert_true(torch_recognise(o.map.data, o.map.size));
    return o;
}

static void close_data(opened *o)
{
    torch_free(o->f);
    file_map_release(&o->map);
}

/* The tensor has that shape (of nd sizes) and those elements. */
static void assert_tensor(const torch_file *f, const char *name, int nd, const int64_t *shape, const float *elements)
{
    float got[64];
    const file_tensor *t = torch_find(f, name);
    if (!t)
        fail_msg("tensor %s is missing", name);
    assert_int_equal(t->nd, nd);
    for (int i = 0; i < nd; i++)
        assert_int_equal(t->shape[i], shape[i]);
    int64_t n = file_tensor_count(t);
    file_tensor_read(t, 0, n, got);
    for (int64_t i = 0; i < n; i++)
        if (got[i] != elements[i])
            fail_msg("%s[%d] is %g, not %g", name, (int)i, got[i], elements[i]);
    for (int64_t i = 0; i < n; i++) { /* element by element, and the rest after each */
        file_tensor_read(t, i, 1, got);
        assert_true(got[0] == elements[i]);
        file_tensor_read(t, i, n - i, got);
        assert_true(got[n - i - 1] == elements[n - 1]);
    }
}

#define SHAPE(...)                                                                                                     \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / 8), (const int64_t[])                                                     \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }
#define ELEMENTS(...)                                                                                                  \
    (const float[])                                                                                                    \
    {                                                                                                                  \
        __VA_ARGS__                                                                                                    \
    }

static void every_type_is_read(void **state)
{
    (void)state;
    static const char *const files[] = {"types.pt", "types_protocol4.pt", "types_legacy.pt"};
    static const dtype types[] = {DTYPE_F32, DTYPE_F16, DTYPE_BF16, DTYPE_F64, DTYPE_I64,
                                  DTYPE_I32, DTYPE_I16, DTYPE_I8,   DTYPE_U8,  DTYPE_BOOL};
    for (size_t i = 0; i < COUNT(files); i++) {
        opened o = open_data(files[i]);
        assert_int_equal(torch_count(o.f), COUNT(types) + 2);
        for (size_t k = 0; k < COUNT(types); k++) {
            const char *name = dtype_table[types[k]].name;
            const float *values = types[k] == DTYPE_BOOL ? ELEMENTS(0, 1, 1, 1, 1, 1) : ELEMENTS(0, 1, 2, 3, 4, 5);
            assert_tensor(o.f, name, SHAPE(2, 3), values);
            assert_int_equal(torch_find(o.f, name)->type, types[k]);
            assert_int_equal(torch_find(o.f, name)->bytes, 6 * dtype_table[types[k]].bytes);
            assert_ptr_equal(torch_find(o.f, name), torch_tensor(o.f, k)); /* in the order of the dict */
        }
        assert_tensor(o.f, "scalar", 0, NULL, ELEMENTS(7));
        assert_tensor(o.f, "empty", SHAPE(0, 3), NULL);
        assert_null(torch_find(o.f, "none"));
        close_data(&o);
    }
}

static void views_keep_strides_offsets_and_storage(void **state)
{
    (void)state;
    static const char *const files[] = {"views.pt", "views_legacy.pt"};
    float base[24], transposed[24], permuted[24];
    for (int i = 0; i < 24; i++) {
        base[i] = (float)i;
        transposed[i] = (float)(i % 4 * 6 + i / 4);
        permuted[i] = (float)(i / 6 + i % 6 * 4);
    }
    for (size_t i = 0; i < COUNT(files); i++) {
        opened o = open_data(files[i]);
        assert_tensor(o.f, "base", SHAPE(24), base);
        assert_tensor(o.f, "transposed", SHAPE(6, 4), transposed);
        assert_tensor(o.f, "offset", SHAPE(6), base + 5);
        assert_tensor(o.f, "sliced", SHAPE(2, 2, 2), ELEMENTS(4, 6, 8, 10, 16, 18, 20, 22));
        assert_tensor(o.f, "expanded", SHAPE(2, 3), ELEMENTS(3, 3, 3, 3, 3, 3));
        assert_tensor(o.f, "permuted", SHAPE(4, 2, 3), permuted);
        assert_false(file_tensor_contiguous(torch_find(o.f, "transposed")));
        assert_true(file_tensor_contiguous(torch_find(o.f, "offset")));
        file_tensor back = file_tensor_permuted(torch_find(o.f, "permuted"), (int[]){1, 2, 0});
        assert_true(file_tensor_contiguous(&back));
        assert_ptr_equal(back.data, torch_find(o.f, "base")->data); /* shared, not copied */
        close_data(&o);
    }
}

static void assert_number(const pickle_value *v, double want)
{
    double got;
    assert_true(pickle_number(v, &got));
    assert_true(got == want);
}

static void hyper_parameters_can_be_walked(void **state)
{
    (void)state;
    static const char *const files[] = {"nested.pt", "nested_deflated.pt"};
    for (size_t i = 0; i < COUNT(files); i++) {
        opened o = open_data(files[i]);
        const pickle_value *h = pickle_get(torch_root(o.f), "hparams");
        int64_t integer = 0;
        size_t n = 0;
        bool truth = false;
        assert_true(pickle_int(pickle_get(h, "dim"), &integer) && integer == 48);
        assert_true(pickle_int(pickle_get(h, "big"), &integer) && integer == (int64_t)1 << 40);
        assert_true(pickle_int(pickle_get(h, "negative"), &integer) && integer == -5);
        assert_number(pickle_get(h, "rate"), 0.25);
        assert_string_equal(pickle_text(pickle_get(h, "name")), "an \xc3\xa9");
        assert_true(pickle_truth(pickle_get(h, "on"), &truth) && truth);
        assert_int_equal(pickle_get(h, "nothing")->kind, PICKLE_NONE);
        assert_true(pickle_length(pickle_get(h, "list"), &n) && n == 3);
        assert_number(pickle_at(pickle_get(h, "list"), 2), 3);
        assert_string_equal(pickle_text(pickle_at(pickle_get(h, "tuple"), 1)), "axial");
        assert_int_equal(pickle_get(h, "set")->kind, PICKLE_SET);
        assert_number(pickle_at(pickle_get(h, "set"), 0), 4);
        assert_number(pickle_get(h, "np_float"), 0.5);
        assert_number(pickle_get(h, "np_single"), 0.75);
        assert_true(pickle_int(pickle_get(h, "np_int"), &integer) && integer == -7);
        truth = false;
        assert_true(pickle_truth(pickle_get(h, "np_bool"), &truth) && truth);
        assert_null(pickle_get(h, "none of these"));
        assert_null(pickle_get(pickle_get(h, "none of these"), "dim"));
        assert_false(pickle_int(pickle_get(h, "name"), &integer) || pickle_truth(h, &truth));
        char *text = pickle_to_text(pickle_get(h, "tuple"));
        assert_string_equal(text, "('full', 'axial')");
        free(text);

        assert_int_equal(torch_count(o.f), 2); /* the weights; not what the optimiser keeps */
        assert_tensor(o.f, "a", SHAPE(3), ELEMENTS(0, 1, 2));
        assert_tensor(o.f, "b", SHAPE(2, 2), ELEMENTS(0, 1, 2, 3));
        close_data(&o);
    }
}

static void modules_give_their_parameters(void **state)
{
    (void)state;
    static const char *const files[] = {"module.pt", "script.pt"};
    for (size_t i = 0; i < COUNT(files); i++) {
        opened o = open_data(files[i]);
        assert_int_equal(torch_count(o.f), i ? 5 : 4); /* a script doesn't tell which buffers aren't kept */
        assert_tensor(o.f, "first.w", SHAPE(2, 2), ELEMENTS(0, 1, 2, 3));
        assert_tensor(o.f, "first.kept", SHAPE(2), ELEMENTS(0, 1));
        assert_tensor(o.f, "last.weight", SHAPE(3, 2), ELEMENTS(0, 1, 2, 3, 4, 5));
        assert_tensor(o.f, "last.bias", SHAPE(3), ELEMENTS(0, 1, 2));
        if (!i) {
            const pickle_value *first = pickle_get(pickle_get(torch_root(o.f), "_modules"), "first");
            assert_true(pickle_is(first, "published.Block"));
        }
        close_data(&o);
    }
}

/* ---- archives ---------------------------------------------------------------------------------------------------- */

static void zip64_is_read(void **state)
{
    (void)state;
    static const char pickled[] = "}" KEY("a") PLAIN "s.";
    const member m[] = {{"x/data.pkl", pickled, sizeof pickled - 1}, {"x/data/0", four, sizeof four}};
    bytes b = make_zip(m, 2, true);
    err e = {0};
    torch_file *f = torch_open(b.data, b.size, "FILE", &e);
    if (!f)
        fail_msg("%s", e.text);
    assert_tensor(f, "a", SHAPE(4), four);
    torch_free(f);
}

/* A file of over 4 GiB, most of it a hole, with what matters behind. */
static void files_over_4_gib_are_read(void **state)
{
    (void)state;
    const uint64_t hole = (uint64_t)5 << 30;
    static const char pickled[] = "}" KEY("a") PLAIN "s.";
    const member m[] = {
        {"x/data.pkl", pickled, sizeof pickled - 1}, {"x/data/0", four, sizeof four}, {"x/data/1", NULL, 0}};
    bytes head = {.size = 0}, tail = {.size = 0};
    uint64_t at[3];
    put_header(&head, &m[2], true, true, 0);
    at[2] = 0;
    for (int i = 0; i < 2; i++) {
        at[i] = hole + tail.size;
        put_header(&tail, &m[i], true, true, 0);
        put(&tail, m[i].data, m[i].size);
    }
    size_t table = tail.size;
    for (int i = 0; i < 3; i++)
        put_header(&tail, &(member){m[i].name, NULL, i == 2 ? hole - head.size : m[i].size}, false, true, at[i]);
    put_end(&tail, 3, table, true);
    /* the directory's place, and that of its end, are behind the hole */
    uint64_t places[2] = {hole + table, hole + tail.size - 22 - 20 - 56};
    memcpy(tail.data + tail.size - 22 - 20 - 8, &places[0], 8);
    memcpy(tail.data + tail.size - 22 - 12, &places[1], 8);

    FILE *out = fopen(path(), "wb");
    assert_non_null(out);
    assert_int_equal(fwrite(head.data, 1, head.size, out), head.size);
    bool made = !fseeko(out, (off_t)hole, SEEK_SET) && fwrite(tail.data, 1, tail.size, out) == tail.size;
    made = !fclose(out) && made;
    if (made) {
        err e = {0};
        file_map map;
        assert_true(file_map_open(&map, path(), &e));
        assert_true(map.size > UINT32_MAX);
        torch_file *f = torch_open(map.data, map.size, "FILE", &e);
        if (!f)
            fail_msg("%s", e.text);
        assert_tensor(f, "a", SHAPE(4), four);
        torch_free(f);
        file_map_release(&map);
    }
    unlink(path());
    if (!made)
        skip(); /* a file system without large files */
}

static void bad_archives_are_refused(void **state)
{
    (void)state;
    static const char pickled[] = "}" KEY("a") PLAIN "s.";
    const size_t size = sizeof pickled - 1;
    const struct {
        member members[2];
        const char *message;
    } rows[] = {
        {{{"x/data.pkl", pickled, size}, {"x/data/1", four, 16}}, "FILE: storage '0': it is not in the file"},
        {{{"x/data.pkl", pickled, size}, {"x/data/0", four, 12}}, "FILE: tensor 'a': storage '0' has 12 bytes"},
        {{{"x/data.pkl", pickled, size}, {"x/data.pkl", four, 12}}, "FILE: zip: entry 'x/data.pkl': it occurs twice"},
        {{{"x/data.pkl", pickled, 0}, {"x/data/0", four, 16}}, "FILE: data.pkl: byte 0: the pickle ends without STOP"},
        {{{"x/y/data.pkl", pickled, size}, {"x/data/0", four, 16}}, "FILE: zip: there is no data.pkl in it"},
        {{{"data.pkl", pickled, size}, {"byteorder", "big", 3}}, "FILE: byteorder: not \"little\""},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        bytes b = make_zip(rows[i].members, 2, false);
        err e = {0};
        assert_null(torch_open(b.data, b.size, "FILE", &e));
        assert_message(&e, rows[i].message);
    }
    bytes b = make_checkpoint(pickled, size);
    static const struct {
        size_t back; /* from the end */
        uint8_t value;
        const char *message;
    } changes[] = {
        {22, 'X', "FILE: zip: its end record is missing"},
        {22 - 4, 1, "FILE: zip: it is one part of several"},
        {22 - 19, 0xff, "FILE: zip: the directory is outside the file"},
        {22 - 10, 9, "FILE: zip: 9 entries"},
        {22 + 54, 'X', "FILE: zip: record 1 of the directory is broken"},
        {22 + 54 - 8, 1, "FILE: zip: entry 'x/data/0': it is encrypted"},
        {22 + 54 - 10, 12, "FILE: zip: entry 'x/data/0': it is compressed by a method"},
        {22 + 54 - 20, 1, "FILE: zip: entry 'x/data/0': it is stored, but its two sizes differ"},
        {22 + 54 - 44, 0xff, "FILE: zip: entry 'x/data/0': no header where the directory says"},
    };
    for (size_t i = 0; i < COUNT(changes); i++) {
        bytes c = b;
        err e = {0};
        c.data[c.size - changes[i].back] = changes[i].value;
        assert_null(torch_open(c.data, c.size, "FILE", &e));
        assert_message(&e, changes[i].message);
    }
}

/* ---- pickles ----------------------------------------------------------------------------------------------------- */

/* The error of reading a checkpoint of that pickle, or that it has none. */
static void refuse(const void *pickled, size_t size, const char *message)
{
    bytes b = make_checkpoint(pickled, size);
    err e = {0};
    torch_file *f = torch_open(b.data, b.size, "FILE", &e);
    torch_free(f);
    assert_null(f);
    assert_message(&e, message);
}

#define REFUSE(text, message) refuse(text, sizeof(text) - 1, message)

static void broken_pickles_are_refused(void **state)
{
    (void)state;
    REFUSE("\xff.", "FILE: data.pkl: byte 0: opcode 0xff is not known");
    REFUSE("\x80\x06N.", "FILE: data.pkl: byte 0: PROTO: protocol 6 is not known");
    REFUSE(".", "FILE: data.pkl: byte 0: STOP: it takes 1 values from the stack, which has 0");
    REFUSE("N(.", "FILE: data.pkl: byte 2: STOP: it takes 1 values");
    REFUSE("t.", "FILE: data.pkl: byte 0: TUPLE: there is no mark");
    REFUSE("h\0.", "FILE: data.pkl: byte 0: BINGET: nothing is remembered as 0");
    REFUSE("Nr\xff\xff\xff\x7f.", "FILE: data.pkl: byte 1: LONG_BINPUT: index 2147483647 is out of all order");
    REFUSE("X\xff\0\0\0abc", "FILE: data.pkl: byte 0: BINUNICODE: 255 bytes, where 3 follow");
    REFUSE("cos", "FILE: data.pkl: byte 0: GLOBAL: its line has no end");
    REFUSE("K\1K\2K\3s.", "FILE: data.pkl: byte 6: SETITEM: items are set on what is no dict");
    REFUSE("}K\2a.", "FILE: data.pkl: byte 3: APPEND: values are added to what is no list");
    REFUSE("}(K\1u.", "FILE: data.pkl: byte 4: SETITEMS: a key without a value");
    REFUSE("N}b.", "FILE: data.pkl: byte 2: BUILD: a state is given to what is no record");
    REFUSE("N)R.", "FILE: data.pkl: byte 2: REDUCE: what is called is no class");
    REFUSE("K\1K\2\x93.", "FILE: data.pkl: byte 4: STACK_GLOBAL: module and name are not strings");
    REFUSE("I12x\n.", "FILE: data.pkl: byte 0: INT: no integer of 64 bits");
    REFUSE("\x82\1.", "FILE: data.pkl: byte 0: EXT1: what it refers to is outside the file");
    REFUSE("}.", "FILE: it holds no tensors");
}

static void bad_tensors_are_refused(void **state)
{
    (void)state;
#define A(tensor) "}" KEY("a") tensor "s."
    REFUSE(A(TENSOR("\1", "K\4\x85K\1\x85")), "FILE: tensor 'a': it reaches to element 4 of a storage of 4");
    REFUSE(A(TENSOR("\5", "K\0\x85K\1\x85")), "FILE: tensor 'a': its offset is not inside its storage");
    REFUSE(A(TENSOR("\0", "K\2\x85K\4\x85")), "FILE: tensor 'a': it reaches to element 4 of");
    REFUSE(A(TENSOR("\0", "K\4\x85K\1K\1\x86")), "FILE: tensor 'a': 2 strides for 1 dimensions");
    REFUSE(A(TENSOR("\0", "J\xff\xff\xff\xff\x85K\1\x85")), "FILE: tensor 'a': size: entry 0 is not an integer from 0");
    REFUSE(A(TENSOR("\0", "K\1\x85J\xff\xff\xff\xff\x85")), "FILE: tensor 'a': stride: entry 0 is not an integer");
    REFUSE(A(TENSOR("\0", "(K\1K\1K\1K\1K\1K\1tK\1\x85")), "FILE: tensor 'a': size: 6 dimensions");
    REFUSE(A(TENSOR("\0", "\x8a\x08\0\0\0\0\0\0\0\x40\x85K\4\x85")), "FILE: tensor 'a': ");
    REFUSE(A(TENSOR("\0", "\x8a\x08\0\0\0\0\0\0\0\x10\x85\x8a\x08\0\0\0\0\0\0\0\x10\x85")),
           "FILE: tensor 'a': its strides overflow");
    REFUSE(A("ctorch._utils\n_rebuild_tensor_v2\n)R"), "FILE: tensor 'a': its storage is not");
    REFUSE("}" KEY("a") PLAIN "s" KEY("a") PLAIN "s.", "FILE: tensor 'a': name: it occurs twice");
#undef A
}

/* Quantised, complex and sparse ones stop nobody who doesn't need them. */
static void tensors_of_other_kinds_are_told_of(void **state)
{
    (void)state;
#define STORED(class)                                                                                                  \
    "((X\7\0\0\0storagectorch\n" class "\nX\1\0\0\0"                                                                   \
                                       "0NK\4tQK\0K\4\x85K\1\x85tR"
    static const char pickled[] = "}(" KEY("a") PLAIN KEY("b") "ctorch._utils\n_rebuild_tensor\n" STORED("QInt8Storage")
        KEY("c") "ctorch._utils\n_rebuild_tensor\n" STORED("ComplexFloatStorage")
            KEY("d") "ctorch._utils\n_rebuild_qtensor\n" STORED("QInt8Storage")
                KEY("e") "ctorch._utils\n_rebuild_sparse_tensor\n)R" KEY("f") "ctorch._utils\n_rebuild_tensor\n" STORED(
                    "NewStorage") "u.";
    static const char *const types[] = {"QInt8Storage", "ComplexFloatStorage", "qtensor", "sparse_tensor",
                                        "NewStorage"};
    bytes b = make_checkpoint(pickled, sizeof pickled - 1);
    err e = {0};
    torch_file *f = torch_open(b.data, b.size, "FILE", &e);
    if (!f)
        fail_msg("%s", e.text);
    assert_int_equal(torch_count(f), 6);
    assert_tensor(f, "a", SHAPE(4), four);
    for (size_t i = 0; i < COUNT(types); i++) {
        const file_tensor *t = torch_tensor(f, i + 1);
        assert_int_equal(t->type, DTYPE_OTHER);
        assert_string_equal(file_tensor_type_name(t), types[i]);
        assert_int_equal(t->nd, i != 3);
        assert_int_equal(file_tensor_count(t), i == 3 ? 1 : 4);
    }
    torch_free(f);
#undef STORED
}

/* PyTorch before 1.6 gives a module's class with its source; parameters may be of a class of their own. */
static void wrapped_tensors_are_found(void **state)
{
    (void)state;
    static const char pickled[] = "}(" KEY("a") PLAIN                   /* plain */
        KEY("b") "ctorch._utils\n_rebuild_parameter\n(" PLAIN "\x88}tR" /* parameter */
        KEY("c") "ctorch._tensor\n_rebuild_from_type_v2\n(ctorch._utils\n_rebuild_parameter\ncmy\nKind\n(" /* subclass
                                                                                                            */
        PLAIN "\x88}t}tR"                                                                                  /* … */
        KEY("d") "(X\6\0\0\0modulecnet\nNet\nX\1\0\0\0fX\1\0\0\0stQ)\x81}("
                 "X\x0b\0\0\0_parameters}" KEY("w") PLAIN
        "s"
        "X\x08\0\0\0_modules}" KEY("m") "Nsub" KEY("e") "(" PLAIN PLAIN "t" KEY("f") "K\1u.";
    bytes b = make_checkpoint(pickled, sizeof pickled - 1);
    err e = {0};
    torch_file *f = torch_open(b.data, b.size, "FILE", &e);
    if (!f)
        fail_msg("%s", e.text);
    static const char *const names[] = {"a", "b", "c", "d.w", "e.0", "e.1"};
    assert_int_equal(torch_count(f), COUNT(names));
    for (size_t i = 0; i < COUNT(names); i++)
        assert_tensor(f, names[i], SHAPE(4), four);
    torch_free(f);
}

static void trees_without_end_are_refused(void **state)
{
    (void)state;
    REFUSE("}q\0" KEY("a") "h\0s.", "nested in more than 64 others, or in itself"); /* a dict in itself */
    REFUSE("]q\0h\0a.", "nested in more than 64 others, or in itself");
    bytes b = {.size = 0}; /* 60 lists, each twice in the next */
    put(&b, "]q\0", 3);
    for (int i = 1; i < 60; i++) {
        const uint8_t next[] = {']', 'q', (uint8_t)i, '(', 'h', (uint8_t)(i - 1), 'h', (uint8_t)(i - 1), 'e'};
        put(&b, next, sizeof next);
    }
    put(&b, ".", 1);
    refuse(b.data, b.size, "FILE: its pickle refers to the same things too often");
    size_t used;
    err e = {0};
    pickle *p = pickle_read(b.data, b.size, &used, "FILE", &e);
    assert_non_null(p);
    assert_int_equal(used, b.size);
    char *text = pickle_to_text(pickle_root(p)); /* ends, too */
    assert_non_null(text);
    free(text);
    pickle_free(p);
}

/* Every way in which a pickle can call: nothing is run, and the error names what would have been. */
static void nothing_is_run(void **state)
{
    (void)state;
    static const char command[] = "touch /tmp/limn-test-was-called";
#define COMMAND "X\x1f\0\0\0touch /tmp/limn-test-was-called"
    REFUSE("cposix\nsystem\n(" COMMAND "tR.", "FILE: it names posix.system, which would run code");
    REFUSE("cos\nsystem\n(" COMMAND "tR.", "FILE: it names os.system");
    REFUSE("cbuiltins\neval\n(" COMMAND "tR.", "FILE: it names builtins.eval");
    REFUSE("c__builtin__\nexec\n(" COMMAND "tR.", "FILE: it names __builtin__.exec");
    REFUSE("\x80\4\x8c\2os\x8c\6system\x93" COMMAND "\x85R.", "FILE: it names os.system");
    REFUSE("(" COMMAND "iposix\nsystem\n.", "FILE: it names posix.system");
    REFUSE("(cposix\nsystem\n" COMMAND "o.", "FILE: it names posix.system");
    REFUSE("csubprocess\nPopen\n(" COMMAND "t\x81.", "FILE: it names subprocess.Popen");
    REFUSE("csubprocess\nPopen\n(" COMMAND "t}\x92.", "FILE: it names subprocess.Popen");
    REFUSE("cbuiltins\ngetattr\n(cimportlib\nimport_module\nX\1\0\0\0xtR)R.", "FILE: it names importlib.import_module");
    /* beside tensors, in a state, as a key: wherever it is */
    REFUSE("}(" KEY("a") PLAIN KEY("b") "cposix\nsystem\n(" COMMAND "tRu.", "FILE: it names posix.system");
    REFUSE("}" KEY("a") PLAIN "scnet\nNet\n)\x81}" KEY("b") "cposix\nsystem\n(" COMMAND "tRsb0.",
           "FILE: it names posix");
    REFUSE("cmy_module\nSetup\n(" COMMAND "tR.",
           "FILE: it holds no tensors, but a record of class my_module.Setup, which limn does not know");
    assert_int_not_equal(access("/tmp/limn-test-was-called", F_OK), 0);

    /* what a pickle of any class is: a name, arguments and state */
    static const char pickled[] = "cposix\nsystem\n(" COMMAND "tR}" KEY("k") "K\5sb.";
    size_t used;
    int64_t value;
    err e = {0};
    pickle *p = pickle_read(pickled, sizeof pickled - 1, &used, "FILE", &e);
    assert_non_null(p);
    const pickle_value *v = pickle_root(p);
    assert_true(pickle_is(v, "posix.system"));
    assert_string_equal(pickle_text(pickle_at(v->args, 0)), command);
    assert_true(pickle_int(pickle_get(v, "k"), &value) && value == 5);
    pickle_free(p);
#undef COMMAND
}

/* Protocol 0, which is text. */
static void old_protocols_are_read(void **state)
{
    (void)state;
    static const char pickled[] = "(dp0\nS'a\\x41\\n\\''\np1\nI-12\nsVb\\u00e9\np2\nF1.5\nsS\"c\"\nL123L\nsS'd'\nI01\n"
                                  "sS'e'\n(lp3\ng1\nasS'f'\n(I1\nI2\ntp4\nsS'g'\nNsS'h'\n(ip.q\nC\n(dS'x'\nI3\nsbs.";
    size_t used;
    int64_t value;
    bool truth;
    err e = {0};
    pickle *p = pickle_read(pickled, sizeof pickled - 1, &used, "FILE", &e);
    if (!p)
        fail_msg("%s", e.text);
    const pickle_value *root = pickle_root(p);
    assert_true(pickle_int(pickle_get(root, "aA\n'"), &value) && value == -12);
    assert_number(pickle_get(root, "b\xc3\xa9"), 1.5);
    assert_number(pickle_get(root, "c"), 123);
    assert_true(pickle_truth(pickle_get(root, "d"), &truth) && truth);
    assert_string_equal(pickle_text(pickle_at(pickle_get(root, "e"), 0)), "aA\n'");
    assert_number(pickle_at(pickle_get(root, "f"), 1), 2);
    assert_int_equal(pickle_get(root, "g")->kind, PICKLE_NONE);
    assert_true(pickle_is(pickle_get(root, "h"), "p.q.C"));
    assert_number(pickle_get(pickle_get(root, "h"), "x"), 3);
    pickle_free(p);
}

/* ---- damage ------------------------------------------------------------------------------------------------------ */

static void damaged_files_never_crash(void **state)
{
    (void)state;
    static const char *const files[] = {"views.pt", "views_legacy.pt", "nested_deflated.pt", "module.pt"};
    for (size_t i = 0; i < COUNT(files); i++) {
        opened o = open_data(files[i]);
        uint8_t *copy = malloc(o.map.size);
        assert_non_null(copy);
        for (size_t n = 0; n < o.map.size; n++) { /* at the end of a block of memory, for AddressSanitizer */
            uint8_t *end = copy + o.map.size - n;
            memcpy(end, o.map.data, n);
            assert_false(use_torch(end, n));
        }
        torture(use_torch, o.map.data, o.map.size, o.map.size);
        free(copy);
        close_data(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_is_read),
        cmocka_unit_test(views_keep_strides_offsets_and_storage),
        cmocka_unit_test(hyper_parameters_can_be_walked),
        cmocka_unit_test(modules_give_their_parameters),
        cmocka_unit_test(wrapped_tensors_are_found),
        cmocka_unit_test(tensors_of_other_kinds_are_told_of),
        cmocka_unit_test(old_protocols_are_read),
        cmocka_unit_test(zip64_is_read),
        cmocka_unit_test_setup_teardown(files_over_4_gib_are_read, make_directory, remove_directory),
        cmocka_unit_test(bad_archives_are_refused),
        cmocka_unit_test(broken_pickles_are_refused),
        cmocka_unit_test(bad_tensors_are_refused),
        cmocka_unit_test(trees_without_end_are_refused),
        cmocka_unit_test(nothing_is_run),
        cmocka_unit_test(damaged_files_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
