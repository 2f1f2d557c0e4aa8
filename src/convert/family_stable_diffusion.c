/* The family "stable-diffusion": Stable Diffusion 1 and 2, their turbo and their latent consistency models (Rombach et
 * al. 2022): a U-Net, the text tower of a CLIP and an autoencoder, in folders of diffusers (unet/, text_encoder/, vae/,
 * the tokenizer's files and the scheduler's settings) or in single files (stable_diffusion.h); each part may come from
 * either. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "convert/codecs.h"
#include "convert/config_json.h"
#include "convert/convert_internal.h"
#include "convert/diffusers.h"
#include "convert/names.h"
#include "convert/stable_diffusion.h"

#define MARK   "unet.time_embedding.linear_1.weight"
#define TOKENS "text.text_model.embeddings.token_embedding.weight"
#define VAE    "vae.post_quant_conv.weight"

enum { GROUPS = 32, HEAD = 64, HEADS = 8, SIZE = 512, SIDE_MOST = 16384, MAPS = SINGLE_UNET_MAPS + 2, WIDTH_2 = 1024 };

static bool has_unet(const source *s)
{
    return source_has(s, SINGLE_UNET) || (source_has(s, MARK) && source_has(s, "unet.conv_in.weight"));
}

static bool has_text(const source *s)
{
    return source_has(s, TOKENS) || source_has(s, SINGLE_TEXT);
}

static bool has_autoencoder(const source *s)
{
    return source_has(s, VAE) || source_has(s, "vae.decoder.conv_in.weight");
}

/* One of its parts alone is known too, to say what is missing. */
static bool recognise(const source *s)
{
    return has_unet(s) || has_autoencoder(s) || has_text(s);
}

/* ---- names ------------------------------------------------------------------------------------------------------ */

#define RESNET(ours, theirs)                                                                                           \
    UNET_RESNET_ROWS(ours, theirs, "norm1", "conv1", "time_emb_proj", "norm2", "conv2", "conv_shortcut")

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
    UNET_TRANSFORMER_ROWS("down.{i}.transformer.{j}", "down_blocks.{i}.attentions.{j}"),
    UNET_TRANSFORMER_ROWS("mid.transformer.{j}", "mid_block.attentions.{j}"),
    UNET_TRANSFORMER_ROWS("up.{i}.transformer.{j}", "up_blocks.{levels-1-i}.attentions.{j}"),
    UNET_MORE_ROWS("down.{i}.transformer.{j}", "down_blocks.{i}.attentions.{j}"),
    UNET_MORE_ROWS("mid.transformer.{j}", "mid_block.attentions.{j}"),
    UNET_MORE_ROWS("up.{i}.transformer.{j}", "up_blocks.{levels-1-i}.attentions.{j}"),
};

/* Where its parts are: which layout each has. */
typedef struct parts {
    bool single;    /* the U-Net is of a single file, */
    bool open_clip; /* the text tower OpenCLIP's, */
    bool together;  /* and in one file with the U-Net: no file beside it tells of it */
    int layers;     /* of OpenCLIP's that run */
    single_names names;
    import_map maps[MAPS];
} parts;

static const char *text_mark(const parts *p)
{
    return p->open_clip ? SINGLE_TEXT : TOKENS;
}

static const char *file_of(const import *im, const char *name)
{
    for (size_t i = 0; i < im->from->n; i++)
        if (!strcmp(im->from->tensors[i].own.name, name))
            return im->from->tensors[i].file;
    return "";
}

static int count_levels(const import *im, bool single)
{
    int n = 0;
    while (!single && n <= UNET_LEVELS && import_has(im, "unet.down_blocks.%d.resnets.0.norm1.weight", n))
        n++;
    return single ? single_count_levels(im) : n;
}

static void find_parts(const import *im, parts *p)
{
    int at = 1;
    *p = (parts){.single = source_has(im->from, SINGLE_UNET), .open_clip = source_has(im->from, SINGLE_TEXT)};
    p->together = p->single && !strcmp(file_of(im, SINGLE_UNET), file_of(im, text_mark(p)));
    p->maps[0] =
        (import_map){"unet.", "unet.", IMPORT_ROWS(unet_rows), {{"levels", .number = count_levels(im, p->single)}}};
    if (p->single) {
        single_map_unet(im, &p->names, p->maps);
        at = SINGLE_UNET_MAPS;
    }
    p->maps[at] = p->open_clip ? single_map_text(im, &p->layers)
                               : (import_map){"transformer.text.", "text.", diffusers_text, DIFFUSERS_TEXT_ROWS};
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
static void read_heads(const json_t *root, bool newer, unet_config *k)
{
    const json_t *heads = json_object_get(root, "num_attention_heads");
    if (!heads || json_is_null(heads))
        heads = json_object_get(root, "attention_head_dim");
    for (int i = 0; i < k->levels; i++)
        k->heads[i] = level_of(heads, i, newer && !root ? k->channels[i] / HEAD : HEADS);
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

/* A layer of the first transformer that there is. */
static const char *transformer_layer(const import *im, const import_map *maps, const unet_config *k, const char *layer,
                                     char name[80])
{
    snprintf(name, 80, "unet.mid.transformer.0.%s.weight", layer);
    for (int i = 0; i < k->levels && i < UNET_LEVELS && !import_mapped_has(im, maps, "%s", name); i++)
        snprintf(name, 80, "unet.down.%d.transformer.0.%s.weight", i, layer);
    return name;
}

/* Stable Diffusion 2 has linear layers around its attention, and a wider text. */
static bool is_newer(const import *im, const import_map *maps, const unet_config *k)
{
    char ours[80], name[IMPORT_NAME];
    import_their_name(maps, transformer_layer(im, maps, k, "in", ours), name);
    const file_tensor *t = source_tensor_of(im->from, name);
    return (t && t->nd == 2) || k->context == WIDTH_2;
}

static void read_unet(import *im, const parts *p, const json_t *root, unet_config *k)
{
    const import_map *maps = p->maps;
    char name[80];
    k->levels = count_levels(im, p->single);
    k->layers = import_mapped_count(im, maps, "unet.down.0.resnet.{i}.norm1.weight", UNET_LAYERS);
    k->in = import_mapped_size(im, maps, 1, "unet.in.weight");
    k->out = import_mapped_size(im, maps, 0, "unet.out.weight");
    for (int i = 0; i < k->levels && i < UNET_LEVELS; i++) {
        k->channels[i] = import_mapped_size(im, maps, 0, "unet.down.%d.resnet.0.conv1.weight", i);
        k->attends[i] = import_mapped_has(im, maps, "unet.down.%d.transformer.0.norm.weight", i);
    }
    k->middle = import_mapped_has(im, maps, "unet.mid.resnet.0.norm1.weight") ? UNET_MIDDLE_ATTENDS : UNET_MIDDLE_NONE;
    read_depth(im, maps, k);
    k->context = import_mapped_size(im, maps, 1, "%s", transformer_layer(im, maps, k, "kv", name));
    k->groups = import_json_int(root, "norm_num_groups", GROUPS);
    k->eps = (float)import_json_number(root, "norm_eps", 1e-5);
    if (import_mapped_has(im, maps, "unet.guidance.weight"))
        k->guidance = import_mapped_size(im, maps, 1, "unet.guidance.weight");
    if (k->levels <= UNET_LEVELS)
        read_heads(root, is_newer(im, maps, k), k);
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

/* --set prediction; NULL where it isn't given. */
static bool given_prediction(import *im, const char **given, err *e)
{
    *given = import_setting_text(im, "prediction");
    return !*given || !strcmp(*given, "v") || !strcmp(*given, "epsilon") ||
           err_set(e, ERR_USAGE, "convert: `settings` prediction=%.64s: it is epsilon or v", *given);
}

static bool read_prediction(import *im, const json_t *root, schedule *s, err *e)
{
    const char *name = json_string_value(json_object_get(root, "prediction_type")), *given;
    if (!given_prediction(im, &given, e))
        return false;
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
    const char *form = source_has(im->from, SINGLE_VAE) ? "vae.decoder.up.%d.block.0.norm1.weight"
                                                        : "vae.decoder.up_blocks.%d.resnets.0.norm1.weight";
    char name[160];
    int stages = 0;
    for (; stages < 12; stages++) {
        snprintf(name, sizeof name, form, stages);
        if (!source_has(im->from, name))
            break;
    }
    return stages > 0 ? 1 << (stages - 1) : 8;
}

/* What the U-Net's own file says, or nothing does. */
static bool read_single(import *im, const parts *p, diffusion *d, int *size, err *e)
{
    const char *given;
    if (!given_prediction(im, &given, e))
        return false;
    const unet_config *k = &d->net.k;
    const single_use use = single_find_use(im, is_newer(im, p->maps, k), k->in, given);
    schedule *s = &d->noise;
    choose_sampler(NULL, s);
    s->offset = 1;
    s->predicts = use.predicts;
    if (k->guidance) {
        s->with = SAMPLER_LCM;
    } else if (use.turbo) {
        s->with = SAMPLER_EULER;
        s->spacing = SPACING_TRAILING + 1;
    } else if (use.predicts == PREDICTION_V) {
        s->with = SAMPLER_DDIM; /* PNDM loses digits there */
    }
    *size = use.size;
    return read_betas(NULL, s, e) && single_read_noise(im, s, e);
}

static bool read_text(import *im, const parts *p, const json_t *config, diffusion *d, err *e)
{
    clip *c = &d->text;
    if (!diffusers_read_text(im, p->maps, config, c, e))
        return false;
    if (p->open_clip) {
        c->text.layers = p->layers;
        c->act = ACT_GELU_ERF;
        c->pad_id = 0;
    }
    return diffusers_put_tokenizer(im, text_mark(p), c, !p->open_clip && !p->together, e);
}

/* The files beside its parts, where there are any. */
static bool read_configs(import *im, const parts *p, json_t **net, json_t **text, err *e)
{
    return (p->single || diffusers_json(im, MARK, "config.json", net, e)) &&
           (p->open_clip || p->together || diffusers_json(im, TOKENS, "config.json", text, e)) &&
           diffusers_check_unet(*net, e) && diffusers_check_text(*text, e);
}

static bool put_model(import *im, const parts *p, diffusion *d, int step, err *e)
{
    param_table params = {0};
    json_t *root = NULL, *encoder = NULL;
    int own = SIZE;
    bool ok = read_configs(im, p, &root, &encoder, e);
    if (ok)
        read_unet(im, p, root, &d->net.k);
    ok = ok && !im->error.code && (p->single ? read_single(im, p, d, &own, e) : read_scheduler(im, &d->noise, e));
    const json_t *sizes = json_object_get(root, "sample_size");
    int grid = level_of(sizes, 0, 0);
    if (json_is_array(sizes) && !json_equal(json_array_get(sizes, 0), json_array_get(sizes, 1)))
        log_write(
            LOG_WARNING,
            "convert: config.json of the U-Net: \"sample_size\" isn't square: pictures are as wide as high, unless "
            "another size is asked for");
    int size = import_setting(im, "image_size", !grid ? own : grid <= SIDE_MOST / step ? grid * step : 0);
    d->width = d->height = size / step;
    if (ok && (size < 1 || size % step))
        ok = err_set(e, ERR_FAILED, "convert: pictures of %d pixels: multiples of %d up to %d are possible", size, step,
                     SIDE_MOST);
    ok = ok && read_text(im, p, encoder, d, e) && !im->error.code && diffusion_prepare(d, "convert", e);
    if (ok) {
        diffusion_declare(d, &params);
        diffusion_put(d, im->to);
        diffusion_put_step(step, im->to);
        import_tensors(im, p->maps, &params);
    }
    params_release(&params);
    json_decref(root);
    json_decref(encoder);
    return ok;
}

/* Its settings, if it is there; without it the model draws latents alone.  grid: latents in a row of a picture; 0: it
 * is all there is. */
static bool put_autoencoder(import *im, int grid, int step, err *e)
{
    const bool single = source_has(im->from, SINGLE_VAE);
    json_t *root = NULL;
    if (!has_autoencoder(im->from)) {
        gguf_put_int(im->to, "limn.image.width", grid * step);
        gguf_put_int(im->to, "limn.image.height", grid * step);
        return true;
    }
    bool ok = single || diffusers_json(im, "vae.decoder.conv_in.weight", "config.json", &root, e);
    ok = ok && diffusers_check_autoencoder(root, e) &&
         import_autoencoder_kl(im, "vae.", grid, import_json_int(root, "norm_num_groups", GROUPS),
                               (float)import_json_number(root, "scaling_factor", 0.18215), e);
    json_decref(root);
    return ok;
}

/* What else has to be given, or that it is another model. */
static bool check_parts(const import *im, err *e)
{
    const source *s = im->from;
    const char *file = s->paths[0];
    if (source_has(s, "unet.label_emb.0.0.weight") || source_has(s, "unet.label_emb.weight") ||
        source_has(s, "unet.add_embedding.linear_1.weight"))
        return err_set(e, ERR_FAILED,
                       "%s: its U-Net reads more than a text (Stable Diffusion XL, unCLIP, or one that enlarges): limn "
                       "has Stable Diffusion 1 and 2 (give the file of one of these)",
                       file);
    if (!has_unet(s))
        return err_set(e, ERR_FAILED,
                       "%s: a text tower, and no U-Net of Stable Diffusion 1 or 2 (give the files of its U-Net and of "
                       "its autoencoder too: limn convert UNET TEXT AUTOENCODER)",
                       file);
    return has_text(s) ||
           err_set(e, ERR_FAILED,
                   "%s: a U-Net without text tower: it can't draw by itself (give the files of its text tower and of "
                   "its autoencoder too: limn convert UNET TEXT AUTOENCODER)",
                   file);
}

static bool convert_model(import *im, int step, err *e)
{
    static const char *const plain[] = {"guidance=7.5", "steps=50"}, *const lcm[] = {"guidance=8.5", "steps=4"},
                             *const turbo[] = {"guidance=1", "steps=1"};
    parts p;
    diffusion *d = calloc(1, sizeof *d);
    find_parts(im, &p);
    bool ok = d ? put_model(im, &p, d, step, e) && put_autoencoder(im, d->width, step, e)
                : err_no_memory(e, "diffusion", sizeof *d);
    if (ok) {
        const schedule *s = &d->noise;
        bool few = (s->with == SAMPLER_EULER || s->with == SAMPLER_EULER_A) && s->spacing == SPACING_TRAILING + 1;
        import_put_settings(im, s->with == SAMPLER_LCM ? lcm : few ? turbo : plain, 2);
        ok = !p.single || single_leave_rest(im, e);
    }
    diffusion_free(d);
    return ok;
}

/* An autoencoder alone is a codec, which encodes pictures as latents and decodes them. */
static bool convert(import *im, err *e)
{
    if (!import_names_prefer_own(im->from, NETWORK_AUTOENCODER_KL | NETWORK_AUTHORS_AUTOENCODER, e))
        return false;
    const int step = step_of(im);
    if (!has_unet(im->from) && !has_text(im->from)) {
        diffusion_put_step(step, im->to);
        import_put_settings(im, NULL, 0);
        return put_autoencoder(im, 0, step, e);
    }
    return check_parts(im, e) && convert_model(im, step, e);
}

static const import_setting_kind settings[] = {{"prediction", SETTING_TEXT, 0, NULL}, {0}};

const family family_stable_diffusion = {.recognise = recognise,
                                        .run = convert,
                                        .networks = NETWORK_UNET | NETWORK_AUTOENCODER_KL | NETWORK_DIFFUSION_TEXT |
                                                    NETWORK_AUTHORS_UNET | NETWORK_AUTHORS_AUTOENCODER |
                                                    NETWORK_OPENCLIP_TEXT,
                                        .settings = settings};
