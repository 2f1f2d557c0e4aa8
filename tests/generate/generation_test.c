/* Generation as an object: pictures of different requests are drawn together, and each is the one that it is alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "checks.h"
#include "convert/convert.h"
#include "tiny_state.h"

enum { REQUESTS = 16, CELLS_MOST = 256 };

static bool other_style; /* of kernels */

/* ---- requests -------------------------------------------------------------------------------------------------- */

/* One request for one picture, what it is alone, and what it became beside others. */
typedef struct wish {
    limn_request q;
    char prompt[32];
    int32_t ids[4], kept_codes[CELLS_MOST];
    uint8_t keep[CELLS_MOST];
    int32_t alone[CELLS_MOST], codes[CELLS_MOST];
    uint64_t id;
    bool cancelled, taken;
} wish;

static int cells_of(const model *m)
{
    return m->info.grid_width * m->info.grid_height;
}

/* Request i of a model: each has settings that the others don't have. */
static void make_wish(wish *w, const model *m, int i, bool guidance)
{
    /* words that the vocabularies of small instances have */
    static const char *const prompts[] = {"a red apple", "the cat", "", "a red apple the cat"};
    *w = (wish){.q = {.size = sizeof w->q,
                      .seed = UINT64_C(0x100000001) * (uint64_t)(i / 3),
                      .first = i * i % 7,
                      .temperature = 0.5f + 0.125f * (float)i,
                      .greedy = i % 5 == 4,
                      .top_k = i % 3 == 1 ? 3 + i : -1,
                      .top_p = i % 4 == 2 ? 0.8f : 1,
                      .guidance = guidance && i % 2 ? 1 + 0.5f * (float)i : 1}};
    snprintf(w->prompt, sizeof w->prompt, "%s", prompts[i % (int)COUNT(prompts)]);
    if (m->info.classes || !m->tokenizer) {
        w->ids[0] = 1 + i % 5;
        w->ids[1] = 2 + i % 3;
        w->q.text_ids = w->ids;
        w->q.n_text_ids = m->info.classes ? 1 : 1 + (size_t)i % 2;
    } else {
        w->q.prompt = w->prompt;
        w->q.negative = guidance && i % 4 == 3 ? "the cat" : NULL;
    }
    for (int c = 0; i % 6 == 5 && c < cells_of(m); c++) {
        w->keep[c] = c % 4 == 1;
        w->kept_codes[c] = c % m->info.codes;
        w->q.keep = w->keep;
        w->q.kept_codes = w->kept_codes;
    }
}

/* By limn_generate, one picture. */
static void draw_alone(wish *w, model *m)
{
    err e = {0};
    const limn_generate_options o = {.prompt = w->q.prompt,
                                     .text_ids = w->q.text_ids,
                                     .n_text_ids = w->q.n_text_ids,
                                     .first = w->q.first,
                                     .seed = w->q.seed,
                                     .temperature = w->q.greedy ? 0 : w->q.temperature,
                                     .top_k = w->q.top_k < 0 ? 0 : w->q.top_k,
                                     .top_p = w->q.top_p,
                                     .guidance = w->q.guidance,
                                     .keep = w->q.keep,
                                     .kept_codes = w->q.kept_codes,
                                     .negative = w->q.negative};
    good(limn_generate(m, &o, w->alone, &e), &e);
}

static void make_wishes(wish w[REQUESTS], model *m, bool guidance)
{
    assert_true(cells_of(m) <= CELLS_MOST);
    for (int i = 0; i < REQUESTS; i++) {
        make_wish(&w[i], m, i, guidance);
        draw_alone(&w[i], m);
    }
}

static void add(limn_generation *g, wish *w)
{
    err e = {0};
    good(limn_generation_add(g, &w->q, &w->id, &e), &e);
}

/* Takes what is finished; the number of pictures. */
static int take_all(limn_generation *g, wish w[REQUESTS])
{
    static int32_t codes[CELLS_MOST];
    uint64_t id;
    int number, n = 0;
    for (; limn_generation_take(g, &id, &number, codes); n++) {
        wish *of = w;
        while (of < w + REQUESTS && of->id != id)
            of++;
        assert_true(of < w + REQUESTS && !of->taken && !of->cancelled);
        assert_int_equal(number, of->q.first);
        memcpy(of->codes, codes, sizeof codes);
        of->taken = true;
    }
    return n;
}

static void check_wishes(const wish w[REQUESTS], const model *m, const char *what)
{
    size_t row = (size_t)cells_of(m) * sizeof *w->codes;
    int same = 0;
    for (int i = 0; i < REQUESTS; i++) {
        if (!w[i].cancelled && (!w[i].taken || memcmp(w[i].codes, w[i].alone, row) != 0))
            fail_msg("%s: request %d is %s", what, i, w[i].taken ? "another picture" : "not there");
        same += i > 0 && !memcmp(w[i].alone, w[0].alone, row);
    }
    assert_true(same < REQUESTS / 4); /* they are requests for different pictures */
}

/* ---- the same pictures ----------------------------------------------------------------------------------------- */

/* All begin together. */
static void draw_together(wish w[REQUESTS], model *m, int draft, const char *what)
{
    err e = {0};
    int left = 1, taken = 0;
    const limn_generation_options o = {.size = sizeof o, .draft = draft};
    limn_generation *g = limn_generation_open(m, draft ? &o : NULL, &e);
    good(g != NULL, &e);
    for (int i = 0; i < REQUESTS; i++) {
        w[i].taken = false;
        add(g, &w[i]);
    }
    while (left > 0) {
        good(limn_generation_step(g, &left, &e), &e);
        taken += take_all(g, w);
        assert_int_equal(taken + left, REQUESTS);
    }
    limn_generation_free(&g);
    check_wishes(w, m, what);
}

/* They come one after another while others are at work, in `rows` places; one is cancelled. */
static void draw_as_they_come(wish w[REQUESTS], model *m, int rows, int draft, bool cancel, const char *what)
{
    err e = {0};
    int left = 1, added = 0;
    const limn_generation_options o = {.size = sizeof o, .rows = rows, .decoder = true, .draft = draft};
    limn_generation *g = limn_generation_open(m, &o, &e);
    good(g != NULL, &e);
    for (int i = 0; i < REQUESTS; i++)
        w[i].taken = false;
    for (int turn = 0; left > 0 || added < REQUESTS; turn++) {
        for (int n = (int)(rng_uniform(5, (uint32_t)rows, 0, (uint32_t)turn) * 4); n > 0 && added < REQUESTS; n--)
            add(g, &w[added++]);
        good(limn_generation_step(g, &left, &e), &e);
        if (cancel && added >= 7 && !w[6].taken && !w[6].cancelled) {
            good(limn_generation_cancel(g, w[6].id, &e), &e);
            w[6].cancelled = true;
        }
        take_all(g, w);
        left = limn_generation_get_status(g)->waiting + limn_generation_get_status(g)->working;
    }
    limn_generation_free(&g);
    check_wishes(w, m, what);
    w[6].cancelled = false;
}

static void check_model(model *m, bool guidance, const char *what)
{
    static wish w[REQUESTS];
    make_wishes(w, m, guidance);
    draw_together(w, m, 0, what);
    draw_as_they_come(w, m, 5, 0, false, what);
    draw_as_they_come(w, m, 8, 0, true, what);
    if (!guidance)
        draw_as_they_come(w, m, 1, 0, true, what);
    draw_as_they_come(w, m, 32, 0, true, what);
    draw_together(w, m, 2, "drafts, together");
    draw_as_they_come(w, m, 6, 7, true, "drafts as they come");
    draw_as_they_come(w, m, guidance ? 2 : 1, 32, true, "drafts, a picture at a time");
    good(m->busy == 0, &(err){.text = "the model is still busy"});
}

static void requests_together_are_what_they_are_alone(void **state)
{
    (void)state;
    check_model(tiny, false, "tiny");
    check_model(tiny, true, "tiny, guided");
}

static void requests_to_the_builtin_model_are_what_they_are_alone(void **state)
{
    (void)state;
    err e = {0};
    static wish w[REQUESTS];
    if (other_style)
        skip();
    model *m = limn_model_open(dev, NULL, &e);
    good(m != NULL, &e);
    make_wishes(w, m, true);
    draw_together(w, m, 0, "built-in");
    draw_as_they_come(w, m, 9, 0, true, "built-in");
    draw_together(w, m, 8, "built-in, drafts");
    draw_as_they_come(w, m, 7, 5, true, "built-in, drafts");
    draw_as_they_come(w, m, 2, 16, true, "built-in, drafts of a picture at a time");
    limn_model_free(&m);
}

/* Instances of published kinds. */
static const struct {
    const char *name, *files[4], *settings[2], *tokenizer;
    bool guidance;
} kinds[] = {
    {"min-dalle",
     {"golden/min_dalle/encoder.pt", "golden/min_dalle/decoder.pt", "golden/min_dalle/detoker.pt"},
     {"heads=6"},
     NULL,
     true},
    {"minDALL-E",
     {"golden/minDALL-E/stage1_last.ckpt", "golden/minDALL-E/stage2_last.ckpt"},
     {"heads=2"},
     "golden/minDALL-E/tokenizer",
     true},
    {"DALLE-pytorch, absolute positions", {"dallepy/absolute.pt"}, {NULL}, NULL, true},
    {"DALLE-pytorch, rotary and shifted", {"dallepy/mix.pt"}, {NULL}, NULL, true},
    {"DALLE-pytorch, shared layers", {"dallepy/shared.pt"}, {NULL}, NULL, true},
};

static model *converted(size_t kind)
{
    err e = {0};
    static char paths[4][300], words[300];
    const char *inputs[4];
    snprintf(words, sizeof words, TEST_DATA "/%s", kinds[kind].tokenizer ? kinds[kind].tokenizer : "");
    import_request q = {.inputs = inputs,
                        .output = support_path("kind.gguf"),
                        .settings = (const char **)kinds[kind].settings,
                        .n_settings = kinds[kind].settings[0] != NULL,
                        .tokenizer = kinds[kind].tokenizer ? words : NULL};
    for (; q.n_inputs < 4 && kinds[kind].files[q.n_inputs]; q.n_inputs++) {
        snprintf(paths[q.n_inputs], sizeof *paths, TEST_DATA "/%s", kinds[kind].files[q.n_inputs]);
        inputs[q.n_inputs] = paths[q.n_inputs];
    }
    good(import_convert(&q, &e), &e);
    model *m = limn_model_open(dev, q.output, &e);
    good(m != NULL, &e);
    return m;
}

static void requests_to_published_kinds_are_what_they_are_alone(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(kinds) && !other_style; i++) {
        model *m = converted(i);
        check_model(m, kinds[i].guidance, kinds[i].name);
        limn_model_free(&m);
    }
}

/* ---- what callers do meanwhile --------------------------------------------------------------------------------- */

enum { SMALL = 16 };

static void pictures_are_shown_and_decoded_while_others_are_at_work(void **state)
{
    (void)state;
    err e = {0};
    static float alone[3 * 64], pixels[3 * 64];
    int32_t codes[2][SMALL], now[SMALL];
    int known = 0, number, shown = 0;
    uint64_t a, b, id;
    uint8_t keep[SMALL] = {[13] = 1};
    int32_t kept[SMALL] = {[13] = 6};
    const limn_request first = {.prompt = "p", .seed = 1}, second = {.prompt = "q", .keep = keep, .kept_codes = kept};
    const limn_generation_options o = {.rows = 2, .decoder = true};
    limn_generate_options p = limn_generate_defaults(tiny);
    p.prompt = "p";
    p.seed = 1;
    good(limn_generate(tiny, &p, codes[0], &e) && limn_decode(tiny, codes[0], 1, alone, &e), &e);
    limn_generation *g = limn_generation_open(tiny, &o, &e);
    good(g && limn_generation_add(g, &first, &a, &e) && limn_generation_step(g, NULL, &e), &e);
    good(limn_generation_add(g, &second, &b, &e), &e);
    good(limn_generation_peek(g, b, 0, now, &known, &e), &e);
    assert_int_equal(known, 0);
    for (int i = 0; i < SMALL; i++)
        assert_int_equal(now[i], i == 13 ? 6 : -1);
    while (!limn_generation_take(g, &id, &number, codes[1])) {
        good(limn_generation_peek(g, a, 0, now, &known, &e), &e);
        for (int i = 0; i < SMALL; i++)
            assert_int_equal(now[i], i < known ? codes[0][i] : -1);
        shown += known > 0 && known < SMALL;
        assert_false(limn_model_rest(tiny, &e)); /* its weights are in use */
        assert_int_equal(e.code, LIMN_USAGE);
        e = (err){0};
        good(limn_generation_step(g, NULL, &e), &e);
    }
    assert_true(shown > 0 && id == a && number == 0);
    good(limn_decode(tiny, codes[1], 1, pixels, &e), &e);
    assert_memory_equal(pixels, alone, sizeof pixels);
    assert_int_equal(limn_generation_get_status(g)->working, 1); /* the other one goes on */
    for (int left = 1; left > 0;)
        good(limn_generation_step(g, &left, &e), &e);
    assert_true(limn_generation_take(g, &id, NULL, codes[1]) && id == b && codes[1][13] == 6);
    assert_false(limn_generation_take(g, &id, NULL, codes[1]));
    good(limn_model_rest(tiny, &e), &e); /* nothing is at work */
    limn_generation_free(&g);
    assert_null(g);
    limn_generation_free(&g);
}

/* Where nobody says how many codes are drafted, limn tune has; kept ones are all right. */
static void drafts_are_as_tuned(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL];
    uint8_t keep[SMALL];
    int32_t kept[SMALL];
    for (int i = 0; i < SMALL; i++) {
        keep[i] = i < SMALL - 1;
        kept[i] = i % tiny->info.codes;
    }
    for (int draft = 1; draft <= 5; draft += 4) {
        dev->tune.draft = draft;
        limn_generation *g = limn_generation_open(tiny, NULL, &e);
        good(g && limn_generation_add(g, &(limn_request){.prompt = "p", .keep = keep, .kept_codes = kept}, NULL, &e),
             &e);
        for (int left = 1; left > 0;)
            good(limn_generation_step(g, &left, &e), &e);
        /* 15 codes after the first, in 3 passes */
        assert_true(limn_generation_get_status(g)->codes_a_pass == draft);
        assert_true(limn_generation_take(g, NULL, NULL, codes));
        assert_memory_equal(codes, kept, (SMALL - 1) * sizeof *codes);
        limn_generation_free(&g);
    }
    dev->tune.draft = 1;
}

/* A step that has no room fails, and the pictures are drawn when there is some. */
static void a_step_that_fails_can_be_tried_again(void **state)
{
    (void)state;
    err e = {0};
    static wish w[REQUESTS];
    make_wishes(w, tiny, false);
    limn_generation *g = limn_generation_open(tiny, NULL, &e);
    good(g != NULL, &e);
    for (int i = 0; i < REQUESTS; i++)
        add(g, &w[i]);
    uint64_t limit = dev->memory_limit;
    good(limn_model_rest(tiny, &e), &e);
    dev->memory_limit = 1000;
    assert_false(limn_generation_step(g, NULL, &e));
    has(e.text, "limit");
    assert_int_equal(limn_generation_get_status(g)->waiting, REQUESTS);
    dev->memory_limit = limit;
    e = (err){0};
    for (int left = 1; left > 0;) {
        good(limn_generation_step(g, &left, &e), &e);
        take_all(g, w);
    }
    limn_generation_free(&g);
    check_wishes(w, tiny, "after a failure");
}

static void what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    err e = {0};
    uint64_t id = 0;
    int32_t codes[SMALL];
    assert_null(limn_generation_open(tiny, &(limn_generation_options){.rows = 33}, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    e = (err){0};
    assert_null(limn_generation_open(tiny, &(limn_generation_options){.draft = 33}, &e));
    has(e.text, "draft");
    e = (err){0};
    limn_generation *g = limn_generation_open(tiny, &(limn_generation_options){.rows = 1}, &e);
    good(g != NULL, &e);
    assert_false(limn_generation_add(g, &(limn_request){.prompt = "a", .guidance = 2}, &id, &e));
    has(e.text, "two rows");
    e = (err){0};
    assert_false(limn_generation_add(g, &(limn_request){.prompt = "a", .temperature = -1}, &id, &e));
    has(e.text, "temperature");
    e = (err){0};
    assert_false(limn_generation_add(g, &(limn_request){.prompt = "a", .top_k = -2}, &id, &e));
    e = (err){0};
    assert_false(limn_generation_add(g, &(limn_request){.prompt = "\xff"}, &id, &e));
    has(e.text, "UTF-8");
    e = (err){0};
    assert_false(limn_generation_cancel(g, 1, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    e = (err){0};
    good(limn_generation_add(g, &(limn_request){.prompt = "a", .count = 2}, &id, &e), &e);
    assert_false(limn_generation_peek(g, id, 2, codes, NULL, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    e = (err){0};
    good(limn_generation_cancel(g, id, &e), &e);
    assert_int_equal(limn_generation_get_status(g)->waiting, 0);
    limn_generation_free(&g);
}

/* Fields that a program doesn't know have their defaults, whatever lies behind its struct. */
static void structs_of_older_programs_are_taken(void **state)
{
    (void)state;
    err e = {0};
    int32_t codes[SMALL], wanted[SMALL];
    limn_request q = {.size = offsetof(limn_request, top_k), .prompt = "a", .seed = 4, .top_k = -77, .guidance = -1};
    limn_generate_options o = limn_generate_defaults(tiny);
    o.prompt = "a";
    o.seed = 4;
    good(limn_generate(tiny, &o, wanted, &e), &e);
    limn_generation *g = limn_generation_open(tiny, NULL, &e);
    good(g && limn_generation_add(g, &q, NULL, &e), &e);
    while (!limn_generation_take(g, NULL, NULL, codes))
        good(limn_generation_step(g, NULL, &e), &e);
    limn_generation_free(&g);
    assert_memory_equal(codes, wanted, sizeof codes);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_together_are_what_they_are_alone),
        cmocka_unit_test(requests_to_the_builtin_model_are_what_they_are_alone),
        cmocka_unit_test(requests_to_published_kinds_are_what_they_are_alone),
        cmocka_unit_test(pictures_are_shown_and_decoded_while_others_are_at_work),
        cmocka_unit_test(drafts_are_as_tuned),
        cmocka_unit_test(a_step_that_fails_can_be_tried_again),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        cmocka_unit_test(structs_of_older_programs_are_taken),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    support_style styles[SUPPORT_STYLES];
    size_t n = support_styles(dev, styles);
    int failed = 0;
    for (size_t i = 0; i < n; i++) {
        if (i) { /* kernels are compiled for one style: a new device */
            device_free(dev);
            dev = support_device();
            dev->tune = styles[i].tune;
            other_style = true;
        }
        failed += cmocka_run_group_tests_name(styles[i].name, tests, open_tiny, close_tiny);
    }
    device_free(dev);
    return failed != 0;
}
