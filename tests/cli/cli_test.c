/* The command line, as scripts see it: help, usage, and the commands that need no device. */
#include "cli_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io/gguf.h"
#include "io/image.h"
#include "io/npy.h"

static const char *const commands[] = {"devices",  "generate", "encode",  "decode", "reconstruct", "score",
                                       "tokenize", "convert",  "inspect", "bench",  "tune",        "selftest",
                                       "doctor",   "help",     "version", NULL};

/* ---- help ---- */

static void test_help(void **state)
{
    (void)state;
    assert_string_equal(cli_good("help").out, cli_good("--help").out);
    for (int i = 0; commands[i]; i++) {
        char line[64];
        snprintf(line, sizeof line, "\n  %s ", commands[i]);
        cli_has(cli_good("help").out, line);
        snprintf(line, sizeof line, "%s|--help", commands[i]);
        cli_result r = cli_good(line);
        snprintf(line, sizeof line, "help|%s", commands[i]);
        assert_string_equal(cli_good(line).out, r.out);
        assert_string_equal(r.err, "");
        snprintf(line, sizeof line, "usage: limn %s", commands[i]);
        assert_memory_equal(r.out, line, strlen(line));
        cli_has(r.out, "--mem-limit SIZE");
        for (const char *p = r.out; *p; p += strcspn(p, "\n") + 1)
            assert_true(strcspn(p, "\n") <= 80);
    }
    cli_bad("help|frobnicate", 2, "frobnicate");
    cli_bad("help|generate|--format|man", 2, "--format");
    assert_string_equal(cli_good("version").out, cli_good("generate|--version").out);
    cli_has(cli_good("--version").out, "limn ");
    assert_int_equal(cli_run("").code, 2);
}

/* What the shells themselves say; those that are not installed are passed over. */
static void test_man_page_and_completions(void **state)
{
    (void)state;
    cli_good("help|--format|man");
    assert_int_equal(cli_shell("mv .stdout limn.1"), 0);
    char *man = cli_slurp("limn.1");
    cli_has(man, ".TH LIMN 1");
    cli_has(man, "\\-\\-temperature");
    cli_has(man, ".SH EXIT STATUS");
    free(man);
    assert_int_equal(cli_shell("! command -v mandoc || mandoc -Tlint -Wstyle limn.1"), 0);
    assert_int_equal(cli_shell("! command -v groff || test -z \"$(groff -man -ww -Tutf8 limn.1 2>&1 >/dev/null)\""), 0);
    assert_int_equal(cli_shell("! command -v man || test -z \"$(man --warnings -l limn.1 2>&1 >/dev/null)\""), 0);
    cli_good("help|--format=bash");
    assert_int_equal(cli_shell("mv .stdout limn.bash; ! command -v bash || bash -n limn.bash"), 0);
    assert_int_equal(cli_shell("! command -v shellcheck || shellcheck -s bash limn.bash"), 0);
    cli_good("help|--format=zsh");
    assert_int_equal(cli_shell("mv .stdout _limn; ! command -v zsh || zsh -n _limn"), 0);
    cli_good("help|--format=fish");
    assert_int_equal(cli_shell("mv .stdout limn.fish; ! command -v fish || fish -n limn.fish"), 0);
    static const char complete[] =
        "command -v bash >/dev/null || exit 0; cat >complete.bash <<'END'\n"
        "source ./limn.bash\n"
        "c() { COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); COMPREPLY=(); _limn; echo \"${COMPREPLY[*]}\"; }\n"
        "c limn gen; c limn generate --temp; c limn convert --type q; c limn -d cpu dev; c limn help --format = z\n"
        "touch 'a b.npy'; c limn decode 'a '\n"
        "c limn help train ''; c limn help generate ''; c limn train ''; c limn train foo ''; c limn help gen\n"
        "limn() { " LIMN_PROGRAM " \"$@\"; }; c limn bench layer; c limn bench \"'rms\"\n"
        "END\n"
        "bash complete.bash";
    assert_int_equal(cli_shell(complete), 0);
    char *out = cli_slurp(".shell");
    if (*out)
        assert_string_equal(out,
                            "generate\n--temperature\nq8_0 q4_0\ndevices\nzsh\na b.npy\n"
                            "codec dalle lora unet clip tokenizer\n\ncodec dalle lora unet clip tokenizer\n\ngenerate\n"
                            "layer norm\nrms norm\n");
    free(out);
}

/* The same asked of fish and zsh themselves, as if at their prompts. */
static void test_completions_at_prompts(void **state)
{
    static const char fish[] = "command -v fish >/dev/null || exit 0; " LIMN_PROGRAM " help --format fish >limn.fish\n"
                               "HOME=$PWD fish --no-config -c 'source limn.fish; for l in \"limn gen\" \"limn generate "
                               "--temp\" \"limn convert "
                               "--type q\" \"limn train co\"; complete -C $l; end' | cut -f 1";
    /* Ctrl-T shows the line that TAB has completed, Ctrl-U clears it */
    static const char zsh[] =
        "command -v zsh >/dev/null || exit 0; " LIMN_PROGRAM " help --format zsh >_limn; cat >try.zsh <<'END'\n"
        "zmodload zsh/zpty || exit 0\n"
        "zpty z zsh -f -i\n"
        "zpty -w z \"PROMPT=; TERM=dumb; fpath=($PWD \\$fpath); autoload -Uz compinit; compinit -u -D; print "
        "set''up\"\n"
        "zpty -r -m z said '*setup*'\n"
        "zpty -w z 'show() { print -r -- \"<$BUFFER>\" }; zle -N show; bindkey \"^T\" show; print re''ady'\n"
        "zpty -r -m z said '*ready*'\n"
        "for typed in 'limn gen' 'limn train cod' 'limn generate --temp'; do\n"
        "    zpty -w -n z \"$typed\"$'\\t\\x14'\n"
        "    zpty -r -m z said '*<limn*>*'\n"
        "    print -r -- \"${${said##*<}%%>*}\"\n"
        "    zpty -w -n z $'\\x15'\n"
        "done\n"
        "[[ $said == *'--temperature  -- Below'* ]] && print listed\n"
        "END\n"
        "timeout 120 zsh -f try.zsh";
    (void)state;
    assert_int_equal(cli_shell(fish), 0);
    char *out = cli_slurp(".shell");
    if (*out)
        assert_string_equal(out, "generate\n--temperature\nq4_0\nq8_0\ncodec\n");
    free(out);
    assert_int_equal(cli_shell(zsh), 0);
    out = cli_slurp(".shell");
    if (*out)
        assert_string_equal(out, "limn generate \nlimn train codec \nlimn generate --temp\nlisted\n");
    free(out);
}

/* ---- usage ---- */

static void test_usage_errors(void **state)
{
    (void)state;
    cli_bad("genrate|x", 2, "genrate: no such command (did you mean generate?");
    cli_bad("train", 2, "limn train: its second word is missing");
    cli_bad("train|tokeniser", 2, "train tokeniser: no such command (did you mean train tokenizer?");
    cli_bad("train|tokenizer|-o|out.gguf", 2, "--data");
    cli_bad("train|tokenizer|--data|.", 2, "--output");
    cli_bad("train|codec|--data|.|-o|c.gguf|--kind|vqvae|--tau-end|1", 2, "--tau-end: a vqvae has no use for it");
    cli_bad("train|codec|--data|.|-o|c.gguf|--restart|0.5", 2, "--restart: a dvae has no use for it");
    cli_bad("train|codec|--data|.|-o|c.gguf|--kind|vqgan|--discriminator|8,x", 2, "8,x");
    cli_bad("help|train|generate", 2, "train generate");
    cli_bad("help|generate|train", 2, "\"train\"");
    cli_bad("-v", 2, "command is missing");
    cli_bad("generate", 2, "prompt is missing");
    cli_bad("generate|a|--temprature|1", 2,
            "--temprature: not an option of limn generate (did you mean --temperature?");
    cli_bad("generate|a|--gird", 2, "did you mean --grid?");
    cli_bad("generate|a|-x", 2, "-x: not an option");
    cli_bad("generate|a|--seed|-2", 2,
            "--seed: \"-2\" is not possible (give a whole number from 0 to 18446744073709551615, or -1");
    cli_bad("-o|cat.png|a cat", 2, "-o: the command comes before its options");
    cli_bad("--steps|20|generate|a cat", 2, "--steps: the command comes before");
    cli_bad("-d|cpu|a cat", 2, "limn generate \"a cat\"");
    cli_bad("a red apple", 2, "limn generate \"a red apple\"");
    cli_bad("generate|a|--seed|18446744073709551616", 2, "--seed");
    cli_bad("generate|a|--seed|0x10", 2, "--seed");
    cli_bad("generate|a|--seed|", 2, "--seed");
    cli_bad("generate|a|--temperature|-0.5", 2,
            "--temperature: \"-0.5\" is not possible (give a number from 0 to 100)");
    cli_bad("generate|a|--temperature|nan", 2, "--temperature");
    cli_bad("generate|a|--temperature|1e999", 2, "--temperature");
    cli_bad("generate|a|--top-p=1.5", 2, "--top-p");
    cli_bad("generate|a|--top-k|3.5", 2, "--top-k");
    cli_bad("generate|a|-n|0", 2, "--count");
    cli_bad("generate|a|--kv-cache|q8_0", 2, "--kv-cache: \"q8_0\" is not possible (give one of f32|f16)");
    cli_bad("generate|a|-n9x", 2, "--count: \"9x\"");
    cli_bad("generate|a|--mem-limit|2X", 2, "--mem-limit: \"2X\" is not a size");
    cli_bad("generate|a|--mem-limit|0", 2, "--mem-limit");
    cli_bad("generate|a|--grid=1", 2, "--grid: takes no value");
    cli_bad("generate|a|--seed", 2, "--seed: the value is missing");
    cli_bad("generate|a|-m|--grid", 2, "--model: the value is missing before --grid");
    cli_bad("generate|a|-o|x.bmp", 2, "x.bmp does not end in .png, .jpg or .webp");
    cli_bad("generate|a|-n|2|-o|-", 2, "standard output takes one picture");
    cli_bad("generate|a|--quality|0", 2, "--quality");
    cli_bad("reconstruct|a.png|-o|x", 2, "x does not end in .png, .jpg or .webp");
    cli_bad("generate|a|-o|.png", 2, "does not end in .png");
    cli_bad("generate|a|--codes-out|x.txt", 2, "--codes-out: x.txt does not end in .npy");
    cli_bad("generate|a|--text-ids|x.npy", 2, "more than one of a prompt, --text-ids and --class");
    cli_bad("generate|a|--class|3", 2, "more than one of a prompt, --text-ids and --class");
    cli_bad("generate|--class|-1", 2, "--class: \"-1\" is not possible");
    cli_bad("generate|a|-o|no-such/x.png", 1, "no-such: No such file or directory");
    cli_bad("generate|a|-o|/dev/x.png", 1, "not a plain file");
    cli_bad("encode|a.png", 2, "--output is missing");
    cli_bad("encode|-o|a.npy", 2, "IMG... is missing");
    cli_bad("encode|none.png|-o|a.npy", 1, "none.png: No such file");
    cli_bad("decode|a.npy|-o|a.bmp", 2, "does not end in .png, .jpg, .webp or .npy");
    cli_bad("score|--text|a", 2, "--image and --codes: both are missing");
    cli_bad("score|--text|a|--text-ids|b|--codes|c", 2, "--text and --text-ids: both are there");
    cli_bad("convert|a|-o|b.gguf|--type|f17", 2, "--type: \"f17\" is not possible (give one of f32|f16|q8_0|q4_0)");
    cli_bad("convert|m.pt|a/vocab.json|merges.txt|-o|b.gguf", 2, "files are in a and in .");
    cli_bad("convert|m.pt|a/tokenizer.json|a/vocab.json|a/merges.txt|-o|b.gguf", 1, "m.pt: ");
    cli_bad("convert|vocab.json|-o|b.gguf", 2, "no input file");
    cli_bad("help|--format|pdf", 2, "--format");
    assert_false(cli_exists("limn.png"));
}

static void test_keep_errors(void **state)
{
    (void)state;
    static const char *const wrong[] = {"top",         "top:",      "top:x",           "top:0",           "top:-1",
                                        "top:0.5,1",   "box:1,2,3", "box:1,2,3,4,5",   "box:0,0,0.5,32",  "tpo:0.5",
                                        "box:0,0,0,1", "left:1e",   "box:0.6,0,0.5,1", "box:0,0.9,1,0.2", NULL};
    char line[96];
    cli_write("prompt.png", "", 0);
    cli_bad("generate|a|--keep|top:0.5", 2, "--keep: there is no picture");
    for (int i = 0; wrong[i]; i++) {
        snprintf(line, sizeof line, "generate|a|--image-prompt|prompt.png|--keep|%s", wrong[i]);
        cli_bad(line, 2, "--keep: ");
    }
    cli_bad("generate|a|--image-prompt|no-picture.png|--keep|TOP:0.5", 1, "no-picture.png: No such file");
    cli_bad("generate|a|--image-prompt|prompt.png|--keep|no-mask.png", 1, "no-mask.png: No such file");
    cli_bad("generate|a|--image-prompt|no-picture.png", 1, "no-picture.png: No such file");
}

/* The forms of options, on commands that need no device. */
static void test_option_forms(void **state)
{
    (void)state;
    cli_has(cli_good("help|--format=man").out, ".TH");
    cli_has(cli_good("--no-cache|help|--format|bash|--format|man").out, ".TH"); /* the last wins */
    cli_has(cli_good("-d|cpu|help|generate").out, "usage: limn generate");
    cli_has(cli_good("-qd|cpu|help|generate").out, "usage: limn generate");
    json_t *before = cli_parse(cli_good("tokenize|--json|a red apple").out),
           *after = cli_parse(cli_good("tokenize|a red apple|--json").out);
    assert_true(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    assert_true(strlen(cli_good("tokenize|-5").out) > 0);
    assert_true(strlen(cli_good("tokenize|--|--json").out) > 0);
    assert_true(strlen(cli_good("-q|tokenize|-v|--mem-limit=1.5GiB|--|-x").out) > 0);
}

static void test_full_disk(void **state)
{
    (void)state;
    char *argv[] = {"limn", "help", NULL};
    if (!cli_exists("/dev/full"))
        skip();
    assert_int_equal(cli_wait(cli_start(LIMN_PROGRAM, argv, "/dev/full")), 1);
    char *messages = cli_slurp(".stderr");
    cli_has(messages, "limn: standard output: No space left");
    free(messages);
}

/* ---- commands without a device ---- */

static void test_tokenize(void **state)
{
    (void)state;
    const char *line = cli_good("tokenize|a red apple").out;
    int ids[16], n = 0;
    for (; *line; line = strchr(line, '\n') + 1) {
        char token[64];
        assert_true(n < 16);
        assert_int_equal(sscanf(line, "%d\t%63s\n", &ids[n], token), 2);
        n++;
    }
    assert_true(n >= 3);
    json_t *j = cli_parse(cli_good("tokenize|a red apple|--json").out);
    assert_int_equal(json_array_size(j), n);
    for (int i = 0; i < n; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(j, (size_t)i), "id")), ids[i]);
    json_decref(j);
    assert_string_equal(cli_good("tokenize|").out, "");
    cli_bad("tokenize", 2, "TEXT is missing");
    cli_bad("tokenize|\xff", 1, "");
    cli_bad("tokenize|-m|none.gguf|x", 1, "none.gguf: No such file");
}

static void test_train_tokenizer(void **state)
{
    (void)state;
    static const char captions[] = "{\"image\": \"1.png\", \"caption\": \"A red bear\"}\n"
                                   "{\"image\": \"2.png\", \"captions\": [\"a red cat\", \" \"]}\n"
                                   "{\"image\": \"3.png\"}\n";
    cli_write("captions.jsonl", captions, sizeof captions - 1);
    cli_has(cli_good("help|train").out, "\n  train tokenizer ");
    assert_string_equal(cli_good("help|train|tokenizer").out, cli_good("train|tokenizer|--help").out);
    cli_result r = cli_good("train|tokenizer|--data|captions.jsonl|--lowercase|-o|trained.gguf");
    cli_has(r.err, "captions.jsonl:3: ");
    cli_has(r.err, "limn: wrote trained.gguf: 26");
    cli_has(r.err, " s\n");
    assert_string_equal(cli_good("tokenize|-m|trained.gguf|A RED").out, "66\ta\n260\tĠred\n");
    static const char untidy[] = "\xEF\xBB\xBF{\"image\": \"1.png\", \"caption\": \"\\ufeff A\\tred  bear\\r\\n\"}\r\n"
                                 "{\"image\": \"2.png\", \"captions\": [\"a\\u00a0red cat\\u200b \", \" \"]}\r\n";
    cli_write("untidy.jsonl", untidy, sizeof untidy - 1);
    cli_good("train|tokenizer|--data|untidy.jsonl|--lowercase|-o|untidy.gguf");
    assert_int_equal(cli_shell("cmp trained.gguf untidy.gguf"), 0);
    /* a file that may not become so large */
    assert_int_equal(cli_shell("ulimit -f 1; " LIMN_PROGRAM " train tokenizer captions.jsonl -o large.gguf"), 1);
    assert_int_equal(cli_shell("! ls -A | grep -e 'large.gguf$' -e 'limn-.*tmp'"), 0);
    assert_string_equal(cli_good("-q|train|tokenizer|-o|trained.gguf|--overwrite|--vocabulary=258|captions.jsonl").err,
                        "");
    assert_string_equal(cli_good("tokenize|-m|trained.gguf|red").out, "83\tr\n70\te\n69\td\n");
    cli_write("captions.jsonl", "{}\n", 3);
    cli_bad("-q|train|tokenizer|-o|none.gguf|--data|captions.jsonl", 1, "");
    cli_bad("train|tokenizer|-o|none.gguf|--data|missing.jsonl", 1, "missing.jsonl");
    assert_false(cli_exists("none.gguf"));
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
    const char *out = cli_good("inspect|model.bin").out;
    cli_has(out, "limn.size = 7");
    cli_has(out, "[2, 3]");
    json_t *j = cli_parse(cli_good("inspect|model.bin|--json").out);
    assert_string_equal(json_string_value(json_object_get(j, "format")), "gguf");
    assert_int_equal(json_integer_value(json_object_get(j, "parameters")), 6);
    assert_int_equal(json_array_size(json_object_get(j, "tensors")), 1);
    json_decref(j);
    assert_int_equal(cli_shell("head -c 100 model.bin >short.gguf"), 0);
    cli_bad("inspect|short.gguf", 1, "short.gguf");

    static const char header[] =
        "{\"__metadata__\":{\"made\":\"by\\u001b[1m hand\"},\"w\":{\"dtype\":\"F32\",\"shape\":[2],"
        "\"data_offsets\":[0,8]}}";
    char file[8 + sizeof header - 1 + 8] = {sizeof header - 1};
    memcpy(file + 8, header, sizeof header - 1);
    cli_write("st", file, sizeof file);
    out = cli_good("inspect|st").out;
    cli_has(out, "format: safetensors");
    cli_has(out, "made = by?[1m hand"); /* no escape sequence reaches the terminal */
    json_decref(cli_parse(cli_good("inspect|st|--json").out));
    cli_write("st", file, sizeof file - 1);
    cli_bad("inspect|st", 1, "st: ");
}

static void test_inspect_others(void **state)
{
    (void)state;
    err e = {0};
    const int32_t codes[3] = {-5, 0, 9};
    assert_true(npy_write("a.npy", DTYPE_I32, 1, (int64_t[]){3}, codes, &e));
    json_t *j = cli_parse(cli_good("inspect|a.npy|--json").out);
    assert_int_equal(json_integer_value(json_object_get(j, "min")), -5);
    assert_int_equal(json_integer_value(json_object_get(j, "max")), 9);
    json_decref(j);
    cli_has(cli_good("inspect|a.npy").out, "[3]");
    assert_int_equal(cli_shell("head -c 130 a.npy >short.npy"), 0);
    cli_bad("inspect|short.npy", 1, "short.npy");

    image im = {0};
    image_text text = {"parameters", "a b\nSteps: 1"};
    assert_true(image_new(&im, 5, 4, &e));
    memset(im.pixels, 200, 60);
    assert_true(image_write_png(&im, "a.png", &text, 1, &e));
    image_release(&im);
    cli_has(cli_good("inspect|a.png").out, "5 x 4");
    cli_has(cli_good("inspect|a.png").out, "a b\nSteps: 1");
    assert_int_equal(cli_shell("head -c 60 a.png >short.png"), 0);
    cli_bad("inspect|short.png", 1, "short.png");

    cli_write("junk", "hello, world", 12);
    cli_bad("inspect|junk", 1, "junk: the content is none that limn knows");
    cli_write("empty", "", 0);
    cli_bad("inspect|empty", 1, "empty: ");
    cli_bad("inspect|none", 1, "none: No such file");
    cli_bad("inspect|.", 1, ".: is a directory");
    cli_bad("inspect|-", 2, "-: standard input");
    cli_has(cli_good("inspect").out, "  draws: pictures of 64 x 64 pixels, by 8 x 8 codes, from text of up to ");
}

/* ---- the tests ---- */

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_help),
        cmocka_unit_test(test_man_page_and_completions),
        cmocka_unit_test(test_completions_at_prompts),
        cmocka_unit_test(test_usage_errors),
        cmocka_unit_test(test_keep_errors),
        cmocka_unit_test(test_option_forms),
        cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_tokenize),
        cmocka_unit_test(test_train_tokenizer),
        cmocka_unit_test(test_inspect_models),
        cmocka_unit_test(test_inspect_others),
    };
    if (!cli_enter())
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    cli_leave();
    return failed;
}
