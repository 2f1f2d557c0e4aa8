/* A program of somebody else, which uses each concept of limn.h.  It is C and C++, and knows of limn what is installed.
 * Exit code 77: no device. */
#include <limn/limn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS         3
#define CHECK(condition) ((condition) ? 1 : (fprintf(stderr, "line %d: %s\n", __LINE__, #condition), exit(1), 0))

static limn_error e;

/* What can't fail here. */
static void good(bool ok)
{
    if (!ok) {
        fprintf(stderr, "%s\n", e.text);
        exit(1);
    }
}

static void *array(size_t n, size_t size)
{
    void *made = calloc(n, size);
    CHECK(made != NULL);
    return made;
}

static int lines;

static void on_line(void *context, int level, const char *line)
{
    CHECK(context == &lines && level >= 0 && level <= 3 && line[0]);
    lines++;
}

static bool goes_on(void *context, int64_t done, int64_t total)
{
    int *calls = (int *)context;
    ++*calls;
    return done <= total;
}

static void ask_devices(limn_device *d)
{
    limn_device_info *list = NULL;
    size_t n = 0;
    good(limn_devices(&list, &n, &e));
    CHECK(n > 0 && list[0].index == 0);
    limn_free(list);
    CHECK(limn_device_get_info(d)->memory > 0 && limn_device_reason(d)[0]);
}

static void ask_profile(limn_device *d)
{
    limn_kernel_profile *rows = NULL;
    size_t n = 0;
    good(limn_device_profile(d, &rows, &n, &e));
    CHECK(n > 0 && rows[0].calls > 0);
    limn_free(rows);
    good(limn_device_write_trace(d, "trace.json", &e));
}

/* An error says what is wrong, and what kind of thing that is. */
static void make_errors(limn_device *d)
{
    limn_error why;
    memset(&why, 0, sizeof why);
    CHECK(!limn_model_open(d, "no/such.gguf", &why) && why.code == LIMN_FAILED && why.text[0]);
    memset(&why, 0, sizeof why);
    CHECK(!limn_model_open_memory(d, "GGUF", 4, "four bytes", &why) && strstr(why.text, "four bytes"));
    CHECK(why.cause == LIMN_CAUSE_OTHER);
}

static limn_model *open_watched(limn_device *d)
{
    int calls = 0;
    limn_control control;
    limn_model_options o;
    memset(&control, 0, sizeof control);
    memset(&o, 0, sizeof o);
    control.size = sizeof control;
    control.progress = goes_on;
    control.context = &calls;
    o.size = sizeof o;
    o.control = &control;
    o.log = on_line;
    o.log_context = &lines;
    limn_model *m = limn_model_open_with(d, NULL, &o, &e);
    good(m != NULL);
    CHECK(calls > 0);
    return m;
}

/* Files: a tokenizer is trained, looked into, and neither a transformer nor a model of other programs. */
static void use_files(void)
{
    static const char captions[] = "{\"image\": \"1.png\", \"caption\": \"a red bear\"}\n";
    const char *const data[1] = {"captions.jsonl"};
    limn_error why;
    limn_tokenizer_counts counts;
    limn_train_options run;
    limn_train_codec_options codec;
    limn_convert_options convert;
    FILE *f = fopen(data[0], "w");
    CHECK(f && fputs(captions, f) >= 0 && fclose(f) == 0);
    memset(&counts, 0, sizeof counts);
    memset(&run, 0, sizeof run);
    run.size = sizeof run;
    run.data = data;
    run.n_data = 1;
    run.output = "words.gguf";
    good(limn_train_tokenizer(&run, NULL, &counts, &e));
    CHECK(counts.captions == 1 && counts.tokens >= 258);
    limn_inspection *i = limn_inspection_open(run.output, &e);
    good(i != NULL);
    CHECK(strcmp(limn_inspection_get_info(i)->format, "gguf") == 0 && limn_inspection_key(i, 0)->name[0]);
    limn_inspection_free(&i);
    i = limn_inspection_open(NULL, &e);
    good(i != NULL);
    CHECK(limn_inspection_tensor(i, 0)->bytes > 0);
    limn_inspection_free(&i);
    memset(&codec, 0, sizeof codec);
    codec.size = sizeof codec;
    codec.kind = LIMN_VQVAE;
    run.output = "codec.gguf";
    run.check = true;
    good(limn_train_codec(NULL, &run, &codec, &e));
    run.check = false; /* and then there must be a device */
    memset(&why, 0, sizeof why);
    CHECK(!limn_train_dalle(NULL, &run, NULL, &why) && why.code == LIMN_USAGE);
    memset(&why, 0, sizeof why);
    CHECK(!limn_train_clip(NULL, &run, NULL, &why) && why.code == LIMN_USAGE);
    memset(&why, 0, sizeof why);
    memset(&convert, 0, sizeof convert);
    convert.size = sizeof convert;
    convert.inputs = data;
    convert.n_inputs = 1;
    convert.output = "none.gguf";
    CHECK(!limn_convert(&convert, NULL, &why) && why.text[0]);
}

static void read_text(limn_model *m)
{
    int32_t *ids = NULL;
    size_t n = 0;
    good(limn_tokenize(m, "a red apple", &ids, &n, &e));
    CHECK(n > 0 && limn_token(m, ids[0]) != NULL);
    limn_free(ids);
}

/* A picture, its codes, and back; and how likely they are. */
static void draw_alone(limn_model *m, const limn_model_info *i)
{
    size_t cells = (size_t)i->grid_width * (size_t)i->grid_height, values = 3 * (size_t)i->width * (size_t)i->height;
    int32_t *codes = (int32_t *)array(cells, sizeof *codes), *ids = NULL;
    uint8_t *bytes = (uint8_t *)array(values, 1);
    float *floats = (float *)array(values, sizeof *floats);
    int calls = 0;
    size_t n = 0;
    limn_score score;
    limn_control control;
    memset(&control, 0, sizeof control);
    control.size = sizeof control;
    control.progress = goes_on;
    control.context = &calls;
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = "a panda";
    o.seed = 7;
    good(limn_generate_check(m, &o, &e) && limn_generate(m, &o, codes, &e));
    good(limn_decode(m, codes, 1, floats, &e));
    good(limn_decode_pixels(m, codes, 1, LIMN_U8, bytes, &control, &e));
    CHECK(calls > 0);
    good(limn_encode(m, bytes, 1, codes, NULL, &e));
    good(limn_encode_pixels(m, LIMN_U8, bytes, 1, codes, &control, &e));
    good(limn_tokenize(m, o.prompt, &ids, &n, &e));
    good(limn_score_codes(m, ids, n, codes, NULL, &score, &e));
    CHECK(score.image_tokens == (int)cells && score.image_log_likelihood < 0);
    float *logits = (float *)array((size_t)i->codes, sizeof *logits), fits = 0;
    good(limn_next_logits(m, ids, n, codes, 3, logits, &e));
    CHECK(logits[0] != logits[1]);
    free(logits);
    if (i->has_clip) {
        const char *text = "a panda";
        float *two = (float *)array(2 * (size_t)i->clip_dim, sizeof *two);
        good(limn_embed_texts(m, &text, 1, two, NULL, &e));
        good(limn_embed_pixels(m, LIMN_U8, bytes, 1, i->width, i->height, two + i->clip_dim, NULL, &e));
        free(two);
        good(limn_rank(m, "a panda", bytes, 1, i->width, i->height, &fits, &e));
        good(limn_rank_pixels(m, "a panda", LIMN_U8, bytes, 1, i->width, i->height, &fits, NULL, &e));
    } else {
        limn_error why;
        memset(&why, 0, sizeof why);
        CHECK(!limn_rank(m, "a panda", bytes, 1, i->width, i->height, &fits, &why) && why.code == LIMN_USAGE);
        memset(&why, 0, sizeof why);
        CHECK(!limn_embed_pixels(m, LIMN_U8, bytes, 1, i->width, i->height, &fits, NULL, &why) &&
              why.code == LIMN_USAGE);
    }
    limn_free(ids);
    free(codes);
    free(bytes);
    free(floats);
}

/* A picture of another size for the model, the cells of a mask and of a region, and what a picture says of its
 * settings. */
static void read_picture(limn_model *m, const limn_model_info *i)
{
    size_t cells = (size_t)i->grid_width * (size_t)i->grid_height;
    uint8_t *keep = (uint8_t *)array(cells, 1), *all = (uint8_t *)array(cells, 1), grey[3] = {200, 200, 200};
    uint8_t *rgb = (uint8_t *)array(3 * (size_t)i->encode_width * (size_t)i->encode_height, 1);
    limn_picture p;
    limn_settings settings;
    limn_error why;
    memset(&why, 0, sizeof why);
    memset(&settings, 0, sizeof settings);
    CHECK(!limn_picture_read("none.png", &p, &why) && p.pixels == NULL);
    p.width = p.height = 1;
    p.channels = 3;
    p.pixels = grey;
    good(limn_picture_fit(m, &p, rgb, &e) && limn_picture_mask(m, &p, all, &e));
    good(limn_picture_keep(m, "top:0.5", keep, &e));
    CHECK(rgb[0] == 200 && all[0] && all[cells - 1] && keep[0] && !keep[cells - 1]);
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = "a panda";
    settings.size = sizeof settings;
    settings.keep = "top:0.5";
    char *text = limn_settings_text(m, &o, &settings, &e);
    CHECK(text != NULL && strstr(text, "a panda") == text && strstr(text, "top:0.5") != NULL);
    limn_free(text);
    free(keep);
    free(all);
    free(rgb);
}

/* Pictures of different requests together: each is the one that it is alone. */
static void draw_together(limn_model *m, size_t cells)
{
    static const char *const prompts[REQUESTS] = {"a red apple", "a panda", "a tree"};
    int32_t *codes = (int32_t *)array(cells, sizeof *codes), *alone = (int32_t *)array(cells, sizeof *alone);
    uint64_t ids[REQUESTS + 1], id = 0;
    int left = 1, taken = 0, number = 0, done = 0;
    limn_generation *g = limn_generation_open(m, NULL, &e);
    good(g != NULL);
    for (int k = 0; k <= REQUESTS; k++) {
        limn_request q;
        memset(&q, 0, sizeof q);
        q.size = sizeof q;
        q.prompt = prompts[k % REQUESTS];
        q.seed = (uint64_t)k;
        q.greedy = k == 1;
        good(limn_generation_add(g, &q, &ids[k], &e));
    }
    good(limn_generation_cancel(g, ids[REQUESTS], &e));
    CHECK(limn_generation_get_status(g)->waiting == REQUESTS);
    good(limn_generation_step(g, &left, &e) && limn_generation_peek(g, ids[0], 0, codes, &done, &e));
    CHECK(done > 0);
    while (left > 0) {
        good(limn_generation_step(g, &left, &e));
        while (limn_generation_take(g, &id, &number, codes)) {
            limn_generate_options o = limn_generate_defaults(m);
            int k = 0;
            while (ids[k] != id)
                k++;
            o.prompt = prompts[k];
            o.seed = (uint64_t)k;
            o.temperature = k == 1 ? 0 : o.temperature;
            good(limn_generate(m, &o, alone, &e));
            CHECK(number == 0 && memcmp(codes, alone, cells * sizeof *codes) == 0);
            taken++;
        }
    }
    CHECK(taken == REQUESTS);
    limn_generation_free(&g);
    CHECK(g == NULL);
    free(codes);
    free(alone);
}

static bool stop(void *context, int64_t done, int64_t total)
{
    (void)context;
    CHECK(done < total);
    return false;
}

static void stop_tuning(limn_device *d)
{
    limn_control control;
    limn_error why;
    memset(&control, 0, sizeof control);
    memset(&why, 0, sizeof why);
    control.progress = stop;
    CHECK(!limn_tune(d, 0, &control, &why) && why.cause == LIMN_CAUSE_INTERRUPTED);
}

int main(void)
{
    limn_device_options options;
    memset(&options, 0, sizeof options);
    options.size = sizeof options;
    options.profile = true;
    options.log = on_line;
    options.log_context = &lines;
    limn_set_log(on_line, &lines);
    puts(limn_version());
    use_files();
    limn_device *d = limn_device_open(NULL, &options, &e);
    if (!d) {
        fprintf(stderr, "%s\n", e.text);
        return e.code == LIMN_NO_DEVICE ? 77 : 1;
    }
    ask_devices(d);
    make_errors(d);
    stop_tuning(d);
    limn_model *m = limn_model_open(d, NULL, &e);
    good(m != NULL);
    limn_model_free(&m);
    m = open_watched(d);
    const limn_model_info *i = limn_model_get_info(m);
    CHECK(i->has_codec && i->has_transformer && i->has_tokenizer);
    read_text(m);
    draw_alone(m, i);
    read_picture(m, i);
    good(limn_model_rest(m, &e));
    draw_together(m, (size_t)i->grid_width * (size_t)i->grid_height);
    ask_profile(d);
    limn_model_free(&m);
    limn_device_free(&d);
    CHECK(!m && !d && lines > 0);
    return 0;
}
