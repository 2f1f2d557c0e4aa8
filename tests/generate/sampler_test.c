/* Samplers beside diffusers': times and sigmas of the published schedules, and whole trajectories of latents from what
 * the network said (tests/data/golden/README.md, diffusion).  No device is needed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "checks.h"
#include "generate/sampler.h"
#include "golden_npz.h"

#define FOLDER TEST_DATA "/golden/diffusion/"

static const schedule published = {.times = 1000,
                                   .beta_start = 0.00085f,
                                   .beta_end = 0.012f,
                                   .betas = BETAS_SCALED,
                                   .offset = 1,
                                   .with = SAMPLER_PNDM};

static void test_betas(void **state)
{
    (void)state;
    golden_npz f;
    golden_npz_open(&f, FOLDER "schedules.npz");
    for (int i = 0; i < 2; i++) {
        schedule s = published;
        double kept[SCHEDULE_TIMES];
        s.betas = i ? BETAS_COSINE : BETAS_SCALED;
        npy want = golden_npz_read(&f, i ? "alphas_cumprod_cosine" : "alphas_cumprod_scaled_linear", DTYPE_F32);
        schedule_kept(&s, kept);
        for (int t = 0; t < s.times; t++)
            assert_true(fabs(kept[t] - (double)((const float *)want.data)[t]) < 1e-6);
        npy_release(&want);
    }
    golden_npz_release(&f);
}

/* ---- times ------------------------------------------------------------------------------------------------------ */

static const struct {
    const char *name;
    sampler_kind kind;
    int spacing, offset;
} schedules[] = {
    {"pndm", SAMPLER_PNDM, -1, 1},
    {"ddim", SAMPLER_DDIM, -1, 1},
    {"ddim_trailing", SAMPLER_DDIM, SPACING_TRAILING, 1},
    {"euler", SAMPLER_EULER, -1, 1},
    {"euler_leading", SAMPLER_EULER, SPACING_LEADING, 1},
    {"euler_trailing", SAMPLER_EULER, SPACING_TRAILING, 1},
    {"euler_karras", SAMPLER_EULER_KARRAS, -1, 1},
    {"euler_a", SAMPLER_EULER_A, -1, 1},
    {"dpmpp", SAMPLER_DPMPP_2M, -1, 1},
    {"dpmpp_karras", SAMPLER_DPMPP_2M_KARRAS, -1, 1},
    {"lcm", SAMPLER_LCM, -1, 0},
};

static void close_to(double have, double want, double tolerance, const char *what, int n, int i)
{
    if (!(fabs(have - want) <= tolerance * fmax(1, fabs(want))))
        fail_msg("%s, %d steps: number %d is %.9g, not %.9g", what, n, i, have, want);
}

static void check_schedule(golden_npz *f, size_t k, int n)
{
    err e = {0};
    sampler s;
    char name[64];
    const sampler_options o = {schedules[k].kind, schedules[k].spacing, n, 0};
    const bool powers = strstr(schedules[k].name, "karras"); /* of 7, which the reference has in float */
    schedule c = published;
    c.offset = schedules[k].offset;
    good(sampler_open(&s, &c, &o, &e), &e);
    snprintf(name, sizeof name, "%s_%d_timesteps", schedules[k].name, n);
    npy want = golden_npz_read(f, name, DTYPE_F32);
    assert_int_equal(s.n, want.count);
    for (int i = 0; i < s.n; i++)
        close_to((double)sampler_at(&s, i).time, (double)((const float *)want.data)[i], powers ? 5e-5 : 1e-5, name, n,
                 i);
    npy_release(&want);
    if (s.kind == SAMPLER_PNDM || s.kind == SAMPLER_DDIM || s.kind == SAMPLER_LCM)
        return;
    snprintf(name, sizeof name, "%s_%d_sigmas", schedules[k].name, n);
    want = golden_npz_read(f, name, DTYPE_F32);
    for (int i = 0; i <= s.n; i++)
        close_to(s.sigmas[i], (double)((const float *)want.data)[i], powers ? 5e-6 : 2e-6, name, n, i);
    npy_release(&want);
    snprintf(name, sizeof name, "%s_%d_init_noise_sigma", schedules[k].name, n);
    want = golden_npz_read(f, name, DTYPE_F32);
    close_to(s.initial, (double)((const float *)want.data)[0], 2e-6, name, n, 0);
    npy_release(&want);
}

static void test_times(void **state)
{
    (void)state;
    static const int steps[] = {1, 4, 7, 20, 25, 30, 50};
    golden_npz f;
    golden_npz_open(&f, FOLDER "schedules.npz");
    for (size_t k = 0; k < COUNT(schedules); k++)
        for (size_t i = schedules[k].kind == SAMPLER_PNDM; i < COUNT(steps); i++)
            check_schedule(&f, k, steps[i]);
    golden_npz_release(&f);
}

/* Of other schedules, as diffusers 0.42.1 has them: its floats decide which whole times these are. */
static void test_others(void **state)
{
    (void)state;
    static const struct {
        schedule_betas betas;
        sampler_kind kind;
        int spacing, all, n, times[12];
    } cases[] = {
        {BETAS_COSINE, SAMPLER_DPMPP_2M_KARRAS, -1, 1000, 3, {998, 997, 0}},
        {BETAS_COSINE, SAMPLER_DPMPP_2M_KARRAS, -1, 1000, 8, {998, 998, 998, 998, 994, 965, 508, 0}},
        {BETAS_SCALED, SAMPLER_DPMPP_2M_KARRAS, -1, 1000, 8, {999, 890, 746, 549, 299, 90, 12, 0}},
        {BETAS_LINEAR, SAMPLER_DDIM, SPACING_TRAILING, 500, 24, {499, 478, 457, 437, 416, 395, 374, 353, 332, 312}},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        err e = {0};
        sampler s;
        schedule c = published;
        c.betas = cases[i].betas;
        c.times = cases[i].all;
        good(sampler_open(&s, &c, &(sampler_options){cases[i].kind, cases[i].spacing, cases[i].n, 0}, &e), &e);
        for (int k = 0; k < s.n && k < 10; k++)
            close_to((double)sampler_at(&s, k).time, cases[i].times[k], 1e-6, "a time", s.n, k);
    }
}

/* Noise up to the last bit of a picture: Lin et al. 2023. */
static void test_zero_snr(void **state)
{
    (void)state;
    err e = {0};
    sampler s;
    double kept[SCHEDULE_TIMES];
    schedule c = published;
    c.zero_snr = true;
    refused_with(schedule_check(&c, "FILE", &e), &e, "predict v", "a schedule that leaves nothing to predict noise of",
                 NULL);
    c.predicts = PREDICTION_V;
    schedule_kept(&c, kept);
    static const double want[][2] = {{0, 0.99914998}, {500, 0.24101864}, {998, 1.9679634e-07}, {999, 0}};
    for (size_t i = 0; i < COUNT(want); i++)
        assert_true(fabs(kept[(int)want[i][0]] - want[i][1]) <= 1e-6);
    for (int k = 0; k < SAMPLERS; k++) {
        e = (err){0};
        good(sampler_open(&s, &c, &(sampler_options){(sampler_kind)k, SPACING_TRAILING, 4, 0}, &e), &e);
        for (int i = 0; i < s.n; i++)
            assert_true(isfinite(sampler_at(&s, i).x) && isfinite(sampler_at(&s, i).o));
        if (k == SAMPLER_EULER)
            close_to(s.sigmas[0], 4096, 1e-3, "a sigma", 4, 0);
    }
}

/* ---- trajectories ----------------------------------------------------------------------------------------------- */

static const struct {
    const char *folder, *name;
    sampler_kind kind;
    int spacing, steps;
} trajectories[] = {
    {"sd15", "pndm", SAMPLER_PNDM, -1, 10},
    {"sd15", "ddim", SAMPLER_DDIM, -1, 10},
    {"sd15", "euler", SAMPLER_EULER, -1, 10},
    {"sd15", "euler_leading", SAMPLER_EULER, SPACING_LEADING, 5},
    {"sd15", "euler_karras", SAMPLER_EULER_KARRAS, -1, 6},
    {"sd15", "euler_a", SAMPLER_EULER_A, -1, 10},
    {"sd15", "dpmpp_2m", SAMPLER_DPMPP_2M, -1, 10},
    {"sd15", "dpmpp_2m_karras", SAMPLER_DPMPP_2M_KARRAS, -1, 20},
    {"sd15", "dpmpp_2m_leading", SAMPLER_DPMPP_2M, SPACING_LEADING, 6},
    {"sd15", "dpmpp_2m_sde_karras", SAMPLER_DPMPP_2M_SDE_KARRAS, -1, 6},
    {"sd21", "ddim", SAMPLER_DDIM, -1, 10},
    {"sd21", "pndm", SAMPLER_PNDM, -1, 7},
    {"sd21", "euler", SAMPLER_EULER, -1, 10},
    {"sd21", "euler_a", SAMPLER_EULER_A, -1, 6},
    {"sd21", "dpmpp_2m", SAMPLER_DPMPP_2M, -1, 10},
    {"sd21", "dpmpp_2m_karras", SAMPLER_DPMPP_2M_KARRAS, -1, 10},
    {"sd_turbo", "euler_trailing_1", SAMPLER_EULER, SPACING_TRAILING, 1},
    {"sd_turbo", "euler_trailing_4", SAMPLER_EULER, SPACING_TRAILING, 4},
    {"sd_turbo", "euler_a_trailing_3", SAMPLER_EULER_A, SPACING_TRAILING, 3},
    {"lcm", "lcm_4_w8.5", SAMPLER_LCM, -1, 4},
    {"lcm", "lcm_8_w5", SAMPLER_LCM, -1, 8},
};

enum { MOST = 1024 }; /* latents */

/* The latents after a step, in double, as the device computes them. */
static void go_on(const sampler_step *k, int n, double *x, double *kept, double history[SAMPLER_HISTORY][MOST],
                  const float *o, const float *noise)
{
    for (int i = 0; i < n; i++) {
        double before = x[i], said = (double)o[i];
        x[i] = (double)k->x * before + (double)k->o * said + (double)k->kept * kept[i];
        for (int h = 0; h < SAMPLER_HISTORY; h++)
            x[i] += (double)k->history[h] * history[h][i];
        if (k->noise != 0)
            x[i] += (double)k->noise * (double)noise[i];
        if (k->keep)
            kept[i] = before;
        for (int h = SAMPLER_HISTORY - 1; k->push && h > 0; h--)
            history[h][i] = history[h - 1][i];
        if (k->push)
            history[0][i] = (double)k->push_x * before + (double)k->push_o * said;
    }
}

static npy array_of(golden_npz *f, const char *name, const char *what)
{
    char whole[64];
    snprintf(whole, sizeof whole, "%s_%s", name, what);
    return golden_npz_read(f, whole, DTYPE_F32);
}

static void check_trajectory(size_t t)
{
    err e = {0};
    golden_npz f;
    char path[300];
    static double x[MOST], kept[MOST], history[SAMPLER_HISTORY][MOST];
    const char *name = trajectories[t].name;
    sampler s;
    schedule c = published;
    c.predicts = strcmp(trajectories[t].folder, "sd21") == 0 ? PREDICTION_V : PREDICTION_EPSILON;
    const sampler_options how = {trajectories[t].kind, trajectories[t].spacing, trajectories[t].steps, 0};
    good(sampler_open(&s, &c, &how, &e), &e);
    snprintf(path, sizeof path, FOLDER "%s/reference.npz", trajectories[t].folder);
    golden_npz_open(&f, path);
    npy first = golden_npz_read(&f, "initial_noise", DTYPE_F32), said = array_of(&f, name, "model_output");
    npy want = array_of(&f, name, "latents"), noise = {0};
    if (sampler_draws(&s))
        noise = array_of(&f, name, "noise");
    int n = (int)first.count;
    assert_true(n <= MOST && said.count == (int64_t)s.n * n);
    for (int i = 0; i < n; i++)
        x[i] = s.initial * (double)((const float *)first.data)[i];
    for (int i = 0; i < s.n; i++) {
        const sampler_step k = sampler_at(&s, i);
        double most = 0, error = 0;
        const float *to = (const float *)want.data + i * n;
        go_on(&k, n, x, kept, history, (const float *)said.data + i * n,
              k.noise != 0 ? (const float *)noise.data + i * n : NULL);
        for (int p = 0; p < n; p++) {
            most = fmax(most, fabs((double)to[p]));
            error = fmax(error, fabs((double)to[p] - x[p]));
        }
        if (!(error <= 1e-5 * most))
            fail_msg("%s %s: after step %d latents differ by %g of %g", trajectories[t].folder, name, i, error, most);
    }
    npy_release(&first);
    npy_release(&said);
    npy_release(&want);
    npy_release(&noise);
    golden_npz_release(&f);
}

static void test_trajectories(void **state)
{
    (void)state;
    for (size_t t = 0; t < COUNT(trajectories); t++)
        check_trajectory(t);
}

static void test_refused(void **state)
{
    (void)state;
    err e = {0};
    sampler s;
    refused_with(sampler_open(&s, &published, &(sampler_options){SAMPLER_LCM, -1, 51, 0}, &e), &e, "outside 1 to 50",
                 "too many steps of a few", NULL);
    e = (err){0};
    refused_with(sampler_open(&s, &published, &(sampler_options){-1, -1, 0, 0}, &e), &e, "`steps`", "no steps", NULL);
    e = (err){0};
    good(sampler_open(&s, &published, &(sampler_options){-1, -1, 1000, 0}, &e), &e);
    good(sampler_open(&s, &published, &(sampler_options){SAMPLER_DPMPP_2M, SPACING_LEADING, 999, 0}, &e), &e);
    for (int i = 0; i < s.n; i++)
        assert_true(isfinite(sampler_at(&s, i).x) && isfinite(sampler_at(&s, i).o));
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_betas),    TEST(test_times),        TEST(test_others),
                                       TEST(test_zero_snr), TEST(test_trajectories), TEST(test_refused)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
