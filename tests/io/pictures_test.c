/* Tests of reading pictures as cameras, phones, browsers and programs make them: the files of tests/data/pictures, and
 * what Pillow reads of them (tools/make_golden_pictures.py). */
#include "io_support.h"

#include "base/log.h"
#include "io/image.h"

static char warnings[1024];

static void keep_warning(void *context, log_level level, const char *line)
{
    (void)context;
    if (level == LOG_WARNING)
        snprintf(warnings, sizeof warnings, "%s", line);
}

static char *data_path(const char *name)
{
    static char text[2][512];
    static int i;
    i ^= 1;
    snprintf(text[i], sizeof text[i], "%s/pictures/%s", TEST_DATA, name);
    return text[i];
}

static bool ends(const char *name, const char *ending)
{
    size_t n = strlen(name), m = strlen(ending);
    return n >= m && !strcmp(name + n - m, ending);
}

/* Whether this limn was built without a library that the file needs; then its message has to say so. */
static bool is_left_out(const err *e)
{
    return strstr(e->text, "limn was built without") != NULL;
}

/* The largest difference. */
static int distance(const image *a, const image *b)
{
    int most = 0;
    if (a->width != b->width || a->height != b->height)
        return 256;
    for (int i = 0; i < 3 * a->width * a->height; i++)
        most = abs(a->pixels[i] - b->pixels[i]) > most ? abs(a->pixels[i] - b->pixels[i]) : most;
    return most;
}

/* Reads the file and compares; false where it's left out. */
static bool compare(const char *name, const char *wanted, int tolerance)
{
    err e = {0};
    image a, b;
    *warnings = 0;
    if (!image_read(&a, data_path(name), &e)) {
        if (!is_left_out(&e))
            fail_msg("%s", e.text);
        return false;
    }
    assert_true(image_read(&b, data_path(wanted), &e));
    if (distance(&a, &b) > tolerance && !strstr(warnings, "limn was built without"))
        fail_msg("%s is %d from %s", name, distance(&a, &b), wanted);
    image_release(&a);
    image_release(&b);
    return true;
}

static int each_file(void (*check)(const char *name))
{
    struct dirent **list;
    int n = scandir(data_path(""), &list, NULL, alphasort);
    for (int i = 0; i < n; i++) {
        if (*list[i]->d_name != '.' && !ends(list[i]->d_name, ".want.png"))
            check(list[i]->d_name);
        free(list[i]);
    }
    free(list);
    return n;
}

static void check_wanted(const char *name)
{
    char wanted[300];
    snprintf(wanted, sizeof wanted, "%s.want.png", name);
    /* the decoders are the same; conversions of pictures so small are 1 from Pillow's, larger ones equal; the CMYK
     * profile's 3^4 colours in 8 bits are steep */
    int tolerance = !strcmp(name, "cmyk_profile.jpg") ? 4 : strstr(name, "p3") || strstr(name, "profile") ? 1 : 0;
    if (access(data_path(wanted), R_OK) == 0)
        compare(name, wanted, tolerance);
}

static void all_kinds_are_read_as_by_pillow(void **state)
{
    (void)state;
    assert_in_range(each_file(check_wanted), 80, 1000);
}

static int orientations;

static void check_upright(const char *name)
{
    if (strncmp(name, "orientation", 11) != 0)
        return;
    orientations++;
    compare(name, "upright.png", ends(name, ".jpg") ? 3 : 0); /* what JPEG loses */
}

static void pictures_are_turned_upright(void **state)
{
    (void)state;
    orientations = 0;
    each_file(check_upright);
    assert_in_range(orientations, 20, 1000);
}

static void profiles_of_srgb_change_nothing(void **state)
{
    (void)state;
    assert_true(compare("srgb_profile.png", "upright.png", 0));
    assert_true(compare("srgb_chunk.png", "upright.png", 0));
    assert_true(compare("cicp_srgb.png", "upright.png", 0));
    assert_true(compare("gamma.png", "upright.png", 0)); /* which limn leaves alone */
    assert_string_equal(warnings, "");
    compare("srgb.jpg", "rgb.jpg", 4); /* as far as JPEG goes; the others are exact */
    compare("srgb_lcms.jpg", "srgb.jpg", 0);
}

static void profiles_that_cannot_be_used_are_left_out_with_a_warning(void **state)
{
    (void)state;
    static const struct {
        const char *name, *warning;
    } rows[] = {
        {"profile_broken.png", "profile_broken.png: its colour profile is left out"},
        {"profile_broken.jpg", "profile_broken.jpg: its colour profile is"},
        {"profile_broken.webp", "profile_broken.webp: its colour profile is"},
        {"profile_piece_missing.jpg", "profile_piece_missing.jpg: its colour profile "},
        {"profile_of_cmyk.jpg", "profile_of_cmyk.jpg: its colour profile is"},
        {"cicp_pq.png", "cicp_pq.png: its "},
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        char wanted[300];
        snprintf(wanted, sizeof wanted, "%s.want.png", rows[i].name);
        if (compare(rows[i].name, wanted, 0) && !strstr(warnings, rows[i].warning))
            fail_msg("'%s' is not in '%s'", rows[i].warning, warnings);
    }
}

static void what_libjpeg_cannot_read_is_said(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"bits_12.jpg", "it has 12 bits a colour, and only 8 are read (save it with 8"},
        {"lossless.jpg", "its kind of JPEG (lossless or hierarchical) can't be read"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = {0};
        image im;
        assert_false(image_read(&im, data_path(rows[i][0]), &e));
        if (!is_left_out(&e))
            assert_message(&e, rows[i][1]);
    }
}

static void alpha_is_read_beside_the_colours(void **state)
{
    (void)state;
    static const char *const names[] = {"p3_alpha.png", "alpha_lossless.webp", "grey_alpha_profile.png"};
    for (size_t i = 0; i < COUNT(names); i++) {
        err e = {0};
        image im;
        uint8_t *alpha;
        if (!image_read_alpha(&im, &alpha, data_path(names[i]), &e)) {
            assert_true(is_left_out(&e));
            continue;
        }
        assert_non_null(alpha);
        assert_true(alpha[0] == 0 && alpha[im.width - 1] == 255 && alpha[im.width / 2] > 100);
        free(alpha);
        image_release(&im);
        assert_true(image_read_alpha(&im, &alpha, data_path("upright.png"), &e));
        assert_null(alpha);
        image_release(&im);
    }
}

/* ---- other kinds ------------------------------------------------------------------------------------------------- */

static void other_kinds_are_called_by_their_names(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t n;
        const char *message;
    } rows[] = {
#define ROW(bytes, message) {bytes, sizeof bytes - 1, message}
        ROW("", "the file is empty"),
        ROW("GIF89a\1\0", "it is a GIF picture (convert it to PNG first"),
        ROW("BM\x46\0\0\0", "it is a BMP picture"),
        ROW("II*\0\x08\0\0\0", "it is a TIFF picture"),
        ROW("MM\0*\0\0\0\x08", "it is a TIFF picture"),
        ROW("\0\0\0\x18"
            "ftypheic\0\0\0\0mif1heic",
            "it is a HEIC picture (convert it to JPEG or PNG first"),
        ROW("\0\0\0\x18"
            "ftypmif1\0\0\0\0mif1heic",
            "it is a HEIF picture"),
        ROW("\0\0\0\x1c"
            "ftypavif\0\0\0\0",
            "it is an AVIF picture"),
        ROW("\xff\x0a\xfa\x7f", "it is a JPEG XL picture"),
        ROW("\0\0\0\x0cJXL \r\n\x87\n", "it is a JPEG XL picture"),
        ROW("%PDF-1.7\n", "it is a PDF document"),
        ROW("<?xml version=\"1.0\"?>\n<!-- drawn --><svg xmlns=\"x\"/>", "it is an SVG drawing"),
        ROW("\xef\xbb\xbf <svg width=\"4\"/>", "it is an SVG drawing"),
        ROW("<!DOCTYPE html><html>", "it is a web page and no picture"),
        ROW("8BPS\0\1", "it is a Photoshop document"),
        ROW("P6\n1 1\n255\nabc", "it is a Netpbm picture"),
        ROW("version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        ROW("RIFF\4\0\0\0WAVE", "neither PNG nor JPEG nor WebP"),
        ROW("hello", "neither PNG nor JPEG nor WebP"),
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = {0};
        image im;
        assert_int_equal(image_recognise(rows[i].bytes, rows[i].n), IMAGE_NONE);
        assert_false(image_read_memory(&im, rows[i].bytes, rows[i].n, "a.png", &e));
        assert_message(&e, rows[i].message);
        assert_memory_equal(e.text, "a.png: ", 7);
    }
}

static void names_of_pictures_are_known(void **state)
{
    (void)state;
    static const char *const good[] = {"a.png", "b/c.JPG", "d.x.Jpeg", "e.webp", "f.jfif", "g.jpe"};
    static const char *const bad[] = {"a", ".png", "b/.png", "c.gif", "png", "d.png.txt", "e.jpg~"};
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(image_is_picture_name(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(image_is_picture_name(bad[i]));
}

static bool probe_memory(const uint8_t *data, size_t n)
{
    image im;
    err e = {0};
    uint8_t *copy = malloc(n ? n : 1); /* so that AddressSanitizer sees what is read beyond */
    memcpy(copy, data, n);
    bool ok = image_read_memory(&im, copy, n, "file", &e);
    assert_true(ok ? im.pixels != NULL : !im.pixels && !strncmp(e.text, "file: ", 6));
    image_release(&im);
    free(copy);
    return ok;
}

static void damaged_files_are_survived(void **state)
{
    (void)state;
    static const char *const names[] = {
        "animated.webp",    "alpha.webp",     "orientation.webp",         "p3.webp",     "cmyk_profile.jpg",
        "p3_in_pieces.jpg", "arithmetic.jpg", "orientation_raw_exif.png", "p3_alpha.png"};
    log_set_sink(NULL, NULL);
    for (size_t k = 0; k < COUNT(names); k++) {
        static uint8_t data[1 << 16];
        FILE *f = fopen(data_path(names[k]), "rb");
        size_t n = fread(data, 1, sizeof data, f), step = n / 300 + 1;
        fclose(f);
        if (!probe_memory(data, n)) /* left out of this build */
            continue;
        for (size_t i = 0; i < n; i++)
            assert_false(probe_memory(data, i));
        for (size_t i = 0; i < n; i += step)
            for (int v = 0; v < 3; v++) {
                uint8_t was = data[i];
                data[i] = (uint8_t)(v == 0 ? 0 : v == 1 ? 0xff : was ^ 0x20);
                probe_memory(data, n);
                data[i] = was;
            }
    }
    log_set_sink(keep_warning, NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pictures_are_turned_upright),
        cmocka_unit_test(profiles_of_srgb_change_nothing),
        cmocka_unit_test(profiles_that_cannot_be_used_are_left_out_with_a_warning),
        cmocka_unit_test(all_kinds_are_read_as_by_pillow),
        cmocka_unit_test(what_libjpeg_cannot_read_is_said),
        cmocka_unit_test(alpha_is_read_beside_the_colours),
        cmocka_unit_test(other_kinds_are_called_by_their_names),
        cmocka_unit_test(names_of_pictures_are_known),
        cmocka_unit_test(damaged_files_are_survived),
    };
    log_set_sink(keep_warning, NULL);
    return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
