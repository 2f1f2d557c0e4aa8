/* NumPy's .npy files: a Python dict literal of three known keys, then the array. */
#include "io/npy.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"

static const char npy_magic[6] = "\x93NUMPY";

typedef struct parser {
    const char *at, *end; /* of the header's text */
    const char *path;
    err *e;
    char kind; /* of descr: 'f', 'i', 'u', 'b' */
    int width; /* bytes of an element */
    bool fortran;
    int nd;
    int64_t shape[NPY_DIMS], count;
} parser;

/* "PATH: FIELD: reason".  Returns false. */
__attribute__((format(printf, 3, 4))) static bool fail(const parser *p, const char *field, const char *fmt, ...)
{
    char reason[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    return err_set(p->e, ERR_FAILED, "%s: %s: %s", p->path, field, reason);
}

static void skip_space(parser *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r'))
        p->at++;
}

/* Takes the character, after any space, if it comes next. */
static bool accept(parser *p, char c)
{
    skip_space(p);
    if (p->at == p->end || *p->at != c)
        return false;
    p->at++;
    return true;
}

static bool accept_word(parser *p, const char *word)
{
    size_t n = strlen(word);
    skip_space(p);
    if ((size_t)(p->end - p->at) < n || memcmp(p->at, word, n) != 0)
        return false;
    p->at += n;
    return true;
}

/* A quoted string without escapes, as new in s[size]; too long a one is cut, which no known word survives. */
static bool accept_string(parser *p, char *s, size_t size)
{
    char quote = accept(p, '\'') ? '\'' : accept(p, '"') ? '"' : 0;
    const char *close = quote ? memchr(p->at, quote, (size_t)(p->end - p->at)) : NULL;
    if (!close)
        return false;
    snprintf(s, size, "%.*s", (int)((size_t)(close - p->at) < size ? (size_t)(close - p->at) : size), p->at);
    p->at = close + 1;
    return true;
}

static bool parse_descr(parser *p)
{
    char s[16];
    if (!accept_string(p, s, sizeof s))
        return fail(p, "descr", "not a string (structured arrays are not supported)");
    static const char *const known[] = {"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (!*s || strcmp(s + 1, known[i]) != 0)
            continue;
        p->kind = s[1];
        p->width = s[2] - '0';
        if (*s == '>' && p->width > 1)
            return fail(p, "descr", "%s is big-endian (save it with .astype('<%s'))", s, s + 1);
        if (*s == '<' || *s == '=' || *s == '>' || *s == '|')
            return true;
    }
    return fail(p, "descr", "%s is not supported (save it as float32 or int32)", s);
}

static bool parse_fortran(parser *p)
{
    p->fortran = accept_word(p, "True");
    return p->fortran || accept_word(p, "False") || fail(p, "fortran_order", "neither True nor False");
}

static bool parse_shape(parser *p)
{
    if (!accept(p, '('))
        return fail(p, "shape", "not a tuple");
    for (p->nd = 0; !accept(p, ')'); p->nd++) {
        if (p->nd == NPY_DIMS)
            return fail(p, "shape", "more than %d dimensions", NPY_DIMS);
        int64_t size = 0;
        skip_space(p);
        const char *start = p->at;
        for (; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++)
            if (__builtin_mul_overflow(size, 10, &size) || __builtin_add_overflow(size, *p->at - '0', &size))
                return fail(p, "shape", "size %d is too large", p->nd);
        if (p->at == start)
            return fail(p, "shape", "size %d is not a number", p->nd);
        p->shape[p->nd] = size;
        if (!accept(p, ',')) {
            p->nd++;
            return accept(p, ')') || fail(p, "shape", "the tuple is not closed");
        }
    }
    return true;
}

static bool parse_dict(parser *p)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    static bool (*const parse[])(parser *) = {parse_descr, parse_fortran, parse_shape};
    bool seen[3] = {false};
    if (!accept(p, '{'))
        return fail(p, "header", "not a dict");
    while (!accept(p, '}')) {
        char key[16] = "";
        int k = 0;
        if (!accept_string(p, key, sizeof key) || !accept(p, ':'))
            return fail(p, "header", "a key and ':' are wanted after '%.16s'", key);
        while (k < 3 && strcmp(key, keys[k]) != 0)
            k++;
        if (k == 3)
            return fail(p, "header", "unknown key '%s'", key);
        if (seen[k])
            return fail(p, "header", "key '%s' occurs twice", key);
        seen[k] = true;
        if (!parse[k](p))
            return false;
        if (!accept(p, ',')) {
            if (accept(p, '}'))
                break;
            return fail(p, "header", "',' or '}' is wanted after the value of '%s'", key);
        }
    }
    for (int k = 0; k < 3; k++)
        if (!seen[k])
            return fail(p, "header", "key '%s' is missing", keys[k]);
    skip_space(p);
    return p->at == p->end || fail(p, "header", "text after the dict");
}

/* Finds the header's text and checks what it says against the size of the file.  *data_at: where elements begin. */
static bool parse_header(parser *p, const file_map *m, size_t *data_at)
{
    if (m->size < 10 || memcmp(m->data, npy_magic, sizeof npy_magic) != 0)
        return fail(p, "magic", "this is not an .npy file");
    int version = m->data[6];
    if (version < 1 || version > 3)
        return fail(p, "version", "%d is not supported, only 1 to 3", version);
    size_t prefix = version == 1 ? 10 : 12;
    if (m->size < prefix)
        return fail(p, "header length", "the file ends inside it");
    uint32_t length = (uint32_t)m->data[8] | (uint32_t)m->data[9] << 8;
    if (version > 1)
        length |= (uint32_t)m->data[10] << 16 | (uint32_t)m->data[11] << 24;
    if (length > m->size - prefix)
        return fail(p, "header length", "%" PRIu32 " is more than the %zu bytes that follow (is the file incomplete?)",
                    length, m->size - prefix);
    *data_at = prefix + length;
    p->at = (const char *)m->data + prefix;
    p->end = p->at + length;
    if (!parse_dict(p))
        return false;
    if (p->fortran && p->nd > 1)
        return fail(p, "fortran_order", "column-major arrays are not supported (save numpy.ascontiguousarray(a))");
    int64_t all = 1; /* a size of 0 counts as 1, so that the product of any of them fits */
    p->count = 1;
    for (int i = 0; i < p->nd; i++) {
        if (__builtin_mul_overflow(all, p->shape[i] ? p->shape[i] : 1, &all) || all > INT64_MAX / 8)
            return fail(p, "shape", "the product of its sizes is too large");
        p->count *= p->shape[i];
    }
    uint64_t bytes = (uint64_t)p->count * (uint64_t)p->width, present = m->size - *data_at;
    if (bytes != present)
        return fail(p, "data", "%" PRIu64 " bytes, where shape and descr need %" PRIu64, present, bytes);
    return true;
}

/* ---- elements -------------------------------------------------------------------------------------------------- */

static void read_floats(float *out, const parser *p, const uint8_t *data)
{
    dtype_to_float(out, p->width == 8 ? DTYPE_F64 : p->width == 4 ? DTYPE_F32 : DTYPE_F16, data, p->count);
}

static bool read_ints(int32_t *out, const parser *p, const uint8_t *data)
{
    for (int64_t i = 0; i < p->count; i++, data += p->width) {
        uint64_t v = 0;
        memcpy(&v, data, (size_t)p->width); /* little-endian: the low bytes come first */
        int64_t x = (int64_t)v;
        if (p->kind == 'i' && p->width < 8) {
            uint64_t sign = UINT64_C(1) << (8 * p->width - 1);
            x = (int64_t)(v ^ sign) - (int64_t)sign;
        }
        bool fits = p->kind == 'i' ? x >= INT32_MIN && x <= INT32_MAX : v <= INT32_MAX;
        if (!fits)
            return fail(p, "data", "element %" PRId64 " is out of the range of int32", i);
        out[i] = (int32_t)x;
    }
    return true;
}

static bool read_array(npy *a, parser *p, const file_map *m, dtype want)
{
    size_t data_at = 0;
    if (!parse_header(p, m, &data_at))
        return false;
    if (want == DTYPE_I32 && p->kind == 'f')
        return fail(p, "descr", "floats, where integers are wanted (save it with .astype('<i4'))");
    if (want == DTYPE_F32 && p->kind != 'f')
        return fail(p, "descr", "integers, where floats are wanted (save it with .astype('<f4'))");
    a->type = want;
    a->nd = p->nd;
    a->count = p->count;
    memcpy(a->shape, p->shape, sizeof a->shape);
    a->data = malloc(p->count ? (size_t)p->count * 4 : 1);
    if (!a->data)
        return err_no_memory(p->e, p->path, (unsigned long long)p->count * 4);
    if (want == DTYPE_I32)
        return read_ints(a->data, p, m->data + data_at);
    read_floats(a->data, p, m->data + data_at);
    return true;
}

bool npy_read(npy *a, const char *path, dtype want, err *e)
{
    assert(want == DTYPE_F32 || want == DTYPE_I32);
    parser p = {.path = path, .e = e};
    file_map m;
    *a = (npy){0};
    if (!file_map_open(&m, path, e))
        return false;
    bool ok = read_array(a, &p, &m, want);
    if (!ok)
        npy_release(a);
    file_map_release(&m);
    return ok;
}

void npy_release(npy *a)
{
    free(a->data);
    *a = (npy){0};
}

bool npy_write(const char *path, dtype type, int nd, const int64_t *shape, const void *data, err *e)
{
    assert((type == DTYPE_F32 || type == DTYPE_I32) && nd >= 0 && nd <= NPY_DIMS);
    char header[256];
    int64_t count = 1;
    int n = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     type == DTYPE_F32 ? "<f4" : "<i4");
    for (int i = 0; i < nd; i++) {
        n += snprintf(header + n, sizeof header - (size_t)n, "%" PRId64 "%s", shape[i],
                      nd == 1      ? ","
                      : i < nd - 1 ? ", "
                                   : "");
        count *= shape[i];
    }
    n += snprintf(header + n, sizeof header - (size_t)n, "), }");
    while ((10 + n + 1) % 64) /* elements begin at a multiple of 64, as NumPy has it */
        header[n++] = ' ';
    header[n++] = '\n';
    const uint8_t prefix[4] = {1, 0, (uint8_t)n, (uint8_t)(n >> 8)};
    file_out o;
    if (!file_out_open(&o, path, e))
        return false;
    bool ok = file_out_write(&o, npy_magic, sizeof npy_magic, e) && file_out_write(&o, prefix, sizeof prefix, e) &&
              file_out_write(&o, header, (size_t)n, e) && file_out_write(&o, data, (size_t)count * 4, e) &&
              file_out_commit(&o, e);
    file_out_release(&o);
    return ok;
}
