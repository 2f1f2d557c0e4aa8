/* Pictures of what a model in training does. */
#include "train/samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "io/image.h"

void sample_floats(float *out, const uint8_t *rgb, int64_t n, pixel_map map)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = rgb[i] / 255.0f * map.scale + map.shift;
}

bool sample_encode(run *r, const codec *c, const uint8_t *rgb, int n, int32_t *codes, err *e)
{
    int height = codec_input_height(c), width = codec_input_width(c);
    int64_t count = (int64_t)n * height * width * 3;
    float *host = malloc((size_t)count * sizeof *host);
    if (!host)
        return err_no_memory(e, "pictures", (size_t)count * sizeof *host);
    sample_floats(host, rgb, count, c->input);
    run_reset(r);
    tensor x = run_upload(r, DTYPE_F32, 4, (int64_t[]){n, height, width, 3}, host);
    run_read(r, op_argmax(r, c->kind->encode(r, c, x)), codes);
    free(host);
    return run_finish(r, e);
}

bool sample_decode(run *r, const codec *c, const int32_t *codes, int n, uint8_t *rgb, err *e)
{
    int64_t pixels = (int64_t)n * c->height * c->width;
    float *host = malloc((size_t)(pixels * c->channels) * sizeof *host);
    if (!host)
        return err_no_memory(e, "pictures", (size_t)(pixels * c->channels) * sizeof *host);
    run_reset(r);
    tensor z = run_upload(r, DTYPE_I32, 2, (int64_t[]){n, c->grid_height * c->grid_width}, codes);
    run_read(r, c->kind->decode(r, c, z), host);
    bool ok = run_finish(r, e);
    for (int64_t i = 0; ok && i < pixels * 3; i++) {
        float v = host[i / 3 * c->channels + i % 3] * c->output.scale + c->output.shift;
        rgb[i] = (uint8_t)lrintf(fminf(fmaxf(v, 0), 1) * 255);
    }
    free(host);
    return ok;
}

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
    bool ok = codes && both ? true : err_no_memory(e, "sample", 2 * (size_t)n * one);
    if (ok)
        memcpy(both, rgb, (size_t)n * one);
    ok = ok && sample_encode(r, c, rgb, n, codes, e) && sample_decode(r, c, codes, n, both + (size_t)n * one, e) &&
         sample_sheet(both, 2, n, c->height, c->width, path, e);
    free(codes);
    free(both);
    return ok;
}
