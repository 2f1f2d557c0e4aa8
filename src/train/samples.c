/* Pictures of what a model in training does. */
#include "train/samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"

bool sample_sheet(const uint8_t *rgb, int rows, int columns, int height, int width, const char *path, err *e)
{
    image im = {0};
    bool ok = image_new(&im, columns * width, rows * height, e);
    for (int i = 0; ok && i < rows * columns; i++)
        for (int y = 0; y < height; y++) {
            size_t to = ((size_t)(i / columns * height + y) * (size_t)im.width + (size_t)(i % columns * width)) * 3;
            memcpy(im.pixels + to, rgb + ((size_t)i * (size_t)height + (size_t)y) * (size_t)width * 3,
                   (size_t)width * 3);
        }
    ok = ok && image_write_png(&im, path, NULL, 0, e);
    image_release(&im);
    return ok;
}

bool sample_reconstructions(run *r, const codec *c, const uint8_t *rgb, int n, const char *path, err *e)
{
    size_t one = (size_t)c->width * (size_t)c->height * 3, cells = (size_t)(c->grid_width * c->grid_height);
    int32_t *codes = malloc((size_t)n * cells * sizeof *codes);
    uint8_t *both = malloc(2 * (size_t)n * one);
    float *pixels = malloc((size_t)n * one * sizeof *pixels);
    bool ok = codes && both && pixels ? true : err_no_memory(e, "sample", 6 * (size_t)n * one);
    if (ok)
        memcpy(both, rgb, (size_t)n * one);
    ok = ok && codec_encode(r, c, rgb, n, codes, NULL, e) && codec_decode_pictures(r, c, codes, n, pixels, e);
    for (size_t i = 0; ok && i < (size_t)n * one; i++)
        both[(size_t)n * one + i] = (uint8_t)lrintf(pixels[i] * 255);
    ok = ok && sample_sheet(both, 2, n, c->height, c->width, path, e);
    free(codes);
    free(both);
    free(pixels);
    return ok;
}
