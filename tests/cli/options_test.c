/* The command line's parser on the tables themselves: every form that a usage line shows parses, values are taken as
 * they are typed, and what isn't there is answered by what was meant. */
#include <setjmp.h> /* cmocka.h wants these four before it */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands.h"
#include "cli/hints.h"
#include "convert/convert.h"
#include "convert/families.h"

#define NOTHING(name)                                                                                                  \
    int name(const options *o)                                                                                         \
    {                                                                                                                  \
        (void)o;                                                                                                       \
        return 0;                                                                                                      \
    }
NOTHING(command_bench)
NOTHING(command_convert)
NOTHING(command_decode)
NOTHING(command_devices)
NOTHING(command_encode)
NOTHING(command_generate)
NOTHING(command_help)
NOTHING(command_inspect)
NOTHING(command_reconstruct)
NOTHING(command_score)
NOTHING(command_doctor)
NOTHING(command_serve)
NOTHING(command_selftest)
NOTHING(command_tokenize)
NOTHING(command_train_clip)
NOTHING(command_train_codec)
NOTHING(command_train_dalle)
NOTHING(command_train_lora)
NOTHING(command_train_tokenizer)
NOTHING(command_train_unet)
NOTHING(command_tune)
NOTHING(command_version)

enum { MOST = 200 };

/* Parses words, the first of which are the command's name; the error's text, "" where there is none.  *o is for the
 * caller to release. */
static const char *parse(const command *c, const char *const *words, int n, options *o)
{
    static err e;
    char *argv[MOST + 1] = {"limn"};
    assert_true(n < MOST);
    for (int i = 0; i < n; i++)
        argv[i + 1] = (char *)words[i];
    e = (err){0};
    bool ok = options_parse(o, c, n + 1, argv, 1, &e);
    assert_int_equal(ok, e.code == 0);
    assert_true(e.code == 0 || e.code == ERR_USAGE);
    return e.text;
}

static const command *find(const char *name)
{
    const command *c = command_table;
    while (strcmp(c->name, name) != 0)
        c++;
    return c;
}

/* Of a line with single spaces. */
static const char *parse_line(const char *name, const char *line, options *o)
{
    static char copy[1000];
    const char *words[MOST];
    int n = 0;
    snprintf(copy, sizeof copy, "%s%s%s", name, *line ? " " : "", line);
    for (char *w = strtok(copy, " "); w; w = strtok(NULL, " "))
        words[n++] = w;
    return parse(find(name), words, n, o);
}

static void assert_parses(const char *name, const char *line)
{
    options o;
    const char *text = parse_line(name, line, &o);
    if (*text)
        fail_msg("limn %s %s: %s", name, line, text);
    options_release(&o);
}

static void assert_refused(const char *name, const char *line, const char *part)
{
    options o;
    const char *text = parse_line(name, line, &o);
    if (!strstr(text, part))
        fail_msg("limn %s %s: \"%s\" is not in: %s", name, line, part, text);
    options_release(&o);
}

/* ---- usage lines ---- */

/* A value that the option takes, in out[32]. */
static const char *value_of(const option *o, char out[32])
{
    switch (o->kind) {
    case OPTION_INTEGER:
    case OPTION_NUMBER:
        snprintf(out, 32, "%.0f", o->min > 1 ? o->min : o->max < 1 ? o->max : 1);
        break;
    case OPTION_CHOICE:
        snprintf(out, 32, "%.*s", (int)strcspn(o->words, "|"), o->words);
        break;
    default:
        snprintf(out, 32, "%s", o->kind == OPTION_SIZE ? "1G" : o->kind == OPTION_SEED ? "1" : "x");
    }
    return out;
}

/* Adds the option, long or short. */
static void add(const option *o, bool letter, char text[][72], int *n)
{
    char value[32];
    if (letter && o->letter)
        snprintf(text[(*n)++], 72, "-%c", o->letter);
    else
        snprintf(text[(*n)++], 72, "--%s", o->name);
    if (o->argument)
        snprintf(text[(*n)++], 72, "%s", value_of(o, value));
}

/* The command with so many operands, with all options or those that must be. */
static void check_form(const command *c, int operands, bool all, bool letters)
{
    static char text[MOST][72];
    const char *words[MOST];
    options o;
    int n = 0;
    for (const char *w = c->name; w; w = strchr(w, ' ') ? strchr(w, ' ') + 1 : NULL)
        snprintf(text[n++], 72, "%.*s", (int)strcspn(w, " "), w);
    for (int i = 0; i < operands; i++)
        snprintf(text[n++], 72, "operand");
    for (const option *t = c->options; t && t->name; t++) {
        if (all || t->required || t->either)
            add(t, letters, text, &n);
        if (t->either && t[1].name && t[1].either == t->either)
            t++; /* the other of the two */
    }
    for (int i = 0; i < n; i++)
        words[i] = text[i];
    const char *wrong = parse(c, words, n, &o);
    if (*wrong)
        fail_msg("limn %s with %d operands, %s options: %s", c->name, operands, all ? "all" : "required", wrong);
    assert_int_equal(o.n_operands, operands);
    options_release(&o);
}

static void test_usage(void **state)
{
    (void)state;
    for (const command *c = command_table; c->name; c++) {
        if (!c->run)
            continue;
        bool many = c->operands && strstr(c->operands, "..."), optional = c->operands && c->operands[0] == '[';
        int words = c->operands ? 1 : 0;
        for (const char *p = c->operands; p && (p = strchr(p, ' ')); p++)
            words++;
        assert_int_equal(many, c->max_operands < 0);
        assert_true(many || c->max_operands >= words);
        /* an option may stand for them: --data of train */
        assert_true(c->min_operands <= words && (!optional || c->min_operands == 0));
        for (int form = 0; form < 4; form++) {
            check_form(c, c->min_operands, form & 1, form & 2);
            if (c->operands)
                check_form(c, words, form & 1, form & 2);
            if (many)
                check_form(c, 3, form & 1, form & 2);
        }
    }
}

static const option *convert_option(const char *name)
{
    const option *o = find("convert")->options;
    while (strcmp(o->name, name) != 0)
        o++;
    return o;
}

/* --family's help and completion have every family of the registry, and no other; --set's help has every setting. */
static void test_families(void **state)
{
    (void)state;
    const option *o = convert_option("family");
    size_t n = 0, words = 1;
    for (const char *name; (name = import_family_name(n)); n++) {
        if (!strstr(o->help, name) || !strstr(o->words, name))
            fail_msg("--family: %s is not in the help, or not among the words to complete", name);
    }
    for (const char *w = o->words; *w; w++)
        words += *w == '|';
    assert_int_equal(words, n);
    for (size_t i = 0; import_setting_name(i); i++)
        if (!strstr(convert_option("set")->help, import_setting_name(i)))
            fail_msg("--set: %s is not in the help", import_setting_name(i));
    assert_int_equal(n, FAMILIES);
}

/* ---- values ---- */

static void test_values(void **state)
{
    (void)state;
    static const char *const types[][2] = {{"f16", "f16"},   {"F16", "f16"},  {"Q8_0", "q8_0"},
                                           {"q8_0", "q8_0"}, {"q8", "q8_0"},  {"Q4", "q4_0"},
                                           {"FP16", "f16"},  {"half", "f16"}, {"Float32", "f32"}};
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"2g", 2ull << 30},      {"2G", 2ull << 30},   {"2GB", 2ull << 30},  {"2gb", 2ull << 30},
                 {"2GiB", 2ull << 30},    {"2gib", 2ull << 30}, {"2Gib", 2ull << 30}, {"512mb", 512ull << 20},
                 {"512MB", 512ull << 20}, {"1.5k", 1536},       {"65536", 65536},     {"65536b", 65536},
                 {"1t", 1ull << 40}};
    options o;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        char line[64];
        snprintf(line, sizeof line, "a -o b --type %s", types[i][0]);
        assert_string_equal(parse_line("convert", line, &o), "");
        assert_string_equal(options_text(&o, "type", NULL), types[i][1]);
        options_release(&o);
    }
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char line[64];
        snprintf(line, sizeof line, "a --mem-limit %s", sizes[i].text);
        assert_string_equal(parse_line("generate", line, &o), "");
        assert_int_equal(options_unsigned(&o, "mem-limit", 0), sizes[i].bytes);
        options_release(&o);
    }
    assert_refused("convert", "a -o b --type q8_1", "give one of f32|f16|q8_0|q4_0");
    assert_refused("convert", "a -o b --type f", "give one of");
    assert_refused("generate", "a --mem-limit 2gg", "is not a size");
    assert_refused("generate", "a --mem-limit 2ib", "is not a size");
    assert_string_equal(parse_line("generate", "a --kv-cache F16 --seed 5 --seed -1", &o), "");
    assert_string_equal(options_text(&o, "kv-cache", NULL), "f16");
    assert_true(options_random(&o, "seed"));
    options_release(&o);
    assert_string_equal(parse_line("generate", "a --seed=Random --seed 7", &o), "");
    assert_false(options_random(&o, "seed"));
    assert_int_equal(options_unsigned(&o, "seed", 0), 7);
    options_release(&o);
    assert_refused("generate", "a --temperature 0,7", "from 0 to 100, with a point)");
    assert_refused("generate", "a --seed -2", "or -1 for a random one");
    /* a run that --resume goes on with needs a seed that is known */
    assert_refused("train codec", "--data d -o o --seed -1", "give a whole number from 0");
}

/* ---- what was meant ---- */

static const struct {
    const char *command, *typed, *expected;
} hint_cases[] = {
    {"generate", "--prompt x", "the prompt is an argument"},
    {"generate", "-p x", "the prompt is an argument"},
    {"generate", "--cfg 7", "did you mean --guidance?"},
    {"generate", "--cfg-scale 7", "did you mean --guidance?"},
    {"generate", "--cfg_scale 7", "did you mean --guidance?"},
    {"generate", "--guidance-scale=7", "did you mean --guidance?"},
    {"generate", "--scale 7", "did you mean --guidance?"},
    {"generate", "--width 7", "did you mean --size?"},
    {"generate", "-H 7", "did you mean --size?"},
    {"generate", "--batch 7", "did you mean --count?"},
    {"generate", "--num-images 7", "did you mean --count?"},
    {"generate", "--n_iter 7", "did you mean --count?"},
    {"generate", "--samples 7", "did you mean --count?"},
    {"generate", "--outdir 7", "did you mean --output?"},
    {"generate", "--out 7", "did you mean --output?"},
    {"generate", "--output-dir 7", "did you mean --output?"},
    {"generate", "--model-path 7", "did you mean --model?"},
    {"generate", "--ckpt 7", "did you mean --model?"},
    {"generate", "--gpu", "did you mean --device gpu?"},
    {"generate", "--cpu", "did you mean --device cpu?"},
    {"generate", "--cuda", "limn devices lists them"},
    {"generate", "--device-id 0", "did you mean --device?"},
    {"generate", "--mask-image m.png", "did you mean --mask?"},
    {"generate", "--scheduler euler", "did you mean --sampler?"},
    {"generate", "--init-image m.png", "did you mean --image-prompt?"},
    {"generate", "--image m.png", "did you mean --image-prompt?"},
    {"generate", "--init m.png", "did you mean --image-prompt?"},
    {"generate", "--threads 4", "the device's driver decides"},
    {"generate", "--fp16", "limn convert MODEL"},
    {"generate", "--lowvram", "did you mean --mem-limit?"},
    {"generate", "--debug", "did you mean --verbose?"},
    {"generate", "--temprature 1", "did you mean --temperature?"},
    {"generate", "--temp 1", "did you mean --temperature?"},
    {"generate", "--gird", "did you mean --grid?"},
    {"generate", "--Seed 1", "did you mean --seed?"},
    {"generate", "--image_prompt x", "did you mean --image-prompt?"},
    {"generate", "-seed 1", "did you mean --seed?"},
    {"generate", "-output x", "did you mean --output?"},
    {"generate", "-prompt x", "the prompt is an argument"},
    {"generate", "\u2014seed 1", "write --seed"},
    {"train codec", "--learning-rate 1", "did you mean --lr?"},
    {"train codec", "--batch-size 1", "did you mean --batch?"},
    {"train codec", "--batch_size 1", "did you mean --batch?"},
    {"train codec", "--epochs 1", "did you mean --steps?"},
    {"train dalle", "--dataset x", "did you mean --data?"},
    {"train dalle", "--data-dir x", "did you mean --data?"},
    {"train dalle", "--gradient-checkpointing", "did you mean --recompute?"},
    {"train dalle", "--image_size 256", "the codec decides"},
    {"train dalle", "--depth 8", "did you mean --layers?"},
    {"train clip", "--wandb", "TensorBoard"},
    {"train tokenizer", "--vocab_size 100", "did you mean --vocabulary?"},
    {"convert", "--quantize q8_0", "did you mean --type?"},
    {"convert", "--outtype f16", "did you mean --type?"},
    {"convert", "--fp16", "did you mean --type f16?"},
    {"inspect", "--model x", "the file is an argument"},
};

static void test_option_hints(void **state)
{
    (void)state;
    /* nothing is better than a wrong guess */
    static const char *const nothing[] = {"--foo", "--lr 1", "--bar x", "-x", "--sieve", "--ab", "--z"};
    for (size_t i = 0; i < sizeof hint_cases / sizeof *hint_cases; i++)
        assert_refused(hint_cases[i].command, hint_cases[i].typed, hint_cases[i].expected);
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++) {
        options o;
        const char *text = parse_line("generate", nothing[i], &o);
        assert_non_null(strstr(text, "not an option of limn generate (limn generate --help"));
        options_release(&o);
    }
    assert_parses("generate", "x -dgpu"); /* -d gpu, though --dgpu has a hint */
    /* what other programs have and limn may come to have is answered until then */
    static const char *const later[] = {"steps",           "sampler",  "scheduler", "negative",
                                        "negative-prompt", "strength", "lora",      "size"};
    for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
        char hint[HINT_SIZE];
        hint_option(find("generate"), later[i], hint);
        assert_true(*hint != 0);
        assert_null(strstr(hint, "--count?"));
        assert_null(strstr(hint, "--device?"));
        assert_null(strstr(hint, "--seed?"));
    }
}

/* No command's own option is taken for another's, and each hint names an option that is there. */
static void test_hints_of_own_options(void **state)
{
    (void)state;
    for (const command *c = command_table; c->name; c++) {
        for (const option *o = c->options; o && o->name; o++) {
            char hint[HINT_SIZE], expected[64];
            snprintf(expected, sizeof expected, "did you mean --%s?", o->name);
            assert_string_equal(hint_option(c, o->name, hint), expected);
        }
    }
}

static void test_dashes(void **state)
{
    (void)state;
    options o;
    const char *const cat[] = {"generate", "-n cat"}, *const seed[] = {"generate", "--a cat"},
                      *const glued[] = {"generate", "a", "-omy picture.png"},
                      *const ended[] = {"generate", "--", "-n cat"};
    assert_non_null(strstr(parse(find("generate"), cat, 2, &o), "put -- before a text"));
    options_release(&o);
    assert_non_null(strstr(parse(find("generate"), seed, 2, &o), "put -- before a text"));
    options_release(&o);
    assert_string_equal(parse(find("generate"), glued, 3, &o), "");
    assert_string_equal(options_text(&o, "output", NULL), "my picture.png");
    options_release(&o);
    assert_string_equal(parse(find("generate"), ended, 3, &o), "");
    assert_string_equal(o.operands[0], "-n cat");
    options_release(&o);
    assert_parses("generate", "-5");
    assert_parses("generate", "-");
}

static void test_command_hints(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"genrate", "did you mean generate?"},
        {"Generate", "did you mean generate?"},
        {"txt2img", "did you mean generate?"},
        {"draw", "did you mean generate?"},
        {"paint", "did you mean generate?"},
        {"create", "did you mean generate?"},
        {"img2img", "did you mean generate?"},
        {"ls", "did you mean devices?"},
        {"list", "did you mean devices?"},
        {"info", "did you mean inspect?"},
        {"show", "did you mean inspect?"},
        {"quantise", "limn convert MODEL"},
        {"quantize", "limn convert MODEL"},
        {"pull", "limn downloads nothing"},
        {"dalle", "train dalle"},
        {"a red apple", "limn generate \"a red apple\""},
        {"apple", "limn generate \"apple\""},
        {"model.gguf", "limn inspect model.gguf"},
    };
    int used;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        err e = {0};
        assert_null(command_find(&cases[i][0], 1, true, &used, &e));
        if (!strstr(e.text, cases[i][1]))
            fail_msg("\"%s\" is not in: %s", cases[i][1], e.text);
    }
    const char *const words[] = {"a", "red", "apple", "-o", "x.png"}, *const train[] = {"train", "vqgan"};
    err e = {0};
    assert_null(command_find(words, 5, true, &used, &e));
    assert_non_null(strstr(e.text, "limn generate \"a red apple\""));
    e = (err){0};
    assert_null(command_find(train, 2, true, &used, &e));
    assert_non_null(strstr(e.text, "limn train codec --kind vqgan"));
    e = (err){0};
    assert_null(command_find(words + 2, 1, false, &used, &e)); /* as limn help asks */
    assert_null(strstr(e.text, "generate"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_usage),
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_option_hints),
        cmocka_unit_test(test_hints_of_own_options),
        cmocka_unit_test(test_dashes),
        cmocka_unit_test(test_command_hints),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
