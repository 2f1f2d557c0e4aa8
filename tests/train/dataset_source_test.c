/* Tests of the data set's sources: folders, JSON lines, tar files, captions. */
#include "dataset_tar_support.h"

#include "base/file.h"

/* ---- sources ------------------------------------------------------------------------------------------------- */

static void folder_is_read_below_by_name(void **state)
{
    (void)state;
    make_folder("set");
    make_folder("set/b");
    make_folder("set/.hidden");
    write_picture("set/c.png", 2);
    write_picture("set/a.x.PNG", 0);
    write_picture("set/b/z.jpeg", 1); /* told apart by the contents */
    write_picture("set/.hidden/no.png", 9);
    write_picture("set/._c.png", 9);
    write_bytes("set/d.heic",
                "\0\0\0\x18"
                "ftypheic",
                12);
    write_text("set/readme.md", "not data");
    write_text("set/noextension", "not data");
    assert_int_equal(symlink("..", path("set/b/up")), 0);
    write_text("set/a.x.txt", "first");
    const char *set = path("set/"); /* the slash at the end is not in names */
    dataset_options o = options_of(&set);
    o.want = DATASET_PICTURES;
    o.in_order = true;
    o.batch = 3;
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    assert_int_equal(dataset_size(d), 3);
    next(d, &b);
    assert_int_equal(b.n, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(b.pixels[i * 8 * 8 * 3], i);
        assert_null(b.captions[i]);
        assert_int_equal(b.items[i], i);
    }
    assert_int_equal(problems(d), 1);
    assert_problem(d, "/set/d.heic", "it is a HEIC picture (");
    dataset_free(d);

    o.want = DATASET_PAIRS;
    d = open_set(&o);
    assert_int_equal(dataset_size(d), 1);
    assert_int_equal(problems(d), 3);
    assert_problem(d, "/set/c.png", "no captions");
    assert_problem(d, "/set/b/z.jpeg", "no captions");
    next(d, &b);
    assert_string_equal(b.captions[2], "first");
    dataset_free(d);
    dataset_batch_release(&b);
    dataset_batch_release(&b);
}

static void lines_of_json_are_items(void **state)
{
    (void)state;
    make_folder("set");
    make_folder("set/pictures");
    write_picture("set/pictures/0.png", 0);
    write_picture("set/1.png", 1);
    char text[1024];
    snprintf(text, sizeof text,
             "{\"image\": \"pictures/0.png\", \"caption\": \" one \\u00e9 \"}\n"
             "\r\n"
             "{\"image\": \"%s\", \"captions\": [\"two\", 3, \"\", \"three\"], \"hash\": 18446744073709551615}\r\n"
             "{\"image\": \"1.png\", \"caption\": null, \"text\": \"four\"}\n"
             "{\"image\": \"1.png\", \"caption\": \"\"}\n"
             "{\"image\": \"1.png\"}\n"
             "{\"caption\": \"five\"}\n"
             "[1]\n"
             "{\"image\": \"1.png\"\n"
             "{\"image\": \"gone.png\", \"text\": \"six\"}",
             path("set/1.png"));
    write_text("set/list.jsonl", text);
    const char *source = path("set/list.jsonl");
    dataset_options o = options_of(&source);
    o.in_order = true;
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    seen s = {{0}, 0, 0};
    assert_int_equal(dataset_size(d), 4);
    assert_problem(d, "/set/list.jsonl:5", "its caption is empty");
    assert_problem(d, "/set/list.jsonl:6", "no \"caption\", \"captions\", \"text\" or \"prompt\"");
    assert_problem(d, "/set/list.jsonl:7", "no \"image\"");
    assert_problem(d, "/set/list.jsonl:8", "not a JSON object");
    assert_problem(d, "/set/list.jsonl:9", "not JSON");
    assert_int_equal(problems(d), 5);
    assert_true(dataset_captions(d, see, &s));
    assert_string_equal(s.text, "0=one \xC3\xA9|1=two|1=three|2=four|3=six|");
    assert_problem(d, "/set/list.jsonl:3", "caption 2 is not a string");
    next(d, &b);
    assert_string_equal(b.captions[0], "one \xC3\xA9");
    assert_string_equal(b.captions[2], "four");
    assert_int_equal(b.pixels[2 * 8 * 8 * 3], 1);
    assert_true(b.items[3] < 3);
    assert_problem(d, "/set/list.jsonl:10", "/set/gone.png: cannot open");
    assert_int_equal(problems(d), 7);
    dataset_batch_release(&b);
    dataset_free(d);

    o.want = DATASET_PICTURES; /* captions do not matter then */
    d = open_set(&o);
    assert_int_equal(dataset_size(d), 6);
    dataset_free(d);
}

/* ---- tar ----------------------------------------------------------------------------------------------------- */

typedef int tar_format(struct archive *a);

/* n samples KEY.png (or .jpg: told apart by the contents) with KEY.txt or KEY.json, captions as in make_set. */
static void make_tar(const char *name, tar_format *format, const char *prefix, int n)
{
    struct archive *a = archive_write_new();
    char text[512];
    assert_int_equal(format(a), ARCHIVE_OK);
    assert_int_equal(archive_write_set_bytes_per_block(a, 0), ARCHIVE_OK);
    assert_int_equal(archive_write_open_filename(a, path(name)), ARCHIVE_OK);
    tar_add(a, "README", "not data", 8);
    for (int i = 0; i < n; i++) {
        char key[400], member[512];
        snprintf(key, sizeof key, "%s%04d", prefix, i);
        snprintf(member, sizeof member, "%s.json", key);
        snprintf(text, sizeof text, "{\"captions\": [\"%d a\", \"%d b\"]}", i, i);
        tar_add(a, member, text, strlen(text));
        snprintf(member, sizeof member, "%s.%s", key, i % 3 ? "png" : "JPG");
        tar_add_picture(a, member, i);
        if (i % 2) {
            snprintf(member, sizeof member, "%s.txt", key);
            snprintf(text, sizeof text, "%d a\n%d b\r\n\n", i, i);
            tar_add(a, member, text, strlen(text));
        }
    }
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    archive_write_free(a);
}

static void tar_files_are_read_member_by_member(void **state)
{
    (void)state;
    static tar_format *const formats[] = {archive_write_set_format_ustar, archive_write_set_format_gnutar,
                                          archive_write_set_format_pax, archive_write_set_format_v7tar};
    char deep[300] = "deep/";
    memset(deep + 5, 'x', 200); /* longer than a header holds: GNU and pax have members for it before the member */
    deep[205] = '/';
    for (size_t f = 0; f < COUNT(formats); f++) {
        bool has_long = f == 1 || f == 2;
        make_tar("set.tar", formats[f], has_long ? deep : "a.b/\xC3\xA9", 7);
        const char *source = path("set.tar");
        dataset_options o = options_of(&source);
        dataset *d = open_set(&o);
        dataset_batch b = {0};
        seen s = {{0}, 0, 0};
        assert_int_equal(problems(d), 0);
        assert_int_equal(dataset_size(d), 7);
        int count[7] = {0};
        for (int k = 0; k < 7; k++) {
            next(d, &b);
            for (int i = 0; i < 4; i++) {
                assert_belongs(&b, i);
                count[b.items[i]]++;
            }
        }
        for (int i = 0; i < 7; i++)
            assert_int_equal(count[i], 4);
        assert_true(dataset_captions(d, see, &s));
        assert_int_equal(s.n, 14);
        assert_int_equal(problems(d), 0);
        dataset_batch_release(&b);
        dataset_free(d);
    }
}

static void folder_of_tar_files_is_a_source(void **state)
{
    (void)state;
    make_folder("set");
    make_tar("set/b.tar", archive_write_set_format_ustar, "", 3);
    make_tar("set/a.tar", archive_write_set_format_ustar, "", 2);
    write_text("set/bad.tar", "this is no tar file");
    const char *source = path("set");
    dataset_options o = options_of(&source);
    dataset *d = open_set(&o);
    assert_int_equal(dataset_size(d), 5);
    assert_int_equal(problems(d), 1);
    assert_problem(d, "/set/bad.tar", "is it a tar file?");
    dataset_free(d);
}

static void odd_tar_members_are_problems(void **state)
{
    (void)state;
    struct archive *a = archive_write_new();
    archive_write_set_format_ustar(a);
    assert_int_equal(archive_write_open_filename(a, path("set.tar")), ARCHIVE_OK);
    tar_add_picture(a, "0.png", 0);
    tar_add(a, "0.txt", "fine", 4);
    tar_add(a, "1.txt", "no picture", 10);
    tar_add_picture(a, "2.png", 2);
    tar_add(a, "3.png", "not a png", 9);
    tar_add(a, "3.txt", "broken", 6);
    tar_add_picture(a, "4.png", 4);
    tar_add(a, "4.json", "{", 1);
    tar_add(a, "5.png", "", 0);
    tar_add(a, "5.txt", "empty", 5);
    tar_add_picture(a, "6.png", 6);
    tar_add_picture(a, "6.jpg", 6);
    tar_add(a, "6.txt", "\xff\xfe", 2);
    archive_write_close(a);
    archive_write_free(a);
    const char *source = path("set.tar");
    dataset_options o = options_of(&source);
    dataset *d = open_set(&o);
    dataset_batch b = {0};
    assert_int_equal(dataset_size(d), 5);
    for (int k = 0; k < 5; k++) {
        next(d, &b);
        for (int i = 0; i < 4; i++)
            assert_int_equal(b.items[i], 0);
    }
    assert_problem(d, "set.tar: 1", "no picture");
    assert_problem(d, "set.tar: 2", "no captions");
    assert_problem(d, "set.tar: 3.png", "cannot read the picture");
    assert_problem(d, "set.tar: 4.png", "not JSON");
    assert_problem(d, "set.tar: 5.png", "");
    assert_problem(d, "set.tar: 6.jpg", "a second picture");
    assert_problem(d, "set.tar: 6.png", "caption 1 is not UTF-8");
    assert_int_equal(problems(d), 7);
    dataset_batch_release(&b);
    dataset_free(d);
}

static void damaged_and_foreign_files_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *data, *message;
    } rows[] = {{"x.tar.gz", "\x1f\x8b\x08", "the gzip data end too early (is it incomplete?"},
                {"x.tar", "\x1f\x8b\x08", "cannot unpack the gzip file"},
                {"x.tzst", "\x28\xb5\x2f\xfd", "cannot unpack"},
                {"x.tar.zst", "\x28\xb5\x2f\xfd", "cannot unpack"},
                {"x.tar",
                 "\xfd"
                 "7zXZ",
                 "it is no whole compressed file"},
                {"x.gz", "rubbish", "is it a tar file?"},
                {"x.tar", "", "the tar file is empty"},
                {"x.tar", "rubbish", "is it a tar file?"},
                {"x.csv", "a,b", "no data source (give a folder"}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        err e = {0};
        write_text(rows[i].name, rows[i].data);
        const char *source = path(rows[i].name);
        dataset_options o = options_of(&source);
        assert_null(dataset_open(&o, &e));
        assert_message(&e, rows[i].message);
        assert_message(&e, rows[i].name);
    }
}

/* Opens, walks through everything once; true where there was an item. */
static bool try_tar(const void *data, size_t bytes)
{
    err e = {0};
    write_bytes("try.tar", data, bytes);
    const char *source = path("try.tar");
    dataset_options o = options_of(&source);
    o.threads = 1;
    dataset_batch b = {0};
    seen s = {{0}, 0, 0};
    dataset *d = dataset_open(&o, &e);
    if (!d) {
        assert_int_not_equal(e.code, 0);
        return false;
    }
    dataset_captions(d, see, &s);
    if (!dataset_next(d, &b, &e))
        assert_message(&e, "items is usable");
    dataset_batch_release(&b);
    dataset_free(d);
    return true;
}

static void damaged_tar_files_never_crash(void **state)
{
    (void)state;
    static tar_format *const formats[] = {archive_write_set_format_gnutar, archive_write_set_format_pax};
    char deep[300] = "";
    memset(deep, 'x', 150);
    for (size_t f = 0; f < COUNT(formats); f++) {
        file_map m;
        make_tar("set.tar", formats[f], deep, 2);
        assert_true(file_map_open(&m, path("set.tar"), NULL));
        uint8_t *copy = malloc(m.size);
        for (size_t n = 0; n <= m.size; n += 512) {
            try_tar(m.data, n);
            if (n)
                try_tar(m.data, n - 1);
        }
        static const uint8_t values[] = {0, '7', 0x80, 0xff};
        for (size_t at = 0; at < m.size; at += 31)
            for (size_t v = 0; v < COUNT(values); v++) {
                if (at % 512 > 160 && v) /* names and contents less thoroughly than sizes and kinds */
                    continue;
                memcpy(copy, m.data, m.size);
                copy[at] = values[v];
                try_tar(copy, m.size);
            }
        assert_true(try_tar(m.data, m.size));
        free(copy);
        file_map_release(&m);
    }
}

static void truncated_tar_file_is_used_up_to_there(void **state)
{
    (void)state;
    file_map m;
    make_tar("set.tar", archive_write_set_format_ustar, "", 9);
    assert_true(file_map_open(&m, path("set.tar"), NULL));
    int64_t most = 0;
    const char *source = path("cut.tar");
    dataset_options o = options_of(&source);
    for (size_t cut = 0; cut < 1536; cut += 100) { /* in headers, in data, in what fills up */
        size_t bytes = m.size / 2 / 512 * 512 + cut;
        char at[128];
        write_bytes("cut.tar", m.data, bytes);
        dataset *d = open_set(&o);
        assert_true(dataset_size(d) >= 3 && dataset_size(d) < 9);
        most = dataset_size(d) > most ? dataset_size(d) : most;
        const dataset_problem *list;
        size_t n;
        unsigned long byte = 0;
        dataset_problems(d, &list, &n);
        if (n != 1) /* of the sample that was cut it is the only one */
            fail_msg("%zu bytes: %zu problems: %s, %s", bytes, n, list[0].reason, n > 1 ? list[1].reason : "");
        assert_non_null(strstr(list[0].reason, "(is it incomplete?)"));
        assert_int_equal(sscanf(list[0].reason, "cannot read the tar file past byte %lu: ", &byte), 1);
        snprintf(at, sizeof at, "%lu of %zu: %s", byte, bytes, list[0].reason);
        if (byte > bytes || byte + 512 < bytes)
            fail_msg("%s", at);
        dataset_batch b = {0};
        for (int k = 0; k < 3; k++) /* what is there is whole */
            next(d, &b);
        assert_int_equal(problems(d), 1);
        dataset_batch_release(&b);
        dataset_free(d);
    }
    assert_true(most >= 4);
    file_map_release(&m);
}

static void captions_are_lines(void **state)
{
    (void)state;
    make_folder("set");
    write_picture("set/0.png", 0);
    write_picture("set/1.png", 1);
    write_picture("set/2.png", 2);
    write_picture("set/3.png", 3);
    write_text("set/0.txt", "\xEF\xBB\xBFone\r\n\r\n  \t\r\n two \r\nthree");
    write_bytes("set/1.txt", "ze\0ro\nfour\n", 11);
    write_bytes("set/2.txt", "", 0);
    const char *set = path("set");
    dataset_options o = options_of(&set);
    o.want = DATASET_PICTURES;
    dataset *d = open_set(&o);
    seen s = {{0}, 0, 0};
    assert_true(dataset_captions(d, see, &s));
    assert_string_equal(s.text, "0=one|0=two|0=three|1=four|");
    assert_int_equal(problems(d), 2);
    assert_problem(d, "/set/1.png", "caption 1 has a zero byte");
    assert_problem(d, "/set/2.png", "its caption is empty");
    s = (seen){{0}, 0, 2};
    assert_false(dataset_captions(d, see, &s));
    assert_string_equal(s.text, "0=one|0=two|");
    assert_int_equal(problems(d), 2); /* each is counted once */
    dataset_batch b = {0};
    for (int k = 0; k < 3; k++)
        next(d, &b);
    assert_int_equal(problems(d), 2);
    dataset_batch_release(&b);
    dataset_free(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        DATASET_TEST(folder_is_read_below_by_name),
        DATASET_TEST(lines_of_json_are_items),
        DATASET_TEST(tar_files_are_read_member_by_member),
        DATASET_TEST(folder_of_tar_files_is_a_source),
        DATASET_TEST(odd_tar_members_are_problems),
        DATASET_TEST(damaged_and_foreign_files_are_refused),
        DATASET_TEST(damaged_tar_files_never_crash),
        DATASET_TEST(truncated_tar_file_is_used_up_to_there),
        DATASET_TEST(captions_are_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
