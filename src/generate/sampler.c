/* Samplers: times and sigmas of the steps, and the numbers of each.  In double: 1 - kept loses digits near time 0. */
#include "generate/sampler.h"

#include <math.h>
#include <string.h>

enum { LCM_STEPS = 50 }; /* of the teacher that latent consistency models were made of */

#define LEAST_KEPT (1.0 / (1 << 24)) /* for samplers that divide by what is left of a picture: as diffusers has it */

static bool goes_by_sigma(sampler_kind k)
{
    return k >= SAMPLER_EULER && k <= SAMPLER_DPMPP_2M_SDE_KARRAS;
}

static bool is_dpm(sampler_kind k)
{
    return k >= SAMPLER_DPMPP_2M && k <= SAMPLER_DPMPP_2M_SDE_KARRAS;
}

static bool is_sde(sampler_kind k)
{
    return k == SAMPLER_DPMPP_2M_SDE || k == SAMPLER_DPMPP_2M_SDE_KARRAS;
}

static bool is_karras(sampler_kind k)
{
    return k == SAMPLER_EULER_KARRAS || k == SAMPLER_DPMPP_2M_KARRAS || k == SAMPLER_DPMPP_2M_SDE_KARRAS;
}

bool sampler_draws(const sampler *s)
{
    return s->kind == SAMPLER_EULER_A || s->kind == SAMPLER_LCM || s->kind == SAMPLER_UNCLIP || is_sde(s->kind);
}

/* ---- sigmas ----------------------------------------------------------------------------------------------------- */

/* In float, and so are their logarithms: what follows from them is rounded to whole times, as in the published code. */
static double sigma_at(const sampler *s, int time)
{
    const float kept = (float)s->kept[time];
    return (double)sqrtf((1 - kept) / kept);
}

/* Between two times they are interpolated. */
static double sigma_of(const sampler *s, double time)
{
    int below = (int)floor(time), above = (int)ceil(time);
    double share = time - below;
    return (1 - share) * sigma_at(s, below) + share * sigma_at(s, above);
}

static float log_at(const sampler *s, int time)
{
    return (float)log(sigma_at(s, time));
}

/* The time that has a sigma: interpolated between the logarithms. */
static double time_of(const sampler *s, double sigma, int times)
{
    int below = 0;
    if (times < 2)
        return 0;
    while (below < times - 2 && (double)log_at(s, below + 1) <= log(sigma))
        below++;
    const float low = log_at(s, below), high = log_at(s, below + 1);
    double share = ((double)low - log(sigma)) / (double)(low - high);
    return below + fmin(fmax(share, 0), 1);
}

/* Karras et al. 2022, equation 5 with rho = 7: from `most` down to `least`. */
static void put_karras(sampler *s, const schedule *c, double most, double least)
{
    const double a = pow(most, 1 / 7.0), b = pow(least, 1 / 7.0);
    for (int i = 0; i < s->n; i++) {
        double share = s->n > 1 ? (double)i / (s->n - 1) : 0;
        s->sigmas[i] = pow(a + share * (b - a), 7);
        double time = time_of(s, s->sigmas[i], c->times);
        s->times[i] = !is_dpm(s->kind) ? time : c->betas == BETAS_COSINE ? floor(time) : nearbyint(time);
    }
}

static void put_sigmas(sampler *s, const schedule *c, spacing p)
{
    double most = 0;
    for (int i = 0; i < s->n; i++)
        s->sigmas[i] = sigma_of(s, s->times[i]);
    if (is_karras(s->kind) && is_dpm(s->kind))
        put_karras(s, c, sigma_at(s, c->times - 1), sigma_at(s, 0));
    else if (is_karras(s->kind))
        put_karras(s, c, s->sigmas[0], s->sigmas[s->n - 1]);
    s->sigmas[s->n] = 0;
    for (int i = 0; i < s->n; i++)
        most = fmax(most, s->sigmas[i]);
    s->initial = is_dpm(s->kind) ? 1 : p == SPACING_LEADING ? sqrt(most * most + 1) : most;
}

/* ---- times ------------------------------------------------------------------------------------------------------ */

static void put_times(sampler *s, const schedule *c, spacing p, int n)
{
    int all = c->times, dpm = is_dpm(s->kind);
    bool whole = !goes_by_sigma(s->kind) || dpm;
    const double trailing = (all - (double)all / n) - all; /* numpy's arange takes the difference of its first two */
    for (int i = 0; i < n; i++) { /* the products are as the published code has them: rounding depends on them */
        double t;
        int down = n - 1 - i;
        if (p == SPACING_TRAILING) {
            t = nearbyint(all + i * trailing) - 1;
        } else if (p == SPACING_LEADING) {
            t = (double)(down + dpm) * (all / (n + dpm)) + c->offset;
        } else {
            t = dpm || n > 1                ? (down + dpm) * ((double)(all - 1) / (dpm ? n : n - 1))
                : s->kind == SAMPLER_UNCLIP ? all - 1
                                            : 0;
            t = whole ? nearbyint(t) : t;
        }
        s->times[i] = fmin(fmax(t, 0), all - 1);
    }
    s->n = n;
    s->each = all / n;
}

/* Some of those that the teacher had. */
static void put_lcm_times(sampler *s, const schedule *c, int n)
{
    int each = c->times / LCM_STEPS;
    for (int i = 0; i < n; i++)
        s->times[i] = (double)((LCM_STEPS - (LCM_STEPS * i) / n) * each - 1);
    s->n = n;
}

static spacing spacing_of(const schedule *c, const sampler_options *o, sampler_kind k)
{
    if (o->spacing >= 0)
        return (spacing)o->spacing;
    if (c->spacing > 0)
        return (spacing)(c->spacing - 1);
    return goes_by_sigma(k) || k == SAMPLER_UNCLIP ? SPACING_LINSPACE : SPACING_LEADING;
}

/* What of the steps is done of a picture that is changed in part. */
static void put_start(sampler *s, const sampler_options *o)
{
    if (!(o->strength > 0 && o->strength < 1))
        return;
    double strength = nearbyint((double)o->strength * 1e6) / 1e6; /* 0.7, not the float below it: 7 of 10 steps */
    int some = (int)(o->steps * strength);
    s->start = o->steps - (some > 1 ? some : 1);
}

bool sampler_open(sampler *s, const schedule *c, const sampler_options *o, err *e)
{
    *s = (sampler){.kind = o->kind < 0 ? c->with : (sampler_kind)o->kind,
                   .predicts = c->predicts,
                   .clamp = c->clamp,
                   .initial = 1};
    s->all = c->times;
    spacing p = spacing_of(c, o, s->kind);
    int most = s->kind == SAMPLER_LCM ? LCM_STEPS : is_dpm(s->kind) && p == SPACING_LEADING ? c->times - 1 : c->times;
    if (o->steps < 1 || o->steps > most || (s->kind == SAMPLER_LCM && c->times < LCM_STEPS))
        return err_set(e, ERR_USAGE, "generate: `steps`: %d is outside 1 to %d, which the sampler %s takes", o->steps,
                       most, sampler_names[s->kind]);
    if (s->kind == SAMPLER_UNCLIP)
        schedule_floats(c, s->kept, s->betas);
    else
        schedule_kept(c, s->kept);
    if (c->zero_snr && s->kind != SAMPLER_DDIM && s->kind != SAMPLER_LCM)
        s->kept[c->times - 1] = fmax(s->kept[c->times - 1], LEAST_KEPT);
    s->last_kept = c->ends_at_one ? 1 : s->kept[0];
    if (s->kind == SAMPLER_LCM)
        put_lcm_times(s, c, o->steps);
    else
        put_times(s, c, p, o->steps);
    if (goes_by_sigma(s->kind))
        put_sigmas(s, c, p);
    if (s->kind == SAMPLER_PNDM && s->n > 1) { /* the second stands twice */
        memmove(s->times + 2, s->times + 1, (size_t)(s->n - 1) * sizeof *s->times);
        s->n++;
    }
    put_start(s, o);
    return true;
}

/* ---- steps ------------------------------------------------------------------------------------------------------ */

/* x_0 = clean_x x + clean_o o, and e = noise_x x + noise_o o, of x = a x_0 + b e where a^2 + b^2 = 1. */
typedef struct parts {
    double clean_x, clean_o, noise_x, noise_o;
} parts;

static parts parts_of(const sampler *s, double a, double b)
{
    if (s->predicts == PREDICTION_V)
        return (parts){a, -b, b, a};
    if (s->predicts == PREDICTION_SAMPLE)
        return (parts){0, 1, 1 / b, -a / b};
    return (parts){1 / a, -b / a, 0, 1};
}

static double kept_at(const sampler *s, double time)
{
    return time < 0 ? s->last_kept : s->kept[(int)fmin(time, s->all - 1)]; /* with an offset PNDM looks behind them */
}

static sampler_step begin(double time, const parts *p)
{
    return (sampler_step){
        .time = (float)time, .scale_in = 1, .clean_x = (float)p->clean_x, .clean_o = (float)p->clean_o};
}

static sampler_step ddim(const sampler *s, int i)
{
    double now = kept_at(s, s->times[i]), next = kept_at(s, s->times[i] - s->each);
    parts p = parts_of(s, sqrt(now), sqrt(1 - now));
    sampler_step k = begin(s->times[i], &p);
    k.x = (float)(sqrt(next) * p.clean_x + sqrt(1 - next) * p.noise_x);
    k.o = (float)(sqrt(next) * p.clean_o + sqrt(1 - next) * p.noise_o);
    return k;
}

/* Liu et al. 2022: what the network says is averaged over some calls (Adams-Bashforth), then equation 9 goes on from
 * there.  The second call does the first step again. */
static sampler_step pndm(const sampler *s, int i)
{
    static const double weights[4][4] = {
        {1}, {3 / 2.0, -1 / 2.0}, {23 / 12.0, -16 / 12.0, 5 / 12.0}, {55 / 24.0, -59 / 24.0, 37 / 24.0, -9 / 24.0}};
    int call = i - s->start, order = call < 2 ? 0 : call < 4 ? call - 1 : 3;
    double from = s->times[i] + (call == 1 ? s->each : 0), to = from - s->each;
    double now = kept_at(s, from), next = kept_at(s, to), mean[4];
    double direction = -(next - now) / (now * sqrt(1 - next) + sqrt(now * (1 - now) * next));
    parts own = parts_of(s, sqrt(kept_at(s, s->times[i])), sqrt(1 - kept_at(s, s->times[i])));
    parts p = parts_of(s, sqrt(now), sqrt(1 - now));
    sampler_step k = begin(s->times[i], &own);
    memcpy(mean, weights[order], sizeof mean);
    if (call == 1)
        mean[0] = mean[1] = 0.5;
    double x = sqrt(next / now) + direction * p.noise_x;
    k.o = (float)(direction * p.noise_o * mean[0]);
    for (int h = 0; h < SAMPLER_HISTORY; h++)
        k.history[h] = (float)(direction * p.noise_o * mean[1 + h]);
    *(call == 1 ? &k.kept : &k.x) = (float)x;
    k.keep = call == 0;
    k.push = call != 1;
    k.push_o = 1;
    return k;
}

/* Of both Eulers; x is x_0 + sigma e. */
static sampler_step euler(const sampler *s, int i)
{
    double sigma = s->sigmas[i], next = s->sigmas[i + 1], down = next, up = 0, scale = 1 / sqrt(sigma * sigma + 1);
    parts p = parts_of(s, scale, sigma * scale); /* of scale x */
    p.clean_x *= scale;
    sampler_step k = begin(s->times[i], &p);
    if (s->kind == SAMPLER_EULER_A) {
        up = sqrt(fmax(next * next * (sigma * sigma - next * next) / (sigma * sigma), 0));
        down = sqrt(fmax(next * next - up * up, 0));
    }
    double move = (down - sigma) / sigma;
    k.scale_in = (float)scale;
    k.x = (float)(1 + move * (1 - p.clean_x));
    k.o = (float)(-move * p.clean_o);
    k.noise = (float)up;
    return k;
}

static double lambda_of(double sigma)
{
    return -log(sigma); /* ln a - ln b with b = sigma a */
}

/* Lu et al. 2022, the multistep solver of the second order; what it averages are pictures. */
static sampler_step dpm(const sampler *s, int i)
{
    double sigma = s->sigmas[i], next = s->sigmas[i + 1], a = 1 / sqrt(sigma * sigma + 1);
    double to = 1 / sqrt(next * next + 1), ratio = next * to / (sigma * a);
    parts p = parts_of(s, a, sigma * a);
    sampler_step k = begin(s->times[i], &p);
    double first = to, second = 0; /* of this picture and of the one before */
    if (next > 0) {
        double h = lambda_of(next) - lambda_of(sigma), less = exp(is_sde(s->kind) ? -2 * h : -h);
        first = to * (1 - less);
        if (is_sde(s->kind)) {
            ratio *= exp(-h);
            k.noise = (float)(next * to * sqrt(1 - less));
        }
        if (i > s->start && h > 0 && s->sigmas[i - 1] > sigma) { /* Lu et al.: D = m + (m - m1) / (2 r) */
            double r = (lambda_of(sigma) - lambda_of(s->sigmas[i - 1])) / h;
            second = -first / (2 * r);
            first -= second;
        }
    }
    k.x = (float)(ratio + first * p.clean_x);
    k.o = (float)(first * p.clean_o);
    k.history[0] = (float)second;
    k.push = true;
    k.push_x = k.clean_x;
    k.push_o = k.clean_o;
    return k;
}

/* Luo et al. 2023, equation 9 with sigma_data = 0.5 and times that count ten times. */
static sampler_step lcm(const sampler *s, int i)
{
    double time = 10 * s->times[i], now = kept_at(s, s->times[i]), all = time * time + 0.25;
    double skip = 0.25 / all, out = time / sqrt(all);
    parts p = parts_of(s, sqrt(now), sqrt(1 - now));
    sampler_step k = begin(s->times[i], &p);
    double next = i + 1 < s->n ? kept_at(s, s->times[i + 1]) : 1;
    k.clean_x = (float)(out * p.clean_x + skip);
    k.clean_o = (float)(out * p.clean_o);
    k.x = (float)(sqrt(next) * (out * p.clean_x + skip));
    k.o = (float)(sqrt(next) * out * p.clean_o);
    k.noise = (float)sqrt(1 - next);
    return k;
}

/* Ho et al. 2020, equations 6 and 7, of the noise between two of the listed times (Nichol & Dhariwal 2021, 4). */
static sampler_step unclip(const sampler *s, int i)
{
    double now = kept_at(s, s->times[i]), next = i + 1 < s->n ? kept_at(s, s->times[i + 1]) : 1;
    const bool next_to = i + 1 < s->n ? s->times[i] - s->times[i + 1] < 1.5 : s->times[i] < 0.5;
    double beta = next_to ? s->betas[(int)s->times[i]] : (double)(1 - (float)(now / next)),
           least = fmax((1 - next) / (1 - now) * beta, 1e-20);
    parts p = parts_of(s, sqrt(now), sqrt(1 - now));
    sampler_step k = begin(s->times[i], &p);
    double by_clean = sqrt(next) * beta / (1 - now), by_x = sqrt(1 - beta) * (1 - next) / (1 - now);
    k.x = (float)(by_x + by_clean * p.clean_x);
    k.o = (float)(by_clean * p.clean_o);
    k.noise = i + 1 < s->n ? (float)sqrt(least) : 0;
    k.clamp = s->clamp;
    k.by_clean = (float)by_clean;
    k.by_x = (float)by_x;
    k.log_least = (float)log(least);
    k.log_most = (float)log(beta);
    return k;
}

sampler_step sampler_at(const sampler *s, int i)
{
    switch (s->kind) {
    case SAMPLER_DDIM:
        return ddim(s, i);
    case SAMPLER_PNDM:
        return pndm(s, i);
    case SAMPLER_EULER:
    case SAMPLER_EULER_KARRAS:
    case SAMPLER_EULER_A:
        return euler(s, i);
    case SAMPLER_LCM:
        return lcm(s, i);
    case SAMPLER_UNCLIP:
        return unclip(s, i);
    default:
        return dpm(s, i);
    }
}

void sampler_noised(const sampler *s, int i, float *picture, float *noise)
{
    double a = 1, b = 0;
    if (i < s->n && goes_by_sigma(s->kind)) {
        double scale = is_dpm(s->kind) ? 1 / sqrt(s->sigmas[i] * s->sigmas[i] + 1) : 1;
        a = scale;
        b = scale * s->sigmas[i];
    } else if (i < s->n) {
        a = sqrt(kept_at(s, s->times[i]));
        b = sqrt(1 - kept_at(s, s->times[i]));
    }
    *picture = (float)a;
    *noise = (float)b;
}
