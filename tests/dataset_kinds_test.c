/* Tests of data sets as people have them: links, lists, odd names, compressed and damaged archives, and what is said.
 */
#include "dataset_support.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include "base/file.h"
#include "base/log.h"

/* ---- support ------------------------------------------------------------------------------------------------- */

static char logged[8192];

static void keep_line(void *context, log_level level, const char *line)
{
    (void)context;
    (void)level;
    size_t n = strlen(logged);
    snprintf(logged + n, sizeof logged - n, "%s\n", line);
}

/* What dataset_log_problems says, with the folder's name as "@". */
static const char *said(dataset *d)
{
    static char text[8192];
    size_t n = 0, length = strlen(directory);
    logged[0] = 0;
    log_set_sink(keep_line, NULL);
    dataset_log_problems(d);
    log_set_sink(NULL, NULL);
    for (const char *p = logged; *p && n + 1 < sizeof text;) {
        bool folder = !strncmp(p, directory, length);
        text[n++] = folder ? '@' : *p;
        p += folder ? length : 1;
    }
    text[n] = 0;
    return text;
}

static dataset *open_pairs(const char *source, dataset_want want)
{
    dataset_options o = options_of(&source);
    o.want = want;
    o.in_order = true;
    return open_set(&o);
}

/* All captions of all items, "0=a|0=b|1=c|". */
static void has_captions(const char *source, const char *expected)
{
    seen s = {{0}, 0, 0};
    dataset *d = open_pairs(source, DATASET_PAIRS);
    assert_true(dataset_captions(d, see, &s));
    assert_string_equal(s.text, expected);
    dataset_free(d);
}

static void has_items(const char *source, dataset_want want, int64_t n)
{
    dataset *d = open_pairs(source, want);
    assert_int_equal(dataset_size(d), n);
    dataset_free(d);
}

static void write_pair(const char *name, int value, const char *caption)
{
    char file[128];
    snprintf(file, sizeof file, "%s.png", name);
    write_picture(file, value);
    snprintf(file, sizeof file, "%s.txt", name);
    write_text(file, caption);
}

/* ---- folders ------------------------------------------------------------------------------------------------- */

static void links_are_followed_once(void **state)
{
    (void)state;
    make_folder("set");
    make_folder("set/b");
    make_folder("other");
    make_folder("other/deep");
    write_pair("set/z", 0, "z");
    write_pair("set/b/y", 1, "y");
    write_pair("other/x", 2, "x");
    write_pair("other/deep/w", 3, "w");
    assert_int_equal(symlink("../other", path("set/a")), 0); /* a folder elsewhere: after the folder's own */
    assert_int_equal(symlink("..", path("set/b/up")), 0);    /* itself */
    assert_int_equal(symlink("b", path("set/again")), 0);    /* one that is read where it is */
    assert_int_equal(symlink("../..", path("other/deep/top")), 0);
    assert_int_equal(symlink(path("other/x.png"), path("set/v.png")), 0);
    write_text("set/v.txt", "v");
    has_captions(path("set"), "0=y|1=v|2=z|3=w|4=x|");
    dataset *d = open_pairs(path("set"), DATASET_PICTURES);
    dataset_batch b = {0};
    assert_int_equal(dataset_size(d), 5);
    assert_int_equal(problems(d), 0);
    next(d, &b);
    static const int values[] = {1, 2, 0, 3};
    for (int i = 0; i < 4; i++)
        assert_int_equal(b.pixels[i * 8 * 8 * 3], values[i]);
    dataset_batch_release(&b);
    dataset_free(d);
    /* two folders that link to each other, and a link as the source */
    assert_int_equal(symlink("../set", path("other/back")), 0);
    assert_int_equal(symlink("set", path("link")), 0);
    has_items(path("link"), DATASET_PAIRS, 5);
    has_items(path("other"), DATASET_PAIRS, 5);
}

static void links_to_nothing_are_counted(void **state)
{
    (void)state;
    char name[64];
    make_folder("set");
    write_pair("set/a", 0, "a");
    for (int i = 0; i < 7; i++) {
        snprintf(name, sizeof name, "set/gone%d%s", i, i % 2 ? ".png" : "");
        assert_int_equal(symlink("nowhere", path(name)), 0);
    }
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    assert_int_equal(dataset_size(d), 1);
    assert_int_equal(problems(d), 7);
    assert_string_equal(said(d),
                        "data: a link to what is not there: 7 times: @/set/gone0, @/set/gone1.png, @/set/gone2, "
                        "@/set/gone3.png, and 3 more\n");
    assert_string_equal(said(d), ""); /* once */
    dataset_free(d);
}

static void what_systems_leave_is_no_data(void **state)
{
    (void)state;
    make_folder("set");
    make_folder("set/__MACOSX");
    make_folder("set/@eaDir");
    make_folder("set/.git");
    write_pair("set/a", 0, "a");
    write_pair("set/__MACOSX/b", 0, "b");
    write_pair("set/@eaDir/c", 0, "c");
    write_pair("set/.git/d", 0, "d");
    write_pair("set/._a", 0, "e");
    write_pair("set/model.gguf", 0, "a sheet of samples, from training into the folder of the data");
    write_text("set/Thumbs.db", "x");
    write_text("set/desktop.ini", "x");
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    assert_int_equal(dataset_size(d), 1);
    assert_int_equal(problems(d), 0);
    dataset_free(d);
}

static void captions_lie_beside_pictures(void **state)
{
    (void)state;
    make_folder("set");
    for (int i = 0; i < 7; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.%s", i, i % 2 ? "png" : "JPG");
        write_picture(name, i);
    }
    write_text("set/0.TXT", "\xEF\xBB\xBFzero\r\n");
    write_text("set/1.caption", "one");
    write_text("set/2.json", "{\"width\": 3, \"prompt\": \"two\"}");
    write_text("set/3.json", "{\"caption\": \"\", \"text\": [\"three\", \"drei\"]}");
    write_text("set/3.unrelated", "x");
    write_text("set/4.txt", "four");
    write_text("set/4.json", "{\"caption\": \"not this one\"}");
    write_bytes("set/5.txt",
                "\xff\xfe"
                "f\0i\0",
                6);
    write_bytes("set/6.txt", "caf\xe9\nsix", 8);
    has_captions(path("set"), "0=zero|1=one|2=two|3=three|3=drei|4=four|6=six|");
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    seen s = {{0}, 0, 0};
    dataset_captions(d, see, &s);
    assert_problem(d, "/set/5.png", "UTF-16");
    assert_problem(d, "/set/6.JPG", "caption 1 is not UTF-8 (is it Latin-1?");
    assert_int_equal(problems(d), 2);
    dataset_free(d);
}

static void captions_of_nothing_are_empty(void **state)
{
    (void)state;
    make_folder("set");
    write_pair("set/0", 0, "\xE2\x80\x8B\n\xC2\xA0 \xEF\xBB\xBF\n\xE3\x80\x80");
    write_pair("set/1", 0, "\xE2\x80\x8B\n\xC3\xA9");
    has_captions(path("set"), "1=\xC3\xA9|");
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    seen s = {{0}, 0, 0};
    dataset_captions(d, see, &s);
    assert_problem(d, "/set/0.png", "its caption is empty");
    assert_int_equal(problems(d), 1);
    dataset_free(d);
}

static void lists_caption_the_pictures_of_a_folder(void **state)
{
    (void)state;
    make_folder("set");
    make_folder("set/sub");
    make_folder("set/csv");
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.png", i);
        write_picture(name, i);
        snprintf(name, sizeof name, "set/sub/%d.png", i);
        write_picture(name, 10 + i);
        snprintf(name, sizeof name, "set/csv/%d.png", i);
        write_picture(name, 20 + i);
    }
    write_text("set/3.txt", "the file beside it goes first");
    write_text("set/metadata.jsonl", "\xEF\xBB\xBF{\"file_name\": \"0.png\", \"text\": \"zero\"}\r\n"
                                     "{\"file_name\": \"./sub//1.png\", \"text\": \"sub one\"}\r\n"
                                     "{\"file_name\": \"0.png\", \"text\": \"null\"}\r\n"
                                     "\r\n"
                                     "{\"file_name\": \"3.png\", \"text\": \"three\"}\r\n"
                                     "{\"file_name\": \"9.png\", \"text\": \"nine\"}\r\n"
                                     "{\"file_name\": \"../7.png\", \"text\": \"outside\"}\r\n"
                                     "{\"text\": \"of nothing\"}\r\n");
    write_text("set/sub/metadata.jsonl", "{\"file_name\": \"2.png\", \"caption\": \"sub two\"}\n");
    write_text("set/csv/metadata.csv", "split,file_name,text\r\n"
                                       "train,0.png,\"a \"\"quoted\"\", long one\"\r\n"
                                       "train,1.png,plain\r\n"
                                       "train,2.png,\"of two\nlines\"\r\n");
    has_captions(path("set"), "0=zero|0=null|1=the file beside it goes first|2=a \"quoted\", long one|3=plain|"
                              "4=of two lines|5=sub one|6=sub two|");
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    assert_problem(d, "/set/9.png", "it is not there");
    assert_problem(d, "/set/metadata.jsonl:7", "outside of the folder");
    assert_problem(d, "/set/metadata.jsonl:8", "no \"image\" or \"file_name\"");
    assert_problem(d, "/set/1.png", "no captions");
    assert_int_equal(problems(d), 3 + 4 + 2 - 1);
    dataset_batch b = {0};
    next(d, &b);
    assert_string_equal(b.captions[3], "plain");
    assert_int_equal(b.pixels[3 * 8 * 8 * 3], 21);
    dataset_batch_release(&b);
    dataset_free(d);
    has_items(path("set"), DATASET_PICTURES, 12); /* as without lists */
    /* a list by itself: the same, with its own order */
    has_captions(path("set/sub/metadata.jsonl"), "0=sub two|");
}

/* Only quotes at a field's beginning are RFC 4180's; inches are none. */
static void quotes_within_a_field_are_text(void **state)
{
    (void)state;
    make_folder("set");
    for (int i = 0; i < 4; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.png", i);
        write_picture(name, i);
    }
    write_text("set/metadata.csv", "file_name,text\n"
                                   "0.png,a 12\" record\n"
                                   "1.png,\"one, \"\"two\"\"\"\n"
                                   "2.png,two \"words\"\n"
                                   "3.png,\"never closed\n");
    has_captions(path("set"), "0=a 12\" record|1=one, \"two\"|2=two \"words\"|");
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    assert_problem(d, "/set/metadata.csv:5", "its quotes are never closed");
    dataset_free(d);
}

static void lists_of_another_shape_are_told(void **state)
{
    (void)state;
    make_folder("set");
    write_pair("set/a", 0, "a");
    write_text("set/metadata.csv", "file,words\na.png,x\n");
    write_bytes("set/x.jsonl", "\xff\xfe{\0", 4);
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    assert_problem(d, "/set/metadata.csv", "its first line names no column \"caption\", \"text\" or \"prompt\"");
    assert_problem(d, "/set/x.jsonl", "UTF-16 (save it as UTF-8)");
    assert_int_equal(problems(d), 2);
    dataset_free(d);
    err e = {0};
    const char *source = path("set/x.jsonl");
    dataset_options o = options_of(&source);
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "x.jsonl: its text is UTF-16 (save it as UTF-8)");
}

/* As a shell's *.png and * name them. */
static void pictures_are_named_themselves(void **state)
{
    (void)state;
    make_folder("set");
    write_pair("set/0", 0, "zero");
    write_pair("set/1", 1, "one");
    write_picture("set/2.png", 2);
    write_picture("set/3.png", 3);
    write_text("set/3.caption", "three");
    write_picture("set/model.gguf.png", 3);
    write_text("set/notes.bin", "x");
    char names[10][256];
    const char *sources[10];
    static const char *const files[] = {"0.png",     "0.txt", "1.png",          "1.txt",  "2.png",
                                        "3.caption", "3.png", "model.gguf.png", "4.heic", "4.txt"};
    write_bytes("set/4.heic",
                "\0\0\0\x18"
                "ftypheic",
                12);
    write_text("set/4.txt", "four");
    for (int i = 0; i < 10; i++) {
        snprintf(names[i], sizeof names[i], "%.64s/set/%s", directory, files[i]);
        sources[i] = names[i];
    }
    dataset_options o = options_of(sources);
    o.n_sources = 10;
    o.in_order = true;
    dataset *d = open_set(&o);
    seen s = {{0}, 0, 0};
    dataset_captions(d, see, &s);
    assert_string_equal(s.text, "0=zero|1=one|2=three|");
    assert_int_equal(problems(d), 2);
    assert_problem(d, "/set/4.heic", "HEIC");
    assert_problem(d, "/set/2.png", "no captions");
    dataset_batch b = {0};
    next(d, &b);
    assert_int_equal(b.pixels[2 * 8 * 8 * 3], 3);
    dataset_batch_release(&b);
    uint64_t named = dataset_fingerprint(d);
    dataset_free(d);
    d = open_pairs(path("set"), DATASET_PAIRS); /* the folder is the same data */
    assert_int_equal(dataset_fingerprint(d), named);
    dataset_free(d);
    snprintf(names[0], sizeof names[0], "%.64s/set/notes.bin", directory);
    err e = {0};
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "notes.bin: no data source");
}

/* ---- JSON lines ---------------------------------------------------------------------------------------------- */

static void lines_have_what_peers_write(void **state)
{
    (void)state;
    make_folder("set");
    make_folder("set/pictures");
    write_picture("set/pictures/0.png", 0);
    write_text("set/list.jsonl", "\xEF\xBB\xBF{\"file_name\": \"pictures/0.png\", \"text\": \"a\"}\r\n"
                                 "   \r\n"
                                 "{\"image\": {\"path\": \"pictures/0.png\", \"bytes\": null}, \"prompt\": \"b\"}\r\n"
                                 "{\"image_path\": \"pictures/0.png\", \"caption\": null, \"text\": \" \", \"prompt\": "
                                 "[\"c\", \"d\"]}\r\n"
                                 "{\"image\": null, \"file_name\": \"pictures/0.png\", \"captions\": [], \"text\": "
                                 "\"e\"}");
    has_captions(path("set/list.jsonl"), "0=a|1=b|2=c|2=d|3=e|");
    has_items(path("set/list.jsonl"), DATASET_PICTURES, 4);
}

static void lines_may_be_compressed(void **state)
{
    (void)state;
    static const char text[] =
        "{\"image\": \"a.png\", \"text\": \"packed\"}\n{\"image\": \"b.png\", \"text\": \"too\"}\n";
    write_picture("a.png", 1);
    write_picture("b.png", 2);
    gzFile f = gzopen(path("list.jsonl.gz"), "wb");
    assert_non_null(f);
    assert_int_equal(gzwrite(f, text, sizeof text - 1), sizeof text - 1);
    assert_int_equal(gzclose(f), Z_OK);
    has_captions(path("list.jsonl.gz"), "0=packed|1=too|");
    write_text("._list.jsonl", "not a list");
    has_captions(directory, "0=packed|1=too|"); /* the list of its folder */
}

/* ---- archives ------------------------------------------------------------------------------------------------ */

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

static void tar_add(struct archive *a, const char *name, const void *data, size_t bytes)
{
    struct archive_entry *entry = archive_entry_new();
    archive_entry_set_pathname(entry, name);
    archive_entry_set_filetype(entry, AE_IFREG);
    archive_entry_set_perm(entry, 0644);
    archive_entry_set_size(entry, (la_int64_t)bytes);
    assert_int_equal(archive_write_header(a, entry), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, data, bytes), bytes);
    archive_entry_free(entry);
}

static void tar_text(struct archive *a, const char *name, const char *text)
{
    tar_add(a, name, text, strlen(text));
}

static void tar_picture(struct archive *a, const char *name, int value)
{
    file_map m;
    write_picture("member.png", value);
    assert_true(file_map_open(&m, path("member.png"), NULL));
    tar_add(a, name, m.data, m.size);
    file_map_release(&m);
    assert_int_equal(unlink(path("member.png")), 0);
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
        tar_picture(a, member, i);
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
    tar_picture(a, "./a/0.JPG", 0);
    tar_text(a, "./a/0.cls", "7");
    tar_text(a, "./a/0.json", "{\"caption\": \"zero\", \"key\": \"0\"}");
    tar_text(a, "1.TXT", "one\nuno\n");
    tar_text(a, "1.json", "{\"caption\": \"not this one\"}");
    tar_picture(a, "1.PNG", 1);
    tar_picture(a, "2.left.png", 2);
    tar_text(a, "2.caption.txt", "two");
    tar_text(a, "2.0.txt", "zwei");
    tar_text(a, "2.text", "deux");
    tar_picture(a, "__MACOSX/3.png", 3);
    tar_picture(a, "._4.png", 4);
    tar_text(a, "5.webp", "RIFF");
    tar_text(a, "5.txt", "five");
    tar_add(a, "6.heic",
            "\0\0\0\x18"
            "ftypheic",
            12);
    tar_text(a, "6.txt", "six");
    tar_picture(a, "7.png", 7);
    tar_text(a, "7.cls", "3");
    tar_picture(a, "8.HEIC", 8); /* as some phones export a PNG or a JPEG */
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

/* ---- what is said -------------------------------------------------------------------------------------------- */

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

static void causes_are_told_once_with_their_number(void **state)
{
    (void)state;
    char name[32];
    make_folder("set");
    for (int i = 0; i < 150; i++) {
        snprintf(name, sizeof name, "set/%03d", i);
        if (i % 2)
            write_pair(name, i, "x");
        snprintf(name, sizeof name, "set/%03d.png", i);
        if (i % 2 == 0)
            write_picture(name, i);
    }
    write_text("set/001.png", "no picture");
    write_text("set/003.png", "no picture");
    write_text("set/a.gif", "GIF89a");
    write_picture("set/200.heic", 3); /* of another kind than its name says, and readable */
    write_text("set/200.txt", "x");
    dataset *d = open_pairs(path("set"), DATASET_PAIRS);
    assert_string_equal(said(d), "data: no captions (a .txt file of the same name): 75 times: @/set/000.png, "
                                 "@/set/002.png, @/set/004.png, @/set/006.png, and 71 more\n"
                                 "@/set/a.gif: cannot read the picture: it is a GIF picture (convert it to PNG first: "
                                 "magick \"in.gif[0]\" out.png; limn reads PNG, JPEG and WebP)\n");
    assert_int_equal(dataset_size(d), 76);
    dataset_batch b = {0};
    for (int i = 0; i < 40; i++)
        next(d, &b);
    const char *text = said(d);
    assert_non_null(strstr(text, ": 2 times: @/set/001.png, @/set/003.png\n"));
    assert_null(strchr(strchr(text, '\n') + 1, '\n'));
    assert_string_equal(said(d), "");
    dataset_silence_problems(d);
    dataset_batch_release(&b);
    dataset_free(d);
}

static void nothing_usable_is_an_error_that_says_what_is_there(void **state)
{
    (void)state;
    err e = {0};
    make_folder("set");
    for (int i = 0; i < 3; i++) {
        char name[32];
        snprintf(name, sizeof name, "set/%d.MOV", i);
        write_text(name, "x");
        snprintf(name, sizeof name, "set/%d.bmp", i);
        write_text(name, "BM");
    }
    write_text("set/README", "x");
    const char *source = path("set");
    dataset_options o = options_of(&source);
    o.want = DATASET_PICTURES;
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "data: no picture in ");
    assert_message(&e, "3 problems, the first: ");
    assert_message(&e, "0.bmp: cannot read the picture: it is a BMP picture");
    assert_message(&e, "there are 3 .mov, 3 .bmp, 1 without an ending");
    write_picture("set/a.png", 0);
    o.want = DATASET_PAIRS;
    e = (err){0};
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "no picture with a caption in ");
    assert_message(&e, "a caption is in NAME.txt beside NAME.png");
    make_folder("empty");
    source = path("empty");
    e = (err){0};
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "no picture with a caption in ");
}

static bool stop_at_once(void *context)
{
    ++*(int *)context;
    return false;
}

static void scanning_can_be_interrupted(void **state)
{
    (void)state;
    int asked = 0;
    err e = {0};
    make_folder("set");
    write_pair("set/a", 0, "a");
    const char *source = path("set");
    dataset_options o = options_of(&source);
    o.goes_on = stop_at_once;
    o.context = &asked;
    assert_null(dataset_open(&o, &e));
    assert_message(&e, "interrupted");
    assert_int_equal(asked, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(links_are_followed_once),
        TEST(links_to_nothing_are_counted),
        TEST(what_systems_leave_is_no_data),
        TEST(captions_lie_beside_pictures),
        TEST(captions_of_nothing_are_empty),
        TEST(lists_caption_the_pictures_of_a_folder),
        TEST(quotes_within_a_field_are_text),
        TEST(lists_of_another_shape_are_told),
        TEST(pictures_are_named_themselves),
        TEST(lines_have_what_peers_write),
        TEST(members_have_what_peers_write),
        TEST(compressed_archives_are_unpacked),
        TEST(braces_name_shards),
        TEST(odd_braces_never_crash),
        TEST(lines_may_be_compressed),
        TEST(causes_are_told_once_with_their_number),
        TEST(nothing_usable_is_an_error_that_says_what_is_there),
        TEST(scanning_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
