/* EXIF blocks: two tags read out of the TIFF structure, and two written. */
#include "io/exif.h"

#include <stdlib.h>
#include <string.h>

#include <utf8proc.h>

enum { TIFF_BYTE = 1, TIFF_ASCII = 2, TIFF_SHORT = 3, TIFF_LONG = 4, TIFF_SBYTE = 6, TIFF_UNDEFINED = 7 };
enum { TIFF_SSHORT = 8, TIFF_SLONG = 9 };
enum { TAG_ORIENTATION = 0x0112, TAG_EXIF = 0x8769, TAG_VERSION = 0x9000 };

/* ---- reading --------------------------------------------------------------------------------------------------- */

typedef struct tiff {
    const uint8_t *data;
    size_t size;
    bool big; /* the most significant byte first */
} tiff;

static uint32_t number(const tiff *t, size_t at, size_t bytes)
{
    uint32_t v = 0;
    for (size_t i = 0; i < bytes; i++)
        v |= (uint32_t)t->data[at + i] << 8 * (t->big ? bytes - 1 - i : i);
    return v;
}

static bool tiff_open(tiff *t, const uint8_t *data, size_t size)
{
    if (size >= 6 && !memcmp(data, "Exif\0", 5)) {
        data += 6;
        size -= 6;
    }
    if (size < 8 || (memcmp(data, "II", 2) != 0 && memcmp(data, "MM", 2) != 0))
        return false;
    *t = (tiff){data, size, data[0] == 'M'};
    return number(t, 2, 2) == 42;
}

typedef struct entry {
    unsigned type;
    const uint8_t *data; /* NULL: there is none */
    size_t bytes;
} entry;

static size_t type_bytes(unsigned type)
{
    static const uint8_t bytes[] = {0, 1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8};
    return type < sizeof bytes ? bytes[type] : 0;
}

/* A tag of the directory at `at`. */
static entry find(const tiff *t, size_t at, unsigned tag)
{
    if (at < 8 || at > t->size - 2)
        return (entry){0};
    size_t n = number(t, at, 2);
    for (size_t i = 0, e = at + 2; i < n && e + 12 <= t->size; i++, e += 12) {
        if (number(t, e, 2) != tag)
            continue;
        entry found = {.type = number(t, e + 2, 2)};
        uint64_t bytes = (uint64_t)number(t, e + 4, 4) * type_bytes(found.type);
        size_t value = bytes <= 4 ? e + 8 : number(t, e + 8, 4);
        if (bytes == 0 || value > t->size || bytes > t->size - value)
            continue;
        found.data = t->data + value;
        found.bytes = (size_t)bytes;
        return found;
    }
    return (entry){0};
}

/* The first number of an entry of whole numbers, whatever their size. */
static bool whole(const tiff *t, entry e, uint32_t *v)
{
    if (!e.data || e.type == TIFF_ASCII || e.type == TIFF_UNDEFINED || type_bytes(e.type) > 4 || e.type > TIFF_SLONG)
        return false;
    *v = number(t, (size_t)(e.data - t->data), type_bytes(e.type));
    return true;
}

int exif_orientation(const uint8_t *data, size_t size)
{
    tiff t;
    uint32_t v;
    if (!tiff_open(&t, data, size) || !whole(&t, find(&t, number(&t, 4, 4), TAG_ORIENTATION), &v))
        return 0;
    return v >= 1 && v <= 8 ? (int)v : 0;
}

/* ---- texts ----------------------------------------------------------------------------------------------------- */

char *text_to_utf8(const uint8_t *data, size_t size)
{
    bool valid = true;
    const uint8_t *end = size ? memchr(data, 0, size) : NULL;
    size = end ? (size_t)(end - data) : size;
    for (size_t i = 0; i < size && valid;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate(data + i, (utf8proc_ssize_t)(size - i), &c);
        valid = n > 0;
        i += valid ? (size_t)n : 0;
    }
    char *text = malloc(2 * size + 1), *to = text;
    if (!text)
        return NULL;
    for (size_t i = 0; i < size; i++) {
        if (data[i] < 0x80 || valid) {
            *to++ = (char)data[i];
        } else {
            *to++ = (char)(0xc0 | data[i] >> 6);
            *to++ = (char)(0x80 | (data[i] & 0x3f));
        }
    }
    *to = 0;
    return text;
}

/* Whether UTF-16 reads better with the most significant byte first: most text has many characters below U+0100. */
static bool looks_big(const uint8_t *data, size_t size, bool otherwise)
{
    size_t big = 0, little = 0;
    for (size_t i = 0; i + 1 < size; i += 2) {
        big += data[i] == 0 && data[i + 1] != 0;
        little += data[i] != 0 && data[i + 1] == 0;
    }
    return big == little ? otherwise : big > little;
}

static uint32_t unit(const uint8_t *p, bool big)
{
    return big ? (uint32_t)p[0] << 8 | p[1] : (uint32_t)p[1] << 8 | p[0];
}

static char *from_utf16(const uint8_t *data, size_t size, bool big)
{
    big = looks_big(data, size, big);
    if (size >= 2 && (unit(data, true) == 0xfeff || unit(data, false) == 0xfeff)) {
        big = unit(data, true) == 0xfeff;
        data += 2;
        size -= 2;
    }
    char *text = malloc(size / 2 * 3 + 1), *to = text;
    for (size_t i = 0; text && i + 1 < size; i += 2) {
        uint32_t c = unit(data + i, big);
        if (!c)
            break;
        if (c >= 0xd800 && c <= 0xdfff) {
            uint32_t low = i + 3 < size ? unit(data + i + 2, big) : 0;
            bool pair = c <= 0xdbff && low >= 0xdc00 && low <= 0xdfff;
            c = pair ? 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00)) : 0xfffd;
            i += pair ? 2 : 0;
        }
        to += utf8proc_encode_char((utf8proc_int32_t)c, (utf8proc_uint8_t *)to);
    }
    if (text)
        *to = 0;
    return text;
}

static char *comment(const tiff *t, entry e)
{
    static const char unicode[8] = "UNICODE", ascii[8] = "ASCII\0\0", undefined[8] = "";
    if (e.bytes >= 8 && !memcmp(e.data, unicode, 8))
        return from_utf16(e.data + 8, e.bytes - 8, t->big);
    if (e.bytes >= 8 && (!memcmp(e.data, ascii, 8) || !memcmp(e.data, undefined, 8)))
        return text_to_utf8(e.data + 8, e.bytes - 8);
    return text_to_utf8(e.data, e.bytes); /* without the code of its encoding */
}

char *exif_text(const uint8_t *data, size_t size, unsigned tag)
{
    tiff t;
    uint32_t at;
    if (!tiff_open(&t, data, size))
        return NULL;
    entry e = find(&t, number(&t, 4, 4), tag);
    if (!e.data && whole(&t, find(&t, number(&t, 4, 4), TAG_EXIF), &at))
        e = find(&t, at, tag);
    if (!e.data || (e.type != TIFF_ASCII && e.type != TIFF_UNDEFINED && e.type != TIFF_BYTE))
        return NULL;
    return tag == EXIF_COMMENT ? comment(&t, e) : text_to_utf8(e.data, e.bytes);
}

/* ---- writing --------------------------------------------------------------------------------------------------- */

static void put(uint8_t *to, uint32_t v, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        to[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
}

static void put_entry(uint8_t *to, unsigned tag, unsigned type, size_t count, uint32_t value)
{
    put(to, tag, 2);
    put(to + 2, type, 2);
    put(to + 4, (uint32_t)count, 4);
    put(to + 8, value, 4);
}

/* The number of bytes; to may be NULL. */
static size_t put_utf16(uint8_t *to, const char *text)
{
    size_t n = 0, left = strlen(text);
    while (left) {
        utf8proc_int32_t c;
        utf8proc_ssize_t bytes = utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)left, &c);
        if (bytes < 1) {
            c = 0xfffd;
            bytes = 1;
        }
        text += bytes;
        left -= (size_t)bytes;
        bool pair = c >= 0x10000;
        if (to && pair)
            put(to + n, 0xd800u + ((uint32_t)(c - 0x10000) >> 10), 2);
        if (to)
            put(to + n + (pair ? 2 : 0), pair ? 0xdc00u + ((uint32_t)c & 0x3ff) : (uint32_t)c, 2);
        n += pair ? 4 : 2;
    }
    return n;
}

uint8_t *exif_new(const char *software, const char *text, size_t *size)
{
    enum { FIRST = 8, ENTRIES = FIRST + 2, SECOND = ENTRIES + 2 * 12 + 4, SECOND_BYTES = 2 + 2 * 12 + 4 };
    size_t software_bytes = strlen(software) + 1, at = SECOND + SECOND_BYTES;
    size_t text_at = at + software_bytes + software_bytes % 2, text_bytes = text ? 8 + put_utf16(NULL, text) : 0;
    uint8_t *data = calloc(text_at + text_bytes, 1);
    if (!data)
        return NULL;
    memcpy(data, "MM\0\x2a\0\0\0\x08", 8);
    put(data + FIRST, text ? 2 : 1, 2);
    put_entry(data + ENTRIES, EXIF_SOFTWARE, TIFF_ASCII, software_bytes, (uint32_t)at);
    memcpy(data + at, software, software_bytes);
    if (text) {
        put_entry(data + ENTRIES + 12, TAG_EXIF, TIFF_LONG, 1, SECOND);
        put(data + SECOND, 2, 2);
        put_entry(data + SECOND + 2, TAG_VERSION, TIFF_UNDEFINED, 4, 0x30323332); /* "0232" */
        put_entry(data + SECOND + 14, EXIF_COMMENT, TIFF_UNDEFINED, text_bytes, (uint32_t)text_at);
        memcpy(data + text_at, "UNICODE", 8);
        put_utf16(data + text_at + 8, text);
    }
    *size = text_at + text_bytes;
    return data;
}
