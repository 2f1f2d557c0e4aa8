/* The size of a picture file, from its head: so that large ones can be refused before they unfold. */
#include <string.h>

#include "io/image.h"

static int big(const uint8_t *p, int n)
{
    int v = 0;
    for (int i = 0; i < n; i++)
        v = v << 8 | p[i];
    return v;
}

static int little(const uint8_t *p, int n)
{
    int v = 0;
    while (n-- > 0)
        v = v << 8 | p[n];
    return v;
}

/* The first chunk of a PNG is IHDR. */
static bool png_size(int *width, int *height, const uint8_t *p, size_t size)
{
    if (size < 26 || memcmp(p + 12, "IHDR", 4) != 0 || p[16] > 127 || p[20] > 127)
        return false;
    *width = big(p + 16, 4);
    *height = big(p + 20, 4);
    return true;
}

/* SOF0 to SOF15, but DHT, JPG and DAC, which have numbers among them. */
static bool jpeg_size(int *width, int *height, const uint8_t *p, size_t size)
{
    for (size_t at = 2; at + 9 < size;) {
        if (p[at] != 0xff)
            return false;
        uint8_t kind = p[at + 1];
        if (kind == 0xff) {
            at++;
        } else if (kind == 1 || (kind >= 0xd0 && kind <= 0xd8)) {
            at += 2;
        } else if (kind >= 0xc0 && kind <= 0xcf && kind != 0xc4 && kind != 0xc8 && kind != 0xcc) {
            *height = big(p + at + 5, 2);
            *width = big(p + at + 7, 2);
            return true;
        } else {
            at += 2 + (size_t)big(p + at + 2, 2);
        }
    }
    return false;
}

static bool webp_size(int *width, int *height, const uint8_t *p, size_t size)
{
    if (size < 30)
        return false;
    if (!memcmp(p + 12, "VP8X", 4)) {
        *width = little(p + 24, 3) + 1;
        *height = little(p + 27, 3) + 1;
    } else if (!memcmp(p + 12, "VP8L", 4)) {
        uint32_t bits = (uint32_t)little(p + 21, 3) | (uint32_t)p[24] << 24;
        *width = (int)(bits & 0x3fff) + 1;
        *height = (int)(bits >> 14 & 0x3fff) + 1;
    } else {
        *width = little(p + 26, 2) & 0x3fff;
        *height = little(p + 28, 2) & 0x3fff;
    }
    return true;
}

bool image_size_memory(int *width, int *height, const void *data, size_t size)
{
    static bool (*const readers[IMAGE_FORMATS])(int *, int *, const uint8_t *, size_t) = {
        [IMAGE_PNG] = png_size, [IMAGE_JPEG] = jpeg_size, [IMAGE_WEBP] = webp_size};
    image_format f = image_recognise(data, size);
    return f != IMAGE_NONE && readers[f](width, height, data, size) && *width > 0 && *height > 0;
}
