/* Tests of what stays of an image prompt: the cells of regions and masks, of codes and of latents. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "generate/region.h"

enum { SIDE = 64, ROWS = 8, COLUMNS = 8, LATENTS = 4 };

static const limn_model_info codes = {.width = SIDE,
                                      .height = SIDE,
                                      .encode_width = SIDE,
                                      .encode_height = SIDE,
                                      .grid_width = COLUMNS,
                                      .grid_height = ROWS},
                             latents = {.width = SIDE,
                                        .height = SIDE,
                                        .encode_width = SIDE,
                                        .encode_height = SIDE,
                                        .grid_width = COLUMNS * LATENTS,
                                        .grid_height = ROWS,
                                        .latent_channels = LATENTS};

/* A latent has what a code at its place has, in all of its cells. */
static void same_places(const uint8_t *of_codes, const uint8_t *of_latents, const char *name)
{
    for (int i = 0; i < ROWS * COLUMNS * LATENTS; i++)
        if (of_latents[i] != of_codes[i / LATENTS])
            fail_msg("%s: cell %d", name, i);
}

static void regions(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int kept;
    } cases[] = {{"top:0.5", 32},  {"left:0.5", 32},         {"left:0.45", 32},  {"left:0.43", 24}, {"right:27", 24},
                 {"right:28", 32}, {"box:0.25,0,0.3,1", 16}, {"box:4,4,9,9", 4}, {"box:5,4,9,9", 2}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint8_t a[ROWS * COLUMNS], b[ROWS * COLUMNS * LATENTS];
        keep k;
        err e = {0};
        int kept = 0;
        assert_true(keep_parse(&k, cases[i].text, &e) && region_cells(a, &k, &codes, &e) &&
                    region_cells(b, &k, &latents, &e));
        for (int c = 0; c < ROWS * COLUMNS; c++)
            kept += a[c];
        if (kept != cases[i].kept)
            fail_msg("%s keeps %d cells", cases[i].text, kept);
        same_places(a, b, cases[i].text);
    }
    keep k;
    err e = {0};
    uint8_t b[ROWS * COLUMNS * LATENTS];
    assert_true(keep_parse(&k, "left:0.01", &e));
    assert_false(region_cells(b, &k, &latents, &e));
    assert_non_null(strstr(e.text, "8 x 8 cells"));
}

/* White from x = `from` on, all of it or by the alpha. */
static void masks(void **state)
{
    (void)state;
    for (int from = 0; from <= SIDE; from += 3)
        for (int by_alpha = 0; by_alpha < 2; by_alpha++) {
            uint8_t cells[2][ROWS * COLUMNS * LATENTS], alpha[SIDE * SIDE];
            for (int k = 0; k < 2; k++) {
                image im;
                err e = {0};
                assert_true(image_new(&im, SIDE, SIDE, &e));
                for (int i = 0; i < SIDE * SIDE; i++) {
                    alpha[i] = i % SIDE >= from ? 255 : 0;
                    memset(im.pixels + 3 * i, by_alpha ? 0 : alpha[i], 3);
                }
                assert_true(mask_cells(cells[k], &im, by_alpha ? alpha : NULL, k ? &latents : &codes, &e));
                image_release(&im);
            }
            same_places(cells[0], cells[1], by_alpha ? "alpha" : "brightness");
            for (int c = 0; c < COLUMNS; c++) /* more than half of a place */
                assert_int_equal(cells[0][c], 8 * (c + 1) - from >= 5);
        }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {cmocka_unit_test(regions), cmocka_unit_test(masks)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
