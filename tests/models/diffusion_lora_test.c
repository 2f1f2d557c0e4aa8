/* Adapters of Stable Diffusion: a model with an adapter of every layer has the weights of one whose files hold the
 * sums, in every layout that such adapters have; what is no adapter of the model is refused, or said. usage:
 * diffusion_lora_test [PATTERN]     the tests whose names match */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "checks.h"
#include "convert/convert.h"
#include "golden_checkpoint.h"
#include "golden_tensors.h"
#include "models/model.h"
#include "support.h"

#define FOLDER TEST_DATA "/golden/diffusion/"
#define SINGLE FOLDER "sd15_single/sd15_single.safetensors"
#define RANK   2
#define ALPHA  3

static device *dev;
static char said[4096];

static void keep(void *context, log_level level, const char *line)
{
    (void)context;
    if (level <= LOG_WARNING)
        snprintf(said + strlen(said), sizeof said - strlen(said), "%s\n", line);
}

/* ---- adapters, and models that have them inside ------------------------------------------------------------------ */

/* Layouts of files. */
typedef enum layout { KOHYA, PEFT, PROCESSORS, OLD, DOTS, LAYOUTS } layout;

static bool begins(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

static bool ends(const char *text, const char *with)
{
    size_t n = strlen(text), m = strlen(with);
    return n >= m && !strcmp(text + n - m, with);
}

/* The layer of weight NAME.weight as the layout calls it, behind which the rest is added. */
static void name_layer(char out[512], layout how, const char *network, const char *layer, bool single)
{
    const bool unet = !strcmp(network, "unet");
    switch (how) {
    case KOHYA:
        snprintf(out, 512, "lora_%s_%s", unet ? "unet" : "te", layer);
        for (char *c = out; *c; c++)
            *c = *c == '.' ? '_' : *c;
        break;
    case DOTS:
        snprintf(out, 512, "%s%s",
                 !unet    ? "text_encoder."
                 : single ? "model.diffusion_model."
                          : "base_model.model.unet.",
                 layer);
        break;
    case PROCESSORS: { /* those of attention alone had them, behind the processor */
        const char *at = unet ? strstr(layer, ".to_") : NULL;
        snprintf(out, 512, "%s.%.*s%s%s", unet ? "unet" : "text_encoder", at ? (int)(at - layer) : 500, layer,
                 at ? ".processor" : "", at ? (ends(at, "to_out.0") ? ".to_out" : at) : "");
        break;
    }
    default:
        snprintf(out, 512, "%s.%s", unet ? "unet" : "text_encoder", layer);
    }
}

static void add_half(saved_list *s, layout how, const char *layer, bool up, int nd, const int64_t *shape,
                     const float *values)
{
    static const char *const names[LAYOUTS][2] = {{".lora_down.weight", ".lora_up.weight"},
                                                  {".lora_A.weight", ".lora_B.weight"},
                                                  {"_lora.down.weight", "_lora.up.weight"},
                                                  {".lora_linear_layer.down.weight", ".lora_linear_layer.up.weight"},
                                                  {".lora.down.weight", ".lora.up.weight"}};
    saved_add(s, layer, names[how][up], nd, shape, values);
}

/* Adds an adapter of the weight t to s, and what it adds to t: alpha / rank times the product. */
static void adapt(saved_list *s, layout how, const char *network, const char *name, saved_tensor *t, bool single)
{
    char layer[512], plain[256];
    int64_t o = t->shape[0], in = 1, i = t->shape[1];
    for (int d = 1; d < t->nd; d++)
        in *= t->shape[d];
    snprintf(plain, sizeof plain, "%.*s", (int)(strlen(name) - strlen(".weight")), name);
    name_layer(layer, how, network, plain, single);
    float *down = malloc((size_t)(RANK * in) * sizeof *down), *up = malloc((size_t)(o * RANK) * sizeof *up);
    for (int64_t k = 0; k < RANK * in; k++)
        down[k] = golden_number(name, (uint32_t)k) / 8;
    for (int64_t k = 0; k < RANK * o; k++)
        up[k] = golden_number(plain, (uint32_t)k) / 8;
    int64_t a[4] = {RANK, i, t->nd == 4 ? t->shape[2] : 1, t->nd == 4 ? t->shape[3] : 1}, b[4] = {o, RANK, 1, 1};
    add_half(s, how, layer, false, t->nd, a, down);
    add_half(s, how, layer, true, t->nd, b, up);
    const bool alpha = how == KOHYA;
    if (alpha)
        saved_add(s, layer, ".alpha", 0, NULL, &(float){ALPHA});
    for (int64_t r = 0; r < o; r++)
        for (int64_t c = 0; c < in; c++) {
            double sum = 0;
            for (int k = 0; k < RANK; k++)
                sum += (double)up[r * RANK + k] * (double)down[k * in + c];
            t->values[r * in + c] += (float)(sum * (alpha ? (double)ALPHA / RANK : 1));
        }
    free(down);
    free(up);
}

/* Whether an adapter can change it: weights of linear layers and convolutions. */
static bool is_layer(const char *name, int nd)
{
    return nd >= 2 && ends(name, ".weight") && !strstr(name, "embedding.weight");
}

static const char *subfolder(const char *folder, const char *name)
{
    static char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

/* A part of an instance, or where it lacks it of sd15. */
static void path_of(char path[600], const char *instance, const char *part)
{
    snprintf(path, 600, FOLDER "%s/%s", instance, part);
    if (access(path, F_OK) != 0)
        snprintf(path, 600, FOLDER "sd15/%s", part);
}

static void link_to(const char *folder, const char *instance, const char *part)
{
    char from[600];
    path_of(from, instance, part);
    assert_int_equal(symlink(from, subfolder(folder, part)), 0);
}

/* An instance as a whole folder. */
static const char *link_all(const char *instance)
{
    static const char *const parts[] = {"unet", "text_encoder", "vae", "scheduler", "tokenizer"};
    const char *folder = support_path(instance);
    assert_int_equal(mkdir(folder, 0700), 0);
    for (size_t i = 0; i < COUNT(parts); i++)
        link_to(folder, instance, parts[i]);
    return folder;
}

/* An instance's folder with adapters inside two of its networks; the same adapters in a file. */
static const char *make_folder(const char *instance, layout how, const char *file)
{
    static const struct {
        const char *network, *folder, *weights;
    } parts[] = {{"unet", "unet", "unet/diffusion_pytorch_model.safetensors"},
                 {"text", "text_encoder", "text_encoder/model.safetensors"}};
    char name[32];
    saved_list adapters = {0};
    snprintf(name, sizeof name, "%s%d", instance, how);
    const char *folder = support_path(name);
    assert_int_equal(mkdir(folder, 0700), 0);
    link_to(folder, instance, "vae");
    link_to(folder, instance, "scheduler");
    link_to(folder, instance, "tokenizer");
    for (size_t k = 0; k < COUNT(parts); k++) {
        char from[600], config[64];
        saved_list s = {0};
        path_of(from, instance, parts[k].weights);
        saved_load(&s, from, "");
        for (size_t i = 0; i < s.n; i++)
            if (is_layer(s.list[i].name, s.list[i].nd))
                adapt(&adapters, how, parts[k].network, s.list[i].name, &s.list[i], false);
        assert_int_equal(mkdir(subfolder(folder, parts[k].folder), 0700), 0);
        snprintf(config, sizeof config, "%s/config.json", parts[k].folder);
        link_to(folder, instance, config);
        saved_write(subfolder(folder, parts[k].weights), &s);
        saved_free(&s);
    }
    saved_write(file, &adapters);
    saved_free(&adapters);
    return folder;
}

/* The same of the single file. */
static const char *make_single(layout how, const char *file)
{
    saved_list s = {0}, adapters = {0};
    static const char unet[] = "model.diffusion_model.", text[] = "cond_stage_model.transformer.";
    saved_load(&s, SINGLE, "");
    for (size_t i = 0; i < s.n; i++) {
        saved_tensor *t = &s.list[i];
        if (is_layer(t->name, t->nd) && begins(t->name, unet))
            adapt(&adapters, how, "unet", t->name + strlen(unet), t, true);
        else if (is_layer(t->name, t->nd) && begins(t->name, text))
            adapt(&adapters, how, "text", t->name + strlen(text), t, true);
    }
    const char *inside = support_path("inside.safetensors");
    saved_write(inside, &s);
    saved_write(file, &adapters);
    saved_free(&s);
    saved_free(&adapters);
    return inside;
}

static const char *convert(const char *from, const char *name)
{
    err e = {0};
    const char *to = support_path(name), *size = "image_size=16";
    const bool file = ends(from, ".safetensors");
    const import_request q = {.inputs = &from,
                              .n_inputs = 1,
                              .output = to,
                              .typed = true,
                              .type = DTYPE_F32,
                              .tokenizer = file ? FOLDER "sd15/tokenizer" : NULL,
                              .settings = &size,
                              .n_settings = file};
    good(import_convert(&q, &e), &e);
    return to;
}

static model *open_with(const char *path, const limn_adapter *adapters, size_t n, err *e)
{
    *e = (err){0};
    *said = 0;
    return limn_model_open_with(
        dev, path, &(limn_model_options){.size = sizeof(limn_model_options), .adapters = adapters, .n_adapters = n}, e);
}

/* All parameters of both, after what adapters did; how many of them they changed. */
static size_t same_weights(const model *a, const model *b, const char *what)
{
    size_t changed = 0;
    assert_int_equal(a->params.n, b->params.n);
    for (size_t i = 0; i < a->params.n; i++) {
        const param *p = &a->params.list[i], *q = &b->params.list[i];
        int64_t n = file_tensor_count(p->file);
        float *x = malloc((size_t)n * sizeof *x), *y = malloc((size_t)n * sizeof *y);
        assert_string_equal(p->name, q->name);
        file_tensor_read(p->file, 0, n, x);
        file_tensor_read(q->file, 0, n, y);
        for (int64_t k = 0; k < n; k++)
            if (!(fabsf(x[k] - y[k]) <= 1e-6f + 1e-5f * fabsf(y[k])))
                fail_msg("%s: %s[%d] is %g, not %g", what, p->name, (int)k, (double)x[k], (double)y[k]);
        changed += p->file == &p->replaced;
        free(x);
        free(y);
    }
    return changed;
}

static void check_same(const char *plain, const char *inside, const char *adapters, const char *what)
{
    err e = {0};
    model *m = open_with(plain, &(limn_adapter){adapters, 1}, 1, &e), *n;
    good(m != NULL, &e);
    assert_string_equal(said, "");
    n = open_with(inside, NULL, 0, &e);
    good(n != NULL, &e);
    size_t layers = 0;
    for (size_t i = 0; i < m->params.n; i++)
        layers += m->params.list[i].conv || m->params.list[i].linear;
    const size_t changed = same_weights(m, n, what);
    size_t others = 0; /* the autoencoder has none */
    for (size_t i = 0; i < m->params.n; i++)
        others += (m->params.list[i].conv || m->params.list[i].linear) && begins(m->params.list[i].name, "codec.");
    assert_int_equal(changed, layers - others);
    limn_model_free(&m);
    limn_model_free(&n);
}

static void every_layer_has_its_adapter(void **state)
{
    (void)state;
    static const char *const what[] = {"kohya", "PEFT", "processors", "old", "dots"};
    const char *plain = convert(FOLDER "sd15", "plain.gguf");
    for (layout how = KOHYA; how < LAYOUTS; how++) {
        const char *file = support_path(how == OLD ? "adapters.pt" : "adapters.safetensors");
        const char *folder = make_folder("sd15", how, file);
        check_same(plain, convert(folder, "inside.gguf"), file, what[how]);
    }
}

static void single_files_names_too(void **state)
{
    (void)state;
    const char *plain = convert(SINGLE, "single.gguf"), *file = support_path("adapters_single.safetensors");
    for (layout how = KOHYA; how < LAYOUTS; how += DOTS) {
        const char *inside = make_single(how, file);
        check_same(plain, convert(inside, "inside.gguf"), file, how ? "dots" : "underscores");
    }
}

static void transformers_of_several_blocks_too(void **state)
{
    (void)state;
    const char *plain = convert(link_all("deep"), "deep.gguf"), *file = support_path("adapters_deep.safetensors");
    check_same(plain, convert(make_folder("deep", KOHYA, file), "inside.gguf"), file, "deep");
}

/* ---- scales ----------------------------------------------------------------------------------------------------- */

static void scales_add_up(void **state)
{
    (void)state;
    err e = {0};
    const char *plain = support_path("single.gguf"), *file = support_path("adapters_single.safetensors");
    if (access(plain, F_OK) != 0)
        single_files_names_too(NULL);
    const limn_adapter whole = {file, 1}, halves[] = {{file, 0.75f}, {file, 0.25f}}, none = {file, 0};
    model *a = open_with(plain, &whole, 1, &e), *b;
    good(a != NULL, &e);
    b = open_with(plain, halves, 2, &e);
    good(b != NULL, &e);
    assert_true(same_weights(a, b, "two") > 0);
    limn_model_free(&a);
    a = open_with(plain, &none, 1, &e);
    good(a != NULL, &e);
    limn_model_free(&b);
    b = open_with(plain, NULL, 0, &e);
    assert_int_equal(same_weights(a, b, "none"), 0);
    limn_model_free(&a);
    limn_model_free(&b);
}

/* alpha / rank of a config beside the file, or in its metadata: 1.5. */
static void configs_tell_the_scale(void **state)
{
    (void)state;
    err e = {0};
    const char *plain = support_path("plain.gguf"), *folder = support_path("peft");
    if (access(plain, F_OK) != 0)
        convert(FOLDER "sd15", "plain.gguf");
    char path[600];
    saved_list s = {0};
    static const char layer[] = "base_model.model.down_blocks.0.attentions.0.proj_in", *const ends_[] = {
                                                                                           ".lora_A.weight",
                                                                                           ".lora_B.weight"};
    float values[2 * 16];
    for (int i = 0; i < 2 * 16; i++)
        values[i] = golden_number("PEFT", (uint32_t)i);
    for (int i = 0; i < 2; i++)
        saved_add(&s, layer, ends_[i], 2, i ? (int64_t[]){16, 2} : (int64_t[]){2, 16}, values);
    assert_int_equal(mkdir(folder, 0700), 0);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", folder);
    saved_write(path, &s);
    const char *bare = support_path("bare.safetensors");
    saved_write(bare, &s);
    saved_free(&s);
    FILE *f = fopen(subfolder(folder, "adapter_config.json"), "w");
    assert_non_null(f);
    fprintf(f, "{\"peft_type\": \"LORA\", \"r\": 2, \"lora_alpha\": 3}");
    fclose(f);
    const char *told = support_path("told.safetensors");
    json_t *header =
        json_pack("{s:{s:s}}", "__metadata__", "lora_adapter_metadata", "{\"unet.r\": 2, \"unet.lora_alpha\": 3}");
    float both[4 * 16];
    for (int i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "unet.down_blocks.0.attentions.0.proj_in%s", ends_[i]);
        json_object_set_new(header, path,
                            json_pack("{s:s, s:[ii], s:[ii]}", "dtype", "F32", "shape", i ? 16 : 2, i ? 2 : 16,
                                      "data_offsets", i * (int)sizeof values, (i + 1) * (int)sizeof values));
        memcpy(both + i * 2 * 16, values, sizeof values);
    }
    golden_write_safetensors(told, header, both, sizeof both);
    json_decref(header);
    model *want = open_with(plain, &(limn_adapter){bare, 1.5f}, 1, &e);
    good(want != NULL, &e);
    const char *const paths[] = {folder, told};
    for (size_t i = 0; i < COUNT(paths); i++) {
        model *m = open_with(plain, &(limn_adapter){paths[i], 1}, 1, &e);
        good(m != NULL, &e);
        assert_int_equal(same_weights(m, want, paths[i]), 1);
        limn_model_free(&m);
    }
    limn_model_free(&want);
}

/* ---- what is refused, or said ------------------------------------------------------------------------------------ */

#define TO_Q "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"

static saved_list one(const char *layer, int64_t out, int64_t rank, int64_t in)
{
    saved_list s = {0};
    saved_add(&s, layer, ".lora_down.weight", 2, (int64_t[]){rank, in}, NULL);
    saved_add(&s, layer, ".lora_up.weight", 2, (int64_t[]){out, rank}, NULL);
    return s;
}

static const char *save(saved_list *s)
{
    const char *path = support_path("some.safetensors");
    saved_write(path, s);
    saved_free(s);
    return path;
}

static void refused(const char *plain, saved_list *s, const char *part)
{
    err e = {0};
    model *m = open_with(plain, &(limn_adapter){save(s), 1}, 1, &e);
    refused_with(m != NULL, &e, part, part, NULL);
}

/* As transformers calls them from 5 on, and as ComfyUI writes them. */
static void text_layers_have_several_names(void **state)
{
    (void)state;
    static const char *const names[] = {"lora_te_text_model_encoder_layers_0_mlp_fc1",
                                        "lora_te_encoder_layers_0_mlp_fc1", "text_encoder.encoder.layers.0.mlp.fc1",
                                        "base_model.model.encoder.layers.0.mlp.fc1",
                                        "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"};
    const char *plain = support_path("plain.gguf");
    if (access(plain, F_OK) != 0)
        convert(FOLDER "sd15", "plain.gguf");
    err e = {0};
    model *m = open_with(plain, NULL, 0, &e), *want = NULL;
    good(m != NULL, &e);
    int64_t out = 0, in = 0;
    for (size_t i = 0; i < m->params.n; i++)
        if (!strcmp(m->params.list[i].name, "transformer.text.block.0.up.weight")) {
            out = m->params.list[i].shape[0];
            in = m->params.list[i].shape[1];
        }
    limn_model_free(&m);
    for (size_t i = 0; i < COUNT(names); i++) {
        saved_list s = one(names[i], out, RANK, in);
        m = open_with(plain, &(limn_adapter){save(&s), 1}, 1, &e);
        good(m != NULL, &e);
        assert_string_equal(said, "");
        want = want ? want : m;
        assert_int_equal(same_weights(m, want, names[i]), 1);
        if (m != want)
            limn_model_free(&m);
    }
    limn_model_free(&want);
}

static void others_are_refused(void **state)
{
    (void)state;
    const char *plain = support_path("plain.gguf");
    if (access(plain, F_OK) != 0)
        convert(FOLDER "sd15", "plain.gguf");
    err e = {0};
    model *m = open_with(plain, NULL, 0, &e);
    good(m != NULL, &e);
    int64_t c = 0;
    for (size_t i = 0; i < m->params.n; i++)
        if (!strcmp(m->params.list[i].name, "unet.down.0.transformer.0.q.weight"))
            c = m->params.list[i].shape[0];
    limn_model_free(&m);
    saved_list s = one("lora_unet_" TO_Q, c, 2, 3 * c); /* another width */
    refused(plain, &s, "the adapter is of another model");
    s = one("lora_unet_" TO_Q, 2 * c, 2, c);
    refused(plain, &s, "the adapter is of another model");
    s = one("lora_unet_double_blocks_0_img_attn_qkv", c, 2, c);
    refused(plain, &s, "is none of them");
    s = one("lora_te2_text_model_encoder_layers_0_mlp_fc1", c, 2, c);
    refused(plain, &s, "Stable Diffusion XL");
    s = one("lora_unet_" TO_Q, c, 2, c);
    saved_add(&s, "lora_unet_" TO_Q, ".alpha", 0, NULL, &(float){NAN});
    refused(plain, &s, "no number");
    s = one("lora_unet_" TO_Q, c, 2, c);
    saved_add(&s, "lora_unet_" TO_Q, ".alpha", 1, (int64_t[]){2}, NULL);
    refused(plain, &s, "it isn't one number");
    s = one("lora_unet_" TO_Q, c, 2, c);
    saved_add(&s, "lora_unet_" TO_Q, ".alpha", 0, NULL, &(float){3e38f});
    m = open_with(plain, &(limn_adapter){save(&s), 10}, 1, &e);
    refused_with(m != NULL, &e, "is no number", "is no number", NULL);
    s = (saved_list){0};
    saved_add(&s, "lora_unet_" TO_Q, ".lora_down.weight", 2, (int64_t[]){2, c}, NULL);
    refused(plain, &s, "its other half");
    float odd[512] = {0, NAN};
    assert_true(2 * c <= 512);
    s = (saved_list){0};
    saved_add(&s, "lora_unet_" TO_Q, ".lora_down.weight", 2, (int64_t[]){2, c}, odd);
    saved_add(&s, "lora_unet_" TO_Q, ".lora_up.weight", 2, (int64_t[]){c, 2}, NULL);
    refused(plain, &s, "values are no numbers");
    s = one("lora_unet_" TO_Q, c, 2, c);
    saved_add(&s, "lora_unet_" TO_Q, ".lora_B.bias", 1, (int64_t[]){c}, NULL);
    refused(plain, &s, "a bias, and limn adds");
    s = (saved_list){0};
    saved_add(&s, "lora_unet_" TO_Q, ".lora_down.weight", 2, (int64_t[]){2, c}, NULL);
    saved_add(&s, "lora_unet_" TO_Q, ".lora_up.weight", 2, (int64_t[]){c, 3}, NULL);
    refused(plain, &s, "no pair");
    s = (saved_list){0};
    saved_add(&s, "lora_unet_" TO_Q, ".hada_w1_a", 2, (int64_t[]){2, c}, NULL);
    refused(plain, &s, "LoHa");
    s = (saved_list){0};
    saved_add(&s, "", "some.weight", 2, (int64_t[]){2, c}, NULL);
    refused(plain, &s, "no adapters in it");
    s = one("lora_unet_down_blocks_0_resnets_0_conv1", c, 2, c); /* not of its kernel */
    refused(plain, &s, "the adapter is of another model");
    /* some of what it changes is there */
    s = one("lora_unet_" TO_Q, c, 2, c);
    saved_add(&s, "lora_unet_up_blocks_3_attentions_0_proj_out", ".lora_down.weight", 2, (int64_t[]){2, c}, NULL);
    saved_add(&s, "lora_unet_up_blocks_3_attentions_0_proj_out", ".lora_up.weight", 2, (int64_t[]){c, 2}, NULL);
    saved_add(&s, "lora_unet_down_blocks_9_x", ".lora_down.weight", 2, (int64_t[]){2, c}, NULL);
    saved_add(&s, "lora_unet_down_blocks_9_x", ".lora_up.weight", 2, (int64_t[]){c, 2}, NULL);
    saved_add(&s, "", "emb_params", 2, (int64_t[]){2, c}, NULL);
    m = open_with(plain, &(limn_adapter){save(&s), 1}, 1, &e);
    good(m != NULL, &e);
    has(said, "of the 3 layers that it adapts 1 aren't in");
    has(said, "emb_params");
    limn_model_free(&m);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {TEST(every_layer_has_its_adapter),
                                       TEST(single_files_names_too),
                                       TEST(transformers_of_several_blocks_too),
                                       TEST(scales_add_up),
                                       TEST(configs_tell_the_scale),
                                       TEST(text_layers_have_several_names),
                                       TEST(others_are_refused)};
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    dev = support_device();
    log_set_sink(keep, NULL);
    int failed = cmocka_run_group_tests_name("adapters of diffusion models", tests, NULL, NULL);
    device_free(dev);
    return failed;
}
