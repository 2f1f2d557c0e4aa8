/* The family "clip": vision transformers of OpenAI's CLIP: its own files (TorchScript archives, or state dicts with
 * their names), HuggingFace's, and ruCLIP, which has OpenAI's names, config.json and bpe.model. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/names.h"
#include "io/image.h"
#include "io/json_file.h"
#include "models/clip.h"
#include "text/tokenizer.h"

#define OPENAI_CLASS      "visual.class_embedding"
#define HUGGINGFACE_CLASS "vision_model.embeddings.class_embedding"

enum { LAYERS_MOST = 1024, HEAD = 64, YTTM_BEGIN = 2, YTTM_END = 3 };

/* Where a naming has each tensor. */
typedef struct naming {
    const char *image_blocks, *text_blocks; /* prefixes, before a layer's number */
    const char *tokens, *class_token, *patches, *image_position, *text_position;
    const char *before, *image_after, *text_after; /* norms */
    const char *image_out, *text_out;              /* projections */
    bool out_transposed;                           /* these are [width, dim] */
    const char *norm1, *norm2, *out, *up, *down;   /* of a block; queries, keys and values differ more */
} naming;

static const naming openai = {.image_blocks = "visual.transformer.resblocks.",
                              .text_blocks = "transformer.resblocks.",
                              .tokens = "token_embedding.weight",
                              .class_token = OPENAI_CLASS,
                              .patches = "visual.conv1.weight",
                              .image_position = "visual.positional_embedding",
                              .text_position = "positional_embedding",
                              .before = "visual.ln_pre",
                              .image_after = "visual.ln_post",
                              .text_after = "ln_final",
                              .image_out = "visual.proj",
                              .text_out = "text_projection",
                              .out_transposed = true,
                              .norm1 = "ln_1",
                              .norm2 = "ln_2",
                              .out = "attn.out_proj",
                              .up = "mlp.c_fc",
                              .down = "mlp.c_proj"};

static const naming huggingface = {.image_blocks = "vision_model.encoder.layers.",
                                   .text_blocks = "text_model.encoder.layers.",
                                   .tokens = "text_model.embeddings.token_embedding.weight",
                                   .class_token = HUGGINGFACE_CLASS,
                                   .patches = "vision_model.embeddings.patch_embedding.weight",
                                   .image_position = "vision_model.embeddings.position_embedding.weight",
                                   .text_position = "text_model.embeddings.position_embedding.weight",
                                   .before = "vision_model.pre_layrnorm", /* as it is spelt there */
                                   .image_after = "vision_model.post_layernorm",
                                   .text_after = "text_model.final_layer_norm",
                                   .image_out = "visual_projection.weight",
                                   .text_out = "text_projection.weight",
                                   .norm1 = "layer_norm1",
                                   .norm2 = "layer_norm2",
                                   .out = "self_attn.out_proj",
                                   .up = "mlp.fc1",
                                   .down = "mlp.fc2"};

static bool recognise(const source *s)
{
    return source_has(s, OPENAI_CLASS) || source_has(s, HUGGINGFACE_CLASS);
}

/* ---- config.json ---- */

/* *root is NULL where there is none beside the file: that of the published sizes isn't needed. */
static bool read_config(const import *im, json_t **root, err *e)
{
    char path[4200];
    *root = NULL;
    snprintf(path, sizeof path, "%s/config.json", im->from->directory);
    if (access(path, F_OK) != 0)
        return true;
    *root = json_file_load(path, 0, NULL, e);
    return *root;
}

/* The whole number of that key; `otherwise` where there is none. */
static int integer(const json_t *root, const char *key, int otherwise)
{
    const json_t *v = json_object_get(root, key);
    json_int_t i = json_integer_value(v);
    return !json_is_integer(v) ? otherwise : i >= 0 && i < INT32_MAX ? (int)i : 0;
}

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

static bool read_tower(import *im, const naming *n, bool text, int heads, clip_tower *w, err *e)
{
    const char *blocks = text ? n->text_blocks : n->image_blocks;
    w->width = import_size(im, 1, "%s", text ? n->text_position : n->image_position);
    w->mlp = import_size(im, 0, "%s0.%s.weight", blocks, n->up);
    while (w->layers <= LAYERS_MOST && import_has(im, "%s%d.%s.weight", blocks, w->layers, n->up))
        w->layers++;
    w->heads = heads ? heads : w->width / HEAD;
    w->pooling = text ? CLIP_END : CLIP_CLASS;
    w->causal = text;
    w->norm_before = !text;
    w->norm_after = true;
    return im->error.code || w->heads > 0 ||
           err_set(e, ERR_FAILED, "convert: tensor %s: width %d is no heads of %d (config.json beside the file tells)",
                   text ? n->text_position : n->image_position, w->width, HEAD);
}

static bool read_sizes(import *im, const naming *n, const json_t *root, clip *c, err *e)
{
    const json_t *vision = json_object_get(root, "vision_config"), *text = json_object_get(root, "text_config");
    bool hf = n == &huggingface;
    *c = (clip){.dim = import_size(im, n->out_transposed, "%s", n->text_out),
                .patch = import_size(im, 2, "%s", n->patches),
                .mean = {0.48145466f, 0.4578275f, 0.40821073f},
                .std = {0.26862954f, 0.26130258f, 0.27577711f},
                .filter = IMAGE_BICUBIC,
                .text_length = import_size(im, 0, "%s", n->text_position),
                .vocabulary = import_size(im, 0, "%s", n->tokens),
                .act = ACT_QUICK_GELU,
                .eps = 1e-5f};
    c->image_size = root_of(import_size(im, 0, "%s", n->image_position) - 1) * c->patch;
    c->start_id = c->vocabulary - 2;
    c->end_id = c->vocabulary - 1;
    if (hf && !read_details(root, c, e))
        return false;
    three(root, "mean", c->mean); /* ruCLIP's */
    three(root, "std", c->std);
    int image_heads = hf ? integer(vision, "num_attention_heads", 0) : 0;
    int text_heads = hf ? integer(text, "num_attention_heads", 0) : integer(root, "transformer_heads", 0);
    return read_tower(im, n, false, image_heads, &c->image, e) && read_tower(im, n, true, text_heads, &c->text, e);
}

/* ---- tensors ---- */

/* Queries, keys and values: one tensor, or three. */
static void put_qkv(import *im, const param *p, const naming *n, const char *layer, const char *last)
{
    char names[3][200];
    if (n == &openai) {
        snprintf(names[0], sizeof names[0], "%sattn.in_proj_%s", layer, last);
        import_param(im, p, names[0], NULL);
        return;
    }
    for (int i = 0; i < 3; i++)
        snprintf(names[i], sizeof names[i], "%sself_attn.%c_proj.%s", layer, "qkv"[i], last);
    import_stack(im, p, (const char *const[]){names[0], names[1], names[2]}, 3);
}

/* clip.SIDE.block.I.PART.LAST */
static void put_block(import *im, const param *p, const naming *n, bool text, int i, const char *part)
{
    const struct {
        const char *ours, *theirs;
    } parts[] = {{"norm1.", n->norm1}, {"norm2.", n->norm2}, {"out.", n->out}, {"up.", n->up}, {"down.", n->down}};
    char layer[96], from[200];
    const char *last = strrchr(part, '.') + 1;
    snprintf(layer, sizeof layer, "%s%d.", text ? n->text_blocks : n->image_blocks, i);
    if (!strncmp(part, "qkv.", 4))
        put_qkv(im, p, n, layer, last);
    for (size_t k = 0; k < sizeof parts / sizeof *parts; k++)
        if (!strncmp(part, parts[k].ours, strlen(parts[k].ours))) {
            snprintf(from, sizeof from, "%s%s.%s", layer, parts[k].theirs, last);
            import_param(im, p, from, NULL);
        }
}

static void put_params(import *im, const param_table *params, const naming *n)
{
    static const int transposed[] = {1, 0};
    for (size_t i = 0; i < params->n; i++) {
        const param *p = &params->list[i];
        bool text = !strncmp(p->name, "clip.text.", 10);
        const char *name = p->name + strlen(text ? "clip.text." : "clip.image."), *last = strrchr(p->name, '.') + 1;
        char from[96];
        int layer = 0, at = 0;
        if (sscanf(name, "block.%d.%n", &layer, &at) == 1 && at)
            put_block(im, p, n, text, layer, name + at);
        else if (!strcmp(p->name, "clip.log_scale"))
            import_shaped(im, p, "logit_scale", NULL);
        else if (!strcmp(name, "class_token"))
            import_param(im, p, n->class_token, NULL);
        else if (!strcmp(name, "patches.weight"))
            import_param(im, p, n->patches, import_conv_order);
        else if (!strcmp(name, "embedding.weight"))
            import_param(im, p, n->tokens, NULL);
        else if (!strcmp(name, "position.weight"))
            import_param(im, p, text ? n->text_position : n->image_position, NULL);
        else if (!strcmp(name, "projection.weight"))
            import_param(im, p, text ? n->text_out : n->image_out, n->out_transposed ? transposed : NULL);
        else { /* norm_before, norm_after */
            bool before = !strncmp(name, "norm_before.", 12);
            snprintf(from, sizeof from, "%s.%s", before ? n->before : text ? n->text_after : n->image_after, last);
            import_param(im, p, from, NULL);
        }
    }
}

/* Sizes and masks that are kept as tensors. */
static void skip_constants(import *im, int layers)
{
    static const char *const constants[] = {"input_resolution", "context_length", "vocab_size",
                                            "text_model.embeddings.position_ids",
                                            "vision_model.embeddings.position_ids"};
    char mask[96];
    for (size_t i = 0; i < sizeof constants / sizeof *constants; i++)
        import_skip(im, constants[i]);
    for (int i = 0; i < layers; i++) {
        snprintf(mask, sizeof mask, "%s%d.attn_mask", openai.text_blocks, i);
        import_skip(im, mask);
    }
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
        log_write(LOG_WARNING, "convert: without --tokenizer %s the model reads token ids, no words",
                  yttm ? "bpe.model" : "bpe_simple_vocab_16e6.txt.gz, or merges.txt,");
        return true;
    }
    if (!tokenizer_import(im->to, yttm ? tokenizer_yttm.name : tokenizer_clip.name, path, &n, e))
        return false;
    return (yttm ? n <= (size_t)c->vocabulary : n == (size_t)c->vocabulary) ||
           err_set(e, ERR_FAILED,
                   "%s: %zu tokens, and the CLIP's vocabulary has %d (it had another tokenizer: give that by "
                   "--tokenizer)",
                   path, n, c->vocabulary);
}

static bool put_all(import *im, const naming *n, const json_t *root, err *e)
{
    clip c = {0};
    param_table params = {0};
    bool ok = read_sizes(im, n, root, &c, e) && !im->error.code && put_tokenizer(im, root, &c, e) &&
              clip_prepare(&c, "convert", e);
    if (ok) {
        clip_declare(&c, &params);
        clip_put(&c, im->to);
        put_params(im, &params, n);
        skip_constants(im, c.text.layers);
        import_put_settings(im, NULL, 0);
    }
    if (im->error.code)
        ok = err_set(e, im->error.code, "%s", im->error.text);
    else if (params.error.code)
        ok = err_set(e, params.error.code, "%s", params.error.text);
    params_release(&params);
    clip_release(&c);
    return ok;
}

static bool convert(import *im, err *e)
{
    json_t *root = NULL;
    gguf_put_string(im->to, "general.architecture", "limn");
    bool ok =
        read_config(im, &root, e) && put_all(im, source_has(im->from, OPENAI_CLASS) ? &openai : &huggingface, root, e);
    json_decref(root);
    return ok;
}

const family family_clip = {"clip", recognise, convert, NETWORK_OPENAI_CLIP | NETWORK_HUGGINGFACE_CLIP};
