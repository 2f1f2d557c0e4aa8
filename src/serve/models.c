/* What is told of the models that are served. */
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "generate/settings.h"
#include "serve/server.h"

/* What only codes are drawn by; temperature also where they are filled all at once. */
static const char *const of_codes[] = {"top_k", "top_p", "temperature"};
enum { COUNT_OF_CODES = sizeof of_codes / sizeof *of_codes };

/* What a model draws by where a request doesn't say; null: it hasn't it. */
void served_learn(served *m, const limn_model_info *i)
{
    if (__atomic_load_n(&m->facts, __ATOMIC_ACQUIRE))
        return;
    json_t *sizes = json_array();
    for (int k = 0; k < i->n_sizes; k++)
        json_array_append_new(sizes, json_sprintf("%dx%d", i->sizes[2 * k], i->sizes[2 * k + 1]));
    json_t *samplers = json_array();
    for (int k = 0; i->latent_channels && settings_sampler_name(k); k++)
        if (!i->default_super_steps || !strcmp(settings_sampler_name(k), i->default_sampler)) /* unCLIP has its own */
            json_array_append_new(samplers, json_string(settings_sampler_name(k)));
    json_t *root = json_pack("{s:s, s:o, s:f, s:i, s:f, s:f, s:i, s:o, s:s?, s:s?, s:b}", "name",
                             i->name ? i->name : "", "sizes", sizes, "temperature", (double)i->default_temperature,
                             "top_k", i->default_top_k, "top_p", (double)i->default_top_p, "guidance",
                             (double)i->default_guidance, "steps", i->default_steps, "samplers", samplers, "sampler",
                             i->default_sampler, "spacing", i->default_spacing, "strength", i->default_steps > 0);
    for (int k = 0; i->default_steps && k < (i->latent_channels ? COUNT_OF_CODES : 2); k++)
        json_object_set_new(root, of_codes[k], json_null());
    json_object_set_new(root, "size", json_sprintf("%dx%d", i->width, i->height));
    json_object_set_new(root, "size_step", json_integer(i->size_step));
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(7)) : NULL, *none = NULL;
    json_decref(root);
    if (!text || !__atomic_compare_exchange_n(&m->facts, &none, text, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        free(text); /* another worker was first */
}

/* As OpenAI's API has it, and below "limn" what is known of it. */
static json_t *model_entry(const served *m)
{
    const char *facts = __atomic_load_n(&m->facts, __ATOMIC_ACQUIRE);
    return json_pack("{s:s, s:s, s:I, s:s, s:o*}", "id", m->id, "object", "model", "created", (json_int_t)m->created,
                     "owned_by", "limn", "limn", facts ? json_loads(facts, 0, NULL) : NULL);
}

void models_list(server *s, exchange *x)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_models; i++)
        json_array_append_new(list, model_entry(&s->models[i]));
    answer_json(x, json_pack("{s:s, s:o}", "object", "list", "data", list));
}

void models_get(server *s, exchange *x)
{
    api_error a = {0};
    const served *m = server_model(s, exchange_path(x) + strlen("/v1/models/"), &a);
    if (m)
        answer_json(x, model_entry(m));
    else
        api_answer_error(x, &a);
}
