/* Readers of pictures, and of the settings that they carry. */
#include <stdlib.h>
#include <string.h>

#include "io/image.h"
#include "io/parameters.h"
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
    free(image_read_text(fuzz_file(data, size), "parameters"));
}

void read_jpeg(const uint8_t *data, size_t size)
{
    read_picture(data, size);
}

/* A negative prompt that isn't there is the same as an empty one. */
static bool same(const char *a, const char *b)
{
    return !strcmp(a ? a : "", b ? b : "");
}

/* What limn writes, which always has the number of steps, is read back exactly. */
void read_parameters(const uint8_t *data, size_t size)
{
    size_t n;
    char *text = fuzz_part(&data, &size, &n);
    parameters p, q;
    err e = {0};
    bool ok = parameters_parse(&p, text, &e);
    CHECK(ok == (e.code == 0));
    if (ok && p.has & PARAMETERS_STEPS) {
        char *written = parameters_text(&p);
        CHECK(written && parameters_parse(&q, written, &e));
        CHECK(same(p.prompt, q.prompt) && same(p.negative, q.negative));
        CHECK(same(p.sampler, q.sampler) && same(p.model, q.model) && same(p.version, q.version));
        CHECK(same(p.image_prompt, q.image_prompt) && same(p.keep, q.keep) && same(p.text_ids, q.text_ids));
        CHECK(p.has == q.has && p.seed == q.seed && p.steps == q.steps && p.width == q.width && p.height == q.height);
        CHECK(p.guidance == q.guidance && p.temperature == q.temperature && p.top_k == q.top_k && p.top_p == q.top_p);
        CHECK(p.picture == q.picture && p.pictures == q.pictures && p.score == q.score && p.class == q.class);
        free(written);
        parameters_release(&q);
    }
    parameters_release(&p);
    free(text);
}
