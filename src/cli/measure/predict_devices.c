/* The GPUs that limn bench --predict knows, and those that are given by numbers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/measure/predict.h"
#include "cli/options.h"

/* What follows from the compiled code's device, where only numbers are given: units of a cluster, groups of a unit,
 * what a cluster issues, what integers cost (Gen9: half the rate), and latencies. */
static const struct family {
    const char *name;
    double units, groups, cluster, mixed, near_us, far_us, barrier_us, sample_us;
    uint64_t group, local; /* work-items, KiB */
} families[PREDICT_ISAS] = {
    [PREDICT_GEN9] = {"gen9", 8, 1.75, 64, 1.5, 0.20, 0.35, 0.12, 0.20, 256, 64},
    [PREDICT_GEN12] = {"gen12", 16, 1.75, 166, 1, 0.17, 0.30, 0.10, 0.15, 512, 64},
    [PREDICT_RDNA] = {"rdna", 1, 32, 173, 1, 0.10, 0.28, 0.05, 0.10, 256, 64},
    [PREDICT_AMPERE] = {"ampere", 1, 16, 228, 1, 0.13, 0.30, 0.02, 0.02, 1024, 48},
};

/* Sustained clocks and bandwidths of laptops and desktops as they are sold; issue: lanes times clock.  Launches: in
 * order, batched, between what drivers' authors report for the best case and what tools measure for single ones. */
static const struct profile {
    const char *name, *title;
    predict_isa isa;
    limn_device_type type;
    double units, gflops, issue, gbytes, launch_us[2];
} profiles[] = {
    {"iris_xe", "Intel Iris Xe, 96 EU", PREDICT_GEN12, LIMN_INTEGRATED_GPU, 96, 2000, 998, 60, {4, 10}},
    {"780m", "AMD Radeon 780M", PREDICT_RDNA, LIMN_INTEGRATED_GPU, 12, 8300, 2074, 90, {4, 10}},
    {"rtx3060", "NVIDIA GeForce RTX 3060", PREDICT_AMPERE, LIMN_DISCRETE_GPU, 28, 12700, 6380, 360, {2.5, 5}},
    {"uhd620", "Intel UHD Graphics 620", PREDICT_GEN9, LIMN_INTEGRATED_GPU, 24, 400, 192, 30, {6, 15}},
};
enum { PROFILES = sizeof profiles / sizeof *profiles };

/* What a text gives. */
typedef struct given {
    const struct profile *profile;
    int isa; /* -1: not said */
    double gflops, gbytes, units, launch_us[2];
} given;

static bool bad(const char *text, const char *what, err *e)
{
    char names[200] = "";
    for (int i = 0; i < PROFILES; i++)
        snprintf(names + strlen(names), sizeof names - strlen(names), "%s%s", i ? ", " : "", profiles[i].name);
    return err_set(e, ERR_USAGE,
                   "--predict %.80s: %s (known are %s; numbers may follow one, or stand alone: "
                   "gflops=2000,gbytes=60,units=96,launch_us=4-10,isa=gen9|gen12|rdna|ampere)",
                   text, what, names);
}

static bool is_word(const char *word, size_t n, const char *name)
{
    return strlen(name) == n && !strncasecmp(word, name, n);
}

/* A number above 0; with `last`, or two of them: "4-10". */
static bool read_numbers(const char *text, double *first, double *last)
{
    char one[64];
    const char *dash = last ? strchr(text, '-') : NULL;
    size_t n = dash ? (size_t)(dash - text) : strlen(text);
    if (n >= sizeof one)
        return false;
    snprintf(one, sizeof one, "%.*s", (int)n, text);
    bool ok = parse_number(one, first) && *first > 0 && *first < 1e9;
    if (last)
        *last = *first;
    return ok && (!dash || (parse_number(dash + 1, last) && *last >= *first && *last < 1e9));
}

/* "gflops=2000" */
static bool read_setting(given *g, const char *word, size_t n)
{
    const char *equals = memchr(word, '=', n);
    size_t key = equals ? (size_t)(equals - word) : 0;
    char value[64];
    if (!equals || n - key - 1 >= sizeof value)
        return false;
    snprintf(value, sizeof value, "%.*s", (int)(n - key - 1), equals + 1);
    if (is_word(word, key, "gflops"))
        return read_numbers(value, &g->gflops, NULL);
    if (is_word(word, key, "gbytes"))
        return read_numbers(value, &g->gbytes, NULL);
    if (is_word(word, key, "units"))
        return read_numbers(value, &g->units, NULL);
    if (is_word(word, key, "launch_us"))
        return read_numbers(value, &g->launch_us[0], &g->launch_us[1]);
    for (int i = 0; is_word(word, key, "isa") && i < PREDICT_ISAS; i++)
        if (!strcasecmp(value, families[i].name)) {
            g->isa = i;
            return true;
        }
    return false;
}

static bool read_words(given *g, const char *text, err *e)
{
    for (const char *word = text; word;) {
        size_t n = strcspn(word, ",");
        char what[160];
        bool ok = false;
        for (int i = 0; word == text && i < PROFILES; i++)
            if (is_word(word, n, profiles[i].name)) {
                g->profile = &profiles[i];
                ok = true;
            }
        if (!ok && !read_setting(g, word, n)) {
            snprintf(what, sizeof what, "\"%.*s\" is %s", n < 60 ? (int)n : 60, word,
                     memchr(word, '=', n) ? "no number that a device has" : "no device that is known");
            return bad(text, what, e);
        }
        word = word[n] ? word + n + 1 : NULL;
    }
    return true;
}

/* What follows from the family and the number of units. */
static predict_device of_family(predict_isa isa, double units)
{
    const struct family *f = &families[isa];
    return (predict_device){.isa = isa,
                            .mixed = f->mixed,
                            .clusters = units > f->units ? units / f->units : 1,
                            .groups = units * f->groups,
                            .cluster = f->cluster,
                            .near_us = f->near_us,
                            .far_us = f->far_us,
                            .barrier_us = f->barrier_us,
                            .sample_us = f->sample_us,
                            .info = {.type = LIMN_DISCRETE_GPU,
                                     .memory = (uint64_t)16 << 30,
                                     .max_allocation = (uint64_t)4 << 30,
                                     .local_memory = f->local << 10,
                                     .max_work_group = f->group,
                                     .compute_units = units < 1 ? 1 : (uint32_t)units,
                                     .vector_width = 1,
                                     .base_alignment = 128}};
}

bool predict_parse(predict_device *p, const char *text, err *e)
{
    given g = {.isa = -1};
    if (!read_words(&g, text, e))
        return false;
    const struct profile *k = g.profile;
    if (!k && (g.gflops == 0 || g.gbytes == 0 || g.units == 0))
        return bad(text, "without a known device gflops, gbytes and units are needed", e);
    *p = of_family(g.isa >= 0 ? (predict_isa)g.isa : k ? k->isa : PREDICT_GEN12, g.units > 0 ? g.units : k->units);
    p->gflops = g.gflops > 0 ? g.gflops : g.units > 0 ? k->gflops * g.units / k->units : k->gflops;
    p->gbytes = g.gbytes > 0 ? g.gbytes : k->gbytes;
    p->issue = k ? k->issue * p->gflops / k->gflops : p->gflops / 2;
    p->launch_us[0] = g.launch_us[0] > 0 ? g.launch_us[0] : k ? k->launch_us[0] : 4;
    p->launch_us[1] = g.launch_us[1] > 0 ? g.launch_us[1] : k ? k->launch_us[1] : 10;
    p->info.type = k ? k->type : LIMN_DISCRETE_GPU;
    snprintf(p->info.name, sizeof p->info.name, "%s", k ? k->title : "a GPU of these numbers");
    snprintf(p->info.platform_name, sizeof p->info.platform_name, "predicted: %.100s", text);
    return true;
}

predict_device predict_measured(const limn_device_info *info, predict_isa isa, double gflops, double gbytes,
                                double launch_us)
{
    predict_device p = of_family(isa, info->compute_units);
    p.info = *info;
    p.gflops = gflops;
    p.gbytes = gbytes;
    p.issue = gflops / 2;
    p.launch_us[0] = p.launch_us[1] = launch_us;
    return p;
}
