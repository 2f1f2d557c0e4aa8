/* Comparing converted models with what their authors' code made of the same inputs. */
#include "golden_checks.h"
#include "checks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LOGITS 1e-5 /* of their range */
#define PIXELS 1e-5

static golden_npz open_arrays(const golden_check *c)
{
    golden_npz f;
    char path[300];
    snprintf(path, sizeof path, GOLDEN "%s", c->file);
    golden_npz_open(&f, path);
    return f;
}

/* Numbers of one row of the array. */
static int row_size(const npy *a)
{
    return (int)(a->count / a->shape[0]);
}

static const float *floats(const npy *a, int row)
{
    return (const float *)a->data + (size_t)row * (size_t)row_size(a);
}

static const int32_t *ints(const npy *a, int row)
{
    return (const int32_t *)a->data + (size_t)row * (size_t)row_size(a);
}

static void *new_array(size_t n, size_t size)
{
    void *a = calloc(n, size);
    assert_non_null(a);
    return a;
}

/* The largest difference of the numbers that are not masked. */
typedef struct difference {
    double most, low, high;
} difference;

static void differ(difference *d, const float *have, const float *want, int n)
{
    for (int i = 0; i < n; i++) {
        double k = fabs((double)have[i] - (double)want[i]);
        if (want[i] <= -1e29f)
            continue;
        d->most = k <= d->most ? d->most : k; /* NaN too */
        d->low = fmin(d->low, (double)want[i]);
        d->high = fmax(d->high, (double)want[i]);
    }
}

static const difference none = {.low = INFINITY, .high = -INFINITY};

static void bound_logits(difference d, const golden_check *c)
{
    if (!(d.most <= LOGITS * (d.high - d.low)))
        fail_msg("%s: logits differ by %g of their range from %s", c->file, d.most / (d.high - d.low), c->want);
}

static void bound_pixels(difference d, const golden_check *c)
{
    if (!(d.most <= PIXELS && d.high - d.low > 0.1))
        fail_msg("%s: pixels differ by %g of 255 from %s", c->file, d.most * 255, c->want);
}

static void same_codes(const int32_t *have, const int32_t *want, int n, const golden_check *c)
{
    for (int i = 0; i < n; i++)
        if (have[i] != want[i])
            fail_msg("%s: code %d is %d, and %s has %d", c->file, i, have[i], c->want, want[i]);
}

/* ---- pictures ---- */

/* u8 [n, h, w, 3] of [n, 3, h, w] */
static uint8_t *pixels_of(const npy *a)
{
    int64_t cells = a->shape[2] * a->shape[3];
    uint8_t *rgb = new_array((size_t)a->count, 1);
    for (int64_t i = 0; i < a->count; i++) {
        int64_t n = i / (3 * cells), channel = i / cells % 3, cell = i % cells;
        rgb[(n * cells + cell) * 3 + channel] = (uint8_t)((const int32_t *)a->data)[i];
    }
    return rgb;
}

void golden_encode(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy image = golden_npz_read(&f, c->in, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_I32), logits = {0};
    if (c->with)
        logits = golden_npz_read(&f, c->with, DTYPE_F32);
    assert_int_equal(m->info.encode_height, image.shape[2]);
    assert_int_equal(m->info.encode_width, image.shape[3]);
    assert_int_equal(m->info.grid_height * m->info.grid_width, row_size(&want));
    uint8_t *rgb = pixels_of(&image);
    int32_t *codes = new_array((size_t)want.count, sizeof *codes);
    float *have = new_array((size_t)logits.count + 1, sizeof *have);
    good(limn_encode(m, rgb, (int)image.shape[0], codes, c->with ? have : NULL, &e), &e);
    same_codes(codes, want.data, (int)want.count, c);
    if (c->with) {
        difference d = none;
        differ(&d, have, logits.data, (int)logits.count);
        bound_logits(d, c);
    }
    free(rgb);
    free(codes);
    free(have);
    npy_release(&image);
    npy_release(&want);
    npy_release(&logits);
    golden_npz_release(&f);
}

void golden_decode(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy codes = golden_npz_read(&f, c->in, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_F32);
    assert_int_equal(m->info.grid_height * m->info.grid_width, row_size(&codes));
    assert_int_equal(m->info.height, want.shape[2]);
    assert_int_equal(m->info.width, want.shape[3]);
    float *have = new_array((size_t)want.count, sizeof *have), *x = want.data;
    for (int i = 0; c->raw && i < want.count; i++)
        x[i] = fminf(fmaxf(0.5f * x[i] + 0.5f, 0), 1);
    good(limn_decode(m, codes.data, (int)codes.shape[0], have, &e), &e);
    difference d = none;
    differ(&d, have, want.data, (int)want.count);
    bound_pixels(d, c);
    free(have);
    npy_release(&codes);
    npy_release(&want);
    golden_npz_release(&f);
}

/* ---- min-dalle's pictures ---- */

/* Each step-th pixel of [3, height, width]. */
static void compare_pixels(const float *pixels, const limn_model_info *i, int step, const npy *want,
                           const golden_check *c)
{
    difference d = none;
    assert_int_equal(want->shape[0] * step, i->height);
    assert_int_equal(want->shape[1] * step, i->width);
    for (int y = 0, at = 0; y < i->height; y += step)
        for (int x = 0; x < i->width; x += step)
            for (int k = 0; k < 3; k++, at++) {
                float reference = ((const float *)want->data)[at] / 255;
                differ(&d, &pixels[(k * i->height + y) * i->width + x], &reference, 1);
            }
    bound_pixels(d, c);
}

void golden_first(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy codes = golden_npz_read(&f, c->in, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_F32);
    float *have = new_array((size_t)(3 * m->info.width * m->info.height), sizeof *have);
    good(limn_decode(m, codes.data, 1, have, &e), &e);
    compare_pixels(have, &m->info, 2, &want, c);
    free(have);
    npy_release(&codes);
    npy_release(&want);
    golden_npz_release(&f);
}

/* min-dalle lays rows of codes out by columns. */
void golden_seamless(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy codes = golden_npz_read(&f, c->in, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_F32);
    int side = m->info.grid_width, half = side / 2;
    assert_int_equal(codes.count, side * side);
    int32_t *all = new_array((size_t)codes.count, sizeof *all);
    for (int y = 0; y < side; y++)
        for (int x = 0; x < side; x++)
            all[y * side + x] = ints(&codes, x / half * 2 + y / half)[y % half * half + x % half];
    float *have = new_array((size_t)(3 * m->info.width * m->info.height), sizeof *have);
    good(limn_decode(m, all, 1, have, &e), &e);
    compare_pixels(have, &m->info, 4, &want, c);
    free(all);
    free(have);
    npy_release(&codes);
    npy_release(&want);
    golden_npz_release(&f);
}

/* ---- text and codes ---- */

/* log p(y) of the ids, of the logits [positions, width] that predict the last of them. */
static void compare_text(const model *m, const limn_score *s, const int32_t *ids, int n, const float *logits,
                         int positions, int width, const golden_check *c)
{
    int vocabulary = (int)m->transformer->text_head->w.shape[0], skipped = n - positions;
    double want = 0;
    while (n && !ids[n - 1]) /* padding */
        n--;
    assert_int_equal(s->text_tokens, n - skipped);
    for (int i = skipped; i < n; i++)
        want += log_probability(logits + (i - skipped) * width, vocabulary, ids[i]);
    if (!(fabs(s->text_log_likelihood - want) <= LOGITS * fabs(want)))
        fail_msg("%s: log p(y) is %g, and the reference has %g", c->file, s->text_log_likelihood, want);
}

void golden_score(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy codes = golden_npz_read(&f, c->with, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_F32);
    npy ids = {0}, text = {0};
    if (c->in)
        ids = golden_npz_read(&f, c->in, DTYPE_I32);
    if (c->text)
        text = golden_npz_read(&f, c->text, DTYPE_F32);
    int k = m->transformer->codes, cells = m->info.grid_width * m->info.grid_height, n = c->in ? row_size(&ids) : 0;
    int positions = (int)want.shape[1], width = (int)want.shape[2];
    int steps = positions - c->first < cells ? positions - c->first : cells;
    float *have = new_array((size_t)(cells * k), sizeof *have);
    difference d = none;
    for (int row = 0; row < want.shape[0]; row++) {
        limn_score s;
        good(limn_score_codes(m, n ? ints(&ids, row) : NULL, (size_t)n, ints(&codes, row), have, &s, &e), &e);
        assert_int_equal(s.image_tokens, cells);
        for (int i = 0; i < steps; i++)
            differ(&d, have + i * k, floats(&want, row) + (c->first + i) * width + width - k, k);
        if (c->text)
            compare_text(m, &s, ints(&ids, row), n, floats(&text, row), (int)text.shape[1], (int)text.shape[2], c);
        else if (n > 1)
            compare_text(m, &s, ints(&ids, row), n, floats(&want, row), c->first, width, c);
    }
    bound_logits(d, c);
    free(have);
    npy_release(&codes);
    npy_release(&want);
    npy_release(&ids);
    npy_release(&text);
    golden_npz_release(&f);
}

void golden_steps(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy codes = golden_npz_read(&f, c->with, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_F32);
    npy ids = golden_npz_read(&f, c->in, DTYPE_I32);
    int k = m->transformer->codes, cells = m->info.grid_width * m->info.grid_height, rows = (int)codes.shape[0];
    float *have = new_array((size_t)(cells * k), sizeof *have);
    int32_t *row = new_array((size_t)cells, sizeof *row);
    difference d = none;
    for (int i = 0; i < 2 * rows; i++) {
        limn_score s;
        memcpy(row, ints(&codes, i / 2), (size_t)row_size(&codes) * sizeof *row);
        good(limn_score_codes(m, ints(&ids, i % 2), (size_t)row_size(&ids), row, have, &s, &e), &e);
        for (int step = 0; step < want.shape[0]; step++)
            differ(&d, have + step * k, floats(&want, step) + (i % 2 * rows + i / 2) * k, k);
    }
    bound_logits(d, c);
    free(have);
    free(row);
    npy_release(&codes);
    npy_release(&want);
    npy_release(&ids);
    golden_npz_release(&f);
}

void golden_greedy(model *m, const golden_check *c)
{
    err e = {0};
    golden_npz f = open_arrays(c);
    npy ids = golden_npz_read(&f, c->in, DTYPE_I32), want = golden_npz_read(&f, c->want, DTYPE_I32);
    int cells = row_size(&want), shift = (int)(ids.shape[0] - want.shape[0]);
    int32_t *codes = new_array((size_t)cells, sizeof *codes);
    assert_int_equal(m->info.grid_width * m->info.grid_height, cells);
    for (int row = 0; row < want.shape[0]; row++) {
        limn_generate_options o = {.text_ids = ints(&ids, row + shift),
                                   .n_text_ids = (size_t)row_size(&ids),
                                   .count = 1,
                                   .guidance = c->guidance};
        good(limn_generate(m, &o, codes, &e), &e);
        same_codes(codes, ints(&want, row), cells, c);
    }
    free(codes);
    npy_release(&ids);
    npy_release(&want);
    golden_npz_release(&f);
}

void golden_tokens(model *m, const golden_check *c)
{
    json_error_t why;
    char path[300];
    snprintf(path, sizeof path, GOLDEN "%s", c->file);
    json_t *root = json_load_file(path, 0, &why), *list, *one;
    size_t i;
    if (!root)
        fail_msg("%s: %s", path, why.text);
    list = json_is_array(root) ? root : json_object_get(root, "cases");
    assert_true(json_array_size(list) >= 10);
    json_array_foreach(list, i, one)
    {
        err e = {0};
        int32_t *ids = NULL;
        const char *text = json_string_value(json_object_get(one, "text"));
        const json_t *want = json_object_get(one, "ids");
        size_t n = 0, k = 0;
        good(limn_tokenize(m, text, &ids, &n, &e), &e);
        for (; k < n && k < json_array_size(want); k++)
            if (ids[k] != json_integer_value(json_array_get(want, k)))
                fail_msg("%s: \"%s\": id %zu is %d", c->file, text, k, (int)ids[k]);
        for (; k < json_array_size(want); k++)
            if (!c->first || json_integer_value(json_array_get(want, k)) != c->first)
                fail_msg("%s: \"%s\": id %zu is missing", c->file, text, k);
        if (n > k)
            fail_msg("%s: \"%s\": %zu ids, where %zu are expected", c->file, text, n, k);
        free(ids);
    }
    json_decref(root);
}

void golden_clip(model *m, const golden_check *c)
{
    golden_npz f = open_arrays(c);
    npy ids = golden_npz_read(&f, c->in, DTYPE_I32), image = golden_npz_read(&f, c->with, DTYPE_I32);
    npy want = golden_npz_read(&f, c->want, DTYPE_F32);
    uint8_t *rgb = pixels_of(&image);
    for (int i = 0; i < want.count; i++) {
        double score = golden_clip_score(m, ints(&ids, i), (size_t)row_size(&ids), rgb + i * row_size(&image));
        if (!(fabs(score - (double)*floats(&want, i)) <= 1e-4))
            fail_msg("%s: score %d is %g, and %s has %g", c->file, i, score, c->want, (double)*floats(&want, i));
    }
    free(rgb);
    npy_release(&ids);
    npy_release(&image);
    npy_release(&want);
    golden_npz_release(&f);
}
