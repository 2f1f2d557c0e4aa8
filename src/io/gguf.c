/* GGUF reader: one pass over the header at open checks everything; after that every look-up is safe. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/file_kind.h"
#include "io/gguf_format.h"

const gguf_type_info gguf_types[GGUF_TYPES] = {
    [GGUF_U8] = {"u8", "arr[u8]", 1, KIND_INT},          [GGUF_I8] = {"i8", "arr[i8]", 1, KIND_INT},
    [GGUF_U16] = {"u16", "arr[u16]", 2, KIND_INT},       [GGUF_I16] = {"i16", "arr[i16]", 2, KIND_INT},
    [GGUF_U32] = {"u32", "arr[u32]", 4, KIND_INT},       [GGUF_I32] = {"i32", "arr[i32]", 4, KIND_INT},
    [GGUF_F32] = {"f32", "arr[f32]", 4, KIND_FLOAT},     [GGUF_BOOL] = {"bool", "arr[bool]", 1, KIND_BOOL},
    [GGUF_STRING] = {"str", "arr[str]", 8, KIND_STRING}, [GGUF_ARRAY] = {"arr", "arr[arr]", 12, KIND_ARRAY},
    [GGUF_U64] = {"u64", "arr[u64]", 8, KIND_INT},       [GGUF_I64] = {"i64", "arr[i64]", 8, KIND_INT},
    [GGUF_F64] = {"f64", "arr[f64]", 8, KIND_FLOAT},
};

static const struct {
    uint32_t number;
    dtype type;
} tensor_types[] = {{0, DTYPE_F32},  {1, DTYPE_F16},  {2, DTYPE_Q4_0}, {8, DTYPE_Q8_0}, {24, DTYPE_I8},
                    {25, DTYPE_I16}, {26, DTYPE_I32}, {27, DTYPE_I64}, {28, DTYPE_F64}, {30, DTYPE_BF16}};
enum { TENSOR_TYPES = sizeof tensor_types / sizeof *tensor_types };

/* Types of other programs' files: those are told of, and not read.  Blocks of so many elements and bytes. */
static const struct {
    uint32_t number;
    const char *name;
    int block, bytes;
} other_types[] = {
    {3, "q4_1", 32, 20},      {6, "q5_0", 32, 22},      {7, "q5_1", 32, 24},      {9, "q8_1", 32, 36},
    {10, "q2_k", 256, 84},    {11, "q3_k", 256, 110},   {12, "q4_k", 256, 144},   {13, "q5_k", 256, 176},
    {14, "q6_k", 256, 210},   {15, "q8_k", 256, 292},   {16, "iq2_xxs", 256, 66}, {17, "iq2_xs", 256, 74},
    {18, "iq3_xxs", 256, 98}, {19, "iq1_s", 256, 50},   {20, "iq4_nl", 32, 18},   {21, "iq3_s", 256, 110},
    {22, "iq2_s", 256, 82},   {23, "iq4_xs", 256, 136}, {29, "iq1_m", 256, 56},   {34, "tq1_0", 256, 54},
    {35, "tq2_0", 256, 66},   {39, "mxfp4", 32, 17}};

/* The least bytes that a key (name length, type, value) and a tensor (name length, rank, type, offset) take. */
enum { KEY_BYTES = 8 + 4 + 1, TENSOR_BYTES = 8 + 4 + 4 + 8 };

/* ---- the cursor: every byte of the header is taken through it -------------------------------------------------- */

typedef struct cursor {
    const uint8_t *data;
    size_t size, at;
    const char *file;
    char field[192]; /* what is being read, for messages */
    err *e;
} cursor;

__attribute__((format(printf, 2, 3))) static void set_field(cursor *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->field, sizeof c->field, fmt, ap);
    va_end(ap);
}

/* "FILE: FIELD: reason".  Returns false. */
__attribute__((format(printf, 2, 3))) static bool fail(cursor *c, const char *fmt, ...)
{
    char reason[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return err_set(c->e, ERR_FAILED, "%s: %s: %s", c->file, c->field, reason);
}

static size_t remaining(const cursor *c)
{
    return c->size - c->at;
}

/* The next bytes, or NULL where the file ends before them. */
static const uint8_t *take(cursor *c, size_t bytes)
{
    if (bytes > remaining(c)) {
        fail(c, "the file ends at byte %zu, %zu more are needed at %zu (is it incomplete?)", c->size, bytes, c->at);
        return NULL;
    }
    const uint8_t *p = c->data + c->at;
    c->at += bytes;
    return p;
}

static bool take_u32(cursor *c, uint32_t *v)
{
    const uint8_t *p = take(c, sizeof *v);
    if (p)
        memcpy(v, p, sizeof *v);
    return p != NULL;
}

static bool take_u64(cursor *c, uint64_t *v)
{
    const uint8_t *p = take(c, sizeof *v);
    if (p)
        memcpy(v, p, sizeof *v);
    return p != NULL;
}

/* A count whose elements take at least `least` bytes each, so that what is allocated for them is in proportion to the
 * file. */
static bool take_count(cursor *c, size_t least, size_t *n)
{
    uint64_t v;
    *n = 0;
    if (!take_u64(c, &v))
        return false;
    if (v > remaining(c) / least)
        return fail(c, "%" PRIu64 " cannot be in the %zu bytes that remain", v, remaining(c));
    *n = (size_t)v;
    return true;
}

static bool take_string(cursor *c, const char **s, size_t *length)
{
    if (!take_count(c, 1, length))
        return false;
    *s = (const char *)take(c, *length);
    if (memchr(*s, 0, *length))
        return fail(c, "the string has a NUL inside");
    return true;
}

/* A name as a new string. */
static char *take_name(cursor *c)
{
    const char *s;
    size_t length;
    if (!take_string(c, &s, &length))
        return NULL;
    char *name = malloc(length + 1);
    if (!name) {
        err_no_memory(c->e, c->file, length + 1);
        return NULL;
    }
    memcpy(name, s, length);
    name[length] = 0;
    if (!file_tensor_name_valid(name)) {
        fail(c, "%s", *name ? "control characters" : "empty");
        free(name);
        return NULL;
    }
    return name;
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

static void *allocate(cursor *c, size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);
    if (!p)
        err_no_memory(c->e, c->file, bytes);
    return p;
}

static bool load_strings(cursor *c, gguf_entry *k)
{
    const char *s;
    size_t start = c->at, length, text = 0, n = k->n;
    for (size_t i = 0; i < n; i++) {
        if (!take_string(c, &s, &length))
            return false;
        text += length + 1;
    }
    k->u.any = allocate(c, n * sizeof(char *) + text);
    if (!k->u.any)
        return false;
    char *out = (char *)(k->u.strings + n);
    c->at = start;
    for (size_t i = 0; i < n; i++) {
        take_string(c, &s, &length);
        k->u.strings[i] = out;
        memcpy(out, s, length);
        out[length] = 0;
        out += length + 1;
    }
    return true;
}

#define LOAD(type)                                                                                                     \
    {                                                                                                                  \
        type v;                                                                                                        \
        memcpy(&v, p, sizeof v);                                                                                       \
        return (int64_t)v;                                                                                             \
    }
/* A u64 above INT64_MAX comes out negative. */
static int64_t load_int(gguf_type t, const uint8_t *p)
{
    switch (t) {
    case GGUF_I8:
        LOAD(int8_t)
    case GGUF_U16:
        LOAD(uint16_t)
    case GGUF_I16:
        LOAD(int16_t)
    case GGUF_U32:
        LOAD(uint32_t)
    case GGUF_I32:
        LOAD(int32_t)
    case GGUF_U64:
    case GGUF_I64:
        LOAD(int64_t)
    default: /* u8, bool */
        LOAD(uint8_t)
    }
}
#undef LOAD

static double load_float(gguf_type t, const uint8_t *p)
{
    float f;
    double d;
    if (t == GGUF_F64) {
        memcpy(&d, p, sizeof d);
        return d;
    }
    memcpy(&f, p, sizeof f);
    return f;
}

static bool load_numbers(cursor *c, gguf_entry *k)
{
    gguf_type t = k->element;
    size_t width = gguf_types[t].bytes, n = k->n;
    const uint8_t *p = take(c, n * width); /* fits: take_count has bounded n */
    if (!p || !(k->u.any = allocate(c, n * sizeof(int64_t))))
        return false;
    for (size_t i = 0; i < n; i++, p += width) {
        if (gguf_types[t].kind == KIND_FLOAT) {
            k->u.floats[i] = load_float(t, p);
            continue;
        }
        k->u.ints[i] = load_int(t, p);
        k->too_large |= t == GGUF_U64 && k->u.ints[i] < 0;
        if (t == GGUF_BOOL && *p > 1)
            return fail(c, "%d is not a bool", *p);
    }
    return true;
}

static bool read_type(cursor *c, gguf_type *t)
{
    uint32_t v;
    if (!take_u32(c, &v))
        return false;
    if (v >= GGUF_TYPES)
        return fail(c, "%" PRIu32 " is not a GGUF value type", v);
    *t = (gguf_type)v;
    return true;
}

static bool read_key(cursor *c, gguf_entry *k, size_t i)
{
    set_field(c, "key %zu: name", i);
    if (!(k->name = take_name(c)))
        return false;
    set_field(c, "key '%.100s': type", k->name);
    if (!read_type(c, &k->element))
        return false;
    k->n = 1;
    k->array = k->element == GGUF_ARRAY;
    if (k->array) {
        set_field(c, "key '%.100s': element type", k->name);
        if (!read_type(c, &k->element))
            return false;
        if (k->element == GGUF_ARRAY)
            return fail(c, "arrays of arrays are not supported");
        set_field(c, "key '%.100s': array length", k->name);
        if (!take_count(c, gguf_types[k->element].bytes, &k->n))
            return false;
    }
    set_field(c, "key '%.100s': value", k->name);
    size_t start = c->at;
    if (!(k->element == GGUF_STRING ? load_strings(c, k) : load_numbers(c, k)))
        return false;
    k->raw = c->data + start;
    k->raw_bytes = c->at - start;
    return true;
}

int gguf_compare_entries(const void *a, const void *b)
{
    return strcmp((*(const gguf_entry *const *)a)->name, (*(const gguf_entry *const *)b)->name);
}

static bool read_keys(gguf *g, cursor *c, size_t n)
{
    g->keys = calloc(n ? n : 1, sizeof *g->keys);
    g->key_index = calloc(n ? n : 1, sizeof(gguf_entry *));
    if (!g->keys || !g->key_index)
        return err_no_memory(c->e, c->file, (unsigned long long)n * (sizeof *g->keys + sizeof(gguf_entry *)));
    g->n_keys = n; /* those not read yet are empty */
    for (size_t i = 0; i < n; i++)
        if (!read_key(c, &g->keys[i], i))
            return false;
    for (size_t i = 0; i < n; i++)
        g->key_index[i] = &g->keys[i];
    qsort(g->key_index, n, sizeof(gguf_entry *), gguf_compare_entries);
    for (size_t i = 1; i < n; i++)
        if (!strcmp(g->key_index[i - 1]->name, g->key_index[i]->name)) {
            set_field(c, "key '%.100s'", g->key_index[i]->name);
            return fail(c, "it occurs twice");
        }
    return true;
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

int gguf_number_from_dtype(dtype t)
{
    for (int i = 0; i < TENSOR_TYPES; i++)
        if (tensor_types[i].type == t)
            return (int)tensor_types[i].number;
    return -1;
}

bool gguf_dtype_from_number(uint32_t number, dtype *t)
{
    for (int i = 0; i < TENSOR_TYPES; i++)
        if (tensor_types[i].number == number) {
            *t = tensor_types[i].type;
            return true;
        }
    return false;
}

/* Type and bytes of a tensor that limn can't read; false where the number is unknown. */
static bool read_other(cursor *c, file_tensor *t, uint32_t number, bool *ok)
{
    for (size_t i = 0; i < sizeof other_types / sizeof *other_types; i++) {
        if (other_types[i].number != number)
            continue;
        t->type = DTYPE_OTHER;
        t->type_name = other_types[i].name;
        *ok = file_tensor_measure(t, c->file, c->e);
        if (*ok && t->bytes % (size_t)other_types[i].block)
            *ok = fail(c, "its elements are not whole %s blocks of %d", t->type_name, other_types[i].block);
        t->bytes = t->bytes / (size_t)other_types[i].block * (size_t)other_types[i].bytes;
        return true;
    }
    return false;
}

static bool read_tensor(cursor *c, file_tensor *t, size_t i, uint64_t *offset)
{
    bool ok = true;
    uint32_t nd, type;
    set_field(c, "tensor %zu: name", i);
    if (!(t->name = take_name(c)))
        return false;
    set_field(c, "tensor '%.100s': dimensions", t->name);
    if (!take_u32(c, &nd))
        return false;
    if (nd > TENSOR_DIMS)
        return fail(c, "%" PRIu32 ", but at most %d are supported", nd, TENSOR_DIMS);
    t->nd = (int)nd;
    set_field(c, "tensor '%.100s': shape", t->name);
    for (int d = t->nd - 1; d >= 0; d--) { /* innermost first on disk */
        uint64_t size;
        if (!take_u64(c, &size))
            return false;
        if (size > INT64_MAX)
            return fail(c, "%" PRIu64 " is too large", size);
        t->shape[d] = (int64_t)size;
    }
    set_field(c, "tensor '%.100s': type", t->name);
    if (!take_u32(c, &type))
        return false;
    if (!gguf_dtype_from_number(type, &t->type) && !read_other(c, t, type, &ok))
        return fail(c, "%" PRIu32 " is not supported (convert it to F32, F16, Q8_0 or Q4_0)", type);
    if (!ok || (t->type != DTYPE_OTHER && !file_tensor_measure(t, c->file, c->e)))
        return false;
    set_field(c, "tensor '%.100s': offset", t->name);
    return take_u64(c, offset);
}

/* Turns offsets into pointers: data begins at the first multiple of the alignment behind the header. */
static bool place_tensors(gguf *g, cursor *c, const uint64_t *offsets)
{
    int64_t alignment = GGUF_DEFAULT_ALIGNMENT;
    if (gguf_has(g, GGUF_ALIGNMENT) && !gguf_get_int(g, GGUF_ALIGNMENT, 1, INT64_C(1) << 30, &alignment, c->e))
        return false;
    if (alignment & (alignment - 1)) {
        set_field(c, "key '" GGUF_ALIGNMENT "'");
        return fail(c, "%" PRId64 " is not a power of two", alignment);
    }
    size_t padding = (size_t)-c->at & (size_t)(alignment - 1);
    set_field(c, "tensor data");
    if (g->n_tensors && !take(c, padding))
        return false;
    for (size_t i = 0; i < g->n_tensors; i++) {
        file_tensor *t = &g->tensors[i];
        set_field(c, "tensor '%.100s': offset", t->name);
        if (offsets[i] % (uint64_t)alignment)
            return fail(c, "%" PRIu64 " is not a multiple of the alignment, %" PRId64, offsets[i], alignment);
        if (offsets[i] > remaining(c) || t->bytes > remaining(c) - offsets[i])
            return fail(c, "its %zu bytes at %" PRIu64 " reach beyond the %zu bytes of data (is the file incomplete?)",
                        t->bytes, offsets[i], remaining(c));
        t->data = c->data + c->at + offsets[i];
    }
    return true;
}

static bool read_tensors(gguf *g, cursor *c, size_t n)
{
    bool ok = true;
    uint64_t *offsets = calloc(n ? n : 1, sizeof *offsets);
    g->tensors = calloc(n ? n : 1, sizeof *g->tensors);
    g->n_tensors = g->tensors ? n : 0;
    if (!offsets || !g->tensors)
        ok = err_no_memory(c->e, c->file, (unsigned long long)n * (sizeof *g->tensors + sizeof *offsets));
    for (size_t i = 0; ok && i < n; i++)
        ok = read_tensor(c, &g->tensors[i], i, &offsets[i]);
    ok = ok && place_tensors(g, c, offsets) && (g->tensor_index = file_tensor_index(g->tensors, n, c->file, c->e));
    free(offsets);
    return ok;
}

/* ---- the file -------------------------------------------------------------------------------------------------- */

/* What the file is instead. */
static bool refuse_kind(cursor *c)
{
    file_kind k = file_kind_of(c->data, c->size, c->file);
    bool weights = k.format == FILE_TORCH || k.format == FILE_SAFETENSORS;
    if (!*k.what)
        return fail(c, "this is not a GGUF file");
    return fail(c, "this is not a GGUF file, but %s (%s)", k.what,
                weights ? "limn convert FILE -o model.gguf makes a model of it" : k.remedy);
}

static bool read_counts(cursor *c, size_t *n_tensors, size_t *n_keys)
{
    uint32_t version;
    set_field(c, "magic");
    const uint8_t *magic = take(c, 4);
    if (!magic)
        return false;
    if (memcmp(magic, GGUF_MAGIC, 4) != 0)
        return refuse_kind(c);
    set_field(c, "version");
    if (!take_u32(c, &version))
        return false;
    if (version && !(version & 0xffff))
        return fail(c, "the file is big-endian (convert it on, or for, a little-endian machine)");
    if (version != 2 && version != GGUF_VERSION)
        return fail(c, "%" PRIu32 " is not supported, only 2 and 3 (convert the model again)", version);
    set_field(c, "tensor count");
    if (!take_count(c, TENSOR_BYTES, n_tensors))
        return false;
    set_field(c, "key count");
    return take_count(c, KEY_BYTES, n_keys);
}

gguf *gguf_open(const void *data, size_t size, const char *name, err *e)
{
    cursor c = {.data = data, .size = size, .file = name, .e = e};
    size_t n_tensors = 0, n_keys = 0;
    gguf *g = calloc(1, sizeof *g);
    if (!g || !(g->name = strdup(name))) {
        err_no_memory(e, name, sizeof *g);
    } else if (read_counts(&c, &n_tensors, &n_keys) && read_keys(g, &c, n_keys) && read_tensors(g, &c, n_tensors)) {
        return g;
    }
    gguf_free(g);
    return NULL;
}

void gguf_free(gguf *g)
{
    if (!g)
        return;
    for (size_t i = 0; i < g->n_keys; i++) {
        free(g->keys[i].name);
        free(g->keys[i].u.any);
    }
    for (size_t i = 0; i < g->n_tensors; i++)
        free((char *)g->tensors[i].name);
    free(g->keys);
    free(g->key_index);
    free(g->tensors);
    free(g->tensor_index);
    free(g->name);
    free(g);
}

const char *gguf_name(const gguf *g)
{
    return g->name;
}

size_t gguf_tensor_count(const gguf *g)
{
    return g->n_tensors;
}

const file_tensor *gguf_tensor(const gguf *g, size_t i)
{
    return i < g->n_tensors ? &g->tensors[i] : NULL;
}

const file_tensor *gguf_find(const gguf *g, const char *name)
{
    return file_tensor_find(g->tensor_index, g->n_tensors, name);
}
