/* The search: in which order the tunables are tried, by what, and when one is faster. */
#include "tune/tune.h"

#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "base/os.h"

#define GAIN  0.97 /* what takes more than this share of the best's time isn't worth a change */
#define NOISE 1.5  /* nor is what gains less than so many times what the best differs from itself */
#define AGAIN 2    /* trials more of what seems faster, which it must all win */

#define MASK(w)  (1u << (w))
#define FEW      (MASK(TUNE_ONE_ROW) | MASK(TUNE_FEW_ROWS))
#define MORE     (MASK(TUNE_SOME_ROWS) | MASK(TUNE_MANY_ROWS))
#define PRODUCTS (MASK(TUNE_PRODUCT) | MASK(TUNE_PRODUCT_256) | MASK(TUNE_PRODUCT_768))
#define DIRECT   (MASK(TUNE_CONVOLUTION) | MASK(TUNE_CONVOLUTION_WIDE))
#define PICTURES (DIRECT | MASK(TUNE_WINOGRAD))
#define ROWS     (MASK(TUNE_ROWS) | MASK(TUNE_DECODE))

const char *const tune_work_names[TUNE_WORKS] = {
    "1 row",    "3 rows",   "16 rows", "256 rows, Q8_0", "norms, attention", "decode",   "64 rows",
    "256 rows", "768 rows", "conv",    "conv1x1",        "conv3x3",          "gradient", "drafts",
};

/* In the order of the search, where nothing is known of the device's limits (in_order).  First, of each form, what
 * experience lets expect most of; what needs no compiler before what does, and programs that compile fast before
 * others.  The other form, which has never been faster yet, is last: where it is, all begins again. */
static const struct step {
    const char *name; /* of the tunable */
    unsigned works;   /* that decide */
    const char *text;
} steps[] = {
    {"gemm_side", PRODUCTS | PICTURES, "side of the group of a product's tile"},
    {"gemm_item", PRODUCTS | PICTURES, "columns of a work-item of these"},
    {"wg", FEW | MASK(TUNE_SOME_ROWS) | ROWS, "work-items that share a row"},
    {"wide", ROWS, "times as many where rows are few"},
    {"attention_keys", MASK(TUNE_DECODE), "the fewest keys of a part of a query's"},
    {"x_rows", MORE, "rows of a pass over the weights"},
    {"byte_vectors", FEW, "bytes of quantised weights taken out of words as vectors"},
    {"tile_k", PRODUCTS | PICTURES, "numbers of the sums in local memory"},
    {"winograd_channels", MASK(TUNE_WINOGRAD), "the fewest channels for Winograd's way"},
    {"items_few", FEW, "work-items of a compute unit, for up to 4 rows"},
    {"items_many", MORE, "the same for more rows"},
    {"gemm_rows", PRODUCTS, "rows of a product's work-item"},
    {"conv_items", DIRECT, "work-items of a compute unit, for convolutions"},
    {"winograd_cache", MASK(TUNE_WINOGRAD), "floats of Winograd's transforms at a time"},
    {"strip", MASK(TUNE_WINOGRAD), "floats of a strip of a picture"},
    {"split", PRODUCTS | PICTURES, "register tiles in parts"},
    {"winograd_tiles", MASK(TUNE_WINOGRAD), "tiles of Winograd's work-item"},
    {"conv_rows", DIRECT, "pixels of a convolution's work-item"},
    {"gemm_chunk", PRODUCTS, "numbers of the sums that pass by all rows of a work-item"},
    {"tile_ahead", PRODUCTS | PICTURES, "rows of a panel that are asked for before they are read"},
    {"ahead", FEW | MASK(TUNE_SOME_ROWS), "columns of F16 weights that are asked for before they are read"},
    {"chunk", MASK(TUNE_SOME_ROWS), "columns of F16 weights that pass by all rows"},
    {"tall", MASK(TUNE_SOME_ROWS), "tall register tiles for F16 weights"},
    {"quantised_ahead", FEW | MORE, "bytes of Q8_0 weights that are asked for before they are read"},
    {"quantised_tile", MORE, "rows of a tile with Q8_0 weights"},
    {"quantised_panels", MORE, "panels of such a tile"},
    {"quantised_rows", MASK(TUNE_MANY_ROWS), "rows of a work-item of these"},
    {"clblast", PRODUCTS, "CLBlast for products"},
    {"clblast_rows", PRODUCTS, "the fewest rows for it"},
    {"clblast_set", PRODUCTS, "its parameters"},
    {"gradient_rows", MASK(TUNE_GRADIENT), "rows of a gradient's work-item"},
    {"gradient_columns", MASK(TUNE_GRADIENT), "its columns"},
    {"draft", MASK(TUNE_DRAFTS), "codes that are drafted and checked in one pass"},
    {"cpu_form", MASK(TUNE_ONE_ROW) | MASK(TUNE_PRODUCT) | DIRECT, "kernels for items (1) or for groups (0)"},
};
enum { STEPS = sizeof steps / sizeof *steps };

unsigned tune_works_of(const tunable *k)
{
    for (int i = 0; i < STEPS; i++)
        if (!strcmp(steps[i].name, k->name))
            return steps[i].works;
    return 0;
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

/* ---- trials ---- */

/* The mean of the logarithms of the ratios: below 0 where the second one is faster. */
static double score(const tune_result *r)
{
    double sum = 0;
    int n = 0;
    for (int w = 0; w < TUNE_WORKS; w++)
        if (r->ratio[w] > 0) {
            sum += log(r->ratio[w]);
            n++;
        }
    return n ? sum / n : 0;
}

/* Of these works: what must be gained, as score has it; and what may be lost in one of them. */
static double least_gain(const tuner *u, unsigned works)
{
    double least = log(GAIN);
    for (int w = 0; w < TUNE_WORKS; w++)
        if (works >> w & 1)
            least = fmin(least, -NOISE * u->noise[w]);
    return least;
}

/* Whether it is faster as a whole, and no slower than noise is in any of its works. */
static bool wins(const tuner *u, const tune_result *r, unsigned works)
{
    double least = least_gain(u, works);
    for (int w = 0; w < TUNE_WORKS; w++)
        if (r->ratio[w] > 0 && log(r->ratio[w]) > -least)
            return false;
    return score(r) < least;
}

/* "1.04x (1 row 1.02x, 3 rows 1.06x)" */
static void gains(const tune_result *r, char text[512])
{
    int n = snprintf(text, 512, "%.2fx (", exp(-score(r)));
    for (int w = 0; w < TUNE_WORKS && n < 512; w++)
        if (r->ratio[w] > 0)
            n += snprintf(text + n, (size_t)(512 - n), "%s%s %.2fx", text[n - 1] == '(' ? "" : ", ", tune_work_names[w],
                          1 / r->ratio[w]);
    if (n < 511)
        snprintf(text + n, (size_t)(512 - n), ")");
}

static bool trial(tuner *u, const tuning *a, const tuning *b, unsigned works, tune_result *r, err *e)
{
    const tuning both[2] = {*a, *b};
    u->trials++;
    return u->trial(u->context, both, works, tuning_same(a, b), r, e) &&
           (r->right || err_set(e, ERR_FAILED, "%s", r->text));
}

/* The trial of a candidate against the best, which must run as it is. */
static bool try_candidate(tuner *u, const tuning *t, unsigned works, tune_result *r, err *e)
{
    return trial(u, &u->best, t, works, r, e) &&
           (tuning_same(t, &r->ran[1]) || err_set(e, ERR_FAILED, "the driver refuses its work-groups"));
}

/* By what the best differs from itself in those works. */
static bool know_noise(tuner *u, unsigned works, err *e)
{
    tune_result r;
    err why = {0};
    works &= ~(u->known | u->unfit);
    if (!works)
        return true;
    if (!trial(u, &u->best, &u->best, works, &r, &why))
        return err_set(e, ERR_FAILED, "tune: the kernels as they are: %s", why.text);
    u->known |= works;
    u->unfit |= r.unfit;
    for (int w = 0; w < TUNE_WORKS; w++)
        if (r.unfit >> w & 1)
            say(u, "  %-20s left out: %s", tune_work_names[w], r.text);
        else if (works >> w & 1 && r.ratio[w] > 0) {
            u->noise[w] = fabs(log(r.ratio[w]));
            u->lost[w] = r.least[w] > 0 ? log(r.seconds[0][w] / r.least[w]) : 0;
            say(u, "  %-20s %10.1f us, %.1f%% noise", tune_work_names[w], 1e6 * r.seconds[0][w], 100 * u->noise[w]);
        }
    if (tuning_same(&u->best, &r.ran[0]))
        return true;
    u->best = r.ran[0]; /* the driver refused its groups, and smaller ones did it */
    u->changes++;
    return tuning_save(&u->best, &u->info, e);
}

/* ---- a step ---- */

static bool goes_on(tuner *u, err *e)
{
    return u->goes_on(u->context, u->done, STEPS, e);
}

typedef struct choice {
    unsigned works; /* that decide */
    const tunable *k;
    tuning best; /* the fastest so far, of a score */
    double score;
} choice;

/* Tries value i; *better: whether it is the fastest so far.  False: the search ends. */
static bool try_value(tuner *u, choice *c, int i, bool *better, err *e)
{
    char text[512];
    tuning t = u->best;
    tune_result r;
    err why = {0};
    *better = false;
    tunable_set(&t, c->k, c->k->values[i], &u->info);
    if (!tuning_valid(&t, &u->info) || tuning_same(&t, &u->best) || is_over(u))
        return true;
    bool ok = try_candidate(u, &t, c->works, &r, &why);
    if (!goes_on(u, e))
        return false;
    if (ok)
        gains(&r, text);
    say(u, "  %-10d %s%s", c->k->values[i], ok ? "" : "left out: ", ok ? text : why.text);
    *better = ok && wins(u, &r, c->works) && score(&r) < c->score;
    if (*better) {
        c->best = t;
        c->score = score(&r);
    }
    return true;
}

/* The index of the value that the best has, or of the next lower one. */
static int now_at(const tuner *u, const tunable *k)
{
    int at = 0;
    for (int i = 0; i < k->n; i++)
        if (k->values[i] <= tunable_get(&u->best, k))
            at = i;
    return at;
}

/* Tries neighbours, and goes on in the direction that gains; or all values, where neighbours aren't alike. */
static bool try_values(tuner *u, choice *c, err *e)
{
    bool better, found = false;
    for (int i = 0; i < c->k->n && !c->k->ordered; i++)
        if (!try_value(u, c, i, &better, e))
            return false;
    for (int way = 1; way >= -1 && c->k->ordered && !found; way -= 2) {
        better = true;
        for (int i = now_at(u, c->k) + way; i >= 0 && i < c->k->n && better; i += way) {
            if (!try_value(u, c, i, &better, e))
                return false;
            found = found || better;
        }
    }
    return true;
}

/* Whether it wins again, and how often it must: other programs may have run beside one of the trials. */
static bool confirmed(tuner *u, choice *c)
{
    tune_result r;
    double sum = c->score;
    for (int i = 0; i < AGAIN; i++) {
        err why = {0};
        if (!try_candidate(u, &c->best, c->works, &r, &why) || !wins(u, &r, c->works))
            return false;
        sum += score(&r);
    }
    c->score = sum / (1 + AGAIN);
    return true;
}

/* Whether it has a part in this search. */
static bool concerns(const tuner *u, const struct step *s)
{
    const tunable *k = tunable_find(s->name);
    return k && (k->form == FORM_ANY || (k->form == FORM_CPU) == u->best.cpu_form) &&
           (!u->wanted || u->wanted(u->context, k->name));
}

static bool do_step(tuner *u, const struct step *s, err *e)
{
    const tunable *k = tunable_find(s->name);
    choice c = {.k = k};
    if (!concerns(u, s))
        return true;
    say(u, "%s: %s, now %d", k->name, s->text, tunable_get(&u->best, k));
    if (!know_noise(u, s->works, e))
        return false;
    c.works = s->works & ~u->unfit;
    if (c.works && !try_values(u, &c, e))
        return false;
    if (c.score == 0)
        return true;
    bool is = confirmed(u, &c);
    if (!goes_on(u, e))
        return false;
    int from = tunable_get(&u->best, k), to = tunable_get(&c.best, k);
    say(u, "  %d again: %s", to, is ? "kept" : "not kept");
    if (!is)
        return true;
    if (u->changes < (int)(sizeof u->found / sizeof *u->found))
        u->found[u->changes] = (struct found){k, from, to, exp(-c.score)};
    u->changes++;
    u->gained |= c.works;
    u->best = c.best;
    return tuning_save(&u->best, &u->info, e);
}

/* ---- the search ---- */

/* How far from the device's limits the works of a step are, on average. */
static double lost(const tuner *u, const struct step *s)
{
    double sum = 0;
    int n = 0;
    for (int w = 0; w < TUNE_WORKS; w++)
        if (s->works >> w & 1) {
            sum += u->lost[w];
            n++;
        }
    return n ? sum / n : 0;
}

/* The steps, those first whose works have most to gain: by the time that bandwidth or multiply-adds alone would take.
 * That is measured before the first step, in no more than a quarter of the time that there is; where it isn't known,
 * and among equals, the table's order stays, and its last step stays the last.  False: the search ends. */
static bool in_order(tuner *u, const struct step *order[STEPS], err *e)
{
    const bool known = u->info.gflops > 0 && u->info.gbytes_per_s > 0;
    const double now = clock_seconds(), end = now + (u->end > 0 ? (u->end - now) / 4 : INFINITY);
    for (int i = 0; i < STEPS; i++)
        order[i] = &steps[i];
    for (int i = 0; known && i < STEPS && clock_seconds() < end; i++)
        if (concerns(u, order[i]) && (!know_noise(u, order[i]->works, e) || !goes_on(u, e)))
            return false;
    for (int i = 1; i < STEPS - 1; i++) {
        const struct step *s = order[i];
        int at = i;
        for (; at > 0 && lost(u, order[at - 1]) < lost(u, s); at--)
            order[at] = order[at - 1];
        order[at] = s;
    }
    return true;
}

/* What was found, and what it gives as a whole against `first`, what the device has by itself. */
static void summarise(tuner *u, const tuning *first)
{
    char text[TUNING_TEXT], all[512];
    tune_result r;
    err why = {0};
    tuning_text(&u->best, &u->info, text);
    say(u, "%s after %d trials%s%s", u->changes ? "kept" : "nothing was faster", u->trials, text[0] ? ": " : "", text);
    for (int i = 0; i < u->changes && i < (int)(sizeof u->found / sizeof *u->found); i++)
        if (u->found[i].k)
            say(u, "  %-18s %8d instead of %8d: %.2fx", u->found[i].k->name, u->found[i].to, u->found[i].from,
                u->found[i].gain);
    if (u->gained && trial(u, first, &u->best, u->gained, &r, &why)) {
        gains(&r, all);
        say(u, "all of it against none: %s", all);
    }
}

/* Two searches at once would measure each other: waits for the other one, and not out of this one's time.  *lock: a
 * descriptor whose end lets the next one go on.  False: what would be found couldn't be kept, or nobody waits. */
static bool wait_for_others(tuner *u, int *lock, err *e)
{
    char *directory = file_cache_directory(), path[PATH_MAX];
    const double began = clock_seconds();
    bool told = false;
    *lock = -1;
    bool ok = directory
                  ? file_make_directory(directory, e)
                  : err_set(e, ERR_FAILED, "tune: no directory to keep what is found (set HOME or LIMN_CACHE_DIR)");
    if (ok) {
        snprintf(path, sizeof path, "%s/tune.lock", directory);
        *lock = os_open(path, OS_SAME_NEW);
        ok = *lock >= 0 || err_set(e, ERR_FAILED,
                                   "%s: cannot write: %s (what is found is kept there: make the folder writable, or "
                                   "set LIMN_CACHE_DIR to another one)",
                                   path, strerror(errno));
    }
    while (ok && !os_lock(*lock, false) && errno == EWOULDBLOCK) {
        if (!told)
            say(u, "another search is at work on this machine: this one waits for its end");
        told = true;
        ok = goes_on(u, e);
        nanosleep(&(struct timespec){.tv_nsec = 100000000}, NULL);
    }
    u->end += u->end > 0 ? clock_seconds() - began : 0;
    free(directory);
    return ok;
}

bool tune_search(tuner *u, err *e)
{
    const tuning first = u->best;
    int lock;
    bool ok = wait_for_others(u, &lock, e), form = !u->best.cpu_form;
    while (ok && form != u->best.cpu_form && !is_over(u)) {
        const struct step *order[STEPS];
        form = u->best.cpu_form;
        u->known = u->unfit = 0;
        memset(u->lost, 0, sizeof u->lost);
        ok = in_order(u, order, e);
        for (int i = 0; ok && i < STEPS && !is_over(u); i++) {
            u->done = i;
            ok = goes_on(u, e) && do_step(u, order[i], e);
        }
    }
    if (ok && !u->changes) /* an earlier one may have found otherwise */
        ok = tuning_save(&u->best, &u->info, e);
    if (ok) {
        summarise(u, &first);
        u->goes_on(u->context, STEPS, STEPS, NULL);
    }
    if (lock >= 0)
        close(lock);
    return ok;
}
