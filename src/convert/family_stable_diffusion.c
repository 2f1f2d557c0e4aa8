/* The family "stable-diffusion": Stable Diffusion 1 and 2, their turbo and their latent consistency models (Rombach et
 * al. 2022), in folders of diffusers: a U-Net (unet/), the text tower of a CLIP (text_encoder/), an autoencoder (vae/),
 * the tokenizer's files and the scheduler's settings. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/config_json.h"
#include "convert/diffusers.h"
#include "convert/networks.h"
#include "models/transformers/diffusion.h"

#define MARK   "unet.time_embedding.linear_1.weight"
#define TOKENS "text.text_model.embeddings.token_embedding.weight"
#define VAE    "vae.post_quant_conv.weight"

enum { GROUPS = 32, HEAD = 64, HEADS = 8, SIZE = 512, SIDE_MOST = 16384, MAPS = 3 };

static bool recognise(const source *s)
{
    return source_has(s, MARK) && source_has(s, "unet.conv_in.weight");
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

#define RESNET(ours, theirs)                                                                                           \
    {ours ".norm1.*", {theirs ".norm1.*"}}, {ours ".conv1.*", {theirs ".conv1.*"}},                                    \
        {ours ".time.*", {theirs ".time_emb_proj.*"}}, {ours ".norm2.*", {theirs ".norm2.*"}},                         \
        {ours ".conv2.*", {theirs ".conv2.*"}},                                                                        \
    {                                                                                                                  \
        ours ".skip.*",                                                                                                \
        {                                                                                                              \
            theirs ".conv_shortcut.*"                                                                                  \
        }                                                                                                              \
    }
#define BLOCK ".transformer_blocks.0."
#define TRANSFORMER(ours, theirs)                                                                                      \
    {ours ".norm.*", {theirs ".norm.*"}}, {ours ".in.*", {theirs ".proj_in.*"}},                                       \
        {ours ".norm1.*", {theirs BLOCK "norm1.*"}},                                                                   \
        {ours ".qkv.*", {theirs BLOCK "attn1.to_q.*", theirs BLOCK "attn1.to_k.*", theirs BLOCK "attn1.to_v.*"}},      \
        {ours ".self_out.*", {theirs BLOCK "attn1.to_out.0.*"}}, {ours ".norm2.*", {theirs BLOCK "norm2.*"}},          \
        {ours ".q.*", {theirs BLOCK "attn2.to_q.*"}},                                                                  \
        {ours ".kv.*", {theirs BLOCK "attn2.to_k.*", theirs BLOCK "attn2.to_v.*"}},                                    \
        {ours ".cross_out.*", {theirs BLOCK "attn2.to_out.0.*"}}, {ours ".norm3.*", {theirs BLOCK "norm3.*"}},         \
        {ours ".up.*", {theirs BLOCK "ff.net.0.proj.*"}}, {ours ".down.*", {theirs BLOCK "ff.net.2.*"}},               \
    {                                                                                                                  \
        ours ".out.*",                                                                                                 \
        {                                                                                                              \
            theirs ".proj_out.*"                                                                                       \
        }                                                                                                              \
    }
/* The blocks of a transformer behind its first one. */
#define MORE ".transformer_blocks.{k}."
#define MORE_BLOCKS(ours, theirs)                                                                                      \
    {ours ".block.{k}.norm1.*", {theirs MORE "norm1.*"}},                                                              \
        {ours ".block.{k}.qkv.*",                                                                                      \
         {theirs MORE "attn1.to_q.*", theirs MORE "attn1.to_k.*", theirs MORE "attn1.to_v.*"}},                        \
        {ours ".block.{k}.self_out.*", {theirs MORE "attn1.to_out.0.*"}},                                              \
        {ours ".block.{k}.norm2.*", {theirs MORE "norm2.*"}}, {ours ".block.{k}.q.*", {theirs MORE "attn2.to_q.*"}},   \
        {ours ".block.{k}.kv.*", {theirs MORE "attn2.to_k.*", theirs MORE "attn2.to_v.*"}},                            \
        {ours ".block.{k}.cross_out.*", {theirs MORE "attn2.to_out.0.*"}},                                             \
        {ours ".block.{k}.norm3.*", {theirs MORE "norm3.*"}},                                                          \
        {ours ".block.{k}.up.*", {theirs MORE "ff.net.0.proj.*"}},                                                     \
    {                                                                                                                  \
        ours ".block.{k}.down.*",                                                                                      \
        {                                                                                                              \
            theirs MORE "ff.net.2.*"                                                                                   \
        }                                                                                                              \
    }

static const import_row unet_rows[] = {
    {"time.0.*", {"time_embedding.linear_1.*"}},
    {"time.1.*", {"time_embedding.linear_2.*"}},
    {"guidance.weight", {"time_embedding.cond_proj.weight"}},
    {"in.*", {"conv_in.*"}},
    {"norm_out.*", {"conv_norm_out.*"}},
    {"out.*", {"conv_out.*"}},
    {"down.{i}.sample.*", {"down_blocks.{i}.downsamplers.0.conv.*"}},
    {"up.{i}.sample.*", {"up_blocks.{levels-1-i}.upsamplers.0.conv.*"}},
    RESNET("down.{i}.resnet.{j}", "down_blocks.{i}.resnets.{j}"),
    RESNET("mid.resnet.{j}", "mid_block.resnets.{j}"),
    RESNET("up.{i}.resnet.{j}", "up_blocks.{levels-1-i}.resnets.{j}"),
    TRANSFORMER("down.{i}.transformer.{j}", "down_blocks.{i}.attentions.{j}"),
    TRANSFORMER("mid.transformer.{j}", "mid_block.attentions.{j}"),
    TRANSFORMER("up.{i}.transformer.{j}", "up_blocks.{levels-1-i}.attentions.{j}"),
    MORE_BLOCKS("down.{i}.transformer.{j}", "down_blocks.{i}.attentions.{j}"),
    MORE_BLOCKS("mid.transformer.{j}", "mid_block.attentions.{j}"),
    MORE_BLOCKS("up.{i}.transformer.{j}", "up_blocks.{levels-1-i}.attentions.{j}"),
};

static int count_levels(const import *im)
{
    int n = 0;
    while (n <= UNET_LEVELS && import_has(im, "unet.down_blocks.%d.resnets.0.norm1.weight", n))
        n++;
    return n;
}

static void map_names(const import *im, import_map maps[MAPS])
{
    maps[0] = (import_map){"unet.", "unet.", IMPORT_ROWS(unet_rows), {{"levels", .number = count_levels(im)}}};
    maps[1] = (import_map){"transformer.text.", "text.", diffusers_text, DIFFUSERS_TEXT_ROWS};
    maps[2] = (import_map){0};
}

/* ---- sizes ------------------------------------------------------------------------------------------------------ */

/* The number of a level: the file has one for all, or a list. */
static int level_of(const json_t *value, int level, int otherwise)
{
    const json_t *own = json_is_array(value) ? json_array_get(value, (size_t)level) : value;
    return json_is_integer(own) && json_integer_value(own) > 0 && json_integer_value(own) < INT32_MAX
               ? (int)json_integer_value(own)
               : otherwise;
}

/* What is called the dimension of heads is their number in these models; where no file tells, the first ones have 8,
 * and those with linear layers around their attention heads of 64. */
static void read_heads(import *im, const json_t *root, unet_config *k)
{
    const json_t *heads = json_object_get(root, "num_attention_heads");
    if (!heads || json_is_null(heads))
        heads = json_object_get(root, "attention_head_dim");
    const source_tensor *t = im->from->tensors;
    bool is_linear = false;
    for (size_t i = 0; i < im->from->n; i++)
        is_linear =
            is_linear || (!strcmp(t[i].own.name, "unet.mid_block.attentions.0.proj_in.weight") && t[i].own.nd == 2);
    for (int i = 0; i < k->levels; i++)
        k->heads[i] = level_of(heads, i, is_linear && !root ? k->channels[i] / HEAD : HEADS);
}

static void read_depth(import *im, const import_map *maps, unet_config *k)
{
    char name[80];
    for (int i = 0; i < k->levels && i < UNET_LEVELS; i++) {
        snprintf(name, sizeof name, "unet.down.%d.transformer.0.block.{i}.norm1.weight", i);
        if (i + 1 == k->levels && !k->attends[i])
            snprintf(name, sizeof name, "unet.mid.transformer.0.block.{i}.norm1.weight");
        int depth = import_mapped_count(im, maps, name, UNET_DEPTH);
        k->depth[i] = depth > 1 ? depth : 1;
    }
}

/* The first that there is. */
static const char *text_reader(const import *im, const import_map *maps, const unet_config *k, char name[80])
{
    snprintf(name, 80, "unet.mid.transformer.0.kv.weight");
    for (int i = 0; i < k->levels && i < UNET_LEVELS && !import_mapped_has(im, maps, "%s", name); i++)
        snprintf(name, 80, "unet.down.%d.transformer.0.kv.weight", i);
    return name;
}

static void read_unet(import *im, const import_map *maps, const json_t *root, unet_config *k)
{
    char name[80];
    k->levels = count_levels(im);
    k->layers = import_mapped_count(im, maps, "unet.down.0.resnet.{i}.norm1.weight", UNET_LAYERS);
    k->in = import_mapped_size(im, maps, 1, "unet.in.weight");
    k->out = import_mapped_size(im, maps, 0, "unet.out.weight");
    for (int i = 0; i < k->levels && i < UNET_LEVELS; i++) {
        k->channels[i] = import_mapped_size(im, maps, 0, "unet.down.%d.resnet.0.conv1.weight", i);
        k->attends[i] = import_mapped_has(im, maps, "unet.down.%d.transformer.0.norm.weight", i);
    }
    k->middle = import_mapped_has(im, maps, "unet.mid.resnet.0.norm1.weight") ? UNET_MIDDLE_ATTENDS : UNET_MIDDLE_NONE;
    read_depth(im, maps, k);
    k->context = import_mapped_size(im, maps, 1, "%s", text_reader(im, maps, k, name));
    k->groups = import_json_int(root, "norm_num_groups", GROUPS);
    k->eps = (float)import_json_number(root, "norm_eps", 1e-5);
    if (import_mapped_has(im, maps, "unet.guidance.weight"))
        k->guidance = import_mapped_size(im, maps, 1, "unet.guidance.weight");
    if (k->levels <= UNET_LEVELS)
        read_heads(im, root, k);
}

/* ---- scheduler -------------------------------------------------------------------------------------------------- */

/* The classes of diffusers, and what they take where the file doesn't say it. */
static const struct {
    const char *name;
    sampler_kind plain, karras;
    bool latent;      /* the betas of Stable Diffusion; else Ho et al.'s */
    bool ends_at_one; /* set_alpha_to_one */
} classes[] = {
    {"DDIMScheduler", SAMPLER_DDIM, SAMPLER_DDIM, .ends_at_one = true},
    {"PNDMScheduler", SAMPLER_PNDM, SAMPLER_PNDM},
    {"EulerDiscreteScheduler", SAMPLER_EULER, SAMPLER_EULER_KARRAS},
    {"EulerAncestralDiscreteScheduler", SAMPLER_EULER_A, SAMPLER_EULER_A},
    {"DPMSolverMultistepScheduler", SAMPLER_DPMPP_2M, SAMPLER_DPMPP_2M_KARRAS},
    {"LCMScheduler", SAMPLER_LCM, SAMPLER_LCM, .latent = true},
};
enum { CLASSES = sizeof classes / sizeof *classes };

/* CLASSES: limn has none, or the file names none. */
static size_t class_of(const json_t *root)
{
    const char *name = json_string_value(json_object_get(root, "_class_name"));
    size_t i = 0;
    while (i < CLASSES && (!name || strcmp(classes[i].name, name) != 0))
        i++;
    return i;
}

static void choose_sampler(const json_t *root, schedule *s)
{
    const char *name = json_string_value(json_object_get(root, "_class_name"));
    const char *algorithm = json_string_value(json_object_get(root, "algorithm_type"));
    const bool karras = json_is_true(json_object_get(root, "use_karras_sigmas"));
    const size_t i = class_of(root);
    s->with = !name ? SAMPLER_PNDM : i == CLASSES ? SAMPLER_EULER : karras ? classes[i].karras : classes[i].plain;
    if (algorithm && !strcmp(algorithm, "sde-dpmsolver++") && i < CLASSES && classes[i].plain == SAMPLER_DPMPP_2M)
        s->with = karras ? SAMPLER_DPMPP_2M_SDE_KARRAS : SAMPLER_DPMPP_2M_SDE;
    if (name && i == CLASSES)
        log_write(LOG_WARNING,
                  "convert: scheduler_config.json: limn has no %.64s: the model is drawn by the sampler %s", name,
                  sampler_names[s->with]);
}

static bool read_betas(const json_t *root, schedule *s, err *e)
{
    static const char *const names[] = {"scaled_linear", "linear", "squaredcos_cap_v2"};
    const char *name = json_string_value(json_object_get(root, "beta_schedule"));
    const size_t class = class_of(root);
    const bool latent = class == CLASSES || classes[class].latent;
    s->times = import_json_int(root, "num_train_timesteps", 1000);
    s->beta_start = (float)import_json_number(root, "beta_start", latent ? 0.00085 : 0.0001);
    s->beta_end = (float)import_json_number(root, "beta_end", latent ? 0.012 : 0.02);
    s->betas = latent ? BETAS_SCALED : BETAS_LINEAR;
    s->zero_snr = json_is_true(json_object_get(root, "rescale_betas_zero_snr")) && s->with != SAMPLER_PNDM;
    for (int i = 0; name && i < BETAS_COUNT; i++)
        if (!strcmp(name, names[i])) {
            s->betas = (schedule_betas)i;
            return true;
        }
    return !name || err_set(e, ERR_FAILED,
                            "scheduler_config.json: \"beta_schedule\": \"%.64s\": limn knows "
                            "scaled_linear, linear and squaredcos_cap_v2",
                            name);
}

static bool read_prediction(import *im, const json_t *root, schedule *s, err *e)
{
    const char *name = json_string_value(json_object_get(root, "prediction_type"));
    const char *given = import_setting_text(im, "prediction");
    if (given && strcmp(given, "v") != 0 && strcmp(given, "epsilon") != 0)
        return err_set(e, ERR_USAGE, "convert: `settings` prediction=%.64s: it is epsilon or v", given);
    if (given)
        s->predicts = !strcmp(given, "v") ? PREDICTION_V : PREDICTION_EPSILON;
    else if (name && !strcmp(name, "v_prediction"))
        s->predicts = PREDICTION_V;
    else if (name && strcmp(name, "epsilon") != 0)
        return err_set(e, ERR_FAILED,
                       "scheduler_config.json: \"prediction_type\": \"%.64s\": limn knows epsilon and v_prediction",
                       name);
    return true;
}

/* diffusers' pipelines of Stable Diffusion correct what was wrong in early files. */
static int usual_offset(const json_t *root, sampler_kind with)
{
    const int own = import_json_int(root, "steps_offset", 1);
    if (own != 1 && with != SAMPLER_LCM) /* it reads none */
        log_write(LOG_WARNING, "convert: scheduler_config.json: \"steps_offset\": %d is taken as 1, as diffusers does",
                  own);
    if (json_is_true(json_object_get(root, "clip_sample")) && with != SAMPLER_LCM)
        log_write(LOG_WARNING, "convert: scheduler_config.json: \"clip_sample\" is taken as false, as diffusers does");
    return 1;
}

static bool read_scheduler(import *im, schedule *s, err *e)
{
    json_t *root = NULL;
    bool ok = diffusers_json(im, MARK, "../scheduler/scheduler_config.json", &root, e);
    const char *p = json_string_value(json_object_get(root, "timestep_spacing"));
    const json_t *one = json_object_get(root, "set_alpha_to_one");
    const size_t class = class_of(root);
    choose_sampler(root, s);
    s->offset = usual_offset(root, s->with);
    s->ends_at_one = json_is_boolean(one) ? json_is_true(one) : class < CLASSES && classes[class].ends_at_one;
    s->spacing = p ? spacing_find(p) + 1 : 0;
    if (ok && p && !s->spacing)
        ok = err_set(e, ERR_FAILED,
                     "scheduler_config.json: \"timestep_spacing\": \"%.64s\": limn knows leading, "
                     "linspace and trailing",
                     p);
    ok = ok && diffusers_check_scheduler(root, e) && read_betas(root, s, e) && read_prediction(im, root, s, e);
    json_decref(root);
    return ok;
}

/* ---- all of it -------------------------------------------------------------------------------------------------- */

/* Of the autoencoder beside it, or as published. */
static int step_of(const import *im)
{
    int stages = 0;
    while (stages < 12 && import_has(im, "vae.decoder.up_blocks.%d.resnets.0.norm1.weight", stages))
        stages++;
    return stages > 0 ? 1 << (stages - 1) : 8;
}

static bool put_model(import *im, diffusion *d, int step, err *e)
{
    import_map maps[MAPS];
    param_table params = {0};
    json_t *root = NULL, *encoder = NULL;
    map_names(im, maps);
    bool ok = diffusers_json(im, MARK, "config.json", &root, e) &&
              diffusers_json(im, TOKENS, "config.json", &encoder, e) && diffusers_check_text(encoder, e) &&
              diffusers_read_text(im, maps, encoder, &d->text, e);
    if (ok)
        read_unet(im, maps, root, &d->net.k);
    const json_t *sizes = json_object_get(root, "sample_size");
    int grid = level_of(sizes, 0, 0);
    if (json_is_array(sizes) && !json_equal(json_array_get(sizes, 0), json_array_get(sizes, 1)))
        log_write(
            LOG_WARNING,
            "convert: config.json of the U-Net: \"sample_size\" isn't square: pictures are as wide as high, unless "
            "another size is asked for");
    int size = import_setting(im, "image_size", !grid ? SIZE : grid <= SIDE_MOST / step ? grid * step : 0);
    d->width = d->height = size / step;
    if (ok && (size < 1 || size % step))
        ok = err_set(e, ERR_FAILED, "convert: pictures of %d pixels: multiples of %d up to %d are possible", size, step,
                     SIDE_MOST);
    ok = ok && diffusers_check_unet(root, e) && !im->error.code && read_scheduler(im, &d->noise, e) &&
         diffusers_put_tokenizer(im, TOKENS, &d->text, true, e) && diffusion_prepare(d, "convert", e);
    if (ok) {
        diffusion_declare(d, &params);
        diffusion_put(d, im->to);
        diffusion_put_step(step, im->to);
        import_tensors(im, maps, &params);
    }
    params_release(&params);
    json_decref(root);
    json_decref(encoder);
    return ok;
}

/* Its settings, if it is there; without it the model draws latents alone. */
static bool put_autoencoder(import *im, const diffusion *d, int step, err *e)
{
    json_t *root = NULL;
    if (!source_has(im->from, VAE) && !source_has(im->from, "vae.decoder.conv_in.weight")) {
        gguf_put_int(im->to, "limn.image.width", d->width * step);
        gguf_put_int(im->to, "limn.image.height", d->height * step);
        return true;
    }
    bool ok = diffusers_json(im, "vae.decoder.conv_in.weight", "config.json", &root, e);
    ok = ok && diffusers_check_autoencoder(root, e) &&
         import_autoencoder_kl(im, "vae.", d->width, import_json_int(root, "norm_num_groups", GROUPS),
                               (float)import_json_number(root, "scaling_factor", 0.18215), e);
    json_decref(root);
    return ok;
}

static bool convert(import *im, err *e)
{
    static const char *const plain[] = {"guidance=7.5", "steps=50"}, *const lcm[] = {"guidance=8.5", "steps=4"},
                             *const turbo[] = {"guidance=1", "steps=1"};
    diffusion *d = calloc(1, sizeof *d);
    int step = step_of(im);
    bool ok =
        d ? put_model(im, d, step, e) && put_autoencoder(im, d, step, e) : err_no_memory(e, "diffusion", sizeof *d);
    if (ok) {
        const schedule *s = &d->noise;
        bool few = (s->with == SAMPLER_EULER || s->with == SAMPLER_EULER_A) && s->spacing == SPACING_TRAILING + 1;
        import_put_settings(im, s->with == SAMPLER_LCM ? lcm : few ? turbo : plain, 2);
    }
    diffusion_free(d);
    return ok;
}

static const import_setting_kind settings[] = {{"prediction", SETTING_TEXT, 0, NULL}, {0}};

const family family_stable_diffusion = {.recognise = recognise,
                                        .run = convert,
                                        .networks = NETWORK_UNET | NETWORK_AUTOENCODER_KL | NETWORK_DIFFUSION_TEXT,
                                        .settings = settings};
