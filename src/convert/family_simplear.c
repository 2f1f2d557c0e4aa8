/* The family "simplear": SimpleAR (Wang et al. 2025), a Qwen2 that reads text and codes in one vocabulary, with
 * NVIDIA's Cosmos tokenizer: a folder as published, with the tokenizer's decoder.jit in it or beside. */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/fold.h"
#include "convert/gpt.h"
#include "convert/networks.h"
#include "io/json_file.h"
#include "models/prompt.h"
#include "text/bpe.h"

enum { TEXT_MOST = 4096 }; /* ids of a prompt */

static bool recognise(const source *s)
{
    return source_has(s, "layers.0.self_attn.q_proj.bias") && source_has(s, "layers.0.mlp.gate_proj.weight");
}

static const import_row rows[] = {
    {"block.{i}.norm1.*", {"layers.{i}.input_layernorm.*"}},
    {"block.{i}.qkv.*",
     {"layers.{i}.self_attn.q_proj.*", "{keys}layers.{i}.self_attn.k_proj.*", "{keys}layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.out.*", {"layers.{i}.self_attn.o_proj.*"}},
    {"block.{i}.norm2.*", {"layers.{i}.post_attention_layernorm.*"}},
    {"block.{i}.gate.*", {"layers.{i}.mlp.gate_proj.*"}},
    {"block.{i}.up.*", {"layers.{i}.mlp.up_proj.*"}},
    {"block.{i}.down.*", {"layers.{i}.mlp.down_proj.*"}},
    {"text_embedding.weight", {"embed_tokens.weight"}, .first = "0"},
    {"image_embedding.weight", {"embed_tokens.weight"}, .first = "text"},
    {"frequencies", {"limn.frequencies"}},
    {"norm.*", {"norm.*"}},
    {"image_head.weight", {"{head}"}, .first = "text"},
    {NULL, {"lm_head."}},
};

static double number(const json_t *root, const char *key, double otherwise)
{
    const json_t *v = json_object_get(root, key);
    return json_is_number(v) ? json_number_value(v) : otherwise;
}

/* What turns queries and keys, and keys and values as many as queries. */
static bool make_tensors(import *im, float base, int layers, int head_dim, int times, err *e)
{
    static const char *const parts[] = {"k_proj.weight", "k_proj.bias", "v_proj.weight", "v_proj.bias"};
    float *frequencies = malloc((size_t)head_dim * sizeof *frequencies);
    if (!frequencies)
        return err_no_memory(e, "convert", (size_t)head_dim * sizeof *frequencies);
    gpt_frequencies(base, head_dim, frequencies);
    bool ok = source_make(im->from, "limn.frequencies", 1, (int64_t[]){head_dim / 2}, frequencies, e);
    for (int i = 0; ok && times > 1 && i < 4 * layers; i++) {
        char from[96], to[128];
        snprintf(from, sizeof from, "layers.%d.self_attn.%s", i / 4, parts[i % 4]);
        snprintf(to, sizeof to, "limn.%s", from);
        ok = import_repeat_heads(im, to, from, head_dim, times, e);
    }
    return ok;
}

/* The tokenizer, and what stands around prompts. */
static bool put_text(import *im, err *e)
{
    static const prompt_form form = {
        "<|t2i|>A highly realistic image of ",
        "<|soi|>",
        -1,
        "<|t2i|>An image of ",
        "<|soi|>",
        "aerial view, overexposed, low quality, deformation, a poor composition, bad hands, "
        "bad teeth, bad eyes, bad limbs, distortion",
        "<|t2i|><|soi|>"};
    char path[4200];
    snprintf(path, sizeof path, "%s/tokenizer.json", im->tokenizer ? im->tokenizer : im->from->directory);
    if (access(path, R_OK) != 0 && im->tokenizer)
        snprintf(path, sizeof path, "%s", im->tokenizer);
    if (access(path, R_OK) != 0) {
        log_write(LOG_WARNING,
                  "convert: without `tokenizer`, the folder of tokenizer.json, the model reads token ids, no words");
        return true;
    }
    bpe *b = bpe_from_json(path, e);
    if (!b)
        return false;
    bool ok = bpe_find(b, "<|t2i|>") >= 0 && bpe_find(b, "<|soi|>") >= 0;
    if (ok) {
        bpe_put(b, im->to);
        prompt_form_put(&form, im->to);
    } else {
        err_set(e, ERR_FAILED, "%s: it has no tokens <|t2i|> and <|soi|>: not SimpleAR's", path);
    }
    bpe_free(b);
    return ok;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"temperature=1", "guidance=6"};
    char path[4200];
    int grid = 0;
    if (!import_has_cosmos(im->from))
        return err_set(e, ERR_FAILED,
                       "convert: SimpleAR's codes are of NVIDIA's Cosmos tokenizer, which isn't there (give "
                       "its decoder.jit too)");
    snprintf(path, sizeof path, "%s/config.json", im->from->directory);
    json_t *root = access(path, R_OK) == 0 ? json_file_load(path, 0, NULL, NULL) : NULL;
    int dim = import_size(im, 0, "norm.weight"), codes = import_size(im, 0, "inv_quant.quantizer.implicit_codebook");
    int all = import_size(im, 0, "embed_tokens.weight");
    int heads = import_setting(im, "heads", (int)number(root, "num_attention_heads", dim % 128 ? dim / 64 : dim / 128));
    int head_dim = heads > 0 && dim % heads == 0 ? dim / heads : 0;
    int key_width = import_size(im, 0, "layers.0.self_attn.k_proj.weight");
    import_map maps[] = {
        {"transformer.",
         "",
         IMPORT_ROWS(rows),
         {{"text", .number = all - codes},
          {"keys", .text = key_width < dim ? "limn." : ""},
          {"head", .text = source_has(im->from, "lm_head.weight") ? "lm_head.weight" : "embed_tokens.weight"}}},
        {0}};
    gpt d = {.base.layers = import_gpt_layers(im, maps),
             .base.dim = dim,
             .base.heads = heads,
             .base.codes = codes,
             .base.vocabulary = all - codes,
             .base.text_length = TEXT_MOST,
             .base.own_lengths = true,
             .mlp = import_size(im, 0, "layers.0.mlp.gate_proj.weight"),
             .grid = GPT_GRID_NONE,
             .rms = true,
             .gated = true,
             .rotary = true,
             .qkv_bias = true,
             .act = ACT_SILU,
             .eps = (float)number(root, "rms_norm_eps", 1e-6)};
    float base = (float)number(root, "rope_theta", 1e6);
    json_decref(root);
    if (im->error.code)
        return false;
    if (!head_dim || key_width < head_dim || key_width % head_dim || dim % key_width || all <= codes)
        return err_set(e, ERR_FAILED, "convert: %d heads of a width of %d, keys of %d, %d ids and codes, %d codes",
                       heads, dim, key_width, all, codes);
    bool ok = import_cosmos(im, &grid, e);
    d.base.grid_width = d.base.grid_height = grid;
    ok = ok && put_text(im, e) && make_tensors(im, base, d.base.layers, head_dim, dim / key_width, e) &&
         import_gpt(im, &d, maps, e);
    if (ok)
        import_put_settings(im, defaults, 2);
    return ok;
}

const family family_simplear = {
    .recognise = recognise, .run = convert, .networks = NETWORK_SIMPLEAR | NETWORK_COSMOS_DECODER};
