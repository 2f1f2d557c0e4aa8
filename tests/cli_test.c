/* The command line, as scripts see it: runs the program and checks exit codes, messages, output and files. */
#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "io/gguf.h"
#include "io/image.h"
#include "io/npy.h"

extern char **environ;

enum { MAX_ARGUMENTS = 24 };

/* ---- running the program --------------------------------------------------------------------------------------- */

static char directory[] = "/tmp/limn-cli-test-XXXXXX"; /* where the tests run */
static bool have_device;

typedef struct result {
    int code;
    char *out, *err;
} result;

static char *slurp(const char *path)
{
    FILE *f = fopen(path, "rb");
    char *text = calloc(1, 1 << 20);
    assert_non_null(f);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, f) < (1 << 20) - 1);
    fclose(f);
    return text;
}

static pid_t start(const char *program, char *const *argv, const char *out)
{
    posix_spawn_file_actions_t actions;
    pid_t pid;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_addopen(&actions, 1, out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, ".stderr", O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(posix_spawnp(&pid, program, &actions, NULL, argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    return pid;
}

static int wait_for(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* limn with arguments given as one string, separated by '|', which limn's own arguments never hold here. */
static result limn(const char *arguments)
{
    static result kept[4]; /* a result lives until the fourth call after it, so that tests stay short */
    static int calls;
    result *r = &kept[calls++ % 4];
    char *copy = strdup(arguments), *argv[MAX_ARGUMENTS] = {"limn"};
    int n = 1;
    assert_non_null(copy);
    for (char *a = copy; *arguments && a; n++) {
        char *bar = strchr(a, '|');
        assert_true(n < MAX_ARGUMENTS - 1);
        if (bar)
            *bar = '\0';
        argv[n] = a;
        a = bar ? bar + 1 : NULL;
    }
    free(r->out);
    free(r->err);
    r->code = wait_for(start(LIMN_PROGRAM, argv, ".stdout"));
    r->out = slurp(".stdout");
    r->err = slurp(".stderr");
    free(copy);
    return *r;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("\"%s\" is not in:\n%s", part, text);
}

/* Runs, and expects success. */
static result good(const char *arguments)
{
    result r = limn(arguments);
    if (r.code != 0)
        fail_msg("limn %s: exit code %d: %s", arguments, r.code, r.err);
    return r;
}

/* Runs, and expects the code, a one-line message that holds `part`, and nothing on stdout. */
static void bad(const char *arguments, int code, const char *part)
{
    result r = limn(arguments);
    if (r.code != code || !strstr(r.err, part) || strncmp(r.err, "limn: ", 6) != 0 || r.out[0])
        fail_msg("limn %s: exit code %d, expected %d and \"%s\": %s%s", arguments, r.code, code, part, r.err, r.out);
}

/* Runs a shell line; its exit code. */
static int shell(const char *line)
{
    char *argv[] = {"sh", "-c", (char *)line, NULL};
    return wait_for(start("sh", argv, ".shell"));
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static void write_bytes(const char *path, const void *data, size_t n)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(data, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

static json_t *parse(const char *text)
{
    json_error_t e;
    json_t *j = json_loads(text, 0, &e);
    if (!j)
        fail_msg("not JSON (%s): %s", e.text, text);
    return j;
}

static const char *const commands[] = {"devices", "generate", "encode",  "decode",  "reconstruct",
                                       "score",   "tokenize", "convert", "inspect", "bench",
                                       "tune",    "selftest", "help",    "version", NULL};

/* ---- help -------------------------------------------------------------------------------------------------------- */

static void test_help(void **state)
{
    (void)state;
    assert_string_equal(good("help").out, good("--help").out);
    for (int i = 0; commands[i]; i++) {
        char line[64];
        snprintf(line, sizeof line, "\n  %s ", commands[i]);
        has(good("help").out, line);
        snprintf(line, sizeof line, "%s|--help", commands[i]);
        result r = good(line);
        snprintf(line, sizeof line, "help|%s", commands[i]);
        assert_string_equal(good(line).out, r.out);
        assert_string_equal(r.err, "");
        snprintf(line, sizeof line, "usage: limn %s", commands[i]);
        assert_memory_equal(r.out, line, strlen(line));
        has(r.out, "--mem-limit SIZE");
        for (const char *p = r.out; *p; p += strcspn(p, "\n") + 1)
            assert_true(strcspn(p, "\n") <= 80);
    }
    bad("help|frobnicate", 2, "frobnicate");
    bad("help|generate|--format|man", 2, "--format");
    assert_string_equal(good("version").out, good("generate|--version").out);
    has(good("--version").out, "limn ");
    assert_int_equal(limn("").code, 2);
}

/* What the shells themselves say; those that are not installed are passed over. */
static void test_man_page_and_completions(void **state)
{
    (void)state;
    good("help|--format|man");
    assert_int_equal(shell("mv .stdout limn.1"), 0);
    char *man = slurp("limn.1");
    has(man, ".TH LIMN 1");
    has(man, "\\-\\-temperature");
    has(man, ".SH EXIT STATUS");
    free(man);
    assert_int_equal(shell("! command -v mandoc || mandoc -Tlint -Wstyle limn.1"), 0);
    assert_int_equal(shell("! command -v man || test -z \"$(man --warnings -l limn.1 2>&1 >/dev/null)\""), 0);
    good("help|--format=bash");
    assert_int_equal(shell("mv .stdout limn.bash; ! command -v bash || bash -n limn.bash"), 0);
    good("help|--format=zsh");
    assert_int_equal(shell("mv .stdout _limn; ! command -v zsh || zsh -n _limn"), 0);
    good("help|--format=fish");
    assert_int_equal(shell("mv .stdout limn.fish; ! command -v fish || fish -n limn.fish"), 0);
    static const char complete[] =
        "command -v bash >/dev/null || exit 0; cat >complete.bash <<'END'\n"
        "source ./limn.bash\n"
        "c() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _limn; echo \"${COMPREPLY[*]}\"; }\n"
        "c limn gen; c limn generate --temp; c limn convert --type q; c limn -d cpu dev; c limn help --format = z\n"
        "touch 'a b.npy'; c limn decode 'a '\n"
        "END\n"
        "bash complete.bash";
    assert_int_equal(shell(complete), 0);
    char *out = slurp(".shell");
    if (*out)
        assert_string_equal(out, "generate\n--temperature\nq8_0 q4_0\ndevices\nzsh\na b.npy\n");
    free(out);
}

/* ---- usage ---------------------------------------------------------------------------------------------------------
 */

static void test_usage_errors(void **state)
{
    (void)state;
    bad("genrate|x", 2, "genrate: no such command (did you mean generate?");
    bad("train", 2, "limn train: its second word is missing");
    bad("train|tokeniser", 2, "train tokeniser: no such command (did you mean train tokenizer?");
    bad("train|tokenizer|-o|out.gguf", 2, "--data");
    bad("train|tokenizer|--data|.", 2, "--output");
    bad("train|codec|--data|.|-o|c.gguf|--kind|vqvae|--tau-end|1", 2, "--tau-end: a vqvae has no use for it");
    bad("train|codec|--data|.|-o|c.gguf|--restart|0.5", 2, "--restart: a dvae has no use for it");
    bad("train|codec|--data|.|-o|c.gguf|--kind|vqgan|--discriminator|8,x", 2, "8,x");
    bad("help|train|generate", 2, "train generate");
    bad("help|generate|train", 2, "\"train\"");
    bad("-v", 2, "command is missing");
    bad("generate", 2, "prompt is missing");
    bad("generate|a|red apple", 2, "\"red apple\" is one argument too many");
    bad("generate|a|--temprature|1", 2, "--temprature: not an option of limn generate (did you mean --temperature?");
    bad("generate|a|--gird", 2, "did you mean --grid?");
    bad("generate|a|-x", 2, "-x: not an option");
    bad("generate|a|--seed|-1", 2,
        "--seed: \"-1\" is not possible (give a whole number from 0 to 18446744073709551615)");
    bad("generate|a|--seed|18446744073709551616", 2, "--seed");
    bad("generate|a|--seed|0x10", 2, "--seed");
    bad("generate|a|--seed|", 2, "--seed");
    bad("generate|a|--temperature|-0.5", 2, "--temperature: \"-0.5\" is not possible (give a number from 0 to 100)");
    bad("generate|a|--temperature|nan", 2, "--temperature");
    bad("generate|a|--temperature|1e999", 2, "--temperature");
    bad("generate|a|--top-p=1.5", 2, "--top-p");
    bad("generate|a|--top-k|3.5", 2, "--top-k");
    bad("generate|a|-n|0", 2, "--count");
    bad("generate|a|-n9x", 2, "--count: \"9x\"");
    bad("generate|a|--mem-limit|2X", 2, "--mem-limit: \"2X\" is not a size");
    bad("generate|a|--mem-limit|0", 2, "--mem-limit");
    bad("generate|a|--grid=1", 2, "--grid: takes no value");
    bad("generate|a|--seed", 2, "--seed: the value is missing");
    bad("generate|a|-m|--grid", 2, "--model: the value is missing before --grid");
    bad("generate|a|-o|x.jpg", 2, "x.jpg does not end in .png");
    bad("generate|a|-o|.png", 2, "does not end in .png");
    bad("generate|a|--codes-out|x.txt", 2, "--codes-out: x.txt does not end in .npy");
    bad("generate|a|--text-ids|x.npy", 2, "more than one of a prompt, --text-ids and --class");
    bad("generate|a|--class|3", 2, "more than one of a prompt, --text-ids and --class");
    bad("generate|--class|-1", 2, "--class: \"-1\" is not possible");
    bad("generate|--class|3", 2, "reads text (give a prompt)");
    bad("generate|a|-o|no-such/x.png", 1, "no-such: No such file or directory");
    bad("generate|a|-o|/dev/x.png", 1, "not a plain file");
    bad("encode|a.png", 2, "--output is missing");
    bad("encode|-o|a.npy", 2, "IMG... is missing");
    bad("encode|none.png|-o|a.npy", 1, "none.png: No such file");
    bad("decode|a.npy|-o|a.jpg", 2, "does not end in .png or .npy");
    bad("score|--text|a", 2, "--image and --codes: both are missing");
    bad("score|--text|a|--text-ids|b|--codes|c", 2, "--text and --text-ids: both are there");
    bad("convert|a|-o|b.gguf|--type|f17", 2, "--type: \"f17\" is not possible (give one of f32|f16|q8_0|q4_0)");
    bad("convert|m.pt|a/vocab.json|merges.txt|-o|b.gguf", 2, "files are in a and in .");
    bad("convert|vocab.json|-o|b.gguf", 2, "no input file");
    bad("help|--format|pdf", 2, "--format");
    assert_false(exists("limn.png"));
}

static void test_keep_errors(void **state)
{
    (void)state;
    static const char *const wrong[] = {"top",         "top:",      "top:x",           "top:0",           "top:-1",
                                        "top:0.5,1",   "box:1,2,3", "box:1,2,3,4,5",   "box:0,0,0.5,32",  "tpo:0.5",
                                        "box:0,0,0,1", "left:1e",   "box:0.6,0,0.5,1", "box:0,0.9,1,0.2", NULL};
    char line[96];
    write_bytes("prompt.png", "", 0);
    bad("generate|a|--keep|top:0.5", 2, "--keep: there is no picture");
    for (int i = 0; wrong[i]; i++) {
        snprintf(line, sizeof line, "generate|a|--image-prompt|prompt.png|--keep|%s", wrong[i]);
        bad(line, 2, "--keep: ");
    }
    bad("generate|a|--image-prompt|prompt.png|--keep|no-mask.png", 1, "no-mask.png: No such file");
    bad("generate|a|--image-prompt|no-picture.png", 1, "no-picture.png: No such file");
}

/* The forms of options, on commands that need no device. */
static void test_option_forms(void **state)
{
    (void)state;
    has(good("help|--format=man").out, ".TH");
    has(good("--no-cache|help|--format|bash|--format|man").out, ".TH"); /* the last wins */
    has(good("-d|cpu|help|generate").out, "usage: limn generate");
    has(good("-qd|cpu|help|generate").out, "usage: limn generate");
    json_t *before = parse(good("tokenize|--json|a red apple").out),
           *after = parse(good("tokenize|a red apple|--json").out);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    assert_true(strlen(good("tokenize|-5").out) > 0);
    assert_true(strlen(good("tokenize|--|--json").out) > 0);
    assert_true(strlen(good("-q|tokenize|-v|--mem-limit=1.5GiB|--|-x").out) > 0);
}

static void test_full_disk(void **state)
{
    (void)state;
    char *argv[] = {"limn", "help", NULL};
    if (!exists("/dev/full"))
        skip();
    assert_int_equal(wait_for(start(LIMN_PROGRAM, argv, "/dev/full")), 1);
    char *messages = slurp(".stderr");
    has(messages, "limn: standard output: No space left");
    free(messages);
}

/* ---- commands without a device ------------------------------------------------------------------------------------
 */

static void test_tokenize(void **state)
{
    (void)state;
    const char *line = good("tokenize|a red apple").out;
    int ids[16], n = 0;
    for (; *line; line = strchr(line, '\n') + 1) {
        char token[64];
        assert_true(n < 16);
        assert_int_equal(sscanf(line, "%d\t%63s\n", &ids[n], token), 2);
        n++;
    }
    assert_true(n >= 3);
    json_t *j = parse(good("tokenize|a red apple|--json").out);
    assert_int_equal(json_array_size(j), n);
    for (int i = 0; i < n; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(j, (size_t)i), "id")), ids[i]);
    json_decref(j);
    assert_string_equal(good("tokenize|").out, "");
    bad("tokenize", 2, "TEXT is missing");
    bad("tokenize|\xff", 1, "");
    bad("tokenize|-m|none.gguf|x", 1, "none.gguf: No such file");
}

static void test_train_tokenizer(void **state)
{
    (void)state;
    static const char captions[] = "{\"image\": \"1.png\", \"caption\": \"A red bear\"}\n"
                                   "{\"image\": \"2.png\", \"captions\": [\"a red cat\", \" \"]}\n"
                                   "{\"image\": \"3.png\"}\n";
    write_bytes("captions.jsonl", captions, sizeof captions - 1);
    has(good("help|train").out, "\n  train tokenizer ");
    assert_string_equal(good("help|train|tokenizer").out, good("train|tokenizer|--help").out);
    result r = good("train|tokenizer|--data|captions.jsonl|--lowercase|-o|trained.gguf");
    has(r.err, "captions.jsonl:3: ");
    has(r.err, "trained.gguf: 26");
    assert_string_equal(good("tokenize|-m|trained.gguf|A RED").out, "66\ta\n260\tĠred\n");
    assert_string_equal(good("-q|train|tokenizer|-o|trained.gguf|--vocabulary=258|--data|captions.jsonl").err, "");
    assert_string_equal(good("tokenize|-m|trained.gguf|red").out, "83\tr\n70\te\n69\td\n");
    write_bytes("captions.jsonl", "{}\n", 3);
    bad("-q|train|tokenizer|-o|none.gguf|--data|captions.jsonl", 1, "");
    bad("train|tokenizer|-o|none.gguf|--data|missing.jsonl", 1, "missing.jsonl");
    assert_false(exists("none.gguf"));
}

static void write_gguf(const char *path)
{
    err e = {0};
    const float w[6] = {1, 2, 3, 4, 5, 6};
    gguf_writer *g = gguf_writer_new(path);
    gguf_put_string(g, "general.architecture", "limn");
    gguf_put_int(g, "limn.size", 7);
    gguf_add_tensor(g, "w", DTYPE_F32, 2, (int64_t[]){2, 3});
    gguf_begin_data(g);
    gguf_write_data(g, w, sizeof w);
    assert_true(gguf_writer_commit(g, &e));
    gguf_writer_free(g);
}

static void test_inspect_models(void **state)
{
    (void)state;
    write_gguf("model.bin"); /* told by content, not by ending */
    const char *out = good("inspect|model.bin").out;
    has(out, "limn.size = 7");
    has(out, "[2, 3]");
    json_t *j = parse(good("inspect|model.bin|--json").out);
    assert_string_equal(json_string_value(json_object_get(j, "format")), "gguf");
    assert_int_equal(json_integer_value(json_object_get(j, "parameters")), 6);
    assert_int_equal(json_array_size(json_object_get(j, "tensors")), 1);
    json_decref(j);
    assert_int_equal(shell("head -c 100 model.bin >short.gguf"), 0);
    bad("inspect|short.gguf", 1, "short.gguf");

    static const char header[] =
        "{\"__metadata__\":{\"made\":\"by\\u001b[1m hand\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2],"
        "\"data_offsets\":[0,8]}}";
    char file[8 + sizeof header - 1 + 8] = {sizeof header - 1};
    memcpy(file + 8, header, sizeof header - 1);
    write_bytes("st", file, sizeof file);
    out = good("inspect|st").out;
    has(out, "format: safetensors");
    has(out, "made = by?[1m hand"); /* no escape sequence reaches the terminal */
    json_decref(parse(good("inspect|st|--json").out));
    write_bytes("st", file, sizeof file - 1);
    bad("inspect|st", 1, "st: ");
}

static void test_inspect_others(void **state)
{
    (void)state;
    err e = {0};
    const int32_t codes[3] = {-5, 0, 9};
    assert_true(npy_write("a.npy", DTYPE_I32, 1, (int64_t[]){3}, codes, &e));
    json_t *j = parse(good("inspect|a.npy|--json").out);
    assert_int_equal(json_integer_value(json_object_get(j, "min")), -5);
    assert_int_equal(json_integer_value(json_object_get(j, "max")), 9);
    json_decref(j);
    has(good("inspect|a.npy").out, "[3]");
    assert_int_equal(shell("head -c 130 a.npy >short.npy"), 0);
    bad("inspect|short.npy", 1, "short.npy");

    image im = {0};
    image_text text = {"parameters", "a b\nSteps: 1"};
    assert_true(image_new(&im, 5, 4, &e));
    memset(im.pixels, 200, 60);
    assert_true(image_write_png(&im, "a.png", &text, 1, &e));
    image_release(&im);
    has(good("inspect|a.png").out, "5 x 4");
    has(good("inspect|a.png").out, "a b\nSteps: 1");
    assert_int_equal(shell("head -c 60 a.png >short.png"), 0);
    bad("inspect|short.png", 1, "short.png");

    write_bytes("junk", "hello, world", 12);
    bad("inspect|junk", 1, "junk: the content is none that limn knows");
    write_bytes("empty", "", 0);
    bad("inspect|empty", 1, "empty: ");
    bad("inspect|none", 1, "none: No such file");
    bad("inspect|.", 1, ".: is a directory");
    bad("inspect|-", 2, "-: standard input");
    bad("inspect", 2, "FILE is missing");
}

/* ---- commands on a device ------------------------------------------------------------------------------------------
 */

static void need_device(void)
{
    if (!have_device)
        skip();
}

static void test_devices(void **state)
{
    (void)state;
    need_device();
    static const char *const keys[] = {"index",  "id",        "type",           "name",           "vendor",
                                       "driver", "memory",    "max_allocation", "local_memory",   "compute_units",
                                       "fp16",   "subgroups", "unified_memory", "int8_dot",       "command_buffer",
                                       "score",  "platform",  "version",        "max_work_group", NULL};
    json_t *j = parse(good("devices|--json").out);
    assert_true(json_array_size(j) > 0);
    json_t *first = json_array_get(j, 0);
    for (int i = 0; keys[i]; i++)
        assert_non_null(json_object_get(first, keys[i]));
    char line[64];
    snprintf(line, sizeof line, "devices|-d|%s|--json", json_string_value(json_object_get(first, "id")));
    json_t *one = parse(good(line).out);
    assert_int_equal(json_array_size(one), 1);
    assert_true(json_equal(json_array_get(one, 0), first));
    json_decref(one);
    has(good("devices").out, json_string_value(json_object_get(first, "name")));
    json_decref(j);
    result r = limn("generate|a|-o|never.png|-d|no such device");
    assert_true(r.code == 2 || r.code == 3);
    has(r.err, "no such device");
    assert_false(exists("never.png"));
}

static void read_codes(npy *a, const char *path, int64_t rows)
{
    err e = {0};
    if (!npy_read(a, path, DTYPE_I32, &e))
        fail_msg("%s", e.text);
    assert_int_equal(a->nd, 2);
    assert_int_equal(a->shape[0], rows);
}

static void test_generate(void **state)
{
    (void)state;
    need_device();
    result r = good("generate|a red apple|-o|one.png|--seed|7|--codes-out|one.npy|--temperature|0.5|--top-k|20");
    has(r.err, "wrote one.png: seed 7");
    assert_string_equal(r.out, "");
    assert_null(strchr(r.err, '\r')); /* no progress where stderr is no terminal */
    char *text = image_read_png_text("one.png", "parameters"), *software = image_read_png_text("one.png", "Software");
    assert_non_null(text);
    assert_non_null(software);
    assert_memory_equal(text, "a red apple\nSteps: ", 19);
    has(text, ", Seed: 7, Size: ");
    has(text, "Temperature: 0.5, Top-k: 20");
    has(text, ", CFG scale: ");
    assert_memory_equal(software, "limn ", 5);
    free(text);
    free(software);

    r = good("generate|a red apple|--seed=7|-n3|-o|three.png|--codes-out=three.npy|--temperature=0.5|--top-k=20|-q");
    assert_string_equal(r.err, "");
    assert_true(exists("three-1.png") && exists("three-2.png") && exists("three-3.png"));
    assert_false(exists("three.png") || exists("three-0.png") || exists("three-4.png"));
    text = image_read_png_text("three-2.png", "parameters");
    has(text, ", Picture: 2 of 3");
    free(text);
    npy one = {0}, three = {0};
    read_codes(&one, "one.npy", 1);
    read_codes(&three, "three.npy", 3);
    assert_memory_equal(one.data, three.data, (size_t)one.count * sizeof(int32_t));
    npy_release(&one);
    npy_release(&three);
}

static void test_generate_grid_and_preview(void **state)
{
    (void)state;
    need_device();
    err e = {0};
    image one = {0}, grid = {0}, preview = {0};
    good("generate|a cat|-n|4|--grid|-o|grid.PNG|--preview|preview.png|--temperature|0|-q");
    good("generate|a cat|-o|cat.png|-q");
    assert_false(exists("grid-1.PNG"));
    assert_true(image_read(&one, "cat.png", &e) && image_read(&grid, "grid.PNG", &e));
    assert_true(image_read(&preview, "preview.png", &e));
    assert_true(grid.width > 2 * one.width && grid.height > 2 * one.height);
    assert_int_equal(preview.width, grid.width);
    assert_memory_equal(preview.pixels, grid.pixels, (size_t)grid.width * (size_t)grid.height * 3);
    image_release(&one);
    image_release(&grid);
    image_release(&preview);
    result r = good("generate|a cat"); /* the seed that is made up is told */
    has(r.err, "wrote limn.png: seed ");
    assert_true(exists("limn.png"));
}

/* Ids in a file stand for the prompt that they are the tokens of, padded or not. */
static void test_text_ids(void **state)
{
    (void)state;
    need_device();
    err e = {0};
    int32_t ids[16] = {0};
    json_t *j = parse(good("tokenize|a red apple|--json").out);
    int n = (int)json_array_size(j);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_object_get(json_array_get(j, (size_t)i), "id"));
    json_decref(j);
    assert_true(npy_write("ids.npy", DTYPE_I32, 1, (int64_t[]){n}, ids, &e));
    good("generate|a red apple|--seed|3|-o|p.png|--codes-out|p.npy|-q");
    good("generate|--text-ids|ids.npy|--seed|3|-o|i.png|--codes-out|i.npy|-q");
    npy p = {0}, i = {0};
    read_codes(&p, "p.npy", 1);
    read_codes(&i, "i.npy", 1);
    assert_memory_equal(p.data, i.data, (size_t)p.count * sizeof(int32_t));
    npy_release(&p);
    npy_release(&i);
    assert_true(npy_write("two.npy", DTYPE_I32, 2, (int64_t[]){2, n / 2}, ids, &e));
    bad("generate|--text-ids|two.npy", 1, "two.npy: has 2 rows");
}

static void test_image_prompt(void **state)
{
    (void)state;
    need_device();
    npy before = {0}, after = {0};
    good("generate|a red apple|--seed|1|-o|start.png|-q");
    good("encode|start.png|-o|start.npy|-q");
    good("generate|a dog|--seed|2|--image-prompt|start.png|--keep|left:0.5|--codes-out|kept.npy|-o|kept.png|-q");
    read_codes(&before, "start.npy", 1);
    read_codes(&after, "kept.npy", 1);
    int side = 1;
    while (side * side < before.count)
        side++;
    const int32_t *a = before.data, *b = after.data;
    int same = 0;
    for (int i = 0; i < side * side; i++) {
        if (i % side < side / 2)
            assert_int_equal(a[i], b[i]);
        same += a[i] == b[i];
    }
    assert_true(same < side * side);
    npy_release(&before);
    npy_release(&after);
    result r = limn("generate|a|--image-prompt|start.png|--keep|box:0,0,2,9999|-o|never.png");
    assert_int_equal(r.code, 2);
    has(r.err, "reaches out of the picture");
    r = limn("generate|a|--image-prompt|start.png|--keep|top:0.001|-o|never.png");
    assert_int_equal(r.code, 2);
    has(r.err, "keeps none of the");
    assert_false(exists("never.png"));
}

static void test_codec_round_trip(void **state)
{
    (void)state;
    need_device();
    err e = {0};
    npy codes = {0}, pixels = {0}, logits = {0};
    image png = {0}, again = {0};
    good("generate|a red apple|--seed|1|-o|x.png|-q");
    good("encode|x.png|x.png|-o|x.npy|--logits-out|xl.npy|-q");
    read_codes(&codes, "x.npy", 2);
    assert_true(npy_read(&logits, "xl.npy", DTYPE_F32, &e));
    assert_int_equal(logits.nd, 4);
    /* the codes are the largest logits */
    int64_t cells = codes.shape[1], k = logits.shape[1];
    for (int64_t c = 0; c < cells; c++) {
        const float *l = logits.data;
        int64_t best = 0;
        for (int64_t i = 1; i < k; i++)
            best = l[i * cells + c] > l[best * cells + c] ? i : best;
        assert_int_equal(((int32_t *)codes.data)[c], best);
    }
    good("decode|x.npy|-o|y.png|-q");
    good("decode|x.npy|-o|y.npy|-q");
    good("reconstruct|x.png|-o|z.png|-q");
    assert_true(exists("y-1.png") && exists("y-2.png") && !exists("y.png"));
    assert_true(npy_read(&pixels, "y.npy", DTYPE_F32, &e));
    assert_true(image_read(&png, "y-1.png", &e) && image_read(&again, "z.png", &e));
    assert_int_equal(pixels.nd, 4);
    assert_int_equal(pixels.shape[2], png.height);
    size_t plane = (size_t)png.width * (size_t)png.height;
    for (size_t i = 0; i < 3 * plane; i++) {
        double v = 255 * (double)((float *)pixels.data)[i % 3 * plane + i / 3];
        assert_true(png.pixels[i] >= v - 0.501 && png.pixels[i] <= v + 0.501);
    }
    assert_memory_equal(png.pixels, again.pixels, 3 * plane);
    image_release(&png);
    image_release(&again);
    ((int32_t *)codes.data)[3] = 1 << 20;
    assert_true(npy_write("wrong.npy", DTYPE_I32, 2, codes.shape, codes.data, &e));
    assert_int_equal(limn("decode|wrong.npy|-o|never.png").code, 1);
    assert_true(npy_write("wrong.npy", DTYPE_I32, 1, (int64_t[]){cells + 1}, codes.data, &e));
    assert_int_equal(limn("decode|wrong.npy|-o|never.png").code, 1);
    assert_false(exists("never.png"));
    npy_release(&codes);
    npy_release(&pixels);
    npy_release(&logits);
}

static void test_score(void **state)
{
    (void)state;
    need_device();
    err e = {0};
    npy logits = {0};
    good("generate|a red apple|--seed|1|-o|s.png|-n|2|-q");
    good("encode|s-1.png|s-2.png|-o|s.npy|-q");
    json_t *image_row = parse(good("score|--text|a red apple|--image|s-2.png|--json").out);
    json_t *rows = parse(good("score|--text|a red apple|--codes|s.npy|--logits-out|sl.npy|--json").out);
    assert_int_equal(json_array_size(image_row), 1);
    assert_int_equal(json_array_size(rows), 2);
    json_t *a = json_array_get(image_row, 0), *b = json_array_get(rows, 1);
    double x = json_real_value(json_object_get(a, "image_log_likelihood"));
    double y = json_real_value(json_object_get(b, "image_log_likelihood"));
    assert_true(x < 0 && x - y < 1e-3 && y - x < 1e-3);
    double tokens = (double)json_integer_value(json_object_get(a, "image_tokens"));
    double bits = json_real_value(json_object_get(a, "image_bits_per_token"));
    double expected = -x / tokens / 0.69314718055994531;
    assert_true(bits - expected < 1e-9 && expected - bits < 1e-9);
    assert_true(npy_read(&logits, "sl.npy", DTYPE_F32, &e));
    assert_int_equal(logits.nd, 3);
    assert_int_equal(logits.shape[0], 2);
    assert_true(logits.shape[1] == (int64_t)tokens);
    has(good("score|--text|a red apple|--codes|s.npy").out, "log p(z|y)");
    npy_release(&logits);
    json_decref(image_row);
    json_decref(rows);
}

static void test_profile(void **state)
{
    (void)state;
    need_device();
    result r = good("generate|a cat|--profile|-o|profile.png");
    has(r.err, "GFLOP/s");
    has(r.err, "wrote limn-trace.json");
    char *trace = slurp("limn-trace.json");
    json_decref(parse(trace));
    free(trace);
    static const char line[] = "{\"image\": \"profile.png\"}\n";
    write_bytes("profile.jsonl", line, sizeof line - 1);
    r = good("train|codec|--data|profile.jsonl|--profile|--steps|1|--batch|1|--size|16|--codes|8|-o|profile.gguf");
    has(r.err, "conv:");
    has(r.err, "GFLOP/s");
}

/* Ctrl-C ends with code 1 and leaves no file. */
static void test_interrupt(void **state)
{
    (void)state;
    need_device();
    char *argv[] = {"limn", "generate", "a", "-v", "-n", "5000", "-o", "interrupt.png", NULL};
    pid_t pid = start(LIMN_PROGRAM, argv, ".stdout");
    const struct timespec moment = {0, 20000000};
    for (int i = 0; i < 1500; i++) { /* by the time of this message the signal is caught */
        char *messages = slurp(".stderr");
        bool there = strstr(messages, "limn: device") != NULL;
        free(messages);
        if (there)
            break;
        nanosleep(&moment, NULL);
    }
    kill(pid, SIGINT);
    assert_int_equal(wait_for(pid), 1);
    char *messages = slurp(".stderr");
    has(messages, "limn: interrupted");
    free(messages);
    assert_int_not_equal(shell("ls | grep interrupt"), 0);
}

/* ---- the tests
 * ------------------------------------------------------------------------------------------------------- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_man_page_and_completions),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_keep_errors),
        cmocka_unit_test(test_option_forms),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_train_tokenizer),
        cmocka_unit_test(test_inspect_models),
        cmocka_unit_test(test_inspect_others),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_generate),
        cmocka_unit_test(test_generate_grid_and_preview),
        cmocka_unit_test(test_text_ids),
        cmocka_unit_test(test_image_prompt),
        cmocka_unit_test(test_codec_round_trip),
        cmocka_unit_test(test_score),
        cmocka_unit_test(test_profile),
        cmocka_unit_test(test_interrupt),
    };
    if (!mkdtemp(directory) || chdir(directory) != 0) {
        perror(directory);
        return 1;
    }
    char *argv[] = {"limn", "devices", NULL};
    have_device = wait_for(start(LIMN_PROGRAM, argv, ".stdout")) == 0;
    if (!have_device)
        fprintf(stderr, "no OpenCL device: the tests that need one are skipped\n");
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    char line[64];
    snprintf(line, sizeof line, "rm -rf %s", directory);
    shell(line);
    return failed;
}
