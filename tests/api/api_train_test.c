/* Training through the public API: each kind takes three steps, pauses and goes on; what can't be is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "support.h"
#include "train/train.h"

static device *dev;
static const char *data[1];

static int make_data(void **state)
{
    (void)state;
    dev = support_device();
    data[0] = support_path("data");
    support_pictures(data[0]);
    return 0;
}

static int drop_data(void **state)
{
    (void)state;
    limn_device_free(&dev);
    return 0;
}

/* What a run reports, and when it is to stop. */
typedef struct watch {
    int calls[LIMN_TRAIN_STEPPING + 1]; /* by phase */
    int64_t stop_after;                 /* this step; 0: never */
    bool stop_encoding;
    double first, last; /* losses */
} watch;

static bool on_progress(void *context, const limn_train_progress *p)
{
    watch *w = context;
    w->calls[p->phase]++;
    assert_true(p->done <= p->total);
    if (p->phase == LIMN_TRAIN_ENCODING)
        return !w->stop_encoding;
    if (p->phase != LIMN_TRAIN_STEPPING)
        return true;
    if (w->first == 0)
        w->first = p->loss;
    w->last = p->loss;
    return p->done != w->stop_after;
}

static limn_train_options run_to(const char *output, watch *w)
{
    return (limn_train_options){.size = sizeof(limn_train_options),
                                .data = data,
                                .n_data = 1,
                                .output = output,
                                .seed = 7,
                                .steps = 3,
                                .batch = 4,
                                .warm_up = -1,
                                .progress = on_progress,
                                .context = w};
}

static const int down[] = {8, 16}, up[] = {16, 8};

static limn_train_codec_options small_codec(void)
{
    return (limn_train_codec_options){.image_size = SUPPORT_SIDE,
                                      .codes = 16,
                                      .code_dim = 8,
                                      .stages = 2,
                                      .encoder = down,
                                      .decoder = up,
                                      .blocks = 1,
                                      .block_width = 8};
}

static bool exists(const char *path, const char *ending)
{
    char whole[600];
    snprintf(whole, sizeof whole, "%s%s", path, ending);
    return access(whole, F_OK) == 0;
}

/* ---- a codec ---- */

static void a_codec_learns_what_the_command_would_make_it_learn(void **state)
{
    (void)state;
    limn_error e = {0};
    watch w = {0};
    limn_train_options q = run_to(support_path("codec.gguf"), &w);
    limn_train_codec_options o = small_codec();
    good(limn_train_codec(dev, &q, &o, &e), &e);
    assert_int_equal(w.calls[LIMN_TRAIN_STEPPING], 3);
    assert_true(w.first > 0 && w.last > 0);
    assert_true(exists(q.output, "") && exists(q.output, ".checkpoint") && exists(q.output, ".csv") &&
                exists(q.output, ".png") && !exists(q.output, ".lock"));
    train_codec_options same = train_codec_defaults();
    same.run.output = support_path("same.gguf");
    same.run.sources = data;
    same.run.n_sources = 1;
    same.run.batch = 4;
    same.run.settings.steps = 3;
    same.run.settings.seed = 7;
    same.model.width = same.model.height = SUPPORT_SIDE;
    same.model.codes = 16;
    same.model.code_dim = same.model.block_width = 8;
    same.model.stages = 2;
    memcpy(same.model.encoder_channels, down, sizeof down);
    memcpy(same.model.decoder_channels, up, sizeof up);
    same.model.encoder_blocks = same.model.decoder_blocks = 1;
    good(train_codec(dev, &same, &e), &e);
    assert_true(support_same_files(q.output, same.run.output));
}

static void a_run_pauses_and_goes_on(void **state)
{
    (void)state;
    limn_error e = {0};
    watch w = {.stop_after = 1};
    limn_train_options q = run_to(support_path("paused.gguf"), &w);
    limn_train_codec_options o = small_codec();
    good(limn_train_codec(dev, &q, &o, &e), &e);
    assert_int_equal(w.calls[LIMN_TRAIN_STEPPING], 1);
    /* what is there stays */
    assert_false(limn_train_codec(dev, &q, &o, &e));
    assert_int_equal(e.code, LIMN_FAILED);
    has(e.text, "an earlier run left");
    e = (limn_error){0};
    w = (watch){0};
    q.existing = LIMN_TRAIN_RESUME;
    good(limn_train_codec(dev, &q, &o, &e), &e);
    assert_int_equal(w.calls[LIMN_TRAIN_STEPPING], 2);
    assert_true(support_same_files(q.output, support_path("codec.gguf")));
    w = (watch){.stop_after = 2};
    q.existing = LIMN_TRAIN_OVERWRITE;
    good(limn_train_codec(dev, &q, &o, &e), &e);
    assert_int_equal(w.calls[LIMN_TRAIN_STEPPING], 2);
}

/* ---- a tokenizer, a transformer, a CLIP ---- */

static void a_tokenizer_is_made_of_captions(void **state)
{
    (void)state;
    limn_error e = {0};
    watch w = {0};
    limn_tokenizer_counts n = {0};
    limn_train_options q = run_to(support_path("words.gguf"), &w);
    good(limn_train_tokenizer(&q, &(limn_train_tokenizer_options){.vocabulary = 264}, &n, &e), &e);
    assert_int_equal(n.tokens, 264);
    assert_int_equal(n.captions, 12);
    assert_true(w.calls[LIMN_TRAIN_READING] >= 12);
    good(limn_train_tokenizer(&q, NULL, NULL, &e), &e); /* a tokenizer alone is made again */
    q.output = support_path("codec.gguf");
    assert_false(limn_train_tokenizer(&q, NULL, &n, &e));
    has(e.text, "an earlier run left");
    assert_int_equal(n.tokens, 0);
}

static void a_transformer_learns_texts_and_codes(void **state)
{
    (void)state;
    limn_error e = {0};
    watch w = {.stop_encoding = true};
    limn_train_options q = run_to(support_path("dalle.gguf"), &w);
    limn_train_dalle_options o = {.codec = support_path("codec.gguf"),
                                  .tokenizer = support_path("words.gguf"),
                                  .dim = 16,
                                  .heads = 2,
                                  .layers = 1,
                                  .text_length = 8,
                                  .text_weight = -1};
    assert_false(limn_train_dalle(dev, &q, &o, &e));
    has(e.text, "interrupted");
    assert_int_equal(e.cause, LIMN_CAUSE_INTERRUPTED);
    assert_false(exists(q.output, ""));
    e = (limn_error){0};
    w = (watch){0};
    good(limn_train_dalle(dev, &q, &o, &e), &e);
    assert_int_equal(w.calls[LIMN_TRAIN_STEPPING], 3);
    assert_true(exists(q.output, ".png") && exists(q.output, ".codes"));
    limn_model *m = limn_model_open(dev, q.output, &e);
    good(m != NULL, &e);
    assert_true(limn_model_get_info(m)->has_transformer && limn_model_get_info(m)->text_length == 8);
    limn_model_free(&m);
}

static void a_clip_learns_which_belong_together(void **state)
{
    (void)state;
    limn_error e = {0};
    watch w = {.stop_after = 2};
    limn_train_options q = run_to(support_path("clip.gguf"), &w);
    limn_train_clip_options o = {.tokenizer = support_path("words.gguf"),
                                 .image_size = SUPPORT_SIDE,
                                 .patch = 8,
                                 .dim = 8,
                                 .width = 16,
                                 .layers = 1,
                                 .text_width = 16,
                                 .text_layers = 1,
                                 .heads = 2,
                                 .text_length = 8,
                                 .shift = -1};
    good(limn_train_clip(dev, &q, &o, &e), &e);
    assert_int_equal(w.calls[LIMN_TRAIN_STEPPING], 2);
}

/* ---- what is refused ---- */

/* A device may not be used by two at a time, from within a callback neither. */
static bool frees_the_device(void *context, const limn_train_progress *p)
{
    limn_device **d = context;
    if (p->phase == LIMN_TRAIN_STEPPING)
        limn_device_free(d);
    return true;
}

static void a_device_that_is_freed_stays_until_the_end(void **state)
{
    (void)state;
    limn_error e = {0};
    char spec[32];
    snprintf(spec, sizeof spec, "%d.%d", dev->info.platform, dev->info.device);
    limn_device *own = limn_device_open(spec, NULL, &e);
    good(own != NULL, &e);
    limn_train_options q = run_to(support_path("freed.gguf"), NULL);
    limn_train_codec_options o = small_codec();
    q.progress = frees_the_device;
    q.context = &own;
    good(limn_train_codec(own, &q, &o, &e), &e);
    assert_null(own);
}

static void what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    enum { ROWS = 9 };
    static const char *const texts[ROWS] = {"no data",  "no output", "batch: -1 is outside",
                                            "kind: 3",  "stages",    "kl: nan",
                                            "the data", "init",      "no device"};
    limn_train_options runs[ROWS];
    limn_train_codec_options rows[ROWS];
    const char *file[1] = {support_path("codec.gguf")};
    for (int i = 0; i < ROWS; i++) {
        runs[i] = run_to(support_path("bad.gguf"), NULL);
        runs[i].check = i < ROWS - 1;
        rows[i] = small_codec();
    }
    runs[0].n_data = 0;
    runs[1].output = NULL;
    runs[2].batch = -1;
    rows[3].kind = (limn_codec_kind)3;
    rows[4].decoder = NULL;
    rows[5].kl = (float)NAN;
    runs[6].data = file;
    runs[6].output = file[0];
    runs[7].init = runs[7].output = file[0];
    for (int i = 0; i < ROWS; i++) {
        limn_error e = {0};
        assert_false(limn_train_codec(NULL, &runs[i], &rows[i], &e));
        assert_int_equal(e.code, LIMN_USAGE);
        has(e.text, texts[i]);
        assert_null(strstr(e.text, "--"));
    }
    limn_error e = {0};
    limn_train_options q = run_to(support_path("bad.gguf"), NULL);
    limn_train_codec_options o = small_codec();
    q.check = true;
    good(limn_train_codec(NULL, &q, &o, &e), &e);
    assert_false(exists(q.output, "") || exists(q.output, ".lock"));
    assert_false(limn_train_clip(NULL, &q, NULL, &e));
    has(e.text, "no tokenizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_codec_learns_what_the_command_would_make_it_learn),
        TEST(a_run_pauses_and_goes_on),
        TEST(a_tokenizer_is_made_of_captions),
        TEST(a_transformer_learns_texts_and_codes),
        TEST(a_clip_learns_which_belong_together),
        TEST(a_device_that_is_freed_stays_until_the_end),
        TEST(what_cannot_be_meant_is_refused),
    };
    return cmocka_run_group_tests(tests, make_data, drop_data);
}
