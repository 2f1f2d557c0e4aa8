/* The noise of diffusion models: keys, and what is kept of a picture at each time. */
#include "models/diffusion/schedule.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "weights/config.h"

const char *const sampler_names[SAMPLERS] = {
    "ddim",
    "pndm",
    "euler",
    "euler_karras",
    "euler_a",
    "dpmpp_2m",
    "dpmpp_2m_karras",
    "dpmpp_2m_sde",
    "dpmpp_2m_sde_karras",
    "lcm",
};
const char *const spacing_names[SPACINGS] = {"leading", "linspace", "trailing"};

static const char *const betas_names[BETAS_COUNT] = {"scaled_linear", "linear", "cosine"};
static const char *const prediction_names[PREDICTION_COUNT] = {"epsilon", "v"};
static const char *const own_spacing_names[SPACINGS + 1] = {"", "leading", "linspace", "trailing"};

static const config_field fields[] = {
    {"limn.scheduler.times", offsetof(schedule, times), 1, SCHEDULE_TIMES},
    {"limn.scheduler.beta_start", offsetof(schedule, beta_start), 0, 1, CONFIG_FLOAT},
    {"limn.scheduler.beta_end", offsetof(schedule, beta_end), 0, 1, CONFIG_FLOAT},
    {"limn.scheduler.betas", offsetof(schedule, betas), 0, BETAS_COUNT, CONFIG_CHOICE, betas_names},
    {"limn.scheduler.prediction", offsetof(schedule, predicts), 0, PREDICTION_COUNT, CONFIG_CHOICE, prediction_names},
    {"limn.scheduler.offset", offsetof(schedule, offset), 0, SCHEDULE_TIMES - 1},
    {"limn.scheduler.ends_at_one", offsetof(schedule, ends_at_one), .kind = CONFIG_BOOL},
    {"limn.scheduler.sampler", offsetof(schedule, with), 0, SAMPLERS, CONFIG_CHOICE, sampler_names},
    {"limn.scheduler.spacing", offsetof(schedule, spacing), 0, SPACINGS + 1, CONFIG_CHOICE, own_spacing_names,
     .optional = true},
};
enum { FIELDS = sizeof fields / sizeof *fields };

bool schedule_check(const schedule *s, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, s, e))
        return false;
    /* nothing is left of a picture where a beta is 1, and nothing is known of it then */
    return (s->beta_end < 1 && s->beta_start > 0 && s->beta_start <= s->beta_end) ||
           err_set(e, ERR_FAILED, "%s: limn.scheduler.beta_start: %g, and beta_end %g: 0 < start <= end < 1 is wanted",
                   file, (double)s->beta_start, (double)s->beta_end);
}

bool schedule_read(schedule *s, const gguf *g, err *e)
{
    *s = (schedule){0};
    return config_fields(g, fields, FIELDS, s, e) && schedule_check(s, gguf_name(g), e);
}

void schedule_put(const schedule *s, gguf_writer *w)
{
    config_put(w, fields, FIELDS, s);
}

/* Nichol & Dhariwal's, equation 17. */
static double cosine(double t)
{
    double c = cos((t + 0.008) / 1.008 * 1.57079632679489661923);
    return c * c;
}

static double beta_at(const schedule *s, int i)
{
    double share = s->times > 1 ? (double)i / (s->times - 1) : 0, a = (double)s->beta_start, b = (double)s->beta_end;
    switch (s->betas) {
    case BETAS_COSINE:
        return fmin(1 - cosine((double)(i + 1) / s->times) / cosine((double)i / s->times), 0.999);
    case BETAS_SCALED:
        a = sqrt(a) + share * (sqrt(b) - sqrt(a));
        return a * a;
    default:
        return a + share * (b - a);
    }
}

void schedule_kept(const schedule *s, double kept[SCHEDULE_TIMES])
{
    double product = 1;
    for (int i = 0; i < s->times; i++)
        kept[i] = product *= 1 - beta_at(s, i);
}

static int find(const char *const *names, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(names[i], name))
            return i;
    return -1;
}

int sampler_find(const char *name)
{
    return find(sampler_names, SAMPLERS, name);
}

int spacing_find(const char *name)
{
    return find(spacing_names, SPACINGS, name);
}
