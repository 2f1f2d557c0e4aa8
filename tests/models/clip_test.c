/* CLIP: both shapes of published ones against other implementations, ranking by the API and by the program, and files
 * that are no CLIP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/log.h"
#include "convert/convert.h"
#include "io/image.h"
#include "io/npy.h"
#include "io/safetensors.h"
#include "models/model.h"
#include "support.h"
#include "text/bpe.h"

enum { SIDE = 16, PATCH = 8, DIM = 12, LENGTH = 8, TEXTS = 3, BYTES = SIDE * SIDE * 3 };

static device *dev;
static file_map map;
static safetensors *golden;

static int open_golden(void **state)
{
    (void)state;
    err e = {0};
    dev = support_device();
    assert_true(file_map_open(&map, TEST_DATA "/clip_reference.safetensors", &e));
    golden = safetensors_open(map.data, map.size, "golden", &e);
    assert_non_null(golden);
    return 0;
}

static int close_golden(void **state)
{
    (void)state;
    safetensors_free(golden);
    file_map_release(&map);
    device_free(dev);
    return 0;
}

static const file_tensor *of(char mark, const char *name)
{
    char full[128];
    snprintf(full, sizeof full, "%c.%s", mark, name);
    return safetensors_find(golden, full);
}

/* 'a': as OpenAI's; 'b': as DALLE-pytorch's. */
static clip config_of(char mark)
{
    const clip_tower tower = {.width = 16, .layers = 2, .heads = 2, .mlp = 32, .pooling = CLIP_MEAN};
    clip c = {.dim = DIM,
              .image_size = SIDE,
              .patch = PATCH,
              .std = {1, 1, 1},
              .text_length = LENGTH,
              .vocabulary = TINY_TOKENS,
              .start_id = -1,
              .end_id = 1,
              .act = ACT_GELU_ERF,
              .eps = 1e-5f,
              .image = tower,
              .text = tower};
    if (mark == 'a') {
        c.act = ACT_QUICK_GELU;
        c.image.pooling = CLIP_CLASS;
        c.text.pooling = CLIP_END;
        c.text.causal = c.image.norm_before = c.image.norm_after = c.text.norm_after = true;
        memcpy(c.mean, (float[]){0.48145466f, 0.4578275f, 0.40821073f}, sizeof c.mean);
        memcpy(c.std, (float[]){0.26862954f, 0.26130258f, 0.27577711f}, sizeof c.std);
    }
    return c;
}

static bpe *byte_tokenizer(void)
{
    err e = {0};
    file_map m = {0};
    const char *path = support_path("tokenizer.gguf");
    assert_true(tiny_model_write(path, &(tiny_config){.no_codec = true, .no_transformer = true}, &e));
    assert_true(file_map_open(&m, path, &e));
    gguf *g = gguf_open(m.data, m.size, path, &e);
    bpe *b = bpe_from_gguf(g, &e);
    assert_non_null(b);
    gguf_free(g);
    file_map_release(&m);
    return b;
}

/* The golden model of that mark as a file, with keys of c; a tensor of the name `without` is left out. */
static const char *write_clip(const char *file, char mark, const clip *c, const char *without)
{
    err e = {0};
    const char *path = support_path(file);
    gguf_writer *w = gguf_writer_new(path);
    bpe *b = byte_tokenizer();
    gguf_put_string(w, "general.architecture", "limn");
    clip_put(c, w);
    bpe_put(b, w);
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < safetensors_count(golden); i++) {
            const file_tensor *t = safetensors_tensor(golden, i);
            if (strncmp(t->name + 1, ".clip.", 6) != 0 || t->name[0] != mark ||
                (without && !strcmp(t->name + 2, without)))
                continue;
            if (pass == 0)
                gguf_add_tensor(w, t->name + 2, t->type, t->nd, t->shape);
            else
                gguf_write_data(w, t->data, t->bytes);
        }
        if (pass == 0)
            gguf_begin_data(w);
    }
    if (!gguf_writer_commit(w, &e))
        fail_msg("%s", e.text);
    gguf_writer_free(w);
    bpe_free(b);
    return path;
}

static void near(const float *a, const file_tensor *t, const char *what)
{
    float worst = 0;
    assert_non_null(t);
    for (int64_t i = 0; i < file_tensor_count(t); i++) {
        float d = fabsf(a[i] - ((const float *)t->data)[i]);
        worst = d <= worst ? worst : d; /* NaN too */
    }
    if (!(worst <= 2e-6f))
        fail_msg("%s: error %g", what, (double)worst);
}

/* Embeddings of the golden pictures and texts. */
static void embed(model *m, char mark, float *images, float *texts)
{
    err e = {0};
    const clip *c = m->clip;
    const uint8_t *rgb = of(mark, "pixels")->data;
    float pixels[TEXTS * BYTES];
    int32_t row[LENGTH], rows[TEXTS * LENGTH], ends[TEXTS];
    const int32_t *ids = of(mark, "ids")->data;
    for (int i = 0; i < TEXTS; i++) {
        size_t n = 0;
        while (ids[i * LENGTH + (int)n] != c->end_id)
            n++;
        clip_pixels(c, pixels + i * BYTES, rgb + i * BYTES);
        ends[i] = clip_text_row(c, ids + i * LENGTH, n, row);
        assert_int_equal(ends[i], n);
        memcpy(rows + i * LENGTH, row, sizeof row);
    }
    assert_memory_equal(rows, ids, sizeof rows);
    run_reset(m->run);
    assert_true(model_load(m, USE_CLIP, &e));
    run_read(m->run, clip_image(m->run, c, run_upload(m->run, DTYPE_F32, 3, (int64_t[]){TEXTS, 4, BYTES / 4}, pixels)),
             images);
    run_read(m->run, clip_text(m->run, c, run_upload(m->run, DTYPE_I32, 2, (int64_t[]){TEXTS, LENGTH}, rows), ends),
             texts);
    if (!run_finish(m->run, &e))
        fail_msg("%s", e.text);
}

static void embeddings_equal_those_of_other_implementations(void **state)
{
    (void)state;
    err e = {0};
    device *own = NULL;
    for (size_t i = 0; support_styled(&own, i); i++) {
        for (char mark = 'a'; mark <= 'b'; mark++) {
            const clip c = config_of(mark);
            float images[TEXTS * DIM], texts[TEXTS * DIM];
            model *m = model_open(own, write_clip("golden.gguf", mark, &c, NULL), &e);
            if (!m)
                fail_msg("%s", e.text);
            embed(m, mark, images, texts);
            near(images, of(mark, "image"), "image");
            near(texts, of(mark, "text"), "text");
            model_free(m);
        }
    }
    device_free(own);
}

static void a_long_text_keeps_its_end_token(void **state)
{
    (void)state;
    clip c = config_of('a');
    int32_t ids[20], row[LENGTH];
    for (int i = 0; i < 20; i++)
        ids[i] = 10 + i;
    assert_int_equal(clip_text_row(&c, ids, 20, row), LENGTH - 1);
    assert_int_equal(row[LENGTH - 2], 10 + LENGTH - 2);
    assert_int_equal(row[LENGTH - 1], c.end_id);
    c.start_id = 7;
    assert_int_equal(clip_text_row(&c, ids, 2, row), 3);
    assert_memory_equal(row, ((int32_t[]){7, 10, 11, 1, 0, 0, 0, 0}), sizeof row);
    c.start_id = c.end_id = -1;
    assert_int_equal(clip_text_row(&c, ids, 0, row), 0);
    assert_int_equal(clip_text_row(&c, ids, 20, row), LENGTH - 1);
    assert_int_equal(row[LENGTH - 1], 10 + LENGTH - 1);
}

static char warned[512];

static void hear(void *context, log_level level, const char *line)
{
    (void)context;
    if (level == LOG_WARNING)
        snprintf(warned, sizeof warned, "%s", line);
}

static bool stops(void *context, int64_t done, int64_t total)
{
    *(int64_t *)context = done;
    return done == total;
}

/* Pixels of either type have the same scores, and a caller may stop between pictures. */
static void ranks_floats_and_stops(model *m, const uint8_t *rgb, int n, const float *wanted)
{
    err e = {0};
    size_t count = (size_t)n * SIDE * SIDE * 3;
    int64_t done = 0;
    const limn_control control = {.progress = stops, .context = &done};
    float *pixels = malloc(count * sizeof *pixels), *scores = calloc((size_t)n, sizeof *scores);
    assert_true(pixels && scores);
    for (size_t i = 0; i < count; i++)
        pixels[i] = (float)rgb[i] / 255;
    assert_true(limn_rank_pixels(m, "red", LIMN_F32, pixels, n, SIDE, SIDE, scores, NULL, &e));
    assert_memory_equal(scores, wanted, (size_t)n * sizeof *scores);
    assert_false(limn_rank_pixels(m, "red", LIMN_U8, rgb, n, SIDE, SIDE, scores, &control, &e));
    assert_true(done > 0 && done < n && strstr(e.text, "interrupted"));
    free(pixels);
    free(scores);
}

/* The scores are products of the embeddings, whatever the number of pictures in a call; other sizes are resized. */
static void ranking_is_the_cosine_of_the_embeddings(void **state)
{
    (void)state;
    enum { N = 19 };
    err e = {0};
    const clip c = config_of('a');
    model *m = model_open(dev, write_clip("golden.gguf", 'a', &c, NULL), &e);
    const uint8_t *rgb = of('a', "pixels")->data;
    static uint8_t many[N * BYTES], flat[4 * BYTES];
    float scores[N], one, images[TEXTS * DIM], texts[TEXTS * DIM];
    assert_non_null(m);
    assert_true(limn_model_get_info(m)->has_clip);
    for (int i = 0; i < N; i++)
        memcpy(many + i * BYTES, rgb + i % TEXTS * BYTES, BYTES);
    assert_true(limn_rank(m, "red", many, N, SIDE, SIDE, scores, &e));
    ranks_floats_and_stops(m, many, N, scores);
    embed(m, 'a', images, texts);
    int32_t row[LENGTH], end, *ids;
    size_t n;
    assert_true(limn_tokenize(m, "red", &ids, &n, &e));
    end = clip_text_row(m->clip, ids, n, row);
    free(ids);
    run_read(m->run, clip_text(m->run, m->clip, run_upload(m->run, DTYPE_I32, 2, (int64_t[]){1, LENGTH}, row), &end),
             texts);
    for (int i = 0; i < N; i++) {
        double product = 0;
        for (int k = 0; k < DIM; k++)
            product += (double)images[i % TEXTS * DIM + k] * texts[k];
        assert_true(fabs(scores[i] - product) < 1e-5);
    }
    memset(flat, 77, sizeof flat);
    assert_true(limn_rank(m, "red", flat, 1, SIDE, SIDE, &one, &e));
    assert_true(limn_rank(m, "red", flat, 1, 2 * SIDE, 2 * SIDE, scores, &e));
    assert_true(fabsf(one - scores[0]) < 1e-4f);
    /* a text that is longer than the CLIP's loses its end, with a word of it */
    log_set_sink(hear, NULL);
    assert_true(limn_rank(m, "r", flat, 1, SIDE, SIDE, &one, &e));
    assert_string_equal(warned, "");
    assert_true(limn_rank(m, "r e d 1 2 3 4 5 6 7 8 9", flat, 1, SIDE, SIDE, &one, &e));
    assert_non_null(strstr(warned, "rank: the CLIP reads 8 tokens of "));
    log_set_sink(NULL, NULL);
    model_free(m);
}

/* The API's embeddings are those, of length 1, whatever the number of texts or pictures in a call. */
static void the_api_gives_the_embeddings(void **state)
{
    (void)state;
    enum { N = 19 };
    err e = {0};
    const clip c = config_of('a');
    limn_model *m = limn_model_open(dev, write_clip("golden.gguf", 'a', &c, NULL), &e);
    const limn_model_info *i = m ? limn_model_get_info(m) : NULL;
    assert_true(i && i->clip_dim == DIM && i->clip_image_size == SIDE && i->clip_text_length == LENGTH);
    const char *const words[N] = {"red", "", "a red cat", [N - 1] = "red"};
    const char *texts[N];
    static float text[N * DIM], seen[N * DIM], floats[N * BYTES], again[N * DIM];
    static uint8_t many[N * BYTES];
    float fits[N];
    int64_t done = 0;
    const limn_control control = {.progress = stops, .context = &done};
    for (int k = 0; k < N; k++) {
        texts[k] = words[k] ? words[k] : "r";
        memcpy(many + k * BYTES, (const uint8_t *)of('a', "pixels")->data + k % TEXTS * BYTES, BYTES);
    }
    for (int k = 0; k < N * BYTES; k++)
        floats[k] = (float)many[k] / 255;
    assert_true(limn_embed_texts(m, texts, N, text, NULL, &e) &&
                limn_embed_pixels(m, LIMN_U8, many, N, SIDE, SIDE, seen, NULL, &e) &&
                limn_embed_pixels(m, LIMN_F32, floats, N, SIDE, SIDE, again, NULL, &e) &&
                limn_rank(m, "red", many, N, SIDE, SIDE, fits, &e));
    near(seen, of('a', "image"), "image");
    assert_memory_equal(seen, again, sizeof seen);
    assert_memory_equal(text, text + (N - 1) * DIM, DIM * sizeof *text);
    for (int k = 0; k < N; k++) {
        double lengths[2] = {0}, product = 0;
        for (int d = 0; d < DIM; d++) {
            lengths[0] += (double)text[k * DIM + d] * text[k * DIM + d];
            lengths[1] += (double)seen[k * DIM + d] * seen[k * DIM + d];
            product += (double)text[d] * seen[k * DIM + d];
        }
        assert_true(fabs(lengths[0] - 1) < 1e-5 && fabs(lengths[1] - 1) < 1e-5 && fabs(product - fits[k]) < 1e-5);
    }
    assert_false(limn_embed_texts(m, texts, N, text, &control, &e));
    assert_true(done == 1 && e.cause == LIMN_CAUSE_INTERRUPTED);
    e = (err){0};
    assert_false(limn_embed_pixels(m, LIMN_U8, many, N, SIDE, SIDE, seen, &control, &e));
    assert_true(done < N && e.cause == LIMN_CAUSE_INTERRUPTED);
    e = (err){0};
    assert_false(limn_embed_pixels(m, LIMN_U8, many, 1, 0, SIDE, seen, NULL, &e));
    assert_int_equal(e.code, LIMN_USAGE);
    assert_true(limn_embed_texts(m, texts, 0, text, NULL, NULL));
    limn_model_free(&m);
}

/* The program's exit status; what it says is in `said`. */
static int program(char *said, size_t size, const char *format, ...)
{
    char command[2048], out[512];
    snprintf(out, sizeof out, "%s", support_path("said.txt"));
    va_list ap;
    va_start(ap, format);
    int n = snprintf(command, sizeof command, "%s generate ", LIMN_PROGRAM);
    n += vsnprintf(command + n, sizeof command - (size_t)n, format, ap);
    va_end(ap);
    snprintf(command + n, sizeof command - (size_t)n, " > %s 2>&1", out);
    int status = system(command);
    FILE *f = fopen(out, "r");
    said[f ? fread(said, 1, size - 1, f) : 0] = 0;
    if (f)
        fclose(f);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void generate_orders_pictures_and_codes_by_score(void **state)
{
    (void)state;
    enum { N = 5, CELLS = 16 };
    err e = {0};
    const clip c = config_of('b');
    char said[8192], tiny[256], clip_file[256], codes[256], ranked[256];
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    snprintf(codes, sizeof codes, "%s", support_path("codes.npy"));
    snprintf(ranked, sizeof ranked, "%s", support_path("ranked.npy"));
    snprintf(clip_file, sizeof clip_file, "%s", write_clip("golden.gguf", 'b', &c, NULL));
    assert_true(tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e));
    const char *plain = support_path("plain.png"), *best = support_path("best.png");
    assert_int_equal(program(said, sizeof said, "red -m %s -n %d --seed 3 -o %s --codes-out %s", tiny, N, plain, codes),
                     0);
    if (program(said, sizeof said, "red -m %s -n %d --seed 3 --rank %s -v -o %s --codes-out %s", tiny, N, clip_file,
                best, ranked))
        fail_msg("%s", said);
    assert_non_null(strstr(said, "rank 5: picture "));
    npy before = {0}, after = {0};
    assert_true(npy_read(&before, codes, DTYPE_I32, &e) && npy_read(&after, ranked, DTYPE_I32, &e));
    model *m = model_open(dev, clip_file, &e);
    float last = 2;
    bool used[N] = {0}, moved = false;
    for (int i = 0; i < N; i++) {
        char path[300], *text;
        image im = {0};
        float score;
        int picture;
        snprintf(path, sizeof path, "%.*s-%d.png", (int)strlen(best) - 4, best, i + 1);
        assert_true(image_read(&im, path, &e));
        assert_true(limn_rank(m, "red", im.pixels, 1, im.width, im.height, &score, &e));
        assert_true(score <= last + 1e-5f);
        last = score;
        text = image_read_text(path, "parameters");
        assert_int_equal(sscanf(strstr(text, "Picture: "), "Picture: %d of 5, CLIP score: %f", &picture, &score), 2);
        assert_true(fabsf(score - last) < 1e-3f);
        assert_in_range(picture, 1, N);
        assert_false(used[picture - 1]);
        used[picture - 1] = true;
        moved = moved || picture != i + 1;
        assert_memory_equal((int32_t *)after.data + i * CELLS, (int32_t *)before.data + (picture - 1) * CELLS,
                            CELLS * sizeof(int32_t));
        free(text);
        image_release(&im);
        snprintf(path, sizeof path, "best-%d.png", i + 1);
        support_path(path); /* known, so that it is removed */
    }
    assert_true(moved);
    npy_release(&before);
    npy_release(&after);
    model_free(m);
}

/* A model and its CLIP in one file, with one tokenizer. */
static void a_model_and_a_clip_become_one_file(void **state)
{
    (void)state;
    err e = {0};
    const clip c = config_of('b');
    char said[8192], tiny[256], clip_file[256], both[256], ranked[256], owned[256];
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    snprintf(both, sizeof both, "%s", support_path("both.gguf"));
    snprintf(ranked, sizeof ranked, "%s", support_path("ranked.npy"));
    snprintf(owned, sizeof owned, "%s", support_path("owned.npy"));
    snprintf(clip_file, sizeof clip_file, "%s", write_clip("golden.gguf", 'b', &c, NULL));
    assert_true(tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e));
    const import_request q = {.inputs = (const char *[]){tiny, clip_file}, .n_inputs = 2, .output = both};
    if (!import_convert(&q, &e))
        fail_msg("%s", e.text);
    const char *out = support_path("grid.png");
    if (program(said, sizeof said, "red -m %s -n 5 --seed 3 --grid --rank own -o %s --codes-out %s", both, out,
                owned) ||
        program(said, sizeof said, "red -m %s -n 5 --seed 3 --grid --rank %s -o %s --codes-out %s", tiny, clip_file,
                out, ranked))
        fail_msg("%s", said);
    npy a = {0}, b = {0};
    assert_true(npy_read(&a, owned, DTYPE_I32, &e) && npy_read(&b, ranked, DTYPE_I32, &e));
    assert_int_equal(a.count, b.count);
    assert_memory_equal(a.data, b.data, (size_t)a.count * sizeof(int32_t));
    npy_release(&a);
    npy_release(&b);
    const tiny_edit edit = {.name = "tokenizer.ggml.merges", .what = TINY_STRINGS, .text = "a b"};
    assert_true(tiny_model_write(tiny, &(tiny_config){.layers = 1, .edit = edit}, &e));
    assert_false(import_convert(&q, &e));
    assert_non_null(strstr(e.text, "its tokenizer is another one"));
}

static void rank_without_a_clip_or_words_is_wrong_usage(void **state)
{
    (void)state;
    err e = {0};
    char said[8192], tiny[256];
    snprintf(tiny, sizeof tiny, "%s", support_path("tiny.gguf"));
    assert_true(tiny_model_write(tiny, &(tiny_config){.layers = 1}, &e));
    const char *out = support_path("no.png");
    assert_int_equal(program(said, sizeof said, "red -m %s --rank own -o %s", tiny, out), 2);
    assert_non_null(strstr(said, "no CLIP inside"));
    assert_int_equal(program(said, sizeof said, "red -m %s --rank %s.missing -o %s", tiny, tiny, out), 1);
    int64_t one = 1;
    assert_true(npy_write(support_path("ids.npy"), DTYPE_I32, 1, &one, &(int32_t){5}, &e));
    assert_int_equal(
        program(said, sizeof said, "--text-ids %s -m %s --rank own -o %s", support_path("ids.npy"), tiny, out), 2);
    assert_non_null(strstr(said, "--rank: "));
}

static void wrong(char mark, const clip *c, const char *without, const char *part)
{
    err e = {0};
    model *m = model_open(dev, write_clip("wrong.gguf", mark, c, without), &e);
    assert_null(m);
    if (!strstr(e.text, part))
        fail_msg("\"%s\" is not in: %s", part, e.text);
}

static void wrong_files_are_named_with_field_and_reason(void **state)
{
    (void)state;
    const clip good = config_of('a');
    clip c = good;
    wrong('a', &c, "clip.text.block.1.up.bias", "tensor clip.text.block.1.up.bias is missing");
    c.patch = 5;
    wrong('a', &c, NULL, "limn.clip.image.patch: 5 doesn't divide");
    c = good;
    c.image.heads = 3;
    wrong('a', &c, NULL, "limn.clip.image.heads: 3 do not divide");
    c = good;
    c.text.layers = 3;
    wrong('a', &c, NULL, "clip.text.block.2.");
    c = good;
    c.text.pooling = CLIP_CLASS;
    wrong('a', &c, NULL, "limn.clip.text.pooling");
    c = good;
    c.end_id = -1;
    wrong('a', &c, NULL, "limn.clip.text.pooling");
    c = good;
    c.image.pooling = CLIP_END;
    wrong('a', &c, NULL, "limn.clip.image.pooling");
    c = good;
    c.image.pooling = CLIP_MEAN;
    wrong('a', &c, NULL, "clip.image.class_token");
    c = good;
    c.vocabulary = 100;
    wrong('a', &c, NULL, "vocabulary");
    c = good;
    c.std[1] = 0;
    wrong('a', &c, NULL, "limn.clip.image.std");
    c = good;
    c.text_length = 1;
    wrong('a', &c, NULL, "limn.clip.text.length");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(embeddings_equal_those_of_other_implementations),
        cmocka_unit_test(a_long_text_keeps_its_end_token),
        cmocka_unit_test(ranking_is_the_cosine_of_the_embeddings),
        cmocka_unit_test(generate_orders_pictures_and_codes_by_score),
        cmocka_unit_test(the_api_gives_the_embeddings),
        cmocka_unit_test(a_model_and_a_clip_become_one_file),
        cmocka_unit_test(rank_without_a_clip_or_words_is_wrong_usage),
        cmocka_unit_test(wrong_files_are_named_with_field_and_reason),
    };
    return cmocka_run_group_tests(tests, open_golden, close_golden);
}
