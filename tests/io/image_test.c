/* Tests of src/io's pictures: PNG, JPEG, resampling, cells and grids. */
#include "io_support.h"

#include <png.h>

#include "io/image.h"

static size_t read_file(uint8_t *data, size_t size)
{
    FILE *f = fopen(path(), "rb");
    assert_non_null(f);
    size_t n = fread(data, 1, size, f);
    assert_true(n < size);
    fclose(f);
    return n;
}

static const uint8_t *pixel(const image *im, int x, int y)
{
    return im->pixels + ((size_t)y * (size_t)im->width + (size_t)x) * 3;
}

static bool probe_image(const uint8_t *data, size_t size)
{
    image im;
    err e = {0};
    write_file(data, size);
    bool ok = image_read(&im, path(), &e);
    assert_true(ok ? im.pixels != NULL : !im.pixels && !strncmp(e.text, path(), strlen(path())));
    if (ok) {
        volatile uint8_t last = *pixel(&im, im.width - 1, im.height - 1);
        (void)last;
        free(image_read_text(path(), "key"));
    }
    image_release(&im);
    image_release(&im);
    return ok;
}

/* ---- PNG ------------------------------------------------------------------------------------------------------- */

enum { SIDE = 11 };

static const png_color palette[4] = {{1, 2, 3}, {255, 0, 0}, {0, 200, 0}, {9, 99, 199}};
static const uint8_t palette_alpha[2] = {0, 51};

/* Any sample of the pictures that the tests write: in 0 .. max. */
static unsigned sample(int x, int y, int channel, unsigned max)
{
    return (unsigned)(x * 2311 + y * 977 + channel * 31337 + x * y * 55) % (max + 1);
}

/* A PNG of SIDE x SIDE of any kind; transparent: with a tRNS chunk (palette only). */
static void write_kind(int colour, int depth, bool interlaced, bool transparent)
{
    FILE *f = fopen(path(), "wb");
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    int channels = (colour & PNG_COLOR_MASK_COLOR && colour != PNG_COLOR_TYPE_PALETTE ? 3 : 1) +
                   (colour & PNG_COLOR_MASK_ALPHA ? 1 : 0);
    unsigned max = colour == PNG_COLOR_TYPE_PALETTE ? (depth == 1 ? 1 : 3) : (1U << depth) - 1;
    uint8_t rows[SIDE][SIDE * 8] = {{0}}, *pointers[SIDE];
    for (int y = 0; y < SIDE; y++) {
        pointers[y] = rows[y];
        for (int i = 0; i < SIDE * channels; i++) {
            unsigned v = sample(i / channels, y, i % channels, max), bit = (unsigned)(i * depth);
            if (depth == 16)
                rows[y][2 * i + 1] = (uint8_t)v;
            rows[y][bit / 8] |= (uint8_t)(depth == 16 ? v >> 8 : v << (8 - (unsigned)depth - bit % 8));
        }
    }
    png_init_io(png, f);
    png_set_IHDR(png, info, SIDE, SIDE, depth, colour, interlaced ? PNG_INTERLACE_ADAM7 : PNG_INTERLACE_NONE,
                 PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    if (colour == PNG_COLOR_TYPE_PALETTE)
        png_set_PLTE(png, info, palette, depth == 1 ? 2 : 4);
    if (transparent)
        png_set_tRNS(png, info, palette_alpha, 2, NULL);
    png_write_info(png, info);
    png_write_image(png, pointers);
    png_text text = {
        .key = (char *)"key", .text = (char *)"after the pixels", .compression = PNG_TEXT_COMPRESSION_zTXt};
    png_set_text(png, info, &text, 1);
    png_write_end(png, info);
    png_destroy_write_struct(&png, &info);
    fclose(f);
}

static int to_8_bits(unsigned v, int depth)
{
    unsigned max = (1U << depth) - 1;
    return (int)((2 * v * 255 + max) / (2 * max));
}

static int over_white(int v, int alpha)
{
    return (v * alpha + 255 * (255 - alpha) + 127) / 255;
}

/* What write_kind's pixel has to come out as. */
static int expected(int colour, int depth, bool transparent, int x, int y, int c)
{
    if (colour == PNG_COLOR_TYPE_PALETTE) {
        unsigned i = sample(x, y, 0, depth == 1 ? 1 : 3);
        int v = c == 0 ? palette[i].red : c == 1 ? palette[i].green : palette[i].blue;
        return transparent && i < 2 ? over_white(v, palette_alpha[i]) : v;
    }
    bool rgb = colour & PNG_COLOR_MASK_COLOR;
    unsigned max = (1U << depth) - 1;
    int v = to_8_bits(sample(x, y, rgb ? c : 0, max), depth);
    return colour & PNG_COLOR_MASK_ALPHA ? over_white(v, to_8_bits(sample(x, y, rgb ? 3 : 1, max), depth)) : v;
}

static void png_of_every_kind_is_read(void **state)
{
    (void)state;
    const struct {
        int colour, depth;
        bool transparent;
    } kinds[] = {
        {PNG_COLOR_TYPE_GRAY, 1, false},        {PNG_COLOR_TYPE_GRAY, 2, false},
        {PNG_COLOR_TYPE_GRAY, 4, false},        {PNG_COLOR_TYPE_GRAY, 8, false},
        {PNG_COLOR_TYPE_GRAY, 16, false},       {PNG_COLOR_TYPE_GRAY_ALPHA, 8, false},
        {PNG_COLOR_TYPE_GRAY_ALPHA, 16, false}, {PNG_COLOR_TYPE_RGB, 8, false},
        {PNG_COLOR_TYPE_RGB, 16, false},        {PNG_COLOR_TYPE_RGB_ALPHA, 8, false},
        {PNG_COLOR_TYPE_RGB_ALPHA, 16, false},  {PNG_COLOR_TYPE_PALETTE, 1, false},
        {PNG_COLOR_TYPE_PALETTE, 2, true},      {PNG_COLOR_TYPE_PALETTE, 4, false},
        {PNG_COLOR_TYPE_PALETTE, 8, true},
    };
    for (size_t k = 0; k < 2 * COUNT(kinds); k++) {
        int colour = kinds[k / 2].colour, depth = kinds[k / 2].depth;
        bool transparent = kinds[k / 2].transparent;
        image im;
        err e = {0};
        write_kind(colour, depth, k % 2, transparent);
        assert_true(image_read(&im, path(), &e));
        assert_true(im.width == SIDE && im.height == SIDE);
        for (int i = 0; i < SIDE * SIDE * 3; i++)
            assert_int_equal(im.pixels[i], expected(colour, depth, transparent, i / 3 % SIDE, i / 3 / SIDE, i % 3));
        image_release(&im);
    }
    unlink(path());
}

static image noise(int width, int height)
{
    image im;
    assert_true(image_new(&im, width, height, NULL));
    for (int i = 0; i < width * height * 3; i++)
        im.pixels[i] = (uint8_t)sample(i, 3, 1, 255);
    return im;
}

static void png_and_its_texts_round_trip(void **state)
{
    (void)state;
    image a = noise(7, 5), b;
    err e = {0};
    const char *const utf8 = "un d\xc3\xa9lice \xf0\x9f\x8e\xa8";
    const image_text texts[] = {{"parameters", "a cat\nSeed: 1"}, {"prompt", utf8}, {"empty", ""}};
    assert_true(image_write_png(&a, path(), texts, 3, &e));
    assert_true(image_read(&b, path(), &e));
    assert_true(b.width == 7 && b.height == 5);
    assert_memory_equal(a.pixels, b.pixels, 7 * 5 * 3);
    for (int i = 0; i < 3; i++) {
        char *text = image_read_text(path(), texts[i].keyword);
        assert_string_equal(text, texts[i].text);
        free(text);
    }
    assert_null(image_read_text(path(), "absent"));
    image_release(&a);
    image_release(&b);
    write_kind(PNG_COLOR_TYPE_GRAY, 8, true, false);
    char *text = image_read_text(path(), "key");
    assert_string_equal(text, "after the pixels");
    free(text);
    unlink(path());
    assert_null(image_read_text(path(), "key"));
}

static void png_that_cannot_be_written_leaves_no_file(void **state)
{
    (void)state;
    image a = noise(2, 2), none = {0};
    err e = {0};
    char keyword[81];
    memset(keyword, 'k', 80);
    keyword[80] = 0;
    assert_false(image_write_png(&a, path(), &(image_text){keyword, "text"}, 1, &e));
    assert_message(&e, "/file: cannot write the PNG: a text's keyword must have 1 to 79 characters");
    e = (err){0};
    assert_false(image_write_png(&none, path(), NULL, 0, &e));
    assert_message(&e, "the picture is empty");
    e = (err){0};
    if (!access("/dev/full", W_OK)) {
        assert_false(image_write_png(&a, "/dev/full", NULL, 0, &e));
        assert_message(&e, "/dev/full: cannot write: No space left");
    }
    image_release(&a); /* remove_directory sees what was left */
}

static void png_survives_any_truncation_and_byte(void **state)
{
    (void)state;
    uint8_t data[2048];
    write_kind(PNG_COLOR_TYPE_PALETTE, 2, true, true);
    size_t n = read_file(data, sizeof data);
    torture(probe_image, data, n, n);
    unlink(path());
}

static void put_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* Replaces the size in IHDR, and its check sum. */
static void set_size(uint8_t *file, uint32_t width, uint32_t height)
{
    uint32_t crc = UINT32_MAX;
    put_be32(file + 16, width);
    put_be32(file + 20, height);
    for (int i = 12; i < 29; i++) {
        crc ^= file[i];
        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    put_be32(file + 29, ~crc);
}

static void png_corruptions_are_refused_by_reason(void **state)
{
    (void)state;
    const struct {
        uint32_t width, height;
        const char *message;
    } sizes[] = {{16384, 16384, "/file: cannot read the PNG: the file is too short for its size in pixels"},
                 {0, 1, "/file: cannot read the PNG: it has no pixels"},
                 {16385, 1, "/file: cannot read the PNG: a side is longer than 16384 pixels: 16385 x 1 (make"},
                 {20000, 3000000, "/file: cannot read the PNG: a side is longer than 16384 pixels: 20000 x 3000000"},
                 {SIDE, SIDE + 9, "/file: cannot read the PNG: Not enough image data"}};
    uint8_t data[2048];
    image im;
    write_kind(PNG_COLOR_TYPE_RGB, 8, false, false);
    size_t n = read_file(data, sizeof data);
    for (size_t i = 0; i < COUNT(sizes); i++) {
        err e = {0};
        set_size(data, sizes[i].width, sizes[i].height);
        write_file(data, n);
        assert_false(image_read(&im, path(), &e));
        assert_message(&e, sizes[i].message);
    }
    set_size(data, SIDE, SIDE);
    write_file(data, n - 40);
    err e = {0};
    assert_false(image_read(&im, path(), &e));
    assert_message(&e, "/file: cannot read the PNG: the file ends too early");
    write_file("GIF89a", 6);
    e = (err){0};
    assert_false(image_read(&im, path(), &e));
    assert_message(&e, "/file: cannot read the picture: it is a GIF picture (convert");
    unlink(path());
}

/* ---- JPEG ------------------------------------------------------------------------------------------------------ */

/* 16 x 16, quality 100: the left half is (200, 100, 50), the right (20, 100, 220). */
static size_t jpeg_sample(uint8_t *out)
{
    static const uint8_t head[] = {0xff, 0xd8, 0xff, 0xe0, 0, 0x10, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0};
    static const uint8_t tail[] = {
        0xff, 0xc0, 0x00, 0x11, 0x08, 0x00, 0x10, 0x00, 0x10, 0x03, 0x01, 0x22, 0x00, 0x02, 0x11, 0x01, 0x03,
        0x11, 0x01, 0xff, 0xc4, 0x00, 0x15, 0x00, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x06, 0xff, 0xc4, 0x00, 0x14, 0x10, 0x01, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xff, 0xc4, 0x00, 0x15,
        0x01, 0x01, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x05, 0x07, 0xff, 0xc4, 0x00, 0x18, 0x11, 0x00, 0x02, 0x03, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x09, 0x48, 0x87, 0xc7, 0xff, 0xda, 0x00, 0x0c, 0x03, 0x01,
        0x00, 0x02, 0x11, 0x03, 0x11, 0x00, 0x3f, 0x00, 0x9f, 0x1d, 0xe4, 0x40, 0x77, 0xaf, 0x89, 0x7a, 0x49,
        0x53, 0xba, 0x98, 0x83, 0x79, 0x8f, 0x76, 0xce, 0x68, 0x7f, 0xff, 0xd9};
    size_t n = sizeof head;
    memcpy(out, head, sizeof head);
    for (uint8_t table = 0; table < 2; table++) { /* quantisation by 1 */
        const uint8_t dqt[5] = {0xff, 0xdb, 0, 0x43, table};
        memcpy(out + n, dqt, sizeof dqt);
        memset(out + n + sizeof dqt, 1, 64);
        n += sizeof dqt + 64;
    }
    memcpy(out + n, tail, sizeof tail);
    return n + sizeof tail;
}

enum { JPEG_HEIGHT_AT = 20 + 2 * 69 + 5 };

/* Whether limn was built with libjpeg; without it the message has to say so. */
static bool jpeg_is_read(void)
{
    uint8_t data[512];
    image im;
    err e = {0};
    write_file(data, jpeg_sample(data));
    bool ok = image_read(&im, path(), &e);
    image_release(&im);
    unlink(path());
    if (!ok)
        assert_message(&e, "/file: cannot read the JPEG: limn was built without libjpeg (convert");
    return ok;
}

static void jpeg_is_read_or_refused_with_a_reason(void **state)
{
    (void)state;
    uint8_t data[512];
    image im;
    err e = {0};
    if (!jpeg_is_read())
        skip();
    write_file(data, jpeg_sample(data));
    assert_true(image_read(&im, path(), &e));
    assert_true(im.width == 16 && im.height == 16);
    const int left[3] = {200, 100, 50}, right[3] = {20, 100, 220};
    for (int c = 0; c < 3; c++) {
        assert_in_range(pixel(&im, 1, 8)[c] + 3, left[c], left[c] + 6);
        assert_in_range(pixel(&im, 14, 8)[c] + 3, right[c], right[c] + 6);
    }
    image_release(&im);
    unlink(path());
}

static void jpeg_survives_any_truncation_and_byte(void **state)
{
    (void)state;
    uint8_t data[512];
    if (!jpeg_is_read())
        skip();
    size_t n = jpeg_sample(data);
    torture(probe_image, data, n, n);
    unlink(path());
}

static void jpeg_of_a_size_that_its_file_cannot_hold_is_refused(void **state)
{
    (void)state;
    uint8_t data[512];
    image im;
    if (!jpeg_is_read())
        skip();
    const struct {
        int side;
        const char *message;
    } rows[] = {{0x4000, "/file: cannot read the JPEG: the file is too short for its size"},
                {0x4001, "/file: cannot read the JPEG: a side is longer than 16384 pixels"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = {0};
        size_t n = jpeg_sample(data);
        for (int k = 0; k < 4; k++)
            data[JPEG_HEIGHT_AT + k] = (uint8_t)(k % 2 ? rows[i].side : rows[i].side >> 8);
        write_file(data, n);
        assert_false(image_read(&im, path(), &e));
        assert_message(&e, rows[i].message);
    }
    unlink(path());
}

/* ---- resampling and the rest ----------------------------------------------------------------------------------- */

static void a_constant_picture_stays_constant(void **state)
{
    (void)state;
    const int sizes[][2] = {{1, 1}, {3, 50}, {17, 9}, {64, 64}, {200, 1}};
    image in, out;
    assert_true(image_new(&in, 17, 9, NULL));
    for (int value = 0; value < 256; value += 15) {
        memset(in.pixels, value, 17 * 9 * 3);
        for (size_t i = 0; i < COUNT(sizes); i++) {
            assert_true(image_resize(&out, &in, sizes[i][0], sizes[i][1], NULL));
            for (int k = 0; k < sizes[i][0] * sizes[i][1] * 3; k++)
                assert_int_equal(out.pixels[k], value);
            image_release(&out);
        }
    }
    image_release(&in);
}

static void the_same_size_is_the_same_picture(void **state)
{
    (void)state;
    image in = noise(13, 8), out;
    assert_true(image_resize(&out, &in, 13, 8, NULL));
    assert_memory_equal(in.pixels, out.pixels, 13 * 8 * 3);
    image_release(&in);
    image_release(&out);
}

static void shrinking_a_step_keeps_it_and_shrinking_a_checkerboard_makes_grey(void **state)
{
    (void)state;
    image step, board, out;
    assert_true(image_new(&step, 64, 64, NULL));
    assert_true(image_new(&board, 64, 64, NULL));
    for (int i = 0; i < 64 * 64 * 3; i++) {
        int x = i / 3 % 64, y = i / 3 / 64;
        step.pixels[i] = x < 32 ? 0 : 255;
        board.pixels[i] = (x + y) % 2 ? 255 : 0;
    }
    assert_true(image_resize(&out, &step, 8, 4, NULL));
    for (int y = 0; y < 4; y++) {
        for (int x = 0; x < 8; x++) /* a Lanczos filter rings by less than a tenth of the step */
            assert_in_range(pixel(&out, x, y)[1] + 26, x < 4 ? 0 : 255, x < 4 ? 52 : 281);
        for (int x = 0; x < 4; x++)
            assert_in_range(pixel(&out, x, y)[0] + pixel(&out, 7 - x, y)[0], 254, 256);
    }
    image_release(&out);
    assert_true(image_resize(&out, &board, 8, 8, NULL));
    for (int y = 2; y < 6; y++)
        for (int x = 2; x < 6; x++)
            assert_in_range(pixel(&out, x, y)[2], 125, 130);
    image_release(&out);
    image_release(&step);
    image_release(&board);
}

static void fit_takes_the_centre(void **state)
{
    (void)state;
    image in, out;
    assert_true(image_new(&in, 30, 10, NULL));
    for (int i = 0; i < 300; i++)
        in.pixels[3 * i + (i % 30) / 10] = 255; /* red, green and blue squares */
    assert_true(image_fit(&out, &in, 5, 5, NULL));
    for (int i = 0; i < 25; i++)
        assert_true(out.pixels[3 * i] == 0 && out.pixels[3 * i + 1] == 255 && out.pixels[3 * i + 2] == 0);
    image_release(&out);
    assert_true(image_fit(&out, &in, 1, 100, NULL)); /* narrower than a pixel of it */
    assert_true(out.width == 1 && out.height == 100);
    image_release(&out);
    assert_true(image_fit(&out, &in, 60, 20, NULL));
    assert_true(pixel(&out, 2, 2)[0] == 255 && pixel(&out, 57, 17)[2] == 255);
    image_release(&out);
    image_release(&in);
}

static void cells_are_the_bright_ones(void **state)
{
    (void)state;
    image im;
    uint8_t cells[6];
    const uint8_t wanted[6] = {1, 0, 1, 0, 1, 0};
    assert_true(image_new(&im, 6, 4, NULL));
    for (int i = 0; i < 6 * 4 * 3; i++) {
        int x = i / 3 % 6, y = i / 3 / 6;
        im.pixels[i] = wanted[y / 2 * 3 + x / 2] ? 128 : 127;
    }
    assert_true(image_cells(cells, &im, 2, 3, NULL));
    assert_memory_equal(cells, wanted, 6);
    image_release(&im);
    assert_true(image_new(&im, 1, 1, NULL)); /* a grid finer than the picture */
    memset(im.pixels, 200, 3);
    assert_true(image_cells(cells, &im, 2, 3, NULL));
    for (int i = 0; i < 6; i++)
        assert_int_equal(cells[i], 1);
    image_release(&im);
    assert_false(image_cells(cells, &im, 2, 3, NULL));
}

static void a_grid_is_filled_row_by_row_over_white(void **state)
{
    (void)state;
    image ims[5], other = noise(3, 3), out;
    err e = {0};
    for (int i = 0; i < 5; i++) {
        assert_true(image_new(&ims[i], 3, 2, NULL));
        memset(ims[i].pixels, 10 * i, 3 * 2 * 3);
    }
    assert_true(image_grid(&out, ims, 5, 1, &e));
    assert_true(out.width == 11 && out.height == 5);
    for (int y = 0; y < 5; y++)
        for (int x = 0; x < 11; x++) {
            int i = y / 3 * 3 + x / 4;
            bool gap = y == 2 || x % 4 == 3 || i == 5;
            assert_int_equal(pixel(&out, x, y)[1], gap ? 255 : 10 * i);
        }
    image_release(&out);
    assert_true(image_grid(&out, ims, 1, 9, &e) && out.width == 3 && out.height == 2);
    image_release(&out);
    image_release(&ims[4]);
    ims[4] = other;
    assert_false(image_grid(&out, ims, 5, 1, &e));
    assert_message(&e, "grid: picture 5 is 3 x 3, the first is 3 x 2");
    e = (err){0};
    assert_false(image_grid(&out, ims, 4, 20000, &e));
    assert_message(&e, "more than 16384 pixels on a side");
    for (int i = 0; i < 5; i++)
        image_release(&ims[i]);
}

static void sizes_out_of_range_are_refused(void **state)
{
    (void)state;
    const int sizes[][2] = {{0, 1}, {1, -1}, {16385, 1}, {1, 16385}};
    image in = noise(2, 2), none = {0}, out;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        err e = {0};
        assert_false(image_new(&out, sizes[i][0], sizes[i][1], &e));
        assert_message(&e, "sides must be 1 to 16384");
        assert_false(image_resize(&out, &in, sizes[i][0], sizes[i][1], NULL));
        assert_false(image_fit(&out, &in, sizes[i][0], sizes[i][1], NULL));
    }
    assert_false(image_resize(&out, &none, 1, 1, NULL) || image_fit(&out, &none, 1, 1, NULL));
    image_release(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(png_of_every_kind_is_read),
        cmocka_unit_test(png_and_its_texts_round_trip),
        cmocka_unit_test(png_that_cannot_be_written_leaves_no_file),
        cmocka_unit_test(png_survives_any_truncation_and_byte),
        cmocka_unit_test(png_corruptions_are_refused_by_reason),
        cmocka_unit_test(jpeg_is_read_or_refused_with_a_reason),
        cmocka_unit_test(jpeg_survives_any_truncation_and_byte),
        cmocka_unit_test(jpeg_of_a_size_that_its_file_cannot_hold_is_refused),
        cmocka_unit_test(a_constant_picture_stays_constant),
        cmocka_unit_test(the_same_size_is_the_same_picture),
        cmocka_unit_test(shrinking_a_step_keeps_it_and_shrinking_a_checkerboard_makes_grey),
        cmocka_unit_test(fit_takes_the_centre),
        cmocka_unit_test(cells_are_the_bright_ones),
        cmocka_unit_test(a_grid_is_filled_row_by_row_over_white),
        cmocka_unit_test(sizes_out_of_range_are_refused),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
