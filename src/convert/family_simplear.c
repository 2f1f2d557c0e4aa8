/* The family "simplear": SimpleAR (Wang et al. 2025), a Qwen2 that reads text and codes in one vocabulary, with
 * NVIDIA's Cosmos tokenizer: a folder as published, with the tokenizer's decoder.jit and encoder.jit,
 * or its autoencoder.jit, in it or beside. */
#include "convert/codecs.h"
#include "convert/llama.h"
#include "convert/networks.h"
#include "models/prompt.h"

enum { TEXT_MOST = 4096 }; /* ids of a prompt */

static bool recognise(const source *s)
{
    return source_has(s, "layers.0.self_attn.q_proj.bias") && source_has(s, "layers.0.mlp.gate_proj.weight");
}

static const import_row rows[] = {
    IMPORT_LLAMA_BLOCK,
    {"text_embedding.weight", {"embed_tokens.weight"}, .first = "0"},
    {"image_embedding.weight", {"embed_tokens.weight"}, .first = "text"},
    {"image_head.weight", {"{head}"}, .first = "text"},
    {NULL, {"lm_head."}},
};

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
    bpe *b;
    if (!import_llama_tokenizer(im, path, &b, e) || !b)
        return !e->code;
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
    static const int64_t sizes[] = {256, 256, 512, 512, 768, 768, 1024, 1024}; /* of its authors' generate.py */
    llama m = {.prefix = ""};
    json_t *root = NULL;
    int grid = 0;
    if (!import_has_cosmos(im->from))
        return err_set(e, ERR_FAILED,
                       "convert: SimpleAR's codes are of NVIDIA's Cosmos tokenizer, which isn't there (give its "
                       "decoder.jit too)");
    bool ok = source_stand_beside(im->from, "embed_tokens.weight", e) &&
              import_json_beside(im, "config.json", &root, e) && import_llama_read(im, &m, root, 1e6f, e);
    const json_t *ties = json_object_get(root, "tie_word_embeddings"); /* then a head in the file isn't read */
    bool tied = json_is_boolean(ties) ? json_is_true(ties) : !source_has(im->from, "lm_head.weight");
    json_decref(root);
    int codes = import_cosmos_codes(im), all = import_size(im, 0, "embed_tokens.weight");
    const import_map maps[] = {{"transformer.",
                                "",
                                IMPORT_ROWS(rows),
                                {{"text", .number = all - codes},
                                 {"llama", .text = ""},
                                 {"head", .text = tied ? "embed_tokens.weight" : "lm_head.weight"}}},
                               {0}};
    if (!ok || im->error.code)
        return false;
    if (all <= codes)
        return err_set(e, ERR_FAILED, "convert: tensor embed_tokens.weight: %d rows for %d codes and text", all, codes);
    gpt d = {.base.layers = import_gpt_layers(im, maps),
             .base.codes = codes,
             .base.vocabulary = all - codes,
             .base.text_length = TEXT_MOST,
             .tied = tied,
             .qkv_bias = true};
    import_llama_gpt(im, &m, &d);
    ok = import_cosmos(im, &grid, e);
    d.base.grid_width = d.base.grid_height = grid;
    ok = ok && put_text(im, e) && import_llama_frequencies(im, &m, e) && import_gpt(im, &d, maps, e);
    if (ok) {
        gguf_put_ints(im->to, "limn.image.sizes", sizes, sizeof sizes / sizeof *sizes);
        import_put_settings(im, defaults, 2);
    }
    return ok;
}

const family family_simplear = {.recognise = recognise,
                                .run = convert,
                                .networks = NETWORK_SIMPLEAR | NETWORK_COSMOS_DECODER | NETWORK_COSMOS_ENCODER};
