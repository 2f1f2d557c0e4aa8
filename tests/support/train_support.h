/* What the tests of training share: a small data set, runs on it, and whether a resumed one is the same. */
#ifndef TESTS_TRAIN_SUPPORT_H
#define TESTS_TRAIN_SUPPORT_H
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "io/image.h"
#include "support.h"
#include "train/train.h"

enum { PICTURES = 12, SIDE = SUPPORT_SIDE }; /* of support_pictures */

static device *dev;
static char folder[512];

static int make_data(void **state)
{
    (void)state;
    dev = support_device();
    snprintf(folder, sizeof folder, "%s", support_path("data"));
    support_pictures(folder);
    return 0;
}

static int drop_data(void **state)
{
    (void)state;
    device_free(dev);
    return 0;
}

/* What a run reports, and when it is to pause. */
typedef struct watch {
    int64_t pause_after;
    double first, last;
} watch;

static bool on_step(void *context, const train_progress *p)
{
    watch *w = context;
    if (p->step == 1)
        w->first = p->loss;
    w->last = p->loss;
    return w->pause_after == 0 || p->step < w->pause_after;
}

static void fill_run(train_run *q, const char *output, int64_t steps, watch *w)
{
    static const char *sources[1];
    sources[0] = folder;
    q->output = output;
    q->sources = sources;
    q->n_sources = 1;
    q->batch = 4;
    q->save_every = 0;
    q->settings.steps = steps;
    q->settings.warm_up = 0;
    q->settings.seed = 7;
    q->progress = on_step;
    q->context = w;
}

static train_codec_options codec_options(const char *output, int64_t steps, watch *w)
{
    train_codec_options o = train_codec_defaults();
    fill_run(&o.run, output, steps, w);
    o.model = support_autoencoder(SIDE);
    o.run.settings.lr = 3e-3f;
    return o;
}

static void run_codec(const train_codec_options *o)
{
    err e = {0};
    if (!train_codec(dev, o, &e))
        fail_msg("%s", e.text);
}

static void same_files(const char *a, const char *b)
{
    file_map x = {0}, y = {0};
    err e = {0};
    assert_true(file_map_open(&x, a, &e) && file_map_open(&y, b, &e));
    assert_int_equal(x.size, y.size);
    assert_memory_equal(x.data, y.data, x.size);
    file_map_release(&x);
    file_map_release(&y);
}

/* Line by line, without the last column: how long the steps took. */
static void same_logs(const char *a, const char *b)
{
    FILE *f[2] = {fopen(a, "r"), fopen(b, "r")};
    char line[2][1024];
    bool more = true;
    assert_true(f[0] && f[1]);
    while (more) {
        more = fgets(line[0], sizeof *line, f[0]) != NULL;
        assert_int_equal(fgets(line[1], sizeof *line, f[1]) != NULL, more);
        for (int i = 0; more && i < 2; i++) {
            char *last = strrchr(line[i], ',');
            assert_non_null(last);
            assert_true(!strcmp(last, ",seconds\n") || atof(last + 1) > 0);
            *last = 0;
        }
        if (more)
            assert_string_equal(line[0], line[1]);
    }
    fclose(f[0]);
    fclose(f[1]);
}

/* o to its end, then the same in two parts to another file: model, checkpoint and log are equal. */
static inline void resumes_in_the_same_bytes(train_codec_options *o, const char *other, int64_t pause_after)
{
    static const char *const ends[] = {"", ".checkpoint", ".csv"};
    char whole[512], parts[512];
    watch w = {0}, paused = {.pause_after = pause_after};
    const char *first = o->run.output;
    run_codec(o);
    o->run.output = support_path(other);
    o->run.context = &paused;
    run_codec(o);
    o->run.resume = true;
    o->run.context = &w;
    run_codec(o);
    for (int i = 0; i < 3; i++) {
        snprintf(whole, sizeof whole, "%s%s", first, ends[i]);
        snprintf(parts, sizeof parts, "%s%s", o->run.output, ends[i]);
        (i == 2 ? same_logs : same_files)(whole, parts);
    }
}
#endif
