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
    "unclip",
};
const char *const spacing_names[SPACINGS] = {"leading", "linspace", "trailing"};

static const char *const betas_names[BETAS_COUNT] = {"scaled_linear", "linear", "cosine"};
const char *const prediction_names[PREDICTION_COUNT] = {"epsilon", "v", "sample"};
static const char *const own_spacing_names[SPACINGS + 1] = {"", "leading", "linspace", "trailing"};

static const config_field fields[] = {
    {"limn.scheduler.times", offsetof(schedule, times), 1, SCHEDULE_TIMES},
    {"limn.scheduler.beta_start", offsetof(schedule, beta_start), 0, 1, CONFIG_FLOAT},
    {"limn.scheduler.beta_end", offsetof(schedule, beta_end), 0, 1, CONFIG_FLOAT},
    {"limn.scheduler.betas", offsetof(schedule, betas), 0, BETAS_COUNT, CONFIG_CHOICE, betas_names},
    {"limn.scheduler.prediction", offsetof(schedule, predicts), 0, PREDICTION_COUNT, CONFIG_CHOICE, prediction_names},
    {"limn.scheduler.offset", offsetof(schedule, offset), 0, SCHEDULE_TIMES - 1},
    {"limn.scheduler.ends_at_one", offsetof(schedule, ends_at_one), .kind = CONFIG_BOOL},
    {"limn.scheduler.zero_snr", offsetof(schedule, zero_snr), .kind = CONFIG_BOOL, .optional = true},
    {"limn.scheduler.sampler", offsetof(schedule, with), 0, SAMPLERS, CONFIG_CHOICE, sampler_names},
    {"limn.scheduler.spacing", offsetof(schedule, spacing), 0, SPACINGS + 1, CONFIG_CHOICE, own_spacing_names,
     .optional = true},
};
enum { FIELDS = sizeof fields / sizeof *fields };

bool schedule_check(const schedule *s, const char *file, err *e)
{
    if (!config_check(file, fields, FIELDS, s, e))
        return false;
    if (s->zero_snr && s->predicts != PREDICTION_V)
        return err_set(e, ERR_FAILED,
                       "%s: limn.scheduler.zero_snr: where nothing is left of a picture its noise doesn't tell what it "
                       "is (models for that predict v)",
                       file);
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

/* The number that was written, of which a float has 7 digits. */
static double written(float x)
{
    double rounded = nearbyint((double)x * 1e9) / 1e9;
    return fabs(rounded - (double)x) <= fabs((double)x) * 6e-8 ? rounded : (double)x;
}

/* As the published code has it, in float: samplers round what follows from it to whole times. */
static float beta_at(const schedule *s, int i)
{
    const int last = s->times - 1;
    if (s->betas == BETAS_COSINE)
        return (float)fmin(1 - cosine((double)(i + 1) / s->times) / cosine((double)i / s->times), 0.999);
    const bool roots = s->betas == BETAS_SCALED;
    const float from = (float)(roots ? sqrt(written(s->beta_start)) : written(s->beta_start)),
                to = (float)(roots ? sqrt(written(s->beta_end)) : written(s->beta_end)),
                step = last > 0 ? (to - from) / (float)last : 0, /* from the nearer end */
        x = i < s->times / 2 || !last ? fmaf(step, (float)i, from) : fmaf(-step, (float)(last - i), to);
    return roots ? x * x : x;
}

/* Lin et al. 2023, algorithm 1. */
static void rescale(const schedule *s, double kept[SCHEDULE_TIMES])
{
    const float first = sqrtf((float)kept[0]), last = sqrtf((float)kept[s->times - 1]), scale = first / (first - last);
    float before = 1;
    double product = 1;
    for (int i = 0; first > last && i < s->times; i++) {
        const float root = (sqrtf((float)kept[i]) - last) * scale, now = root * root, beta = 1 - now / before;
        before = now;
        product *= (double)(1 - beta);
        kept[i] = (double)(float)product;
    }
}

void schedule_kept(const schedule *s, double kept[SCHEDULE_TIMES])
{
    double product = 1;
    for (int i = 0; i < s->times; i++) {
        product *= (double)(1 - beta_at(s, i));
        kept[i] = (double)(float)product;
    }
    if (s->zero_snr)
        rescale(s, kept);
}

void schedule_floats(const schedule *s, double kept[SCHEDULE_TIMES], double betas[SCHEDULE_TIMES])
{
    double product = 1;
    for (int i = 0; i < s->times; i++) {
        const float beta = (float)beta_at(s, i);
        product *= (double)(1 - beta);
        kept[i] = (double)(float)product;
        betas[i] = (double)beta;
    }
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
