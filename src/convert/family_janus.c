/* The family "janus": DeepSeek's Janus-Pro and Janus (Wu et al. 2024, Chen et al. 2025): a folder as published, by its
 * authors or in the layout of HuggingFace's transformers.  A LLaMA that reads text and codes and predicts codes, and
 * LlamaGen's tokenizer of pictures.  What understands pictures is left out. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/fold.h"
#include "convert/gpt.h"
#include "convert/networks.h"
#include "io/json_file.h"
#include "models/prompt.h"
#include "text/bpe.h"

#define CODES "limn.codes" /* the table of codes, computed */

enum { TEXT_MOST = 4096 }; /* ids of a prompt */

/* The layouts differ in names alone. */
typedef struct layout {
    const char *llama, *embedding, *fc1, *fc2, *up, *head, *config;
} layout;
static const layout authors = {"language_model.model.",
                               "gen_embed.weight",
                               "gen_aligner.layers.0",
                               "gen_aligner.layers.2",
                               "gen_head.output_mlp_projector",
                               "gen_head.vision_head",
                               "language_config"},
                    transformers = {"language_model.",
                                    "generation_embeddings.weight",
                                    "generation_aligner.fc1",
                                    "generation_aligner.hidden_layers.0",
                                    "generation_head.proj_out",
                                    "generation_head.vision_head",
                                    "text_config"};

static const layout *layout_of(const source *s)
{
    return source_has(s, authors.embedding) ? &authors : source_has(s, transformers.embedding) ? &transformers : NULL;
}

static bool recognise(const source *s)
{
    return layout_of(s) != NULL;
}

static const import_row rows[] = {
    {"block.{i}.norm1.*", {"{llama}layers.{i}.input_layernorm.*"}},
    {"block.{i}.qkv.*",
     {"{llama}layers.{i}.self_attn.q_proj.*", "{keys}layers.{i}.self_attn.k_proj.*",
      "{keys}layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.out.*", {"{llama}layers.{i}.self_attn.o_proj.*"}},
    {"block.{i}.norm2.*", {"{llama}layers.{i}.post_attention_layernorm.*"}},
    {"block.{i}.gate.*", {"{llama}layers.{i}.mlp.gate_proj.*"}},
    {"block.{i}.up.*", {"{llama}layers.{i}.mlp.up_proj.*"}},
    {"block.{i}.down.*", {"{llama}layers.{i}.mlp.down_proj.*"}},
    {"text_embedding.weight", {"{llama}embed_tokens.weight"}},
    {"image_embedding.weight", {CODES}},
    {"frequencies", {"limn.frequencies"}},
    {"norm.*", {"{llama}norm.*"}},
    {"head_up.*", {"{up}.*"}},
    {"image_head.*", {"{head}.*"}},
    /* of understanding pictures, and of writing text */
    {NULL, {"vision_model.", "aligner.", "language_model.lm_head.", "lm_head."}},
};
static const import_row unused[] = {{NULL, {"gen_vision_model.quantize.codebook_used"}}};

/* ---- config.json ---- */

static json_t *read_json(const import *im, const char *name)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/%s", im->from->directory, name);
    return access(path, R_OK) == 0 ? json_file_load(path, 0, NULL, NULL) : NULL;
}

static double number(const json_t *root, const char *key, double otherwise)
{
    const json_t *v = json_object_get(root, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* What LLaMA's configuration says; keys that it lacks have the defaults of transformers' LlamaConfig. */
typedef struct settings {
    int heads, key_heads, grid;
    float base, eps;
} settings;

static settings read_settings(import *im, const layout *l, int dim)
{
    json_t *root = read_json(im, "config.json"), *processor = read_json(im, "processor_config.json");
    const json_t *llama = json_object_get(root, l->config);
    const json_t *rope = json_object_get(llama, "rope_parameters"), *vision = json_object_get(root, "vision_config");
    settings s = {.heads = (int)number(llama, "num_attention_heads", dim % 128 ? dim / 64 : dim / 128)};
    s.heads = import_setting(im, "heads", s.heads);
    s.key_heads = (int)number(llama, "num_key_value_heads", s.heads);
    s.base = (float)number(rope ? rope : llama, "rope_theta", 10000);
    s.eps = (float)number(llama, "rms_norm_eps", 1e-6);
    s.grid = import_gpt_side((int)number(processor, "num_image_tokens", number(vision, "num_image_tokens", 576)));
    json_decref(root);
    json_decref(processor);
    return s;
}

/* ---- parts ---- */

/* What turns queries and keys, and keys and values as many as queries. */
static bool make_tensors(import *im, const layout *l, const settings *s, int layers, int head_dim, err *e)
{
    float *frequencies = malloc((size_t)head_dim * sizeof *frequencies);
    if (!frequencies)
        return err_no_memory(e, "convert", (size_t)head_dim * sizeof *frequencies);
    gpt_frequencies(s->base, head_dim, frequencies);
    bool ok = source_make(im->from, "limn.frequencies", 1, (int64_t[]){head_dim / 2}, frequencies, e) &&
              import_fold_mlp(im, CODES, l->embedding, l->fc1, l->fc2, e);
    for (int i = 0; ok && s->key_heads < s->heads && i < 2 * layers; i++) {
        char from[160], to[192];
        snprintf(from, sizeof from, "%slayers.%d.self_attn.%c_proj.weight", l->llama, i / 2, i % 2 ? 'v' : 'k');
        snprintf(to, sizeof to, "limn.%s", from);
        ok = import_repeat_heads(im, to, from, head_dim, s->heads / s->key_heads, e);
    }
    return ok;
}

/* Whether prompts are of <|User|>, as Janus-Pro's.  Those of Janus-1.3B are of "User", and nothing in its files tells
 * that but how they are packed. */
static bool read_roles(import *im, const layout *l, const bpe *b, bool *pro, err *e)
{
    const char *roles = import_setting_text(im, "roles");
    bool safetensors = model_file_format(im->from->files[0]) == MODEL_SAFETENSORS;
    *pro = roles ? !strcmp(roles, "pro") : bpe_find(b, "<|User|>") >= 0 && (l == &transformers || !safetensors);
    if (roles && !*pro && strcmp(roles, "plain"))
        return err_set(e, ERR_USAGE, "convert: `settings` roles=%.64s: Janus's are pro and plain", roles);
    if (!roles && !*pro)
        log_write(
            LOG_WARNING,
            "convert: prompts begin with \"User: \", as those of Janus-1.3B, of which there are safetensors alone "
            "(for Janus-Pro: `settings` roles=pro)");
    return true;
}

/* The tokenizer, and what stands around prompts. */
static bool put_text(import *im, const layout *l, gpt *d, err *e)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/tokenizer.json", im->tokenizer ? im->tokenizer : im->from->directory);
    if (!im->tokenizer && access(path, R_OK) != 0) {
        log_write(LOG_WARNING,
                  "convert: without `tokenizer`, the folder of tokenizer.json, the model reads token ids, no words");
        return true;
    }
    bpe *b = bpe_from_json(im->tokenizer && access(path, R_OK) != 0 ? im->tokenizer : path, e);
    if (!b)
        return false;
    bool pro = false;
    int begin = bpe_find(b, "<｜begin▁of▁sentence｜>"), pad = bpe_find(b, "<｜▁pad▁｜>");
    bool ok = read_roles(im, l, b, &pro, e), known = begin >= 0 && pad >= 0 && bpe_find(b, "<begin_of_image>") >= 0;
    if (ok && known) {
        bpe_put(b, im->to);
        prompt_form_put(pro ? &(prompt_form){"<|User|>: ", "\n\n<|Assistant|>:<begin_of_image>", begin}
                            : &(prompt_form){"User: ", "\n\nAssistant:<begin_of_image>", begin},
                        im->to);
        d->pad_id = pad;
    } else if (ok) {
        ok = err_set(e, ERR_FAILED, "%s: it has no tokens for beginning, padding and <begin_of_image>: not Janus's",
                     path);
    }
    bpe_free(b);
    return ok;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "guidance=5"};
    const layout *l = layout_of(im->from);
    char vqgan[64] = "";
    if (!l)
        return err_set(e, ERR_FAILED,
                       "convert: tensor gen_embed.weight is missing (are all files of the model given?)");
    import_vqgan_prefix(im->from, vqgan);
    import_map maps[] = {
        {"transformer.",
         "",
         IMPORT_ROWS(rows),
         {{"llama", .text = l->llama}, {"keys", .text = l->llama}, {"up", .text = l->up}, {"head", .text = l->head}}},
        {"codec.", "", IMPORT_ROWS(unused)},
        {0}};
    int dim = import_size(im, 0, "%snorm.weight", l->llama);
    settings s = read_settings(im, l, dim);
    gpt d = {.base.layers = import_gpt_layers(im, maps),
             .base.dim = dim,
             .base.heads = s.heads,
             .base.codes = import_size(im, 0, "%s", l->embedding),
             .base.vocabulary = import_size(im, 0, "%sembed_tokens.weight", l->llama),
             .base.text_length = TEXT_MOST,
             .base.own_lengths = true,
             .base.grid_width = s.grid,
             .base.grid_height = s.grid,
             .mlp = import_size(im, 0, "%slayers.0.mlp.gate_proj.weight", l->llama),
             .grid = GPT_GRID_NONE,
             .rms = true,
             .gated = true,
             .rotary = true,
             .deep_head = true,
             .head_bias = true,
             .act = ACT_SILU,
             .eps = s.eps};
    if (im->error.code)
        return false;
    if (s.heads < 1 || s.key_heads < 1 || dim % s.heads || s.heads % s.key_heads)
        return err_set(e, ERR_FAILED, "convert: config.json: %d heads, %d of keys, and a width of %d", s.heads,
                       s.key_heads, dim);
    char keys[64];
    snprintf(keys, sizeof keys, "%s%s", s.key_heads < s.heads ? "limn." : "", l->llama);
    maps[0].values[1].text = keys;
    bool ok = put_text(im, l, &d, e) && make_tensors(im, l, &s, d.base.layers, dim / s.heads, e) &&
              import_gpt(im, &d, maps, e);
    if (ok && *vqgan)
        ok = import_vqgan(im, vqgan, s.grid, e);
    if (ok)
        import_put_settings(im, defaults, 2);
    return ok;
}

static const import_setting_kind setting_kinds[] = {{"roles", SETTING_TEXT}, {NULL}};

const family family_janus = {.recognise = recognise,
                             .settings = setting_kinds,
                             .run = convert,
                             .networks = NETWORK_JANUS | NETWORK_TRANSFORMERS_JANUS | NETWORK_VQGAN};
