/* Pictures of any size through the public API: what becomes of them for a model, and what they say of their settings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "io/image.h"
#include "limn/limn.h"
#include "support.h"

enum { SIDE = 8, CELLS = 16, WIDE = 24 };

static limn_device *dev;
static limn_model *tiny;

static int open_tiny(void **state)
{
    (void)state;
    dev = support_device();
    tiny = support_tiny(dev);
    return tiny ? 0 : -1;
}

static int close_tiny(void **state)
{
    (void)state;
    limn_model_free(&tiny);
    limn_device_free(&dev);
    return 0;
}

static void files_are_read_as_the_commands_do(void **state)
{
    (void)state;
    static const char *const names[] = {TEST_DATA "/pictures/alpha.webp", TEST_DATA "/pictures/p3_alpha.png",
                                        TEST_DATA "/pictures/orientation_6.jpg"};
    for (int k = 0; k < 3; k++) {
        limn_error e = {0};
        limn_picture p;
        image whole, fitted;
        uint8_t rgb[3 * SIDE * SIDE];
        good(limn_picture_read(names[k], &p, &e), &e);
        good(image_read(&whole, names[k], &e) && image_fit(&fitted, &whole, SIDE, SIDE, &e), &e);
        assert_int_equal(p.width, whole.width);
        assert_int_equal(p.height, whole.height);
        assert_int_equal(p.channels, k < 2 ? 4 : 3);
        good(limn_picture_fit(tiny, &p, rgb, &e), &e);
        assert_memory_equal(rgb, fitted.pixels, sizeof rgb);
        limn_free(p.pixels);
        image_release(&whole);
        image_release(&fitted);
    }
}

static void what_is_no_picture_is_an_error(void **state)
{
    (void)state;
    limn_error e = {0};
    limn_picture p = {1, 1, 3, NULL};
    uint8_t rgb[3 * SIDE * SIDE];
    assert_false(limn_picture_read(TEST_DATA "/pictures/none.png", &p, &e));
    has(e.text, "none.png");
    assert_null(p.pixels);
    p = (limn_picture){SIDE, SIDE, 1, rgb};
    e = (limn_error){0};
    assert_false(limn_picture_fit(tiny, &p, rgb, &e));
    has(e.text, "1 channels");
    assert_int_equal(e.code, LIMN_USAGE);
    p = (limn_picture){0, SIDE, 3, rgb};
    e = (limn_error){0};
    assert_false(limn_picture_mask(tiny, &p, rgb, &e));
    has(e.text, "0 x 8");
    assert_int_equal(e.code, LIMN_USAGE);
}

/* A mask whose left half is white, three times as wide as the model's pictures: its middle third is seen. */
static void masks_keep_what_is_white_or_opaque(void **state)
{
    (void)state;
    limn_error e = {0};
    uint8_t grey[3 * WIDE * SIDE], with_alpha[4 * WIDE * SIDE], keep[CELLS];
    for (int i = 0; i < WIDE * SIDE; i++) {
        bool white = i % WIDE < WIDE / 2;
        memset(grey + 3 * i, white ? 255 : 0, 3);
        memset(with_alpha + 4 * i, 99, 3);
        with_alpha[4 * i + 3] = white ? 255 : 0;
    }
    for (int channels = 3; channels <= 4; channels++) {
        const limn_picture p = {WIDE, SIDE, channels, channels == 3 ? grey : with_alpha};
        memset(keep, 7, sizeof keep);
        good(limn_picture_mask(tiny, &p, keep, &e), &e);
        for (int c = 0; c < CELLS; c++)
            assert_int_equal(keep[c], c % 4 < 2);
    }
    for (int i = 0; i < WIDE * SIDE; i++) /* all is opaque: its brightness counts */
        with_alpha[4 * i + 3] = 255;
    const limn_picture p = {WIDE, SIDE, 4, with_alpha};
    good(limn_picture_mask(tiny, &p, keep, &e), &e);
    for (int c = 0; c < CELLS; c++)
        assert_int_equal(keep[c], 0);
}

static void regions_are_those_of_the_command_line(void **state)
{
    (void)state;
    limn_error e = {0};
    uint8_t keep[CELLS], of_mask[CELLS];
    good(limn_picture_keep(tiny, "left:0.5", keep, &e), &e);
    for (int c = 0; c < CELLS; c++)
        assert_int_equal(keep[c], c % 4 < 2);
    good(limn_picture_keep(tiny, "box:2,4,2,4", keep, &e), &e); /* pixels, 2 a cell */
    for (int c = 0; c < CELLS; c++)
        assert_int_equal(keep[c], c % 4 == 1 && c / 4 >= 2);
    limn_picture p;
    good(limn_picture_keep(tiny, TEST_DATA "/pictures/alpha.webp", keep, &e), &e);
    good(limn_picture_read(TEST_DATA "/pictures/alpha.webp", &p, &e) && limn_picture_mask(tiny, &p, of_mask, &e), &e);
    assert_memory_equal(keep, of_mask, sizeof keep);
    limn_free(p.pixels);
    assert_false(limn_picture_keep(tiny, "top:9", keep, &e));
    has(e.text, "8 x 8 pixels");
    assert_int_equal(e.code, LIMN_USAGE);
    e = (limn_error){0};
    assert_false(limn_picture_keep(tiny, NULL, keep, &e));
}

static void says(const limn_generate_options *o, const limn_settings *s, const char *want)
{
    limn_error e = {0};
    char *text = limn_settings_text(tiny, o, s, &e);
    good(text != NULL, &e);
    assert_string_equal(text, want);
    limn_free(text);
}

#define SETTINGS(sampler, seed) "Steps: 16, Sampler: " sampler ", CFG scale: 1, Seed: " seed ", Size: 8x8, Model: tiny"
#define VERSION                 ", Version: limn " LIMN_VERSION

static void settings_are_those_of_the_command_line(void **state)
{
    (void)state;
    const int32_t ids[] = {5, 7};
    limn_generate_options o = {.prompt = "a, b", .seed = UINT64_MAX, .temperature = 0.5f};
    says(&o, NULL,
         "a, b\nNegative prompt: \n" SETTINGS("Gumbel-Max",
                                              "18446744073709551615") ", Temperature: 0.5, Top-k: 0, Top-p: 1" VERSION);
    o = (limn_generate_options){.prompt = "a", .negative = "c", .count = 2, .first = 3, .seed = 1};
    says(&o, &(limn_settings){.picture = 1, .image_prompt = "x.png", .keep = "top:0.5", .adapters = "style"},
         "a\nNegative prompt: c\n" SETTINGS("Greedy",
                                            "1") ", Temperature: 0, Top-k: 0, Top-p: 1, Picture: 5 of 5, "
                                                 "Image prompt: x.png, Keep: \"top:0.5\", LoRA: style" VERSION);
    o = (limn_generate_options){.text_ids = ids, .n_text_ids = 2, .seed = 1};
    says(&o, NULL,
         "token ids 5 7\nNegative prompt: \n" SETTINGS("Greedy",
                                                       "1") ", Temperature: 0, Top-k: 0, Top-p: 1, Text ids: 5 "
                                                            "7" VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_are_read_as_the_commands_do),
        cmocka_unit_test(what_is_no_picture_is_an_error),
        cmocka_unit_test(masks_keep_what_is_white_or_opaque),
        cmocka_unit_test(regions_are_those_of_the_command_line),
        cmocka_unit_test(settings_are_those_of_the_command_line),
    };
    device *d = support_device(); /* says so, and skips, where there is none */
    device_free(d);
    return cmocka_run_group_tests(tests, open_tiny, close_tiny) != 0;
}
