/* limn convert: models in PyTorch's layouts, made here from a tiny model, become that model again; what is missing,
 * left over or wrong is named, and no file is left.  Then limn's own files in other types. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "checks.h"
#include "convert/convert.h"
#include "golden_checkpoint.h"
#include "golden_tensors.h"
#include "models/model.h"
#include "support.h"
#include "text/bpe.h"

static device *dev;

/* ---- checks ---------------------------------------------------------------------------------------------------- */

/* ---- a model as a file of this process -------------------------------------------------------------------------- */

typedef struct opened {
    file_map file;
    gguf *g;
} opened;

static opened open_gguf(const char *path)
{
    err e = {0};
    opened o;
    good(file_map_open(&o.file, path, &e), &e);
    o.g = gguf_open(o.file.data, o.file.size, path, &e);
    good(o.g, &e);
    return o;
}

static void close_gguf(opened *o)
{
    gguf_free(o->g);
    file_map_release(&o->file);
}

/* ---- the same in PyTorch's layouts ------------------------------------------------------------------------------ */

/* What the source folder has otherwise than it should. */
typedef struct source_edit {
    const char *drop, *add, *reshape; /* tensors */
    const char *key;                  /* of config.json */
    const char *json;                 /* its value; NULL: missing */
    const char *no_file;              /* of the folder */
} source_edit;

/* ours[out,h,w,in] as PyTorch's [out,in,h,w], or [in,out,h,w]; a new array. */
static float *permuted(const file_tensor *t, bool transposed, int64_t shape[5])
{
    int64_t out = t->shape[0], h = t->shape[1], w = t->shape[2], in = t->shape[3];
    const float *from = t->data;
    float *to = malloc(t->bytes);
    assert_non_null(to);
    for (int64_t o = 0; o < out; o++)
        for (int64_t i = 0; i < in; i++)
            for (int64_t p = 0; p < h * w; p++)
                to[(transposed ? i * out + o : o * in + i) * h * w + p] = from[(o * h * w + p) * in + i];
    memcpy(shape, (int64_t[]){transposed ? in : out, transposed ? out : in, h, w, 0}, 5 * sizeof *shape);
    return to;
}

static void add_entry(json_t *header, const char *name, int nd, const int64_t *shape, size_t at, size_t bytes)
{
    json_t *sizes = json_array();
    for (int i = 0; i < nd; i++)
        json_array_append_new(sizes, json_integer(shape[i]));
    json_object_set_new(header, name,
                        json_pack("{s:s, s:o, s:[I,I]}", "dtype", "F32", "shape", sizes, "data_offsets", (json_int_t)at,
                                  (json_int_t)(at + bytes)));
}

static void write_safetensors(const char *path, const gguf *g, const source_edit *edit)
{
    json_t *header = json_object();
    char *data = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&data, &size);
    assert_non_null(out);
    for (size_t i = 0; i < gguf_tensor_count(g); i++) {
        const file_tensor *t = gguf_tensor(g, i);
        const char *name = strncmp(t->name, "codec.", 6) ? t->name : t->name + 6;
        if (edit->drop && !strcmp(name, edit->drop))
            continue;
        int64_t shape[5];
        memcpy(shape, t->shape, sizeof shape);
        float *own = t->nd == 4 ? permuted(t, !strncmp(name, "decoder.up.", 11), shape) : NULL;
        if (edit->reshape && !strcmp(name, edit->reshape)) {
            int64_t first = shape[0];
            shape[0] = shape[1];
            shape[1] = first;
        }
        add_entry(header, name, t->nd, shape, (size_t)ftell(out), t->bytes);
        fwrite(own ? (const void *)own : t->data, 1, t->bytes, out);
        free(own);
    }
    if (edit->add) {
        add_entry(header, edit->add, 1, (int64_t[]){1}, (size_t)ftell(out), 4);
        fwrite("\0\0\0", 1, 4, out);
    }
    assert_int_equal(fclose(out), 0);
    golden_write_safetensors(path, header, data, size);
    json_decref(header);
    free(data);
}

static const char config_text[] =
    "{\"image_size\": 8, \"channels\": 3, \"grid\": [4, 4], \"codes\": 8, \"code_dim\": 5, \"encoder_down\": [6],"
    " \"encoder_res\": 1, \"decoder_res\": 1, \"decoder_up\": [6], \"codec_activation\": \"gelu_erf\","
    " \"text_length\": 8, \"text_vocab\": 258, \"pad_id\": 0, \"img_id\": 1, \"dim\": 32, \"heads\": 4, \"layers\": 2,"
    " \"mlp\": 64, \"norm_eps\": 1e-5, \"activation\": \"gelu_tanh\", \"pre_norm\": true}";

static void write_config(const char *path, const source_edit *edit)
{
    json_error_t why;
    json_t *config = json_loads(config_text, 0, &why);
    assert_non_null(config);
    if (edit->key) {
        assert_non_null(json_object_get(config, edit->key));
        json_object_del(config, edit->key);
        if (edit->json)
            json_object_set_new(config, edit->key, json_loads(edit->json, JSON_DECODE_ANY, &why));
    }
    assert_int_equal(json_dump_file(config, path, 0), 0);
    json_decref(config);
}

static void write_tokenizer(const char *vocab, const char *merges, const gguf *g)
{
    err e = {0};
    bpe *b = bpe_from_gguf(g, &e);
    good(b, &e);
    json_t *ids = json_object();
    for (int32_t i = 0; (size_t)i < bpe_size(b); i++)
        json_object_set_new(ids, bpe_token(b, i), json_integer(i));
    assert_int_equal(json_dump_file(ids, vocab, 0), 0);
    json_decref(ids);
    bpe_free(b);
    FILE *f = fopen(merges, "w");
    assert_non_null(f);
    fputs("#version: 0.2\n", f);
    assert_int_equal(fclose(f), 0);
}

/* tiny.gguf, and the folder that a program in PyTorch would have written of it. */
static void write_source(const source_edit *edit)
{
    err e = {0};
    good(tiny_model_write(support_path("tiny.gguf"), &(tiny_config){.seed = 6}, &e), &e);
    opened o = open_gguf(support_path("tiny.gguf"));
    write_safetensors(support_path("model.safetensors"), o.g, edit);
    write_config(support_path("config.json"), edit);
    write_tokenizer(support_path("vocab.json"), support_path("merges.txt"), o.g);
    if (edit->no_file)
        assert_int_equal(unlink(support_path(edit->no_file)), 0);
    close_gguf(&o);
}

/* ---- converting ------------------------------------------------------------------------------------------------- */

static bool convert(const char *from, const char *to, import_request q, err *e)
{
    q.inputs = &from;
    q.n_inputs = 1;
    q.output = to;
    return import_convert(&q, e);
}

/* The request fails with `part` in its message, and there is no file, nor part of one. */
static void refuse(const char *from, import_request q, err_code code, const char *part)
{
    err e = {0};
    const char *to = support_path("refused.gguf");
    bool done = convert(from, to, q, &e);
    refused_with(done, &e, part, from, to);
    if (e.code != (int)code)
        fail_msg("code %d, expected %d: %s", e.code, code, e.text);
    char temporary[600];
    snprintf(temporary, sizeof temporary, "%s", to);
    snprintf(strrchr(temporary, '/'), 64, "/.limn-%ld-0.tmp", (long)getpid());
    assert_int_not_equal(access(temporary, F_OK), 0);
}

static void refuse_source(source_edit edit, const char *part)
{
    write_source(&edit);
    refuse(support_path("model.safetensors"), (import_request){0}, ERR_FAILED, part);
}

/* Every tensor of a is in b with the same bytes, and b has no other. */
static void same_tensors(const gguf *a, const gguf *b)
{
    assert_int_equal(gguf_tensor_count(a), gguf_tensor_count(b));
    for (size_t i = 0; i < gguf_tensor_count(a); i++) {
        const file_tensor *t = gguf_tensor(a, i), *u = gguf_find(b, t->name);
        if (!u || u->type != t->type || u->nd != t->nd || memcmp(u->shape, t->shape, sizeof t->shape) != 0 ||
            memcmp(u->data, t->data, t->bytes) != 0)
            fail_msg("tensor %s is missing or another", t->name);
    }
}

/* Every key of a is in b with the same type and value, but those named. */
static void same_keys(const gguf *a, const gguf *b, const char *but)
{
    for (size_t i = 0; i < gguf_key_count(a); i++) {
        const char *key = gguf_key(a, i);
        size_t k = 0;
        if (!strcmp(key, but) || gguf_is_description(key)) /* these are of the tensors */
            continue;
        while (k < gguf_key_count(b) && strcmp(gguf_key(b, k), key) != 0)
            k++;
        if (k == gguf_key_count(b))
            fail_msg("key %s is missing", key);
        char *x = gguf_key_text(a, i), *y = gguf_key_text(b, k);
        assert_string_equal(x, y);
        assert_string_equal(gguf_key_type(a, i), gguf_key_type(b, k));
        free(x);
        free(y);
    }
}

static void pytorch_layouts_become_the_model_again(void **state)
{
    (void)state;
    err e = {0};
    write_source(&(source_edit){0});
    const char *to = support_path("converted.gguf");
    good(convert(support_path("model.safetensors"), to, (import_request){0}, &e), &e);
    opened want = open_gguf(support_path("tiny.gguf")), got = open_gguf(to);
    same_tensors(want.g, got.g);
    same_keys(want.g, got.g, "general.name"); /* which config.json doesn't tell */
    assert_false(gguf_has(got.g, "general.name"));
    close_gguf(&want);
    close_gguf(&got);

    int32_t a[16], b[16];
    const limn_generate_options o = {.prompt = "xy", .temperature = 1, .seed = 3};
    model *m = limn_model_open(dev, support_path("tiny.gguf"), &e);
    good(m && limn_generate(m, &o, a, &e), &e);
    limn_model_free(&m);
    m = limn_model_open(dev, to, &e);
    good(m && limn_generate(m, &o, b, &e), &e);
    assert_string_equal(m->info.name, to);
    assert_int_equal(m->info.default_top_k, 32);
    limn_model_free(&m);
    assert_memory_equal(a, b, sizeof a);
}

/* As a training saves it: behind prefixes, in dicts, in shards. */
static void wrapped_layouts_become_the_model_again(void **state)
{
    (void)state;
    static const char *const prefixes[] = {"module.", "state_dict|_orig_mod.", "model|net.module."},
                             *const names[] = {"wrapped.safetensors", "wrapped.pt", "wrapped.ckpt"};
    write_source(&(source_edit){0});
    opened want = open_gguf(support_path("tiny.gguf"));
    for (size_t i = 0; i < COUNT(names); i++) {
        saved_list s = {0};
        err e = {0};
        const char *to = support_path("converted.gguf");
        saved_load(&s, support_path("model.safetensors"), prefixes[i]);
        saved_write(support_path(names[i]), &s);
        saved_free(&s);
        good(convert(support_path(names[i]), to, (import_request){0}, &e), &e);
        opened got = open_gguf(to);
        same_tensors(want.g, got.g);
        close_gguf(&got);
    }
    close_gguf(&want);
}

static void parts_convert_alone(void **state)
{
    (void)state;
    err e = {0};
    const char *to = support_path("part.gguf");
    for (int part = 0; part < 2; part++) {
        tiny_config c = {.no_codec = part == 0, .no_transformer = part == 1};
        good(tiny_model_write(support_path("tiny.gguf"), &c, &e), &e);
        opened o = open_gguf(support_path("tiny.gguf"));
        write_safetensors(support_path("model.safetensors"), o.g, &(source_edit){0});
        write_config(support_path("config.json"), &(source_edit){0});
        write_tokenizer(support_path("vocab.json"), support_path("merges.txt"), o.g);
        good(convert(support_path("model.safetensors"), to, (import_request){.family = "limn"}, &e), &e);
        opened got = open_gguf(to);
        same_tensors(o.g, got.g);
        close_gguf(&o);
        close_gguf(&got);
        model *m = limn_model_open(dev, to, &e);
        good(m, &e);
        assert_int_equal(m->info.has_codec, part == 1);
        assert_int_equal(m->info.has_transformer, part == 0);
        limn_model_free(&m);
    }
}

static void settings_become_keys(void **state)
{
    (void)state;
    err e = {0};
    const char *settings[] = {"name=A = B", "temperature=0.5", "top_k=3", "top_k=5", "guidance=2.5", "top_p=0.9"};
    const import_request q = {.settings = settings, .n_settings = COUNT(settings)};
    const char *first = support_path("converted.gguf"), *second = support_path("renamed.gguf");
    write_source(&(source_edit){0});
    good(convert(support_path("model.safetensors"), first, q, &e), &e);
    model *m = limn_model_open(dev, first, &e);
    good(m, &e);
    assert_string_equal(m->info.name, "A = B");
    assert_true(m->info.default_temperature == 0.5f && m->info.default_guidance == 2.5f);
    assert_true(m->info.default_top_p == 0.9f);
    assert_int_equal(m->info.default_top_k, 5); /* the last one counts */
    limn_model_free(&m);

    const char *renamed[] = {"name=C"};
    good(convert(first, second, (import_request){.settings = renamed, .n_settings = 1}, &e), &e);
    opened a = open_gguf(first), b = open_gguf(second);
    same_tensors(a.g, b.g);
    same_keys(a.g, b.g, "general.name");
    const char *name;
    good(gguf_get_string(b.g, "general.name", &name, &e), &e);
    assert_string_equal(name, "C");
    close_gguf(&a);
    close_gguf(&b);
}

static void wrong_requests_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *setting, *part;
    } settings[] = {
        {"temperature=warm", "`settings` temperature=warm"},
        {"temperature=", "`settings` temperature="},
        {"temperature=1x", "`settings` temperature=1x"},
        {"temperature=-1", "from 0"},
        {"temperature=nan", "`settings` temperature=nan"},
        {"temperature=inf", "`settings` temperature=inf"},
        {"top_k=1.5", "whole number"},
        {"top_p=2", "from 0 to 1"},
        {"colour=4", "known: name, temperature, top_k, top_p, guidance"},
        {"temperature", "known: name"},
        {"", "known: name"},
    };
    write_source(&(source_edit){0});
    const char *sources[] = {support_path("model.safetensors"), support_path("tiny.gguf")};
    for (size_t s = 0; s < 2; s++) {
        for (size_t i = 0; i < COUNT(settings); i++)
            refuse(sources[s], (import_request){.settings = &settings[i].setting, .n_settings = 1}, ERR_USAGE,
                   settings[i].part);
        refuse(sources[s], (import_request){.family = "cubist"}, ERR_USAGE, "`family` cubist: no such family");
        refuse(sources[s], (import_request){.typed = true, .type = DTYPE_I32}, ERR_USAGE, "`type` i32");
    }
    refuse(sources[0], (import_request){.tokenizer = support_path("nowhere")}, ERR_FAILED, "nowhere/vocab.json");
    refuse(sources[1], (import_request){.tokenizer = support_path("nowhere")}, ERR_USAGE, "has its own");
    refuse(support_path("none.safetensors"), (import_request){0}, ERR_FAILED, "none.safetensors");
    err e = {0};
    assert_false(import_convert(&(import_request){.output = "x"}, &e));
    assert_int_equal(e.code, ERR_USAGE);
    e = (err){0};
    const char *twice[] = {sources[0], sources[0]};
    assert_false(import_convert(&(import_request){.inputs = twice, .n_inputs = 2, .output = "x"}, &e));
    has(e.text, "model.safetensors too");
    e = (err){0};
    assert_false(convert(sources[0], "/nowhere/at/all.gguf", (import_request){0}, &e));
    has(e.text, "/nowhere/at/all.gguf");
}

static void tensors_of_the_source_that_are_missing_or_extra_are_named(void **state)
{
    (void)state;
    static const char *const dropped[] = {
        "encoder.down.0.bias",        "encoder.res.0.conv1.weight",     "codebook.weight",
        "decoder.up.0.weight",        "transformer.block.1.norm2.bias", "transformer.text_position.weight",
        "transformer.image_head.bias"};
    for (size_t i = 0; i < COUNT(dropped); i++) {
        refuse_source((source_edit){.drop = dropped[i]}, dropped[i]);
        has(dropped[i], ".");
    }
    refuse_source((source_edit){.drop = "transformer.block.0.qkv.weight"}, "belongs to nothing");
    refuse_source((source_edit){.drop = "encoder.down.0.weight"}, "belongs to nothing");
    refuse_source((source_edit){.add = "transformer.block.2.qkv.bias"},
                  "transformer.block.2.qkv.bias belongs to nothing");
    refuse_source((source_edit){.add = "gate.scale"}, "gate.scale belongs to nothing");
    refuse_source((source_edit){.reshape = "transformer.block.0.up.weight"},
                  "tensor transformer.block.0.up.weight: shape [32, 64], and the model's sizes ask for [64, 32]");
    refuse_source((source_edit){.reshape = "decoder.up.0.weight", .key = "decoder_up", .json = "[7]"},
                  "tensor decoder");
    refuse_source((source_edit){.reshape = "encoder.down.0.weight"},
                  "tensor encoder.down.0.weight: shape [3, 6, 4, 4], and the model's sizes ask for [6, 3, 4, 4]");
}

static void configuration_that_is_missing_or_wrong_is_named(void **state)
{
    (void)state;
    static const char *const integers[] = {"image_size",  "codes",      "code_dim", "encoder_res", "decoder_res",
                                           "text_length", "text_vocab", "pad_id",   "img_id",      "dim",
                                           "heads",       "layers",     "mlp"};
    static const char *const others[] = {"grid",     "encoder_down",     "decoder_up",
                                         "norm_eps", "codec_activation", "activation"};
    char part[64];
    for (size_t i = 0; i < COUNT(integers) + COUNT(others); i++) {
        const char *key = i < COUNT(integers) ? integers[i] : others[i - COUNT(integers)];
        snprintf(part, sizeof part, "config.json: \"%s\": it is missing", key);
        refuse_source((source_edit){.key = key}, part);
        snprintf(part, sizeof part, "config.json: \"%s\": no", key);
        refuse_source((source_edit){.key = key, .json = "\"8\""}, part);
        refuse_source((source_edit){.key = key, .json = "true"}, part);
        refuse_source((source_edit){.key = key, .json = "null"}, part);
        if (i < COUNT(integers)) {
            refuse_source((source_edit){.key = key, .json = "8.0"}, part);
            refuse_source((source_edit){.key = key, .json = "5000000000"}, part);
            refuse_source((source_edit){.key = key, .json = "-3"}, "is outside");
        }
    }
    static const struct {
        const char *key, *json, *part;
    } values[] = {
        {"grid", "[4]", "\"grid\": not [height, width]"},
        {"grid", "[4, 4, 4]", "\"grid\": no list"},
        {"grid", "[4, \"4\"]", "\"grid\": no integer"},
        {"grid", "[0, 4]", "limn.transformer.grid_height"},
        {"grid", "[4, 2000]", "limn.transformer.grid_width"},
        {"encoder_down", "[]", "\"encoder_down\": no list"},
        {"encoder_down", "[6, 6]", "\"decoder_up\": another length"},
        {"encoder_down", "[1, 1, 1, 1, 1, 1, 1, 1, 1]", "\"encoder_down\": no list"},
        {"encoder_down", "[5]", "tensor encoder.down.0.weight: shape [6, 3, 4, 4]"},
        {"decoder_up", "[-6]", "limn.codec.decoder_channels: a stage has -6 channels"},
        {"encoder_down", "[70000]", "limn.codec.encoder_channels: a stage has 70000 channels"},
        {"image_size", "9", "9 x 9 is not a multiple of 2"},
        {"heads", "3", "limn.transformer.heads: 3 do not divide"},
        {"layers", "3", "transformer.block.2.norm1.weight is missing"},
        {"layers", "1", "transformer.block.1."},
        {"layers", "1000000000", "limn.transformer.layers"},
        {"text_vocab", "200", "vocab.json: 258 tokens"},
        {"pad_id", "258", "limn.transformer.pad_id"},
        {"norm_eps", "-1", "norm_eps"},
        {"activation", "\"swoosh\"", "\"activation\": no activation"},
    };
    for (size_t i = 0; i < COUNT(values); i++)
        refuse_source((source_edit){.key = values[i].key, .json = values[i].json}, values[i].part);
}

static void files_of_the_source_that_are_missing_or_broken_are_named(void **state)
{
    (void)state;
    refuse_source((source_edit){.no_file = "config.json"}, "config.json");
    refuse_source((source_edit){.no_file = "vocab.json"}, "vocab.json");
    refuse_source((source_edit){.no_file = "merges.txt"}, "merges.txt");
    static const char *const texts[] = {"", "{", "[1]", "{\"a\": 1} x"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        write_source(&(source_edit){0});
        FILE *f = fopen(support_path("config.json"), "w");
        assert_non_null(f);
        fputs(texts[i], f);
        fclose(f);
        refuse(support_path("model.safetensors"), (import_request){0}, ERR_FAILED, "config.json");
    }
    write_source(&(source_edit){0});
    refuse(support_path("config.json"), (import_request){0}, ERR_FAILED, "config.json");
}

/* ---- limn's own files ------------------------------------------------------------------------------------------- */

/* The built-in model in F32. */
static const char *builtin_file(void)
{
    err e = {0};
    file_out out;
    const char *path = support_path("builtin.gguf"), *as_is = support_path("builtin_as_is.gguf");
    size_t size = (size_t)(limn_builtin_model_end - limn_builtin_model);
    if (access(path, F_OK) != 0)
        good(file_out_open(&out, as_is, &e) && file_out_write(&out, limn_builtin_model, size, &e) &&
                 file_out_commit(&out, &e) && convert(as_is, path, (import_request){.typed = true}, &e),
             &e);
    return path;
}

static void f32_to_f32_changes_nothing(void **state)
{
    (void)state;
    err e = {0};
    const char *to = support_path("converted.gguf");
    for (int typed = 0; typed < 2; typed++) {
        good(convert(builtin_file(), to, (import_request){.typed = typed}, &e), &e);
        opened a = open_gguf(builtin_file()), b = open_gguf(to);
        same_tensors(a.g, b.g);
        same_keys(a.g, b.g, "");
        same_keys(b.g, a.g, "");
        close_gguf(&a);
        close_gguf(&b);
    }
}

/* What other programs read of a file that is mostly of that type. */
static void check_description(const gguf *g, dtype type)
{
    static const int numbers[] = {[DTYPE_F32] = 0, [DTYPE_F16] = 1, [DTYPE_Q8_0] = 7, [DTYPE_Q4_0] = 2};
    int64_t value = -1;
    err e = {0};
    const char *text;
    good(gguf_get_int(g, "general.file_type", 0, 100, &value, &e), &e);
    assert_int_equal(value, numbers[type]);
    assert_int_equal(gguf_has(g, "general.quantization_version"), dtype_table[type].block > 1);
    assert_true(dtype_table[type].block == 1 ||
                (gguf_get_int(g, "general.quantization_version", 0, 100, &value, &e) && value == 2));
    good(gguf_get_string(g, "general.size_label", &text, &e), &e);
    assert_string_equal(text, "10M");
    good(gguf_get_string(g, "general.type", &text, &e), &e);
    assert_string_equal(text, "model");
}

/* Vectors stay F32, convolutions become F16, and matrices blocks, each as dtype_from_float makes them. */
static void smaller_types_keep_vectors_and_round_the_rest_once(void **state)
{
    (void)state;
    static const dtype types[] = {DTYPE_F16, DTYPE_Q8_0, DTYPE_Q4_0};
    err e = {0};
    const char *to = support_path("converted.gguf"), *again = support_path("again.gguf");
    for (size_t i = 0; i < COUNT(types); i++) {
        good(convert(builtin_file(), to, (import_request){.typed = true, .type = types[i]}, &e), &e);
        opened a = open_gguf(builtin_file()), b = open_gguf(to);
        for (size_t k = 0; k < gguf_tensor_count(a.g); k++) {
            const file_tensor *t = gguf_tensor(a.g, k), *u = gguf_find(b.g, t->name);
            assert_non_null(u);
            bool vector = t->nd == 1 || strstr(t->name, "position.");
            assert_int_equal(u->type, vector ? DTYPE_F32 : t->nd == 4 ? DTYPE_F16 : types[i]);
            void *wanted = malloc(t->bytes);
            dtype_from_float(u->type, wanted, t->data, file_tensor_count(t));
            if (memcmp(wanted, u->data, u->bytes) != 0)
                fail_msg("%s in %s: other values than its rounding", t->name, dtype_table[types[i]].name);
            free(wanted);
        }
        same_keys(a.g, b.g, "");
        check_description(b.g, types[i]);
        close_gguf(&a);
        good(convert(to, again, (import_request){0}, &e), &e); /* without a type: as it is, exactly */
        opened c = open_gguf(again);
        same_tensors(b.g, c.g);
        close_gguf(&b);
        close_gguf(&c);
    }
    /* rows that blocks don't divide */
    good(tiny_model_write(support_path("tiny.gguf"), &(tiny_config){0}, &e), &e);
    good(convert(support_path("tiny.gguf"), to, (import_request){.typed = true, .type = DTYPE_Q8_0}, &e), &e);
    opened o = open_gguf(to);
    assert_int_equal(gguf_find(o.g, "codec.codebook.weight")->type, DTYPE_F16);
    assert_int_equal(gguf_find(o.g, "transformer.block.0.qkv.weight")->type, DTYPE_Q8_0);
    close_gguf(&o);
    int32_t codes[16];
    model *m = limn_model_open(dev, to, &e);
    good(m && limn_generate(m, &(limn_generate_options){.prompt = "a"}, codes, &e), &e);
    limn_model_free(&m);
}

static void own_files_that_are_damaged_are_refused(void **state)
{
    (void)state;
    static const struct {
        tiny_edit edit;
        const char *part;
    } edits[] = {
        {{"general.architecture", TINY_STRING, 0, "llama"}, "\"llama\""},
        {{"general.architecture", TINY_REMOVE, 0, NULL}, "general.architecture"},
        {{"limn.transformer.heads", TINY_STRING, 0, "2"}, "limn.transformer.heads"},
        {{"transformer.norm.bias", TINY_REMOVE, 0, NULL}, "transformer.norm.bias is missing"},
        {{"transformer.norm.bias", TINY_RESHAPE, 0, NULL}, "transformer.norm.bias: shape [33]"},
        {{"transformer.norm.scale", TINY_ADD, 0, NULL}, "transformer.norm.scale belongs to nothing"},
    };
    for (size_t i = 0; i < COUNT(edits); i++) {
        err e = {0};
        const char *from = support_path("damaged.gguf");
        good(tiny_model_write(from, &(tiny_config){.edit = edits[i].edit}, &e), &e);
        refuse(from, (import_request){.typed = true, .type = DTYPE_F16}, ERR_FAILED, edits[i].part);
    }
}

/* A model that limn or another program made of a training that diverged. */
static void models_of_no_numbers_are_refused(void **state)
{
    (void)state;
    static const char *const names[] = {"codec.decoder.out.bias", "transformer.block.1.norm2.weight"};
    static const char *const parts[] = {"tensor codec.decoder.out.bias: 1 of 3 values are no numbers",
                                        "tensor transformer.block.1.norm2.weight: 1 of 32 values"};
    const char *path = support_path("diverged.gguf");
    for (size_t i = 0; i < COUNT(names); i++) {
        err e = {0};
        good(tiny_model_write(path, &(tiny_config){.seed = 2}, &e), &e);
        opened o = open_gguf(path);
        const file_tensor *t = gguf_find(o.g, names[i]);
        assert_non_null(t);
        long at = (long)((const uint8_t *)t->data - o.file.data);
        close_gguf(&o);
        FILE *f = fopen(path, "r+b");
        assert_non_null(f);
        assert_int_equal(fseek(f, at, SEEK_SET), 0);
        assert_int_equal(fwrite(&(float){i ? INFINITY : NAN}, sizeof(float), 1, f), 1);
        fclose(f);
        assert_null(limn_model_open(dev, path, &e));
        has(e.text, parts[i]);
    }
}

/* By whatever name. */
static void a_file_is_not_converted_onto_itself(void **state)
{
    (void)state;
    err e = {0};
    const char *path = support_path("tiny.gguf"), *other = support_path("other.gguf"),
               *hard = support_path("hard.gguf");
    good(tiny_model_write(path, &(tiny_config){0}, &e), &e);
    assert_int_equal(symlink(path, other), 0);
    assert_int_equal(link(path, hard), 0);
    const char *outputs[] = {path, other, hard};
    for (size_t i = 0; i < COUNT(outputs); i++) {
        e = (err){0};
        assert_false(convert(path, outputs[i], (import_request){.typed = true, .type = DTYPE_F16}, &e));
        assert_int_equal(e.code, ERR_USAGE);
        has(e.text, "is also what is read");
    }
    opened o = open_gguf(path);
    assert_int_equal(gguf_find(o.g, "transformer.image_head.weight")->type, DTYPE_F32);
    close_gguf(&o);
}

/* ---- running --------------------------------------------------------------------------------------------------- */

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(pytorch_layouts_become_the_model_again),
        TEST(wrapped_layouts_become_the_model_again),
        TEST(parts_convert_alone),
        TEST(settings_become_keys),
        TEST(wrong_requests_are_refused),
        TEST(tensors_of_the_source_that_are_missing_or_extra_are_named),
        TEST(configuration_that_is_missing_or_wrong_is_named),
        TEST(files_of_the_source_that_are_missing_or_broken_are_named),
        TEST(f32_to_f32_changes_nothing),
        TEST(smaller_types_keep_vectors_and_round_the_rest_once),
        TEST(own_files_that_are_damaged_are_refused),
        TEST(models_of_no_numbers_are_refused),
        TEST(a_file_is_not_converted_onto_itself),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    int failed = cmocka_run_group_tests_name("import", tests, NULL, NULL);
    device_free(dev);
    return failed != 0;
}
