/* What lies beside the pixels of a picture: the pieces of JPEG, PNG and WebP files, orientation, profile and texts. */
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

#include "io/exif.h"
#include "io/image_codec.h"

static size_t be32(const uint8_t *p)
{
    return (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
}

static size_t le32(const uint8_t *p)
{
    return (size_t)p[3] << 24 | (size_t)p[2] << 16 | (size_t)p[1] << 8 | p[0];
}

/* ---- pieces ----------------------------------------------------------------------------------------------------- */

static bool next_segment(image_piece *p, const image_file *f, size_t *at)
{
    const uint8_t *d = f->data;
    size_t i = *at ? *at : 2;
    while (i + 4 <= f->size && d[i] == 0xff) {
        unsigned marker = d[i + 1];
        if (marker == 0xff) { /* any number of them may stand before a marker */
            i++;
            continue;
        }
        size_t bytes = (size_t)d[i + 2] << 8 | d[i + 3];
        if (marker == 0xda || marker == 0xd9 || bytes < 2 || bytes > f->size - i - 2)
            break;
        *p = (image_piece){"", d + i + 4, bytes - 2};
        memcpy(p->type, marker == 0xfe ? "COM" : "", marker == 0xfe ? 4 : 1);
        if (marker >= 0xe1 && marker <= 0xe9) /* beyond, none is of interest */
            memcpy(p->type, (char[]){'A', 'P', 'P', (char)('0' + marker - 0xe0), 0}, 5);
        *at = i + 2 + bytes;
        return true;
    }
    return false;
}

static bool next_chunk(image_piece *p, const image_file *f, size_t *at)
{
    const uint8_t *d = f->data;
    for (size_t i = *at ? *at : 8; f->size >= 12 && i <= f->size - 12;) {
        size_t bytes = be32(d + i);
        if (bytes > f->size - i - 12)
            return false;
        const uint8_t *chunk = d + i + 4;
        i += 12 + bytes;
        bool pixels = !memcmp(chunk, "IDAT", 4) || !memcmp(chunk, "fdAT", 4);
        if (pixels || crc32(0, chunk, (uInt)(bytes + 4)) != be32(chunk + 4 + bytes))
            continue;
        *p = (image_piece){"", chunk + 4, bytes};
        memcpy(p->type, chunk, 4);
        *at = i;
        return true;
    }
    return false;
}

static bool next_riff(image_piece *p, const image_file *f, size_t *at)
{
    size_t i = *at ? *at : 12;
    if (f->size < 8 || i > f->size - 8)
        return false;
    size_t bytes = le32(f->data + i + 4);
    if (bytes > f->size - i - 8)
        return false;
    *p = (image_piece){"", f->data + i + 8, bytes};
    memcpy(p->type, f->data + i, 4);
    *at = i + 8 + bytes + bytes % 2;
    return true;
}

bool image_piece_next(image_piece *p, const image_file *f, size_t *at)
{
    switch (f->format) {
    case IMAGE_PNG:
        return next_chunk(p, f, at);
    case IMAGE_JPEG:
        return next_segment(p, f, at);
    case IMAGE_WEBP:
        return next_riff(p, f, at);
    default:
        return false;
    }
}

/* ---- texts of a PNG --------------------------------------------------------------------------------------------- */

enum { TEXT_LIMIT = 16 << 20 }; /* bytes that a compressed text may swell to */

/* A new block; NULL where it is damaged or too long. */
static uint8_t *inflated(const uint8_t *data, size_t size, size_t *bytes)
{
    z_stream z = {.next_in = (Bytef *)data, .avail_in = (uInt)size};
    uint8_t *out = NULL;
    int status = inflateInit(&z);
    if (status != Z_OK)
        return NULL;
    for (size_t room = 4096; status == Z_OK && room <= TEXT_LIMIT; room *= 4) {
        uint8_t *larger = realloc(out, room);
        if (!larger)
            break;
        out = larger;
        z.next_out = out + z.total_out;
        z.avail_out = (uInt)(room - z.total_out);
        status = inflate(&z, Z_NO_FLUSH);
    }
    *bytes = z.total_out;
    inflateEnd(&z);
    if (status != Z_STREAM_END) {
        free(out);
        out = NULL;
    }
    return out;
}

/* The bytes behind the next 0. */
static bool skip_text(const uint8_t **p, const uint8_t *end)
{
    const uint8_t *zero = memchr(*p, 0, (size_t)(end - *p));
    *p = zero ? zero + 1 : end;
    return zero != NULL;
}

/* The text of a tEXt, zTXt or iTXt chunk with the keyword, else NULL. */
static char *chunk_text(const image_piece *c, const char *keyword)
{
    size_t n = strlen(keyword);
    bool international = !strcmp(c->type, "iTXt"), packed = !strcmp(c->type, "zTXt");
    if ((!international && !packed && strcmp(c->type, "tEXt") != 0) || c->size <= n || c->data[n] ||
        memcmp(c->data, keyword, n) != 0)
        return NULL;
    const uint8_t *p = c->data + n + 1, *end = c->data + c->size;
    if (packed || international) {
        if (end - p < (international ? 2 : 1))
            return NULL;
        packed = packed || p[0];
        p += international ? 2 : 1; /* the one method of compression is deflate */
    }
    if (international && (!skip_text(&p, end) || !skip_text(&p, end)))
        return NULL;
    if (!packed)
        return text_to_utf8(p, (size_t)(end - p));
    size_t bytes;
    uint8_t *plain = inflated(p, (size_t)(end - p), &bytes);
    char *text = plain ? text_to_utf8(plain, bytes) : NULL;
    free(plain);
    return text;
}

static char *png_text(const image_file *f, const char *keyword)
{
    image_piece p;
    char *text = NULL;
    for (size_t at = 0; !text && image_piece_next(&p, f, &at);)
        text = chunk_text(&p, keyword);
    return text;
}

/* ---- EXIF -------------------------------------------------------------------------------------------------------- */

static int hex_digit(int c)
{
    return c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
}

/* ImageMagick's way before PNG had a chunk for it: "\nexif\n    SIZE\n" and the bytes as digits, in a text. */
static uint8_t *raw_profile(const image_file *f, size_t *size)
{
    char *text = png_text(f, "Raw profile type exif");
    if (!text)
        text = png_text(f, "Raw profile type APP1");
    char *digits = text ? strchr(text + strspn(text, "\n"), '\n') : NULL;
    digits = digits ? strchr(digits + 1, '\n') : NULL;
    uint8_t *data = digits ? malloc(strlen(digits) / 2 + 1) : NULL;
    *size = 0;
    for (int high = -1; data && *digits; digits++) {
        int v = hex_digit(*digits);
        if (v >= 0 && high >= 0)
            data[(*size)++] = (uint8_t)(high << 4 | v);
        if (v >= 0)
            high = high >= 0 ? -1 : v;
    }
    free(text);
    return data;
}

typedef struct exif_value {
    int orientation;
    char *text;
} exif_value;

/* Whether the block says what is asked for: the text of a tag, or with tag 0 the orientation. */
static bool ask(exif_value *v, unsigned tag, const uint8_t *data, size_t size)
{
    if (tag)
        v->text = exif_text(data, size, tag);
    else
        v->orientation = exif_orientation(data, size);
    return v->text || v->orientation;
}

/* The first block of EXIF that says it: a file may have several, and XMP is a segment of the same kind. */
static exif_value ask_file(const image_file *f, unsigned tag)
{
    image_piece p;
    exif_value v = {0};
    for (size_t at = 0; image_piece_next(&p, f, &at);) {
        bool exif = f->format == IMAGE_PNG    ? !strcmp(p.type, "eXIf")
                    : f->format == IMAGE_WEBP ? !strcmp(p.type, "EXIF")
                                              : !strcmp(p.type, "APP1") && p.size > 6 && !memcmp(p.data, "Exif\0", 5);
        if (exif && ask(&v, tag, p.data, p.size))
            return v;
    }
    size_t size;
    uint8_t *raw = f->format == IMAGE_PNG ? raw_profile(f, &size) : NULL;
    if (raw)
        ask(&v, tag, raw, size);
    free(raw);
    return v;
}

int image_orientation(const image_file *f)
{
    int orientation = ask_file(f, 0).orientation;
    return orientation ? orientation : 1;
}

/* The text where it has settings; else it is freed: cameras and phones write comments of their own ("Screenshot"). */
static char *if_settings(char *text)
{
    if (text && strstr(text, "Steps: "))
        return text;
    free(text);
    return NULL;
}

char *image_text_of(const image_file *f, const char *keyword)
{
    char *text = f->format == IMAGE_PNG ? png_text(f, keyword) : NULL;
    bool settings = !strcmp(keyword, "parameters");
    if (!text && f->format != IMAGE_PNG && !strcmp(keyword, "Software"))
        text = ask_file(f, EXIF_SOFTWARE).text;
    if (text || !settings)
        return text;
    /* some programs write the settings as a description, or as JPEG's comment */
    text = if_settings(ask_file(f, EXIF_COMMENT).text);
    if (!text)
        text = if_settings(ask_file(f, EXIF_DESCRIPTION).text);
    image_piece p;
    for (size_t at = 0; !text && f->format == IMAGE_JPEG && image_piece_next(&p, f, &at);)
        if (!strcmp(p.type, "COM"))
            text = if_settings(text_to_utf8(p.data, p.size));
    return text;
}

/* ---- profiles ---------------------------------------------------------------------------------------------------- */

/* A JPEG's profile, which is in pieces in APP2: each is "ICC_PROFILE\0", its number from 1 on, how many there are, and
 * bytes.  If a piece is missing, the profile ends before it, and who reads it will find it too short. */
static uint8_t *jpeg_profile(const image_file *f, size_t *size)
{
    enum { HEAD = 14 };
    image_piece p, parts[257] = {{.size = 0}};
    for (size_t at = 0; image_piece_next(&p, f, &at);)
        if (!strcmp(p.type, "APP2") && p.size > HEAD && !memcmp(p.data, "ICC_PROFILE", 12) && !parts[p.data[12]].data)
            parts[p.data[12]] = p;
    for (unsigned i = 1; parts[i].data; i++)
        *size += parts[i].size - HEAD;
    uint8_t *data = *size ? malloc(*size) : NULL, *to = data;
    for (unsigned i = 1; data && parts[i].data; i++) {
        memcpy(to, parts[i].data + HEAD, parts[i].size - HEAD);
        to += parts[i].size - HEAD;
    }
    return data;
}

uint8_t *image_profile(const image_file *f, size_t *size)
{
    image_piece p;
    *size = 0;
    if (f->format == IMAGE_JPEG)
        return jpeg_profile(f, size);
    for (size_t at = 0; f->format == IMAGE_WEBP && image_piece_next(&p, f, &at);) {
        if (strcmp(p.type, "ICCP") != 0 || !p.size)
            continue;
        uint8_t *data = malloc(p.size);
        if (data)
            memcpy(data, p.data, p.size);
        *size = p.size;
        return data;
    }
    return NULL;
}
