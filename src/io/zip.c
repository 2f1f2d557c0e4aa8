/* Zip archives: the central directory and its zip64 fields, and inflating. */
#include "io/zip.h"

#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum {
    END_SIZE = 22,
    END64_SIZE = 56,
    LOCATOR64_SIZE = 20,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    COMMENT_LIMIT = 65535,
    NAME_LIMIT = 4096,
    ENTRY_LIMIT = 1 << 20,
    STORED = 0,
    DEFLATED = 8,
    ENCRYPTED = 1,        /* flag */
    DEFLATE_RATIO = 1032, /* the most that it can expand: 258 bytes for 2 bits */
};

typedef struct entry {
    char *name;
    int method;
    uint32_t crc;
    uint64_t packed, size;
    const uint8_t *at; /* its packed bytes */
    uint8_t *inflated; /* NULL until it is asked for */
} entry;

struct zip {
    const uint8_t *data;
    size_t size;
    const char *name;
    entry *entries; /* by name */
    size_t n;
};

/* The places in the file of the central directory. */
typedef struct directory {
    uint64_t at, size, entries;
} directory;

static uint64_t number(const uint8_t *p, int bytes)
{
    uint64_t n = 0;
    while (bytes-- > 0)
        n = n << 8 | p[bytes];
    return n;
}

static bool inside(const zip *z, uint64_t at, uint64_t bytes)
{
    return at <= z->size && bytes <= z->size - at;
}

/* ---- the directory ---- */

/* The record at the end; a comment of any length may follow it. */
static bool find_end(const zip *z, size_t *at)
{
    for (size_t back = END_SIZE; back <= z->size && back <= END_SIZE + COMMENT_LIMIT; back++) {
        const uint8_t *p = z->data + z->size - back;
        if (!memcmp(p, "PK\5\6", 4) && number(p + 20, 2) == back - END_SIZE) {
            *at = z->size - back;
            return true;
        }
    }
    return false;
}

static bool read_end(const zip *z, directory *d, err *e)
{
    size_t end = 0;
    if (!find_end(z, &end))
        return err_set(e, ERR_FAILED, "%s: zip: its end record is missing (is the file incomplete?)", z->name);
    const uint8_t *p = z->data + end;
    if (number(p + 4, 2) != number(p + 6, 2))
        return err_set(e, ERR_FAILED, "%s: zip: it is one part of several", z->name);
    *d = (directory){.entries = number(p + 10, 2), .size = number(p + 12, 4), .at = number(p + 16, 4)};
    if (end >= LOCATOR64_SIZE && !memcmp(p - LOCATOR64_SIZE, "PK\6\7", 4)) {
        uint64_t at = number(p - LOCATOR64_SIZE + 8, 8);
        if (!inside(z, at, END64_SIZE) || memcmp(z->data + at, "PK\6\6", 4) != 0)
            return err_set(e, ERR_FAILED, "%s: zip: the zip64 end record is not where the file says", z->name);
        const uint8_t *q = z->data + at;
        *d = (directory){.entries = number(q + 32, 8), .size = number(q + 40, 8), .at = number(q + 48, 8)};
    }
    if (!inside(z, d->at, d->size))
        return err_set(e, ERR_FAILED, "%s: zip: the directory is outside the file (is the file incomplete?)", z->name);
    if (d->entries > d->size / CENTRAL_SIZE || d->entries > ENTRY_LIMIT)
        return err_set(e, ERR_FAILED, "%s: zip: %llu entries, more than the directory has room for, or than %d",
                       z->name, (unsigned long long)d->entries, ENTRY_LIMIT);
    return true;
}

/* Fields of 32 bits that were too narrow are all ones, and the extra field of tag 1 has them in 64, in this order. */
static bool read_zip64(const uint8_t *extra, size_t n, uint64_t *fields[3])
{
    bool wanted = false;
    for (int i = 0; i < 3; i++)
        wanted |= *fields[i] == UINT32_MAX;
    while (wanted && n >= 4) {
        size_t tag = (size_t)number(extra, 2), bytes = (size_t)number(extra + 2, 2);
        if (bytes > n - 4)
            return false;
        if (tag == 1) {
            const uint8_t *p = extra + 4;
            for (int i = 0; i < 3; i++)
                if (*fields[i] == UINT32_MAX) {
                    if (bytes < 8)
                        return false;
                    *fields[i] = number(p, 8);
                    p += 8;
                    bytes -= 8;
                }
            return true;
        }
        extra += 4 + bytes;
        n -= 4 + bytes;
    }
    return !wanted;
}

/* Where the entry's bytes are, behind its local header. */
static bool read_local(const zip *z, entry *n, uint64_t at, err *e)
{
    const uint8_t *p = inside(z, at, LOCAL_SIZE) ? z->data + at : NULL;
    if (!p || memcmp(p, "PK\3\4", 4) != 0)
        return err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': no header where the directory says", z->name, n->name);
    uint64_t start = at + LOCAL_SIZE + number(p + 26, 2) + number(p + 28, 2);
    if (!inside(z, start, n->packed))
        return err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': its %llu bytes reach over the end of the file", z->name,
                       n->name, (unsigned long long)n->packed);
    n->at = z->data + start;
    return true;
}

static bool check_entry(const zip *z, const entry *n, int flags, err *e)
{
    const char *why = NULL;
    if (flags & ENCRYPTED)
        why = "it is encrypted";
    else if (n->method != STORED && n->method != DEFLATED)
        why = "it is compressed by a method other than deflate (pack it again, stored)";
    else if (n->method == STORED && n->packed != n->size)
        why = "it is stored, but its two sizes differ";
    else if (n->method == DEFLATED && n->size / DEFLATE_RATIO > n->packed)
        why = "it says that it expands more than deflate can";
    return !why || err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': %s", z->name, n->name, why);
}

/* One record of the directory, at p[0, left); *used is its length. */
static bool read_entry(zip *z, const uint8_t *p, uint64_t left, uint64_t *used, err *e)
{
    if (left < CENTRAL_SIZE || memcmp(p, "PK\1\2", 4) != 0)
        return err_set(e, ERR_FAILED, "%s: zip: record %zu of the directory is broken", z->name, z->n);
    size_t name = (size_t)number(p + 28, 2), extra = (size_t)number(p + 30, 2);
    *used = CENTRAL_SIZE + name + extra + number(p + 32, 2);
    if (*used > left || !name || name > NAME_LIMIT || memchr(p + CENTRAL_SIZE, 0, name))
        return err_set(e, ERR_FAILED, "%s: zip: record %zu of the directory: its name or length is broken", z->name,
                       z->n);
    entry *n = &z->entries[z->n];
    *n = (entry){.name = calloc(1, name + 1),
                 .method = (int)number(p + 10, 2),
                 .crc = (uint32_t)number(p + 16, 4),
                 .packed = number(p + 20, 4),
                 .size = number(p + 24, 4)};
    if (!n->name)
        return err_no_memory(e, z->name, name + 1);
    z->n++;
    memcpy(n->name, p + CENTRAL_SIZE, name);
    uint64_t at = number(p + 42, 4);
    if (!read_zip64(p + CENTRAL_SIZE + name, extra, (uint64_t *[]){&n->size, &n->packed, &at}))
        return err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': its zip64 sizes are missing", z->name, n->name);
    return check_entry(z, n, (int)number(p + 8, 2), e) && read_local(z, n, at, e);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const entry *)a)->name, ((const entry *)b)->name);
}

static bool read_directory(zip *z, err *e)
{
    directory d = {0};
    if (!read_end(z, &d, e))
        return false;
    z->entries = calloc(d.entries ? (size_t)d.entries : 1, sizeof *z->entries);
    if (!z->entries)
        return err_no_memory(e, z->name, d.entries * sizeof *z->entries);
    const uint8_t *p = z->data + d.at;
    uint64_t left = d.size, used = 0, packed = 0;
    for (uint64_t i = 0; i < d.entries; i++, p += used, left -= used) {
        if (!read_entry(z, p, left, &used, e))
            return false;
        packed += z->entries[i].packed;
        if (packed > z->size) /* what is inflated in all is bounded by the file's size */
            return err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': it overlaps others", z->name, z->entries[i].name);
    }
    qsort(z->entries, z->n, sizeof *z->entries, by_name);
    for (size_t i = 1; i < z->n; i++)
        if (!strcmp(z->entries[i - 1].name, z->entries[i].name))
            return err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': it occurs twice", z->name, z->entries[i].name);
    return true;
}

/* ---- data ---- */

/* zlib counts in 32 bits, so it is fed in pieces. */
static bool inflate_all(z_stream *s, const entry *n)
{
    uint64_t in = n->packed, out = n->size;
    int status = Z_OK;
    while (status == Z_OK) {
        if (!s->avail_in) {
            s->avail_in = in < UINT32_MAX ? (uInt)in : UINT32_MAX;
            in -= s->avail_in;
        }
        if (!s->avail_out) {
            s->avail_out = out < UINT32_MAX ? (uInt)out : UINT32_MAX;
            out -= s->avail_out;
        }
        status = inflate(s, Z_NO_FLUSH);
    }
    return status == Z_STREAM_END && !out && !s->avail_out;
}

static uint32_t crc_of(const uint8_t *data, uint64_t size)
{
    uLong crc = crc32(0, NULL, 0);
    for (uint64_t piece; size; data += piece, size -= piece) {
        piece = size < UINT32_MAX ? size : UINT32_MAX;
        crc = crc32(crc, data, (uInt)piece);
    }
    return (uint32_t)crc;
}

static bool inflate_entry(const zip *z, entry *n, err *e)
{
    uint8_t *to = n->size <= PTRDIFF_MAX - 1 ? malloc((size_t)n->size + 1) : NULL;
    z_stream s = {.next_in = (Bytef *)n->at, .next_out = to};
    if (!to || inflateInit2(&s, -MAX_WBITS) != Z_OK) {
        free(to);
        return err_no_memory(e, z->name, n->size);
    }
    bool ok = inflate_all(&s, n) && crc_of(to, n->size) == n->crc;
    inflateEnd(&s);
    if (!ok) {
        free(to);
        return err_set(e, ERR_FAILED, "%s: zip: entry '%.100s': its compressed bytes are broken", z->name, n->name);
    }
    n->inflated = to;
    return true;
}

bool zip_data(zip *z, size_t i, const uint8_t **data, size_t *size, err *e)
{
    entry *n = &z->entries[i];
    if (n->method == DEFLATED && !n->inflated && !inflate_entry(z, n, e))
        return false;
    *data = n->method == DEFLATED ? n->inflated : n->at;
    *size = (size_t)n->size;
    return true;
}

/* ---- the archive ---- */

zip *zip_open(const void *data, size_t size, const char *name, err *e)
{
    zip *z = calloc(1, sizeof *z);
    if (!z) {
        err_no_memory(e, name, sizeof *z);
        return NULL;
    }
    z->data = data;
    z->size = size;
    z->name = name;
    if (read_directory(z, e))
        return z;
    zip_free(z);
    return NULL;
}

void zip_free(zip *z)
{
    for (size_t i = 0; z && i < z->n; i++) {
        free(z->entries[i].name);
        free(z->entries[i].inflated);
    }
    if (z)
        free(z->entries);
    free(z);
}

size_t zip_count(const zip *z)
{
    return z->n;
}

const char *zip_name(const zip *z, size_t i)
{
    return z->entries[i].name;
}

bool zip_find(const zip *z, const char *name, size_t *i)
{
    const entry key = {.name = (char *)name};
    const entry *found = bsearch(&key, z->entries, z->n, sizeof *z->entries, by_name);
    if (found)
        *i = (size_t)(found - z->entries);
    return found;
}
