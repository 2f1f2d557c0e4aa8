/* Pictures as their decoders leave them: bounds, and the orientation that EXIF asks for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "io/image_codec.h"

void raster_release(raster *r)
{
    free(r->pixels);
    free(r->profile);
    *r = (raster){0};
}

/* Half of the machine's memory: beyond, reading one picture would push out everything else. */
static uint64_t memory_for_a_picture(void)
{
    uint64_t bytes = os_memory();
    return bytes > 0 ? bytes / 2 : UINT64_MAX;
}

bool raster_check(uint64_t width, uint64_t height, int channels, char why[160])
{
    *why = 0;
    if (width < 1 || height < 1)
        snprintf(why, 160, "it has no pixels: %llu x %llu", (unsigned long long)width, (unsigned long long)height);
    else if (width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE)
        snprintf(why, 160, "a side is longer than %d pixels: %llu x %llu (make it smaller first)", IMAGE_MAX_SIDE,
                 (unsigned long long)width, (unsigned long long)height);
    else if (width * height * (uint64_t)(channels + 3) > memory_for_a_picture()) /* with a copy, to turn it */
        snprintf(why, 160,
                 "%llu x %llu pixels take %llu MiB, more than half of this machine's memory (make it smaller first)",
                 (unsigned long long)width, (unsigned long long)height,
                 (unsigned long long)(width * height * (uint64_t)(channels + 3) >> 20));
    return !*why;
}

/* The pixel of the file that comes to (x, y) of the upright picture. */
static size_t source(int orientation, size_t w, size_t h, size_t x, size_t y)
{
    switch (orientation) {
    case 2:
        return y * w + (w - 1 - x);
    case 3:
        return (h - 1 - y) * w + (w - 1 - x);
    case 4:
        return (h - 1 - y) * w + x;
    case 5:
        return x * w + y;
    case 6:
        return (h - 1 - x) * w + y;
    case 7:
        return (h - 1 - x) * w + (w - 1 - y);
    case 8:
        return x * w + (w - 1 - y);
    default:
        return y * w + x;
    }
}

bool raster_orient(raster *r, int orientation, err *e)
{
    if (orientation < 2 || orientation > 8)
        return true;
    size_t w = (size_t)r->width, h = (size_t)r->height, c = (size_t)r->channels;
    size_t width = orientation >= 5 ? h : w, height = orientation >= 5 ? w : h;
    uint8_t *turned = malloc(w * h * c);
    if (!turned)
        return err_no_memory(e, "picture", w * h * c);
    for (size_t y = 0; y < height; y++)
        for (size_t x = 0; x < width; x++)
            memcpy(turned + (y * width + x) * c, r->pixels + source(orientation, w, h, x, y) * c, c);
    free(r->pixels);
    r->pixels = turned;
    r->width = (int)width;
    r->height = (int)height;
    return true;
}
