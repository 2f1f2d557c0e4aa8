/* Bytes that grow. */
#ifndef SERVE_TEXT_H
#define SERVE_TEXT_H
#include <stdbool.h>
#include <stddef.h>

/* Zero-initialised it is empty.  text: NULL, or `size` bytes with a 0 behind them. */
typedef struct text_buffer {
    char *text;
    size_t size, room;
} text_buffer;

/* False where memory is short: then it stays as it was. */
bool text_put(text_buffer *b, const void *data, size_t size);
bool text_format(text_buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* RFC 4648's base64 of the bytes. */
bool text_base64(text_buffer *b, const void *data, size_t size);
/* The bytes of a base64 text, behind what is there; also of the URL's digits, with line ends and without '='.  False if
 * it is none, or where memory is short. */
bool text_from_base64(text_buffer *b, const char *text);
void text_release(text_buffer *b);
#endif
