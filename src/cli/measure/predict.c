/* What counted launches would take on a described GPU. */
#include "cli/measure/predict.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "cl/constants.h"

/* ---- kernels, by compiled code ---------------------------------------------------------------------------------- */

typedef enum kernel_kind {
    KIND_WEIGHTS,   /* a: a lane's instructions for a weight, for `n` rows of x at once */
    KIND_TILES,     /* a: share of multiply-adds in the instructions; b: the most of them that local memory feeds */
    KIND_ATTENTION, /* for `n` keys at once, a: loads that wait for the one before; b: barriers */
    KIND_NORM,      /* a: loops over a row, whose work-items load `n` numbers each at once; b: barriers in all */
    KIND_SAMPLE     /* in each of `n` passes, a: loads that wait, by numbers of a work-item; b: barriers */
} kernel_kind;

/* Of 2026-11-30, by tools/isa (skl, tgllp, gfx1030, sm_86); loads that wait and barriers by the kernels' text.  A
 * kernel's row changes with the kernel.  Where one has no row, bandwidth and the latency of two loads count alone.  The
 * caps of local memory are of one message a clock and cluster, of 64 bytes (Gen9) or 128, which is assumed. */
static const struct kernel_cost {
    const char *pattern;
    kernel_kind kind;
    int n;
    float a[PREDICT_ISAS], b[PREDICT_ISAS]; /* Gen9, Gen12, RDNA, Ampere */
} costs[] = {
    {"linear:rows1_f32", KIND_WEIGHTS, 1, {1.9f, 2.1f, 2.3f, 2.1f}, {0}},
    {"linear:rows1_f16", KIND_WEIGHTS, 1, {4.1f, 3.2f, 2.3f, 3}, {0}},
    {"linear:rows1_q8_0", KIND_WEIGHTS, 1, {2.9f, 3, 2.75f, 3}, {0}},
    {"linear:rows1_q4_0", KIND_WEIGHTS, 1, {3.6f, 3.6f, 3.5f, 3.5f}, {0}},
    {"linear:rows2_f32", KIND_WEIGHTS, 2, {2.9f, 3.1f, 3.5f, 3.3f}, {0}},
    {"linear:rows2_f16", KIND_WEIGHTS, 2, {5, 5, 3.4f, 4.1f}, {0}},
    {"linear:rows2_q8_0", KIND_WEIGHTS, 2, {4.1f, 4.1f, 4, 4.1f}, {0}},
    {"linear:rows2_q4_0", KIND_WEIGHTS, 2, {5, 5, 5.1f, 4.9f}, {0}},
    {"linear:rows4_f32", KIND_WEIGHTS, 4, {5.2f, 5.4f, 5.9f, 5.8f}, {0}},
    {"linear:rows4_f16", KIND_WEIGHTS, 4, {6.2f, 5.4f, 6.1f, 6.8f}, {0}},
    {"linear:rows4_q8_0", KIND_WEIGHTS, 4, {6.6f, 6.7f, 7, 6.7f}, {0}},
    {"linear:rows4_q4_0", KIND_WEIGHTS, 4, {8, 8.2f, 8.5f, 7.9f}, {0}},
    {"linear:rows_f32", KIND_WEIGHTS, 2, {3.7f, 4, 4.2f, 3.5f}, {0}},
    {"linear:rows_f16", KIND_WEIGHTS, 2, {5.8f, 5.9f, 4.2f, 5.1f}, {0}},
    {"linear:rows_q8_0", KIND_WEIGHTS, 2, {5.8f, 5.9f, 5.9f, 5}, {0}},
    {"linear:rows_q4_0", KIND_WEIGHTS, 2, {5.8f, 5.8f, 6.5f, 5.6f}, {0}},
    {"linear_norm:*1_f32", KIND_WEIGHTS, 1, {2, 2.2f, 2.2f, 1.8f}, {0}},
    {"linear_norm:*1_f16", KIND_WEIGHTS, 1, {4.1f, 3.2f, 2.2f, 2.8f}, {0}},
    {"linear_norm:*1_q8_0", KIND_WEIGHTS, 1, {2.8f, 2.8f, 2.8f, 3}, {0}},
    {"linear_norm:*1_q4_0", KIND_WEIGHTS, 1, {3.5f, 3.6f, 3.5f, 3.4f}, {0}},
    {"linear_norm:*2_f32", KIND_WEIGHTS, 2, {2.9f, 3.1f, 3.4f, 3.2f}, {0}},
    {"linear_norm:*2_f16", KIND_WEIGHTS, 2, {3.9f, 3.2f, 3.4f, 4.1f}, {0}},
    {"linear_norm:*2_q8_0", KIND_WEIGHTS, 2, {4.1f, 4.2f, 4, 4.1f}, {0}},
    {"linear_norm:*2_q4_0", KIND_WEIGHTS, 2, {5, 5.1f, 5, 4.9f}, {0}},
    {"linear_norm:*4_f32", KIND_WEIGHTS, 4, {5.2f, 5.3f, 5.6f, 5.3f}, {0}},
    {"linear_norm:*4_f16", KIND_WEIGHTS, 4, {6.2f, 5.3f, 5.6f, 6}, {0}},
    {"linear_norm:*4_q8_0", KIND_WEIGHTS, 4, {6.6f, 6.6f, 6.4f, 6.5f}, {0}},
    {"linear_norm:*4_q4_0", KIND_WEIGHTS, 4, {8, 8, 7.9f, 7.8f}, {0}},
    {"linear_norm:*_f32", KIND_WEIGHTS, 2, {3.7f, 4, 4.2f, 3.5f}, {0}},
    {"linear_norm:*_f16", KIND_WEIGHTS, 2, {5.8f, 5.9f, 4.2f, 5.1f}, {0}},
    {"linear_norm:*_q8_0", KIND_WEIGHTS, 2, {5.8f, 5.9f, 5.9f, 5}, {0}},
    {"linear_norm:*_q4_0", KIND_WEIGHTS, 2, {5.8f, 5.8f, 6.5f, 5.6f}, {0}},
    {"gemm:gemm", KIND_TILES, 1, {.71f, .64f, .77f, .84f}, {.67f, .64f, 1, 1}},
    {"gemm:gemm_scalar", KIND_TILES, 1, {.67f, .52f, .68f, .75f}, {.67f, .64f, 1, 1}},
    {"gemm:weight_gradient", KIND_TILES, 1, {.50f, .44f, .59f, .42f}, {.67f, .64f, 1, 1}},
    {"winograd:winograd_product", KIND_TILES, 1, {.71f, .64f, .77f, .84f}, {.67f, .64f, 1, 1}},
    {"conv:conv2d*", KIND_TILES, 1, {.66f, .57f, .71f, .78f}, {.67f, .64f, 1, 1}},
    {"conv:conv_transpose2d*", KIND_TILES, 1, {.68f, .59f, .72f, .79f}, {.67f, .64f, 1, 1}},
    {"attention_tile:attention*", KIND_TILES, 1, {.59f, .50f, .66f, .76f}, {.67f, .64f, 1, 1}},
    {"attention:attention*", KIND_ATTENTION, 128, {5, 5, 5, 5}, {8, 8, 8, 8}},
    {"norm:layer_norm_twice", KIND_NORM, 4, {6, 6, 6, 6}, {13, 13, 13, 13}},
    {"norm:layer_norm*", KIND_NORM, 4, {3, 3, 3, 3}, {6, 6, 6, 6}},
    {"norm:rms_norm*", KIND_NORM, 4, {2, 2, 2, 2}, {3, 3, 3, 3}},
    {"norm:softmax*", KIND_NORM, 4, {3, 3, 3, 3}, {6, 6, 6, 6}},
    {"sample:sample", KIND_SAMPLE, 17, {.1f, .1f, .1f, .1f}, {3, 3, 3, 3}},
    {"sample:argmax", KIND_SAMPLE, 1, {1, 1, 1, .25f}, {9, 9, 9, 9}},
};

/* Norms that each group of a product begins with: a lane's instructions for a number of x (of two rows of 1024), loads
 * that wait, barriers. */
static const struct norm_cost {
    const char *pattern;
    float each[PREDICT_ISAS], waits, barriers;
} norm_costs[] = {
    {"linear_norm:normed*", {36, 36, 19, 22}, 2, 9},
    {"linear_norm:twice*", {63, 63, 40, 41}, 3, 17},
};

#define OF_BANDWIDTH 0.88
#define OF_ISSUE     0.7
#define OF_TILES     0.8

static const struct kernel_cost *cost_of(const char *kernel)
{
    for (size_t i = 0; i < sizeof costs / sizeof *costs; i++)
        if (os_matches(costs[i].pattern, kernel))
            return &costs[i];
    return NULL;
}

/* ---- a launch ---------------------------------------------------------------------------------------------------- */

static double groups_of(const counted_launch *l)
{
    double n = 1;
    for (int i = 0; i < 3; i++)
        n *= (double)l->w.global[i] / (double)(l->w.local[i] ? l->w.local[i] : 1);
    return l->w.local[0] ? n : ceil(n / 64);
}

/* How often groups of its size fill the device. */
static double fills(const predict_device *d, const counted_launch *l)
{
    double items = 1;
    for (int i = 0; i < 3; i++)
        items *= (double)(l->w.local[i] ? l->w.local[i] : 1);
    return groups_of(l) / fmax(1, d->groups * 64 / (l->w.local[0] ? items : 64));
}

static double last_of(const tensor *t)
{
    return t->nd ? (double)t->shape[t->nd - 1] : 1;
}

static double rows_of(const tensor *t)
{
    double n = 1;
    for (int i = 0; i + 1 < t->nd; i++)
        n *= (double)t->shape[i];
    return n;
}

/* How much of its tiles a product fills: those that lie partly outside take as long as others. */
static double filled(const predict_device *d, const counted_launch *l)
{
    const tuning t = device_form_tuning(&d->info, false);
    const bool is_tall = l->asked.unit == UNIT_TALL;
    const double tall = TILE_M_OF(TILE_DOWN(t.gemm_side, is_tall)),
                 wide = TILE_N_OF(TILE_ACROSS(t.gemm_side, is_tall), t.gemm_item);
    double columns = (double)l->asked.global[0], rows = (double)l->asked.global[1], share = 1;
    if (l->asked.unit == UNIT_SPAN) /* of a head all columns are inside */
        rows = columns;
    else if (is_tall || l->asked.unit == UNIT_TILE)
        share = columns / (ceil(columns / wide) * wide);
    else
        return 1;
    return share * rows / (ceil(rows / tall) * tall);
}

/* Instructions of a product. */
static double instructions_of(const predict_device *d, const counted_launch *l, const struct kernel_cost *k)
{
    double rows = rows_of(&l->x[0]);
    if (k->kind == KIND_TILES)
        return l->w.flops / 2 / filled(d, l) / (double)k->a[d->isa];
    if (k->kind != KIND_WEIGHTS || rows < 1)
        return 0;
    return l->w.flops / 2 / rows * (double)k->a[d->isa] * ceil(rows / k->n);
}

static double issue_seconds(const predict_device *d, const counted_launch *l, const struct kernel_cost *k)
{
    if (k->kind == KIND_WEIGHTS)
        return instructions_of(d, l, k) * d->mixed / (d->issue * 1e9 * OF_ISSUE);
    if (k->kind != KIND_TILES)
        return 0;
    double share = fmin(OF_TILES * (double)k->a[d->isa], (double)k->b[d->isa]),
           products = l->w.flops / 2 / filled(d, l) / share * 1e-9, groups = groups_of(l);
    /* all of them at the device's rate, and one after the other of a cluster's share at that of the cluster */
    return fmax(products / d->issue, ceil(groups / d->clusters) * products / groups / d->cluster);
}

/* Keys that a group of attention reads. */
static double keys_of(const counted_launch *l)
{
    const tensor *k = &l->x[1];
    double queries = (double)l->asked.global[0] * (double)l->asked.global[1],
           parts = (double)(l->asked.global[2] ? l->asked.global[2] : 1);
    if (k->nd != 4 || queries < 1)
        return 1;
    double keys = l->asked.flops / 4 / queries / (double)k->shape[3];
    return fmax(1, fmin(keys, (double)k->shape[2]) / parts);
}

static double latency_us(const predict_device *d, const counted_launch *l, const struct kernel_cost *k,
                         predict_part *part)
{
    double waits = k ? (double)k->a[d->isa] : 0, barriers = k ? (double)k->b[d->isa] * d->barrier_us : 0,
           each = last_of(&l->x[0]) / (double)(l->w.local[0] ? l->w.local[0] : 64); /* numbers of a work-item */
    switch (k ? k->kind : KIND_TILES) {
    case KIND_ATTENTION:
        *part = PREDICT_ATTENTION;
        return ceil(keys_of(l) / k->n) * (waits * d->far_us + barriers) + 2 * d->far_us;
    case KIND_NORM:
        *part = PREDICT_NORM;
        return ceil(each / k->n) * waits * d->near_us + barriers;
    case KIND_SAMPLE:
        *part = PREDICT_SAMPLE;
        return k->n * (each * waits * d->sample_us + barriers);
    default:
        *part = PREDICT_OTHER;
        return 2 * d->far_us;
    }
}

/* Seconds before a product whose groups begin with a norm: all of them do it at once. */
static double norm_seconds(const predict_device *d, const counted_launch *l)
{
    for (size_t i = 0; i < sizeof norm_costs / sizeof *norm_costs; i++) {
        const struct norm_cost *n = &norm_costs[i];
        if (os_matches(n->pattern, l->kernel)) {
            double numbers = groups_of(l) * rows_of(&l->x[0]) * last_of(&l->x[0]);
            return numbers * (double)n->each[d->isa] / (d->issue * 1e9 * OF_ISSUE) +
                   ((double)n->waits * d->near_us + (double)n->barriers * d->barrier_us) * 1e-6;
        }
    }
    return 0;
}

static void add_kernel(prediction *p, const char *name, double launches, double seconds)
{
    int i = 0;
    while (i < p->kernels && strcmp(p->kernel[i].name, name) != 0)
        i++;
    if (i == PREDICT_KERNELS)
        return;
    if (i == p->kernels)
        p->kernel[p->kernels++] = (predict_kernel){.name = name};
    p->kernel[i].launches += launches;
    p->kernel[i].seconds += seconds;
}

void predict_launch(prediction *p, const predict_device *d, const counted_launch *l, double times)
{
    const struct kernel_cost *k = cost_of(l->kernel);
    predict_part part;
    double seconds = latency_us(d, l, k, &part) * 1e-6 * (part == PREDICT_OTHER ? 1 : fmax(1, fills(d, l))),
           bandwidth = l->w.bytes / (d->gbytes * 1e9 * OF_BANDWIDTH), issue = k ? issue_seconds(d, l, k) : 0,
           norm = norm_seconds(d, l);
    if (bandwidth > seconds) {
        seconds = bandwidth;
        part = PREDICT_BANDWIDTH;
    }
    if (issue > seconds) {
        seconds = issue;
        part = PREDICT_ISSUE;
    }
    p->launches += times;
    p->little += fills(d, l) < 0.25 ? times : 0;
    p->flops += times * l->w.flops;
    p->bytes += times * l->w.bytes;
    p->instructions += k ? times * instructions_of(d, l, k) : 0;
    p->part[part] += times * seconds;
    p->part[PREDICT_NORM] += times * norm;
    add_kernel(p, l->kernel, times, times * (seconds + norm));
    for (int i = 0; i < 2; i++)
        p->gaps[i] += times * d->launch_us[i] * 1e-6;
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

void predict_sum(prediction *p, const prediction *other, double times)
{
    p->launches += times * other->launches;
    p->little += times * other->little;
    p->flops += times * other->flops;
    p->bytes += times * other->bytes;
    p->instructions += times * other->instructions;
    for (int i = 0; i < PREDICT_PARTS; i++)
        p->part[i] += times * other->part[i];
    for (int i = 0; i < 2; i++)
        p->gaps[i] += times * other->gaps[i];
    for (int i = 0; i < other->kernels; i++)
        add_kernel(p, other->kernel[i].name, times * other->kernel[i].launches, times * other->kernel[i].seconds);
}

double predict_seconds(const prediction *p)
{
    double sum = (p->gaps[0] + p->gaps[1]) / 2;
    for (int i = 0; i < PREDICT_PARTS; i++)
        sum += p->part[i];
    return sum;
}

static const char *const part_names[PREDICT_PARTS] = {
    [PREDICT_BANDWIDTH] = "bandwidth", [PREDICT_ISSUE] = "issue",   [PREDICT_ATTENTION] = "attention",
    [PREDICT_NORM] = "norm",           [PREDICT_SAMPLE] = "sample", [PREDICT_OTHER] = "other"};

static int longest_first(const void *a, const void *b)
{
    double x = ((const predict_kernel *)a)->seconds, y = ((const predict_kernel *)b)->seconds;
    return (x < y) - (x > y);
}

json_t *predict_json(const prediction *p)
{
    prediction sorted = *p;
    json_t *parts = json_object(), *kernels = json_array();
    for (int i = 0; i < PREDICT_PARTS; i++)
        json_object_set_new(parts, part_names[i], json_real(p->part[i]));
    qsort(sorted.kernel, (size_t)p->kernels, sizeof *sorted.kernel, longest_first);
    for (int i = 0; i < p->kernels; i++)
        json_array_append_new(kernels, json_pack("{s:s, s:f, s:f}", "kernel", sorted.kernel[i].name, "launches",
                                                 sorted.kernel[i].launches, "seconds", sorted.kernel[i].seconds));
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:o, s:[f, f], s:o}", "launches", p->launches, "launches_of_few_groups",
                     p->little, "bytes", p->bytes, "flops", p->flops, "instructions", p->instructions, "seconds_of",
                     parts, "launch_seconds", p->gaps[0], p->gaps[1], "kernels", kernels);
}

static double number_of(const json_t *o, const char *key)
{
    return json_number_value(json_object_get(o, key));
}

void predict_print(const json_t *p)
{
    const json_t *parts = json_object_get(p, "seconds_of"), *gaps = json_object_get(p, "launch_seconds");
    printf(
        "    launches %.0f (too small for a quarter of the device: %.0f), %.4g MB, %.4g MFLOP, %.4g M instructions of "
        "products\n    us:",
        number_of(p, "launches"), number_of(p, "launches_of_few_groups"), 1e-6 * number_of(p, "bytes"),
        1e-6 * number_of(p, "flops"), 1e-6 * number_of(p, "instructions"));
    for (int i = 0; i < PREDICT_PARTS; i++)
        printf(" %s %.0f,", part_names[i], 1e6 * number_of(parts, part_names[i]));
    printf(" launches %.0f to %.0f\n", 1e6 * json_number_value(json_array_get(gaps, 0)),
           1e6 * json_number_value(json_array_get(gaps, 1)));
}

void predict_print_kernels(const json_t *p)
{
    const json_t *row;
    size_t i;
    json_array_foreach(json_object_get(p, "kernels"), i, row)
        printf("      %-40s %8.0f launches %10.0f us\n", json_string_value(json_object_get(row, "kernel")),
               number_of(row, "launches"), 1e6 * number_of(row, "seconds"));
}
