/* Growing texts. */
#include "serve/text.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool make_room(text_buffer *b, size_t size)
{
    if (size > SIZE_MAX / 4 - b->size)
        return false;
    size_t want = b->size + size + 1, room = b->room ? b->room : 256;
    while (room < want)
        room *= 2;
    char *text = room > b->room ? realloc(b->text, room) : b->text;
    if (!text)
        return false;
    b->text = text;
    b->room = room;
    return true;
}

bool text_put(text_buffer *b, const void *data, size_t size)
{
    if (!make_room(b, size))
        return false;
    memcpy(b->text + b->size, data, size);
    b->size += size;
    b->text[b->size] = 0;
    return true;
}

bool text_format(text_buffer *b, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    int n = vsnprintf(NULL, 0, format, list);
    bool ok = n >= 0 && make_room(b, (size_t)n);
    if (ok) {
        vsnprintf(b->text + b->size, (size_t)n + 1, format, again);
        b->size += (size_t)n;
    }
    va_end(again);
    va_end(list);
    return ok;
}

bool text_base64(text_buffer *b, const void *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const uint8_t *from = data;
    if (!make_room(b, size / 3 * 4 + 4))
        return false;
    char *to = b->text + b->size;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i < 3 ? size - i : 3;
        uint32_t v =
            (uint32_t)from[i] << 16 | (left > 1 ? (uint32_t)from[i + 1] << 8 : 0) | (left > 2 ? from[i + 2] : 0);
        for (size_t k = 0; k < 4; k++)
            *to++ = k <= left ? digits[v >> (18 - 6 * k) & 63] : '=';
    }
    *to = 0;
    b->size = (size_t)(to - b->text);
    return true;
}

static int digit_of(char c)
{
    return c >= 'A' && c <= 'Z'   ? c - 'A'
           : c >= 'a' && c <= 'z' ? c - 'a' + 26
           : c >= '0' && c <= '9' ? c - '0' + 52
           : c == '+' || c == '-' ? 62
           : c == '/' || c == '_' ? 63
                                  : -1;
}

bool text_from_base64(text_buffer *b, const char *text)
{
    uint32_t bits = 0;
    int n = 0;
    if (!make_room(b, strlen(text) / 4 * 3 + 3))
        return false;
    for (; *text && *text != '='; text++) {
        if (*text == '\r' || *text == '\n' || *text == ' ')
            continue;
        if (digit_of(*text) < 0)
            return false;
        bits = bits << 6 | (uint32_t)digit_of(*text);
        n += 6;
        if (n >= 8) {
            n -= 8;
            b->text[b->size++] = (char)(bits >> n & 255);
        }
    }
    b->text[b->size] = 0;
    return n < 6 && text[strspn(text, "=\r\n ")] == 0;
}

void text_release(text_buffer *b)
{
    free(b->text);
    *b = (text_buffer){0};
}
