/* Tests of --keep with masks: which cells of an image prompt stay. */
#include "cli_support.h"

#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io/image.h"
#include "io/npy.h"

enum { SIDE = 64, GRID = 8, CELLS = GRID * GRID };

/* A picture of any kind; paint gives the four channels of a pixel. */
static void write_mask(const char *name, int width, int height, png_uint_32 format,
                       void (*paint)(int x, int y, uint8_t *p))
{
    png_image im = {
        .version = PNG_IMAGE_VERSION, .width = (png_uint_32)width, .height = (png_uint_32)height, .format = format};
    size_t channels = PNG_IMAGE_PIXEL_CHANNELS(format);
    uint8_t *pixels = malloc((size_t)width * (size_t)height * channels);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t p[4], *to = pixels + ((size_t)y * (size_t)width + (size_t)x) * channels;
            paint(x, y, p);
            if (channels == 2) {
                to[0] = p[0];
                to[1] = p[3];
            } else {
                memcpy(to, p, channels);
            }
        }
    assert_int_equal(png_image_write_to_file(&im, name, 0, pixels, 0, NULL), 1);
    free(pixels);
}

static void put(uint8_t *p, int grey, int alpha)
{
    memset(p, grey, 3);
    p[3] = (uint8_t)alpha;
}

static void hole_left(int x, int y, uint8_t *p) /* in the picture itself, as front ends make it */
{
    p[0] = (uint8_t)(255 - 2 * x);
    p[1] = (uint8_t)(2 * y);
    p[2] = 7;
    p[3] = x < SIDE / 2 ? 0 : 255;
}

static void half_hole_left(int x, int y, uint8_t *p) /* black, so that brightness says nothing */
{
    (void)y;
    put(p, 0, x < SIDE / 2 ? 120 : 136);
}

static void white_right(int x, int y, uint8_t *p)
{
    (void)y;
    put(p, x < SIDE / 2 ? 0 : 255, 255);
}

static void white(int x, int y, uint8_t *p)
{
    (void)x;
    (void)y;
    put(p, 255, 255);
}

static void black(int x, int y, uint8_t *p)
{
    (void)x;
    (void)y;
    put(p, 0, 255);
}

static void nothing(int x, int y, uint8_t *p)
{
    (void)x;
    (void)y;
    put(p, 255, 0);
}

static void corner(int x, int y, uint8_t *p) /* transparent where it is rounded: less than a cell */
{
    put(p, 90, x + y < 3 ? 0 : 255);
}

static void middle_of_wide(int x, int y, uint8_t *p) /* of 128 x 64 the middle is seen, whose right half is white */
{
    (void)y;
    put(p, x >= SIDE ? 255 : 0, 255);
}

/* How many of the prompt's codes stay in the left and in the right half, of 32 each. */
static void kept(const char *arguments, int halves[2], char **said)
{
    npy before = {0}, after = {0};
    char line[512];
    snprintf(line, sizeof line, "generate|a dog|--seed|2|--codes-out|after.npy|-o|out.png|%s", arguments);
    *said = cli_good(line).err;
    assert_true(npy_read(&before, "start.npy", DTYPE_I32, NULL) && npy_read(&after, "after.npy", DTYPE_I32, NULL));
    halves[0] = halves[1] = 0;
    for (int i = 0; i < CELLS; i++)
        halves[i % GRID >= GRID / 2] += ((int32_t *)before.data)[i] == ((int32_t *)after.data)[i];
    npy_release(&before);
    npy_release(&after);
}

/* Expects the right half to stay, and some of the left to be new. */
static void right_stays(const char *arguments)
{
    int halves[2];
    char *said;
    kept(arguments, halves, &said);
    if (halves[1] != CELLS / 2 || halves[0] > CELLS / 4 || strstr(said, "keeps "))
        fail_msg("%s: %d of the left half stay, %d of the right: %s", arguments, halves[0], halves[1], said);
}

static void test_masks(void **state)
{
    (void)state;
    image im;
    write_mask("rgba.png", SIDE, SIDE, PNG_FORMAT_RGBA, hole_left);
    write_mask("partly.png", SIDE, SIDE, PNG_FORMAT_RGBA, half_hole_left);
    write_mask("grey_alpha.png", SIDE, SIDE, PNG_FORMAT_GA, half_hole_left);
    write_mask("opaque.png", SIDE, SIDE, PNG_FORMAT_RGBA, white_right);
    write_mask("rgb.png", SIDE, SIDE, PNG_FORMAT_RGB, white_right);
    write_mask("grey.png", SIDE, SIDE, PNG_FORMAT_GRAY, white_right);
    write_mask("wide.png", 2 * SIDE, SIDE, PNG_FORMAT_RGB, middle_of_wide);
    static const char *const names[] = {"rgba.png", "partly.png", "grey_alpha.png", "opaque.png", "rgb.png",
                                        "grey.png", "wide.png",   "mask.jpg",       "mask.webp"};
    assert_true(image_read(&im, "rgb.png", NULL));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char line[128];
        err e = {0};
        if (!strncmp(names[i], "mask.", 5) && !image_write(&im, names[i], NULL, &e))
            continue; /* left out of this build */
        snprintf(line, sizeof line, "--image-prompt|start.png|--keep|%s", names[i]);
        right_stays(line);
    }
    image_release(&im);
}

static void test_masks_of_all_or_nothing(void **state)
{
    (void)state;
    int halves[2];
    char *said;
    write_mask("white.png", SIDE, SIDE, PNG_FORMAT_RGB, white);
    write_mask("black.png", SIDE, SIDE, PNG_FORMAT_RGB, black);
    write_mask("nothing.png", SIDE, SIDE, PNG_FORMAT_RGBA, nothing);
    kept("--image-prompt|start.png|--keep|white.png", halves, &said);
    assert_int_equal(halves[0] + halves[1], CELLS);
    cli_has(said,
            "--keep: white.png keeps all 64 cells: nothing is drawn anew (what is black or transparent is drawn anew)");
    kept("--image-prompt|start.png|--keep|top:1", halves, &said);
    cli_has(said, "--keep: top:1 keeps all 64 cells");
    kept("--image-prompt|start.png|--keep|black.png", halves, &said);
    assert_true(halves[0] + halves[1] < CELLS / 2);
    cli_has(said,
            "--keep: black.png keeps none of the 64 cells: all of the picture is drawn anew (what is white stays)");
    kept("--image-prompt|start.png|--keep|nothing.png", halves, &said);
    assert_true(halves[0] + halves[1] < CELLS / 2);
    cli_has(said, "nothing.png keeps none of the 64 cells: all of the picture is drawn anew (what is opaque stays)");
}

static void test_transparent_image_prompt(void **state)
{
    (void)state;
    char line[512], *said;
    int halves[2];
    write_mask("prompt.png", SIDE, SIDE, PNG_FORMAT_RGBA, hole_left);
    cli_good("encode|prompt.png|-o|start.npy|-q");
    kept("--image-prompt|prompt.png", halves, &said);
    assert_true(halves[1] == CELLS / 2 && halves[0] < CELLS / 2);
    cli_has(said, "prompt.png: its transparent parts are drawn anew, 32 of 64 cells (--keep says otherwise)");
    /* --keep counts, and what is less than a cell doesn't */
    kept("--image-prompt|prompt.png|--keep|top:0.5", halves, &said);
    assert_true(halves[0] >= 16 && halves[1] >= 16 && !strstr(said, "transparent"));
    write_mask("corner.png", SIDE, SIDE, PNG_FORMAT_RGBA, corner);
    snprintf(line, sizeof line, "generate|a dog|--seed|2|-o|out.png|--image-prompt|corner.png");
    assert_null(strstr(cli_good(line).err, "transparent"));
    char *text = image_read_text("out.png", "parameters");
    cli_has(text, "Keep: \"top:0.5\"");
    free(text);
}

static int prepare(void **state)
{
    (void)state;
    cli_good("generate|a red apple|--seed|1|-o|start.png|-q");
    cli_good("encode|start.png|-o|start.npy|-q");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_masks, prepare),
        cmocka_unit_test(test_masks_of_all_or_nothing),
        cmocka_unit_test(test_transparent_image_prompt),
    };
    int failed = cli_enter_device();
    if (!failed)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    cli_leave();
    return failed;
}
