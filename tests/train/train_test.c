/* Training: both stages learn, a resumed run ends in the same bytes, and a diverging one keeps its checkpoint. */
#include "train_support.h"

#include <math.h>
#include <sys/stat.h>

static void a_codec_learns_its_pictures(void **state)
{
    (void)state;
    watch w = {0};
    train_codec_options o = codec_options(support_path("learned.gguf"), 200, &w);
    run_codec(&o);
    if (!(w.last < 0.5 * w.first))
        fail_msg("the loss went from %g to %g", w.first, w.last);
}

static void a_resumed_codec_ends_in_the_same_bytes(void **state)
{
    (void)state;
    watch w = {0};
    train_codec_options o = codec_options(support_path("whole.gguf"), 8, &w);
    o.run.settings.ema = 0.9f;
    o.crop = 0.7;
    resumes_in_the_same_bytes(&o, "parts.gguf", 3);
}

static train_dalle_options dalle_options(const char *output, int64_t steps, watch *w, const char *tokenizer_file)
{
    train_dalle_options o = train_dalle_defaults();
    fill_run(&o.run, output, steps, w);
    o.model.base.dim = 32;
    o.model.base.heads = 2;
    o.model.base.layers = 2;
    o.model.mlp = 64;
    o.model.base.text_length = 16;
    o.codec = support_path("learned.gguf");
    o.tokenizer = tokenizer_file;
    o.run.settings.lr = 3e-3f;
    o.condition_dropout = 0.1f;
    return o;
}

static void a_transformer_learns_and_resumes_in_the_same_bytes(void **state)
{
    (void)state;
    err e = {0};
    char tiny[512], whole[512], parts[512];
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    snprintf(whole, sizeof whole, "%s", support_path("dalle.gguf"));
    snprintf(parts, sizeof parts, "%s", support_path("dalle_parts.gguf"));
    assert_true(tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e));
    watch w = {0}, paused = {.pause_after = 11};
    train_dalle_options o = dalle_options(whole, 60, &w, tiny);
    if (!train_dalle(dev, &o, &e))
        fail_msg("%s", e.text);
    assert_true(w.last < 0.6 * w.first);
    o.run.output = parts;
    o.run.context = &paused;
    assert_true(train_dalle(dev, &o, &e));
    o.run.resume = true;
    o.run.context = &w;
    if (!train_dalle(dev, &o, &e))
        fail_msg("%s", e.text);
    same_files(whole, parts);
    o.run = (train_run){.output = parts, .init = whole, .sources = o.run.sources, .n_sources = 1, .batch = 4};
    o.run.settings = (train_settings){.steps = 1, .eps = 1e-8f}; /* learns nothing from it: the weights are those */
    if (!train_dalle(dev, &o, &e))
        fail_msg("%s", e.text);
    same_files(whole, parts);
    o.model.base.dim *= 2;
    assert_false(train_dalle(dev, &o, &e));
    assert_non_null(strstr(e.text, "`dim` 64: the transformer of "));
    limn_model *m = limn_model_open(dev, whole, &e); /* a whole model: codec, transformer, tokenizer */
    assert_non_null(m);
    int32_t codes[16];
    limn_generate_options g = limn_generate_defaults(m);
    assert_true(g.top_k == 32 && fabsf(g.temperature - 0.7f) < 1e-6f);
    g.prompt = "red on blue";
    assert_true(limn_generate(m, &g, codes, &e));
    limn_model_free(&m);
}

/* The device's memory while it trains; progress's context. */
typedef struct memory_watch {
    watch w;
    uint64_t used;
} memory_watch;

static bool on_step_memory(void *context, const train_progress *p)
{
    memory_watch *m = context;
    m->used = dev->memory_used;
    return on_step(&m->w, p);
}

static void blocks_done_again_give_the_same_bytes_in_less_memory(void **state)
{
    (void)state;
    err e = {0};
    char tiny[512], kept[512], again[512];
    memory_watch m[2] = {0};
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    snprintf(kept, sizeof kept, "%s", support_path("kept.gguf"));
    snprintf(again, sizeof again, "%s", support_path("again.gguf"));
    for (int i = 0; i < 2; i++) {
        train_dalle_options o = dalle_options(i ? again : kept, 3, &m[i].w, tiny);
        o.run.batch = 32;
        o.run.progress = on_step_memory;
        o.model.base.layers = 8;
        o.model.base.recompute = i;
        if (!train_dalle(dev, &o, &e))
            fail_msg("%s", e.text);
    }
    same_files(kept, again);
    print_message("memory: %.1f MiB, with --recompute %.1f MiB\n", (double)m[0].used / 0x1p20,
                  (double)m[1].used / 0x1p20);
    assert_true(m[1].used < m[0].used / 2);
}

static train_clip_options clip_options(const char *output, int64_t steps, watch *w)
{
    train_clip_options o = train_clip_defaults();
    fill_run(&o.run, output, steps, w);
    o.run.batch = 8; /* of 9 captions for 12 pictures: some are equal */
    o.run.settings.lr = 3e-3f;
    o.model.image_size = SIDE;
    o.model.patch = 4;
    o.model.dim = 16;
    o.model.text_length = 16;
    o.model.image.width = o.model.text.width = 32;
    o.model.image.mlp = o.model.text.mlp = 64;
    o.model.image.layers = o.model.text.layers = 1;
    o.tokenizer = support_path("tiny.gguf");
    o.codec = support_path("learned.gguf");
    o.shift = 1;
    return o;
}

/* Each of the pictures goes best with its own caption, or with the equal one of another. */
static void check_ranker(const char *file)
{
    err e = {0};
    uint8_t rgb[PICTURES * SIDE * SIDE * 3];
    float scores[PICTURES];
    char captions[PICTURES][64], path[600];
    for (int i = 0; i < PICTURES; i++) {
        image im = {0};
        snprintf(path, sizeof path, "%s/%02d.png", folder, i);
        assert_true(image_read(&im, path, &e));
        memcpy(rgb + i * SIDE * SIDE * 3, im.pixels, SIDE * SIDE * 3);
        image_release(&im);
        snprintf(path, sizeof path, "%s/%02d.txt", folder, i);
        FILE *f = fopen(path, "r");
        assert_non_null(f);
        assert_int_equal(fscanf(f, "%63[^\n]", captions[i]), 1);
        fclose(f);
    }
    limn_model *m = limn_model_open(dev, file, &e);
    if (!m)
        fail_msg("%s", e.text);
    for (int i = 0; i < PICTURES; i++) {
        int best = 0;
        assert_true(limn_rank(m, captions[i], rgb, PICTURES, SIDE, SIDE, scores, &e));
        for (int k = 1; k < PICTURES; k++)
            best = scores[k] > scores[best] ? k : best;
        if (strcmp(captions[best], captions[i]) != 0)
            fail_msg("\"%s\" is shown best by \"%s\"", captions[i], captions[best]);
    }
    limn_model_free(&m);
}

static void a_clip_learns_to_rank_and_resumes_in_the_same_bytes(void **state)
{
    (void)state;
    err e = {0};
    char whole[512], parts[512];
    snprintf(whole, sizeof whole, "%s", support_path("clip.gguf"));
    snprintf(parts, sizeof parts, "%s", support_path("clip_parts.gguf"));
    watch w = {0}, paused = {.pause_after = 13};
    train_clip_options o = clip_options(whole, 150, &w);
    if (!train_clip(dev, &o, &e))
        fail_msg("%s", e.text);
    check_ranker(whole);
    o.run.output = parts;
    o.run.context = &paused;
    assert_true(train_clip(dev, &o, &e));
    o.run.resume = true;
    o.run.context = &w;
    if (!train_clip(dev, &o, &e))
        fail_msg("%s", e.text);
    same_files(whole, parts);
    o.model.image_size = 2 * SIDE; /* the codec's pictures are smaller */
    assert_false(train_clip(dev, &o, &e));
    assert_non_null(strstr(e.text, "`image_size`"));
}

static void a_diverging_run_names_its_step_and_keeps_the_checkpoint(void **state)
{
    (void)state;
    err e = {0};
    char output[512], checkpoint[540];
    snprintf(output, sizeof output, "%s", support_path("wild.gguf"));
    watch w = {0}, paused = {.pause_after = 2};
    train_codec_options o = codec_options(output, 50, &paused);
    run_codec(&o);
    snprintf(checkpoint, sizeof checkpoint, "%s.checkpoint", output);
    struct stat before, after;
    assert_int_equal(stat(checkpoint, &before), 0);
    o.run.resume = true;
    o.run.context = &w;
    o.run.settings.lr = 1e20f;
    assert_false(train_codec(dev, &o, &e));
    assert_non_null(strstr(e.text, "train: step "));
    assert_int_equal(stat(checkpoint, &after), 0);
    assert_true(before.st_ino == after.st_ino);
}

static void a_checkpoint_of_other_data_or_seed_is_refused(void **state)
{
    (void)state;
    err e = {0};
    watch w = {0};
    train_codec_options o = codec_options(support_path("whole.gguf"), 9, &w);
    o.run.settings.ema = 0.9f;
    o.run.settings.seed = 8;
    o.run.resume = true;
    assert_false(train_codec(dev, &o, &e));
    assert_non_null(strstr(e.text, "train.seed"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_codec_learns_its_pictures),
        cmocka_unit_test(a_resumed_codec_ends_in_the_same_bytes),
        cmocka_unit_test(a_transformer_learns_and_resumes_in_the_same_bytes),
        cmocka_unit_test(blocks_done_again_give_the_same_bytes_in_less_memory),
        cmocka_unit_test(a_clip_learns_to_rank_and_resumes_in_the_same_bytes),
        cmocka_unit_test(a_diverging_run_names_its_step_and_keeps_the_checkpoint),
        cmocka_unit_test(a_checkpoint_of_other_data_or_seed_is_refused),
    };
    return cmocka_run_group_tests(tests, make_data, drop_data);
}
