/* Tests of data sets in archives as people have them: WebDataset's members, compressed files, shards by their braces.
 */
#include "dataset_kinds_support.h"
#include "dataset_tar_support.h"

typedef int archive_setting(struct archive *a);

static struct archive *begin_tar(const char *name, archive_setting *filter)
{
    struct archive *a = archive_write_new();
    assert_int_equal(archive_write_set_format_ustar(a), ARCHIVE_OK);
    if (filter)
        assert_int_equal(filter(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path(name)), ARCHIVE_OK);
    return a;
}

static void tar_text(struct archive *a, const char *name, const char *text)
{
    tar_add(a, name, text, strlen(text));
}

static void end_tar(struct archive *a)
{
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

static void make_shard(const char *name, archive_setting *filter, int first, int n)
{
    struct archive *a = begin_tar(name, filter);
    for (int i = first; i < first + n; i++) {
        char member[32], text[32];
        snprintf(member, sizeof member, "%04d.png", i);
        tar_add_picture(a, member, i);
        snprintf(member, sizeof member, "%04d.txt", i);
        snprintf(text, sizeof text, "%d", i);
        tar_text(a, member, text);
    }
    end_tar(a);
}

static void members_have_what_peers_write(void **state)
{
    (void)state;
    struct archive *a = begin_tar("set.tar", NULL);
    tar_add_picture(a, "./a/0.JPG", 0);
    tar_text(a, "./a/0.cls", "7");
    tar_text(a, "./a/0.json", "{\"caption\": \"zero\", \"key\": \"0\"}");
    tar_text(a, "1.TXT", "one\nuno\n");
    tar_text(a, "1.json", "{\"caption\": \"not this one\"}");
    tar_add_picture(a, "1.PNG", 1);
    tar_add_picture(a, "2.left.png", 2);
    tar_text(a, "2.caption.txt", "two");
    tar_text(a, "2.0.txt", "zwei");
    tar_text(a, "2.text", "deux");
    tar_add_picture(a, "__MACOSX/3.png", 3);
    tar_add_picture(a, "._4.png", 4);
    tar_text(a, "5.webp", "RIFF");
    tar_text(a, "5.txt", "five");
    tar_add(a, "6.heic",
            "\0\0\0\x18"
            "ftypheic",
            12);
    tar_text(a, "6.txt", "six");
    tar_add_picture(a, "7.png", 7);
    tar_text(a, "7.cls", "3");
    tar_add_picture(a, "8.HEIC", 8); /* as some phones export a PNG or a JPEG */
    tar_text(a, "8.txt", "eight");
    end_tar(a);
    has_captions(path("set.tar"), "0=zero|1=one|1=uno|2=two|2=zwei|2=deux|3=five|4=eight|");
    dataset *d = open_pairs(path("set.tar"), DATASET_PAIRS);
    dataset_batch b = {0};
    next(d, &b);
    for (int i = 0; i < 3; i++)
        assert_int_equal(b.pixels[i * 8 * 8 * 3], i);
    assert_problem(d, "set.tar: 5.webp", "");
    assert_problem(d, "set.tar: 6.heic", "it is a HEIC picture (");
    assert_problem(d, "set.tar: 6", "no picture");
    assert_problem(d, "set.tar: 7", "no captions");
    assert_int_equal(problems(d), 4);
    dataset_batch_release(&b);
    dataset_free(d);
    has_items(path("set.tar"), DATASET_PICTURES, 6);
}

static void compressed_archives_are_unpacked(void **state)
{
    (void)state;
    static const struct {
        archive_setting *filter;
        const char *name;
    } rows[] = {{archive_write_add_filter_gzip, "a.tar.gz"},   {archive_write_add_filter_gzip, "b.tgz"},
                {archive_write_add_filter_bzip2, "c.tar.bz2"}, {archive_write_add_filter_xz, "d.tar.xz"},
                {archive_write_add_filter_zstd, "e.tar.zst"},  {archive_write_add_filter_lz4, "g.tar.lz4"},
                {archive_write_add_filter_gzip, "f.tar"}};
    assert_int_equal(setenv("LIMN_CACHE_DIR", path("cache"), 1), 0);
    for (size_t i = 0; i < COUNT(rows); i++) {
        make_shard(rows[i].name, rows[i].filter, 0, 5);
        dataset *d = open_pairs(path(rows[i].name), DATASET_PAIRS);
        dataset_batch b = {0};
        assert_int_equal(dataset_size(d), 5);
        assert_int_equal(problems(d), 0);
        for (int k = 0; k < 3; k++)
            next(d, &b);
        assert_int_equal(problems(d), 0);
        dataset_batch_release(&b);
        dataset_free(d);
        assert_int_not_equal(rmdir(path("cache")), -1); /* nothing stays */
        has_captions(path(rows[i].name), "0=0|1=1|2=2|3=3|4=4|");
    }
    make_folder("set");
    make_shard("set/x.tar.gz", archive_write_add_filter_gzip, 0, 2);
    make_shard("set/y.tar", NULL, 2, 2);
    has_captions(path("set"), "0=0|1=1|2=2|3=3|");
    /* what is whole of a file that was cut */
    file_map m;
    make_shard("long.tar.gz", archive_write_add_filter_gzip, 0, 400);
    assert_true(file_map_open(&m, path("long.tar.gz"), NULL));
    write_bytes("cut.tar.gz", m.data, m.size / 2);
    file_map_release(&m);
    dataset *d = open_pairs(path("cut.tar.gz"), DATASET_PAIRS);
    assert_true(dataset_size(d) > 20 && dataset_size(d) < 400);
    assert_int_equal(problems(d), 1);
    assert_problem(d, "cut.tar.gz", "cannot be unpacked past byte ");
    dataset_free(d);
    unsetenv("LIMN_CACHE_DIR");
}

static void braces_name_shards(void **state)
{
    (void)state;
    make_folder("a");
    make_folder("b");
    for (int i = 0; i < 12; i++) {
        char name[64];
        snprintf(name, sizeof name, "%s/shard-%06d.tar", i < 6 ? "a" : "b", i);
        make_shard(name, NULL, i, 1);
    }
    make_shard("x-1.tar", NULL, 0, 1);
    make_shard("x{1..2}.tar", NULL, 0, 3);
    has_captions(path("a/shard-{000000..000002}.tar"), "0=0|1=1|2=2|");
    has_captions(path("a/shard-{000002..000000}.tar"), "0=2|1=1|2=0|");
    has_captions(path("a/shard-{000000..000005..2}.tar"), "0=0|1=2|2=4|");
    has_captions(path("{a/shard-00000{0,3},b/shard-00000{7..8}}.tar"), "0=0|1=3|2=7|3=8|");
    has_captions(path("{b/shard-{000006,000008},a/shard-000001}.tar"), "0=6|1=8|2=1|");
    has_captions(path("a/shard-00000{1,{2..3}}.tar"), "0=1|1=2|2=3|");
    has_items(path("x{1..2}.tar"), DATASET_PAIRS, 3); /* a file of that name is that file */
    has_items(path("x-{1..1}.tar"), DATASET_PAIRS, 1);
    err e = {0};
    const char *source = path("a/shard-{000004..000007}.tar");
    dataset_options o = options_of(&source);
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "a/shard-000006.tar: cannot open: No such file");
    static const char *const senseless[] = {"{1..2",
                                            "{a",
                                            "{}",
                                            "{1..99999999999999999999}",
                                            "{{1..1000000}..2}{",
                                            "{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}{0..9}",
                                            "{1..5..0}"};
    for (size_t i = 0; i < COUNT(senseless); i++) {
        source = senseless[i];
        e = (err){0};
        assert_null(dataset_open(&o, &e));
        assert_int_not_equal(e.code, 0);
    }
}

static void odd_braces_never_crash(void **state)
{
    (void)state;
    static const char letters[] = "{{{}}},,..019aZ-/";
    uint64_t random = 1;
    for (int i = 0; i < 3000; i++) {
        char name[48];
        size_t n = 0;
        while (n < sizeof name - 1) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            name[n++] = letters[(random >> 40) % (sizeof letters - 1)];
            if ((random >> 33) % 24 == 0)
                break;
        }
        name[n] = 0;
        err e = {0};
        const char *source = name;
        dataset_options o = options_of(&source);
        dataset *d = name[0] == '/' || name[0] == '.' ? NULL : dataset_open(&o, &e);
        if (d)
            fail_msg("%s", name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DATASET_TEST(members_have_what_peers_write),
        DATASET_TEST(compressed_archives_are_unpacked),
        DATASET_TEST(braces_name_shards),
        DATASET_TEST(odd_braces_never_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
