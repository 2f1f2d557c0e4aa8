/* The family "clip": vision transformers of OpenAI's CLIP: its own files (TorchScript archives, or state dicts with
 * their names), HuggingFace's, and ruCLIP, which has OpenAI's names, config.json and bpe.model. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/config_json.h"
#include "convert/mapping.h"
#include "convert/names.h"
#include "io/image.h"
#include "models/transformers/clip.h"
#include "text/tokenizer.h"

#define OPENAI_CLASS      "visual.class_embedding"
#define HUGGINGFACE_CLASS "vision_model.embeddings.class_embedding"

enum { LAYERS_MOST = 1024, HEAD = 64, YTTM_BEGIN = 2, YTTM_END = 3 };

/* A tower of OpenAI's, behind "visual." or nothing. */
static const import_row openai_tower[] = {
    {"block.{i}.norm1.*", {"transformer.resblocks.{i}.ln_1.*"}},
    {"block.{i}.qkv.*", {"transformer.resblocks.{i}.attn.in_proj_*"}},
    {"block.{i}.out.*", {"transformer.resblocks.{i}.attn.out_proj.*"}},
    {"block.{i}.norm2.*", {"transformer.resblocks.{i}.ln_2.*"}},
    {"block.{i}.up.*", {"transformer.resblocks.{i}.mlp.c_fc.*"}},
    {"block.{i}.down.*", {"transformer.resblocks.{i}.mlp.c_proj.*"}},
    {"position.weight", {"positional_embedding"}},
};
static const import_row openai_rest[] = {
    {"image.class_token", {OPENAI_CLASS}},
    {"image.patches.weight", {"visual.conv1.weight"}},
    {"image.norm_before.*", {"visual.ln_pre.*"}},
    {"image.norm_after.*", {"visual.ln_post.*"}},
    {"image.projection.weight", {"visual.proj"}, IMPORT_TRANSPOSED},
    {"text.embedding.weight", {"token_embedding.weight"}},
    {"text.norm_after.*", {"ln_final.*"}},
    {"text.projection.weight", {"text_projection"}, IMPORT_TRANSPOSED},
    {"log_scale", {"logit_scale"}, IMPORT_SHAPED},
    {NULL, {"input_resolution", "context_length", "vocab_size", "transformer.resblocks.{i}.attn_mask"}},
};
static const import_map openai[] = {{"clip.image.", "visual.", IMPORT_ROWS(openai_tower)},
                                    {"clip.text.", "", IMPORT_ROWS(openai_tower)},
                                    {"clip.", "", IMPORT_ROWS(openai_rest)},
                                    {0}};

/* One of HuggingFace's, behind "vision_model." or "text_model.". */
static const import_row huggingface_tower[] = {
    {"block.{i}.norm1.*", {"encoder.layers.{i}.layer_norm1.*"}},
    {"block.{i}.qkv.*",
     {"encoder.layers.{i}.self_attn.q_proj.*", "encoder.layers.{i}.self_attn.k_proj.*",
      "encoder.layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.out.*", {"encoder.layers.{i}.self_attn.out_proj.*"}},
    {"block.{i}.norm2.*", {"encoder.layers.{i}.layer_norm2.*"}},
    {"block.{i}.up.*", {"encoder.layers.{i}.mlp.fc1.*"}},
    {"block.{i}.down.*", {"encoder.layers.{i}.mlp.fc2.*"}},
    {"position.weight", {"embeddings.position_embedding.weight"}},
    {NULL, {"embeddings.position_ids"}},
};
static const import_row huggingface_rest[] = {
    {"image.class_token", {HUGGINGFACE_CLASS}},
    {"image.patches.weight", {"vision_model.embeddings.patch_embedding.weight"}},
    {"image.norm_before.*", {"vision_model.pre_layrnorm.*"}}, /* as it is spelt there */
    {"image.norm_after.*", {"vision_model.post_layernorm.*"}},
    {"image.projection.weight", {"visual_projection.weight"}},
    {"text.embedding.weight", {"text_model.embeddings.token_embedding.weight"}},
    {"text.norm_after.*", {"text_model.final_layer_norm.*"}},
    {"text.projection.weight", {"text_projection.weight"}},
    {"log_scale", {"logit_scale"}, IMPORT_SHAPED},
};
static const import_map huggingface[] = {{"clip.image.", "vision_model.", IMPORT_ROWS(huggingface_tower)},
                                         {"clip.text.", "text_model.", IMPORT_ROWS(huggingface_tower)},
                                         {"clip.", "", IMPORT_ROWS(huggingface_rest)},
                                         {0}};

static bool recognise(const source *s)
{
    return source_has(s, OPENAI_CLASS) || source_has(s, HUGGINGFACE_CLASS);
}

/* ---- config.json ---- */

/* Three numbers of that key, which stay where there are none. */
static void three(const json_t *root, const char *key, float v[3])
{
    const json_t *list = json_object_get(root, key);
    for (size_t i = 0; json_array_size(list) == 3 && i < 3; i++)
        v[i] = (float)json_number_value(json_array_get(list, i));
}

/* HuggingFace's activation and epsilon, one for both towers. */
static bool read_details(const json_t *root, clip *c, err *e)
{
    static const char *const sides[] = {"text_config", "vision_config"};
    activation act[2] = {ACT_QUICK_GELU, ACT_QUICK_GELU};
    double eps[2] = {1e-5, 1e-5};
    for (int i = 0; i < 2; i++) {
        const json_t *side = json_object_get(root, sides[i]), *epsilon = json_object_get(side, "layer_norm_eps");
        const char *name = json_string_value(json_object_get(side, "hidden_act"));
        if (name && strcmp(name, "gelu") != 0 && strcmp(name, "quick_gelu") != 0)
            return err_set(e, ERR_FAILED, "config.json: \"hidden_act\": \"%.64s\", and CLIP's are gelu and quick_gelu",
                           name);
        if (name && !strcmp(name, "gelu"))
            act[i] = ACT_GELU_ERF;
        if (json_is_number(epsilon))
            eps[i] = json_number_value(epsilon);
    }
    c->act = act[0];
    c->eps = (float)eps[0];
    return (act[0] == act[1] && eps[0] == eps[1]) ||
           err_set(e, ERR_FAILED, "config.json: \"hidden_act\" or \"layer_norm_eps\" differ between text and vision");
}

/* ---- sizes ---- */

static int root_of(int n)
{
    return n > 0 ? (int)lround(sqrt(n)) : 0;
}

static bool read_tower(import *im, const import_map *maps, bool text, int heads, clip_tower *w, err *e)
{
    const char *side = text ? "text" : "image";
    char up[64], position[64], name[IMPORT_NAME];
    snprintf(up, sizeof up, "clip.%s.block.{i}.up.weight", side);
    snprintf(position, sizeof position, "clip.%s.position.weight", side);
    w->width = import_mapped_size(im, maps, 1, "%s", position);
    w->mlp = import_mapped_size(im, maps, 0, "clip.%s.block.0.up.weight", side);
    w->layers = import_mapped_count(im, maps, up, LAYERS_MOST);
    w->heads = heads ? heads : w->width / HEAD;
    w->pooling = text ? CLIP_END : CLIP_CLASS;
    w->causal = text;
    w->norm_before = !text;
    w->norm_after = true;
    import_their_name(maps, position, name);
    return w->heads > 0 ||
           err_set(e, ERR_FAILED, "convert: tensor %s: width %d is no heads of %d (config.json beside the file tells)",
                   name, w->width, HEAD);
}

static bool read_sizes(import *im, const import_map *maps, const json_t *root, clip *c, err *e)
{
    const json_t *vision = json_object_get(root, "vision_config"), *text = json_object_get(root, "text_config");
    bool hf = maps == huggingface;
    *c = (clip){.dim = import_mapped_size(im, maps, !hf, "clip.text.projection.weight"),
                .patch = import_mapped_size(im, maps, 2, "clip.image.patches.weight"),
                .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                .std = {0.26862954f, 0.26130258f, 0.27577711f},
                .filter = IMAGE_BICUBIC,
                .text_length = import_mapped_size(im, maps, 0, "clip.text.position.weight"),
                .vocabulary = import_mapped_size(im, maps, 0, "clip.text.embedding.weight"),
                .act = ACT_QUICK_GELU,
                .eps = 1e-5f};
    c->image_size = root_of(import_mapped_size(im, maps, 0, "clip.image.position.weight") - 1) * c->patch;
    c->start_id = c->vocabulary - 2;
    c->end_id = c->vocabulary - 1;
    if (hf && !read_details(root, c, e))
        return false;
    three(root, "mean", c->mean); /* ruCLIP's */
    three(root, "std", c->std);
    int image_heads = hf ? import_json_int(vision, "num_attention_heads", 0) : 0;
    int text_heads =
        hf ? import_json_int(text, "num_attention_heads", 0) : import_json_int(root, "transformer_heads", 0);
    return read_tower(im, maps, false, image_heads, &c->image, e) &&
           read_tower(im, maps, true, text_heads, &c->text, e) && !im->error.code;
}

/* ---- tokenizer ---- */

/* The one that --tokenizer names, or that lies in its folder, or in that of the first file; false where there is none.
 */
static bool find_tokenizer(const import *im, bool ru, char path[4200])
{
    static const char *const names[] = {"bpe.model", "merges.txt", "bpe_simple_vocab_16e6.txt.gz",
                                        "bpe_simple_vocab_16e6.txt"};
    const char *folder = im->tokenizer ? im->tokenizer : im->from->directory;
    /* ruDALL-E's lies beside other models too */
    for (size_t i = im->tokenizer || ru ? 0 : 1; i < sizeof names / sizeof *names; i++) {
        snprintf(path, 4200, "%s/%s", folder, names[i]);
        if (access(path, F_OK) == 0)
            return true;
    }
    snprintf(path, 4200, "%s", folder);
    return im->tokenizer;
}

/* YouTokenToMe's models begin with a number; CLIP's merges with their version, or as gzip files do. */
static bool is_yttm(const char *path)
{
    FILE *f = fopen(path, "rb");
    int first = f ? fgetc(f) : EOF;
    if (f)
        fclose(f);
    return first >= '0' && first <= '9';
}

/* Its kind tells the ids of start and end. */
static bool put_tokenizer(import *im, const json_t *root, clip *c, err *e)
{
    char path[4200];
    bool ru = json_object_get(root, "transformer_width") != NULL, found = find_tokenizer(im, ru, path);
    bool yttm = found ? is_yttm(path) : ru;
    size_t n;
    if (yttm) {
        c->start_id = YTTM_BEGIN;
        c->end_id = YTTM_END;
        c->filter = IMAGE_BILINEAR;
    }
    if (!found) {
        log_write(LOG_WARNING, "convert: without `tokenizer` %s the model reads token ids, no words",
                  yttm ? "bpe.model" : "bpe_simple_vocab_16e6.txt.gz, or merges.txt,");
        return true;
    }
    if (!tokenizer_import(im->to, yttm ? tokenizer_yttm.name : tokenizer_clip.name, path, &n, e))
        return false;
    return (yttm ? n <= (size_t)c->vocabulary : n == (size_t)c->vocabulary) ||
           err_set(e, ERR_FAILED,
                   "%s: %zu tokens, and the CLIP's vocabulary has %d (it had another tokenizer: give that by "
                   "`tokenizer`)",
                   path, n, c->vocabulary);
}

static bool put_all(import *im, const import_map *maps, const json_t *root, err *e)
{
    clip c = {0};
    param_table params = {0};
    bool ok = read_sizes(im, maps, root, &c, e) && put_tokenizer(im, root, &c, e) && clip_prepare(&c, "convert", e);
    if (ok) {
        clip_declare(&c, &params);
        clip_put(&c, im->to);
        import_tensors(im, maps, &params);
        import_put_settings(im, NULL, 0);
    }
    params_release(&params);
    clip_release(&c);
    return ok;
}

static bool convert(import *im, err *e)
{
    json_t *root = NULL;
    bool ok = import_json_beside(im, "config.json", &root, e) &&
              put_all(im, source_has(im->from, OPENAI_CLASS) ? openai : huggingface, root, e);
    json_decref(root);
    return ok;
}

const family family_clip = {
    .recognise = recognise, .run = convert, .networks = NETWORK_OPENAI_CLIP | NETWORK_HUGGINGFACE_CLIP};
