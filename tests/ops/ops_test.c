/* Every op against its reference: the table of ops_rows.c, run by one body on the device that LIMN_DEVICE names, with
 * the kernels for CPUs and those for GPUs.  Then sampling, runs and the device layer.
 * usage: ops_test [PATTERN [EXCEPT]]     only the tests whose names match, as "*attention*gpu 16]"
 * LIMN_TEST_TINY=1: only the small shapes of the table, for devices that interpret (Oclgrind).
 * LIMN_TEST_TINY=lens: these, and the shapes of ops_lens.c, with the kernels of a GPU alone: for tools/lens, which
 * finds the name of the test that runs in LIMN_TEST_NAME. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops_cases.h"
#include "support.h"

enum { MAX_STYLES = 5, MAX_TESTS = 4096 };

/* What one test runs: a shape of a row, or a behaviour, with one style. */
typedef struct task {
    ops_env *env;
    const ops_row *row;
    const shape *shape;
    const ops_behaviour *behaviour;
    char name[200];
} task;

static void test_body(void **state)
{
    const task *t = *state;
    setenv("LIMN_TEST_NAME", t->name, 1);
    if (t->behaviour) {
        t->behaviour->test(t->env);
        return;
    }
    double error = t->row->check(t->env, t->shape);
    if (getenv("LIMN_TEST_VERBOSE"))
        print_message("error %.2e of %.0e: %s\n", error, t->row->bound, t->name);
    if (!(error <= t->row->bound))
        fail_msg("%s: error %.3g, bound %.3g (%s)", t->name, error, t->row->bound, t->row->why);
}

static int after_each(void **state)
{
    const task *t = *state;
    run_finish(t->env->r, NULL);
    ops_release(t->env);
    if (t->env->tiny) { /* so that what the last case wrote isn't there */
        run_free(t->env->r);
        t->env->r = run_new(t->env->d, NULL);
    }
    return t->env->r ? 0 : 1;
}

/* "linear f16 m=5 k=32 bias gelu_erf [gpu 64]" */
static void name_test(task *t)
{
    const shape *s = t->shape;
    const struct {
        const char *name;
        int value;
    } sizes[] = {{"b", s->b},           {"t", s->t},
                 {"h", s->h},           {"w", s->w},
                 {"c", s->c},           {"d", s->d},
                 {"m", s->m},           {"n", s->n},
                 {"k", s->k},           {"out", s->out},
                 {"kernel", s->kernel}, {"stride", s->stride},
                 {"pad", s->pad},       {"text", s->text},
                 {"groups", s->groups}, {"heads", s->heads},
                 {"dim", s->head_dim},  {"step", s->step},
                 {"factor", s->factor}, {"first", s->first},
                 {"split", s->split},   {"grid", s->grid_width}};
    size_t used = (size_t)snprintf(t->name, sizeof t->name, "%s %s", t->row->op, dtype_table[s->type].name);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes && used < sizeof t->name; i++)
        if (sizes[i].value)
            used += (size_t)snprintf(t->name + used, sizeof t->name - used, " %s=%d", sizes[i].name, sizes[i].value);
    if (used < sizeof t->name)
        snprintf(t->name + used, sizeof t->name - used, "%s%s%s%s%s%s%s [%s]", s->act ? " " : "",
                 s->act ? activation_names[s->act] : "", s->mask ? " mask " : "", s->mask ? mask_names[s->mask] : "",
                 s->bias ? " bias" : "", s->residual ? " residual" : "", s->view ? " view" : "", t->env->style);
}

static task tasks[MAX_TESTS];
static struct CMUnitTest tests[MAX_TESTS];
static size_t n_tests;

static task *add_test(ops_env *v)
{
    task *t = &tasks[n_tests];
    t->env = v;
    tests[n_tests++] =
        (struct CMUnitTest){.name = t->name, .test_func = test_body, .teardown_func = after_each, .initial_state = t};
    return t;
}

/* Of the whole table. */
static const ops_row *row_at(size_t i)
{
    return i < ops_n_rows ? &ops_rows[i] : &ops_masked_rows[i - ops_n_rows];
}

/* Of the lens's shapes. */
static void add_lens(ops_env *v)
{
    for (size_t i = 0; i < ops_n_lenses; i++) {
        size_t at = 0;
        while (row_at(at)->check != ops_lenses[i].check)
            at++;
        const ops_row *row = row_at(at);
        for (size_t j = 0; j < ops_lenses[i].n; j++) {
            task *t = add_test(v);
            t->row = row;
            t->shape = &ops_lenses[i].shapes[j];
            name_test(t);
            memcpy(strrchr(t->name, '['), "[lens]", sizeof "[lens]");
        }
    }
}

static void add_style(ops_env *v, bool tiny)
{
    bool clblast = !strcmp(v->style, "clblast");
    bool few_heads = getenv("LIMN_TEST_LAZY") && !strncmp(v->style, "gpu", 3); /* each size is a program of its own */
    for (size_t i = 0; i < ops_n_rows + ops_n_masked_rows; i++)
        for (size_t j = 0; j < row_at(i)->n; j++) {
            const ops_row *row = row_at(i);
            const shape *s = &row->shapes[j];
            /* the library compiles for seconds: what is our own around it is covered by a few shapes */
            bool product = row->check == check_linear || row->check == check_linear_gradient;
            bool other_head = s->head_dim && s->head_dim != 64 && s->head_dim != 20;
            if ((tiny && !s->tiny) || (clblast && (!product || s->m <= 32 || s->m > 64)) || (few_heads && other_head))
                continue;
            task *t = add_test(v);
            t->row = row;
            t->shape = s;
            name_test(t);
        }
    const ops_behaviour *lists[] = {ops_sampling, ops_positions, ops_runs, ops_counting, ops_learning, ops_tapes};
    for (size_t i = 0; i < sizeof lists / sizeof *lists && !tiny && !clblast; i++)
        for (const ops_behaviour *b = lists[i]; b->name; b++) {
            task *t = add_test(v);
            t->behaviour = b;
            snprintf(t->name, sizeof t->name, "%s [%s]", b->name, v->style);
        }
}

/* The choices of kernels to test on a device: the default one, and the others that it can run. */
static size_t list_styles(const device *d, bool tiny, bool lens, const char **names, tuning *tunes)
{
    size_t n = 0;
    const limn_device_info *i = &d->info;
    tuning cpu = device_form_tuning(i, true), wide = device_form_tuning(i, false), gpu = wide;
    cpu.split = true;
    wide.wg = 16;
    wide.gemm_side = wide.gemm_item = 4;
    gpu.wg = 64;
    gpu.gemm_side = i->max_work_group >= 256 ? 16 : 8;
    gpu.gemm_item = 8;
    gpu.tiles = true;
    gpu.byte_vectors = !wide.byte_vectors;
    cpu.tiles = wide.tiles = tiny;
    tuning *all[] = {&cpu, &wide, &gpu};
    for (size_t k = 0; k < sizeof all / sizeof *all; k++) {
        all[k]->clblast = false;
        all[k]->winograd = 1;
        all[k]->winograd_channels = all[k]->strip = 0; /* where it can; the smallest strips */
        all[k]->winograd_cache = 1 << 20;
    }
    if (lens) {
        names[0] = "gpu 64";
        tunes[0] = gpu;
        return 1;
    }
    if (!tiny) {
        names[n] = "default";
        tunes[n] = d->tune;
        tunes[n++].clblast = false;
    }
    if (i->type == LIMN_CPU && (tiny || !d->tune.cpu_form)) {
        names[n] = "cpu";
        tunes[n++] = cpu;
    }
    if (!tiny && i->max_work_group >= 64 && (d->tune.cpu_form || d->tune.wg != gpu.wg)) {
        names[n] = "gpu 64";
        tunes[n++] = gpu;
    }
    names[n] = "gpu 16";
    tunes[n++] = wide;
    if (!tiny && i->max_work_group >= 256) {
        names[n] = "clblast";
        tunes[n] = d->tune;
        tunes[n++].clblast = true;
    }
    return n;
}

int main(int argc, char **argv)
{
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    if (argc > 2)
        cmocka_set_skip_filter(argv[2]);
    err e = {0};
    const char *tiny_text = getenv("LIMN_TEST_TINY");
    bool lens = tiny_text && !strcmp(tiny_text, "lens"), tiny = lens || (tiny_text && !strcmp(tiny_text, "1"));
    /* Interpreters build in no time, and differently by what the cache doesn't know.  With little memory, the chunks
     * that runs take are little too. */
    limn_device_options options = support_options();
    options.no_cache = options.no_cache || tiny;
    options.memory_limit = lens ? 32 << 20 : tiny ? 2 << 20 : 0;
    device *d = device_open(getenv("LIMN_DEVICE"), &options, &e);
    if (!d) {
        fprintf(stderr, "ops_test: %s\n", e.text);
        return e.code == ERR_DEVICE ? 77 : 1;
    }
    printf("device: %s (%s)\n", d->info.name, d->info.platform_name);
    const char *names[MAX_STYLES];
    tuning tunes[MAX_STYLES];
    static ops_env envs[MAX_STYLES];
    size_t n = list_styles(d, tiny, lens, names, tunes);
    device_free(d);
    for (size_t i = 0; i < n; i++) {
        envs[i] = (ops_env){.style = names[i], .d = device_open(getenv("LIMN_DEVICE"), &options, &e)};
        if (envs[i].d) {
            envs[i].d->tune = tunes[i];
            envs[i].d->tune.narrow_queries = 0; /* tiles wherever they can be */
            envs[i].tiny = tiny;
            envs[i].r = run_new(envs[i].d, &e);
        }
        if (!envs[i].r) {
            fprintf(stderr, "ops_test: %s\n", e.text);
            return 1;
        }
        add_style(&envs[i], tiny);
        if (lens)
            add_lens(&envs[i]);
    }
    int failed = _cmocka_run_group_tests("ops", tests, n_tests, NULL, NULL);
    if (!tiny)
        failed += _cmocka_run_group_tests("devices", ops_device_tests, ops_n_device_tests, NULL, NULL);
    for (size_t i = 0; i < n; i++) {
        run_free(envs[i].r);
        device_free(envs[i].d);
    }
    return failed ? 1 : 0;
}
