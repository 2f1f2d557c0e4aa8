/* Settings as text. */
#include "generate/settings.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "models/diffusion/schedule.h"

/* As front ends call them. */
static const char *const sampler_titles[SAMPLERS] = {
    "DDIM",
    "PLMS",
    "Euler",
    "Euler Karras",
    "Euler a",
    "DPM++ 2M",
    "DPM++ 2M Karras",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Karras",
    "LCM",
    "DDPM",
};

const char *settings_sampler(const char *title)
{
    for (int i = 0; title && i < SAMPLERS; i++)
        if (!strcmp(sampler_titles[i], title))
            return sampler_names[i];
    return NULL;
}

const char *settings_sampler_title(const char *name)
{
    int k = sampler_find(name);
    return k < 0 ? NULL : sampler_titles[k];
}

const char *settings_sampler_name(int i)
{
    return i < SAMPLERS ? sampler_names[i] : NULL;
}

const char *settings_spacing_name(int i)
{
    return i < SPACINGS ? spacing_names[i] : NULL;
}

static const char *sampler_title(const limn_model_info *i, const limn_generate_options *g)
{
    const char *title = settings_sampler_title(g->sampler ? g->sampler : i->default_sampler);
    return title ? title : sampler_titles[0];
}

/* What unCLIP's other stages were asked for; the prior draws no pictures that are given. */
static void put_unclip(const limn_model_info *i, const limn_generate_options *g, parameters *p)
{
    const bool texts = i->has_prior && (!g->image || (g->between && !g->image_to));
    if (!i->default_super_steps)
        return;
    p->has |= PARAMETERS_SUPER_STEPS | (texts ? PARAMETERS_PRIOR_STEPS | PARAMETERS_PRIOR_GUIDANCE : 0) |
              (g->between ? PARAMETERS_BETWEEN : 0);
    p->super_steps = g->super_steps ? g->super_steps : i->default_super_steps;
    p->prior_steps = g->prior_steps ? g->prior_steps : i->default_prior_steps;
    p->prior_guidance = g->prior_guidance > 0 ? g->prior_guidance : i->default_prior_guidance;
    p->between = g->between;
    p->prompt_to = g->between ? g->prompt_to : NULL;
}

parameters settings_parameters(const limn_model_info *i, const limn_generate_options *g)
{
    parameters p = {.negative = g->negative,
                    .sampler = i->latent_channels    ? sampler_title(i, g)
                               : g->temperature <= 0 ? "Greedy"
                               : i->default_steps    ? "MaskGIT"
                                                     : "Gumbel-Max",
                    .model = i->name,
                    .version = "limn " LIMN_VERSION,
                    .spacing = g->spacing,
                    .kv_cache = g->kv_cache_f16 ? "f16" : NULL,
                    .has = PARAMETERS_STEPS | PARAMETERS_GUIDANCE | PARAMETERS_SEED | PARAMETERS_SIZE |
                           (i->latent_channels ? 0 : PARAMETERS_TEMPERATURE | PARAMETERS_TOP_K | PARAMETERS_TOP_P) |
                           (g->strength > 0 ? PARAMETERS_STRENGTH : 0),
                    .steps = g->steps           ? g->steps
                             : i->default_steps ? i->default_steps
                                                : i->grid_width * i->grid_height,
                    .strength = g->strength,
                    .width = i->width,
                    .height = i->height,
                    .top_k = g->top_k,
                    .seed = g->seed,
                    .guidance = g->guidance > 0 ? g->guidance : 1,
                    .temperature = g->temperature,
                    .top_p = g->top_p > 0 ? g->top_p : 1};
    put_unclip(i, g, &p);
    return p;
}

/* "token ids 5 7" of a row of ids, a new string. */
static char *ids_text(const int32_t *ids, size_t n)
{
    const size_t room = 12 * n + sizeof "token ids";
    char *text = malloc(room);
    size_t used = text ? (size_t)snprintf(text, room, "token ids") : 0;
    for (size_t i = 0; text && i < n; i++)
        used += (size_t)snprintf(text + used, room - used, " %" PRId32, ids[i]);
    return text;
}

char *settings_text(const limn_model_info *i, const limn_generate_options *g, const limn_settings *s)
{
    parameters p = settings_parameters(i, g);
    const int count = g->count ? g->count : 1;
    char shown[32], *ids = NULL;
    p.prompt = g->prompt;
    p.image_prompt = s->image_prompt;
    p.keep = s->keep;
    p.image_to = g->between && g->image_to ? s->image_to : NULL;
    p.adapters = s->adapters;
    p.picture = g->first + s->picture + 1;
    p.pictures = g->between ? g->between : g->first + count;
    if (p.pictures > 1) /* the number that, with the seed, makes it again */
        p.has |= PARAMETERS_PICTURE;
    if (!g->prompt && i->classes && g->n_text_ids == 1) {
        p.has |= PARAMETERS_CLASS;
        p.class = g->text_ids[0];
        snprintf(shown, sizeof shown, "class %" PRId32, p.class);
        p.prompt = shown;
    } else if (!g->prompt) {
        ids = ids_text(g->text_ids, g->n_text_ids);
        if (!ids)
            return NULL;
        p.prompt = ids;
        p.text_ids = g->n_text_ids ? ids + sizeof "token ids" : "";
    }
    char *text = parameters_text(&p);
    free(ids);
    return text;
}
