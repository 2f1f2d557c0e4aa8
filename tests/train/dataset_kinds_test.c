/* Tests of data sets as people have them: links, lists, odd names, and what is said.  Archives:
 * dataset_archive_test.c. */
#include "dataset_kinds_support.h"

#include <zlib.h>

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

/* Sources by their names in a folder, as a shell has them; ends by NULL. */
static dataset *open_names(const char *folder, const char *const *files, dataset_want want)
{
    static char names[8][256];
    const char *sources[8];
    dataset_options o = options_of(sources);
    for (o.n_sources = 0; files[o.n_sources]; o.n_sources++) {
        snprintf(names[o.n_sources], sizeof names[0], "%.64s/%s/%s", directory, folder, files[o.n_sources]);
        sources[o.n_sources] = names[o.n_sources];
    }
    o.want = want;
    o.in_order = true;
    return open_set(&o);
}

static void names_are(const char *folder, const char *const *files, const char *captions, int64_t pictures)
{
    seen s = {{0}, 0, 0};
    dataset *d = open_names(folder, files, DATASET_PAIRS);
    assert_true(dataset_captions(d, see, &s));
    assert_string_equal(s.text, captions);
    assert_int_equal(problems(d), 0);
    dataset_free(d);
    d = open_names(folder, files, DATASET_PICTURES);
    assert_int_equal(dataset_size(d), pictures);
    assert_int_equal(problems(d), 0);
    dataset_free(d);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

/* A picture that is named, and in a list that is named too or lies beside it, is one item, with the list's captions. */
static void lists_are_found_beside_named_pictures(void **state)
{
    (void)state;
    static const dataset_want wants[] = {DATASET_PAIRS, DATASET_PICTURES};
    make_folder("set");
    write_picture("other.png", 5);
    write_picture("set/0.png", 0);
    write_picture("set/1.png", 1);
    write_pair("set/2", 2, "the file beside it goes first");
    write_text("set/metadata.jsonl", "{\"file_name\": \"./0.png\", \"text\": \"zero\"}\n"
                                     "{\"file_name\": \"1.png\", \"text\": [\"one\", \"uno\"]}\n"
                                     "{\"file_name\": \"2.png\", \"text\": \"two\"}\n");
    const char *const all = "0=zero|1=one|1=uno|2=the file beside it goes first|";
    names_are("set", NAMES("0.png", "1.png", "2.png", "2.txt", "metadata.jsonl"), all, 3);
    names_are("set", NAMES("0.png", "1.png", "2.png"), all, 3);
    for (int i = 0; i < 2; i++) { /* the folder is the same data */
        dataset *d = open_names("set", NAMES("0.png", "1.png", "2.png", "2.txt", "metadata.jsonl"), wants[i]);
        uint64_t named = dataset_fingerprint(d);
        dataset_free(d);
        d = open_pairs(path("set"), wants[i]);
        assert_int_equal(dataset_fingerprint(d), named);
        dataset_free(d);
    }
    /* what the list alone names comes after the others; it may be anywhere */
    names_are("set", NAMES("metadata.jsonl", "1.png"), "0=one|0=uno|1=zero|2=two|", 3);
    write_text("set/more.jsonl", "{\"file_name\": \"../other.png\", \"text\": \"other\"}\n");
    names_are("set", NAMES("0.png", "more.jsonl"), "0=zero|1=other|", 2);
    names_are("set", NAMES("more.jsonl"), "0=other|", 1);
}

static void lists_are_found_beside_named_folders(void **state)
{
    (void)state;
    make_folder("up");
    make_folder("up/images");
    write_picture("up/images/a.png", 0);
    write_picture("up/images/b.png", 1);
    write_text("up/metadata.jsonl", "{\"file_name\": \"images/b.png\", \"text\": \"b\"}\n"
                                    "{\"file_name\": \"images/a.png\", \"text\": \"a\"}\n");
    names_are("up", NAMES("images", "metadata.jsonl"), "0=a|1=b|", 2);
    names_are("up", NAMES("metadata.jsonl"), "0=b|1=a|", 2);
    make_folder("table");
    write_picture("table/0.png", 0);
    write_text("table/metadata.csv", "file_name,text\n0.png,zero\n");
    names_are("table", NAMES("0.png", "metadata.csv"), "0=zero|", 1);
    names_are("table", NAMES("0.png"), "0=zero|", 1);
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

/* ---- what is said -------------------------------------------------------------------------------------------- */

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
        DATASET_TEST(links_are_followed_once),
        DATASET_TEST(links_to_nothing_are_counted),
        DATASET_TEST(what_systems_leave_is_no_data),
        DATASET_TEST(captions_lie_beside_pictures),
        DATASET_TEST(captions_of_nothing_are_empty),
        DATASET_TEST(lists_caption_the_pictures_of_a_folder),
        DATASET_TEST(quotes_within_a_field_are_text),
        DATASET_TEST(lists_of_another_shape_are_told),
        DATASET_TEST(pictures_are_named_themselves),
        DATASET_TEST(lists_are_found_beside_named_pictures),
        DATASET_TEST(lists_are_found_beside_named_folders),
        DATASET_TEST(lines_have_what_peers_write),
        DATASET_TEST(lines_may_be_compressed),
        DATASET_TEST(causes_are_told_once_with_their_number),
        DATASET_TEST(nothing_usable_is_an_error_that_says_what_is_there),
        DATASET_TEST(scanning_can_be_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
