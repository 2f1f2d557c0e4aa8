/* Tests of src/io/parameters: settings of pictures as text, written and read. */
#include "io_support.h"

#include "io/parameters.h"

static const parameters full = {
    .prompt = "a red apple",
    .negative = "blurred",
    .sampler = "Gumbel-Max",
    .model = "a \"model\", of: mine\\",
    .version = "limn 1.2",
    .kv_cache = "f16",
    .image_prompt = "C:\\pictures\\a, b.png",
    .keep = "box:0,0,4,4",
    .prompt_to = "a pear, on",
    .image_to = "b.png",
    .text_ids = "5 7 9",
    .has = 0x7fff,
    .steps = 64,
    .width = 640,
    .height = 16384,
    .top_k = 32,
    .class = 207,
    .seed = UINT64_MAX,
    .guidance = 1.5f,
    .temperature = 0.3f,
    .top_p = 0.123456789f,
    .picture = 3,
    .pictures = 9,
    .score = 27.0625f,
    .strength = 0.6f,
    .prior_guidance = 4.5f,
    .prior_steps = 25,
    .super_steps = 7,
    .between = 5,
};

static void same_text(const char *a, const char *b)
{
    if (!a || !b)
        assert_true(!a && !b);
    else
        assert_string_equal(a, b);
}

static void same(const parameters *a, const parameters *b)
{
    same_text(a->prompt, b->prompt);
    same_text(a->negative, b->negative);
    same_text(a->sampler, b->sampler);
    same_text(a->model, b->model);
    same_text(a->version, b->version);
    same_text(a->kv_cache, b->kv_cache);
    same_text(a->image_prompt, b->image_prompt);
    same_text(a->keep, b->keep);
    same_text(a->prompt_to, b->prompt_to);
    same_text(a->image_to, b->image_to);
    same_text(a->text_ids, b->text_ids);
    assert_int_equal(a->has, b->has);
    assert_true(a->steps == b->steps && a->width == b->width && a->height == b->height && a->top_k == b->top_k);
    assert_true(a->class == b->class && a->seed == b->seed && a->guidance == b->guidance);
    assert_true(a->temperature == b->temperature && a->top_p == b->top_p && a->score == b->score &&
                a->strength == b->strength && a->prior_guidance == b->prior_guidance);
    assert_true(a->prior_steps == b->prior_steps && a->super_steps == b->super_steps && a->between == b->between);
    assert_true(a->picture == b->picture && a->pictures == b->pictures);
}

static void round_trip(const parameters *p)
{
    parameters back;
    char *text = parameters_text(p);
    assert_non_null(text);
    assert_true(parameters_parse(&back, text, NULL));
    same(&back, p);
    parameters_release(&back);
    free(text);
}

static void the_text_is_that_of_front_ends(void **state)
{
    (void)state;
    parameters p = {.prompt = "a red apple",
                    .sampler = "Greedy",
                    .model = "emoji",
                    .keep = "top:0.5",
                    .has = PARAMETERS_STEPS | PARAMETERS_SEED | PARAMETERS_SIZE | PARAMETERS_TEMPERATURE,
                    .steps = 64,
                    .seed = 7,
                    .width = 64,
                    .height = 32,
                    .temperature = 0.3f};
    char *text = parameters_text(&p);
    assert_string_equal(text, "a red apple\nNegative prompt: \nSteps: 64, Sampler: Greedy, Seed: 7, Size: 64x32, "
                              "Model: emoji, Temperature: 0.3, Keep: \"top:0.5\"");
    free(text);
}

static void what_is_written_is_read_back(void **state)
{
    (void)state;
    static const char *const prompts[] = {
        "",
        "a",
        " a cat ",
        "two\nlines",
        "\n\nline breaks around\n\n",
        "say \"hello\", it said: \\o/",
        "a list:\nSteps: 20, Sampler: DDIM, CFG scale: 7, Seed: 1, Size: 8x8",
        "Steps: 20",
        "Negative prompt: nothing",
        "above\nNegative prompt: below",
        "carriage\r\nreturn\r",
        "tab\tand \x1b control",
        "\xd0\xba\xd0\xbe\xd1\x82 \xf0\x9f\x8e\xa8 \xe2\x80\xa8",
        "Prompt: x, Negative: y, Version: z",
        "a: b, c: d, e: f, g: h",
        "{\"json\": [1, 2]}",
    };
    parameters p = full;
    round_trip(&p);
    for (size_t i = 0; i < COUNT(prompts); i++)
        for (size_t k = 0; k < COUNT(prompts); k++) {
            p.prompt = prompts[i];
            p.negative = prompts[k];
            p.keep = *prompts[k] ? prompts[k] : NULL;
            p.model = prompts[i];
            round_trip(&p);
        }
    p.picture = 0; /* a grid */
    round_trip(&p);
    p = (parameters){.prompt = "few\nSteps: 5", .negative = "", .has = PARAMETERS_SEED, .seed = 1};
    round_trip(&p);
    for (int i = 0; i < 2000; i++) {
        uint32_t bits = 0x3c000000u + (uint32_t)i * 70001u;
        p = full;
        memcpy(&p.temperature, &bits, sizeof bits);
        round_trip(&p);
    }
}

static void texts_of_other_programs_are_read(void **state)
{
    (void)state;
    parameters p;
    /* AUTOMATIC1111 */
    assert_true(parameters_parse(&p,
                                 "masterpiece, (a cat:1.2),\r\non a mat <lora:x:0.5>\r\nNegative prompt: ugly, "
                                 "\"bad\": worse\nsecond line\nSteps: 28, Sampler: DPM++ 2M Karras, CFG scale: 6.5, "
                                 "Seed: 1234567890123, Size: 512x768, Model hash: 6ce0161689, Model: v1-5, "
                                 "Denoising strength: 0.7, Lora hashes: \"x: 1, Seed: 2\", Version: v1.6.0\n",
                                 NULL));
    assert_string_equal(p.prompt, "masterpiece, (a cat:1.2),\non a mat <lora:x:0.5>");
    assert_string_equal(p.negative, "ugly, \"bad\": worse\nsecond line");
    assert_string_equal(p.sampler, "DPM++ 2M Karras");
    assert_string_equal(p.model, "v1-5");
    assert_string_equal(p.version, "v1.6.0");
    assert_int_equal(p.has,
                     PARAMETERS_STEPS | PARAMETERS_GUIDANCE | PARAMETERS_SEED | PARAMETERS_SIZE | PARAMETERS_STRENGTH);
    assert_true(p.strength == 0.7f && p.steps == 28 && p.seed == 1234567890123 && p.guidance == 6.5f &&
                p.width == 512 && p.height == 768);
    parameters_release(&p);
    /* without a negative prompt; lines of other tools after the settings; what limn wrote before it wrote the line */
    assert_true(parameters_parse(&p, "a cat\nSteps: 5, Seed: 3, Size: 8x8\nTemplate: a {cat|dog}", NULL));
    assert_string_equal(p.prompt, "a cat");
    assert_null(p.negative);
    assert_true(p.seed == 3 && p.steps == 5);
    parameters_release(&p);
    assert_true(parameters_parse(&p, "Steps: 5, Seed: 3", NULL));
    assert_string_equal(p.prompt, "");
    assert_int_equal(p.has, PARAMETERS_STEPS | PARAMETERS_SEED);
    parameters_release(&p);
    assert_true(
        parameters_parse(&p, "Negative prompt: x\nSeed: 3, Size: 1x2, Sampler: \"\\u00e9\\ud83c\\udfa8\"", NULL));
    assert_string_equal(p.prompt, "");
    assert_string_equal(p.negative, "x");
    assert_string_equal(p.sampler, "\xc3\xa9\xf0\x9f\x8e\xa8");
    parameters_release(&p);
    /* a prompt alone */
    assert_true(parameters_parse(&p, "a cat: the movie", NULL));
    assert_string_equal(p.prompt, "a cat: the movie");
    assert_int_equal(p.has, 0);
    parameters_release(&p);
}

static void values_that_are_none_are_left_out(void **state)
{
    (void)state;
    parameters p;
    assert_true(
        parameters_parse(&p,
                         "a\nSteps: many, Seed: -1, Size: 0x7, CFG scale: nan, Top-k: 99999999999, Top-p: 1e99, "
                         "Picture: 1 of x, Temperature: 0.5 or so, Model: \"never ends",
                         NULL));
    assert_int_equal(p.has, 0);
    assert_string_equal(p.model, "never ends");
    parameters_release(&p);
    parameters_release(&p);
    const char *odd[] = {"",
                         "\n",
                         "\r\n",
                         ":",
                         ",:,:\"",
                         "\nSteps:",
                         "Steps: \"",
                         "a\nSteps: \"\\",
                         "\nNegative prompt:",
                         "Steps: 1, Model: \"\\u12\\ud800\\udc0\", Seed: 5"};
    for (size_t i = 0; i < COUNT(odd); i++) {
        assert_true(parameters_parse(&p, odd[i], NULL));
        assert_non_null(p.prompt);
        parameters_release(&p);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_text_is_that_of_front_ends),
        cmocka_unit_test(what_is_written_is_read_back),
        cmocka_unit_test(texts_of_other_programs_are_read),
        cmocka_unit_test(values_that_are_none_are_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
