/* limn generate --like: the settings that a picture carries stand in for options that aren't given. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/ranks.h"
#include "cli/generate.h"
#include "generate/settings.h"

static bool is_limns(const parameters *p)
{
    return p->version && strncmp(p->version, "limn ", 5) == 0;
}

/* What other programs' pictures say that means nothing here, in one note. */
static void say_left_out(const char *path, const parameters *p)
{
    char text[256] = "";
    size_t n = 0;
    if (is_limns(p) || ranks_rank() > 0)
        return;
    if (p->has & PARAMETERS_STEPS)
        n += (size_t)snprintf(text + n, sizeof text - n, ", Steps: %d", p->steps);
    if (p->sampler)
        n += (size_t)snprintf(text + n, sizeof text - n, ", Sampler: %.60s", p->sampler);
    if (p->has & PARAMETERS_SIZE)
        snprintf(text + n, sizeof text - n, ", Size: %dx%d", p->width, p->height);
    if (*text)
        say(LOG_WARNING, "--like: %s is another program's picture: %s mean nothing here", path, text + 2);
}

/* The image prompt, where its file is still there, and that of its mask. */
static void take_image_prompt(request *q)
{
    const parameters *p = &q->like;
    err missing = {0};
    keep k;
    if (!p->image_prompt || options_given(q->o, "image-prompt"))
        return;
    bool there = input_check(p->image_prompt, &missing) &&
                 (!p->keep || options_given(q->o, "keep") ||
                  (keep_parse(&k, p->keep, &missing) && (k.kind != KEEP_MASK || input_check(p->keep, &missing))));
    if (there)
        q->image_prompt = p->image_prompt;
    else if (ranks_rank() == 0)
        say(LOG_WARNING, "--like: %s (it is drawn without the image prompt)", missing.text);
}

bool like_read(request *q, err *e)
{
    const char *path = options_text(q->o, "like", NULL);
    parameters *p = &q->like;
    if (!path)
        return true;
    if (!input_check(path, e))
        return false;
    char *text = NULL;
    bool ok = image_read_parameters(&text, path, e);
    if (ok)
        ok = text
                 ? parameters_parse(p, text, e)
                 : err_set(e, ERR_FAILED,
                           "--like: %s carries no settings (limn and front ends write them as \"parameters\"; programs "
                           "that send pictures on may remove them)",
                           path);
    free(text);
    if (!ok)
        return false;
    if (!q->negative && p->negative && *p->negative)
        q->negative = p->negative;
    take_image_prompt(q);
    say_left_out(path, p);
    return true;
}

/* Whether it is a grid, and is to be one again. */
bool like_grid(const request *q)
{
    return q->like.has & PARAMETERS_PICTURE && q->like.picture == 0 && !options_given(q->o, "count");
}

int like_first(const request *q)
{
    bool numbered = q->like.has & PARAMETERS_PICTURE;
    return numbered && q->like.picture > 0 ? q->like.picture : numbered && q->like.first > 0 ? q->like.first : 1;
}

int like_count(const request *q)
{
    int n = q->like.pictures - like_first(q) + 1;
    return like_grid(q) && n > 1 ? n : 1;
}

bool like_ids(const request *q, int32_t **ids, size_t *n, err *e)
{
    size_t room = strlen(q->like.text_ids) / 2 + 1;
    char *end;
    *ids = array_new(room, sizeof **ids, "token ids", e);
    *n = 0;
    for (const char *s = q->like.text_ids; *ids && *s; s = end) {
        long id = strtol(s, &end, 10);
        if (end == s || *n == room || id < INT32_MIN || id > INT32_MAX)
            return err_set(e, ERR_FAILED, "--like: \"%.60s\" are no token ids", q->like.text_ids);
        (*ids)[(*n)++] = (int32_t)id;
        end += strspn(end, " ");
    }
    return *ids != NULL;
}

void like_settings(const request *q, const limn_model_info *m, limn_generate_options *g)
{
    const parameters *p = &q->like;
    if (p->has & PARAMETERS_TEMPERATURE && !m->latent_channels)
        g->temperature = p->temperature;
    if (p->has & PARAMETERS_TOP_K && !m->latent_channels)
        g->top_k = p->top_k;
    if (p->has & PARAMETERS_TOP_P && !m->latent_channels)
        g->top_p = p->top_p;
    if (p->has & PARAMETERS_GUIDANCE)
        g->guidance = p->guidance;
    if (p->has & PARAMETERS_STEPS && m->default_steps && is_limns(p))
        g->steps = p->steps;
    if (p->has & PARAMETERS_STRENGTH && m->default_steps && q->image_prompt && is_limns(p))
        g->strength = p->strength;
    if (m->latent_channels && is_limns(p)) {
        g->sampler = settings_sampler(p->sampler);
        g->spacing = p->spacing;
    }
    if (m->default_super_steps && is_limns(p)) {
        g->prior_steps = p->prior_steps;
        g->super_steps = p->super_steps;
        g->prior_guidance = p->prior_guidance;
    }
    g->kv_cache_f16 = p->kv_cache && strcmp(p->kv_cache, "f16") == 0;
}

bool like_resize(const request *q, opened_model *s, err *e)
{
    const parameters *p = &q->like;
    return !is_limns(p) || !(p->has & PARAMETERS_SIZE) || options_given(q->o, "size") ||
           command_resize(s, q->o, p->width, p->height, e);
}

void like_say_model(const request *q, const opened_model *s)
{
    const parameters *p = &q->like;
    if (p->model && strcmp(p->model, s->info->name) != 0 && ranks_rank() == 0)
        say(LOG_WARNING, "--like: %s was drawn by the model %s, and this is %s (-m takes another)",
            options_text(q->o, "like", ""), p->model, s->info->name);
    if (p->adapters && !q->adapters && ranks_rank() == 0)
        say(LOG_WARNING, "--like: %s was drawn with --lora %s, and this is without", options_text(q->o, "like", ""),
            p->adapters);
}
