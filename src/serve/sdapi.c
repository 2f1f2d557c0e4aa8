/* The paths of AUTOMATIC1111's web interface, for front ends that speak these alone.  What limn has no like of is
 * ignored, as that interface does with samplers that it doesn't know, or answered by an empty list. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "generate/settings.h"
#include "serve/request.h"

/* What the answer needs beside the job. */
typedef struct asked {
    bool silent;    /* no pictures are sent back */
    char request[]; /* the request as JSON, without its pictures */
} asked;

/* ---- answers ---------------------------------------------------------------------------------------------------- */

static json_t *repeat(const char *text, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(list, json_string(text));
    return list;
}

/* "info": how it was drawn, as text. */
static json_t *info_of(const job *j)
{
    json_t *seeds = json_array(), *texts = json_array();
    for (int i = 0; i < j->count; i++) {
        json_array_append_new(seeds, json_integer((json_int_t)(j->seed + (uint64_t)i)));
        if (j->pictures && j->pictures[i].settings)
            json_array_append_new(texts, json_string(j->pictures[i].settings));
    }
    const char *negative = j->negative ? j->negative : "";
    json_t *info = json_pack(
        "{s:s, s:o, s:s, s:o, s:I, s:o, s:I, s:O, s:i, s:i, s:i, s:s, s:f, s:i, s:i, s:s, s:{}, s:i, s:o, s:[], s:i}",
        "prompt", j->prompt, "all_prompts", repeat(j->prompt, j->count), "negative_prompt", negative,
        "all_negative_prompts", repeat(negative, j->count), "seed", (json_int_t)j->seed, "all_seeds", seeds, "subseed",
        (json_int_t)j->seed, "all_subseeds", seeds, "subseed_strength", 0, "width",
        j->width ? j->width : j->drawn_width, "height", j->height ? j->height : j->drawn_height, "sampler_name",
        j->drawn_by ? j->drawn_by : "", "cfg_scale", (double)j->drawn_guidance, "steps", j->all_steps, "batch_size",
        j->count, "sd_model_name", j->model->id, "extra_generation_params", "index_of_first_image", 0, "infotexts",
        texts, "styles", "clip_skip", 1);
    char *text = json_dumps(info, JSON_COMPACT);
    json_t *result = text ? json_string(text) : NULL;
    free(text);
    json_decref(info);
    return result;
}

static void answer_all(job *j)
{
    const asked *q = j->own;
    text_buffer b = {0};
    json_t *info = info_of(j);
    char *text = info ? json_dumps(info, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    bool ok = text && text_format(&b, "{\"images\":[");
    for (int i = 0, n = 0; ok && j->pictures && i < j->count && !q->silent; i++)
        if (j->pictures[i].file)
            ok = text_format(&b, "%s\"", n++ ? "," : "") && text_base64(&b, j->pictures[i].file, j->pictures[i].size) &&
                 text_format(&b, "\"");
    ok = ok && text_format(&b, "],\"parameters\":%s,\"info\":%s}", q->request, text);
    api_error a;
    if (ok) {
        exchange_answer(j->x, 200, "application/json", b.text, b.size);
    } else {
        request_short(&a);
        api_answer_error(j->x, &a);
    }
    text_release(&b);
    free(text);
    json_decref(info);
}

/* One that was interrupted gives the pictures that are there. */
static void on_failed(job *j, const limn_error *e)
{
    api_error a;
    if (e->cause == LIMN_CAUSE_INTERRUPTED) {
        answer_all(j);
        return;
    }
    api_from(&a, e);
    api_answer_error(j->x, &a);
}

static const job_answers answers = {NULL, NULL, answer_all, on_failed};

/* ---- requests --------------------------------------------------------------------------------------------------- */

/* A model by its title, "NAME.gguf [HASH]", or a part of it; NULL: the chosen one. */
static served *find_model(const server *s, const char *title, api_error *a)
{
    char id[160];
    if (!title || !*title)
        return &s->models[__atomic_load_n(&s->chosen, __ATOMIC_RELAXED)];
    snprintf(id, sizeof id, "%s", title);
    char *hash = strstr(id, " [");
    if (hash)
        *hash = 0;
    size_t n = strlen(id);
    if (n > 5 && !strcmp(id + n - 5, ".gguf"))
        id[n - 5] = 0;
    return server_model(s, id, a);
}

static bool read_model(server *s, const fields *p, job *j, api_error *a)
{
    const char *title = NULL;
    const json_t *settings = json_object_get(p->root, "override_settings");
    const fields over = {.x = p->x, .root = json_is_object(settings) ? (json_t *)(uintptr_t)settings : NULL};
    if (over.root && !fields_text(&over, "sd_model_checkpoint", &title, a))
        return false;
    j->model = find_model(s, title, a);
    return j->model;
}

/* limn's name of a sampler under its title there, which may end in the name of a scheduler; NULL: it has none such. */
static const char *find_sampler(const char *title, const char *scheduler)
{
    static const char karras[] = " Karras";
    char whole[64];
    size_t n = strlen(title), end = sizeof karras - 1;
    bool by_karras = scheduler && !strcasecmp(scheduler, karras + 1);
    if (n > end && !strcasecmp(title + n - end, karras)) {
        by_karras = true;
        n -= end;
    }
    if (n >= sizeof whole - end)
        return NULL;
    snprintf(whole, sizeof whole, "%.*s%s", (int)n, title, by_karras ? karras : "");
    const char *found = settings_sampler(whole);
    whole[n] = 0;
    return found ? found : settings_sampler(whole);
}

/* A sampler that limn hasn't leaves the model its own. */
static bool read_sampler(const fields *p, job *j, api_error *a)
{
    const char *title = NULL, *older = NULL, *scheduler = NULL;
    bool ok = fields_text(p, "sampler_name", &title, a) && fields_text(p, "sampler_index", &older, a) &&
              fields_text(p, "scheduler", &scheduler, a);
    j->lenient = true;
    title = title && *title ? title : older;
    if (ok && title)
        j->sampler = find_sampler(title, scheduler);
    return ok;
}

static bool read_numbers(const fields *p, job *j, api_error *a)
{
    int batch = 1, times = 1;
    bool ok = fields_integer(p, "batch_size", 1, PICTURES_MOST, &batch, a) &&
              fields_integer(p, "n_iter", 1, PICTURES_MOST, &times, a) &&
              fields_integer(p, "width", 1, SIDE_MOST, &j->width, a) &&
              fields_integer(p, "height", 1, SIDE_MOST, &j->height, a) && request_sampling(p, j, "cfg_scale", a);
    if (ok && batch * times > PICTURES_MOST)
        return api_fail(a, 400, "n_iter", NULL, "n_iter: %d pictures are more than %d", batch * times, PICTURES_MOST);
    if (ok && (j->width == 0) != (j->height == 0))
        return api_fail(a, 400, j->width ? "height" : "width", NULL, "width and height go together");
    j->count = batch * times;
    j->own_seeds = true;
    return ok;
}

/* What of a picture stays: what is black in the mask, or inverted white; without one a share of its cells; all of it
 * where nothing may change. */
static bool read_pictures(const fields *p, job *j, api_error *a)
{
    int invert = 0;
    j->strength = 0.75f;
    j->denoise = true;
    if (!fields_picture(p, "init_images", &j->picture, a) || !fields_picture(p, "mask", &j->mask, a) ||
        !fields_number(p, "denoising_strength", 0, 1, &j->strength, a) ||
        !fields_integer(p, "inpainting_mask_invert", 0, 1, &invert, a))
        return false;
    if (j->picture.size == 0)
        return api_fail(a, 400, "init_images", "missing_required_parameter", "init_images: it is missing");
    j->mask_is = invert ? STAYS_WHITE : STAYS_BLACK;
    if (j->strength > 0)
        return true;
    text_release(&j->mask);
    j->steps = 1;
    j->region = strdup("top:1");
    return j->region || request_short(a);
}

/* The request as it is told again. */
static bool read_own(const fields *p, job *j, api_error *a)
{
    json_t *copy = json_copy(p->root), *none = json_null();
    bool send = true;
    if (json_object_get(copy, "init_images"))
        json_object_set(copy, "init_images", none);
    if (json_object_get(copy, "mask"))
        json_object_set(copy, "mask", none);
    char *text = copy ? json_dumps(copy, JSON_COMPACT) : NULL;
    size_t n = text ? strlen(text) + 1 : 0;
    asked *q = text ? malloc(sizeof *q + n) : NULL;
    bool ok = q ? fields_bool(p, "send_images", &send, a) : request_short(a);
    if (q) {
        q->silent = !send;
        memcpy(q->request, text, n);
    }
    j->own = q;
    free(text);
    json_decref(copy);
    return ok;
}

static void handle(server *s, exchange *x, bool of_picture)
{
    api_error a = {0};
    fields p = {0};
    job *j = job_new(x, &answers);
    bool ok = j ? fields_read(&p, x, &a) : request_short(&a);
    if (ok && !p.root)
        ok = api_fail(&a, 400, "", NULL, "JSON is wanted");
    ok = ok && read_own(&p, j, &a) && read_model(s, &p, j, &a) && request_prompt(&p, j, false, &a) &&
         read_numbers(&p, j, &a) && read_sampler(&p, j, &a) && (!of_picture || read_pictures(&p, j, &a));
    if (ok)
        j->strict_size = s->o.strict_size;
    if (ok && j->negative && !*j->negative) { /* front ends send it always */
        free(j->negative);
        j->negative = NULL;
    }
    fields_release(&p);
    request_submit(s, x, j, ok, &a);
}

void sdapi_txt2img(server *s, exchange *x)
{
    handle(s, x, false);
}

void sdapi_img2img(server *s, exchange *x)
{
    handle(s, x, true);
}

/* ---- work that goes on ------------------------------------------------------------------------------------------- */

/* Of the job that began first. */
typedef struct progress {
    int count, codes, all, steps;
    double since;
    bool look;
    text_buffer view;
} progress;

static void see_progress(void *context, job *j)
{
    progress *p = context;
    p->count = j->count;
    p->codes = j->codes;
    p->all = j->all_codes;
    p->steps = j->all_steps;
    p->since = j->created;
    j->peeked = p->look;
    if (p->look && j->view.size > 0)
        text_base64(&p->view, j->view.text, j->view.size);
}

void sdapi_progress(server *s, exchange *x)
{
    const char *skip = exchange_query(x, "skip_current_image");
    progress p = {.look = !skip || (strcasecmp(skip, "true") != 0 && strcmp(skip, "1") != 0)};
    bool works = worker_first(s->worker, &answers, see_progress, &p);
    double share = works && p.all > 0 ? (double)p.codes / p.all : 0, spent = works ? job_seconds() - p.since : 0;
    json_t *root = json_pack(
        "{s:f, s:f, s:{s:b, s:b, s:b, s:s, s:i, s:s, s:i, s:i, s:i}, s:s?, s:n}", "progress", share, "eta_relative",
        share > 0 ? spent * (1 - share) / share : 0.0, "state", "skipped", 0, "interrupted", 0, "stopping_generation",
        0, "job", works ? "task" : "", "job_count", works ? p.count : 0, "job_timestamp", "0", "job_no",
        p.all ? (int)((int64_t)p.codes * p.count / p.all) : 0, "sampling_step", (int)(share * p.steps),
        "sampling_steps", p.steps, "current_image", p.view.text, "textinfo");
    text_release(&p.view);
    answer_json(x, root);
}

static void cancel(void *context, job *j)
{
    (void)context;
    j->cancelled = true;
}

void sdapi_interrupt(server *s, exchange *x)
{
    worker_first(s->worker, &answers, cancel, NULL);
    answer_json(x, json_object());
}

/* ---- models and settings ------------------------------------------------------------------------------------------
 */

void sdapi_models(server *s, exchange *x)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_models; i++) {
        const served *m = &s->models[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:n, s:n, s:s+, s:n}", "title", m->id, "model_name", m->id,
                                              "hash", "sha256", "filename", m->id, ".gguf", "config"));
    }
    answer_json(x, list);
}

void sdapi_options(server *s, exchange *x)
{
    const served *m = find_model(s, NULL, NULL);
    answer_json(x, json_pack("{s:s, s:s, s:s, s:i, s:b, s:s}", "sd_model_checkpoint", m->id, "sd_checkpoint_hash", "",
                             "samples_format", "png", "CLIP_stop_at_last_layers", 1, "enable_pnginfo", 1, "sd_vae",
                             "Automatic"));
}

void sdapi_set_options(server *s, exchange *x)
{
    api_error a = {0};
    fields p = {0};
    const char *title = NULL;
    const served *m = NULL;
    bool ok =
        fields_read(&p, x, &a) && fields_text(&p, "sd_model_checkpoint", &title, &a) && (m = find_model(s, title, &a));
    if (ok)
        __atomic_store_n(&s->chosen, (size_t)(m - s->models), __ATOMIC_RELAXED);
    fields_release(&p);
    if (ok)
        answer_json(x, json_null());
    else
        api_answer_error(x, &a);
}

/* The settings that a picture carries, by the names that they have there. */
static json_t *items_of(const parameters *p)
{
    json_t *items = json_pack("{s:s?, s:s?, s:s*, s:s*}", "Prompt", p->prompt, "Negative prompt", p->negative,
                              "Sampler", p->sampler, "Model", p->model);
    if (p->has & PARAMETERS_SEED)
        json_object_set_new(items, "Seed", json_sprintf("%" PRIu64, p->seed));
    if (p->has & PARAMETERS_STEPS)
        json_object_set_new(items, "Steps", json_sprintf("%d", p->steps));
    if (p->has & PARAMETERS_GUIDANCE)
        json_object_set_new(items, "CFG scale", json_sprintf("%g", (double)p->guidance));
    if (p->has & PARAMETERS_SIZE) {
        json_object_set_new(items, "Size-1", json_sprintf("%d", p->width));
        json_object_set_new(items, "Size-2", json_sprintf("%d", p->height));
    }
    return items;
}

void sdapi_png_info(server *s, exchange *x)
{
    api_error a = {0};
    fields p = {0};
    text_buffer file = {0};
    parameters said = {0};
    char *text = NULL;
    err e = {0};
    (void)s;
    bool ok = fields_read(&p, x, &a) && fields_picture(&p, "image", &file, &a);
    if (ok && file.size == 0)
        ok = api_fail(&a, 400, "image", "missing_required_parameter", "image: it is missing");
    if (ok && (!image_read_parameters_memory(&text, file.text, file.size, "image", &e) ||
               (text && !parameters_parse(&said, text, &e))))
        ok = api_fail(&a, 400, "image", NULL, "%.600s", e.text);
    if (ok)
        answer_json(x, json_pack("{s:s, s:{}, s:o}", "info", text ? text : "", "items", "parameters",
                                 text ? items_of(&said) : json_object()));
    else
        api_answer_error(x, &a);
    parameters_release(&said);
    free(text);
    text_release(&file);
    fields_release(&p);
}

/* Whether the chosen model has samplers; one that hasn't been open yet may. */
static bool has_samplers(const server *s, bool *known)
{
    const served *m = find_model(s, NULL, NULL);
    const char *facts = __atomic_load_n(&m->facts, __ATOMIC_ACQUIRE);
    json_t *root = facts ? json_loads(facts, 0, NULL) : NULL;
    bool has = json_array_size(json_object_get(root, "samplers")) > 0;
    *known = root;
    json_decref(root);
    return has || !*known;
}

static json_t *sampler_entry(const char *name, const char *alias)
{
    json_t *aliases = json_array();
    if (alias)
        json_array_append_new(aliases, json_string(alias));
    return json_pack("{s:s, s:o, s:{}}", "name", name, "aliases", aliases, "options");
}

void sdapi_samplers(server *s, exchange *x)
{
    bool known, has = has_samplers(s, &known);
    const char *name;
    json_t *list = json_array();
    for (int i = 0; has && (name = settings_sampler_name(i)); i++)
        json_array_append_new(list, sampler_entry(settings_sampler_title(name), name));
    if (!has || !known)
        json_array_append_new(list, sampler_entry("Gumbel-Max", NULL));
    answer_json(x, list);
}

void sdapi_schedulers(server *s, exchange *x)
{
    static const char *const names[] = {"automatic", "karras"}, *const labels[] = {"Automatic", "Karras"};
    bool known, has = has_samplers(s, &known);
    json_t *list = json_array();
    for (int i = 0; i < 1 + has; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:n, s:f, s:b}", "name", names[i], "label", labels[i],
                                              "aliases", "default_rho", i ? 7.0 : -1.0, "need_inner_model", 0));
    answer_json(x, list);
}

/* Paths whose answer is always the same. */
static const struct fixed {
    const char *name, *answer;
} fixed[] = {
    {"upscalers", "[{\"name\":\"None\",\"model_name\":null,\"model_path\":null,\"model_url\":null,\"scale\":1.0}]"},
    {"embeddings", "{\"loaded\":{},\"skipped\":{}}"},
    {"scripts", "{\"txt2img\":[],\"img2img\":[]}"},
    {"cmd-flags", "{\"api\":true,\"ckpt\":null,\"medvram\":false,\"lowvram\":false,\"xformers\":false}"},
    {"memory", "{\"ram\":{},\"cuda\":{}}"},
};

void sdapi_fixed(server *s, exchange *x)
{
    const char *name = exchange_path(x) + strlen("/sdapi/v1/"), *text = "[]";
    (void)s;
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++)
        if (!strcmp(name, fixed[i].name))
            text = fixed[i].answer;
    exchange_answer(x, 200, "application/json", text, strlen(text));
}

void sdapi_nothing(server *s, exchange *x)
{
    (void)s;
    exchange_answer(x, 200, "application/json", "null", 4);
}
