/* Device memory: what is planned is what is taken, limits are kept, layers are streamed without a change to any code,
 * and what doesn't fit says why. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/log.h"
#include "checks.h"
#include "models/plan.h"
#include "models/session.h"
#include "models/transformers/bart.h"
#include "models/transformers/dalle_pytorch.h"
#include "models/transformers/gpt.h"
#include "support.h"

static device *dev;
static char said[1 << 14]; /* since `listen` */

static void hear(void *context, log_level level, const char *line)
{
    (void)context;
    size_t n = strlen(said);
    if (level <= LOG_INFO)
        snprintf(said + n, sizeof said - n, "%s\n", line);
}

static void listen(void)
{
    said[0] = 0;
    log_set_sink(hear, NULL);
}

static model *open_model(const char *path)
{
    err e = {0};
    model *m = limn_model_open(dev, path, &e);
    good(m != NULL, &e);
    return m;
}

/* ---- models of every kind of transformer, of eight layers ---- */

enum {
    PICTURES = 2,
    DIM = 128,
    HEADS = 16,
    LAYERS = 8,
    SIDE = 4,
    CELLS = SIDE * SIDE,
    CODES = 16,
    TEXT = 8,
    WORDS = 24,
    MLP = 8 * DIM
};

static transformer sizes_of(int layers)
{
    return (transformer){.text_length = TEXT,
                         .vocabulary = WORDS,
                         .codes = CODES,
                         .grid_width = SIDE,
                         .grid_height = SIDE,
                         .dim = DIM,
                         .heads = HEADS,
                         .layers = layers};
}

static void declare_gpt_model(gguf_writer *w, param_table *t, void **state)
{
    err e = {0};
    gpt *d = calloc(1, sizeof *d);
    *d = (gpt){.base = sizes_of(LAYERS),
               .mlp = MLP,
               .text_positions = true,
               .gated = true,
               .grid = GPT_GRID_CELLS,
               .act = ACT_SILU,
               .eps = 1e-5f};
    good(gpt_prepare(d, "gpt", &e), &e);
    gpt_declare(d, t);
    gpt_put(d, w);
    *state = d;
}

static void declare_bart_model(gguf_writer *w, param_table *t, void **state)
{
    err e = {0};
    bart *b = calloc(1, sizeof *b);
    *b = (bart){.base = sizes_of(LAYERS - 3),
                .start_id = 1,
                .end_id = 2,
                .start_code = CODES - 1,
                .mlp = MLP,
                .encoder_layers = 3,
                .act = ACT_GELU_ERF,
                .eps = 1e-5f};
    good(bart_prepare(b, "bart", &e), &e);
    bart_declare(b, t);
    bart_put(b, w);
    *state = b;
}

/* Layers share the attention of the first, so that it is wanted again and again. */
static void declare_pytorch_model(gguf_writer *w, param_table *t, void **state)
{
    err e = {0};
    dalle_pytorch *d = calloc(1, sizeof *d);
    *d = (dalle_pytorch){.base = sizes_of(LAYERS), .mlp = MLP};
    d->base.head_dim = DIM / HEADS;
    good(dalle_pytorch_prepare(d, "dalle_pytorch", &e), &e);
    for (int i = 5; i < LAYERS; i++)
        d->list[i].attention.set = 0;
    good(dalle_pytorch_check_layers(d, "dalle_pytorch", &e), &e);
    dalle_pytorch_declare(d, t);
    dalle_pytorch_put(d, w);
    *state = d;
}

static void declare_dalle_model(gguf_writer *w, param_table *t, void **state)
{
    err e = {0};
    gpt *d = calloc(1, sizeof *d);
    *d = (gpt){.base = sizes_of(LAYERS), .mlp = MLP, .end_id = 1, .act = ACT_GELU_TANH, .eps = 1e-5f};
    gpt_preset_dalle(d);
    good(gpt_prepare(d, "dalle", &e), &e);
    gpt_declare(d, t);
    gpt_put(d, w);
    *state = d;
}

static const struct kind {
    const char *name;
    void (*declare)(gguf_writer *w, param_table *t, void **state);
    dtype type;
} kinds[] = {
    {"dalle", declare_dalle_model, DTYPE_F32},
    {"gpt", declare_gpt_model, DTYPE_F16},
    {"bart", declare_bart_model, DTYPE_Q4_0},
    {"dalle_pytorch", declare_pytorch_model, DTYPE_Q8_0},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

static const char *write_kind(const struct kind *k)
{
    err e = {0};
    char name[64];
    snprintf(name, sizeof name, "%s.gguf", k->name);
    const char *path = support_path(name);
    param_table t = {0};
    void *state = NULL;
    gguf_writer *w = gguf_writer_new(path);
    gguf_put_string(w, "general.architecture", "limn");
    k->declare(w, &t, &state);
    support_write_values(w, &t, k->type);
    good(gguf_writer_commit(w, &e), &e);
    gguf_writer_free(w);
    free(t.list); /* the tensors in the state were never made */
    transformer_free(state);
    return path;
}

static limn_generate_options some_pictures(int count)
{
    static const int32_t ids[] = {5, 9, 3};
    return (limn_generate_options){
        .text_ids = ids, .n_text_ids = 3, .count = count, .seed = 3, .temperature = 1, .guidance = 2};
}

/* ---- tests ---- */

/* Runs between them must have taken what was planned; a plan may be larger by what other ways would need. */
static void meets_plan(model *m, const char *what)
{
    uint64_t peak = dev->memory_peak;
    if (peak > m->planned || (double)peak < 0.97 * (double)m->planned)
        fail_msg("%s: %llu bytes planned, %llu used", what, (unsigned long long)m->planned, (unsigned long long)peak);
}

static void fresh(model *m)
{
    err e = {0};
    good(limn_model_rest(m, &e), &e);
    dev->memory_peak = dev->memory_used;
}

static void parameters_are_for_what_their_names_say(void **state)
{
    (void)state;
    for (int i = -1; i < KINDS; i++) {
        model *m = open_model(i < 0 ? NULL : write_kind(&kinds[i]));
        const param *p = support_misplaced(&m->params);
        if (p)
            fail_msg("%s: for %x, in layer %d", p->name, p->uses, p->layer);
        limn_model_free(&m);
    }
}

static void plans_are_what_commands_take(void **state)
{
    (void)state;
    err e = {0};
    static float pixels[3 * 3 * 64 * 64];
    static uint8_t rgb[3 * 64 * 64 * 3];
    float scores[3];
    int32_t codes[3 * 64];
    limn_score score;
    char tiny[300];
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    good(tiny_model_write(tiny, &(tiny_config){.layers = 3}, &e), &e);
    for (int i = 0; i < 2; i++) {
        model *m = open_model(i ? tiny : NULL);
        assert_int_equal(dev->memory_used, 0); /* nothing is on the device before it is used */
        limn_generate_options o = some_pictures(3);
        fresh(m);
        good(limn_generate(m, &o, codes, &e), &e);
        meets_plan(m, "generate");
        fresh(m);
        good(limn_score_codes(m, o.text_ids, 3, codes, NULL, &score, &e), &e);
        meets_plan(m, "score");
        fresh(m);
        good(limn_decode(m, codes, 3, pixels, &e), &e);
        meets_plan(m, "decode");
        fresh(m);
        good(limn_encode(m, rgb, 3, codes, NULL, &e), &e);
        meets_plan(m, "encode");
        fresh(m);
        if (m->clip) {
            good(limn_rank(m, "a", rgb, 3, 64, 64, scores, &e), &e);
            meets_plan(m, "rank");
        }
        limn_model_free(&m);
        assert_int_equal(dev->memory_used, 0);
    }
}

/* Every limit down to where it doesn't work: the same codes, within the limit; also where `draft` are drafted. */
static void check_limits(const char *path, const char *name, int draft)
{
    err e = {0};
    uint64_t before = dev->memory_limit, whole;
    int32_t roomy[PICTURES * CELLS], tight[PICTURES * CELLS];
    limn_generate_options o = some_pictures(PICTURES);
    model *m = open_model(path);
    good(limn_generate(m, &o, roomy, &e), &e);
    o.draft = draft;
    good(!draft || limn_generate(m, &o, tight, &e), &e);
    whole = params_loaded(&m->params);
    fresh(m);
    int streamed = 0;
    bool half = false, rested = true;
    for (uint64_t limit = m->planned;; limit -= limit / 5) {
        err why = {0};
        dev->memory_limit = limit;
        if (rested) /* else from what the limit before left on the device */
            fresh(m);
        listen();
        if (!limn_generate(m, &o, tight, &why)) {
            has(why.text, "generate: "); /* of the plan, not of a buffer */
            has(why.text, "would exceed");
            break;
        }
        if (memcmp(roomy, tight, sizeof roomy))
            fail_msg("%s within %llu bytes: other codes", name, (unsigned long long)limit);
        if (rested && (dev->memory_peak > limit || dev->memory_peak > m->planned))
            fail_msg("%s within %llu bytes: %llu", name, (unsigned long long)limit,
                     (unsigned long long)dev->memory_peak);
        if (m->params.stream) {
            streamed++;
            has(said, "times the");
            has(said, "layers");
        }
        half = half || limit <= whole / 2;
        rested = !rested;
    }
    log_set_sink(NULL, NULL);
    dev->memory_limit = before;
    /* of few bytes a weight, the caches are the most */
    if (!streamed || (!half && m->transformer->image_head->w.type < DTYPE_Q8_0))
        fail_msg("%s: streamed within %d limits, %s half of its %llu bytes", name, streamed, half ? "also" : "not",
                 (unsigned long long)whole);
    /* with room again nothing is streamed */
    good(limn_generate(m, &o, tight, &e), &e);
    assert_null(m->params.stream);
    assert_memory_equal(roomy, tight, sizeof roomy);
    limn_model_free(&m);
    assert_int_equal(dev->memory_used, 0);
}

static void streamed_layers_give_the_same_codes(void **state)
{
    (void)state;
    for (int i = 0; i < (getenv("LIMN_TEST_BRIEF") ? 1 : KINDS); i++)
        check_limits(write_kind(&kinds[i]), kinds[i].name, 0);
    check_limits(write_kind(&kinds[1]), kinds[1].name, 5);
}

static void a_device_that_shares_no_memory_streams_too(void **state)
{
    (void)state;
    bool before = dev->info.unified_memory;
    if (getenv("LIMN_TEST_BRIEF"))
        skip();
    dev->info.unified_memory = false;
    check_limits(write_kind(&kinds[1]), "gpt", 0);
    dev->info.unified_memory = before;
}

static void scores_are_the_same_with_streamed_layers(void **state)
{
    (void)state;
    err e = {0};
    uint64_t before = dev->memory_limit;
    limn_score a, b;
    int32_t codes[CELLS] = {1, 2, 3};
    model *m = open_model(write_kind(&kinds[0]));
    good(limn_score_codes(m, (int32_t[]){5, 9}, 2, codes, NULL, &a, &e), &e);
    dev->memory_limit = m->planned * 3 / 5;
    good(limn_score_codes(m, (int32_t[]){5, 9}, 2, codes, NULL, &b, &e), &e);
    assert_non_null(m->params.stream);
    dev->memory_limit = before;
    assert_memory_equal(&a, &b, sizeof a);
    limn_model_free(&m);
}

/* ---- caches of F16 ---- */

enum { STEPS = 6 };

/* The logits of the first codes, step by step, for the second of two rows, which has the first one's prompt. */
static void step_logits(model *m, dtype keys, float logits[STEPS * CODES])
{
    err e = {0};
    const transformer *d = m->transformer;
    int32_t ids[2 * TEXT], codes[2 * CELLS], zero = 0;
    session s;
    run *r = m->run;
    run_reset(r);
    for (int i = 0; i < 2 * TEXT; i++)
        ids[i] = 3 + i % TEXT;
    for (int i = 0; i < 2 * CELLS; i++)
        codes[i] = 3 * i % CODES;
    good(session_open(&s, d, r, 2, d->text_length, keys, &e), &e);
    run_write(r, s.ids, ids);
    run_write(r, s.codes, codes);
    run_write(r, s.position, &zero);
    tensor x = d->kind->forward(r, d, tensor_rows(s.ids, 0, 1), tensor_rows(s.codes, 0, 1), session_rows(&s, 0, 1),
                                s.position, d->prefix);
    run_read(r, op_linear(r, op_slice(r, x, d->prefix - 1, 1), d->image_head, ACT_NONE), logits);
    session_repeat_row(&s, 0, 1, 1);
    op_advance(r, s.position, d->prefix);
    for (int i = 1; i < STEPS; i++) {
        float both[2 * CODES];
        x = d->kind->forward(r, d, (tensor){0}, s.codes, &s.memory, s.position, 1);
        run_read(r, op_linear(r, x, d->image_head, ACT_NONE), both);
        good(run_finish(r, &e), &e);
        memcpy(logits + i * CODES, both + CODES, sizeof both / 2);
        op_advance(r, s.position, 1);
    }
    bool ok = run_finish(r, &e);
    session_release(&s);
    good(ok, &e);
}

/* Of keys and values that are rounded by 2^-11; measured 1.1e-3 at most. */
static void f16_logits_are_near(model *m, const char *name)
{
    float f32[STEPS * CODES], f16[STEPS * CODES], worst = 0, least = INFINITY, most = -INFINITY;
    step_logits(m, DTYPE_F32, f32);
    step_logits(m, DTYPE_F16, f16);
    for (int i = 0; i < STEPS * CODES; i++) {
        worst = isfinite(f16[i]) ? fmaxf(worst, fabsf(f16[i] - f32[i])) : INFINITY;
        least = fminf(least, f32[i]);
        most = fmaxf(most, f32[i]);
    }
    print_message("%s: F16 keys and values: logits differ by %g of their range\n", name,
                  (double)(worst / (most - least)));
    if (!(worst > 0 && worst < 3e-3f * (most - least)))
        fail_msg("%s: F16 keys and values: logits differ by %g of a range of %g", name, (double)worst,
                 (double)(most - least));
}

/* Half of the bytes of keys and values, and no others. */
static uint64_t half_of_caches(const transformer *d, int rows)
{
    int64_t cells = d->grid_width * d->grid_height, kept = d->keeps_keys ? d->kept_shape[0] * d->kept_shape[1] : 0;
    int64_t numbers = 2 * d->layers * d->heads * (d->prefix + cells - 1) * d->head_dim + d->n_kept * kept;
    return 2 * (uint64_t)(rows * numbers);
}

static void f16_caches_take_half_and_stay_near(void **state)
{
    (void)state;
    int first = getenv("LIMN_TEST_BRIEF") ? 2 : 0, end = first ? 3 : KINDS; /* briefly: that with two sorts of keys */
    for (int i = first; i < end; i++) {
        err e = {0};
        int32_t two[PICTURES * CELLS], one[CELLS];
        limn_generate_options o = some_pictures(PICTURES);
        model *m = open_model(write_kind(&kinds[i]));
        good(limn_generate(m, &o, two, &e), &e);
        uint64_t planned = m->planned;
        o.kv_cache_f16 = true;
        fresh(m);
        good(limn_generate(m, &o, two, &e), &e);
        meets_plan(m, kinds[i].name);
        assert_int_equal(m->planned, planned - half_of_caches(m->transformer, 2 * PICTURES));
        o.count = 1;
        good(limn_generate(m, &o, one, &e), &e);
        assert_memory_equal(one, two, sizeof one);
        f16_logits_are_near(m, kinds[i].name);
        limn_model_free(&m);
        assert_int_equal(dev->memory_used, 0);
    }
}

typedef struct looker {
    model *m;
    int looks;
} looker;

static bool look(void *context, int done, int total, const int32_t *codes)
{
    looker *l = context;
    err e = {0};
    float pixels[2 * 3 * 8 * 8];
    int32_t shown[2 * CELLS];
    (void)done;
    (void)total;
    for (int i = 0; i < 2 * CELLS; i++)
        shown[i] = codes[i] < 0 ? 0 : codes[i];
    good(limn_decode(l->m, shown, 2, pixels, &e), &e);
    l->looks++;
    return true;
}

static void previews_leave_the_transformer_where_it_is(void **state)
{
    (void)state;
    err e = {0};
    uint64_t before = dev->memory_limit;
    int32_t plain[2 * CELLS], seen[2 * CELLS];
    const char *path = support_path("tiny.gguf");
    good(tiny_model_write(path, &(tiny_config){.layers = 6}, &e), &e);
    model *m = open_model(path);
    looker l = {.m = m};
    limn_generate_options o = some_pictures(2);
    good(limn_generate(m, &o, plain, &e), &e);
    o.progress = look;
    o.context = &l;
    o.preview = true;
    fresh(m);
    good(limn_generate(m, &o, seen, &e), &e);
    assert_true(l.looks > 1);
    assert_memory_equal(plain, seen, sizeof plain);
    fresh(m);
    for (uint64_t limit = dev->memory_limit = m->planned;; limit -= limit / 16) {
        err why = {0};
        dev->memory_limit = limit;
        if (!limn_generate(m, &o, seen, &why)) {
            has(why.text, "generate: ");
            break;
        }
        assert_memory_equal(plain, seen, sizeof plain);
    }
    dev->memory_limit = before;
    limn_model_free(&m);
}

static void run_cli(const char *arguments, int code, const char *const *parts)
{
    char command[2048], text[8192];
    snprintf(command, sizeof command, "%s %s 2>&1", LIMN_PROGRAM, arguments);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    size_t n = fread(text, 1, sizeof text - 1, p);
    text[n] = 0;
    int status = pclose(p);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != code)
        fail_msg("%s: ended with %d: %s", arguments, WEXITSTATUS(status), text);
    for (; *parts; parts++)
        has(text, *parts);
}

/* Each command names itself or what it made, how much, the limit, and what would help. */
static void what_does_not_fit_says_why(void **state)
{
    (void)state;
    char out[300], codes[300], pictures[300], line[2048];
    snprintf(out, sizeof out, "%s", support_path("out.png"));
    snprintf(codes, sizeof codes, "%s", support_path("codes.npy"));
    snprintf(pictures, sizeof pictures, "%s", support_path("pictures"));
    support_pictures(pictures);
    snprintf(line, sizeof line, "encode %s/00.png -o %s", pictures, codes);
    run_cli(line, 0, (const char *[]){NULL});
    const struct {
        const char *format, *limit, *what;
    } rows[] = {
        {"generate pizza -o %1$s", "4M", "generate: "},
        {"generate pizza -n 2 --rank own -o %1$s", "4M", "generate: "},
        {"encode %3$s/00.png -o %1$s.npy", "1M", "encode: "},
        {"decode %2$s -o %1$s", "1M", "decode: "},
        {"reconstruct %3$s/00.png -o %1$s", "1M", "encode: "},
        {"score --text pizza --codes %2$s", "4M", "score: "},
        {"train codec --data %3$s --steps 1 -o %1$s.gguf", "1M", "train codec: "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int n = snprintf(line, sizeof line, rows[i].format, out, codes, pictures);
        snprintf(line + n, sizeof line - (size_t)n, " --mem-limit %s", rows[i].limit);
        run_cli(line, 1,
                (const char *[]){rows[i].what, "MiB", "would exceed", "raise --mem-limit", dev->info.name, NULL});
        struct stat st;
        assert_int_not_equal(stat(out, &st), 0);
    }
    snprintf(line, sizeof line, "train codec --data %s --size 16 --batch 2 --steps 1 -v -o %s.gguf", pictures, out);
    run_cli(line, 0,
            (const char *[]){"train codec: plan: ", "gradients ", "moments ", "activations ", "; 2 at once", NULL});
    /* and what fits into half of the file's 19 MiB is drawn */
    snprintf(line, sizeof line, "generate pizza -v -n 2 --rank own --mem-limit 9.5M -o %s", out);
    run_cli(line, 0, (const char *[]){"generate: plan: ", "decode: plan: ", "rank: plan: ", "times the", NULL});
}

/* Some integrated graphics report a part of their memory alone; a desktop wants some of it. */
static void the_limit_is_the_callers_or_leaves_some(void **state)
{
    (void)state;
    err e = {0};
    const uint64_t memory = dev->info.memory, asked = 2 * memory;
    device *d = device_open(NULL, &(limn_device_options){.memory_limit = asked}, &e);
    good(d != NULL, &e);
    assert_int_equal(d->memory_limit, asked);
    device_free(d);
    good((d = device_open(NULL, NULL, &e)) != NULL, &e);
    assert_true(d->memory_limit < memory && d->memory_limit >= memory / 4 * 3);
    device_free(d);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_limit_is_the_callers_or_leaves_some),
        cmocka_unit_test(parameters_are_for_what_their_names_say),
        cmocka_unit_test(plans_are_what_commands_take),
        cmocka_unit_test(streamed_layers_give_the_same_codes),
        cmocka_unit_test(a_device_that_shares_no_memory_streams_too),
        cmocka_unit_test(scores_are_the_same_with_streamed_layers),
        cmocka_unit_test(f16_caches_take_half_and_stay_near),
        cmocka_unit_test(previews_leave_the_transformer_where_it_is),
        cmocka_unit_test(what_does_not_fit_says_why),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    int failed = cmocka_run_group_tests_name("memory", tests, NULL, NULL);
    device_free(dev);
    return failed != 0;
}
