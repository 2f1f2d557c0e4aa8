/* The family "janus": DeepSeek's Janus-Pro and Janus (Wu et al. 2024, Chen et al. 2025): a folder as published, by its
 * authors or in the layout of HuggingFace's transformers.  A LLaMA that reads text and codes and predicts codes, and
 * LlamaGen's tokenizer of pictures.  What understands pictures is left out. */
#include <stdio.h>
#include <string.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/fold.h"
#include "convert/llama.h"
#include "convert/networks.h"
#include "models/prompt.h"

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
    IMPORT_LLAMA_BLOCK,
    {"text_embedding.weight", {"{llama}embed_tokens.weight"}},
    {"image_embedding.weight", {CODES}},
    {"head_up.*", {"{up}.*"}},
    {"image_head.*", {"{head}.*"}},
    /* of understanding pictures, and of writing text */
    {NULL, {"vision_model.", "aligner.", "language_model.lm_head.", "lm_head."}},
};
static const import_row unused[] = {{NULL, {"gen_vision_model.quantize.codebook_used"}}};

/* ---- config.json ---- */

/* And the side of the grid, of which a processor's file tells, or the vision model's configuration. */
static bool read_settings(import *im, const layout *l, llama *m, int *grid, err *e)
{
    json_t *root = NULL, *processor = NULL;
    bool ok = import_json_beside(im, "config.json", &root, e) &&
              import_json_beside(im, "processor_config.json", &processor, e);
    int cells = import_json_int(json_object_get(root, "vision_config"), "num_image_tokens", 576); /* as published */
    *grid = import_gpt_side(import_json_int(processor, "num_image_tokens", cells));
    m->prefix = l->llama;
    ok = ok && import_llama_read(im, m, json_object_get(root, l->config), 10000, e); /* LlamaConfig's default */
    json_decref(root);
    json_decref(processor);
    return ok;
}

/* ---- prompts ---- */

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
    bpe *b;
    if (!import_llama_tokenizer(im, path, &b, e) || !b)
        return !e->code;
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
    import_map maps[] = {{"transformer.",
                          "",
                          IMPORT_ROWS(rows),
                          {{"llama", .text = l->llama}, {"up", .text = l->up}, {"head", .text = l->head}}},
                         {"codec.", "", IMPORT_ROWS(unused)},
                         {0}};
    llama m = {0};
    int grid = 0;
    if (!read_settings(im, l, &m, &grid, e))
        return false;
    gpt d = {.base.layers = import_gpt_layers(im, maps),
             .base.codes = import_size(im, 0, "%s", l->embedding),
             .base.vocabulary = import_size(im, 0, "%sembed_tokens.weight", l->llama),
             .base.text_length = TEXT_MOST,
             .base.grid_width = grid,
             .base.grid_height = grid,
             .deep_head = true,
             .head_bias = true};
    import_llama_gpt(im, &m, &d);
    bool ok = !im->error.code && put_text(im, l, &d, e) && import_llama_frequencies(im, &m, e) &&
              import_fold_mlp(im, CODES, l->embedding, l->fc1, l->fc2, ACT_GELU_ERF, e) && import_gpt(im, &d, maps, e);
    if (ok && *vqgan)
        ok = import_vqgan(im, vqgan, grid, e);
    if (ok)
        import_put_settings(im, defaults, 2);
    return ok;
}

static const import_setting_kind setting_kinds[] = {{"roles", SETTING_TEXT}, {NULL}};

const family family_janus = {.recognise = recognise,
                             .settings = setting_kinds,
                             .run = convert,
                             .networks = NETWORK_JANUS | NETWORK_TRANSFORMERS_JANUS | NETWORK_VQGAN};
