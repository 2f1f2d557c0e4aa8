/* The search: steps, their candidates, and when one is faster. */
#include "tune/tune.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/log.h"

#define GAIN  0.97 /* what is slower than this share of the best's time isn't worth a change: that is noise */
#define AGAIN 2    /* trials more of what seems faster */

#define MASK(w)  (1u << (w))
#define PRODUCTS (MASK(TUNE_PRODUCT) | MASK(TUNE_PRODUCT_256) | MASK(TUNE_PRODUCT_768))
#define ALL      (MASK(TUNE_WORKS) - 1)

/* One tunable: the works that it decides, and its candidates for a device whose best so far is `best`; n of them. */
typedef struct step {
    const char *name;
    unsigned works;
    int (*candidates)(const limn_device_info *info, const tuning *best, tuning out[8]);
} step;

/* Work-items with registers, or groups with local memory. */
static int forms(const limn_device_info *info, const tuning *best, tuning out[8])
{
    out[0] = device_form_tuning(info, !best->cpu_form);
    return 1;
}

/* The register tile whole, or in parts. */
static int splits(const limn_device_info *info, const tuning *best, tuning out[8])
{
    (void)info;
    out[0] = *best;
    out[0].split = !best->split;
    return best->cpu_form;
}

static int groups(const limn_device_info *info, const tuning *best, tuning out[8])
{
    (void)info;
    int n = 0;
    for (int wg = 16; wg <= 256 && !best->cpu_form; wg *= 2) {
        out[n] = *best;
        out[n++].wg = wg;
    }
    return n;
}

static int sides(const limn_device_info *info, const tuning *best, tuning out[8])
{
    int n = 0;
    for (int side = 4; side <= 16 && !best->cpu_form; side *= 2)
        for (int item = 4; item <= 8; item *= 2) {
            out[n] = *best;
            out[n].gemm_side = side;
            out[n].gemm_item = item;
            tuning_complete(&out[n++], info);
        }
    return n;
}

/* CLBlast for all products of many rows, for those of more rows, or for none. */
static int clblast(const limn_device_info *info, const tuning *best, tuning out[8])
{
    (void)info;
    static const int rows[] = {0, 128, 512};
    int n = 0;
    for (int i = 0; i < 3 && !best->cpu_form; i++) {
        out[n] = *best;
        out[n].clblast = true;
        out[n++].clblast_rows = rows[i];
    }
    if (n) {
        out[n] = *best;
        out[n++].clblast = false;
    }
    return n;
}

static int clblast_sets(const limn_device_info *info, const tuning *best, tuning out[8])
{
    (void)info;
    int n = 0;
    for (int i = 0; i < CLBLAST_SETS && best->clblast; i++) {
        out[n] = *best;
        out[n++].clblast_set = i;
    }
    return n;
}

static const step steps[] = {
    {"kernels for items or for groups", ALL, forms},
    {"register tiles whole or in parts", PRODUCTS | MASK(TUNE_CONVOLUTION), splits},
    {"work-items of a group", MASK(TUNE_FEW_ROWS) | MASK(TUNE_ROWS), groups},
    {"side and columns of a product's group", PRODUCTS | MASK(TUNE_CONVOLUTION), sides},
    {"CLBlast", PRODUCTS, clblast},
    {"CLBlast's parameters", PRODUCTS, clblast_sets},
};
enum { STEPS = sizeof steps / sizeof *steps };

/* The mean of the logarithms of the works' times over the best's: below 0 where it is faster. */
static double score(const tune_result *r, const tune_result *best)
{
    double sum = 0;
    int n = 0;
    for (int w = 0; w < TUNE_WORKS; w++)
        if (r->seconds[w] > 0 && best->seconds[w] > 0) {
            sum += log(r->seconds[w] / best->seconds[w]);
            n++;
        }
    return n ? sum / n : 0;
}

static bool same(const tuning *a, const tuning *b)
{
    char texts[2][TUNING_TEXT];
    tuning_text(a, texts[0]);
    tuning_text(b, texts[1]);
    return strcmp(texts[0], texts[1]) == 0;
}

static void say(tuner *u, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void say(tuner *u, const char *format, ...)
{
    char line[2560]; /* a tuning, and an error */
    va_list ap;
    va_start(ap, format);
    vsnprintf(line, sizeof line, format, ap);
    va_end(ap);
    u->say(u->context, line);
}

static bool is_over(const tuner *u)
{
    return u->end > 0 && clock_seconds() > u->end;
}

static bool trial(tuner *u, const tuning *t, unsigned works, tune_result *r, err *e)
{
    u->trials++;
    return u->trial(u->context, t, works, same(t, &u->best), r, e) &&
           (r->right || err_set(e, ERR_FAILED, "%s", r->text));
}

/* The trial of a candidate, which must run as it is. */
static bool try_candidate(tuner *u, const tuning *t, unsigned works, tune_result *r, err *e)
{
    return trial(u, t, works, r, e) &&
           (same(t, &r->ran) || err_set(e, ERR_FAILED, "the driver refuses its work-groups"));
}

static void keep_fastest(tune_result *r, const tune_result *again)
{
    for (int w = 0; w < TUNE_WORKS; w++)
        if (again->seconds[w] < r->seconds[w])
            r->seconds[w] = again->seconds[w];
}

/* Whether t is faster than u->best, which took `now` when t took `r`, in more trials of both in turn too: other
 * programs may have run beside one of them. */
static bool confirmed(tuner *u, const step *s, const tuning *t, tune_result *now, tune_result *r)
{
    tune_result again;
    for (int i = 0; i < AGAIN; i++) {
        err why = {0};
        if (!trial(u, &u->best, s->works, &again, &why))
            return false;
        keep_fastest(now, &again);
        if (!trial(u, t, s->works, &again, &why))
            return false;
        keep_fastest(r, &again);
    }
    return score(r, now) < log(GAIN);
}

static bool goes_on(tuner *u, const step *s, err *e)
{
    return u->goes_on(u->context, (int)(s - steps), STEPS, e);
}

/* Tries the candidates of a step; what is fastest becomes u->best. */
static bool do_step(tuner *u, const step *s, err *e)
{
    tuning list[8], best = u->best;
    tune_result now, fastest = {0}, r;
    int n = s->candidates(&u->info, &u->best, list);
    double least = log(GAIN);
    err why = {0};
    if (n == 0)
        return true;
    say(u, "%s", s->name);
    if (!trial(u, &u->best, s->works, &now, &why))
        return err_set(e, ERR_FAILED, "tune: the kernels as they are: %s", why.text);
    if (!same(&u->best, &now.ran)) { /* the driver refused its groups, and smaller ones did it */
        u->best = best = now.ran;
        u->changes++;
        if (!tuning_save(&u->best, &u->info, e))
            return false;
    }
    for (int i = 0; i < n && !is_over(u); i++) {
        char text[TUNING_TEXT];
        if (!tuning_valid(&list[i], &u->info) || same(&list[i], &u->best))
            continue;
        tuning_text(&list[i], text);
        why = (err){0};
        bool ok = try_candidate(u, &list[i], s->works, &r, &why);
        if (!goes_on(u, s, e))
            return false;
        if (ok)
            say(u, "  %-96s %5.2fx", text, exp(-score(&r, &now)));
        else
            say(u, "  %-96s left out: %s", text, why.text);
        if (ok && score(&r, &now) < least) {
            least = score(&r, &now);
            best = list[i];
            fastest = r;
        }
    }
    if (same(&best, &u->best))
        return true;
    bool is = confirmed(u, s, &best, &now, &fastest);
    if (!goes_on(u, s, e))
        return false;
    say(u, "  that in turn with the one before: %.2fx, %s", exp(-score(&fastest, &now)), is ? "kept" : "not kept");
    if (!is)
        return true;
    u->best = best;
    u->changes++;
    return tuning_save(&u->best, &u->info, e);
}

bool tune_search(tuner *u, err *e)
{
    char text[TUNING_TEXT];
    bool ok = true;
    for (int i = 0; ok && i < STEPS && !is_over(u); i++)
        ok = goes_on(u, &steps[i], e) && do_step(u, &steps[i], e);
    tuning_text(&u->best, text);
    if (ok && !u->changes) /* an earlier one may have found otherwise */
        ok = tuning_save(&u->best, &u->info, e);
    if (ok) {
        say(u, "%s after %d trials: %s", u->changes ? "kept" : "nothing was faster", u->trials, text);
        u->goes_on(u->context, STEPS, STEPS, NULL);
    }
    return ok;
}
