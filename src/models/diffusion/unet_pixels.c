/* The U-Nets of unCLIP: ResNet blocks that resample, and whose second norm time scales and shifts; attention to the
 * text and to all places at once (Ramesh et al. 2022, after Nichol & Dhariwal 2021 and Nichol et al. 2022). */
#include <stdlib.h>

#include "models/diffusion/unet_internal.h"

tensor unet_repeated(run *r, tensor x, int64_t rows)
{
    if (run_failed(r))
        return x;
    tensor y = TENSOR(r, DTYPE_F32, rows, x.shape[x.nd - 1]);
    if (!run_failed(r))
        op_repeat(r, y, x);
    return y;
}

/* ---- ResNet blocks ---------------------------------------------------------------------------------------------- */

static tensor resampled(run *r, unet_sampling how, tensor x)
{
    return how == UNET_HALVES ? op_mean_pool(r, x, 2) : how == UNET_DOUBLES ? op_upsample(r, x, 2) : x;
}

/* conv(x), resampled before it */
static tensor first_conv(run *r, const unet_resnet *b, const conv *c, tensor x)
{
    if (b->sampling == UNET_DOUBLES)
        return op_upsample_conv2d(r, x, 2, c, ACT_NONE);
    return op_conv2d(r, resampled(r, b->sampling, x), c, ACT_NONE, (tensor){0});
}

tensor unet_resample(run *r, const unet *u, const unet_memory *m, const unet_resnet *b, tensor x)
{
    const conv_input plain = {.act = ACT_SILU}, between = {&b->norm2, u->k.groups, ACT_SILU};
    const bool in_place = !b->skip.w.buf && b->sampling == UNET_STAYS;
    conv first = b->conv1;
    tensor y = b->skip.w.buf ? op_linear(r, x, &b->skip, ACT_NONE) : resampled(r, b->sampling, x);
    tensor time = u->k.shifts
                      ? op_linear(r, unet_rows(m->time, x.shape[0]), &b->time, ACT_NONE)
                      : op_linear_add(r, m->time, &b->time, tensor_shaped(first.b, 2, (int64_t[]){1, first.out}));
    if (run_failed(r))
        return x;
    if (!u->k.shifts) /* the time is the same for all places: a part of the bias */
        first.b = tensor_shaped(time, 1, (int64_t[]){first.out});
    tensor in = op_group_norm(r, x, &b->norm1, u->k.groups, ACT_SILU), h = first_conv(r, b, &first, in);
    tensor plainly = {0}, shifted = {0};
    if (u->k.shifts) {
        plainly = op_group_norm(r, h, &b->norm2, u->k.groups, ACT_NONE);
        shifted = op_modulate(r, plainly, time);
    }
    y = op_conv2d_onto(r, u->k.shifts ? shifted : h, u->k.shifts ? &plain : &between, &b->conv2, 1, y);
    const tensor newest[] = {shifted, plainly, h, in, time};
    for (size_t i = 0; in_place && i < sizeof newest / sizeof *newest; i++)
        run_give_back(r, newest[i]);
    if (!in_place)
        run_next(r);
    return y;
}

/* ---- attention -------------------------------------------------------------------------------------------------- */

static int64_t places_at(int height, int width, int level)
{
    return (int64_t)unet_side(height, level) * unet_side(width, level);
}

bool unet_joint_open(unet_memory *m, const unet *u, device *d, int height, int width, int text, err *e)
{
    bool ok = true;
    for (int i = 0; ok && i < u->transformers; i++) {
        const unet_transformer *t = &u->transformer[i];
        const int64_t shape[] = {m->rows, text, 2 * (int64_t)t->channels},
                      there[] = {m->rows, text + places_at(height, width, t->level)};
        ok = tensor_new(&m->joint[i], d, DTYPE_F32, 3, shape, NULL, false, "keys of the text", e) &&
             (m->there[t->level].buf ||
              tensor_new(&m->there[t->level], d, DTYPE_I32, 2, there, NULL, false, "keys of the text", e));
    }
    return ok;
}

/* Which keys are there: those of a text up to its length, and all places. */
static void write_there(run *r, tensor to, const int *lengths, int64_t b, int64_t text)
{
    const int64_t n = to.shape[1];
    int32_t *host = run_failed(r) ? NULL : malloc((size_t)(b * n) * sizeof *host);
    for (int64_t i = 0; host && i < b * n; i++)
        host[i] = i % n >= text || i % n < lengths[i / n];
    if (host)
        run_write(r, tensor_rows(to, 0, b), host);
    else if (!run_failed(r))
        err_no_memory(run_error(r), "text", (size_t)(b * n) * sizeof *host);
    free(host);
}

void unet_joint_read(run *r, const unet *u, const unet_memory *m, tensor states, const int *lengths)
{
    if (run_failed(r))
        return;
    for (int i = 0; i < UNET_LEVELS; i++)
        if (m->there[i].buf)
            write_there(r, m->there[i], lengths, states.shape[0], states.shape[1]);
    for (int i = 0; i < u->transformers && !run_failed(r); i++) {
        tensor kv = op_linear(r, states, &u->transformer[i].kv, ACT_NONE);
        if (!run_failed(r))
            op_repeat(r, tensor_rows(m->joint[i], 0, states.shape[0]), kv);
    }
}

/* kv[b,words + n,2c]: the text's, then the places' */
static tensor join_keys(run *r, tensor text, tensor own)
{
    const int64_t b = own.shape[0], n = own.shape[1], words = text.shape[1], width = own.shape[2], all = words + n;
    tensor kv = TENSOR(r, DTYPE_F32, b, all, width);
    for (int64_t i = 0; i < b && !run_failed(r); i++) {
        tensor row = tensor_shaped(tensor_rows(kv, i, 1), 2, (int64_t[]){all, width});
        op_repeat(r, tensor_rows(row, 0, words), tensor_rows(text, i, 1));
        op_repeat(r, tensor_rows(row, words, n), tensor_rows(own, i, 1));
    }
    return kv;
}

tensor unet_joint_attention(run *r, const unet *u, const unet_memory *m, const unet_transformer *t, tensor x)
{
    const int64_t b = x.shape[0], n = x.shape[1] * x.shape[2], c = t->channels, head = c / t->heads;
    const int64_t rows[] = {b, n, c};
    tensor y = op_group_norm(r, x, &t->norm, u->k.groups, ACT_NONE);
    if (run_failed(r))
        return x;
    y = tensor_shaped(y, 3, rows);
    tensor q = op_linear(r, y, &t->q, ACT_NONE), own = op_linear(r, y, &t->own, ACT_NONE);
    tensor text = tensor_rows(m->joint[t - u->transformer], 0, b), there = tensor_rows(m->there[t->level], 0, b);
    if (run_failed(r))
        return x;
    tensor kv = join_keys(r, text, own);
    const int64_t all = text.shape[1] + n;
    const kv_cache keys = {TENSOR(r, DTYPE_F32, b, t->heads, all, head), TENSOR(r, DTYPE_F32, b, t->heads, all, head)};
    op_cross_keys(r, kv, &keys);
    y = op_linear_add(r, op_cross_attention(r, q, &keys, there, 0), &t->out, tensor_shaped(x, 3, rows));
    run_next(r);
    return run_failed(r) ? x : tensor_shaped(y, 4, x.shape);
}
