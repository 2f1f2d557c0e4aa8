/* Folders of diffusers: settings, text towers, tokenizers. */
#include "convert/diffusers.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/config_json.h"
#include "io/json_file.h"
#include "models/prompt.h"
#include "text/tokenizer.h"

enum { LAYERS_MOST = 1024, HEAD = 64 };

const import_row diffusers_text[DIFFUSERS_TEXT_ROWS] = {
    {"embedding.weight", {"text_model.embeddings.token_embedding.weight"}},
    {"position.weight", {"text_model.embeddings.position_embedding.weight"}},
    {"block.{i}.norm1.*", {"text_model.encoder.layers.{i}.layer_norm1.*"}},
    {"block.{i}.qkv.*",
     {"text_model.encoder.layers.{i}.self_attn.q_proj.*", "text_model.encoder.layers.{i}.self_attn.k_proj.*",
      "text_model.encoder.layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.out.*", {"text_model.encoder.layers.{i}.self_attn.out_proj.*"}},
    {"block.{i}.norm2.*", {"text_model.encoder.layers.{i}.layer_norm2.*"}},
    {"block.{i}.up.*", {"text_model.encoder.layers.{i}.mlp.fc1.*"}},
    {"block.{i}.down.*", {"text_model.encoder.layers.{i}.mlp.fc2.*"}},
    {"norm_after.*", {"text_model.final_layer_norm.*"}},
    {"projection.weight", {"text_projection.weight"}},
    {NULL, {"text_model.embeddings.position_ids"}},
    {NULL, {"text_model.encoder.layers.{i}."}, IMPORT_SAY}, /* behind the last one that config.json counts */
};

void diffusers_path(const import *im, const char *mark, const char *name, char path[DIFFUSERS_PATH])
{
    const char *file = im->from->files ? im->from->paths[0] : "";
    for (size_t i = 0; i < im->from->n; i++)
        if (!strcmp(im->from->tensors[i].own.name, mark))
            file = im->from->tensors[i].file;
    const char *slash = strrchr(file, '/');
    snprintf(path, DIFFUSERS_PATH, "%.*s%s%s", slash ? (int)(slash - file) : 1, slash ? file : ".", "/", name);
}

bool diffusers_json(const import *im, const char *mark, const char *name, json_t **root, err *e)
{
    char path[DIFFUSERS_PATH];
    *root = NULL;
    diffusers_path(im, mark, name, path);
    if (access(path, F_OK) != 0)
        return true;
    *root = json_file_load(path, 0, NULL, e);
    return *root;
}

/* Some files count fewer layers than there are weights of ("clip skip"): the others don't run. */
static int fewer_layers(const json_t *root, int layers)
{
    const int own = import_json_int(root, "num_hidden_layers", layers);
    if (own < layers)
        log_write(LOG_WARNING, "convert: config.json of the text encoder: %d of its %d layers run", own, layers);
    return own;
}

bool diffusers_read_text(import *im, const import_map *maps, const json_t *root, clip *c, err *e)
{
    const char *act = json_string_value(json_object_get(root, "hidden_act"));
    c->text.width = import_mapped_size(im, maps, 1, "transformer.text.embedding.weight");
    c->text.layers = import_mapped_count(im, maps, "transformer.text.block.{i}.up.weight", LAYERS_MOST);
    c->text.layers = fewer_layers(root, c->text.layers);
    c->text.mlp = import_mapped_size(im, maps, 0, "transformer.text.block.0.up.weight");
    c->text.heads = import_json_int(root, "num_attention_heads", c->text.width / HEAD);
    if (import_mapped_has(im, maps, "transformer.text.projection.weight"))
        c->dim = import_mapped_size(im, maps, 0, "transformer.text.projection.weight");
    c->text_length = import_mapped_size(im, maps, 0, "transformer.text.position.weight");
    c->vocabulary = import_mapped_size(im, maps, 0, "transformer.text.embedding.weight");
    c->start_id = c->vocabulary - 2;
    c->end_id = c->pad_id = c->vocabulary - 1;
    c->act = act && !strcmp(act, "gelu") ? ACT_GELU_ERF : ACT_QUICK_GELU;
    c->eps = (float)import_json_number(root, "layer_norm_eps", 1e-5);
    return !act || !strcmp(act, "gelu") || !strcmp(act, "quick_gelu") ||
           err_set(e, ERR_FAILED,
                   "config.json of the text encoder: \"hidden_act\": \"%.64s\", and CLIP's are gelu and quick_gelu",
                   act);
}

/* ---- tokenizer -------------------------------------------------------------------------------------------------- */

/* merges.txt, or tokenizer.json, which is all that transformers from 5 on writes */
static bool find_tokenizer(const import *im, const char *mark, char path[DIFFUSERS_PATH])
{
    static const char *const places[] = {"../tokenizer/merges.txt",     "tokenizer/merges.txt",     "merges.txt",
                                         "../tokenizer/tokenizer.json", "tokenizer/tokenizer.json", "tokenizer.json"};
    if (im->tokenizer) {
        snprintf(path, DIFFUSERS_PATH, "%.4000s/merges.txt", im->tokenizer);
        if (access(path, F_OK) != 0)
            snprintf(path, DIFFUSERS_PATH, "%.4000s/tokenizer.json", im->tokenizer);
        if (access(path, F_OK) != 0)
            snprintf(path, DIFFUSERS_PATH, "%.4000s", im->tokenizer);
        return true;
    }
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        diffusers_path(im, mark, places[i], path);
        if (access(path, F_OK) == 0)
            return true;
    }
    return false;
}

/* A file beside merges.txt. */
static bool json_beside(const char *merges, const char *name, json_t **root, err *e)
{
    const char *slash = strrchr(merges, '/');
    char folder[DIFFUSERS_PATH];
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - merges) : 1, slash ? merges : ".");
    return import_json_in(folder, name, root, e);
}

/* The id of a token, by the files beside merges.txt; -1: none tells. */
static bool find_id(const char *merges, const char *token, int64_t *id, err *e)
{
    json_t *ids = NULL;
    *id = -1;
    if (!json_beside(merges, "vocab.json", &ids, e))
        return false;
    const json_t *found = json_object_get(ids, token);
    if (!ids) { /* transformers from 5 on: all in one */
        if (!json_beside(merges, "tokenizer.json", &ids, e))
            return false;
        const json_t *added = json_object_get(ids, "added_tokens");
        found = json_object_get(json_object_get(json_object_get(ids, "model"), "vocab"), token);
        for (size_t i = 0; i < json_array_size(added); i++) {
            const json_t *own = json_array_get(added, i);
            const char *text = json_string_value(json_object_get(own, "content"));
            found = text && !strcmp(text, token) ? json_object_get(own, "id") : found;
        }
    }
    if (json_is_integer(found))
        *id = json_integer_value(found);
    json_decref(ids);
    return true;
}

/* The text of the token that fills rows; the end token where no file tells. */
static bool read_padding(const char *merges, clip *c, err *e)
{
    static const char *const files[] = {"special_tokens_map.json", "tokenizer_config.json"};
    int64_t id = -1;
    bool ok = true;
    char pad_text[64] = "";
    for (size_t i = 0; ok && id < 0 && i < sizeof files / sizeof *files; i++) {
        json_t *root = NULL;
        ok = json_beside(merges, files[i], &root, e);
        const json_t *pad = json_object_get(root, "pad_token");
        const char *text = json_string_value(json_is_object(pad) ? json_object_get(pad, "content") : pad);
        ok = ok && (!text || find_id(merges, text, &id, e));
        if (text)
            snprintf(pad_text, sizeof pad_text, "%s", text);
        json_decref(root);
    }
    if (ok && *pad_text && (id < 0 || id >= c->vocabulary))
        return err_set(e, ERR_FAILED, "%s: \"pad_token\": \"%s\" is no token of the vocabulary beside it", merges,
                       pad_text);
    if (id >= 0)
        c->pad_id = (int)id;
    return ok;
}

bool diffusers_put_tokenizer(import *im, const char *mark, clip *c, bool padding, err *e)
{
    char path[DIFFUSERS_PATH];
    size_t n;
    if (!find_tokenizer(im, mark, path)) {
        log_write(LOG_WARNING, "convert: without `tokenizer`, a folder with merges.txt or tokenizer.json, the model "
                               "reads token ids, no words");
        return true;
    }
    if (!tokenizer_import(im->to, tokenizer_clip.name, path, &n, e) || (padding && !read_padding(path, c, e)))
        return false;
    if (n != (size_t)c->vocabulary)
        return err_set(e, ERR_FAILED, "%s: %zu tokens, and the text encoder knows %d (give its own by `tokenizer`)",
                       path, n, c->vocabulary);
    tokenizer_clip_as_is(im->to);
    if (c->pad_id < c->start_id)
        tokenizer_clip_apart(im->to, c->pad_id);
    prompt_form_put(&(prompt_form){.begin_id = c->start_id, .ends = true, .end_id = c->end_id}, im->to);
    return true;
}
