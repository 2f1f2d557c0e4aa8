/* Textual inversion: files of every program that makes them, the words that prompts then have, and pictures: a word
 * with the vectors of others draws what these draw. usage: diffusion_embedding_test [PATTERN]     the tests whose names
 * match */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "convert/convert.h"
#include "golden_checkpoint.h"
#include "models/model.h"
#include "support.h"

#define FOLDER TEST_DATA "/golden/diffusion/"
#define FILES  FOLDER "embeddings/"

enum { WIDTH = 32, VOCABULARY = 714 };

static device *dev;
static const char *file;

static model *open_with(const limn_embedding *list, size_t n, err *e)
{
    *e = (err){0};
    return limn_model_open_with(
        dev, file, &(limn_model_options){.size = sizeof(limn_model_options), .embeddings = list, .n_embeddings = n}, e);
}

static void check_ids(model *m, const char *text, const int32_t *want, size_t n_want)
{
    err e = {0};
    int32_t *ids;
    size_t n;
    good(limn_tokenize(m, text, &ids, &n, &e), &e);
    if (n != n_want || memcmp(ids, want, n * sizeof *ids) != 0)
        fail_msg("\"%s\": %zu ids, not %zu, or others", text, n, n_want);
    free(ids);
}

static int32_t *ids_of(model *m, const char *text, size_t *n)
{
    err e = {0};
    int32_t *ids;
    good(limn_tokenize(m, text, &ids, n, &e), &e);
    return ids;
}

static float table_at(const model *m, int64_t row, int64_t i)
{
    float x = 0;
    for (size_t k = 0; k < m->params.n; k++)
        if (!strcmp(m->params.list[k].name, "transformer.text.embedding.weight"))
            file_tensor_read(m->params.list[k].file, row * WIDTH + i, 1, &x);
    return x;
}

/* ---- files ------------------------------------------------------------------------------------------------------ */

static const char *write_one(const char *name, const char *key, int nd, const int64_t *shape, const float *values)
{
    saved_list s = {0};
    const char *path = support_path(name);
    saved_add(&s, "", key, nd, shape, values);
    saved_write(path, &s);
    saved_free(&s);
    return path;
}

static void every_program_has_its_files(void **state)
{
    (void)state;
    const int64_t two[] = {2, WIDTH}, one[] = {WIDTH};
    const struct {
        const char *path, *name, *word;
        int n;
    } files[] = {
        {FILES "two-words.pt", NULL, "two-words", 2},
        {FILES "parameters.pt", NULL, "parameters", 1},
        {FILES "parameters.pt", "<other>", "<other>", 1},
        {FILES "learned_embeds.bin", NULL, "<cat-toy>", 1},
        {FILES "legacy.bin", NULL, "<cat-toy>", 1},
        {write_one("style.safetensors", "emb_params", 2, two, NULL), NULL, "style", 2},
        {write_one("cat.safetensors", "<cat>", 1, one, NULL), NULL, "<cat>", 1},
    };
    for (size_t i = 0; i < COUNT(files); i++) {
        err e = {0};
        model *m = open_with(&(limn_embedding){files[i].path, files[i].name}, 1, &e);
        good(m != NULL, &e);
        assert_int_equal(m->info.embedded, files[i].n);
        assert_int_equal(m->info.text_vocabulary, VOCABULARY + files[i].n);
        assert_string_equal(limn_token(m, VOCABULARY), files[i].word);
        assert_null(limn_token(m, VOCABULARY + files[i].n));
        const int32_t want[] = {VOCABULARY - 2, VOCABULARY, files[i].n == 2 ? VOCABULARY + 1 : VOCABULARY - 1,
                                VOCABULARY - 1};
        check_ids(m, files[i].word, want, files[i].n == 2 ? 4 : 3);
        limn_model_free(&m);
    }
    err e;
    model *m = open_with(&(limn_embedding){FILES "learned_embeds.bin", NULL}, 1, &e),
          *n = open_with(&(limn_embedding){FILES "two-words.pt", NULL}, 1, &e);
    for (int i = 0; i < WIDTH; i++)
        assert_true(fabsf(table_at(m, VOCABULARY, i) - table_at(n, VOCABULARY + 1, i)) == 0);
    assert_true(fabsf(table_at(m, VOCABULARY, 0)) > 0);
    limn_model_free(&m);
    limn_model_free(&n);
}

static void refused(const limn_embedding *list, size_t n, const char *part)
{
    err e;
    refused_with(open_with(list, n, &e) != NULL, &e, part, part, NULL);
}

static void others_are_refused(void **state)
{
    (void)state;
    float values[2 * WIDTH] = {0};
    const int64_t wide[] = {1, 768}, none[] = {0, WIDTH}, many[] = {76, WIDTH}, deep[] = {1, 1, WIDTH},
                  two[] = {2, WIDTH};
    const limn_embedding missing = {"/nowhere/a.pt", NULL}, cat = {FILES "learned_embeds.bin", NULL};
    refused(&missing, 1, "/nowhere/a.pt");
    refused(&(limn_embedding){write_one("w.safetensors", "emb_params", 2, wide, NULL), NULL}, 1,
            "its vectors have 768 numbers, and the words of");
    refused(&(limn_embedding){write_one("n.safetensors", "emb_params", 2, none, NULL), NULL}, 1, "are wanted");
    refused(&(limn_embedding){write_one("m.safetensors", "emb_params", 2, many, NULL), NULL}, 1, "1 to 75 vectors");
    refused(&(limn_embedding){write_one("d.safetensors", "emb_params", 3, deep, NULL), NULL}, 1, "are wanted");
    refused(&(limn_embedding){write_one("g.safetensors", "clip_g", 2, two, NULL), NULL}, 1, "Stable Diffusion XL");
    values[3] = NAN;
    refused(&(limn_embedding){write_one("nan.safetensors", "emb_params", 2, two, values), NULL}, 1,
            "not all of its values are numbers");
    refused(&(limn_embedding){FOLDER "sd15/vae/diffusion_pytorch_model.safetensors", NULL}, 1, "tensors, and an");
    refused(&(limn_embedding){cat.path, "two words"}, 1, "is no word for prompts");
    refused(&(limn_embedding){cat.path, ""}, 1, "is no word for prompts");
    refused((limn_embedding[]){cat, cat}, 2, "is called <cat-toy> too");
    err e = {0};
    const char *tiny = support_path("tiny.gguf");
    good(tiny_model_write(tiny, &(tiny_config){0}, &e), &e);
    model *m = limn_model_open_with(
        dev, tiny, &(limn_model_options){.size = sizeof(limn_model_options), .embeddings = &cat, .n_embeddings = 1},
        &e);
    refused_with(m != NULL, &e, "`embedding`", "a model of another kind", NULL);
}

/* ---- words ------------------------------------------------------------------------------------------------------ */

static void words_stand_apart(void **state)
{
    (void)state;
    err e;
    const limn_embedding list[] = {{FILES "two-words.pt", "foo"}, {FILES "learned_embeds.bin", "foo-bar"}};
    model *m = open_with(list, 2, &e);
    good(m != NULL, &e);
    size_t n_plain, n_food;
    int32_t *plain = ids_of(m, "a , b", &n_plain), *food = ids_of(m, "food", &n_food);
    assert_int_equal(n_plain, 5); /* of start, a, comma, b and end */
    const int32_t a = plain[1], comma = plain[2], b = plain[3], start = plain[0], end = plain[4], v = VOCABULARY;
    check_ids(m, "a FOO, b", (const int32_t[]){start, a, v, v + 1, comma, b, end}, 7);
    check_ids(m, "foo-bar,foo", (const int32_t[]){start, v + 2, comma, v, v + 1, end}, 6);
    for (size_t i = 0; i < n_food; i++)
        assert_true(food[i] < v);
    int32_t *inner = ids_of(m, "foofoo-bar", &n_food);
    for (size_t i = 0; i < n_food; i++)
        assert_true(inner[i] < v);
    free(inner);
    check_ids(m, "foo", (const int32_t[]){start, v, v + 1, end}, 4);
    check_ids(m, "", (const int32_t[]){start, end}, 2);
    free(plain);
    free(food);
    limn_model_free(&m);
}

/* ---- pictures --------------------------------------------------------------------------------------------------- */

static void draw(model *m, const char *prompt, const char *negative, int32_t *codes)
{
    err e = {0};
    limn_generate_options o = limn_generate_defaults(m);
    o.prompt = prompt;
    o.negative = negative;
    o.seed = 3;
    o.steps = 2;
    good(limn_generate(m, &o, codes, &e), &e);
}

static void a_word_draws_what_its_vectors_say(void **state)
{
    (void)state;
    err e;
    size_t n;
    model *m = open_with(NULL, 0, &e);
    good(m != NULL, &e);
    int cells = m->info.grid_width * m->info.grid_height;
    int32_t *ids = ids_of(m, "lighthouse", &n);
    int64_t shape[] = {(int64_t)n - 2, WIDTH};
    float *rows = calloc(n * WIDTH, sizeof *rows);
    for (size_t i = 1; i + 1 < n; i++)
        for (int k = 0; k < WIDTH; k++)
            rows[(i - 1) * WIDTH + (size_t)k] = table_at(m, ids[i], k);
    int32_t *want = calloc(2 * (size_t)cells, sizeof *want), *have = want + cells;
    draw(m, "a lighthouse in a storm", "a lighthouse", want);
    limn_model_free(&m);
    const char *path = write_one("tower.safetensors", "emb_params", 2, shape, rows);
    m = open_with(&(limn_embedding){path, NULL}, 1, &e);
    good(m != NULL, &e);
    draw(m, "a tower in a storm", "a Tower", have);
    assert_memory_equal(have, want, (size_t)cells * sizeof *have);
    good(limn_model_rest(m, &e), &e);
    draw(m, "a lighthouse in a storm", "a tower", have);
    assert_memory_equal(have, want, (size_t)cells * sizeof *have);
    draw(m, "a in a storm", "a tower", have);
    assert_memory_not_equal(have, want, (size_t)cells * sizeof *have);
    limn_model_free(&m);
    free(want);
    free(rows);
    free(ids);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {TEST(every_program_has_its_files), TEST(others_are_refused),
                                       TEST(words_stand_apart), TEST(a_word_draws_what_its_vectors_say)};
    const char *folder = FOLDER "sd15";
    err e = {0};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    file = support_path("sd15.gguf");
    const import_request q = {.inputs = &folder, .n_inputs = 1, .output = file};
    if (!import_convert(&q, &e)) {
        fprintf(stderr, "%s\n", e.text);
        return 1;
    }
    int failed = cmocka_run_group_tests_name("textual inversion", tests, NULL, NULL);
    device_free(dev);
    return failed;
}
