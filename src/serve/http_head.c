/* Where requests begin and end.  Lines end with CR LF alone, since other programs may take a lone LF for none. */
#include "serve/http_head.h"

#include <string.h>
#include <strings.h>

static http_found bad(http_head *h, int status, const char *why)
{
    h->status = status;
    h->why = why;
    return HTTP_BAD;
}

static bool is_token(const char *text, size_t n)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < n; i++) {
        char c = text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (!c || !strchr(others, c)))
            return false;
    }
    return n > 0;
}

/* METHOD SP TARGET SP HTTP/1.x */
static http_found read_line(http_head *h, const char *line, size_t n, bool *old)
{
    const char *space = memchr(line, ' ', n), *end = line + n;
    const char *target = space ? space + 1 : end, *second = memchr(target, ' ', (size_t)(end - target));
    if (!space || !second || !is_token(line, (size_t)(space - line)))
        return bad(h, 400, "the first line is no METHOD PATH HTTP/1.1");
    const char *version = second + 1;
    if (end - version != 8 || strncmp(version, "HTTP/", 5) != 0 || version[6] != '.')
        return bad(h, 400, "the first line is no METHOD PATH HTTP/1.1");
    if (version[5] != '1' || (version[7] != '0' && version[7] != '1'))
        return bad(h, 505, "the server speaks HTTP/1.1 and HTTP/1.0");
    bool whole = n > 8 && (!strncasecmp(target, "http://", 7) || !strncasecmp(target, "https://", 8));
    if (*target != '/' && !whole && !(*target == '*' && second == target + 1))
        return bad(h, 400, "the path does not begin with /");
    for (const char *at = target; at + 3 <= second; at++)
        if (!strncmp(at, "%00", 3))
            return bad(h, 400, "the path has a NUL");
    *old = version[7] == '0';
    return HTTP_WHOLE;
}

static bool is_field(const char *name, size_t n, const char *wanted)
{
    return n == strlen(wanted) && !strncasecmp(name, wanted, n);
}

static bool read_length(http_head *h, const char *value, size_t n)
{
    h->length = 0;
    for (size_t i = 0; i < n; i++) {
        if (value[i] < '0' || value[i] > '9' || n > 18)
            return false;
        h->length = 10 * h->length + (uint64_t)(value[i] - '0');
    }
    h->framing = h->length ? HTTP_LENGTH : HTTP_NO_BODY;
    return n > 0;
}

/* How often each of the fields was there that frame a request, or say whom it is for. */
typedef struct counts {
    int hosts, lengths, codings;
    int parts; /* of cookies */
} counts;

/* How many of the bytes are one of the two. */
static int count(const char *text, size_t n, char a, char b)
{
    int sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += text[i] == a || text[i] == b;
    return sum;
}

static http_found read_field(http_head *h, const char *line, size_t n, counts *c)
{
    const char *colon = memchr(line, ':', n);
    if (!colon || !is_token(line, (size_t)(colon - line)))
        return bad(h, 400, "a header is no NAME: VALUE");
    const char *value = colon + 1, *end = line + n;
    while (value < end && (*value == ' ' || *value == '\t'))
        value++;
    while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    size_t name = (size_t)(colon - line), size = (size_t)(end - value);
    if (is_field(line, name, "Host"))
        c->hosts++;
    if (is_field(line, name, "Content-Length") && (c->lengths++ || !read_length(h, value, size)))
        return bad(h, 400, "Content-Length: one whole number is wanted");
    if (is_field(line, name, "Transfer-Encoding")) {
        if (c->codings++ || !is_field(value, size, "chunked"))
            return bad(h, c->codings > 1 ? 400 : 501, "Transfer-Encoding: chunked alone is known");
        h->framing = HTTP_CHUNKS;
    }
    if (is_field(line, name, "Cookie") && (c->parts += 1 + count(value, size, ';', ',')) > HTTP_PARTS_MOST)
        return bad(h, 431, "there are too many cookies");
    if (is_field(line, name, "Expect") && !is_field(value, size, "100-continue"))
        return bad(h, 417, "Expect: 100-continue alone is known");
    return HTTP_WHOLE;
}

/* The lines of a head that is there. */
static http_found read_lines(http_head *h, const char *text)
{
    const char *at = text + h->begin, *end = text + h->size - 2; /* the empty line */
    bool old = false;
    int fields = 0;
    counts c = {0};
    for (const char *line = at; at < end; line = at) {
        const char *stop = memchr(at, '\r', (size_t)(end - at));
        size_t n = (size_t)(stop - line);
        at = stop + 2;
        bool first = line == text + h->begin;
        if (first && n > HTTP_LINE_MOST)
            return bad(h, 414, "the path is too long");
        if (first && (c.parts = count(line, n, '&', '&')) > HTTP_PARTS_MOST)
            return bad(h, 414, "the path has too many arguments");
        if (!first && ++fields > HTTP_FIELDS_MOST)
            return bad(h, 431, "there are too many headers");
        if ((first ? read_line(h, line, n, &old) : read_field(h, line, n, &c)) == HTTP_BAD)
            return HTTP_BAD;
    }
    if (c.hosts > 1 || (c.hosts == 0 && !old))
        return bad(h, 400, "a request has one header Host");
    if (c.lengths && c.codings)
        return bad(h, 400, "a request has a length, or chunks, and not both");
    if (c.codings && old)
        return bad(h, 400, "HTTP/1.0 has no chunks");
    return HTTP_WHOLE;
}

http_found http_head_read(http_head *h, const char *text, size_t n)
{
    if (h->seen == h->begin) /* some clients send an empty line behind a body */
        while (h->begin < 4 && h->begin + 2 <= n && !memcmp(text + h->begin, "\r\n", 2))
            h->seen = h->begin += 2;
    for (size_t i = h->seen; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\r' && i == h->begin)
            return i + 1 < n ? bad(h, 400, "the first line is empty") : HTTP_MORE;
        bool alone =
            (c == '\n' && (i == h->begin || text[i - 1] != '\r')) || (c != '\n' && i > h->begin && text[i - 1] == '\r');
        if (alone || (c < 32 && c != '\t' && c != '\r' && c != '\n') || c == 127)
            return bad(h, 400, alone ? "a line does not end with CR LF" : "a header has a control character");
        h->seen = i + 1;
        if (c == '\n' && i >= h->begin + 3 && text[i - 2] == '\n') {
            h->size = i + 1;
            return read_lines(h, text);
        }
    }
    if (n >= HTTP_HEAD_MOST) {
        bool path = !memchr(text + h->begin, '\n', n - h->begin);
        return bad(h, path ? 414 : 431, path ? "the path is too long" : "the headers are too large");
    }
    return HTTP_MORE;
}

/* ---- chunks ------------------------------------------------------------------------------------------------------ */

enum { SIZE, EXTENSION, SIZE_END, DATA, DATA_CR, DATA_LF, TRAILER, TRAILER_END, ENDED };
enum { EXTRA_MOST = 8192 };

static int digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

/* A byte of what stands around the chunks' data.  False: it can't stand there. */
static bool take(http_chunks *c, char byte)
{
    bool control = ((unsigned char)byte < 32 && byte != '\t') || byte == 127;
    switch (c->state) {
    case SIZE:
        if (digit(byte) >= 0) {
            c->left = c->left * 16 + (uint64_t)digit(byte);
            return ++c->line <= 8; /* 4 GiB: more than any body may have */
        }
        c->state = byte == ';' ? EXTENSION : SIZE_END;
        return c->line > 0 && (byte == ';' || byte == '\r');
    case EXTENSION:
        c->state = byte == '\r' ? SIZE_END : EXTENSION;
        return (byte == '\r' || !control) && ++c->extra <= EXTRA_MOST;
    case SIZE_END:
        c->state = c->left ? DATA : TRAILER;
        c->line = 0;
        return byte == '\n';
    case DATA_CR:
        c->state = DATA_LF;
        return byte == '\r';
    case DATA_LF:
        c->state = SIZE;
        return byte == '\n';
    case TRAILER:
        c->state = byte == '\r' ? TRAILER_END : TRAILER;
        c->line += byte != '\r';
        return (byte == '\r' || !control) && ++c->extra <= EXTRA_MOST;
    case TRAILER_END:
        c->state = c->line ? TRAILER : ENDED;
        c->line = 0;
        return byte == '\n';
    default:
        return false;
    }
}

http_found http_chunks_read(http_chunks *c, const char *text, size_t n, size_t *used, const char **data, size_t *size)
{
    *used = *size = 0;
    while (*used < n && c->state != ENDED) {
        if (c->state == DATA) {
            size_t some = n - *used < c->left ? n - *used : (size_t)c->left;
            *data = text + *used;
            *size = some;
            *used += some;
            c->total += some;
            c->left -= some;
            c->state = c->left ? DATA : DATA_CR;
            return HTTP_MORE;
        }
        if (!take(c, text[(*used)++]))
            return HTTP_BAD;
    }
    return c->state == ENDED ? HTTP_WHOLE : HTTP_MORE;
}
