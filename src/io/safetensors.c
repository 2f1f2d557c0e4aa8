/* safetensors reader: the JSON header is checked whole at open, names stay in the parsed JSON. */
#include "io/safetensors.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

/* The format's own limit; jansson takes some 30 bytes for each of the header's. */
enum { HEADER_LIMIT = 100000000 };

typedef struct span {
    uint64_t begin, end;
} span;

struct safetensors {
    json_t *header; /* holds every name */
    file_tensor *tensors;
    const file_tensor **index;
    size_t n;
};

static const struct {
    const char *name;
    dtype type;
} dtypes[] = {{"F64", DTYPE_F64}, {"F32", DTYPE_F32},         {"F16", DTYPE_F16},        {"BF16", DTYPE_BF16},
              {"I64", DTYPE_I64}, {"I32", DTYPE_I32},         {"I16", DTYPE_I16},        {"I8", DTYPE_I8},
              {"U8", DTYPE_U8},   {"BOOL", DTYPE_BOOL},       {"U16", DTYPE_U16},        {"U32", DTYPE_U32},
              {"U64", DTYPE_U64}, {"F8_E4M3", DTYPE_F8_E4M3}, {"F8_E5M2", DTYPE_F8_E5M2}};

/* "FILE: tensor 'NAME': reason".  Returns false. */
__attribute__((format(printf, 4, 5))) static bool fail(const file_tensor *t, const char *file, err *e, const char *fmt,
                                                       ...)
{
    char reason[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return err_set(e, ERR_FAILED, "%s: tensor '%.100s': %s", file, t->name, reason);
}

static bool read_dtype(file_tensor *t, const json_t *value, const char *file, err *e)
{
    const char *text = json_string_value(value);
    if (!text)
        return fail(t, file, e, "dtype: missing, or not a string");
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (!strcmp(dtypes[i].name, text)) {
            t->type = dtypes[i].type;
            return true;
        }
    /* others, such as C64, F4, F8_E8M0: who doesn't need the tensor isn't stopped by it */
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    if (!n || text[n] || n > 31)
        return fail(t, file, e, "dtype: %.32s is no name of a type", text);
    t->type = DTYPE_OTHER;
    t->type_name = text;
    return true;
}

static bool read_shape(file_tensor *t, const json_t *value, const char *file, err *e)
{
    size_t nd = json_array_size(value);
    if (!json_is_array(value))
        return fail(t, file, e, "shape: missing, or not an array");
    if (nd > TENSOR_DIMS)
        return fail(t, file, e, "shape: %zu dimensions, but at most %d are supported", nd, TENSOR_DIMS);
    t->nd = (int)nd;
    for (size_t i = 0; i < nd; i++) {
        const json_t *size = json_array_get(value, i);
        if (!json_is_integer(size))
            return fail(t, file, e, "shape: size %zu is not an integer", i);
        t->shape[i] = json_integer_value(size);
    }
    return file_tensor_measure(t, file, e);
}

static bool read_offsets(file_tensor *t, const json_t *value, size_t data_bytes, span *s, const char *file, err *e)
{
    const json_t *begin = json_array_get(value, 0), *end = json_array_get(value, 1);
    if (json_array_size(value) != 2 || !json_is_integer(begin) || !json_is_integer(end))
        return fail(t, file, e, "data_offsets: missing, or not two integers");
    json_int_t b = json_integer_value(begin), n = json_integer_value(end);
    if (b < 0 || n < b || (uint64_t)n > data_bytes)
        return fail(t, file, e,
                    "data_offsets: [%" PRId64 ", %" PRId64 "] is not inside the %zu bytes of data (is the file "
                    "incomplete?)",
                    (int64_t)b, (int64_t)n, data_bytes);
    if (t->type == DTYPE_OTHER)
        t->bytes = (size_t)(n - b);
    if ((uint64_t)(n - b) != t->bytes)
        return fail(t, file, e, "data_offsets: %" PRId64 " bytes, where dtype and shape need %zu", (int64_t)(n - b),
                    t->bytes);
    *s = (span){(uint64_t)b, (uint64_t)n};
    return true;
}

static bool read_tensor(file_tensor *t, const json_t *entry, const uint8_t *data, size_t data_bytes, const char *file,
                        err *e)
{
    span s = {0};
    if (!file_tensor_name_valid(t->name))
        return err_set(e, ERR_FAILED, "%s: the name of a tensor: empty, or control characters", file);
    if (!json_is_object(entry))
        return fail(t, file, e, "its entry is not an object");
    if (!read_dtype(t, json_object_get(entry, "dtype"), file, e) ||
        !read_shape(t, json_object_get(entry, "shape"), file, e) ||
        !read_offsets(t, json_object_get(entry, "data_offsets"), data_bytes, &s, file, e))
        return false;
    if (json_object_size(entry) != 3)
        return fail(t, file, e, "it has fields beside dtype, shape and data_offsets");
    t->data = data + s.begin;
    return true;
}

static bool check_metadata(const json_t *metadata, const char *file, err *e)
{
    void *i = json_object_iter((json_t *)metadata);
    if (metadata && !json_is_object(metadata))
        return err_set(e, ERR_FAILED, "%s: __metadata__: not an object", file);
    for (; i; i = json_object_iter_next((json_t *)metadata, i))
        if (!json_is_string(json_object_iter_value(i)))
            return err_set(e, ERR_FAILED, "%s: __metadata__: the value of '%.100s' is not a string", file,
                           json_object_iter_key(i));
    return true;
}

/* Where data begins, then where it ends: an empty tensor comes before the one that starts at its place. */
static int by_place(const void *a, const void *b)
{
    const file_tensor *x = a, *y = b;
    uintptr_t x0 = (uintptr_t)x->data, y0 = (uintptr_t)y->data;
    if (x0 != y0)
        return x0 < y0 ? -1 : 1;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The format wants the tensors to tile the data, so that nothing can hide in a file. */
static bool check_tiling(const safetensors *s, const uint8_t *data, size_t data_bytes, const char *file, err *e)
{
    size_t at = 0;
    for (size_t i = 0; i < s->n; i++) {
        const file_tensor *t = &s->tensors[i];
        size_t begin = (size_t)((const uint8_t *)t->data - data);
        if (begin < at)
            return fail(t, file, e, "data_offsets: it overlaps '%.100s'", s->tensors[i - 1].name);
        if (begin > at)
            return fail(t, file, e, "data_offsets: a gap of %zu bytes before it", begin - at);
        at += t->bytes;
    }
    if (at != data_bytes)
        return err_set(e, ERR_FAILED, "%s: data: %zu bytes belong to no tensor", file, data_bytes - at);
    return true;
}

static bool read_tensors(safetensors *s, const uint8_t *data, size_t data_bytes, const char *file, err *e)
{
    const json_t *metadata = json_object_get(s->header, "__metadata__");
    if (!check_metadata(metadata, file, e))
        return false;
    size_t n = json_object_size(s->header) - (metadata ? 1 : 0);
    s->tensors = calloc(n ? n : 1, sizeof *s->tensors);
    if (!s->tensors)
        return err_no_memory(e, file, (unsigned long long)n * sizeof *s->tensors);
    for (void *i = json_object_iter(s->header); i; i = json_object_iter_next(s->header, i)) {
        if (json_object_iter_value(i) == metadata)
            continue;
        file_tensor *t = &s->tensors[s->n];
        t->name = json_object_iter_key(i);
        if (!read_tensor(t, json_object_iter_value(i), data, data_bytes, file, e))
            return false;
        s->n++;
    }
    qsort(s->tensors, s->n, sizeof *s->tensors, by_place);
    return check_tiling(s, data, data_bytes, file, e) && (s->index = file_tensor_index(s->tensors, s->n, file, e));
}

static bool read_header(safetensors *s, const uint8_t *data, size_t size, size_t *data_at, const char *file, err *e)
{
    uint64_t length;
    if (size < sizeof length)
        return err_set(e, ERR_FAILED, "%s: header length: the file has only %zu bytes (is it incomplete?)", file, size);
    memcpy(&length, data, sizeof length);
    if (length > HEADER_LIMIT)
        return err_set(e, ERR_FAILED,
                       "%s: header length: %" PRIu64 " is above the format's limit of %d (is this a "
                       "safetensors file?)",
                       file, length, HEADER_LIMIT);
    if (length > size - sizeof length)
        return err_set(e, ERR_FAILED,
                       "%s: header length: %" PRIu64 " is more than the %zu bytes that follow (is the "
                       "file incomplete?)",
                       file, length, size - sizeof length);
    const char *text = (const char *)data + sizeof length;
    if (length == 0 || *text != '{')
        return err_set(e, ERR_FAILED, "%s: header: it does not begin with '{' (is this a safetensors file?)", file);
    json_error_t reason;
    s->header = json_loadb(text, (size_t)length, JSON_REJECT_DUPLICATES, &reason);
    if (!s->header)
        return err_set(e, ERR_FAILED, "%s: header: %.200s, at byte %d", file, reason.text, reason.position);
    *data_at = sizeof length + (size_t)length;
    return true;
}

safetensors *safetensors_open(const void *data, size_t size, const char *name, err *e)
{
    size_t data_at = 0;
    safetensors *s = calloc(1, sizeof *s);
    if (!s) {
        err_no_memory(e, name, sizeof *s);
        return NULL;
    }
    if (read_header(s, data, size, &data_at, name, e) &&
        read_tensors(s, (const uint8_t *)data + data_at, size - data_at, name, e))
        return s;
    safetensors_free(s);
    return NULL;
}

void safetensors_free(safetensors *s)
{
    if (!s)
        return;
    json_decref(s->header);
    free(s->tensors);
    free(s->index);
    free(s);
}

size_t safetensors_count(const safetensors *s)
{
    return s->n;
}

const file_tensor *safetensors_tensor(const safetensors *s, size_t i)
{
    return i < s->n ? &s->tensors[i] : NULL;
}

const file_tensor *safetensors_find(const safetensors *s, const char *name)
{
    return file_tensor_find(s->index, s->n, name);
}

const char *safetensors_metadata(const safetensors *s, const char *key)
{
    return json_string_value(json_object_get(json_object_get(s->header, "__metadata__"), key));
}

/* ---- writing ---- */

/* The JSON header, a new string; NULL without memory. */
static char *header_of(const file_tensor *list, size_t n)
{
    uint64_t at = 0;
    json_t *root = json_pack("{s: {s: s}}", "__metadata__", "format", "pt"); /* whose tensors they are for */
    for (size_t i = 0; i < n; i++) {
        uint64_t bytes = (uint64_t)file_tensor_count(&list[i]) * sizeof(float);
        json_t *shape = json_array();
        for (int k = 0; k < list[i].nd; k++)
            json_array_append_new(shape, json_integer(list[i].shape[k]));
        json_object_set_new(root, list[i].name,
                            json_pack("{s: s, s: o, s: [I, I]}", "dtype", "F32", "shape", shape, "data_offsets",
                                      (json_int_t)at, (json_int_t)(at + bytes)));
        at += bytes;
    }
    char *text = root && json_object_size(root) == n + 1 ? json_dumps(root, JSON_COMPACT) : NULL;
    json_decref(root);
    return text;
}

bool safetensors_write(const char *path, const file_tensor *list, size_t n, err *e)
{
    file_out f = {0};
    char *header = header_of(list, n);
    size_t length = header ? strlen(header) : 0;
    const uint64_t padded = (length + 7) / 8 * 8;
    bool ok = header ? file_out_open(&f, path, e) : err_no_memory(e, path, n * 256);
    ok = ok && file_out_write(&f, &padded, sizeof padded, e) && file_out_write(&f, header, length, e) &&
         file_out_write(&f, "       ", (size_t)padded - length, e);
    for (size_t i = 0; ok && i < n; i++)
        ok = file_out_write(&f, list[i].data, (size_t)file_tensor_count(&list[i]) * sizeof(float), e);
    ok = ok && file_out_commit(&f, e);
    file_out_release(&f);
    free(header);
    return ok;
}
