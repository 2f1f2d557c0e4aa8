/* Tests of writing pictures: formats, quality, and the settings that they carry. */
#include "io_support.h"

#include "io/exif.h"
#include "io/image.h"

static image smooth(void)
{
    image im;
    assert_true(image_new(&im, 40, 24, NULL));
    for (int i = 0; i < 40 * 24; i++) {
        im.pixels[3 * i] = (uint8_t)(i % 40 * 6);
        im.pixels[3 * i + 1] = (uint8_t)(255 - i / 40 * 10);
        im.pixels[3 * i + 2] = (uint8_t)(i % 40 < 20 ? 40 : 200);
    }
    return im;
}

static int distance(const image *a, const image *b)
{
    int most = 0;
    if (a->width != b->width || a->height != b->height)
        return 256;
    for (int i = 0; i < 3 * a->width * a->height; i++)
        most = abs(a->pixels[i] - b->pixels[i]) > most ? abs(a->pixels[i] - b->pixels[i]) : most;
    return most;
}

static bool built_in(image_format f)
{
    err e = {0};
    bool is = image_can_write(f, "a", &e);
    if (!is)
        assert_message(&e, "limn was built without lib");
    return is;
}

static const char settings[] =
    "un d\xc3\xa9lice \xf0\x9f\x8e\xa8, \"x\"\nNegative prompt: \nSteps: 4, Seed: 1, Size: 8x8";

static void every_format_keeps_picture_and_settings(void **state)
{
    (void)state;
    static const struct {
        image_format format;
        int quality, most; /* difference */
    } rows[] = {{IMAGE_PNG, 0, 0},   {IMAGE_JPEG, 0, 30},  {IMAGE_JPEG, 100, 4},
                {IMAGE_WEBP, 0, 40}, {IMAGE_WEBP, 100, 0}, {IMAGE_WEBP, 50, 90}};
    const image_text texts[] = {{"Software", "limn 1"}, {"parameters", settings}};
    image a = smooth(), b;
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = {0};
        char *text;
        uint8_t *data;
        size_t size;
        if (!built_in(rows[i].format))
            continue;
        const image_write_options o = {
            .format = rows[i].format, .quality = rows[i].quality, .texts = texts, .n_texts = 2};
        assert_true(image_encode(&data, &size, &a, &o, "name", &e));
        assert_int_equal(image_recognise(data, size), rows[i].format);
        assert_true(image_read_memory(&b, data, size, "name", &e));
        assert_in_range(distance(&a, &b), 0, rows[i].most);
        image_release(&b);
        write_file(data, size);
        free(data);
        assert_true(image_read_parameters(&text, path(), &e));
        assert_string_equal(text, settings);
        free(text);
        text = image_read_text(path(), "Software");
        assert_string_equal(text, "limn 1");
        free(text);
    }
    unlink(path());
    image_release(&a);
}

static void quality_is_size(void **state)
{
    (void)state;
    image a = smooth();
    for (image_format f = IMAGE_JPEG; f <= IMAGE_WEBP; f++) {
        size_t last = 0;
        for (int q = 10; q < 100 && built_in(f); q += 20) {
            uint8_t *data;
            size_t size;
            assert_true(image_encode(&data, &size, &a,
                                     &(image_write_options){.format = f, .quality = q, .texts = NULL, .n_texts = 0},
                                     "a", NULL));
            assert_true(size >= last);
            last = size;
            free(data);
        }
    }
    image_release(&a);
}

static void the_format_is_that_of_the_ending(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        image_format format;
    } rows[] = {{"a.png", IMAGE_PNG},   {"a.PNG", IMAGE_PNG},   {"b/a.jpg", IMAGE_JPEG}, {"a.Jpeg", IMAGE_JPEG},
                {"a.webp", IMAGE_WEBP}, {"a.WEBP", IMAGE_WEBP}, {"a.gif", IMAGE_NONE},   {"png", IMAGE_NONE},
                {".png", IMAGE_NONE},   {"b/.jpg", IMAGE_NONE}, {"a.jfif", IMAGE_NONE},  {"a", IMAGE_NONE}};
    image a = smooth();
    for (size_t i = 0; i < COUNT(rows); i++) {
        uint8_t *data;
        size_t size;
        image_format wanted = rows[i].format ? rows[i].format : IMAGE_PNG;
        assert_int_equal(image_format_of_name(rows[i].name), rows[i].format);
        if (!built_in(wanted))
            continue;
        assert_true(image_encode(&data, &size, &a, NULL, rows[i].name, NULL));
        assert_int_equal(image_recognise(data, size), wanted);
        free(data);
    }
    image_release(&a);
}

static void a_comment_is_no_settings(void **state)
{
    (void)state;
    const image_text texts[] = {{"parameters", "Screenshot"}};
    image a = smooth();
    for (int f = IMAGE_JPEG; f <= IMAGE_WEBP; f++) {
        err e = {0};
        char *text;
        uint8_t *data;
        size_t size;
        const image_write_options o = {.format = (image_format)f, .texts = texts, .n_texts = 1};
        if (!built_in((image_format)f))
            continue;
        assert_true(image_encode(&data, &size, &a, &o, "name", &e));
        write_file(data, size);
        free(data);
        assert_true(image_read_parameters(&text, path(), &e));
        assert_null(text);
    }
    unlink(path());
    image_release(&a);
}

static void settings_too_long_for_a_jpeg_are_left_out(void **state)
{
    (void)state;
    if (!built_in(IMAGE_JPEG))
        skip();
    err e = {0};
    image a = smooth();
    char *text = calloc(40001, 1);
    uint8_t *data;
    size_t size;
    memset(text, 'a', 40000);
    memcpy(text, "Steps: 4, ", 10);
    const image_text texts[] = {{"parameters", text}};
    assert_true(image_encode(&data, &size, &a,
                             &(image_write_options){.format = IMAGE_JPEG, .quality = 0, .texts = texts, .n_texts = 1},
                             "a", &e));
    write_file(data, size);
    assert_null(image_read_text(path(), "parameters"));
    free(data);
    if (built_in(IMAGE_WEBP)) {
        assert_true(image_encode(
            &data, &size, &a, &(image_write_options){.format = IMAGE_WEBP, .quality = 0, .texts = texts, .n_texts = 1},
            "a", &e));
        write_file(data, size);
        char *back = image_read_text(path(), "parameters");
        assert_string_equal(back, text);
        free(back);
        free(data);
    }
    free(text);
    image_release(&a);
    unlink(path());
}

static void a_webp_has_a_longest_side(void **state)
{
    (void)state;
    if (!built_in(IMAGE_WEBP))
        skip();
    err e = {0};
    image a;
    uint8_t *data;
    size_t size;
    assert_true(image_new(&a, 16384, 1, &e));
    assert_false(image_encode(&data, &size, &a, NULL, "a.webp", &e));
    assert_message(&e, "a.webp: cannot write the WebP: a side is longer than 16383 pixels");
    image_release(&a);
}

/* ---- comments of other programs ---------------------------------------------------------------------------------- */

/* A TIFF structure whose Exif part, or with `direct` whose first part, holds the comment. */
static size_t comment_block(uint8_t *out, bool big, bool direct, const void *comment, size_t n)
{
    size_t at = 0;
#define PUT(v, bytes)                                                                                                  \
    for (size_t k = 0; k < (bytes); k++)                                                                               \
    out[at++] = (uint8_t)((unsigned long)(v) >> 8 * (big ? (bytes)-1 - k : k))
    out[at++] = big ? 'M' : 'I';
    out[at++] = big ? 'M' : 'I';
    PUT(42, 2);
    PUT(8, 4);
    if (!direct) {
        PUT(1, 2);
        PUT(0x8769, 2);
        PUT(4, 2);
        PUT(1, 4);
        PUT(26, 4);
        PUT(0, 4);
    }
    PUT(1, 2);
    PUT(0x9286, 2);
    PUT(7, 2);
    PUT(n, 4);
    size_t value = at + 8;
    PUT(value, 4);
    PUT(0, 4);
    memcpy(out + at, comment, n);
    return at + n;
}

static void comments_are_read_in_any_encoding(void **state)
{
    (void)state;
    static const struct {
        const char *comment;
        size_t n;
        const char *wanted;
    } rows[] = {
#define ROW(comment, wanted) {comment, sizeof comment - 1, wanted}
        ROW("UNICODE\0\0a\0 \0\xe9", "a \xc3\xa9"),
        ROW("UNICODE\0a\0 \0\xe9\0", "a \xc3\xa9"),
        ROW("UNICODE\0\xfe\xff\x04\x3a\x04\x3e", "\xd0\xba\xd0\xbe"),
        ROW("UNICODE\0\xff\xfe\x3a\x04\x3e\x04", "\xd0\xba\xd0\xbe"),
        ROW("UNICODE\0\0x\xd8\x3c\xdf\xa8", "x\xf0\x9f\x8e\xa8"),
        ROW("UNICODE\0x\0\x3c\xd8\xa8\xdf", "x\xf0\x9f\x8e\xa8"),
        ROW("UNICODE\0\0x\xd8\x3c", "x\xef\xbf\xbd"),
        ROW("ASCII\0\0\0plain", "plain"),
        ROW("\0\0\0\0\0\0\0\0\xc3\xa9t\xc3\xa9", "\xc3\xa9t\xc3\xa9"),
        ROW("ASCII\0\0\0caf\xe9", "caf\xc3\xa9"),
        ROW("no code, Steps: 1", "no code, Steps: 1"),
    };
    for (size_t i = 0; i < COUNT(rows); i++)
        for (int how = 0; how < 4; how++) {
            uint8_t block[256];
            size_t n = comment_block(block, how & 1, how & 2, rows[i].comment, rows[i].n);
            char *text = exif_text(block, n, EXIF_COMMENT);
            assert_string_equal(text, rows[i].wanted);
            free(text);
            for (size_t cut = 0; cut < n; cut++) /* of its own size, for AddressSanitizer */
            {
                uint8_t *part = malloc(cut ? cut : 1);
                memcpy(part, block, cut);
                free(exif_text(part, cut, EXIF_COMMENT));
                assert_int_equal(exif_orientation(part, cut), 0);
                free(part);
            }
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_format_keeps_picture_and_settings),   cmocka_unit_test(quality_is_size),
        cmocka_unit_test(the_format_is_that_of_the_ending),          cmocka_unit_test(a_comment_is_no_settings),
        cmocka_unit_test(settings_too_long_for_a_jpeg_are_left_out), cmocka_unit_test(a_webp_has_a_longest_side),
        cmocka_unit_test(comments_are_read_in_any_encoding),
    };
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
