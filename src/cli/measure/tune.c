/* limn tune: tries what could be faster on this device, each trial in a process of its own, and keeps what was. */
#include <errno.h>
#include <math.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "cli/commands.h"
#include "cli/common.h"
#include "cli/measure/tune.h"
#include "cli/probe.h"

#define GAIN     0.97 /* what is slower than this share of the best's time isn't worth a change: that is noise */
#define AGAIN    2    /* trials more of what seems faster */
#define PATIENCE 5    /* limits of a trial, for the kernels that it is compared with */

/* ---- child processes ---- */

/* What a child is to do, and says: the device, and a trial where there are works. */
typedef struct order {
    const options *o;
    limn_device_info info; /* of the device that the first child found */
    tuning t;
    unsigned works;
} order;
typedef struct answer {
    err e;
    limn_device_info info;
    tuning found, otherwise; /* as the device opens, and without what was saved */
    tune_result result;
} answer;

static void child(const order *o, answer *a)
{
    char spec[32];
    if (!o->works) {
        device *d = command_device(o->o, &a->e);
        if (d) {
            a->info = d->info;
            a->found = d->tune;
            a->otherwise = device_default_tuning(&d->info);
        }
        device_free(d);
        return;
    }
    limn_device_options quiet = {.memory_limit = options_unsigned(o->o, "mem-limit", 0),
                                 .no_cache = options_given(o->o, "no-cache")};
    snprintf(spec, sizeof spec, "%d.%d", o->info.platform, o->info.device);
    device *d = device_open(spec, &quiet, &a->e);
    if (d)
        tune_trial(d, &o->t, o->works, &a->result);
    device_free(d);
}

/* Reads all of the answer, by `end`. */
static bool receive(int from, double end, answer *a, bool *late)
{
    size_t done = 0;
    while (done < sizeof *a) {
        double left = end - clock_seconds();
        struct pollfd p = {.fd = from, .events = POLLIN};
        int ready = left > 0 ? poll(&p, 1, (int)ceil(1e3 * fmin(left, 1))) : 0;
        if (left <= 0 || interrupted()) {
            *late = !interrupted();
            return false;
        }
        if (ready <= 0)
            continue;
        ssize_t n = read(from, (char *)a + done, sizeof *a - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        done += (size_t)n;
    }
    return true;
}

/* Runs the order in a child that has `limit` seconds.  The parent never calls OpenCL, whose drivers don't survive a
 * fork.  False with why in e: it crashed, hung, or was refused. */
static bool run_child(const order *o, double limit, answer *a, err *e)
{
    int ends[2], status = 0;
    bool late = false;
    fflush(NULL);
    pid_t pid = pipe(ends) ? -1 : fork();
    if (pid < 0)
        return err_set(e, ERR_FAILED, "tune: no process for a trial: %s", strerror(errno));
    if (pid == 0) {
        answer said = {0};
        close(ends[0]);
        child(o, &said);
        ssize_t n = write(ends[1], &said, sizeof said);
        _exit(n != (ssize_t)sizeof said); /* drivers may crash in their own ends */
    }
    close(ends[1]);
    bool ok = receive(ends[0], clock_seconds() + limit, a, &late);
    close(ends[0]);
    kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (!ok && interrupted())
        return interrupt_check(e);
    if (!ok && late)
        return err_set(e, ERR_FAILED, "hung: no result in %.0f s", limit);
    if (!ok)
        return err_set(e, ERR_FAILED, "crashed%s%s", WIFSIGNALED(status) ? ": " : "",
                       WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "");
    return a->e.code == ERR_NONE || err_set(e, a->e.code, "%s", a->e.text);
}

/* ---- steps ---- */

typedef struct tuner {
    order o;
    double limit, end; /* seconds of a trial; clock_seconds() when it is over, or 0 */
    tuning best;
    int trials, changes;
} tuner;

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

/* One trial.  u->best is waited for longer: it is what remains, and a driver may compile it for minutes. */
static bool trial(tuner *u, const tuning *t, unsigned works, tune_result *r, err *e)
{
    double limit = same(t, &u->best) ? PATIENCE * u->limit : u->limit;
    answer a = {0};
    u->o.t = *t;
    u->o.works = works;
    u->trials++;
    if (!run_child(&u->o, limit, &a, e))
        return false;
    *r = a.result;
    return r->right || err_set(e, ERR_FAILED, "%s", r->text);
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

/* Tries the candidates of a step; what is fastest becomes u->best. */
static bool do_step(tuner *u, const step *s, err *e)
{
    tuning list[8], best = u->best;
    tune_result now, fastest = {0}, r;
    int n = s->candidates(&u->o.info, &u->best, list);
    double least = log(GAIN);
    err why = {0};
    if (n == 0)
        return true;
    printf("%s\n", s->name);
    if (!trial(u, &u->best, s->works, &now, &why))
        return err_set(e, ERR_FAILED, "tune: the kernels as they are: %s", why.text);
    if (!same(&u->best, &now.ran)) { /* the driver refused its groups, and smaller ones did it */
        u->best = best = now.ran;
        u->changes++;
        if (!tuning_save(&u->best, &u->o.info, e))
            return false;
    }
    for (int i = 0; i < n && !(u->end > 0 && clock_seconds() > u->end); i++) {
        char text[TUNING_TEXT];
        if (!tuning_valid(&list[i], &u->o.info) || same(&list[i], &u->best))
            continue;
        tuning_text(&list[i], text);
        why = (err){0};
        bool ok = try_candidate(u, &list[i], s->works, &r, &why);
        if (!interrupt_check(e))
            return false;
        if (ok) {
            printf("  %-96s %5.2fx\n", text, exp(-score(&r, &now)));
        } else {
            printf("  %-96s left out: ", text);
            print_said(why.text);
            printf("\n");
        }
        fflush(stdout);
        if (ok && score(&r, &now) < least) {
            least = score(&r, &now);
            best = list[i];
            fastest = r;
        }
    }
    if (same(&best, &u->best))
        return true;
    bool is = confirmed(u, s, &best, &now, &fastest);
    if (!interrupt_check(e))
        return false;
    printf("  that in turn with the one before: %.2fx, %s\n", exp(-score(&fastest, &now)), is ? "kept" : "not kept");
    if (!is)
        return true;
    u->best = best;
    u->changes++;
    return tuning_save(&u->best, &u->o.info, e);
}

int command_tune(const options *o)
{
    err e = {0};
    answer a = {0};
    tuner u = {.o.o = o, .limit = options_number(o, "trial-seconds", 120)};
    double budget = options_number(o, "seconds", 0), start = clock_seconds();
    interrupt_catch();
    bool ok = probe_check(false, &e) && run_child(&u.o, u.limit, &a, &e);
    if (ok) {
        char text[TUNING_TEXT];
        u.o.info = a.info;
        u.best = a.otherwise;
        u.end = budget > 0 ? start + budget : 0;
        printf("%s (%s)\n", a.info.name, a.info.platform_name);
        for (size_t i = 0; ok && i < sizeof steps / sizeof *steps && !(u.end > 0 && clock_seconds() > u.end); i++)
            ok = do_step(&u, &steps[i], &e);
        tuning_text(&u.best, text);
        if (ok && !u.changes) /* an earlier one may have found otherwise */
            ok = tuning_save(&u.best, &u.o.info, &e);
        if (ok)
            printf("%s after %d trials: %s\n", u.changes ? "kept" : "nothing was faster", u.trials, text);
        char *directory = ok ? file_cache_directory() : NULL, path[4200];
        if (directory) {
            snprintf(path, sizeof path, "%s/tuning", directory);
            say_wrote(path, "%d trials", u.trials);
        }
        free(directory);
    }
    return ok ? 0 : report(&e);
}
