/* The ops as functions from inputs to outputs: each runs on the device and is compared with its reference. */
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "ops_cases.h"

static double *reference_of(ops_env *v, int n)
{
    return ops_memory(v, (size_t)n, sizeof(double));
}

/* w in panels: buffer_free(w.buf). */
static tensor pack(ops_env *v, tensor w)
{
    err e = {0};
    tensor packed = w;
    if (!linear_pack(v->r, &packed, w, "test", &e))
        fail_msg("%s", e.text);
    return packed;
}

/* Bit for bit. */
static void same_numbers(ops_env *v, tensor a, tensor b, int n)
{
    float *x = ops_memory(v, (size_t)n, sizeof *x), *y = ops_memory(v, (size_t)n, sizeof *y);
    run_read(v->r, a, x);
    run_read(v->r, b, y);
    assert_memory_equal(x, y, (size_t)n * sizeof *x);
}

/* Panels give the same bits. */
static void check_packed(ops_env *v, const shape *s, tensor x, const linear *l, tensor residual, tensor y)
{
    linear packed = {.w = pack(v, l->w), .b = l->b};
    tensor again = s->residual ? op_linear_add(v->r, x, &packed, residual) : op_linear(v->r, x, &packed, s->act);
    same_numbers(v, y, again, s->m * s->n);
    buffer_free(packed.w.buf);
}

double check_linear(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->m * s->k), *w = ops_numbers(v, s->n * s->k);
    for (int i = 0; s->faint && i < s->n * s->k; i++)
        w[i] *= 1e-4f;
    float *b = s->bias ? ops_numbers(v, s->n) : NULL, *residual = s->residual ? ops_numbers(v, s->m * s->n) : NULL;
    tensor tx = ops_input(v, s, SHAPE(s->m, s->k), x);
    linear l = {.w = ops_weight(v, s, s->n, s->k, w)};
    if (b)
        l.b = ops_tensor(v, DTYPE_F32, SHAPE(s->n), b);
    tensor tr = residual ? ops_input(v, s, SHAPE(s->m, s->n), residual) : (tensor){0};
    tensor y = s->residual ? op_linear_add(v->r, tx, &l, tr) : op_linear(v->r, tx, &l, s->act);
    double *reference = reference_of(v, s->m * s->n);
    ref_linear(reference, x, w, b, residual, s->m, s->n, s->k, s->act);
    double error = ops_error(v, y, reference, s->m * s->n);
    if (linear_packs(s->type))
        check_packed(v, s, tx, &l, tr, y);
    return linear_rounds(v->d, s->type) ? error * OPS_X_BITS : error;
}

double check_conv(ops_env *v, const shape *s)
{
    const int f = s->factor ? s->factor : 1;
    const ref_conv c = {s->b, s->h * f, s->w * f, s->c, s->out, s->kernel, s->stride, s->pad, s->act, s->pad_end};
    int oh = ref_conv_side(&c, c.h, s->transposed), ow = ref_conv_side(&c, c.w, s->transposed);
    int inner = s->kernel * s->kernel * s->c, count = s->b * oh * ow * s->out;
    float *x = ops_numbers(v, s->b * s->h * s->w * s->c), *w = ops_numbers(v, s->out * inner);
    float *b = s->bias ? ops_numbers(v, s->out) : NULL, *residual = s->residual ? ops_numbers(v, count) : NULL;
    conv layer = {
        .in = s->c, .out = s->out, .kernel = s->kernel, .stride = s->stride, .pad = s->pad, .pad_end = s->pad_end};
    uint64_t limit = v->d->info.max_allocation;
    if (s->split) /* channels whose panels one buffer holds */
        v->d->info.max_allocation = (uint64_t)s->split * (uint64_t)inner * sizeof *w;
    tensor tw = ops_tensor(v, s->type, SHAPE(s->out, s->kernel, s->kernel, s->c), w);
    err e = {0};
    if (!conv_pack(v->r, &layer.panels, tw, "test", &e))
        fail_msg("%s", e.text);
    v->d->info.max_allocation = limit;
    if (s->split)
        assert_non_null(layer.panels.buf->next);
    if (b)
        layer.b = ops_tensor(v, DTYPE_F32, SHAPE(s->out), b);
    tensor tx = ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), x), tr = {0};
    if (residual)
        tr = ops_input(v, s, SHAPE(s->b, oh, ow, s->out), residual);
    tensor y = s->transposed ? op_conv_transpose2d(v->r, tx, &layer, s->act)
               : f > 1       ? op_upsample_conv2d(v->r, tx, f, &layer, s->act)
               : s->first    ? op_conv2d_narrow(v->r, tx, &layer)
                             : op_conv2d(v->r, tx, &layer, s->act, tr);
    assert_true(!s->first || (y.buf == tx.buf && y.at == tx.at));
    double *reference = reference_of(v, count);
    float *large = x;
    if (f > 1) {
        int n = s->b * c.h * c.w * s->c;
        double *upsampled = reference_of(v, n);
        ref_upsample(upsampled, x, s->b, s->h, s->w, s->c, f);
        large = ops_memory(v, (size_t)n, sizeof *large);
        for (int i = 0; i < n; i++)
            large[i] = (float)upsampled[i];
    }
    if (s->transposed)
        ref_conv_transpose2d(reference, x, w, b, &c);
    else
        ref_conv2d(reference, large, w, b, residual, &c);
    double error = ops_error(v, y, reference, count);
    buffer_free(layer.panels.buf);
    return error;
}

double check_conv_parts(ops_env *v, const shape *s)
{
    const tuning saved = v->d->tune;
    v->d->tune.winograd_cache = 36 * s->c * 96;
    double error = check_conv(v, s);
    v->d->tune = saved;
    return error;
}

/* Some pixels at a time, over what they are made of. */
double check_conv_in_place(ops_env *v, const shape *s)
{
    const tuning saved = v->d->tune;
    v->d->tune.strip = 16 * s->c;
    double error = check_conv(v, s);
    v->d->tune = saved;
    return error;
}

/* Of few weights already the panels have their type. */
double check_conv_narrow(ops_env *v, const shape *s)
{
    const tuning saved = v->d->tune;
    v->d->tune.narrow_panels = 0;
    v->d->tune.winograd_cache = 9 * s->c * 64;
    double error = check_conv(v, s);
    v->d->tune = saved;
    return error;
}

/* The first picture of a batch is what it is alone. */
static void check_alone(ops_env *v, const shape *s)
{
    const int picture = s->h * s->w * s->c;
    conv layer = {.in = s->c, .out = s->out, .kernel = s->kernel, .stride = s->stride, .pad = s->pad};
    tensor w = ops_tensor(v, s->type, SHAPE(s->out, s->kernel, s->kernel, s->c),
                          ops_numbers(v, s->out * s->kernel * s->kernel * s->c)),
           x = ops_tensor(v, DTYPE_F32, SHAPE(s->b, s->h, s->w, s->c), ops_numbers(v, s->b * picture)), y[2];
    err e = {0};
    float *got[2];
    if (!conv_pack(v->r, &layer.panels, w, "test", &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < 2; i++) {
        tensor in = tensor_rows(x, 0, i ? 1 : s->b);
        y[i] = s->transposed ? op_conv_transpose2d(v->r, in, &layer, s->act)
                             : op_conv2d(v->r, in, &layer, s->act, (tensor){0});
        got[i] = ops_memory(v, (size_t)tensor_count(&y[i]), sizeof(float));
        run_read(v->r, y[i], got[i]);
    }
    assert_memory_equal(got[0], got[1], (size_t)tensor_count(&y[1]) * sizeof(float));
    buffer_free(layer.panels.buf);
}

/* On a device with many cores, where GPUs' kernels make the sums of small pictures in parts. */
double check_conv_sums(ops_env *v, const shape *s)
{
    const uint32_t cores = v->d->cores;
    v->d->cores = 1000;
    double error = check_conv(v, s);
    if (s->b > 1)
        check_alone(v, s);
    v->d->cores = cores;
    return error;
}

/* Weights around 1 and an input away from 0, where a variance by the difference of squares would cancel. */
static norm make_norm(ops_env *v, int d, float *x, int count, float **w, float **b)
{
    *w = ops_numbers(v, d);
    *b = ops_numbers(v, d);
    for (int i = 0; i < count; i++)
        x[i] += 10;
    return (norm){ops_tensor(v, DTYPE_F32, SHAPE(d), *w), ops_tensor(v, DTYPE_F32, SHAPE(d), *b), 1e-5f};
}

double check_layer_norm(ops_env *v, const shape *s)
{
    int count = s->m * s->d;
    float *x = ops_numbers(v, count), *w, *b;
    norm n = make_norm(v, s->d, x, count, &w, &b);
    tensor tx = ops_input(v, s, SHAPE(s->m, s->d), x), y;
    double *reference = reference_of(v, count);
    ref_layer_norm(reference, x, w, b, n.eps, s->m, s->d);
    if (s->residual) {
        float *residual = ops_numbers(v, count);
        y = op_layer_norm_add(v->r, tx, &n, ops_input(v, s, SHAPE(s->m, s->d), residual));
        for (int i = 0; i < count; i++)
            reference[i] += residual[i];
    } else {
        y = op_layer_norm(v->r, tx, &n);
    }
    return ops_error(v, y, reference, count);
}

/* Its own rounding is that of the sum, which the second norm sees. */
double check_layer_norm_twice(ops_env *v, const shape *s)
{
    int count = s->m * s->d;
    float *x = ops_numbers(v, count), *w, *b, *w2, *b2, *between = ops_memory(v, (size_t)count, sizeof *between);
    norm after = make_norm(v, s->d, x, count, &w, &b), before = make_norm(v, s->d, between, count, &w2, &b2);
    tensor tx = ops_input(v, s, SHAPE(s->m, s->d), x), none = {0}, sum;
    float *residual = ops_numbers(v, count);
    tensor added = s->residual ? ops_input(v, s, SHAPE(s->m, s->d), residual) : none;
    tensor y = op_layer_norm_twice(v->r, tx, &after, added, &before, &sum);
    double *reference = reference_of(v, count);
    ref_layer_norm(reference, x, w, b, after.eps, s->m, s->d);
    for (int i = 0; i < count; i++)
        reference[i] += s->residual ? residual[i] : 0;
    double error = ops_error(v, sum, reference, count);
    for (int i = 0; i < count; i++)
        between[i] = (float)reference[i];
    ref_layer_norm(reference, between, w2, b2, before.eps, s->m, s->d);
    return fmax(error, ops_error(v, y, reference, count));
}

double check_group_norm(ops_env *v, const shape *s)
{
    int count = s->b * s->h * s->w * s->c;
    float *x = ops_numbers(v, count), *w, *b;
    norm n = make_norm(v, s->c, x, count, &w, &b);
    tensor y = op_group_norm(v->r, ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), x), &n, s->groups, s->act);
    double *reference = reference_of(v, count);
    ref_group_norm(reference, x, w, b, n.eps, s->b, s->h * s->w, s->c, s->groups, s->act);
    return ops_error(v, y, reference, count);
}

double check_softmax(ops_env *v, const shape *s)
{
    int count = s->m * s->d;
    float *x = ops_numbers(v, count);
    for (int i = 0; i < count; i++)
        x[i] = 5 * x[i] + 100; /* exp overflows without the subtraction of the maximum */
    tensor y = op_softmax(v->r, ops_input(v, s, SHAPE(s->m, s->d), x));
    double *reference = reference_of(v, count);
    ref_softmax(reference, x, s->m, s->d);
    return ops_error(v, y, reference, count);
}

/* In steps of s->step positions (0: all at once), so that decoding is compared with the same reference as prefilling.
 * The cache, of s->type, is larger than what is used of it, in both dimensions; s->n: or has that room.  type: what the
 * reference's keys and values are rounded to. */
static double attention_error(ops_env *v, const shape *s, dtype type)
{
    int keys = s->kv_heads ? s->kv_heads : s->heads, d = s->heads * s->head_dim, row = d + 2 * keys * s->head_dim;
    int length = (s->n ? s->n : s->t) + 3, step = s->step ? s->step : s->t;
    float *qkv = ops_numbers(v, s->b * s->t * row), *y = ops_memory(v, (size_t)(s->b * s->t * d), sizeof *y);
    kv_cache cache = ops_cache(v, s, length);
    const attention_mask mask = {s->mask, s->text, s->grid_width, s->kernel};
    tensor position = ops_integers(v, SHAPE(1), (int32_t[]){0});
    for (int p = 0; p < s->t; p += step) {
        int n = s->t - p < step ? s->t - p : step;
        float *part = ops_memory(v, (size_t)(s->b * n * row), sizeof *part), *out = part;
        for (int b = 0; b < s->b; b++)
            memcpy(part + b * n * row, qkv + (b * s->t + p) * row, (size_t)(n * row) * sizeof *part);
        tensor result =
            op_attention(v->r, ops_input(v, s, SHAPE(s->b, n, row), part), s->heads, &cache, position, &mask);
        run_read(v->r, result, out);
        for (int b = 0; b < s->b && result.buf; b++)
            memcpy(y + (b * s->t + p) * d, out + b * n * d, (size_t)(n * d) * sizeof *y);
        op_advance(v->r, position, n);
        run_next(v->r);
    }
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    for (int i = 0; i < s->b * s->t; i++)
        ops_round(type, qkv + i * row + d, row - d);
    double *reference = reference_of(v, s->b * s->t * d);
    ref_attention(reference, qkv, s->b, s->t, s->heads, keys, s->head_dim, &mask);
    return ops_error_of(y, reference, s->b * s->t * d);
}

double check_attention(ops_env *v, const shape *s)
{
    return attention_error(v, s, s->type);
}

/* What a cache of another type costs. */
double check_attention_rounding(ops_env *v, const shape *s)
{
    return attention_error(v, s, DTYPE_F32);
}

double check_activate(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->n);
    for (int i = 0; i < s->n; i++)
        x[i] *= i % 7 ? 2.0f : 50.0f; /* large ones too, where exponentials overflow */
    tensor y = op_activate(v->r, ops_input(v, s, SHAPE(s->n), x), s->act);
    double *reference = reference_of(v, s->n);
    for (int i = 0; i < s->n; i++)
        reference[i] = ref_activation(x[i], s->act);
    return ops_error(v, y, reference, s->n);
}

double check_add(ops_env *v, const shape *s)
{
    float *a = ops_numbers(v, s->m * s->n), *b = ops_numbers(v, s->m * s->n);
    tensor y = op_add(v->r, ops_input(v, s, SHAPE(s->m, s->n), a), ops_input(v, s, SHAPE(s->m, s->n), b));
    double *reference = reference_of(v, s->m * s->n);
    for (int i = 0; i < s->m * s->n; i++)
        reference[i] = (double)a[i] + b[i];
    return ops_error(v, y, reference, s->m * s->n);
}

double check_slice(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->b * s->t * s->d);
    tensor y = op_slice(v->r, ops_input(v, s, SHAPE(s->b, s->t, s->d), x), s->first, s->n);
    double *reference = reference_of(v, s->b * s->n * s->d);
    ref_slice(reference, x, s->b, s->t, s->d, s->first, s->n);
    return ops_error(v, y, reference, s->b * s->n * s->d);
}

double check_upsample(ops_env *v, const shape *s)
{
    int count = s->b * s->h * s->w * s->c, larger = count * s->factor * s->factor;
    float *x = ops_numbers(v, count);
    tensor y = op_upsample(v->r, ops_input(v, s, SHAPE(s->b, s->h, s->w, s->c), x), s->factor);
    double *reference = reference_of(v, larger);
    ref_upsample(reference, x, s->b, s->h, s->w, s->c, s->factor);
    return ops_error(v, y, reference, larger);
}

double check_repeat(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->n), *host = ops_memory(v, (size_t)(s->m * s->n), sizeof *host);
    void *stored = ops_memory(v, (size_t)(s->m * s->n), sizeof *host);
    tensor y = TENSOR(v->r, s->type, s->m, s->n);
    op_repeat(v->r, y, s->type ? ops_tensor(v, s->type, SHAPE(s->n), x) : ops_input(v, s, SHAPE(s->n), x));
    run_read(v->r, y, stored);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    dtype_to_float(host, s->type, stored, s->m * s->n);
    double *reference = reference_of(v, s->m * s->n);
    for (int i = 0; i < s->m * s->n; i++)
        reference[i] = x[i % s->n];
    return ops_error_of(host, reference, s->m * s->n);
}

tensor ops_guidance(ops_env *v, int b, float scale)
{
    int32_t *settings = ops_memory(v, (size_t)b, SAMPLING_WORDS * sizeof *settings);
    for (int i = 0; i < b; i++)
        sampling_put(settings + i * SAMPLING_WORDS, &(sampling){.guidance = scale, .row = i, .other = b + i});
    return ops_integers(v, SHAPE(b, SAMPLING_WORDS), settings);
}

double check_guide(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, 2 * s->b * s->k);
    tensor y = op_guide(v->r, ops_input(v, s, SHAPE(2 * s->b, s->k), x), ops_guidance(v, s->b, 3.5f));
    double *reference = reference_of(v, s->b * s->k);
    ref_guide(reference, x, s->b, s->k, 3.5);
    return ops_error(v, y, reference, s->b * s->k);
}

/* Ids of all over the table and some outside of it. */
static int32_t *make_ids(ops_env *v, int n, int rows, bool some_outside)
{
    int32_t *ids = ops_memory(v, (size_t)n, sizeof *ids);
    v->streams++;
    for (int i = 0; i < n; i++)
        ids[i] = (int32_t)(rng_uniform(7, v->streams, 0, (uint32_t)i) * (float)rows) % rows;
    if (some_outside && n > 2) {
        ids[1] = rows;
        ids[2] = -1;
    }
    return ids;
}

double check_embed(ops_env *v, const shape *s)
{
    float *table = ops_numbers(v, s->m * s->d);
    int32_t *ids = make_ids(v, s->n, s->m, true);
    tensor given = ops_integers(v, SHAPE(1, s->n), ids), w = ops_weight(v, s, s->m, s->d, table);
    tensor y = op_embed(v->r, given, w);
    if (linear_packs(s->type)) {
        tensor packed = pack(v, w);
        same_numbers(v, y, op_embed(v->r, given, packed), s->n * s->d);
        buffer_free(packed.buf);
    }
    double *reference = reference_of(v, s->n * s->d);
    ref_embed(reference, ids, s->n, table, s->m, s->d);
    return y.nd == 3 ? ops_error(v, y, reference, s->n * s->d) : INFINITY;
}

/* s->t positions from s->first on, of text s->text and a grid; text vocabulary s->m, codes s->n. */
double check_embed_sequence(ops_env *v, const shape *s)
{
    int cells = s->grid_width * s->grid_height;
    float *text = ops_numbers(v, s->m * s->d), *text_position = ops_numbers(v, s->text * s->d);
    float *image = ops_numbers(v, s->n * s->d), *row = ops_numbers(v, s->grid_height * s->d);
    float *column = ops_numbers(v, s->grid_width * s->d);
    int32_t *ids = make_ids(v, s->b * s->text, s->m, true), *codes = make_ids(v, s->b * cells, s->n, true);
    sequence_embedding e = {ops_weight(v, s, s->m, s->d, text),
                            ops_tensor(v, DTYPE_F32, SHAPE(s->text, s->d), text_position),
                            ops_weight(v, s, s->n, s->d, image),
                            ops_tensor(v, DTYPE_F32, SHAPE(s->grid_height, s->d), row),
                            ops_tensor(v, DTYPE_F32, SHAPE(s->grid_width, s->d), column),
                            s->text,
                            s->grid_width,
                            .grid_height = s->grid_height};
    struct {
        tensor *table;
        float *values;
        int count;
    } positions[] = {{&e.text_position, text_position, s->text * s->d},
                     {&e.row_position, row, s->grid_height * s->d},
                     {&e.column_position, column, s->grid_width * s->d}};
    for (int i = 0; i < 3; i++)
        if (s->k & 1 << i) { /* no such table, which is as one of zeros */
            *positions[i].table = (tensor){0};
            memset(positions[i].values, 0, (size_t)positions[i].count * sizeof(float));
        }
    tensor tids = s->first < s->text ? ops_integers(v, SHAPE(s->b, s->text), ids) : (tensor){0};
    tensor tcodes = ops_integers(v, SHAPE(s->b, cells), codes), position = ops_integers(v, SHAPE(1), &s->first);
    tensor y = op_embed_sequence(v->r, &e, tids, tcodes, position, s->t);
    if (linear_packs(s->type)) {
        tensor packed = e.image = pack(v, e.image);
        same_numbers(v, y, op_embed_sequence(v->r, &e, tids, tcodes, position, s->t), s->b * s->t * s->d);
        buffer_free(packed.buf);
    }
    double *reference = reference_of(v, s->b * s->t * s->d);
    const ref_sequence sequence = {text,    text_position, image,          row, column, s->m, s->n,
                                   s->text, s->grid_width, s->grid_height, s->d};
    for (int b = 0; b < s->b; b++)
        for (int i = 0; i < s->t; i++)
            ref_embed_position(reference + (b * s->t + i) * s->d, &sequence, ids + b * s->text, codes + b * cells,
                               s->first + i);
    return ops_error(v, y, reference, s->b * s->t * s->d);
}

/* The share of wrong rows; a third of them have the largest value twice. */
double check_argmax(ops_env *v, const shape *s)
{
    float *x = ops_numbers(v, s->m * s->k);
    for (int i = 0; i < s->m && s->k > 4; i += 3) {
        x[i * s->k + s->k - 1] = 9;
        x[i * s->k + s->k / 2] = 9;
    }
    tensor y = op_argmax(v->r, ops_input(v, s, SHAPE(s->m, s->k), x));
    int32_t *got = ops_memory(v, (size_t)s->m, sizeof *got);
    run_read(v->r, y, got);
    err e = {0};
    if (!run_finish(v->r, &e))
        fail_msg("%s", e.text);
    int wrong = 0;
    for (int i = 0; i < s->m; i++)
        wrong += got[i] != ref_argmax(x + i * s->k, s->k);
    return (double)wrong / s->m;
}
