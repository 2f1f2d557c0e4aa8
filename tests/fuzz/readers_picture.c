/* Readers of pictures. */
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "readers.h"

static void read_picture(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    image im, small = {0};
    err e = {0};
    bool ok = image_read(&im, path, &e);
    CHECK(ok == (e.code == 0));
    if (ok) {
        size_t n = (size_t)im.width * (size_t)im.height * 3;
        uint8_t cells[12];
        CHECK(n && im.pixels[0] + im.pixels[n - 1] >= 0);
        if (n < 1 << 20) { /* the rest is the same for any size */
            CHECK(image_fit(&small, &im, 5, 4, &e));
            CHECK(image_cells(cells, &im, 3, 4, &e));
        }
        image_release(&small);
        image_release(&im);
    }
}

void read_png(const uint8_t *data, size_t size)
{
    read_picture(data, size);
    free(image_read_png_text(fuzz_file(data, size), "parameters"));
}

void read_jpeg(const uint8_t *data, size_t size)
{
    read_picture(data, size);
}
