/* Low-rank adapters: what is added to a model's weights, training, and files in PEFT's layout. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "checks.h"
#include "golden_descendants.h"
#include "golden_tensors.h"
#include "golden_training.h"
#include "io/safetensors.h"
#include "models/lora.h"
#include "models/model.h"
#include "support.h"

enum { RANK = 3, MOST = 8, NUMBERS = 1 << 16 };

static device *dev;
static json_t *training;
static char adapter[512], config[600], weights[600];

/* ---- models and their logits ---- */

static limn_model *open_with(const char *path, const limn_adapter *list, size_t n)
{
    err e = {0};
    limn_model *m = limn_model_open_with(
        dev, path, &(limn_model_options){.size = sizeof(limn_model_options), .adapters = list, .n_adapters = n}, &e);
    good(m, &e);
    return m;
}

/* The cost of both pictures' codes, and where logits isn't NULL those of the first one. */
static double score(limn_model *m, const descendant *t, float *logits)
{
    double sum = 0;
    for (int i = 0; i < ITEMS; i++) {
        err e = {0};
        limn_score s;
        int32_t *ids = NULL;
        size_t n = 0;
        good(limn_tokenize(m, t->captions[i], &ids, &n, &e) &&
                 limn_score_codes(m, ids, n, t->codes + i * t->cells, i ? NULL : logits, &s, &e),
             &e);
        sum -= s.image_log_likelihood / t->cells;
        free(ids);
    }
    return sum / ITEMS;
}

static double score_with(const descendant *t, const char *path, const limn_adapter *list, size_t n, float *logits)
{
    limn_model *m = open_with(path, list, n);
    double loss = score(m, t, logits);
    limn_model_free(&m);
    return loss;
}

/* ---- adapters by hand ---- */

/* A layer's, and what of the model it changes. */
typedef struct layer {
    const char *name; /* in the file, before ".lora_A.weight" */
    const char *param;
    int64_t first, out, in;
} layer;

static const layer janus_layers[] = {
    {"base_model.model.language_model.model.layers.0.self_attn.q_proj", "transformer.block.0.qkv.weight", 0, 48, 48},
    {"base_model.model.language_model.model.layers.1.self_attn.v_proj", "transformer.block.1.qkv.weight", 96, 48, 48},
    {"base_model.model.language_model.model.layers.1.self_attn.k_proj", "transformer.block.1.qkv.weight", 48, 48, 48},
    {"base_model.model.language_model.model.layers.0.self_attn.o_proj", "transformer.block.0.out.weight", 0, 48, 48},
    {"base_model.model.language_model.model.layers.1.mlp.gate_proj", "transformer.block.1.gate.weight", 0, 136, 48},
    {"base_model.model.language_model.model.layers.0.mlp.down_proj", "transformer.block.0.down.weight", 0, 48, 136},
    {"base_model.model.language_model.model.layers.0.mlp.up_proj", "transformer.block.0.up.weight", 0, 136, 48},
    {"base_model.model.gen_head.vision_head", "transformer.image_head.weight", 0, 80, 48}};

static void write_config(const char *text)
{
    FILE *f = fopen(config, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

#define CONFIG(more) "{\"peft_type\": \"LORA\", \"r\": 3, \"lora_alpha\": 6, \"bias\": \"none\"" more "}"

/* A and B of n layers, with hashed numbers, by safetensors' own layout; rank: that of B. */
static void write_adapter(const layer *list, size_t n, int rank)
{
    err e = {0};
    static float numbers[NUMBERS];
    json_t *header = json_object();
    int64_t at = 0;
    good(file_make_directory(adapter, &e), &e);
    for (size_t i = 0; i < 2 * n; i++) {
        const layer *l = &list[i / 2];
        char name[200];
        int64_t rows = i % 2 ? l->out : RANK, columns = i % 2 ? rank : l->in;
        snprintf(name, sizeof name, "%s.lora_%c.weight", l->name, "AB"[i % 2]);
        for (int64_t k = 0; k < rows * columns; k++)
            numbers[at + k] = 0.3f * golden_number(name, (uint32_t)k);
        json_object_set_new(header, name,
                            json_pack("{s: s, s: [I, I], s: [I, I]}", "dtype", "F32", "shape", (json_int_t)rows,
                                      (json_int_t)columns, "data_offsets", (json_int_t)(4 * at),
                                      (json_int_t)(4 * (at + rows * columns))));
        at += rows * columns;
        assert_true(at <= NUMBERS);
    }
    golden_write_safetensors(weights, header, numbers, (size_t)at * sizeof(float));
    json_decref(header);
    write_config(CONFIG(""));
}

/* A copy of the model with scale times the adapter in its weights, by sums in double precision. */
static uint8_t *merged_by_hand(const layer *list, size_t n, double scale, size_t *size)
{
    err e = {0};
    file_map m = {0};
    good(file_map_open(&m, descendant_model, &e), &e);
    gguf *g = gguf_open(m.data, m.size, descendant_model, &e);
    good(g, &e);
    uint8_t *copy = malloc(m.size);
    assert_non_null(copy);
    memcpy(copy, m.data, *size = m.size);
    for (size_t i = 0; i < n; i++) {
        const layer *l = &list[i];
        const file_tensor *t = gguf_find(g, l->param);
        assert_true(t && t->type == DTYPE_F32 && t->shape[1] == l->in);
        float *w = (float *)(copy + ((const uint8_t *)t->data - m.data)) + l->first * l->in;
        char a[200], b[200];
        snprintf(a, sizeof a, "%s.lora_A.weight", l->name);
        snprintf(b, sizeof b, "%s.lora_B.weight", l->name);
        for (int64_t k = 0; k < l->out * l->in; k++) {
            double sum = 0;
            for (int r = 0; r < RANK; r++)
                sum += (double)(0.3f * golden_number(b, (uint32_t)(k / l->in * RANK + r))) *
                       (double)(0.3f * golden_number(a, (uint32_t)(r * l->in + k % l->in)));
            w[k] = (float)(w[k] + scale * 2 * sum); /* alpha / rank is 2 */
        }
    }
    gguf_free(g);
    file_map_release(&m);
    return copy;
}

static void an_adapter_is_added_as_by_hand(void **state)
{
    (void)state;
    err e = {0};
    descendant t;
    static float have[CELLS * 1024], want[CELLS * 1024];
    size_t size, n = COUNT(janus_layers);
    descendant_open(&t, training, JANUS, DTYPE_F32);
    write_adapter(janus_layers, n, RANK);
    uint8_t *image = merged_by_hand(janus_layers, n, 0.75, &size);
    limn_model *m = limn_model_open_memory(dev, image, size, "by hand", &e);
    good(m, &e);
    int logits = t.cells * m->info.codes;
    score(m, &t, want);
    limn_model_free(&m);
    free(image);
    const limn_adapter once = {adapter, 0.75f}, parts[] = {{weights, 0.5f}, {adapter, 0.25f}}, none = {adapter, 0};
    score_with(&t, descendant_model, &once, 1, have);
    for (int i = 0; i < logits; i++)
        assert_true(fabsf(have[i] - want[i]) <= 1e-5f * fmaxf(1, fabsf(want[i])));
    score_with(&t, descendant_model, parts, 2, have);
    for (int i = 0; i < logits; i++)
        assert_true(fabsf(have[i] - want[i]) <= 1e-5f * fmaxf(1, fabsf(want[i])));
    score_with(&t, descendant_model, NULL, 0, want);
    score_with(&t, descendant_model, &none, 1, have);
    assert_memory_equal(have, want, (size_t)logits * sizeof(float));
}

/* Q8_0: what is near the F32 model's. */
static void quantised_weights_are_rounded_again(void **state)
{
    (void)state;
    descendant t;
    const limn_adapter a = {adapter, 1};
    descendant_open(&t, training, 1, DTYPE_F32); /* a dim of 64 */
    static const layer layers[] = {{"base_model.model.model.language_model.layers.0.self_attn.q_proj", "", 0, 64, 64},
                                   {"base_model.model.model.language_model.layers.1.mlp.up_proj", "", 0, 160, 64},
                                   {"model.language_model.layers.1.self_attn.k_proj", "", 0, 32, 64}};
    write_adapter(layers, COUNT(layers), RANK);
    double plain = score_with(&t, descendant_model, NULL, 0, NULL), f32 = score_with(&t, descendant_model, &a, 1, NULL);
    descendant_open(&t, training, 1, DTYPE_Q8_0);
    double q8_0 = score_with(&t, descendant_model, &a, 1, NULL);
    assert_true(fabs(f32 - plain) > 0.01 && fabs(q8_0 - f32) < 0.2 * fabs(f32 - plain));
}

static void refused(const limn_adapter *a, const char *part)
{
    err e = {0};
    assert_null(limn_model_open_with(
        dev, descendant_model,
        &(limn_model_options){.size = sizeof(limn_model_options), .adapters = a, .n_adapters = 1}, &e));
    has(e.text, part);
}

static void what_is_no_adapter_of_the_model_is_refused(void **state)
{
    (void)state;
    descendant t;
    layer one = janus_layers[0];
    const limn_adapter a = {adapter, 1}, nowhere = {"/nowhere/adapter", 1};
    descendant_open(&t, training, JANUS, DTYPE_F32);
    refused(&nowhere, "/nowhere/adapter");
    one.in = 64;
    write_adapter(&one, 1, RANK);
    refused(&a, "it adapts 64 numbers to 48, and the model's layer makes 48 of 48");
    one = janus_layers[0];
    write_adapter(&one, 1, RANK + 1);
    refused(&a, "no pair of lora_A [rank, in] and lora_B [out, rank]");
    write_adapter(&one, 1, RANK);
    write_config("{\"peft_type\": \"LORA\", \"r\": 8, \"lora_alpha\": 6}");
    refused(&a, "its rank is 3, and adapter_config.json says 8");
    write_config(CONFIG(", \"use_dora\": true"));
    refused(&a, "use_dora: limn doesn't have it");
    write_config(CONFIG(", \"alpha_pattern\": {\"q_proj|v_proj\": 12}"));
    refused(&a, "\"q_proj|v_proj\" is a regular expression");
    write_config("{\"peft_type\": \"LOHA\", \"r\": 3, \"lora_alpha\": 6}");
    refused(&a, "peft_type: LOHA");
    write_config(CONFIG(", \"use_rslora\": true"));
    limn_model *m = open_with(descendant_model, &a, 1);
    limn_model_free(&m);
    unlink(config);
    refused(&a, "adapter_config.json");
    one.name = "base_model.model.vision_model.layers.0.self_attn.q_proj";
    write_adapter(&one, 1, RANK);
    refused(&a, "it adapts the layer vision_model.layers.0.self_attn.q_proj, which ");
    one.name = "base_model.model.language_model.model.layers.7.self_attn.q_proj";
    write_adapter(&one, 1, RANK);
    refused(&a, "it adapts the layer language_model.model.layers.7.self_attn.q_proj, which ");
}

/* ---- training ---- */

static void train(const train_dalle_options *o)
{
    err e = {0};
    good(train_dalle(dev, o, &e), &e);
}

/* Of a run of adapters. */
static train_dalle_options options(int64_t steps)
{
    static const char *const ends[] = {"", ".checkpoint", ".csv"};
    err e = {0};
    char path[700];
    for (size_t i = 0; i < COUNT(ends); i++) {
        snprintf(path, sizeof path, "%s%s", weights, ends[i]);
        unlink(path);
    }
    good(file_make_directory(adapter, &e), &e);
    train_dalle_options o = descendant_options(steps);
    o.run.output = weights;
    o.run.settings.lr = 2e-2f;
    o.lora = 4;
    return o;
}

/* 20 steps from weights of each type, which stay; what is written does to the model what it did in training. */
static void adapters_learn(void **state)
{
    (void)state;
    static const struct {
        size_t instance;
        dtype type;
    } cases[] = {
        {JANUS, DTYPE_F32}, {JANUS, DTYPE_F16}, {JANUS_HF, DTYPE_Q8_0}, {SIMPLEAR, DTYPE_Q4_0}, {LLAMAGEN, DTYPE_F32}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        const dtype type = cases[i].type;
        descendant t;
        const limn_adapter a = {adapter, 1};
        descendant_open(&t, training, cases[i].instance, type);
        train_dalle_options o = options(20);
        o.run.settings.lr_end = o.run.settings.lr;
        o.model.base.recompute = i == 1;
        train(&o);
        double first = golden_training_loss(weights, 1), last = golden_training_loss(weights, 20);
        double before = score_with(&t, descendant_model, NULL, 0, NULL),
               after = score_with(&t, descendant_model, &a, 1, NULL);
        assert_true(last < 0.8 * first);
        assert_true(fabs(before - first) < (type == DTYPE_F32 ? 1e-5 : 1e-2) * first);
        o.run.resume = true;
        o.run.settings.steps = 21;
        train(&o);
        double next = golden_training_loss(weights, 21);
        double bound = type <= DTYPE_F16 ? 1e-4 * before : 0.1 * (before - next); /* rounded again */
        if (!(fabs(after - next) < bound))
            fail_msg("%s, %s: the model with its adapter costs %g, and in training %g", t.name, dtype_table[type].name,
                     after, next);
    }
}

/* The names, shapes and first values that PEFT would have. */
static void files_are_those_of_peft(void **state)
{
    (void)state;
    err e = {0};
    descendant t;
    descendant_open(&t, training, SIMPLEAR, DTYPE_F32);
    train_dalle_options o = options(1);
    o.run.settings.lr = o.run.settings.lr_end = 0;
    train(&o);
    file_map m = {0};
    good(file_map_open(&m, weights, &e), &e);
    safetensors *s = safetensors_open(m.data, m.size, weights, &e);
    good(s, &e);
    assert_int_equal(safetensors_count(s), 2 * 7 * 3);
    const file_tensor *a = safetensors_find(s, "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"),
                      *b = safetensors_find(s, "base_model.model.model.layers.0.mlp.down_proj.lora_B.weight");
    assert_true(a && a->shape[0] == 4 && a->shape[1] == 64 && b && b->shape[0] == 64 && b->shape[1] == 4);
    double squares = 0;
    for (int i = 0; i < 4 * 64; i++)
        squares += (double)((const float *)a->data)[i] * ((const float *)a->data)[i];
    assert_true(fabs(squares / (4 * 64) * 3 * 64 - 1) < 0.3); /* of deviation 1 / sqrt(3 in) */
    for (int i = 0; i < 64 * 4; i++)
        assert_true(((const float *)b->data)[i] == 0);
    safetensors_free(s);
    file_map_release(&m);
    json_t *c = json_load_file(config, 0, NULL);
    assert_string_equal(json_string_value(json_object_get(c, "peft_type")), "LORA");
    assert_int_equal(json_integer_value(json_object_get(c, "r")), 4);
    assert_int_equal(json_integer_value(json_object_get(c, "lora_alpha")), 4);
    assert_int_equal(json_array_size(json_object_get(c, "target_modules")), 7);
    json_decref(c);
}

static bool pause_after_two(void *context, const train_progress *p)
{
    (void)context;
    return p->step < 2;
}

static void a_run_of_adapters_resumes_in_the_same_bytes(void **state)
{
    (void)state;
    err e = {0};
    descendant t;
    file_map m = {0};
    descendant_open(&t, training, JANUS, DTYPE_F32);
    train_dalle_options o = options(4);
    train(&o);
    good(file_map_open(&m, weights, &e), &e);
    uint8_t *copy = malloc(m.size);
    assert_non_null(copy);
    memcpy(copy, m.data, m.size);
    o = options(4);
    o.run.progress = pause_after_two;
    train(&o);
    o.run.progress = NULL;
    o.run.resume = true;
    train(&o);
    file_map after = {0};
    good(file_map_open(&after, weights, &e), &e);
    assert_int_equal(after.size, m.size);
    assert_memory_equal(after.data, copy, m.size);
    free(copy);
    file_map_release(&m);
    file_map_release(&after);
}

/* A model of limn's own, whose layers have its names; through the API, which makes the folder and draws samples. */
static void a_model_of_another_kind_has_adapters(void **state)
{
    (void)state;
    err e = {0};
    char path[600];
    const char *tiny = support_path("tiny.gguf"), *pictures = support_path("pictures"), *style = support_path("style");
    good(tiny_model_write(tiny, &(tiny_config){0}, &e), &e);
    support_pictures(pictures);
    limn_train_options q = {.size = sizeof q,
                            .data = &pictures,
                            .n_data = 1,
                            .output = style,
                            .init = tiny,
                            .steps = 3,
                            .sample_every = 3,
                            .batch = 4};
    good(
        limn_train_dalle(dev, &q, &(limn_train_dalle_options){.size = sizeof(limn_train_dalle_options), .lora = 2}, &e),
        &e);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors.png", style);
    assert_int_equal(access(path, R_OK), 0);
    const limn_adapter a = {style, 1};
    limn_model *m = open_with(tiny, &a, 1);
    int32_t codes[64];
    limn_generate_options g = limn_generate_defaults(m);
    g.prompt = "red";
    good(limn_generate(m, &g, codes, &e), &e);
    limn_model_free(&m);
    q.existing = LIMN_TRAIN_OVERWRITE;
    assert_false(limn_train_dalle(
        dev, &q, &(limn_train_dalle_options){.size = sizeof(limn_train_dalle_options), .lora = 5000}, &e));
    has(e.text, "has no adapter of that rank");
}

int main(void)
{
    dev = support_device();
    if (!(training = descendants_load()))
        return 1;
    snprintf(adapter, sizeof adapter, "%s", support_path("adapter"));
    snprintf(config, sizeof config, "%s/adapter_config.json", adapter);
    snprintf(weights, sizeof weights, "%s/adapter_model.safetensors", adapter);
    const struct CMUnitTest tests[] = {
        TEST(an_adapter_is_added_as_by_hand),
        TEST(quantised_weights_are_rounded_again),
        TEST(what_is_no_adapter_of_the_model_is_refused),
        TEST(adapters_learn),
        TEST(files_are_those_of_peft),
        TEST(a_run_of_adapters_resumes_in_the_same_bytes),
        TEST(a_model_of_another_kind_has_adapters),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    json_decref(training);
    device_free(dev);
    return failed;
}
