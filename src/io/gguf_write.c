/* GGUF writer: keys and tensors are declared into memory, then the header and the data go out as a stream. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/gguf_format.h"

typedef struct bytes {
    uint8_t *data;
    size_t size, capacity;
} bytes;

struct gguf_writer {
    char *path;
    err error;    /* the first; everything after it does nothing */
    bytes keys;   /* as they will lie in the file */
    char **names; /* of the keys, to find one that comes twice */
    file_tensor *tensors;
    size_t n_keys, n_tensors, keys_capacity, tensors_capacity;
    bool begun;
    file_out out;
    size_t current;   /* the tensor whose data comes next */
    uint64_t written; /* of its bytes */
};

gguf_writer *gguf_writer_new(const char *path)
{
    gguf_writer *w = calloc(1, sizeof *w);
    if (w && !(w->path = strdup(path))) {
        free(w);
        w = NULL;
    }
    return w;
}

void gguf_writer_free(gguf_writer *w)
{
    if (!w)
        return;
    file_out_release(&w->out);
    for (size_t i = 0; i < w->n_keys; i++)
        free(w->names[i]);
    for (size_t i = 0; i < w->n_tensors; i++)
        free((char *)w->tensors[i].name);
    free(w->names);
    free(w->tensors);
    free(w->keys.data);
    free(w->path);
    free(w);
}

/* Whether there is anything left to do: a writer (calloc may have failed) without an error. */
static bool live(const gguf_writer *w)
{
    return w && w->error.code == ERR_NONE;
}

/* Makes room for one more of `size` bytes each in an array. */
static bool grow(gguf_writer *w, void **array, size_t count, size_t *capacity, size_t size)
{
    if (count < *capacity)
        return true;
    size_t wanted = *capacity ? *capacity * 2 : 64;
    void *p = realloc(*array, wanted * size);
    if (!p)
        return err_no_memory(&w->error, w->path, (unsigned long long)wanted * size);
    *array = p;
    *capacity = wanted;
    return true;
}

static void put(gguf_writer *w, bytes *b, const void *data, size_t n)
{
    if (w->error.code != ERR_NONE || n == 0)
        return;
    if (n > b->capacity - b->size) {
        size_t wanted = 2 * (b->size + n);
        uint8_t *p = realloc(b->data, wanted);
        if (!p) {
            err_no_memory(&w->error, w->path, wanted);
            return;
        }
        b->data = p;
        b->capacity = wanted;
    }
    memcpy(b->data + b->size, data, n);
    b->size += n;
}

static void put_u32(gguf_writer *w, bytes *b, uint32_t v)
{
    put(w, b, &v, sizeof v);
}

static void put_u64(gguf_writer *w, bytes *b, uint64_t v)
{
    put(w, b, &v, sizeof v);
}

static void put_text(gguf_writer *w, bytes *b, const char *s)
{
    size_t n = strlen(s);
    put_u64(w, b, n);
    put(w, b, s, n);
}

/* ---- keys ------------------------------------------------------------------------------------------------------ */

/* Name and type of a key, of its elements where it is an array; its value has to follow. */
static bool start_key(gguf_writer *w, const char *key, bool array, gguf_type element, size_t n)
{
    if (!live(w))
        return false;
    assert(!w->begun);
    if (!file_tensor_name_valid(key))
        return err_set(&w->error, ERR_FAILED, "%s: key %zu: name: empty, or control characters", w->path, w->n_keys);
    void *names = w->names;
    if (!grow(w, &names, w->n_keys, &w->keys_capacity, sizeof *w->names))
        return false;
    w->names = names;
    if (!(w->names[w->n_keys] = strdup(key)))
        return err_no_memory(&w->error, w->path, strlen(key) + 1);
    w->n_keys++;
    put_text(w, &w->keys, key);
    if (array)
        put_u32(w, &w->keys, GGUF_ARRAY);
    put_u32(w, &w->keys, element);
    if (array)
        put_u64(w, &w->keys, n);
    return live(w);
}

void gguf_put_int(gguf_writer *w, const char *key, int64_t value)
{
    bool small = value >= 0 && value <= UINT32_MAX;
    if (!start_key(w, key, false, small ? GGUF_U32 : GGUF_I64, 1))
        return;
    if (small)
        put_u32(w, &w->keys, (uint32_t)value);
    else
        put_u64(w, &w->keys, (uint64_t)value);
}

void gguf_put_float(gguf_writer *w, const char *key, double value)
{
    float f = (float)value;
    if (start_key(w, key, false, GGUF_F32, 1))
        put(w, &w->keys, &f, sizeof f);
}

void gguf_put_bool(gguf_writer *w, const char *key, bool value)
{
    uint8_t b = value;
    if (start_key(w, key, false, GGUF_BOOL, 1))
        put(w, &w->keys, &b, sizeof b);
}

void gguf_put_string(gguf_writer *w, const char *key, const char *value)
{
    if (start_key(w, key, false, GGUF_STRING, 1))
        put_text(w, &w->keys, value);
}

void gguf_put_strings(gguf_writer *w, const char *key, const char *const *values, size_t n)
{
    if (!start_key(w, key, true, GGUF_STRING, n))
        return;
    for (size_t i = 0; i < n; i++)
        put_text(w, &w->keys, values[i]);
}

void gguf_put_ints(gguf_writer *w, const char *key, const int64_t *values, size_t n)
{
    bool small = true;
    for (size_t i = 0; i < n; i++)
        small &= values[i] >= INT32_MIN && values[i] <= INT32_MAX;
    if (!start_key(w, key, true, small ? GGUF_I32 : GGUF_I64, n))
        return;
    for (size_t i = 0; i < n; i++) {
        if (small)
            put_u32(w, &w->keys, (uint32_t)values[i]);
        else
            put_u64(w, &w->keys, (uint64_t)values[i]);
    }
}

void gguf_put_floats(gguf_writer *w, const char *key, const double *values, size_t n)
{
    if (!start_key(w, key, true, GGUF_F32, n))
        return;
    for (size_t i = 0; i < n; i++) {
        float f = (float)values[i];
        put(w, &w->keys, &f, sizeof f);
    }
}

void gguf_put_copy(gguf_writer *w, const gguf *from, size_t key_index)
{
    assert(key_index < from->n_keys);
    const gguf_entry *k = &from->keys[key_index];
    if (!strcmp(k->name, GGUF_ALIGNMENT) || gguf_is_description(k->name))
        return; /* the writer has its own */
    if (start_key(w, k->name, k->array, k->element, k->n))
        put(w, &w->keys, k->raw, k->raw_bytes);
}

/* ---- tensors --------------------------------------------------------------------------------------------------- */

void gguf_add_tensor(gguf_writer *w, const char *name, dtype type, int nd, const int64_t *shape)
{
    if (!live(w))
        return;
    assert(!w->begun);
    file_tensor t = {.name = name, .type = type == DTYPE_U8 ? DTYPE_I8 : type, .nd = nd};
    if (!file_tensor_name_valid(name)) {
        err_set(&w->error, ERR_FAILED, "%s: tensor %zu: name: empty, or control characters", w->path, w->n_tensors);
        return;
    }
    if (type > DTYPE_U8 || nd < 0 || nd > TENSOR_DIMS) {
        err_set(&w->error, ERR_FAILED, "%s: tensor '%.100s': type %s with %d dimensions cannot be written", w->path,
                name, dtype_table[type].name, nd);
        return;
    }
    for (int i = 0; i < nd; i++)
        t.shape[i] = shape[i];
    void *tensors = w->tensors;
    if (!file_tensor_measure(&t, w->path, &w->error) ||
        !grow(w, &tensors, w->n_tensors, &w->tensors_capacity, sizeof t))
        return;
    w->tensors = tensors;
    if (!(t.name = strdup(name))) {
        err_no_memory(&w->error, w->path, strlen(name) + 1);
        return;
    }
    w->tensors[w->n_tensors++] = t;
}

/* ---- what other programs read ---------------------------------------------------------------------------------- */

static const char *const descriptions[] = {"general.type", "general.file_type", "general.quantization_version",
                                           "general.size_label"};

bool gguf_is_description(const char *key)
{
    for (size_t i = 0; i < sizeof descriptions / sizeof *descriptions; i++)
        if (!strcmp(key, descriptions[i]))
            return true;
    return false;
}

/* "1.3B", "97M": two digits at least, as GGUF's own tools write it. */
static void size_label(double n, char out[32])
{
    static const struct {
        double unit;
        char letter;
    } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    size_t i = 0;
    while (i < 3 && n <= units[i].unit)
        i++;
    n /= units[i].unit;
    snprintf(out, 32, "%.*f%c", n < 0.5 ? 2 : n < 9.5 ? 1 : 0, n, units[i].letter);
}

void gguf_put_description(gguf_writer *w)
{
    /* ggml's numbers for files that are mostly of a type */
    static const struct {
        dtype type;
        int number;
    } types[] = {{DTYPE_F32, 0}, {DTYPE_F16, 1}, {DTYPE_Q4_0, 2}, {DTYPE_Q8_0, 7}};
    enum { QUANTIZATION_VERSION = 2 };
    int64_t elements[DTYPE_COUNT] = {0}, all = 0;
    char label[32];
    if (!live(w) || !w->n_tensors)
        return;
    for (size_t i = 0; i < w->n_tensors; i++) {
        elements[w->tensors[i].type] += file_tensor_count(&w->tensors[i]);
        all += file_tensor_count(&w->tensors[i]);
    }
    size_t most = 0;
    for (size_t i = 1; i < sizeof types / sizeof *types; i++)
        most = elements[types[i].type] > elements[types[most].type] ? i : most;
    size_label((double)all, label);
    gguf_put_string(w, "general.type", "model");
    gguf_put_int(w, "general.file_type", types[most].number);
    if (elements[DTYPE_Q8_0] || elements[DTYPE_Q4_0])
        gguf_put_int(w, "general.quantization_version", QUANTIZATION_VERSION);
    gguf_put_string(w, "general.size_label", label);
}

static uint64_t padding(uint64_t n)
{
    return -n & (GGUF_PAGE - 1);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static bool check_names(gguf_writer *w)
{
    /* The order of w->names means nothing: the keys are in the buffer already. */
    if (w->n_keys)
        qsort(w->names, w->n_keys, sizeof *w->names, by_text);
    for (size_t i = 1; i < w->n_keys; i++)
        if (!strcmp(w->names[i - 1], w->names[i]))
            return err_set(&w->error, ERR_FAILED, "%s: key '%.100s': it occurs twice", w->path, w->names[i]);
    const file_tensor **index = file_tensor_index(w->tensors, w->n_tensors, w->path, &w->error);
    free(index);
    return index != NULL;
}

/* Everything before the data. */
static bool make_header(gguf_writer *w, bytes *h)
{
    uint64_t offset = 0;
    put(w, h, GGUF_MAGIC, 4);
    put_u32(w, h, GGUF_VERSION);
    put_u64(w, h, w->n_tensors);
    put_u64(w, h, w->n_keys);
    put(w, h, w->keys.data, w->keys.size);
    for (size_t i = 0; i < w->n_tensors; i++) {
        const file_tensor *t = &w->tensors[i];
        put_text(w, h, t->name);
        put_u32(w, h, (uint32_t)t->nd);
        for (int d = t->nd - 1; d >= 0; d--)
            put_u64(w, h, (uint64_t)t->shape[d]);
        put_u32(w, h, (uint32_t)gguf_number_from_dtype(t->type));
        put_u64(w, h, offset);
        if (__builtin_add_overflow(offset, t->bytes, &offset) ||
            __builtin_add_overflow(offset, padding(offset), &offset) || offset > INT64_MAX)
            return err_set(&w->error, ERR_FAILED, "%s: tensor '%.100s': offset: the file's size overflows", w->path,
                           t->name);
    }
    static const uint8_t zeros[GGUF_PAGE];
    put(w, h, zeros, (size_t)padding(h->size));
    return live(w);
}

static bool pad(gguf_writer *w, uint64_t n)
{
    static const uint8_t zeros[GGUF_PAGE];
    return file_out_write(&w->out, zeros, (size_t)n, &w->error);
}

/* Goes on to the next tensor while the current one is complete.  The last is padded too: other readers want it. */
static void finish_tensors(gguf_writer *w)
{
    while (w->current < w->n_tensors && w->written == w->tensors[w->current].bytes) {
        if (!pad(w, padding(w->written)))
            return;
        w->current++;
        w->written = 0;
    }
}

void gguf_begin_data(gguf_writer *w)
{
    bytes header = {0};
    if (w)
        assert(!w->begun);
    gguf_put_int(w, GGUF_ALIGNMENT, GGUF_PAGE);
    if (!live(w))
        return;
    w->begun = true;
    if (check_names(w) && make_header(w, &header) && file_out_open(&w->out, w->path, &w->error) &&
        file_out_write(&w->out, header.data, header.size, &w->error))
        finish_tensors(w); /* the first may be empty */
    free(header.data);
}

void gguf_write_data(gguf_writer *w, const void *data, size_t n)
{
    if (!live(w) || n == 0)
        return;
    assert(w->begun);
    if (w->current == w->n_tensors) {
        err_set(&w->error, ERR_FAILED, "%s: tensor data: %zu bytes more than the tensors have", w->path, n);
        return;
    }
    const file_tensor *t = &w->tensors[w->current];
    if (n > t->bytes - w->written) {
        err_set(&w->error, ERR_FAILED, "%s: tensor '%.100s': data: %zu bytes where %" PRIu64 " of %zu remain", w->path,
                t->name, n, t->bytes - w->written, t->bytes);
        return;
    }
    if (!file_out_write(&w->out, data, n, &w->error))
        return;
    w->written += n;
    finish_tensors(w);
}

bool gguf_writer_commit(gguf_writer *w, err *e)
{
    if (!w)
        return err_no_memory(e, "GGUF writer", sizeof *w);
    if (live(w) && !w->begun)
        gguf_begin_data(w);
    if (live(w) && w->current < w->n_tensors) {
        const file_tensor *t = &w->tensors[w->current];
        err_set(&w->error, ERR_FAILED, "%s: tensor '%.100s': data: only %" PRIu64 " of %zu bytes were written", w->path,
                t->name, w->written, t->bytes);
    }
    if (live(w) && file_out_commit(&w->out, &w->error))
        return true;
    file_out_release(&w->out); /* an abandoned file leaves at once, not only when the writer is freed */
    return err_set(e, (err_code)w->error.code, "%s", w->error.text);
}
