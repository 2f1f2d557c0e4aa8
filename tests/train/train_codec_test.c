/* The kinds of codecs: each learns, resumes in the same bytes, and is what it should be as a file. */
#include <math.h>

#include "train_support.h"

enum { CODES = 16, CELLS = 16, PIXELS = SIDE * SIDE * 3 };

/* The last line's value in a column of a run's log. */
static double logged(const char *output, const char *column)
{
    char path[512], head[1024], line[1024], last[1024] = "";
    snprintf(path, sizeof path, "%s.csv", output);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_non_null(fgets(head, sizeof head, f));
    while (fgets(line, sizeof line, f))
        strcpy(last, line);
    fclose(f);
    const char *name = head, *value = last;
    while (*name && (strncmp(name, column, strlen(column)) != 0 || !strchr(",\n", name[strlen(column)]))) {
        name += strcspn(name, ",") + (strchr(name, ',') != NULL);
        value += strcspn(value, ",") + (strchr(value, ',') != NULL);
    }
    if (*name)
        return strtod(value, NULL);
    fail_msg("%s: no column %s", path, column);
    return 0;
}

/* The kinds, with their choices. */
static void choose(train_codec_options *o, int variant)
{
    o->kind = variant < 2 ? TRAIN_CODEC_VQVAE : variant == 2 ? TRAIN_CODEC_VQGAN : TRAIN_CODEC_DVAE;
    o->codebook_decay = 0.9f; /* for short runs */
    if (variant == 1) {
        o->learned_codebook = true;
        o->model.up = UPSAMPLING_NEAREST;
    }
    if (variant == 2) {
        o->discriminator_layers = 2;
        o->discriminator_channels[0] = 8;
        o->discriminator_channels[1] = 16;
        o->discriminator_start = o->run.settings.steps / 4;
        o->perceptual = support_path("variant3.gguf"); /* made before: the last variant comes first */
    }
    if (variant == 3) {
        o->model.output = LIKELIHOOD_LOGIT_LAPLACE;
        o->usage = 0.05f;
        o->run.settings.lr = 1e-2f;
    }
}
enum { VARIANTS = 4 };

static const char *name_of(int variant)
{
    char name[32];
    snprintf(name, sizeof name, "variant%d.gguf", variant);
    return support_path(name);
}

/* PSNR in dB of all pictures through the file's codec. */
static double psnr_of_file(const char *path, int codes[CODES])
{
    static uint8_t rgb[PICTURES * PIXELS];
    static float logits[PICTURES * CODES * CELLS], pixels[PICTURES * PIXELS];
    int32_t ids[PICTURES * CELLS];
    err e = {0};
    for (int i = 0; i < PICTURES; i++) {
        char picture[600];
        image im = {0};
        snprintf(picture, sizeof picture, "%s/%02d.png", folder, i);
        assert_true(image_read(&im, picture, &e));
        memcpy(rgb + i * PIXELS, im.pixels, PIXELS);
        image_release(&im);
    }
    limn_model *m = limn_model_open(dev, path, &e);
    if (!m || !limn_encode(m, rgb, PICTURES, ids, logits, &e) || !limn_decode(m, ids, PICTURES, pixels, &e))
        fail_msg("%s", e.text);
    limn_model_free(&m);
    for (int i = 0; i < PICTURES * CELLS; i++) { /* the largest logit is the code */
        const float *of = logits + i / CELLS * CODES * CELLS + i % CELLS;
        codes[ids[i]]++;
        for (int k = 0; k < CODES; k++)
            assert_true(of[k * CELLS] <= of[ids[i] * CELLS]);
    }
    double sum = 0;
    for (int i = 0; i < PICTURES * PIXELS; i++) {
        double far = pixels[i / PIXELS * PIXELS + i % 3 * (PIXELS / 3) + i % PIXELS / 3] - rgb[i] / 255.0;
        sum += far * far / (PICTURES * PIXELS);
    }
    return -10 * log10(sum);
}

static void each_kind_learns_and_its_file_decodes(void **state)
{
    (void)state;
    for (int v = VARIANTS - 1; v >= 0; v--) {
        watch w = {0}, first = {.pause_after = 1};
        int used[CODES] = {0}, kinds = 0;
        train_codec_options o = codec_options(name_of(v), v == 3 ? 400 : 300, &first);
        choose(&o, v);
        run_codec(&o);
        const char *measure = v == 3 ? "logit_laplace" : "psnr"; /* its median comes before its details */
        double before = logged(o.run.output, measure), grey = logged(o.run.output, "psnr");
        o.run.resume = true;
        o.run.context = &w;
        run_codec(&o);
        double trained = logged(o.run.output, "psnr"), by_file = psnr_of_file(o.run.output, used);
        for (int k = 0; k < CODES; k++)
            kinds += used[k] > 0;
        print_message("variant %d: %s %.2f before; PSNR %.1f dB trained, %.1f by its file; %d codes\n", v, measure,
                      before, trained, by_file, kinds);
        if (v == 3)
            assert_true(logged(o.run.output, measure) < before - 0.5);
        else
            assert_true(trained > before + 4);
        assert_true(by_file > grey + 1 && fabs(trained - by_file) < 4); /* of other pictures */
        assert_true(kinds > 1);
        assert_true(logged(o.run.output, "perplexity") >= 1 && logged(o.run.output, "perplexity") <= CODES);
        if (v != 3)
            assert_true(fabs(logged(o.run.output, "kl") - log(CODES)) < 1e-5);
    }
    assert_true(logged(name_of(2), "balance") > 0);
    assert_true(logged(name_of(2), "discriminator") < 0.9); /* of 1, where it knows nothing */
}

static void each_kind_resumes_in_the_same_bytes(void **state)
{
    (void)state;
    for (int v = 0; v < VARIANTS; v++) {
        watch w = {0};
        train_codec_options o = codec_options(support_path("whole.gguf"), 8, &w);
        choose(&o, v);
        o.run.settings.ema = v == 0 ? 0.9f : 0;
        resumes_in_the_same_bytes(&o, "parts.gguf", 4);
    }
}

/* Codes that are below a tenth of the mean use, by the running counts of a run's checkpoint. */
static int dead_codes(float restart)
{
    watch w = {0};
    err e = {0};
    char path[512];
    train_codec_options o = codec_options(support_path("dead.gguf"), 60, &w);
    choose(&o, 0);
    o.restart = restart;
    run_codec(&o);
    snprintf(path, sizeof path, "%s.checkpoint", o.run.output);
    file_map m = {0};
    assert_true(file_map_open(&m, path, &e));
    gguf *g = gguf_open(m.data, m.size, path, &e);
    assert_non_null(g);
    const file_tensor *f = gguf_find(g, "codec.codebook#counts");
    assert_non_null(f);
    assert_int_equal(file_tensor_count(f), CODES);
    int dead = 0;
    for (int k = 0; k < CODES; k++)
        dead += ((const float *)f->data)[k] < 0.1f * (float)(o.run.batch * CELLS) / CODES;
    gguf_free(g);
    file_map_release(&m);
    return dead;
}

static void dead_codes_start_again(void **state)
{
    (void)state;
    assert_true(dead_codes(0) > 0);
    assert_int_equal(dead_codes(0.1f), 0);
}

static void a_transformer_learns_the_codes_of_a_vqvae(void **state)
{
    (void)state;
    err e = {0};
    watch w = {0};
    char tiny[512];
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    assert_true(tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e));
    train_dalle_options o = train_dalle_defaults();
    fill_run(&o.run, support_path("dalle.gguf"), 2, &w);
    o.model.base.dim = 32;
    o.model.base.heads = 2;
    o.model.base.layers = 1;
    o.model.mlp = 32;
    o.codec = name_of(0);
    o.tokenizer = tiny;
    int32_t codes[CELLS];
    float pixels[PIXELS];
    if (!train_dalle(dev, &o, &e))
        fail_msg("%s", e.text);
    limn_model *m = limn_model_open(dev, o.run.output, &e);
    assert_non_null(m);
    limn_generate_options g = limn_generate_defaults(m);
    g.prompt = "red on blue";
    assert_true(limn_generate(m, &g, codes, &e) && limn_decode(m, codes, 1, pixels, &e));
    limn_model_free(&m);
}

static void refused(const train_codec_options *o, const char *why)
{
    err e = {0};
    assert_false(train_codec(dev, o, &e));
    if (!strstr(e.text, why))
        fail_msg("\"%s\" is not in \"%s\"", why, e.text);
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    watch w = {0};
    train_codec_options o = codec_options(support_path("refused.gguf"), 4, &w);
    choose(&o, 2);
    o.discriminator_layers = 3;
    o.discriminator_channels[2] = 16;
    refused(&o, "give it fewer");
    choose(&o, 2);
    o.perceptual = support_path("nowhere.gguf");
    refused(&o, "nowhere.gguf");
    o = codec_options(support_path("refused.gguf"), 4, &w);
    o.run.output = name_of(3); /* a dvae's checkpoint */
    o.run.resume = true;
    choose(&o, 0);
    refused(&o, "missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_kind_learns_and_its_file_decodes),
        cmocka_unit_test(each_kind_resumes_in_the_same_bytes),
        cmocka_unit_test(dead_codes_start_again),
        cmocka_unit_test(a_transformer_learns_the_codes_of_a_vqvae),
        cmocka_unit_test(what_cannot_be_is_refused),
    };
    return cmocka_run_group_tests(tests, make_data, drop_data);
}
