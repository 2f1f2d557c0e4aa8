/* limn train as its users have it: what is there is not lost, two runs don't share an output, and the data is named as
 * hands do. */
#include "cli_support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/image.h"
#include "support.h"

#define CODEC                                                                                                          \
    "|--size|16|--codes|16|--code-dim|8|--encoder|8,16|--decoder|16,8|--blocks|1|--block-width|8|--batch|4|--sample-"  \
    "every|0"
#define DALLE "|--codec|codec.gguf|--tokenizer|tokens.gguf|--dim|16|--heads|2|--layers|1|--batch|4|--sample-every|0"

/* ---- what is there already ---- */

static void an_earlier_run_is_not_replaced(void **state)
{
    (void)state;
    cli_result r = cli_good("train|codec|data|-o|codec.gguf|--steps|2" CODEC);
    cli_has(r.err, "limn: wrote codec.gguf: step 2 of 2, loss ");
    cli_has(r.err, "limn: next: limn train dalle data --codec codec.gguf --tokenizer TOKENIZER.gguf -o MODEL.gguf");
    assert_false(cli_exists("codec.gguf.lock"));
    cli_result said = cli_good("train|tokenizer|data|--vocabulary|270|-o|tokens.gguf");
    cli_has(said.err, "limn: wrote tokens.gguf: 270 tokens, from 12 captions, ");
    cli_has(said.err, "limn: next: limn train dalle data --tokenizer tokens.gguf --codec CODEC.gguf -o MODEL.gguf");
    said = cli_good("train|dalle|--data|data|-o|model.gguf|--steps|2" DALLE);
    cli_has(said.err, "limn: wrote model.gguf: step 2 of 2, loss ");
    cli_has(said.err, "limn: next: limn generate \"PROMPT\" -m model.gguf -o picture.png");
    cli_good("generate|red on blue|-m|model.gguf|-o|picture.png");
    assert_int_equal(cli_shell("md5sum codec.gguf* model.gguf* tokens.gguf >sums 2>err; true"), 0);
    static const char *const again[] = {
        ("train|codec|--data|data|-o|codec.gguf|--steps|3" CODEC), ("train|codec|data|-o|./codec.gguf|--steps|3" CODEC),
        ("train|dalle|data|-o|model.gguf|--steps|3" DALLE), "train|tokenizer|data|-o|codec.gguf",
        "train|clip|data|--tokenizer|tokens.gguf|-o|model.gguf|--steps|3"};
    for (size_t i = 0; i < sizeof again / sizeof *again; i++) {
        r = cli_run(again[i]);
        assert_int_equal(r.code, 1);
        cli_has(r.err, "an earlier run left a model");
        cli_has(r.err, "--overwrite");
        cli_has(r.err, "the checkpoint of step 2, a log (.csv), event files (.events) (--resume goes on");
    }
    assert_int_equal(cli_shell("md5sum -c sums"), 0);
    assert_int_equal(cli_shell("ls | grep -q lock"), 1);
    cli_bad("train|codec|data|-o|codec.gguf|--resume|--overwrite", 2, "give one of them");
    cli_good("train|codec|data|-o|codec.gguf|--resume|--steps|3" CODEC);
    said = cli_good("train|tokenizer|data|--vocabulary|270|-o|tokens.gguf");
    cli_has(said.err, "in place of the tokenizer that was there");
    cli_good("train|dalle|data|-o|model.gguf|--overwrite|--steps|1" DALLE);
    assert_int_equal(cli_shell("test $(wc -l <model.gguf.csv) = 2 && test $(wc -l <codec.gguf.csv) = 4"), 0);
}

static void a_whole_model_is_fine_tuned(void **state)
{
    (void)state;
    cli_bad("train|dalle|data|-o|tuned.gguf", 2, "--codec FILE is missing (or give --init with a whole model)");
    cli_bad("train|dalle|data|--codec|codec.gguf|-o|tuned.gguf", 2, "--tokenizer FILE is missing");
    cli_bad("train|dalle|data|--init|codec.gguf|-o|tuned.gguf", 2, "no codec makes the codes (give --codec FILE");
    cli_bad("train|dalle|data|--init|model.gguf|--mlp|5|-o|tuned.gguf", 2, "--mlp 5: the transformer of ");
    assert_false(cli_exists("tuned.gguf"));
    cli_good("train|dalle|data|--init|model.gguf|-o|tuned.gguf|--steps|2|--batch|4|--sample-every|1");
    assert_true(cli_exists("tuned.gguf.png"));
    cli_good("generate|red on blue|-m|tuned.gguf|-o|tuned.png");
}

/* A folder with an adapter, which counts as much as is asked for. */
static void an_adapter_is_trained_and_drawn_with(void **state)
{
    (void)state;
    static const char score[] = "score|-m|model.gguf|--text|red on blue|--codes|style.npy|--logits-out|";
    char line[256];
    cli_bad("train|dalle|data|-o|style|--lora|4" DALLE, 2,
            "--lora: adapters change a model that is there (give --init");
    cli_has(cli_good("train|dalle|data|--init|model.gguf|-o|style|--lora|4|--steps|20|--lr|0.1|--batch|4").err,
            "next: limn generate \"PROMPT\" -m model.gguf --lora style -o picture.png");
    assert_true(cli_exists("style/adapter_config.json") && cli_exists("style/adapter_model.safetensors.png"));
    cli_good("generate|red on blue|-m|model.gguf|-o|style.png|--codes-out|style.npy|--lora|style/:0.5|--lora|"
             "style/adapter_model.safetensors:0.5");
    cli_has(cli_good("generate|-m|model.gguf|-o|like.png|--like|style.png").err,
            "style.png was drawn with --lora style/:0.5, style/adapter_model.safetensors:0.5, and this is without");
    static const char *const options[] = {"plain.npy", "zero.npy|--lora|style:0", "whole.npy|--lora|style"};
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        snprintf(line, sizeof line, "%s%s", score, options[i]);
        cli_good(line);
    }
    assert_int_equal(cli_shell("cmp plain.npy zero.npy && ! cmp -s plain.npy whole.npy"), 0);
    cli_bad("generate|red|-m|model.gguf|-o|style.png|--lora|none:0.5", 1, "--lora: none: ");
    cli_bad("generate|red|-m|tuned.gguf|-o|style.png|--lora|data", 1, "adapter_model.safetensors");
    cli_bad("train|dalle|data|--init|model.gguf|-o|style|--lora|4|--steps|20", 1, "an earlier run left a model");
}

static void each_part_of_an_earlier_run_counts(void **state)
{
    (void)state;
    cli_good("train|codec|data|-o|parts.gguf|--steps|2" CODEC);
    assert_int_equal(cli_shell("mkdir k && cp -r parts.gguf* k"), 0);
    static const char *const parts[] = {"", ".checkpoint", ".csv"};
    static const char *const words[] = {"a model (--over", "step 2 (--resume", "a log (.csv) (--resume"};
    for (int i = 0; i < 3; i++) {
        char line[128];
        snprintf(line, sizeof line, "rm -r parts.gguf*; cp -r k/parts.gguf%s .", parts[i]);
        assert_int_equal(cli_shell(line), 0);
        cli_bad("train|codec|data|-o|parts.gguf" CODEC, 1, words[i]);
    }
    /* event files alone, which rm without -r leaves, are no run */
    assert_int_equal(cli_shell("rm -r parts.gguf*; cp -r k/parts.gguf.events ."), 0);
    cli_good("train|codec|data|-o|parts.gguf|--steps|1" CODEC);
    cli_has(cli_good("train|codec|data|-o|parts.gguf|--resume|--steps|1" CODEC).err, "nothing is left to do");
    /* a model without its checkpoint is not replaced by --resume */
    assert_int_equal(
        cli_shell("rm -r parts.gguf*; cp -r k/* .; rm parts.gguf.checkpoint; md5sum parts.gguf* >sums; true"), 0);
    cli_bad("train|codec|data|-o|parts.gguf|--resume" CODEC, 1, "no parts.gguf.checkpoint to resume from");
    cli_bad("train|codec|data|-o|parts.gguf|--resume" CODEC, 1, "no parts.gguf.checkpoint to resume from");
    assert_int_equal(cli_shell("md5sum -c sums"), 0);
    /* the same run anew is the same to the byte, whatever lay there */
    cli_good("train|codec|data|-o|parts.gguf|--overwrite|--steps|2" CODEC);
    assert_int_equal(cli_shell("cmp parts.gguf k/parts.gguf && cmp parts.gguf.checkpoint k/parts.gguf.checkpoint"), 0);
    /* nothing is there yet: --resume begins */
    cli_has(cli_good("train|codec|data|-o|fresh.gguf|--resume|--steps|1" CODEC).err, "no checkpoint yet");
}

/* ---- two runs ---- */

/* A run that has made some steps, and makes no checkpoint, however long what follows takes. */
static pid_t start_long_run(const char *output)
{
    char *argv[] = {(char *)"limn",
                    (char *)"train",
                    (char *)"codec",
                    (char *)"data",
                    (char *)"--size",
                    (char *)"16",
                    (char *)"-o",
                    (char *)output,
                    (char *)"--encoder",
                    (char *)"8,16",
                    (char *)"--decoder",
                    (char *)"16,8",
                    (char *)"--blocks",
                    (char *)"1",
                    (char *)"--batch",
                    (char *)"4",
                    (char *)"--steps",
                    (char *)"1000000",
                    (char *)"--save-every",
                    (char *)"1000000",
                    NULL};
    char log[64], line[128];
    snprintf(log, sizeof log, "%s.csv", output);
    snprintf(line, sizeof line, "test $(wc -l <%s) -gt 2", log);
    pid_t pid = cli_start(LIMN_PROGRAM, argv, "out");
    const struct timespec moment = {0, 50000000};
    for (int i = 0; !cli_exists(log) || cli_shell(line) != 0; i++) {
        if (i == 12000)
            fail_msg("no step of %s within ten minutes", output);
        nanosleep(&moment, NULL);
    }
    return pid;
}

static void two_runs_exclude_each_other(void **state)
{
    (void)state;
    char who[64];
    pid_t pid = start_long_run("long.gguf");
    snprintf(who, sizeof who, "another run is writing it: process %ld on ", (long)pid);
    static const char *const others[] = {
        "train|codec|data|-o|long.gguf" CODEC, "train|codec|data|-o|long.gguf|--resume" CODEC,
        "train|codec|data|-o|long.gguf|--overwrite" CODEC, "train|tokenizer|data|-o|long.gguf|--overwrite"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        cli_bad(others[i], 1, who);
    cli_good("train|codec|data|-o|beside.gguf|--steps|1" CODEC); /* another output in the same folder */
    kill(pid, SIGKILL);
    assert_int_equal(cli_wait(pid), 1000 + SIGKILL);
    /* what was killed holds nothing; before its first checkpoint the run begins anew */
    cli_bad("train|codec|data|-o|long.gguf" CODEC, 1, "an earlier run left a log");
    cli_good("train|codec|data|-o|long.gguf|--resume|--steps|2" CODEC);
    assert_false(cli_exists("long.gguf.lock"));
}

/* Sends an interrupt after so many milliseconds; the exit code. */
static int interrupt_after(char *const *argv, long ms)
{
    pid_t pid = cli_start(LIMN_PROGRAM, argv, "out");
    nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
    kill(pid, SIGINT);
    return cli_wait(pid);
}

/* Large pictures: the first step waits for them. */
static void an_interrupt_before_the_first_step_leaves_nothing(void **state)
{
    (void)state;
    image im;
    assert_true(image_new(&im, 5000, 5000, NULL));
    for (size_t i = 0; i < (size_t)5000 * 5000 * 3; i++)
        im.pixels[i] = (uint8_t)(i * i >> 5);
    assert_int_equal(cli_shell("mkdir large"), 0);
    assert_true(image_write_png(&im, "large/0.png", NULL, 0, NULL));
    image_release(&im);
    assert_int_equal(cli_shell("for i in $(seq 400); do ln large/0.png large/$i.png; done"), 0);
    char *argv[] = {(char *)"limn",
                    (char *)"train",
                    (char *)"codec",
                    (char *)"large",
                    (char *)"-o",
                    (char *)"early.gguf",
                    (char *)"--batch",
                    (char *)"4000",
                    (char *)"--size",
                    (char *)"16",
                    (char *)"--encoder",
                    (char *)"8,16",
                    (char *)"--decoder",
                    (char *)"16,8",
                    (char *)"--blocks",
                    (char *)"0",
                    NULL};
    struct timespec begin, end;
    for (long ms = 100; ms < 3000; ms += 900) {
        clock_gettime(CLOCK_MONOTONIC, &begin);
        int code = interrupt_after(argv, ms);
        clock_gettime(CLOCK_MONOTONIC, &end);
        assert_true(code == 1 || code == 1000 + SIGINT); /* before signals are caught it ends by it */
        assert_true(end.tv_sec - begin.tv_sec < 30);
        assert_int_equal(cli_shell("rm -f early.gguf.lock; ls | grep -q early"), 1);
    }
}

/* ---- inputs ---- */

static void no_input_is_replaced(void **state)
{
    (void)state;
    cli_good("train|codec|data|-o|c.gguf|--steps|1" CODEC);
    assert_int_equal(cli_shell("ln c.gguf hard.gguf; ln -s c.gguf soft.gguf; cp data/00.png kept.png;"
                               "printf '{\"image\": \"data/00.png\", \"text\": \"a\"}\\n' >list.jsonl;"
                               "cp c.gguf d.gguf.codes; md5sum c.gguf list.jsonl data/* d.gguf.codes >sums"),
                     0);
    static const char *const lines[] = {
        "train|codec|data|--init|c.gguf|--overwrite|-o|c.gguf",
        "train|codec|data|--init|c.gguf|--overwrite|-o|hard.gguf",
        "train|codec|data|--init|soft.gguf|--resume|-o|c.gguf",
        "train|codec|data|--kind|vqgan|--perceptual|c.gguf|--overwrite|-o|c.gguf",
        "train|dalle|data|--codec|c.gguf|--tokenizer|tokens.gguf|--overwrite|-o|c.gguf",
        "train|dalle|data|--codec|c.gguf|--tokenizer|tokens.gguf|--overwrite|-o|tokens.gguf",
        "train|dalle|data|--codec|c.gguf|--tokenizer|tokens.gguf|-o|new.gguf|--codes-cache|c.gguf",
        "train|dalle|data|--codec|d.gguf.codes|--tokenizer|tokens.gguf|-o|d.gguf",
        "train|codec|list.jsonl|--overwrite|-o|list.jsonl",
        "train|tokenizer|--data|list.jsonl|--overwrite|-o|list.jsonl",
        "train|tokenizer|data|--overwrite|-o|data/00.txt",
        "train|codec|data|--overwrite|-o|data/00.png",
        "train|codec|data|--overwrite|-o|data/00", /* its samples would be data/00.png */
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        cli_bad(lines[i], 2, "--output: ");
    assert_int_equal(cli_shell("md5sum -c sums"), 0);
}

static void data_is_named_as_hands_do(void **state)
{
    (void)state;
    cli_bad("train|codec|-o|none.gguf", 2, "the data is missing");
    cli_bad("train|dalle|-o|none.gguf|--codec|c.gguf|--tokenizer|tokens.gguf", 2, "the data is missing");
    cli_good("train|codec|data|-o|a1.gguf|--steps|1" CODEC);
    cli_good("train|codec|--data|data|-o|a2.gguf|--steps|1" CODEC);
    cli_good("train|codec|--data=data/|-o|a3.gguf|--steps|1" CODEC);
    assert_int_equal(cli_shell("cmp a1.gguf a2.gguf && cmp a1.gguf a3.gguf"), 0);
    cli_good("train|codec|data|list.jsonl|-o|a4.gguf|--steps|1" CODEC);
    cli_has(cli_good("train|codec|--help").out, "DATA...");
    /* a model among the pictures, and its samples, are no data */
    cli_good("train|codec|data|-o|data/in.gguf|--steps|1" CODEC);
    assert_int_equal(cli_shell("cp data/00.png data/in.gguf.png && cp data/00.png cat.png && md5sum cat.png >sum"), 0);
    cli_good("train|codec|data|-o|data/in.gguf|--resume|--steps|2" CODEC);
    assert_int_equal(cli_shell("rm -r data/in.gguf*"), 0);
    cli_bad("train|codec|data|-o|cat" CODEC, 1, "an earlier run left a picture (.png) (--overwrite");
    assert_int_equal(cli_shell("md5sum -c sum"), 0);
    /* names that can't be written are found before the work */
    char line[512], name[256];
    memset(name, 'x', 248);
    name[248] = 0;
    snprintf(line, sizeof line, "train|codec|data|-o|%s", name);
    cli_bad(line, 1, "File name too long");
    cli_bad("train|codec|data|-o|nowhere/a.gguf", 1, "nowhere");
}

/* ---- what is said of the data ---- */

static int times(const char *text, const char *part)
{
    int n = 0;
    for (const char *p = text; (p = strstr(p, part)); p++)
        n++;
    return n;
}

static void captions_that_are_cut_are_counted(void **state)
{
    (void)state;
    assert_int_equal(cli_shell("cp -r data long; for i in 00 01 02; do for k in $(seq 40); do printf 'q%s ' $i; done "
                               ">long/$i.txt; done; printf '' >long/03.txt; printf ' \\n' >long/04.txt; rm long/05.txt;"
                               "printf 'no picture' >long/06.png"),
                     0);
    cli_good("train|tokenizer|data|--vocabulary|258|-o|bytes.gguf");
    cli_result r =
        cli_good("train|dalle|long|-o|long_dalle.gguf|--codec|codec.gguf|--tokenizer|bytes.gguf|--dim|16|--heads|"
                 "2|--layers|1|--batch|4|--sample-every|0|--steps|2|--text-length|30");
    cli_has(r.err, "captions too long for --text-length 30: 3 of 9, which lose their end: up to 130 of 159 tokens "
                   "(--text-length 160 keeps all)\n");
    cli_has(r.err, "data: 9 pictures with 9 captions, ");
    cli_has(r.err, "its caption is empty: 2 times: long/03.png, long/04.png\n");
    cli_has(r.err, "long/05.png: no captions (a .txt file of the same name)\n");
    static const char *const once[] = {"long/03.png", "long/05.png", "long/06.png", "too long"};
    for (int i = 0; i < 4; i++)
        assert_int_equal(times(r.err, once[i]), 1);
    r = cli_good("train|dalle|long|-o|long_dalle.gguf|--codec|codec.gguf|--tokenizer|bytes.gguf|--dim|16|--heads|"
                 "2|--layers|1|--batch|4|--sample-every|0|--steps|1|--text-length|160|--overwrite");
    assert_null(strstr(r.err, "too long"));
    assert_int_equal(times(r.err, "long/06.png"), 1); /* in each start */
    /* generate does what training did */
    r = cli_good("train|dalle|long|-o|cut.gguf|--codec|codec.gguf|--tokenizer|bytes.gguf|--dim|16|--heads|2|--layers|1|"
                 "--batch|4|--sample-every|0|--steps|1|--text-length|5");
    r = cli_good("generate|red on blue|-m|cut.gguf|-o|cut.png|--codes-out|cut.npy|--seed|3");
    cli_has(r.err, "prompt: 11 tokens, and the model takes 4: the end is cut off");
    r = cli_good("generate|red |-m|cut.gguf|-o|cut.png|--codes-out|cut2.npy|--seed|3");
    cli_good("train|clip|long|-o|clip.gguf|--tokenizer|bytes.gguf|--size|16|--batch|4|--steps|1|--text-length|30");
    cli_has(
        cli_good("train|clip|long|-o|clip.gguf|--overwrite|--tokenizer|bytes.gguf|--size|16|--batch|4|--steps|1").err,
        "captions too long for --text-length 24: 3 of 9, ");
}

static void changed_pictures_get_new_codes(void **state)
{
    (void)state;
    assert_int_equal(cli_shell("cp -r data change"), 0);
#define CHANGE "train|dalle|change|-o|change.gguf|--overwrite|--steps|1" DALLE
    cli_good(CHANGE);
    assert_int_equal(cli_shell("cp data/01.png change/00.png && cp change.gguf.codes before"), 0);
    cli_good("train|dalle|change|-o|anew.gguf|--steps|1" DALLE);
    cli_good(CHANGE); /* 00 is 01 now, whose codes are there */
    assert_int_equal(cli_shell("cmp -s change.gguf anew.gguf && ! cmp -s change.gguf.codes before"), 0);
    support_pictures("others");
    assert_int_equal(
        cli_shell("cp $(ls -t data/*.png | head -1) change/02.png; head -c 300 change.gguf.codes >half && mv half "
                  "change.gguf.codes"),
        0);
    cli_good(CHANGE);
    cli_good("train|dalle|change|-o|anew.gguf|--overwrite|--steps|1" DALLE);
    assert_int_equal(cli_shell("cmp -s change.gguf anew.gguf"), 0);
    cli_bad("train|dalle|change|-o|none.gguf|--codes-cache|codec.gguf.checkpoint|--steps|1" DALLE, 1, "holds no codes");
}

static void pictures_without_captions_say_what_to_do(void **state)
{
    (void)state;
    assert_int_equal(cli_shell("mkdir bare && cp data/*.png bare"), 0);
    cli_good("train|codec|bare|-o|bare.gguf|--steps|1" CODEC);
    cli_bad("train|dalle|bare|-o|none.gguf" DALLE, 1, "no captions (a .txt file of the same name)");
    cli_bad("train|tokenizer|bare|-o|none.gguf", 1, "a caption is in NAME.txt beside NAME.png");
    assert_int_equal(cli_shell("ls | grep -q none"), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_earlier_run_is_not_replaced),
        cmocka_unit_test(a_whole_model_is_fine_tuned),
        cmocka_unit_test(an_adapter_is_trained_and_drawn_with),
        cmocka_unit_test(each_part_of_an_earlier_run_counts),
        cmocka_unit_test(two_runs_exclude_each_other),
        cmocka_unit_test(an_interrupt_before_the_first_step_leaves_nothing),
        cmocka_unit_test(no_input_is_replaced),
        cmocka_unit_test(data_is_named_as_hands_do),
        cmocka_unit_test(captions_that_are_cut_are_counted),
        cmocka_unit_test(changed_pictures_get_new_codes),
        cmocka_unit_test(pictures_without_captions_say_what_to_do),
    };
    if (!cli_enter())
        return 1;
    int failed = 77;
    support_pictures("data");
    if (cli_run("devices").code == 0)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    else
        fprintf(stderr, "train_cli_test: no OpenCL device\n");
    cli_leave();
    return failed;
}
