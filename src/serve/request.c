/* From fields to jobs. */
#include "serve/request.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "generate/settings.h"

bool request_short(api_error *a)
{
    return api_fail(a, 500, "", NULL, "the server's memory is short");
}

bool request_prompt(const fields *p, job *j, bool required, api_error *a)
{
    const char *prompt = NULL, *negative = NULL, *user = NULL;
    if (!fields_text(p, "prompt", &prompt, a) || !fields_text(p, "negative_prompt", &negative, a) ||
        !fields_text(p, "user", &user, a))
        return false;
    if (required && !prompt)
        return api_fail(a, 400, "prompt", "missing_required_parameter", "prompt: it is missing");
    if (prompt && strlen(prompt) > PROMPT_MOST)
        return api_fail(a, 400, "prompt", "string_above_max_length", "prompt: longer than %d bytes", PROMPT_MOST);
    if (negative && strlen(negative) > PROMPT_MOST)
        return api_fail(a, 400, "negative_prompt", "string_above_max_length", "negative_prompt: longer than %d bytes",
                        PROMPT_MOST);
    j->prompt = strdup(prompt ? prompt : "");
    j->negative = negative ? strdup(negative) : NULL;
    j->user = user ? strdup(user) : NULL;
    return (j->prompt && (j->negative || !negative) && (j->user || !user)) || request_short(a);
}

bool request_sampling(const fields *p, job *j, const char *guidance, api_error *a)
{
    bool given = false;
    bool ok = fields_seed(p, "seed", &j->seed, &given, a) && fields_number(p, guidance, 0, 1000, &j->guidance, a) &&
              fields_number(p, "temperature", 0, 100, &j->temperature, a) &&
              fields_integer(p, "top_k", 0, 1000000000, &j->top_k, a) &&
              fields_number(p, "top_p", 0, 1, &j->top_p, a) && fields_integer(p, "steps", 1, 1000, &j->steps, a);
    if (ok && !given && getrandom(&j->seed, sizeof j->seed, 0) == sizeof j->seed)
        j->seed >>= 32; /* as limn generate's; JavaScript has such numbers exactly */
    return ok;
}

/* One of the names that limn has for something, as *value, which stays where the field isn't there. */
static bool read_name(const fields *p, const char *field, const char *(*name_of)(int i), const char **value,
                      api_error *a)
{
    const char *text = NULL, *name;
    char known[256] = "";
    if (!fields_text(p, field, &text, a))
        return false;
    for (int i = 0; text && *text && (name = name_of(i)); i++) {
        size_t at = strlen(known);
        snprintf(known + at, sizeof known - at, "%s%s", i ? ", " : "", name);
        if (!strcmp(text, name)) {
            *value = name;
            return true;
        }
    }
    return !text || !*text || api_fail(a, 400, field, NULL, "%s: \"%.40s\" is none of %s", field, text, known);
}

bool request_sampler(const fields *p, job *j, api_error *a)
{
    return read_name(p, "sampler", settings_sampler_name, &j->sampler, a) &&
           read_name(p, "spacing", settings_spacing_name, &j->spacing, a);
}

void request_submit(server *s, exchange *x, job *j, bool ok, api_error *a)
{
    if (ok && !worker_is_ready(s->worker))
        ok = api_fail(a, 503, "", NULL, "the device is being opened again, or the server ends: try again in a moment");
    if (ok && !worker_add(s->worker, j))
        ok = api_fail(a, 429, "", "rate_limit_exceeded", "too many requests wait: try again later");
    if (!ok)
        api_answer_error(x, a);
    job_release(j);
}
