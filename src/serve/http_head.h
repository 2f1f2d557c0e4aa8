/* HTTP/1.1's framing (RFC 9112), strictly: what is no request, or could be read as two, is refused. */
#ifndef SERVE_HTTP_HEAD_H
#define SERVE_HTTP_HEAD_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEAD_MOST = 32768, HTTP_LINE_MOST = 8192, HTTP_FIELDS_MOST = 128, HTTP_PARTS_MOST = 256 };
/* The first two: bytes of it and of its first line; the last: of its query and its cookies together, since
 * libmicrohttpd takes 64 bytes of a connection's memory for each, and answers in HTML where that is short. */

typedef enum http_framing { HTTP_NO_BODY, HTTP_LENGTH, HTTP_CHUNKS } http_framing;
typedef enum http_found { HTTP_MORE, HTTP_WHOLE, HTTP_BAD } http_found;

/* A request's head.  Zero-initialised: nothing of it was seen. */
typedef struct http_head {
    size_t begin; /* bytes of empty lines before it */
    size_t size;  /* with these, and with the empty line at its end */
    http_framing framing;
    uint64_t length; /* HTTP_LENGTH: of the body, more than 0 */
    int status;      /* HTTP_BAD: what is answered, and why */
    const char *why;
    size_t seen; /* bytes that were looked at */
} http_head;

/* Reads the head at the beginning of text[n], of which more may come: then it is called again with all of it. */
http_found http_head_read(http_head *h, const char *text, size_t n);

/* A body in chunks.  Zero-initialised: at its beginning. */
typedef struct http_chunks {
    int state;
    uint64_t left, total; /* of the chunk's bytes; of all of them so far */
    size_t line;          /* bytes of the line that is read */
    size_t extra;         /* of extensions and trailers so far */
} http_chunks;

/* Reads on in text[n]: *used bytes of it, and *data[*size] of them are the body's, perhaps none.  HTTP_MORE also where
 * only more calls are needed. */
http_found http_chunks_read(http_chunks *c, const char *text, size_t n, size_t *used, const char **data, size_t *size);
#endif
