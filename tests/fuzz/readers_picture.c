/* Readers of pictures, and of the settings that they carry. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "io/exif.h"
#include "io/image.h"
#include "io/parameters.h"
#include "readers.h"

static void read_picture(const uint8_t *data, size_t size)
{
    const char *path = fuzz_file(data, size);
    image im, small = {0};
    uint8_t *alpha = NULL;
    char *text = NULL;
    err e = {0};
    bool ok = size & 1 ? image_read(&im, path, &e) : image_read_alpha(&im, &alpha, path, &e);
    CHECK(ok == (e.code == 0));
    if (ok) {
        size_t n = (size_t)im.width * (size_t)im.height;
        uint8_t cells[12];
        CHECK(n && im.pixels[0] + im.pixels[3 * n - 1] + (alpha ? alpha[n - 1] : 0) >= 0);
        if (n < 1 << 18) { /* the rest is the same for any size */
            CHECK(image_fit(&small, &im, 5, 4, &e));
            CHECK(image_cells(cells, &im, 3, 4, &e));
        }
        image_release(&small);
        image_release(&im);
    }
    free(alpha);
    (void)image_read_parameters(&text, path, NULL);
    free(text);
    free(image_read_text(path, "Software"));
}

/* A fuzzer makes no check sums: those of half of the files are made right, so that it gets behind them. */
void read_png(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size + 1);
    CHECK(copy);
    if (size)
        memcpy(copy, data, size);
    for (size_t at = 8, n; size >= 20 && (data[size - 1] & 1) && at <= size - 12; at += 12 + n) {
        n = (size_t)copy[at] << 24 | (size_t)copy[at + 1] << 16 | (size_t)copy[at + 2] << 8 | copy[at + 3];
        if (n > size - 12 - at)
            break;
        uint32_t sum = (uint32_t)crc32(0, copy + at + 4, (unsigned)n + 4);
        for (size_t i = 0; i < 4; i++)
            copy[at + 8 + n + i] = (uint8_t)(sum >> (24 - 8 * i));
    }
    read_picture(copy, size);
    free(copy);
}

void read_jpeg(const uint8_t *data, size_t size)
{
    read_picture(data, size);
}

void read_webp(const uint8_t *data, size_t size)
{
    read_picture(data, size);
}

/* ASCII that is written is read again.  Of other text alone the order of bytes can be guessed wrong, since writers
 * don't agree on it; settings always have ASCII beside their prompt. */
void read_exif(const uint8_t *data, size_t size)
{
    static const unsigned tags[] = {EXIF_DESCRIPTION, EXIF_SOFTWARE, EXIF_COMMENT};
    int lies = exif_orientation(data, size);
    CHECK(lies >= 0 && lies <= 8);
    for (int i = 0; i < 3; i++)
        free(exif_text(data, size, tags[i]));
    char *text = text_to_utf8(data, size);
    CHECK(text);
    size_t n;
    bool ascii = true;
    for (const char *c = text; *c; c++)
        ascii = ascii && (unsigned char)*c < 0x80;
    uint8_t *block = exif_new("limn", text, &n);
    CHECK(block);
    char *back = exif_text(block, n, EXIF_COMMENT);
    CHECK(!ascii || (back ? !strcmp(text, back) : !*text));
    free(back);
    free(block);
    free(text);
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
