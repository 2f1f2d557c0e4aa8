/* limn generate as people use it for many pictures: numbers, prompts of several sources, names, and what is kept of a
 * run that ends early.  On a tiny model with random weights, whose prompts have up to 7 characters. */
#include "cli_support.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "io/image.h"
#include "io/npy.h"
#include "support.h"

#define TINY       "generate|-m|tiny.gguf|--temperature|1|"
#define SHELL_TINY LIMN_PROGRAM " generate -m tiny.gguf --temperature 1 "

static void same_pictures(const char *a, const char *b, bool same)
{
    err e = {0};
    image x = {0}, y = {0};
    if (!image_read(&x, a, &e) || !image_read(&y, b, &e))
        fail_msg("%s", e.text);
    bool are = x.width == y.width && x.height == y.height &&
               !memcmp(x.pixels, y.pixels, 3 * (size_t)x.width * (size_t)x.height);
    if (are != same)
        fail_msg("%s and %s are %s", a, b, are ? "the same" : "different");
    image_release(&x);
    image_release(&y);
}

static void has_text(const char *path, const char *part)
{
    char *text = image_read_text(path, "parameters");
    assert_non_null(text);
    cli_has(text, part);
    free(text);
}

static int rows_of(const char *path)
{
    err e = {0};
    npy a;
    if (!npy_read(&a, path, DTYPE_I32, &e))
        fail_msg("%s", e.text);
    int n = (int)a.shape[0];
    npy_release(&a);
    return n;
}

/* ---- numbers ---- */

static void test_first(void **state)
{
    (void)state;
    cli_good(TINY "ab|--seed|3|-n|12|-o|all.png|-q");
    assert_true(cli_exists("all-01.png") && cli_exists("all-12.png") && !cli_exists("all-1.png"));
    cli_has(cli_good(TINY "ab|--seed|3|--first|7|-o|one.png").err, "wrote one-7.png: seed 3, 8 x 8 pixels, ");
    same_pictures("all-07.png", "one-7.png", true);
    has_text("all-07.png", "Picture: 7 of 12");
    has_text("one-7.png", "Picture: 7 of 7");
    cli_good(TINY "ab|--seed|3|--first|9|-n|3|-o|some.png|--codes-out|some.npy|-q");
    assert_int_equal(rows_of("some.npy"), 3);
    same_pictures("some-09.png", "all-09.png", true);
    same_pictures("some-11.png", "all-11.png", true);
    same_pictures("all-09.png", "all-10.png", false);
    cli_bad(TINY "ab|--first|0", 2, "--first");
}

/* ---- prompts ---- */

/* What two prompts draw, two pictures each, is in one-1 to one-4. */
static void check_prompts(const char *name)
{
    char a[32], b[32];
    for (int i = 1; i <= 4; i++) {
        snprintf(a, sizeof a, "%s-%d.png", name, i);
        snprintf(b, sizeof b, "one-%d.png", i);
        same_pictures(a, b, true);
    }
}

static void test_prompts(void **state)
{
    (void)state;
    static const char lines[] = "\xef\xbb\xbf"
                                "ab\r\n\r\n \t\n\xc2\xa0\ncd ef";
    cli_good(TINY "ab|-n|2|--seed|5|-o|x.png|-q");
    assert_int_equal(cli_shell("mv x-1.png one-1.png; mv x-2.png one-2.png"), 0);
    cli_good(TINY "cd ef|-n|2|--seed|5|-o|x.png|-q");
    assert_int_equal(cli_shell("mv x-1.png one-3.png; mv x-2.png one-4.png"), 0);
    cli_good(TINY "ab|cd ef|-n|2|--seed|5|-o|operands.png|-q|--codes-out|operands.npy");
    check_prompts("operands");
    assert_int_equal(rows_of("operands.npy"), 4);
    has_text("operands-4.png", "cd ef\nNegative prompt: \nSteps: ");
    has_text("operands-4.png", "Picture: 2 of 2");
    cli_write("lines.txt", lines, sizeof lines - 1);
    cli_good(TINY "--prompts|lines.txt|-n|2|--seed|5|-o|file.png|-q");
    check_prompts("file");
    assert_int_equal(cli_shell("printf 'ab\\ncd ef\\n' | " SHELL_TINY "- -n 2 --seed 5 -o operand.png"), 0);
    check_prompts("operand");
    assert_int_equal(cli_shell("printf 'ab\\ncd ef' | " SHELL_TINY "--prompts - -n 2 --seed 5 -o input.png"), 0);
    check_prompts("input");
    cli_good(TINY "--prompts|lines.txt|-n|2|--seed|5|--first|2|-o|rest.png|-q");
    assert_false(cli_exists("rest-1.png") || cli_exists("rest-5.png"));
    assert_int_equal(cli_shell("cp one-1.png rest-1.png"), 0);
    check_prompts("rest");
    cli_good(TINY "--prompts|lines.txt|-n|2|--seed|5|--grid|-o|grid.png|--preview|preview.png|-q");
    same_pictures("grid.png", "preview.png", true);
    has_text("grid.png", "ab\ncd ef\nNegative prompt: ");
}

/* Many prompts share their batches, with guidance too, and each draws what it draws alone. */
static void test_many_prompts(void **state)
{
    (void)state;
    enum { PROMPTS = 16, CELLS = 16 };
    char lines[PROMPTS * 8] = "", command[300];
    err e = {0};
    npy all, one;
    for (int i = 0; i < PROMPTS; i++)
        sprintf(lines + strlen(lines), "%c%d\n", 'a' + i % 7, i * i);
    cli_write("many.txt", lines, strlen(lines));
    cli_good(TINY "--prompts|many.txt|--seed|5|--guidance|2|--negative|zz|-o|many.png|-q|--codes-out|many.npy");
    if (!npy_read(&all, "many.npy", DTYPE_I32, &e))
        fail_msg("%s", e.text);
    assert_int_equal(all.count, PROMPTS * CELLS);
    for (int i = 0; i < PROMPTS; i++) {
        snprintf(command, sizeof command,
                 TINY "%c%d|--seed|5|--guidance|2|--negative|zz|-o|alone.png|-q|--codes-out|alone.npy", 'a' + i % 7,
                 i * i);
        cli_good(command);
        if (!npy_read(&one, "alone.npy", DTYPE_I32, &e))
            fail_msg("%s", e.text);
        assert_memory_equal((int32_t *)all.data + i * CELLS, one.data, CELLS * sizeof(int32_t));
        npy_release(&one);
    }
    same_pictures("many-16.png", "alone.png", true);
    npy_release(&all);
}

static void test_text_ids(void **state)
{
    (void)state;
    err e = {0};
    const int32_t ids[2][5] = {{2 + 'a', 2 + 'b', TINY_PAD, TINY_PAD, TINY_PAD},
                               {2 + 'c', 2 + 'd', 2 + ' ', 2 + 'e', 2 + 'f'}};
    json_t *j = cli_parse(cli_good("tokenize|-m|tiny.gguf|ab|--json").out);
    int offset = (int)json_integer_value(json_object_get(json_array_get(j, 0), "id")) - ids[0][0];
    json_decref(j);
    int32_t rows[2][5];
    for (int i = 0; i < 10; i++)
        rows[i / 5][i % 5] = ids[i / 5][i % 5] == TINY_PAD ? TINY_PAD : ids[i / 5][i % 5] + offset;
    assert_true(npy_write("ids.npy", DTYPE_I32, 2, (int64_t[]){2, 5}, rows, &e));
    cli_good(TINY "--text-ids|ids.npy|-n|2|--seed|5|-o|ids.png|-q");
    check_prompts("ids");
    has_text("ids-4.png", "Text ids: ");
}

static void test_wrong_prompts(void **state)
{
    (void)state;
    cli_write("empty.txt", "\r\n \n", 4);
    cli_write("utf16.txt",
              "\xff\xfe"
              "a\0b\0",
              6);
    cli_write("latin.txt", "ab\ncaf\xe9\n", 8);
    cli_write("zero.txt", "a\0b", 3);
    cli_bad(TINY "--prompts|empty.txt", 1, "empty.txt: holds no prompt");
    cli_bad(TINY "--prompts|utf16.txt", 1, "utf16.txt: is text in UTF-16");
    cli_bad(TINY "--prompts|latin.txt", 1, "latin.txt: line 2: ");
    cli_bad(TINY "--prompts|zero.txt", 1, "zero.txt: has a zero byte");
    cli_bad(TINY "--prompts|nowhere.txt", 1, "nowhere.txt: No such file");
    cli_bad(TINY "-", 1, "standard input: holds no prompt");
    cli_bad(TINY "-|--prompts|-", 2, "standard input can be read once");
    cli_bad(TINY "ab|--class|3", 2, "more than one of a prompt, --text-ids and --class");
    cli_bad(TINY "ab|cd|-n|2|--first|5", 2, "there is no picture 5 (2 prompts with 2 each have 4)");
    cli_bad(TINY "--class|3|--negative|a", 2, "--negative");
    cli_bad(TINY "ab|-n|2|-o|-", 2, "--output");
    /* before the first is drawn */
    const int32_t ids[2][2] = {{5, 6}, {5, TINY_TOKENS}};
    err e = {0};
    assert_true(npy_write("wrong.npy", DTYPE_I32, 2, (int64_t[]){2, 2}, ids, &e));
    cli_bad(TINY "--text-ids|wrong.npy|-o|never.png", 2,
            "limn: prompt 2, \"token ids 5 258\": text ids: 258 at place 1");
    assert_false(cli_exists("never-1.png"));
    cli_has(cli_good(TINY "a|cat|-o|words.png").err, "2 prompts of one word each: \"a\", \"cat\" (put a prompt of");
    assert_null(strstr(cli_good(TINY "a cat|dog|-o|words.png").err, "one word each"));
}

static void test_negative(void **state)
{
    (void)state;
    cli_good(TINY "ab|--seed|3|--guidance|3|-o|plain.png|-q");
    cli_good(TINY "ab|--seed|3|--guidance|3|--negative||-o|empty.png|-q");
    cli_good(TINY "ab|--seed|3|--guidance|3|--negative|cd|-o|negative.png|-q");
    same_pictures("plain.png", "empty.png", true);
    same_pictures("plain.png", "negative.png", false);
    has_text("negative.png", "ab\nNegative prompt: cd\nSteps: ");
    cli_has(cli_good(TINY "ab|--negative|cd|-o|negative.png").err, "--negative: it has no effect without guidance");
}

/* ---- like a picture ---- */

/* Draws like the picture of that name, to the same pixels and settings. */
static void check_like(const char *path, const char *options)
{
    char line[160];
    snprintf(line, sizeof line, "generate|-m|tiny.gguf|--like|%s|-o|like.png|-q%s", path, options);
    cli_good(line);
    same_pictures(path, "like.png", true);
    char *a = image_read_text(path, "parameters"), *b = image_read_text("like.png", "parameters");
    cli_has(b, "Steps: ");
    *strstr(a, ", Picture") = *strstr(b, ", Picture") = '\0'; /* "3 of 5" becomes "3 of 3" */
    assert_string_equal(a, b);
    free(a);
    free(b);
}

static void test_like(void **state)
{
    (void)state;
    cli_good(TINY "a, b: c|--seed|18446744073709551615|-n|5|-o|a.png|--top-k|6|--top-p|0.9|--guidance|2.5|--negative|"
                  "d\"e|--kv-cache|f16|-q");
    check_like("a-3.png", "");
    check_like("a-5.png", "|-n|1");
    cli_good(TINY "ab|--seed|7|-n|5|--first|3|--grid|-o|grid.png|-q");
    has_text("grid.png", "Pictures: 3 to 7");
    check_like("grid.png", "");
    cli_good(TINY "ab|cd|--seed|7|-n|3|--grid|-o|grid.png|-q");
    check_like("grid.png", "");
    cli_good("generate|-m|tiny.gguf|--like|grid.png|-n|2|-o|some.png|-q"); /* no grid, where a number is given */
    assert_true(cli_exists("some-4.png"));
    cli_good(TINY "--text-ids|ids.npy|--seed|7|-n|2|-o|i.png|-q");
    check_like("i-4.png", "");
    cli_good(TINY "ab|--image-prompt|a-1.png|--keep|box:0,0,4,4|--seed|7|-n|2|-o|k.png|-q");
    check_like("k-2.png", "");
    assert_int_equal(cli_shell("mv a-1.png moved.png"), 0);
    cli_result r = cli_good("generate|-m|tiny.gguf|--like|k-2.png|-o|like.png");
    cli_has(r.err, "--like: a-1.png: No such file or directory (it is drawn without the image prompt)");
    same_pictures("k-2.png", "like.png", false);
    /* options that are given count */
    cli_good("generate|ef|-m|tiny.gguf|--like|a-3.png|--seed|9|--guidance|1|--temperature|0.5|--first|2|-o|l.png|-q");
    has_text("l-2.png", "ef\nNegative prompt: ");
    has_text("l-2.png", "CFG scale: 1, Seed: 9, ");
    has_text("l-2.png", "Temperature: 0.5, Top-k: 6, Top-p: 0.9, Picture: 2 of 2");
    cli_bad("generate|-m|tiny.gguf|--like|l-2.png|-o|l-2.png", 2, "is the same file as --like");
    cli_bad("generate|--like|nowhere.png", 1, "nowhere.png: No such file");
    cli_bad("generate|--like|ids.npy", 1, "ids.npy: ");
    cli_has(cli_run("generate|--like|a-3.png|--temperature|0|-o|b.png").err,
            "was drawn by the model tiny, and this is");
}

/* Settings that another program wrote. */
static void test_like_others(void **state)
{
    (void)state;
    err e = {0};
    image im = {0};
    image_text text = {"parameters",
                       "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, CFG scale: 3, Seed: 42, "
                       "Size: 512x512, Model hash: 6ce0161689, Model: v1-5, Clip skip: 2"};
    assert_true(image_new(&im, 8, 8, &e));
    memset(im.pixels, 0, 192);
    assert_true(image_write_png(&im, "other.png", &text, 1, &e));
    cli_result r = cli_good("generate|-m|tiny.gguf|--like|other.png|-o|like.png");
    cli_has(r.err,
            "--like: other.png is another program's picture: Steps: 20, Sampler: Euler a, Size: 512x512 mean nothing");
    cli_has(r.err, "--like: other.png was drawn by the model v1-5, and this is ");
    cli_good("generate|a cat|-m|tiny.gguf|--seed|42|--guidance|3|--negative|dog|-o|mine.png|-q");
    same_pictures("like.png", "mine.png", true);
    assert_true(image_write_png(&im, "plain.png", NULL, 0, &e));
    cli_bad("generate|-m|tiny.gguf|--like|plain.png", 1, "--like: plain.png carries no settings");
    /* a number of the picture that can't be counted on from */
    text.text = "a cat\nNegative prompt: \nSteps: 4, Seed: 42, Picture: 2147483647 of 2147483647";
    assert_true(image_write_png(&im, "far.png", &text, 1, &e));
    cli_bad("generate|-m|tiny.gguf|--like|far.png|-n|2", 2, "--first: picture 2147483647 is too far on");
    image_release(&im);
}

/* ---- names ---- */

static void test_default_names(void **state)
{
    (void)state;
    assert_int_equal(mkdir("names", 0755) | chdir("names") | symlink("../tiny.gguf", "tiny.gguf"), 0);
    cli_has(cli_good(TINY "ab").err, "wrote limn.png: seed ");
    cli_result r = cli_good(TINY "ab");
    cli_has(r.err, "what is there stays: the next free name is limn-2.png");
    cli_has(r.err, "wrote limn-2.png: seed ");
    cli_has(cli_good(TINY "ab|-n|2").err, "wrote limn-2-1.png to limn-2-2.png: "); /* not over limn-2.png */
    cli_has(cli_good(TINY "ab|--grid|-n|2").err, "wrote limn-3.png: ");
    assert_int_equal(cli_shell("rm limn.png && ln -s nowhere limn.png"), 0);
    cli_has(cli_good(TINY "ab").err, "wrote limn-4.png: ");               /* a link is there, too */
    cli_has(cli_good(TINY "ab|-o|limn-2.png").err, "wrote limn-2.png: "); /* what is asked for is done */
    assert_int_equal(cli_shell("for i in 1 2 3 4 5; do " SHELL_TINY "ab & done; wait; ls limn-[5-9].png"), 0);
    assert_int_equal(chdir(".."), 0);
}

static void test_outputs_that_are_inputs(void **state)
{
    (void)state;
    cli_write("list.txt", "ab\n", 3);
    assert_int_equal(
        cli_shell("cp one-1.png in.png; ln -s in.png link.png; ln in.png hard.png; ln -s ids.npy ids.png.npy; "
                  "ln -s list.txt list.png"),
        0);
    cli_bad(TINY "ab|--image-prompt|in.png|-o|in.png", 2, "--output: in.png is the same file as --image-prompt");
    cli_bad(TINY "ab|--image-prompt|in.png|-o|link.png", 2, "the same file");
    cli_bad(TINY "ab|--image-prompt|in.png|-o|hard.png", 2, "the same file");
    cli_bad(TINY "ab|--image-prompt|one-1.png|--keep|in.png|-o|in.png", 2, "as --keep");
    cli_bad(TINY "ab|--image-prompt|one-1.png|-n|2|-o|one.png", 2, "one-1.png is the same file");
    cli_bad(TINY "ab|-o|x.png|--preview|./x.png", 2, "the same file");
    cli_bad(TINY "--text-ids|ids.npy|--codes-out|ids.png.npy|-o|x.png", 2, "as --text-ids: ids.npy");
    cli_bad(TINY "--prompts|list.txt|-o|list.png", 2, "as --prompts: list.txt");
    char *text = cli_slurp("list.txt");
    assert_string_equal(text, "ab\n");
    free(text);
}

static void test_long_name(void **state)
{
    (void)state;
    char name[300], line[400];
    memset(name, 'x', sizeof name);
    strcpy(name + 251, ".png");
    snprintf(line, sizeof line, TINY "ab|-q|-o|%s", name);
    cli_good(line);
    assert_true(cli_exists(name));
    snprintf(line, sizeof line, TINY "ab|-n|2|-o|%s", name);
    cli_bad(line, 1, "File name too long");
}

/* ---- what is said ---- */

static void test_json(void **state)
{
    (void)state;
    json_t *j = cli_parse(cli_good(TINY "ab|cd|-n|2|--seed|7|--json|-o|json.png|--guidance|2|--negative|x").out);
    assert_int_equal(json_integer_value(json_object_get(j, "seed")), 7);
    assert_int_equal(json_integer_value(json_object_get(j, "count")), 4);
    assert_true(json_is_true(json_object_get(j, "complete")));
    assert_string_equal(json_string_value(json_object_get(j, "negative")), "x");
    assert_true(json_real_value(json_object_get(j, "guidance")) == 2);
    assert_true(json_real_value(json_object_get(j, "seconds")) > 0);
    json_t *third = json_array_get(json_object_get(j, "pictures"), 2);
    assert_string_equal(json_string_value(json_object_get(third, "file")), "json-3.png");
    assert_string_equal(json_string_value(json_object_get(third, "prompt")), "cd");
    assert_int_equal(json_integer_value(json_object_get(third, "number")), 3);
    assert_int_equal(json_integer_value(json_object_get(third, "picture")), 1);
    json_decref(j);
    cli_bad(TINY "ab|--json|-o|-", 2, "--json");
    cli_has(cli_good(TINY "ab|-n|3|--temperature|0|-o|same.png").err, "all 3 pictures are the same");
    assert_null(strstr(cli_good(TINY "ab|-n|3|-o|same.png").err, "are the same"));
}

/* ---- runs that end early ---- */

/* Sends the signal once the file is there; the messages, for the caller to free. */
static char *interrupt(char **argv, int number, const char *file)
{
    pid_t pid = cli_start(LIMN_PROGRAM, argv, ".stdout");
    const struct timespec moment = {0, 5000000};
    for (int i = 0; i < 12000 && !cli_exists(file); i++)
        nanosleep(&moment, NULL);
    kill(pid, number);
    assert_int_equal(cli_wait(pid), 1);
    return cli_slurp(".stderr");
}

/* Of "limn: interrupted: 32 of 90000 pictures are written...; --seed 7 --first 33", how many. */
static int written(const char *messages, const char *detail)
{
    int n = 0, first = 0;
    char expected[128];
    const char *at = strstr(messages, "limn: interrupted: "), *next = strstr(messages, "--first ");
    if (!at || !next || sscanf(at, "limn: interrupted: %d of", &n) != 1 || sscanf(next, "--first %d", &first) != 1)
        fail_msg("no word of how to go on: %s", messages);
    snprintf(expected, sizeof expected, " of 90000 pictures are written%s; --seed 7 --first %d -n %d goes on\n", detail,
             first, 90000 - n);
    cli_has(at, expected);
    assert_int_equal(first, n + 1);
    assert_true(n > 0 && n < 90000);
    return n;
}

static void test_interrupt(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGTERM};
    char *argv[] = {"limn",  "generate", "ab", "-m", "tiny.gguf", "--temperature", "1",         "-n",
                    "90000", "--seed",   "7",  "-o", "early.png", "--codes-out",   "early.npy", NULL};
    for (int i = 0; i < 2; i++) {
        char *messages = interrupt(argv, signals[i], "early-00001.png"), line[128], last[32];
        int n = written(messages, "");
        snprintf(line, sizeof line, "test $(ls | grep -c '^early-.*png$') = %d && ! ls -A | grep tmp", n);
        assert_int_equal(cli_shell(line), 0);
        assert_int_equal(rows_of("early.npy"), n);
        snprintf(line, sizeof line, TINY "ab|--seed|7|-o|on.png|-q|--first|%d|-n|%d", n, 90001 - n > 2 ? 2 : 1);
        cli_good(line);
        snprintf(last, sizeof last, "early-%05d.png", n);
        snprintf(line, sizeof line, "mv on-%d.png on.png", n);
        assert_int_equal(cli_shell(line), 0);
        same_pictures(last, "on.png", true);
        free(messages);
        assert_int_equal(cli_shell("rm early*"), 0);
    }
}

static void test_interrupted_grid(void **state)
{
    (void)state;
    char *argv[] = {"limn",  "generate", "ab", "-m", "tiny.gguf", "--temperature", "1", "-n",
                    "90000", "--seed",   "7",  "-o", "early.png", "--grid",        NULL};
    char *messages = interrupt(argv, SIGINT, "early.png");
    int n = written(messages, "");
    err e = {0};
    image grid = {0}, one = {0};
    assert_true(image_read(&grid, "early.png", &e));
    assert_int_equal(grid.width, 300 * 8 + 299 * 2);
    cli_good(TINY "ab|--seed|7|-o|one.png|-q");
    assert_true(image_read(&one, "one.png", &e));
    for (int y = 0; y < 8; y++) {
        assert_memory_equal(grid.pixels + 3 * y * grid.width, one.pixels + 3 * y * 8, 24);
        const uint8_t *last = grid.pixels + 3 * ((grid.height - 8 + y) * grid.width + grid.width - 8);
        for (int x = 0; x < 24; x++)
            assert_int_equal(last[x], 128); /* not there yet */
    }
    assert_true(n >= 1);
    image_release(&grid);
    image_release(&one);
    free(messages);
}

/* A ranking wants all pictures: what is there is kept as it was drawn. */
static void test_interrupted_ranking(void **state)
{
    (void)state;
    char *argv[] = {"limn", "generate",    "a cat on a red background",
                    "-n",   "90000",       "--seed",
                    "7",    "--rank",      "own",
                    "-v",   "--mem-limit", "4G",
                    "-o",   "ranked.png",  NULL};
    pid_t pid = cli_start(LIMN_PROGRAM, argv, ".stdout");
    const struct timespec moment = {0, 20000000};
    for (int i = 0; i < 3000; i++) { /* a plan for decoding: the first batch is there */
        char *said = cli_slurp(".stderr");
        bool there = strstr(said, "decode: plan") != NULL;
        free(said);
        if (there)
            break;
        nanosleep(&moment, NULL);
    }
    nanosleep(&(struct timespec){1, 0}, NULL);
    kill(pid, SIGINT);
    assert_int_equal(cli_wait(pid), 1);
    char *messages = cli_slurp(".stderr"), line[128];
    int n = written(messages, ", unranked");
    snprintf(line, sizeof line, "test $(ls | grep -c '^ranked-.*png$') = %d", n);
    assert_int_equal(cli_shell(line), 0);
    free(messages);
}

/* decode keeps what is there, too. */
static void test_interrupted_decode(void **state)
{
    (void)state;
    enum { ROWS = 400000, CELLS = 16 };
    static int32_t codes[ROWS * CELLS];
    err e = {0};
    char *argv[] = {"limn", "decode", "many.npy", "-m", "tiny.gguf", "-o", "decoded.png", NULL}, line[128];
    assert_true(npy_write("many.npy", DTYPE_I32, 2, (int64_t[]){ROWS, CELLS}, codes, &e));
    char *messages = interrupt(argv, SIGINT, "decoded-000001.png");
    const char *at = strstr(messages, "limn: interrupted: ");
    assert_non_null(at);
    cli_has(at, " of 400000 pictures are written\n");
    snprintf(line, sizeof line, "test $(ls | grep -c '^decoded-.*png$') -ge %d",
             atoi(at + strlen("limn: interrupted: ")));
    assert_int_equal(cli_shell(line), 0);
    assert_int_equal(cli_shell("rm -f decoded-* many.npy"), 0);
    free(messages);
}

static void test_full_disk(void **state)
{
    (void)state;
    assert_int_equal(mkdir("disk", 0755), 0);
    if (mount("none", "disk", "tmpfs", 0, "size=48k"))
        skip();
    cli_result r = cli_run(TINY "ab|-n|40|--seed|7|-o|disk/full.png");
    assert_int_equal(
        cli_shell("ls disk/*.png | wc -l; ls -A disk | grep tmp; cp disk/full-01.png there.png; umount disk"), 0);
    char *shell = cli_slurp(".shell"), part[160];
    int n = atoi(shell);
    free(shell);
    assert_int_equal(r.code, 1);
    snprintf(part, sizeof part, "disk/full-%02d.png: cannot write: No space left", n + 1);
    cli_has(r.err, part);
    snprintf(part, sizeof part, "; %d of 40 pictures are written; --seed 7 --first %d -n %d goes on", n, n + 1, 40 - n);
    cli_has(r.err, part);
    cli_good(TINY "ab|--seed|7|-o|alone.png|-q");
    same_pictures("there.png", "alone.png", true);
}

/* What a vocabulary can't say is told once for each prompt, though prompts are checked before they are drawn. */
static void test_unknown_words(void **state)
{
    (void)state;
#define FROM TEST_DATA "/golden/min_dalle/"
    cli_good("convert|" FROM "encoder.pt|" FROM "decoder.pt|" FROM "detoker.pt|" FROM "vocab.json|" FROM
             "merges.txt|--set|heads=6|-o|mini.gguf");
    cli_result r = cli_good("generate|a red кот|кот|-m|mini.gguf|--seed|1|-o|mini.png");
    cli_has(r.err, "1 of 3 words isn't in this model's vocabulary: кот (the model can't read them)");
    cli_has(r.err, "1 of 1 word isn't in this model's vocabulary: кот (none of the text is left");
    int warnings = 0;
    for (const char *at = r.err; (at = strstr(at, "vocabulary")); at++)
        warnings++;
    assert_int_equal(warnings, 2);
}

/* ---- pictures that don't differ ---- */

static void says_nothing_of_same(const char *line)
{
    cli_result r = cli_good(line);
    if (strstr(r.err, "that sure"))
        fail_msg("%s: %s", line, r.err);
}

/* Equal pictures are told, with what gives others; the built-in model draws a pizza in one way. */
static void test_same_pictures(void **state)
{
    (void)state;
    cli_has(cli_good("generate|ab|-m|tiny.gguf|--temperature|0|-n|3|-o|s.png").err,
            "all 3 pictures are the same: the model is that sure of this prompt (give a --temperature above 0)");
    cli_has(cli_good("generate|ab|-m|tiny.gguf|--temperature|1|--top-k|1|-n|2|--grid|-o|s.png").err,
            "(--top-k 1 is the most likely code each time: give a larger one)");
    cli_has(cli_good("generate|ab|cd|-m|tiny.gguf|--temperature|0|-n|2|--grid|-o|s.png").err,
            "\"ab\": all 2 pictures are the same, as the model is that sure, and so of other prompts (");
    cli_has(cli_good("generate|pizza|-n|9|--grid|--seed|1|-o|s.png").err,
            "the model is that sure of this prompt (--temperature 0.6 instead of 0.3 gives more that differ");
    says_nothing_of_same("generate|pizza|-n|4|--grid|--seed|1|--temperature|2|--top-k|0|-o|s.png");
    says_nothing_of_same("generate|pizza|--temperature|0|-o|s.png");
    says_nothing_of_same("generate|ab|cd|-m|tiny.gguf|--temperature|0|-o|s.png");
    /* parts that are kept are no sign of it */
    cli_good("generate|pizza|--seed|1|-o|kept.png|-q");
    says_nothing_of_same(
        "generate|pizza|-n|3|--temperature|2|--top-k|0|--image-prompt|kept.png|--keep|top:0.9|-o|s.png");
}

/* ---- the tests ---- */

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first),
        cmocka_unit_test(test_prompts),
        cmocka_unit_test(test_many_prompts),
        cmocka_unit_test(test_text_ids),
        cmocka_unit_test(test_wrong_prompts),
        cmocka_unit_test(test_negative),
        cmocka_unit_test(test_unknown_words),
        cmocka_unit_test(test_like),
        cmocka_unit_test(test_like_others),
        cmocka_unit_test(test_default_names),
        cmocka_unit_test(test_outputs_that_are_inputs),
        cmocka_unit_test(test_long_name),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_interrupted_grid),
        cmocka_unit_test(test_interrupted_ranking),
        cmocka_unit_test(test_interrupted_decode),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_same_pictures),
    };
    err e = {0};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (!cli_enter())
        return 1;
    int failed = 77;
    if (!tiny_model_write("tiny.gguf", &(tiny_config){0}, &e))
        failed = fprintf(stderr, "%s\n", e.text) > 0;
    else if (cli_run("devices").code == 0)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    else
        fprintf(stderr, "generate_cli_test: no OpenCL device\n");
    cli_leave();
    return failed;
}
