/* Folders of diffusers: settings under which the same weights would draw something else.  What limn has no computation
 * for is an error that names the key and its value, as nothing in the weights would tell. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "convert/config_json.h"
#include "convert/diffusers.h"

/* "KEY": VALUE: why, of a file. */
static bool refuse(const char *file, const char *key, const json_t *value, const char *why, err *e)
{
    char *text = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
    err_set(e, ERR_FAILED, "%s: \"%s\": %.80s: %s", file, key, text ? text : "", why);
    free(text);
    return false;
}

static bool is_number(const json_t *value, double number)
{
    const double own = json_number_value(value);
    return !value || json_is_null(value) || (json_is_number(value) && own >= number && own <= number);
}

/* Not there, or null, false or 0, or a list of these. */
static bool is_off(const json_t *value)
{
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!is_off(json_array_get(value, i)))
            return false;
    return !value || json_is_array(value) || json_is_null(value) || json_is_false(value) ||
           (json_is_number(value) && is_number(value, 0));
}

/* Whether a text is one of a list of words between bars. */
static bool is_one_of(const json_t *value, const char *words)
{
    const char *text = json_string_value(value), *at = words;
    for (size_t n; text && *at; at += n + (at[n] != 0)) {
        n = strcspn(at, "|");
        if (strlen(text) == n && !strncmp(at, text, n))
            return true;
    }
    return !value || json_is_null(value);
}

/* What a key may be: absent, null, or that. */
typedef struct wanted {
    const char *key;
    enum { OFF, NUMBER, WORD, ON, POSITIVE } kind; /* POSITIVE: any number above 0 */
    double number;
    const char *words;
} wanted;

static bool is_as_wanted(const json_t *value, const wanted *w)
{
    switch (w->kind) {
    case NUMBER:
        return is_number(value, w->number);
    case WORD:
        return is_one_of(value, w->words);
    case ON:
        return !json_is_false(value);
    case POSITIVE:
        return !value || (json_is_number(value) && json_number_value(value) > 0);
    default:
        return is_off(value);
    }
}

static bool check_wanted(const char *file, const json_t *root, const wanted *w, size_t n, const char *why, err *e)
{
    for (size_t i = 0; i < n; i++)
        if (!is_as_wanted(json_object_get(root, w[i].key), &w[i]))
            return refuse(file, w[i].key, json_object_get(root, w[i].key), why, e);
    return true;
}

/* ---- the U-Net -------------------------------------------------------------------------------------------------- */

static const wanted any_unet[] =
    {
        {"center_input_sample", OFF},
        {"dual_cross_attention", OFF},
        {"only_cross_attention", OFF},
        {"mid_block_only_cross_attention", OFF},
        {"resnet_skip_time_act", OFF},
        {"num_class_embeds", OFF},
        {"class_embeddings_concat", OFF},
        {"addition_embed_type", OFF},
        {"encoder_hid_dim_type", OFF},
        {"time_embedding_act_fn", OFF},
        {"timestep_post_act", OFF},
        {"cross_attention_norm", OFF},
        {"flip_sin_to_cos", ON},
        {"freq_shift", NUMBER, 0},
        {"mid_block_scale_factor", NUMBER, 1},
        {"resnet_out_scale_factor", NUMBER, 1},
        {"act_fn", WORD, 0, "silu|swish"},
        {"time_embedding_type", WORD, 0, "positional"},
        {"norm_num_groups", POSITIVE},
        {"norm_eps", POSITIVE},
},
                    unet[] = {
                        {"class_embed_type", OFF},
                        {"projection_class_embeddings_input_dim", OFF},
                        {"addition_time_embed_dim", OFF},
                        {"encoder_hid_dim", OFF},
                        {"reverse_transformer_layers_per_block", OFF},
                        {"downsample_padding", NUMBER, 1},
                        {"conv_in_kernel", NUMBER, 3},
                        {"conv_out_kernel", NUMBER, 3},
                        {"resnet_time_scale_shift", WORD, 0, "default"},
                        {"attention_type", WORD, 0, "default"},
                        {"mid_block_type", WORD, 0, "UNetMidBlock2DCrossAttn"},
                        {"_class_name", WORD, 0, "UNet2DConditionModel"},
};
#define ROWS(rows) (rows), sizeof(rows) / sizeof *(rows)

/* A list whose items differ, or that has lists in it. */
static bool is_mixed(const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_equal(json_array_get(list, 0), json_array_get(list, i)) || json_is_array(json_array_get(list, i)))
            return true;
    return false;
}

/* Levels on the way up are those on the way down, the other way round. */
static bool check_levels(const char *file, const json_t *root, err *e)
{
    static const char *const down = "CrossAttnDownBlock2D|DownBlock2D", *const up = "CrossAttnUpBlock2D|UpBlock2D";
    const json_t *downs = json_object_get(root, "down_block_types"), *ups = json_object_get(root, "up_block_types");
    const size_t n = json_array_size(downs);
    if (json_is_array(ups) && json_array_size(ups) != n)
        return refuse(file, "up_block_types", ups, "limn's U-Nets have as many levels upwards as downwards", e);
    for (size_t i = 0; i < n; i++) {
        const json_t *own = json_array_get(downs, i), *other = json_array_get(ups, n - 1 - i);
        if (!is_one_of(own, down))
            return refuse(file, "down_block_types", own, "limn has CrossAttnDownBlock2D and DownBlock2D", e);
        if (!is_one_of(other, up))
            return refuse(file, "up_block_types", other, "limn has CrossAttnUpBlock2D and UpBlock2D", e);
        if (json_is_string(own) && json_is_string(other) &&
            (*json_string_value(own) == 'C') != (*json_string_value(other) == 'C'))
            return refuse(file, "up_block_types", ups,
                          "limn's U-Nets attend on the way up where they do on the way down", e);
    }
    return true;
}

/* One number of heads, or one for each level: what is wrong there would be other heads of the same weights. */
static bool check_heads(const char *file, const json_t *root, err *e)
{
    const char *key = "num_attention_heads";
    const json_t *heads = json_object_get(root, key);
    if (!heads || json_is_null(heads))
        heads = json_object_get(root, key = "attention_head_dim");
    const size_t n = json_array_size(heads), levels = json_array_size(json_object_get(root, "block_out_channels"));
    bool ok = !heads || json_is_integer(heads) || (n > 0 && (!levels || n == levels));
    for (size_t i = 0; i < n; i++)
        ok = ok && json_is_integer(json_array_get(heads, i));
    return ok || refuse(file, key, heads, "one whole number is wanted, or one for each level", e);
}

bool diffusers_check_unet(const json_t *root, err *e)
{
    static const char *const file = "config.json of the U-Net", *const even[] = {"layers_per_block",
                                                                                 "cross_attention_dim"};
    const json_t *depth = json_object_get(root, "transformer_layers_per_block");
    for (size_t i = 0; i < sizeof even / sizeof *even; i++)
        if (is_mixed(json_object_get(root, even[i])))
            return refuse(file, even[i], json_object_get(root, even[i]), "limn's U-Nets have one number for all levels",
                          e);
    for (size_t i = 0; i < json_array_size(depth); i++)
        if (!json_is_integer(json_array_get(depth, i)))
            return refuse(file, "transformer_layers_per_block", depth, "limn's U-Nets have one number for each level",
                          e);
    return check_wanted(file, root, ROWS(any_unet), "limn has no such U-Net", e) &&
           check_wanted(file, root, ROWS(unet), "limn has no such U-Net", e) && check_levels(file, root, e) &&
           check_heads(file, root, e);
}

/* ---- the scheduler ---------------------------------------------------------------------------------------------- */

static const wanted any_scheduler[] = {{"trained_betas", OFF},
                                       {"beta_start", POSITIVE},
                                       {"beta_end", POSITIVE},
                                       {"num_train_timesteps", POSITIVE},
                                       {"beta_schedule", WORD, 0, "scaled_linear|linear|squaredcos_cap_v2"}},
                    ddim[] = {{"thresholding", OFF}},
                    euler[] =
                        {
                            {"interpolation_type", WORD, 0, "linear"},
                            {"timestep_type", WORD, 0, "discrete"},
                            {"use_exponential_sigmas", OFF},
                            {"use_beta_sigmas", OFF},
                            {"sigma_min", OFF},
                            {"sigma_max", OFF},
                            {"final_sigmas_type", WORD, 0, "zero"},
},
                    dpm[] =
                        {
                            {"algorithm_type", WORD, 0, "dpmsolver++|sde-dpmsolver++"},
                            {"solver_order", NUMBER, 2},
                            {"solver_type", WORD, 0, "midpoint"},
                            {"thresholding", OFF},
                            {"use_exponential_sigmas", OFF},
                            {"use_beta_sigmas", OFF},
                            {"use_lu_lambdas", OFF},
                            {"use_flow_sigmas", OFF},
                            {"use_dynamic_shifting", OFF},
                            {"variance_type", OFF},
                            {"final_sigmas_type", WORD, 0, "zero"},
},
                    lcm[] = {{"original_inference_steps", NUMBER, 50},
                             {"timestep_scaling", NUMBER, 10},
                             {"thresholding", OFF},
                             {"clip_sample", OFF}};

/* diffusers leaves out keys that the class doesn't have, and so does limn. */
bool diffusers_check_scheduler(const json_t *root, err *e)
{
    static const struct {
        const char *name;
        const wanted *rows;
        size_t n;
    } classes[] = {
        {"DDIMScheduler", ROWS(ddim)},
        {"EulerDiscreteScheduler", ROWS(euler)},
        {"DPMSolverMultistepScheduler", ROWS(dpm)},
        {"LCMScheduler", ROWS(lcm)},
    };
    static const char *const file = "scheduler_config.json", *const why = "limn's samplers don't do that";
    const char *name = json_string_value(json_object_get(root, "_class_name"));
    const json_t *skip = json_object_get(root, "skip_prk_steps"), *least = json_object_get(root, "lambda_min_clipped");
    for (size_t i = 0; name && i < sizeof classes / sizeof *classes; i++)
        if (!strcmp(classes[i].name, name) && !check_wanted(file, root, classes[i].rows, classes[i].n, why, e))
            return false;
    if (name && !strcmp(name, "PNDMScheduler") && (!skip || json_is_false(skip)))
        return err_set(e, ERR_FAILED,
                       "%s: \"skip_prk_steps\": %s: limn's sampler pndm has no Runge-Kutta steps (set it to true)",
                       file, skip ? "false" : "it isn't there");
    if (name && !strcmp(name, "DPMSolverMultistepScheduler") && json_is_number(least) &&
        isfinite(json_number_value(least)))
        return refuse(file, "lambda_min_clipped", least, why, e);
    return check_wanted(file, root, ROWS(any_scheduler), why, e);
}

/* ---- the others ------------------------------------------------------------------------------------------------- */

bool diffusers_check_autoencoder(const json_t *root, err *e)
{
    static const wanted rows[] = {
        {"shift_factor", OFF},        {"latents_mean", OFF},         {"latents_std", OFF},
        {"use_quant_conv", ON},       {"use_post_quant_conv", ON},   {"act_fn", WORD, 0, "silu|swish"},
        {"in_channels", NUMBER, 3},   {"out_channels", NUMBER, 3},   {"_class_name", WORD, 0, "AutoencoderKL"},
        {"scaling_factor", POSITIVE}, {"norm_num_groups", POSITIVE},
    };
    return check_wanted("config.json of the autoencoder", root, ROWS(rows), "limn has no such autoencoder", e);
}

bool diffusers_check_text(const json_t *root, err *e)
{
    static const wanted rows[] = {{"use_attention_mask", OFF},
                                  {"hidden_act", WORD, 0, "gelu|quick_gelu"},
                                  {"model_type", WORD, 0, "clip_text_model|clip"},
                                  {"num_attention_heads", POSITIVE},
                                  {"num_hidden_layers", POSITIVE},
                                  {"layer_norm_eps", POSITIVE}};
    return check_wanted("config.json of the text encoder", root, ROWS(rows), "limn has no such text tower", e);
}

/* ---- unCLIP's parts --------------------------------------------------------------------------------------------- */

bool diffusers_check_unclip_unet(const json_t *root, const char *part, bool decoder, err *e)
{
    static const wanted shifts[] = {{"resnet_time_scale_shift", WORD, 0, "scale_shift"}},
                        either[] = {{"resnet_time_scale_shift", WORD, 0, "default|scale_shift"}};
    static const char *const why = "limn's unCLIP has another";
    const json_t *class = json_object_get(root, "class_embed_type");
    const char *text = json_string_value(class);
    char file[96];
    snprintf(file, sizeof file, "config.json of %s", part);
    if (!check_wanted(file, root, ROWS(any_unet), why, e) ||
        !check_wanted(file, root, decoder ? shifts : either, 1, why, e))
        return false;
    if (decoder && root && !(text && !strcmp(text, "identity")))
        return refuse(file, "class_embed_type", class ? class : json_null(), why, e);
    const json_t *widths = json_object_get(root, "attention_head_dim");
    const size_t n = json_array_size(widths);
    for (size_t i = 0; decoder && i < n; i++)
        if (!json_equal(json_array_get(widths, i), json_array_get(widths, n - 1 - i)))
            return refuse(file, "attention_head_dim", widths,
                          "diffusers reads this list in the same order on the way up, where limn's levels have the "
                          "heads of the way down",
                          e);
    return true;
}

bool diffusers_check_prior(const json_t *root, err *e)
{
    static const wanted rows[] = {{"time_embed_act_fn", WORD, 0, "silu|swish"}};
    return check_wanted("config.json of prior", root, ROWS(rows), "limn's prior has another", e);
}

bool diffusers_check_unclip_scheduler(const json_t *root, const char *folder, err *e)
{
    static const wanted rows[] = {{"_class_name", WORD, 0, "UnCLIPScheduler"},
                                  {"prediction_type", WORD, 0, "epsilon|sample"},
                                  {"variance_type", WORD, 0, "fixed_small_log|learned_range"},
                                  {"beta_schedule", WORD, 0, "squaredcos_cap_v2"}};
    char file[96];
    snprintf(file, sizeof file, "scheduler_config.json of %s", folder);
    return check_wanted(file, root, ROWS(rows), "limn's sampler unclip has another", e);
}
