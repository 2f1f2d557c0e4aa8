/* The family "unclip": Karlo, an unCLIP (Ramesh et al. 2022), in its diffusers folders: the text tower of a CLIP
 * (text_encoder/), the prior (prior/; not in the folder of image variations), what brings both to the decoder
 * (text_proj/), the decoder (decoder/), the two networks that enlarge pictures (super_res_first/, super_res_last/), for
 * variations CLIP's image tower (image_encoder/, feature_extractor/), tokenizer's files and schedulers' settings. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/config_json.h"
#include "convert/diffusers.h"
#include "convert/networks.h"
#include "models/transformers/unclip.h"

#define TOKENS  "text_model.embeddings.token_embedding.weight"
#define IMAGE   "vision_model.embeddings.class_embedding"
#define PRIOR   "prior.prd_embedding"
#define CONTEXT "text_proj.clip_extra_context_tokens_proj.weight"
#define DECODER "decoder.time_embedding.linear_1.weight"

enum { LAYERS_MOST = 1024, GROUPS = 32, HEAD = 64, DEFAULT_HEAD = 8, SIZE = 256, SMALL = 64, MAPS = 8 };

static const char *const supers[2] = {"super_res_first", "super_res_last"};

static bool recognise(const source *s)
{
    return source_has(s, DECODER) && source_has(s, CONTEXT);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

#define RESNET(ours, theirs)                                                                                           \
    UNET_RESNET_ROWS(ours, theirs, "norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut")
#define ATTENTION(ours, theirs)                                                                                        \
    {ours ".norm.*", {theirs ".group_norm.*"}}, {ours ".q.*", {theirs ".to_q.*"}},                                     \
        {ours ".own.*", {theirs ".to_k.*", theirs ".to_v.*"}},                                                         \
        {ours ".kv.*", {theirs ".add_k_proj.*", theirs ".add_v_proj.*"}},                                              \
    {                                                                                                                  \
        ours ".out.*",                                                                                                 \
        {                                                                                                              \
            theirs ".to_out.0.*"                                                                                       \
        }                                                                                                              \
    }

static const import_row unet_rows[] = {
    {"time.0.*", {"time_embedding.linear_1.*"}},
    {"time.1.*", {"time_embedding.linear_2.*"}},
    {"in.*", {"conv_in.*"}},
    {"norm_out.*", {"conv_norm_out.*"}},
    {"out.*", {"conv_out.*"}},
    RESNET("down.{i}.resnet.{j}", "down_blocks.{i}.resnets.{j}"),
    RESNET("down.{i}.sample", "down_blocks.{i}.downsamplers.0"),
    RESNET("mid.resnet.{j}", "mid_block.resnets.{j}"),
    RESNET("up.{i}.resnet.{j}", "up_blocks.{levels-1-i}.resnets.{j}"),
    RESNET("up.{i}.sample", "up_blocks.{levels-1-i}.upsamplers.0"),
    ATTENTION("down.{i}.transformer.{j}", "down_blocks.{i}.attentions.{j}"),
    ATTENTION("mid.transformer.{j}", "mid_block.attentions.{j}"),
    ATTENTION("up.{i}.transformer.{j}", "up_blocks.{levels-1-i}.attentions.{j}"),
};
static const import_row prior_rows[] = {
    {"position.weight", {"positional_embedding"}, IMPORT_SHAPED},
    {"token", {"prd_embedding"}, IMPORT_SHAPED},
    {"mean", {"clip_mean"}, IMPORT_SHAPED},
    {"deviation", {"clip_std"}, IMPORT_SHAPED},
    {"time.0.*", {"time_embedding.linear_1.*"}},
    {"time.1.*", {"time_embedding.linear_2.*"}},
    {"from_states.*", {"encoder_hidden_states_proj.*"}},
    {"from_text.*", {"embedding_proj.*"}},
    {"in.*", {"proj_in.*"}},
    {"block.{i}.norm1.*", {"transformer_blocks.{i}.norm1.*"}},
    {"block.{i}.qkv.*",
     {"transformer_blocks.{i}.attn1.to_q.*", "transformer_blocks.{i}.attn1.to_k.*",
      "transformer_blocks.{i}.attn1.to_v.*"}},
    {"block.{i}.out.*", {"transformer_blocks.{i}.attn1.to_out.0.*"}},
    {"block.{i}.norm2.*", {"transformer_blocks.{i}.norm3.*"}}, /* the second norm of two, as it is called there */
    {"block.{i}.up.*", {"transformer_blocks.{i}.ff.net.0.proj.*"}},
    {"block.{i}.down.*", {"transformer_blocks.{i}.ff.net.2.*"}},
    {"norm_after.*", {"norm_out.*"}},
    {"out.*", {"proj_to_clip_embeddings.*"}},
    {NULL, {"causal_attention_mask"}},
};
static const import_row context_rows[] = {
    {"none", {"learned_classifier_free_guidance_embeddings"}},
    {"text.*", {"embedding_proj.*"}},
    {"image.*", {"clip_image_embeddings_project_to_time_embeddings.*"}},
    {"extra.*", {"clip_extra_context_tokens_proj.*"}},
    {"states.*", {"encoder_hidden_states_proj.*"}},
    {"norm.*", {"text_encoder_hidden_states_norm.*"}},
};
static const import_row image_rows[] = {
    {"class_token", {"vision_model.embeddings.class_embedding"}},
    {"patches.weight", {"vision_model.embeddings.patch_embedding.weight"}},
    {"position.weight", {"vision_model.embeddings.position_embedding.weight"}},
    {"norm_before.*", {"vision_model.pre_layrnorm.*"}}, /* as it is spelt there */
    {"block.{i}.norm1.*", {"vision_model.encoder.layers.{i}.layer_norm1.*"}},
    {"block.{i}.qkv.*",
     {"vision_model.encoder.layers.{i}.self_attn.q_proj.*", "vision_model.encoder.layers.{i}.self_attn.k_proj.*",
      "vision_model.encoder.layers.{i}.self_attn.v_proj.*"}},
    {"block.{i}.out.*", {"vision_model.encoder.layers.{i}.self_attn.out_proj.*"}},
    {"block.{i}.norm2.*", {"vision_model.encoder.layers.{i}.layer_norm2.*"}},
    {"block.{i}.up.*", {"vision_model.encoder.layers.{i}.mlp.fc1.*"}},
    {"block.{i}.down.*", {"vision_model.encoder.layers.{i}.mlp.fc2.*"}},
    {"norm_after.*", {"vision_model.post_layernorm.*"}},
    {"projection.weight", {"visual_projection.weight"}},
    {NULL, {"vision_model.embeddings.position_ids"}},
};

static int count_levels(const import *im, const char *folder)
{
    int n = 0;
    while (n <= UNET_LEVELS && import_has(im, "%s.down_blocks.%d.resnets.0.norm1.weight", folder, n))
        n++;
    return n;
}

static void map_names(const import *im, import_map maps[MAPS])
{
    maps[0] = (import_map){"transformer.text.", "", diffusers_text, DIFFUSERS_TEXT_ROWS};
    maps[1] = (import_map){"transformer.image.", "", IMPORT_ROWS(image_rows)};
    maps[2] = (import_map){"transformer.prior.", "prior.", IMPORT_ROWS(prior_rows)};
    maps[3] = (import_map){"transformer.context.", "text_proj.", IMPORT_ROWS(context_rows)};
    maps[4] =
        (import_map){"unet.", "decoder.", IMPORT_ROWS(unet_rows), {{"levels", .number = count_levels(im, "decoder")}}};
    maps[5] = (import_map){"super_first.",
                           "super_res_first.",
                           IMPORT_ROWS(unet_rows),
                           {{"levels", .number = count_levels(im, supers[0])}}};
    maps[6] = (import_map){
        "super_last.", "super_res_last.", IMPORT_ROWS(unet_rows), {{"levels", .number = count_levels(im, supers[1])}}};
    maps[7] = (import_map){0};
}

/* ---- settings --------------------------------------------------------------------------------------------------- */

static bool is_number(const json_t *root, const char *key, double value)
{
    const double own = import_json_number(root, key, value);
    return fabs(own - value) < 1e-9;
}

/* The settings beside a network's weights. */
static bool read_config(import *im, const char *mark, bool decoder, json_t **root, err *e)
{
    if (!diffusers_json(im, mark, "config.json", root, e))
        return false;
    char part[64];
    snprintf(part, sizeof part, "%.*s", (int)strcspn(mark, "."), mark);
    return diffusers_check_unclip_unet(*root, part, decoder, e);
}

static bool read_scheduler(import *im, const char *mark, const char *folder, schedule *s, err *e)
{
    char path[128];
    json_t *root = NULL;
    snprintf(path, sizeof path, "../%s/scheduler_config.json", folder);
    bool ok = diffusers_json(im, mark, path, &root, e);
    const char *predicts = json_string_value(json_object_get(root, "prediction_type"));
    const char *variance = json_string_value(json_object_get(root, "variance_type"));
    s->times = import_json_int(root, "num_train_timesteps", 1000);
    if (root)
        s->clamp = json_is_false(json_object_get(root, "clip_sample"))
                       ? 1 << 20
                       : (float)import_json_number(root, "clip_sample_range", 1);
    if (root)
        s->predicts = predicts && !strcmp(predicts, "sample") ? PREDICTION_SAMPLE : PREDICTION_EPSILON;
    if (root)
        s->learned = variance && !strcmp(variance, "learned_range");
    ok = ok && diffusers_check_unclip_scheduler(root, folder, e);
    json_decref(root);
    return ok;
}

static bool read_schedulers(import *im, unclip *u, err *e)
{
    u->noise[UNCLIP_PRIOR] = (schedule){.clamp = 5, .predicts = PREDICTION_SAMPLE}; /* as published */
    u->noise[UNCLIP_DECODER] = (schedule){.clamp = 1, .learned = true};
    u->noise[UNCLIP_SUPER] = (schedule){.clamp = 1};
    u->steps[UNCLIP_PRIOR] = u->steps[UNCLIP_DECODER] = 25;
    u->steps[UNCLIP_SUPER] = 7;
    u->prior_guidance = 4;
    return (!u->imagines || read_scheduler(im, PRIOR, "prior_scheduler", &u->noise[UNCLIP_PRIOR], e)) &&
           read_scheduler(im, DECODER, "decoder_scheduler", &u->noise[UNCLIP_DECODER], e) &&
           read_scheduler(im, DECODER, "super_res_scheduler", &u->noise[UNCLIP_SUPER], e);
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

/* What is called the dimension of heads is that here; config.json without it means diffusers' default. */
static int heads_of(const json_t *root, int level, int channels)
{
    const json_t *width = json_object_get(root, "attention_head_dim");
    if (json_is_array(width))
        width = (size_t)level < json_array_size(width) ? json_array_get(width, (size_t)level) : json_null();
    const json_int_t own = width ? json_integer_value(width) : root ? DEFAULT_HEAD : HEAD;
    return own > 0 && own <= channels && channels % own == 0 ? (int)(channels / own) : 0;
}

/* name: ours */
static void read_unet(import *im, const import_map *maps, const json_t *root, const char *name, unet_config *k)
{
    char layers[64];
    snprintf(layers, sizeof layers, "%s.down.0.resnet.{i}.norm1.weight", name);
    const bool reads = import_mapped_has(im, maps, "%s.mid.transformer.0.kv.weight", name);
    *k = (unet_config){.in = import_mapped_size(im, maps, 1, "%s.in.weight", name),
                       .out = import_mapped_size(im, maps, 0, "%s.out.weight", name),
                       .layers = import_mapped_count(im, maps, layers, UNET_LAYERS),
                       .context = reads ? import_mapped_size(im, maps, 1, "%s.mid.transformer.0.kv.weight", name) : 0,
                       .groups = import_json_int(root, "norm_num_groups", GROUPS),
                       .eps = (float)import_json_number(root, "norm_eps", 1e-5),
                       .middle = reads ? UNET_MIDDLE_ATTENDS : UNET_MIDDLE_RESNETS,
                       .joint = reads,
                       .resamples = true};
    while (k->levels <= UNET_LEVELS && import_mapped_has(im, maps, "%s.down.%d.resnet.0.norm1.weight", name, k->levels))
        k->levels++;
    for (int i = 0; i < k->levels && i < UNET_LEVELS; i++) {
        k->channels[i] = import_mapped_size(im, maps, 0, "%s.down.%d.resnet.0.conv1.weight", name, i);
        k->attends[i] = import_mapped_has(im, maps, "%s.down.%d.transformer.0.norm.weight", name, i);
        k->depth[i] = 1;
        k->heads[i] = reads ? heads_of(root, i, k->channels[i]) : 1;
    }
    k->shifts =
        k->levels && import_mapped_size(im, maps, 0, "%s.down.0.resnet.0.time.weight", name) == 2 * k->channels[0];
}

static bool read_prior(import *im, const import_map *maps, const json_t *root, prior *p, err *e)
{
    p->width = import_mapped_size(im, maps, 0, "transformer.prior.in.weight");
    p->layers = import_mapped_count(im, maps, "transformer.prior.block.{i}.norm1.weight", LAYERS_MOST);
    p->mlp = import_mapped_size(im, maps, 0, "transformer.prior.block.0.up.weight");
    p->head_dim = import_json_int(root, "attention_head_dim", HEAD);
    p->heads = import_json_int(root, "num_attention_heads", p->head_dim > 0 ? p->width / p->head_dim : 0);
    return diffusers_check_prior(root, e);
}

/* Three numbers, which stay where there are none. */
static void three(const json_t *root, const char *key, float v[3])
{
    const json_t *list = json_object_get(root, key);
    for (size_t i = 0; json_array_size(list) == 3 && i < 3; i++)
        v[i] = (float)json_number_value(json_array_get(list, i));
}

/* Whether a size of the pictures' preprocessing, a number or an object of them, is that, where it is there. */
static bool is_side(const json_t *size, int side)
{
    const char *key;
    json_t *value;
    bool is = !size || json_is_null(size) || json_is_object(size) || json_integer_value(size) == side;
    json_object_foreach((json_t *)(uintptr_t)size, key, value) is =
        is && (json_is_null(value) || json_integer_value(value) == side);
    return is;
}

/* A step of the preprocessing that limn has otherwise; NULL: there is none. */
static const char *other_pixels(const json_t *root, int side)
{
    static const char *const steps[] = {"do_resize", "do_center_crop", "do_rescale", "do_normalize"};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++)
        if (json_is_false(json_object_get(root, steps[i])))
            return steps[i];
    return !is_number(root, "resample", 3)                      ? "resample"
           : !is_number(root, "rescale_factor", 1 / 255.0)      ? "rescale_factor"
           : !is_side(json_object_get(root, "size"), side)      ? "size"
           : !is_side(json_object_get(root, "crop_size"), side) ? "crop_size"
                                                                : NULL;
}

static bool read_image(import *im, const import_map *maps, clip *c, err *e)
{
    static const float mean[3] = {0.48145466f, 0.4578275f, 0.40821073f},
                       std[3] = {0.26862954f, 0.26130258f, 0.27577711f};
    json_t *root = NULL, *pixels = NULL;
    clip_tower *w = &c->image;
    memcpy(c->mean, mean, sizeof mean);
    memcpy(c->std, std, sizeof std);
    bool ok = diffusers_json(im, IMAGE, "config.json", &root, e) &&
              diffusers_json(im, IMAGE, "../feature_extractor/preprocessor_config.json", &pixels, e);
    const char *act = json_string_value(json_object_get(root, "hidden_act"));
    const double eps = import_json_number(root, "layer_norm_eps", 1e-5);
    three(pixels, "image_mean", c->mean);
    three(pixels, "image_std", c->std);
    w->width = import_mapped_size(im, maps, 1, "transformer.image.position.weight");
    w->layers = import_mapped_count(im, maps, "transformer.image.block.{i}.norm1.weight", LAYERS_MOST);
    w->mlp = import_mapped_size(im, maps, 0, "transformer.image.block.0.up.weight");
    w->heads = import_json_int(root, "num_attention_heads", w->width / HEAD);
    c->patch = import_mapped_size(im, maps, 2, "transformer.image.patches.weight");
    c->image_size =
        (int)lround(sqrt(fmax(import_mapped_size(im, maps, 0, "transformer.image.position.weight") - 1, 0))) * c->patch;
    if (ok && ((act && strcmp(act, c->act == ACT_GELU_ERF ? "gelu" : "quick_gelu") != 0) ||
               fabs(eps - (double)c->eps) > 1e-9))
        ok = err_set(
            e, ERR_FAILED,
            "config.json of image_encoder: \"hidden_act\" or \"layer_norm_eps\" differ from the text encoder's");
    const char *other = ok ? other_pixels(pixels, c->image_size) : NULL;
    if (other)
        ok = err_set(e, ERR_FAILED,
                     "preprocessor_config.json: \"%s\": limn brings the shorter side to %d pixels by bicubic (3), cuts "
                     "out the middle, and normalises it",
                     other, c->image_size);
    json_decref(root);
    json_decref(pixels);
    return ok;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

static bool read_networks(import *im, const import_map *maps, unclip *u, err *e)
{
    json_t *encoder = NULL, *before = NULL, *decoder = NULL, *super = NULL;
    bool ok = diffusers_json(im, TOKENS, "config.json", &encoder, e) && diffusers_check_text(encoder, e) &&
              diffusers_read_text(im, maps, encoder, &u->text, e) &&
              (!u->imagines || diffusers_json(im, PRIOR, "config.json", &before, e)) &&
              read_config(im, DECODER, true, &decoder, e) && (!u->sees || read_image(im, maps, &u->text, e));
    if (ok && u->imagines)
        ok = read_prior(im, maps, before, &u->prior, e);
    if (ok)
        read_unet(im, maps, decoder, "unet", &u->decoder.k);
    u->small_width = u->small_height = import_json_int(decoder, "sample_size", SMALL);
    for (int i = 0; ok && i < 2; i++) {
        char mark[64];
        snprintf(mark, sizeof mark, "%s.time_embedding.linear_1.weight", supers[i]);
        ok = read_config(im, mark, false, &super, e);
        if (ok)
            read_unet(im, maps, super, i ? "super_last" : "super_first", &u->super[i].k);
        const int size = import_json_int(super, "sample_size", SIZE);
        if (ok && i && size != u->width)
            ok = err_set(e, ERR_FAILED, "config.json of %s: \"sample_size\": %d, and %s has %d", supers[1], size,
                         supers[0], u->width);
        u->width = u->height = size;
        json_decref(super);
        super = NULL;
    }
    if (ok && u->decoder.k.context > 0)
        u->context.tokens = import_mapped_size(im, maps, 0, "transformer.context.extra.weight") / u->decoder.k.context;
    json_decref(encoder);
    json_decref(before);
    json_decref(decoder);
    return ok;
}

static bool put_model(import *im, unclip *u, err *e)
{
    import_map maps[MAPS];
    param_table params = {0};
    map_names(im, maps);
    u->imagines = source_has(im->from, PRIOR);
    u->sees = source_has(im->from, IMAGE);
    bool ok = read_networks(im, maps, u, e) && !im->error.code && read_schedulers(im, u, e) &&
              diffusers_put_tokenizer(im, TOKENS, &u->text, true, e) && unclip_prepare(u, "convert", e);
    if (ok) {
        unclip_declare(u, &params);
        unclip_put(u, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    return ok;
}

static bool convert(import *im, err *e)
{
    static const char *const defaults[] = {"guidance=8", "steps=25"};
    unclip *u = calloc(1, sizeof *u);
    bool ok = u ? put_model(im, u, e) : err_no_memory(e, "unCLIP", sizeof *u);
    if (ok)
        import_put_settings(im, defaults, sizeof defaults / sizeof *defaults);
    unclip_free(u);
    return ok;
}

const family family_unclip = {.recognise = recognise,
                              .run = convert,
                              .networks = NETWORK_UNCLIP_UNET | NETWORK_UNCLIP_TEXT | NETWORK_CLIP_TEXT |
                                          NETWORK_HUGGINGFACE_CLIP};
