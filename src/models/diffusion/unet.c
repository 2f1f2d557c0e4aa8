/* The U-Net of diffusion models: its forward pass, and what it keeps on the device. */
#include <math.h>
#include <stdlib.h>

#include "models/diffusion/unet_internal.h"
#include "ops/tape.h"

#define MLP_PLACES 2048 /* of all rows, that go through a transformer's MLP at once */

/* ---- what is kept ----------------------------------------------------------------------------------------------- */

static bool keep_text(unet_memory *m, const unet *u, device *d, int text, err *e)
{
    bool ok = true;
    for (int i = 0; ok && i < u->transformers && !u->k.joint; i++) {
        const unet_transformer *t = &u->transformer[i];
        int64_t shape[] = {m->rows, t->heads, text, t->channels / t->heads};
        ok = tensor_new(&m->text[i].k, d, DTYPE_F32, 4, shape, NULL, false, "keys of the text", e) &&
             tensor_new(&m->text[i].v, d, DTYPE_F32, 4, shape, NULL, false, "values of the text", e);
    }
    return ok;
}

bool unet_memory_open(unet_memory *m, const unet *u, device *d, int rows, int height, int width, int text, err *e)
{
    *m = (unet_memory){.u = u, .rows = rows};
    const int64_t time[] = {u->k.shifts ? rows : 1, 4 * (int64_t)u->k.channels[0]};
    bool ok = tensor_new(&m->time, d, DTYPE_F32, 2, time, NULL, false, "time", e) && keep_text(m, u, d, text, e) &&
              (!u->k.shifts || tensor_new(&m->condition, d, DTYPE_F32, 2, time, NULL, false, "time", e)) &&
              (!u->k.joint || unet_joint_open(m, u, d, height, width, text, e));
    for (int i = 0; ok && i < u->skips; i++) {
        int64_t shape[] = {rows, unet_side(height, u->skip_level[i]), unet_side(width, u->skip_level[i]),
                           u->skip_channels[i]};
        ok = tensor_in_one_piece(d, DTYPE_F32, 4, shape, "U-Net", e) &&
             tensor_new(&m->skip[i], d, DTYPE_F32, 4, shape, NULL, false, "U-Net", e);
    }
    if (!ok)
        unet_memory_release(m);
    return ok;
}

void unet_memory_release(unet_memory *m)
{
    for (int i = 0; i < UNET_TRANSFORMERS; i++) {
        buffer_free(m->text[i].k.buf);
        buffer_free(m->text[i].v.buf);
        buffer_free(m->joint[i].buf);
    }
    for (int i = 0; i < UNET_SKIPS; i++)
        buffer_free(m->skip[i].buf);
    for (int i = 0; i < UNET_LEVELS; i++)
        buffer_free(m->there[i].buf);
    buffer_free(m->time.buf);
    buffer_free(m->condition.buf);
    *m = (unet_memory){0};
}

/* The first b rows of what is kept of a text. */
static kv_cache text_of(const unet_memory *m, int i, int64_t b)
{
    return (kv_cache){tensor_rows(m->text[i].k, 0, b), tensor_rows(m->text[i].v, 0, b)};
}

/* The same in training, where gradients go through it. */
static kv_cache learn_text(run *r, const unet_memory *m, const unet_transformer *t)
{
    const tensor x = m->states;
    int64_t head = t->channels / t->heads;
    kv_cache text = {TENSOR(r, DTYPE_F32, x.shape[0], t->heads, x.shape[1], head),
                     TENSOR(r, DTYPE_F32, x.shape[0], t->heads, x.shape[1], head)};
    op_cross_keys(r, op_linear(r, x, &t->kv, ACT_NONE), &text);
    return text;
}

void unet_read_text(run *r, const unet *u, const unet_memory *m, tensor states, const int *lengths)
{
    if (u->k.joint) {
        unet_joint_read(r, u, m, states, lengths);
        return;
    }
    for (int i = 0; i < u->transformers && !run_failed(r); i++) {
        const kv_cache cache = text_of(m, i, states.shape[0]);
        op_cross_keys(r, op_linear(r, states, &u->transformer[i].kv, ACT_NONE), &cache);
    }
}

/* ---- time ------------------------------------------------------------------------------------------------------- */

/* Of each of the b numbers x.  The published code has these angles in float: at time 999 that makes a difference in the
 * fifth digit. */
static tensor sinusoids(run *r, const float *x, int64_t b, int n, int fewer, bool cosines_first)
{
    const int half = n / 2;
    const size_t bytes = (size_t)b * (size_t)n * sizeof(float);
    float *host = run_failed(r) ? NULL : calloc(1, bytes);
    if (!host) {
        if (!run_failed(r))
            err_no_memory(run_error(r), "time", bytes);
        return (tensor){0};
    }
    for (int64_t k = 0; k < b; k++)
        for (int i = 0; i < half; i++) {
            float angle = x[k] * expf(-logf(10000) * (float)i / (float)(half - fewer));
            host[k * n + (cosines_first ? i : half + i)] = cosf(angle);
            host[k * n + (cosines_first ? half + i : i)] = sinf(angle);
        }
    tensor y = run_upload(r, DTYPE_F32, 2, (int64_t[]){b, n}, host);
    free(host);
    return y;
}

/* What all blocks read of sinusoids x, and of what is added to each row. */
static tensor time_of(run *r, const unet *u, tensor x, tensor condition)
{
    x = op_linear(r, x, &u->time[0], ACT_SILU);
    if (!condition.buf)
        return op_linear(r, x, &u->time[1], ACT_SILU);
    x = unet_repeated(r, op_linear(r, x, &u->time[1], ACT_NONE), condition.shape[0]);
    return op_activate(r, op_add(r, x, condition), ACT_SILU);
}

tensor unet_sinusoids(run *r, float x, int n)
{
    return sinusoids(r, &x, 1, n, 0, true);
}

void unet_set_time(run *r, const unet *u, const unet_memory *m, float time, float guidance)
{
    tensor x = sinusoids(r, &time, 1, u->k.channels[0], 0, true);
    if (u->k.guidance) {
        const float w = 1000 * (guidance > 0 ? guidance - 1 : 0);
        x = op_linear_add(r, sinusoids(r, &w, 1, u->k.guidance, 1, false), &u->guidance, x);
    }
    x = time_of(r, u, x, m->condition);
    if (!run_failed(r))
        op_repeat(r, m->time, x);
}

/* ---- blocks ----------------------------------------------------------------------------------------------------- */

/* conv1 of x with the time added, which is the same for all places: a part of the bias. */
static tensor timed(run *r, const unet_memory *m, const unet_resnet *b, const conv_input *before, tensor x)
{
    const int64_t n = b->conv1.out;
    conv first = b->conv1;
    tensor time = op_linear_add(r, m->time, &b->time, tensor_shaped(b->conv1.b, 2, (int64_t[]){1, n}));
    if (run_failed(r))
        return x;
    first.b = tensor_shaped(time, 1, &n);
    return op_conv2d_of(r, x, before, &first, ACT_NONE);
}

/* The same where each row has a time, by a shift of what is scaled by 1 + 0. */
static tensor learn_timed(run *r, const unet_memory *m, const unet_resnet *b, const conv_input *before, tensor x)
{
    tensor time = op_linear(r, m->time, &b->time, ACT_NONE), none = run_zeros(r, tensor_count(&time));
    if (run_failed(r))
        return x;
    none = tensor_shaped(tensor_rows(none, 0, tensor_count(&time)), 2, time.shape);
    return op_modulate(r, op_conv2d_of(r, x, before, &b->conv1, ACT_NONE), op_join(r, none, time));
}

/* Each block finds x in the run's other arena and leaves its result there (run_next).  Without a skip layer the result
 * is written over x. */
static tensor resnet(run *r, const unet *u, const unet_memory *m, const unet_resnet *b, tensor x)
{
    if (run_failed(r))
        return x;
    if (u->k.shifts || b->sampling != UNET_STAYS)
        return unet_resample(r, u, m, b, x);
    const conv_input before = {&b->norm1, u->k.groups, ACT_SILU}, between = {&b->norm2, u->k.groups, ACT_SILU};
    tensor y = b->skip.w.buf ? op_linear(r, x, &b->skip, ACT_NONE) : x;
    tensor h = m->states.buf ? learn_timed(r, m, b, &before, x) : timed(r, m, b, &before, x);
    y = op_conv2d_onto(r, h, &between, &b->conv2, 1, y);
    if (b->skip.w.buf)
        run_next(r);
    else
        run_give_back(r, h);
    return y;
}

/* Without a tape what the parts of a transformer give is written over x, so that the memory of what led to it, n
 * tensors with the newest last, can be given back. */
static tensor settle(run *r, tensor x, tensor now, const tensor *before, int n)
{
    if (run_tape(r) || run_failed(r))
        return now;
    op_repeat(r, x, now);
    run_give_back(r, now);
    while (n > 0)
        run_give_back(r, before[--n]);
    return x;
}

static tensor attend_itself(run *r, const unet_transformer *t, tensor x)
{
    int64_t b = x.shape[0], n = x.shape[1], heads = t->heads, head = t->channels / t->heads;
    const attention_mask mask = {.kind = MASK_ALL, .text = (int)n, .grid_width = 1, .kernel = 1};
    kv_cache cache = {TENSOR(r, DTYPE_F32, b, heads, n, head), TENSOR(r, DTYPE_F32, b, heads, n, head)};
    tensor start = tensor_rows(run_zeros(r, 1), 0, 1);
    start.type = DTYPE_I32;
    tensor h = op_layer_norm(r, x, &t->norm1), qkv = op_linear(r, h, &t->qkv, ACT_NONE);
    tensor y = op_attention(r, qkv, t->heads, &cache, start, &mask);
    const tensor before[] = {cache.k, cache.v, h, qkv, y};
    return settle(r, x, op_linear_add(r, y, &t->self_out, x), before, 5);
}

static tensor attend_text(run *r, const unet_transformer *t, const kv_cache *text, tensor x)
{
    tensor h = op_layer_norm(r, x, &t->norm2), q = op_linear(r, h, &t->q, ACT_NONE);
    tensor y = op_cross_attention(r, q, text, (tensor){0}, 0);
    const tensor before[] = {h, q, y};
    return settle(r, x, op_linear_add(r, y, &t->cross_out, x), before, 3);
}

static tensor mlp(run *r, const unet_transformer *t, tensor x)
{
    tensor h = op_layer_norm(r, x, &t->norm3), up = op_linear(r, h, &t->up, ACT_NONE), y = op_glu(r, up, ACT_GELU_ERF);
    const tensor before[] = {h, up, y};
    return settle(r, x, op_linear_add(r, y, &t->down, x), before, 3);
}

/* The MLP's numbers are 8 times as many as x's: without a tape some places at a time. */
static tensor mlp_in_parts(run *r, const unet_transformer *t, tensor x)
{
    const int64_t c = t->channels, places = run_failed(r) ? 0 : tensor_count(&x) / c;
    if (run_tape(r) || places <= MLP_PLACES)
        return mlp(r, t, x);
    const int64_t parts = (places + MLP_PLACES - 1) / MLP_PLACES, some = (places + parts - 1) / parts;
    tensor rows = tensor_shaped(x, 2, (int64_t[]){places, c});
    for (int64_t at = 0; at < places && !run_failed(r); at += some)
        mlp(r, t, tensor_rows(rows, at, places - at < some ? places - at : some));
    return x;
}

/* A block of a transformer: y[b,places,c] */
static tensor transform_block(run *r, const unet *u, const unet_memory *m, const unet_transformer *t, tensor y)
{
    if (run_failed(r))
        return y;
    const kv_cache text = m->states.buf ? learn_text(r, m, t) : text_of(m, (int)(t - u->transformer), y.shape[0]);
    return mlp_in_parts(r, t, attend_text(r, t, &text, attend_itself(r, t, y)));
}

/* x[b,h,w,c] */
static tensor transform(run *r, const unet *u, const unet_memory *m, const unet_transformer *t, tensor x)
{
    if (!t || run_failed(r))
        return x;
    if (u->k.joint)
        return unet_joint_attention(r, u, m, t, x);
    int64_t rows[] = {x.shape[0], x.shape[1] * x.shape[2], x.shape[3]};
    tensor y = op_group_norm(r, x, &t->norm, u->k.groups, ACT_NONE);
    if (run_failed(r))
        return x;
    y = op_linear(r, tensor_shaped(y, 3, rows), &t->in, ACT_NONE);
    for (const unet_transformer *block = t; block; block = block->more)
        y = transform_block(r, u, m, block, y);
    y = op_linear_add(r, y, &t->out, tensor_shaped(x, 3, rows));
    run_next(r);
    return run_failed(r) ? x : tensor_shaped(y, 4, x.shape);
}

/* The first rows and columns of x[b,h,w,c]. */
static tensor crop(run *r, tensor x, int64_t h, int64_t w)
{
    int64_t b = x.shape[0], c = x.shape[3];
    x = op_slice(r, tensor_shaped(x, 3, (int64_t[]){b, x.shape[1], x.shape[2] * c}), 0, h);
    if (run_failed(r))
        return x;
    x = op_slice(r, tensor_shaped(x, 3, (int64_t[]){b * h, x.shape[2] / c, c}), 0, w);
    return run_failed(r) ? x : tensor_shaped(x, 4, (int64_t[]){b, h, w, c});
}

/* To the size of the next skip: twice, or one less where halving an odd side gave more than a half. */
static tensor twice(run *r, const conv *c, tensor x, const tensor *skip)
{
    int64_t h = skip->shape[1], w = skip->shape[2];
    if (run_failed(r))
        return x;
    if (h == 2 * x.shape[1] && w == 2 * x.shape[2])
        x = op_upsample_conv2d(r, x, 2, c, ACT_NONE);
    else
        x = op_conv2d(r, crop(r, op_upsample(r, x, 2), h, w), c, ACT_NONE, (tensor){0});
    run_next(r);
    return x;
}

/* ---- the whole -------------------------------------------------------------------------------------------------- */

/* A ResNet block and the transformer behind it by a number: where it is, 8 times the level, and its place there. */
enum { DOWN, MIDDLE = 64, UP = 128 };

/* A tape_part: what the block makes of x, or of x with the skip in[1] behind its channels. */
static tensor block(run *r, const void *context, int index, const tensor in[TAPE_INPUTS])
{
    const unet_memory *m = context;
    const unet *u = m->u;
    const unet_level *l = &u->level[index / 8 % 8];
    const int j = index % 8;
    tensor x = in[1].buf ? op_join(r, in[0], in[1]) : in[0];
    if (index >= UP)
        return transform(r, u, m, l->up_attention[j], resnet(r, u, m, &l->up[j], x));
    if (index >= MIDDLE)
        return transform(r, u, m, j ? NULL : u->middle_attention, resnet(r, u, m, &u->middle[j], x));
    return transform(r, u, m, l->down_attention[j], resnet(r, u, m, &l->down[j], x));
}

/* The same of so many channels. */
static tensor do_block(run *r, const unet_memory *m, int index, int channels, tensor x, tensor skip)
{
    const tensor in[TAPE_INPUTS] = {x, skip};
    return m->recompute ? tape_recompute(r, block, m, index, in, channels) : block(r, m, index, in);
}

static void keep(run *r, unet_memory *m, int i, tensor x)
{
    if (m->states.buf)
        m->skip[i] = x;
    else if (!run_failed(r))
        op_repeat(r, tensor_rows(m->skip[i], 0, x.shape[0]), x);
}

static tensor halve(run *r, const conv *c, tensor x)
{
    x = op_conv2d(r, x, c, ACT_NONE, (tensor){0});
    run_next(r);
    return x;
}

static tensor go_down(run *r, const unet *u, unet_memory *m, tensor x)
{
    int at = 0;
    x = halve(r, &u->in, x);
    keep(r, m, at++, x);
    for (int i = 0; i < u->k.levels; i++) {
        for (int j = 0; j < u->k.layers; j++) {
            x = do_block(r, m, DOWN + 8 * i + j, u->k.channels[i], x, (tensor){0});
            keep(r, m, at++, x);
        }
        if (i + 1 < u->k.levels) {
            x = u->k.resamples ? resnet(r, u, m, &u->level[i].shrink, x) : halve(r, &u->level[i].halve, x);
            keep(r, m, at++, x);
        }
    }
    return x;
}

static tensor go_up(run *r, const unet *u, unet_memory *m, tensor x)
{
    int at = u->skips;
    for (int i = u->k.levels - 1; i >= 0; i--) {
        for (int j = 0; j <= u->k.layers && !run_failed(r); j++)
            x = do_block(r, m, UP + 8 * i + j, u->k.channels[i], x, tensor_rows(m->skip[--at], 0, x.shape[0]));
        if (i > 0)
            x = u->k.resamples ? resnet(r, u, m, &u->level[i].grow, x)
                               : twice(r, &u->level[i].twice, x, &m->skip[at - 1]);
    }
    return x;
}

tensor unet_forward(run *r, const unet *u, unet_memory *m, tensor x)
{
    const conv_input last = {&u->norm_out, u->k.groups, ACT_SILU};
    x = go_down(r, u, m, x);
    for (int j = 0; u->k.middle != UNET_MIDDLE_NONE && j < 2; j++)
        x = do_block(r, m, MIDDLE + j, u->k.channels[u->k.levels - 1], x, (tensor){0});
    x = go_up(r, u, m, x);
    return op_conv2d_of(r, x, &last, &u->out, ACT_NONE);
}

tensor unet_learn(run *r, const unet *u, unet_memory *m, tensor x, const float *times, tensor states)
{
    *m = (unet_memory){.u = u, .rows = (int)states.shape[0], .states = states, .recompute = m->recompute};
    m->time = time_of(r, u, sinusoids(r, times, m->rows, u->k.channels[0], 0, true), (tensor){0});
    return unet_forward(r, u, m, x);
}
