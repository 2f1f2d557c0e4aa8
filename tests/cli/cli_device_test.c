/* The command line, as scripts see it: the commands that run on a device. */
#include "cli_support.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "io/image.h"
#include "io/npy.h"

static void test_devices(void **state)
{
    (void)state;
    static const char *const keys[] = {"index",  "id",        "type",           "name",           "vendor",
                                       "driver", "memory",    "max_allocation", "local_memory",   "compute_units",
                                       "fp16",   "subgroups", "unified_memory", "int8_dot",       "command_buffer",
                                       "score",  "platform",  "version",        "max_work_group", NULL};
    json_t *j = cli_parse(cli_good("devices|--json").out);
    assert_true(json_array_size(j) > 0);
    json_t *first = json_array_get(j, 0);
    for (int i = 0; keys[i]; i++)
        assert_non_null(json_object_get(first, keys[i]));
    char line[64];
    snprintf(line, sizeof line, "devices|-d|%s|--json", json_string_value(json_object_get(first, "id")));
    json_t *one = cli_parse(cli_good(line).out);
    assert_int_equal(json_array_size(one), 1);
    assert_true(json_equal(json_array_get(one, 0), first));
    json_decref(one);
    cli_has(cli_good("devices").out, json_string_value(json_object_get(first, "name")));
    json_decref(j);
    cli_result r = cli_run("generate|a|-o|never.png|-d|no such device");
    assert_true(r.code == 2 || r.code == 3);
    cli_has(r.err, "no such device");
    assert_false(cli_exists("never.png"));
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
    cli_result r =
        cli_good("generate|a red apple|-o|one.png|--seed|7|--codes-out|one.npy|--temperature|0.5|--top-k|20");
    cli_has(r.err, "wrote one.png: seed 7");
    assert_string_equal(r.out, "");
    assert_null(strchr(r.err, '\r')); /* no progress where stderr is no terminal */
    char *text = image_read_text("one.png", "parameters"), *software = image_read_text("one.png", "Software");
    assert_non_null(text);
    assert_non_null(software);
    cli_has(text, "a red apple\nNegative prompt: \nSteps: "); /* ComfyUI reads nothing without the line between */
    cli_has(text, ", Seed: 7, Size: ");
    cli_has(text, "Temperature: 0.5, Top-k: 20");
    cli_has(text, ", CFG scale: ");
    assert_null(strstr(text, "KV cache"));
    assert_memory_equal(software, "limn ", 5);
    free(text);
    free(software);

    r = cli_good(
        "generate|a red apple|--seed=7|-n3|-o|three.png|--codes-out=three.npy|--temperature=0.5|--top-k=20|-q");
    assert_string_equal(r.err, "");
    assert_true(cli_exists("three-1.png") && cli_exists("three-2.png") && cli_exists("three-3.png"));
    assert_false(cli_exists("three.png") || cli_exists("three-0.png") || cli_exists("three-4.png"));
    text = image_read_text("three-2.png", "parameters");
    cli_has(text, ", Picture: 2 of 3");
    free(text);
    npy one = {0}, three = {0};
    read_codes(&one, "one.npy", 1);
    read_codes(&three, "three.npy", 3);
    assert_memory_equal(one.data, three.data, (size_t)one.count * sizeof(int32_t));
    npy_release(&one);
    npy_release(&three);
    cli_good("generate|a red apple|--kv-cache|f16|-o|half.png|-q");
    text = image_read_text("half.png", "parameters");
    cli_has(text, ", KV cache: f16");
    free(text);
    cli_bad("generate|--class|3", 2, "reads text (give a prompt)");
}

/* Each kind of output holds the same picture and settings. */
static void test_generate_formats(void **state)
{
    (void)state;
    err e = {0};
    cli_good("generate|a cat: \xc3\xa9|--seed|3|-o|f.png|-q");
    char *settings = image_read_text("f.png", "parameters");
    assert_non_null(settings);
    static const char *const names[] = {"f.jpg", "f.JPEG", "f.webp"};
    for (int i = 0; i < 3; i++) {
        image png = {0}, im = {0};
        char line[128], *text;
        if (!image_can_write(image_format_of_name(names[i]), names[i], &(err){0}))
            continue;
        snprintf(line, sizeof line, "generate|a cat: \xc3\xa9|--seed|3|-o|%s|--quality|100|-q", names[i]);
        cli_good(line);
        assert_true(image_read(&png, "f.png", &e) && image_read(&im, names[i], &e));
        assert_int_equal(im.width, png.width);
        for (int k = 0; k < 3 * im.width * im.height; k++)
            assert_in_range(im.pixels[k] - png.pixels[k] + 10, 0, 20);
        text = image_read_text(names[i], "parameters");
        assert_string_equal(text, settings);
        free(text);
        snprintf(line, sizeof line, "inspect|%s", names[i]);
        cli_has(cli_good(line).out, "Seed: 3, ");
        image_release(&png);
        image_release(&im);
    }
    free(settings);
    cli_has(cli_good("generate|a cat|-o|q.png|--quality|80").err, "a PNG keeps every pixel as it is");
    char line[512];
    static const char *const outputs[] = {"- > o.png", "/dev/stdout > o.png", "- | cat > o.png", "fifo"};
    assert_int_equal(cli_shell("mkfifo fifo"), 0);
    for (int i = 0; i < 4; i++) {
        unlink("o.png");
        snprintf(line, sizeof line, "%s '%s' generate 'a cat: \xc3\xa9' --seed 3 -q -o %s%s",
                 i == 3 ? "cat fifo > o.png & " : "", LIMN_PROGRAM, outputs[i], i == 3 ? "; wait" : "");
        assert_int_equal(cli_shell(line), 0);
        assert_int_equal(cli_shell("cmp f.png o.png"), 0);
    }
    assert_int_equal(cli_shell("rm fifo"), 0);
    /* as a job that some programs start, without the three streams */
    assert_int_equal(cli_shell("'" LIMN_PROGRAM "' generate 'a cat: \xc3\xa9' --seed 3 -o closed.png <&- >&- 2>&-"), 0);
    assert_int_equal(cli_shell("cmp f.png closed.png"), 0);
    cli_good("generate|a cat|--seed|3|-n|2|-o|n.png|-q");
    snprintf(line, sizeof line, "'%s' generate 'a cat' --seed 3 --first 2 -q -o - | cat > o.png", LIMN_PROGRAM);
    assert_int_equal(cli_shell(line), 0);
    image second = {0}, alone = {0};
    assert_true(image_read(&second, "n-2.png", &e) && image_read(&alone, "o.png", &e));
    assert_memory_equal(second.pixels, alone.pixels, 3 * (size_t)alone.width * (size_t)alone.height);
    image_release(&second);
    image_release(&alone);
}

static void test_generate_grid_and_preview(void **state)
{
    (void)state;
    err e = {0};
    image one = {0}, grid = {0}, preview = {0};
    cli_has(cli_good("generate|a cat|-n|4|--grid|-o|grid.PNG|--preview|preview.png|--temperature|0").err,
            "wrote preview.png: the preview, ");
    cli_good("generate|a cat|-o|cat.png|-q");
    assert_false(cli_exists("grid-1.PNG"));
    assert_true(image_read(&one, "cat.png", &e) && image_read(&grid, "grid.PNG", &e));
    assert_true(image_read(&preview, "preview.png", &e));
    assert_true(grid.width > 2 * one.width && grid.height > 2 * one.height);
    assert_int_equal(preview.width, grid.width);
    assert_memory_equal(preview.pixels, grid.pixels, (size_t)grid.width * (size_t)grid.height * 3);
    image_release(&one);
    image_release(&grid);
    image_release(&preview);
    cli_result r = cli_good("generate|a cat"); /* the seed that is made up is told */
    cli_has(r.err, "wrote limn.png: seed ");
    assert_true(cli_exists("limn.png"));
}

/* Ids in a file stand for the prompt that they are the tokens of, padded or not. */
static void test_text_ids(void **state)
{
    (void)state;
    err e = {0};
    int32_t ids[16] = {0};
    json_t *j = cli_parse(cli_good("tokenize|a red apple|--json").out);
    int n = (int)json_array_size(j);
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)json_integer_value(json_object_get(json_array_get(j, (size_t)i), "id"));
    json_decref(j);
    assert_true(npy_write("ids.npy", DTYPE_I32, 1, (int64_t[]){n}, ids, &e));
    cli_good("generate|a red apple|--seed|3|-o|p.png|--codes-out|p.npy|-q");
    cli_good("generate|--text-ids|ids.npy|--seed|3|-o|i.png|--codes-out|i.npy|-q");
    npy p = {0}, i = {0};
    read_codes(&p, "p.npy", 1);
    read_codes(&i, "i.npy", 1);
    assert_memory_equal(p.data, i.data, (size_t)p.count * sizeof(int32_t));
    npy_release(&p);
    npy_release(&i);
}

static void test_image_prompt(void **state)
{
    (void)state;
    npy before = {0}, after = {0};
    cli_good("generate|a red apple|--seed|1|-o|start.png|-q");
    cli_good("encode|start.png|-o|start.npy|-q");
    cli_good("generate|a dog|--seed|2|--image-prompt|start.png|--keep|left:0.5|--codes-out|kept.npy|-o|kept.png|-q");
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
    cli_result r = cli_run("generate|a|--image-prompt|start.png|--keep|box:0,0,2,9999|-o|never.png");
    assert_int_equal(r.code, 2);
    cli_has(r.err, "reaches out of the picture");
    r = cli_run("generate|a|--image-prompt|start.png|--keep|top:0.001|-o|never.png");
    assert_int_equal(r.code, 2);
    cli_has(r.err, "keeps none of the");
    assert_false(cli_exists("never.png"));
}

static void test_codec_round_trip(void **state)
{
    (void)state;
    err e = {0};
    npy codes = {0}, pixels = {0}, logits = {0};
    image png = {0}, again = {0};
    cli_good("generate|a red apple|--seed|1|-o|x.png|-q");
    const char *said = cli_good("encode|x.png|x.png|-o|x.npy|--logits-out|xl.npy").err;
    cli_has(said, "limn: wrote x.npy: 2 rows of 64 codes, 640 B, ");
    cli_has(said, "limn: wrote xl.npy: float32 [2, ");
    assert_string_equal(said + strlen(said) - 3, " s\n");
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
    cli_has(cli_good("decode|x.npy|-o|y.png").err, "limn: wrote y-1.png to y-2.png: 2 pictures, 64 x 64 pixels, ");
    cli_has(cli_good("decode|x.npy|-o|y.npy").err, "limn: wrote y.npy: float32 [2, 3, 64, 64], 96.1 KiB, ");
    assert_string_equal(cli_good("decode|x.npy|-o|y.npy|-q").err, "");
    cli_has(cli_good("reconstruct|x.png|-o|z.png").err, "limn: wrote z.png: 64 x 64 pixels, PSNR ");
    assert_true(cli_exists("y-1.png") && cli_exists("y-2.png") && !cli_exists("y.png"));
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
    assert_int_equal(cli_run("decode|wrong.npy|-o|never.png").code, 1);
    assert_true(npy_write("wrong.npy", DTYPE_I32, 1, (int64_t[]){cells + 1}, codes.data, &e));
    assert_int_equal(cli_run("decode|wrong.npy|-o|never.png").code, 1);
    assert_false(cli_exists("never.png"));
    npy_release(&codes);
    npy_release(&pixels);
    npy_release(&logits);
}

static void test_score(void **state)
{
    (void)state;
    err e = {0};
    npy logits = {0};
    cli_good("generate|a red apple|--seed|1|-o|s.png|-n|2|-q");
    cli_good("encode|s-1.png|s-2.png|-o|s.npy|-q");
    json_t *image_row = cli_parse(cli_good("score|--text|a red apple|--image|s-2.png|--json").out);
    json_t *rows = cli_parse(cli_good("score|--text|a red apple|--codes|s.npy|--logits-out|sl.npy|--json").out);
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
    cli_has(cli_good("score|--text|a red apple|--codes|s.npy").out, "log p(z|y)");
    npy_release(&logits);
    json_decref(image_row);
    json_decref(rows);
}

static void test_profile(void **state)
{
    (void)state;
    cli_result r = cli_good("generate|a cat|--profile|-o|profile.png");
    cli_has(r.err, "GFLOP/s");
    cli_has(r.err, "wrote limn-trace.json");
    char *trace = cli_slurp("limn-trace.json");
    json_t *all = cli_parse(trace), *events = json_object_get(all, "traceEvents");
    assert_string_equal(json_string_value(json_object_get(json_array_get(events, 0), "ph")), "M");
    json_decref(all);
    free(trace);
    /* whoever reads the messages may stop early */
    assert_int_equal(cli_shell("rm limn-trace.json; " LIMN_PROGRAM " reconstruct profile.png -o again.png --profile "
                               "2>&1 | head -1 >/dev/null; test -s limn-trace.json && test -s again.png"),
                     0);
    static const char line[] = "{\"image\": \"profile.png\"}\n";
    cli_write("profile.jsonl", line, sizeof line - 1);
    r = cli_good("train|codec|--data|profile.jsonl|--profile|--steps|1|--batch|1|--size|16|--codes|8|-o|profile.gguf");
    cli_has(r.err, "conv:");
    cli_has(r.err, "GFLOP/s");
}

/* Ctrl-C ends with code 1 and leaves no file. */
static void test_interrupt(void **state)
{
    (void)state;
    char *argv[] = {"limn", "generate", "a", "-v", "-n", "5000", "-o", "interrupt.png", NULL};
    pid_t pid = cli_start(LIMN_PROGRAM, argv, ".stdout");
    const struct timespec moment = {0, 20000000};
    for (int i = 0; i < 1500; i++) { /* by the time of this message the signal is caught */
        char *messages = cli_slurp(".stderr");
        bool there = strstr(messages, "limn: device") != NULL;
        free(messages);
        if (there)
            break;
        nanosleep(&moment, NULL);
    }
    kill(pid, SIGINT);
    assert_int_equal(cli_wait(pid), 1);
    char *messages = cli_slurp(".stderr");
    cli_has(messages, "limn: interrupted");
    free(messages);
    assert_int_not_equal(cli_shell("ls | grep interrupt"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_devices),          cmocka_unit_test(test_generate),
        cmocka_unit_test(test_generate_formats), cmocka_unit_test(test_generate_grid_and_preview),
        cmocka_unit_test(test_text_ids),         cmocka_unit_test(test_image_prompt),
        cmocka_unit_test(test_codec_round_trip), cmocka_unit_test(test_score),
        cmocka_unit_test(test_profile),          cmocka_unit_test(test_interrupt),
    };
    int failed = cli_enter_device();
    if (!failed)
        failed = cmocka_run_group_tests(tests, NULL, NULL);
    cli_leave();
    return failed;
}
