/* Plans of training runs: they are what a run takes, a limit of just that trains the same bytes, and less is refused
 * before anything is done, with what would help. */
#include <sys/stat.h>

#include "base/log.h"
#include "checks.h"
#include "train_support.h"

/* A run of some stage. */
typedef struct job {
    const char *name;
    bool (*run)(const char *output, int64_t steps, int batch, int variant, watch *w, err *e);
    int variant;
    bool whole_batches;
    bool left_out; /* of brief runs: another has what is in it */
} job;

static uint64_t planned;

static bool on_step_planned(void *context, const train_progress *p)
{
    planned = p->planned;
    return on_step(context, p);
}

static char first_codec[512], wide_codec[512], tiny[512];

/* 0: dvae; 1: dvae, batches accumulated, averaged weights; 2: vqvae; 3: vqgan */
static bool run_a_codec(const char *output, int64_t steps, int batch, int variant, watch *w, err *e)
{
    train_codec_options o = codec_options(output, steps, w);
    o.run.progress = on_step_planned;
    o.run.batch = batch;
    o.run.accumulate = variant == 1 ? 3 : 0;
    o.run.settings.ema = variant == 1 ? 0.9f : 0;
    o.kind = variant < 2 ? TRAIN_CODEC_DVAE : variant == 2 ? TRAIN_CODEC_VQVAE : TRAIN_CODEC_VQGAN;
    o.discriminator_layers = 2;
    o.discriminator_start = 1;
    o.perceptual = first_codec;
    return train_codec(dev, &o, e);
}

/* 0: as it is; 1: blocks done again; 2: a very small one, with a wide codec */
static bool run_a_dalle(const char *output, int64_t steps, int batch, int variant, watch *w, err *e)
{
    train_dalle_options o = train_dalle_defaults();
    fill_run(&o.run, output, steps, w);
    o.run.progress = on_step_planned;
    o.run.batch = batch;
    o.model.base.dim = o.model.mlp = variant == 2 ? 8 : 32;
    o.model.base.heads = 2;
    o.model.base.layers = variant == 2 ? 1 : 4;
    o.model.base.recompute = variant == 1;
    o.codec = variant == 2 ? wide_codec : first_codec;
    o.tokenizer = tiny;
    o.codes = support_path("data.codes");
    return train_dalle(dev, &o, e);
}

/* 1: half of the pictures through a codec */
static bool run_a_clip(const char *output, int64_t steps, int batch, int variant, watch *w, err *e)
{
    train_clip_options o = train_clip_defaults();
    fill_run(&o.run, output, steps, w);
    o.run.progress = on_step_planned;
    o.run.batch = batch;
    o.model.image_size = SIDE;
    o.model.patch = 4;
    o.model.image.width = o.model.text.width = o.model.image.mlp = o.model.text.mlp = 32;
    o.model.image.layers = o.model.text.layers = 1;
    o.tokenizer = tiny;
    o.codec = variant ? first_codec : NULL;
    return train_clip(dev, &o, e);
}

static const job jobs[] = {
    {"dvae", run_a_codec, 0, false, true},  {"dvae, accumulated", run_a_codec, 1, false, false},
    {"vqvae", run_a_codec, 2, true, true},  {"vqgan", run_a_codec, 3, true, false},
    {"dalle", run_a_dalle, 0, false, true}, {"dalle, again", run_a_dalle, 1, false, false},
    {"clip", run_a_clip, 0, true, true},    {"clip, codec", run_a_clip, 1, true, false},
};
enum { JOBS = sizeof jobs / sizeof *jobs, BATCH = 8, STEPS = 2 };

static void must_run(const job *j, const char *output, int batch)
{
    err e = {0};
    watch w = {0};
    if (!j->run(output, STEPS, batch, j->variant, &w, &e))
        fail_msg("%s: %s", j->name, e.text);
}

static char said[8192];

static void listener(void *context, log_level level, const char *line)
{
    (void)context;
    (void)level;
    snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

static int make_files(void **state)
{
    err e = {0};
    watch w = {0};
    if (make_data(state))
        return 1;
    snprintf(first_codec, sizeof first_codec, "%s", support_path("codec.gguf"));
    snprintf(wide_codec, sizeof wide_codec, "%s", support_path("wide.gguf"));
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    train_codec_options o = codec_options(first_codec, 1, &w);
    run_codec(&o);
    o.run.output = wide_codec;
    o.model.encoder_channels[0] = 64;
    run_codec(&o);
    return !tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e) ||
           !run_a_dalle(support_path("first.gguf"), 1, BATCH, 0, &w, &e);
}

/* Too little memory by one byte: an error names a batch that fits, and it does. */
static void check_refusal(const job *j, uint64_t limit)
{
    char output[512];
    err e = {0};
    watch w = {0};
    struct stat st;
    int batch = 0;
    snprintf(output, sizeof output, "%s", support_path("refused.gguf"));
    remove(output);
    dev->memory_limit = limit;
    uint64_t used = dev->memory_peak = dev->memory_used;
    assert_false(j->run(output, STEPS, BATCH, j->variant, &w, &e));
    assert_int_equal(dev->memory_used, used);
    assert_int_equal(dev->memory_peak, used); /* before anything was there */
    assert_int_not_equal(stat(output, &st), 0);
    const char *const parts[] = {"train ",
                                 " MiB would exceed the limit of ",
                                 dev->info.name,
                                 "weights of ",
                                 "gradients",
                                 "moments",
                                 "raise `memory_limit`"};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        has(e.text, parts[i]);
    const char *advice = strstr(e.text, "(`batch` ");
    assert_true(advice && sscanf(advice, "(`batch` %d fits", &batch) == 1 && batch > 0 && batch < BATCH);
    assert_true((strstr(e.text, "`accumulate`") != NULL) == !j->whole_batches);
    must_run(j, output, batch);
    assert_true(dev->memory_peak <= limit);
    e = (err){0};
    assert_false(j->run(output, STEPS, batch + 1, j->variant, &w, &e));
    e = (err){0};
    dev->memory_limit = 1 << 16;
    assert_false(j->run(output, STEPS, batch, j->variant, &w, &e));
    has(e.text, "one picture at a time needs ");
}

static void plans_are_what_runs_take(void **state)
{
    (void)state;
    uint64_t before = dev->memory_limit;
    for (const job *j = jobs; j < jobs + JOBS; j++) {
        char roomy[512], tight[512];
        if (j->left_out && getenv("LIMN_TEST_BRIEF"))
            continue;
        snprintf(roomy, sizeof roomy, "%s", support_path("roomy.gguf"));
        snprintf(tight, sizeof tight, "%s", support_path("tight.gguf"));
        assert_int_equal(dev->memory_used, 0);
        dev->memory_peak = 0;
        must_run(j, roomy, BATCH);
        assert_int_equal(dev->memory_used, 0);
        print_message("%s: %.3f MiB planned, %.3f used\n", j->name, (double)planned / 0x1p20,
                      (double)dev->memory_peak / 0x1p20);
        if (dev->memory_peak > planned || (double)dev->memory_peak < 0.97 * (double)planned)
            fail_msg("%s: %llu bytes planned, %llu used", j->name, (unsigned long long)planned,
                     (unsigned long long)dev->memory_peak);
        uint64_t whole = planned;
        dev->memory_limit = whole;
        must_run(j, tight, BATCH);
        same_files(roomy, tight);
        if (j->run != run_a_dalle || j->variant)
            check_refusal(j, whole - 1);
        dev->memory_limit = before;
    }
}

static void what_does_not_fit_is_done_again_on_the_way_back(void **state)
{
    (void)state;
    uint64_t before = dev->memory_limit;
    char kept[512], again[512];
    snprintf(kept, sizeof kept, "%s", support_path("kept.gguf"));
    snprintf(again, sizeof again, "%s", support_path("again.gguf"));
    must_run(&jobs[4], kept, BATCH);
    dev->memory_limit = planned - 1;
    dev->memory_peak = 0;
    said[0] = 0;
    log_set_sink(listener, NULL);
    must_run(&jobs[4], again, BATCH);
    log_set_sink(NULL, NULL);
    assert_true(dev->memory_peak <= dev->memory_limit);
    dev->memory_limit = before;
    has(said, "as `recompute` says");
    same_files(kept, again);
}

/* A plan of its own, of fewer pictures at once where there is less room. */
static void the_codes_of_the_pictures_are_made_within_the_limit(void **state)
{
    (void)state;
    uint64_t before = dev->memory_limit;
    char path[2][512];
    watch w = {0};
    for (int i = 0; i < 2; i++) {
        err e = {0};
        snprintf(path[i], sizeof path[i], "%s", support_path(i ? "few.gguf" : "many.gguf"));
        remove(support_path("data.codes"));
        said[0] = 0;
        log_set_sink(listener, NULL);
        if (!run_a_dalle(path[i], 1, 2, 2, &w, &e))
            fail_msg("%s", e.text);
        log_set_sink(NULL, NULL);
        has(said, "codes of the pictures: plan: ");
        assert_true(i == 0 || dev->memory_peak <= dev->memory_limit);
        assert_true((strstr(said, "; 16 at once") != NULL) == (i == 0));
        dev->memory_limit = planned;
        dev->memory_peak = 0;
    }
    dev->memory_limit = before;
    same_files(path[0], path[1]);
}

/* Plans for cards that no test machine has.  What is kept for the backward pass is more than 2^32 floats; one tensor of
 * more than 2^31 is refused, as kernels can't count them. */
static void large_cards_are_planned_for(void **state)
{
    (void)state;
    const limn_device_info info = dev->info;
    const uint64_t before = dev->memory_limit;
    for (int i = 0; i < 2; i++) {
        err e = {0};
        watch w = {0};
        double activations = 0;
        train_dalle_options o = train_dalle_defaults();
        fill_run(&o.run, support_path("large.gguf"), 1, &w);
        o.codec = first_codec;
        o.tokenizer = tiny;
        o.codes = support_path("data.codes");
        o.model.base.text_length = 256;
        o.run.batch = 2048;
        dev->info.memory = (uint64_t)(i ? 141 : 80) << 30;
        dev->info.max_allocation = dev->info.memory / 4;
        dev->memory_limit = (uint64_t)1 << 30;
        assert_false(train_dalle(dev, &o, &e));
        const char *found = strstr(e.text, "activations of 2048 pictures at once of ");
        if (!found || sscanf(found, "activations of 2048 pictures at once of %lf MiB", &activations) != 1 ||
            activations < 20 * 1024)
            fail_msg("%s", e.text);
        has(e.text, "(`batch` ");
        e = (err){0};
        o.model.base.text_length = 1024;
        o.model.base.dim = 8;
        o.model.base.heads = o.model.base.layers = 1;
        o.model.mlp = 1024;
        o.run.batch = 4096;
        assert_false(train_dalle(dev, &o, &e));
        has(e.text, "more elements than a kernel can count (use a smaller batch");
        /* a weight that learns is in one piece */
        e = (err){0};
        o.model.base.dim = 1 << 15;
        o.model.base.heads = 32;
        o.run.batch = 1;
        assert_false(train_dalle(dev, &o, &e));
        has(e.text,
            "transformer.block.0.qkv.weight: 3221225472 elements in one piece, and kernels count to 2147483647");
        dev->info.max_allocation = (uint64_t)1 << 30;
        e = (err){0};
        assert_false(train_dalle(dev, &o, &e));
        has(e.text, "transformer.block.0.qkv.weight: 12288.0 MiB in one piece, and ");
    }
    dev->info = info;
    dev->memory_limit = before;
    assert_int_equal(dev->memory_used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans_are_what_runs_take),
        cmocka_unit_test(what_does_not_fit_is_done_again_on_the_way_back),
        cmocka_unit_test(the_codes_of_the_pictures_are_made_within_the_limit),
        cmocka_unit_test(large_cards_are_planned_for),
    };
    return cmocka_run_group_tests(tests, make_files, drop_data);
}
